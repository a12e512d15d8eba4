//! The one place where a Lua VM is made: narrow library, limits, sandbox, and the policy's functions.
//!
//! Luau checks its interrupt at every call and loop edge and inside pattern matching, so a clock
//! read there ends whatever a policy does; the memory limit ends the rest.

use super::decode;
use super::failure::{Cause, Failure, describe, describe_at, first_line, is_out_of_memory, place};
use super::fields::type_name;
use super::ims::{self, Opinion};
use super::servers::{NameList, ServerList};
use super::source::Program;
use super::view::{self, Desk, Object, View};
use super::{PolicyError, log};
use crate::policy::Stage;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value, VmState};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Memory of one VM.
const MEMORY: usize = 8 * 1024 * 1024;
/// Time that one stage may take.
pub(super) const CALL: Duration = Duration::from_millis(5);
/// Time that the policy's top level may take, once.
const LOAD: Duration = Duration::from_secs(1);
/// The clock is read at every n-th interrupt: an interrupt costs 7 ns, a clock 30.
const INTERRUPTS_PER_CLOCK: u32 = 8;

/// What a policy may use of the language's library.
const LIBRARY: [StdLib; 7] =
    [StdLib::TABLE, StdLib::STRING, StdLib::MATH, StdLib::BIT, StdLib::UTF8, StdLib::COROUTINE, StdLib::BUFFER];

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

/// A VM with one policy loaded. It belongs to one thread.
pub(super) struct Vm {
    stages: [Option<Function>; Stage::ALL.len()],
    desk: Rc<Desk>,
    deadline: Rc<Deadline>,
    program: Program,
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
    pub(super) fn new(program: &Program) -> Result<Vm, PolicyError> {
        let (lua, desk, deadline) = bare().map_err(|error| PolicyError::Vm { why: describe(&error) })?;
        let mut vm = Vm { stages: Default::default(), desk, deadline, program: program.clone(), lua };
        vm.load()?;
        Ok(vm)
    }

    /// Runs the policy's top level and takes the stage functions out of the table that it returns.
    fn load(&mut self) -> Result<(), PolicyError> {
        let name = self.program.name.clone();
        self.deadline.start(LOAD);
        let chunk = self.lua.load(&*self.program.bytecode).set_name(format!("@{name}")).set_mode(ChunkMode::Binary);
        let outcome = chunk.eval::<Value>();
        if self.deadline.expired.get() {
            let place = self.deadline.place.take().unwrap_or_else(|| name.to_string());
            return Err(PolicyError::Load { why: format!("{place}: not loaded within {} ms", LOAD.as_millis()) });
        }
        let returned = match outcome {
            Ok(Value::Table(table)) => table,
            Ok(other) => return Err(PolicyError::NotATable { name: name.to_string(), found: type_name(&other) }),
            Err(error) => return Err(PolicyError::Load { why: describe_at(&error, &name, || name.to_string()) }),
        };
        self.take_stages(&returned)?;
        // From here on a global is a slip: workers have a VM each, and would not share it anyway.
        self.lua.globals().set_readonly(true);
        Ok(())
    }

    fn take_stages(&mut self, policy: &Table) -> Result<(), PolicyError> {
        let name = self.program.name.to_string();
        let failed = |error: mlua::Error| PolicyError::Load { why: format!("{name}: {}", describe(&error)) };
        policy
            .for_each(|key: Value, value: Value| {
                let key = key.to_string()?;
                let stage = Stage::ALL.iter().position(|stage| stage.as_str() == key);
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

    fn function(&self, stage: Stage) -> Option<&Function> {
        self.stages.get(stage as usize)?.as_ref()
    }

    /// Whether a broadcast server of that name has been seen in the configuration.
    pub(super) fn knows_server(&self, name: &str) -> bool {
        self.desk.servers.borrow().has(name)
    }

    pub(super) fn set_servers(&self, servers: &[crate::policy::ServerView]) -> mlua::Result<()> {
        self.deadline.start(LOAD);
        self.desk.servers.borrow_mut().update(&self.lua, servers)
    }

    /// Asks one stage. None: it has no function for it, or no opinion.
    pub(super) fn ask<T>(
        &self,
        stage: Stage,
        view: View<'_>,
        verdict: impl FnOnce(&Opinion) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let Some(function) = self.function(stage) else { return Ok(None) };
        self.deadline.start(CALL);
        self.desk.open();
        let outcome = self.call(function, view);
        self.desk.close();

        let failure = |cause, message| Failure { stage, cause, message };
        if self.deadline.expired.get() {
            let place = self.deadline.place.take().unwrap_or_else(|| self.defined_at(function));
            let message = format!("{place}: stopped after {} ms", CALL.as_millis());
            return Err(failure(Cause::Timeout, message));
        }
        let returned = outcome.map_err(|error| {
            let cause = if is_out_of_memory(&error) { Cause::OutOfMemory } else { Cause::Error };
            failure(cause, describe_at(&error, &self.program.name, || self.defined_at(function)))
        })?;
        let bad = |why: String| failure(Cause::BadVerdict, format!("{}: {why}", self.defined_at(function)));
        match decode::opinion(&returned).map_err(bad)? {
            Some(opinion) => verdict(&opinion).map(Some).map_err(bad),
            None => Ok(None),
        }
    }

    fn call(&self, function: &Function, view: View<'_>) -> mlua::Result<Value> {
        let handle = |object| self.desk.handle(object);
        match view {
            View::Request { message, ctx, portion } => {
                self.desk.servers.borrow_mut().update(&self.lua, ctx.servers)?;
                self.desk.snapshot.borrow_mut().take_request(message, ctx, portion);
                match portion {
                    None => function.call((handle(Object::Request), handle(Object::Context))),
                    Some(_) => {
                        function.call((handle(Object::Request), handle(Object::Portion), handle(Object::Context)))
                    }
                }
            }
            View::Event(event) => {
                self.desk.event_servers.borrow_mut().update(&self.lua, event.servers)?;
                self.desk.snapshot.borrow_mut().take_event(event);
                function.call((handle(Object::Event), handle(Object::Context)))
            }
        }
    }

    fn defined_at(&self, function: &Function) -> String {
        format!("{}:{}", self.program.name, function.info().line_defined.unwrap_or_default())
    }
}

/// A sandboxed VM without a policy.
fn bare() -> mlua::Result<(Lua, Rc<Desk>, Rc<Deadline>)> {
    let library = LIBRARY.into_iter().fold(StdLib::NONE, |all, one| all | one);
    let lua = Lua::new_with(library, LuaOptions::default())?;
    let globals = lua.globals();
    for name in REMOVED {
        globals.set(name, Value::Nil)?;
    }
    globals.set("ims", ims::table(&lua)?)?;
    globals.set("log", log::table(&lua)?)?;
    let desk = Rc::new(Desk::new(ServerList::new(&lua)?, NameList::new(&lua)?));
    view::install(&lua, &desk)?;
    lua.set_memory_limit(MEMORY)?;
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
