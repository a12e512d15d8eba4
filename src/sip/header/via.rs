//! One Via element: `SIP/2.0/UDP host:port;params` (RFC 3261 §20.42, RFC 3581).
use super::{HeaderError, Params};
use crate::sip::scan::{decimal, is_blank, split_token, trim, trim_start};
use crate::sip::uri::{Host, split_port};
use std::net::IpAddr;

#[derive(Debug, Clone)]
pub struct Via<'a> {
    /// "2.0", or else an answer to the message still finds its way (RFC 4475 §3.1.2.16).
    pub version: &'a [u8],
    /// "UDP", "TCP", "TLS", … as sent
    pub transport: &'a [u8],
    pub host: Host<'a>,
    pub port: Option<u16>,
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let bad = |why| HeaderError::new("Via", why);
        let value = trim(value);
        let (version, rest) = match value.strip_prefix(b"SIP/2.0/") {
            Some(rest) => (&value[4..7], trim_start(rest)),
            None => Self::protocol(value)?,
        };
        let (transport, rest) = split_token(rest);
        if transport.is_empty() || !rest.first().is_some_and(|&b| is_blank(b)) {
            return Err(bad("no transport and sent-by"));
        }
        let no_place = || bad("the sent-by is not host and port");
        let (host, rest) = Host::split(trim_start(rest)).ok_or_else(no_place)?;
        let (port, params) = match trim_start(rest) {
            [b':', digits @ ..] => {
                let (port, rest) = split_port(trim_start(digits)).ok_or_else(no_place)?;
                (Some(port), trim_start(rest))
            }
            rest => (None, rest),
        };
        if !matches!(params, [] | [b';', ..]) {
            return Err(no_place());
        }
        Ok(Via { version, transport, host, port, params: Params(params) })
    }

    /// Version and the rest, of a protocol that is not written as most write it.
    fn protocol(value: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), HeaderError> {
        let bad = |why| HeaderError::new("Via", why);
        // Blanks may stand around each slash, so the pieces are cut off one by one.
        let (protocol, rest) = until_slash(value).ok_or(bad("no protocol"))?;
        let (version, rest) = until_slash(rest).ok_or(bad("no protocol version"))?;
        if !protocol.eq_ignore_ascii_case(b"SIP") || version.is_empty() {
            return Err(bad("not SIP"));
        }
        Ok((version, rest))
    }

    pub fn branch(&self) -> Option<&'a [u8]> {
        self.raw_param(b"branch").flatten()
    }

    /// `rport`: Some(None) when it is asked for, Some(Some(port)) when it has been filled in.
    pub fn rport(&self) -> Option<Option<u16>> {
        self.raw_param(b"rport").map(|value| value.and_then(decimal).and_then(|n| u16::try_from(n).ok()))
    }

    /// `received`, brackets around an IPv6 address tolerated (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.raw_param(b"received")??;
        let text = text.strip_prefix(b"[").and_then(|t| t.strip_suffix(b"]")).unwrap_or(text);
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    fn raw_param(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.params.find(name).map(|pair| pair.value)
    }
}

fn until_slash(s: &[u8]) -> Option<(&[u8], &[u8])> {
    let (token, rest) = split_token(s);
    Some((token, trim_start(trim_start(rest).strip_prefix(b"/")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_and_spaced_out() {
        let v = Via::parse(b"SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw").unwrap();
        assert_eq!(v.transport, b"UDP");
        assert_eq!(v.host, Host::V4([192, 0, 2, 2].into()));
        assert_eq!((v.port, v.branch()), (None, Some(&b"390skdjuw"[..])));
        let v = Via::parse(b"SIP/2.0/TCP spindle.example.com : 5062  ;\r\n  branch  =   z9hG4bK9ikj8 ;rport").unwrap();
        assert_eq!((v.port, v.branch(), v.rport()), (Some(5062), Some(&b"z9hG4bK9ikj8"[..]), Some(None)));
    }

    #[test]
    fn ipv6() {
        let v =
            Via::parse(b"SIP/2.0/UDP [2001:db8::9:1]:5060;received=[2001:db8::9:255];rport=9;branch=z9hG4bKas3-111")
                .unwrap();
        assert_eq!(v.host, Host::V6("2001:db8::9:1".parse().unwrap()));
        assert_eq!(v.received(), Some("2001:db8::9:255".parse().unwrap()));
        assert_eq!((v.port, v.rport()), (Some(5060), Some(Some(9))));
        let v = Via::parse(b"SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255").unwrap();
        assert_eq!(v.received(), Some("2001:db8::9:255".parse().unwrap()));
    }

    #[test]
    fn refused() {
        for bad in [
            &b""[..],
            b"SIP/2.0/UDP",
            b"SIP/2.0/UDP ",
            b"HTTP/2.0/UDP c.example.com",
            b"SIP//UDP c.example.com",
            b"SIP/2.0 host",
            b"SIP/2.0/UDP h:x",
            b"SIP/2.0/UDP h:65536",
            b"SIP/2.0/UDP [::1",
            b"SIP/2.0/U;P h",
            b"SIP/2.0/UDP a b",
            b"SIP/2.0/UDP 2001:db8::1",
        ] {
            assert!(Via::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
