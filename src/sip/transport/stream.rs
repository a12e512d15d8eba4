//! One TCP or TLS connection: messages cut out of the octets (RFC 3261 §18.3), answers queued for a peer that may read
//! slowly, half-closing, and the time that a message may take to arrive.

use super::dispatch::Origin;
use super::{Direction, Settings, Worker, count};
use crate::sip::frame::{self, Frame};
use crate::sip::transaction::{NextHop, Source, Transport};
use bytes::{Buf, BytesMut};
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// For the last answers to leave, once the peer has closed its side.
const LINGER: Duration = Duration::from_secs(10);
/// For the peer to read why it is being closed, before a reset would take that from it.
const FAREWELL: Duration = Duration::from_secs(1);

/// A queue that has not grown larger is used again once it is written.
const SPARE: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Open,
    /// Nothing more is asked on it; what is owed is still sent.
    Finishing,
    Closed,
}

/// A connection, open or being opened: what is sent meanwhile waits.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) transport: Transport,
    pub(super) peer: SocketAddr,
    /// We opened it, to a peer of this name (TLS).
    pub(super) opened_to: Option<NextHop>,
    /// Known once it is established.
    source: OnceCell<Source>,
    state: Cell<State>,
    queue: RefCell<Vec<u8>>,
    /// Octets queued or being written.
    unsent: Cell<usize>,
    /// Handlers that owe an answer on it.
    owed: Cell<usize>,
    /// For the writing side: something to write, or a new state.
    work: Notify,
    established: Notify,
}

impl Connection {
    pub(super) fn new(id: u64, transport: Transport, peer: SocketAddr, opened_to: Option<NextHop>) -> Rc<Connection> {
        Rc::new(Connection {
            id,
            transport,
            peer,
            opened_to,
            source: OnceCell::new(),
            state: Cell::new(State::Open),
            queue: RefCell::default(),
            unsent: Cell::new(0),
            owed: Cell::new(0),
            work: Notify::new(),
            established: Notify::new(),
        })
    }

    /// True while a new request may be sent on it.
    pub(super) fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    pub(super) fn owe(&self) {
        self.owed.set(self.owed.get() + 1);
    }

    pub(super) fn settle(&self) {
        self.owed.set(self.owed.get().saturating_sub(1));
        self.work.notify_one();
    }

    pub(super) fn finish(&self) {
        self.advance(State::Finishing);
    }

    pub(super) fn close(&self) {
        self.advance(State::Closed);
    }

    fn advance(&self, state: State) {
        self.state.set(self.state.get().max(state));
        self.work.notify_one();
        self.established.notify_waiters();
    }

    /// The local address once it is established; None if that failed.
    pub(super) async fn local(&self) -> Option<SocketAddr> {
        loop {
            let established = self.established.notified();
            match self.source.get() {
                Some(source) => return Some(source.local),
                None if !self.is_open() => return None,
                None => established.await,
            }
        }
    }
}

/// Why a connection is no longer read.
#[derive(PartialEq, Eq)]
enum End {
    Eof,
    Idle,
    /// A message did not arrive in time.
    Slow,
    LostFraming,
    Broken,
}

impl Worker {
    /// Queues octets for a connection. A peer that lets too many wait is given up.
    pub(super) fn send_stream(&self, connection: &Connection, bytes: &[u8]) -> Result<(), &'static str> {
        let total = connection.unsent.get().saturating_add(bytes.len());
        if connection.state.get() == State::Closed || total > self.settings.unsent {
            connection.close();
            count(&self.counters.unsent);
            return Err("the connection is closed");
        }
        connection.unsent.set(total);
        connection.queue.borrow_mut().extend_from_slice(bytes);
        connection.work.notify_one();
        self.seen(Direction::Out, bytes, connection.transport, connection.peer);
        Ok(())
    }

    /// Carries an established connection to its end.
    pub(super) async fn run_stream<S>(self: &Rc<Self>, connection: &Rc<Connection>, stream: S, source: Source)
    where
        S: AsyncRead + AsyncWrite,
    {
        let source = connection.source.get_or_init(|| source);
        connection.established.notify_waiters();
        let (mut reading, writing) = tokio::io::split(stream);
        let mut written = pin!(write(connection, writing, &self.settings));
        let end = tokio::select! {
            end = self.read(connection, &mut reading, source) => end,
            () = &mut written => return,
        };
        connection.finish();
        self.lost(connection);
        if end != End::Broken && timeout(LINGER, written).await.is_ok() && end == End::LostFraming {
            let mut rest = [0; 4096];
            let _ = timeout(FAREWELL, async { while matches!(reading.read(&mut rest).await, Ok(1..)) {} }).await;
        }
    }

    async fn read<S: AsyncRead>(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        reading: &mut ReadHalf<S>,
        source: &Source,
    ) -> End {
        let settings = &self.settings;
        let origin = Origin::Stream(connection.clone());
        let mut buffer = BytesMut::new();
        let mut partial = Partial::default();
        // Who connects and says nothing holds a place that others may need.
        let mut idle =
            if connection.opened_to.is_some() { settings.idle } else { settings.idle.min(settings.body_within) };
        loop {
            while connection.state.get() != State::Closed && partial.may_be_whole(&buffer) {
                let taken = match frame::next(&buffer) {
                    Ok(Frame::Message { len }) => {
                        self.on_message(buffer.get(..len).unwrap_or(&buffer), source, &origin);
                        idle = settings.idle;
                        len
                    }
                    Ok(Frame::KeepAlive { skip, ping }) => {
                        if ping {
                            self.pong(connection);
                        }
                        skip
                    }
                    Ok(Frame::Incomplete) => {
                        partial.keep(&buffer);
                        break;
                    }
                    Err((fault, head)) => {
                        tracing::debug!("from {}:{}: {fault}", source.transport.param(), source.addr);
                        self.on_lost_framing(buffer.get(..head).unwrap_or(&buffer), &fault, source, &origin);
                        return End::LostFraming;
                    }
                };
                buffer.advance(taken.clamp(1, buffer.len()));
                partial = Partial::default();
            }
            if buffer.is_empty() && buffer.capacity() > 16 * 1024 {
                buffer = BytesMut::new();
            }
            let deadline = match partial.begun {
                Some(begun) if partial.has_head => begun + settings.body_within,
                Some(begun) => begun + settings.head_within,
                None => Instant::now() + idle,
            };
            buffer.reserve(4096);
            match timeout_at(deadline, reading.read_buf(&mut buffer)).await {
                Ok(Ok(0)) => return End::Eof,
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return End::Broken,
                Err(_) if partial.begun.is_some() => return End::Slow,
                Err(_) if connection.owed.get() > 0 => {}
                Err(_) => return End::Idle,
            }
        }
    }

    /// Answers a keep-alive (RFC 5626 §4.4.1); it is no message and is not counted.
    fn pong(&self, connection: &Connection) {
        connection.unsent.set(connection.unsent.get().saturating_add(2));
        connection.queue.borrow_mut().extend_from_slice(b"\r\n");
        connection.work.notify_one();
        if connection.unsent.get() > self.settings.unsent {
            connection.close();
        }
    }
}

/// What is known of a message that has not arrived in full.
#[derive(Default)]
struct Partial {
    /// When its first octet was seen; line ends alone do not begin one.
    begun: Option<Instant>,
    /// Octets that were there when it was last looked at.
    looked_at: usize,
    has_head: bool,
    /// Octets that the whole message has, once its head tells.
    needed: Option<usize>,
}

impl Partial {
    /// False if looking again would find nothing new: a head ends with an empty line, a line becomes too long only with
    /// many more octets, a body ends where the head says. So what arrives octet by octet is not scanned anew for each.
    fn may_be_whole(&self, buffer: &[u8]) -> bool {
        let fresh = buffer.len().saturating_sub(self.looked_at);
        match self.needed {
            _ if fresh == 0 => false,
            Some(needed) => buffer.len() >= needed,
            None => {
                self.looked_at < 4
                    || fresh >= 4096
                    || has_empty_line(buffer.get(self.looked_at.saturating_sub(3)..).unwrap_or_default())
            }
        }
    }

    fn keep(&mut self, buffer: &[u8]) {
        self.looked_at = buffer.len();
        if !buffer.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            self.begun.get_or_insert_with(Instant::now);
            self.needed = frame::expected(buffer);
            self.has_head = self.needed.is_some();
        }
    }
}

fn has_empty_line(octets: &[u8]) -> bool {
    octets.windows(3).any(|end| end == b"\n\r\n") || octets.windows(2).any(|end| end == b"\n\n")
}

/// Writes what is queued, until the connection is closed, or finishing and nothing is owed any more.
async fn write<S: AsyncWrite>(connection: &Connection, mut writing: WriteHalf<S>, settings: &Settings) {
    let mut spare = Vec::new();
    loop {
        if connection.state.get() == State::Closed {
            return;
        }
        let mut chunk = connection.queue.replace(std::mem::take(&mut spare));
        if chunk.is_empty() {
            if connection.state.get() == State::Finishing && connection.owed.get() == 0 {
                break;
            }
            connection.work.notified().await;
            continue;
        }
        let write = async {
            writing.write_all(&chunk).await?;
            writing.flush().await
        };
        // A peer that reads nothing for so long is gone; a close meanwhile (too much waits) ends it too.
        let written = tokio::select! {
            written = timeout(settings.body_within, write) => matches!(written, Ok(Ok(()))),
            () = closed(connection) => false,
        };
        if !written {
            connection.close();
            return;
        }
        connection.unsent.set(connection.unsent.get().saturating_sub(chunk.len()));
        if chunk.capacity() <= SPARE {
            chunk.clear();
            spare = chunk;
        }
    }
    let _ = timeout(FAREWELL, writing.shutdown()).await;
}

async fn closed(connection: &Connection) {
    while connection.state.get() != State::Closed {
        connection.work.notified().await;
    }
}
