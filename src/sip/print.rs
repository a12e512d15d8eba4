//! Writing messages: straight into one buffer, body appended as octets.
use super::{HeaderName, Message};
use std::net::SocketAddr;

pub fn reason_phrase(status: u16) -> &'static str {
    let _ = status;
    todo!()
}

/// Builds a response to `request` (RFC 3261 §8.2.6): Via lines copied (with `received`/`rport` of RFC 3581 put into
/// the top one), From, To (with our tag if it has none and status > 100), Call-ID, CSeq, then what is added, then Content-Length.
pub struct ResponseWriter {
    out: Vec<u8>,
}
impl ResponseWriter {
    /// `tag`: To tag to add when the request's To has none.
    pub fn new(request: &Message<'_>, status: u16, source: SocketAddr, tag: &str) -> Self {
        let _ = (request, status, source, tag);
        todo!()
    }
    pub fn with_reason(request: &Message<'_>, status: u16, reason: &str, source: SocketAddr, tag: &str) -> Self {
        let _ = (request, status, reason, source, tag);
        todo!()
    }
    pub fn header(&mut self, name: HeaderName, value: impl AsRef<[u8]>) -> &mut Self {
        let _ = (name, value.as_ref());
        todo!()
    }
    /// A header by text name; CR and LF in the value are refused (replaced by a blank).
    pub fn header_named(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        let _ = (name, value.as_ref());
        todo!()
    }
    /// Copies every field of that name from `from` (unfolded).
    pub fn copy(&mut self, from: &Message<'_>, name: HeaderName) -> &mut Self {
        let _ = (from, name);
        todo!()
    }
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
    pub fn body(self, content_type: &str, body: &[u8]) -> Vec<u8> {
        let _ = (content_type, body);
        todo!()
    }
}

/// Builds a request without Via: the transaction layer puts its own on top.
pub struct RequestWriter {
    out: Vec<u8>,
}
impl RequestWriter {
    pub fn new(method: &str, uri: &str) -> Self {
        let _ = (method, uri);
        todo!()
    }
    pub fn header(&mut self, name: HeaderName, value: impl AsRef<[u8]>) -> &mut Self {
        let _ = (name, value.as_ref());
        todo!()
    }
    pub fn header_named(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        let _ = (name, value.as_ref());
        todo!()
    }
    pub fn copy(&mut self, from: &Message<'_>, name: HeaderName) -> &mut Self {
        let _ = (from, name);
        todo!()
    }
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
    pub fn body(self, content_type: &str, body: &[u8]) -> Vec<u8> {
        let _ = (content_type, body);
        todo!()
    }
}

/// Puts a Via line right after the start line of a written request.
pub fn insert_via(request: &[u8], via: &str) -> Vec<u8> {
    let _ = (request, via);
    todo!()
}
