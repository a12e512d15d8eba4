//! A TOML text as a tree in which every value knows its line (rank 1).
//!
//! Manifests and the operator's `[plugins.config.NAME]` are read from it: serde would stop at the first
//! fault and lose the lines of nested values.

use super::finding::{Findings, did_you_mean};
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and the line on which it begins.
#[derive(Clone, PartialEq)]
pub struct Node {
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, PartialEq)]
pub enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// As it is written; no key takes one, so nothing reads it.
    Datetime(String),
    Array(Vec<Node>),
    /// In the order of the file.
    Table(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    /// Of the key.
    pub line: usize,
    pub node: Node,
}

impl std::fmt::Debug for Node {
    /// Its type and line only: the value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of line {}", self.value.what(), self.line)
    }
}

impl Value {
    /// For "expected …, found …".
    pub fn what(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

impl Node {
    /// Parses a whole text; syntax errors go to `found`, and what could be read is returned all the same.
    pub fn parse(text: &str, found: &mut Findings) -> Node {
        let (table, errors) = DeTable::parse_recoverable(text);
        let lines = Lines::of(text);
        for error in errors {
            found.at(lines.line(error.span().unwrap_or_default()), error.message().replace('\n', ", "));
        }
        Node { line: 1, value: lines.table(table.get_ref(), found) }
    }

    /// A value that does not come from a file, as in a test's `t:conf{…}`; None for null, alone or within.
    pub fn from_json(json: &serde_json::Value) -> Option<Node> {
        let value = match json {
            serde_json::Value::Null => return None,
            serde_json::Value::Bool(b) => Value::Boolean(*b),
            serde_json::Value::Number(n) => match n.as_i64() {
                Some(whole) => Value::Integer(whole),
                None => Value::Float(n.as_f64()?),
            },
            serde_json::Value::String(text) => Value::String(text.clone()),
            serde_json::Value::Array(items) => Value::Array(items.iter().map(Node::from_json).collect::<Option<_>>()?),
            serde_json::Value::Object(entries) => {
                let entry =
                    |(key, value)| Some(Entry { key: String::clone(key), line: 0, node: Node::from_json(value)? });
                Value::Table(entries.iter().map(entry).collect::<Option<_>>()?)
            }
        };
        Some(Node { line: 0, value })
    }

    /// The entry of a table; None as well where this is no table.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a table; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        let after_newline = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines(std::iter::once(0).chain(after_newline).collect())
    }

    fn line(&self, span: Range<usize>) -> usize {
        self.0.partition_point(|start| *start <= span.start)
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, found: &mut Findings) -> Node {
        let line = self.line(value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    found.at(line, format!("{digits} does not fit into 64 bits"));
                    Value::Integer(0)
                }
            },
            DeValue::Float(digits) => Value::Float(digits.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(date) => Value::Datetime(date.to_string()),
            DeValue::Array(items) => Value::Array(items.iter().map(|item| self.node(item, found)).collect()),
            DeValue::Table(table) => self.table(table, found),
        };
        Node { line, value }
    }

    fn table(&self, table: &DeTable<'_>, found: &mut Findings) -> Value {
        let mut entries: Vec<(usize, Entry)> = table
            .iter()
            .map(|(key, value)| {
                let (span, line) = (key.span(), self.line(key.span()));
                (span.start, Entry { key: key.get_ref().to_string(), line, node: self.node(value, found) })
            })
            .collect();
        entries.sort_by_key(|(start, _)| *start);
        Value::Table(entries.into_iter().map(|(_, entry)| entry).collect())
    }
}

/// A table being read: the keys that were asked for are the known ones, any other is a fault.
pub struct Fields<'n> {
    entries: &'n [Entry],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// None, and a finding, where `entry` is no table.
    pub fn of(entry: &'n Entry, found: &mut Findings) -> Option<Fields<'n>> {
        match &entry.node.value {
            Value::Table(entries) => Some(Fields { entries, known: Vec::new() }),
            other => {
                found.at(entry.line, format!("{}: expected a table, found {}", entry.key, other.what()));
                None
            }
        }
    }

    pub fn root(node: &'n Node) -> Fields<'n> {
        Fields { entries: node.entries(), known: Vec::new() }
    }

    pub fn get(&mut self, key: &'static str) -> Option<&'n Entry> {
        // A key may be looked at more than once.
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub fn string(&mut self, key: &'static str, found: &mut Findings) -> Option<(&'n str, usize)> {
        let entry = self.get(key)?;
        let text = entry.node.as_str();
        if text.is_none() {
            found.at(entry.line, format!("{key}: expected a string, found {}", entry.node.value.what()));
        }
        text.map(|text| (text, entry.line))
    }

    pub fn boolean(&mut self, key: &'static str, found: &mut Findings) -> Option<bool> {
        let entry = self.get(key)?;
        match entry.node.value {
            Value::Boolean(value) => Some(value),
            ref other => {
                found.at(entry.line, format!("{key}: expected true or false, found {}", other.what()));
                None
            }
        }
    }

    /// A list of strings with their lines; empty where the key is not there.
    pub fn strings(&mut self, key: &'static str, found: &mut Findings) -> Vec<(String, usize)> {
        let Some(entry) = self.get(key) else { return Vec::new() };
        let Value::Array(items) = &entry.node.value else {
            found.at(entry.line, format!("{key}: expected a list of strings, found {}", entry.node.value.what()));
            return Vec::new();
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            match item.as_str() {
                Some(text) => list.push((text.to_owned(), item.line)),
                None => found.at(item.line, format!("{key}: expected strings, found {}", item.value.what())),
            }
        }
        list
    }

    /// Every key that nobody asked for is a fault.
    pub fn finish(self, what: &str, found: &mut Findings) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let hint = did_you_mean(&entry.key, self.known.iter().copied());
            found.hinted(entry.line, format!("unknown {what} {:?}", entry.key), hint);
        }
    }
}

/// A file's name and the line in it that something was said on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<str>,
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Node, Vec<String>) {
        let mut found = Findings::of("x.toml");
        let node = Node::parse(text, &mut found);
        let lines = found.iter().map(ToString::to_string).collect();
        (node, lines)
    }

    #[test]
    fn every_value_knows_its_line() {
        let (root, faults) = parse("b = 1\na = [\n  \"x\",\n  2.5,\n]\n\n[t.u]\nc = { d = true }\n");
        assert!(faults.is_empty(), "{faults:?}");
        let keys: Vec<_> = root.entries().iter().map(|e| (e.key.as_str(), e.line)).collect();
        assert_eq!(keys, [("b", 1), ("a", 2), ("t", 7)]);
        let Some(Value::Array(items)) = root.get("a").map(|e| &e.node.value) else { panic!() };
        assert_eq!(items.iter().map(|i| i.line).collect::<Vec<_>>(), [3, 4]);
        let d = root.get("t").unwrap().node.get("u").unwrap().node.get("c").unwrap().node.get("d").unwrap();
        assert!(d.line == 8 && d.node.value == Value::Boolean(true));
    }

    #[test]
    fn syntax_errors_are_told_all_with_their_lines() {
        let (_, faults) = parse("a = 1\nb = \nc = 'x\nd = 1\nd = 2\n");
        assert!(faults.iter().any(|f| f.starts_with("x.toml:2: ")), "{faults:?}");
        assert!(faults.iter().any(|f| f.starts_with("x.toml:3: ")), "{faults:?}");
        assert!(faults.iter().any(|f| f.starts_with("x.toml:5: ") && f.contains("duplicate")), "{faults:?}");
        let (_, faults) = parse("n = 99999999999999999999\n");
        assert_eq!(faults, ["x.toml:1: 99999999999999999999 does not fit into 64 bits"]);
        let deep = format!("a = {}", "[".repeat(100_000));
        assert!(!parse(&deep).1.is_empty());
    }

    #[test]
    fn keys_that_nobody_asks_for_are_faults() {
        let (root, _) = parse("name = \"x\"\nnmae = 1\nflag = 3\nlist = [\"a\", 1]\n");
        let mut found = Findings::of("x.toml");
        let mut fields = Fields::root(&root);
        assert_eq!(fields.string("name", &mut found), Some(("x", 1)));
        assert_eq!(fields.boolean("flag", &mut found), None);
        assert_eq!(fields.strings("list", &mut found), [("a".to_owned(), 4)]);
        fields.finish("key", &mut found);
        let faults: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "x.toml:3: flag: expected true or false, found an integer",
                "x.toml:4: list: expected strings, found an integer",
                "x.toml:2: unknown key \"nmae\" (did you mean \"name\"?)",
            ]
        );
    }

    #[test]
    fn debug_tells_no_value() {
        let (root, _) = parse("token = \"hush\"");
        assert!(!format!("{root:?} {:?}", root.get("token").unwrap().node).contains("hush"));
    }

    #[test]
    fn from_json_and_back_in_meaning() {
        let json = serde_json::json!({ "a": [1, 2.5, "x", true], "b": { "c": "d" } });
        let node = Node::from_json(&json).unwrap();
        assert!(node.get("b").unwrap().node.get("c").unwrap().node.as_str() == Some("d"));
        assert!(Node::from_json(&serde_json::json!([null])).is_none());
    }
}
