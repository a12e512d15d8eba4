//! The non-INVITE client transaction (RFC 3261 §17.1.2) over a [`Link`], and an inbox for what the network sends.

use super::identifiers::Identifiers;
pub use super::link::{ConnectionError, Link, Server, Tls};
use crate::sip::print::insert_via;
use crate::sip::{Message, ResponseWriter};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// RFC 3261 §17.1.2.2: first and longest interval of Timer E; Timer F is 64 × T1.
pub const T1: Duration = Duration::from_millis(500);
pub const T2: Duration = Duration::from_secs(4);
pub const TIMER_F: Duration = Duration::from_secs(32);
/// Answers kept to be repeated when a request arrives again.
const KEPT_ANSWERS: usize = 32;
const INBOX: usize = 64;

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
    inbox: VecDeque<(Message<'static>, SocketAddr)>,
    /// Where the request that was handed out last came from.
    asker: SocketAddr,
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
            asker: server.addr,
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
        let repeats = !self.link.server().transport.is_reliable();
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
                        return Err(ConnectionError::Timeout { server: self.link.server().to_string(), after: within });
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
            if let Some((request, source)) = self.inbox.pop_front() {
                self.asker = source;
                return Ok(Some(request));
            }
            tokio::select! {
                received = self.link.receive() => {
                    if let Some(message) = self.take_in(received?).await? && message.is_request() {
                        self.asker = self.link.source();
                        return Ok(Some(message));
                    }
                }
                () = sleep_until(deadline) => return Ok(None),
            }
        }
    }

    /// Answers the request that [`Connection::next_request`] gave, without a body; the answer is repeated should the request come again.
    pub async fn respond(&mut self, request: &Message<'_>, status: u16) -> Result<(), ConnectionError> {
        let tag = self.identifiers.fresh();
        let answer = ResponseWriter::new(request, status, self.asker, &tag).finish();
        self.transmit_to(&answer, self.asker).await?;
        if let Some(key) = key(request) {
            if self.answers.len() >= KEPT_ANSWERS {
                self.answers.pop_front();
            }
            self.answers.push_back((key, answer));
        }
        Ok(())
    }

    async fn transmit(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.transmit_to(bytes, self.link.server().addr).await
    }

    async fn transmit_to(&mut self, bytes: &[u8], to: SocketAddr) -> Result<(), ConnectionError> {
        if let Some(observer) = &self.observer {
            observer(Direction::Sent, bytes);
        }
        self.link.send_to(bytes, to).await
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
                self.transmit_to(&answer, self.link.source()).await?;
                return Ok(None);
            }
            if self.inbox.iter().any(|(waiting, _)| self::key(waiting).as_deref() == Some(&key)) {
                return Ok(None);
            }
        }
        Ok(Some(message))
    }

    fn keep(&mut self, request: Message<'static>) {
        if self.inbox.len() < INBOX {
            self.inbox.push_back((request, self.link.source()));
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
