//! Lua values on their way in and out of a test: compared, shown, read by name, and as JSON.

use crate::policy::lua::show;
use mlua::{Error, Lua, Table, Value};
use serde_json::Value as Json;
use std::time::Duration;

/// How deep tables are followed: one may hold itself.
const DEPTH: usize = 16;

/// Whether two values are alike, tables by what is in them.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    equal_to(a, b, DEPTH)
}

fn equal_to(a: &Value, b: &Value, depth: usize) -> bool {
    match (a, b) {
        (Value::Table(a), Value::Table(b)) => {
            if a == b {
                return true;
            }
            let Some(deeper) = depth.checked_sub(1) else { return false };
            let pairs = |table: &Table| {
                let mut pairs = Vec::new();
                let _ = table.for_each(|key: Value, value: Value| {
                    pairs.push((key, value));
                    Ok(())
                });
                pairs
            };
            let mine = pairs(a);
            mine.len() == pairs(b).len()
                && mine.iter().all(|(key, value)| {
                    b.raw_get::<Value>(key.clone()).is_ok_and(|other| equal_to(value, &other, deeper))
                })
        }
        (Value::Integer(a), Value::Number(b)) | (Value::Number(b), Value::Integer(a)) => *a as f64 == *b,
        _ => a == b,
    }
}

pub(super) fn to_lua(lua: &Lua, json: &Json) -> mlua::Result<Value> {
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or_default()),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(list) => {
            let table = lua.create_table()?;
            for value in list {
                table.raw_push(to_lua(lua, value)?)?;
            }
            Value::Table(table)
        }
        Json::Object(object) => {
            let table = lua.create_table()?;
            for (name, value) in object {
                table.raw_set(name.as_str(), to_lua(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}

pub(super) fn to_json(value: &Value) -> mlua::Result<Json> {
    json_of(value, DEPTH)
}

fn json_of(value: &Value, depth: usize) -> mlua::Result<Json> {
    let Some(deeper) = depth.checked_sub(1) else { return Err(Error::runtime("the table is nested too deep")) };
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Boolean(flag) => Json::Bool(*flag),
        Value::Integer(number) => Json::from(*number),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => Json::from(*number as i64),
        Value::Number(number) => Json::from(*number),
        Value::String(text) => Json::String(text.to_str()?.to_owned()),
        Value::Table(table) => {
            let length = table.raw_len();
            if length > 0 {
                let list: mlua::Result<Vec<Json>> =
                    (1..=length).map(|at| json_of(&table.raw_get::<Value>(at)?, deeper)).collect();
                return Ok(Json::Array(list?));
            }
            let mut object = serde_json::Map::new();
            table.for_each(|key: Value, value: Value| {
                let Value::String(name) = &key else { return Err(Error::runtime("a key is no text")) };
                object.insert(name.to_str()?.to_owned(), json_of(&value, deeper)?);
                Ok(())
            })?;
            Json::Object(object)
        }
        other => return Err(Error::runtime(format!("a {} is no value for this", other.type_name()))),
    })
}

/// The named arguments of a function: what is not known is refused by name.
pub(super) struct Fields {
    table: Option<Table>,
}

impl Fields {
    pub(super) fn new(what: &str, value: Option<Table>, known: &[&str]) -> mlua::Result<Self> {
        if let Some(table) = &value {
            table.for_each(|key: Value, _: Value| match &key {
                Value::String(name) if known.iter().any(|known| known.as_bytes() == &*name.as_bytes()) => Ok(()),
                other => {
                    let found = other.to_string().unwrap_or_default();
                    Err(Error::runtime(format!("{what}: unknown key {found}; known: {}", known.join(", "))))
                }
            })?;
        }
        Ok(Fields { table: value })
    }

    pub(super) fn value(&self, key: &str) -> mlua::Result<Value> {
        self.table.as_ref().map_or(Ok(Value::Nil), |table| table.raw_get(key))
    }

    fn unfit<T>(key: &str, value: &Value, fit: &str) -> mlua::Result<T> {
        Err(Error::runtime(format!("{key} is {}; it must be {fit}", show(value))))
    }

    pub(super) fn text(&self, key: &str) -> mlua::Result<Option<String>> {
        match self.value(key)? {
            Value::Nil => Ok(None),
            Value::String(text) => Ok(Some(text.to_str()?.to_owned())),
            other => Self::unfit(key, &other, "a string"),
        }
    }

    pub(super) fn octets(&self, key: &str) -> mlua::Result<Option<Vec<u8>>> {
        match self.value(key)? {
            Value::Nil => Ok(None),
            Value::String(text) => Ok(Some(text.as_bytes().to_vec())),
            other => Self::unfit(key, &other, "a string"),
        }
    }

    pub(super) fn flag(&self, key: &str) -> mlua::Result<bool> {
        match self.value(key)? {
            Value::Nil => Ok(false),
            Value::Boolean(flag) => Ok(flag),
            other => Self::unfit(key, &other, "true or false"),
        }
    }

    pub(super) fn number(&self, key: &str) -> mlua::Result<Option<u64>> {
        match self.value(key)? {
            Value::Nil => Ok(None),
            value => match whole(&value) {
                Some(number) => Ok(Some(number)),
                None => Self::unfit(key, &value, "a whole number from 0"),
            },
        }
    }

    pub(super) fn duration(&self, key: &str) -> mlua::Result<Option<Duration>> {
        match self.value(key)? {
            Value::Nil => Ok(None),
            value => duration(&value).map(Some),
        }
    }

    /// One text, or a list of them.
    pub(super) fn texts(&self, key: &str) -> mlua::Result<Option<Vec<String>>> {
        match self.value(key)? {
            Value::Nil => Ok(None),
            Value::String(text) => Ok(Some(vec![text.to_str()?.to_owned()])),
            Value::Table(table) => {
                let list: mlua::Result<Vec<String>> = table.sequence_values::<String>().collect();
                list.map(Some).map_err(|_| Error::runtime(format!("{key} must be a list of strings")))
            }
            other => Self::unfit(key, &other, "a string or a list of strings"),
        }
    }

    /// Header fields: `{ ["P-Access-Network-Info"] = "…" }`, a list as value for several of one name.
    pub(super) fn headers(&self, key: &str) -> mlua::Result<Vec<(String, String)>> {
        let table = match self.value(key)? {
            Value::Nil => return Ok(Vec::new()),
            Value::Table(table) => table,
            other => return Self::unfit(key, &other, "a table of header fields"),
        };
        let mut headers = Vec::new();
        table.for_each(|name: String, value: Value| {
            let values = match value {
                Value::Table(list) => list.sequence_values::<String>().collect::<mlua::Result<Vec<_>>>()?,
                other => vec![other.to_string()?],
            };
            for value in values {
                if name.contains(['\r', '\n', ':']) || value.contains(['\r', '\n']) {
                    return Err(Error::runtime(format!("header {name:?} has a line break in it")));
                }
                headers.push((name.clone(), value));
            }
            Ok(())
        })?;
        // A table has no order; a test should.
        headers.sort();
        Ok(headers)
    }
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Number(number) if number.fract() == 0.0 && (0.0..9e15).contains(number) => Some(*number as u64),
        _ => None,
    }
}

/// `"500ms"`, `"32s"`, `"5m"`, `"1h"`, `"2d"`, or a number of seconds.
pub(super) fn duration(value: &Value) -> mlua::Result<Duration> {
    let wrong =
        || Error::runtime(format!("{} is no time; write \"500ms\", \"32s\", \"5m\", \"1h\" or \"2d\"", show(value)));
    let text = match value {
        Value::Integer(_) | Value::Number(_) => {
            return whole(value).map(Duration::from_secs).ok_or_else(wrong);
        }
        Value::String(text) => text.to_str()?.to_owned(),
        _ => return Err(wrong()),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    // A test of ten years is a slip of the pen.
    number.checked_mul(milliseconds).filter(|ms| *ms < 315_360_000_000).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(lua: &Lua, text: &str) -> Value {
        lua.load(text).eval().unwrap()
    }

    #[test]
    fn tables_are_compared_and_shown_by_content() {
        let lua = Lua::new();
        let (a, b) = (eval(&lua, "{1, 'x', k = {true}}"), eval(&lua, "{1, 'x', k = {true}}"));
        assert!(equal(&a, &b));
        assert_eq!(show(&a), "{ 1, \"x\", k = { true } }");
        for other in ["{1, 'x'}", "{1, 'x', k = {false}}", "{1, 'x', k = {true}, l = 1}", "nil"] {
            assert!(!equal(&a, &eval(&lua, other)), "{other}");
        }
        let itself = eval(&lua, "local t = {} t.t = t return t");
        assert!(equal(&itself, &itself) && show(&itself).contains('…'));
    }

    #[test]
    fn json_there_and_back() {
        let lua = Lua::new();
        let json: Json = serde_json::from_str(r#"{"a":[1,2.5,"x"],"b":{"c":true}}"#).unwrap();
        assert_eq!(to_json(&to_lua(&lua, &json).unwrap()).unwrap(), json);
    }

    #[test]
    fn durations() {
        let lua = Lua::new();
        for (text, seconds) in [("'32s'", 32.0), ("'500ms'", 0.5), ("'2d'", 172_800.0), ("7", 7.0)] {
            assert_eq!(duration(&eval(&lua, text)).unwrap().as_secs_f64(), seconds);
        }
        for bad in ["'32'", "'s'", "-1", "1.5", "{}", "'99999999999999d'"] {
            assert!(duration(&eval(&lua, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_keys_are_named() {
        let lua = Lua::new();
        let Value::Table(table) = eval(&lua, "{impl = 'x'}") else { panic!() };
        let error = Fields::new("t:terminal", Some(table), &["impi", "impu"]).err().unwrap().to_string();
        assert!(error.contains("t:terminal: unknown key impl; known: impi, impu"), "{error}");
    }
}
