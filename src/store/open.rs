//! Opening what a configuration names (rank 3): for the server ([`node`]) and for the command line ([`tool`]). It takes
//! plain arguments; what they are in the configuration is said where that is known.

use super::redis::{Options, Redis};
use super::sqlite::{Durability, Sqlite, SqliteError};
use super::{Memory, Store, StoreError};
use crate::clock::Clock;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no store in {}", .0.display())]
    Absent(PathBuf),
    #[error("a store in memory belongs to the node's process alone")]
    Memory,
}

/// Which store.
#[derive(Debug, Clone)]
pub enum Kind {
    Memory,
    /// `imscript.db` in the folder.
    Sqlite {
        dir: PathBuf,
        durability: Durability,
    },
    Redis(Options),
}

/// The store of a node, made if there is none.
pub fn node(kind: &Kind, clock: Clock) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match kind {
        Kind::Memory => Arc::new(Memory::new(clock)),
        Kind::Sqlite { dir, durability } => Arc::new(Sqlite::open_node(dir, *durability, clock)?),
        Kind::Redis(options) => Arc::new(Redis::open(options, clock)?),
    })
}

/// A store as a tool has it.
pub struct Tool {
    pub store: Arc<dyn Store>,
    /// The same, where it has files to look after.
    pub sqlite: Option<Arc<Sqlite>>,
}

/// Beside the node or without one. `make`: whether it is made if there is none.
pub fn tool(kind: &Kind, make: bool) -> Result<Tool, OpenError> {
    match kind {
        Kind::Memory => Err(OpenError::Memory),
        Kind::Sqlite { dir, .. } if !make && !Sqlite::is_in(dir) => Err(OpenError::Absent(dir.clone())),
        Kind::Sqlite { dir, .. } => {
            let sqlite = Arc::new(Sqlite::open_tool(dir)?);
            Ok(Tool { store: sqlite.clone(), sqlite: Some(sqlite) })
        }
        Kind::Redis(options) => Ok(Tool { store: Arc::new(Redis::open(options, Clock::new())?), sqlite: None }),
    }
}
