//! The files of a plugin's folder: which ones are read, and what is refused before any is.

use super::super::source::{MAX_TEXT, PolicySource};
use crate::file;
use crate::policy::finding::Findings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MANIFEST: &str = "plugin.toml";
const MAIN: &str = "main.lua";
/// Left to `imscript test`.
const TESTS: &str = "tests";
const MAX_MANIFEST: usize = 64 * 1024;
/// Lua files of one plugin.
const MAX_FILES: usize = 64;
/// Entries of one plugin's folder that are looked at.
const MAX_ENTRIES: usize = 1024;
/// Folders within folders.
const MAX_DEPTH: usize = 4;
const MAX_PLUGINS: usize = 256;

/// A folder that holds a plugin.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) name: String,
    path: PathBuf,
}

/// What was read.
pub(super) struct Files {
    pub(super) manifest: String,
    pub(super) manifest_name: Arc<str>,
    pub(super) main: PolicySource,
    /// By the name that `require` takes: the path within the folder without `.lua`.
    pub(super) modules: BTreeMap<String, PolicySource>,
}

/// The plugins of a folder, by name. Hidden folders and single files are none.
pub(super) fn list(dir: &Path, found: &mut Findings) -> Vec<Folder> {
    let mut folders = Vec::new();
    let mut own = Findings::of(dir.display().to_string());
    match std::fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries.flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                // Through symlinks: a whole plugin may be put in place by one.
                if !name.starts_with('.') && path.is_dir() {
                    folders.push(Folder { name, path });
                }
            }
        }
        Err(error) => own.at(0, format!("no folder of plugins: {error}")),
    }
    if folders.len() > MAX_PLUGINS {
        own.at(0, format!("more than {MAX_PLUGINS} plugins"));
        folders.clear();
    }
    folders.sort_by(|a, b| a.name.cmp(&b.name));
    found.absorb(own);
    folders
}

impl Folder {
    pub(super) fn read(&self) -> Result<Files, Findings> {
        let manifest = self.path.join(MANIFEST);
        let manifest_name: Arc<str> = manifest.display().to_string().into();
        let mut found = Findings::of(manifest_name.clone());
        let Ok(root) = self.path.canonicalize() else {
            found.at(0, "the folder cannot be read");
            return found.or(None);
        };
        if !manifest.exists() {
            found.hinted(
                0,
                "there is no such file",
                "every folder beside it is a plugin; imscript new plugin makes one",
            );
            return found.or(None);
        }
        let mut paths = BTreeMap::new();
        self.find(&self.path, "", 0, &mut paths, &mut found);
        if paths.len() > MAX_FILES {
            found.at(0, format!("the plugin has more than {MAX_FILES} Lua files"));
            return found.or(None);
        }
        let manifest = text(&manifest, &root, MAX_MANIFEST, &mut found);
        let mut sources: BTreeMap<String, PolicySource> = BTreeMap::new();
        for (name, path) in &paths {
            if let Some(text) = text(path, &root, MAX_TEXT, &mut found) {
                sources.insert(name.clone(), PolicySource::new(path.display().to_string(), text));
            }
        }
        let main = sources.remove(MAIN.trim_end_matches(".lua"));
        if !paths.contains_key(MAIN.trim_end_matches(".lua")) {
            found.hinted(0, "main.lua is missing beside it", "it returns the table of the stages' functions");
        }
        let files = manifest.zip(main);
        found.or(files.map(|(manifest, main)| Files { manifest, manifest_name, main, modules: sources }))
    }

    /// The Lua files under `dir`, by module name.
    fn find(
        &self,
        dir: &Path,
        prefix: &str,
        depth: usize,
        paths: &mut BTreeMap<String, PathBuf>,
        found: &mut Findings,
    ) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for (count, entry) in entries.flatten().enumerate() {
            if count >= MAX_ENTRIES || paths.len() > MAX_FILES {
                found.at(0, format!("{} holds more than a plugin's files", dir.display()));
                return;
            }
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let is_symlink = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                // A linked folder may lead anywhere, itself included.
                if is_symlink {
                    let mut own = Findings::of(path.display().to_string());
                    own.hinted(0, "a folder within a plugin may not be a symbolic link", "copy it");
                    found.absorb(own);
                } else if depth < MAX_DEPTH && !(depth == 0 && name == TESTS) {
                    self.find(&path, &format!("{prefix}{name}/"), depth + 1, paths, found);
                }
            } else if let Some(module) = name.strip_suffix(".lua") {
                paths.insert(format!("{prefix}{module}"), path);
            }
        }
    }
}

/// A file's text: a regular file within the plugin's folder, not too long, in UTF-8.
fn text(path: &Path, root: &Path, most: usize, found: &mut Findings) -> Option<String> {
    let mut own = Findings::of(path.display().to_string());
    let text = bounded(path, root, most).map_err(|why| own.at(0, why)).ok();
    found.absorb(own);
    text
}

fn bounded(path: &Path, root: &Path, most: usize) -> Result<String, String> {
    let real = path.canonicalize().map_err(|e| e.to_string())?;
    if !real.starts_with(root) {
        return Err("the link leads out of the plugin's folder".to_owned());
    }
    file::text(&real, most).map_err(|e| e.to_string())
}
