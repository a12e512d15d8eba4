use super::*;
use ::rsip::message::HasHeaders;
use ::rsip::prelude::{HeadersExt, ToTypedHeader};
use proptest::prelude::*;
use std::fs;
use std::path::Path;

const CORE: &str = "Via: SIP/2.0/UDP ue.example:5070;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n\
    From: Alice <sip:alice@ims.example>;tag=f1\r\nTo: <sip:alice@ims.example>\r\nCall-ID: c1@ue\r\nCSeq: 17 REGISTER\r\n";

fn register(more: &str) -> Message<'static> {
    let text = format!("REGISTER sip:ims.example SIP/2.0\r\n{CORE}{more}Content-Length: 0\r\n\r\n");
    Message::parse_owned(text.into_bytes()).unwrap()
}

fn others(headers: &::rsip::Headers) -> Vec<(String, String)> {
    let other = |header: &Header| match header {
        Header::Other(name, value) => Some((name.clone(), value.clone())),
        _ => None,
    };
    headers.iter().filter_map(other).collect()
}

/// What both sides read in one message, and that the printed form is the same message to our parser.
fn assert_same(ours: &Message<'_>, theirs: &SipMessage, name: &str) {
    let body = match theirs {
        SipMessage::Request(request) => {
            assert_eq!(request.method.to_string().as_bytes(), ours.method(), "{name}");
            assert!(request.uri.to_string().as_bytes().eq_ignore_ascii_case(ours.request_uri_raw()), "{name}");
            &request.body
        }
        SipMessage::Response(response) => {
            assert_eq!(response.status_code.code(), ours.status(), "{name}");
            &response.body
        }
    };
    assert_eq!(body, ours.body(), "{name}");
    if let Ok(call_id) = theirs.call_id_header() {
        assert_eq!(call_id.value().as_bytes(), ours.call_id().unwrap(), "{name}");
    }
    let own = ours.cseq().unwrap();
    if let Ok(cseq) = theirs.cseq_header().and_then(|cseq| cseq.typed()) {
        assert_eq!((cseq.seq, cseq.method.to_string().as_bytes()), (own.number, own.method), "{name}");
    }
    if let Ok(via) = theirs.via_header().and_then(|via| via.typed()) {
        let top = ours.top_via().unwrap();
        assert_eq!(via.uri.host().to_string(), top.host.to_string(), "{name}");
        assert_eq!(via.uri.port().map(|port| *port.value()), top.port, "{name}");
        assert_eq!(via.branch().map(|b| b.value().as_bytes()), top.branch(), "{name}");
    }
    if let Ok(from) = theirs.from_header().and_then(|from| from.typed()) {
        let own = ours.from().unwrap();
        assert_eq!(from.tag().map(|tag| tag.value().as_bytes()), own.tag().as_deref(), "{name}");
        let user = own.uri.as_sip().and_then(|uri| uri.user);
        assert_eq!(from.uri.user().map(str::as_bytes), user, "{name}");
        let host = own.uri.as_sip().map(|uri| uri.host.to_string().to_lowercase());
        assert_eq!(Some(from.uri.host().to_string().to_lowercase()), host, "{name}");
    }
    let contacts = theirs.contact_headers();
    let typed: Vec<_> = contacts.iter().filter_map(|contact| contact.typed().ok()).collect();
    if let Ok(super::super::Contacts::List(list)) = ours.contacts() {
        assert!(typed.len() <= list.len(), "{name}");
        for (their, own) in typed.iter().zip(&list).filter(|_| typed.len() == list.len()) {
            let uri = own.uri.as_sip().unwrap();
            assert_eq!(their.uri.host().to_string().to_lowercase(), uri.host.to_string().to_lowercase(), "{name}");
            assert_eq!(their.uri.user().map(str::as_bytes), uri.user, "{name}");
            assert_eq!(their.uri.port().map(|port| *port.value()), uri.port, "{name}");
            assert_eq!(their.expires().and_then(|e| e.seconds().ok()), own.expires(), "{name}");
        }
    }
    let printed = theirs.to_string();
    if std::str::from_utf8(ours.body()).is_ok() {
        let again = Message::parse(printed.as_bytes()).unwrap();
        assert_eq!(again.check(), Ok(()), "{name}\n{printed}");
        assert_eq!(again.method(), ours.method(), "{name}");
        assert_eq!(again.status(), ours.status(), "{name}");
        assert_eq!(again.body(), ours.body(), "{name}");
        for (field, _) in ours.all_headers() {
            let field = String::from_utf8_lossy(field);
            let values = |message: &Message<'_>| -> Vec<String> {
                let whole: Vec<u8> = message.headers_named(&field).collect::<Vec<_>>().join(&b',');
                let text = String::from_utf8(whole).unwrap();
                text.split([',', ' ', '\r', '\n', '\t']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
            };
            assert_eq!(values(&again), values(ours), "{name} {field}");
        }
    }
}

/// Names of the sound messages of RFC 4475 and what becomes of those that rsip cannot have.
#[test]
fn torture_messages_are_right_or_refused_by_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let (mut converted, mut refused) = (0, Vec::new());
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "dat")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let bytes = fs::read(path).unwrap();
        let Ok(ours) = Message::parse(&bytes) else { continue };
        match message(&ours) {
            Ok(theirs) => {
                assert_eq!(ours.check(), Ok(()), "{name}");
                assert_same(&ours, &theirs, name);
                converted += 1;
            }
            Err(Unconvertible::Faulty(fault)) => assert_eq!(ours.check(), Err(fault), "{name}"),
            Err(error) => refused.push(format!("{name}: {error}")),
        }
    }
    assert_eq!(converted, 23);
    let methods = ["RE%47IST%45R", "!interesting-Method0123456789_*+`.%indeed'~"];
    let unknown = |(file, method)| format!("{file}: rsip knows no method {method:?}");
    assert_eq!(refused, ["esc02", "intmeth"].into_iter().zip(methods).map(unknown).collect::<Vec<_>>());
}

#[test]
fn a_register_of_ims_arrives_whole() {
    let ours = register(
        "m: \"A, \\\"B\\\"\" <sip:alice@192.0.2.1:5070;transport=UDP>;expires=60,\r\n <sip:a@[2001:db8::1]>\r\n\
         Contact: <sip:alice@192.0.2.1>;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\";+sip.instance=\"<urn:uuid:1>\"\r\n\
         Authorization: Digest username=\"a@ims.example\",realm=\"ims.example\",nonce=\"\",uri=\"sip:ims.example\",response=\"\",algorithm=AKAv1-MD5,integrity-protected=yes\r\n\
         k: path,\r\n\tgruu\r\ns: hello\r\nP-Visited-Network-ID: \"other.net\"\r\nAllow: INVITE, register\r\n",
    );
    let theirs = request(&ours).unwrap();
    assert_same(&ours, &SipMessage::Request(theirs.clone()), "ims");
    let contacts: Vec<_> = theirs.contact_headers().into_iter().map(|contact| contact.typed().is_ok()).collect();
    assert_eq!(contacts, [true, false, false], "neither IPv6 nor quoted feature tags: {:?}", theirs.headers());
    let authorization = theirs.authorization_header().unwrap();
    assert!(authorization.value().contains("AKAv1-MD5"));
    assert!(authorization.typed().is_err());
    let mut text = String::new();
    for (name, value) in others(theirs.headers()) {
        text.push_str(&format!("{name}={value};"));
    }
    assert!(text.contains("Subject=hello;"), "{text}");
    assert!(text.contains("P-Visited-Network-ID=\"other.net\";"), "{text}");
    assert!(text.contains("Allow=INVITE, register;"), "{text}");
    assert!(theirs.headers().iter().any(|h| *h == Header::Supported(::rsip::headers::Supported::new("path, gruu"))));
}

#[test]
fn what_rsip_would_misread_is_kept_aside() {
    let cases = [
        ("Contact", "*"),
        ("Contact", "<sip:a@b.example?Subject=x>"),
        (
            "Authorization",
            "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"0\", qop=auth, cnonce=\"c\", nc=00000010",
        ),
        (
            "Authorization",
            "Digest username=\"a\\\"b\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"0\", opaque=\"\\\"\"",
        ),
        ("Accept", "text/plain"),
    ];
    for (name, value) in cases {
        let expires = if value == "*" { "Expires: 0\r\n" } else { "" };
        let ours = register(&format!("{name}: {value}\r\n{expires}"));
        let theirs = request(&ours).unwrap_or_else(|error| panic!("{name}: {value}: {error}"));
        let found = theirs.headers().iter().find(|header| header.to_string() == format!("{name}: {value}")).unwrap();
        let misread = match found {
            Header::Contact(contact) => contact.typed().is_ok(),
            Header::Authorization(authorization) => authorization.typed().is_ok(),
            Header::Other(..) => false,
            other => panic!("{other:?}"),
        };
        assert!(!misread, "{name}: {value}");
    }
    let ours = register(
        "Authorization: Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"0\", qop=auth, cnonce=\"c\", nc=00000009\r\n",
    );
    assert!(request(&ours).unwrap().authorization_header().unwrap().typed().is_ok(), "where it is right, it is typed");
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let start = |line: &str, core: &str| {
        let text = format!("{line}\r\n{core}Content-Length: 0\r\n\r\n");
        message(&Message::parse_owned(text.into_bytes()).unwrap()).unwrap_err()
    };
    assert_eq!(start("REGISTER tel:+34911 SIP/2.0", CORE), Unconvertible::RequestUri("tel:"));
    let publish = CORE.replace("REGISTER", "register");
    assert_eq!(start("register sip:b.example SIP/2.0", &publish), Unconvertible::Method("register".into()));
    assert!(matches!(start("REGISTER sip:b.example SIP/2.0", "To: x\r\n"), Unconvertible::Faulty(_)));
    let mut bytes = register("Subject: caf?\r\n").bytes().to_vec();
    let at = bytes.iter().position(|&b| b == b'?').unwrap();
    bytes[at] = 0xe9;
    let latin = Message::parse(&bytes).unwrap();
    assert_eq!(request(&latin), Err(Unconvertible::NotText("Subject".into())));
    assert_eq!(response(&latin), Err(Unconvertible::NotAResponse));
}

#[test]
fn ipv6_and_binary_bodies_are_kept() {
    let text =
        format!("MESSAGE sip:[2001:db8::1]:5062;transport=tcp SIP/2.0\r\n{CORE}").replace("17 REGISTER", "17 MESSAGE");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"Content-Type: application/vnd.3gpp.sms\r\nContent-Length: 3\r\n\r\n\x80\xff\xfe");
    let theirs = request(&Message::parse(&bytes).unwrap()).unwrap();
    assert_eq!(theirs.uri.to_string(), "sip:[2001:db8::1]:5062;transport=TCP");
    assert_eq!(theirs.uri.host().to_string(), "[2001:db8::1]");
    assert_eq!(theirs.body, b"\x80\xff\xfe");
}

#[test]
fn responses_keep_their_status() {
    for (status, code) in [("200 Fine", StatusCode::OK), ("299 Odd", StatusCode::Other(299, "Odd".into()))] {
        let text = format!("SIP/2.0 {status}\r\n{CORE}Content-Length: 0\r\n\r\n");
        let ours = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(response(&ours).unwrap().status_code, code);
        assert_eq!(request(&ours), Err(Unconvertible::NotARequest));
        assert_same(&ours, &message(&ours).unwrap(), status);
    }
}

fn address() -> impl Strategy<Value = String> {
    let display = prop::sample::select(vec!["", "Bob ", "\"Bob\" ", "\"B <sip:evil@x>\" ", "\"a\\\"b\" ", "B  C "]);
    let user = prop::sample::select(vec!["", "a@", "a:pw@", "a;b=c@", "a?b@", "%61@", "+349@", "a:1@"]);
    let host = prop::sample::select(vec!["h.example", "H.Example", "192.0.2.1", "[::1]", "h", "1.2.3"]);
    let port = prop::sample::select(vec!["", ":5060", ":1", ":065"]);
    let params = prop::collection::vec(
        prop::sample::select(vec![
            ";transport=tcp",
            ";transport=x",
            ";lr",
            ";lr=on",
            ";user=phone",
            ";method=invite",
            ";ttl=1",
        ]),
        0..3,
    );
    let headers = prop::sample::select(vec!["", "", "?a=b", "?Route=%3Csip:x%3E"]);
    let behind = prop::collection::vec(
        prop::sample::select(vec![
            ";expires=60",
            " ;q=0.5",
            "; x = y",
            ";+a=\"b;c,d\"",
            ";tag=T",
            ";expires=\"7\"",
            ";z",
        ]),
        0..3,
    );
    let scheme = prop::sample::select(vec!["sip:", "sips:", "SIP:"]);
    (display, scheme, user, host, port, params, headers, behind, any::<bool>()).prop_map(
        |(display, scheme, user, host, port, params, headers, behind, bare)| {
            let (params, behind) = (params.concat(), behind.concat());
            match bare {
                true => format!("{scheme}{user}{host}{port}{behind}"),
                false => format!("{display}<{scheme}{user}{host}{port}{params}{headers}>{behind}"),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn addresses_read_alike(contact in address(), second in address(), from in address()) {
        let text = register(&format!("Contact: {contact}, {second}\r\n"));
        let text = String::from_utf8(text.bytes().to_vec()).unwrap();
        let text = text.replace("Alice <sip:alice@ims.example>", &from);
        let ours = Message::parse(text.as_bytes()).unwrap();
        match message(&ours) {
            Ok(theirs) => assert_same(&ours, &theirs, &text),
            Err(Unconvertible::Faulty(_)) => {}
            Err(error) => panic!("{error}: {text}"),
        }
    }

    #[test]
    fn vias_read_alike(
        space in prop::sample::select(vec!["", " "]), host in prop::sample::select(vec!["h.example", "[::1]", "192.0.2.1"]),
        port in prop::sample::select(vec!["", ":5060", " : 1"]),
        params in prop::collection::vec(prop::sample::select(vec![";rport", ";rport=1", ";received=192.0.2.9", "; x=\"y;z\"", ";ttl=1"]), 0..3),
        transport in prop::sample::select(vec!["UDP", "tcp", "X"]),
    ) {
        let via = format!("SIP{space}/{space}2.0{space}/{space}{transport} {host}{port};branch=z9hG4bKa{}", params.concat());
        let text = String::from_utf8(register("").bytes().to_vec()).unwrap();
        let text = text.replace("Via: ", &format!("v: {via},{space}"));
        let ours = Message::parse(text.as_bytes()).unwrap();
        match message(&ours) {
            Ok(theirs) => assert_same(&ours, &theirs, &text),
            Err(Unconvertible::Faulty(_)) => {}
            Err(error) => panic!("{error}: {text}"),
        }
    }
}
