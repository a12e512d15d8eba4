//! A VM to try things in: the same library, limits and host functions as a policy has, with the arguments of one stage
//! as globals. `imscript repl` is the terminal to it.

use super::super::env::Env;
use super::super::failure::{describe, is_out_of_memory};
use super::super::host::Occasion;
use super::super::source::MAX_TEXT;
use super::super::unit::Unit;
use super::super::view::Object;
use super::super::{PolicyError, PolicySource, decode, show};
use super::{Vm, bare, run_chunk};
use crate::policy::verdict::Opinion;
use crate::policy::{Question, Stage};
use mlua::chunk::ChunkMode;
use mlua::{MultiValue, Value};
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
}

impl Prompt {
    pub fn new(unit: Unit, env: &Env) -> Result<Prompt, PolicyError> {
        let unit = Arc::new(unit);
        let (lua, desk, deadline, guest) = bare(&unit, env, 0).map_err(|e| PolicyError::Vm { why: describe(&e) })?;
        Ok(Prompt { vm: Vm { stages: Default::default(), desk, deadline, guest, unit, lua } })
    }

    /// Runs a policy's file; the table that it returns becomes the global `policy`.
    pub fn load(&self, source: &PolicySource) -> Result<(), PolicyError> {
        let program = source.compile()?;
        let value = self.vm.at_load(Occasion::Load, |lua| run_chunk(lua, &program))?;
        let set = self.vm.lua.globals().raw_set("policy", value);
        set.map_err(|error| PolicyError::Load { why: describe(&error) })
    }

    /// Runs an input in the scene of `question`. An expression gives its values, statements give none.
    pub fn run(&self, question: &Question<'_>, text: &str) -> Result<Vec<Shown>, PromptError> {
        if text.len() > MAX_TEXT {
            return Err(PromptError::Failed(format!("more than {} KiB", MAX_TEXT / 1024)));
        }
        let failed = |error: &mlua::Error| PromptError::Failed(describe(error));
        let lua = &self.vm.lua;
        let chunk = |text: &str| lua.load(text).set_name("@input").set_mode(ChunkMode::Text).into_function();
        let function = match chunk(&format!("return {}", text.strip_prefix('=').unwrap_or(text))) {
            Ok(function) => function,
            Err(_) => chunk(text).map_err(|error| match describe(&error) {
                why if why.ends_with("got <eof>") => PromptError::Incomplete,
                why => PromptError::Failed(why),
            })?,
        };
        self.vm.prepare(question).map_err(|e| failed(&e))?;
        self.vm.desk.open(question.stage());
        self.bind(question.stage()).map_err(|e| failed(&e))?;
        self.vm.deadline.start(INPUT);
        self.vm.guest.enter(Occasion::Stage(question.stage()));
        let outcome = function.call::<MultiValue>(());
        // Shown while the arguments can still be read; whatever a value does to be shown is within the time.
        let shown = outcome.map(|values| values.iter().map(|value| self.shown(question, value)).collect());
        self.vm.desk.close();
        // Nobody carries out what was asked for: there is no node.
        self.vm.guest.leave(false);
        if self.vm.deadline.expired.get() {
            let place = self.vm.deadline.place.take().map(|place| format!("{place}: ")).unwrap_or_default();
            return Err(PromptError::Failed(format!("{place}stopped after {} ms", INPUT.as_millis())));
        }
        shown.map_err(|error| match is_out_of_memory(&error) {
            true => PromptError::Failed("memory limit reached".to_owned()),
            false => failed(&error),
        })
    }

    /// The arguments of the stage as globals; those of other stages go.
    fn bind(&self, stage: Stage) -> mlua::Result<()> {
        let globals = self.vm.lua.globals();
        for object in Object::ALL {
            let there = match object {
                Object::Context => true,
                Object::Request => !matches!(stage, Stage::Status | Stage::Reply | Stage::Finish),
                Object::Portion => matches!(stage, Stage::Broadcast),
                Object::Failure => stage == Stage::Failure,
                Object::Event => stage == Stage::Status,
                Object::Response => stage == Stage::Reply,
                Object::Outcome => stage == Stage::Finish,
            };
            let value = if there { Value::LightUserData(self.vm.desk.handle(object)) } else { Value::Nil };
            globals.raw_set(object.name(), value)?;
        }
        Ok(())
    }

    fn shown(&self, question: &Question<'_>, value: &Value) -> Shown {
        let configured = |name: &str| self.vm.desk.servers.borrow().has(name);
        match decode::made(value) {
            Ok(Some(made)) => match decode::opinion(question, &made, self.vm.desk.take_edits(), configured) {
                Ok(opinion) => Shown::Verdict(Box::new(opinion)),
                Err(why) => Shown::Value(format!("a verdict that does not fit: {why}")),
            },
            _ => Shown::Value(match value {
                Value::LightUserData(_) => "the argument of a stage".to_owned(),
                value => show(value),
            }),
        }
    }
}
