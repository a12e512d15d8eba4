//! The thread that saves what has changed in memory.
//!
//! What waits is a set of keys, not of values: a key that changes a thousand times between two commits is written
//! once, so the queue is never longer than the quotas allow.

use super::{Space, SpaceError, Table};
use crate::store::{Class, Key, Nature, Save, Saved, Store, StoreError};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Keys that are saved in one change.
const MOST_FIELDS: usize = 256;
/// How often what other nodes have changed is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a save that failed.
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

    /// Keys of a space that have changed and are not saved yet.
    pub(super) fn waiting(&self, space: &str) -> HashSet<Box<str>> {
        let pending = self.pending();
        pending.changed.keys().filter(|(of, _)| **of == *space).map(|(_, key)| key.clone()).collect()
    }

    /// What is to be written, and whether it is the end. `most`: how long it is waited for; then it may be empty.
    fn take(&self, most: Duration) -> (Changed, bool) {
        let pending = self.pending();
        let waits = |pending: &mut Pending| pending.changed.is_empty() && !pending.stop;
        let filled = self.filled.wait_timeout_while(pending, most, waits);
        let mut pending = filled.unwrap_or_else(PoisonError::into_inner).0;
        (std::mem::take(&mut pending.changed), pending.stop)
    }
}

pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(store: Arc<dyn Store>, spaces: Arc<Table>, queue: Arc<Queue>) -> Result<Self, SpaceError> {
        let of_thread = queue.clone();
        let thread = std::thread::Builder::new()
            .name("space-writer".into())
            .spawn(move || run(&*store, &spaces, &of_thread))
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
            tracing::error!("the writer of what plugins store ended by a fault");
        }
    }
}

fn run(store: &dyn Store, spaces: &Table, queue: &Queue) {
    let (mut failing, mut looked) = (false, Instant::now());
    loop {
        let (mut changed, stop) = queue.take(LOOK);
        if let Err(error) = write(store, spaces, &mut changed) {
            if !std::mem::replace(&mut failing, true) {
                tracing::error!(%error, "what plugins store cannot be written, tried again");
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
        if stop {
            let mut pending = queue.pending();
            pending.ended = true;
            return pending.changed.clear(); // who came last hears that it is closed
        }
        if store.nature() == Nature::Shared && looked.elapsed() >= LOOK {
            looked = Instant::now();
            // If the store is away, the next look is soon enough.
            let _ = look(store, spaces);
        }
    }
}

/// Saves the present value of each key, the keys of a space in one change, and tells who waits. What is left in `changed`
/// was not written.
fn write(store: &dyn Store, spaces: &Table, changed: &mut Changed) -> Result<(), StoreError> {
    let mut by_space = BTreeMap::<Arc<str>, Vec<Box<str>>>::new();
    for (space, key) in changed.keys() {
        by_space.entry(space.clone()).or_default().push(key.clone());
    }
    let mut answers = Vec::new();
    for (name, keys) in by_space {
        // The table, not `space_of`: nobody has changed what is not there.
        let Some(space) = spaces.get(&name).map(|space| space.clone()) else { continue };
        for keys in keys.chunks(MOST_FIELDS) {
            let fields = keys.iter().map(|key| (key.clone(), space.get(key).map(|value| value.written())));
            let save = Save::some(Key::new(Class::Plugin, name.clone()), fields.collect());
            answers.push((space.clone(), keys.to_vec(), store.save(save)));
        }
    }
    let mut failed = Ok(());
    for (space, keys, answer) in answers {
        let result = answer.wait();
        if let Ok(Saved::Done(version)) = result {
            let mut entries = space.entries();
            // Otherwise another node's change lies between, and is found by the next look.
            if version == entries.version.saturating_add(1) {
                entries.version = version;
            }
        }
        let told = result.as_ref().map(|_| ()).map_err(|why| Arc::from(why.to_string()));
        for key in keys {
            let place = (space.name.clone(), key);
            let waiting = match &result {
                Ok(_) => changed.remove(&place).unwrap_or_default(),
                Err(_) => changed.get_mut(&place).map(std::mem::take).unwrap_or_default(),
            };
            waiting.into_iter().for_each(|done| _ = done.send(told.clone()));
        }
        if let Err(why) = result {
            failed = Err(why);
        }
    }
    failed
}

/// Takes up what other nodes have changed.
fn look(store: &dyn Store, spaces: &Table) -> Result<(), StoreError> {
    let all: Vec<Arc<Space>> = spaces.iter().map(|space| space.clone()).collect();
    let keys = all.iter().map(|space| Key::new(Class::Plugin, space.name.clone())).collect();
    for (space, entity) in all.iter().zip(store.load(keys).wait()?) {
        if space.entries().version == entity.version {
            continue;
        }
        space.take_up(&entity);
    }
    Ok(())
}
