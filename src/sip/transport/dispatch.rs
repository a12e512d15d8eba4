//! What becomes of a message: responses go to the client transactions, requests through the server transactions to
//! the handler, and what is faulty is refused here.

use super::stream::Connection;
use super::udp::Port;
use super::{Direction, Screen, Worker, count, default_port};
use crate::answer::Answer;
use crate::sip::edit::is_protected;
use crate::sip::octets;
use crate::sip::transaction::key::Key;
use crate::sip::transaction::server::Arrival;
use crate::sip::transaction::{Source, Transport};
use crate::sip::{Fault, Message, ResponseWriter, Via};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What a request came in by; its answer goes out the same way.
#[derive(Clone)]
pub(super) enum Origin {
    Port(Rc<Port>),
    Stream(Rc<Connection>),
}

impl Worker {
    /// One message (or keep-alive datagram) from `source`. A handler that panics loses its own request, not the socket.
    pub(super) fn on_message(self: &Rc<Self>, bytes: &[u8], source: &Source, origin: &Origin) {
        if catch_unwind(AssertUnwindSafe(|| self.deliver(bytes, source, origin))).is_err() {
            tracing::error!("the handling of a message failed; it stays unanswered");
        }
    }

    fn deliver(self: &Rc<Self>, bytes: &[u8], source: &Source, origin: &Origin) {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | 0)).count();
        let bytes = bytes.get(blank..).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        self.seen(Direction::In, bytes, source.transport, source.addr);
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.on_request(message, source, origin),
            Ok(message) => self.on_response(message),
            Err(fault) => {
                count(&self.counters.discarded);
                tracing::debug!("from {}:{}: {fault}", source.transport.param(), source.addr);
            }
        }
    }

    fn on_request(self: &Rc<Self>, request: Message<'_>, source: &Source, origin: &Origin) {
        if request.method() == b"ACK" {
            return; // acknowledges an answer that is not waited for
        }
        // A node is asked where it listens and nowhere else; a mere client, wherever it is.
        if matches!(origin, Origin::Port(port) if port.is_egress) && !self.listening.is_empty() {
            return count(&self.counters.discarded);
        }
        let Ok(via) = request.top_via() else {
            return count(&self.counters.discarded);
        };
        let key = self.server.borrow().key_with(&request, &via, source.addr.ip());
        let to = reply_address(&via, source);
        if let Err(fault) = request.check() {
            return self.reply(origin, to, &self.refusal(&request, &fault, key, source));
        }
        match self.server.borrow_mut().on_request(key, self.now()) {
            Arrival::New => {}
            Arrival::Absorb => return count(&self.counters.retransmissions),
            Arrival::Retransmit(bytes) => {
                count(&self.counters.retransmissions);
                return self.reply(origin, to, bytes);
            }
            Arrival::Full => return self.reply(origin, to, &self.refusal(&request, &unavailable(), key, source)),
        }
        let owed = Owed::new(self, key, origin, to, source.transport.is_reliable());
        if self.stopping.get() {
            return owed.settle(Some(self.refusal(&request, &unavailable(), key, source)));
        }
        match self.screen.get().map_or(Screen::Pass, |screen| screen(&request, source)) {
            Screen::Pass => self.handle(request, source, owed),
            Screen::Edited(bytes) => {
                count(&self.counters.edited);
                match Message::parse_owned(bytes) {
                    Ok(edited) => self.handle(edited, source, owed),
                    // Not what the editor makes; the request as it came is what was checked.
                    Err(_) => self.handle(request, source, owed),
                }
            }
            Screen::Drop => {
                count(&self.counters.screened);
                self.server.borrow_mut().forget(key);
            }
            Screen::Reject { status, reason, headers } => {
                count(&self.counters.screened);
                count(&self.counters.refused);
                self.server.borrow_mut().forget(key);
                let status = status.clamp(400, 699);
                let mut out = ResponseWriter::with_reason(&request, status, &reason, source.addr, &key.tag());
                for (name, value) in headers.iter().filter(|(name, _)| !is_protected(name)) {
                    out.header_named(name, value);
                }
                self.reply(origin, to, &out.finish());
            }
        }
    }

    /// Asks the handler and polls its answer once, here: most answers are ready by then.
    fn handle(self: &Rc<Self>, request: Message<'_>, source: &Source, owed: Owed) {
        let Some(handler) = self.handler.get().cloned() else { return };
        match handler.handle(request, source) {
            Answer::Now(response) => owed.settle(response.flatten()),
            Answer::Later(mut future) => match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(response) => owed.settle(response),
                Poll::Pending => drop(tokio::task::spawn_local(async move { owed.settle(future.await) })),
            },
        }
    }

    /// The answer to a request that the handler is not to see; the same for every retransmission of it.
    fn refusal(&self, request: &Message<'_>, fault: &Fault, key: Key, source: &Source) -> Vec<u8> {
        count(&self.counters.refused);
        let mut response = ResponseWriter::with_reason(request, fault.status, &fault.reason, source.addr, &key.tag());
        for (name, value) in &fault.headers {
            response.header_named(name, value);
        }
        response.finish()
    }

    /// A stream lost its framing: answers what can be read of the head.
    pub(super) fn on_lost_framing(&self, head: &[u8], fault: &Fault, source: &Source, origin: &Origin) {
        self.seen(Direction::In, head, source.transport, source.addr);
        let answerable = Message::parse(head).ok().filter(|m| m.is_request() && m.method() != b"ACK");
        let key = answerable.as_ref().and_then(|m| self.server.borrow().key(m, source.addr.ip()).ok());
        match (answerable, key) {
            (Some(request), Some(key)) => {
                self.reply(origin, source.addr, &self.refusal(&request, fault, key, source));
            }
            _ => count(&self.counters.discarded),
        }
    }

    /// Sends an answer the way that its request came.
    fn reply(&self, origin: &Origin, to: SocketAddr, bytes: &[u8]) {
        match origin {
            Origin::Port(port) => self.answer_datagram(port, bytes, to),
            Origin::Stream(connection) => drop(self.send_stream(connection, bytes)),
        }
    }
}

/// More is asked than can be remembered, or the node is stopping.
fn unavailable() -> Fault {
    Fault { status: 503, reason: "Service Unavailable".into(), headers: vec![("Retry-After", "5".to_owned())] }
}

/// Where an answer goes (RFC 3261 §18.2.2, RFC 3581 §4): over a stream back on it; over UDP to the source address, at
/// its port if `rport` asks for that, else at the port of sent-by. `maddr` is not followed: it would let a datagram
/// choose whom we send to.
fn reply_address(via: &Via<'_>, source: &Source) -> SocketAddr {
    if source.transport.is_reliable() || via.params.has("rport") {
        source.addr
    } else {
        SocketAddr::new(source.addr.ip(), via.port.unwrap_or(default_port(Transport::Udp)))
    }
}

/// A request that the handler has: settled once, however the handler ends.
struct Owed {
    worker: Rc<Worker>,
    key: Key,
    origin: Origin,
    to: SocketAddr,
    reliable: bool,
}

impl Owed {
    fn new(worker: &Rc<Worker>, key: Key, origin: &Origin, to: SocketAddr, reliable: bool) -> Owed {
        worker.owed.set(worker.owed.get() + 1);
        if let Origin::Stream(connection) = origin {
            connection.owe();
        }
        Owed { worker: worker.clone(), key, origin: origin.clone(), to, reliable }
    }

    fn settle(self, response: Option<Vec<u8>>) {
        let Some(response) = response.filter(|bytes| !bytes.is_empty()) else { return };
        self.worker.reply(&self.origin, self.to, &response);
        self.worker.server.borrow_mut().answered(self.key, &response, self.reliable, self.worker.now());
        octets::give(response);
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.worker.server.borrow_mut().unanswered(self.key, self.worker.now());
        if let Origin::Stream(connection) = &self.origin {
            connection.settle();
        }
        self.worker.owed.set(self.worker.owed.get().saturating_sub(1));
        self.worker.settled.notify_one();
    }
}
