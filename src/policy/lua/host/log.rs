//! `log`: one line a call, at a limited rate, with who wrote it and where.

use super::call::{Call, refused, text};
use super::table::{Function, Module, Param, Type, function, optional, param};
use crate::policy::lua::failure::printable;
use mlua::Value;
use std::fmt::Write;

const MAX_FIELDS: usize = 16;

const PARAMS: &[Param] = &[
    param("text", Type::Any, "What to say; cut after 400 octets, control characters become blanks."),
    optional("fields", Type::Map(&Type::Any), "Up to 16, written behind the text as `key=value`."),
];

const fn writes(name: &'static str, doc: &'static str, run: fn(&Call<'_>) -> mlua::Result<Value>) -> Function {
    function(name, PARAMS, &[], doc, run)
}

pub(super) static LOG: Module = Module {
    name: "log",
    doc: "Lines in the node's log. Each names the plugin, the generation, the file and the line. At most 20 a second and worker are \
          written, and the next says how many were not.",
    capability: None,
    fields: &[],
    functions: &[
        writes("debug", "For the author; the node writes it only if asked to.", debug),
        writes("info", "What happened.", info),
        writes("warn", "What should not have happened.", warn),
        writes("error", "What somebody has to do something about.", error),
    ],
};

struct Line {
    unit: std::sync::Arc<str>,
    generation: u64,
    place: String,
    held_back: u64,
    text: String,
}

/// None: too many.
fn line(call: &Call<'_>) -> mlua::Result<Option<Line>> {
    let guest = call.guest;
    let Some(held_back) = guest.log.admit(guest.env.clock.now().mono) else { return Ok(None) };
    let mut line = printable(&call.value(0).to_string()?);
    let mut fields = Vec::new();
    if let Value::Table(table) = call.value(1) {
        table.for_each(|key: Value, value: Value| {
            if fields.len() >= MAX_FIELDS {
                return Err(refused(format!("fields has more than {MAX_FIELDS} entries")));
            }
            fields.push((printable(&text(&key)?), printable(&value.to_string()?)));
            Ok(())
        })?;
    }
    fields.sort();
    for (key, value) in fields {
        let plain = !value.is_empty() && !value.contains([' ', '=', '"', '\\']);
        // Writing to a string does not fail.
        let _ = if plain { write!(line, " {key}={value}") } else { write!(line, " {key}={value:?}") };
    }
    Ok(Some(Line {
        unit: guest.unit.name.clone(),
        generation: guest.generation,
        place: call.place(),
        held_back,
        text: line,
    }))
}

macro_rules! level {
    ($name:ident) => {
        fn $name(call: &Call<'_>) -> mlua::Result<Value> {
            if let Some(Line { unit, generation, place, held_back, text }) = line(call)? {
                let unit = &*unit;
                if held_back == 0 {
                    tracing::$name!(target: "imscript::policy", unit, generation, place, "{text}");
                } else {
                    tracing::$name!(target: "imscript::policy", unit, generation, place, held_back, "{text}");
                }
            }
            Ok(Value::Nil)
        }
    };
}

level!(debug);
level!(info);
level!(warn);
level!(error);
