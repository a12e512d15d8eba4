//! Tables of the subscriber database and their versions (`PRAGMA user_version`).

use super::EmbeddedError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// Step `n` leads from version `n` to `n + 1`. A step that was released is never changed again.
const STEPS: &[&str] = &["
    CREATE TABLE subscriber (
        impi       TEXT PRIMARY KEY NOT NULL,
        algorithm  TEXT NOT NULL,        -- milenage, tuak, digest
        k          BLOB,
        opc        BLOB,                 -- OPc or TOPc, never OP
        amf        BLOB NOT NULL,
        sqn_offset INTEGER,              -- SEQ minus tenths of a second since 1970
        sqn_tick   INTEGER,              -- when the offset was learnt
        password   BLOB,
        broadcast  TEXT NOT NULL,        -- no, yes, or service ids
        revision   INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX subscriber_by_revision ON subscriber (revision);
    CREATE TABLE public_identity (
        impu     TEXT PRIMARY KEY NOT NULL,
        impi     TEXT NOT NULL REFERENCES subscriber (impi) ON DELETE CASCADE,
        position INTEGER NOT NULL        -- 0: the default identity
    ) WITHOUT ROWID;
    CREATE INDEX implicit_set ON public_identity (impi, position);
    CREATE TABLE registration (
        impi            TEXT PRIMARY KEY NOT NULL REFERENCES subscriber (impi) ON DELETE CASCADE,
        ims_state       TEXT NOT NULL,
        ims_since       INTEGER,         -- seconds since 1970
        broadcast_state TEXT,
        server          TEXT,
        naf             TEXT,
        btid            TEXT,
        broadcast_since INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE removed (
        impi     TEXT PRIMARY KEY NOT NULL,
        revision INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE node (
        ind      INTEGER PRIMARY KEY,    -- IND of the SQNs that it issues
        sqn_mark INTEGER NOT NULL        -- no SEQ of any subscriber is above this tick plus its offset
    );
    CREATE TABLE revision (latest INTEGER NOT NULL);
    INSERT INTO revision VALUES (1);
"];

/// Brings a database up to this program's version; refuses one of a newer program.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), EmbeddedError> {
    if version(connection)? == STEPS.len() {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&tx)?; // again: another process may have been faster
    let Some(steps) = STEPS.get(found..) else {
        return Err(EmbeddedError::Newer { path: path.into(), found, known: STEPS.len() });
    };
    for step in steps {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", i64::try_from(STEPS.len()).unwrap_or(i64::MAX))?;
    Ok(tx.commit()?)
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}
