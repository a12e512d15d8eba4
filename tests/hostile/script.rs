//! The scripts and what their first line says.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Harmless,
    Error,
    Verdict,
    Timeout,
    Memory,
    Refused,
}

impl FromStr for Outcome {
    type Err = String;
    fn from_str(word: &str) -> Result<Outcome, String> {
        Ok(match word {
            "harmless" => Outcome::Harmless,
            "error" => Outcome::Error,
            "verdict" => Outcome::Verdict,
            "timeout" => Outcome::Timeout,
            "memory" => Outcome::Memory,
            "refused" => Outcome::Refused,
            other => return Err(format!("{other:?} is no outcome")),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Harmless => "harmless",
            Outcome::Error => "error",
            Outcome::Verdict => "bad verdict",
            Outcome::Timeout => "timeout",
            Outcome::Memory => "out of memory",
            Outcome::Refused => "refused",
        })
    }
}

pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) text: String,
    /// What it tries.
    pub(crate) about: String,
    pub(crate) right: Vec<Outcome>,
}

impl Script {
    /// Whether what it tries happens in timers and callbacks.
    pub(crate) fn in_background(&self) -> bool {
        !self.at_load() && (self.name.starts_with("timer_") || self.name.starts_with("callback_"))
    }

    /// Whether what it tries happens when it is loaded.
    pub(crate) fn at_load(&self) -> bool {
        self.right.contains(&Outcome::Refused)
    }

    fn read(path: &Path) -> Script {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(path).unwrap();
        let head = text.lines().next().and_then(|line| line.strip_prefix("-- ")?.split_once(": "));
        let (right, about) = head.unwrap_or_else(|| panic!("{name}: the first line is \"-- OUTCOME: what it tries\""));
        let right = right.split(" or ").map(|word| word.parse().unwrap_or_else(|e| panic!("{name}: {e}"))).collect();
        Script { about: about.to_owned(), right, name, text }
    }
}

/// All scripts, by name.
pub(crate) fn all() -> Vec<Script> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/scripts");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| Script::read(path)).collect()
}

/// Those whose attack is a stage, those that attack in timers and callbacks, and those whose attack is to be loaded.
pub(crate) fn of_stages() -> impl Iterator<Item = Script> {
    all().into_iter().filter(|script| !script.at_load() && !script.in_background())
}

pub(crate) fn of_background() -> impl Iterator<Item = Script> {
    all().into_iter().filter(Script::in_background)
}

pub(crate) fn of_loading() -> impl Iterator<Item = Script> {
    all().into_iter().filter(Script::at_load)
}
