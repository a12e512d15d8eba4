//! Writing messages: straight into one buffer, body appended as octets (RFC 3261 §7, §8.2.6, §18.2.1; RFC 3581).
//! No value can break out of its line: CR and LF become blanks.
use super::octets;
use super::scan::{elements, find_any, is_token, trim_end};
use super::{Fault, HeaderName, Message, NameAddr, Via};
use line::{push_decimal, push_ip, push_value};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::net::SocketAddr;

mod line;

pub use line::Line;

pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        439 => "First Hop Lacks Outbound Support",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        // Any other code is understood by its class (RFC 3261 §8.1.3.2).
        _ => match status / 100 {
            1 => "Progress",
            2 => "Success",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

/// Whether RFC 3261 or one of its extensions defines the method: an element that knows it and does not serve it answers
/// 405, one that has never heard of it 501 (§8.2.1, §21.5.2).
pub fn is_defined_method(method: &[u8]) -> bool {
    const DEFINED: [&[u8]; 14] = [
        b"ACK",
        b"BYE",
        b"CANCEL",
        b"INFO",
        b"INVITE",
        b"MESSAGE",
        b"NOTIFY",
        b"OPTIONS",
        b"PRACK",
        b"PUBLISH",
        b"REFER",
        b"REGISTER",
        b"SUBSCRIBE",
        b"UPDATE",
    ];
    DEFINED.contains(&method)
}

fn push_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    push_value(out, value);
    out.extend_from_slice(b"\r\n");
}

/// A header given by text; what is no field name, or is the writer's own to write, is left out.
fn push_named(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if is_token(name.as_bytes()) && HeaderName::from_bytes(name.as_bytes()) != HeaderName::ContentLength {
        push_header(out, name, value);
    }
}

fn push_known(out: &mut Vec<u8>, name: HeaderName, value: &[u8]) {
    if !matches!(name, HeaderName::ContentLength | HeaderName::Other) {
        push_header(out, name.as_str(), value);
    }
}

/// Appends what is in `from`, where it has no blanks around it.
fn push_copy(out: &mut Vec<u8>, from: &Message<'_>, text: &[u8]) {
    if from.is_folded() { push_value(out, text) } else { out.extend_from_slice(text) }
}

fn push_copies(out: &mut Vec<u8>, from: &Message<'_>, name: HeaderName) {
    if !matches!(name, HeaderName::ContentLength | HeaderName::Other) {
        from.headers(name).for_each(|value| push_field(out, from, name, value));
    }
}

/// Appends a field that `from` has.
fn push_field(out: &mut Vec<u8>, from: &Message<'_>, name: HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    push_copy(out, from, value);
    out.extend_from_slice(b"\r\n");
}

/// Writing into a vector cannot fail; this keeps the formatter's result out of the way.
fn push_fmt(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn finish(mut out: Vec<u8>, content_type: Option<&str>, body: &[u8]) -> Vec<u8> {
    if let Some(content_type) = content_type {
        push_known(&mut out, HeaderName::ContentType, content_type.as_bytes());
    }
    out.extend_from_slice(b"Content-Length: ");
    push_decimal(&mut out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
    out
}

/// Builds a response to `request` (RFC 3261 §8.2.6): Via lines copied (with `received`/`rport` of RFC 3581 put into
/// the top one), From, To (with our tag if it has none and status > 100), Call-ID, CSeq, then what is added, then Content-Length.
/// A faulty request is answered with what it has.
#[derive(Debug, Clone)]
pub struct ResponseWriter {
    out: Vec<u8>,
}

impl ResponseWriter {
    /// `tag`: To tag to add when the request's To has none.
    pub fn new(request: &Message<'_>, status: u16, source: SocketAddr, tag: &str) -> Self {
        Self::with_reason(request, status, reason_phrase(status), source, tag)
    }

    pub fn with_reason(request: &Message<'_>, status: u16, reason: &str, source: SocketAddr, tag: &str) -> Self {
        let mut out = octets::take();
        out.extend_from_slice(b"SIP/2.0 ");
        push_decimal(&mut out, status.clamp(100, 699).into());
        out.push(b' ');
        push_value(&mut out, reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        for (i, value) in request.headers(HeaderName::Via).enumerate() {
            if i == 0 {
                push_top_via(&mut out, request, value, source);
            } else {
                push_field(&mut out, request, HeaderName::Via, value);
            }
        }
        if let Some(value) = request.header(HeaderName::From) {
            push_field(&mut out, request, HeaderName::From, value);
        }
        if let Some(value) = request.header(HeaderName::To) {
            out.extend_from_slice(b"To: ");
            push_copy(&mut out, request, value);
            let tagged = match NameAddr::halves(value) {
                Ok((_, params)) => params.has("tag"),
                Err(_) => value.windows(5).any(|w| w.eq_ignore_ascii_case(b";tag=")),
            };
            if !tagged && status > 100 && is_token(tag.as_bytes()) {
                out.extend_from_slice(b";tag=");
                out.extend_from_slice(tag.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
        for name in [HeaderName::CallId, HeaderName::CSeq] {
            if let Some(value) = request.header(name) {
                push_field(&mut out, request, name, value);
            }
        }
        ResponseWriter { out }
    }

    /// The answer that tells a fault, with the header lines that belong to it.
    pub fn fault(request: &Message<'_>, fault: &Fault, source: SocketAddr, tag: &str) -> Self {
        let mut writer = Self::with_reason(request, fault.status, &fault.reason, source, tag);
        for (name, value) in &fault.headers {
            writer.header_named(name, value);
        }
        writer
    }

    pub fn header(&mut self, name: HeaderName, value: impl AsRef<[u8]>) -> &mut Self {
        push_known(&mut self.out, name, value.as_ref());
        self
    }

    /// A header whose value is written in place, without a text of its own; the line ends with the statement:
    /// `response.line(HeaderName::Contact).text("<").text(uri).text(">;expires=").number(60);`
    pub fn line(&mut self, name: HeaderName) -> Line<'_> {
        Line::begin(&mut self.out, name)
    }

    /// A header by text name; CR and LF in the value are refused (replaced by a blank). A name that is no token adds
    /// nothing, nor does Content-Length, which the writer counts itself.
    pub fn header_named(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        push_named(&mut self.out, name, value.as_ref());
        self
    }

    /// Copies every field of that name from `from` (unfolded).
    pub fn copy(&mut self, from: &Message<'_>, name: HeaderName) -> &mut Self {
        push_copies(&mut self.out, from, name);
        self
    }

    pub fn finish(self) -> Vec<u8> {
        finish(self.out, None, b"")
    }

    pub fn body(self, content_type: &str, body: &[u8]) -> Vec<u8> {
        finish(self.out, Some(content_type), body)
    }
}

/// The request's first Via field, its first element told where it came from.
fn push_top_via(out: &mut Vec<u8>, request: &Message<'_>, value: &[u8], source: SocketAddr) {
    let mut list = elements(value);
    let top = list.next().unwrap_or_default();
    let Ok(via) = Via::parse(top) else { return push_field(out, request, HeaderName::Via, value) };
    let ip = source.ip().to_canonical();
    out.extend_from_slice(b"Via: ");
    // What the sender says about itself here counts for nothing (RFC 3261 §18.2.1, RFC 3581 §4).
    let ours = |name: &[u8]| name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport");
    let rport = via.params.has("rport");
    if rport || via.params.has("received") {
        push_copy(out, request, trim_end(top.strip_suffix(via.params.raw()).unwrap_or(top)));
        for (name, value) in via.params.iter().filter(|(name, _)| !ours(name)) {
            out.push(b';');
            push_copy(out, request, name);
            if let Some(value) = value {
                out.push(b'=');
                push_copy(out, request, value);
            }
        }
    } else {
        push_copy(out, request, top);
    }
    if rport || via.host.ip().map(|sent_by| sent_by.to_canonical()) != Some(ip) {
        out.extend_from_slice(b";received=");
        push_ip(out, ip);
    }
    if rport {
        out.extend_from_slice(b";rport=");
        push_decimal(out, source.port().into());
    }
    for element in list {
        out.extend_from_slice(b", ");
        push_copy(out, request, element);
    }
    out.extend_from_slice(b"\r\n");
}

/// Builds a request without Via: the transaction layer puts its own on top.
#[derive(Debug, Clone)]
pub struct RequestWriter {
    out: Vec<u8>,
}

impl RequestWriter {
    /// Octets that a start line cannot hold are replaced: in the method by `-`, in the URI by their escape.
    pub fn new(method: &str, uri: &str) -> Self {
        let mut out = octets::take();
        if is_token(method.as_bytes()) {
            out.extend_from_slice(method.as_bytes());
        } else {
            out.extend(method.bytes().map(|b| if b.is_ascii_alphanumeric() { b } else { b'-' }));
        }
        out.push(b' ');
        for b in uri.bytes() {
            if b <= b' ' || b >= 0x7f {
                push_fmt(&mut out, format_args!("%{b:02X}"));
            } else {
                out.push(b);
            }
        }
        out.extend_from_slice(b" SIP/2.0\r\n");
        RequestWriter { out }
    }

    pub fn header(&mut self, name: HeaderName, value: impl AsRef<[u8]>) -> &mut Self {
        push_known(&mut self.out, name, value.as_ref());
        self
    }

    /// As [`ResponseWriter::line`].
    pub fn line(&mut self, name: HeaderName) -> Line<'_> {
        Line::begin(&mut self.out, name)
    }

    /// As [`ResponseWriter::header_named`].
    pub fn header_named(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        push_named(&mut self.out, name, value.as_ref());
        self
    }

    /// Copies every field of that name from `from` (unfolded).
    pub fn copy(&mut self, from: &Message<'_>, name: HeaderName) -> &mut Self {
        push_copies(&mut self.out, from, name);
        self
    }

    pub fn finish(self) -> Vec<u8> {
        finish(self.out, None, b"")
    }

    pub fn body(self, content_type: &str, body: &[u8]) -> Vec<u8> {
        finish(self.out, Some(content_type), body)
    }

    /// Ends the message with the parts as its body, as [`write_multipart`] makes it. They are written in their place at once:
    /// a key among them is in no memory but the message's.
    pub fn multipart(mut self, parts: &[(&str, &[u8])]) -> Vec<u8> {
        let boundary = Boundary::not_in(parts);
        self.header(HeaderName::ContentType, boundary.content_type());
        let RequestWriter { mut out } = self;
        // With the Via that is still to come the message does not have to move.
        out.reserve(boundary.room(parts) + 256);
        out.extend_from_slice(b"Content-Length: ");
        let length = out.len();
        out.extend_from_slice(b"\r\n\r\n");
        let body = out.len();
        boundary.write(&mut out, parts);
        let mut digits = Vec::new();
        push_decimal(&mut digits, (out.len() - body) as u64);
        out.splice(length..length, digits);
        out
    }
}

/// Puts a Via line right after the start line of a written request.
pub fn insert_via(request: &[u8], via: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(request.len() + via.len() + 8);
    out.extend_from_slice(request);
    put_via(&mut out, |line| {
        line.text(via);
    });
    out
}

/// The same in place: `write` fills the line.
pub(super) fn put_via(request: &mut Vec<u8>, write: impl FnOnce(&mut Line<'_>)) {
    let mut line = Vec::with_capacity(128);
    write(&mut Line::begin(&mut line, HeaderName::Via));
    let at = find_any(request, 0, [b'\n']).map_or(request.len(), |i| i + 1);
    request.splice(at..at, line);
}

/// A quoted-string: quotes around, `"` and `\` escaped, line ends and NUL made blanks (RFC 3261 §25.1).
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\r' | '\n' | '\0' => out.push(' '),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A `multipart/mixed` body of (Content-Type, content) parts, and the Content-Type with the boundary that goes with
/// it. The boundary is random and is in no part.
pub fn write_multipart(parts: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let boundary = Boundary::not_in(parts);
    let mut out = Vec::with_capacity(boundary.room(parts));
    boundary.write(&mut out, parts);
    (boundary.content_type(), out)
}

/// What stands between the parts of a body (RFC 2046 §5.1.1).
struct Boundary(String);

impl Boundary {
    /// A random one that is in no part.
    fn not_in(parts: &[(&str, &[u8])]) -> Boundary {
        loop {
            let candidate = format!("part-{:016x}", RandomState::new().build_hasher().finish());
            let taken = |text: &[u8]| {
                // By its hyphen, which is rare.
                let mut from = 4;
                while let Some(at) = find_any(text, from, [b'-']) {
                    if text.get(at - 4..).is_some_and(|rest| rest.starts_with(candidate.as_bytes())) {
                        return true;
                    }
                    from = at + 1;
                }
                false
            };
            if !parts.iter().any(|(content_type, content)| taken(content) || taken(content_type.as_bytes())) {
                return Boundary(candidate);
            }
        }
    }

    fn content_type(&self) -> String {
        ["multipart/mixed;boundary=", &self.0].concat()
    }

    /// Octets that the body has at most.
    fn room(&self, parts: &[(&str, &[u8])]) -> usize {
        parts.iter().map(|(content_type, content)| content_type.len() + content.len() + 64).sum::<usize>() + 32
    }

    fn write(&self, out: &mut Vec<u8>, parts: &[(&str, &[u8])]) {
        for (content_type, content) in parts {
            for piece in ["--", &self.0, "\r\n"] {
                out.extend_from_slice(piece.as_bytes());
            }
            push_known(out, HeaderName::ContentType, content_type.as_bytes());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(content);
            out.extend_from_slice(b"\r\n");
        }
        for piece in ["--", &self.0, "--\r\n"] {
            out.extend_from_slice(piece.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
