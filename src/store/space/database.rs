//! The file `store.db`: one table, read whole at the start, written in groups.

use super::{Space, SpaceError, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use std::path::Path;
use std::sync::Arc;

const FILE_NAME: &str = "store.db";
/// `PRAGMA user_version` of the table below.
const VERSION: i64 = 1;

pub(super) struct Database {
    connection: Connection,
}

impl Database {
    pub(super) fn open(data_dir: &Path) -> Result<Self, SpaceError> {
        let path = data_dir.join(FILE_NAME);
        make_private(&path).map_err(|cause| SpaceError::DataDir { path: path.clone(), cause })?;
        let open = || -> rusqlite::Result<(Connection, i64)> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(std::time::Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if found == 0 {
                connection.execute_batch(
                    "BEGIN IMMEDIATE;
                     CREATE TABLE entry (
                         space TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, value ANY NOT NULL,
                         PRIMARY KEY (space, key)
                     ) STRICT, WITHOUT ROWID;
                     PRAGMA user_version = 1;
                     COMMIT;",
                )?;
            }
            Ok((connection, if found == 0 { VERSION } else { found }))
        };
        let (connection, found) = open().map_err(|cause| SpaceError::Open { path: path.clone(), cause })?;
        if found != VERSION {
            return Err(SpaceError::Newer { path, found, known: VERSION });
        }
        Ok(Database { connection })
    }

    pub(super) fn each(&self, mut entry: impl FnMut(&str, &str, Value)) -> Result<(), SpaceError> {
        let mut statement = self.connection.prepare("SELECT space, key, kind, value FROM entry")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (space, key, kind) = (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?);
            let (Ok(space), Ok(key), Ok(kind)) = (space.as_str(), key.as_str(), kind.as_str()) else { continue };
            match value(kind, row.get_ref(3)?) {
                Some(value) => entry(space, key, value),
                None => tracing::warn!(space, key, "an entry of the store cannot be read and is left alone"),
            }
        }
        Ok(())
    }

    /// Writes the present value of each entry in one transaction; on disk when it returns.
    pub(super) fn write<'a>(
        &mut self,
        entries: impl Iterator<Item = (&'a Arc<Space>, &'a str)>,
    ) -> Result<(), SpaceError> {
        let tx = self.connection.transaction()?;
        {
            let mut put = tx.prepare_cached("INSERT OR REPLACE INTO entry VALUES (?1, ?2, ?3, ?4)")?;
            let mut delete = tx.prepare_cached("DELETE FROM entry WHERE space = ?1 AND key = ?2")?;
            for (space, key) in entries {
                let name = &*space.name;
                match space.get(key) {
                    Some(Value::Text(text)) => put.execute(params![name, key, "text", &*text])?,
                    Some(Value::Json(text)) => put.execute(params![name, key, "json", &*text])?,
                    // SQLite has no NaN: it would become NULL.
                    Some(Value::Number(number)) => put.execute(params![name, key, "number", number.to_string()])?,
                    Some(Value::Boolean(truth)) => put.execute(params![name, key, "boolean", truth])?,
                    None => delete.execute(params![name, key])?,
                };
            }
        }
        Ok(tx.commit()?)
    }
}

fn value(kind: &str, value: ValueRef<'_>) -> Option<Value> {
    match kind {
        "text" => value.as_bytes().ok().map(|text| Value::Text(text.into())),
        "json" => value.as_str().ok().map(|text| Value::Json(text.into())),
        "number" => value.as_str().ok()?.parse().ok().map(Value::Number),
        "boolean" => value.as_i64().ok().map(|truth| Value::Boolean(truth != 0)),
        _ => None,
    }
}

/// Plugins may keep what is nobody else's business: readable by the owner only.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}
