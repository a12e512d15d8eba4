//! The object `t` that a test gets: setting up, time, the network, and what to expect of it.

mod ask;
mod message;
mod server;
mod terminal;

use super::case::Case;
use super::subject::is_fault;
use super::value::{self, Fields, duration, to_json, to_lua};
use super::vm::located;
use super::web::Answers;
use crate::policy::Stage;
use crate::policy::chain::StepAnswer;
use crate::policy::diagnostic::nearest;
use crate::policy::lua::show;
use mlua::{Lua, MetaMethod, Table, UserData, UserDataMethods, Value};
use serde_json::json;
use server::LuaServer;
use std::rc::Rc;
use terminal::LuaTerminal;

/// The object `t`.
#[derive(Clone)]
pub(super) struct T(Rc<Case>);

impl T {
    pub(super) const METHODS: [&'static str; 25] = [
        "conf",
        "policy",
        "seed",
        "clock",
        "advance",
        "now",
        "terminal",
        "server",
        "send",
        "ask",
        "expect",
        "equal",
        "is_true",
        "is_nil",
        "contains",
        "fail",
        "raises",
        "faults",
        "verdicts",
        "logs",
        "hss_calls",
        "hss_down",
        "http",
        "http_answers",
        "metric",
    ];

    pub(super) fn new(case: Rc<Case>) -> Self {
        T(case)
    }
}

/// A function of ours failed: the test's line and why.
fn at<T>(lua: &Lua, outcome: Result<T, impl ToString>) -> mlua::Result<T> {
    outcome.map_err(|why| located(lua, &why.to_string()))
}

/// As [`at`], for errors that reading arguments gave.
fn read<T>(lua: &Lua, outcome: mlua::Result<T>) -> mlua::Result<T> {
    outcome.map_err(|error| located(lua, &super::vm::describe(&error)))
}

fn failed<T>(lua: &Lua, why: &str, note: Option<String>) -> mlua::Result<T> {
    let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
    Err(located(lua, &format!("{why}{note}")))
}

impl UserData for T {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        setting_up(methods);
        network(methods);
        seen(methods);
        assertions(methods);
        methods.add_meta_method(MetaMethod::Index, |lua, _, name: String| -> mlua::Result<Value> {
            let near = nearest(&name, T::METHODS).map(|near| format!("; did you mean t:{near}?")).unwrap_or_default();
            Err(located(lua, &format!("t has no {name:?}{near}")))
        });
    }
}

fn setting_up<M: UserDataMethods<T>>(methods: &mut M) {
    methods.add_method("conf", |lua, t, conf: Table| {
        let conf = match read(lua, to_json(&Value::Table(conf)))? {
            serde_json::Value::Array(list) if list.is_empty() => json!({}),
            conf => conf,
        };
        at(lua, t.0.set_conf(conf))
    });
    methods.add_method("policy", |lua, t, file: String| at(lua, t.0.set_policy(file)));
    methods.add_method("seed", |lua, t, seed: u32| at(lua, t.0.set_seed(seed.into())));
    methods.add_method("clock", |lua, t, time: String| {
        let unix = crate::broadcast::datetime::parse(&time);
        let unix = at(lua, unix.ok_or_else(|| format!("{time:?} is no time; write \"2026-11-22T03:00:00Z\"")))?;
        at(lua, t.0.set_clock(unix))
    });
    methods.add_method("server", |lua, t, (name, options): (String, Option<Table>)| {
        let fields = read(lua, Fields::new("t:server", options, &["naf"]))?;
        let nafs = read(lua, fields.texts("naf"))?;
        at(lua, t.0.server(&name, nafs))?;
        Ok(LuaServer::new(t.0.clone(), name))
    });
    methods.add_method("terminal", |lua, t, options: Option<Table>| LuaTerminal::make(lua, t.0.clone(), options));
}

fn network<M: UserDataMethods<T>>(methods: &mut M) {
    methods.add_method("advance", |lua, t, time: Value| {
        let time = read(lua, duration(&time))?;
        let running = at(lua, t.0.running())?;
        at(lua, running.world.advance(time))
    });
    methods.add_method("now", |_, t, ()| Ok(t.0.clock().now().unix.as_secs_f64()));
    methods
        .add_method("send", |lua, t, (what, options): (Value, Option<Table>)| message::send(lua, &t.0, &what, options));
    methods.add_method("ask", |lua, t, (stage, scene): (String, Option<Table>)| ask::ask(lua, &t.0, &stage, scene));
    methods.add_method("hss_calls", |lua, t, ()| Ok(at(lua, t.0.running())?.world.hss.asked()));
    methods.add_method("hss_down", |lua, t, down: Option<bool>| {
        at(lua, t.0.running())?.world.hss.set_down(down.unwrap_or(true));
        Ok(())
    });
}

fn seen<M: UserDataMethods<T>>(methods: &mut M) {
    methods.add_method("faults", |lua, t, ()| {
        let steps = t.0.loaded().map(|running| running.recorder.take_steps_if(is_fault)).unwrap_or_default();
        let faults: Vec<_> = steps
            .iter()
            .filter_map(|step| match &step.answer {
                StepAnswer::Fault(fault) => Some(json!({
                    "unit": *fault.unit, "stage": fault.stage.as_str(), "cause": fault.cause.as_str(),
                    "message": fault.message,
                })),
                _ => None,
            })
            .collect();
        to_lua(lua, &serde_json::Value::Array(faults))
    });
    methods.add_method("verdicts", |lua, t, stage: Option<String>| {
        let stage = match stage {
            Some(name) => Some(at(lua, ask::stage(&name))?),
            None => None,
        };
        let wanted = |of: Stage| stage.is_none_or(|stage| stage == of);
        let steps = t.0.loaded().map(|running| {
            running.recorder.take_steps_if(|s| wanted(s.stage) && matches!(s.answer, StepAnswer::Opinion(_)))
        });
        let verdicts: Vec<_> = steps
            .unwrap_or_default()
            .iter()
            .filter_map(|step| match &step.answer {
                StepAnswer::Opinion(opinion) => Some(ask::verdict(opinion, Some(&step.unit), step.stage)),
                _ => None,
            })
            .collect();
        to_lua(lua, &serde_json::Value::Array(verdicts))
    });
    methods.add_method("http", |lua, t, ()| to_lua(lua, &serde_json::Value::Array(t.0.web.take())));
    methods.add_method("http_answers", |lua, t, (url, options): (String, Option<Table>)| {
        let fields = read(lua, Fields::new("t:http_answers", options, &["status", "body", "headers", "fails"]))?;
        let status = read(lua, fields.number("status"))?.unwrap_or(200);
        t.0.web.answers(
            url,
            Answers {
                status: at(lua, u16::try_from(status))?,
                headers: read(lua, fields.headers("headers"))?,
                body: read(lua, fields.octets("body"))?.unwrap_or_default(),
                fails: read(lua, fields.text("fails"))?,
            },
        );
        Ok(())
    });
    // The sum over all its labels, or over those with that text in them.
    methods.add_method("metric", |_, t, (name, labels): (String, Option<String>)| {
        Ok(sum(&t.0.host.metrics.exposition(), &name, labels.as_deref()))
    });
    methods.add_method("logs", |lua, t, ()| {
        let lines: Vec<_> =
            t.0.logs
                .take()
                .into_iter()
                .map(|line| json!({ "level": line.level, "unit": line.unit, "text": line.text }))
                .collect();
        to_lua(lua, &serde_json::Value::Array(lines))
    });
}

/// What the series of a metric come to in the text form of Prometheus; nil if there is none. `name` may leave out what
/// the server puts in front of it and behind it.
fn sum(text: &str, name: &str, labels: Option<&str>) -> Option<f64> {
    let mut found = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (known, labelled) = series.split_once('{').unwrap_or((series, ""));
        let bare = known.strip_suffix("_total").unwrap_or(known);
        let fits = [known, bare]
            .iter()
            .any(|known| *known == name || known.strip_suffix(name).is_some_and(|before| before.ends_with('_')));
        if fits && labels.is_none_or(|labels| labelled.contains(labels)) {
            *found.get_or_insert(0.0) += value.parse::<f64>().unwrap_or_default();
        }
    }
    found
}

fn assertions<M: UserDataMethods<T>>(methods: &mut M) {
    methods
        .add_method("expect", |lua, _, (response, expected): (Value, Table)| message::expect(lua, &response, expected));
    methods.add_method("equal", |lua, _, (got, wanted, note): (Value, Value, Option<String>)| {
        if value::equal(&got, &wanted) {
            return Ok(());
        }
        failed(lua, &format!("got {}, expected {}", show(&got), show(&wanted)), note)
    });
    methods.add_method("is_true", |lua, _, (got, note): (Value, Option<String>)| {
        if !matches!(got, Value::Nil | Value::Boolean(false)) {
            return Ok(());
        }
        failed(lua, &format!("got {}, expected a true value", show(&got)), note)
    });
    methods.add_method("is_nil", |lua, _, (got, note): (Value, Option<String>)| {
        if got.is_nil() {
            return Ok(());
        }
        failed(lua, &format!("got {}, expected nil", show(&got)), note)
    });
    methods.add_method("contains", |lua, _, (text, part): (String, String)| {
        if text.contains(&part) {
            return Ok(());
        }
        failed(lua, &format!("{text:?} does not contain {part:?}"), None)
    });
    methods.add_method("fail", |lua, _, note: Option<String>| {
        failed::<()>(lua, note.as_deref().unwrap_or("the test says so"), None)
    });
    methods.add_method("raises", |lua, _, (function, part): (mlua::Function, Option<String>)| {
        match function.call::<()>(()) {
            Ok(()) => failed(lua, "no error was raised", None),
            Err(error) => {
                let why = super::vm::describe(&error);
                match part {
                    Some(part) if !why.contains(&part) => {
                        failed(lua, &format!("the error {why:?} does not contain {part:?}"), None)
                    }
                    _ => Ok(why),
                }
            }
        }
    });
}
