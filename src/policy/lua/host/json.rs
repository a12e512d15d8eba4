//! `json`: encode and decode, bounded; also how tables are kept by `shared` and `store`.

use super::call::{Call, refused};
use super::table::{Module, Type, function, gives, param};
use crate::policy::lua::fields::type_name;
use crate::store::space as store;
use mlua::{Lua, Value};
use serde_json::Value as Json;

pub(super) static JSON: Module = Module {
    name: "json",
    doc: "JSON text (RFC 8259), at most 64 KiB and 16 levels deep.",
    capability: None,
    fields: &[],
    functions: &[
        function(
            "encode",
            &[param(
                "value",
                Type::Any,
                "A table with the keys 1 to n is an array, any other an object; an empty one is `{}`.",
            )],
            &[gives(Type::String, "The text, keys in order.")],
            "Writes a value as JSON.",
            encode,
        )
        .fails("A function, a number that is not finite, text that is not UTF-8, a table that holds itself."),
        function(
            "decode",
            &[param("text", Type::String, "JSON.")],
            &[super::table::may_give(Type::Any, "The value; `null` is nil.")],
            "Reads JSON.",
            decode,
        )
        .fails("Text that is no JSON."),
    ],
};

const MAX_TEXT: usize = 64 * 1024;
const MAX_DEPTH: usize = 16;

fn encode(call: &Call<'_>) -> mlua::Result<Value> {
    call.create_string(to_text(call.value(0))?)
}

fn decode(call: &Call<'_>) -> mlua::Result<Value> {
    let text = call.octets(0, MAX_TEXT)?;
    let value: Json = serde_json::from_slice(&text).map_err(|why| refused(why.to_string()))?;
    to_lua(call.lua, &value, 0)
}

pub(super) fn to_text(value: &Value) -> mlua::Result<String> {
    let mut room = MAX_TEXT;
    let json = from_lua(value, 0, &mut room)?;
    let text = json.to_string();
    if text.len() > MAX_TEXT {
        return Err(too_long());
    }
    Ok(text)
}

fn too_long() -> mlua::Error {
    refused(format!("the text has more than {MAX_TEXT} octets"))
}

/// `room` ends a table that would be too long before it is built.
fn from_lua(value: &Value, depth: usize, room: &mut usize) -> mlua::Result<Json> {
    let mut take = |octets: usize| match room.checked_sub(octets) {
        Some(rest) => {
            *room = rest;
            Ok(())
        }
        None => Err(too_long()),
    };
    match value {
        Value::Nil => Ok(Json::Null),
        Value::Boolean(truth) => take(4).map(|()| Json::Bool(*truth)),
        Value::Integer(number) => take(1).map(|()| Json::from(*number)),
        Value::Number(number) => {
            take(1)?;
            // Lua knows one kind of number; what is whole is written so.
            if number.fract() == 0.0 && number.abs() < 9e15 {
                return Ok(Json::from(*number as i64));
            }
            serde_json::Number::from_f64(*number)
                .map(Json::Number)
                .ok_or_else(|| refused(format!("{number} is no JSON")))
        }
        Value::String(text) => {
            let text = text.as_bytes();
            take(text.len() + 2)?;
            match std::str::from_utf8(&text) {
                Ok(text) => Ok(Json::String(text.to_owned())),
                Err(_) => Err(refused("a string in it is not UTF-8")),
            }
        }
        Value::Table(table) => {
            if depth >= MAX_DEPTH {
                return Err(refused(format!("it is more than {MAX_DEPTH} levels deep, or holds itself")));
            }
            take(2)?;
            let length = table.raw_len();
            if length > 0 {
                let mut items = Vec::new();
                table.for_each(|key: Value, item: Value| {
                    if !key.as_usize().is_some_and(|key| (1..=length).contains(&key)) {
                        return Err(refused("a table is either a list or has names, not both"));
                    }
                    items.push((key.as_usize(), from_lua(&item, depth + 1, room)?));
                    Ok(())
                })?;
                items.sort_by_key(|(index, _)| *index);
                return Ok(Json::Array(items.into_iter().map(|(_, item)| item).collect()));
            }
            let mut fields = serde_json::Map::new();
            table.for_each(|key: Value, field: Value| {
                let key = match &key {
                    Value::String(_) => super::call::text(&key)?,
                    other => return Err(refused(format!("a key is a {}; names are strings", type_name(other)))),
                };
                *room = room.checked_sub(key.len() + 4).ok_or_else(too_long)?;
                fields.insert(key, from_lua(&field, depth + 1, room)?);
                Ok(())
            })?;
            Ok(Json::Object(fields))
        }
        other => Err(refused(format!("a {} is no JSON", type_name(other)))),
    }
}

fn to_lua(lua: &Lua, value: &Json, depth: usize) -> mlua::Result<Value> {
    if depth > MAX_DEPTH {
        return Err(refused(format!("it is more than {MAX_DEPTH} levels deep")));
    }
    match value {
        Json::Null => Ok(Value::Nil),
        Json::Bool(truth) => Ok(Value::Boolean(*truth)),
        Json::Number(number) => Ok(Value::Number(number.as_f64().unwrap_or_default())),
        Json::String(text) => lua.create_string(text).map(Value::String),
        Json::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (item, index) in items.iter().zip(1..) {
                table.raw_set(index, to_lua(lua, item, depth + 1)?)?;
            }
            Ok(Value::Table(table))
        }
        Json::Object(fields) => {
            let table = lua.create_table_with_capacity(0, fields.len())?;
            for (key, field) in fields {
                table.raw_set(key.as_str(), to_lua(lua, field, depth + 1)?)?;
            }
            Ok(Value::Table(table))
        }
    }
}

/// A Lua value as it is kept.
pub(super) fn keep(value: &Value) -> mlua::Result<store::Value> {
    Ok(match value {
        Value::Boolean(truth) => store::Value::Boolean(*truth),
        Value::String(text) => store::Value::Text((*text.as_bytes()).into()),
        Value::Table(_) => store::Value::Json(to_text(value)?.into()),
        other => store::Value::Number(super::call::number(other)?),
    })
}

/// A kept value as Lua sees it; a table is a copy.
pub(super) fn unkeep(lua: &Lua, value: Option<store::Value>) -> mlua::Result<Value> {
    match value {
        None => Ok(Value::Nil),
        Some(store::Value::Boolean(truth)) => Ok(Value::Boolean(truth)),
        Some(store::Value::Number(number)) => Ok(Value::Number(number)),
        Some(store::Value::Text(text)) => lua.create_string(&text).map(Value::String),
        Some(store::Value::Json(text)) => {
            let value: Json = serde_json::from_str(&text).map_err(|why| refused(why.to_string()))?;
            to_lua(lua, &value, 0)
        }
    }
}
