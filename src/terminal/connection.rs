//! The way to the registrar: one UDP socket or one TCP or TLS connection. A [`Link`] moves whole messages;
//! a [`Connection`] adds the non-INVITE client transaction (RFC 3261 §17.1.2) and an inbox for what the network sends.

use super::identifiers::Identifiers;
use crate::sip::print::insert_via;
use crate::sip::transaction::Transport;
use crate::sip::{Message, ResponseWriter, frame, limits};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout};

/// RFC 3261 §17.1.2.2: first and longest interval of Timer E; Timer F is 64 × T1.
pub const T1: Duration = Duration::from_millis(500);
pub const T2: Duration = Duration::from_secs(4);
pub const TIMER_F: Duration = Duration::from_secs(32);
const CONNECT: Duration = Duration::from_secs(5);
/// Answers kept to be repeated when a request arrives again.
const KEPT_ANSWERS: usize = 32;
const INBOX: usize = 64;

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
    buffer: Vec<u8>,
}

impl Link {
    pub async fn open(server: &Server, tls: Option<&Tls>) -> Result<Link, ConnectionError> {
        let unreachable = |why: String| ConnectionError::Unreachable { server: server.to_string(), why };
        let io_error = |error: std::io::Error| unreachable(error.to_string());
        let (io, local) = match server.transport {
            Transport::Udp => {
                let any: SocketAddr = if server.addr.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
                let socket = UdpSocket::bind(any).await.map_err(io_error)?;
                socket.connect(server.addr).await.map_err(io_error)?;
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
        Ok(Link { io, server: server.clone(), local, buffer: Vec::new() })
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

    pub async fn send(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        let sent = match &mut self.io {
            Io::Udp(socket) => socket.send(message).await.map(|_| ()),
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
            let received = socket.recv(&mut self.buffer).await;
            return match received {
                Ok(length) => Ok(self.buffer.get(..length).unwrap_or_default().to_vec()),
                Err(error) => Err(self.lost(&error)),
            };
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

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Sent,
    Received,
}

/// Sees every message, SIP or HTTP, as it is sent or received (retransmissions included).
pub type Observer = Arc<dyn Fn(Direction, &[u8]) + Send + Sync>;

pub struct Connection {
    link: Link,
    identifiers: Identifiers,
    inbox: VecDeque<Message<'static>>,
    answers: VecDeque<(Vec<u8>, Vec<u8>)>,
    observer: Option<Observer>,
    retransmissions: u64,
}

impl Connection {
    pub async fn open(
        server: &Server,
        tls: Option<&Tls>,
        identifiers: Identifiers,
        observer: Option<Observer>,
    ) -> Result<Connection, ConnectionError> {
        let link = Link::open(server, tls).await?;
        Ok(Connection {
            link,
            identifiers,
            inbox: VecDeque::new(),
            answers: VecDeque::new(),
            observer,
            retransmissions: 0,
        })
    }

    pub fn link(&self) -> &Link {
        &self.link
    }

    pub fn set_observer(&mut self, observer: Option<Observer>) {
        self.observer = observer;
    }

    /// Requests that were sent again by Timer E.
    pub fn retransmissions(&self) -> u64 {
        self.retransmissions
    }

    /// Sends a request that has no Via yet and gives its final response.
    pub async fn request(&mut self, request: &[u8], within: Duration) -> Result<Message<'static>, ConnectionError> {
        let branch = format!("z9hG4bK{}", self.identifiers.fresh());
        let bytes = insert_via(request, &self.link.via(&branch));
        self.transmit(&bytes).await?;
        let started = Instant::now();
        let within = within.min(TIMER_F);
        let deadline = started + within;
        let (mut interval, mut again) = (T1, started + T1);
        let repeats = !self.link.server.transport.is_reliable();
        loop {
            let wake = if repeats { again.min(deadline) } else { deadline };
            tokio::select! {
                received = self.link.receive() => {
                    let Some(message) = self.take_in(received?).await? else { continue };
                    if message.is_request() {
                        self.keep(message);
                    } else if answers(&message, branch.as_bytes(), request) {
                        if message.status() >= 200 {
                            return Ok(message);
                        }
                        interval = T2; // Proceeding: Timer E goes on at T2
                    }
                }
                () = sleep_until(wake) => {
                    if Instant::now() >= deadline {
                        return Err(ConnectionError::Timeout { server: self.link.server.to_string(), after: within });
                    }
                    self.retransmissions = self.retransmissions.saturating_add(1);
                    self.transmit(&bytes).await?;
                    interval = (interval * 2).min(T2);
                    again = Instant::now() + interval;
                }
            }
        }
    }

    /// The next request from the network, already in or arriving until `deadline`; None when none did.
    pub async fn next_request(&mut self, deadline: Instant) -> Result<Option<Message<'static>>, ConnectionError> {
        loop {
            if let Some(request) = self.inbox.pop_front() {
                return Ok(Some(request));
            }
            tokio::select! {
                received = self.link.receive() => {
                    if let Some(message) = self.take_in(received?).await? && message.is_request() {
                        return Ok(Some(message));
                    }
                }
                () = sleep_until(deadline) => return Ok(None),
            }
        }
    }

    /// Answers a request from the network without a body; the answer is repeated should the request come again.
    pub async fn respond(&mut self, request: &Message<'_>, status: u16) -> Result<(), ConnectionError> {
        let tag = self.identifiers.fresh();
        let answer = ResponseWriter::new(request, status, self.link.server.addr, &tag).finish();
        self.transmit(&answer).await?;
        if let Some(key) = key(request) {
            if self.answers.len() >= KEPT_ANSWERS {
                self.answers.pop_front();
            }
            self.answers.push_back((key, answer));
        }
        Ok(())
    }

    async fn transmit(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        if let Some(observer) = &self.observer {
            observer(Direction::Sent, bytes);
        }
        self.link.send(bytes).await
    }

    /// Reads a received message; what cannot be read is dropped, what was answered before is answered the same again.
    async fn take_in(&mut self, bytes: Vec<u8>) -> Result<Option<Message<'static>>, ConnectionError> {
        if bytes.trim_ascii().is_empty() {
            return Ok(None); // keep-alive over UDP
        }
        if let Some(observer) = &self.observer {
            observer(Direction::Received, &bytes);
        }
        let Ok(message) = Message::parse_owned(bytes) else { return Ok(None) };
        if message.check().is_err() {
            return Ok(None);
        }
        if message.is_request()
            && let Some(key) = key(&message)
        {
            if let Some((_, answer)) = self.answers.iter().find(|(known, _)| *known == key) {
                let answer = answer.clone();
                self.transmit(&answer).await?;
                return Ok(None);
            }
            if self.inbox.iter().any(|waiting| self::key(waiting).as_deref() == Some(&key)) {
                return Ok(None);
            }
        }
        Ok(Some(message))
    }

    fn keep(&mut self, request: Message<'static>) {
        if self.inbox.len() < INBOX {
            self.inbox.push_back(request);
        }
    }
}

/// RFC 3261 §17.1.3: the branch is ours and the CSeq names the method that we sent.
fn answers(response: &Message<'_>, branch: &[u8], request: &[u8]) -> bool {
    let method = request.split(|&octet| octet == b' ').next().unwrap_or_default();
    response.top_via().is_ok_and(|via| via.branch() == Some(branch))
        && response.cseq().is_ok_and(|cseq| cseq.method == method)
}

/// What tells a repeated request from a new one (RFC 3261 §17.2.3).
fn key(request: &Message<'_>) -> Option<Vec<u8>> {
    let via = request.top_via().ok()?;
    Some([request.method(), b" ", via.branch()?].concat())
}
