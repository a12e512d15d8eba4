//! A policy file or a plugin, compiled once ([`Unit`]), and one worker's VM of it as a member of the chain ([`LuaLink`]).

use super::PolicyError;
use super::env::Env;
use super::source::Program;
use super::vm::Vm;
use crate::policy::capability::{Capabilities, Origin};
use crate::policy::conf::Conf;
use crate::policy::manifest::{Breaker, Limits, Manifest};
use crate::policy::verdict::Opinion;
use crate::policy::{Cause, Fault, Link, OnError, Question, Stage};
use sha2::{Digest, Sha256};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use crate::policy::manifest::POLICY;

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
    pub conf: Conf,
    pub on_error: OnError,
    /// What it may do beyond answering.
    pub capabilities: Capabilities,
    /// Where its HTTP requests may go: its capability `http` under its settings.
    pub origins: Vec<Origin>,
    pub limits: Limits,
    /// Of everything above, in hexadecimal: the same for the same files and settings.
    pub digest: String,
}

impl Unit {
    /// An operator's policy: one file, no settings; what fails gets the stage's default.
    pub fn policy(main: Program) -> Self {
        Unit {
            name: POLICY.into(),
            version: String::new(),
            digest: digest([&*main.bytecode]),
            main,
            modules: BTreeMap::new(),
            conf: Conf::empty(),
            on_error: OnError::Skip,
            capabilities: Capabilities::of_operator(),
            origins: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// A plugin out of its checked parts. `text` is that of its manifest.
    pub fn plugin(
        manifest: &Manifest,
        text: &str,
        main: Program,
        modules: BTreeMap<String, Program>,
        conf: Conf,
    ) -> Self {
        let shown = conf.shown().to_string();
        let mut parts: Vec<&[u8]> = vec![text.as_bytes(), shown.as_bytes(), &main.bytecode];
        parts.extend(modules.iter().flat_map(|(name, program)| [name.as_bytes(), &*program.bytecode]));
        Unit {
            name: manifest.name.as_str().into(),
            version: manifest.version.to_string(),
            digest: digest(parts),
            main,
            modules,
            on_error: manifest.on_error,
            capabilities: manifest.capabilities.clone(),
            origins: manifest.capabilities.origins(&conf),
            limits: manifest.limits,
            conf,
        }
    }
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The lengths keep one part from running into the next.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|octet| format!("{octet:02x}")).collect()
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

    /// The line of the main file on which the function of a stage begins; 0 if it is not known.
    pub fn line_of(&self, stage: Stage) -> Option<usize> {
        self.vm.borrow().as_ref()?.line_of(stage)
    }

    /// Builds the VM again, if the last attempt is not just past. The reason why there is none is a fault of each call:
    /// it counts, and a unit that fails closed stays closed.
    fn rebuild(&self) -> Result<Vm, String> {
        let now = self.env.clock.now().mono;
        if self.rebuild_after.get().is_some_and(|after| now < after) {
            return Err(format!("{}: could not be loaded again", self.unit.main.name()));
        }
        match Vm::new(&self.unit, &self.env, self.generation) {
            Ok(vm) => {
                self.rebuild_after.set(None);
                Ok(vm)
            }
            Err(error) => {
                self.rebuild_after.set(Some(now.saturating_add(REBUILD_PAUSE)));
                Err(format!("cannot be loaded again: {error}"))
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

    fn breaker(&self) -> Breaker {
        self.unit.limits.breaker
    }

    fn ask(&self, question: &Question<'_>) -> Result<Option<Opinion>, Fault> {
        // Only a stage asked from within a stage finds it borrowed, and nothing does that.
        let Ok(mut vm) = self.vm.try_borrow_mut() else { return Ok(None) };
        let built = match &mut *vm {
            Some(built) => built,
            empty => empty.insert(self.rebuild().map_err(|message| Fault {
                unit: self.unit.name.clone(),
                stage: question.stage(),
                cause: Cause::Error,
                message,
            })?),
        };
        built.ask(question).inspect_err(|fault| {
            if super::failure::spoils(fault.cause) {
                *vm = None;
            }
        })
    }
}
