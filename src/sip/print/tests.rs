use super::*;
use crate::sip::Uri;

const REQUEST: &[u8] = b"REGISTER sip:ims.example SIP/2.0\r\n\
v: SIP/2.0/UDP ue.example:5070 ; branch=z9hG4bK1 ;received=1.2.3.4;rport;x=\"a;b\" , SIP/2.0/TCP\r\n  next.example\r\n\
Via: SIP/2.0/UDP last.example\r\nf: \"A\r\n B\" <sip:a@ims.example>;tag=f\r\nt: <sip:a@ims.example>\r\ni: c1\r\nCSeq:\r\n 1 REGISTER\r\n\
Path: <sip:p1.example;lr>,\r\n <sip:p2.example;lr>\r\nPath: <sip:p3.example;lr>\r\nl: 0\r\n\r\n";

fn source() -> SocketAddr {
    "192.0.2.7:4711".parse().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_response_copies_unfolds_and_marks_the_source() {
    let request = Message::parse(REQUEST).unwrap();
    let mut writer = ResponseWriter::new(&request, 200, source(), "me");
    writer.copy(&request, HeaderName::Path).header(HeaderName::Expires, "60");
    assert_eq!(
        text(writer.body("text/plain", b"hi")),
        "SIP/2.0 200 OK\r\n\
         Via: SIP/2.0/UDP ue.example:5070;branch=z9hG4bK1;x=\"a;b\";received=192.0.2.7;rport=4711, SIP/2.0/TCP next.example\r\n\
         Via: SIP/2.0/UDP last.example\r\nFrom: \"A B\" <sip:a@ims.example>;tag=f\r\nTo: <sip:a@ims.example>;tag=me\r\nCall-ID: c1\r\n\
         CSeq: 1 REGISTER\r\nPath: <sip:p1.example;lr>, <sip:p2.example;lr>\r\nPath: <sip:p3.example;lr>\r\nExpires: 60\r\n\
         Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
    );
    let trying = ResponseWriter::new(&request, 100, source(), "me").finish();
    assert!(Message::parse(&trying).unwrap().to().unwrap().tag().is_none());
}

#[test]
fn received_and_rport() {
    let via = |sent: &str, from: &str| {
        let request = format!("OPTIONS sip:a SIP/2.0\r\nVia: {sent}\r\n\r\n");
        let request = Message::parse(request.as_bytes()).unwrap();
        let out = text(ResponseWriter::new(&request, 400, from.parse().unwrap(), "t").finish());
        out.lines().nth(1).unwrap_or_default().strip_prefix("Via: ").unwrap_or_default().to_owned()
    };
    for (sent, from, copied) in [
        ("SIP/2.0/UDP 192.0.2.7:5060;branch=b", "192.0.2.7:9", "SIP/2.0/UDP 192.0.2.7:5060;branch=b"),
        ("SIP/2.0/UDP 192.0.2.7;branch=b", "[::ffff:192.0.2.7]:9", "SIP/2.0/UDP 192.0.2.7;branch=b"),
        (
            "SIP/2.0/UDP 192.0.2.7;rport;branch=b",
            "192.0.2.7:9",
            "SIP/2.0/UDP 192.0.2.7;branch=b;received=192.0.2.7;rport=9",
        ),
        ("SIP/2.0/UDP 192.0.2.7;rport=1", "192.0.2.7:9", "SIP/2.0/UDP 192.0.2.7;received=192.0.2.7;rport=9"),
        ("SIP/2.0/UDP 192.0.2.7;received=10.0.0.1", "192.0.2.7:9", "SIP/2.0/UDP 192.0.2.7"),
        ("SIP/2.0/UDP a.example;branch=b", "192.0.2.7:9", "SIP/2.0/UDP a.example;branch=b;received=192.0.2.7"),
        ("SIP/2.0/UDP [2001:db8::1];branch=b", "[2001:db8::1]:9", "SIP/2.0/UDP [2001:db8::1];branch=b"),
        ("SIP/2.0/UDP [2001:db8::1]:5060", "[2001:db8::2]:9", "SIP/2.0/UDP [2001:db8::1]:5060;received=2001:db8::2"),
        ("garbage ;;", "192.0.2.7:9", "garbage ;;"),
    ] {
        assert_eq!(via(sent, from), copied);
    }
}

#[test]
fn a_tag_is_added_once() {
    for (to, written) in [
        ("<sip:a@b>", "To: <sip:a@b>;tag=me\r\n"),
        ("<sip:a@b>;TAG=x", "To: <sip:a@b>;TAG=x\r\n"),
        ("<sip:a@b;tag=x>", "To: <sip:a@b;tag=x>;tag=me\r\n"),
        ("sip:a@b ; tag = x", "To: sip:a@b ; tag = x\r\n"),
        ("\"unterminated <sip:a@b>", "To: \"unterminated <sip:a@b>;tag=me\r\n"),
    ] {
        let request = format!("OPTIONS sip:a SIP/2.0\r\nTo: {to}\r\n\r\n");
        let request = Message::parse(request.as_bytes()).unwrap();
        let out = text(ResponseWriter::new(&request, 400, source(), "me").finish());
        assert!(out.contains(written), "{out}");
    }
}

#[test]
fn no_value_breaks_out_of_its_line() {
    let request = Message::parse(b"OPTIONS sip:a SIP/2.0\r\nFrom: <sip:a>\rEvil: 1\r\n\r\n").unwrap();
    let fault =
        Fault { status: 420, reason: "Bad\r\nEvil: 2".into(), headers: vec![("Unsupported", "x\nEvil: 3".into())] };
    let mut writer = ResponseWriter::fault(&request, &fault, source(), "t\r\nEvil: 4");
    writer
        .header(HeaderName::Expires, "60\r\nEvil: 5")
        .header_named("X\r\nEvil: 6", "y")
        .header_named("X", "\r\n\r\nEvil: 7");
    writer.header_named("l", "99").header(HeaderName::ContentLength, "98").header(HeaderName::Other, "97");
    let out = writer.body("text/plain\r\nEvil: 8", b"");
    let answer = Message::parse(&out).unwrap();
    assert_eq!(answer.header_named("Evil"), None, "{}", String::from_utf8_lossy(&out));
    assert_eq!(answer.headers(HeaderName::ContentLength).collect::<Vec<_>>(), [b"0"]);
    assert_eq!(answer.header(HeaderName::Unsupported), Some(&b"x Evil: 3"[..]));
    assert_eq!(answer.status(), 420);

    let out = RequestWriter::new("A B\r\n", "sip:a SIP/2.0\r\nEvil: 1\u{e9}").finish();
    let out = insert_via(&out, "SIP/2.0/UDP a\r\nEvil: 2");
    let sent = Message::parse(&out).unwrap();
    assert_eq!(sent.method(), b"A-B--");
    assert_eq!(sent.request_uri_raw(), b"sip:a%20SIP/2.0%0D%0AEvil:%201%C3%A9");
    assert_eq!(sent.all_headers().count(), 2);
}

#[test]
fn a_request_gets_its_via_on_top() {
    let mut writer = RequestWriter::new("NOTIFY", "sip:ue.example");
    writer.header(HeaderName::From, "<sip:a>;tag=1").header_named("X-Y", b"\xff\xfe");
    let out = insert_via(&writer.body("application/octet-stream", b"\x80\xff\xfe\0"), "SIP/2.0/UDP me;branch=z9hG4bK2");
    let request = Message::parse(&out).unwrap();
    assert_eq!(request.all_headers().next(), Some((&b"Via"[..], &b"SIP/2.0/UDP me;branch=z9hG4bK2"[..])));
    assert_eq!(request.header_named("x-y"), Some(&b"\xff\xfe"[..]));
    assert_eq!(request.body(), b"\x80\xff\xfe\0");
    assert!(matches!(request.request_uri(), Ok(Uri::Sip(_))));
}

#[test]
fn multipart_round_trip() {
    let binary: Vec<u8> = (0..=255).collect();
    let parts: [(&str, &[u8]); 3] =
        [("application/octet-stream", &binary), ("text/plain", b"--part-\r\n"), ("text/x", b"")];
    let (content_type, body) = write_multipart(&parts);
    let out = RequestWriter::new("MESSAGE", "sip:a").body(&content_type, &body);
    let message = Message::parse(&out).unwrap();
    let read: Vec<(&[u8], &[u8])> = message.parts().unwrap().iter().map(|p| (p.content_type, p.content)).collect();
    assert_eq!(read, parts.map(|(t, c)| (t.as_bytes(), c)));
    let written = RequestWriter::new("MESSAGE", "sip:a").multipart(&parts);
    let in_place = Message::parse(&written).unwrap();
    let read: Vec<(&[u8], &[u8])> = in_place.parts().unwrap().iter().map(|p| (p.content_type, p.content)).collect();
    assert_eq!(read, parts.map(|(t, c)| (t.as_bytes(), c)));
    assert_eq!(written.len(), out.len(), "all of it, and nothing else");
}

#[test]
fn a_via_in_place_is_the_same_as_one_in_a_copy() {
    let request = RequestWriter::new("NOTIFY", "sip:ue.example").body("text/plain", b"\nx");
    let copy = insert_via(&request, "SIP/2.0/UDP 127.0.0.1:5060;rport");
    let mut in_place = request;
    put_via(&mut in_place, |line| {
        line.text("SIP/2.0/UDP ").socket("127.0.0.1:5060".parse().unwrap()).text(";rport");
    });
    assert_eq!(in_place, copy);
}

#[test]
fn phrases_and_quotes() {
    assert_eq!(reason_phrase(416), "Unsupported URI Scheme");
    assert_eq!(reason_phrase(499), "Request Failure");
    assert_eq!(reason_phrase(0), "Global Failure");
    assert_eq!(quoted("a\"b\\\r\n"), "\"a\\\"b\\\\  \"");
}
