//! sip:, sips:, tel:, urn: and any other URI, borrowed (RFC 3261 §19.1, RFC 3966). Made by the address views and the
//! Request-URI accessor; the registrar keys its records by [`Uri::aor`] and compares Contacts by [`Uri::equivalent`].
use super::header::{HeaderError, Params};
use super::scan::{escape_at, find, percent_decoded, run, split_once};
use std::borrow::Cow;
use std::fmt;

mod host;

pub use host::Host;
pub(super) use host::split_port;

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

/// Octets that mean nothing but themselves in a SIP URI.
const UNMARKED: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0x21_u8;
    while b <= 0x7e {
        table[b as usize] = !FOREIGN[b as usize] && !matches!(b, b'@' | b':' | b'?' | b';' | b'&' | b'%');
        b += 1;
    }
    table
};

/// Whether a part of a SIP URI has only octets that it may have, and digits behind each %; how often `separator` is
/// among them.
fn sound(part: &[u8], separator: u8) -> Result<usize, HeaderError> {
    let mut separators = 0;
    for (i, &b) in part.iter().enumerate().filter(|(_, b)| !UNMARKED[usize::from(**b)]) {
        match b {
            b':' | b'?' | b';' | b'&' => separators += usize::from(b == separator),
            b'%' => drop(escape_at(&part[i..]).ok_or(bad("a % without two hexadecimal digits"))?),
            b'@' => return Err(bad("more than one @")),
            _ => return Err(foreign()),
        }
    }
    Ok(separators)
}

impl<'a> Uri<'a> {
    pub fn parse(text: &'a [u8]) -> Result<Self, HeaderError> {
        match text {
            [b's' | b'S', b'i' | b'I', b'p' | b'P', b':', rest @ ..] => Uri::sip(false, rest),
            [b's' | b'S', b'i' | b'I', b'p' | b'P', b's' | b'S', b':', rest @ ..] => Uri::sip(true, rest),
            _ => Self::of_other_scheme(text),
        }
    }

    /// What is behind `sip:` or `sips:`.
    fn sip(secure: bool, text: &'a [u8]) -> Result<Self, HeaderError> {
        // A user part may hold ";" and "?"; behind it no "@" may stand bare, so the first one ends it.
        let plain = run(text, &UNMARKED);
        let at = match text.get(plain) {
            Some(b'@') => Some(plain),
            Some(_) => find(text, b'@'),
            None => None,
        };
        let (user, password, place) = match at {
            None => (None, None, text),
            Some(at) => {
                let (user, password) = match &text[..at] {
                    user if at == plain => (user, None),
                    info => {
                        sound(info, b':')?;
                        split_once(info, b':')
                    }
                };
                if user.is_empty() {
                    return Err(bad("an empty user part"));
                }
                (Some(user), password, &text[at + 1..])
            }
        };
        let (host, rest) = Host::split(place).ok_or(bad("no proper host"))?;
        let (port, rest) = match rest {
            [b':', digits @ ..] => split_port(digits).map(|(port, rest)| (Some(port), rest)).ok_or(bad("no port"))?,
            rest => (None, rest),
        };
        let (params, headers) = match rest {
            [] => (rest, None),
            [b';' | b'?', ..] => split_once(rest, b'?'),
            _ => return Err(bad("no proper host and port")),
        };
        let headers = headers.unwrap_or_default();
        if sound(params, b';')? > MAX || sound(headers, b'&')? > MAX {
            return Err(bad("too many parameters"));
        }
        Ok(Uri::Sip(SipUri { secure, user, password, host, port, params: Params(params), headers }))
    }

    fn of_other_scheme(text: &'a [u8]) -> Result<Self, HeaderError> {
        let colon = text.iter().position(|&b| b == b':').ok_or(bad("no scheme"))?;
        let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
        if text.iter().any(|&b| FOREIGN[usize::from(b)]) {
            return Err(foreign());
        }
        if scheme.eq_ignore_ascii_case(b"tel") {
            let (number, params) = rest.split_at(find(rest, b';').unwrap_or(rest.len()));
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

impl<'a> SipUri<'a> {
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

    /// Each parameter of ours is in the other with an equal value, or absent there and one that may be. Of one that
    /// stands twice, as it must not (RFC 3261 §19.1.1), the first counts, as in [`SipUri::param`].
    fn params_agree_with(&self, other: &SipUri<'_>) -> bool {
        self.params.iter().all(|(name, _)| {
            match (first_value(&self.params, name), first_value(&other.params, name)) {
                (Some(ours), Some(theirs)) => canonical_eq_ignore_case(ours, theirs),
                // Transport is not in the clause's list, yet its examples treat it so.
                _ => !["user", "ttl", "method", "maddr", "transport"]
                    .iter()
                    .any(|special| canonical_eq_ignore_case(name, special.as_bytes())),
            }
        })
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

fn first_value<'p>(params: &Params<'p>, name: &[u8]) -> Option<&'p [u8]> {
    params.iter().find(|(n, _)| canonical_eq_ignore_case(n, name)).map(|(_, value)| value.unwrap_or_default())
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
