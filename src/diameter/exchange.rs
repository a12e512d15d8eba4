//! The seam between the applications and the network (rank 1): [`Exchange`] takes a request to a peer and brings the
//! answer, [`Serve`] answers what peers ask. The node that has the connections implements the one and is given the other;
//! tests implement either without sockets.

use super::message::Message;
use super::write::Writer;
use crate::answer::Answer;
use std::sync::Arc;

/// Whom a request is for. Destination-Host and Destination-Realm are written by the [`Exchange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub application: u32,
    /// None: any peer of the realm.
    pub host: Option<Arc<str>>,
    /// None: the realm that the peer is in.
    pub realm: Option<Arc<str>>,
}

impl Destination {
    /// Whoever serves this application.
    pub fn any(application: u32) -> Self {
        Destination { application, host: None, realm: None }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("no Diameter peer for it is connected")]
    NoPeer,
    #[error("no Diameter answer in time")]
    Timeout,
    #[error("the Diameter connection broke, and no other peer is there")]
    Lost,
    #[error("too many Diameter requests are waiting")]
    Busy,
    #[error("the Diameter request is too long")]
    TooLong,
    /// The answer cannot be read.
    #[error("the Diameter answer cannot be read")]
    Garbled,
    #[error("Diameter is stopped")]
    Stopped,
}

/// An answer as it came, checked ([`Message::check`]).
pub struct Reply(Vec<u8>);

impl Reply {
    /// None: these octets are no sound message.
    pub fn new(octets: Vec<u8>) -> Option<Self> {
        Message::parse(&octets).and_then(|message| message.check()).is_ok().then_some(Reply(octets))
    }

    /// The same, in the vector of the request that it answers. So each thread frees what it has allocated: to give memory
    /// back to another thread's part of the heap takes a lock that the other waits for.
    pub(super) fn in_place_of(self, request: Writer) -> Self {
        let mut octets = request.into_octets();
        octets.clear();
        octets.extend_from_slice(&self.0);
        Reply(octets)
    }

    pub fn message(&self) -> Result<Message<'_>, Failure> {
        Message::parse(&self.0).map_err(|_| Failure::Garbled)
    }
}

pub trait Exchange: Send + Sync {
    /// `request`: begun with [`super::request`], without Destination AVPs. It is sent again to another peer where one
    /// fails; it is answered or failed within the time that the peers' settings give.
    fn send(&self, to: Destination, request: Writer) -> Answer<'static, Result<Reply, Failure>>;

    /// Whether a request of this application would fail at once, because nobody who may be asked is connected.
    fn is_cut_off(&self, _application: u32) -> bool {
        false
    }
}

/// A received request, checked, and who sent it.
pub struct Request {
    pub octets: Vec<u8>,
    /// Origin-Host of the peer's CER or CEA: who is connected, not what the request says.
    pub peer: Arc<str>,
}

impl Request {
    pub fn message(&self) -> Result<Message<'_>, super::Fault> {
        Message::parse(&self.octets)
    }
}

pub trait Serve: Send + Sync {
    /// Application-Ids served: advertised in CER and CEA; others are answered 3007.
    fn applications(&self) -> Vec<u32>;

    /// The answer, begun with [`super::answer_to`]. None: the command is not known (3001).
    fn serve(self: Arc<Self>, request: Request) -> Answer<'static, Option<Writer>>;
}
