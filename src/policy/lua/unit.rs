//! A policy file or a plugin, compiled once ([`Unit`]), and one worker's VM of it as a member of the chain ([`LuaLink`]).

use super::PolicyError;
use super::env::Env;
use super::host::{Occasion, Runner};
use super::source::Program;
use super::vm::Vm;
use crate::policy::breaker::Breaker as Switch;
use crate::policy::capability::{Capabilities, Origin};
use crate::policy::conf::Conf;
use crate::policy::manifest::{Breaker, Limits, Manifest};
use crate::policy::throttle::Throttle;
use crate::policy::verdict::Opinion;
use crate::policy::{Cause, Counters, Fault, Link, OnError, Question, Stage};
use mlua::{Function, MultiValue};
use sha2::{Digest, Sha256};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use crate::policy::manifest::POLICY;

/// A VM that cannot be built again is not tried at every call.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);
/// Faults of timers and callbacks that are logged, a second.
const LOG_RATE: u32 = 5;

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
pub struct LuaLink(Rc<Home>);

/// Where a unit's VM lives: stages come through the link, timers and callbacks through the runner.
struct Home {
    unit: Arc<Unit>,
    env: Env,
    generation: u64,
    /// None after a timeout or an exhausted memory, until the next call.
    vm: RefCell<Option<Vm>>,
    /// Whether it has been replaced by a later generation.
    retired: Cell<bool>,
    rebuild_after: Cell<Option<Duration>>,
    throttle: Throttle,
    /// With those of the other workers.
    counters: Arc<Counters>,
    /// Of timers and callbacks; the chain has one for the stages.
    background: Switch,
    /// The stages that it has a function for.
    stages: Cell<[bool; Stage::COUNT]>,
}

impl LuaLink {
    /// Builds the VM and runs the unit's top level and `setup`.
    pub fn new(unit: Arc<Unit>, env: &Env, generation: u64, counters: Arc<Counters>) -> Result<LuaLink, PolicyError> {
        let home = Rc::new(Home {
            counters,
            background: Switch::new(unit.limits.breaker),
            unit,
            env: env.clone(),
            generation,
            vm: RefCell::new(None),
            retired: Cell::new(false),
            rebuild_after: Cell::new(None),
            throttle: Throttle::new(LOG_RATE),
            stages: Cell::default(),
        });
        let vm = home.build()?;
        home.stages.set(Stage::ALL.map(|stage| vm.has(stage)));
        home.vm.replace(Some(vm));
        Ok(LuaLink(home))
    }

    pub fn unit(&self) -> &Arc<Unit> {
        &self.0.unit
    }

    /// The line of the main file on which the function of a stage begins; 0 if it is not known.
    pub fn line_of(&self, stage: Stage) -> Option<usize> {
        self.0.vm.borrow().as_ref()?.line_of(stage)
    }
}

impl Home {
    fn build(self: &Rc<Self>) -> Result<Vm, PolicyError> {
        let home = Rc::downgrade(self);
        let runner: Runner = Rc::new(move |occasion, function, arguments| {
            if let Some(home) = home.upgrade() {
                home.run(occasion, function, arguments);
            }
        });
        Vm::new(&self.unit, &self.env, self.generation, runner)
    }

    /// Builds the VM again, if the last attempt is not just past. The reason why there is none is a fault of each call:
    /// it counts, and a unit that fails closed stays closed.
    fn rebuild(self: &Rc<Self>) -> Result<Vm, String> {
        let now = self.env.clock.now().mono;
        if self.rebuild_after.get().is_some_and(|after| now < after) {
            return Err(format!("{}: could not be loaded again", self.unit.main.name()));
        }
        match self.build() {
            Ok(vm) => {
                self.rebuild_after.set(None);
                if self.retired.get() {
                    vm.retire();
                }
                Ok(vm)
            }
            Err(error) => {
                self.rebuild_after.set(Some(now.saturating_add(REBUILD_PAUSE)));
                Err(format!("cannot be loaded again: {error}"))
            }
        }
    }

    /// A timer or a callback. Nobody waits for it, so a fault is only counted and logged.
    fn run(self: &Rc<Self>, occasion: Occasion, function: &Function, arguments: MultiValue) {
        if !self.background.admits(|| self.env.clock.now().mono) {
            return self.counters.count_bypassed();
        }
        // Tasks run between two calls: it is never borrowed.
        let outcome = match self.vm.try_borrow().as_deref() {
            Ok(Some(vm)) => vm.run(occasion, function, arguments),
            _ => return,
        };
        let Err((cause, reason)) = outcome else { return self.background.succeeded() };
        self.report(occasion, cause, &reason);
        if self.background.failed(self.env.clock.now().mono) {
            self.counters.count_opened();
            tracing::error!(
                target: "imscript::policy", unit = &*self.unit.name, generation = self.generation,
                "its timers and callbacks fail too often and are left out for {} s", Switch::PAUSE.as_secs(),
            );
        }
        if super::failure::spoils(cause) {
            self.vm.replace(None);
            self.rebuild_soon();
        }
    }

    fn report(&self, occasion: Occasion, cause: Cause, reason: &str) {
        self.counters.count_background(cause);
        let unit = &*self.unit.name;
        let generation = self.generation.to_string();
        let labels = [("unit", unit), ("generation", &*generation), ("cause", cause.as_str())];
        let help = "Timers and callbacks of a unit that failed.";
        if let Ok(counter) = self.env.host.metrics.counter("imscript_policy_background_faults_total", help, &labels) {
            counter.add(1);
        }
        if let Some(held_back) = self.throttle.admit(self.env.clock.now().mono) {
            let (generation, cause) = (self.generation, cause.as_str());
            tracing::warn!(
                target: "imscript::policy", unit, generation, cause, reason, held_back, "{occasion} failed",
            );
        }
    }

    /// Its timers would not come back with the next request of a quiet node.
    fn rebuild_soon(self: &Rc<Self>) {
        let (home, pause) = (Rc::downgrade(self), (self.env.sleep)(REBUILD_PAUSE));
        (self.env.spawn)(Box::pin(async move {
            pause.await;
            if let Some(home) = home.upgrade()
                && home.vm.borrow().is_none()
            {
                match home.rebuild() {
                    Ok(vm) => drop(home.vm.replace(Some(vm))),
                    Err(reason) => {
                        let unit = &*home.unit.name;
                        tracing::error!(target: "imscript::policy", unit, generation = home.generation, reason);
                    }
                }
            }
        }));
    }
}

impl Link for LuaLink {
    fn name(&self) -> &str {
        &self.0.unit.name
    }

    fn answers(&self, stage: Stage) -> bool {
        self.0.stages.get()[stage as usize]
    }

    fn on_error(&self) -> OnError {
        self.0.unit.on_error
    }

    fn breaker(&self) -> Breaker {
        self.0.unit.limits.breaker
    }

    fn ask(&self, question: &Question<'_>) -> Result<Option<Opinion>, Fault> {
        // Only a stage asked from within a stage finds it borrowed, and nothing does that.
        let Ok(mut vm) = self.0.vm.try_borrow_mut() else { return Ok(None) };
        let built = match &mut *vm {
            Some(built) => built,
            empty => empty.insert(self.0.rebuild().map_err(|message| Fault {
                unit: self.0.unit.name.clone(),
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

    fn retire(&self, reason: &str) {
        if self.0.retired.replace(true) {
            return;
        }
        let held = self.0.vm.try_borrow();
        let Ok(Some(vm)) = held.as_deref() else { return };
        if let Err((cause, reason)) = vm.teardown(reason) {
            self.0.report(Occasion::Teardown, cause, &reason);
        }
        vm.retire();
    }
}
