//! Durable values by key, in spaces that do not see each other (rank 3): what plugins keep over a restart.
//!
//! Every value lies in memory too, so that reading costs no trip to the store; a space has a quota for that reason. A
//! change is in memory at once and is saved by one thread, which gathers what changes meanwhile. Who has to know that it
//! will survive waits for the acknowledgement. A space is an entity of [`Class::Plugin`], its keys are the fields; where
//! several nodes share the store, the others' changes are taken up about a second later, key by key.

mod legacy;
mod value;
mod writer;

pub use legacy::take_over;

use super::{Class, Entity, Key, Nature, Store, StoreError};
use crate::answer::Answer;
use dashmap::DashMap;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use writer::{Queue, Writer, Written};

/// Longest key in octets.
pub const MAX_KEY: usize = 256;
/// Longest value in octets.
pub const MAX_VALUE: usize = 64 * 1024;
/// What an entry costs beside its octets.
const OVERHEAD: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    #[error("{} cannot be taken over: {cause}", path.display())]
    Legacy { path: PathBuf, cause: rusqlite::Error },
    #[error("{} cannot be renamed: {cause}", path.display())]
    Rename { path: PathBuf, cause: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store's writer cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("a key has 1 to {MAX_KEY} octets, not {0}")]
    Key(usize),
    #[error("a value has at most {MAX_VALUE} octets, not {0}")]
    Value(usize),
    #[error("the quota of {quota} octets is used up: {used} are taken and {wanted} more are asked for")]
    Quota { quota: usize, used: usize, wanted: usize },
    #[error("not written: {0}")]
    NotWritten(String),
    #[error("the store is closed")]
    Closed,
}

/// What can be stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(Box<[u8]>),
    Number(f64),
    Boolean(bool),
    /// A structure, as JSON text.
    Json(Box<str>),
}

impl Value {
    fn len(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Json(text) => text.len(),
            Value::Number(_) | Value::Boolean(_) => 8,
        }
    }

    /// Octets that an entry takes of its quota.
    pub fn cost(&self, key: &str) -> usize {
        key.len() + self.len() + OVERHEAD
    }

    /// Whether key and value are of a size that is taken.
    pub fn fits(&self, key: &str) -> Result<(), SpaceError> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(SpaceError::Key(key.len()));
        }
        if self.len() > MAX_VALUE {
            return Err(SpaceError::Value(self.len()));
        }
        Ok(())
    }
}

/// All spaces of a node.
pub struct Spaces {
    spaces: Arc<Table>,
    queue: Option<Arc<Queue>>,
    writer: Option<Writer>,
}

type Table = DashMap<Arc<str>, Arc<Space>>;

impl Spaces {
    /// Reads what the store has. It blocks.
    pub fn open(store: Arc<dyn Store>) -> Result<Arc<Self>, SpaceError> {
        if store.nature() == Nature::Volatile {
            return Ok(Self::in_memory());
        }
        let queue = Arc::new(Queue::default());
        let spaces = Arc::new(Table::default());
        let mut each = |key: &Key, entity: Entity| {
            space_of(&spaces, &key.name, Some(&queue)).take_up(&entity);
            ControlFlow::Continue(())
        };
        store.walk(Class::Plugin, &mut each)?;
        let writer = Writer::start(store, spaces.clone(), queue.clone())?;
        Ok(Arc::new(Spaces { spaces, queue: Some(queue), writer: Some(writer) }))
    }

    /// Spaces that forget everything at their end: demonstrations, checks and tests.
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Spaces { spaces: Arc::default(), queue: None, writer: None })
    }

    /// The space of that name, empty if it is new.
    pub fn space(&self, name: &str) -> Arc<Space> {
        space_of(&self.spaces, name, self.queue.as_ref())
    }

    /// Saves what is left and ends the writer; to be called before the store itself is closed. Later changes stay in
    /// memory.
    pub fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.stop();
        }
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        self.close();
    }
}

fn space_of(spaces: &Table, name: &str, queue: Option<&Arc<Queue>>) -> Arc<Space> {
    if let Some(space) = spaces.get(name) {
        return space.clone();
    }
    let name: Arc<str> = name.into();
    let new = || Arc::new(Space { name: name.clone(), entries: Mutex::default(), queue: queue.cloned() });
    spaces.entry(name.clone()).or_insert_with(new).clone()
}

/// The values of one owner.
pub struct Space {
    name: Arc<str>,
    entries: Mutex<Entries>,
    /// None: nothing is written.
    queue: Option<Arc<Queue>>,
}

#[derive(Default)]
struct Entries {
    values: BTreeMap<Box<str>, Value>,
    cost: usize,
    /// Version of the entity that this is in step with.
    version: u64,
}

impl Entries {
    fn replace(&mut self, key: &str, value: Option<Value>) {
        let (new, old) = match value {
            Some(value) => (value.cost(key), self.values.insert(key.into(), value)),
            None => (0, self.values.remove(key)),
        };
        let old = old.map_or(0, |value| value.cost(key));
        self.cost = self.cost.saturating_add(new).saturating_sub(old);
    }
}

impl Space {
    /// A panic of another holder leaves at worst the sum a little off.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the store has, but for the keys that have changed here and are not saved yet: they will be, and count.
    fn take_up(&self, entity: &Entity) {
        let mut entries = self.entries();
        let waiting = self.queue.as_ref().map(|queue| queue.waiting(&self.name)).unwrap_or_default();
        let has_changed = |key: &str| waiting.contains(key);
        let keys = entries.values.keys();
        let gone: Vec<_> = keys.filter(|key| entity.field(key).is_none() && !has_changed(key)).cloned().collect();
        gone.iter().for_each(|key| entries.replace(key, None));
        for (key, octets) in &entity.fields {
            match Value::read(octets) {
                _ if has_changed(key) => {}
                Some(value) => entries.replace(key, Some(value)),
                None => tracing::warn!(space = &*self.name, key = &**key, "a value in the store cannot be read"),
            }
        }
        entries.version = entity.version;
    }

    pub fn get(&self, key: &str) -> Option<Value> {
        self.entries().values.get(key).cloned()
    }

    /// Changes a value, or with None deletes it; written soon.
    pub fn put(&self, key: &str, value: Option<Value>, quota: usize) -> Result<(), SpaceError> {
        self.change(key, value, quota, None)
    }

    /// Like [`Space::put`]; the answer comes when the change is on disk.
    pub fn put_acknowledged(
        &self,
        key: &str,
        value: Option<Value>,
        quota: usize,
    ) -> Result<Answer<'static, Result<(), SpaceError>>, SpaceError> {
        let (done, written) = oneshot::channel();
        self.change(key, value, quota, Some(done))?;
        if self.queue.is_none() {
            return Ok(Answer::now(Ok(())));
        }
        Ok(Answer::later(async move {
            match written.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(why)) => Err(SpaceError::NotWritten(why.to_string())),
                Err(_) => Err(SpaceError::Closed),
            }
        }))
    }

    fn change(&self, key: &str, value: Option<Value>, quota: usize, done: Option<Written>) -> Result<(), SpaceError> {
        let mut entries = self.entries();
        if let Some(value) = &value {
            value.fits(key)?;
            let old = entries.values.get(key).map_or(0, |old| old.cost(key));
            let (used, wanted) = (entries.cost, value.cost(key).saturating_sub(old));
            if wanted > 0 && used.saturating_add(wanted) > quota {
                return Err(SpaceError::Quota { quota, used, wanted });
            }
        }
        entries.replace(key, value);
        // While the entries are held: what is taken up from the store must not come between.
        if let Some(queue) = &self.queue {
            queue.changed(&self.name, key, done);
        }
        Ok(())
    }

    /// At most `limit` keys that begin with `prefix`, in order.
    pub fn keys(&self, prefix: &str, limit: usize) -> Vec<Box<str>> {
        let entries = self.entries();
        let from = entries.values.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
