//! Non-INVITE transactions (RFC 3261 §17.1.2, §17.2.2), sans-IO: inputs and `now` in, outputs and timers out (rank 1).
//!
//! [`server`] remembers what was asked and answered, [`client`] repeats a request until it is answered; both are tables
//! of one worker, driven by `sip::transport`. INVITE is served by the same rules (its answer is repeated when it is
//! asked again, never on a timer of ours), since nothing here sets up sessions.

pub mod client;
pub mod key;
pub mod server;

use crate::answer::Answer;
use crate::sip::Message;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Round-trip estimate (RFC 3261 §17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// Longest interval between two transmissions of a non-INVITE request.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message may stay in the network.
pub const T4: Duration = Duration::from_secs(5);
/// 64*T1: timers F (client gives up) and J (server forgets).
pub const TIMEOUT: Duration = Duration::from_secs(32);
/// What a branch made by RFC 3261's rules begins with (§8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// As it stands in a Via: `UDP`, `TCP`, `TLS`.
    pub fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// As it stands in a listen address or a URI parameter: `udp`, `tcp`, `tls`.
    pub fn param(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }
}

/// Where a message came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub transport: Transport,
    pub addr: SocketAddr,
    /// The local address that it came in on.
    pub local: SocketAddr,
    /// Subject names (DNS and URI subjectAltName) of the verified client certificate, if the peer showed one.
    pub peer_names: Arc<[String]>,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NextHop {
    pub transport: Transport,
    pub addr: SocketAddr,
    /// Name that the peer's certificate must carry (TLS).
    pub tls_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("no answer in time")]
    Timeout,
    #[error("cannot reach the peer: {0}")]
    Unreachable(String),
    #[error("the answer cannot be read: {0}")]
    BadAnswer(String),
}

/// Sends a request in a client transaction of its own and answers with its final response.
/// The request comes without Via; the implementation puts one on top.
pub trait Outbound {
    fn request(
        &self,
        to: &NextHop,
        request: Vec<u8>,
        within: Duration,
    ) -> Answer<'static, Result<Message<'static>, SendError>>;
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.param(), self.addr)
    }
}
