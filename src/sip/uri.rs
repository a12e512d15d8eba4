//! sip:, sips:, tel:, urn: and any other URI, borrowed (RFC 3261 §19.1, RFC 3966). Made by the address views and the
//! Request-URI accessor; the registrar keys its records by [`Uri::aor`] and compares Contacts by [`Uri::equivalent`].
use super::header::{HeaderError, Params};
use super::scan::{decimal, escape_at, find, percent_decoded, run, split_once, trim};
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More parameters or headers than this in one URI are refused, which bounds every comparison.
const MAX: usize = 64;

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
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

fn bad(why: &'static str) -> HeaderError {
    HeaderError::new("URI", why)
}

fn foreign() -> HeaderError {
    bad("an octet that must be escaped")
}

/// Octets that no URI may hold unescaped.
const FOREIGN: [bool; 256] = {
    let mut table = [true; 256];
    let mut b = 0x21_u8;
    while b <= 0x7e {
        table[b as usize] = matches!(b, b'<' | b'>' | b'"' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
        b += 1;
    }
    table
};

/// Octets that mean something in a SIP URI, or may not be in it.
const MARK: [bool; 256] = {
    let mut table = FOREIGN;
    let marks = b"@:?;&%";
    let mut i = 0;
    while i < marks.len() {
        table[marks[i] as usize] = true;
        i += 1;
    }
    table
};

/// Letters, digits, hyphens, and underscores, which the wild has.
const LABEL: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0x21_u8;
    while b <= 0x7e {
        table[b as usize] = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        b += 1;
    }
    table
};

impl<'a> Uri<'a> {
    pub fn parse(text: &'a [u8]) -> Result<Self, HeaderError> {
        let colon = text.iter().position(|&b| b == b':').ok_or(bad("no scheme"))?;
        let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
        let is = |name: &[u8]| scheme.eq_ignore_ascii_case(name);
        if is(b"sip") {
            return SipUri::after_scheme(false, rest).map(Uri::Sip);
        } else if is(b"sips") {
            return SipUri::after_scheme(true, rest).map(Uri::Sip);
        }
        if text.iter().any(|&b| FOREIGN[usize::from(b)]) {
            return Err(foreign());
        }
        if is(b"tel") {
            let (number, params) = rest.split_at(position(rest, b';'));
            if !number.iter().any(u8::is_ascii_hexdigit) || !number.iter().all(|&b| is_phone_octet(b)) {
                return Err(bad("not a telephone number"));
            }
            Ok(Uri::Tel { number, params: Params(params) })
        } else if scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        {
            Ok(Uri::Other { scheme, rest })
        } else {
            Err(bad("the scheme is not one"))
        }
    }

    /// The sip: or sips: URI, if it is one.
    pub fn as_sip(&self) -> Option<&SipUri<'a>> {
        match self {
            Uri::Sip(uri) => Some(uri),
            _ => None,
        }
    }

    /// Canonical address of record: scheme and host lower case, user unescaped where RFC 3261 §19.1.4 says that
    /// it is equal, no password, port 5060/5061 default dropped, no parameters or headers. tel: visual separators dropped
    /// (a local number keeps its phone-context, without which it names nobody).
    pub fn aor(&self) -> Cow<'a, str> {
        let mut out = String::with_capacity(64);
        match self {
            Uri::Sip(uri) => {
                out.push_str(if uri.secure { "sips:" } else { "sip:" });
                if let Some(user) = uri.user {
                    out.extend(Canonical(user));
                    out.push('@');
                }
                push_host(&mut out, &uri.host);
                let default = if uri.secure { 5061 } else { 5060 };
                if let Some(port) = uri.port.filter(|port| *port != default) {
                    out.push(':');
                    out.push_str(&port.to_string());
                }
            }
            Uri::Tel { number, params } => {
                out.push_str("tel:");
                push_number(&mut out, number);
                if number.first() != Some(&b'+')
                    && let Some(context) = params.get("phone-context")
                {
                    out.push_str(";phone-context=");
                    if context.first() == Some(&b'+') {
                        push_number(&mut out, &context);
                    } else {
                        push_lower(&mut out, &context);
                    }
                }
            }
            Uri::Other { scheme, rest } => {
                push_lower(&mut out, scheme);
                out.push(':');
                out.extend(rest.iter().map(|&b| char::from(b)));
            }
        }
        Cow::Owned(out)
    }

    /// Equality as RFC 3261 §19.1.4 defines it (RFC 3966 §4 for tel:).
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        match (self, other) {
            (Uri::Sip(a), Uri::Sip(b)) => a.equivalent(b),
            (Uri::Tel { number: a, params: p }, Uri::Tel { number: b, params: q }) => {
                let digits = |n: &[u8]| {
                    let mut text = String::new();
                    push_number(&mut text, n);
                    text
                };
                digits(a) == digits(b) && same_tel_params(p, q) && same_tel_params(q, p)
            }
            (Uri::Other { scheme: a, rest: x }, Uri::Other { scheme: b, rest: y }) => {
                a.eq_ignore_ascii_case(b) && x == y
            }
            _ => false,
        }
    }
}

/// Where the parts of a SIP URI begin, and how many parameters and headers there are.
#[derive(Default)]
struct Marks {
    colon: Option<usize>,
    params: Option<usize>,
    headers: Option<usize>,
    semicolons: usize,
    ampersands: usize,
}

impl<'a> SipUri<'a> {
    fn after_scheme(secure: bool, text: &'a [u8]) -> Result<Self, HeaderError> {
        // One walk notes where the parts begin. Neither parameters nor headers may hold a bare "@", but a user part may
        // hold ";" and "?": what was noted before the "@" is forgotten there.
        let mut user_end = None;
        let mut marks = Marks::default();
        for (i, &b) in text.iter().enumerate().filter(|(_, b)| MARK[usize::from(**b)]) {
            match b {
                b'@' if user_end.is_some() => return Err(bad("more than one @")),
                b'@' => user_end = Some((i, std::mem::take(&mut marks).colon)),
                b':' => marks.colon = marks.colon.or(Some(i)),
                b'?' => marks.headers = marks.headers.or(Some(i)),
                b';' if marks.headers.is_none() => {
                    marks.params = marks.params.or(Some(i));
                    marks.semicolons += 1;
                }
                b'&' if marks.headers.is_some() => marks.ampersands += 1,
                b';' | b'&' => {}
                b'%' => {
                    escape_at(&text[i..]).ok_or(bad("a % without two hexadecimal digits"))?;
                }
                _ => return Err(foreign()),
            }
        }
        let (user, password, place) = match user_end {
            Some((0, _) | (_, Some(0))) => return Err(bad("an empty user part")),
            Some((end, None)) => (Some(&text[..end]), None, end + 1),
            Some((end, Some(colon))) => (Some(&text[..colon]), Some(&text[colon + 1..end]), end + 1),
            None => (None, None, 0),
        };
        if marks.semicolons > MAX || marks.ampersands > MAX {
            return Err(bad("too many parameters"));
        }
        let headers_at = marks.headers.unwrap_or(text.len());
        let params_at = marks.params.unwrap_or(headers_at);
        let (host, port) = Host::with_port(&text[place..params_at]).ok_or(bad("no proper host and port"))?;
        let params = Params(&text[params_at..headers_at]);
        let headers = text.get(headers_at + 1..).unwrap_or_default();
        Ok(SipUri { secure, user, password, host, port, params, headers })
    }

    /// A URI parameter's value with its escapes resolved, Some("") without value. Unlike [`Params::get`] it knows
    /// a name that is escaped (`%6C%72` is `lr`).
    pub fn param(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let is_it = |n: &[u8]| percent_decoded(n).eq_ignore_ascii_case(name.as_bytes());
        self.params.iter().find(|(n, _)| is_it(n)).map(|(_, value)| percent_decoded(value.unwrap_or_default()))
    }

    /// `transport` parameter as sent: `udp`, `tcp`, `tls`, …
    pub fn transport(&self) -> Option<Cow<'a, [u8]>> {
        self.param("transport")
    }

    pub fn maddr(&self) -> Option<Cow<'a, [u8]>> {
        self.param("maddr")
    }

    /// Loose routing (RFC 3261 §19.1.1).
    pub fn lr(&self) -> bool {
        self.param("lr").is_some()
    }

    /// The user part with its escapes resolved.
    pub fn user_decoded(&self) -> Option<Cow<'a, [u8]>> {
        self.user.map(percent_decoded)
    }

    fn equivalent(&self, other: &SipUri<'_>) -> bool {
        self.secure == other.secure
            && same_optional(self.user, other.user)
            && same_optional(self.password, other.password)
            && self.host.matches(&other.host)
            && self.port == other.port
            && self.params_agree_with(other)
            && other.params_agree_with(self)
            && same_headers(self.headers, other.headers)
            && same_headers(other.headers, self.headers)
    }

    /// Each parameter of ours is in the other with an equal value, or absent there and one that may be.
    fn params_agree_with(&self, other: &SipUri<'_>) -> bool {
        self.params.iter().all(|(name, value)| {
            let theirs = other.params.iter().find(|(n, _)| canonical_eq_ignore_case(n, name));
            match theirs {
                Some((_, theirs)) => canonical_eq_ignore_case(theirs.unwrap_or_default(), value.unwrap_or_default()),
                // Transport is not in the clause's list, yet its examples treat it so.
                None => !["user", "ttl", "method", "maddr", "transport"]
                    .iter()
                    .any(|special| canonical_eq_ignore_case(name, special.as_bytes())),
            }
        })
    }
}

impl<'a> Host<'a> {
    /// A host name, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(text: &'a [u8]) -> Option<Host<'a>> {
        if let [b'[', inner @ .., b']'] = text {
            return std::str::from_utf8(inner).ok()?.parse().ok().map(Host::V6);
        }
        if text.last()?.is_ascii_digit() {
            let address = ipv4(text);
            if address.is_some() || (count(text, b'.') == 3 && text.iter().all(|&b| b.is_ascii_digit() || b == b'.')) {
                return address.map(Host::V4);
            }
        }
        (text.len() <= 255 && is_name(text)).then_some(Host::Name(text))
    }

    /// `host[:port]`; blanks around the colon are let through, as a Via may have them.
    pub(super) fn with_port(text: &'a [u8]) -> Option<(Host<'a>, Option<u16>)> {
        let host_end = match text.first()? {
            b'[' => position(text, b']') + 1,
            _ => text.iter().position(|&b| b == b':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at_checked(host_end)?;
        let port = match trim(rest) {
            [] => None,
            [b':', digits @ ..] => Some(decimal(trim(digits)).and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)?),
            _ => return None,
        };
        Some((Host::parse(trim(host))?, port))
    }

    /// The address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(ip) => Some(IpAddr::V4(*ip)),
            Host::V6(ip) => Some(IpAddr::V6(*ip)),
        }
    }

    /// Same host: names without regard to case, addresses by value.
    pub fn matches(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            _ => self.ip().is_some() && self.ip() == other.ip(),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(&String::from_utf8_lossy(name)),
            Host::V4(ip) => ip.fmt(f),
            Host::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

/// As it can stand in <>; a password is left out, as logs and peers need none.
impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;
        match self {
            Uri::Sip(uri) => {
                f.write_str(if uri.secure { "sips:" } else { "sip:" })?;
                if let Some(user) = uri.user {
                    write!(f, "{}@", text(user))?;
                }
                write!(f, "{}", uri.host)?;
                if let Some(port) = uri.port {
                    write!(f, ":{port}")?;
                }
                write!(f, "{}", text(uri.params.raw()))?;
                if !uri.headers.is_empty() {
                    write!(f, "?{}", text(uri.headers))?;
                }
                Ok(())
            }
            Uri::Tel { number, params } => write!(f, "tel:{}{}", text(number), text(params.raw())),
            Uri::Other { scheme, rest } => write!(f, "{}:{}", text(scheme), text(rest)),
        }
    }
}

/// The characters of a component in one spelling: an escape of an unreserved character resolved, every other escape
/// in upper case, and what ought to have been escaped, escaped. A reserved character and its escape stay different.
struct Canonical<'a>(&'a [u8]);

impl Iterator for Canonical<'_> {
    type Item = Letter;
    fn next(&mut self) -> Option<Letter> {
        let (octet, escaped, used) = match escape_at(self.0) {
            Some(octet) => (octet, true, 3),
            None => (*self.0.first()?, false, 1),
        };
        self.0 = self.0.get(used..).unwrap_or_default();
        let unreserved = octet.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&octet);
        let reserved = b";/?:@&=+$,".contains(&octet);
        Some(if unreserved || (reserved && !escaped) { Letter::Plain(octet) } else { Letter::Escaped(octet) })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    Plain(u8),
    Escaped(u8),
}

impl Letter {
    fn folded(self) -> Letter {
        match self {
            Letter::Plain(b) => Letter::Plain(b.to_ascii_lowercase()),
            escaped => escaped,
        }
    }
}

impl Extend<Letter> for String {
    fn extend<T: IntoIterator<Item = Letter>>(&mut self, letters: T) {
        for letter in letters {
            match letter {
                Letter::Plain(b) => self.push(char::from(b)),
                Letter::Escaped(b) => {
                    self.push('%');
                    for digit in [b >> 4, b & 15] {
                        self.extend(char::from_digit(u32::from(digit), 16).map(|c| c.to_ascii_uppercase()));
                    }
                }
            }
        }
    }
}

/// Labels with dots between, none of them empty but the root.
fn is_name(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        match rest.split_at(run(rest, &LABEL)) {
            (_, []) => return true,
            ([_, ..], [b'.', next @ ..]) => rest = next,
            _ => return false,
        }
    }
}

/// Four numbers without leading zeros, which some would read as octal.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut octets, mut at, mut digits) = ([0u8; 4], 0, 0);
    for &b in text {
        let octet = octets.get_mut(at)?;
        match b {
            b'.' if digits > 0 => (at, digits) = (at + 1, 0),
            b'0'..=b'9' if digits == 0 || *octet > 0 => {
                *octet = octet.checked_mul(10)?.checked_add(b - b'0')?;
                digits += 1;
            }
            _ => return None,
        }
    }
    (at == 3 && digits > 0).then(|| octets.into())
}

fn same_optional(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Canonical(a).eq(Canonical(b)),
        (None, None) => true,
        _ => false,
    }
}

fn canonical_eq_ignore_case(a: &[u8], b: &[u8]) -> bool {
    Canonical(a).map(Letter::folded).eq(Canonical(b).map(Letter::folded))
}

/// Each header of `a` is in `b` with an equal value.
fn same_headers(a: &[u8], b: &[u8]) -> bool {
    let pairs = |s| <[u8]>::split(s, |&c| c == b'&').filter(|h| !h.is_empty()).map(|h| split_once(h, b'='));
    pairs(a).all(|(name, value)| {
        pairs(b).any(|(n, v)| {
            canonical_eq_ignore_case(n, name)
                && Canonical(v.unwrap_or_default()).eq(Canonical(value.unwrap_or_default()))
        })
    })
}

/// RFC 3966 §4: every parameter counts, names and values without regard to case.
fn same_tel_params(a: &Params<'_>, b: &Params<'_>) -> bool {
    a.iter().take(MAX).all(|(name, value)| {
        b.iter().take(MAX).any(|(n, v)| {
            n.eq_ignore_ascii_case(name) && v.unwrap_or_default().eq_ignore_ascii_case(value.unwrap_or_default())
        })
    })
}

fn is_phone_octet(b: u8) -> bool {
    b.is_ascii_hexdigit() || matches!(b, b'+' | b'*' | b'#' | b'-' | b'.' | b'(' | b')')
}

fn position(s: &[u8], wanted: u8) -> usize {
    find(s, wanted).unwrap_or(s.len())
}

fn count(s: &[u8], wanted: u8) -> usize {
    s.iter().filter(|&&b| b == wanted).count()
}

fn push_host(out: &mut String, host: &Host<'_>) {
    match host {
        Host::Name(name) => push_lower(out, name),
        address => out.push_str(&address.to_string()),
    }
}

fn push_lower(out: &mut String, text: &[u8]) {
    out.extend(text.iter().map(|b| char::from(b.to_ascii_lowercase())));
}

fn push_number(out: &mut String, number: &[u8]) {
    let digits = number.iter().filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')'));
    out.extend(digits.map(|b| char::from(b.to_ascii_lowercase())));
}

#[cfg(test)]
mod tests;
