//! The workers of one node: who of them holds the connection that a peer opened.
//!
//! A terminal that registered over TCP or TLS is reached through that connection alone (RFC 5626, RFC 3261 §18.2), and
//! the kernel gave it to one worker. A request for it that another worker has to send is passed on to that worker.

use super::Worker;
use super::outbound::Failure;
use crate::sip::Message;
use crate::sip::transaction::{NextHop, Transport};
use dashmap::DashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for one worker to take them over.
const WAITING: usize = 4096;

/// Where the connections are that peers opened, for all workers of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Connected(Arc<DashMap<(Transport, SocketAddr), mpsc::Sender<Passed>>>);

/// A request on its way to the worker with the connection.
#[derive(Debug)]
pub(super) struct Passed {
    to: NextHop,
    request: Vec<u8>,
    within: Duration,
    tell: oneshot::Sender<Result<Message<'static>, Failure>>,
}

/// One worker's place among the others.
pub(super) struct Neighbours {
    connected: Connected,
    inbox: mpsc::Sender<Passed>,
}

impl Neighbours {
    pub(super) fn join(connected: Connected) -> (Neighbours, mpsc::Receiver<Passed>) {
        let (inbox, passed) = mpsc::channel(WAITING);
        (Neighbours { connected, inbox }, passed)
    }

    /// A peer opened a connection to this worker.
    pub(super) fn announce(&self, transport: Transport, peer: SocketAddr) {
        self.connected.0.insert((transport, peer), self.inbox.clone());
    }

    pub(super) fn withdraw(&self, transport: Transport, peer: SocketAddr) {
        self.connected.0.remove_if(&(transport, peer), |_, inbox| inbox.same_channel(&self.inbox));
    }

    /// Another worker that has a connection that `to` opened. A hop with a name to verify is not reached that way.
    pub(super) fn with_connection(&self, to: &NextHop) -> Option<Neighbour> {
        if to.tls_name.is_some() {
            return None;
        }
        let inbox = self.connected.0.get(&(to.transport, to.addr)).map(|inbox| inbox.clone())?;
        (!inbox.same_channel(&self.inbox)).then_some(Neighbour(inbox))
    }
}

/// A worker that sends what is passed on to it.
pub(super) struct Neighbour(mpsc::Sender<Passed>);

impl Neighbour {
    pub(super) async fn ask(
        self,
        to: &NextHop,
        request: Vec<u8>,
        within: Duration,
    ) -> Result<Message<'static>, Failure> {
        let (tell, told) = oneshot::channel();
        if self.0.try_send(Passed { to: to.clone(), request, within, tell }).is_err() {
            return Err(Failure::Lost("the worker with the connection is busy or gone".into()));
        }
        told.await.unwrap_or_else(|_| Err(Failure::Lost("the node is stopping".into())))
    }
}

impl Worker {
    /// Sends what other workers pass on.
    pub(super) async fn take_over(self: Rc<Self>, mut passed: mpsc::Receiver<Passed>) {
        while let Some(Passed { to, request, within, mut tell }) = passed.recv().await {
            let worker = self.clone();
            tokio::task::spawn_local(async move {
                let answer = tokio::select! {
                    answer = worker.exchange(&to, request, within) => answer,
                    () = tell.closed() => return,
                };
                let _ = tell.send(answer);
            });
        }
    }
}
