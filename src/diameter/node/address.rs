//! Addresses of Diameter as operators write them: `tcp:127.0.0.1:3868`, `tls:hss.home1.net`.

use crate::sip::transport::{self, Listen};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// RFC 6733 §2.1.
const PORT: u16 = 3868;
const TLS_PORT: u16 = 5868;

/// Where to listen or whom to connect to. A name is looked up each time that somebody connects, so that a peer may move
/// and a node starts before its names can be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// With a `name`, its port alone counts.
    pub addr: SocketAddr,
    pub name: Option<String>,
    /// Over TLS: the name that the peer's certificate must carry.
    pub tls_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("`{0}`: Diameter goes over tcp: or tls:")]
    Transport(String),
    #[error(transparent)]
    Address(#[from] transport::AddressError),
}

impl Endpoint {
    pub fn is_tls(&self) -> bool {
        self.tls_name.is_some()
    }

    /// Over TCP.
    pub fn tcp(addr: SocketAddr) -> Self {
        Endpoint { addr, name: None, tls_name: None }
    }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let tls = scheme.eq_ignore_ascii_case("tls");
        if !tls && !scheme.eq_ignore_ascii_case("tcp") {
            return Err(AddressError::Transport(text.to_owned()));
        }
        let default = if tls { TLS_PORT } else { PORT };
        let (host, port) = match rest.rsplit_once(']') {
            Some((_, "")) => (rest, None),
            _ => rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let tls_name = |host: &str| tls.then(|| host.trim_matches(['[', ']']).to_owned());
        let is_name = host.starts_with(|c: char| c.is_ascii_alphanumeric())
            && host.parse::<Ipv4Addr>().is_err()
            && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        if is_name {
            let port = match port {
                Some(digits) => {
                    digits.parse().map_err(|_| transport::AddressError::Port(text.to_owned(), digits.to_owned()))?
                }
                None => default,
            };
            let addr = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
            return Ok(Endpoint { addr, name: Some(host.to_owned()), tls_name: tls_name(host) });
        }
        let listen: Listen = match port {
            None if !rest.is_empty() => format!("{text}:{default}").parse()?,
            _ => text.parse()?,
        };
        Ok(Endpoint { addr: listen.addr, name: None, tls_name: tls_name(host) })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.is_tls() { "tls" } else { "tcp" };
        match &self.name {
            Some(name) => write!(f, "{transport}:{name}:{}", self.addr.port()),
            None => write!(f, "{transport}:{}", self.addr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_default_ports() {
        let shown = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        assert_eq!(shown("tcp:127.0.0.1:3870").as_deref(), Ok("tcp:127.0.0.1:3870"));
        assert_eq!(shown("tcp:127.0.0.1").as_deref(), Ok("tcp:127.0.0.1:3868"));
        assert_eq!(shown("TLS:localhost").as_deref(), Ok("tls:localhost:5868"));
        assert_eq!(shown("tcp:hss.no.such.invalid:3869").as_deref(), Ok("tcp:hss.no.such.invalid:3869"));
        assert_eq!(shown("tcp:[::1]").as_deref(), Ok("tcp:[::1]:3868"));
        assert_eq!(shown("tcp:[::1]:1").as_deref(), Ok("tcp:[::1]:1"));
        assert_eq!("tls:localhost".parse::<Endpoint>().unwrap().tls_name.as_deref(), Some("localhost"));
        assert_eq!("tls:127.0.0.1".parse::<Endpoint>().unwrap().tls_name.as_deref(), Some("127.0.0.1"));
        assert!(shown("udp:127.0.0.1").unwrap_err().to_string().contains("tcp: or tls:"));
        for text in
            ["", "tcp", "tcp:", "127.0.0.1:3868", "tcp:127.0.0.1:x", "tcp:hss:x", "tcp:hss:", "tcp:::1", "tcp:h s"]
        {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
