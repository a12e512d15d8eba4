//! What is wrong with a file that an operator or an author wrote (rank 1): file, line, reason, remedy.
//!
//! Manifests, configuration values and the order of plugins are checked to the end, so that one run of
//! `imscript check` tells all of it.

use super::diagnostic::nearest;
use std::fmt;
use std::sync::Arc;

/// One fault of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub file: Arc<str>,
    /// From 1; 0 where the whole file is meant.
    pub line: usize,
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.reason)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// All faults found so far; as an error, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(list))]
pub struct Findings {
    file: Arc<str>,
    list: Vec<Finding>,
}

fn lines(list: &[Finding]) -> String {
    list.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
}

impl Findings {
    /// Of `file`, until [`Findings::absorb`] brings those of another.
    pub fn of(file: impl Into<Arc<str>>) -> Self {
        Findings { file: file.into(), list: Vec::new() }
    }

    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    pub fn at(&mut self, line: usize, reason: impl Into<String>) {
        self.push(line, reason.into(), None);
    }

    pub fn hinted(&mut self, line: usize, reason: impl Into<String>, hint: impl Into<String>) {
        self.push(line, reason.into(), Some(hint.into()));
    }

    fn push(&mut self, line: usize, reason: String, hint: Option<String>) {
        self.list.push(Finding { file: self.file.clone(), line, reason, hint });
    }

    pub fn absorb(&mut self, others: Findings) {
        self.list.extend(others.list);
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.list.iter()
    }

    /// `value` if nothing was found; else the findings, in the order of file and line.
    pub fn or<T>(mut self, value: Option<T>) -> Result<T, Findings> {
        match value {
            Some(value) if self.list.is_empty() => Ok(value),
            _ => {
                self.list.sort();
                self.list.dedup();
                Err(self)
            }
        }
    }
}

/// The hint for a word that is none of `known`: the one that was probably meant, or all of them.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(name) => format!("did you mean {name:?}?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => format!("known are {}", known.join(", ")),
    }
}

/// A value of a file as it stands in a message: quoted, and not longer than a line.
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() { format!("{short:?}…") } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_file_line_reason_hint() {
        let mut found = Findings::of("a/plugin.toml");
        found.hinted(7, "unknown key \"stage\"", did_you_mean("stage", ["name", "stages"]));
        found.at(0, "not readable");
        let error = found.or(Some(())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a/plugin.toml: not readable\na/plugin.toml:7: unknown key \"stage\" (did you mean \"stages\"?)"
        );
        assert_eq!(Findings::of("x").or(Some(3)), Ok(3));
    }

    #[test]
    fn only_near_words_are_meant() {
        assert_eq!(did_you_mean("brodcast", ["broadcast", "register"]), "did you mean \"broadcast\"?");
        assert_eq!(did_you_mean("regsiter", ["broadcast", "register"]), "did you mean \"register\"?");
        assert_eq!(did_you_mean("banana", ["a", "b"]), "known are a, b");
        assert_eq!(did_you_mean("", []), "there is none");
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert!(quoted(&"ä".repeat(5000)).chars().count() < 70);
    }
}
