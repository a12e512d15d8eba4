//! The writer: one thread that writes registration states, and on a store of the node's own reads what the directory
//! does not have and what other processes have changed.
//!
//! Workers never wait for it but for what they look up. Its queue needs no limit of its own, because each kind of command
//! has one: a subscriber is in it at most once with its states, and so many look-ups wait at a time. That one thread puts
//! and removes keeps a late answer from bringing back what has changed since.

use super::EmbeddedError;
use super::directory::{Directory, Record, Sought, Which};
use super::entity;
use super::thread::Thread;
use crate::hss::HssError;
use crate::identity::Impi;
use crate::store::{Class, Entity, Nature, Save, Seal, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Most commands in one round.
const BATCH: usize = 512;
/// How often the thread looks for changes of other processes, and writes again what failed, when nobody asks.
const IDLE: Duration = Duration::from_secs(1);
/// Look-ups that may wait at a time.
const WAITING: usize = 1024;
/// Entities asked for at a time.
const CHUNK: usize = 512;

enum Command {
    State(Arc<Record>),
    /// Reads one subscriber.
    Fetch(Sought, oneshot::Sender<Result<(), HssError>>),
    /// Reads what other processes have changed.
    Refresh(Option<oneshot::Sender<Result<(), HssError>>>),
    Flush(Sender<()>),
    /// Flush, for one who does not wait on a thread of his own.
    Written(oneshot::Sender<()>),
    Stop,
}

pub(super) struct Writer {
    thread: Thread<Command>,
    waiting: Arc<AtomicUsize>,
}

/// One of those who may wait.
pub(super) struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Writer {
    pub(super) fn start(
        store: Arc<dyn Store>,
        seal: Arc<Seal>,
        directory: Arc<Directory>,
    ) -> Result<Self, EmbeddedError> {
        let own = store.nature() != Nature::Shared;
        let state = State { store, seal, directory, own, unwritten: Vec::new(), failing: false };
        let thread = Thread::start("hss-writer", move |commands| state.run(&commands))?;
        Ok(Writer { thread, waiting: Arc::default() })
    }

    /// Writes the states of `record` soon.
    pub(super) fn record(&self, record: &Arc<Record>, which: Which) {
        if record.enqueue(which) {
            self.thread.send(Command::State(record.clone()));
        }
    }

    /// Returns when what was left before has been written, or could not be.
    pub(super) async fn written(&self) {
        let (done, answer) = oneshot::channel();
        if self.thread.send(Command::Written(done)) {
            let _ = answer.await;
        }
    }

    /// None: too many wait already.
    pub(super) fn seat(&self) -> Option<Seat> {
        let more = |waiting| (waiting < WAITING).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Seat(self.waiting.clone()))
    }

    /// The directory has the subscriber afterwards, if the store has.
    pub(super) async fn fetch(&self, sought: Sought) -> Result<(), HssError> {
        let (done, answer) = oneshot::channel();
        self.answered(Command::Fetch(sought, done), answer).await
    }

    /// The directory has what other processes have changed.
    pub(super) async fn refresh(&self) -> Result<(), HssError> {
        let (done, answer) = oneshot::channel();
        self.answered(Command::Refresh(Some(done)), answer).await
    }

    /// An ended writer leaves us with what is in memory.
    async fn answered(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<(), HssError>>,
    ) -> Result<(), HssError> {
        if self.thread.send(command) { answer.await.unwrap_or(Ok(())) } else { Ok(()) }
    }

    /// As [`Writer::fetch`], waited for.
    pub(super) fn fetch_now(&self, impi: &Impi) {
        self.thread.send(Command::Fetch(Sought::Impi(impi.clone()), oneshot::channel().0));
        self.flush();
    }

    pub(super) fn refresh_soon(&self) {
        self.thread.send(Command::Refresh(None));
    }

    /// Returns when all that was left before has been written, or could not be.
    pub(super) fn flush(&self) {
        self.thread.ask(Command::Flush);
    }

    /// Writes what is left and ends the thread.
    pub(super) fn stop(&self) {
        self.thread.stop(Command::Stop);
    }
}

/// The thread's side.
struct State {
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    directory: Arc<Directory>,
    /// The store is this node's own.
    own: bool,
    /// States that could not be written.
    unwritten: Vec<Arc<Record>>,
    /// The last write or read failed: told once.
    failing: bool,
}

/// What one round has to do.
#[derive(Default)]
struct Batch {
    states: Vec<Arc<Record>>,
    sought: Vec<Sought>,
    fetched: Vec<oneshot::Sender<Result<(), HssError>>>,
    refresh: bool,
    refreshed: Vec<oneshot::Sender<Result<(), HssError>>>,
    flushed: Vec<Sender<()>>,
    written: Vec<oneshot::Sender<()>>,
    stop: bool,
}

impl Batch {
    fn add(&mut self, command: Command) {
        match command {
            Command::State(record) => self.states.push(record),
            Command::Fetch(sought, done) => {
                self.sought.push(sought);
                self.fetched.push(done);
            }
            Command::Refresh(done) => {
                self.refresh = true;
                self.refreshed.extend(done);
            }
            Command::Flush(done) => self.flushed.push(done),
            Command::Written(done) => self.written.push(done),
            Command::Stop => self.stop = true,
        }
    }
}

impl State {
    fn run(mut self, commands: &Receiver<Command>) {
        let mut next_look = Instant::now() + IDLE;
        loop {
            let mut batch = Batch::default();
            match commands.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
                Ok(command) => batch.add(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => batch.stop = true,
            }
            for command in commands.try_iter().take(BATCH) {
                batch.add(command);
            }
            if batch.stop {
                commands.try_iter().for_each(|command| batch.add(command));
            }
            if next_look <= Instant::now() || batch.stop {
                batch.refresh = !batch.stop;
                batch.states.append(&mut self.unwritten);
                next_look = Instant::now() + IDLE;
                if !self.own && !self.failing {
                    self.directory.sweep();
                }
            }
            if self.round(batch) {
                return;
            }
        }
    }

    /// True: that was the last one.
    fn round(&mut self, batch: Batch) -> bool {
        let Batch { states, sought, fetched, refresh, refreshed, flushed, written, stop } = batch;
        if refresh && self.own {
            let result = self.refresh();
            let result = self.outcome("changes of the subscribers cannot be read", result);
            refreshed.into_iter().for_each(|done| _ = done.send(result.clone()));
        }
        if !sought.is_empty() {
            let result = self.fetch(&sought);
            let result = self.outcome("subscribers cannot be read", result);
            fetched.into_iter().for_each(|done| _ = done.send(result.clone()));
        }
        if !states.is_empty() {
            self.write_states(states);
        }
        flushed.into_iter().for_each(|done| _ = done.send(()));
        written.into_iter().for_each(|done| _ = done.send(()));
        stop
    }

    /// A line in the log: one for a row of failures.
    fn outcome(&mut self, what: &'static str, result: Result<(), StoreError>) -> Result<(), HssError> {
        match result {
            Ok(()) => {
                self.failing = false;
                Ok(())
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, what);
                }
                Err(HssError::Unavailable(error.to_string()))
            }
        }
    }

    /// First all take their place in the store's queue, then all are waited for.
    fn write_states(&mut self, states: Vec<Arc<Record>>) {
        let held = states.into_iter().filter(|record| {
            let held = self.directory.has(record) || !self.own;
            if !held {
                record.dequeue(); // removed meanwhile
            }
            held
        });
        let saves: Vec<_> = held
            .map(|record| {
                let (registration, which) = record.dequeue();
                let answer = self.store.save(entity::save_state(&record.subscriber.impi, &registration, which));
                (record, which, answer)
            })
            .collect();
        for (record, which, answer) in saves {
            let result = answer.wait().map(|_| ());
            let failed = self.outcome("registration states cannot be written, tried again", result).is_err();
            if failed && record.enqueue(which) {
                // Whoever has changed since is in the queue again by itself.
                self.unwritten.push(record);
            }
        }
    }

    fn refresh(&mut self) -> Result<(), StoreError> {
        let changed = self.store.changed().wait()?;
        let impis: Vec<_> =
            changed.into_iter().filter(|key| key.class == Class::Subscriber).map(|key| Impi::new(key.name)).collect();
        self.read(&impis)
    }

    fn fetch(&mut self, sought: &[Sought]) -> Result<(), StoreError> {
        let (mut impis, mut impus) = (Vec::new(), Vec::new());
        for one in sought {
            match one {
                Sought::Impi(impi) => impis.push(impi.clone()),
                Sought::Impu(impu) => impus.push(entity::identity_key(impu)),
                Sought::Both(impi, impu) | Sought::Either(impi, impu) => {
                    impis.push(impi.clone());
                    impus.push(entity::identity_key(impu));
                }
            }
        }
        for chunk in impus.chunks(CHUNK) {
            let entities = self.store.load(chunk.to_vec()).wait()?;
            impis.extend(entities.iter().filter_map(entity::owner));
        }
        self.read(&impis)
    }

    /// Subscribers as they lie in the store now.
    fn read(&mut self, impis: &[Impi]) -> Result<(), StoreError> {
        for chunk in impis.chunks(CHUNK) {
            let entities = self.store.load(chunk.iter().map(entity::subscriber_key).collect()).wait()?;
            for (impi, entity) in chunk.iter().zip(&entities) {
                self.take(impi, entity);
            }
        }
        Ok(())
    }

    fn take(&self, impi: &Impi, entity: &Entity) {
        match entity::read(impi, entity, &self.seal) {
            Ok(Some(stored)) => _ = self.directory.put(stored),
            Ok(None) => {
                self.directory.remove(impi);
                if entity.exists() {
                    // States that were under way when the subscriber was removed.
                    drop(self.store.save(Save::remove(entity::subscriber_key(impi)).upon(entity.version)));
                }
            }
            Err(error) => {
                tracing::error!(%error, "subscriber left out");
                self.directory.remove(impi);
            }
        }
    }
}

/// Fills the directory from a store of the node's own; ends early when `stopped` says so.
pub(super) fn fill(store: &dyn Store, seal: &Seal, directory: &Directory, stopped: &dyn Fn() -> bool) {
    let walked = store.walk(Class::Subscriber, &mut |key, entity| {
        match entity::read(&Impi::new(key.name.clone()), &entity, seal) {
            Ok(Some(stored)) => directory.fill(stored),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "subscriber left out"),
        }
        if stopped() { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    match walked {
        Ok(()) if !stopped() => directory.set_complete(),
        Ok(()) => {}
        Err(error) => tracing::error!(%error, "subscribers cannot be read in advance: each is read when asked for"),
    }
}
