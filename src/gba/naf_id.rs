//! NAF_Id = FQDN || Ua security protocol identifier (TS 33.220 §4, annex H).

use crate::identity::common;
use arcstr::ArcStr;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// No text form of a NAF_Id is longer.
const MAX_TEXT: usize = 255;
/// Octets of a domain name in text (RFC 1035 §2.3.4, less the length octets).
const MAX_NAME: usize = 253;

/// Ua security protocol identifier: organisation, then what it assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UaId(pub [u8; 5]);

impl UaId {
    /// MBMS security (TS 33.246), which OMA BCAST uses too: what a NAF_Id without identifier means.
    pub const MBMS: UaId = UaId([1, 0, 0, 0, 1]);

    /// Ten hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 10] = text.as_bytes().try_into().ok()?;
        let mut octets = [0; 5];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                *octet = *octet << 4 | char::from(*digit).to_digit(16)? as u8;
            }
        }
        Some(UaId(octets))
    }

    /// Writes the ten digits where they are to stand.
    pub fn write(&self, out: &mut impl std::fmt::Write) -> std::fmt::Result {
        let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
        self.0.iter().try_for_each(|octet| {
            out.write_char(digit(octet >> 4))?;
            out.write_char(digit(octet & 15))
        })
    }
}

impl std::fmt::Display for UaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.write(f)
    }
}

/// Canonical: lower case, no trailing dot, A-labels only; anything else is refused, not converted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NafId {
    fqdn: ArcStr,
    pub ua: UaId,
}

/// `text` is cut to what a log line bears.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("NAF_ID {text:?}: {why}")]
pub struct NafIdError {
    pub text: String,
    pub why: &'static str,
}

impl NafId {
    pub fn new(fqdn: &str, ua: UaId) -> Result<Self, NafIdError> {
        match fault(fqdn) {
            Some(why) => Err(refusal(fqdn, why)),
            None => Ok(NafId { fqdn: common(fqdn), ua }),
        }
    }

    /// The text forms of a REGISTER: `FQDN`, `FQDN;0100000001`, or base64 of FQDN || 5 octets.
    ///
    /// Base64 has no dot, so only text without one can mean that; it counts if it holds a dotted name.
    pub fn parse(text: &str) -> Result<Self, NafIdError> {
        if text.len() > MAX_TEXT {
            return Err(refusal(text, "longer than 255 octets"));
        }
        if let Some((fqdn, ua)) = text.split_once(';') {
            let ua = UaId::parse(ua)
                .ok_or_else(|| refusal(text, "the Ua security protocol identifier is not ten hex digits"))?;
            return Self::new(fqdn, ua);
        }
        if !text.contains('.')
            && let Some(naf) = Self::from_base64(text)
        {
            return naf;
        }
        Self::new(text, UaId::MBMS)
    }

    fn from_base64(text: &str) -> Option<Result<Self, NafIdError>> {
        let octets = STANDARD.decode(text).ok()?;
        let (fqdn, ua) = octets.split_last_chunk::<5>()?;
        let fqdn = std::str::from_utf8(fqdn).ok().filter(|fqdn| fqdn.contains('.'))?;
        Some(Self::new(fqdn, UaId(*ua)))
    }

    /// FQDN || 5 octets, as Zn carries it.
    pub fn from_octets(octets: &[u8]) -> Result<Self, NafIdError> {
        let (fqdn, ua) = octets.split_last_chunk::<5>().ok_or_else(|| refusal("", "shorter than its Ua identifier"))?;
        let fqdn = std::str::from_utf8(fqdn).map_err(|_| refusal("", "not a host name (not UTF-8)"))?;
        Self::new(fqdn, UaId(*ua))
    }

    pub fn fqdn(&self) -> &str {
        &self.fqdn
    }

    /// FQDN || 5 octets
    pub fn octets(&self) -> Vec<u8> {
        [self.fqdn.as_bytes(), &self.ua.0].concat()
    }
}

/// `FQDN;0100000001`: the form that [`NafId::parse`] reads back.
impl std::fmt::Display for NafId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{};{}", self.fqdn, self.ua)
    }
}

fn refusal(text: &str, why: &'static str) -> NafIdError {
    NafIdError { text: text.chars().take(80).collect(), why }
}

fn fault(fqdn: &str) -> Option<&'static str> {
    if fqdn.bytes().any(|octet| octet.is_ascii_uppercase()) {
        return Some("upper case: another case gives another key, so only lower case is taken");
    }
    if fqdn.ends_with('.') {
        return Some("trailing dot");
    }
    (!is_host_name(fqdn)).then_some("not a host name (letters, digits and hyphens between dots)")
}

/// Labels of letters, digits and inner hyphens, 1 to 63 octets each (RFC 1123 §2.1).
pub(super) fn is_host_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_text_forms_are_one_name() {
        let plain = NafId::parse("bsm.home1.net").unwrap();
        assert_eq!(plain, NafId::new("bsm.home1.net", UaId::MBMS).unwrap());
        assert_eq!(plain, NafId::parse("bsm.home1.net;0100000001").unwrap());
        assert_eq!(plain, NafId::parse(&STANDARD.encode(b"bsm.home1.net\x01\0\0\0\x01")).unwrap());
        assert_eq!(plain, NafId::parse(&plain.to_string()).unwrap());
        let sip = NafId::parse("bsm.home1.net;010000000A").unwrap();
        assert_eq!(sip.ua, UaId([1, 0, 0, 0, 10]));
        assert_eq!(sip.octets(), b"bsm.home1.net\x01\0\0\0\x0a");
        assert_eq!(NafId::from_octets(&sip.octets()).unwrap(), sip);
        for octets in [&b""[..], b"a.n", b"\x01\0\0\0\x01", b"BSM.net\x01\0\0\0\x01", b"\xff.net\x01\0\0\0\x01"] {
            assert!(NafId::from_octets(octets).is_err());
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long_label = "a".repeat(64);
        let long_name = ["abcdefg"; 32].join(".");
        for text in [
            "",
            ".",
            "bsm.home1.net.",
            "BSM.home1.net",
            "bsm..net",
            "-a.net",
            "a-.net",
            "a_b.net",
            "bücher.example",
            "a b.net",
            "a.net\r\n",
            "a.net;",
            "a.net;01000000",
            "a.net;01000000010",
            "a.net;0100000001;0100000001",
            "a.net;+100000001",
            "sip:a.net",
            "[::1]",
            long_label.as_str(),
            long_name.as_str(),
            STANDARD.encode(b"BSM.home1.net\x01\0\0\0\x01").as_str(),
            STANDARD.encode(b"a\0.net\x01\0\0\0\x01").as_str(),
        ] {
            assert!(NafId::parse(text).is_err(), "{text:?}");
        }
        assert!(NafId::parse(&"x".repeat(60_000)).unwrap_err().text.len() <= 80);
    }
}
