//! The checks that hold for any element that takes a message in (RFC 3261 §8.1.1, §8.2, §16.3; RFC 4475 says what each
//! fault is answered with). What depends on the server's role, 420 or 483 say, is not asked here.
use super::header::{in_header, is_date};
use super::message::Version;
use super::scan::is_digits;
use super::{AuthParams, Fault, HeaderError, HeaderName, Message, NameAddr, Uri, Via};

/// Fields that stand for one value: twice is two answers to one question.
const SINGLE: [HeaderName; 13] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::MaxForwards,
    HeaderName::Expires,
    HeaderName::MinExpires,
    HeaderName::ContentType,
    HeaderName::ContentDisposition,
    HeaderName::Date,
    HeaderName::Event,
    HeaderName::SubscriptionState,
    HeaderName::RetryAfter,
];

/// Lists of addresses that routing and trust hang on.
const ADDRESSES: [HeaderName; 5] = [
    HeaderName::Route,
    HeaderName::RecordRoute,
    HeaderName::Path,
    HeaderName::ServiceRoute,
    HeaderName::PAssertedIdentity,
];

impl Message<'_> {
    /// The checks of RFC 3261 §8.1.1, §8.2, §16.3 that hold for any element: mandatory headers present once and
    /// well formed, CSeq method, version (505), Content-Length, URI scheme (416), integers in range.
    pub fn check(&self) -> Result<(), Fault> {
        match self.version() {
            Version::Supported => {}
            Version::Other => return Err(Fault::new(505, "only SIP/2.0")),
            Version::Malformed => return Err(Fault::new(400, "the version is not one")),
        }
        if let Some(flaw) = self.flaw() {
            return Err(Fault::new(flaw.status, flaw.why));
        }
        if let Some(name) = self.repeated(&SINGLE) {
            return Err(HeaderError::new(name.as_str(), "there more than once").into());
        }
        self.check_mandatory()?;
        if self.is_request() {
            self.check_request_uri()?;
        }
        self.max_forwards()?;
        for name in [HeaderName::Expires, HeaderName::MinExpires] {
            // Too large is read as the default; anything but digits is no number at all.
            if self.header(name).is_some_and(|value| !is_digits(value)) {
                return Err(HeaderError::new(name.as_str(), "not a number").into());
            }
        }
        if self.has(HeaderName::Contact) {
            self.check_contacts()?;
        }
        for name in ADDRESSES.into_iter().filter(|name| self.has(*name)) {
            for element in self.elements(name) {
                address(name, element)?;
            }
        }
        for name in [HeaderName::Authorization, HeaderName::WwwAuthenticate] {
            for value in self.headers(name) {
                in_header(AuthParams::parse(value), name)?;
            }
        }
        if let Some(media) = self.content_type() {
            media?.params.check("Content-Type")?;
        }
        if self.header(HeaderName::Date).is_some_and(|value| !is_date(value)) {
            return Err(HeaderError::new("Date", "not a date in GMT").into());
        }
        Ok(())
    }

    fn check_mandatory(&self) -> Result<(), HeaderError> {
        let mut vias = self.elements(HeaderName::Via).peekable();
        if vias.peek().is_none() {
            return Err(HeaderError::new("Via", "missing"));
        }
        for element in vias {
            let via = Via::parse(element)?;
            if via.version != b"2.0" {
                return Err(HeaderError::new("Via", "not SIP/2.0"));
            }
            via.params.check("Via")?;
        }
        self.from()?.params.check("From")?;
        self.to()?.params.check("To")?;
        self.call_id()?;
        let cseq = self.cseq()?;
        if self.is_request() && cseq.method != self.method() {
            return Err(HeaderError::new("CSeq", "the method differs"));
        }
        Ok(())
    }

    fn check_request_uri(&self) -> Result<(), Fault> {
        match self.request_uri()? {
            Uri::Sip(uri) if uri.headers.is_empty() && !self.request_uri_raw().ends_with(b"?") => Ok(()),
            Uri::Sip(_) => Err(HeaderError::new("Request-URI", "it has header fields").into()),
            Uri::Tel { .. } => Ok(()),
            Uri::Other { .. } => Err(Fault::new(416, "sip, sips or tel")),
        }
    }

    fn check_contacts(&self) -> Result<(), HeaderError> {
        let mut elements = self.elements(HeaderName::Contact).peekable();
        if elements.next_if(|element| *element == b"*").is_some() {
            return match elements.next() {
                None => Ok(()),
                Some(_) => Err(HeaderError::new("Contact", "* is not alone")),
            };
        }
        elements.try_for_each(|element| address(HeaderName::Contact, element))
    }
}

fn address(name: HeaderName, element: &[u8]) -> Result<(), HeaderError> {
    in_header(NameAddr::parse(element), name)?.params.check(name.as_str())
}
