//! The one place where a Lua VM is made: narrow library, limits, sandbox, and the policy's functions.
//!
//! Luau checks its interrupt at every call and loop edge and inside pattern matching, so a clock
//! read there ends whatever a policy does; the memory limit ends the rest.

use super::env::Env;
use super::failure::{describe, describe_at, first_line, is_out_of_memory, located, place};
use super::fields::{from_json, type_name};
use super::servers::{NameList, ServerList};
use super::source::Program;
use super::unit::{POLICY, Unit};
use super::view::{self, Desk, Object};
use super::{PolicyError, decode, ims, log};
use crate::policy::verdict::Opinion;
use crate::policy::{Cause, Fault, Question, Stage};
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that the policy's top level may take, once.
const LOAD: Duration = Duration::from_secs(1);
/// The clock is read at every n-th interrupt: an interrupt costs 7 ns, a clock 30.
const INTERRUPTS_PER_CLOCK: u32 = 8;

/// What a policy may use of the language's library.
const LIBRARY: [StdLib; 7] =
    [StdLib::TABLE, StdLib::STRING, StdLib::MATH, StdLib::BIT, StdLib::UTF8, StdLib::COROUTINE, StdLib::BUFFER];

/// Functions of a unit that are no stages.
const LIFECYCLE: [&str; 2] = ["setup", "teardown"];

/// Globals that come in spite of the mask: files, code from strings, foreign environments, the collector, stdout.
const REMOVED: [&str; 13] = [
    "require",
    "loadstring",
    "load",
    "loadfile",
    "dofile",
    "getfenv",
    "setfenv",
    "newproxy",
    "collectgarbage",
    "gcinfo",
    "print",
    "debug",
    "os",
];

/// A VM with one unit loaded. It belongs to one thread.
pub(super) struct Vm {
    stages: [Option<Function>; Stage::COUNT],
    desk: Rc<Desk>,
    deadline: Rc<Deadline>,
    unit: Arc<Unit>,
    // Last: mlua panics when a function is called after its VM is gone.
    lua: Lua,
}

/// The wall-clock limit of the call in progress.
struct Deadline {
    until: Cell<Instant>,
    ticks: Cell<u32>,
    /// Set once the time is up; stays until the next call, so that no `pcall` gets past it.
    expired: Cell<bool>,
    place: RefCell<Option<String>>,
}

impl Deadline {
    fn start(&self, within: Duration) {
        self.until.set(Instant::now() + within);
        self.ticks.set(0);
        self.expired.set(false);
    }

    fn check(&self, lua: &Lua) -> mlua::Result<VmState> {
        if !self.expired.get() {
            let ticks = self.ticks.get().wrapping_add(1);
            self.ticks.set(ticks);
            if !ticks.is_multiple_of(INTERRUPTS_PER_CLOCK) || Instant::now() < self.until.get() {
                return Ok(VmState::Continue);
            }
            self.expired.set(true);
            self.place.replace(place(lua, 0));
        }
        Err(mlua::Error::runtime("the time is up"))
    }
}

impl Vm {
    /// Builds the VM, runs the unit's top level and its `setup`.
    pub(super) fn new(unit: &Arc<Unit>, env: &Env, generation: u64) -> Result<Vm, PolicyError> {
        let (lua, desk, deadline) =
            bare(unit, env, generation).map_err(|error| PolicyError::Vm { why: describe(&error) })?;
        let mut vm = Vm { stages: Default::default(), desk, deadline, unit: unit.clone(), lua };
        vm.load()?;
        Ok(vm)
    }

    /// The unit's main file, as it stands in messages.
    fn file(&self) -> &str {
        self.unit.main.name()
    }

    /// Runs the unit's top level, takes the stage functions out of the table that it returns, and calls `setup`.
    fn load(&mut self) -> Result<(), PolicyError> {
        let returned = match self.at_load(|lua| chunk(lua, &self.unit.main).eval::<Value>())? {
            Value::Table(table) => table,
            other => {
                let found = type_name(&other);
                return Err(PolicyError::NotATable { name: self.file().to_owned(), found });
            }
        };
        self.take_stages(&returned)?;
        if let Ok(Value::Function(setup)) = returned.raw_get::<Value>("setup") {
            let conf = self.at_load(|lua| lua.globals().get::<Table>("plugin")?.raw_get::<Value>("conf"))?;
            self.at_load(|_| setup.call::<()>(conf))?;
        }
        // From here on a global is a slip: workers have a VM each, and would not share it anyway.
        self.lua.globals().set_readonly(true);
        Ok(())
    }

    /// Runs a part of loading within the time that loading has.
    fn at_load<T>(&self, part: impl FnOnce(&Lua) -> mlua::Result<T>) -> Result<T, PolicyError> {
        self.deadline.start(LOAD);
        let outcome = part(&self.lua);
        if self.deadline.expired.get() {
            let place = self.deadline.place.take().unwrap_or_else(|| self.file().to_owned());
            return Err(PolicyError::Load { why: format!("{place}: not loaded within {} ms", LOAD.as_millis()) });
        }
        let file = self.file();
        outcome.map_err(|error| PolicyError::Load { why: describe_at(&error, file, || file.to_owned()) })
    }

    fn take_stages(&mut self, policy: &Table) -> Result<(), PolicyError> {
        let name = self.file().to_owned();
        let failed = |error: mlua::Error| PolicyError::Load { why: format!("{name}: {}", describe(&error)) };
        policy
            .for_each(|key: Value, value: Value| {
                let key = key.to_string()?;
                if LIFECYCLE.contains(&key.as_str()) && value.is_function() {
                    return Ok(());
                }
                let stage = Stage::named(&key).map(|stage| stage as usize);
                match (stage, value) {
                    (Some(stage), Value::Function(function)) => {
                        if let Some(slot) = self.stages.get_mut(stage) {
                            *slot = Some(function);
                        }
                    }
                    (Some(_), other) => {
                        let why = format!("{name}: stage {key} is a {}, not a function", type_name(&other));
                        return Err(mlua::Error::external(PolicyError::Load { why }));
                    }
                    (None, Value::Function(function)) => {
                        let line = function.info().line_defined.unwrap_or_default();
                        let stage = first_line(&key);
                        return Err(mlua::Error::external(PolicyError::UnknownStage {
                            place: format!("{name}:{line}"),
                            stage,
                        }));
                    }
                    (None, _) => {} // a version, a description: the policy's own business
                }
                Ok(())
            })
            .map_err(|error| error.downcast_ref::<PolicyError>().cloned().unwrap_or_else(|| failed(error)))
    }

    pub(super) fn has(&self, stage: Stage) -> bool {
        self.function(stage).is_some()
    }

    pub(super) fn line_of(&self, stage: Stage) -> Option<usize> {
        Some(self.function(stage)?.info().line_defined.unwrap_or_default())
    }

    fn function(&self, stage: Stage) -> Option<&Function> {
        self.stages.get(stage as usize)?.as_ref()
    }

    /// Asks one stage. None: it has no function for it, or no opinion.
    pub(super) fn ask(&self, question: &Question<'_>) -> Result<Option<Opinion>, Fault> {
        let stage = question.stage();
        let Some(function) = self.function(stage) else { return Ok(None) };
        // What this does is our own work, not the policy's.
        self.deadline.start(LOAD);
        let prepared = self.prepare(question);
        self.deadline.start(self.unit.limits.wall);
        self.desk.open(stage);
        let outcome = prepared.and_then(|()| self.call(function, question));
        self.desk.close();

        let fault = |cause, message| Fault { unit: self.unit.name.clone(), stage, cause, message };
        if self.deadline.expired.get() {
            let place = self.deadline.place.take().unwrap_or_else(|| self.defined_at(function));
            let message = format!("{place}: stopped after {} ms", self.unit.limits.wall.as_millis());
            return Err(fault(Cause::Timeout, message));
        }
        let returned = outcome.map_err(|error| {
            let cause = if is_out_of_memory(&error) { Cause::OutOfMemory } else { Cause::Error };
            fault(cause, describe_at(&error, self.file(), || self.defined_at(function)))
        })?;
        let configured = |name: &str| self.desk.servers.borrow().has(name);
        let bad = |why: String| fault(Cause::BadVerdict, format!("{}: {why}", self.defined_at(function)));
        match decode::made(&returned).map_err(bad)? {
            Some(made) => decode::opinion(question, &made, self.desk.take_edits(), configured).map(Some).map_err(bad),
            None => Ok(decode::edits_alone(stage, self.desk.take_edits())),
        }
    }

    /// Lays out what the stage will see.
    fn prepare(&self, question: &Question<'_>) -> mlua::Result<()> {
        self.desk.snapshot.borrow_mut().take(question);
        match *question {
            Question::Status { event } => self.desk.event_servers.borrow_mut().update(&self.lua, event.servers),
            _ => match question.ctx() {
                Some(ctx) => self.desk.servers.borrow_mut().update(&self.lua, ctx.servers),
                None => Ok(()),
            },
        }
    }

    fn call(&self, function: &Function, question: &Question<'_>) -> mlua::Result<Value> {
        let handle = |object| self.desk.handle(object);
        let (req, ctx) = (handle(Object::Request), handle(Object::Context));
        match *question {
            Question::Receive { .. }
            | Question::Register { .. }
            | Question::Verify { .. }
            | Question::Authorized { .. }
            | Question::Route { .. } => function.call((req, ctx)),
            Question::Broadcast { .. } => function.call((req, handle(Object::Portion), ctx)),
            Question::Failure { .. } => function.call((req, handle(Object::Failure), ctx)),
            Question::Status { .. } => function.call((handle(Object::Event), ctx)),
            Question::Reply { .. } => function.call((handle(Object::Response), ctx)),
            // What it returns, even a verdict, changes nothing.
            Question::Finish { .. } => function.call::<MultiValue>((handle(Object::Outcome), ctx)).map(|_| Value::Nil),
        }
    }

    fn defined_at(&self, function: &Function) -> String {
        format!("{}:{}", self.file(), function.info().line_defined.unwrap_or_default())
    }
}

/// A program ready to be run. Only what [`super::PolicySource::compile`] has compiled gets here.
fn chunk<'a>(lua: &Lua, program: &'a Program) -> mlua::chunk::Chunk<'a> {
    lua.load(&*program.bytecode).set_name(format!("@{}", program.name)).set_mode(ChunkMode::Binary)
}

/// A sandboxed VM with the unit's surroundings, nothing of it run yet.
fn bare(unit: &Arc<Unit>, env: &Env, generation: u64) -> mlua::Result<(Lua, Rc<Desk>, Rc<Deadline>)> {
    let library = LIBRARY.into_iter().fold(StdLib::NONE, |all, one| all | one);
    let lua = Lua::new_with(library, LuaOptions::default())?;
    let globals = lua.globals();
    for name in REMOVED {
        globals.set(name, Value::Nil)?;
    }
    globals.set("ims", ims::table(&lua)?)?;
    globals.set("log", log::table(&lua, unit, env.clock)?)?;
    globals.set("plugin", about(&lua, unit)?)?;
    if &*unit.name != POLICY {
        globals.set("require", require(&lua, unit.clone())?)?;
    }
    let desk = Rc::new(Desk::new(ServerList::new(&lua)?, NameList::new(&lua)?, generation));
    view::install(&lua, &desk)?;
    desk.servers.borrow_mut().update(&lua, &env.servers)?;
    lua.set_memory_limit(unit.limits.memory)?;
    lua.sandbox(true)?;

    let deadline = Rc::new(Deadline {
        until: Cell::new(Instant::now() + LOAD),
        ticks: Cell::new(0),
        expired: Cell::new(false),
        place: RefCell::new(None),
    });
    let watched = deadline.clone();
    lua.set_interrupt(move |lua| watched.check(lua));
    Ok((lua, desk, deadline))
}

/// The global `plugin`: what the unit is and how it is set.
fn about(lua: &Lua, unit: &Unit) -> mlua::Result<Table> {
    let about = lua.create_table()?;
    about.raw_set("name", &*unit.name)?;
    about.raw_set("version", unit.version.as_str())?;
    about.raw_set("conf", from_json(lua, unit.conf.values())?)?;
    about.set_readonly(true);
    Ok(about)
}

/// `require(name)`: another file of the same plugin, run once in each VM.
fn require(lua: &Lua, unit: Arc<Unit>) -> mlua::Result<Function> {
    /// Stands for a module that is being loaded.
    struct Loading;
    let loaded: Rc<RefCell<BTreeMap<String, Result<Value, Loading>>>> = Rc::default();
    lua.create_function(move |lua, name: String| {
        match loaded.borrow().get(&name) {
            Some(Ok(value)) => return Ok(value.clone()),
            Some(Err(Loading)) => {
                return Err(located(lua, &format!("require({name:?}): the modules require each other in a ring")));
            }
            None => {}
        }
        let Some(program) = unit.modules.get(&name) else {
            let known: Vec<_> = unit.modules.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(located(lua, &format!("require({name:?}): {} has no such module; it has {known}", unit.name)));
        };
        loaded.borrow_mut().insert(name.clone(), Err(Loading));
        let value: mlua::Result<Value> = chunk(lua, program).eval();
        match value {
            Ok(value) => {
                loaded.borrow_mut().insert(name, Ok(value.clone()));
                Ok(value)
            }
            Err(error) => {
                loaded.borrow_mut().remove(&name);
                Err(error)
            }
        }
    })
}
