//! What a plugin may be configured with (rank 1): a subset of JSON Schema, in the `[config]` of its manifest.
//!
//! | key | of |
//! |---|---|
//! | `type` | `string`, `integer`, `number`, `boolean`, `array`, `object`; `[config]` itself is an object |
//! | `description`, `default`, `enum` | any type |
//! | `minimum`, `maximum` | integer, number |
//! | `minLength`, `maxLength`, `pattern`, `format` (`duration`, `uri`), `secret` | string |
//! | `items`, `minItems`, `maxItems` | array |
//! | `properties`, `required`, `additionalProperties` (a schema, for keys of the operator's choice) | object |
//!
//! A schema is checked when it is read: a default must itself be allowed. Values are checked in [`super::conf`].

use super::conf::{self, Secrets};
use super::document::{Entry, Fields, Node, Value};
use super::finding::{Findings, did_you_mean, quoted};
use regex::Regex;
use serde_json::Value as Json;

/// Values nested deeper than this are nobody's configuration.
const MAX_DEPTH: usize = 8;
/// Compiled size of a pattern.
const PATTERN_SIZE: usize = 1 << 18;
const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];

/// One value's schema.
#[derive(Debug, Clone)]
pub struct Schema {
    pub kind: Kind,
    pub description: Option<String>,
    /// What holds where the operator says nothing; checked and in the form that Lua gets.
    pub default: Option<Json>,
    /// `enum`; empty: anything goes.
    pub allowed: Vec<Json>,
    /// May be given as `{ env = … }` or `{ file = … }`, and is printed nowhere.
    pub secret: bool,
    /// Of the manifest.
    pub line: usize,
}

#[derive(Debug, Clone)]
pub enum Kind {
    String(Text),
    Integer { minimum: i64, maximum: i64 },
    Number { minimum: f64, maximum: f64 },
    Boolean,
    Array { items: Box<Schema>, min: usize, max: usize },
    Object(Object),
}

#[derive(Debug, Clone)]
pub struct Text {
    /// In characters.
    pub min: usize,
    pub max: usize,
    pub pattern: Option<Regex>,
    pub format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Written `"30 s"`; Lua gets the seconds as a number.
    Duration,
    /// `http://` or `https://`.
    Uri,
}

#[derive(Debug, Clone, Default)]
pub struct Object {
    pub properties: Vec<(String, Schema)>,
    pub required: Vec<String>,
    /// For keys that are no property; None: there are no such keys.
    pub additional: Option<Box<Schema>>,
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Kind::String(_) => "string",
            Kind::Integer { .. } => "integer",
            Kind::Number { .. } => "number",
            Kind::Boolean => "boolean",
            Kind::Array { .. } => "array",
            Kind::Object(_) => "object",
        }
    }
}

impl Schema {
    /// Of a plugin that takes no configuration.
    pub fn empty() -> Schema {
        Schema::plain(Kind::Object(Object::default()), 0)
    }

    fn plain(kind: Kind, line: usize) -> Schema {
        Schema { kind, description: None, default: None, allowed: Vec::new(), secret: false, line }
    }

    /// Reads the `[config]` table of a manifest.
    pub fn read(config: &Entry, found: &mut Findings) -> Schema {
        let Some(mut fields) = Fields::of(config, found) else { return Schema::empty() };
        fields.get("type").inspect(|t| {
            if t.node.as_str() != Some("object") {
                found.hinted(t.line, "[config] is always of type object", "leave type out here");
            }
        });
        let description = fields.string("description", found).map(|(text, _)| text.to_owned());
        let object = object(&mut fields, "", 0, found);
        fields.finish("key of [config]", found);
        Schema { description, ..Schema::plain(Kind::Object(object), config.line) }
    }

    /// A property of the `[config]` itself.
    pub fn property(&self, name: &str) -> Option<&Schema> {
        match &self.kind {
            Kind::Object(object) => object.properties.iter().find(|(known, _)| known == name).map(|(_, schema)| schema),
            _ => None,
        }
    }
}

fn schema(entry: &Entry, path: &str, depth: usize, found: &mut Findings) -> Option<Schema> {
    if depth > MAX_DEPTH {
        found.at(entry.line, format!("{path}: nested deeper than {MAX_DEPTH} levels"));
        return None;
    }
    let mut fields = Fields::of(entry, found)?;
    let name = match fields.get("type") {
        Some(named) => match named.node.as_str().filter(|name| TYPES.contains(name)) {
            Some(name) => name,
            None => {
                let given = named.node.as_str().unwrap_or(named.node.value.what());
                found.hinted(named.line, format!("{path}: unknown type {}", quoted(given)), did_you_mean(given, TYPES));
                return None;
            }
        },
        None => {
            found.hinted(entry.line, format!("{path}: type is missing"), format!("one of {}", TYPES.join(", ")));
            return None;
        }
    };
    let description = fields.string("description", found).map(|(text, _)| text.to_owned());
    let default = fields.get("default");
    let allowed = fields.get("enum");
    let mut secret = false;
    let kind = match name {
        "string" => {
            secret = fields.boolean("secret", found).unwrap_or(false);
            Kind::String(text(&mut fields, path, found))
        }
        "integer" => {
            let (minimum, maximum) = (integer(&mut fields, "minimum", found), integer(&mut fields, "maximum", found));
            Kind::Integer {
                minimum: minimum.unwrap_or(-conf::MAX_INTEGER),
                maximum: maximum.unwrap_or(conf::MAX_INTEGER),
            }
        }
        "number" => {
            let (minimum, maximum) = (number(&mut fields, "minimum", found), number(&mut fields, "maximum", found));
            Kind::Number { minimum: minimum.unwrap_or(f64::MIN), maximum: maximum.unwrap_or(f64::MAX) }
        }
        "boolean" => Kind::Boolean,
        "array" => {
            let (min, max) = (length(&mut fields, "minItems", found), length(&mut fields, "maxItems", found));
            let Some(items) = fields.get("items") else {
                found.at(entry.line, format!("{path}: an array needs items, the schema of its elements"));
                return None;
            };
            let items = Box::new(schema(items, &format!("{path}[]"), depth + 1, found)?);
            Kind::Array { items, min: min.unwrap_or(0), max: max.unwrap_or(conf::MAX_ITEMS) }
        }
        _ => Kind::Object(object(&mut fields, path, depth, found)),
    };
    bounds(&kind, path, entry.line, found);
    fields.finish(&format!("key for type {name}"), found);

    let mut schema = Schema { description, secret, ..Schema::plain(kind, entry.line) };
    if let Some(allowed) = allowed {
        schema.allowed = literals(&schema, allowed, path, found);
    }
    if let Some(default) = default {
        if secret {
            found.hinted(
                default.line,
                format!("{path}: a secret has no default"),
                "make it required, or leave the default out",
            );
        } else {
            schema.default = literal(&schema, &default.node, path, "default", found);
        }
    }
    Some(schema)
}

/// A value of the manifest itself, checked against the schema it stands in.
fn literal(schema: &Schema, node: &Node, path: &str, what: &str, found: &mut Findings) -> Option<Json> {
    conf::check(schema, node, &format!("{path}: {what}"), &Secrets::none(), found)
}

fn literals(schema: &Schema, allowed: &Entry, path: &str, found: &mut Findings) -> Vec<Json> {
    match &allowed.node.value {
        Value::Array(items) if !items.is_empty() => {
            items.iter().filter_map(|item| literal(schema, item, path, "enum", found)).collect()
        }
        _ => {
            found.at(allowed.line, format!("{path}: enum is a list of the values that are allowed"));
            Vec::new()
        }
    }
}

fn object(fields: &mut Fields<'_>, path: &str, depth: usize, found: &mut Findings) -> Object {
    let mut object = Object::default();
    let properties = fields.get("properties");
    if let Some(properties) = properties {
        if !matches!(properties.node.value, Value::Table(_)) {
            found.at(properties.line, format!("properties: expected a table, found {}", properties.node.value.what()));
        }
        for entry in properties.node.entries() {
            if let Some(schema) = schema(entry, &join(path, &entry.key), depth + 1, found) {
                object.properties.push((entry.key.clone(), schema));
            }
        }
    }
    for (name, line) in fields.strings("required", found) {
        // Named there but refused above: one fault is enough.
        let declared = properties.is_some_and(|p| p.node.get(&name).is_some());
        match object.properties.iter().find(|(known, _)| *known == name) {
            Some((_, schema)) if schema.default.is_some() => {
                found.at(line, format!("required: {} has a default, so it is never missing", join(path, &name)));
            }
            Some(_) => object.required.push(name),
            None if declared => {}
            None => {
                let known = object.properties.iter().map(|(known, _)| known.as_str());
                found.hinted(line, format!("required: no property {name:?}"), did_you_mean(&name, known));
            }
        }
    }
    object.additional = fields
        .get("additionalProperties")
        .and_then(|entry| match entry.node.value {
            Value::Boolean(false) => None,
            Value::Table(_) => schema(entry, &join(path, "*"), depth + 1, found),
            _ => {
                found.at(entry.line, "additionalProperties: the schema of such values, or false");
                None
            }
        })
        .map(Box::new);
    object
}

fn text(fields: &mut Fields<'_>, path: &str, found: &mut Findings) -> Text {
    let (min, max) = (length(fields, "minLength", found), length(fields, "maxLength", found));
    let pattern = fields.string("pattern", found).and_then(|(pattern, line)| {
        match regex::RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).build() {
            Ok(regex) => Some(regex),
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                found.at(line, format!("{path}: pattern {}: {why}", quoted(pattern)));
                None
            }
        }
    });
    let format = fields.string("format", found).and_then(|(name, line)| match name {
        "duration" => Some(Format::Duration),
        "uri" => Some(Format::Uri),
        _ => {
            let hint = did_you_mean(name, ["duration", "uri"]);
            found.hinted(line, format!("{path}: unknown format {}", quoted(name)), hint);
            None
        }
    });
    Text { min: min.unwrap_or(0), max: max.unwrap_or(conf::MAX_TEXT), pattern, format }
}

/// A lower bound above the upper one lets nothing pass.
fn bounds(kind: &Kind, path: &str, line: usize, found: &mut Findings) {
    let crossed = match kind {
        Kind::Integer { minimum, maximum } => minimum > maximum,
        Kind::Number { minimum, maximum } => minimum > maximum,
        Kind::String(text) => text.min > text.max,
        Kind::Array { min, max, .. } => min > max,
        Kind::Boolean | Kind::Object(_) => false,
    };
    if crossed {
        found.at(line, format!("{path}: the lower bound is above the upper one"));
    }
}

fn integer(fields: &mut Fields<'_>, key: &'static str, found: &mut Findings) -> Option<i64> {
    let entry = fields.get(key)?;
    match entry.node.value {
        Value::Integer(n) if n.unsigned_abs() <= conf::MAX_INTEGER.unsigned_abs() => Some(n),
        _ => {
            found.at(entry.line, format!("{key}: expected an integer of at most 2^53"));
            None
        }
    }
}

fn number(fields: &mut Fields<'_>, key: &'static str, found: &mut Findings) -> Option<f64> {
    let entry = fields.get(key)?;
    let number = conf::as_number(&entry.node.value);
    if number.is_none() {
        found.at(entry.line, format!("{key}: expected a number, found {}", entry.node.value.what()));
    }
    number
}

fn length(fields: &mut Fields<'_>, key: &'static str, found: &mut Findings) -> Option<usize> {
    let entry = fields.get(key)?;
    let length = match entry.node.value {
        Value::Integer(n) => usize::try_from(n).ok(),
        _ => None,
    };
    if length.is_none() {
        found.at(entry.line, format!("{key}: expected an integer from 0"));
    }
    length
}

/// `a.b`, or `b` at the root.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests;
