//! Connections: accepted by this worker's listeners, or opened to a peer and kept for the next request to it.

use super::outbound::Failure;
use super::stream::Connection;
use super::tls::subject_names;
use super::{Worker, count};
use crate::sip::transaction::{NextHop, SendError, Source, Transport};
use rustls::pki_types::ServerName;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

type ByPeer = HashMap<(Transport, SocketAddr), Vec<Rc<Connection>>>;

/// The connections of a worker by their peer.
#[derive(Default)]
pub(super) struct Pool {
    by_peer: RefCell<ByPeer>,
    next_id: Cell<u64>,
    /// Accepted ones, handshakes included.
    accepted: Cell<usize>,
    gone: Notify,
}

impl Pool {
    fn add(&self, transport: Transport, peer: SocketAddr, opened_to: Option<NextHop>) -> Rc<Connection> {
        self.next_id.set(self.next_id.get() + 1);
        let connection = Connection::new(self.next_id.get(), transport, peer, opened_to);
        self.by_peer.borrow_mut().entry((transport, peer)).or_default().push(connection.clone());
        connection
    }

    fn remove(&self, connection: &Connection) {
        let mut by_peer = self.by_peer.borrow_mut();
        let key = (connection.transport, connection.peer);
        if let Some(list) = by_peer.get_mut(&key) {
            list.retain(|other| other.id != connection.id);
            if list.is_empty() {
                by_peer.remove(&key);
            }
        }
        self.gone.notify_one();
    }

    /// One that reaches `to`: opened for it, or, when no name is to be verified, one that the peer itself opened.
    pub(super) fn find(&self, to: &NextHop) -> Option<Rc<Connection>> {
        let by_peer = self.by_peer.borrow();
        let mut fitting = by_peer.get(&(to.transport, to.addr))?.iter().filter(|connection| {
            connection.is_open()
                && match &connection.opened_to {
                    Some(hop) => hop.tls_name == to.tls_name,
                    None => to.tls_name.is_none(),
                }
        });
        fitting.next_back().cloned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_peer.borrow().is_empty()
    }

    pub(super) async fn changed(&self) {
        self.gone.notified().await;
    }

    pub(super) fn finish_all(&self) {
        self.by_peer.borrow().values().flatten().for_each(|connection| connection.finish());
    }

    pub(super) fn close_all(&self) {
        self.by_peer.borrow().values().flatten().for_each(|connection| connection.close());
    }
}

impl Worker {
    /// Accepts for ever: no error of one connection, nor a lack of descriptors, ends it.
    pub(super) async fn accept(self: Rc<Self>, transport: Transport, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if self.connections.accepted.get() >= self.settings.connections {
                        count(&self.counters.rejected);
                        continue;
                    }
                    let slot = Slot::take(&self);
                    count(&self.counters.accepted);
                    tokio::task::spawn_local(async move {
                        if let Err(e) = slot.0.accepted(transport, stream, peer).await {
                            count(&slot.0.counters.rejected);
                            tracing::debug!("from {}:{peer}: {e}", transport.param());
                        }
                    });
                }
                Err(e) => {
                    tracing::debug!("cannot accept: {e}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn accepted(self: &Rc<Self>, transport: Transport, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let source = |peer_names| Source { transport, addr: peer, local, peer_names };
        match (transport, &self.tls.server) {
            (Transport::Tls, Some(config)) => {
                let handshake = TlsAcceptor::from(config.clone()).accept(stream);
                let stream = timeout(self.settings.handshake_within, handshake).await??;
                let names = subject_names(stream.get_ref().1.peer_certificates());
                let connection = Registered::add(self, transport, peer, None);
                self.run_stream(&connection.1, stream, source(names)).await;
            }
            (Transport::Tls, None) => return Err(io::Error::other("no TLS certificate")),
            _ => {
                let connection = Registered::add(self, transport, peer, None);
                self.run_stream(&connection.1, stream, source(Arc::from([]))).await;
            }
        }
        Ok(())
    }

    /// A connection to `to`, at once: what is sent on it waits until it is established. If that fails, or when it ends,
    /// the client transactions on it fail.
    pub(super) fn connection_to(self: &Rc<Self>, to: &NextHop, within: Duration) -> Rc<Connection> {
        if let Some(connection) = self.connections.find(to) {
            return connection;
        }
        count(&self.counters.opened);
        let registered = Registered::add(self, to.transport, to.addr, Some(to.clone()));
        let connection = registered.1.clone();
        let to = to.clone();
        tokio::task::spawn_local(async move {
            let Registered(worker, connection) = &registered;
            if let Err(e) = worker.opened(connection, &to, within).await {
                tracing::debug!("{to}: {e}");
                connection.close();
                worker.fail(|waiter| waiter.connection == Some(connection.id), || Failure::NotConnected(e.to_string()));
            }
        });
        connection
    }

    async fn opened(self: &Rc<Self>, connection: &Rc<Connection>, to: &NextHop, within: Duration) -> io::Result<()> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
        let connecting = async {
            let stream = TcpStream::connect(to.addr).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>((stream.local_addr()?, stream))
        };
        if to.transport != Transport::Tls {
            let (local, stream) = timeout(within, connecting).await.map_err(late)??;
            let source = Source { transport: to.transport, addr: to.addr, local, peer_names: Arc::from([]) };
            self.run_stream(connection, stream, source).await;
            return Ok(());
        }
        let Some(config) = &self.tls.client else {
            return Err(io::Error::other("no authority is configured to verify a TLS peer"));
        };
        let name = match &to.tls_name {
            Some(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
            None => ServerName::from(to.addr.ip()),
        };
        let verified = to.tls_name.clone().unwrap_or_else(|| to.addr.ip().to_string());
        let connecting = async {
            let (local, stream) = connecting.await?;
            Ok::<_, io::Error>((local, TlsConnector::from(config.clone()).connect(name, stream).await?))
        };
        let (local, stream) = timeout(within, connecting).await.map_err(late)??;
        let source = Source { transport: to.transport, addr: to.addr, local, peer_names: Arc::from([verified]) };
        self.run_stream(connection, stream, source).await;
        Ok(())
    }

    /// The connection brings no more responses.
    pub(super) fn lost(&self, connection: &Connection) {
        self.fail(
            |waiter| waiter.connection == Some(connection.id),
            || Failure::Lost("the connection was closed".into()),
        );
    }
}

impl super::Transports {
    /// The address that `to` sees requests come from, for a Contact: over TCP and TLS that of the connection, which is
    /// opened if there is none.
    pub async fn local_address(&self, to: &NextHop) -> Result<SocketAddr, SendError> {
        let worker = &self.0;
        match to.transport {
            Transport::Udp => worker.sent_by(to).map_err(SendError::Unreachable),
            _ => {
                let connection = worker.connection_to(to, worker.settings.connect_within);
                connection.local().await.ok_or_else(|| SendError::Unreachable("no connection".into()))
            }
        }
    }
}

/// An accepted connection's place among those that the worker allows.
struct Slot(Rc<Worker>);

impl Slot {
    fn take(worker: &Rc<Worker>) -> Slot {
        worker.connections.accepted.set(worker.connections.accepted.get() + 1);
        Slot(worker.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connections.accepted.set(self.0.connections.accepted.get().saturating_sub(1));
    }
}

/// A connection in the pool; it leaves the pool, and its transactions fail, however its task ends.
struct Registered(Rc<Worker>, Rc<Connection>);

impl Registered {
    fn add(worker: &Rc<Worker>, transport: Transport, peer: SocketAddr, opened_to: Option<NextHop>) -> Registered {
        if opened_to.is_none() {
            worker.neighbours.announce(transport, peer);
        }
        Registered(worker.clone(), worker.connections.add(transport, peer, opened_to))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.1.close();
        self.0.lost(&self.1);
        self.0.connections.remove(&self.1);
        if self.1.opened_to.is_none() {
            self.0.neighbours.withdraw(self.1.transport, self.1.peer);
        }
    }
}
