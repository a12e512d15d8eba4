//! Which store a configuration names.

use super::StartError;
use crate::config::{Config, Durability, StoreKind};
use crate::store::open::Kind;
use crate::store::sqlite;

pub(crate) fn kind(config: &Config) -> Result<Kind, StartError> {
    let durability = match config.store.durability {
        Durability::Memory => return Ok(Kind::Memory),
        Durability::Commit => sqlite::Durability::Commit,
        Durability::WriteBehind => sqlite::Durability::WriteBehind,
    };
    match config.store.kind {
        StoreKind::Memory => Ok(Kind::Memory),
        StoreKind::Sqlite => Ok(Kind::Sqlite { dir: config.data_dir.clone(), durability }),
        StoreKind::Redis(_) => Err(StartError::Config("store: this version cannot use Redis".into())),
    }
}
