//! The life of one peer (RFC 6733 §5.6, rank 1, sans-IO): capabilities, election where both connect at once, watchdog
//! (RFC 3539), disconnecting, and what is answered without asking an application.
//!
//! The node that has the sockets tells what happens ([`Input`]) and does what it is told ([`Output`]). `now` is any clock
//! that does not step; [`Peer::due`] tells when to call again with [`Input::Time`].

mod capabilities;
mod screening;
mod watchdog;

pub use capabilities::{Capabilities, Local};

use super::dictionary::{DISCONNECT_CAUSE, INBAND_SECURITY_ID, application, command};
use super::fault::base;
use super::{Fault, Message, ResultCode, TooLong, Writer, answer_to, refusal_of};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use watchdog::{Backoff, Verdict, Watchdog};

/// Who opened a connection: we, or the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Initiator,
    Responder,
}

/// The states of RFC 6733 §5.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Closed,
    WaitConnAck,
    WaitICea,
    WaitConnAckElect,
    WaitReturns,
    IOpen,
    ROpen,
    Closing,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::WaitConnAck => "connecting",
            State::WaitICea => "waiting for CEA",
            State::WaitConnAckElect | State::WaitReturns => "electing",
            State::IOpen | State::ROpen => "open",
            State::Closing => "closing",
        }
    }
}

/// What a peer is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Not connected, or about to close.
    Down,
    /// It has not been heard of for too long; what waits for it goes elsewhere.
    Suspect,
    /// Connected again after a failure: for use where no other is.
    Probation,
    Up,
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Down => "down",
            Standing::Suspect => "suspect",
            Standing::Probation => "probation",
            Standing::Up => "up",
        }
    }
}

/// Why a connection is there no more, or did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error("cannot connect")]
    NotConnected,
    #[error("it was closed by the peer, or broke")]
    Broken,
    #[error("no CEA in time")]
    NoCea,
    #[error("the watchdog was not answered")]
    Silent,
    #[error("CEA {0}")]
    Refused(ResultCode),
    #[error("CEA: {0}")]
    BadCea(Fault),
    #[error("it is {0}, not the host that is configured")]
    OtherHost(Arc<str>),
    #[error("no application in common")]
    NoCommonApplication,
    #[error("a message that has no place there")]
    OutOfPlace,
    #[error("the peer disconnects: {0}")]
    Disconnects(&'static str),
    #[error("we disconnect")]
    Stopped,
}

/// What happens.
#[derive(Debug)]
pub enum Input<'a> {
    /// [`Peer::due`] is reached.
    Time,
    /// The connection of [`Output::Connect`] is there; `local`: our address on it.
    Connected { local: IpAddr },
    /// It did not come about.
    NotConnected,
    /// The peer's CER came first on a connection that it opened.
    Accepted { local: IpAddr, cer: &'a [u8] },
    /// A whole message.
    Received(Side, &'a [u8]),
    /// A connection has ended, or cannot be read any more.
    Broken(Side),
    /// Disconnect, and do not connect again.
    Stop,
}

/// What is to be done, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    Connect,
    /// The accepted connection becomes [`Side::Responder`].
    Accept,
    /// The accepted connection is closed, after this on it.
    Reject(Vec<u8>),
    Send(Side, Vec<u8>),
    /// Closes, once what was sent has left; gives up connecting.
    Close(Side),
    /// The message just received is a request for the application, checked, and for this node.
    Request,
    /// The message just received answers a request of an application.
    Answer,
    /// It has changed.
    Standing(Standing),
}

#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// RFC 3539: 30 s, at least 6.
    pub tw: Duration,
    pub connect_within: Duration,
    /// For the CEA.
    pub answer_within: Duration,
    /// For the DPA, and for the peer to close after ours.
    pub close_within: Duration,
    /// Before the first attempt to connect again; twice as long each time, up to the longest.
    pub retry: Duration,
    pub retry_longest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            tw: Duration::from_secs(30),
            connect_within: Duration::from_secs(5),
            answer_within: Duration::from_secs(5),
            close_within: Duration::from_secs(1),
            retry: Duration::from_millis(250),
            retry_longest: Duration::from_secs(30),
        }
    }
}

/// The CER of an accepted connection that an election is to be held about.
#[derive(Debug)]
struct Held {
    remote: Capabilities,
    cea: Vec<u8>,
}

#[derive(Debug)]
pub struct Peer {
    local: Arc<Local>,
    timing: Timing,
    /// Whether we connect to it.
    dials: bool,
    /// What it must say that it is.
    host: Option<Arc<str>>,
    state: State,
    /// Connections, as by `Connect`, `Accept` and `Close`.
    initiated: bool,
    accepted: bool,
    held: Option<Held>,
    remote: Option<Capabilities>,
    watchdog: Watchdog,
    backoff: Backoff,
    /// Of the state.
    deadline: Option<Duration>,
    opened: Option<Duration>,
    stopping: bool,
    ended: Option<Ended>,
    hop_by_hop: u32,
}

impl Peer {
    /// One that we connect to, at the first [`Input::Time`]. `host`: its Origin-Host, where that is known.
    pub fn dialled(local: Arc<Local>, timing: Timing, host: Option<Arc<str>>, seed: u64) -> Self {
        Peer { dials: true, deadline: Some(Duration::ZERO), ..Self::accepted(local, timing, host, seed) }
    }

    /// One that connects to us.
    pub fn accepted(local: Arc<Local>, timing: Timing, host: Option<Arc<str>>, seed: u64) -> Self {
        Peer {
            local,
            timing,
            dials: false,
            host,
            state: State::Closed,
            initiated: false,
            accepted: false,
            held: None,
            remote: None,
            watchdog: Watchdog::new(timing.tw, seed),
            backoff: Backoff::new(timing.retry, timing.retry_longest, !seed),
            deadline: None,
            opened: None,
            stopping: false,
            ended: None,
            hop_by_hop: seed as u32,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn standing(&self) -> Standing {
        match self.state {
            State::IOpen | State::ROpen if self.watchdog.is_suspect() => Standing::Suspect,
            State::IOpen | State::ROpen if self.watchdog.is_reopening() => Standing::Probation,
            State::IOpen | State::ROpen => Standing::Up,
            _ => Standing::Down,
        }
    }

    /// What it said of itself, on the connection that is open or on the last one.
    pub fn remote(&self) -> Option<&Capabilities> {
        self.remote.as_ref()
    }

    /// Its Origin-Host, configured or learned.
    pub fn host(&self) -> Option<&Arc<str>> {
        self.host.as_ref()
    }

    /// Why the last connection ended.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// The connection that messages go over.
    pub fn active(&self) -> Option<Side> {
        match self.state {
            State::IOpen => Some(Side::Initiator),
            State::ROpen => Some(Side::Responder),
            State::Closing if self.initiated => Some(Side::Initiator),
            State::Closing => Some(Side::Responder),
            _ => None,
        }
    }

    pub fn due(&self) -> Option<Duration> {
        let watchdog = self.open().and_then(|_| self.watchdog.due());
        [self.deadline, watchdog].into_iter().flatten().min()
    }

    /// Not in use on this peer's connections.
    pub fn next_hop_by_hop(&mut self) -> u32 {
        self.hop_by_hop = self.hop_by_hop.wrapping_add(1);
        self.hop_by_hop
    }

    pub fn handle(&mut self, now: Duration, input: Input<'_>, out: &mut Vec<Output>) {
        let before = self.standing();
        match input {
            Input::Time => self.time(now, out),
            Input::Connected { local } => self.connected(now, local, out),
            Input::NotConnected => self.not_connected(now, out),
            Input::Accepted { local, cer } => self.greeted(now, local, cer, out),
            Input::Received(side, octets) => self.received(now, side, octets, out),
            Input::Broken(side) => self.broken(now, side, out),
            Input::Stop => self.stop(now, out),
        }
        if self.standing() != before {
            out.push(Output::Standing(self.standing()));
        }
    }

    fn time(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            match self.state {
                State::Closed => self.connect(now, out),
                State::WaitConnAck | State::WaitConnAckElect => self.not_connected(now, out),
                State::WaitICea | State::WaitReturns => self.end(now, Ended::NoCea, out),
                State::Closing => self.end(now, Ended::Stopped, out),
                State::IOpen | State::ROpen => {}
            }
        }
        if let (Some(side), Some(due)) = (self.open(), self.watchdog.due())
            && due <= now
        {
            match self.watchdog.expired(now) {
                Verdict::Ask => self.ask_watchdog(side, out),
                Verdict::Wait => {}
                Verdict::Close => self.end(now, Ended::Silent, out),
            }
        }
    }

    fn connect(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.dials && !self.stopping {
            self.state = State::WaitConnAck;
            self.initiated = true;
            self.deadline = Some(now + self.timing.connect_within);
            out.push(Output::Connect);
        }
    }

    fn connected(&mut self, now: Duration, local: IpAddr, out: &mut Vec<Output>) {
        let elect = match self.state {
            State::WaitConnAck => false,
            State::WaitConnAckElect => true,
            _ => return,
        };
        let hop_by_hop = self.next_hop_by_hop();
        send(Side::Initiator, self.local.cer(hop_by_hop, local).finish(), out);
        self.deadline = Some(now + self.timing.answer_within);
        self.state = State::WaitICea;
        if elect {
            self.elect(now, out);
        }
    }

    fn not_connected(&mut self, now: Duration, out: &mut Vec<Output>) {
        match self.state {
            // What the peer opened is there to be used.
            State::WaitConnAckElect => {
                self.shut(Side::Initiator, out);
                self.open_held(now, out);
            }
            State::WaitConnAck => self.end(now, Ended::NotConnected, out),
            _ => {}
        }
    }

    /// A CER on a connection that the peer opened.
    fn greeted(&mut self, now: Duration, local: IpAddr, octets: &[u8], out: &mut Vec<Output>) {
        let Ok(cer) = Message::parse(octets) else { return reject(Err(TooLong), out) };
        let remote = match Capabilities::of(&cer) {
            Ok(remote) => remote,
            Err(fault) => return reject(refusal_of(&cer, &fault, &self.local.origin).finish(), out),
        };
        let code = if self.stopping || self.state == State::Closing {
            base::TOO_BUSY
        } else if self.host.as_ref().is_some_and(|host| !remote.is_host(host)) {
            base::UNKNOWN_PEER
        } else if !remote.has_common_with(&self.local) {
            base::NO_COMMON_APPLICATION
        } else if wants_other_security(&cer) {
            base::NO_COMMON_SECURITY
        } else if self.held.is_some() || self.open().is_some() && !self.watchdog.is_suspect() {
            base::ELECTION_LOST
        } else {
            base::SUCCESS
        };
        let cea = self.local.cea(&cer, code, local).finish();
        let cea = match cea {
            Ok(cea) if code.is_success() => cea,
            cea => return reject(cea, out),
        };
        if self.open().is_some() {
            // It has come again before we knew that it was gone.
            self.end(now, Ended::Broken, out);
        }
        self.accepted = true;
        self.held = Some(Held { remote, cea });
        out.push(Output::Accept);
        match self.state {
            State::WaitConnAck => self.state = State::WaitConnAckElect,
            State::WaitICea => self.elect(now, out),
            _ => self.open_held(now, out),
        }
    }

    /// RFC 6733 §5.6.4: the connection stays that the one with the smaller name has opened. Ours lost, we wait for the
    /// CEA that the peer, who has won, sends on it.
    fn elect(&mut self, now: Duration, out: &mut Vec<Output>) {
        let lower = |host: &str| host.to_ascii_lowercase();
        let won = self.held.as_ref().is_some_and(|held| lower(&self.local.origin.host) > lower(&held.remote.host));
        if won {
            self.shut(Side::Initiator, out);
            self.open_held(now, out);
        } else {
            self.state = State::WaitReturns;
        }
    }

    /// The accepted connection is the one.
    fn open_held(&mut self, now: Duration, out: &mut Vec<Output>) {
        if let Some(Held { remote, cea }) = self.held.take() {
            out.push(Output::Send(Side::Responder, cea));
            self.open_with(now, Side::Responder, remote, out);
        }
    }

    fn open_with(&mut self, now: Duration, side: Side, remote: Capabilities, out: &mut Vec<Output>) {
        self.state = match side {
            Side::Initiator => State::IOpen,
            Side::Responder => State::ROpen,
        };
        self.deadline = None;
        self.opened = Some(now);
        self.host.get_or_insert_with(|| remote.host.clone());
        self.remote = Some(remote);
        if self.watchdog.connected(now) {
            self.ask_watchdog(side, out);
        }
    }

    fn ask_watchdog(&mut self, side: Side, out: &mut Vec<Output>) {
        let hop_by_hop = self.next_hop_by_hop();
        send(side, self.local.dwr(hop_by_hop).finish(), out);
    }

    fn received(&mut self, now: Duration, side: Side, octets: &[u8], out: &mut Vec<Output>) {
        let there = match side {
            Side::Initiator => self.initiated,
            Side::Responder => self.accepted,
        };
        let Some(message) = Message::parse(octets).ok().filter(|_| there) else {
            return self.fault(now, side, Ended::OutOfPlace, out);
        };
        match (self.state, side) {
            (State::WaitICea | State::WaitReturns, Side::Initiator) => self.cea(now, &message, out),
            (State::IOpen | State::Closing, Side::Initiator) | (State::ROpen | State::Closing, Side::Responder) => {
                self.message(now, side, &message, out);
            }
            _ => self.fault(now, side, Ended::OutOfPlace, out),
        }
    }

    fn cea(&mut self, now: Duration, message: &Message<'_>, out: &mut Vec<Output>) {
        let why = match self.accepts_cea(message) {
            Ok(remote) => {
                self.held = None;
                self.shut(Side::Responder, out);
                return self.open_with(now, Side::Initiator, remote, out);
            }
            Err(why) => why,
        };
        self.fault(now, Side::Initiator, why, out);
    }

    fn accepts_cea(&self, message: &Message<'_>) -> Result<Capabilities, Ended> {
        let header = message.header();
        if header.is_request() || (header.application, header.command) != (0, command::CAPABILITIES_EXCHANGE) {
            return Err(Ended::OutOfPlace);
        }
        match message.result() {
            Ok(code) if code.is_success() => {}
            Ok(code) => return Err(Ended::Refused(code)),
            Err(fault) => return Err(Ended::BadCea(fault)),
        }
        let remote = Capabilities::of(message).map_err(Ended::BadCea)?;
        if self.host.as_ref().is_some_and(|host| !remote.is_host(host)) {
            return Err(Ended::OtherHost(remote.host));
        }
        if !remote.has_common_with(&self.local) {
            return Err(Ended::NoCommonApplication);
        }
        Ok(remote)
    }

    /// On an open or closing connection.
    fn message(&mut self, now: Duration, side: Side, message: &Message<'_>, out: &mut Vec<Output>) {
        let header = message.header();
        let base = header.application == application::BASE;
        if !header.is_request() {
            self.watchdog.heard(now, base && header.command == command::DEVICE_WATCHDOG);
            match header.command {
                command::DISCONNECT_PEER if base && self.state == State::Closing => {
                    self.end(now, Ended::Stopped, out);
                }
                command::CAPABILITIES_EXCHANGE | command::DEVICE_WATCHDOG | command::DISCONNECT_PEER if base => {}
                _ => out.push(Output::Answer),
            }
            return;
        }
        self.watchdog.heard(now, false);
        if base && header.command == command::CAPABILITIES_EXCHANGE {
            return self.fault(now, side, Ended::OutOfPlace, out);
        }
        let origin = &self.local.origin;
        let answer = match (base, header.command) {
            (true, command::DEVICE_WATCHDOG | command::DISCONNECT_PEER) => {
                match message.check().and_then(|()| screening::introduced(message)) {
                    Ok(()) if header.command == command::DEVICE_WATCHDOG => self.local.dwa(message),
                    Ok(()) => {
                        let cause = message.avps().enumerated(&DISCONNECT_CAUSE).ok().flatten();
                        send(side, answer_to(message, base::SUCCESS, origin).finish(), out);
                        return self.dismissed(now, cause);
                    }
                    Err(fault) => refusal_of(message, &fault, origin),
                }
            }
            (true, _) => answer_to(message, base::COMMAND_UNSUPPORTED, origin),
            (false, _) => match screening::refusal(&self.local, message, self.state == State::Closing) {
                Some(answer) => answer,
                None => return out.push(Output::Request),
            },
        };
        send(side, answer.finish(), out);
    }

    /// The peer has sent a DPR: it closes once it has our DPA.
    fn dismissed(&mut self, now: Duration, cause: Option<i32>) {
        let cause = match cause {
            Some(0) => "REBOOTING",
            Some(1) => "BUSY",
            Some(2) => "DO_NOT_WANT_TO_TALK_TO_YOU",
            _ => "no cause that is known",
        };
        self.ended = Some(Ended::Disconnects(cause));
        if self.state != State::Closing {
            self.deadline = Some(now + self.timing.close_within);
            self.state = State::Closing;
        }
        if cause != "REBOOTING" {
            self.opened = None;
            self.backoff.reluctant();
        }
    }

    fn stop(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.stopping = true;
        match self.open() {
            Some(side) => {
                let hop_by_hop = self.next_hop_by_hop();
                send(side, self.local.dpr(hop_by_hop).finish(), out);
                self.state = State::Closing;
                self.deadline = Some(now + self.timing.close_within);
            }
            None if self.state == State::Closing => {}
            None => self.end(now, Ended::Stopped, out),
        }
    }

    fn broken(&mut self, now: Duration, side: Side, out: &mut Vec<Output>) {
        self.fault(now, side, Ended::Broken, out);
    }

    /// A connection is of no use any more; what that means for the other one is in the table of RFC 6733 §5.6.
    fn fault(&mut self, now: Duration, side: Side, why: Ended, out: &mut Vec<Output>) {
        match (self.state, side) {
            (State::WaitReturns, Side::Initiator) => {
                self.shut(Side::Initiator, out);
                self.open_held(now, out);
            }
            (State::WaitConnAckElect | State::WaitReturns, Side::Responder) => {
                self.held = None;
                self.shut(Side::Responder, out);
                self.state = if self.state == State::WaitReturns { State::WaitICea } else { State::WaitConnAck };
            }
            (State::WaitConnAckElect, Side::Initiator) => self.not_connected(now, out),
            _ if self.holds(side) => self.end(now, why, out),
            _ => {}
        }
    }

    fn holds(&self, side: Side) -> bool {
        match side {
            Side::Initiator => self.initiated,
            Side::Responder => self.accepted,
        }
    }

    fn shut(&mut self, side: Side, out: &mut Vec<Output>) {
        let there = match side {
            Side::Initiator => &mut self.initiated,
            Side::Responder => &mut self.accepted,
        };
        if std::mem::take(there) {
            out.push(Output::Close(side));
        }
    }

    /// Back to where a connection is begun.
    fn end(&mut self, now: Duration, why: Ended, out: &mut Vec<Output>) {
        self.shut(Side::Initiator, out);
        self.shut(Side::Responder, out);
        self.held = None;
        let was_open = matches!(self.state, State::IOpen | State::ROpen);
        if self.state == State::Closing {
            self.watchdog.disconnected(true);
        } else {
            if was_open {
                self.watchdog.disconnected(false);
            }
            self.ended = Some(why);
        }
        // One that takes us and drops us at once is not asked faster for it.
        if self.opened.take().is_some_and(|opened| now.saturating_sub(opened) >= self.timing.answer_within) {
            self.backoff.reset();
        }
        self.state = State::Closed;
        self.deadline = (self.dials && !self.stopping).then(|| now + self.backoff.next());
    }

    /// The open connection.
    fn open(&self) -> Option<Side> {
        self.active().filter(|_| self.state != State::Closing)
    }
}

/// TLS after CER and CEA (RFC 6733 §6.10) is not for us: who wants only that would be served in the clear.
fn wants_other_security(cer: &Message<'_>) -> bool {
    let mut named = cer.avps().all(&INBAND_SECURITY_ID).peekable();
    named.peek().is_some() && !named.any(|avp| avp.number() == Ok(0))
}

/// What a base message needs fits always: its texts are configuration's or a fault's.
fn send(side: Side, message: Result<Vec<u8>, TooLong>, out: &mut Vec<Output>) {
    if let Ok(octets) = message {
        out.push(Output::Send(side, octets));
    }
}

fn reject(answer: Result<Vec<u8>, TooLong>, out: &mut Vec<Output>) {
    out.push(Output::Reject(answer.unwrap_or_default()));
}

/// What a node says to one whose CER it does not give to any [`Peer`].
pub fn turn_away(local: &Local, cer: &Message<'_>, code: ResultCode, address: IpAddr) -> Option<Vec<u8>> {
    let writer: Writer = local.cea(cer, code, address);
    writer.finish().ok()
}

#[cfg(test)]
mod tests;
