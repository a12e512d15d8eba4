//! The right to issue SQNs: this node's IND, the mark that none may pass, and on a shared store the lease of the IND.
//!
//! No SQN leaves below what an earlier one of the same IND may have been, whatever is lost. The mark lies in the entity
//! `node` of the IND and in a file of the node's own ([`Local`]), and counts when both have it; a start goes on above all
//! marks that are found. An IND is leased for [`LEASE`] by the store's clock and renewed every [`RENEW`], each time upon
//! the version that this node wrote last. A node that cannot renew stops [`MARGIN`] before the lease ends, by its own
//! monotonic clock; the IND is another's only [`GRACE`] after the end. A cluster that lost a renewal could give it
//! away at once, so a new holder begins [`LOST`] above every mark and above the time: what the earlier one may still
//! issue until it notices lies below.

use super::EmbeddedError;
use super::local::Local;
use super::subscriber::StoredSqn;
use super::thread::Thread;
use crate::aka::{SqnClock, sqn};
use crate::clock::Now;
use crate::hss::HssError;
use crate::identity::Impi;
use crate::metrics::Metrics;
use crate::store::{Class, Entity, Key, Nature, Save, Saved, Store, StoreError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::oneshot;

pub(super) const LEASE: Duration = Duration::from_secs(10);
const RENEW: Duration = Duration::from_secs(2);
/// For the store's clock and an answer that is long under way.
const MARGIN: Duration = Duration::from_secs(2);
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// 60 s of ticks.
const LOST: u64 = 600;
/// The mark is moved on when less than this is left of it: 5 s.
const RESERVE: u64 = sqn::MAX_LEAD / 2;
/// Saves in a row that meet somebody else's.
const CONFLICTS: usize = 8;

const MARK: &str = "mark";
const HOLDER: &str = "holder";
const UNTIL: &str = "until";

/// With what vectors are issued.
struct Issuing {
    ind: u8,
    clock: SqnClock,
    /// The mark that is written.
    mark: AtomicU64,
    /// When to stop: milliseconds of the monotonic clock.
    ends: AtomicU64,
}

/// Time and limits of a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The node's SQN clock.
    pub time: Duration,
    /// The tick at which that clock started.
    pub floor: u64,
    /// The mark that is written.
    pub mark: u64,
    pub ind: u8,
}

enum Command {
    Tick(Now),
    Mark(Now, oneshot::Sender<bool>),
    Learn(Impi, StoredSqn, oneshot::Sender<bool>),
    Flush(Sender<()>),
    Stop,
}

pub(super) struct Issuer {
    thread: Thread<Command>,
    issuing: Arc<RwLock<Option<Arc<Issuing>>>>,
    /// A tick is in the queue.
    asked: Arc<AtomicBool>,
}

impl Issuer {
    /// Leases or takes an IND before it returns, if the store is there. `ind`: this one, without a lease.
    pub(super) fn start(
        store: Arc<dyn Store>,
        local: Arc<Local>,
        ind: Option<u8>,
        metrics: Arc<Metrics>,
        now: Now,
    ) -> Result<Self, EmbeddedError> {
        if let Some(ind) = ind.filter(|ind| *ind >= sqn::IND_COUNT) {
            return Err(EmbeddedError::Ind(ind));
        }
        let mut holder = [0; 8];
        getrandom::fill(&mut holder).map_err(|_| EmbeddedError::Random)?;
        let issuing = Arc::default();
        let asked = Arc::new(AtomicBool::new(false));
        let shared = store.nature() == Nature::Shared;
        let mut state = State {
            store,
            shared,
            local,
            pinned: if shared { ind } else { Some(ind.unwrap_or_default()) },
            holder: u64::from_ne_bytes(holder),
            issuing: Arc::clone(&issuing),
            version: 0,
            renewed: now.mono,
            lost: false,
            failing: false,
            metrics,
            asked: asked.clone(),
        };
        match state.begin(now) {
            Err(error) if !shared => return Err(error.into()),
            result => _ = state.outcome(result),
        }
        let thread = Thread::start("hss-sqn", move |commands| state.run(&commands))?;
        Ok(Issuer { thread, issuing, asked })
    }

    pub(super) fn moment(&self, now: Now) -> Result<Moment, HssError> {
        let issuing = self.issuing.read().unwrap_or_else(PoisonError::into_inner).clone();
        let issuing = issuing.filter(|issuing| millis(now.mono) < issuing.ends.load(Ordering::Acquire));
        let issuing = issuing.ok_or(HssError::NoVector("this node has no IND for its SQNs now"))?;
        let mark = issuing.mark.load(Ordering::Acquire);
        if mark.saturating_sub(sqn::ticks(issuing.clock.read(now))) < RESERVE {
            self.tick(now);
        }
        Ok(Moment { time: issuing.clock.read(now), floor: issuing.clock.floor(), mark, ind: issuing.ind })
    }

    /// Does soon what is to be done by now: renews, moves the mark on.
    pub(super) fn tick(&self, now: Now) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.thread.send(Command::Tick(now));
        }
    }

    /// True once the mark is as far ahead of `now` as it goes.
    pub(super) async fn mark(&self, now: Now) -> bool {
        let (done, answer) = oneshot::channel();
        self.thread.send(Command::Mark(now, done)) && answer.await.unwrap_or(false)
    }

    /// True once this node remembers the offset over a crash.
    pub(super) async fn learn(&self, impi: &Impi, sqn: StoredSqn) -> bool {
        let (done, answer) = oneshot::channel();
        self.thread.send(Command::Learn(impi.clone(), sqn, done)) && answer.await.unwrap_or(false)
    }

    pub(super) fn flush(&self) {
        self.thread.ask(Command::Flush);
    }

    /// Gives the lease back and ends the thread.
    pub(super) fn stop(&self) {
        self.thread.stop(Command::Stop);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The entity of an IND.
struct Node {
    version: u64,
    mark: u64,
    holder: u64,
    until: Duration,
}

impl Node {
    fn key(ind: u8) -> Key {
        Key::new(Class::Node, ind.to_string())
    }

    fn read(entity: &Entity) -> Self {
        let number = |name| {
            let text = entity.field(name).and_then(|octets| std::str::from_utf8(octets).ok());
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let until = Duration::from_millis(number(UNTIL));
        Node { version: entity.version, mark: number(MARK), holder: number(HOLDER), until }
    }

    /// Nobody can issue under it any more.
    fn is_free(&self, time: Duration) -> bool {
        self.holder == 0 || self.until + GRACE <= time
    }

    fn save(ind: u8, mark: u64, lease: Option<(u64, Duration)>) -> Save {
        let mut fields = vec![(MARK, mark)];
        if let Some((holder, until)) = lease {
            fields.extend([(HOLDER, holder), (UNTIL, millis(until))]);
        }
        let field = |(name, value): (&str, u64)| (name.into(), Some(value.to_string().into_bytes().into()));
        Save::whole(Node::key(ind), fields.into_iter().map(field).collect())
    }
}

/// The mark of an IND.
pub(super) fn mark(store: &dyn Store, ind: u8) -> Result<u64, StoreError> {
    Ok(Node::read(&store.load(vec![Node::key(ind)]).wait()?.pop().unwrap_or_default()).mark)
}

/// Takes over a mark from elsewhere, if it is higher.
pub(super) fn adopt_mark(store: &dyn Store, ind: u8, found: u64) -> Result<(), StoreError> {
    if found > mark(store, ind)? {
        store.save(Node::save(ind, found, None)).wait()?;
    }
    Ok(())
}

/// Why there is no vector now.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("file of the SQN mark: {0}")]
    Local(#[from] std::io::Error),
    #[error("no IND is free: all are leased, or were until a moment ago")]
    NoneFree,
    #[error("the entity of IND {0} cannot be read")]
    NotThere(u8),
    #[error("another node holds IND {0}")]
    Held(u8),
}

/// The thread's side.
struct State {
    store: Arc<dyn Store>,
    shared: bool,
    local: Arc<Local>,
    pinned: Option<u8>,
    /// Who this process is; never 0.
    holder: u64,
    issuing: Arc<RwLock<Option<Arc<Issuing>>>>,
    /// Of the entity of the IND as it was last written.
    version: u64,
    renewed: Duration,
    /// The pinned IND was taken over by another node.
    lost: bool,
    /// Told once.
    failing: bool,
    metrics: Arc<Metrics>,
    asked: Arc<AtomicBool>,
}

impl State {
    fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            let mut learnt = Vec::new();
            let mut answers = Vec::new();
            let mut stop = false;
            for command in std::iter::once(first).chain(commands.try_iter()) {
                match command {
                    Command::Tick(now) => {
                        self.asked.store(false, Ordering::Release);
                        self.tick(now, false);
                    }
                    Command::Mark(now, done) => _ = done.send(self.tick(now, true)),
                    Command::Learn(impi, sqn, done) => {
                        learnt.push((impi, sqn));
                        answers.push(done);
                    }
                    Command::Flush(done) => _ = done.send(()),
                    Command::Stop => stop = true,
                }
            }
            if !learnt.is_empty() {
                let written = self.local.learn(learnt).map_err(Trouble::from);
                let written = self.outcome(written);
                answers.into_iter().for_each(|done| _ = done.send(written));
            }
            if stop {
                return self.release();
            }
        }
    }

    /// False, and a line in the log for a row of failures.
    fn outcome(&mut self, result: Result<(), Trouble>) -> bool {
        match result {
            Ok(()) => {
                self.failing = false;
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "no vectors until this is over");
                }
                false
            }
        }
    }

    fn current(&self) -> Option<Arc<Issuing>> {
        self.issuing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, issuing: Option<Issuing>) {
        *self.issuing.write().unwrap_or_else(PoisonError::into_inner) = issuing.map(Arc::new);
    }

    /// `whole`: the mark is wanted as far ahead as it goes.
    fn tick(&mut self, now: Now, whole: bool) -> bool {
        let Some(issuing) = self.current() else {
            let begun = self.begin(now);
            return self.outcome(begun);
        };
        let written = issuing.mark.load(Ordering::Acquire);
        let low = written.saturating_sub(sqn::ticks(issuing.clock.read(now))) < RESERVE;
        let mark = if low || whole { issuing.clock.mark(now).max(written) } else { written };
        let renew = self.shared && now.mono.saturating_sub(self.renewed) >= RENEW;
        if mark == written && !renew {
            return true;
        }
        let renewed = self.renew(&issuing, mark, now);
        match renewed {
            Err(Trouble::Held(ind)) => {
                self.lost = true;
                self.count_lost(ind);
            }
            // The IND's shard is away for long: perhaps another one is there.
            Err(_) if self.pinned.is_none() && millis(now.mono) >= issuing.ends.load(Ordering::Acquire) => {}
            renewed => return self.outcome(renewed),
        }
        self.set(None);
        let begun = self.begin(now);
        self.outcome(begun)
    }

    fn count_lost(&self, ind: u8) {
        tracing::error!(ind, "the lease of the IND is lost: another node holds it");
        let help = "Leases of an IND that another node took over while this one held them";
        if let Ok(counter) = self.metrics.counter("imscript_hss_ind_leases_lost_total", help, &[]) {
            counter.add(1);
        }
    }

    /// Takes an IND and starts the clock above all that may have been issued.
    fn begin(&mut self, now: Now) -> Result<(), Trouble> {
        for _ in 0..CONFLICTS {
            let time = self.store.time(now);
            let nodes = self.nodes()?;
            let (ind, node) = self.choose(&nodes, time)?;
            let above = match self.shared {
                false => nodes.iter().map(|(ind, node)| node.mark.max(self.local.mark(*ind))).max().unwrap_or(0),
                true => match node.mark.max(self.local.mark(ind)) {
                    0 => 0, // nobody has ever had it
                    mark => mark.max(sqn::ticks(time)).saturating_add(LOST),
                },
            };
            let clock = SqnClock::start(Now { unix: time, ..now }, above);
            let mark = clock.mark(now);
            self.local.set_mark(ind, mark)?;
            match self.store.save(self.save(ind, mark, time).upon(node.version)).wait()? {
                Saved::Conflict => continue,
                Saved::Done(version) => self.version = version,
            }
            self.renewed = now.mono;
            self.lost = false;
            if self.shared {
                tracing::info!(ind, "SQNs are issued under this IND");
            }
            self.set(Some(Issuing { ind, clock, mark: mark.into(), ends: self.ends(now).into() }));
            return Ok(());
        }
        Err(StoreError::Away("the entities of the nodes change all the time".into()).into())
    }

    /// Those that can be read: the shards of others may be away.
    fn nodes(&self) -> Result<Vec<(u8, Node)>, StoreError> {
        let asked: Vec<_> = (0..sqn::IND_COUNT).map(|ind| (ind, self.store.load(vec![Node::key(ind)]))).collect();
        let mut nodes = Vec::new();
        let mut failed = None;
        for (ind, answer) in asked {
            match answer.wait() {
                Ok(entities) => nodes.extend(entities.first().map(|entity| (ind, Node::read(entity)))),
                Err(error) if self.shared => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        failed.filter(|_| nodes.is_empty()).map_or(Ok(nodes), Err)
    }

    fn choose<'a>(&self, nodes: &'a [(u8, Node)], time: Duration) -> Result<(u8, &'a Node), Trouble> {
        let free = |node: &Node| node.holder == self.holder || node.is_free(time);
        if let Some(pinned) = self.pinned {
            let (ind, node) = nodes.iter().find(|(ind, _)| *ind == pinned).ok_or(Trouble::NotThere(pinned))?;
            return if self.lost && !free(node) { Err(Trouble::Held(pinned)) } else { Ok((*ind, node)) };
        }
        // From anywhere on, so that two nodes whose leases the store has lost do not meet at the first one.
        let from = self.holder as usize % nodes.len().max(1);
        let mut round = nodes.iter().cycle().skip(from).take(nodes.len());
        let never = round.clone().find(|(_, node)| node.version == 0);
        let chosen = never.or_else(|| round.find(|(_, node)| free(node)));
        chosen.map(|(ind, node)| (*ind, node)).ok_or(Trouble::NoneFree)
    }

    fn save(&self, ind: u8, mark: u64, time: Duration) -> Save {
        Node::save(ind, mark, self.shared.then(|| (self.holder, time + LEASE)))
    }

    fn ends(&self, now: Now) -> u64 {
        if self.shared { millis(now.mono + LEASE - MARGIN) } else { u64::MAX }
    }

    fn renew(&mut self, issuing: &Issuing, mark: u64, now: Now) -> Result<(), Trouble> {
        let written = issuing.mark.load(Ordering::Acquire);
        if mark > written {
            self.local.set_mark(issuing.ind, mark)?;
        }
        for _ in 0..CONFLICTS {
            let time = self.store.time(now);
            let save = self.save(issuing.ind, mark, time).upon(self.version);
            if let Saved::Done(version) = self.store.save(save).wait()? {
                self.version = version;
                self.renewed = now.mono;
                issuing.ends.store(self.ends(now), Ordering::Release);
                issuing.mark.fetch_max(mark, Ordering::AcqRel);
                return Ok(());
            }
            let entity = self.store.load(vec![Node::key(issuing.ind)]).wait()?.pop().unwrap_or_default();
            let node = Node::read(&entity);
            if node.holder != self.holder && node.holder != 0 && self.shared {
                return Err(Trouble::Held(issuing.ind));
            }
            // An answer that did not reach us, or a store that lost what it had acknowledged.
            self.version = node.version;
        }
        Err(StoreError::Away("the entity of the node changes all the time".into()).into())
    }

    fn release(&mut self) {
        let Some(issuing) = self.current().filter(|_| self.shared) else { return };
        self.set(None);
        let save = Node::save(issuing.ind, issuing.mark.load(Ordering::Acquire), None).upon(self.version);
        if let Err(error) = self.store.save(save).wait() {
            tracing::warn!(%error, "the lease of the IND is not given back: it ends by itself");
        }
    }
}
