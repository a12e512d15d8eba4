//! Sockets and the transactions that run on them (RFC 3261 §17, §18; rank 3). Made by `server` and `terminal`.
//!
//! One worker is one thread with a current-thread tokio runtime and a `LocalSet`; nothing here is `Send`. In order:
//!
//! 1. [`bind`] opens the listening sockets of all workers before they start and tells the ports;
//! 2. each worker makes its [`Transports`] from its [`Sockets`], inside its runtime;
//! 3. [`Transports::serve`] hands every new request to a [`Handler`], which answers now or later. Retransmissions, ACK,
//!    responses and messages that cannot be read never reach it: they are absorbed, matched or refused here;
//! 4. a clone of the [`Transports`] is the worker's [`Outbound`](crate::sip::transaction::Outbound) for requests of its own;
//! 5. [`Transports::stop`] lets what runs finish.
//!
//! A request that is answered at once is never copied: the handler is given it in the receive buffer and makes it its
//! own (`Message::into_owned`) only if it has to wait for something.

mod address;
mod batch;
mod bind;
mod dispatch;
mod neighbours;
mod outbound;
mod spread;
mod stream;
mod tcp;
mod tls;
mod udp;

pub use address::{AddressError, Listen, default_port};
pub use bind::{BindError, Sockets, bind};
pub(crate) use tls::subject_names;
pub use tls::{Identity, Tls, TlsError, TlsFiles};

use crate::answer::Answer;
use crate::clock::Clock;
use crate::sip::Message;
use crate::sip::transaction::client::ClientTable;
use crate::sip::transaction::server::ServerTable;
use crate::sip::transaction::{Source, Transport};
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// What answers requests.
pub trait Handler {
    /// Answers `request`, which has passed `Message::check`, with the octets of its final response; None: no answer.
    /// What is ready at the first poll goes out at once, the rest when it is done.
    fn handle(self: Rc<Self>, request: Message<'_>, source: &Source) -> Answer<'static, Option<Vec<u8>>>;
}

impl<F> Handler for F
where
    F: Fn(Message<'_>, &Source) -> Answer<'static, Option<Vec<u8>>>,
{
    fn handle(self: Rc<Self>, request: Message<'_>, source: &Source) -> Answer<'static, Option<Vec<u8>>> {
        self(request, source)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

/// The other end of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub transport: Transport,
    pub addr: SocketAddr,
}

/// Sees every message sent and received, retransmissions included. It must not call back into the [`Transports`].
pub type Observer = Rc<dyn Fn(Direction, &[u8], &Peer)>;

/// What becomes of a new request before anything is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screen {
    Pass,
    /// It goes on as these octets, which [`crate::sip::edit`] made of it.
    Edited(Vec<u8>),
    /// No answer.
    Drop,
    /// Answered without a transaction (RFC 3261 §8.2.7): a retransmission is screened again, and its answer has the
    /// same To tag.
    Reject {
        status: u16,
        reason: String,
        headers: Vec<(String, String)>,
    },
}

/// Asked once for every request that has passed `Message::check` and is no retransmission of one that is known.
pub type Screener = Rc<dyn Fn(&Message<'_>, &Source) -> Screen>;

/// Bounds of one worker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most connections accepted at a time.
    pub connections: usize,
    /// A connection without a message for so long is closed.
    pub idle: Duration,
    /// From the first octet of a message to the end of its head, and to the end of its body.
    pub head_within: Duration,
    pub body_within: Duration,
    /// To open a connection, TLS included; the handshake of one that was accepted.
    pub connect_within: Duration,
    pub handshake_within: Duration,
    /// Octets that may wait for a peer that does not read; more closes the connection.
    pub unsent: usize,
    /// Server transactions remembered.
    pub transactions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            connections: 8192,
            idle: Duration::from_secs(300),
            head_within: Duration::from_secs(10),
            body_within: Duration::from_secs(30),
            connect_within: Duration::from_secs(5),
            handshake_within: Duration::from_secs(5),
            unsent: 512 * 1024,
            transactions: 65_536,
        }
    }
}

/// What a worker has counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that came in, and of them:
    pub received: Cell<u64>,
    /// retransmitted requests, absorbed or answered again,
    pub retransmissions: Cell<u64>,
    /// requests refused here: faulty, too many, or rejected by the screen,
    pub refused: Cell<u64>,
    /// requests that the screen dropped or rejected, and those that it changed,
    pub screened: Cell<u64>,
    pub edited: Cell<u64>,
    /// messages dropped: they cannot be answered or answer nothing.
    pub discarded: Cell<u64>,
    /// Messages that went out, and of them our requests sent again.
    pub sent: Cell<u64>,
    pub resent: Cell<u64>,
    /// Messages that could not be sent.
    pub unsent: Cell<u64>,
    /// Requests of ours that nobody answered in time.
    pub timeouts: Cell<u64>,
    /// Connections accepted, opened, and turned away or failed in the handshake.
    pub accepted: Cell<u64>,
    pub opened: Cell<u64>,
    pub rejected: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}

/// The transports of one worker; clones are the same.
#[derive(Clone)]
pub struct Transports(Rc<Worker>);

struct Worker {
    settings: Settings,
    clock: Clock,
    tls: Tls,
    listening: Vec<Listen>,
    ports: Vec<Rc<udp::Port>>,
    egress: udp::Egress,
    listeners: RefCell<Vec<(Transport, tokio::net::TcpListener)>>,
    connections: tcp::Pool,
    neighbours: neighbours::Neighbours,
    passed: Cell<Option<tokio::sync::mpsc::Receiver<neighbours::Passed>>>,
    server: RefCell<ServerTable>,
    client: RefCell<ClientTable<outbound::Waiter>>,
    timers: outbound::Timers,
    routes: outbound::Routes,
    handler: OnceCell<Rc<dyn Handler>>,
    observer: OnceCell<Observer>,
    screen: OnceCell<Screener>,
    counters: Counters,
    /// Handlers that owe an answer, and the word that one of them is done.
    owed: Cell<usize>,
    settled: Notify,
    stopping: Cell<bool>,
    accepting: RefCell<Vec<AbortHandle>>,
    running: RefCell<Vec<AbortHandle>>,
}

impl Transports {
    /// Takes over the sockets of one worker. Call it inside the worker's runtime.
    pub fn new(sockets: Sockets, tls: Tls, settings: Settings, clock: Clock) -> io::Result<Transports> {
        let ports =
            sockets.udp.into_iter().map(|socket| udp::Port::new(socket, false)).collect::<io::Result<Vec<_>>>()?;
        let mut listening: Vec<Listen> =
            ports.iter().map(|port| Listen { transport: Transport::Udp, addr: port.local }).collect();
        let mut listeners = Vec::new();
        for (transport, listener) in sockets.streams {
            listening.push(Listen { transport, addr: listener.local_addr()? });
            listeners.push((transport, tokio::net::TcpListener::from_std(listener)?));
        }
        let (neighbours, passed) = neighbours::Neighbours::join(sockets.connected);
        Ok(Transports(Rc::new(Worker {
            clock,
            tls,
            ports,
            egress: udp::Egress::open(&listening),
            listening,
            listeners: RefCell::new(listeners),
            connections: tcp::Pool::default(),
            neighbours,
            passed: Cell::new(Some(passed)),
            server: RefCell::new(ServerTable::new(settings.transactions)),
            settings,
            client: RefCell::default(),
            timers: outbound::Timers::default(),
            routes: outbound::Routes::default(),
            handler: OnceCell::new(),
            observer: OnceCell::new(),
            screen: OnceCell::new(),
            counters: Counters::default(),
            owed: Cell::new(0),
            settled: Notify::new(),
            stopping: Cell::new(false),
            accepting: RefCell::default(),
            running: RefCell::default(),
        })))
    }

    /// Has every message shown to `observer`; the first one stays.
    pub fn observe(&self, observer: Observer) {
        let _ = self.0.observer.set(observer);
    }

    /// Has every new request looked at before it becomes a transaction; the first one stays.
    pub fn screen(&self, screener: Screener) {
        let _ = self.0.screen.set(screener);
    }

    /// Starts to receive, on the worker's `LocalSet`. Call it once; before it, no request of our own is answered either.
    pub fn serve(&self, handler: Rc<dyn Handler>) {
        let worker = &self.0;
        if worker.handler.set(handler).is_err() {
            return;
        }
        let mut running = worker.running.borrow_mut();
        for port in worker.ports.iter().chain(worker.egress.ports()) {
            running.push(tokio::task::spawn_local(worker.clone().receive(port.clone())).abort_handle());
            running.push(tokio::task::spawn_local(worker.clone().answer(port.clone())).abort_handle());
        }
        running.push(tokio::task::spawn_local(worker.clone().run_timers()).abort_handle());
        if let Some(passed) = worker.passed.take() {
            running.push(tokio::task::spawn_local(worker.clone().take_over(passed)).abort_handle());
        }
        for (transport, listener) in worker.listeners.take() {
            let task = tokio::task::spawn_local(worker.clone().accept(transport, listener));
            worker.accepting.borrow_mut().push(task.abort_handle());
        }
    }

    /// Where this worker listens.
    pub fn listening(&self) -> &[Listen] {
        &self.0.listening
    }

    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Requests being handled and requests of ours that wait for an answer.
    pub fn in_flight(&self) -> usize {
        self.0.owed.get() + self.0.client.borrow().len()
    }

    /// Accepts nothing more (a new request is answered with 503), waits up to `within` for the handlers that run and
    /// for their answers to leave, then closes everything.
    pub async fn stop(&self, within: Duration) {
        let worker = &self.0;
        worker.stopping.set(true);
        for task in worker.accepting.take() {
            task.abort();
        }
        worker.listeners.take();
        let graceful = async {
            let all_settled = async {
                while worker.owed.get() > 0 {
                    worker.settled.notified().await;
                }
            };
            tokio::pin!(all_settled);
            if tokio::time::timeout(within / 2, &mut all_settled).await.is_err() {
                // A peer of ours keeps them: they are told that it will not answer, and settle without it.
                worker.fail(|_| true, || outbound::Failure::Lost("the node is stopping".into()));
                all_settled.await;
            }
            worker.connections.finish_all();
            while !worker.connections.is_empty() {
                worker.connections.changed().await;
            }
        };
        let _ = tokio::time::timeout(within, graceful).await;
        worker.ports.iter().chain(worker.egress.ports()).for_each(|port| worker.send_answers(port));
        for task in worker.running.take() {
            task.abort();
        }
        worker.connections.close_all();
        worker.fail(|_| true, || outbound::Failure::Lost("the node is stopping".into()));
    }
}

impl Worker {
    fn now(&self) -> Duration {
        self.clock.now().mono
    }

    fn seen(&self, direction: Direction, bytes: &[u8], transport: Transport, addr: SocketAddr) {
        count(match direction {
            Direction::In => &self.counters.received,
            Direction::Out => &self.counters.sent,
        });
        self.show(direction, bytes, transport, addr);
    }

    fn show(&self, direction: Direction, bytes: &[u8], transport: Transport, addr: SocketAddr) {
        if let Some(observer) = self.observer.get() {
            observer(direction, bytes, &Peer { transport, addr });
        }
    }
}
