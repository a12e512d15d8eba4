//! Requests of our own: Via, client transaction, the way out and its timers.

use super::{Transports, Worker, count};
use crate::answer::Answer;
use crate::sip::Message;
use crate::sip::octets;
use crate::sip::print::put_via;
use crate::sip::transaction::client::{Branch, Due, Matched, Resend};
use crate::sip::transaction::{MAGIC_COOKIE, NextHop, Outbound, SendError, Transport};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// A larger request goes over TCP even to a UDP peer (RFC 3261 §18.1.1).
const DATAGRAM: usize = 1300;
/// Octets that our Via has at most.
const VIA: usize = 160;
/// How long a peer that refused TCP is not asked for it again.
const REFUSED: Duration = Duration::from_secs(60);
/// Addresses remembered in each of [`Routes`]' tables.
const REMEMBERED: usize = 1024;

/// Why a request got no final response.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// No connection came about: nothing was sent.
    NotConnected(String),
    /// It cannot be sent, or the connection broke while it waited.
    Lost(String),
    Timeout,
    BadAnswer(String),
}

impl From<Failure> for SendError {
    fn from(failure: Failure) -> SendError {
        match failure {
            Failure::NotConnected(why) | Failure::Lost(why) => SendError::Unreachable(why),
            Failure::Timeout => SendError::Timeout,
            Failure::BadAnswer(why) => SendError::BadAnswer(why),
        }
    }
}

/// The one that waits for a final response.
pub(super) struct Waiter {
    tell: oneshot::Sender<Result<Message<'static>, Failure>>,
    pub(super) connection: Option<u64>,
}

/// When the timer task wakes next, and the word that it must be earlier.
#[derive(Default)]
pub(super) struct Timers {
    armed: Cell<Duration>,
    earlier: Notify,
}

/// What was learnt about the ways to peers.
#[derive(Default)]
pub(super) struct Routes {
    /// Our address on the way to a peer's.
    local: RefCell<HashMap<IpAddr, IpAddr>>,
    /// UDP peers that refused TCP, and until when that counts.
    refused: RefCell<HashMap<SocketAddr, Duration>>,
}

impl Outbound for Transports {
    fn request(
        &self,
        to: &NextHop,
        request: Vec<u8>,
        within: Duration,
    ) -> Answer<'static, Result<Message<'static>, SendError>> {
        let (worker, to) = (self.0.clone(), to.clone());
        Answer::later(async move { Ok(worker.exchange(&to, request, within).await?) })
    }
}

/// A request with our Via on top.
struct Prepared {
    branch: Branch,
    bytes: Vec<u8>,
    /// Vias of others under ours.
    others: usize,
}

/// Vias that a request of ours has already; they stand right after the start line.
fn others(request: &[u8]) -> usize {
    let line = request.iter().position(|&b| b == b'\n').map_or(request.len(), |i| i + 1);
    if !request.get(line..).is_some_and(|rest| rest.starts_with(b"Via:")) {
        return 0;
    }
    Message::parse(request).map_or(0, |request| request.vias().count())
}

impl Worker {
    pub(super) async fn exchange(
        self: &Rc<Self>,
        to: &NextHop,
        request: Vec<u8>,
        within: Duration,
    ) -> Result<Message<'static>, Failure> {
        let begun = self.now();
        if to.transport != Transport::Udp
            && self.connections.find(to).is_none()
            && let Some(neighbour) = self.neighbours.with_connection(to)
        {
            return neighbour.ask(to, request, within).await;
        }
        let large = to.transport == Transport::Udp && request.len() + VIA > DATAGRAM;
        let again = large.then(|| request.clone());
        let prepared = self.prepare(to, request)?;
        if let Some(request) = again
            && prepared.bytes.len() > DATAGRAM
            && !self.refuses_tcp(to.addr)
        {
            let stream = NextHop { transport: Transport::Tcp, ..to.clone() };
            // A peer that drops what it does not like must not use up all of the time.
            let connect_within = self.settings.connect_within.min(within / 4);
            let prepared = self.prepare(&stream, request)?;
            match self.attempt(&stream, prepared, within, connect_within).await {
                Err(Failure::NotConnected(why)) => {
                    tracing::debug!("{stream}: {why}; a large request goes over UDP");
                    remember(&self.routes.refused, to.addr, self.now().saturating_add(REFUSED));
                }
                other => return other,
            }
        }
        let left = within.saturating_sub(self.now().saturating_sub(begun));
        self.attempt(to, prepared, left, self.settings.connect_within.min(left)).await
    }

    fn prepare(&self, to: &NextHop, mut bytes: Vec<u8>) -> Result<Prepared, Failure> {
        let branch = self.client.borrow_mut().branch();
        let sent_by = self.sent_by(to).map_err(Failure::Lost)?;
        let others = others(&bytes);
        put_via(&mut bytes, |line| {
            line.text("SIP/2.0/").text(to.transport.via()).text(" ").socket(sent_by);
            line.text(";branch=").text(MAGIC_COOKIE).hex(branch.octets()).text(";rport");
        });
        Ok(Prepared { branch, bytes, others })
    }

    /// Sends the request and waits for the transaction to end; dropped meanwhile, the transaction ends.
    async fn attempt(
        self: &Rc<Self>,
        to: &NextHop,
        Prepared { branch, bytes, others }: Prepared,
        within: Duration,
        connect_within: Duration,
    ) -> Result<Message<'static>, Failure> {
        if within.is_zero() {
            return Err(Failure::Timeout);
        }
        let (tell, told) = oneshot::channel();
        let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
        let _cancel = Cancel(self.clone(), branch);
        if to.transport == Transport::Udp {
            let port = self.egress.towards(to.addr).ok_or_else(|| Failure::Lost(no_family(to.addr)))?;
            match self.send_datagram(port, &bytes, to.addr) {
                Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(Failure::Lost(e.to_string())),
                _ => {}
            }
            let resend = Resend { to: to.addr, bytes: Rc::from(&bytes[..]) };
            let waiter = Waiter { tell, connection: None };
            self.client.borrow_mut().start(branch, method, Some(resend), waiter, within, self.now());
        } else {
            let connection = self.connection_to(to, connect_within);
            self.send_stream(&connection, &bytes).map_err(|why| Failure::Lost(why.into()))?;
            let waiter = Waiter { tell, connection: Some(connection.id) };
            self.client.borrow_mut().start(branch, method, None, waiter, within, self.now());
        }
        if others > 0 {
            self.client.borrow_mut().relays_for(branch, others);
        }
        octets::give(bytes);
        self.rearm();
        told.await.unwrap_or_else(|_| Err(Failure::Lost("the node is stopping".into())))
    }

    /// A response: ends the transaction that it belongs to.
    pub(super) fn on_response(&self, response: Message<'_>) {
        let matched = self.client.borrow_mut().on_response(&response, self.now());
        match matched {
            Matched::Stray => count(&self.counters.discarded),
            Matched::Absorbed => {}
            Matched::Final(waiter) => {
                let checked = response.check().map_err(|fault| Failure::BadAnswer(fault.to_string()));
                let _ = waiter.tell.send(checked.map(|()| response.into_owned()));
            }
        }
    }

    /// Ends the transactions of those waiters.
    pub(super) fn fail(&self, those: impl Fn(&Waiter) -> bool, why: impl Fn() -> Failure) {
        let waiters = self.client.borrow_mut().fail(those);
        for waiter in waiters {
            let _ = waiter.tell.send(Err(why()));
        }
    }

    /// Drives every timer of the worker.
    pub(super) async fn run_timers(self: Rc<Self>) {
        loop {
            let now = self.now();
            loop {
                let due = self.client.borrow_mut().due(now);
                match due {
                    Some(Due::Resend(Resend { to, bytes })) => {
                        count(&self.counters.resent);
                        if let Some(port) = self.egress.towards(to) {
                            let _ = self.send_datagram(port, &bytes, to);
                        }
                    }
                    Some(Due::TimedOut(waiter)) => {
                        count(&self.counters.timeouts);
                        let _ = waiter.tell.send(Err(Failure::Timeout));
                    }
                    None => break,
                }
            }
            self.server.borrow_mut().expire(now);
            // Without requests of ours it still wakes now and then, for timer J.
            let idle = now.saturating_add(Duration::from_secs(5));
            let next = self.client.borrow().next_deadline().map_or(idle, |deadline| deadline.min(idle));
            self.timers.armed.set(next);
            tokio::select! {
                () = tokio::time::sleep(next.saturating_sub(now)) => {}
                () = self.timers.earlier.notified() => {}
            }
        }
    }

    fn rearm(&self) {
        if self.client.borrow().next_deadline().is_some_and(|deadline| deadline < self.timers.armed.get()) {
            self.timers.earlier.notify_one();
        }
    }

    /// Our address in a Via or Contact towards `to`: over UDP the egress port, else where we listen for that transport.
    pub(super) fn sent_by(&self, to: &NextHop) -> Result<SocketAddr, String> {
        let ip = self.local_ip(to.addr)?;
        let port = match to.transport {
            Transport::Udp => self.egress.towards(to.addr).ok_or_else(|| no_family(to.addr))?.local.port(),
            stream => {
                let same = |addr: &SocketAddr| addr.is_ipv4() == ip.is_ipv4();
                let listening = self.listening.iter().filter(|l| l.transport == stream && same(&l.addr));
                listening.map(|l| l.addr.port()).next().unwrap_or(super::default_port(stream))
            }
        };
        Ok(SocketAddr::new(ip, port))
    }

    /// The address that the system would send to `peer` from.
    fn local_ip(&self, peer: SocketAddr) -> Result<IpAddr, String> {
        if let Some(ip) = self.routes.local.borrow().get(&peer.ip()) {
            return Ok(*ip);
        }
        let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let probe = || -> std::io::Result<IpAddr> {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(peer)?; // sends nothing
            Ok(socket.local_addr()?.ip())
        };
        let ip = probe().map_err(|e| format!("no way to {}: {e}", peer.ip()))?;
        remember(&self.routes.local, peer.ip(), ip);
        Ok(ip)
    }

    fn refuses_tcp(&self, peer: SocketAddr) -> bool {
        self.routes.refused.borrow().get(&peer).is_some_and(|until| *until > self.now())
    }
}

fn no_family(addr: SocketAddr) -> String {
    format!("this machine has no {}", if addr.is_ipv4() { "IPv4" } else { "IPv6" })
}

/// Remembers within bounds: a full table starts anew.
fn remember<K: Eq + std::hash::Hash, V>(table: &RefCell<HashMap<K, V>>, key: K, value: V) {
    let mut table = table.borrow_mut();
    if table.len() >= REMEMBERED {
        table.clear();
    }
    table.insert(key, value);
}

/// Ends the transaction of a request that nobody waits for any more.
struct Cancel(Rc<Worker>, Branch);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.client.borrow_mut().cancel(self.1);
    }
}
