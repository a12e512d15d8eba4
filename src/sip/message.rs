//! A message: one buffer, an offset table, typed views made when asked for (RFC 3261 §7). The transports parse what
//! they receive, the rest of the server reads it; [`super::check`] judges it, [`super::print`] answers it.
use super::index::{ContentLength, Field, Flaw, Span, leading_blank_lines, scan};
use super::octets::Octets;
use super::scan::{elements, is_digits, is_token, trim};
use super::*;
use header::{in_header, same_name};
use std::borrow::Cow;

pub use super::body::Part;

/// Hard limits; a message beyond them is refused.
pub mod limits {
    pub const MESSAGE: usize = 64 * 1024;
    pub const HEADERS: usize = 128;
    pub const LINE: usize = 8 * 1024;
    /// Parts of a multipart body.
    pub const PARTS: usize = 16;
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

impl Fault {
    /// The status with its usual phrase and the cause behind it.
    pub fn new(status: u16, cause: impl std::fmt::Display) -> Fault {
        let reason = Cow::Owned(format!("{}: {cause}", reason_phrase(status)));
        Fault { status, reason, headers: Vec::new() }
    }
}

impl From<HeaderError> for Fault {
    fn from(error: HeaderError) -> Fault {
        Fault::new(400, error)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Supported,
    /// `SIP/` and other numbers
    Other,
    Malformed,
}

#[derive(Debug, Clone, Copy)]
enum Start {
    Request { method: Span, uri: Span },
    Response { status: u16, reason: Span },
}

#[derive(Clone)]
pub struct Message<'a> {
    bytes: Octets<'a>,
    table: Table,
}

/// Which field is the first of each name; no field has the number of an absent one.
type FirstOf = [u8; HeaderName::Other as usize + 1];
const ABSENT: u8 = u8::MAX;
const _: () = assert!(limits::HEADERS < ABSENT as usize && (HeaderName::Other as usize) < 64);

fn bit(name: HeaderName) -> u64 {
    1 << name as u8
}

/// Everything but the octets.
#[derive(Clone)]
struct Table {
    start: Start,
    version: Version,
    fields: Vec<Field>,
    first: FirstOf,
    /// A bit for each name that is there more than once.
    repeated: u64,
    whole: Span,
    body: Span,
    flaw: Option<Flaw>,
    folded: bool,
}

impl<'a> Message<'a> {
    /// Indexes one message at the start of `bytes`. Octets after Content-Length are ignored (RFC 3261 §18.3).
    /// Only what cannot be answered at all is an error here (no start line, larger than a message may be): everything
    /// else gives a message that [`Message::check`] then faults, so that it can be answered.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, Fault> {
        Ok(Message { table: Table::of(bytes)?, bytes: Octets::Borrowed(bytes) })
    }

    pub fn parse_owned(bytes: Vec<u8>) -> Result<Message<'static>, Fault> {
        Ok(Message { table: Table::of(&bytes)?, bytes: bytes.into() })
    }

    pub fn into_owned(self) -> Message<'static> {
        Message { bytes: self.bytes.into_owned(), table: self.table }
    }

    /// The octets of the message itself, without blank lines before or octets behind it.
    pub fn bytes(&self) -> &[u8] {
        self.table.whole.of(&self.bytes)
    }

    pub fn is_request(&self) -> bool {
        matches!(self.table.start, Start::Request { .. })
    }

    /// Request method as sent (case-sensitive); empty for a response.
    pub fn method(&self) -> &[u8] {
        match self.table.start {
            Start::Request { method, .. } => method.of(&self.bytes),
            Start::Response { .. } => b"",
        }
    }

    /// Empty for a response.
    pub fn request_uri_raw(&self) -> &[u8] {
        match self.table.start {
            Start::Request { uri, .. } => uri.of(&self.bytes),
            Start::Response { .. } => b"",
        }
    }

    pub fn request_uri(&self) -> Result<Uri<'_>, HeaderError> {
        Uri::parse(self.request_uri_raw()).map_err(|e| HeaderError::new("Request-URI", e.why))
    }

    /// Status code of a response; 0 for a request (and for a response whose code is none, which does not pass
    /// [`Message::check`]).
    pub fn status(&self) -> u16 {
        match self.table.start {
            Start::Request { .. } => 0,
            Start::Response { status, .. } => status,
        }
    }

    pub fn reason(&self) -> &[u8] {
        match self.table.start {
            Start::Request { .. } => b"",
            Start::Response { reason, .. } => reason.of(&self.bytes),
        }
    }

    /// First value of a header field, raw (folds kept), blanks trimmed at both ends.
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        self.headers(name).next()
    }

    /// All field values of that name, in order, one per header line (comma lists not split).
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let first = usize::from(self.table.first[name as usize]);
        let mut fields = self.table.fields.get(first..).unwrap_or_default();
        if self.table.repeated & bit(name) == 0 {
            fields = fields.get(..1).unwrap_or_default();
        }
        fields.iter().filter(move |f| f.id == name).map(|f| f.value.of(&self.bytes))
    }

    /// By text name, any case, long or compact form, known or not.
    pub fn header_named(&self, name: &str) -> Option<&[u8]> {
        self.table.fields.iter().find(|f| self.is_named(f, name)).map(|f| f.value.of(&self.bytes))
    }

    pub fn headers_named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        self.table.fields.iter().filter(move |f| self.is_named(f, name)).map(|f| f.value.of(&self.bytes))
    }

    fn is_named(&self, field: &Field, name: &str) -> bool {
        let id = HeaderName::from_bytes(name.as_bytes());
        field.id == id && (id != HeaderName::Other || same_name(field.name(&self.bytes), name.as_bytes()))
    }

    /// Every header line as (name as sent, raw value).
    pub fn all_headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.table.fields.iter().map(|f| (f.name(&self.bytes), f.value.of(&self.bytes)))
    }

    /// Elements of all fields of that name, split at commas outside quotes and <>; empty ones left out.
    pub fn list(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.elements(name).filter(|element| !element.is_empty())
    }

    /// As [`Message::list`] with the empty ones, which some fields must not have.
    pub(super) fn elements(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers(name).flat_map(elements)
    }

    pub fn body(&self) -> &[u8] {
        self.table.body.of(&self.bytes)
    }

    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        self.vias().next().unwrap_or(Err(missing(HeaderName::Via)))
    }

    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.elements(HeaderName::Via).map(Via::parse)
    }

    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.address(HeaderName::From)
    }

    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.address(HeaderName::To)
    }

    fn address(&self, name: HeaderName) -> Result<NameAddr<'_>, HeaderError> {
        in_header(NameAddr::parse(self.required(name)?), name)
    }

    /// Addresses of all fields of that name: Route, Path, Service-Route, P-Asserted-Identity, P-Associated-URI, …
    pub fn addresses(&self, name: HeaderName) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.elements(name).map(move |element| in_header(NameAddr::parse(element), name))
    }

    /// URI and parameters of every address of that name as sent: what [`Message::addresses`] gives without a look at what
    /// the URIs are, which costs less than half.
    pub fn raw_addresses(&self, name: HeaderName) -> impl Iterator<Item = Result<(&[u8], Params<'_>), HeaderError>> {
        self.elements(name).map(move |element| in_header(NameAddr::halves(element), name))
    }

    pub fn call_id(&self) -> Result<&[u8], HeaderError> {
        let value = self.required(HeaderName::CallId)?;
        if value.is_empty() || value.iter().any(|&b| b <= b' ' || b == 0x7f) {
            return Err(HeaderError::new("Call-ID", "not one word"));
        }
        Ok(value)
    }

    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        CSeq::parse(self.required(HeaderName::CSeq)?)
    }

    fn required(&self, name: HeaderName) -> Result<&[u8], HeaderError> {
        self.header(name).ok_or(missing(name))
    }

    /// Max-Forwards; None when absent.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        let Some(value) = self.header(HeaderName::MaxForwards) else { return Ok(None) };
        match scan::decimal(value).and_then(|n| u8::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(HeaderError::new("Max-Forwards", "not 0 to 255")),
        }
    }

    /// Expires header in seconds. An out of range value counts as the default, so it is None like an absent one.
    pub fn expires(&self) -> Option<u32> {
        self.header(HeaderName::Expires).and_then(scan::decimal).and_then(|n| u32::try_from(n).ok())
    }

    pub fn contacts(&self) -> Result<Contacts<'_>, HeaderError> {
        let mut list = Vec::new();
        let mut elements = self.elements(HeaderName::Contact).peekable();
        if elements.next_if(|element| *element == b"*").is_some() {
            return match elements.next() {
                None => Ok(Contacts::Star),
                Some(_) => Err(HeaderError::new("Contact", "* is not alone")),
            };
        }
        for element in elements {
            list.push(in_header(NameAddr::parse(element), HeaderName::Contact)?);
        }
        Ok(if list.is_empty() { Contacts::None } else { Contacts::List(list) })
    }

    /// Credentials of every Authorization field, any scheme.
    pub fn authorizations(&self) -> impl Iterator<Item = Result<AuthParams<'_>, HeaderError>> {
        self.auth_params(HeaderName::Authorization)
    }

    /// Challenges of every WWW-Authenticate field.
    pub fn challenges(&self) -> impl Iterator<Item = Result<AuthParams<'_>, HeaderError>> {
        self.auth_params(HeaderName::WwwAuthenticate)
    }

    fn auth_params(&self, name: HeaderName) -> impl Iterator<Item = Result<AuthParams<'_>, HeaderError>> {
        self.headers(name).map(move |value| in_header(AuthParams::parse(value), name))
    }

    pub fn content_type(&self) -> Option<Result<MediaType<'_>, HeaderError>> {
        self.header(HeaderName::ContentType).map(MediaType::parse)
    }

    /// Parts of a multipart body, in order; a body that is not multipart is its one part; no body, no parts.
    pub fn parts(&self) -> Result<Vec<Part<'_>>, HeaderError> {
        body::parts(self.header(HeaderName::ContentType), self.body())
    }

    /// The head cut into its lines, for [`super::edit`].
    pub(super) fn layout(&self) -> super::edit::Layout<'_> {
        let names = self.table.fields.iter().map(|f| {
            let from = f.name_at as usize;
            Span::new(from, from.saturating_add(usize::from(f.name_len)))
        });
        let Table { whole, body, .. } = self.table;
        super::edit::Layout::cut(&self.bytes, whole.from as usize, body.from as usize, names)
    }

    pub(super) fn flaw(&self) -> Option<Flaw> {
        self.table.flaw
    }

    pub(super) fn version(&self) -> Version {
        self.table.version
    }

    pub(super) fn has(&self, name: HeaderName) -> bool {
        self.table.first[name as usize] != ABSENT
    }

    /// The first of `names` that is there more than once.
    pub(super) fn repeated(&self, names: &[HeaderName]) -> Option<HeaderName> {
        match self.table.repeated {
            0 => None,
            repeated => names.iter().copied().find(|name| repeated & bit(*name) != 0),
        }
    }

    /// Whether a value may have a fold in it, or any other CR or LF.
    pub(super) fn is_folded(&self) -> bool {
        self.table.folded
    }
}

/// The start line and the field names: what a log may have, values not among it.
impl std::fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy;
        let mut out = f.debug_struct("Message");
        if self.is_request() {
            out.field("method", &text(self.method()));
        } else {
            out.field("status", &self.status());
        }
        let names: Vec<_> = self.all_headers().map(|(name, _)| text(name)).collect();
        out.field("headers", &names).field("body", &self.body().len()).field("flaw", &self.table.flaw).finish()
    }
}

fn missing(name: HeaderName) -> HeaderError {
    HeaderError::new(name.as_str(), "missing")
}

impl Table {
    fn of(bytes: &[u8]) -> Result<Table, Fault> {
        let from = leading_blank_lines(bytes);
        if bytes.len() - from > limits::MESSAGE {
            return Err(Fault::new(513, "larger than 65536 octets"));
        }
        let mut fields = Vec::with_capacity(32);
        let (mut first, mut repeated) = ([ABSENT; _], 0);
        let mut length = ContentLength::default();
        let head = scan(bytes, from, false, |field| {
            if field.id == HeaderName::ContentLength {
                length.see(field.value.of(bytes));
            }
            let first: &mut u8 = &mut first[field.id as usize];
            if *first == ABSENT {
                *first = u8::try_from(fields.len()).unwrap_or(ABSENT);
            } else {
                repeated |= bit(field.id);
            }
            fields.push(field);
        });
        let (start, version, start_flaw) =
            start_line(bytes, head.start).ok_or_else(|| Fault::new(400, "no SIP start line"))?;
        let body_at = head.end.unwrap_or(bytes.len());
        let there = bytes.len() - body_at;
        let (body_len, length_flaw) = match length.result() {
            Ok(None) => (there, None),
            Ok(Some(n)) if n <= there => (n, None),
            Ok(Some(_)) => (there, Some(Flaw::unframed("Content-Length is more than there is"))),
            Err(flaw) => (there, Some(flaw)),
        };
        let end = body_at + body_len;
        Ok(Table {
            start,
            version,
            fields,
            first,
            repeated,
            whole: Span::new(from, end),
            body: Span::new(body_at, end),
            flaw: head.flaw.or(start_flaw).or(length_flaw),
            folded: head.folded,
        })
    }
}

/// Reads a start line that is near enough to one to be answered; what is wrong with it comes along as a flaw.
fn start_line(bytes: &[u8], line: Span) -> Option<(Start, Version, Option<Flaw>)> {
    let text = line.of(bytes);
    let base = line.from as usize;
    if text.get(..4).is_some_and(|s| s.eq_ignore_ascii_case(b"SIP/")) {
        let (version, rest) = scan::split_once(text, b' ');
        let rest = rest.unwrap_or_default();
        let (code, reason) = scan::split_once(rest, b' ');
        let reason_at = base + text.len() - reason.map_or(0, <[u8]>::len);
        let number = if code.len() == 3 && is_digits(code) { scan::decimal(code) } else { None };
        let status = number.filter(|n| (100..=699).contains(n)).and_then(|n| u16::try_from(n).ok());
        let flaw = if status.is_none() { Some(Flaw::bad("the status code is not 100 to 699")) } else { None };
        let start = Start::Response { status: status.unwrap_or(0), reason: Span::new(reason_at, base + text.len()) };
        return Some((start, version_of(version), flaw));
    }
    let method_len = text.iter().position(|&b| b == b' ')?;
    let (method, rest) = text.split_at(method_len);
    let line_end = scan::trim_end(rest);
    let version_at = line_end.iter().rposition(|&b| scan::is_blank(b))? + 1;
    let (middle, version) = line_end.split_at(version_at);
    if method.is_empty() || !version.get(..4).is_some_and(|s| s.eq_ignore_ascii_case(b"SIP/")) {
        return None;
    }
    let uri = trim(middle);
    let uri_at = base + method_len + (middle.len() - scan::trim_start(middle).len());
    let flaw = if middle.len() != uri.len() + 2 || !middle.ends_with(b" ") || line_end.len() != rest.len() {
        Some(Flaw::bad("blanks in the start line"))
    } else if !is_token(method) {
        Some(Flaw::bad("the method is not a token"))
    } else {
        None
    };
    let start =
        Start::Request { method: Span::new(base, base + method_len), uri: Span::new(uri_at, uri_at + uri.len()) };
    Some((start, version_of(version), flaw))
}

fn version_of(text: &[u8]) -> Version {
    let (major, minor) = scan::split_once(text.get(4..).unwrap_or_default(), b'.');
    match (major, minor) {
        (b"2", Some(b"0")) => Version::Supported,
        (major, Some(minor)) if is_digits(major) && is_digits(minor) => Version::Other,
        _ => Version::Malformed,
    }
}

#[cfg(test)]
mod tests;
