//! sip:, sips:, tel:, urn: and any other URI, borrowed (RFC 3261 §19.1, RFC 3966).
use super::header::{HeaderError, Params};
use std::borrow::Cow;

#[derive(Debug, Clone)]
pub enum Uri<'a> {
    Sip(SipUri<'a>),
    /// tel: number and parameters
    Tel {
        number: &'a [u8],
        params: Params<'a>,
    },
    /// any other scheme
    Other {
        scheme: &'a [u8],
        rest: &'a [u8],
    },
}

#[derive(Debug, Clone)]
pub struct SipUri<'a> {
    pub secure: bool,
    /// user part, escapes kept
    pub user: Option<&'a [u8]>,
    pub password: Option<&'a [u8]>,
    pub host: Host<'a>,
    pub port: Option<u16>,
    pub params: Params<'a>,
    /// after "?", raw
    pub headers: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    Name(&'a [u8]),
    V4(std::net::Ipv4Addr),
    V6(std::net::Ipv6Addr),
}

impl<'a> Uri<'a> {
    pub fn parse(text: &'a [u8]) -> Result<Self, HeaderError> {
        let _ = text;
        todo!()
    }
    /// Canonical address of record: scheme and host lower case, user unescaped where RFC 3261 §19.1.4 says that
    /// it is equal, no password, port 5060/5061 default dropped, no parameters or headers. tel: visual separators dropped.
    pub fn aor(&self) -> Cow<'a, str> {
        todo!()
    }
    /// Equality as RFC 3261 §19.1.4 defines it.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        let _ = other;
        todo!()
    }
}
