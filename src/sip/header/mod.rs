//! Typed header values, borrowed from the message.
use super::uri::{Host, Uri};
use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{header}: {why}")]
pub struct HeaderError {
    pub header: &'static str,
    pub why: &'static str,
}

/// Header fields this project reads; anything else is kept and reached by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HeaderName {
    Accept,
    Allow,
    AllowEvents,
    AuthenticationInfo,
    Authorization,
    BcastExt,
    CallId,
    Contact,
    ContentDisposition,
    ContentEncoding,
    ContentLength,
    ContentType,
    CSeq,
    Date,
    Event,
    Expires,
    From,
    MaxForwards,
    MinExpires,
    PAccessNetworkInfo,
    PAssertedIdentity,
    PAssociatedUri,
    Path,
    PChargingFunctionAddresses,
    PChargingVector,
    PVisitedNetworkId,
    ProxyRequire,
    RecordRoute,
    Require,
    RetryAfter,
    Route,
    SecurityClient,
    SecurityServer,
    SecurityVerify,
    ServiceRoute,
    SubscriptionState,
    Supported,
    To,
    Unsupported,
    UserAgent,
    Via,
    Warning,
    WwwAuthenticate,
    Other,
}

impl HeaderName {
    pub fn as_str(self) -> &'static str {
        todo!()
    }
    /// From a field name as sent: any case, compact or long; `Other` if unknown.
    pub fn from_bytes(name: &[u8]) -> HeaderName {
        let _ = name;
        todo!()
    }
}

/// `;name=value` parameters, raw until asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Params<'a>(pub(crate) &'a [u8]);
impl<'a> Params<'a> {
    /// Value of a parameter, unquoted; Some("") for one without value.
    pub fn get(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let _ = name;
        todo!()
    }
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
    /// (name, raw value with quotes kept; None if no "=")
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        std::iter::empty()
    }
    pub fn raw(&self) -> &'a [u8] {
        self.0
    }
}

#[derive(Debug, Clone)]
pub struct Via<'a> {
    /// "UDP", "TCP", "TLS", … as sent
    pub transport: &'a [u8],
    pub host: Host<'a>,
    pub port: Option<u16>,
    pub params: Params<'a>,
}
impl<'a> Via<'a> {
    pub fn branch(&self) -> Option<&'a [u8]> {
        todo!()
    }
}

#[derive(Debug, Clone)]
pub struct NameAddr<'a> {
    /// Unquoted display name
    pub display: Option<Cow<'a, [u8]>>,
    pub uri: Uri<'a>,
    /// The URI's octets as sent, without < >
    pub uri_raw: &'a [u8],
    pub params: Params<'a>,
}
impl<'a> NameAddr<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let _ = value;
        todo!()
    }
    pub fn tag(&self) -> Option<Cow<'a, [u8]>> {
        self.params.get("tag")
    }
}

#[derive(Debug, Clone)]
pub enum Contacts<'a> {
    None,
    Star,
    List(Vec<NameAddr<'a>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    pub number: u32,
    pub method: &'a [u8],
}

/// `Digest a="b", c=d`: Authorization and WWW-Authenticate alike.
#[derive(Debug, Clone, Copy)]
pub struct AuthParams<'a> {
    pub scheme: &'a [u8],
    pub(crate) rest: &'a [u8],
}
impl<'a> AuthParams<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let _ = value;
        todo!()
    }
    /// Unquoted value of a parameter, any case of the name.
    pub fn get(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let _ = name;
        todo!()
    }
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        std::iter::empty()
    }
    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"Digest")
    }
}

#[derive(Debug, Clone)]
pub struct MediaType<'a> {
    pub kind: &'a [u8],
    pub subtype: &'a [u8],
    pub params: Params<'a>,
}
impl MediaType<'_> {
    /// Compares "type/subtype" without regard to case; tolerates blanks around "/" and "+" and quotes around the whole.
    pub fn is(&self, full: &str) -> bool {
        let _ = full;
        todo!()
    }
}
