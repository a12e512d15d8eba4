//! MESSAGE requests between IMS server and broadcast server (RFC 3428), written without Via.

use super::ext::Ext;
use super::token;
use crate::sip::{HeaderName, RequestWriter};

/// One MESSAGE.
pub(crate) struct Outgoing<'a> {
    /// Request-URI and To.
    pub(crate) to: &'a str,
    /// This node; also what it asserts of itself.
    pub(crate) from: &'a str,
    pub(crate) ext: Option<Ext>,
    /// Content-Type and octets.
    pub(crate) body: Option<(&'a str, &'a [u8])>,
}

impl Outgoing<'_> {
    pub(crate) fn request(&self) -> Vec<u8> {
        let mut out = RequestWriter::new("MESSAGE", self.to);
        out.header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, format!("<{}>;tag={}", self.from, token()))
            .header(HeaderName::To, format!("<{}>", self.to))
            .header(HeaderName::CallId, token())
            .header(HeaderName::CSeq, "1 MESSAGE")
            .header(HeaderName::PAssertedIdentity, format!("<{}>", self.from));
        if let Some(ext) = &self.ext {
            out.header(HeaderName::BcastExt, ext.to_string());
        }
        match self.body {
            Some((content_type, octets)) => out.body(content_type, octets),
            None => out.finish(),
        }
    }
}
