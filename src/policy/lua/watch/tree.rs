//! One look at what a policy is made of on disk: a digest of the contents, and the folders in which a change of it
//! would show. A link counts in two places, its own and its target's: a ConfigMap is changed by swapping a link
//! (`..data`) two steps away from the files.

use super::absolute;
use crate::file;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Folders below a root that are looked into, entries in all, and octets of one file that are read: bounds against a
/// folder given by mistake, and against links that go round.
const DEPTH: u32 = 8;
const ENTRIES: u32 = 10_000;
const OCTETS: u64 = 1 << 20;
/// Links on the way to a file, as the kernel allows.
const LINKS: u32 = 40;

/// SHA-256 over names and contents.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub(super) [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Device and inode: a folder put in the place of another is another.
pub(super) type Place = (u64, u64);

pub(super) struct Tree {
    pub(super) digest: Digest,
    pub(super) folders: BTreeMap<PathBuf, Place>,
    pub(super) names: Names,
}

/// The paths whose events count, as the kernel tells them: links resolved.
#[derive(Default, Clone)]
pub(super) struct Names {
    paths: BTreeSet<PathBuf>,
    /// Folders in which any name counts.
    inside: BTreeSet<PathBuf>,
}

impl Names {
    pub(super) fn contain(&self, path: &Path) -> bool {
        let entry = || {
            let name = path.file_name()?;
            Some(self.inside.contains(path.parent()?) && counts(name.as_bytes()))
        };
        self.paths.contains(path) || entry().unwrap_or(false)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

impl Tree {
    pub(super) fn look(roots: &[PathBuf]) -> Tree {
        let mut look = Look { hash: Sha256::new(), folders: BTreeMap::new(), names: Names::default(), left: ENTRIES };
        for root in roots {
            let root = absolute(root);
            look.item(&root, Path::new(""), DEPTH);
        }
        // A folder that is moved away or deleted says so under its own name.
        look.names.paths.extend(look.folders.keys().cloned());
        Tree { digest: Digest(look.hash.finalize().into()), folders: look.folders, names: look.names }
    }
}

struct Look {
    hash: Sha256,
    folders: BTreeMap<PathBuf, Place>,
    names: Names,
    left: u32,
}

impl Look {
    /// A file or folder; `name` is its path below the root.
    fn item(&mut self, path: &Path, name: &Path, depth: u32) {
        let path = &self.trace(path);
        self.field(name.as_os_str().as_bytes());
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                self.field(b"folder");
                self.folder(path, &meta, name, depth);
            }
            Ok(meta) if meta.is_file() => self.file(path, meta.len()),
            Ok(_) => self.field(b"neither"),
            Err(why) => self.field(why.kind().to_string().as_bytes()),
        }
    }

    fn folder(&mut self, path: &Path, meta: &fs::Metadata, name: &Path, depth: u32) {
        self.folders.insert(path.to_owned(), (meta.dev(), meta.ino()));
        self.names.inside.insert(path.to_owned());
        let Some(depth) = depth.checked_sub(1) else { return };
        let Ok(entries) = fs::read_dir(path) else { return self.field(b"unreadable") };
        let mut found: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
        found.sort();
        for entry in found.iter().filter(|entry| counts(entry.as_bytes())) {
            let Some(left) = self.left.checked_sub(1) else { return };
            self.left = left;
            self.item(&path.join(entry), &name.join(entry), depth);
        }
    }

    fn file(&mut self, path: &Path, length: u64) {
        let mut octets = Vec::new();
        let read = file::open(path).and_then(|file| file.take(OCTETS).read_to_end(&mut octets));
        match read {
            Ok(_) => {
                self.hash.update(length.to_be_bytes());
                self.field(&octets);
            }
            Err(why) => self.field(why.kind().to_string().as_bytes()),
        }
    }

    /// With its length in front, so that two fields cannot pass for two others.
    fn field(&mut self, octets: &[u8]) {
        self.hash.update((octets.len() as u64).to_be_bytes());
        self.hash.update(octets);
    }

    /// Notes the folder of the file and of every link on the way to it; gives the path without links.
    fn trace(&mut self, path: &Path) -> PathBuf {
        let mut at = PathBuf::from("/");
        let mut ahead: Vec<OsString> = steps(path);
        let mut links = LINKS;
        while let Some(step) = ahead.pop() {
            if step == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&step);
            match fs::read_link(&next) {
                Ok(target) if links > 0 => {
                    links -= 1;
                    self.note(&at, next);
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    ahead.extend(steps(&target));
                }
                _ => at = next,
            }
        }
        let parent = at.parent().unwrap_or(Path::new("/")).to_owned();
        self.note(&parent, at.clone());
        at
    }

    /// `name` may change in `folder`. Where the folder is missing, its own coming is what would be seen first.
    fn note(&mut self, folder: &Path, name: PathBuf) {
        let mut name = name;
        for folder in folder.ancestors() {
            self.names.paths.insert(name);
            if let Ok(meta) = fs::metadata(folder)
                && meta.is_dir()
            {
                self.folders.insert(folder.to_owned(), (meta.dev(), meta.ino()));
                return;
            }
            name = folder.to_owned();
        }
    }
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    steps.collect()
}

/// Not what editors and version control leave beside the files, nor what is for readers only.
fn counts(name: &[u8]) -> bool {
    !(name.starts_with(b".") || name.ends_with(b"~") || name.starts_with(b"#") || name.ends_with(b".md"))
}
