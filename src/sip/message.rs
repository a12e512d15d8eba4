//! A message: one buffer, an offset table, typed views made when asked for.
use super::*;
use std::borrow::Cow;

/// Hard limits; a message beyond them is refused.
pub mod limits {
    pub const MESSAGE: usize = 64 * 1024;
    pub const HEADERS: usize = 128;
    pub const LINE: usize = 8 * 1024;
}

/// What is wrong with a message, and the SIP status that says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {reason}")]
pub struct Fault {
    pub status: u16,
    /// Reason phrase with the cause, e.g. "Bad Request: CSeq method differs".
    pub reason: Cow<'static, str>,
    /// Extra header lines that belong in the answer, e.g. ("Unsupported", "foo").
    pub headers: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone)]
pub struct Message<'a> {
    bytes: Cow<'a, [u8]>,
    // index: start line ranges, header table, body range
}

impl<'a> Message<'a> {
    /// Indexes one message at the start of `bytes`. Octets after Content-Length are ignored (RFC 3261 §18.3).
    /// Only what cannot be framed at all is an error here (no start line, over a limit): everything else
    /// gives a message that [`Message::check`] then faults, so that it can be answered.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, Fault> {
        let _ = bytes;
        todo!()
    }
    pub fn parse_owned(bytes: Vec<u8>) -> Result<Message<'static>, Fault> {
        let _ = bytes;
        todo!()
    }
    pub fn into_owned(self) -> Message<'static> {
        todo!()
    }
    /// The checks of RFC 3261 §8.1.1, §8.2, §16.3 that hold for any element: mandatory headers present once and
    /// well formed, CSeq method, version (505), Content-Length, URI scheme (416), integers in range.
    pub fn check(&self) -> Result<(), Fault> {
        todo!()
    }
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    pub fn is_request(&self) -> bool {
        todo!()
    }
    /// Request method as sent (case-sensitive); empty for a response.
    pub fn method(&self) -> &[u8] {
        todo!()
    }
    pub fn request_uri_raw(&self) -> &[u8] {
        todo!()
    }
    pub fn request_uri(&self) -> Result<Uri<'_>, HeaderError> {
        todo!()
    }
    /// Status code of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        todo!()
    }
    pub fn reason(&self) -> &[u8] {
        todo!()
    }
    /// First value of a header field, raw (folds kept), blanks trimmed at both ends.
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        let _ = name;
        todo!()
    }
    /// All field values of that name, in order, one per header line (comma lists not split).
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let _ = name;
        std::iter::empty()
    }
    /// By text name, any case, long or compact form, known or not.
    pub fn header_named(&self, name: &str) -> Option<&[u8]> {
        let _ = name;
        todo!()
    }
    pub fn headers_named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        let _ = name;
        std::iter::empty()
    }
    /// Every header line as (name as sent, raw value).
    pub fn all_headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::empty()
    }
    /// Elements of all fields of that name, split at commas outside quotes and <>.
    pub fn list(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let _ = name;
        std::iter::empty()
    }
    pub fn body(&self) -> &[u8] {
        todo!()
    }

    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        todo!()
    }
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        std::iter::empty()
    }
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        todo!()
    }
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        todo!()
    }
    pub fn call_id(&self) -> Result<&[u8], HeaderError> {
        todo!()
    }
    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        todo!()
    }
    /// Max-Forwards; None when absent.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        todo!()
    }
    /// Expires header in seconds. An out of range value counts as the default, so it is None like an absent one.
    pub fn expires(&self) -> Option<u32> {
        todo!()
    }
    pub fn contacts(&self) -> Result<Contacts<'_>, HeaderError> {
        todo!()
    }
    /// Credentials of every Authorization field, any scheme.
    pub fn authorizations(&self) -> impl Iterator<Item = Result<AuthParams<'_>, HeaderError>> {
        std::iter::empty()
    }
    /// Challenges of every WWW-Authenticate field.
    pub fn challenges(&self) -> impl Iterator<Item = Result<AuthParams<'_>, HeaderError>> {
        std::iter::empty()
    }
    pub fn content_type(&self) -> Option<Result<MediaType<'_>, HeaderError>> {
        todo!()
    }
    /// Parts of a multipart body as (header lines raw, content); a body that is not multipart is its one part.
    pub fn parts(&self) -> Result<Vec<Part<'_>>, HeaderError> {
        todo!()
    }
}

/// One body part (RFC 2046 §5.1).
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Content-Type value raw; empty if absent.
    pub content_type: &'a [u8],
    pub headers: &'a [u8],
    pub content: &'a [u8],
}
