//! Which master has which bucket, as far as is known, and what the other threads see of it. All but [`Seen`] lives on the
//! one thread that owns the connections.

use super::address::{Address, Login};
use super::ask::{Ask, What};
use super::cluster::Member;
use super::key::{BUCKETS, Bucket, Names, bucket};
use super::node::Node;
use super::time::{Line, median};
use crate::clock::Clock;
use crate::store::{Due, Health, Key, StoreError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;

/// A master that has been away for so long may lose its buckets to one that shows a lower epoch: then the cluster is another.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// What all threads see.
pub(super) struct Seen {
    /// By bucket; see [`crate::store::Store::epoch`].
    epochs: [AtomicU64; BUCKETS],
    health: Mutex<Vec<Health>>,
    /// None: no server has been asked yet.
    line: RwLock<Option<Line>>,
}

impl Seen {
    pub(super) fn new(seeds: &[Address]) -> Self {
        let part = |seed: &Address| Health {
            part: seed.to_string(),
            reads: false,
            writes: false,
            why: "not connected yet".into(),
        };
        Seen {
            epochs: [const { AtomicU64::new(0) }; BUCKETS],
            health: Mutex::new(seeds.iter().map(part).collect()),
            line: RwLock::default(),
        }
    }

    pub(super) fn epoch(&self, key: &Key) -> u64 {
        self.epochs.get(usize::from(bucket(&key.name))).map_or(0, |epoch| epoch.load(Ordering::Acquire))
    }

    pub(super) fn health(&self) -> Vec<Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn time(&self, mono: Duration) -> Option<Duration> {
        self.line.read().unwrap_or_else(PoisonError::into_inner).map(|line| line.tell(mono))
    }
}

#[derive(Clone, Default)]
struct Place {
    owner: Option<Rc<Node>>,
    /// Of the cluster's configuration, by which it is there.
    epoch: u64,
    /// When it is worth while to look for what is due in it.
    look: Duration,
}

pub(super) struct Shards {
    pub(super) names: Names,
    pub(super) login: Login,
    pub(super) clock: Clock,
    pub(super) seen: Arc<Seen>,
    /// Rung when the table may be wrong.
    pub(super) alarm: Notify,
    places: RefCell<Vec<Place>>,
    version: Cell<u64>,
    nodes: RefCell<Vec<Rc<Node>>>,
    /// All that are said to belong to the cluster, replicas too.
    pub(super) known: RefCell<Vec<Address>>,
    pub(super) seeds: Vec<Address>,
    /// Why there is nobody.
    pub(super) why: RefCell<Arc<str>>,
    /// It is one server, no cluster.
    single: Cell<bool>,
}

impl Shards {
    pub(super) fn new(names: Names, login: Login, clock: Clock, seen: Arc<Seen>, seeds: Vec<Address>) -> Rc<Self> {
        Rc::new(Shards {
            names,
            login,
            clock,
            seen,
            alarm: Notify::new(),
            places: RefCell::new(vec![Place::default(); BUCKETS]),
            version: Cell::new(0),
            nodes: RefCell::default(),
            known: RefCell::new(seeds.clone()),
            seeds,
            why: RefCell::new("not connected yet".into()),
            single: Cell::new(false),
        })
    }

    pub(super) fn version(&self) -> u64 {
        self.version.get()
    }

    pub(super) fn is_single(&self) -> bool {
        self.single.get()
    }

    pub(super) fn owner(&self, bucket: Bucket) -> Option<Rc<Node>> {
        self.places.borrow().get(usize::from(bucket)).and_then(|place| place.owner.clone())
    }

    /// Those with buckets.
    pub(super) fn masters(&self) -> Vec<Rc<Node>> {
        let places = self.places.borrow();
        let mut masters: Vec<Rc<Node>> = Vec::new();
        for owner in places.iter().filter_map(|place| place.owner.as_ref()) {
            if !masters.iter().any(|known| Rc::ptr_eq(known, owner)) {
                masters.push(owner.clone());
            }
        }
        masters
    }

    /// Whether every bucket has a master, and each master passes `test`.
    pub(super) fn all(&self, test: impl Fn(&Node) -> bool) -> bool {
        self.places.borrow().iter().all(|place| place.owner.is_some()) && self.masters().iter().all(|node| test(node))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.nodes.borrow().iter().all(|node| node.is_idle())
    }

    pub(super) fn is_away(&self, address: &Address) -> bool {
        self.nodes.borrow().iter().any(|node| node.address == *address && node.is_down())
    }

    pub(super) fn nobody(&self) -> StoreError {
        StoreError::Away(self.why.borrow().clone())
    }

    /// Into the queue of whose it is.
    pub(super) fn dispatch(&self, mut ask: Ask) {
        if let What::Save { save, .. } = &ask.what
            && let Due::At(at) = save.due
        {
            self.look(ask.bucket, at);
        }
        ask.table = self.version();
        match self.owner(ask.bucket) {
            Some(node) => node.push(ask),
            None => ask.fail(self.nobody()),
        }
    }

    pub(super) fn dispatch_all(&self, asks: impl IntoIterator<Item = Ask>) {
        asks.into_iter().for_each(|ask| self.dispatch(ask));
    }

    /// Into the queue of the one that a server names.
    pub(super) fn send_on(self: &Rc<Self>, ask: Ask, address: Address) {
        self.node(address).push(ask);
    }

    fn node(self: &Rc<Self>, address: Address) -> Rc<Node> {
        let known = self.nodes.borrow().iter().find(|node| node.address == address).cloned();
        known.unwrap_or_else(|| {
            let node = Node::start(self, address);
            self.nodes.borrow_mut().push(node.clone());
            node
        })
    }

    /// All buckets are that server's: it belongs to no cluster.
    pub(super) fn settle_on(self: &Rc<Self>, address: &Address) {
        if self.masters().is_empty() {
            self.single.set(true);
            self.change((0..BUCKETS).map(|bucket| (bucket as Bucket, address.clone(), 0)).collect());
        }
    }

    /// Takes over what a node of the cluster says, where it is newer than what is known.
    pub(super) fn adopt(self: &Rc<Self>, members: &[Member]) {
        let mut changes = Vec::new();
        for member in members {
            for bucket in member.buckets() {
                let places = self.places.borrow();
                let Some(place) = places.get(usize::from(bucket)) else { continue };
                let newer = match &place.owner {
                    None => true,
                    Some(owner) if owner.address == member.address => member.epoch != place.epoch,
                    Some(owner) => member.epoch > place.epoch || owner.down_for() > FORGOTTEN,
                };
                if newer {
                    changes.push((bucket, member.address.clone(), member.epoch));
                }
            }
        }
        if !members.is_empty() {
            *self.known.borrow_mut() = members.iter().map(|member| member.address.clone()).collect();
        }
        self.change(changes);
    }

    fn change(self: &Rc<Self>, changes: Vec<(Bucket, Address, u64)>) {
        let mut moved = false;
        for (bucket, address, epoch) in changes {
            let node = self.node(address);
            let mut places = self.places.borrow_mut();
            let Some(place) = places.get_mut(usize::from(bucket)) else { continue };
            place.epoch = epoch;
            if place.owner.as_ref().is_some_and(|owner| Rc::ptr_eq(owner, &node)) {
                continue;
            }
            let before = place.owner.replace(node.clone());
            place.look = Duration::ZERO;
            drop(places);
            moved = true;
            if let Some(before) = before {
                self.raise(bucket);
                if self.first_of(&node) == Some(bucket) {
                    tracing::info!("store: {} has taken over from {}", node.address, before.address);
                }
            }
        }
        if !moved {
            return;
        }
        self.version.set(self.version.get() + 1);
        let masters = self.masters();
        let (stay, go): (Vec<_>, Vec<_>) =
            self.nodes.take().into_iter().partition(|node| masters.iter().any(|master| Rc::ptr_eq(master, node)));
        *self.nodes.borrow_mut() = stay.clone();
        // What waits goes where it belongs now, before anything new can.
        for node in stay.iter().chain(&go) {
            self.dispatch_all(node.drain());
        }
        go.iter().for_each(|node| node.retire());
        self.publish();
    }

    /// The lowest bucket of a master.
    pub(super) fn first_of(&self, node: &Node) -> Option<Bucket> {
        let is = |place: &Place| place.owner.as_ref().is_some_and(|owner| std::ptr::eq(&**owner, node));
        self.places.borrow().iter().position(is).map(|bucket| bucket as Bucket)
    }

    fn raise(&self, bucket: Bucket) {
        if let Some(epoch) = self.seen.epochs.get(usize::from(bucket)) {
            epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// What was acknowledged there may be lost.
    pub(super) fn reborn(&self, node: &Node) {
        tracing::warn!("store: {} may have lost what it had acknowledged", node.address);
        let mut places = self.places.borrow_mut();
        for (bucket, place) in places.iter_mut().enumerate() {
            if place.owner.as_ref().is_some_and(|owner| std::ptr::eq(&**owner, node)) {
                place.look = Duration::ZERO;
                self.raise(bucket as Bucket);
            }
        }
    }

    /// Tells the other threads how the shards fare.
    pub(super) fn publish(&self) {
        let mut health: Vec<_> = self.masters().iter().map(|node| node.health()).collect();
        let without = self.places.borrow().iter().filter(|place| place.owner.is_none()).count();
        if without > 0 {
            let part = self.seeds.first().map(Address::to_string).unwrap_or_default();
            let why = match health.is_empty() {
                true => self.why.borrow().to_string(),
                false => format!("{without} of {BUCKETS} parts have no master"),
            };
            health.push(Health { part, reads: false, writes: false, why });
        }
        *self.seen.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Brings the store's clock in line with those of the masters that are there.
    pub(super) fn keep_time(&self) {
        let offsets = self.masters().iter().filter_map(|node| node.reading()).map(|reading| reading.offset).collect();
        let Some(offset) = median(offsets) else { return };
        let now = self.clock.now().mono;
        let mut line = self.seen.line.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *line {
            Some(line) => line.correct(offset, now),
            None => *line = Some(Line::new(offset, now)),
        }
    }

    /// By how many microseconds a server's clock is before the store's.
    pub(super) fn ahead(&self, offset: i64) -> i64 {
        let line = self.seen.line.read().unwrap_or_else(PoisonError::into_inner);
        line.map_or(0, |line| offset.saturating_sub(line.offset()))
    }

    /// Something of a bucket may be due then.
    pub(super) fn look(&self, bucket: Bucket, at: Duration) {
        if let Some(place) = self.places.borrow_mut().get_mut(usize::from(bucket)) {
            place.look = place.look.min(at);
        }
    }

    /// The buckets that are to be looked at by `now`, of masters that are there. None is given twice before
    /// [`Shards::look`] says when to look again.
    pub(super) fn to_look_at(&self, now: Duration) -> Vec<Bucket> {
        let mut found = Vec::new();
        for (bucket, place) in self.places.borrow_mut().iter_mut().enumerate() {
            if place.look <= now && place.owner.as_ref().is_some_and(|owner| owner.is_up()) {
                place.look = Duration::MAX;
                found.push(bucket as Bucket);
            }
        }
        found
    }
}
