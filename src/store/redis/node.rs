//! One master: the connection to it, what waits for it, and the breaker that lets nobody wait for a dead one.
//!
//! What gathers while one pipeline is on its way goes in the next. Nothing is sent before all that was sent earlier is
//! answered, refused or put in the queue again, so that changes are made in the order in which they were asked for.
//!
//! The breaker: while a connection is made what comes in waits for [`PATIENCE`]; without one it is refused at once, and
//! another is tried every [`AGAIN`]. A server that does not answer for [`SLOW`] has no new asker wait for it, and after
//! [`LOST`] it is taken for dead.

use super::address::Address;
use super::ask::Ask;
use super::key::Bucket;
use super::link::{Link, Reading};
use super::shards::Shards;
use crate::store::{Health, StoreError};
use redis::{Pipeline, Value};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const PATIENCE: Duration = Duration::from_millis(150);
const AGAIN: Duration = Duration::from_millis(250);
const SLOW: Duration = Duration::from_millis(200);
const LOST: Duration = Duration::from_millis(500);
/// How often a server is asked for its clock and whether it has been emptied.
const PROBE: Duration = Duration::from_secs(1);
/// Most that goes in one pipeline, and most that waits, in number and octets.
const BATCH: (usize, usize) = (512, 4 << 20);
const QUEUE: (usize, usize) = (8192, 64 << 20);
/// The log has at most one complaint about a server in this time.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Up,
    Down,
}

pub(super) struct Node {
    pub(super) address: Address,
    pub(super) queue: RefCell<VecDeque<Ask>>,
    /// Octets of what is in the queue.
    octets: Cell<usize>,
    bell: Notify,
    state: Cell<State>,
    /// It has not answered for a while.
    slow: Cell<bool>,
    busy: Cell<bool>,
    why: RefCell<Arc<str>>,
    down_since: Cell<Option<Instant>>,
    pub(super) unwritable: RefCell<Option<Arc<str>>>,
    /// Whom we spoke to last at this address.
    identity: RefCell<Option<String>>,
    /// What the marker of a bucket was when it was last looked at.
    marker: RefCell<Option<(Bucket, Vec<u8>)>>,
    reading: Cell<Option<Reading>>,
    retired: Cell<bool>,
    complained: Cell<Option<Instant>>,
    /// The log says that it is away.
    missed: Cell<bool>,
}

impl Node {
    /// Its connection is made at once, and again, until it retires.
    pub(super) fn start(shards: &Rc<Shards>, address: Address) -> Rc<Node> {
        let node = Rc::new(Node {
            address,
            queue: RefCell::default(),
            octets: Cell::new(0),
            bell: Notify::new(),
            state: Cell::new(State::Connecting),
            slow: Cell::new(false),
            busy: Cell::new(false),
            why: RefCell::new("not connected yet".into()),
            down_since: Cell::new(None),
            unwritable: RefCell::default(),
            identity: RefCell::default(),
            marker: RefCell::default(),
            reading: Cell::new(None),
            retired: Cell::new(false),
            complained: Cell::new(None),
            missed: Cell::new(false),
        });
        tokio::task::spawn_local(node.clone().serve(shards.clone()));
        node
    }

    /// Puts at the end of the queue, or refuses.
    pub(super) fn push(&self, ask: Ask) {
        if self.state.get() == State::Down || self.slow.get() {
            return ask.fail(self.away());
        }
        let size = ask.size();
        if self.queue.borrow().len() >= QUEUE.0 || self.octets.get() + size > QUEUE.1 {
            return ask.fail(StoreError::Away(format!("{}: too much waits for it", self.address).into()));
        }
        self.octets.set(self.octets.get() + size);
        self.queue.borrow_mut().push_back(ask);
        self.bell.notify_one();
    }

    /// Everything that waits, in order.
    pub(super) fn drain(&self) -> VecDeque<Ask> {
        self.octets.set(0);
        self.queue.take()
    }

    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.bell.notify_one();
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.get() == State::Up
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.busy.get() && self.queue.borrow().is_empty()
    }

    pub(super) fn is_down(&self) -> bool {
        self.state.get() == State::Down
    }

    pub(super) fn down_for(&self) -> Duration {
        self.down_since.get().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Its clock, as long as it is there to be believed.
    pub(super) fn reading(&self) -> Option<Reading> {
        self.reading.get().filter(|_| self.is_up())
    }

    pub(super) fn away(&self) -> StoreError {
        StoreError::Away(format!("{}: {}", self.address, self.why.borrow()).into())
    }

    pub(super) fn health(&self) -> Health {
        let unwritable = self.unwritable.borrow();
        let up = self.is_up();
        let why = if up { unwritable.as_deref().unwrap_or_default().to_owned() } else { self.why.borrow().to_string() };
        Health { part: self.address.to_string(), reads: up, writes: up && unwritable.is_none(), why }
    }

    async fn serve(self: Rc<Self>, shards: Rc<Shards>) {
        while !self.retired.get() {
            match self.connect(&shards).await {
                Ok(link) => {
                    let why = self.talk(&shards, link).await;
                    self.busy.set(false);
                    if !self.retired.get() {
                        *self.why.borrow_mut() = why;
                        self.state.set(State::Connecting);
                        shards.publish();
                    }
                }
                Err(why) => {
                    self.down(&shards, why);
                    self.complain();
                    let wait = jitter(AGAIN);
                    tokio::select! { () = sleep(wait) => {}, () = self.until_retired() => {} }
                }
            }
        }
        shards.dispatch_all(self.drain());
    }

    async fn until_retired(&self) {
        while !self.retired.get() {
            self.bell.notified().await;
        }
    }

    fn down(&self, shards: &Rc<Shards>, why: Arc<str>) {
        *self.why.borrow_mut() = why;
        if self.state.replace(State::Down) != State::Down {
            self.down_since.set(Some(Instant::now()));
            shards.alarm.notify_one();
        }
        shards.publish();
        self.refuse_all();
    }

    fn refuse_all(&self) {
        for ask in self.drain() {
            ask.fail(self.away());
        }
    }

    fn complain(&self) {
        let due = self.complained.get().is_none_or(|last| last.elapsed() >= QUIET);
        if due && !self.missed.replace(true) {
            self.complained.set(Some(Instant::now()));
            tracing::warn!("store: {} is away: {}", self.address, self.why.borrow());
        }
    }

    /// Makes a connection and gets to know who is there.
    async fn connect(&self, shards: &Rc<Shards>) -> Result<(Link, super::ask::Shas), Arc<str>> {
        let attempt = async {
            let link = Link::dial(&shards.login, &self.address).await?;
            let greeting = link.greet().await?;
            if self.identity.replace(Some(greeting.identity.clone())).is_some_and(|known| known != greeting.identity) {
                shards.reborn(self);
            }
            self.probe(shards, &link).await?;
            Ok::<_, Arc<str>>((link, greeting.shas))
        };
        tokio::pin!(attempt);
        let made = match timeout(PATIENCE, &mut attempt).await {
            Ok(made) => made?,
            Err(_) => {
                if self.state.get() != State::Down {
                    self.down(shards, "it is long in taking a connection".into());
                }
                attempt.await?
            }
        };
        self.state.set(State::Up);
        self.down_since.set(None);
        shards.keep_time();
        shards.publish();
        if self.missed.replace(false) {
            tracing::info!("store: {} is back", self.address);
        }
        Ok(made)
    }

    /// Until the connection ends, and why it did.
    async fn talk(&self, shards: &Rc<Shards>, (mut link, mut shas): (Link, super::ask::Shas)) -> Arc<str> {
        let closed = || Arc::from("the connection was closed");
        let mut probe = Instant::now() + PROBE;
        loop {
            if self.retired.get() || link.is_over() {
                return closed();
            }
            if Instant::now() >= probe {
                probe = Instant::now() + PROBE;
                if let Err(why) = self.probe(shards, &link).await {
                    return why;
                }
                shards.keep_time();
            }
            let batch = self.batch();
            if batch.is_empty() {
                tokio::select! {
                    () = self.bell.notified() => {}
                    () = link.ended() => return closed(),
                    () = sleep_until(probe) => {}
                }
                continue;
            }
            let ahead = self.reading.get().map_or(0, |reading| shards.ahead(reading.offset));
            let mut commands = Pipeline::with_capacity(batch.len());
            for ask in &batch {
                if ask.asking {
                    commands.cmd("ASKING");
                }
                commands.add_command(ask.command(&shards.names, &shas, ahead));
            }
            self.busy.set(true);
            let replies = self.patiently(link.exchange(&commands)).await;
            match replies {
                Ok(replies) => {
                    if self.settle(shards, batch, replies) {
                        match link.greet().await {
                            Ok(greeting) => shas = greeting.shas,
                            Err(why) => return why,
                        }
                    }
                    self.busy.set(false);
                }
                Err(why) => {
                    self.broken(batch, &why, link.is_over());
                    return why;
                }
            }
        }
    }

    fn batch(&self) -> Vec<Ask> {
        let mut queue = self.queue.borrow_mut();
        let (mut count, mut octets) = (0, 0);
        while let Some(ask) = queue.get(count)
            && count < BATCH.0
            && octets < BATCH.1
        {
            octets += ask.size();
            count += 1;
        }
        self.octets.set(self.octets.get().saturating_sub(octets));
        queue.drain(..count).collect()
    }

    /// Puts before all that waits.
    pub(super) fn push_front(&self, again: Vec<Ask>) {
        let mut queue = self.queue.borrow_mut();
        for ask in again.into_iter().rev() {
            self.octets.set(self.octets.get() + ask.size());
            queue.push_front(ask);
        }
    }

    /// Of what was on its way nobody knows whether it was done. What only reads is asked once more where the connection was
    /// closed; a server that kept silent is not waited for again.
    fn broken(&self, batch: Vec<Ask>, why: &Arc<str>, closed: bool) {
        *self.why.borrow_mut() = why.clone();
        let (mut again, lost): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|ask| closed && ask.reads() && !ask.tried && !ask.asking);
        for ask in &mut again {
            ask.tried = true;
        }
        self.push_front(again);
        for ask in lost {
            ask.fail(self.away());
        }
    }

    async fn patiently<T>(&self, exchange: impl Future<Output = Result<T, Arc<str>>>) -> Result<T, Arc<str>> {
        tokio::pin!(exchange);
        if let Ok(result) = timeout(SLOW, &mut exchange).await {
            return result;
        }
        *self.why.borrow_mut() = "it has not answered for 200 ms".into();
        self.slow.set(true);
        self.refuse_all();
        let result = timeout(LOST - SLOW, exchange).await;
        self.slow.set(false);
        result.unwrap_or_else(|_| Err("it has not answered for 500 ms".into()))
    }

    async fn probe(&self, shards: &Rc<Shards>, link: &Link) -> Result<(), Arc<str>> {
        let bucket = shards.first_of(self);
        let mut also = Pipeline::new();
        if let Some(bucket) = bucket {
            let (name, value) = (shards.names.marker(bucket), random());
            also.cmd("SET").arg(&name).arg(value.to_string()).arg("NX").cmd("GET").arg(&name);
        }
        let (reading, replies) = self.patiently(link.read_clock(&shards.clock, also)).await?;
        let better = self.reading.get().is_none_or(|known| {
            reading.trip <= known.trip.saturating_mul(2) || reading.at.saturating_sub(known.at) > 10 * PROBE
        });
        if better {
            self.reading.set(Some(reading));
        }
        // A server that cannot be written into has none.
        if let (Some(bucket), Some(Value::BulkString(value))) = (bucket, replies.into_iter().nth(1)) {
            let before = self.marker.replace(Some((bucket, value.clone())));
            if before.is_some_and(|(known, old)| known == bucket && old != value) {
                shards.reborn(self);
            }
        }
        Ok(())
    }
}

fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}

/// So that the nodes of a network do not come all at once.
pub(super) fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.8 + 0.4 * (random() % 1024) as f64 / 1024.0)
}
