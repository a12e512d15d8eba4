//! Tables of the database and their versions (`PRAGMA user_version`).

use super::SqliteError;
use crate::store::Class;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::path::Path;

type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// Step `n` leads from version `n` to `n + 1`. A step that was released is never changed again.
const STEPS: &[Step] = &[
    // Version 1 was the subscriber database of imscript 0.1, which lies in the same file; a new file passes through.
    |_| Ok(()),
    entities,
];

/// One table a class, so that what a node reads first at its start lies together. An entity is a row; what is large, or
/// grows field by field, has its fields in `field`.
fn entities(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    for class in Class::ALL {
        let table = table(class);
        tx.execute_batch(&format!(
            "CREATE TABLE {table} (
                 id      INTEGER PRIMARY KEY,
                 name    TEXT NOT NULL UNIQUE,
                 version INTEGER NOT NULL,
                 due     INTEGER,                -- when a node is to look at it, microseconds of the store's time
                 until   INTEGER,                -- when it may go
                 fields  BLOB                    -- NULL: they are in the table field
             ) STRICT;
             CREATE INDEX {table}_due ON {table} (due) WHERE due IS NOT NULL;"
        ))?;
    }
    tx.execute_batch(
        "CREATE TABLE field (
             class  TEXT NOT NULL,
             entity INTEGER NOT NULL,
             name   TEXT NOT NULL,
             value  BLOB NOT NULL,
             PRIMARY KEY (class, entity, name)
         ) STRICT;
         -- What tools have changed, until the node has looked.
         CREATE TABLE change (id INTEGER PRIMARY KEY AUTOINCREMENT, class TEXT NOT NULL, name TEXT NOT NULL) STRICT;
         -- The last sign of life of a node, in microseconds: its time, and how long the machine had been up.
         CREATE TABLE beat (
             one INTEGER PRIMARY KEY CHECK (one = 1), time INTEGER NOT NULL, boot TEXT NOT NULL, up INTEGER NOT NULL
         ) STRICT;",
    )
}

/// Name of a class's table.
pub(super) fn table(class: Class) -> String {
    format!("store_{}", class.as_str().replace('-', "_"))
}

/// Brings a database up to this program's version; refuses one of a newer program.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), SqliteError> {
    let failed = |cause| SqliteError::Open { path: path.into(), cause };
    if version(connection).map_err(failed)? == STEPS.len() {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found = version(&tx).map_err(failed)?; // again: another process may have been faster
    let Some(steps) = STEPS.get(found..) else {
        return Err(SqliteError::Newer { path: path.into(), found, known: STEPS.len() });
    };
    let all = || {
        for step in steps {
            step(&tx)?;
        }
        tx.pragma_update(None, "user_version", i64::try_from(STEPS.len()).unwrap_or(i64::MAX))
    };
    all().and_then(|()| tx.commit()).map_err(failed)
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}
