//! Host of a URI or a Via: a name, an IPv4 or an IPv6 address (RFC 3261 §25.1).
use super::{count, position};
use crate::sip::scan::{decimal, run, trim};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    Name(&'a [u8]),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

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
    pub(in crate::sip) fn with_port(text: &'a [u8]) -> Option<(Host<'a>, Option<u16>)> {
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
