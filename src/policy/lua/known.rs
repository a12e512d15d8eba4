//! What a unit finds in its VM, by name: for `imscript check` and for the prompt, which tell a slip from a thing that
//! is there.

use super::PolicyError;
use super::env::Env;
use super::failure::describe;
use super::host::table::class;
use super::unit::Unit;
use super::view::Object;
use super::vm;
use mlua::{Table, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The globals of a unit, and of those that are tables the names in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known(pub BTreeMap<String, Option<BTreeSet<String>>>);

impl Known {
    /// Of a VM made for `unit`, nothing of it run.
    pub fn of(unit: &Arc<Unit>) -> Result<Known, PolicyError> {
        let failed = |error: mlua::Error| PolicyError::Vm { why: describe(&error) };
        let vm = vm::bare(unit, &Env::detached(&[]), 0).map_err(failed)?;
        let mut known = Known::default();
        let globals = vm.globals();
        known.add(&globals).map_err(failed)?;
        // A sandboxed VM has a table of its own in front of the one with everything in it.
        if let Some(Ok(Value::Table(behind))) = globals.metatable().map(|meta| meta.raw_get::<Value>("__index")) {
            known.add(&behind).map_err(failed)?;
        }
        Ok(known)
    }

    fn add(&mut self, globals: &Table) -> mlua::Result<()> {
        globals.for_each(|name: Value, value: Value| {
            if let Value::String(name) = &name {
                let fields = match &value {
                    Value::Table(table) => Some(names(table)?),
                    _ => None,
                };
                self.0.insert(name.to_string_lossy(), fields);
            }
            Ok(())
        })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What is in a global table; None: the global is none, or is not there.
    pub fn fields(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.0.get(name)?.as_ref()
    }
}

fn names(table: &Table) -> mlua::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    table.for_each(|name: Value, _: Value| {
        if let Value::String(name) = &name {
            names.insert(name.to_string_lossy());
        }
        Ok(())
    })?;
    Ok(names)
}

/// The fields and methods of a stage's argument, by the name that it has in the documentation.
pub fn argument_fields(name: &str) -> Option<Vec<&'static str>> {
    let object = Object::ALL.into_iter().find(|object| object.name() == name)?;
    let class = class(object.class())?;
    Some(class.fields.iter().map(|field| field.name).chain(class.methods.iter().map(|method| method.name)).collect())
}
