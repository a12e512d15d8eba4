//! Puts octets through everything that reads them, and asserts what must hold for any octets. Shared by the property
//! tests and the fuzz target.
use imscript::sip::{
    AuthParams, Contacts, HeaderName, Host, MediaType, Message, NameAddr, Params, RequestWriter, ResponseWriter, Uri,
    Via, frame, print,
};
use std::net::SocketAddr;

pub(crate) fn everything(bytes: &[u8]) {
    framing(bytes);
    values(bytes);
    let Ok(message) = Message::parse(bytes) else { return };
    accessors(&message);
    let fault = message.check();
    if message.is_request() {
        let source = SocketAddr::from(([192, 0, 2, 1], 5060));
        let status = fault.as_ref().map_or_else(|f| f.status, |()| 200);
        let mut writer = ResponseWriter::new(&message, status, source, "tag");
        for &name in HeaderName::ALL {
            writer.copy(&message, name);
        }
        for (name, value) in message.all_headers() {
            writer.header_named(&String::from_utf8_lossy(name), value);
        }
        let answer = writer.body("text/plain", message.body());
        let answer = Message::parse_owned(answer).expect("an answer can be read");
        assert_eq!(answer.status(), status);
        assert_eq!(answer.body(), message.body());
        if fault.is_ok() {
            let plain = ResponseWriter::new(&message, 200, source, "tag").finish();
            let plain = Message::parse(&plain).expect("an answer can be read");
            assert_eq!(plain.check(), Ok(()), "answer to a sound request");
            assert_eq!(plain.call_id(), message.call_id());
            assert_eq!(plain.cseq(), message.cseq());
            assert_eq!(plain.vias().count(), message.vias().count());
        }
    }
    if fault.is_ok() {
        let again = rebuild(&message);
        let again = Message::parse(&again).expect("what was written can be read");
        same(&message, &again);
        assert_eq!(again.check(), Ok(()));
        assert_eq!(frame::next(message.bytes()).is_ok(), message.header(HeaderName::ContentLength).is_some());
    }
}

/// Writes a message anew from what the accessors say.
pub(crate) fn rebuild(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if message.is_request() {
        out.extend_from_slice(message.method());
        out.push(b' ');
        out.extend_from_slice(message.request_uri_raw());
        out.extend_from_slice(b" SIP/2.0");
    } else {
        out.extend_from_slice(format!("SIP/2.0 {} ", message.status()).as_bytes());
        out.extend_from_slice(message.reason());
    }
    out.extend_from_slice(b"\r\n");
    for (name, value) in message.all_headers() {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        let lines: Vec<&[u8]> =
            value.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
        out.extend_from_slice(&lines.join(&b"\r\n"[..]));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(message.body());
    out
}

pub(crate) fn same(a: &Message<'_>, b: &Message<'_>) {
    let unfolded = |value: &[u8]| value.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<u8>>();
    let fields =
        |m: &Message<'_>| m.all_headers().map(|(name, value)| (name.to_vec(), unfolded(value))).collect::<Vec<_>>();
    assert_eq!(a.method(), b.method());
    assert_eq!(a.request_uri_raw(), b.request_uri_raw());
    assert_eq!((a.status(), a.reason()), (b.status(), b.reason()));
    assert_eq!(fields(a), fields(b));
    assert_eq!(a.body(), b.body());
}

fn accessors(m: &Message<'_>) {
    let _ = (m.is_request(), m.method(), m.status(), m.reason(), m.bytes(), format!("{m:?}"));
    if let Ok(u) = m.request_uri() {
        uri(&u);
    }
    let _ = (m.top_via().is_ok(), m.call_id(), m.cseq(), m.max_forwards(), m.expires());
    for v in m.vias().flatten() {
        via(&v);
    }
    for a in [m.from(), m.to()].into_iter().flatten() {
        address(&a);
    }
    if let Ok(Contacts::List(list)) = m.contacts() {
        list.iter().for_each(address);
    }
    for &name in HeaderName::ALL {
        m.addresses(name).flatten().for_each(|a| address(&a));
        assert_eq!(m.headers(name).next(), m.header(name));
        assert!(m.list(name).all(|element| !element.is_empty()));
        assert_eq!(m.header_named(name.as_str()), m.header(name));
    }
    for (name, value) in m.all_headers() {
        if let Ok(name) = std::str::from_utf8(name) {
            assert!(m.headers_named(name).any(|v| v == value));
        }
    }
    m.authorizations().chain(m.challenges()).flatten().for_each(|a| auth(&a));
    if let Some(Ok(media)) = m.content_type() {
        let _ = (media.is("a/b+c"), media.is_multipart(), media.params.get("boundary"));
    }
    if let Ok(parts) = m.parts() {
        for part in parts {
            let _ = (part.media_type().is_ok(), part.disposition(), part.transfer_encoding(), part.header("x"));
        }
    }
}

/// Each typed value on the octets themselves.
fn values(bytes: &[u8]) {
    if let Ok(u) = Uri::parse(bytes) {
        uri(&u);
        assert!(u.equivalent(&u));
    }
    if let Ok(v) = Via::parse(bytes) {
        via(&v);
    }
    if let Ok(a) = NameAddr::parse(bytes) {
        address(&a);
    }
    for a in [AuthParams::parse(bytes), AuthParams::parse_bare(bytes)].into_iter().flatten() {
        auth(&a);
    }
    let _ = (MediaType::parse(bytes).is_ok(), Host::parse(bytes), HeaderName::from_bytes(bytes));
    params(&Params::new(bytes));
    params(&Params::split(bytes).1);
    let text = String::from_utf8_lossy(bytes);
    let mut writer = RequestWriter::new(&text, &text);
    writer.header_named(&text, bytes).header(HeaderName::Contact, bytes);
    let written = print::insert_via(&writer.body(&text, bytes), &text);
    let read = Message::parse(&written);
    if !text.is_empty() && written.len() < 60_000 {
        let read = read.expect("what was written can be read");
        assert_eq!(read.body(), bytes);
        assert_eq!(
            read.headers(HeaderName::Contact).count(),
            1 + usize::from(HeaderName::from_bytes(bytes) == HeaderName::Contact)
        );
    }
    let (content_type, body) = print::write_multipart(&[("a/b", bytes), ("c/d", b"x")]);
    let request = RequestWriter::new("MESSAGE", "sip:a").body(&content_type, &body);
    if let Ok(message) = Message::parse(&request) {
        let parts = message.parts().expect("what was written can be read");
        assert_eq!((parts.len(), parts[0].content), (2, bytes));
    }
}

fn uri(u: &Uri<'_>) {
    let aor = u.aor();
    let again = Uri::parse(aor.as_bytes()).expect("an address of record is a URI");
    assert_eq!(again.aor(), aor, "canonical form is a fixed point");
    let shown = u.to_string();
    let shown = Uri::parse(shown.as_bytes()).expect("a URI prints as one");
    assert_eq!(shown.aor(), aor);
    if let Some(sip) = u.as_sip() {
        let _ = (sip.transport(), sip.maddr(), sip.lr(), sip.user_decoded(), sip.host.ip());
        params(&sip.params);
    }
}

fn address(a: &NameAddr<'_>) {
    uri(&a.uri);
    params(&a.params);
    let _ = (a.tag(), a.expires(), a.q());
}

fn via(v: &Via<'_>) {
    params(&v.params);
    let _ = (v.branch(), v.rport(), v.received(), v.host.to_string());
}

fn params(p: &Params<'_>) {
    for (name, _) in p.iter().take(100) {
        if let Ok(name) = std::str::from_utf8(name) {
            assert!(p.has(name) && p.get(name).is_some());
        }
    }
}

fn auth(a: &AuthParams<'_>) {
    for (name, _) in a.iter() {
        if let Ok(name) = std::str::from_utf8(name) {
            assert!(a.get(name).is_some());
        }
    }
    let _ = (a.duplicate(), a.is_digest(), format!("{a:?}"));
}

/// A frame found in a prefix is the frame found in the whole; an error stays one.
fn framing(bytes: &[u8]) {
    let whole = frame::next(bytes);
    if let Ok(frame::Frame::Message { len }) = whole {
        assert!(len > 0 && len <= bytes.len());
        assert_eq!(frame::next(&bytes[..len]), whole);
        if let Ok(message) = Message::parse(&bytes[..len]) {
            assert_eq!(message.bytes().len(), len, "stream and datagram agree");
        }
    }
    for at in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        match frame::next(&bytes[..at]) {
            Ok(frame::Frame::Incomplete) => {}
            Ok(frame::Frame::KeepAlive { skip, .. }) => assert!(skip > 0 && skip <= at),
            Ok(message) => assert_eq!(Ok(message), whole),
            Err((fault, head)) => {
                assert!(head <= at);
                assert_eq!(Err(fault), whole.clone().map_err(|(f, _)| f), "a stream's fault stays");
            }
        }
    }
}
