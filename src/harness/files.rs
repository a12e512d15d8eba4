//! Test files beside what they test: `tests/*_test.lua`.

use super::vm::TestFile;
use crate::file;
use crate::policy::diagnostic::Diagnostic;
use std::path::{Path, PathBuf};

const SUFFIX: &str = "_test.lua";
const MAX_FILES: usize = 500;
const MAX_TEXT: usize = 1 << 20;

/// The test files in `folder` itself and in its `tests`, by name.
pub fn find(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = [folder.join("tests"), folder.to_path_buf()]
        .iter()
        .flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| is_test(path))
        .take(MAX_FILES)
        .collect();
    files.sort();
    files
}

/// By its name: one that is no regular file is refused when it is read, not passed over.
pub fn is_test(path: &Path) -> bool {
    let named = |name: &str| name.ends_with(SUFFIX) && !name.starts_with('.');
    !path.is_dir() && path.file_name().is_some_and(|name| named(&name.to_string_lossy()))
}

/// The tests of one policy file: `tests/NAME_test.lua` or `NAME_test.lua` beside it.
pub fn of_policy(file: &Path) -> Vec<PathBuf> {
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let test = format!("{name}{SUFFIX}");
    [folder.join("tests").join(&test), folder.join(test)]
        .into_iter()
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

pub fn read(path: &Path) -> Result<TestFile, Diagnostic> {
    let name = path.display().to_string();
    let failed = |why: String| Diagnostic::new(&name, None, why);
    let text = file::text(path, MAX_TEXT).map_err(|e| failed(e.to_string()))?;
    Ok(TestFile { name, text })
}
