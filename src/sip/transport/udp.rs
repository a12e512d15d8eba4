//! UDP: listening ports, and the egress ports that our own requests leave from.
//!
//! A request of ours leaves from a port that only this worker has, and its Via names it: on a shared listening port the
//! answer could come to another worker.

use super::batch::{BATCH, Incoming, Outgoing};
use super::dispatch::Origin;
use super::{Direction, Listen, Worker, count};
use crate::sip::message::limits;
use crate::sip::transaction::{Source, Transport};
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

/// Datagrams taken from one socket before the other tasks of the worker have their turn.
const BURST: usize = 64;

pub(super) struct Port {
    socket: UdpSocket,
    pub(super) local: SocketAddr,
    /// For our own requests and their answers: it is open on all addresses, whatever the operator listens on.
    pub(super) is_egress: bool,
    /// Answers that are to leave together: those of a batch that is being received, or of the tasks that are ready now.
    answers: RefCell<Outgoing>,
    /// A batch is being received, and sends them when it is done.
    in_batch: Cell<bool>,
    /// There are some, and no batch.
    waiting: Notify,
}

impl Port {
    pub(super) fn new(socket: std::net::UdpSocket, is_egress: bool) -> io::Result<Rc<Port>> {
        let local = socket.local_addr()?;
        Ok(Rc::new(Port {
            socket: UdpSocket::from_std(socket)?,
            local,
            is_egress,
            answers: RefCell::new(Outgoing::new()),
            in_batch: Cell::new(false),
            waiting: Notify::new(),
        }))
    }

    /// Past tokio's readiness, which it only learns by waiting: the socket does not block, and a datagram that finds no
    /// room is lost like any other.
    fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        SockRef::from(&self.socket).send_to(bytes, &to.into()).map(drop)
    }
}

/// Ephemeral ports for requests of our own: one at each address that this node listens at, so that a peer hears us from
/// the address it knows, and one per family for what those do not reach.
pub(super) struct Egress {
    ports: Vec<Rc<Port>>,
}

impl Egress {
    pub(super) fn open(listening: &[Listen]) -> Egress {
        let open = |any: SocketAddr| -> io::Result<Rc<Port>> {
            let socket = socket2::Socket::new(socket2::Domain::for_address(any), socket2::Type::DGRAM, None)?;
            socket.set_nonblocking(true)?;
            if any.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            let _ = socket.set_recv_buffer_size(1 << 20);
            socket.bind(&any.into())?;
            Port::new(socket.into(), true)
        };
        let open = |any: SocketAddr| open(any).inspect_err(|e| tracing::debug!("no UDP from {any}: {e}")).ok();
        let mut own: Vec<IpAddr> = Vec::new();
        for ip in listening.iter().map(|listen| listen.addr.ip()) {
            if !own.contains(&ip) && !ip.is_unspecified() {
                own.push(ip);
            }
        }
        let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        Egress { ports: own.into_iter().chain(any).filter_map(|ip| open((ip, 0).into())).collect() }
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = &Rc<Port>> {
        self.ports.iter()
    }

    /// The port that reaches `to`.
    pub(super) fn towards(&self, to: SocketAddr) -> Option<&Rc<Port>> {
        self.ports.iter().find(|port| {
            let from = port.local.ip();
            // A socket at a loopback address reaches loopback alone.
            from.is_ipv4() == to.is_ipv4() && (from.is_unspecified() || from.is_loopback() == to.ip().is_loopback())
        })
    }
}

impl Worker {
    /// Sends a datagram from `port`; an error is counted, and the caller's to judge.
    pub(super) fn send_datagram(&self, port: &Port, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        // Before it goes: whoever waits for the datagram may be quicker than who notes it.
        self.show(Direction::Out, bytes, Transport::Udp, to);
        match port.send(bytes, to) {
            Ok(()) => {
                count(&self.counters.sent);
                Ok(())
            }
            Err(e) => {
                count(&self.counters.unsent);
                tracing::debug!("cannot send to udp:{to}: {e}");
                Err(e)
            }
        }
    }

    /// An answer: it waits for the others of the batch that is being received, or of the tasks that are ready now.
    pub(super) fn answer_datagram(&self, port: &Port, bytes: &[u8], to: SocketAddr) {
        self.show(Direction::Out, bytes, Transport::Udp, to);
        port.answers.borrow_mut().push(bytes, to);
        if !port.in_batch.get() {
            port.waiting.notify_one();
        }
    }

    /// Sends the answers that wait.
    pub(super) fn send_answers(&self, port: &Port) {
        port.answers.borrow_mut().send(port.socket.as_raw_fd(), |to, result| match result {
            Ok(()) => count(&self.counters.sent),
            Err(why) => {
                count(&self.counters.unsent);
                tracing::debug!("cannot send to udp:{to}: {why}");
            }
        });
    }

    /// Sends for ever the answers that come outside a batch. The first of them wakes this task, which has its turn after those
    /// that were ready before it: what they answer leaves with it.
    pub(super) async fn answer(self: Rc<Self>, port: Rc<Port>) {
        loop {
            port.waiting.notified().await;
            self.send_answers(&port);
        }
    }

    /// Receives on one port for ever.
    pub(super) async fn receive(self: Rc<Self>, port: Rc<Port>) {
        let mut incoming = Incoming::new();
        let nobody: Arc<[String]> = Arc::from([]);
        let origin = Origin::Port(port.clone());
        loop {
            let mut failed = port.socket.readable().await.is_err();
            let mut taken = 0;
            while !failed && taken < BURST {
                match incoming.receive(&port.socket) {
                    Ok(()) => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    // News of an earlier datagram that did not arrive.
                    Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset) => {
                        taken += 1;
                        continue;
                    }
                    Err(e) => {
                        tracing::debug!("udp:{}: {e}", port.local);
                        failed = true;
                        break;
                    }
                }
                taken += BATCH;
                port.in_batch.set(true);
                for (bytes, addr) in incoming.datagrams() {
                    if bytes.len() > limits::MESSAGE {
                        count(&self.counters.discarded);
                        continue;
                    }
                    let source =
                        Source { transport: Transport::Udp, addr, local: port.local, peer_names: nobody.clone() };
                    self.on_message(bytes, &source, &origin);
                }
                port.in_batch.set(false);
                self.send_answers(&port);
                if !incoming.is_full() {
                    break;
                }
            }
            if failed {
                tokio::time::sleep(Duration::from_millis(5)).await;
            } else if taken >= BURST {
                tokio::task::yield_now().await;
            }
        }
    }
}
