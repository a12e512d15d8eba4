//! The file `imscript.db`, how it is opened, and the lock that makes a data folder one node's.

use super::SqliteError;
use super::schema;
use rusqlite::{Connection, OpenFlags};
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Name of the database inside the data folder.
pub const FILE_NAME: &str = "imscript.db";
const LOCK_NAME: &str = "node.lock";
/// How long a transaction waits for that of another process.
const BUSY: Duration = Duration::from_secs(5);
/// What a connection keeps of the file in memory, in KiB.
const CACHE: i64 = 65_536;
/// To this size the write-ahead log shrinks again, in octets. A node under steady load stays below it: to cut the file and have
/// it grow again makes commits wait, for the disk to note where its new parts lie.
const WAL_KEPT: i64 = 128 << 20;

/// Where the database is, and through which of SQLite's file systems it is reached.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    vfs: Option<String>,
}

impl Place {
    /// Makes folder and file, for the owner's eyes only; SQLite gives its log the same mode.
    pub(super) fn make(dir: &Path, vfs: Option<&str>) -> Result<Self, SqliteError> {
        let path = dir.join(FILE_NAME);
        let make = || -> std::io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            File::options().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            // The name of the file must outlive the machine as well.
            File::open(dir)?.sync_all()
        };
        make().map_err(|cause| SqliteError::DataDir { path: path.clone(), cause })?;
        Ok(Place { path, vfs: vfs.map(str::to_owned) })
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = match &self.vfs {
            None => Connection::open_with_flags(&self.path, flags)?,
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs.as_str())?,
        };
        connection.busy_handler(Some(wait_a_little))?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.pragma_update(None, "cache_size", -CACHE)?;
        Ok(connection)
    }

    /// For the first connection of a process: the tables are there when it returns.
    pub(super) fn prepare(&self) -> Result<Connection, SqliteError> {
        let failed = |cause| SqliteError::Open { path: self.path.clone(), cause };
        let mut connection = self.writing().map_err(failed)?;
        schema::migrate(&mut connection, &self.path)?;
        Ok(connection)
    }

    /// Every commit is synced when it returns, and no page is written before the commit: what cannot be written shows there.
    pub(super) fn writing(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect()?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "journal_size_limit", WAL_KEPT)?;
        connection.pragma_update(None, "cache_spill", false)?;
        Ok(connection)
    }

    pub(super) fn reading(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect()?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }
}

/// The gaps between two transactions of a busy node are short: SQLite's own handler, which soon sleeps for 100 ms at a
/// time, would miss them.
fn wait_a_little(times: i32) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    u128::from(times.unsigned_abs()) < BUSY.as_millis()
}

/// How long a lock is waited for: the one before may be on its way out, or have just begun a child that has it until its
/// own program runs.
const LOCK_FOR: Duration = Duration::from_secs(1);

/// Held while a node runs; the kernel lets it go even after a kill.
pub(super) fn lock(dir: &Path) -> Result<File, SqliteError> {
    let path = dir.join(LOCK_NAME);
    let failed = |cause| SqliteError::DataDir { path: path.clone(), cause };
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
    let end = Instant::now() + LOCK_FOR;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::WouldBlock) => return Err(SqliteError::InUse(dir.into())),
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
    }
}
