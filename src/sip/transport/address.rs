//! Addresses as operators write them: `udp:127.0.0.1:5060`, `tcp:[::1]:5060`, `tls:bsm.example:5061`.

use crate::sip::transaction::{NextHop, Transport};
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A transport and the address that it is to listen on; port 0 takes a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listen {
    pub transport: Transport,
    pub addr: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("`{0}`: no transport; write udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT")]
    NoTransport(String),
    #[error("`{0}`: no host; write udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT")]
    NoHost(String),
    #[error("`{0}`: an IPv6 address stands in brackets, as in udp:[::1]:5060")]
    Brackets(String),
    #[error("`{0}`: `{1}` is not a port number from 0 to 65535")]
    Port(String, String),
    #[error("`{0}`: the name `{1}` cannot be resolved: {2}")]
    Resolve(String, String, String),
}

impl FromStr for Listen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (transport, _, addr) = endpoint(text)?;
        Ok(Listen { transport, addr })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.param(), self.addr)
    }
}

/// The same text as for [`Listen`]; over TLS the peer's certificate must carry the host as written.
impl FromStr for NextHop {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (transport, host, addr) = endpoint(text)?;
        Ok(NextHop { transport, addr, tls_name: (transport == Transport::Tls).then(|| host.to_owned()) })
    }
}

/// Transport, host as written (without brackets) and address. A name that has addresses of both families gives its
/// IPv4 one. Without a port the transport's default counts.
fn endpoint(text: &str) -> Result<(Transport, &str, SocketAddr), AddressError> {
    let whole = || text.to_owned();
    let (scheme, rest) = text.split_once(':').ok_or_else(|| AddressError::NoTransport(whole()))?;
    let transport = [Transport::Udp, Transport::Tcp, Transport::Tls]
        .into_iter()
        .find(|transport| scheme.eq_ignore_ascii_case(transport.param()))
        .ok_or_else(|| AddressError::NoTransport(whole()))?;
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']').ok_or_else(|| AddressError::Brackets(whole()))?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(AddressError::Brackets(whole())),
            }
        }
        None => match rest.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(AddressError::Brackets(whole())),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = match port {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map_err(|_| AddressError::Port(whole(), digits.to_owned()))?
        }
        Some(other) => return Err(AddressError::Port(whole(), other.to_owned())),
        None => default_port(transport),
    };
    if host.is_empty() {
        return Err(AddressError::NoHost(whole()));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok((transport, host, SocketAddr::new(ip, port)));
    }
    let unresolved = |why: String| AddressError::Resolve(whole(), host.to_owned(), why);
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(|e| unresolved(e.to_string()))?.collect();
    let addr = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    Ok((transport, host, *addr.ok_or_else(|| unresolved("no address".into()))?))
}

/// RFC 3261 §19.1.2.
pub fn default_port(transport: Transport) -> u16 {
    if transport == Transport::Tls { 5061 } else { 5060 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_written() {
        for (text, transport, addr) in [
            ("udp:127.0.0.1:5060", Transport::Udp, "127.0.0.1:5060"),
            ("TCP:[::1]:5062", Transport::Tcp, "[::1]:5062"),
            ("tls:0.0.0.0", Transport::Tls, "0.0.0.0:5061"),
            ("udp:[::]", Transport::Udp, "[::]:5060"),
            ("udp:127.0.0.1:0", Transport::Udp, "127.0.0.1:0"),
            ("udp:localhost:5070", Transport::Udp, "127.0.0.1:5070"),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.transport, listen.addr), (transport, addr.parse().unwrap()), "{text}");
        }
        assert_eq!("tcp:[::1]:5062".parse::<Listen>().unwrap().to_string(), "tcp:[::1]:5062");
        assert_eq!("tls:localhost:5061".parse::<NextHop>().unwrap().tls_name.as_deref(), Some("localhost"));
    }

    #[test]
    fn faults_are_named() {
        for (text, why) in [
            ("127.0.0.1:5060", "no transport"),
            ("sctp:127.0.0.1:5060", "no transport"),
            ("udp", "no transport"),
            ("udp:", "no host"),
            ("udp::5060", "no host"),
            ("udp:::1:5060", "brackets"),
            ("udp:[::1", "brackets"),
            ("udp:[::1]5060", "brackets"),
            ("udp:127.0.0.1:65536", "65536"),
            ("udp:127.0.0.1:+1", "not a port"),
            ("udp:127.0.0.1:", "not a port"),
            ("udp:no.such.host.invalid:5060", "cannot be resolved"),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
