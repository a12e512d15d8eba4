//! The store that a configuration names, as it is opened, and the key of its secrets.

use super::{Config, Durability, StoreKind};
use crate::store::open::Kind;
use crate::store::{Seal, SealError, sqlite};

/// Name of the key file that is made in the data folder when the configuration names none.
const KEY_FILE: &str = "store.key";

impl Config {
    /// What [`crate::store::open`] opens.
    pub fn store_kind(&self) -> Kind {
        let sqlite = |durability| Kind::Sqlite { dir: self.data_dir.clone(), durability };
        match (&self.store.kind, self.store.durability) {
            (StoreKind::Memory, _) | (StoreKind::Sqlite, Durability::Memory) => Kind::Memory,
            (StoreKind::Sqlite, Durability::Commit) => sqlite(sqlite::Durability::Commit),
            (StoreKind::Sqlite, Durability::WriteBehind) => sqlite(sqlite::Durability::WriteBehind),
            (StoreKind::Redis(_), _) => Kind::Memory,
        }
    }

    /// The key in `store.key_file`; without one, the data folder's own, which is made if there is none. Nothing that ends
    /// with the process is sealed.
    pub fn seal(&self) -> Result<Seal, SealError> {
        match (&self.store.key_file, self.store_kind()) {
            (Some(file), _) => Seal::from_file(file),
            (None, Kind::Memory) => Ok(Seal::none()),
            (None, _) => Seal::create(&self.data_dir.join(KEY_FILE)),
        }
    }
}
