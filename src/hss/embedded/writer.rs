//! The writer: one thread that owns the node's database connection.
//!
//! Workers never wait for the disk: they leave a command and go on, or await its answer where something
//! has to be on disk first. What has gathered is committed in one transaction. The queue needs no
//! limit of its own, because each kind of command has one: a subscriber is in it at most once with its
//! states, resynchronisations are limited per subscriber, and so are marks and refreshes in all.

use super::EmbeddedError;
use super::database::{self, Conflicts, Database};
use super::directory::{Directory, Record};
use super::subscriber::{StoredSqn, Subscriber};
use crate::identity::Impi;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Most commands in one transaction.
const BATCH: usize = 512;
/// How often the thread looks for changes of other processes when nobody asks.
const IDLE: Duration = Duration::from_secs(1);
/// Look-ups that may wait for a refresh at a time; above it, what is not in memory is unknown.
const WAITING: usize = 1024;

/// The answer to a command that has to be on disk: false if it is not.
type Written = oneshot::Sender<bool>;
type Provisioned = Sender<Result<Conflicts, EmbeddedError>>;

enum Command {
    State(Arc<Record>),
    Offset(Impi, StoredSqn, Written),
    Mark(u64, Option<Written>),
    Refresh(Option<oneshot::Sender<()>>),
    Provision(Box<Subscriber>, u64, Provisioned),
    Flush(Sender<()>),
    Stop,
}

pub(super) struct Writer {
    queue: Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    waiting: Arc<AtomicUsize>,
    mark_asked: Arc<AtomicBool>,
}

impl Writer {
    /// `seen`: the revision that `directory` holds.
    pub(super) fn start(db: Database, ind: u8, directory: Arc<Directory>, seen: i64) -> Result<Self, EmbeddedError> {
        let (queue, commands) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let mark_asked = Arc::new(AtomicBool::new(false));
        let state = State {
            db,
            ind,
            directory,
            seen,
            version: None,
            unwritten: Vec::new(),
            failing: false,
            waiting: waiting.clone(),
            mark_asked: mark_asked.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("hss-writer".into())
            .spawn(move || state.run(&commands))
            .map_err(EmbeddedError::Thread)?;
        Ok(Writer { queue, thread: Mutex::new(Some(thread)), waiting, mark_asked })
    }

    /// False: the writer has ended.
    fn send(&self, command: Command) -> bool {
        self.queue.send(command).is_ok()
    }

    /// Writes the states of `record` soon.
    pub(super) fn record(&self, record: &Arc<Record>) {
        if record.enqueue() {
            self.send(Command::State(record.clone()));
        }
    }

    /// True once the offset is on disk.
    pub(super) async fn offset(&self, impi: &Impi, sqn: StoredSqn) -> bool {
        let (written, answer) = oneshot::channel();
        self.send(Command::Offset(impi.clone(), sqn, written)) && answer.await.unwrap_or(false)
    }

    /// True once the mark is on disk.
    pub(super) async fn mark(&self, mark: u64) -> bool {
        let (written, answer) = oneshot::channel();
        self.send(Command::Mark(mark, Some(written))) && answer.await.unwrap_or(false)
    }

    /// Moves the mark soon; once at a time.
    pub(super) fn mark_soon(&self, mark: u64) {
        if !self.mark_asked.swap(true, Ordering::AcqRel) {
            self.send(Command::Mark(mark, None));
        }
    }

    /// Looks for changes of other processes; None if too many wait for that already.
    pub(super) fn refresh(&self) -> Option<oneshot::Receiver<()>> {
        let more = |waiting| (waiting < WAITING).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        let (done, answer) = oneshot::channel();
        self.send(Command::Refresh(Some(done))).then_some(answer)
    }

    pub(super) fn refresh_soon(&self) {
        self.send(Command::Refresh(None));
    }

    pub(super) fn provision(&self, subscriber: Subscriber, tick: u64) -> Result<Conflicts, EmbeddedError> {
        let (done, answer) = channel();
        self.send(Command::Provision(Box::new(subscriber), tick, done));
        answer.recv().map_err(|_| EmbeddedError::Closed)?
    }

    /// Returns when all that was left before has been written, or could not be.
    pub(super) fn flush(&self) {
        let (done, answer) = channel();
        if self.send(Command::Flush(done)) {
            let _ = answer.recv();
        }
    }

    /// Writes what is left and ends the thread.
    pub(super) fn stop(&self) {
        self.send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the HSS writer ended by a fault");
        }
    }
}

/// The thread's side.
struct State {
    db: Database,
    ind: u8,
    directory: Arc<Directory>,
    /// The revision that is in memory.
    seen: i64,
    /// SQLite's data version when it was read.
    version: Option<i64>,
    /// States that a failed transaction left.
    unwritten: Vec<Arc<Record>>,
    /// The last transaction failed: told once.
    failing: bool,
    waiting: Arc<AtomicUsize>,
    mark_asked: Arc<AtomicBool>,
}

/// What one round has to do.
#[derive(Default)]
struct Batch {
    states: Vec<Arc<Record>>,
    offsets: Vec<(Impi, StoredSqn, Written)>,
    mark: Option<u64>,
    marks: Vec<Written>,
    refresh: bool,
    refreshed: Vec<oneshot::Sender<()>>,
    provision: Vec<(Box<Subscriber>, u64, Provisioned)>,
    flushed: Vec<Sender<()>>,
    stop: bool,
}

impl Batch {
    fn add(&mut self, command: Command) {
        match command {
            Command::State(record) => self.states.push(record),
            Command::Offset(impi, sqn, written) => self.offsets.push((impi, sqn, written)),
            Command::Mark(mark, written) => {
                self.mark = self.mark.max(Some(mark));
                self.marks.extend(written);
            }
            Command::Refresh(done) => {
                self.refresh = true;
                self.refreshed.extend(done);
            }
            Command::Provision(subscriber, tick, done) => self.provision.push((subscriber, tick, done)),
            Command::Flush(done) => self.flushed.push(done),
            Command::Stop => self.stop = true,
        }
    }
}

impl State {
    fn run(mut self, commands: &Receiver<Command>) {
        let mut next_look = Instant::now();
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
            if next_look <= Instant::now() {
                batch.refresh = true;
                next_look = Instant::now() + IDLE;
            }
            batch.states.append(&mut self.unwritten);
            if self.round(batch) {
                return;
            }
        }
    }

    /// True: that was the last one.
    fn round(&mut self, batch: Batch) -> bool {
        let Batch { states, offsets, mark, marks, refresh, refreshed, provision, flushed, stop } = batch;
        if refresh {
            let result = self.refresh();
            self.outcome("changes of the subscriber database cannot be read", result);
            self.waiting.fetch_sub(refreshed.len(), Ordering::AcqRel);
            refreshed.into_iter().for_each(|done| _ = done.send(()));
        }
        for (subscriber, tick, done) in provision {
            let _ = done.send(self.provision(&subscriber, tick));
        }
        if mark.is_some() || !offsets.is_empty() {
            let result = self.write_sqn(mark, &offsets);
            let written = self.outcome("SQN state cannot be written: no vectors until it can", result);
            if let (Some(mark), Some(_)) = (mark, &written) {
                self.directory.set_mark(mark);
            }
            self.mark_asked.store(false, Ordering::Release);
            marks.into_iter().for_each(|answer| _ = answer.send(written.is_some()));
            let known = written.unwrap_or_default();
            for (index, (_, _, answer)) in offsets.into_iter().enumerate() {
                let _ = answer.send(known.get(index).copied().unwrap_or(false));
            }
        }
        if !states.is_empty() {
            let result = self.write_states(&states);
            if self.outcome("registration states cannot be written, tried again", result).is_none() {
                // Whoever has changed since is in the queue again by itself.
                self.unwritten.extend(states.into_iter().filter(|record| record.enqueue()));
            }
        }
        flushed.into_iter().for_each(|done| _ = done.send(()));
        stop
    }

    /// The value, or a line in the log: one for a row of failures.
    fn outcome<T>(&mut self, what: &'static str, result: Result<T, EmbeddedError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.failing = false;
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, what);
                }
                None
            }
        }
    }

    /// Marks and offsets, synced. Of each offset: whether the subscriber is still there.
    fn write_sqn(
        &mut self,
        mark: Option<u64>,
        offsets: &[(Impi, StoredSqn, Written)],
    ) -> Result<Vec<bool>, EmbeddedError> {
        self.db.set_synced(true)?;
        let tx = self.db.begin()?;
        if let Some(mark) = mark {
            database::put_sqn_mark(&tx, self.ind, mark)?;
        }
        let known =
            offsets.iter().map(|(impi, sqn, _)| database::put_sqn(&tx, impi, *sqn)).collect::<Result<_, _>>()?;
        tx.commit()?;
        Ok(known)
    }

    fn write_states(&mut self, states: &[Arc<Record>]) -> Result<(), EmbeddedError> {
        self.db.set_synced(false)?;
        let tx = self.db.begin()?;
        for record in states {
            database::put_registration(&tx, &record.subscriber.impi, &record.dequeue())?;
        }
        Ok(tx.commit()?)
    }

    fn provision(&mut self, subscriber: &Subscriber, tick: u64) -> Result<Conflicts, EmbeddedError> {
        self.db.set_synced(true)?;
        let conflicts = self.db.provision(std::slice::from_ref(subscriber), tick, false, &mut |_| {})?;
        self.load()?;
        Ok(conflicts)
    }

    fn refresh(&mut self) -> Result<(), EmbeddedError> {
        let version = self.db.data_version()?;
        if self.version != Some(version) {
            self.load()?;
            self.version = Some(version);
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), EmbeddedError> {
        let directory = &self.directory;
        self.seen = self.db.changes(self.seen, |impi| directory.remove(impi), |stored| directory.put(stored))?;
        Ok(())
    }
}
