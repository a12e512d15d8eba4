//! The store that a configuration names, as it is opened, and the key of its secrets.

use super::{Config, Durability, Redis, StoreKind};
use crate::store::open::Kind;
use crate::store::{Seal, SealError, redis, sqlite};

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
            (StoreKind::Redis(Redis { urls, prefix, ca }), _) => {
                Kind::Redis(redis::Options { urls: urls.clone(), prefix: prefix.clone(), ca: ca.clone() })
            }
        }
    }

    /// The key in `store.key_file`, and that in `store.old_key_file` to open what was sealed before. Without them a node
    /// with a store of its own has a key in its data folder, which is made if there is none; several nodes have none in
    /// common, and nothing is sealed.
    pub fn seal(&self) -> Result<Seal, SealError> {
        let seal = match (&self.store.key_file, self.store_kind()) {
            (Some(file), _) => Seal::from_file(file)?,
            (None, Kind::Sqlite { dir, .. }) => Seal::create(&dir.join(KEY_FILE))?,
            (None, Kind::Memory) => Seal::none(),
            (None, Kind::Redis(_)) => {
                tracing::warn!("no store.key_file: keys of subscribers lie in the store in the clear");
                Seal::none()
            }
        };
        match &self.store.old_key_file {
            Some(file) => Ok(seal.with_old(Seal::from_file(file)?)),
            None => Ok(seal),
        }
    }
}
