//! Whole SIP messages to and from one server: a UDP socket, or a TCP or TLS connection (RFC 3261 §18).

use crate::sip::transaction::Transport;
use crate::sip::{frame, limits};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const CONNECT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    #[error("{0:?} is no server: write udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT")]
    Server(String),
    #[error("cannot resolve {host}: {why}")]
    Resolve { host: String, why: String },
    #[error("cannot reach {server}: {why}")]
    Unreachable { server: String, why: String },
    #[error("TLS needs the certificate authority of the server")]
    NoAuthority,
    #[error("{0:?} is no name that a certificate can carry")]
    TlsName(String),
    #[error("no answer from {server} within {} s", .after.as_secs_f32())]
    Timeout { server: String, after: Duration },
    #[error("{server} closed the connection")]
    Closed { server: String },
    #[error("{server} sent what is not SIP")]
    NotSip { server: String },
}

/// Where to register: `udp:HOST:PORT`, `tcp:…`, `tls:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub transport: Transport,
    pub addr: SocketAddr,
    /// The host as written: what a TLS certificate must carry unless told otherwise.
    pub host: String,
}

impl Server {
    /// Reads and resolves; the port may be left out (5060, TLS 5061), an IPv6 address stands in brackets.
    pub async fn resolve(text: &str) -> Result<Server, ConnectionError> {
        let wrong = || ConnectionError::Server(text.to_owned());
        let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
        let transport = [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .find(|transport| transport.param().eq_ignore_ascii_case(scheme))
            .ok_or_else(wrong)?;
        let (host, port) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (host, port) = inner.split_once(']').ok_or_else(wrong)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) })
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
            None if transport == Transport::Tls => 5061,
            None => 5060,
        };
        if host.is_empty() {
            return Err(wrong());
        }
        let addr = match host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, port),
            Err(_) => {
                let failed = |why: String| ConnectionError::Resolve { host: host.to_owned(), why };
                let mut found =
                    tokio::net::lookup_host((host, port)).await.map_err(|error| failed(error.to_string()))?;
                found.next().ok_or_else(|| failed("no address".to_owned()))?
            }
        };
        Ok(Server { transport, addr, host: host.to_owned() })
    }

    /// The same host and port over TCP.
    pub fn over_tcp(&self) -> Server {
        Server { transport: Transport::Tcp, ..self.clone() }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.param(), self.addr)
    }
}

/// How to speak TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    pub config: Arc<ClientConfig>,
    /// Name in the server's certificate, if it is not the host.
    pub name: Option<String>,
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

enum Io {
    Udp(UdpSocket),
    Stream(Box<dyn Duplex>),
}

/// Whole messages in and out.
pub struct Link {
    io: Io,
    server: Server,
    local: SocketAddr,
    /// Where the last datagram came from.
    source: SocketAddr,
    buffer: Vec<u8>,
}

impl Link {
    pub async fn open(server: &Server, tls: Option<&Tls>) -> Result<Link, ConnectionError> {
        let unreachable = |why: String| ConnectionError::Unreachable { server: server.to_string(), why };
        let io_error = |error: std::io::Error| unreachable(error.to_string());
        let (io, local) = match server.transport {
            Transport::Udp => {
                // Not connected: what the network asks of us need not come from the port that we register at.
                let any: SocketAddr = if server.addr.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
                let probe = UdpSocket::bind(any).await.map_err(io_error)?;
                probe.connect(server.addr).await.map_err(io_error)?;
                let own = SocketAddr::new(probe.local_addr().map_err(io_error)?.ip(), 0);
                let socket = UdpSocket::bind(own).await.map_err(io_error)?;
                let local = socket.local_addr().map_err(io_error)?;
                (Io::Udp(socket), local)
            }
            Transport::Tcp | Transport::Tls => {
                let stream = timeout(CONNECT, TcpStream::connect(server.addr))
                    .await
                    .map_err(|_| unreachable("no connection in 5 s".to_owned()))?
                    .map_err(io_error)?;
                let _ = stream.set_nodelay(true); // only a matter of speed
                let local = stream.local_addr().map_err(io_error)?;
                let stream: Box<dyn Duplex> = if server.transport == Transport::Tls {
                    secure(stream, server, tls).await?
                } else {
                    Box::new(stream)
                };
                (Io::Stream(stream), local)
            }
        };
        // Without the scope of an IPv6 link-local address, which has no place in a Via.
        let local = SocketAddr::new(local.ip(), local.port());
        Ok(Link { io, server: server.clone(), local, source: server.addr, buffer: Vec::new() })
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The Via value of a request sent here.
    pub fn via(&self, branch: &str) -> String {
        format!("SIP/2.0/{} {};branch={branch};rport", self.server.transport.via(), self.local)
    }

    /// Where the last message came from.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    pub async fn send(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        self.send_to(message, self.server.addr).await
    }

    /// Sends to `to`; over a stream there is only the server.
    pub async fn send_to(&mut self, message: &[u8], to: SocketAddr) -> Result<(), ConnectionError> {
        let sent = match &mut self.io {
            Io::Udp(socket) => socket.send_to(message, to).await.map(|_| ()),
            Io::Stream(stream) => match stream.write_all(message).await {
                Ok(()) => stream.flush().await,
                Err(error) => Err(error),
            },
        };
        sent.map_err(|error| self.lost(&error))
    }

    /// The next message, as it came. May be dropped before it is ready and called again.
    pub async fn receive(&mut self) -> Result<Vec<u8>, ConnectionError> {
        if let Io::Udp(socket) = &self.io {
            self.buffer.resize(limits::MESSAGE, 0);
            loop {
                match socket.recv_from(&mut self.buffer).await {
                    // The network's host, whatever its port; nobody else has anything to say here.
                    Ok((length, source)) if source.ip() == self.server.addr.ip() => {
                        self.source = source;
                        return Ok(self.buffer.get(..length).unwrap_or_default().to_vec());
                    }
                    Ok(_) => {}
                    Err(error) => return Err(self.lost(&error)),
                }
            }
        }
        loop {
            match frame::next(&self.buffer) {
                Ok(frame::Frame::Message { len }) => {
                    let rest = self.buffer.split_off(len.min(self.buffer.len()));
                    return Ok(std::mem::replace(&mut self.buffer, rest));
                }
                Ok(frame::Frame::KeepAlive { skip, ping }) => {
                    self.buffer.drain(..skip.min(self.buffer.len()));
                    if ping {
                        self.send(b"\r\n").await?;
                    }
                }
                Ok(frame::Frame::Incomplete) => {
                    let Io::Stream(stream) = &mut self.io else { continue };
                    match stream.read_buf(&mut self.buffer).await {
                        Ok(0) => return Err(ConnectionError::Closed { server: self.server.to_string() }),
                        Ok(_) => {}
                        Err(error) => return Err(self.lost(&error)),
                    }
                }
                Err(_) => return Err(ConnectionError::NotSip { server: self.server.to_string() }),
            }
        }
    }

    fn lost(&self, error: &std::io::Error) -> ConnectionError {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let server = self.server.to_string();
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => ConnectionError::Closed { server },
            _ => ConnectionError::Unreachable { server, why: error.to_string() },
        }
    }
}

async fn secure(stream: TcpStream, server: &Server, tls: Option<&Tls>) -> Result<Box<dyn Duplex>, ConnectionError> {
    let tls = tls.ok_or(ConnectionError::NoAuthority)?;
    let name = tls.name.clone().unwrap_or_else(|| server.host.clone());
    let name = ServerName::try_from(name.clone()).map_err(|_| ConnectionError::TlsName(name))?;
    let unreachable = |why: String| ConnectionError::Unreachable { server: server.to_string(), why };
    let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
    let stream = timeout(CONNECT, connector.connect(name, stream))
        .await
        .map_err(|_| unreachable("no TLS handshake in 5 s".to_owned()))?
        .map_err(|error| unreachable(error.to_string()))?;
    Ok(Box::new(stream))
}
