//! A policy file or a plugin, compiled once ([`Unit`]), and one worker's VM of it as a member of the chain ([`LuaLink`]).

use super::PolicyError;
use super::env::Env;
use super::source::Program;
use super::vm::Vm;
use crate::policy::verdict::Opinion;
use crate::policy::{Fault, Link, OnError, Question, Stage};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The name of the operator's policy among the members.
pub const POLICY: &str = "policy";
/// A VM that cannot be built again is not tried at every call.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

/// What a generation is made of; the same for all workers.
#[derive(Debug, Clone)]
pub struct Unit {
    /// [`POLICY`], or the plugin's name.
    pub name: Arc<str>,
    pub version: String,
    pub main: Program,
    /// What `require` finds: the other files of a plugin, by module name.
    pub modules: BTreeMap<String, Program>,
    /// The settings that the author's schema and the operator's values come to.
    pub conf: serde_json::Value,
    pub on_error: OnError,
}

impl Unit {
    /// An operator's policy: one file, no settings; what fails gets the stage's default.
    pub fn policy(main: Program) -> Self {
        Unit {
            name: POLICY.into(),
            version: String::new(),
            main,
            modules: BTreeMap::new(),
            conf: serde_json::Value::Null,
            on_error: OnError::Skip,
        }
    }
}

/// A unit on one worker.
pub struct LuaLink {
    unit: Arc<Unit>,
    env: Env,
    generation: u64,
    /// The stages that it has a function for.
    stages: [bool; Stage::COUNT],
    /// None after a timeout or an exhausted memory, until the next call.
    vm: RefCell<Option<Vm>>,
    rebuild_after: Cell<Option<Duration>>,
}

impl LuaLink {
    /// Builds the VM and runs the unit's top level and `setup`.
    pub fn new(unit: Arc<Unit>, env: &Env, generation: u64) -> Result<LuaLink, PolicyError> {
        let vm = Vm::new(&unit, env, generation)?;
        let stages = Stage::ALL.map(|stage| vm.has(stage));
        Ok(LuaLink {
            unit,
            env: env.clone(),
            generation,
            stages,
            vm: RefCell::new(Some(vm)),
            rebuild_after: Cell::new(None),
        })
    }

    pub fn unit(&self) -> &Arc<Unit> {
        &self.unit
    }

    fn rebuild(&self) -> Option<Vm> {
        let now = self.env.clock.now().mono;
        if self.rebuild_after.get().is_some_and(|after| now < after) {
            return None;
        }
        match Vm::new(&self.unit, &self.env, self.generation) {
            Ok(vm) => {
                self.rebuild_after.set(None);
                Some(vm)
            }
            Err(error) => {
                self.rebuild_after.set(Some(now.saturating_add(REBUILD_PAUSE)));
                let unit = &*self.unit.name;
                tracing::error!(target: "imscript::policy", unit, %error, "cannot be loaded again; defaults apply");
                None
            }
        }
    }
}

impl Link for LuaLink {
    fn name(&self) -> &str {
        &self.unit.name
    }

    fn answers(&self, stage: Stage) -> bool {
        self.stages[stage as usize]
    }

    fn on_error(&self) -> OnError {
        self.unit.on_error
    }

    fn ask(&self, question: &Question<'_>) -> Result<Option<Opinion>, Fault> {
        // Only a stage asked from within a stage finds it borrowed, and nothing does that.
        let Ok(mut vm) = self.vm.try_borrow_mut() else { return Ok(None) };
        if vm.is_none() {
            *vm = self.rebuild();
        }
        let Some(built) = vm.as_ref() else { return Ok(None) };
        built.ask(question).inspect_err(|fault| {
            if super::failure::spoils(fault.cause) {
                *vm = None;
            }
        })
    }
}
