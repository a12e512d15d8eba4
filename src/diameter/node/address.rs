//! Addresses of Diameter as operators write them: `tcp:127.0.0.1:3868`, `tls:hss.home1.net`.

use crate::sip::transaction::{NextHop, Transport};
use crate::sip::transport;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// RFC 6733 §2.1.
const PORT: u16 = 3868;
const TLS_PORT: u16 = 5868;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub addr: SocketAddr,
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
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let port = if scheme.eq_ignore_ascii_case("tls") { TLS_PORT } else { PORT };
        let has_port = match rest.rsplit_once(']') {
            Some((_, after)) => !after.is_empty(),
            None => rest.contains(':'),
        };
        let hop: NextHop =
            if has_port || rest.is_empty() { text.parse()? } else { format!("{text}:{port}").parse()? };
        match hop.transport {
            Transport::Tcp => Ok(Endpoint { addr: hop.addr, tls_name: None }),
            // The host as it is written, also an address.
            Transport::Tls => Ok(Endpoint { addr: hop.addr, tls_name: Some(hop.tls_name.unwrap_or_default()) }),
            Transport::Udp => Err(AddressError::Transport(text.to_owned())),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", if self.is_tls() { "tls" } else { "tcp" }, self.addr)
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
        assert_eq!(shown("TLS:localhost").as_deref(), Ok("tls:127.0.0.1:5868"));
        assert_eq!(shown("tcp:[::1]").as_deref(), Ok("tcp:[::1]:3868"));
        assert_eq!(shown("tcp:[::1]:1").as_deref(), Ok("tcp:[::1]:1"));
        assert_eq!("tls:localhost".parse::<Endpoint>().unwrap().tls_name.as_deref(), Some("localhost"));
        assert!(shown("udp:127.0.0.1").unwrap_err().to_string().contains("tcp: or tls:"));
        for text in ["", "tcp", "tcp:", "127.0.0.1:3868", "tcp:127.0.0.1:x"] {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
