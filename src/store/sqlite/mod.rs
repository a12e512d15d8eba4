//! The store of a node of its own: SQLite, `imscript.db` in the data folder.
//!
//! One thread writes; what gathers while a transaction is on its way to the disk is the next one, so that the more is
//! asked for the less each change costs. Loads have a thread and a connection of their own, unless what they ask for is
//! about to be written: then they take their place behind it. A third thread carries SQLite's write-ahead log over.
//!
//! Beside the node, tools may open the same file in their own processes ([`Sqlite::open_tool`]); they leave word of what
//! they change, which the node takes up by [`Store::changed`].
//!
//! **When the disk fails** (full, read-only, an error of reading, writing or syncing), changes that wait are answered
//! [`StoreError::Unwritable`] and are not tried again by themselves; loads go on; the next change, or a second later the
//! store itself, tries the disk again. After any fault but a full disk the connection is closed and opened anew: what
//! SQLite or the kernel hold of a write that failed is not trusted. What was answered [`Saved::Done`] is never lost by a
//! fault; a change that failed while it was being synced may still be found made if the machine dies before the next one.

mod care;
mod fields;
mod file;
mod queue;
mod reader;
mod rows;
mod schema;
mod time;
mod upkeep;
mod writer;

pub use file::FILE_NAME;
pub use time::{Boot, Boots};

use crate::answer::Answer;
use crate::clock::{Clock, Now};
use crate::store::{Answered, Class, Entity, Health, Key, Nature, Save, Saved, Store, StoreError};
use file::Place;
use queue::{Asked, Job, Queue};
use reader::{Load, Reader};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use time::Time;
use tokio::sync::oneshot;
use upkeep::{Log, Upkeep};
use writer::Writer;

#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    #[error("{} cannot be made: {cause}", path.display())]
    DataDir { path: PathBuf, cause: std::io::Error },
    #[error("{} cannot be opened: {cause}", path.display())]
    Open { path: PathBuf, cause: rusqlite::Error },
    #[error("{} is of version {found}, this program knows version {known}: use a newer imscript", path.display())]
    Newer { path: PathBuf, found: usize, known: usize },
    #[error("another node runs on {}: every node needs a data dir of its own", .0.display())]
    InUse(PathBuf),
    #[error("a thread of the store cannot be started: {0}")]
    Thread(std::io::Error),
}

/// What [`Saved::Done`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is on disk.
    #[default]
    Commit,
    /// It is on disk 100 ms later, if the disk needs no more than half of that to sync; what is younger is lost with the
    /// process.
    WriteBehind,
}

/// How a store is opened; [`Sqlite::open_node`] and [`Sqlite::open_tool`] say what is usual.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub durability: Durability,
    pub clock: Clock,
    /// Where time since the machine's start comes from; None: the kernel.
    pub boots: Option<Boots>,
    /// One of SQLite's file systems by name; None: the operating system's.
    pub vfs: Option<String>,
}

/// How it fares, as the threads have last seen it; None: well.
#[derive(Default)]
struct State {
    reads: Mutex<Option<Arc<str>>>,
    writes: Mutex<Option<Arc<str>>>,
}

impl State {
    fn reads(&self, fault: Option<&StoreError>) {
        set(&self.reads, fault);
    }

    fn writes(&self, fault: Option<&StoreError>) {
        set(&self.writes, fault);
    }
}

fn set(state: &Mutex<Option<Arc<str>>>, fault: Option<&StoreError>) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.is_some() || fault.is_some() {
        *state = fault.map(|fault| fault.to_string().into());
    }
}

fn get(state: &Mutex<Option<Arc<str>>>) -> Option<Arc<str>> {
    state.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

pub struct Sqlite {
    place: Place,
    tool: bool,
    time: Arc<Time>,
    queue: Arc<Queue>,
    state: Arc<State>,
    log: Arc<Log>,
    inside: Mutex<Option<Inside>>,
    loads: Mutex<Option<Sender<Load>>>,
}

/// What ends with the store.
struct Inside {
    writer: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
    /// See [`Upkeep::file`].
    _file: Arc<File>,
    /// Held while the node runs; the kernel lets it go even after a kill.
    lock: Option<File>,
}

impl Sqlite {
    /// For the one node of a data folder, which is made if there is none.
    pub fn open_node(dir: &Path, durability: Durability, clock: Clock) -> Result<Self, SqliteError> {
        Self::open_node_with(dir, Options { durability, clock, ..Options::default() })
    }

    pub fn open_node_with(dir: &Path, options: Options) -> Result<Self, SqliteError> {
        Self::open(dir, options, false)
    }

    /// For a tool beside the node, or alone. Each of its changes is on disk when it is answered.
    pub fn open_tool(dir: &Path) -> Result<Self, SqliteError> {
        Self::open(dir, Options::default(), true)
    }

    /// Whether there is a database in the folder.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(FILE_NAME).is_file()
    }

    fn open(dir: &Path, options: Options, tool: bool) -> Result<Self, SqliteError> {
        let place = Place::make(dir, options.vfs.as_deref())?;
        let lock = if tool { None } else { Some(file::lock(dir)?) };
        let failed = |cause| SqliteError::Open { path: place.path.clone(), cause };
        let writing = place.prepare()?;
        if !tool {
            // What an earlier run could not sync may still stand in the log, and is not to be built upon.
            writing.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)?;
            // The node reads everything anew.
            rows::noted(&writing).map_err(failed)?;
        }
        let boots = options.boots.unwrap_or(if options.clock.is_by_hand() { || None } else { time::kernel });
        let time = Arc::new(Time::resume(&writing, options.clock, boots).map_err(failed)?);
        if !tool {
            time.beat(&writing).map_err(failed)?;
        }
        let unopened = |cause| SqliteError::DataDir { path: place.path.clone(), cause };
        let file = Arc::new(File::open(&place.path).map_err(unopened)?);
        let (queue, state, log) = <(Arc<Queue>, Arc<State>, Arc<Log>)>::default();
        let upkeep = Upkeep {
            connection: place.writing().map_err(failed)?,
            file: file.clone(),
            queue: queue.clone(),
            time: time.clone(),
            log: log.clone(),
            tool,
        };
        let connection = Some(place.reading().map_err(failed)?);
        let reader = Reader { place: place.clone(), time: time.clone(), state: state.clone(), connection };
        let writer = Writer::new(
            place.clone(),
            writing,
            time.clone(),
            queue.clone(),
            state.clone(),
            log.clone(),
            if tool { Durability::Commit } else { options.durability },
            tool,
        );
        let (loads, asked) = channel();
        let writer = thread("store-writer", move || writer.run())?;
        let others =
            vec![thread("store-upkeep", move || upkeep.run())?, thread("store-reader", move || reader.run(asked))?];
        let inside = Mutex::new(Some(Inside { writer, others, _file: file, lock }));
        Ok(Sqlite { place, tool, time, queue, state, log, inside, loads: Mutex::new(Some(loads)) })
    }

    fn ask<T: 'static>(&self, job: impl FnOnce(Asked<T>) -> Job) -> Answered<T> {
        let (asked, answer) = Asked::new();
        self.queue.push(job(asked));
        Answer::later(async move { answer.await.map_or(Err(StoreError::Closed), |told| told.found) })
    }
}

fn answered<T: 'static>(answer: oneshot::Receiver<Result<T, StoreError>>) -> Answered<T> {
    Answer::later(async move { answer.await.unwrap_or(Err(StoreError::Closed)) })
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, SqliteError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(SqliteError::Thread)
}

impl Store for Sqlite {
    fn nature(&self) -> Nature {
        Nature::Durable
    }

    fn load(&self, keys: Vec<Key>) -> Answered<Vec<Entity>> {
        match self.queue.is_under_way(&keys) {
            Err(closed) => return Answer::now(Err(closed)),
            Ok(true) => return self.ask(|asked| Job::Load(keys, asked)),
            Ok(false) => {}
        }
        let (asker, answer) = oneshot::channel();
        // If nobody is there to answer, the asker is dropped with the question.
        let loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = loads.as_ref().map(|loads| loads.send((keys, asker)));
        drop(loads);
        answered(answer)
    }

    fn save(&self, save: Save) -> Answered<Saved> {
        match save.check() {
            Ok(()) => self.ask(|asked| Job::Save(save, asked, None)),
            Err(refused) => Answer::now(Err(refused)),
        }
    }

    fn take(&self, key: Key) -> Answered<Entity> {
        self.ask(|asked| Job::Take(key, asked))
    }

    fn claim_due(&self, hold: Duration, most: usize) -> Answered<Vec<Key>> {
        self.ask(|asked| Job::Claim(hold, most, asked))
    }

    fn changed(&self) -> Answered<Vec<Key>> {
        match self.tool {
            true => Answer::now(self.queue.is_under_way(&[]).map(|_| Vec::new())),
            false => self.ask(Job::Changed),
        }
    }

    fn walk(&self, class: Class, each: &mut dyn FnMut(&Key, Entity) -> ControlFlow<()>) -> Result<(), StoreError> {
        // Behind what was saved before. A failing disk is no reason not to read.
        self.ask(|asked| Job::Load(Vec::new(), asked)).wait()?;
        let connection = self.place.reading().map_err(|error| StoreError::Away(error.to_string().into()))?;
        let mut after = i64::MIN;
        while let Some(last) = rows::walk(&connection, class, after, self.time.present(), each).map_err(reader::away)? {
            self.queue.is_under_way(&[])?; // closed meanwhile
            after = last;
        }
        Ok(())
    }

    fn time(&self, now: Now) -> Duration {
        self.time.at(now)
    }

    fn health(&self) -> Vec<Health> {
        let (reads, writes) = (get(&self.state.reads), get(&self.state.writes));
        let why = reads.as_ref().or(writes.as_ref()).map(|why| why.to_string()).unwrap_or_default();
        vec![Health { part: "sqlite".into(), reads: reads.is_none(), writes: writes.is_none(), why }]
    }

    fn close(&self) {
        self.queue.close();
        let Some(inside) = self.inside.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let mut faulty = inside.writer.join().is_err();
        self.loads.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.log.stop();
        for thread in inside.others {
            faulty |= thread.join().is_err();
        }
        if faulty {
            tracing::error!("a thread of the store ended by a fault");
        }
        drop(inside.lock);
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.close();
    }
}
