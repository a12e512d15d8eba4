//! Host of a URI or a Via: a name, an IPv4 or an IPv6 address (RFC 3261 §25.1).
use crate::sip::scan::{decimal, find, run};
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
        Self::split(text).filter(|(_, rest)| rest.is_empty()).map(|(host, _)| host)
    }

    /// The host that `text` begins with, and what is behind it.
    #[inline]
    pub(in crate::sip) fn split(text: &'a [u8]) -> Option<(Host<'a>, &'a [u8])> {
        if let [b'[', inner @ ..] = text {
            let (address, rest) = inner.split_at(find(inner, b']')?);
            return Some((Host::V6(std::str::from_utf8(address).ok()?.parse().ok()?), &rest[1..]));
        }
        let (name, rest) = text.split_at(name_len(text));
        if name.last()?.is_ascii_digit() {
            match ipv4(name) {
                Some(address) => return Some((Host::V4(address), rest)),
                None if is_quad(name) => return None,
                None => {}
            }
        }
        (name.len() <= 255).then_some((Host::Name(name), rest))
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

/// Length of the host name at the start of `text`: labels with dots between, none of them empty but the root.
fn name_len(text: &[u8]) -> usize {
    let mut rest = text;
    loop {
        match rest.split_at(run(rest, &LABEL)) {
            ([_, ..], [b'.', next @ ..]) => rest = next,
            (_, behind) => return text.len() - behind.len(),
        }
    }
}

/// The port that `text` begins with, and what is behind it.
pub(in crate::sip) fn split_port(text: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = text.split_at(text.iter().take_while(|b| b.is_ascii_digit()).count());
    let port = decimal(digits).and_then(|n| u16::try_from(n).ok()).filter(|port| *port != 0)?;
    Some((port, rest))
}

/// What can only be meant as an IPv4 address.
fn is_quad(text: &[u8]) -> bool {
    text.iter().filter(|&&b| b == b'.').count() == 3 && text.iter().all(|&b| b.is_ascii_digit() || b == b'.')
}

/// Four numbers without leading zeros, which some would read as octal.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut octets, mut rest) = ([0u8; 4], text);
    for (i, octet) in octets.iter_mut().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let (number, behind) = match rest {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', behind @ ..] => (decimal(&[*a, *b, *c])?, behind),
            [a @ b'1'..=b'9', b @ b'0'..=b'9', behind @ ..] => (decimal(&[*a, *b])?, behind),
            [a @ b'0'..=b'9', behind @ ..] => (decimal(&[*a])?, behind),
            _ => return None,
        };
        *octet = u8::try_from(number).ok()?;
        rest = behind;
    }
    rest.is_empty().then(|| octets.into())
}
