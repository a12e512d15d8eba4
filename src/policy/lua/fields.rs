//! Reading arguments of functions that are mlua closures: what is not known by name is refused by name. The verdict
//! constructors read theirs with `args`.

use mlua::{Error, Lua, Value};

/// Longest name or line of text.
const MAX_TEXT: usize = 128;

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

/// A short text that may stand in a status line: no line breaks or other control characters, which
/// would write header fields of the policy's caller's choosing into the answer.
pub(super) fn line(key: &str, value: &Value) -> mlua::Result<String> {
    let text = text(key, value)?;
    if text.chars().any(char::is_control) {
        return Err(Error::runtime(format!("{key} has a control character in it")));
    }
    Ok(text)
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
