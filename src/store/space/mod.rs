//! Durable values by key, in spaces that do not see each other (rank 3): what plugins keep over a restart.
//!
//! Every value lies in memory too, so that reading costs no trip to the disk; a space has a quota for that reason. A
//! change is in memory at once and is written by one thread in groups (SQLite in WAL mode, every commit synced). Who
//! has to know that it will survive the machine waits for the acknowledgement.

mod database;
mod writer;

use crate::answer::Answer;
use dashmap::DashMap;
use database::Database;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use writer::{Queue, Writer};

/// Longest key in octets.
pub const MAX_KEY: usize = 256;
/// Longest value in octets.
pub const MAX_VALUE: usize = 64 * 1024;
/// What an entry costs beside its octets.
const OVERHEAD: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    #[error("{} cannot be made: {cause}", path.display())]
    DataDir { path: PathBuf, cause: std::io::Error },
    #[error("{} cannot be opened: {cause}", path.display())]
    Open { path: PathBuf, cause: rusqlite::Error },
    #[error("{} is of version {found}, this program knows version {known}: use a newer imscript", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("another node runs on {}: every node needs a data dir of its own", .0.display())]
    InUse(PathBuf),
    #[error("store: {0}")]
    Sqlite(#[from] rusqlite::Error),
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
    /// Held while the node runs; the kernel lets it go even after a kill.
    lock: Mutex<Option<File>>,
}

type Table = DashMap<Arc<str>, Arc<Space>>;

impl Spaces {
    /// Opens or makes `store.db` in `data_dir`.
    pub fn open(data_dir: &Path) -> Result<Arc<Self>, SpaceError> {
        let path = data_dir.join("store.lock");
        let failed = |cause| SpaceError::DataDir { path: path.clone(), cause };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed)?;
        let lock = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpaceError::InUse(data_dir.into())),
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        let db = Database::open(data_dir)?;
        let queue = Arc::new(Queue::default());
        let spaces = Arc::new(Table::default());
        db.each(|space, key, value| {
            let space = space_of(&spaces, space, Some(&queue));
            space.entries().replace(key, Some(value));
        })?;
        let writer = Writer::start(db, spaces.clone(), queue.clone())?;
        Ok(Arc::new(Spaces { spaces, queue: Some(queue), writer: Some(writer), lock: Mutex::new(Some(lock)) }))
    }

    /// A store that forgets everything at its end: demonstrations, checks and tests.
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Spaces { spaces: Arc::default(), queue: None, writer: None, lock: Mutex::default() })
    }

    /// The space of that name, empty if it is new.
    pub fn space(&self, name: &str) -> Arc<Space> {
        space_of(&self.spaces, name, self.queue.as_ref())
    }

    /// Writes what is left, ends the writer and lets the files go. Later changes stay in memory.
    pub fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.stop();
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
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

    pub fn get(&self, key: &str) -> Option<Value> {
        self.entries().values.get(key).cloned()
    }

    /// Changes a value, or with None deletes it; written soon.
    pub fn put(&self, key: &str, value: Option<Value>, quota: usize) -> Result<(), SpaceError> {
        self.change(key, value, quota)?;
        if let Some(queue) = &self.queue {
            queue.changed(&self.name, key, None);
        }
        Ok(())
    }

    /// Like [`Space::put`]; the answer comes when the change is on disk.
    pub fn put_acknowledged(
        &self,
        key: &str,
        value: Option<Value>,
        quota: usize,
    ) -> Result<Answer<'static, Result<(), SpaceError>>, SpaceError> {
        self.change(key, value, quota)?;
        let Some(queue) = &self.queue else { return Ok(Answer::now(Ok(()))) };
        let (done, written) = oneshot::channel();
        queue.changed(&self.name, key, Some(done));
        Ok(Answer::later(async move {
            match written.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(why)) => Err(SpaceError::NotWritten(why.to_string())),
                Err(_) => Err(SpaceError::Closed),
            }
        }))
    }

    fn change(&self, key: &str, value: Option<Value>, quota: usize) -> Result<(), SpaceError> {
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
