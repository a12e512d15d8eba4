//! The terminal (rank 4): a smart card and the small SIP client around it, as the demo, the tests, `imscript terminal`
//! and `imscript load` use it. It works against any registrar.
//!
//! [`register`] is the registration itself without sockets or clock (TS 24.229 §5.1.1): requests out, responses in.
//! [`client`] runs it over a [`connection`]; [`load`] runs thousands of them over a few sockets. [`application`] is what
//! the terminal asks the broadcast server for afterwards;
//! [`bootstrap`] is the way to a key without SIP.

pub mod application;
pub mod bootstrap;
pub mod card_file;
pub mod challenge;
pub mod client;
pub mod connection;
pub mod http;
pub mod identifiers;
pub mod link;
pub mod load;
pub mod register;
pub mod registration;
pub mod tls;
pub mod usim;

pub use client::{Deregister, RegisterOptions, Terminal};
pub use connection::{ConnectionError, Server};
pub use register::{Account, Credentials, Figure, Portion};
pub use registration::{Broadcast, BroadcastState, Registration};

/// Why a terminal is not registered, or its application request not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TerminalError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The registrar answered with a final error.
    #[error("{} refused: {status} {reason}", .request)]
    Rejected { request: &'static str, status: u16, reason: String },
    /// Challenged again after an answer that was not stale: wrong K/OPc or password.
    #[error("the registrar does not accept the response to its challenge (wrong key or password?)")]
    ResponseRefused,
    #[error("no challenge that this terminal can answer (offered: {offered})")]
    NoUsableChallenge { offered: String },
    #[error("the challenge cannot be read: {0}")]
    BadChallenge(String),
    /// TS 33.102 §6.3.3: the network does not know K, or AUTN was changed on its way.
    #[error("the network did not prove itself: the MAC in AUTN is wrong (are K and OPc those of the HSS?)")]
    MacFailure,
    #[error("the card's SQN and the network's still differ after a resynchronisation")]
    ResyncFailed,
    /// `rspauth` is wrong: whoever answered does not know the password.
    #[error("the answer's rspauth is wrong: the server did not prove that it knows the password")]
    ServerNotAuthentic,
    #[error("the answer cannot be used: {0}")]
    BadAnswer(&'static str),
    #[error("no key: {0}")]
    NoKey(&'static str),
    /// The broadcast server answered with an error, over HTTP or in a ServiceResponse.
    #[error("the broadcast server refused: {0}")]
    ServiceRefused(String),
    #[error("HTTP: {0}")]
    Http(String),
    #[error("no binding of this terminal at the registrar: name one with a contact, or remove all")]
    NoBinding,
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("the system gives no random octets")]
    NoRandom,
}
