//! `[store]`: where state is kept, and how it is opened.

use crate::store::open::{self, Kind};
use crate::store::seal::{Seal, SealError};
use crate::store::{redis, sqlite};
use std::path::{Path, PathBuf};

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    pub kind: StoreKind,
    pub durability: Durability,
    /// Key file under which secrets are sealed; None: `store.key` in the data folder, made when there is none.
    pub key_file: Option<PathBuf>,
    /// Key file that was in use before, while what it sealed is sealed anew.
    pub old_key_file: Option<PathBuf>,
    /// IND of this node's SQNs; None: leased where the store is shared, else 0.
    pub ind: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreKind {
    Memory,
    /// `imscript.db` in the data folder.
    Sqlite,
    Redis(Redis),
}

/// One Redis or Valkey server, or nodes of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Redis {
    /// `redis://` or `rediss://` (TLS), with user and password if the server asks for them.
    pub urls: Vec<String>,
    /// Before every key, so that several networks may share one server.
    pub prefix: String,
    /// CA of the servers' certificates.
    pub ca: Option<PathBuf>,
}

/// Without the passwords that may stand in the URLs.
impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("urls", &self.urls.len()).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// What an acknowledged registration stands for, on a store of the node's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is on disk before the 200.
    #[default]
    Commit,
    /// It is on disk a bounded time later.
    WriteBehind,
    /// It ends with the process; subscribers and what plugins store do not.
    Memory,
}

impl std::str::FromStr for Durability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "commit" => Ok(Durability::Commit),
            "write-behind" => Ok(Durability::WriteBehind),
            "memory" => Ok(Durability::Memory),
            _ => Err("durability: one of commit, write-behind, memory"),
        }
    }
}

impl Store {
    /// What [`open`] takes. `data_dir`: of the node.
    pub fn to_open(&self, data_dir: &Path) -> Kind {
        let sqlite = |durability| Kind::Sqlite { dir: data_dir.to_path_buf(), durability };
        match (&self.kind, self.durability) {
            (StoreKind::Memory, _) => Kind::Memory,
            (StoreKind::Sqlite, Durability::Commit) => sqlite(sqlite::Durability::Commit),
            // Subscribers and what plugins keep are on disk all the same.
            (StoreKind::Sqlite, Durability::WriteBehind | Durability::Memory) => {
                sqlite(sqlite::Durability::WriteBehind)
            }
            (StoreKind::Redis(redis), _) => Kind::Redis(redis::Options {
                urls: redis.urls.clone(),
                prefix: redis.prefix.clone(),
                ca: redis.ca.clone(),
            }),
        }
    }

    /// The key that the configuration names, or the folder's own, made if there is none; none for what stays in memory.
    pub fn seal(&self, data_dir: &Path) -> Result<Seal, SealError> {
        let seal = match (&self.key_file, self.to_open(data_dir)) {
            (Some(file), _) => Seal::from_file(file)?,
            (None, open::Kind::Memory) => Seal::none(),
            (None, _) => Seal::create(&data_dir.join("store.key"))?,
        };
        match &self.old_key_file {
            Some(file) => Ok(seal.with_old(Seal::from_file(file)?)),
            None => Ok(seal),
        }
    }
}

/// The text is not repeated in the error: there may be a password in it.
pub(super) fn url(text: &str) -> Result<String, &'static str> {
    let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"));
    match rest {
        Some(rest) if !rest.is_empty() && rest.len() <= 1024 => Ok(text.to_string()),
        _ => Err("a URL such as \"redis://127.0.0.1:6379\" or \"rediss://user:password@db.example:6380\""),
    }
}

/// No braces: what stands between them decides where a cluster puts a key.
pub(super) fn prefix(text: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.len() {
        1..=64 if text.chars().all(fits) => Ok(text.to_string()),
        _ => Err("prefix: 1 to 64 letters, digits, '-', '_' and '.'"),
    }
}
