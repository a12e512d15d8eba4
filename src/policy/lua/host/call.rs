//! One call of a host function: the arguments, checked against the table, and what it may reach.

use super::guest::{Guest, Occasion};
use super::table::{Class, Function, Param, Role, Type, When, class};
use crate::policy::lua::failure::{describe, located, place};
use crate::policy::lua::fields::{each_field, quoted, type_name};
use mlua::{Error, Lua, LuaString, Value};
use std::rc::Rc;

/// Most arguments of a function, a method's object among them.
pub(super) const MAX_ARGUMENTS: usize = 4;
pub(super) type Arguments = (Value, Value, Value, Value);

pub struct Call<'a> {
    pub(super) lua: &'a Lua,
    pub(super) guest: &'a Rc<Guest>,
    arguments: [Value; MAX_ARGUMENTS],
}

/// Runs a function of the table. `owner`: `http` of `http.get`, or the class of a method.
pub(super) fn enter(
    lua: &Lua,
    owner: &'static str,
    function: &'static Function,
    run: fn(&Call<'_>) -> mlua::Result<Value>,
    is_method: bool,
    (a, b, c, d): Arguments,
) -> mlua::Result<Value> {
    let fail = |why: &str| {
        let dot = if is_method { ':' } else { '.' };
        located(lua, &format!("{owner}{dot}{}: {why}", function.name))
    };
    let guest = lua.app_data_ref::<Rc<Guest>>().map(|guest| guest.clone()).ok_or_else(|| fail("there is no host"))?;
    let own = usize::from(is_method);
    let mut arguments = [a, b, c, d];
    if let Some(at) = function.left_out()
        && let Some([given, next @ Value::Nil, ..]) = arguments.get_mut(own + at..)
        && given.is_function()
    {
        std::mem::swap(given, next);
    }
    let call = Call { lua, guest: &guest, arguments };
    if is_method && !matches!(call.arguments.first(), Some(Value::UserData(_))) {
        return Err(fail("call it with a colon"));
    }
    for (param, value) in function.params.iter().zip(call.arguments.iter().skip(own)) {
        check(param, value).map_err(|why| fail(&why))?;
    }
    if function.when == When::Between && !guest.occasion().is_between() {
        let now = guest.occasion();
        return Err(fail(&format!("it may be called in {} only, not in {now}", function.when.as_str())));
    }
    run(&call).map_err(|error| match error {
        Error::MemoryError(_) => error,
        error => fail(&describe(&error)),
    })
}

/// Whether a value is what the parameter takes.
fn check(param: &Param, value: &Value) -> Result<(), String> {
    if matches!(value, Value::Nil) && param.optional {
        return Ok(());
    }
    if fits(&param.kind, value) {
        return Ok(());
    }
    let found = match value {
        Value::Table(_) | Value::Function(_) | Value::UserData(_) => format!("a {}", type_name(value)),
        value => quoted(value),
    };
    Err(format!("{} is {found}; it must be {}", param.name, said(&param.kind)))
}

fn fits(kind: &Type, value: &Value) -> bool {
    match kind {
        Type::String => value.is_string(),
        Type::Number => matches!(value, Value::Integer(_)) || matches!(value, Value::Number(n) if n.is_finite()),
        Type::Integer => matches!(value, Value::Integer(_)) || matches!(value, Value::Number(n) if n.fract() == 0.0),
        Type::Boolean => value.is_boolean(),
        Type::Any => !value.is_nil(),
        Type::Storable => {
            matches!(value, Value::Boolean(_) | Value::String(_) | Value::Table(_)) || fits(&Type::Number, value)
        }
        Type::Words(words) => match value {
            Value::String(text) => words.iter().any(|word| word.as_bytes() == &*text.as_bytes()),
            _ => false,
        },
        Type::List(_) | Type::Map(_) => value.is_table(),
        Type::Class(name) => match class(name).map(|class| class.role) {
            Some(Role::Record | Role::Answer) => value.is_table(),
            Some(Role::View) => matches!(value, Value::LightUserData(_)),
            _ => value.is_userdata(),
        },
        Type::Function(..) => value.is_function(),
        Type::Either(kinds) => kinds.iter().any(|kind| fits(kind, value)),
    }
}

/// A type in words.
fn said(kind: &Type) -> String {
    match kind {
        Type::String => "a string".to_owned(),
        Type::Number => "a finite number".to_owned(),
        Type::Integer => "a whole number".to_owned(),
        Type::Boolean => "true or false".to_owned(),
        Type::Any => "given".to_owned(),
        Type::Storable => "a string, number, boolean or table".to_owned(),
        Type::Words(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or "),
        Type::List(_) => "a list".to_owned(),
        Type::Map(_) => "a table".to_owned(),
        Type::Class(name) => match class(name).map(|class| class.role) {
            Some(Role::Record) => {
                let known: Vec<_> = class(name).map(|class| class.fields).unwrap_or_default().iter().collect();
                let known: Vec<_> = known.iter().map(|field| field.name).collect();
                format!("a table of {}", known.join(", "))
            }
            _ => format!("a {name}"),
        },
        Type::Function(..) => "a function".to_owned(),
        Type::Either(kinds) => kinds.iter().map(said).collect::<Vec<_>>().join(" or "),
    }
}

impl<'a> Call<'a> {
    /// The n-th argument, a method's object being the first; nil if there is none.
    pub(super) fn value(&self, n: usize) -> &Value {
        self.arguments.get(n).unwrap_or(&Value::Nil)
    }

    pub(super) fn given(&self, n: usize) -> Option<&Value> {
        Some(self.value(n)).filter(|value| !value.is_nil())
    }

    pub(super) fn string(&self, n: usize) -> mlua::Result<&LuaString> {
        match self.value(n) {
            Value::String(text) => Ok(text),
            other => Err(refused(format!("argument {} is {}; it must be a string", n + 1, quoted(other)))),
        }
    }

    /// Octets, at most so many.
    pub(super) fn octets(&self, n: usize, most: usize) -> mlua::Result<mlua::BorrowedBytes> {
        let octets = self.string(n)?.as_bytes();
        match octets.len() {
            length if length > most => Err(refused(format!("{length} octets are too many; at most {most}"))),
            _ => Ok(octets),
        }
    }

    pub(super) fn text(&self, n: usize) -> mlua::Result<String> {
        text(self.value(n))
    }

    pub(super) fn number(&self, n: usize) -> mlua::Result<f64> {
        number(self.value(n))
    }

    pub(super) fn function(&self, n: usize) -> mlua::Result<mlua::Function> {
        match self.value(n) {
            Value::Function(function) => Ok(function.clone()),
            other => Err(refused(format!("argument {} is {}; it must be a function", n + 1, quoted(other)))),
        }
    }

    /// Each field of the options in the n-th argument; unknown keys and wrong types are refused by name.
    pub(super) fn options(
        &self,
        n: usize,
        record: &'static Class,
        mut field: impl FnMut(&str, &Value) -> mlua::Result<()>,
    ) -> mlua::Result<()> {
        let known: Vec<&str> = record.fields.iter().map(|field| field.name).collect();
        each_field(self.value(n), &known, |key, value| {
            if let Some(param) = record.fields.iter().find(|field| field.name == key) {
                check(param, value).map_err(refused)?;
            }
            field(key, value)
        })
    }

    /// `file:line` of the caller.
    pub(super) fn place(&self) -> String {
        place(self.lua, 1).unwrap_or_default()
    }

    pub(super) fn create_string(&self, octets: impl AsRef<[u8]>) -> mlua::Result<Value> {
        self.lua.create_string(octets).map(Value::String)
    }
}

pub(super) fn refused(why: impl Into<String>) -> Error {
    Error::runtime(why.into())
}

pub(super) fn number(value: &Value) -> mlua::Result<f64> {
    match value {
        Value::Integer(number) => Ok(*number as f64),
        Value::Number(number) => Ok(*number),
        other => Err(refused(format!("{} is no number", quoted(other)))),
    }
}

pub(super) fn text(value: &Value) -> mlua::Result<String> {
    match value {
        Value::String(text) => match std::str::from_utf8(&text.as_bytes()) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(refused(format!("{} is not UTF-8", quoted(value)))),
        },
        other => Err(refused(format!("{} is no string", quoted(other)))),
    }
}

/// A time in seconds from a script: positive, and no more than a year.
pub(super) fn seconds(what: &str, value: &Value) -> mlua::Result<std::time::Duration> {
    const YEAR: f64 = 366.0 * 86_400.0;
    let given = number(value)?;
    if given > 0.0 && given <= YEAR {
        return Ok(std::time::Duration::from_secs_f64(given));
    }
    Err(refused(format!("{what} is {}; it must be above 0 and at most {YEAR} seconds", quoted(value))))
}

impl std::fmt::Display for Occasion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Occasion::None => f.write_str("no call"),
            Occasion::Load => f.write_str("the top level of a file"),
            Occasion::Setup => f.write_str("setup"),
            Occasion::Teardown => f.write_str("teardown"),
            Occasion::Stage(stage) => write!(f, "stage {}", stage.as_str()),
            Occasion::Timer => f.write_str("a timer"),
            Occasion::Callback => f.write_str("a callback"),
        }
    }
}
