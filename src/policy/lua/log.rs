//! `log.info`, `log.warn` and `log.error` for policies: joined with blanks, one line, at a limited rate.

use super::failure::{place, printable};
use super::unit::Unit;
use crate::clock::Clock;
use crate::policy::throttle::Throttle;
use mlua::{Lua, Table, Value, Variadic};
use std::rc::Rc;
use std::sync::Arc;

/// Lines a second and VM.
const RATE: u32 = 20;

#[derive(Clone, Copy)]
enum Level {
    Info,
    Warn,
    Error,
}

pub(super) fn table(lua: &Lua, unit: &Arc<Unit>, clock: Clock) -> mlua::Result<Table> {
    let throttle = Rc::new(Throttle::new(RATE));
    let log = lua.create_table()?;
    for (name, level) in [("info", Level::Info), ("warn", Level::Warn), ("error", Level::Error)] {
        let (throttle, unit) = (throttle.clone(), unit.name.clone());
        let write = lua.create_function(move |lua, words: Variadic<Value>| {
            if let Some(held_back) = throttle.admit(clock.now().mono) {
                let words = words.iter().map(Value::to_string).collect::<mlua::Result<Vec<_>>>()?;
                let text = printable(&words.join(" "));
                let place = place(lua, 1).unwrap_or_default();
                match level {
                    Level::Info => {
                        tracing::info!(target: "imscript::policy", unit = &*unit, place, held_back, "{text}")
                    }
                    Level::Warn => {
                        tracing::warn!(target: "imscript::policy", unit = &*unit, place, held_back, "{text}")
                    }
                    Level::Error => {
                        tracing::error!(target: "imscript::policy", unit = &*unit, place, held_back, "{text}")
                    }
                }
            }
            Ok(())
        })?;
        log.set(name, write)?;
    }
    log.set_readonly(true);
    Ok(log)
}
