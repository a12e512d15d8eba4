//! What the thread does: peers' lives driven by what their connections and the clock bring.

use super::duplicates::Duplicates;
use super::entry::Entry;
use super::link::Link;
use super::missing::Missing;
use super::waiting::Pending;
use super::{Command, Endpoint, Settings, seed};
use crate::diameter::Message;
use crate::diameter::applications::Applications;
use crate::diameter::dictionary::{application, command};
use crate::diameter::exchange::Failure;
use crate::diameter::fault::base;
use crate::diameter::peer::{self, Capabilities, Input, Local, Output, Peer, Side, Standing, State};
use crate::metrics::Metrics;
use crate::sip::transport::Tls;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until, timeout};

/// Requests of the workers taken at a time.
const BATCH: usize = 64;
/// At the end, for what was said last to leave, however little time is left.
const FAREWELL: Duration = Duration::from_millis(50);

pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) local: Arc<Local>,
    pub(super) applications: Arc<Applications>,
    pub(super) tls: Tls,
    metrics: Arc<Metrics>,
    missing: Arc<Missing>,
    start: Instant,
    /// In the order in which they are asked: the configured ones, then those that have connected.
    pub(super) peers: RefCell<BTreeMap<u64, Entry>>,
    next_id: Cell<u64>,
    /// When a try is over: peer and Hop-by-Hop Identifier.
    pub(super) timers: RefCell<BinaryHeap<Reverse<(Duration, u64, u32)>>>,
    /// What the timer waits for, and that it is to wait for something else.
    pub(super) armed: Cell<Duration>,
    pub(super) rearm: Notify,
    pub(super) duplicates: RefCell<Duplicates>,
    pub(super) accepted: Cell<usize>,
    /// Accepted connections that have not yet said whose they are, in the order in which they came.
    pub(super) doorstep: RefCell<BTreeMap<u64, AbortHandle>>,
    stopping: Cell<bool>,
    /// A request was answered, or a connection has ended.
    pub(super) changed: Notify,
}

/// What a received message is, beyond the peer's own life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Nobody,
    Server,
    Client,
}

impl Core {
    pub(super) fn new(
        settings: Settings,
        local: Arc<Local>,
        applications: Arc<Applications>,
        tls: Tls,
        metrics: Arc<Metrics>,
        missing: Arc<Missing>,
    ) -> Rc<Core> {
        let mut peers = BTreeMap::new();
        for (id, peer) in (0..).zip(&settings.peers) {
            let host = peer.host.as_deref().map(Arc::from);
            let machine = Peer::dialled(local.clone(), settings.timing, host, seed());
            let label = peer.host.clone().unwrap_or_else(|| peer.endpoint.to_string());
            let endpoint = Some(peer.endpoint.clone());
            let mut entry = Entry::new(machine, endpoint, label, Duration::ZERO, metrics.clone());
            entry.asked.clone_from(&peer.applications);
            peers.insert(id, entry);
        }
        Rc::new(Core {
            next_id: Cell::new(peers.len() as u64),
            peers: RefCell::new(peers),
            settings,
            local,
            applications,
            tls,
            metrics,
            missing,
            start: Instant::now(),
            timers: RefCell::default(),
            armed: Cell::new(Duration::MAX),
            rearm: Notify::new(),
            duplicates: RefCell::default(),
            accepted: Cell::new(0),
            doorstep: RefCell::default(),
            stopping: Cell::new(false),
            changed: Notify::new(),
        })
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn answer_within(&self) -> Duration {
        self.settings.timing.answer_within
    }

    /// Until it is told to stop.
    pub(super) async fn run(
        self: Rc<Self>,
        listeners: Vec<(Endpoint, TcpListener)>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let mut accepting = Vec::new();
        for (endpoint, listener) in listeners {
            accepting.push(spawn_local(self.clone().accept(endpoint, listener)).abort_handle());
        }
        spawn_local(self.clone().run_timers());
        let mut batch = Vec::with_capacity(BATCH);
        let within = 'life: loop {
            if commands.recv_many(&mut batch, BATCH).await == 0 {
                break Duration::ZERO;
            }
            for command in batch.drain(..) {
                match command {
                    Command::Send(sending) => self.send_new(sending),
                    Command::Peers(reply) => {
                        let now = self.now();
                        let views = self.peers.borrow_mut().values_mut().map(|entry| entry.view(now)).collect();
                        let _ = reply.send(views); // who asked may have given up
                    }
                    Command::Stop(within) => break 'life within,
                }
            }
        };
        for task in accepting {
            task.abort();
        }
        // What comes now is refused at the handle; what waits in the channel is dropped with it, which says the same.
        commands.close();
        drop(batch);
        self.stop(within).await;
    }

    async fn stop(self: &Rc<Self>, within: Duration) {
        self.stopping.set(true);
        let until = Instant::now() + within;
        let settled = async {
            while self.peers.borrow().values().any(|entry| entry.serving > 0 || !entry.pending.is_empty()) {
                self.changed.notified().await;
            }
        };
        let _ = timeout(within / 2, settled).await;
        let ids: Vec<u64> = self.peers.borrow().keys().copied().collect();
        for id in ids {
            self.happens(id, Input::Stop);
        }
        let gone = async {
            while self.peers.borrow().values().any(|entry| entry.links.iter().any(Option::is_some)) {
                self.changed.notified().await;
            }
            tokio::task::yield_now().await;
        };
        let left = until.saturating_duration_since(Instant::now()).max(FAREWELL);
        let _ = timeout(left, gone).await;
    }

    async fn run_timers(self: Rc<Self>) {
        loop {
            let due = self.due();
            self.armed.set(due.unwrap_or(Duration::MAX));
            match due {
                Some(due) => tokio::select! {
                    () = sleep_until(self.start + due) => {}
                    () = self.rearm.notified() => continue,
                },
                None => {
                    self.rearm.notified().await;
                    continue;
                }
            }
            self.tick();
        }
    }

    fn due(&self) -> Option<Duration> {
        let peers = self.peers.borrow();
        let waits =
            |id: &u64, hop_by_hop: &u32| peers.get(id).is_some_and(|entry| entry.pending.contains_key(hop_by_hop));
        let mut timers = self.timers.borrow_mut();
        // What is answered needs no timer: nearly all, so that the thread seldom wakes for nothing.
        while timers.peek().is_some_and(|Reverse((_, id, hop_by_hop))| !waits(id, hop_by_hop)) {
            timers.pop();
        }
        let timer = timers.peek().map(|Reverse((due, ..))| *due);
        peers.values().filter_map(|entry| entry.machine.due()).chain(timer).min()
    }

    fn tick(self: &Rc<Self>) {
        let now = self.now();
        loop {
            let due = match self.timers.borrow_mut().peek_mut() {
                Some(first) if first.0.0 <= now => std::collections::binary_heap::PeekMut::pop(first).0,
                _ => break,
            };
            self.try_is_over(due.1, due.2, now);
        }
        let due = |entry: &Entry| entry.machine.due().is_some_and(|due| due <= now);
        let ids: Vec<u64> = self.peers.borrow().iter().filter(|(_, entry)| due(entry)).map(|(id, _)| *id).collect();
        for id in ids {
            self.happens(id, Input::Time);
        }
    }

    /// Something that brings no message.
    fn happens(self: &Rc<Self>, id: u64, input: Input<'_>) {
        self.drive(id, input, None);
    }

    /// `link`: where it comes from.
    fn drive(self: &Rc<Self>, id: u64, input: Input<'_>, link: Option<&Rc<Link>>) -> For {
        let mut outputs = Vec::new();
        let now = self.now();
        let due = {
            let mut peers = self.peers.borrow_mut();
            let Some(entry) = peers.get_mut(&id) else { return For::Nobody };
            let before = entry.machine.state();
            entry.machine.handle(now, input, &mut outputs);
            if entry.machine.state() != before {
                entry.changed = now;
            }
            entry.machine.due()
        };
        if due.is_some_and(|due| due < self.armed.get()) {
            self.rearm.notify_one();
        }
        let mut meant = For::Nobody;
        let mut suspect = false;
        for output in outputs {
            match output {
                Output::Request => meant = For::Server,
                Output::Answer => meant = For::Client,
                Output::Connect => self.connect(id),
                Output::Reject(octets) => {
                    if let Some(link) = link {
                        link.send(&octets, self.settings.unsent);
                        link.finish();
                    }
                }
                Output::Standing(standing) => {
                    suspect |= standing == Standing::Suspect;
                    self.stands(id, standing);
                }
                Output::Accept => self.with(id, |entry| *entry.link(Side::Responder) = link.cloned()),
                Output::Send(side, octets) => self.with(id, |entry| {
                    // Of what the peer's life sends, only a refusal is of an application.
                    if let Ok(sent) = Message::parse(&octets)
                        && sent.header().application != application::BASE
                    {
                        entry.meters.served((sent.header().application, sent.header().command), sent.result().ok());
                    }
                    if let Some(link) = entry.link(side) {
                        link.send(&octets, self.settings.unsent);
                    }
                }),
                Output::Close(side) => self.with(id, |entry| {
                    if let Some(link) = entry.link(side).take() {
                        link.finish();
                    }
                    if let (Side::Initiator, Some(task)) = (side, entry.dialling.take()) {
                        task.abort();
                    }
                }),
            }
        }
        self.settle(id, suspect);
        meant
    }

    fn with(&self, id: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.peers.borrow_mut().get_mut(&id) {
            change(entry);
        }
    }

    fn stands(&self, id: u64, standing: Standing) {
        self.with(id, |entry| {
            entry.meters.standing(standing);
            let peer = entry.machine.host().map_or(entry.label.as_str(), |host| host);
            match (standing, entry.machine.ended()) {
                (Standing::Down, Some(why)) => tracing::warn!(peer, %why, "Diameter peer is down"),
                (Standing::Down, None) => tracing::warn!(peer, "Diameter peer is down"),
                (Standing::Suspect, _) => tracing::warn!(peer, "Diameter peer does not answer"),
                (Standing::Probation, _) => tracing::info!(peer, "Diameter peer is back, on probation"),
                (Standing::Up, _) => tracing::info!(peer, "Diameter peer is up"),
            }
            if standing >= Standing::Probation {
                entry.doubtful = false;
            }
        });
        let peers = self.peers.borrow();
        let is_missing = |application: &u32| !peers.values().any(|entry| entry.serves(*application));
        self.missing
            .set(self.settings.peers.iter().flat_map(|peer| peer.applications.iter().copied().filter(is_missing)));
    }

    /// After each change: what waits for a peer that is gone goes elsewhere, and one that had connected is forgotten.
    fn settle(self: &Rc<Self>, id: u64, suspect: bool) {
        let lost: Vec<Pending> = {
            let mut peers = self.peers.borrow_mut();
            let Some(entry) = peers.get_mut(&id) else { return };
            // What is closing may still answer.
            let gone = suspect || entry.machine.active().is_none();
            let lost = if gone { entry.pending.drain().map(|(_, pending)| pending).collect() } else { Vec::new() };
            if !lost.is_empty() {
                entry.meters.waiting(0);
            }
            if entry.endpoint.is_none() && entry.machine.state() == State::Closed {
                peers.remove(&id);
            }
            lost
        };
        for pending in lost {
            self.send(pending, Err(Failure::Lost));
        }
        self.changed.notify_one();
    }

    fn connect(self: &Rc<Self>, id: u64) {
        let Some(endpoint) = self.peers.borrow().get(&id).and_then(|entry| entry.endpoint.clone()) else { return };
        let core = self.clone();
        let dial = async move {
            if core.is_here_otherwise(id) {
                return core.happens(id, Input::NotConnected);
            }
            if let Err(why) = core.clone().dial(id, endpoint).await {
                tracing::debug!(peer = id, %why, "Diameter peer cannot be reached");
                core.with(id, |entry| entry.dialling = None);
                core.happens(id, Input::NotConnected);
            }
        };
        let task = spawn_local(dial).abort_handle();
        self.with(id, |entry| entry.dialling = Some(task));
    }

    /// Whether the same host has connected to us while we did not know its name.
    fn is_here_otherwise(&self, id: u64) -> bool {
        let peers = self.peers.borrow();
        let host = peers.get(&id).and_then(Entry::host);
        host.is_some_and(|host| {
            peers.iter().any(|(other, entry)| {
                *other != id
                    && entry.machine.active().is_some()
                    && entry.machine.remote().is_some_and(|remote| remote.is_host(&host))
            })
        })
    }

    pub(super) fn connected(self: &Rc<Self>, id: u64, link: &Rc<Link>) {
        self.with(id, |entry| {
            entry.dialling = None;
            *entry.link(Side::Initiator) = Some(link.clone());
            entry.meters.connected();
        });
        self.drive(id, Input::Connected { local: link.local }, Some(link));
    }

    /// The first message on an accepted connection: the peer that it belongs to from now on.
    pub(super) fn greeted(self: &Rc<Self>, link: &Rc<Link>, octets: &[u8]) -> Option<u64> {
        let cer = Message::parse(octets).ok().filter(|message| {
            let header = message.header();
            header.is_request()
                && (header.application, header.command) == (application::BASE, command::CAPABILITIES_EXCHANGE)
        })?;
        let input = Input::Accepted { local: link.local, cer: octets };
        let new = || Peer::accepted(self.local.clone(), self.settings.timing, None, seed());
        let host = match Capabilities::of(&cer) {
            Ok(remote) => remote.host,
            Err(_) => {
                let mut outputs = Vec::new();
                new().handle(self.now(), input, &mut outputs);
                for output in outputs {
                    if let Output::Reject(octets) = output {
                        link.send(&octets, self.settings.unsent);
                    }
                }
                return None;
            }
        };
        if self.stopping.get() || !self.may_connect(link, &host) {
            tracing::warn!(from = %link.remote, peer = %host, "Diameter peer is not taken");
            let code = if self.stopping.get() { base::TOO_BUSY } else { base::UNKNOWN_PEER };
            if let Some(octets) = peer::turn_away(&self.local, &cer, code, link.local) {
                link.send(&octets, self.settings.unsent);
            }
            return None;
        }
        let is_it = |entry: &Entry| entry.host().is_some_and(|own| own.eq_ignore_ascii_case(&host));
        let known = self.peers.borrow().iter().find(|(_, entry)| is_it(entry)).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| {
            let id = self.next_id();
            let entry = Entry::new(new(), None, host.to_string(), self.now(), self.metrics.clone());
            self.peers.borrow_mut().insert(id, entry);
            id
        });
        self.drive(id, input, Some(link));
        let mut peers = self.peers.borrow_mut();
        let entry = peers.get_mut(&id)?;
        let taken = entry.is(Side::Responder, link);
        if taken {
            entry.meters.connected();
        }
        taken.then_some(id)
    }

    fn may_connect(&self, link: &Link, host: &str) -> bool {
        let accept = &self.settings.accept;
        let named = accept.hosts.is_empty() || accept.hosts.iter().any(|one| one.eq_ignore_ascii_case(host));
        let is_it = |endpoint: &Endpoint, ip: IpAddr| endpoint.name.is_none() && endpoint.addr.ip() == ip;
        let configured = |ip: IpAddr| self.settings.peers.iter().any(|peer| is_it(&peer.endpoint, ip));
        let ip = link.remote.ip();
        let shows = |own: &str| link.names.iter().any(|name| name.eq_ignore_ascii_case(own));
        // Whom we ask over TLS only, nobody else becomes by an address.
        let tls_name = self.peers.borrow().values().find_map(|entry| {
            let tls_name = entry.endpoint.as_ref()?.tls_name.clone()?;
            // Until it has said who it is, it is taken for whom its certificate is to name.
            entry.host().as_deref().unwrap_or(&tls_name).eq_ignore_ascii_case(host).then_some(tls_name)
        });
        let from = shows(host)
            || match tls_name {
                Some(tls_name) => shows(&tls_name),
                None => accept.addresses.contains(&ip) || configured(ip),
            };
        named && from && !host.eq_ignore_ascii_case(&self.local.origin.host)
    }

    pub(super) fn received(self: &Rc<Self>, id: u64, side: Side, link: &Rc<Link>, octets: Vec<u8>) {
        let now = self.now();
        let mut current = false;
        self.with(id, |entry| {
            current = entry.is(side, link);
            entry.heard = now;
            entry.doubtful = false;
        });
        if !current {
            return link.close();
        }
        match self.drive(id, Input::Received(side, &octets), Some(link)) {
            For::Nobody => {}
            For::Server => self.serve(id, link, octets),
            For::Client => self.answered(id, octets),
        }
    }

    pub(super) fn broken(self: &Rc<Self>, id: u64, side: Side, link: &Rc<Link>) {
        let mut current = false;
        self.with(id, |entry| current = entry.is(side, link));
        if current {
            self.drive(id, Input::Broken(side), Some(link));
        }
        self.changed.notify_one();
    }
}
