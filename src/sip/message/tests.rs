use super::*;

fn request(extra: &str, body: &str) -> Vec<u8> {
    format!(
        "REGISTER sip:ims.example SIP/2.0\r\nVia: SIP/2.0/UDP ue.example;branch=z9hG4bK1;rport\r\nFrom: <sip:a@ims.example>;tag=f\r\n\
         To: <sip:a@ims.example>\r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\n{extra}\r\n{body}"
    )
    .into_bytes()
}

fn status(bytes: &[u8]) -> Option<u16> {
    Message::parse(bytes).expect("parses").check().err().map(|f| f.status)
}

#[test]
fn body_follows_content_length() {
    for (extra, body, read) in [
        ("", "all of it", "all of it"),
        ("Content-Length: 3\r\n", "abcdef", "abc"),
        ("Content-Length   : 3\r\n", "abcdef", "abc"),
        ("l:3\r\n", "abcdef", "abc"),
        ("L :\r\n 03\r\n", "abcdef", "abc"),
        ("Content-Length: 3\r\nl: 3\r\n", "abcdef", "abc"),
        ("Content-Length: 0\r\n", "abcdef", ""),
    ] {
        let bytes = request(extra, body);
        let m = Message::parse(&bytes).unwrap();
        assert_eq!(m.check(), Ok(()), "{extra}");
        assert_eq!(m.body(), read.as_bytes(), "{extra}");
        assert!(m.bytes().ends_with(read.as_bytes()) && m.bytes().starts_with(b"REGISTER"));
    }
}

#[test]
fn bad_content_length_is_400() {
    for value in ["-999", "+3", "3x", "", "3, 3", "0x3", "18446744073709551616", "99999999999999999999999", "7", "1 2"]
    {
        let bytes = request(&format!("Content-Length: {value}\r\n"), "abcdef");
        assert_eq!(status(&bytes), Some(400), "{value}");
    }
    assert_eq!(status(&request("Content-Length: 3\r\nl: 4\r\n", "abcdef")), Some(400));
}

#[test]
fn line_ends() {
    let crlf = request("X: a\r\n b\r\n", "");
    let lf: Vec<u8> = crlf.iter().copied().filter(|b| *b != b'\r').collect();
    let m = Message::parse(&lf).unwrap();
    assert_eq!(m.check(), Ok(()));
    assert_eq!(m.header_named("X"), Some(&b"a\n b"[..]));
    // Mixed ends and a bare CR are read differently by different parsers.
    assert_eq!(status(&request("X: a\nRoute: <sip:evil.example>\r\n", "")), Some(400));
    assert_eq!(status(&request("X: a\rRoute: <sip:evil.example>\r\n", "")), Some(400));
    assert_eq!(status(&request("X: a\r\r\n", "")), Some(400));
    let mut led = b"\r\n\r\n".to_vec();
    led.extend_from_slice(&crlf);
    assert_eq!(Message::parse(&led).unwrap().bytes(), crlf);
}

#[test]
fn not_messages_at_all() {
    for bytes in [
        &b""[..],
        b"\r\n\r\n",
        b"\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"REGISTER\r\n\r\n",
        b" x SIP/2.0\r\n",
        b"\xff\xff\xff\xff",
    ] {
        assert_eq!(Message::parse(bytes).err().map(|f| f.status), Some(400), "{bytes:?}");
    }
    assert_eq!(Message::parse(&vec![b'a'; limits::MESSAGE + 1]).err().map(|f| f.status), Some(513));
}

#[test]
fn start_lines() {
    let with = |line: &str| {
        let rest = request("", "");
        let at = rest.iter().position(|b| *b == b'\n').unwrap();
        [line.as_bytes(), b"\r", &rest[at..]].concat()
    };
    for (line, expected) in [
        ("REGISTER sip:ims.example SIP/2.0", None),
        ("REGISTER sip:ims.example sip/2.0", None),
        ("REGISTER tel:+1-555;phone-context=x SIP/2.0", None),
        ("REGISTER sip:ims.example SIP/3.0", Some(505)),
        ("REGISTER sip:ims.example SIP/2.1", Some(505)),
        ("REGISTER sip:ims.example SIP/2.0x", Some(400)),
        ("REGISTER  sip:ims.example SIP/2.0", Some(400)),
        ("REGISTER sip:ims.example\tSIP/2.0", Some(400)),
        ("REGISTER sip:ims.example SIP/2.0 ", Some(400)),
        ("REGISTER SIP/2.0", Some(400)),
        ("REG@STER sip:ims.example SIP/2.0", Some(400)),
        ("register sip:ims.example SIP/2.0", Some(400)),
        ("REGISTER <sip:ims.example> SIP/2.0", Some(400)),
        ("REGISTER sip:a@ims.example?x=y SIP/2.0", Some(400)),
        ("REGISTER sip:a@ims.example? SIP/2.0", Some(400)),
        ("REGISTER ims.example SIP/2.0", Some(400)),
        ("REGISTER http://ims.example SIP/2.0", Some(416)),
        ("REGISTER urn:service:sos SIP/2.0", Some(416)),
        ("SIP/2.0 99 Low", Some(400)),
        ("SIP/2.0 700 High", Some(400)),
        ("SIP/2.0 2000 Long", Some(400)),
        ("SIP/2.0 20x OK", Some(400)),
        ("SIP/2.0  200 OK", Some(400)),
        ("SIP/2.0 200 OK", None),
        ("SIP/2.0 200", None),
    ] {
        assert_eq!(status(&with(line)), expected, "{line}");
    }
    let long = format!("REGISTER sip:{}@ims.example SIP/2.0", "a".repeat(limits::LINE));
    assert_eq!(status(&with(&long)), Some(414));
}

#[test]
fn limits_leave_an_answerable_message() {
    let many = request(&"X: y\r\n".repeat(limits::HEADERS), "");
    let long = request(&format!("X: {}\r\n", "y".repeat(limits::LINE)), "");
    let folded = request(&format!("X: y\r\n{}", " y\r\n".repeat(limits::LINE / 3)), "");
    for bytes in [many, long, folded] {
        let m = Message::parse(&bytes).unwrap();
        assert_eq!(m.check().map_err(|f| f.status), Err(400));
        assert!(m.top_via().is_ok());
    }
}

#[test]
fn field_faults() {
    for (extra, expected) in [
        ("Max-Forwards: 255\r\n", None),
        ("Max-Forwards: 256\r\n", Some(400)),
        ("Max-Forwards: x\r\n", Some(400)),
        ("Max-Forwards: 1\r\nMax-Forwards: 1\r\n", Some(400)),
        ("Expires: 99999999999999\r\n", None),
        ("Expires: soon\r\n", Some(400)),
        ("Call-ID: other\r\n", Some(400)),
        ("i: other\r\n", Some(400)),
        ("Contact: *\r\n", None),
        ("Contact: *, <sip:a@b>\r\n", Some(400)),
        ("Contact: <sip:a@b>\r\nContact: *\r\n", Some(400)),
        ("Contact: <sip:a@b>,,<sip:c@d>\r\n", Some(400)),
        ("Contact:\r\n", Some(400)),
        ("Contact: <sip:a@b>;expires=99999999999\r\n", None),
        ("Contact: <sip:a@b>;+sip.instance=\"<urn:gsma:imei:1>\";+g.3gpp.icsi-ref=\"urn%3Aa,urn%3Ab\"\r\n", None),
        ("Contact: <sip:a@b>;+x=\"open\r\n", Some(400)),
        ("Date: Sat, 13 Nov 2010 23:29:00 GMT\r\n", None),
        ("Date: yesterday\r\n", Some(400)),
        ("Authorization: Digest nonce=\"\"\r\n", None),
        ("Authorization: Digest nonce=\"\r\n", Some(400)),
        ("Authorization: Other \"\r\n", None),
        ("Route: <sip:p.example;lr>, <sip:q.example;lr>\r\n", None),
        ("Route: <sip:p.example;lr\r\n", Some(400)),
        ("Content-Type: text\r\n", Some(400)),
        ("no colon here\r\n", Some(400)),
        ("b@d name: x\r\n", Some(400)),
        (": no name\r\n", Some(400)),
        ("Via: SIP/2.0/UDP\r\n", Some(400)),
        ("Via: SIP/2.0/UDP a.example;;\r\n", Some(400)),
        ("X\u{e9}: y\r\n", Some(400)),
        ("X: \u{e9}\r\n", None),
    ] {
        assert_eq!(status(&request(extra, "")), expected, "{extra}");
    }
    // The empty line missing, a fold right under the start line.
    let whole = request("", "");
    assert_eq!(status(&whole[..whole.len() - 2]), Some(400));
    assert_eq!(status(&whole[..whole.len() - 9]), Some(400));
    let text = String::from_utf8(whole).unwrap().replace("SIP/2.0\r\nVia", "SIP/2.0\r\n Via");
    assert_eq!(status(text.as_bytes()), Some(400));
}

#[test]
fn mandatory_fields() {
    let whole = String::from_utf8(request("", "")).unwrap();
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let without: Vec<&str> =
            whole.split_inclusive("\r\n").filter(|l| !l.starts_with(&format!("{name}:"))).collect();
        let bytes = without.concat().into_bytes();
        let fault = Message::parse(&bytes).unwrap().check().unwrap_err();
        assert_eq!((fault.status, fault.reason), (400, format!("Bad Request: {name}: missing").into()));
    }
    assert_eq!(status(whole.replace("1 REGISTER", "2147483648 REGISTER").as_bytes()), Some(400));
    assert_eq!(status(whole.replace("1 REGISTER", "1 INVITE").as_bytes()), Some(400));
    assert_eq!(status(whole.replace("tag=f", "tag=f;tag=g").as_bytes()), Some(400));
    assert_eq!(status(whole.replace("From: <", "From: Bell, A <").as_bytes()), Some(400));
    assert_eq!(status(whole.replace("From: <sip:", "From: < sip:").as_bytes()), Some(400));
    assert_eq!(status(whole.replace("Call-ID: c1", "Call-ID: c1 c2").as_bytes()), Some(400));
}

#[test]
fn access_by_name() {
    let bytes = request("X-Odd: 1\r\nx-odd: 2\r\nSubject: long\r\ns: short\r\nm: <sip:a@b>\r\n", "");
    let m = Message::parse_owned(bytes).unwrap();
    assert_eq!(m.header_named("X-ODD"), Some(&b"1"[..]));
    assert_eq!(m.headers_named("x-odd").count(), 2);
    assert_eq!(m.headers_named("S").collect::<Vec<_>>(), [&b"long"[..], b"short"]);
    assert_eq!(m.header_named("contact"), m.header(HeaderName::Contact));
    assert_eq!(m.header_named("c"), None);
    assert_eq!(m.all_headers().count(), 10);
    assert_eq!(m.all_headers().last(), Some((&b"m"[..], &b"<sip:a@b>"[..])));
    assert!(!format!("{m:?}").contains("a@b"));
    let owned = m.clone().into_owned();
    assert_eq!(owned.bytes(), m.bytes());
    assert_eq!(owned.max_forwards(), Ok(None));
    assert_eq!(owned.expires(), None);
}

#[test]
fn hostile_lists_take_linear_time() {
    let started = std::time::Instant::now();
    let line = |unit: &str| format!("{}\r\n", unit.repeat(8000 / unit.len()));
    let mut extra = String::new();
    for unit in [",", ";", "\"", "\\", "<", ";a", ",<sip:a@b>", "%00", ";a=b", "\"\\"] {
        for name in ["Contact: <sip:a@b>", "Authorization: Digest ", "Require: x"] {
            extra.clear();
            extra.push_str(name);
            extra.push_str(&line(unit));
            let bytes = request(&extra.repeat(7), "");
            let m = Message::parse(&bytes).unwrap();
            let _ = (m.check(), m.contacts().is_ok(), m.list(HeaderName::Require).count());
            for a in m.authorizations().flatten() {
                let _ = (a.duplicate(), a.get("nonce"));
            }
        }
    }
    assert!(started.elapsed().as_secs() < 5);
}
