//! A terminal that registers: an [`Account`], a [`Connection`] and what the last registration left behind (Call-ID, CSeq,
//! routes, Ks, B-TID). Used by the demo, the tests and `imscript terminal`.

use super::connection::{Connection, ConnectionError, Observer, Server, Tls};
use super::identifiers::{Identifiers, hex};
use super::register::{Account, Contact, Flow, Portion, Start, Step};
use super::registration::{BootstrapKeys, Registration};
use super::{BroadcastState, TerminalError};
use crate::gba::btid::Btid;
use crate::gba::kdf::{self, KsNaf};
use crate::gba::naf_id::NafId;
use crate::sip::transaction::Transport;
use crate::sip::{Message, Uri};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::Instant;

/// RFC 3261 §18.1.1: a larger request goes over TCP when the path MTU is not known.
const LARGEST_DATAGRAM: usize = 1300;
/// What a Via line adds at most.
const VIA: usize = 120;

/// How a terminal connects and names itself.
#[derive(Debug, Clone)]
pub struct Settings {
    pub tls: Option<Tls>,
    /// Contact URI instead of the local address.
    pub contact: Option<String>,
    pub call_id: Option<String>,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { tls: None, contact: None, call_id: None, timeout: super::connection::TIMER_F }
    }
}

#[derive(Debug, Clone)]
pub struct RegisterOptions {
    pub portion: Portion,
    pub expires: u32,
    /// Ask for the bodies that a 200 may carry: the B-TID document and the ServiceResponse.
    pub accept_bodies: bool,
}

/// TS 24.229 §5.1.1.2: what a UE asks for.
pub const DEFAULT_EXPIRES: u32 = 600_000;

impl Default for RegisterOptions {
    fn default() -> Self {
        RegisterOptions { portion: Portion::default(), expires: DEFAULT_EXPIRES, accept_bodies: false }
    }
}

/// What to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deregister {
    /// This terminal's contact: the one given or registered, else the one that the registrar lists with our instance.
    ThisContact,
    /// `Contact: *`.
    All,
}

pub struct Terminal {
    pub(super) account: Account,
    pub(super) connection: Connection,
    pub(super) settings: Settings,
    pub(super) identifiers: Identifiers,
    pub(super) observer: Option<Observer>,
    server: Server,
    call_id: String,
    cseq: u32,
    registered_contact: Option<String>,
    pub(super) service_route: Vec<String>,
    keys: Option<(BootstrapKeys, Option<Btid>)>,
}

impl Terminal {
    pub async fn connect(server: Server, account: Account, settings: Settings) -> Result<Terminal, TerminalError> {
        let mut identifiers = Identifiers::new()?;
        let connection = Connection::open(&server, settings.tls.as_ref(), identifiers.child(), None).await?;
        let call_id = settings.call_id.clone().unwrap_or_else(|| identifiers.fresh());
        Ok(Terminal {
            account,
            connection,
            settings,
            identifiers,
            observer: None,
            server,
            call_id,
            cseq: 0,
            registered_contact: None,
            service_route: Vec::new(),
            keys: None,
        })
    }

    /// Shows every message to `observer` from now on.
    pub fn observe(&mut self, observer: Observer) {
        self.connection.set_observer(Some(observer.clone()));
        self.observer = Some(observer);
    }

    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Ks_NAF towards `naf`, from the last AKA run that a 200 confirmed.
    pub fn ks_naf(&self, naf: &NafId) -> Option<KsNaf> {
        let (keys, _) = self.keys.as_ref()?;
        Some(kdf::ks_naf(&keys.ks, &keys.rand, self.account.impi.as_str(), naf))
    }

    pub fn btid(&self) -> Option<&Btid> {
        self.keys.as_ref()?.1.as_ref()
    }

    /// The Contact URI that this terminal registers.
    pub fn contact(&self) -> String {
        if let Some(contact) = &self.settings.contact {
            return contact.clone();
        }
        let transport = match self.server.transport {
            Transport::Udp => String::new(),
            other => format!(";transport={}", other.param()),
        };
        format!("sip:{}@{}{transport}", user(&self.account), self.connection.link().local())
    }

    /// Registers, or refreshes the registration.
    pub async fn register(&mut self, options: &RegisterOptions) -> Result<Registration, TerminalError> {
        let uri = self.contact();
        let contact = Contact::Bind { uri: uri.clone(), instance: instance(&self.account) };
        let done = match self.run(contact.clone(), options).await {
            // The connection of an earlier registration is gone: a new one, and with it a new contact address.
            Err(TerminalError::Connection(ConnectionError::Closed { .. })) if self.registered_contact.is_some() => {
                self.reconnect().await?;
                let contact = Contact::Bind { uri: self.contact(), instance: instance(&self.account) };
                self.run(contact, options).await?
            }
            done => done?,
        };
        self.registered_contact = Some(self.contact());
        self.service_route.clone_from(&done.service_route);
        if let Some(keys) = &done.keys {
            self.keys = Some((keys.clone(), done.btid.clone()));
        }
        Ok(done)
    }

    /// Ends the registration of this contact, or of all.
    pub async fn deregister(&mut self, which: Deregister) -> Result<Registration, TerminalError> {
        let options = RegisterOptions { expires: 0, ..RegisterOptions::default() };
        let contact = match (which, self.registered_contact.take().or(self.settings.contact.clone())) {
            (Deregister::All, _) => Contact::RemoveAll,
            (Deregister::ThisContact, Some(uri)) => Contact::Remove(vec![uri]),
            (Deregister::ThisContact, None) => {
                let ours = instance(&self.account);
                let listed = self.run(Contact::Query, &options).await?.bindings;
                let mine: Vec<String> = listed
                    .into_iter()
                    .filter(|binding| binding.instance.as_deref() == Some(&ours))
                    .map(|binding| binding.uri)
                    .collect();
                if mine.is_empty() {
                    return Err(TerminalError::NoBinding);
                }
                Contact::Remove(mine)
            }
        };
        let done = self.run(contact, &options).await?;
        self.keys = None;
        self.service_route.clear();
        Ok(done)
    }

    /// Stays registered until `end`: answers what the network sends, shows it to `received`, and registers again in
    /// time (TS 24.229 §5.1.1.4.1: 600 s before the end, or after half of a registration of up to 1200 s).
    pub async fn stay(
        &mut self,
        options: &RegisterOptions,
        granted: u32,
        end: Instant,
        mut received: impl FnMut(&Message<'_>),
    ) -> Result<(), TerminalError> {
        let mut refresh = Instant::now() + refresh_after(granted);
        loop {
            let until = refresh.min(end);
            match self.connection.next_request(until).await {
                Ok(Some(request)) => {
                    let status =
                        if matches!(request.method(), b"MESSAGE" | b"NOTIFY" | b"OPTIONS") { 200 } else { 501 };
                    if request.method() != b"ACK" {
                        self.connection.respond(&request, status).await?;
                    }
                    received(&request);
                }
                Ok(None) if Instant::now() >= end => return Ok(()),
                Ok(None) => {
                    let again = self.register(options).await?;
                    refresh = Instant::now() + refresh_after(again.expires);
                }
                Err(ConnectionError::Closed { .. }) => {
                    self.reconnect().await?;
                    let again = self.register(options).await?;
                    refresh = Instant::now() + refresh_after(again.expires);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn reconnect(&mut self) -> Result<(), TerminalError> {
        let (identifiers, observer) = (self.identifiers.child(), self.observer.clone());
        self.connection = Connection::open(&self.server, self.settings.tls.as_ref(), identifiers, observer).await?;
        Ok(())
    }

    async fn run(&mut self, contact: Contact, options: &RegisterOptions) -> Result<Registration, TerminalError> {
        let start = Start {
            call_id: self.call_id.clone(),
            cseq: self.cseq.saturating_add(1),
            contact,
            expires: options.expires,
            portion: options.portion.clone(),
            accept_bodies: options.accept_bodies,
            reliable: self.server.transport.is_reliable(),
        };
        let mut flow = Flow::new(start, &mut self.identifiers);
        let mut request = flow.first(&self.account);
        let mut over_tcp = None;
        loop {
            let answer = self.exchange(&request, &mut over_tcp, &mut flow).await;
            self.cseq = flow.cseq();
            match flow.answer(&mut self.account, &answer?) {
                Step::Send(next) => request = next,
                Step::Registered(done) => return Ok(*done),
                Step::Failed(error) => return Err(error),
            }
        }
    }

    /// One request and its answer. Once a request was too large for UDP, the rest of the registration stays on TCP.
    async fn exchange(
        &mut self,
        request: &[u8],
        over_tcp: &mut Option<Connection>,
        flow: &mut Flow,
    ) -> Result<Message<'static>, TerminalError> {
        if over_tcp.is_none() && self.is_too_large(request) {
            *over_tcp = self.open_tcp().await;
            if over_tcp.is_some() {
                flow.set_reliable();
            }
        }
        let connection = over_tcp.as_mut().unwrap_or(&mut self.connection);
        Ok(connection.request(request, self.settings.timeout).await?)
    }

    pub(super) fn is_too_large(&self, request: &[u8]) -> bool {
        !self.server.transport.is_reliable() && request.len().saturating_add(VIA) > LARGEST_DATAGRAM
    }

    /// TCP to the same host and port; None if refused, then UDP has to do (RFC 3261 §18.1.1).
    pub(super) async fn open_tcp(&mut self) -> Option<Connection> {
        let (identifiers, observer) = (self.identifiers.child(), self.observer.clone());
        Connection::open(&self.server.over_tcp(), None, identifiers, observer).await.ok()
    }
}

/// Whether the broadcast state of a 200 is what a figure promises at that point.
pub fn broadcast_as_promised(figure: super::Figure, state: BroadcastState) -> bool {
    match (figure.names_naf(), figure.is_simultaneous()) {
        // A terminal that is registered already may hear so, although it did not ask.
        (false, _) => state != BroadcastState::Failed,
        (true, true) => state == BroadcastState::Registered,
        (true, false) => matches!(state, BroadcastState::Pending | BroadcastState::Registered),
    }
}

/// The user part of the Contact: that of the public identity, or of the private one for a `tel:` identity.
pub(super) fn user(account: &Account) -> String {
    match Uri::parse(account.impu.as_str().as_bytes()) {
        Ok(Uri::Sip(uri)) => uri.user.map(|user| String::from_utf8_lossy(user).into_owned()),
        _ => None,
    }
    .unwrap_or_else(|| {
        let name = account.impi.as_str();
        name.split('@')
            .next()
            .unwrap_or(name)
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c))
            .collect()
    })
}

/// A device URN that stays the same for one private identity (RFC 4122 name-based form, RFC 5626 §4.1).
pub(super) fn instance(account: &Account) -> String {
    let digest = Sha256::new().chain_update(b"imscript terminal ").chain_update(account.impi.as_str()).finalize();
    let mut octets = [0u8; 16];
    octets.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    octets[6] = octets[6] & 0x0f | 0x80; // version 8: by a rule of our own
    octets[8] = octets[8] & 0x3f | 0x80;
    let text = hex(&octets);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| text.get(range).unwrap_or_default());
    format!("urn:uuid:{}", parts.join("-"))
}

fn refresh_after(granted: u32) -> Duration {
    let seconds = if granted > 1200 { granted - 600 } else { granted / 2 };
    Duration::from_secs(u64::from(seconds.max(1)))
}
