//! One connection: messages cut out of the octets, and octets queued for a peer that may read slowly.

use super::core::Core;
use super::places::Door;
use crate::diameter::frame_len;
use crate::diameter::peer::Side;
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// For the last octets to leave.
const FAREWELL: Duration = Duration::from_secs(1);
/// A peer that reads nothing for so long is gone.
const UNREAD: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Open,
    /// What is queued still leaves.
    Finishing,
    Closed,
}

pub(super) struct Link {
    pub(super) remote: SocketAddr,
    pub(super) local: IpAddr,
    /// Of the peer's certificate, verified.
    pub(super) names: Arc<[String]>,
    state: Cell<State>,
    queue: RefCell<Vec<u8>>,
    /// Octets queued or being written.
    unsent: Cell<usize>,
    work: Notify,
}

impl Link {
    pub(super) fn new(remote: SocketAddr, local: IpAddr, names: Arc<[String]>) -> Rc<Link> {
        Rc::new(Link {
            remote,
            local,
            names,
            state: Cell::new(State::Open),
            queue: RefCell::default(),
            unsent: Cell::new(0),
            work: Notify::new(),
        })
    }

    /// Queues a message. False: too much waits, and the link is closed.
    pub(super) fn send(&self, octets: &[u8], most: usize) -> bool {
        let total = self.unsent.get().saturating_add(octets.len());
        if total > most {
            self.advance(State::Closed);
        }
        if self.state.get() != State::Open {
            return false;
        }
        self.unsent.set(total);
        self.queue.borrow_mut().extend_from_slice(octets);
        self.work.notify_one();
        true
    }

    /// Closes once what is queued has left; nothing more is read.
    pub(super) fn finish(&self) {
        self.advance(State::Finishing);
    }

    pub(super) fn close(&self) {
        self.advance(State::Closed);
    }

    fn advance(&self, state: State) {
        self.state.set(self.state.get().max(state));
        self.work.notify_one();
    }

    fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }
}

/// Whose a connection is.
pub(super) enum Whose {
    /// It was opened to this peer.
    Peer(u64),
    /// It was accepted, and has to say first who it is.
    Nobodys(Door),
}

/// Carries a connection to its end.
pub(super) async fn run<S: AsyncRead + AsyncWrite>(core: Rc<Core>, link: Rc<Link>, stream: S, of: Whose) {
    let (reading, writing) = tokio::io::split(stream);
    let (side, peer, door) = match of {
        Whose::Peer(id) => (Side::Initiator, Some(id), None),
        Whose::Nobodys(door) => (Side::Responder, None, Some(door)),
    };
    let carried = Carried { core, link, side, peer: Cell::new(peer), door: Cell::new(door) };
    let mut written = pin!(write(&carried.link, writing));
    tokio::select! {
        () = &mut written => {}
        () = carried.read(reading) => {
            // What was said last still leaves.
            carried.link.finish();
            written.await;
        }
    }
}

/// However a connection ends, its peer hears of it.
struct Carried {
    core: Rc<Core>,
    link: Rc<Link>,
    side: Side,
    /// None until it has said who it is.
    peer: Cell<Option<u64>>,
    door: Cell<Option<Door>>,
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.link.close();
        if let Some(peer) = self.peer.get() {
            self.core.broken(peer, self.side, &self.link);
        }
    }
}

impl Carried {
    async fn read<S: AsyncRead>(&self, mut reading: ReadHalf<S>) {
        let introduced_by = Instant::now() + self.core.answer_within();
        let mut buffer = BytesMut::with_capacity(8192);
        while self.take(&mut buffer) {
            buffer.reserve(8192);
            let read = reading.read_buf(&mut buffer);
            let read = match self.peer.get() {
                Some(_) => read.await,
                None => match timeout_at(introduced_by, read).await {
                    Ok(read) => read,
                    Err(_) => return,
                },
            };
            if !matches!(read, Ok(1..)) {
                return;
            }
        }
    }

    /// The whole messages of the buffer. False: no more is to be read.
    fn take(&self, buffer: &mut BytesMut) -> bool {
        loop {
            let length = match frame_len(buffer) {
                Ok(Some(length)) if length <= buffer.len() => length,
                Ok(_) => return true,
                Err(why) => {
                    tracing::debug!(peer = %self.link.remote, %why, "Diameter connection given up");
                    return false;
                }
            };
            let octets = buffer.split_to(length).to_vec();
            match self.peer.get() {
                Some(peer) => self.core.received(peer, self.side, &self.link, octets),
                None => match self.core.greeted(&self.link, &octets) {
                    Some(id) => {
                        self.peer.set(Some(id));
                        self.door.take();
                    }
                    None => return false,
                },
            }
            if !self.link.is_open() {
                return false;
            }
        }
    }
}

/// Writes what is queued, all that has gathered at once, until the link is closed.
async fn write<S: AsyncWrite>(link: &Link, mut writing: WriteHalf<S>) {
    loop {
        if link.state.get() == State::Closed {
            return;
        }
        let chunk = link.queue.take();
        if chunk.is_empty() {
            if link.state.get() == State::Finishing {
                break;
            }
            link.work.notified().await;
            continue;
        }
        let write = async {
            writing.write_all(&chunk).await?;
            writing.flush().await
        };
        let patience = if link.is_open() { UNREAD } else { FAREWELL };
        let written = tokio::select! {
            written = timeout(patience, write) => matches!(written, Ok(Ok(()))),
            () = closed(link) => false,
        };
        if !written {
            return;
        }
        link.unsent.set(link.unsent.get().saturating_sub(chunk.len()));
    }
    let _ = timeout(FAREWELL, writing.shutdown()).await;
}

async fn closed(link: &Link) {
    while link.state.get() != State::Closed {
        link.work.notified().await;
    }
}
