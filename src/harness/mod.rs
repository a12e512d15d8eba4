//! Tests of policies and plugins in the real engine (rank 5): the crate's own parser, transactions, S-CSCF and AKA, around
//! them a network in memory and a clock that is moved by hand.
//!
//! * [`engine`]: time and tasks; [`world`]: the network of one test; [`hss`], [`servers`], [`terminal`] are in it
//! * [`subject`]: the units under test; `vm`, `bind`, `case`, `value`: the Lua side of a test file
//! * [`scene`]: one request before a chain without a network; [`words`]: verdicts in words
//! * [`report`]: what came of it, for people, programs and JUnit readers
//!
//! `imscript test` and the reload pipeline call it.

mod bind;
mod case;
pub mod engine;
pub mod files;
pub mod hss;
pub mod logs;
pub mod report;
pub mod scene;
pub mod servers;
pub mod subject;
pub mod terminal;
mod value;
mod vm;
mod web;
pub mod world;

pub use report::Report;
pub use subject::Subject;
pub use vm::TestFile;

use crate::policy::lua::{Coverage, Generation, POLICY};
pub use crate::policy::words;
use case::Case;
use report::{FileCoverage, FileReport, TestReport};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that one test has.
pub const TEST_TIME: Duration = Duration::from_secs(2);

/// How a run is to go.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only tests with this in their name.
    pub filter: Option<String>,
    /// For each test.
    pub test_time: Duration,
    /// For all of them together; what is left then counts as failed.
    pub limit: Option<Duration>,
    /// Note which lines are run.
    pub coverage: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { filter: None, test_time: TEST_TIME, limit: None, coverage: false }
    }
}

/// Runs the tests of `files` against `subject`, each in a network of its own.
pub fn run_tests(subject: &Subject, files: &[TestFile], options: &Options) -> Report {
    run(subject, options, |subject, end| files.iter().map(|file| run_file(subject, file, options, end)).collect())
}

/// The names of the tests in a file, or why it has none.
pub fn names(file: &TestFile) -> Result<Vec<String>, crate::policy::diagnostic::Diagnostic> {
    vm::declared(file).map(|tests| tests.into_iter().map(|test| test.name).collect())
}

/// Runs a plugin's own tests, as far as `limit` goes: what the reload pipeline asks before it takes a plugin.
pub fn test_plugin(folder: &Path, limit: Duration) -> Report {
    let options = Options { limit: Some(limit), ..Options::default() };
    run_paths(&Subject::plugin(folder), &files::find(folder), &options)
}

/// Runs the tests that lie beside the files of a generation, as far as `limit` goes.
pub fn test_generation(generation: &Generation, limit: Duration) -> Report {
    let end = Instant::now().checked_add(limit);
    let mut report = Report::default();
    for (unit, _) in generation.units() {
        let main = Path::new(unit.main.name());
        let (subject, paths) = match main.parent() {
            Some(folder) if *unit.name != *POLICY => (Subject::plugin(folder), files::find(folder)),
            _ => (Subject::policy(main), files::of_policy(main)),
        };
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        report.extend(run_paths(&subject, &paths, &Options { limit: left, ..Options::default() }));
    }
    report
}

/// As [`run_tests`], of files on disk; one that cannot be read is a fault of its own.
pub fn run_paths(subject: &Subject, paths: &[PathBuf], options: &Options) -> Report {
    let read = |subject: &Rc<Subject>, path: &PathBuf, end| match files::read(path) {
        Ok(file) => run_file(subject, &file, options, end),
        Err(fault) => FileReport { file: path.display().to_string(), tests: Vec::new(), fault: Some(fault) },
    };
    run(subject, options, |subject, end| paths.iter().map(|path| read(subject, path, end)).collect())
}

fn run(
    subject: &Subject,
    options: &Options,
    part: impl FnOnce(&Rc<Subject>, Option<Instant>) -> Vec<FileReport>,
) -> Report {
    let subject = Rc::new(Subject { covered: options.coverage, ..subject.clone() });
    let end = options.limit.and_then(|limit| Instant::now().checked_add(limit));
    if !options.coverage {
        return Report { files: part(&subject, end), coverage: Vec::new() };
    }
    let (files, coverage) = Coverage::during(|| part(&subject, end));
    Report { files, coverage: coverage.0.into_iter().map(file_coverage).collect() }
}

fn file_coverage((file, lines): (Arc<str>, BTreeMap<u32, u64>)) -> FileCoverage {
    let covered = lines.values().filter(|hits| **hits > 0).count();
    let missed = lines.iter().filter(|(_, hits)| **hits == 0).map(|(line, _)| *line).collect();
    FileCoverage { file: file.to_string(), covered, total: lines.len(), missed }
}

fn run_file(subject: &Rc<Subject>, file: &TestFile, options: &Options, end: Option<Instant>) -> FileReport {
    let name = file.name.clone();
    let declared = match vm::declared(file) {
        Ok(declared) => declared,
        Err(fault) => return FileReport { file: name, tests: Vec::new(), fault: Some(fault) },
    };
    let wanted = |name: &str| options.filter.as_deref().is_none_or(|filter| name.contains(filter));
    let chosen = declared.into_iter().enumerate().filter(|(_, test)| wanted(&test.name));
    let run = |(index, test): (usize, vm::Declared)| {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            let failure =
                crate::policy::diagnostic::Diagnostic::new(&file.name, Some(test.line), "no time was left for it");
            return TestReport { failure: Some(failure), ..TestReport::new(test.name, test.line) };
        }
        let limit = left.map_or(options.test_time, |left| left.min(options.test_time));
        let case = Rc::new(Case::new(subject.clone()));
        let logs = case.logs.clone();
        logs.during(|| vm::run(file, index, case, limit))
    };
    FileReport { file: name, tests: chosen.map(run).collect(), fault: None }
}
