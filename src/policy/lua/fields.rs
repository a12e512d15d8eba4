//! Reading the arguments of the constructors: what is not known by name is refused by name.

use mlua::{Error, Lua, Value};

/// Longest name, reason or word in a verdict, and most entries in a list: a verdict lives outside
/// the VM's memory limit, so it has limits of its own.
const MAX_TEXT: usize = 128;
const MAX_LIST: usize = 16;

/// Calls `field` with each key and value of a table; nil is the empty table.
pub(super) fn each_field(
    argument: &Value,
    known: &[&str],
    mut field: impl FnMut(&str, &Value) -> mlua::Result<()>,
) -> mlua::Result<()> {
    let table = match argument {
        Value::Nil => return Ok(()),
        Value::Table(table) => table,
        other => return Err(Error::runtime(format!("takes a table, not a {}", type_name(other)))),
    };
    table.for_each(|key: Value, value: Value| {
        if let Value::String(key) = &key
            && let Some(key) = known.iter().find(|known| known.as_bytes() == &*key.as_bytes())
        {
            return field(key, &value);
        }
        Err(Error::runtime(format!("unknown key {}; known: {}", quoted(&key), known.join(", "))))
    })
}

/// A JSON value as a read-only Lua value.
pub(super) fn from_json(lua: &Lua, value: &serde_json::Value) -> mlua::Result<Value> {
    use serde_json::Value as Json;
    let table = match value {
        Json::Null => return Ok(Value::Nil),
        Json::Bool(truth) => return Ok(Value::Boolean(*truth)),
        Json::Number(number) => return Ok(Value::Number(number.as_f64().unwrap_or_default())),
        Json::String(text) => return lua.create_string(text).map(Value::String),
        Json::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for item in items {
                table.raw_push(from_json(lua, item)?)?;
            }
            table
        }
        Json::Object(fields) => {
            let table = lua.create_table_with_capacity(0, fields.len())?;
            for (key, field) in fields {
                table.raw_set(key.as_str(), from_json(lua, field)?)?;
            }
            table
        }
    };
    table.set_readonly(true);
    Ok(Value::Table(table))
}

/// One of a few words.
pub(super) fn word<T: Copy>(key: &str, value: &Value, known: &[(&str, T)]) -> mlua::Result<T> {
    if let Value::String(text) = value {
        let text = text.as_bytes();
        if let Some((_, meaning)) = known.iter().find(|(word, _)| word.as_bytes() == &*text) {
            return Ok(*meaning);
        }
    }
    Err(unknown(key, &quoted(value), known))
}

/// [`word`] for text that has been read already.
pub(super) fn known_word<T: Copy>(key: &str, text: &str, known: &[(&str, T)]) -> mlua::Result<T> {
    match known.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => Err(unknown(key, &format!("{text:?}"), known)),
    }
}

fn unknown<T>(key: &str, found: &str, known: &[(&str, T)]) -> Error {
    let words: Vec<String> = known.iter().map(|(word, _)| format!("{word:?}")).collect();
    Error::runtime(format!("{key} is {found}; it may be {}", words.join(", ")))
}

/// A whole number that fits a delta-seconds field (RFC 3261 §20.19).
pub(super) fn number(key: &str, value: &Value) -> mlua::Result<u32> {
    let whole = match value {
        Value::Integer(number) => u32::try_from(*number).ok(),
        Value::Number(number) if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number) => {
            Some(*number as u32)
        }
        _ => None,
    };
    whole.ok_or_else(|| Error::runtime(format!("{key} is {}; it must be a whole number from 0", quoted(value))))
}

/// A short text.
pub(super) fn text(key: &str, value: &Value) -> mlua::Result<String> {
    let Value::String(found) = value else {
        return Err(Error::runtime(format!("{key} is {}; it must be a string", quoted(value))));
    };
    let bytes = found.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_TEXT {
        return Err(Error::runtime(format!("{key} must have 1 to {MAX_TEXT} octets")));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::runtime(format!("{key} is not UTF-8"))),
    }
}

/// Octets, bounded.
pub(super) fn octets(key: &str, value: &Value, most: usize) -> mlua::Result<Vec<u8>> {
    match value {
        Value::String(found) if found.as_bytes().len() <= most => Ok(found.as_bytes().to_vec()),
        Value::String(_) => Err(Error::runtime(format!("{key} has more than {most} octets"))),
        _ => Err(Error::runtime(format!("{key} is {}; it must be a string", quoted(value)))),
    }
}

/// A table of names with a line of text each.
pub(super) fn pairs(key: &str, value: &Value) -> mlua::Result<Vec<(String, String)>> {
    let Value::Table(table) = value else {
        return Err(Error::runtime(format!("{key} is {}; it must be a table", quoted(value))));
    };
    let mut found = Vec::new();
    table.for_each(|name: Value, value: Value| {
        if found.len() == MAX_LIST {
            return Err(Error::runtime(format!("{key} has more than {MAX_LIST} entries")));
        }
        let name = line(key, &name)?;
        let value = line(&name, &value)?;
        found.push((name, value));
        Ok(())
    })?;
    found.sort();
    Ok(found)
}

/// A short text that may stand in a status line: no line breaks or other control characters, which
/// would write header fields of the policy's caller's choosing into the answer.
pub(super) fn line(key: &str, value: &Value) -> mlua::Result<String> {
    let text = text(key, value)?;
    if text.chars().any(char::is_control) {
        return Err(Error::runtime(format!("{key} has a control character in it")));
    }
    Ok(text)
}

/// A short list of short texts.
pub(super) fn list(key: &str, value: &Value) -> mlua::Result<Vec<String>> {
    let Value::Table(table) = value else {
        return Err(Error::runtime(format!("{key} is {}; it must be a list", quoted(value))));
    };
    let mut entries = Vec::new();
    table.for_each(|index: Value, entry: Value| {
        if index.as_usize() != Some(entries.len() + 1) {
            return Err(Error::runtime(format!("{key} is a list; entry {} is out of place", quoted(&index))));
        }
        if entries.len() == MAX_LIST {
            return Err(Error::runtime(format!("{key} has more than {MAX_LIST} entries")));
        }
        entries.push(text(key, &entry)?);
        Ok(())
    })?;
    Ok(entries)
}

/// A value as it may stand in a message.
pub(super) fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let text = text.to_string_lossy();
            let short: String = text.chars().take(40).collect();
            format!("{short:?}")
        }
        Value::Nil => "nil".to_owned(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        other => format!("a {}", type_name(other)),
    }
}

/// The name of a value's type in the language; that numbers come in two kinds is not its business.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "number",
        other => other.type_name(),
    }
}
