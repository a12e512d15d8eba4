//! `shared`: values in memory that all workers of the node see, and that a reload leaves alone.

use super::call::{Call, refused, seconds, text};
use super::json::{keep, unkeep};
use super::table::{Class, Module, Role, Type, function, gives, may_give, optional, param};
use crate::store::space::SpaceError;
use mlua::Value;
use std::time::Duration;

pub(super) const CLASSES: &[Class] = &[Class {
    name: "SharedOptions",
    doc: "How long a shared value lives.",
    role: Role::Record,
    fields: &[optional("ttl", Type::Number, "Seconds that it lives; without it, as long as the node.")],
    methods: &[],
}];

const OPTIONS: Type = Type::Class("SharedOptions");
const QUOTA: &str = "The quota is used up; the key has no or more than 256 octets, the value more than 64 KiB.";

pub(super) static SHARED: Module = Module {
    name: "shared",
    doc: "Values in memory, seen by all workers of the node and by nobody but this plugin. They survive a reload, not a \
          restart. A table is kept as a copy of what JSON can say.",
    capability: Some("shared"),
    fields: &[],
    functions: &[
        function(
            "get",
            &[param("key", Type::String, "Up to 256 octets.")],
            &[may_give(Type::Storable, "The value; nil if there is none or its time is over.")],
            "Reads a value.",
            get,
        ),
        function(
            "set",
            &[
                param("key", Type::String, "Up to 256 octets."),
                param("value", Type::Storable, "Up to 64 KiB."),
                optional("options", OPTIONS, "How long it lives."),
            ],
            &[],
            "Writes a value.",
            set,
        )
        .fails(QUOTA),
        function(
            "add",
            &[
                param("key", Type::String, "Up to 256 octets."),
                param("value", Type::Storable, "Up to 64 KiB."),
                optional("options", OPTIONS, "How long it lives."),
            ],
            &[gives(Type::Boolean, "Whether it was written.")],
            "Writes a value if there is none: of several that try, one succeeds.",
            add,
        )
        .fails(QUOTA),
        function(
            "incr",
            &[
                param("key", Type::String, "Up to 256 octets."),
                optional("by", Type::Number, "1 if left out; may be negative."),
                optional(
                    "options",
                    OPTIONS,
                    "How long a number lives that begins with this call; later calls do not prolong it.",
                ),
            ],
            &[gives(Type::Number, "The new number.")],
            "Adds to a number in one step; one that is not there is 0.",
            incr,
        )
        .fails("The value is no number. The quota is used up."),
        function(
            "delete",
            &[param("key", Type::String, "Up to 256 octets.")],
            &[gives(Type::Boolean, "Whether there was one.")],
            "Takes a value away.",
            delete,
        ),
        function(
            "keys",
            &[
                optional("prefix", Type::String, "How the keys begin."),
                optional("limit", Type::Integer, "Most keys, 100 if left out, at most 1000."),
            ],
            &[gives(Type::List(&Type::String), "The keys in order.")],
            "Lists keys. It looks at all of them: not for the stages of every request.",
            keys,
        ),
    ],
};

fn quota(call: &Call<'_>) -> usize {
    let quota = call.guest.unit.capabilities.shared.unwrap_or_default();
    usize::try_from(quota).unwrap_or(usize::MAX)
}

fn now(call: &Call<'_>) -> Duration {
    call.guest.env.clock.now().mono
}

fn ttl(call: &Call<'_>, n: usize) -> mlua::Result<Option<Duration>> {
    let mut ttl = None;
    call.options(n, &CLASSES[0], |key, value| {
        ttl = Some(seconds(key, value)?);
        Ok(())
    })?;
    Ok(ttl)
}

fn why(error: SpaceError) -> mlua::Error {
    refused(error.to_string())
}

fn get(call: &Call<'_>) -> mlua::Result<Value> {
    unkeep(call.lua, call.guest.namespace.shared.get(&call.text(0)?, now(call)))
}

fn set(call: &Call<'_>) -> mlua::Result<Value> {
    let (key, value, ttl) = (call.text(0)?, keep(call.value(1))?, ttl(call, 2)?);
    call.guest.namespace.shared.set(&key, value, ttl, quota(call), now(call)).map_err(why)?;
    Ok(Value::Nil)
}

fn add(call: &Call<'_>) -> mlua::Result<Value> {
    let (key, value, ttl) = (call.text(0)?, keep(call.value(1))?, ttl(call, 2)?);
    call.guest.namespace.shared.add(&key, value, ttl, quota(call), now(call)).map_err(why).map(Value::Boolean)
}

fn incr(call: &Call<'_>) -> mlua::Result<Value> {
    let key = call.text(0)?;
    let by = if call.given(1).is_some() { call.number(1)? } else { 1.0 };
    let ttl = ttl(call, 2)?;
    match call.guest.namespace.shared.increment(&key, by, ttl, quota(call), now(call)).map_err(why)? {
        Some(number) => Ok(Value::Number(number)),
        None => Err(refused(format!("the value of {key:?} is no number"))),
    }
}

fn delete(call: &Call<'_>) -> mlua::Result<Value> {
    Ok(Value::Boolean(call.guest.namespace.shared.delete(&call.text(0)?, now(call))))
}

fn keys(call: &Call<'_>) -> mlua::Result<Value> {
    let prefix = call.given(0).map(text).transpose()?.unwrap_or_default();
    let keys = call.guest.namespace.shared.keys(&prefix, limit(call, 1)?, now(call));
    call.lua.create_sequence_from(keys.iter().map(|key| &**key)).map(Value::Table)
}

pub(super) fn limit(call: &Call<'_>, n: usize) -> mlua::Result<usize> {
    match call.given(n) {
        None => Ok(100),
        Some(value) => match value.as_usize() {
            Some(limit) if limit <= 1000 => Ok(limit),
            _ => Err(refused("limit is 0 to 1000")),
        },
    }
}
