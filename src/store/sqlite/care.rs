//! Looking after the file, beside a node that writes: its soundness, its size, a copy of it.

use super::{Sqlite, rows};
use crate::store::StoreError;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

impl Sqlite {
    /// What SQLite finds wrong with the file, a line each.
    pub fn faults(&self) -> Result<Vec<String>, StoreError> {
        let look = || -> rusqlite::Result<Vec<String>> {
            let connection = self.place.reading()?;
            let mut check = connection.prepare("PRAGMA integrity_check")?;
            let mut lines = check.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
            lines.retain(|line| line != "ok");
            lines.extend(rows::orphans(&connection)?);
            Ok(lines)
        };
        look().map_err(|error| StoreError::Away(error.to_string().into()))
    }

    /// The database, its log and the log's index, with their sizes in octets.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let with = |end: &str| {
            let mut name = OsString::from(&self.place.path);
            name.push(end);
            PathBuf::from(name)
        };
        let size = |path: PathBuf| Some((path.clone(), std::fs::metadata(path).ok()?.len()));
        ["", "-wal", "-shm"].into_iter().filter_map(|end| size(with(end))).collect()
    }

    /// A copy as of one moment, whatever is written meanwhile; it takes the place of `to` only when it is whole and on
    /// disk. For the owner's eyes only.
    pub fn back_up(&self, to: &Path) -> io::Result<()> {
        let mut part = OsString::from(to);
        part.push(".part");
        let part = PathBuf::from(part);
        let copy = || {
            if part.exists() {
                std::fs::remove_file(&part)?; // of an earlier attempt
            }
            File::options().write(true).create_new(true).mode(0o600).open(&part)?;
            let name = part.to_str().ok_or_else(|| io::Error::other("the name is not text in UTF-8"))?;
            let connection = self.place.writing().map_err(io::Error::other)?;
            connection.execute("VACUUM INTO ?1", [name]).map_err(io::Error::other)?;
            File::open(&part)?.sync_all()?;
            std::fs::rename(&part, to)?;
            let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(dir)?.sync_all()
        };
        copy().inspect_err(|_| _ = std::fs::remove_file(&part))
    }
}
