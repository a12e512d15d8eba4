//! What a node remembers of its SQNs beside the store, in small files of its own in the data dir.
//!
//! A store can go back: a backup is restored, a cluster loses writes that it had acknowledged. These files do not, as long
//! as nobody restores them too; of what they and the store say, the later counts. `sqn.mark` has for each IND that this
//! node has had the mark that no SEQ has passed, `sqn.offsets` the offsets that it learnt from cards last. Both are replaced
//! as a whole and synced.

use super::subscriber::StoredSqn;
use crate::identity::Impi;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) const MARK: &str = "sqn.mark";
pub(super) const OFFSETS: &str = "sqn.offsets";
/// Offsets that are remembered: of those that were learnt last. A store that loses more than so many at once has
/// those cards ask for one resynchronisation more.
const MOST: usize = 10_000;
/// Octets of a file that are read.
const FILE_MAX: usize = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Line {
    impi: Box<str>,
    sqn: StoredSqn,
}

#[derive(Default)]
struct Inside {
    marks: BTreeMap<u8, u64>,
    offsets: HashMap<Box<str>, StoredSqn>,
    /// The same by age.
    age: BTreeSet<(u64, Box<str>)>,
}

/// Nothing is written and nothing outlives the process where there is no data dir.
#[derive(Default)]
pub(super) struct Local {
    dir: Option<PathBuf>,
    inside: Mutex<Inside>,
}

impl Local {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut inside = Inside::default();
        for line in read(&dir.join(MARK))?.unwrap_or_default().lines() {
            let pair = line.split_once(' ').and_then(|(ind, mark)| Some((ind.parse().ok()?, mark.parse().ok()?)));
            let (ind, mark) = pair.ok_or_else(|| damaged(MARK))?;
            inside.marks.insert(ind, mark);
        }
        for line in read(&dir.join(OFFSETS))?.unwrap_or_default().lines() {
            let Line { impi, sqn } = serde_json::from_str(line).map_err(|_| damaged(OFFSETS))?;
            inside.put(impi, sqn);
        }
        Ok(Local { dir: Some(dir.into()), inside: Mutex::new(inside) })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mark(&self, ind: u8) -> u64 {
        self.inside().marks.get(&ind).copied().unwrap_or(0)
    }

    /// The mark is on disk when this returns; it never goes down.
    pub(super) fn set_mark(&self, ind: u8, mark: u64) -> io::Result<()> {
        let mut marks = self.inside().marks.clone();
        let held = marks.entry(ind).or_default();
        *held = mark.max(*held);
        if let Some(dir) = &self.dir {
            let text: String = marks.iter().map(|(ind, mark)| format!("{ind} {mark}\n")).collect();
            replace(dir, MARK, text.as_bytes())?;
        }
        self.inside().marks = marks;
        Ok(())
    }

    pub(super) fn offset(&self, impi: &Impi) -> Option<StoredSqn> {
        self.inside().offsets.get(impi.as_str()).copied()
    }

    /// They are on disk when this returns.
    pub(super) fn learn(&self, learnt: impl IntoIterator<Item = (Impi, StoredSqn)>) -> io::Result<()> {
        let text = {
            let mut inside = self.inside();
            for (impi, sqn) in learnt {
                inside.put(impi.as_str().into(), sqn);
            }
            let Some(_) = &self.dir else { return Ok(()) };
            let mut text = Vec::new();
            for (impi, sqn) in &inside.offsets {
                serde_json::to_writer(&mut text, &Line { impi: impi.clone(), sqn: *sqn })?;
                text.push(b'\n');
            }
            text
        };
        self.dir.as_ref().map_or(Ok(()), |dir| replace(dir, OFFSETS, &text))
    }
}

impl Inside {
    fn put(&mut self, impi: Box<str>, sqn: StoredSqn) {
        if let Some(old) = self.offsets.insert(impi.clone(), sqn) {
            self.age.remove(&(old.tick, impi.clone()));
        }
        self.age.insert((sqn.tick, impi));
        while self.offsets.len() > MOST {
            let Some((_, oldest)) = self.age.pop_first() else { return };
            self.offsets.remove(&oldest);
        }
    }
}

fn damaged(file: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{file} cannot be read: restore it, or remove it if it is lost"))
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match crate::file::text(path, FILE_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Wholly or not at all, also over a power failure.
fn replace(dir: &Path, name: &str, octets: &[u8]) -> io::Result<()> {
    let fresh = dir.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(octets)?;
    file.sync_all()?;
    std::fs::rename(&fresh, dir.join(name))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqn(tick: u64) -> StoredSqn {
        StoredSqn { step: tick, tick, offset: -7 }
    }

    #[test]
    fn what_was_remembered_is_there_again_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::open(dir.path()).unwrap();
        local.set_mark(3, 9).unwrap();
        local.set_mark(3, 7).unwrap();
        let one = |n: usize| (Impi::new(format!("u{n}@h")), sqn(n as u64));
        local.learn((0..MOST + 5).map(one)).unwrap();
        let local = Local::open(dir.path()).unwrap();
        assert_eq!((local.mark(3), local.mark(4)), (9, 0));
        assert_eq!(local.offset(&one(4).0), None);
        assert_eq!(local.offset(&one(MOST + 4).0), Some(sqn(MOST as u64 + 4)));
        assert_eq!(local.inside().offsets.len(), MOST);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in [MARK, OFFSETS] {
            std::fs::write(dir.path().join(name), "x\n").unwrap();
            assert!(Local::open(dir.path()).err().unwrap().to_string().starts_with(name));
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
}
