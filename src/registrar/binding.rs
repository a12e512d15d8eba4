//! Bindings: where a registered identity can be reached (RFC 3261 §10.3, RFC 5626, RFC 3327).

use crate::sip::transaction::Source;
use crate::sip::{NameAddr, Uri};
use std::borrow::Cow;
use std::time::Duration;

/// One contact of a registration.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The contact URI as the terminal sent it.
    pub uri: Box<str>,
    /// Header parameters other than `expires` and `q`, raw, with their leading `;`.
    pub params: Box<str>,
    /// `+sip.instance`, the key of a binding that survives a change of address (RFC 5626 §6).
    pub instance: Option<Box<str>>,
    pub reg_id: Option<u32>,
    /// Thousandths.
    pub q: u16,
    /// Path values, in order (RFC 3327 §5.3).
    pub path: Box<[Box<str>]>,
    pub call_id: Box<[u8]>,
    pub cseq: u32,
    /// Monotonic time of the end.
    pub until: Duration,
    /// The latest end that it ever had: another node's copy may still say that.
    pub latest: Duration,
    /// Of the REGISTER that made or refreshed it: the store's clock in milliseconds, but above that of any that was
    /// acknowledged before it, whatever another node's idea of that clock.
    pub since: u64,
    /// Where the REGISTER came from.
    pub source: Source,
}

impl Binding {
    /// Whether `contact` names this binding: same instance and reg-id, or else an equivalent URI.
    pub fn is_named_by(&self, contact: &ContactAsked<'_>) -> bool {
        if let (Some(mine), Some(theirs)) = (&self.instance, &contact.instance) {
            return **mine == **theirs && self.reg_id == contact.reg_id;
        }
        match (Uri::parse(self.uri.as_bytes()), &contact.uri) {
            (Ok(mine), theirs) => mine.equivalent(theirs),
            (Err(_), _) => false,
        }
    }

    /// Whether this and that are the same contact, of one node and of another.
    pub(super) fn is(&self, other: &Binding) -> bool {
        match (&self.instance, &other.instance) {
            (Some(mine), Some(theirs)) => mine == theirs && self.reg_id == other.reg_id,
            _ => match (Uri::parse(self.uri.as_bytes()), Uri::parse(other.uri.as_bytes())) {
                (Ok(mine), Ok(theirs)) => mine.equivalent(&theirs),
                _ => self.uri == other.uri,
            },
        }
    }

    /// Whether this is of a later REGISTER than that one (RFC 3261 §10.3 step 7): the CSeq of one Call-ID says, else the
    /// time.
    pub(super) fn is_newer_than(&self, other: &Binding) -> bool {
        match self.call_id == other.call_id {
            true => self.cseq > other.cseq,
            false => self.since > other.since,
        }
    }

    /// Seconds left, rounded up so that a fresh binding shows what was granted.
    pub fn expires_in(&self, mono: Duration) -> u64 {
        self.until.saturating_sub(mono).as_millis().div_ceil(1000) as u64
    }
}

/// A contact as a REGISTER asks for it.
#[derive(Debug, Clone)]
pub struct ContactAsked<'a> {
    pub uri: Uri<'a>,
    pub uri_text: &'a str,
    pub params: String,
    pub instance: Option<Cow<'a, str>>,
    pub reg_id: Option<u32>,
    pub q: u16,
    /// `expires` of the contact itself.
    pub expires: Option<u32>,
}

impl<'a> ContactAsked<'a> {
    /// Reads one Contact value. None: it is not text, or its q or reg-id is no number.
    pub fn read(contact: NameAddr<'a>) -> Option<Self> {
        let uri_text = std::str::from_utf8(contact.uri_raw).ok()?;
        let mut params = Vec::with_capacity(contact.params.raw().len());
        let (mut expires, mut q, mut instance, mut reg_id) = (None, 1000, None, None);
        for (name, value) in contact.params.iter() {
            let text = |v: Option<&'a [u8]>| v.and_then(|v| std::str::from_utf8(v).ok());
            if name.eq_ignore_ascii_case(b"expires") {
                // Not a number, or too large for one: as if absent (RFC 4475 §3.1.2.4).
                expires = text(value).and_then(|v| v.parse::<u32>().ok());
            } else if name.eq_ignore_ascii_case(b"q") {
                q = text(value).and_then(parse_q)?;
            } else {
                if name.eq_ignore_ascii_case(b"+sip.instance") {
                    instance = Some(match contact.params.get("+sip.instance")? {
                        Cow::Borrowed(octets) => Cow::Borrowed(std::str::from_utf8(octets).ok()?),
                        Cow::Owned(octets) => Cow::Owned(String::from_utf8(octets).ok()?),
                    });
                } else if name.eq_ignore_ascii_case(b"reg-id") {
                    reg_id = Some(text(value).and_then(|v| v.parse().ok())?);
                }
                params.push(b';');
                params.extend_from_slice(name);
                if let Some(value) = value {
                    params.push(b'=');
                    params.extend_from_slice(value);
                }
            }
        }
        params.iter_mut().for_each(|b| *b = if matches!(b, b'\r' | b'\n') { b' ' } else { *b });
        // One look at all of them: what separates them is text.
        let params = String::from_utf8(params).ok()?;
        Some(ContactAsked { uri: contact.uri, uri_text, params, instance, reg_id, q, expires })
    }
}

/// `q` of RFC 3261 §25.1: 0 to 1 with up to three decimals.
fn parse_q(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = match whole {
        "0" | "" => 0,
        "1" => 1000,
        _ => return None,
    };
    let fraction: u16 = if decimals.is_empty() { 0 } else { format!("{decimals:0<3}").parse().ok()? };
    let q = whole + fraction;
    (q <= 1000).then_some(q)
}

#[cfg(test)]
mod tests {
    use super::parse_q;

    #[test]
    fn q_values() {
        for (text, q) in [("1", 1000), ("0", 0), ("0.5", 500), ("1.000", 1000), ("0.75", 750), (".3", 300), ("0.", 0)] {
            assert_eq!(parse_q(text), Some(q), "{text}");
        }
        for bad in ["1.1", "2", "0.1234", "-1", "a", "0.x", "1.001"] {
            assert_eq!(parse_q(bad), None, "{bad}");
        }
    }
}
