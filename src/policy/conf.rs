//! The operator's values for a plugin, checked against its [`Schema`] (rank 1): `[plugins.config.NAME]`.
//!
//! What comes out is complete (defaults are filled in), is what Lua reads as `plugin.conf`, and shows no
//! secret however it is printed.

use super::document::{Node, Value};
use super::finding::{Findings, did_you_mean, quoted};
use super::quantity;
use super::schema::{Format, Kind, Object, Schema, Text, join};
use serde_json::{Map, Value as Json};
use std::fmt;

/// Lua's numbers are exact up to here.
pub(super) const MAX_INTEGER: i64 = 1 << 53;
pub(super) const MAX_TEXT: usize = 64 * 1024;
pub(super) const MAX_ITEMS: usize = 10_000;

/// Where a secret is taken from; reading it is I/O, which belongs to a higher rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretSource<'a> {
    /// `{ env = "VARIABLE" }`
    Env(&'a str),
    /// `{ file = "path" }`
    File(&'a str),
}

type Read<'a> = dyn Fn(SecretSource<'_>) -> Result<String, String> + 'a;

/// Reads secrets; its refusal says why, never the value.
pub struct Secrets<'a>(Option<Box<Read<'a>>>);

impl<'a> Secrets<'a> {
    pub fn by(read: impl Fn(SecretSource<'_>) -> Result<String, String> + 'a) -> Self {
        Secrets(Some(Box::new(read)))
    }

    /// Where there are none to read: literal values only.
    pub fn none() -> Self {
        Secrets(None)
    }
}

/// The values a plugin runs with.
#[derive(Clone, PartialEq)]
pub struct Conf {
    values: Json,
    shown: Json,
}

impl Conf {
    /// Of a plugin that takes no configuration.
    pub fn empty() -> Conf {
        Conf { values: Json::Object(Map::new()), shown: Json::Object(Map::new()) }
    }

    /// Checks `given`, the table of the configuration file that `found` speaks of. None if anything is wrong.
    /// `name` is the plugin's, for the messages.
    pub fn check(
        name: &str,
        schema: &Schema,
        given: Option<&Node>,
        secrets: &Secrets<'_>,
        found: &mut Findings,
    ) -> Option<Conf> {
        let nothing = Node { line: 0, value: Value::Table(Vec::new()) };
        let values = check(schema, given.unwrap_or(&nothing), &format!("plugins.config.{name}"), secrets, found)?;
        let shown = shown(schema, &values);
        Some(Conf { values, shown })
    }

    /// With the secrets, for the plugin itself.
    pub fn values(&self) -> &Json {
        &self.values
    }

    /// Without the secrets, for everybody else.
    pub fn shown(&self) -> &Json {
        &self.shown
    }
}

impl fmt::Debug for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.shown, f)
    }
}

fn shown(schema: &Schema, value: &Json) -> Json {
    if schema.secret {
        return Json::String("***".to_owned());
    }
    match (&schema.kind, value) {
        (Kind::Array { items, .. }, Json::Array(list)) => list.iter().map(|item| shown(items, item)).collect(),
        (Kind::Object(object), Json::Object(map)) => {
            let entry = |(key, value): (&String, &Json)| {
                let hidden = object.schema_of(key).map_or(Json::Null, |schema| shown(schema, value));
                (key.clone(), hidden)
            };
            Json::Object(map.iter().map(entry).collect())
        }
        _ => value.clone(),
    }
}

impl Object {
    fn schema_of(&self, key: &str) -> Option<&Schema> {
        let named = self.properties.iter().find(|(known, _)| known == key).map(|(_, schema)| schema);
        named.or(self.additional.as_deref())
    }
}

/// One value; None if it does not fit, and then `found` says at which key path and line.
pub(super) fn check(
    schema: &Schema,
    node: &Node,
    path: &str,
    secrets: &Secrets<'_>,
    found: &mut Findings,
) -> Option<Json> {
    let value = match (&schema.kind, &node.value) {
        (Kind::String(_), Value::Table(_)) if schema.secret => Json::String(secret(node, path, secrets, found)?),
        (Kind::String(_), Value::String(text)) => Json::String(text.clone()),
        (Kind::Integer { minimum, maximum }, Value::Integer(n)) => {
            if n < minimum || n > maximum {
                found.at(
                    node.line,
                    format!("{path}: expected {}, found {n}", range(minimum, maximum, -MAX_INTEGER, MAX_INTEGER)),
                );
                return None;
            }
            Json::from(*n)
        }
        (Kind::Number { minimum, maximum }, value) if as_number(value).is_some() => {
            let n = as_number(value)?;
            if !(*minimum..=*maximum).contains(&n) {
                found.at(
                    node.line,
                    format!("{path}: expected {}, found {n}", range(minimum, maximum, f64::MIN, f64::MAX)),
                );
                return None;
            }
            Json::from(n)
        }
        (Kind::Boolean, Value::Boolean(b)) => Json::Bool(*b),
        (Kind::Array { items, min, max }, Value::Array(list)) => {
            if !(*min..=*max).contains(&list.len()) {
                found.at(node.line, format!("{path}: expected {min} to {max} elements, found {}", list.len()));
                return None;
            }
            let each = |(i, item)| check(items, item, &format!("{path}[{}]", i + 1), secrets, found);
            // All are looked at, so that all faults are told.
            let checked: Vec<Option<Json>> = list.iter().enumerate().map(each).collect();
            Json::Array(checked.into_iter().collect::<Option<_>>()?)
        }
        (Kind::Object(object), Value::Table(_)) => Json::Object(entries(object, node, path, secrets, found)?),
        (kind, other) => {
            found.at(node.line, format!("{path}: expected {}, found {}", article(kind.name()), other.what()));
            return None;
        }
    };
    let value = match &schema.kind {
        Kind::String(rules) => text(schema, rules, value.as_str()?, node.line, path, found)?,
        _ => value,
    };
    if !schema.allowed.is_empty() && !schema.allowed.contains(&value) {
        let list: Vec<String> = schema.allowed.iter().map(Json::to_string).collect();
        let given = if schema.secret { "this value".to_owned() } else { quoted_json(&value) };
        found.at(node.line, format!("{path}: {given} is none of {}", list.join(", ")));
        return None;
    }
    Some(value)
}

fn entries(
    object: &Object,
    node: &Node,
    path: &str,
    secrets: &Secrets<'_>,
    found: &mut Findings,
) -> Option<Map<String, Json>> {
    let mut map = Map::new();
    let mut sound = true;
    for entry in node.entries() {
        let path = join(path, &entry.key);
        let Some(schema) = object.schema_of(&entry.key) else {
            let hint = match object.properties.is_empty() {
                true => "there is nothing to configure here".to_owned(),
                false => did_you_mean(&entry.key, object.properties.iter().map(|(known, _)| known.as_str())),
            };
            found.hinted(entry.line, format!("{path}: unknown key"), hint);
            sound = false;
            continue;
        };
        match check(schema, &entry.node, &path, secrets, found) {
            Some(value) => drop(map.insert(entry.key.clone(), value)),
            None => sound = false,
        }
    }
    for (key, schema) in object.properties.iter().filter(|(key, _)| node.get(key).is_none()) {
        if object.required.contains(key) {
            let what = article(schema.kind.name());
            let about = schema.description.as_deref().map(|d| format!(": {d}")).unwrap_or_default();
            // Without a line there is no table yet that it could be put into.
            let remedy = match node.line {
                0 => format!("; set it under [{path}] in the configuration, or leave the plugin out with disabled"),
                _ => String::new(),
            };
            found.hinted(node.line, format!("{}: missing", join(path, key)), format!("{what}{about}{remedy}"));
            sound = false;
        } else if let Some(value) = absent(schema) {
            map.insert(key.clone(), value);
        }
    }
    sound.then_some(map)
}

/// What stands for a value that was not given: its default, or an object made of its members' defaults.
fn absent(schema: &Schema) -> Option<Json> {
    if let Some(default) = &schema.default {
        return Some(default.clone());
    }
    match &schema.kind {
        Kind::Object(object) if object.required.is_empty() => {
            let members = object.properties.iter();
            Some(Json::Object(members.filter_map(|(key, schema)| Some((key.clone(), absent(schema)?))).collect()))
        }
        _ => None,
    }
}

fn text(schema: &Schema, rules: &Text, text: &str, line: usize, path: &str, found: &mut Findings) -> Option<Json> {
    let secret = schema.secret;
    let given = if secret { "this value".to_owned() } else { quoted(text) };
    let length = text.chars().count();
    if !(rules.min..=rules.max).contains(&length) {
        found.at(
            line,
            format!("{path}: expected {} characters, found {length}", range(&rules.min, &rules.max, 0, MAX_TEXT)),
        );
        return None;
    }
    if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        let reason = format!("{path}: {given} does not match {}", pattern.as_str());
        match &schema.description {
            Some(description) => found.hinted(line, reason, description),
            None => found.at(line, reason),
        }
        return None;
    }
    match rules.format {
        None => Some(Json::from(text)),
        Some(Format::Uri) if is_http_uri(text) => Some(Json::from(text)),
        Some(Format::Uri) => {
            found.at(line, format!("{path}: {given}: expected a URI such as \"https://host/path\""));
            None
        }
        Some(Format::Duration) => match quantity::duration(text) {
            Ok(duration) => Some(Json::from(duration.as_secs_f64())),
            Err(_) if secret => {
                found.at(line, format!("{path}: expected a duration"));
                None
            }
            Err(why) => {
                found.at(line, format!("{path}: {why}"));
                None
            }
        },
    }
}

fn secret(node: &Node, path: &str, secrets: &Secrets<'_>, found: &mut Findings) -> Option<String> {
    let source = match node.entries() {
        [only] => match (only.key.as_str(), only.node.as_str()) {
            ("env", Some(name)) => Some(SecretSource::Env(name)),
            ("file", Some(path)) => Some(SecretSource::File(path)),
            _ => None,
        },
        _ => None,
    };
    let (Some(source), Some(read)) = (source, &secrets.0) else {
        found.at(node.line, format!("{path}: expected a string, {{ env = \"VARIABLE\" }} or {{ file = \"path\" }}"));
        return None;
    };
    match read(source) {
        Ok(value) => Some(value),
        Err(why) => {
            found.at(node.line, format!("{path}: {why}"));
            None
        }
    }
}

/// Absolute, of http or https, with a host and without spaces.
fn is_http_uri(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(|b| b.is_ascii_graphic()))
}

/// Finite numbers, whole or not.
pub(super) fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(n) if n.is_finite() => Some(*n),
        // Beyond 2^53 it is rounded, as Lua would.
        #[allow(clippy::cast_precision_loss)]
        Value::Integer(n) => Some(*n as f64),
        _ => None,
    }
}

fn range<N: PartialOrd + fmt::Display>(low: &N, high: &N, floor: N, ceiling: N) -> String {
    match (*low > floor, *high < ceiling) {
        (true, false) => format!("{low} or more"),
        (false, true) => format!("at most {high}"),
        _ => format!("{low} to {high}"),
    }
}

fn article(name: &str) -> String {
    let an = name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {name}", if an { "an" } else { "a" })
}

fn quoted_json(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string().chars().take(60).collect(), quoted)
}
