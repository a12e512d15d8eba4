//! The store's writer: one thread that owns the connection.
//!
//! What waits is a set of keys, not of values: a key that changes a thousand times between two commits is written
//! once, so the queue is never longer than the quotas allow.

use super::database::Database;
use super::{SpaceError, Table};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Pause after a transaction that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Told when the change is on disk, or why it is not.
pub(super) type Written = oneshot::Sender<Result<(), Arc<str>>>;
type Changed = HashMap<(Arc<str>, Box<str>), Vec<Written>>;

#[derive(Default)]
pub(super) struct Queue {
    pending: Mutex<Pending>,
    filled: Condvar,
}

#[derive(Default)]
struct Pending {
    changed: Changed,
    stop: bool,
    ended: bool,
}

impl Queue {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `done` is dropped if the writer has ended.
    pub(super) fn changed(&self, space: &Arc<str>, key: &str, done: Option<Written>) {
        let mut pending = self.pending();
        if !pending.ended {
            pending.changed.entry((space.clone(), key.into())).or_default().extend(done);
            self.filled.notify_one();
        }
    }

    /// What is to be written; empty only when it is the end.
    fn take(&self) -> (Changed, bool) {
        let pending = self.pending();
        let waits = |pending: &mut Pending| pending.changed.is_empty() && !pending.stop;
        let mut pending = self.filled.wait_while(pending, waits).unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut pending.changed), pending.stop)
    }
}

pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(db: Database, spaces: Arc<Table>, queue: Arc<Queue>) -> Result<Self, SpaceError> {
        let of_thread = queue.clone();
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(db, &spaces, &of_thread))
            .map_err(SpaceError::Thread)?;
        Ok(Writer { queue, thread: Mutex::new(Some(thread)) })
    }

    /// Writes what is left and ends the thread.
    pub(super) fn stop(&self) {
        self.queue.pending().stop = true;
        self.queue.filled.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended by a fault");
        }
    }
}

fn run(mut db: Database, spaces: &Table, queue: &Queue) {
    let mut failing = false;
    loop {
        let (mut changed, stop) = queue.take();
        if !changed.is_empty() {
            let found: Vec<_> =
                changed.keys().filter_map(|(space, key)| Some((spaces.get(space)?.clone(), key.clone()))).collect();
            let result = db.write(found.iter().map(|(space, key)| (space, &**key)));
            let told: Result<(), Arc<str>> = result.as_ref().copied().map_err(|why| why.to_string().into());
            changed.values_mut().flat_map(|done| done.drain(..)).for_each(|done| _ = done.send(told.clone()));
            if let Err(error) = result {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "the store cannot be written, tried again");
                }
                // Who has changed since waits there already, perhaps with an acknowledgement.
                let mut pending = queue.pending();
                changed.into_keys().for_each(|key| _ = pending.changed.entry(key).or_default());
                drop(pending);
                if !stop {
                    std::thread::sleep(RETRY);
                }
            } else {
                failing = false;
            }
        }
        if stop {
            let mut pending = queue.pending();
            pending.ended = true;
            return pending.changed.clear(); // who came last hears that it is closed
        }
    }
}
