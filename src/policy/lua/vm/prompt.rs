//! A VM to try things in: the same library, limits and host functions as a policy has, with the arguments of one stage
//! as globals. `imscript repl` is the terminal to it.

use super::super::deadline::{Expired, limited};
use super::super::env::Env;
use super::super::failure::{describe, is_out_of_memory, printable};
use super::super::host::Occasion;
use super::super::source::MAX_TEXT;
use super::super::unit::Unit;
use super::super::view::{Object, Returned, arguments};
use super::super::{PolicyError, PolicySource, decode, raw, show};
use super::{Vm, bare, run_chunk};
use crate::policy::Question;
use crate::policy::verdict::Opinion;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, MultiValue, Value, Variadic};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Time of one input: more than a stage has, since a person waits for it.
const INPUT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The text ends before what it begins does.
    #[error("more is to come")]
    Incomplete,
    #[error("{0}")]
    Failed(String),
}

/// What an input comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Value(String),
    Verdict(Box<Opinion>),
}

pub struct Prompt {
    vm: Vm,
    /// Whether the input at hand has printed anything.
    printed: Rc<Cell<bool>>,
}

impl Prompt {
    /// `out` gets the lines of `print`.
    pub fn new(unit: Unit, env: &Env, out: fn(&str)) -> Result<Prompt, PolicyError> {
        let failed = |error: mlua::Error| PolicyError::Vm { why: describe(&error) };
        let vm = bare(&Arc::new(unit), env, 0).map_err(failed)?;
        let printed = Rc::new(Cell::new(false));
        let globals = vm.lua.globals();
        // In a safe environment a global is looked up once, when its text is loaded: it would be the argument of an
        // earlier input, whose stage has returned.
        globals.set_safeenv(false);
        let print = print(&vm.lua, printed.clone(), out).and_then(|print| globals.raw_set("print", print));
        print.map_err(failed)?;
        Ok(Prompt { vm, printed })
    }

    /// Runs a policy's file; the table that it returns becomes the global `policy`.
    pub fn load(&self, source: &PolicySource) -> Result<(), PolicyError> {
        let program = source.compile()?;
        let value = self.vm.at_load(Occasion::Load, |lua| run_chunk(lua, &program))?;
        let set = self.vm.lua.globals().raw_set("policy", value);
        set.map_err(|error| PolicyError::Load { why: describe(&error) })
    }

    /// Runs an input in the scene of `question`. An expression gives its values, at least nil unless it prints;
    /// statements give none.
    pub fn run(&self, question: &Question<'_>, text: &str) -> Result<Vec<Shown>, PromptError> {
        if text.len() > MAX_TEXT {
            return Err(PromptError::Failed(format!("more than {} KiB", MAX_TEXT / 1024)));
        }
        let failed = |error: &mlua::Error| PromptError::Failed(describe(error));
        let lua = &self.vm.lua;
        let chunk = |text: &str| lua.load(text).set_name("@input").set_mode(ChunkMode::Text).into_function();
        let (function, is_expression) = match chunk(&format!("return {}", text.strip_prefix('=').unwrap_or(text))) {
            Ok(function) => (function, true),
            Err(_) => chunk(text).map(|function| (function, false)).map_err(|error| match describe(&error) {
                why if why.ends_with("got <eof>") => PromptError::Incomplete,
                why => PromptError::Failed(why),
            })?,
        };
        let stage = question.stage();
        let shown: Rc<RefCell<Vec<Shown>>> = Rc::default();
        let scene = scene(lua, question, function, shown.clone()).map_err(|e| failed(&e))?;
        let asking = raw::asking(lua, &self.vm.desk, &scene).map_err(|e| failed(&e))?;
        self.vm.prepare(question).map_err(|e| failed(&e))?;
        self.printed.set(false);
        self.vm.desk.open(stage);
        self.vm.guest.enter(Occasion::Stage(stage));
        let (outcome, expired) = limited(INPUT, || self.vm.desk.question.during(question, || asking.call::<()>(())));
        self.vm.desk.close();
        // Nobody carries out what was asked for: there is no node.
        self.vm.guest.leave(false);
        if let Some(Expired { place }) = expired {
            let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
            return Err(PromptError::Failed(format!("{place}stopped after {} ms", INPUT.as_millis())));
        }
        outcome.map_err(|error| match is_out_of_memory(&error) {
            true => PromptError::Failed("memory limit reached".to_owned()),
            false => failed(&error),
        })?;
        let mut shown = shown.take();
        if let (Returned::Made(made), Some(first)) = (self.vm.desk.returned.take(), shown.first_mut()) {
            let configured = |name: &str| self.vm.servers.borrow().has(name);
            *first = match decode::opinion(question, made, self.vm.desk.take_edits(), configured) {
                Ok(opinion) => Shown::Verdict(Box::new(opinion)),
                Err(why) => Shown::Value(format!("a verdict that does not fit: {why}")),
            };
        }
        // A stage without an opinion returns nothing, and is to be seen doing so.
        if is_expression && shown.is_empty() && !self.printed.get() {
            shown.push(Shown::Value("nil".to_owned()));
        }
        Ok(shown)
    }
}

/// `print(…)`: texts as they are, without control characters; all else as the prompt shows it.
fn print(lua: &Lua, printed: Rc<Cell<bool>>, out: fn(&str)) -> mlua::Result<Function> {
    lua.create_function(move |_, values: Variadic<Value>| {
        printed.set(true);
        let word = |value: &Value| match value {
            Value::String(text) => printable(&text.to_string_lossy()),
            other => show(other),
        };
        out(&values.iter().map(word).collect::<Vec<_>>().join("\t"));
        Ok(())
    })
}

/// Calls an input with the arguments of the stage as globals; those of other stages go. Its values are shown while the
/// arguments can still be read, so that whatever a value does to be shown is within the time.
fn scene(
    lua: &Lua,
    question: &Question<'_>,
    input: Function,
    shown: Rc<RefCell<Vec<Shown>>>,
) -> mlua::Result<Function> {
    let objects = arguments(question);
    lua.create_function(move |lua, arguments: MultiValue| {
        let globals = lua.globals();
        for object in Object::ALL {
            let at = objects.iter().position(|there| *there == object);
            let value = at.and_then(|at| arguments.get(at)).cloned().unwrap_or(Value::Nil);
            globals.raw_set(object.name(), value)?;
        }
        let values = input.call::<MultiValue>(())?;
        shown.replace(values.iter().map(one).collect());
        Ok(values.into_iter().next().unwrap_or(Value::Nil))
    })
}

fn one(value: &Value) -> Shown {
    Shown::Value(match value {
        Value::LightUserData(_) => "the argument of a stage".to_owned(),
        value => show(value),
    })
}
