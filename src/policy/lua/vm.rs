//! The one place where a Lua VM is made: narrow library, limits, sandbox, and the policy's functions.
//!
//! Luau asks at every call and loop edge and inside pattern matching whether the time is up ([`super::deadline`]); the
//! memory limit and the guards before library functions ([`super::raw`]) end the rest.

pub(super) mod prompt;

use super::deadline::{Expired, limited};
use super::env::Env;
use super::failure::{describe, describe_at, first_line, is_out_of_memory, located};
use super::fields::{from_json, type_name};
use super::host::{self, Guest, Occasion};
use super::servers::{NameList, ServerList};
use super::source::Program;
use super::unit::{POLICY, Unit};
use super::view::{self, Desk, How, Kept, Returned};
use super::{PolicyError, coverage, decode, raw};
use crate::policy::verdict::Opinion;
use crate::policy::{Cause, Fault, Question, Stage};
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Time that a unit's top level may take, and its `setup`: a worker that changes over to it serves nobody meanwhile.
const LOAD: Duration = Duration::from_millis(50);

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
    stages: [Option<StageFunction>; Stage::COUNT],
    desk: Rc<Desk>,
    servers: RefCell<ServerList>,
    event_servers: RefCell<NameList>,
    /// What the C functions hand out; indexed by [`Kept`].
    kept: Table,
    guest: Rc<Guest>,
    teardown: Option<Function>,
    unit: Arc<Unit>,
    // Last: mlua panics when a function is called after its VM is gone.
    lua: Lua,
}

struct StageFunction {
    /// Calls the unit's function with the objects of the question.
    ask: Function,
    /// Where the unit's function begins.
    line: usize,
}

impl Drop for Vm {
    fn drop(&mut self) {
        coverage::hand_over(&self.lua);
    }
}

impl Vm {
    /// Builds the VM, runs the unit's top level and its `setup`. `runner`: how timers and callbacks get back in.
    pub(super) fn new(unit: &Arc<Unit>, env: &Env, generation: u64, runner: host::Runner) -> Result<Vm, PolicyError> {
        let mut vm = bare(unit, env, generation).map_err(|error| PolicyError::Vm { why: describe(&error) })?;
        vm.guest.set_runner(runner);
        vm.load()?;
        Ok(vm)
    }

    pub(super) fn globals(&self) -> Table {
        self.lua.globals()
    }

    /// The unit's main file, as it stands in messages.
    fn file(&self) -> &str {
        self.unit.main.name()
    }

    /// Runs the unit's top level, takes the stage functions out of the table that it returns, and calls `setup`.
    fn load(&mut self) -> Result<(), PolicyError> {
        let returned = match self.at_load(Occasion::Load, |lua| run_chunk(lua, &self.unit.main))? {
            Value::Table(table) => table,
            other => {
                let found = type_name(&other);
                return Err(PolicyError::NotATable { name: self.file().to_owned(), found });
            }
        };
        self.take_stages(&returned)?;
        if let Ok(Value::Function(setup)) = returned.raw_get::<Value>("setup") {
            let conf = |lua: &Lua| lua.globals().get::<Table>("plugin")?.raw_get::<Value>("conf");
            self.at_load(Occasion::Setup, |lua| setup.call::<()>(conf(lua)?))?;
        }
        self.teardown = returned.raw_get("teardown").ok();
        // From here on a global is a slip: workers have a VM each, and would not share it anyway.
        self.lua.globals().set_readonly(true);
        Ok(())
    }

    /// Runs a part of loading within the time that loading has.
    fn at_load<T>(&self, occasion: Occasion, part: impl FnOnce(&Lua) -> mlua::Result<T>) -> Result<T, PolicyError> {
        self.guest.enter(occasion);
        let (outcome, expired) = limited(LOAD, || part(&self.lua));
        self.guest.leave(outcome.is_ok() && expired.is_none());
        if let Some(Expired { place }) = expired {
            let place = place.unwrap_or_else(|| self.file().to_owned());
            return Err(PolicyError::Load { why: format!("{place}: not loaded within {} ms", LOAD.as_millis()) });
        }
        let file = self.file();
        outcome.map_err(|error| PolicyError::Load { why: describe_at(&error, file, || file.to_owned()) })
    }

    fn take_stages(&mut self, policy: &Table) -> Result<(), PolicyError> {
        let name = self.file().to_owned();
        let mut stages: [Option<StageFunction>; Stage::COUNT] = Default::default();
        let mut refused = None;
        self.at_load(Occasion::Load, |lua| {
            let taken = policy.for_each(|key: Value, value: Value| {
                let key = key.to_string()?;
                if LIFECYCLE.contains(&key.as_str()) && value.is_function() {
                    return Ok(());
                }
                let slot = Stage::named(&key).and_then(|stage| stages.get_mut(stage as usize));
                match (slot, value) {
                    (Some(slot), Value::Function(function)) => {
                        let line = function.info().line_defined.unwrap_or_default();
                        *slot = Some(StageFunction { ask: raw::asking(lua, &self.desk, &function)?, line });
                    }
                    (Some(_), other) => {
                        let why = format!("{name}: stage {key} is a {}, not a function", type_name(&other));
                        return Err(mlua::Error::external(PolicyError::Load { why }));
                    }
                    (None, Value::Function(function)) => {
                        let line = function.info().line_defined.unwrap_or_default();
                        let place = format!("{name}:{line}");
                        let stage = first_line(&key);
                        return Err(mlua::Error::external(PolicyError::UnknownStage { place, stage }));
                    }
                    (None, _) => {} // a version, a description: the policy's own business
                }
                Ok(())
            });
            taken.inspect_err(|error| refused = error.downcast_ref::<PolicyError>().cloned())
        })
        .map_err(|error| refused.unwrap_or(error))?;
        self.stages = stages;
        Ok(())
    }

    pub(super) fn has(&self, stage: Stage) -> bool {
        self.function(stage).is_some()
    }

    pub(super) fn line_of(&self, stage: Stage) -> Option<usize> {
        Some(self.function(stage)?.line)
    }

    fn function(&self, stage: Stage) -> Option<&StageFunction> {
        self.stages.get(stage as usize)?.as_ref()
    }

    /// Asks one stage. None: it has no function for it, or no opinion.
    pub(super) fn ask(&self, question: &Question<'_>) -> Result<Option<Opinion>, Fault> {
        let stage = question.stage();
        let Some(function) = self.function(stage) else { return Ok(None) };
        // What this does is our own work, not the policy's.
        let prepared = self.prepare(question);
        self.desk.open(stage);
        let begins = || format!("{}:{}", self.file(), function.line);
        let outcome = self.guarded(Occasion::Stage(stage), begins, || {
            prepared.and_then(|()| self.desk.question.during(question, || function.ask.call::<()>(())))
        });
        self.desk.close();

        let fault = |cause, message| Fault { unit: self.unit.name.clone(), stage, cause, message };
        outcome.map_err(|(cause, message)| fault(cause, message))?;
        let configured = |name: &str| self.servers.borrow().has(name);
        let bad = |why: String| fault(Cause::BadVerdict, format!("{}: {why}", begins()));
        match self.desk.returned.take() {
            // What it returns, even a verdict, changes nothing.
            _ if stage == Stage::Finish => Ok(None),
            Returned::Nothing => Ok(decode::edits_alone(stage, self.desk.take_edits())),
            Returned::Made(made) => {
                decode::opinion(question, made, self.desk.take_edits(), configured).map(Some).map_err(bad)
            }
            Returned::Other(kind) => {
                Err(bad(format!("returned a {kind}; a verdict is made by a function of ims, and nil is none")))
            }
        }
    }

    /// Runs a timer or a callback.
    pub(super) fn run(
        &self,
        occasion: Occasion,
        function: &Function,
        arguments: MultiValue,
    ) -> Result<(), (Cause, String)> {
        let begins = || format!("{}:{}", self.file(), function.info().line_defined.unwrap_or_default());
        self.guarded(occasion, begins, || function.call::<MultiValue>(arguments)).map(drop)
    }

    /// A call within the unit's time. What it asked the host for is begun if it ends well; else the cause and
    /// `file:line: reason`, where `begins` is the place if there is no better one.
    fn guarded<T>(
        &self,
        occasion: Occasion,
        begins: impl Fn() -> String,
        call: impl FnOnce() -> mlua::Result<T>,
    ) -> Result<T, (Cause, String)> {
        let wall = self.unit.limits.wall;
        self.guest.enter(occasion);
        let (outcome, expired) = limited(wall, call);
        self.guest.leave(outcome.is_ok() && expired.is_none());
        if let Some(Expired { place }) = expired {
            let place = place.unwrap_or_else(begins);
            return Err((Cause::Timeout, format!("{place}: stopped after {} ms", wall.as_millis())));
        }
        outcome.map_err(|error| {
            let cause = if is_out_of_memory(&error) { Cause::OutOfMemory } else { Cause::Error };
            (cause, describe_at(&error, self.file(), begins))
        })
    }

    /// Calls the unit's `teardown`, if it has one.
    pub(super) fn teardown(&self, reason: &str) -> Result<(), (Cause, String)> {
        let Some(teardown) = &self.teardown else { return Ok(()) };
        let reason = self.lua.create_string(reason).map_err(|error| (Cause::OutOfMemory, describe(&error)))?;
        self.run(Occasion::Teardown, teardown, MultiValue::from_vec(vec![Value::String(reason)]))
    }

    /// Nothing that it asked for is done any more.
    pub(super) fn retire(&self) {
        self.guest.retire();
    }

    /// Brings the lists of servers up to date.
    fn prepare(&self, question: &Question<'_>) -> mlua::Result<()> {
        match *question {
            Question::Status { event } => {
                if let Some(names) = self.event_servers.borrow_mut().update(&self.lua, event.servers)? {
                    self.kept.raw_set(Kept::EventServers as i32, names)?;
                }
            }
            _ => {
                if let Some(ctx) = question.ctx()
                    && let Some(servers) = self.servers.borrow_mut().update(&self.lua, ctx.servers)?
                {
                    self.kept.raw_set(Kept::Servers as i32, servers)?;
                }
            }
        }
        Ok(())
    }
}

/// Runs a program's top level. Only what [`super::PolicySource::compile`] has compiled gets here.
fn run_chunk(lua: &Lua, program: &Program) -> mlua::Result<Value> {
    let chunk = lua.load(&*program.bytecode).set_name(format!("@{}", program.name)).set_mode(ChunkMode::Binary);
    let main = chunk.into_function()?;
    coverage::keep(lua, program, &main);
    main.call(())
}

/// A VM with the language and nothing of the machine that it runs on.
pub(crate) fn narrow() -> mlua::Result<Lua> {
    let library = LIBRARY.into_iter().fold(StdLib::NONE, |all, one| all | one);
    let lua = Lua::new_with(library, LuaOptions::default())?;
    for name in REMOVED {
        lua.globals().set(name, Value::Nil)?;
    }
    Ok(lua)
}

/// A sandboxed VM with the unit's surroundings, nothing of it run yet.
pub(super) fn bare(unit: &Arc<Unit>, env: &Env, generation: u64) -> mlua::Result<Vm> {
    let lua = narrow()?;
    let globals = lua.globals();
    let desk = Rc::new(Desk::new(unit.clone(), generation));
    let kept = lua.create_table()?;
    for (slot, how) in [(Kept::SetHeader, How::Set), (Kept::AddHeader, How::Add), (Kept::RemoveHeader, How::Remove)] {
        kept.raw_set(slot as i32, view::edit_method(&lua, &desk, how)?)?;
    }
    globals.set("ims", raw::install(&lua, &desk, &kept)?)?;
    let guest = host::install(&lua, unit, env, generation)?;
    globals.set("plugin", about(&lua, unit)?)?;
    if &*unit.name != POLICY {
        globals.set("require", require(&lua, unit.clone())?)?;
    }
    let (servers, event_servers) = (ServerList::new(&lua, env.servers.clone())?, NameList::new(&lua)?);
    kept.raw_set(Kept::Servers as i32, servers.table())?;
    kept.raw_set(Kept::EventServers as i32, event_servers.table())?;
    let vm = Vm {
        stages: Default::default(),
        desk,
        servers: RefCell::new(servers),
        event_servers: RefCell::new(event_servers),
        kept,
        guest,
        teardown: None,
        unit: unit.clone(),
        lua,
    };
    vm.lua.set_memory_limit(unit.limits.memory)?;
    vm.lua.sandbox(true)?;
    Ok(vm)
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

/// Longest name of a module.
const MAX_MODULE: usize = 128;

/// `require(name)`: another file of the same plugin, run once in each VM.
fn require(lua: &Lua, unit: Arc<Unit>) -> mlua::Result<Function> {
    /// Stands for a module that is being loaded.
    struct Loading;
    let loaded: Rc<RefCell<BTreeMap<String, Result<Value, Loading>>>> = Rc::default();
    lua.create_function(move |lua, name: String| {
        // An error that quotes it may be kept, and is not counted by the VM.
        if name.len() > MAX_MODULE {
            return Err(located(lua, "require: no module has so long a name"));
        }
        match loaded.borrow().get(&name) {
            Some(Ok(value)) => return Ok(value.clone()),
            Some(Err(Loading)) => {
                return Err(located(lua, &format!("require({name:?}): the modules require each other in a ring")));
            }
            None => {}
        }
        let Some(program) = unit.modules.get(&name) else {
            let known: Vec<_> = unit.modules.keys().map(String::as_str).collect();
            let why = match known.is_empty() {
                true => format!("{} has no modules; each would be a file beside main.lua", unit.name),
                false => format!("{} has no such module; it has {}", unit.name, known.join(", ")),
            };
            return Err(located(lua, &format!("require({name:?}): {why}")));
        };
        loaded.borrow_mut().insert(name.clone(), Err(Loading));
        let value = run_chunk(lua, program);
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
