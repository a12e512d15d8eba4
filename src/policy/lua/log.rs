//! `log.info`, `log.warn` and `log.error` for policies: joined with blanks, one line, at a limited rate.

use super::failure::{MAX_MESSAGE, place, printable};
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
                let text = printable(&joined(&words)?);
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

/// The words with blanks between, as far as a line goes: a copy of each whole word, thousands of them and megabytes
/// each, would be memory that no limit of the VM counts.
fn joined(words: &[Value]) -> mlua::Result<String> {
    let mut line = String::new();
    for word in words {
        if line.len() > MAX_MESSAGE {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        match word {
            Value::String(text) => {
                let text = text.as_bytes();
                line.push_str(&String::from_utf8_lossy(text.get(..MAX_MESSAGE).unwrap_or(&text)));
            }
            other => line.push_str(&other.to_string()?),
        }
    }
    Ok(line)
}
