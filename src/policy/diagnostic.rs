//! A fault in a file that an author writes, as a person reads it (rank 1): `file:line: reason`, the line itself, a mark
//! under what is meant, and what may help. `imscript check`, `test` and `reload` print it; with `--json` a program reads it.

use super::finding::Finding;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use toml::de::DeTable;

/// Longest source line that is shown; the rest is cut.
const MAX_SHOWN: usize = 160;
const MAX_REASON: usize = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    /// Worth saying, no reason to refuse.
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    pub file: String,
    /// From 1.
    pub line: Option<u32>,
    /// Column of the mark, in characters from 1, and its length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<(usize, usize)>,
    pub reason: String,
    /// The line of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Box<str>>,
}

impl Diagnostic {
    pub fn new(file: impl Into<String>, line: Option<u32>, reason: impl AsRef<str>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            file: file.into(),
            line,
            mark: None,
            reason: printable(reason.as_ref(), MAX_REASON),
            source: None,
            hint: None,
        }
    }

    /// Takes a message of the form `file:line: reason` apart; one without a place belongs to `file`.
    pub fn parse(message: &str, file: &str) -> Self {
        match place(message) {
            Some((found, line, reason)) => Self::new(found, Some(line), reason),
            None => {
                let rest = message.strip_prefix(file).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message);
                Self::new(file, None, rest)
            }
        }
    }

    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into_boxed_str());
        self
    }

    /// Marks `word` in the source line that [`Diagnostic::in_text`] shows.
    pub fn about(mut self, word: &str) -> Self {
        self.mark = self.source.as_deref().and_then(|line| word_in(line, word));
        self
    }

    /// Shows the line out of the file's text, with a mark under the thing that the reason names, and a hint if the
    /// reason lists what would have been right. Of a setting of a plugin, which may be a secret, the key alone is shown, and
    /// of a configuration that is no TOML nothing.
    pub fn in_text(mut self, text: &str) -> Self {
        // What is missing at the end of the file is missing after its last line.
        if self.reason.contains("<eof>") {
            let last = text.trim_end().lines().count();
            self.line = self.line.map(|line| u32::try_from(last.max(1)).map_or(line, |last| line.min(last)));
        }
        let wanted = self.line.and_then(|line| usize::try_from(line).ok()?.checked_sub(1));
        let shown = wanted.and_then(|line| text.lines().nth(line)).and_then(|line| self.without_secrets(line, text));
        if let Some(line) = shown {
            let line = printable(&line.replace('\t', "    "), MAX_SHOWN);
            let named = named_in(&self.reason);
            self.mark = named.iter().find_map(|word| word_in(&line, word)).or_else(|| whole(&line));
            self.source = Some(line.into_boxed_str());
        }
        if self.hint.is_none() {
            self.hint = suggestion(&self.reason).map(String::into_boxed_str);
        }
        self
    }

    fn without_secrets<'a>(&self, line: &'a str, text: &str) -> Option<Cow<'a, str>> {
        let configuration = self.file.ends_with(".toml") && !self.file.ends_with("plugin.toml");
        if configuration && DeTable::parse(text).is_err() {
            return None;
        }
        if !self.reason.starts_with("plugins.config.") || line.trim_start().starts_with('[') {
            return Some(line.into());
        }
        // An element on a line of its own has no key, though it may have the sign in it.
        let key = line.split_once('=').filter(|(key, _)| !key.contains(['"', '\'']));
        Some(key.map_or("…".into(), |(key, _)| format!("{key}= …").into()))
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl From<&Finding> for Diagnostic {
    fn from(finding: &Finding) -> Self {
        let line = u32::try_from(finding.line).ok().filter(|line| *line > 0);
        let fault = Diagnostic::new(&*finding.file, line, &finding.reason);
        match &finding.hint {
            Some(hint) => fault.hint(hint.as_str()),
            None => fault,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let word = if self.is_error() { "" } else { "warning: " };
        write!(f, ": {word}{}", self.reason)?;
        if let (Some(source), Some(line)) = (&self.source, self.line) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            write!(f, "\n  {number} | {}", source.trim_end())?;
            if let Some((column, length)) = self.mark {
                write!(f, "\n  {margin} | {}{}", " ".repeat(column.saturating_sub(1)), "^".repeat(length.max(1)))?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// `file:line: reason` in its parts.
fn place(message: &str) -> Option<(&str, u32, &str)> {
    let mut from = 0;
    while let Some(colon) = message.get(from..)?.find(':').map(|at| at + from) {
        let rest = message.get(colon + 1..)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let line = rest.get(..digits).and_then(|digits| digits.parse().ok());
        if let (Some(line), Some(reason)) = (line, rest.get(digits..).and_then(|rest| rest.strip_prefix(':'))) {
            let file = message.get(..colon).filter(|file| !file.is_empty() && !file.contains('\n'))?;
            return Some((file, line, reason.trim_start()));
        }
        from = colon + 1;
    }
    None
}

/// What a reason names, the likeliest first: words in quotes, then the word after "unknown …".
fn named_in(reason: &str) -> Vec<&str> {
    let mut named = Vec::new();
    // What a test got is no word of the test.
    if reason.starts_with("got ") {
        return named;
    }
    for quote in ['"', '\'', '`'] {
        named.extend(reason.split(quote).skip(1).step_by(2).take(2).filter(|word| !word.is_empty()));
    }
    let mut words = reason.split([' ', ';', ',', ':']).filter(|word| !word.is_empty());
    if words.any(|word| word.eq_ignore_ascii_case("unknown")) {
        named.extend(words.next());
        named.extend(words.next());
    }
    named.extend(reason.split([' ', ';', ',']).next().filter(|word| word.len() > 2));
    named
}

/// Column (from 1) and length of a word that stands in the line by itself.
fn word_in(line: &str, word: &str) -> Option<(usize, usize)> {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).find_map(|(at, found)| {
        let before = line.get(..at)?.chars().next_back();
        let after = line.get(at + found.len()..)?.chars().next();
        let apart = |neighbour: Option<char>| !neighbour.is_some_and(part_of_name);
        let column = line.get(..at)?.chars().count() + 1;
        (apart(before) && apart(after)).then(|| (column, found.chars().count()))
    })
}

fn whole(line: &str) -> Option<(usize, usize)> {
    let trimmed = line.trim();
    let indent = line.chars().take_while(|c| c.is_whitespace()).count();
    (!trimmed.is_empty()).then(|| (indent + 1, trimmed.chars().count()))
}

/// "unknown key colour; known: color, …" and "mode is "pul"; it may be "push", "pull"" have the remedy in them.
fn suggestion(reason: &str) -> Option<String> {
    if reason.starts_with("a policy returns a table") && reason.ends_with("returns nil") {
        return Some("return the table: `return policy`".to_owned());
    }
    let list = ["known: ", "it may be ", "expected one of ", "it takes ", "the stages are ", "; it has "]
        .iter()
        .find_map(|lead| {
            let (before, list) = reason.split_once(lead)?;
            Some((before, list))
        })?;
    let known: Vec<&str> = list
        .1
        .split([',', ' '])
        .map(|word| word.trim_matches(['"', '`', '.', ';', '(', ')']))
        .filter(|w| !w.is_empty())
        .collect();
    let close = named_in(list.0).into_iter().find_map(|word| nearest(word.trim_matches('"'), known.iter().copied()))?;
    Some(format!("did you mean {close}?"))
}

/// The candidate that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != word)
        .map(|candidate| (distance(&word.to_ascii_lowercase(), &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, changes and swaps of neighbours that turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j + 1) + 1).min(at(&row, j) + 1).min(at(&last, j) + usize::from(x != y));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

/// No control characters, and not longer than a screen bears: what is quoted may come from a header.
fn printable(text: &str, most: usize) -> String {
    let mut clean: String = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "local policy = {}\n\tfunction policy.verify(req)\n  return ims.verify { when = 1 }\nend\n";

    #[test]
    fn a_setting_that_may_be_secret_is_not_shown() {
        let text = "domain = \"a.b\"\n[plugins.config.hook]\n  token = \"hunter2\"\nlist = [\n  \"hunter2==\",\n]\n";
        let shown = |line, reason: &str| Diagnostic::new("x.toml", Some(line), reason).in_text(text).to_string();
        let short = shown(3, "plugins.config.hook.token: expected 16 or more characters, found 7");
        assert!(short.contains("\n  3 |   token = …\n"), "{short}");
        assert!(!shown(3, "plugins.config.hook.tokn: unknown key").contains("hunter2"));
        assert!(!shown(5, "plugins.config.hook.list[1]: expected 16 or more characters").contains("hunter2"));
        assert!(shown(2, "plugins.config.hook.url: missing").contains("[plugins.config.hook]"));
        assert!(shown(1, "domain: no domain").contains("domain = \"a.b\""));
        let broken = Diagnostic::new("x.toml", Some(1), "invalid basic string").in_text("token = \"hunter2\n");
        assert_eq!(broken.to_string(), "x.toml:1: invalid basic string");
    }

    #[test]
    fn the_line_the_mark_and_the_hint() {
        let message = "p.lua:3: ims.verify: unknown key when; known: subscription, max_age, whem";
        let shown = Diagnostic::parse(message, "p.lua").in_text(TEXT).to_string();
        assert_eq!(
            shown,
            "p.lua:3: ims.verify: unknown key when; known: subscription, max_age, whem\n  \
             3 |   return ims.verify { when = 1 }\n    |                       ^^^^\n  hint: did you mean whem?"
        );
    }

    #[test]
    fn words_in_quotes_and_tabs() {
        let fault = Diagnostic::parse("dir:x/p.lua:2: \"policy\" it is", "-").in_text(TEXT);
        assert_eq!((fault.file.as_str(), fault.line), ("dir:x/p.lua", Some(2)));
        assert_eq!(fault.source.as_deref(), Some("    function policy.verify(req)"));
        assert_eq!(fault.mark, Some((14, 6)));
    }

    #[test]
    fn without_a_place_or_beyond_the_end() {
        let fault = Diagnostic::parse("p.lua: no such file", "p.lua");
        assert_eq!((fault.line, fault.reason.as_str()), (None, "no such file"));
        let beyond = Diagnostic::new("p.lua", Some(99), "x\ny").in_text(TEXT);
        assert_eq!((beyond.source.clone(), beyond.to_string()), (None, "p.lua:99: x y".into()));
        assert_eq!(Diagnostic::new("p.lua", Some(0), "x").in_text(TEXT).source, None);
    }

    #[test]
    fn nearest_is_near() {
        assert_eq!(nearest("foward", ["forward", "skip"]), Some("forward"));
        assert_eq!(nearest("borad", ["broadcast", "board"]), Some("board"));
        assert_eq!(nearest("xyz", ["forward", "skip"]), None);
        assert_eq!(nearest("a", ["b"]), None);
    }
}
