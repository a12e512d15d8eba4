//! The host API: what a script can do beside answering its stages.
//!
//! | file | what it is about |
//! |---|---|
//! | `table` | every function, with its documentation and its types |
//! | `verdicts`, `views` | the entries of what other modules install |
//! | `call` | arguments: checked against the table |
//! | `guest` | one VM as the host sees it: grants, callbacks, what is begun after a clean return |
//! | `service`, `space` | what all workers share |
//! | `log`, `metric`, `shared`, `store`, `http`, `hss`, `timer` | the modules, |
//! | `time`, `random`, `re`, `json`, `encode` | one a file |
//! | `doc` | stubs for editors and the reference page, from the table |

mod call;
pub mod doc;
mod encode;
mod guest;
mod hss;
mod http;
mod json;
mod log;
mod metric;
mod random;
mod re;
mod service;
mod shared;
mod space;
mod store;
pub mod table;
mod time;
mod timer;
mod verdicts;
mod views;

pub use guest::{Guest, Occasion, Runner};
pub use service::Host;

use super::env::Env;
use super::failure::located;
use super::unit::Unit;
use mlua::{Lua, MetaMethod, Table, UserData, UserDataMethods, Value};
use std::rc::Rc;
use std::sync::Arc;
use table::{Module, Run};

/// Puts the modules into a VM that has no unit in it yet. What is not granted is there as a name that tells how to get it.
pub(super) fn install(lua: &Lua, unit: &Arc<Unit>, env: &Env, generation: u64) -> mlua::Result<Rc<Guest>> {
    let guest = Guest::new(lua, unit.clone(), generation, env.clone());
    lua.set_app_data(guest.clone());
    for module in table::MODULES {
        let hosted = module.functions.iter().any(|function| matches!(function.run, Run::Host(_)));
        if !hosted {
            continue;
        }
        let table = match module.capability {
            Some(capability) if !unit.capabilities.grants(capability) => refusing(lua, &unit.name, module, capability)?,
            _ => bound(lua, module)?,
        };
        lua.globals().raw_set(module.name, table)?;
    }
    Ok(guest)
}

fn bound(lua: &Lua, module: &'static Module) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, module.functions.len())?;
    for function in module.functions {
        if let Run::Host(run) = function.run {
            let bound = lua.create_function(move |lua, arguments: call::Arguments| {
                call::enter(lua, module.name, function, run, false, arguments)
            })?;
            table.raw_set(function.name, bound)?;
        }
    }
    table.set_readonly(true);
    Ok(table)
}

/// A module that is not granted: its use says what to write where.
fn refusing(lua: &Lua, unit: &Arc<str>, module: &Module, capability: &str) -> mlua::Result<Table> {
    let line = match capability {
        "http" => "http = [\"https://host\"]".to_owned(),
        capability => format!("{capability} = true"),
    };
    let why = format!("{unit} is not granted {}; plugin.toml: [capabilities] {line}", module.name);
    let refuse = lua.create_function(move |lua, _: mlua::MultiValue| Err::<Value, _>(located(lua, &why)))?;
    let meta = lua.create_table()?;
    meta.raw_set("__index", refuse.clone())?;
    meta.raw_set("__newindex", refuse.clone())?;
    meta.raw_set("__call", refuse)?;
    meta.raw_set("__metatable", false)?;
    meta.set_readonly(true);
    let table = lua.create_table()?;
    table.set_metatable(Some(meta))?;
    table.set_readonly(true);
    Ok(table)
}

/// The methods of a handle, from its class in the table.
fn add_methods<T: UserData, M: UserDataMethods<T>>(name: &'static str, methods: &mut M) {
    let Some(class) = table::class(name) else { return };
    for function in class.methods {
        if let Run::Host(run) = function.run {
            methods.add_function(function.name, move |lua, arguments: call::Arguments| {
                call::enter(lua, class.name, function, run, true, arguments)
            });
        }
    }
    methods.add_meta_function(MetaMethod::ToString, move |_, _: Value| Ok(class.name));
}
