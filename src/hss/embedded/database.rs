//! The subscriber database: SQLite in WAL mode, `imscript.db` in the data dir.
//!
//! The node's writer thread has one connection, `imscript subscriber …` another, possibly at the same
//! time in another process. Every provisioning transaction raises the revision and marks its rows with
//! it, so that a running node finds what is new to it. K, OPc and passwords lie here in the clear: the
//! file is made readable by its owner only.

use super::rows;
use super::schema;
use super::subscriber::{Registration, Stored, StoredSqn, Subscriber, broadcast_text};
use super::{Credentials, EmbeddedError};
use crate::identity::{Impi, Impu};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// Name of the database inside the data dir.
pub const FILE_NAME: &str = "subscribers.db";
/// How long a statement waits for the writer of another process.
const BUSY: Duration = Duration::from_secs(10);

/// Why one subscriber of a provisioning transaction cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("{0} exists already")]
    Exists(Impi),
    #[error("{impu} belongs to {owner}")]
    ImpuTaken { impu: Impu, owner: Impi },
    #[error("no SQN follows the one given")]
    SqnUsedUp,
}

/// What a provisioning transaction met, each with the index of the subscriber.
pub type Conflicts = Vec<(usize, Conflict)>;

/// Told how many subscribers of a provisioning transaction are done.
pub type Progress<'a> = &'a mut dyn FnMut(usize);

pub struct Database {
    connection: Connection,
}

impl Database {
    /// Opens the database in `data_dir`, making both if they do not exist.
    pub fn create(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let path = data_dir.join(FILE_NAME);
        make_private(data_dir, &path).map_err(|cause| EmbeddedError::DataDir { path: path.clone(), cause })?;
        Self::connect(&path)
    }

    /// Opens the database in `data_dir`, which has to exist.
    pub fn existing(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let path = data_dir.join(FILE_NAME);
        if !path.is_file() {
            return Err(EmbeddedError::Absent(path));
        }
        Self::connect(&path)
    }

    pub fn in_memory() -> Result<Self, EmbeddedError> {
        Self::prepare(Connection::open_in_memory()?, Path::new(":memory:"))
    }

    fn connect(path: &Path) -> Result<Self, EmbeddedError> {
        let open = |path| Self::prepare(Connection::open(path)?, path);
        open(path).map_err(|error| match error {
            EmbeddedError::Sqlite(cause) => EmbeddedError::Open { path: path.into(), cause },
            other => other,
        })
    }

    fn prepare(mut connection: Connection, path: &Path) -> Result<Self, EmbeddedError> {
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.set_prepared_statement_cache_capacity(32);
        schema::migrate(&mut connection, path)?;
        Ok(Database { connection })
    }

    /// Whether every commit is synced (the default), or only what it follows on from: a later synced
    /// commit makes both last.
    pub(super) fn set_synced(&self, synced: bool) -> Result<(), EmbeddedError> {
        Ok(self.connection.pragma_update(None, "synchronous", if synced { "FULL" } else { "NORMAL" })?)
    }

    /// Changes when another connection has committed something.
    pub(super) fn data_version(&self) -> Result<i64, EmbeddedError> {
        Ok(self.connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    pub(super) fn begin(&mut self) -> Result<Transaction<'_>, EmbeddedError> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Takes all of `subscribers` in one transaction, or none. `tick`: the present, in the ticks of
    /// [`crate::aka::sqn`]. The conflicts come with the index of the subscriber.
    pub fn provision(
        &mut self,
        subscribers: &[Subscriber],
        tick: u64,
        replace: bool,
        progress: Progress<'_>,
    ) -> Result<Conflicts, EmbeddedError> {
        let tx = self.begin()?;
        let revision = next_revision(&tx)?;
        let mut conflicts = Vec::new();
        if replace {
            // First all old identities go, so that two subscribers of one file may exchange theirs.
            let mut old = tx.prepare_cached("DELETE FROM public_identity WHERE impi = ?1")?;
            for subscriber in subscribers {
                old.execute([subscriber.impi.as_str()])?;
            }
        }
        for (index, subscriber) in subscribers.iter().enumerate() {
            conflicts.extend(put(&tx, subscriber, tick, revision, replace)?.map(|conflict| (index, conflict)));
            progress(index + 1);
        }
        if conflicts.is_empty() {
            tx.commit()?;
        }
        Ok(conflicts)
    }

    /// False: there is no such subscriber.
    pub fn remove(&mut self, impi: &str) -> Result<bool, EmbeddedError> {
        let tx = self.begin()?;
        if tx.execute("DELETE FROM subscriber WHERE impi = ?1", [impi])? == 0 {
            return Ok(false);
        }
        let revision = next_revision(&tx)?;
        tx.execute(
            "INSERT INTO removed (impi, revision) VALUES (?1, ?2)
             ON CONFLICT (impi) DO UPDATE SET revision = excluded.revision",
            params![impi, revision],
        )?;
        tx.commit()?;
        Ok(true)
    }

    /// The subscriber of a private or public identity.
    pub fn find(&self, identity: &str) -> Result<Option<Stored>, EmbeddedError> {
        let canonical =
            super::field::impu(identity).map_or_else(|_| identity.to_owned(), |impu| impu.as_str().to_owned());
        let mut found = None;
        rows::each(
            &self.connection,
            "WHERE s.impi = coalesce((SELECT impi FROM subscriber WHERE impi = ?1),
                                     (SELECT impi FROM public_identity WHERE impu = ?2))",
            [identity, &canonical],
            |stored| {
                found = Some(stored);
                ControlFlow::Continue(())
            },
        )?;
        Ok(found)
    }

    /// Subscribers in order of IMPI, all or those registered somewhere, until `each` breaks.
    pub fn list(&self, registered: bool, each: impl FnMut(Stored) -> ControlFlow<()>) -> Result<(), EmbeddedError> {
        let filter =
            if registered { "WHERE r.ims_state = 'registered' OR r.broadcast_state = 'registered'" } else { "" };
        rows::each(&self.connection, filter, [], each)
    }

    /// What changed after revision `seen`: first who was removed, then who is new or different.
    pub(super) fn changes(
        &self,
        seen: i64,
        mut removed: impl FnMut(&str),
        mut changed: impl FnMut(Stored),
    ) -> Result<i64, EmbeddedError> {
        // One read transaction, so that the revision and the rows belong together.
        let tx = self.connection.unchecked_transaction()?;
        let latest = tx.query_row("SELECT latest FROM revision", [], |row| row.get(0))?;
        let mut statement = tx.prepare_cached("SELECT impi FROM removed WHERE revision > ?1")?;
        let mut rows = statement.query([seen])?;
        while let Some(row) = rows.next()? {
            removed(row.get_ref(0)?.as_str().unwrap_or_default());
        }
        let each = |stored| {
            changed(stored);
            ControlFlow::Continue(())
        };
        match seen {
            0 => rows::each(&tx, "", [], each)?,
            _ => rows::each(&tx, "WHERE s.impi IN (SELECT impi FROM subscriber WHERE revision > ?1)", [seen], each)?,
        }
        Ok(latest)
    }

    /// Nobody reads the tombstones of the past any more: called by the one node at its start.
    pub(super) fn forget_removed(&self) -> Result<(), EmbeddedError> {
        self.connection.execute("DELETE FROM removed", [])?;
        Ok(())
    }

    /// The highest SQN mark that any node has left, 0 if none did.
    pub(super) fn sqn_mark(&self) -> Result<u64, EmbeddedError> {
        let mark: Option<i64> = self.connection.query_row("SELECT max(sqn_mark) FROM node", [], |row| row.get(0))?;
        Ok(mark.and_then(|mark| u64::try_from(mark).ok()).unwrap_or(0))
    }
}

/// Writes the mark of this node; it never goes down.
pub(super) fn put_sqn_mark(tx: &Transaction<'_>, ind: u8, mark: u64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO node (ind, sqn_mark) VALUES (?1, ?2)
         ON CONFLICT (ind) DO UPDATE SET sqn_mark = max(sqn_mark, excluded.sqn_mark)",
    )?
    .execute(params![ind, as_integer(mark)])?;
    Ok(())
}

/// False: the subscriber is gone.
pub(super) fn put_sqn(tx: &Transaction<'_>, impi: &Impi, sqn: StoredSqn) -> rusqlite::Result<bool> {
    let rows = tx
        .prepare_cached("UPDATE subscriber SET sqn_offset = ?2, sqn_tick = ?3 WHERE impi = ?1")?
        .execute(params![impi.as_str(), sqn.offset, as_integer(sqn.tick)])?;
    Ok(rows == 1)
}

/// Records both states; nothing if the subscriber is gone.
pub(super) fn put_registration(tx: &Transaction<'_>, impi: &Impi, state: &Registration) -> rusqlite::Result<()> {
    let broadcast = state.broadcast.as_ref();
    tx.prepare_cached(
        "INSERT INTO registration
                (impi, ims_state, ims_since, broadcast_state, server, naf, btid, broadcast_since)
         SELECT impi, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM subscriber WHERE impi = ?1
         ON CONFLICT (impi) DO UPDATE SET
                ims_state = excluded.ims_state, ims_since = excluded.ims_since,
                broadcast_state = excluded.broadcast_state, server = excluded.server, naf = excluded.naf,
                btid = excluded.btid, broadcast_since = excluded.broadcast_since",
    )?
    .execute(params![
        impi.as_str(),
        state.ims.as_str(),
        state.ims_since.map(as_integer),
        broadcast.map(|b| b.state.as_str()),
        broadcast.map(|b| b.server.as_str()),
        broadcast.map(|b| b.naf_fqdn.as_str()),
        broadcast.and_then(|b| b.btid.as_deref()),
        broadcast.map(|b| as_integer(b.since)),
    ])?;
    Ok(())
}

fn next_revision(tx: &Transaction<'_>) -> rusqlite::Result<i64> {
    tx.query_row("UPDATE revision SET latest = latest + 1 RETURNING latest", [], |row| row.get(0))
}

fn put(
    tx: &Transaction<'_>,
    subscriber: &Subscriber,
    tick: u64,
    revision: i64,
    replace: bool,
) -> Result<Option<Conflict>, EmbeddedError> {
    let impi = subscriber.impi.as_str();
    let mut known = None;
    if replace {
        known = rows::credentials(tx, impi)?;
    } else if tx.prepare_cached("SELECT 1 FROM subscriber WHERE impi = ?1")?.exists([impi])? {
        return Ok(Some(Conflict::Exists(subscriber.impi.clone())));
    }
    let sqn = match (&subscriber.credentials, subscriber.sqn, known) {
        (Credentials::Digest(_), ..) => None,
        (keys, None, Some((old, Some(sqn)))) if keys.same_keys(&old) => Some(sqn),
        (_, sqn, _) => match StoredSqn::following(sqn.unwrap_or_default(), tick) {
            Ok(sqn) => Some(sqn),
            Err(_) => return Ok(Some(Conflict::SqnUsedUp)),
        },
    };
    let (k, opc, password) = match &subscriber.credentials {
        Credentials::Aka(keys) => (Some(keys.k()), Some(keys.opc()), None),
        Credentials::Digest(password) => (None, None, Some(password.as_bytes())),
    };
    tx.prepare_cached(
        "INSERT INTO subscriber (impi, algorithm, k, opc, amf, sqn_offset, sqn_tick, password, broadcast, revision)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (impi) DO UPDATE SET
                algorithm = excluded.algorithm, k = excluded.k, opc = excluded.opc, amf = excluded.amf,
                sqn_offset = excluded.sqn_offset, sqn_tick = excluded.sqn_tick,
                password = excluded.password, broadcast = excluded.broadcast, revision = excluded.revision",
    )?
    .execute(params![
        impi,
        subscriber.credentials.algorithm(),
        k,
        opc,
        subscriber.amf.0,
        sqn.map(|sqn| sqn.offset),
        sqn.map(|sqn| as_integer(sqn.tick)),
        password,
        broadcast_text(&subscriber.broadcast),
        revision,
    ])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO public_identity (impu, impi, position) VALUES (?1, ?2, ?3)
         ON CONFLICT (impu) DO NOTHING",
    )?;
    for (position, impu) in subscriber.impus.iter().enumerate() {
        if insert.execute(params![impu.as_str(), impi, as_integer(position as u64)])? == 0 {
            let owner: Option<String> = tx
                .query_row("SELECT impi FROM public_identity WHERE impu = ?1", [impu.as_str()], |row| row.get(0))
                .optional()?;
            let owner = Impi::new(owner.unwrap_or_default());
            return Ok(Some(Conflict::ImpuTaken { impu: impu.clone(), owner }));
        }
    }
    Ok(None)
}

/// SQLite's integers are signed.
fn as_integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Makes the data dir and an empty database file for the owner's eyes only; SQLite gives its WAL the same mode.
fn make_private(data_dir: &Path, file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file)?;
    Ok(())
}
