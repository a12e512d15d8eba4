//! What other parsers see in the same octets: `sipx-sip` on the sound messages of RFC 4475 and on URIs, `rsip` on plain
//! messages (it knows neither folding nor compact names, nor Content-Length).
use bytes::Bytes;
use imscript::sip::{HeaderName, Message, Uri};
use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
use std::fs;
use std::path::Path;

fn octets(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/torture/{name}.dat"))).unwrap()
}

const SOUND: [&str; 25] = [
    "wsinv",
    "intmeth",
    "esc01",
    "escnull",
    "esc02",
    "lwsdisp",
    "longreq",
    "dblreq",
    "semiuri",
    "transports",
    "mpart01",
    "unreason",
    "noreason",
    "badbranch",
    "unksm2",
    "bext01",
    "invut",
    "regaut01",
    "bcast",
    "zeromf",
    "cparam01",
    "cparam02",
    "regescrt",
    "sdp01",
    "inv2543",
];

fn unfolded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, line) in value.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(if i > 0 { line.trim_ascii_start() } else { line });
    }
    out
}

#[test]
fn sipx_sees_the_same_message() {
    for name in SOUND {
        let bytes = octets(name);
        let ours = Message::parse(&bytes).unwrap();
        assert_eq!(ours.check(), Ok(()), "{name}");
        let theirs = sipx_sip::parse_datagram(Bytes::from(bytes.clone()), &sipx_sip::Limits::datagram()).expect(name);
        match &theirs {
            sipx_sip::Message::Request(request) => {
                assert_eq!(ours.method(), request.method.as_bytes(), "{name}");
                assert_eq!(ours.request_uri_raw(), &request.uri.to_bytes()[..], "{name}");
            }
            sipx_sip::Message::Response(response) => {
                assert_eq!(ours.status(), response.status.code(), "{name}");
                assert_eq!(ours.reason(), &response.reason[..], "{name}");
            }
        }
        assert_eq!(ours.body(), &theirs.body()[..], "{name}");
        let mine: Vec<Vec<u8>> = ours.all_headers().map(|(_, value)| unfolded(value)).collect();
        let other: Vec<Vec<u8>> = theirs.headers().iter().map(|h| h.value().into_owned()).collect();
        assert_eq!(mine, other, "{name}");
        for &id in HeaderName::ALL {
            let name_there = sipx_sip::HeaderName::parse(&Bytes::from_static(id.as_str().as_bytes()));
            assert_eq!(ours.headers(id).count(), theirs.headers().count(&name_there), "{name} {id}");
        }
    }
}

#[test]
fn sipx_refuses_what_is_refused() {
    // Without baddate and regbadct: its validator looks at neither Date nor Contact.
    let refused = [
        "badinv01",
        "clerr",
        "ncl",
        "scalar02",
        "scalarlg",
        "quotbal",
        "ltgtruri",
        "lwsruri",
        "lwsstart",
        "trws",
        "escruri",
        "badaspec",
        "baddn",
        "badvers",
        "mismatch01",
        "mismatch02",
        "bigcode",
        "insuf",
        "multi01",
        "mcl01",
    ];
    for name in refused {
        let bytes = octets(name);
        assert!(Message::parse(&bytes).unwrap().check().is_err(), "{name}");
        let theirs = sipx_sip::parse_datagram(Bytes::from(bytes), &sipx_sip::Limits::datagram());
        assert!(theirs.is_err() || theirs.is_ok_and(|m| !sipx_sip::validate(&m).is_empty()), "{name}");
    }
}

#[test]
fn uri_equality_agrees_with_sipx() {
    let uris = [
        "sip:alice@atlanta.com",
        "sip:%61lice@atlanta.com",
        "sip:alice@AtLanTa.CoM;Transport=tcp",
        "sip:alice@atlanta.com;transport=TCP",
        "sip:ALICE@atlanta.com;transport=TCP",
        "sips:alice@atlanta.com",
        "sip:alice:pw@atlanta.com",
        "sip:alice@atlanta.com:5060",
        "sip:alice@atlanta.com;maddr=192.0.2.1",
        "sip:alice@atlanta.com;newparam=5",
        "sip:alice@atlanta.com;newparam=6",
        "sip:alice@atlanta.com;security=on",
        "sip:alice@atlanta.com;user=phone",
        "sip:alice@atlanta.com;method=INVITE",
        "sip:alice@atlanta.com?subject=x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=x",
        "sip:alice@atlanta.com?subject=x",
        "sip:atlanta.com",
        "sip:%00@atlanta.com",
        "sip:%00%00@atlanta.com",
        "sip:192.0.2.1",
        "sip:[2001:db8::1]",
        "sip:[2001:DB8:0::1]",
    ];
    for a in uris {
        for b in uris {
            let ours = Uri::parse(a.as_bytes()).unwrap().equivalent(&Uri::parse(b.as_bytes()).unwrap());
            let parse = |text: &str| sipx_sip::Uri::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
            assert_eq!(ours, parse(a).equivalent(&parse(b)), "{a} {b}");
        }
    }
}

#[test]
fn rsip_sees_the_same_plain_message() {
    let text = "REGISTER sip:ims.example:5061 SIP/2.0\r\nVia: SIP/2.0/UDP ue.example:5070;branch=z9hG4bK1;rport\r\n\
                Max-Forwards: 70\r\nFrom: Alice <sip:alice@ims.example>;tag=f1\r\nTo: <sip:alice@ims.example>\r\nCall-ID: c1@ue\r\n\
                CSeq: 17 REGISTER\r\nContact: <sip:alice@192.0.2.1:5070>;expires=60\r\nExpires: 600\r\nX-Unknown: a: b\r\n\
                Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
    let ours = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(ours.check(), Ok(()));
    let theirs = rsip::Request::try_from(text).unwrap();
    assert_eq!(theirs.method.to_string().as_bytes(), ours.method());
    assert_eq!(theirs.uri.to_string().as_bytes(), ours.request_uri_raw());
    let via = theirs.via_header().unwrap().typed().unwrap();
    assert_eq!(theirs.body, ours.body());
    assert_eq!(theirs.headers.iter().count(), ours.all_headers().count());
    assert_eq!(theirs.call_id_header().unwrap().value().as_bytes(), ours.call_id().unwrap());
    assert_eq!(theirs.cseq_header().unwrap().seq().unwrap(), ours.cseq().unwrap().number);
    assert_eq!(
        theirs.from_header().unwrap().tag().unwrap().unwrap().value().as_bytes(),
        &*ours.from().unwrap().tag().unwrap()
    );
    assert_eq!(theirs.from_header().unwrap().uri().unwrap().to_string().as_bytes(), ours.from().unwrap().uri_raw);
    assert_eq!(via.branch().unwrap().value().as_bytes(), ours.top_via().unwrap().branch().unwrap());
    assert_eq!(theirs.expires_header().unwrap().seconds().unwrap(), ours.expires().unwrap());
    assert_eq!(theirs.max_forwards_header().unwrap().num().unwrap(), u32::from(ours.max_forwards().unwrap().unwrap()));
}
