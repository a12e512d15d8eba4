//! `store`: values that are still there after a restart.

use super::call::{Call, refused, text};
use super::json::{keep, unkeep};
use super::shared::limit;
use super::table::{Module, Param, Type, function, gives, may_give, optional, param};
use crate::answer::Answer;
use crate::store::space::{self as store, SpaceError};
use mlua::{IntoLuaMulti, Lua, Value};

const KEY: Param = param("key", Type::String, "Up to 256 octets.");
const WRITTEN: Param = optional(
    "written",
    Type::Function(
        &[
            param("ok", Type::Boolean, "Whether the change is on disk."),
            optional("why", Type::String, "What is wrong, if it is not."),
        ],
        &[],
    ),
    "Called when the change is on disk; only in `setup`, `status`, `finish`, timers and callbacks.",
);

pub(super) static STORE: Module = Module {
    name: "store",
    doc: "Values on disk, seen by all workers of the node and by nobody but this plugin. Reading and writing go to memory; \
          a change is on disk some milliseconds later, and who has to know when gives a function. A table is kept as a copy of \
          what JSON can say.",
    capability: Some("store"),
    fields: &[],
    functions: &[
        function("get", &[KEY], &[may_give(Type::Storable, "The value; nil if there is none.")], "Reads a value.", get),
        function("set", &[KEY, param("value", Type::Storable, "Up to 64 KiB."), WRITTEN], &[], "Writes a value.", set)
            .fails("The quota is used up; the key has no or more than 256 octets, the value more than 64 KiB."),
        function("delete", &[KEY, WRITTEN], &[], "Takes a value away.", delete),
        function(
            "keys",
            &[
                optional("prefix", Type::String, "How the keys begin."),
                optional("limit", Type::Integer, "Most keys, 100 if left out, at most 1000."),
            ],
            &[gives(Type::List(&Type::String), "The keys in order.")],
            "Lists keys.",
            keys,
        ),
    ],
};

fn get(call: &Call<'_>) -> mlua::Result<Value> {
    unkeep(call.lua, call.guest.namespace.store.get(&call.text(0)?))
}

fn set(call: &Call<'_>) -> mlua::Result<Value> {
    change(call, Some(keep(call.value(1))?), 2)
}

fn delete(call: &Call<'_>) -> mlua::Result<Value> {
    change(call, None, 1)
}

fn change(call: &Call<'_>, value: Option<store::Value>, callback: usize) -> mlua::Result<Value> {
    let (space, key) = (&call.guest.namespace.store, call.text(0)?);
    let quota = usize::try_from(call.guest.unit.capabilities.store.unwrap_or_default()).unwrap_or(usize::MAX);
    let why = |error: SpaceError| refused(error.to_string());
    if call.given(callback).is_none() {
        space.put(&key, value, quota).map_err(why)?;
        return Ok(Value::Nil);
    }
    if !call.guest.occasion().is_between() {
        return Err(refused(format!(
            "a stage cannot wait for the disk: without a function in {}",
            call.guest.occasion()
        )));
    }
    let written: Answer<'static, _> = space.put_acknowledged(&key, value, quota).map_err(why)?;
    call.guest.begin(call.function(callback)?, async move {
        let result = written.await;
        Box::new(move |lua: &Lua| match result {
            Ok(()) => true.into_lua_multi(lua),
            Err(why) => (false, why.to_string()).into_lua_multi(lua),
        }) as super::guest::Arguments
    })?;
    Ok(Value::Nil)
}

fn keys(call: &Call<'_>) -> mlua::Result<Value> {
    let prefix = call.given(0).map(text).transpose()?.unwrap_or_default();
    let keys = call.guest.namespace.store.keys(&prefix, limit(call, 1)?);
    call.lua.create_sequence_from(keys.iter().map(|key| &**key)).map(Value::Table)
}
