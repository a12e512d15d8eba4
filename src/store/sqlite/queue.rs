//! What waits for the writer, in the order in which it was asked for.

use super::rows::{self, Fault};
use crate::store::{Changes, Class, Entity, Key, Save, Saved, StoreError};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Calls that may wait, and octets of their values: beyond them a call is refused at once.
const MOST_CALLS: usize = 100_000;
const MOST_OCTETS: usize = 256 << 20;
/// Places in which keys with something under way are counted. Two keys may share one: then a load takes the longer way.
const PLACES: usize = 1 << 14;

/// Somebody who asked, and what he will be told.
pub(super) struct Asked<T> {
    asker: Option<oneshot::Sender<Told<T>>>,
    found: Option<Result<T, StoreError>>,
    /// What the call carried, back to the thread that made it: what one thread makes and another throws away costs an
    /// allocator more than both do.
    spent: Changes,
}

pub(super) struct Told<T> {
    pub(super) found: Result<T, StoreError>,
    _spent: Changes,
}

impl<T> Asked<T> {
    pub(super) fn new() -> (Self, oneshot::Receiver<Told<T>>) {
        let (asker, answer) = oneshot::channel();
        (Asked { asker: Some(asker), found: None, spent: Changes::new() }, answer)
    }

    fn tell(&mut self) {
        if let (Some(asker), Some(found)) = (self.asker.take(), self.found.take()) {
            // Who does not wait any more need not be told.
            let _ = asker.send(Told { found, _spent: std::mem::take(&mut self.spent) });
        }
    }

    fn fail(&mut self, why: &StoreError) {
        self.found = Some(Err(why.clone()));
        self.tell();
    }

    /// A fault of the call itself is its answer; one of the database ends the transaction.
    fn keep(&mut self, found: Result<T, Fault>) -> rusqlite::Result<()> {
        self.found = Some(match found {
            Ok(found) => Ok(found),
            Err(Fault::Call(error)) => Err(error),
            Err(Fault::Sqlite(error)) => return Err(error),
        });
        Ok(())
    }
}

/// One call.
pub(super) enum Job {
    /// With what came of it, once it has run.
    Save(Save, Asked<Saved>, Option<Saved>),
    Take(Key, Asked<Entity>),
    Claim(Duration, usize, Asked<Vec<Key>>),
    Load(Vec<Key>, Asked<Vec<Entity>>),
    Changed(Asked<Vec<Key>>),
    /// The store's own: what may go.
    LetGo(Vec<(Class, i64)>),
}

/// What jobs run in.
pub(super) struct Run<'a> {
    pub(super) connection: &'a Connection,
    pub(super) now: Duration,
    /// Version of the entity last made.
    pub(super) made: &'a mut u64,
    pub(super) tool: bool,
}

impl Job {
    pub(super) fn writes(&self) -> bool {
        match self {
            Job::Load(..) => false,
            Job::Changed(asked) => asked.asker.is_some(),
            _ => true,
        }
    }

    /// Whether it was done and told so before the transaction has ended.
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Job::Save(_, asked, Some(_)) if asked.asker.is_none())
    }

    pub(super) fn tell_of_no_change(&mut self) {
        if let Job::Changed(asked) = self {
            asked.found = Some(Ok(Vec::new()));
            asked.tell();
        }
    }

    /// Whether it is not to wait for the end of a write-behind interval.
    pub(super) fn is_urgent(&self) -> bool {
        !matches!(self, Job::Save(..) | Job::LetGo(_))
    }

    /// Octets of the values that it carries.
    pub(super) fn octets(&self) -> usize {
        match self {
            Job::Save(save, ..) => save.fields.iter().filter_map(|(_, value)| value.as_ref()).map(|v| v.len()).sum(),
            _ => 0,
        }
    }

    fn key(&self) -> Option<&Key> {
        match self {
            Job::Save(save, ..) => Some(&save.key),
            Job::Take(key, _) => Some(key),
            _ => None,
        }
    }

    /// Does it inside the transaction that is open. An error ends the transaction.
    pub(super) fn run(&mut self, run: &mut Run<'_>) -> rusqlite::Result<()> {
        let connection = run.connection;
        match self {
            Job::Save(save, asked, came) => {
                *run.made = u64::try_from(run.now.as_micros()).unwrap_or(u64::MAX).max(*run.made) + 1;
                asked.keep(rows::save(connection, save, run.now, *run.made))?;
                *came = asked.found.as_ref().and_then(|found| found.as_ref().ok().copied());
                if run.tool && matches!(came, Some(Saved::Done(_))) {
                    rows::note(connection, &save.key)?;
                }
                Ok(())
            }
            Job::Take(key, asked) => {
                asked.keep(rows::take(connection, key, run.now))?;
                if run.tool { rows::note(connection, key) } else { Ok(()) }
            }
            Job::Claim(hold, most, asked) => asked.keep(rows::claim(connection, run.now, *hold, *most)),
            Job::Load(keys, asked) => asked.keep(rows::load(connection, keys, run.now)),
            Job::Changed(asked) if asked.asker.is_none() => Ok(()),
            Job::Changed(asked) => asked.keep(rows::noted(connection).map_err(Fault::from)),
            Job::LetGo(over) => {
                over.iter().try_for_each(|(class, id)| match rows::let_go(connection, *class, *id, run.now) {
                    Err(Fault::Sqlite(error)) => Err(error),
                    Ok(()) | Err(Fault::Call(_)) => Ok(()),
                })
            }
        }
    }

    /// Does once more what was told to be done, after the transaction that did it was lost.
    pub(super) fn run_again(&self, connection: &Connection, now: Duration) -> rusqlite::Result<()> {
        let done = match self {
            Job::Save(save, _, Some(Saved::Done(version))) => {
                rows::save(connection, &Save { upon: None, ..save.clone() }, now, *version).map(drop)
            }
            Job::Take(key, _) => rows::take(connection, key, now).map(drop),
            _ => Ok(()),
        };
        match done {
            Err(Fault::Sqlite(error)) => Err(error),
            Ok(()) | Err(Fault::Call(_)) => Ok(()),
        }
    }

    /// It is done for good, and not needed any more to do it again.
    pub(super) fn end(&mut self) {
        if let Job::Save(save, asked, _) = self {
            asked.spent = std::mem::take(&mut save.fields);
        }
        self.tell();
    }

    pub(super) fn tell(&mut self) {
        match self {
            Job::Save(_, asked, _) => asked.tell(),
            Job::Take(_, asked) => asked.tell(),
            Job::Claim(_, _, asked) | Job::Changed(asked) => asked.tell(),
            Job::Load(_, asked) => asked.tell(),
            Job::LetGo(_) => {}
        }
    }

    pub(super) fn fail(&mut self, why: &StoreError) {
        match self {
            Job::Save(_, asked, _) => asked.fail(why),
            Job::Take(_, asked) => asked.fail(why),
            Job::Claim(_, _, asked) | Job::Changed(asked) => asked.fail(why),
            Job::Load(_, asked) => asked.fail(why),
            Job::LetGo(_) => {}
        }
    }
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    octets: usize,
    /// Whether the writer waits to be woken.
    asleep: bool,
    closed: bool,
}

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    hasher: RandomState,
    under_way: Box<[AtomicU32]>,
}

impl Default for Queue {
    fn default() -> Self {
        let under_way = (0..PLACES).map(|_| AtomicU32::new(0)).collect();
        Queue { waiting: Mutex::default(), filled: Condvar::new(), hasher: RandomState::new(), under_way }
    }
}

impl Queue {
    /// Nothing here can fail half way.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, key: &Key) -> &AtomicU32 {
        // Within bounds: it is the remainder of the length.
        &self.under_way[self.hasher.hash_one(key) as usize % PLACES]
    }

    pub(super) fn push(&self, mut job: Job) {
        let mut waiting = self.waiting();
        if waiting.closed {
            drop(waiting);
            return job.fail(&StoreError::Closed);
        }
        let octets = job.octets();
        if waiting.jobs.len() >= MOST_CALLS || waiting.octets.saturating_add(octets) > MOST_OCTETS {
            drop(waiting);
            return job.fail(&StoreError::Unwritable("more is asked for than the disk takes".into()));
        }
        if let Some(key) = job.key() {
            self.place(key).fetch_add(1, Ordering::Relaxed);
        }
        waiting.octets += octets;
        waiting.jobs.push_back(job);
        if std::mem::take(&mut waiting.asleep) {
            drop(waiting);
            self.filled.notify_one();
        }
    }

    /// Whether something that concerns one of them is under way. The lock, so that who has called save before sees it.
    pub(super) fn is_under_way(&self, keys: &[Key]) -> Result<bool, StoreError> {
        let waiting = self.waiting();
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        Ok(keys.iter().any(|key| self.place(key).load(Ordering::Relaxed) > 0))
    }

    /// What these jobs concern is no longer under way.
    pub(super) fn ended(&self, jobs: &[Job]) {
        for key in jobs.iter().filter_map(Job::key) {
            self.place(key).fetch_sub(1, Ordering::Release);
        }
    }

    /// Moves up to `most` jobs to `into`, waiting for them at most so long. False: it is the end, nothing more will come.
    pub(super) fn take(&self, into: &mut Vec<Job>, most: usize, octets: usize, wait: Duration) -> bool {
        let mut waiting = self.waiting();
        if waiting.jobs.is_empty() && !waiting.closed {
            waiting.asleep = true;
            let nothing = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.closed;
            waiting = self.filled.wait_timeout_while(waiting, wait, nothing).unwrap_or_else(PoisonError::into_inner).0;
            waiting.asleep = false;
        }
        let mut taken = 0;
        while into.len() < most
            && taken < octets
            && let Some(job) = waiting.jobs.pop_front()
        {
            taken += job.octets();
            waiting.octets = waiting.octets.saturating_sub(job.octets());
            into.push(job);
        }
        !(waiting.closed && waiting.jobs.is_empty() && into.is_empty())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.filled.notify_all();
    }
}
