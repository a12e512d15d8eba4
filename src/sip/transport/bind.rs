//! Sockets, made before any worker starts: every worker gets one of its own per address (SO_REUSEPORT), so that a
//! message is received, decided and answered on one core.

use super::address::Listen;
use super::neighbours::Connected;
use super::spread;
use super::tls::Tls;
use crate::sip::transaction::Transport;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {listen}: {source}")]
    Socket { listen: Listen, source: io::Error },
    #[error("cannot listen on {0}: no TLS certificate is configured")]
    NoCertificate(Listen),
}

/// The sockets of one worker; the default has none, which is enough for a client.
#[derive(Debug, Default)]
pub struct Sockets {
    pub(super) udp: Vec<UdpSocket>,
    pub(super) streams: Vec<(Transport, TcpListener)>,
    /// The same for all workers that were bound together.
    pub(super) connected: Connected,
}

impl Sockets {
    /// Adds the sockets of another set, for a worker that serves both.
    pub fn merge(&mut self, other: Sockets) {
        self.udp.extend(other.udp);
        self.streams.extend(other.streams);
    }
}

/// Opens every address for each of `workers` workers. The addresses come back with the ports that were taken for port 0.
pub fn bind(listen: &[Listen], workers: usize, tls: &Tls) -> Result<(Vec<Sockets>, Vec<Listen>), BindError> {
    let workers = workers.max(1);
    let connected = Connected::default();
    let mut sockets: Vec<Sockets> =
        (0..workers).map(|_| Sockets { connected: connected.clone(), ..Sockets::default() }).collect();
    let mut bound = Vec::with_capacity(listen.len());
    for &listen in listen {
        if listen.transport == Transport::Tls && !tls.can_serve() {
            return Err(BindError::NoCertificate(listen));
        }
        bound.push(open(listen, &mut sockets).map_err(|source| BindError::Socket { listen, source })?);
    }
    Ok((sockets, bound))
}

fn open(listen: Listen, workers: &mut [Sockets]) -> io::Result<Listen> {
    let shared = workers.len() > 1;
    let mut listen = listen;
    if shared {
        // An address shared by SO_REUSEPORT can be joined silently by a second process of the same user, which would
        // then take half of the traffic. An exclusive socket first finds that out, and the port for port 0.
        listen.addr = local(&socket(listen, false)?)?;
    }
    let count = workers.len();
    for (n, worker) in workers.iter_mut().enumerate() {
        let socket = socket(listen, shared)?;
        listen.addr = local(&socket)?;
        match listen.transport {
            Transport::Udp => {
                // Bursts wait in the kernel while the worker is busy; the system may grant less.
                let _ = socket.set_recv_buffer_size(4 << 20);
                let _ = socket.set_send_buffer_size(1 << 20);
                if shared
                    && n == 0
                    && let Err(why) = spread::by_content(&socket, count)
                {
                    tracing::warn!(%listen, %why, "datagrams of one sender all go to one worker");
                }
                worker.udp.push(socket.into());
            }
            stream => {
                socket.listen(1024)?;
                worker.streams.push((stream, socket.into()));
            }
        }
    }
    Ok(listen)
}

fn socket(listen: Listen, shared: bool) -> io::Result<Socket> {
    let (kind, protocol) = match listen.transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp | Transport::Tls => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(listen.addr), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if listen.addr.is_ipv6() {
        // Each family is listened on by its own address: no IPv4 peer in IPv6 clothes.
        socket.set_only_v6(true)?;
    }
    if listen.transport != Transport::Udp {
        socket.set_reuse_address(true)?; // connections of an earlier run may linger in TIME_WAIT
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&listen.addr.into())?;
    Ok(socket)
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_port_and_a_second_node_is_refused() {
        let listen = ["udp:127.0.0.1:0".parse().unwrap(), "tcp:127.0.0.1:0".parse().unwrap()];
        let (sockets, bound) = bind(&listen, 3, &Tls::default()).unwrap();
        assert_eq!(sockets.len(), 3);
        assert!(bound.iter().all(|listen| listen.addr.port() != 0));
        for worker in &sockets {
            assert_eq!(worker.udp[0].local_addr().unwrap(), bound[0].addr);
            assert_eq!(worker.streams[0].1.local_addr().unwrap(), bound[1].addr);
        }
        for workers in [1, 3] {
            for taken in &bound {
                let error = bind(&[*taken], workers, &Tls::default()).unwrap_err();
                assert!(matches!(error, BindError::Socket { .. }), "{error}");
            }
        }
    }

    #[test]
    fn tls_needs_a_certificate() {
        let error = bind(&["tls:127.0.0.1:0".parse().unwrap()], 1, &Tls::default()).unwrap_err();
        assert!(matches!(error, BindError::NoCertificate(_)));
    }
}
