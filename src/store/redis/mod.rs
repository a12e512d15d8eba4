//! State that several nodes share: one Redis or Valkey server, or a cluster of them (rank 3).
//!
//! [`Redis`] is what workers hold. What they ask goes to one thread that owns all connections ([`shards`]): it puts each
//! question in the queue of the master whose it is ([`node`]), which sends what has gathered in one pipeline and hands
//! the replies on ([`settle`]). A change is a script that runs at the server as a whole (`save.lua`, `take.lua`,
//! `claim.lua`).
//!
//! What may be relied on, and what not: a change that was answered was made at the master; the replicas have it a moment
//! later. A master that dies within that moment loses it, so [`Store::epoch`] tells when that may have happened, and who
//! still has the state writes it again. Versions begin with the server's clock in microseconds: those of an entity that is
//! made anew are above all earlier ones as long as the clocks of a master and its replicas differ by less than it takes to
//! replace one by the other.

mod address;
mod ask;
mod claim;
mod cluster;
mod key;
mod link;
mod node;
mod settle;
mod shards;
mod survey;
mod time;
mod walk;

use super::{Answered, Class, Entity, Health, Key, Nature, Save, Saved, Store, StoreError};
use crate::answer::Answer;
use crate::clock::{Clock, Now};
use ask::{Ask, Gather, Tell, What};
use key::{Names, bucket};
use shards::{Seen, Shards};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

/// How long opening waits for the servers: a node starts without them too.
const OPENING: Duration = Duration::from_secs(1);
/// How long closing waits for what is on its way.
const CLOSING: Duration = Duration::from_secs(1);

/// Which servers, and how one is let in.
#[derive(Clone)]
pub struct Options {
    /// `redis://` or `rediss://`, with user and password: one server, or some nodes of a cluster.
    pub urls: Vec<String>,
    /// Before every key: letters, digits, `-`, `_`, `.`.
    pub prefix: String,
    /// Authorities that sign the servers' certificates; None: the system's.
    pub ca: Option<PathBuf>,
}

/// Without what may be secret in the URLs.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("prefix", &self.prefix).field("ca", &self.ca).finish_non_exhaustive()
    }
}

enum Job {
    Load(Vec<Key>, Tell<Vec<Entity>>),
    Save(Save, Tell<Saved>),
    Take(Key, Tell<Entity>),
    Claim(Duration, usize, Tell<Vec<Key>>),
    Walk(Class, mpsc::Sender<walk::Page>),
    Close,
}

/// The store; see the head of this module.
pub struct Redis {
    jobs: UnboundedSender<Job>,
    seen: Arc<Seen>,
    closed: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Redis {
    /// An error only for what is wrong in the options: servers that are away are waited for, in the background.
    pub fn open(options: &Options, clock: Clock) -> Result<Self, StoreError> {
        let (seeds, login) = address::read(&options.urls, options.ca.as_deref())?;
        let seen = Arc::new(Seen::new(&seeds));
        let names = Names { prefix: options.prefix.as_str().into() };
        let (jobs, asked) = mpsc::unbounded_channel();
        let (ready, opened) = std::sync::mpsc::channel();
        let failed = |why: std::io::Error| StoreError::Away(why.to_string().into());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let theirs = seen.clone();
        let run = move || {
            let shards = Shards::new(names, login, clock, theirs, seeds);
            tokio::task::LocalSet::new().block_on(&runtime, serve(shards, asked, ready));
        };
        let thread = std::thread::Builder::new().name("redis".into()).spawn(run).map_err(failed)?;
        let _ = opened.recv_timeout(OPENING); // late: then its health says so
        Ok(Redis { jobs, seen, closed: AtomicBool::new(false), thread: Mutex::new(Some(thread)) })
    }

    fn ask<T: 'static>(&self, job: impl FnOnce(Tell<T>) -> Job) -> Answered<T> {
        let (tell, told) = oneshot::channel();
        if self.closed.load(Ordering::Acquire) || self.jobs.send(job(tell)).is_err() {
            return Answer::now(Err(StoreError::Closed));
        }
        Answer::later(async { told.await.unwrap_or(Err(StoreError::Closed)) })
    }
}

async fn serve(shards: Rc<Shards>, mut asked: UnboundedReceiver<Job>, ready: std::sync::mpsc::Sender<()>) {
    spawn_local(survey::watch(shards.clone()));
    let watched = shards.clone();
    spawn_local(async move {
        while !watched.all(|node| node.is_up()) {
            sleep(Duration::from_millis(5)).await;
            if ready.send(()).is_err() {
                return; // opening did not wait
            }
        }
    });
    let mut jobs = Vec::new();
    while asked.recv_many(&mut jobs, 256).await > 0 {
        for job in jobs.drain(..) {
            take_up(&shards, job, &mut asked);
        }
    }
    let by = Instant::now() + CLOSING;
    while !shards.is_idle() && Instant::now() < by {
        sleep(Duration::from_millis(1)).await;
    }
}

fn take_up(shards: &Rc<Shards>, job: Job, asked: &mut UnboundedReceiver<Job>) {
    let put = |name: &str, what| shards.dispatch(Ask::new(bucket(name), what));
    match job {
        Job::Load(keys, tell) => {
            let gather = Gather::new(keys.len(), tell);
            for (place, key) in keys.into_iter().enumerate() {
                put(&key.name.clone(), What::Load { key, gather: gather.clone(), place });
            }
        }
        Job::Save(save, tell) => put(&save.key.name.clone(), What::Save { save, tell }),
        Job::Take(key, tell) => put(&key.name.clone(), What::Take { key, tell }),
        Job::Claim(hold, most, tell) => drop(spawn_local(claim::claim(shards.clone(), hold, most, tell))),
        Job::Walk(class, pages) => drop(spawn_local(walk::walk(shards.clone(), class, pages))),
        Job::Close => asked.close(),
    }
}

impl Store for Redis {
    fn nature(&self) -> Nature {
        Nature::Shared
    }

    fn load(&self, keys: Vec<Key>) -> Answered<Vec<Entity>> {
        if keys.is_empty() {
            return Answer::now(Ok(Vec::new()));
        }
        self.ask(|tell| Job::Load(keys, tell))
    }

    fn save(&self, save: Save) -> Answered<Saved> {
        match save.check() {
            Ok(()) => self.ask(|tell| Job::Save(save, tell)),
            Err(error) => Answer::now(Err(error)),
        }
    }

    fn take(&self, key: Key) -> Answered<Entity> {
        self.ask(|tell| Job::Take(key, tell))
    }

    fn claim_due(&self, hold: Duration, most: usize) -> Answered<Vec<Key>> {
        self.ask(|tell| Job::Claim(hold, most, tell))
    }

    fn changed(&self) -> Answered<Vec<Key>> {
        Answer::now(Ok(Vec::new()))
    }

    fn walk(&self, class: Class, each: &mut dyn FnMut(&Key, Entity) -> ControlFlow<()>) -> Result<(), StoreError> {
        let (pages, mut told) = mpsc::channel(2);
        if self.closed.load(Ordering::Acquire) || self.jobs.send(Job::Walk(class, pages)).is_err() {
            return Err(StoreError::Closed);
        }
        while let Some(page) = Answer::later(told.recv()).wait() {
            for (key, entity) in page? {
                if each(&key, entity).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn time(&self, now: Now) -> Duration {
        self.seen.time(now.mono).unwrap_or(now.unix)
    }

    fn health(&self) -> Vec<Health> {
        self.seen.health()
    }

    fn epoch(&self, key: &Key) -> u64 {
        self.seen.epoch(key)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _ = self.jobs.send(Job::Close); // it may have ended
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}
