//! Policies in Lua (rank 3): [`LuaPolicy`] answers the stages of [`Decide`] from a policy file.
//!
//! A policy can be wrong in any way without harm to a registration: whatever fails (an error, the
//! deadline, the memory limit, a verdict that makes no sense) is counted and logged with file and
//! line, and the stage's default of [`crate::policy::defaults`] applies.
//!
//! One [`LuaPolicy`] belongs to one worker thread; the [`Program`] in it is compiled once for all.
//!
//! | file | what it is about |
//! |---|---|
//! | `source` | text, compiling, the policies in the binary |
//! | `vm` | making the VM and calling into it, with its limits |
//! | `view`, `snapshot`, `servers` | what a stage sees |
//! | `ims`, `fields`, `decode` | what a stage may answer |
//! | `failure`, `log` | what is reported |
//! | `watch` | that the files have changed |

mod decode;
mod failure;
mod fields;
mod ims;
mod log;
mod servers;
mod snapshot;
mod source;
mod view;
mod vm;
pub mod watch;

pub use failure::{Cause, Counters, Failure};
pub use source::{MAX_TEXT, PolicySource, Program, builtin, builtin_names};

use super::stage::{Context, Decide, PortionView, ServerView, Stage, StatusEvent};
use super::{Defaults, verdict};
use crate::sip::Message;
use failure::Throttle;
use ims::Opinion;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};
use view::View;
use vm::Vm;

/// Failures that are logged, a second and worker.
const LOG_RATE: u32 = 5;
/// A VM that cannot be built again is not tried at every call.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

/// Why a policy is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("{name}: {why}")]
    Unreadable { name: String, why: String },
    #[error("{name}: longer than {} KiB", MAX_TEXT / 1024)]
    TooLarge { name: String },
    /// `place` is `file:line: reason`.
    #[error("{place}")]
    Syntax { place: String },
    /// The top level failed.
    #[error("{why}")]
    Load { why: String },
    #[error("{name}: a policy returns a table of functions; this one returns {found}")]
    NotATable { name: String, found: &'static str },
    #[error("{place}: unknown stage {stage:?}; the stages are register, verify, authorized, broadcast, status")]
    UnknownStage { place: String, stage: String },
    #[error("cannot make a Lua VM: {why}")]
    Vm { why: String },
}

/// A policy file at work on one thread.
pub struct LuaPolicy {
    program: Program,
    /// None after a timeout or an exhausted memory, until the next call.
    vm: RefCell<Option<Vm>>,
    rebuild_after: Cell<Option<Instant>>,
    servers: Vec<ServerView>,
    counters: Arc<Counters>,
    last_failure: RefCell<Option<Failure>>,
    throttle: Throttle,
}

impl LuaPolicy {
    /// Compiles and loads a policy; the error names file, line and reason.
    pub fn load(source: &PolicySource) -> Result<LuaPolicy, PolicyError> {
        LuaPolicy::new(&source.compile()?)
    }

    /// Loads a compiled policy: what each worker does.
    pub fn new(program: &Program) -> Result<LuaPolicy, PolicyError> {
        Ok(LuaPolicy {
            program: program.clone(),
            vm: RefCell::new(Some(Vm::new(program)?)),
            rebuild_after: Cell::new(None),
            servers: Vec::new(),
            counters: Arc::default(),
            last_failure: RefCell::new(None),
            throttle: Throttle::new(LOG_RATE),
        })
    }

    /// Tells the configured broadcast servers ahead of the first REGISTER, so that stage `status` may
    /// name any of them. Otherwise it may name those of its event and those of the last REGISTER.
    #[must_use]
    pub fn with_servers(mut self, servers: &[ServerView]) -> Self {
        self.servers = servers.to_vec();
        if let Some(vm) = self.vm.get_mut()
            && vm.set_servers(servers).is_err()
        {
            *self.vm.get_mut() = None;
        }
        self
    }

    /// Counts into `counters`: one set for all workers.
    #[must_use]
    pub fn with_counters(mut self, counters: Arc<Counters>) -> Self {
        self.counters = counters;
        self
    }

    pub fn name(&self) -> &str {
        self.program.name()
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// What went wrong last.
    pub fn last_failure(&self) -> Option<Failure> {
        self.last_failure.borrow().clone()
    }

    /// Whether the policy has a function for the stage.
    pub fn has(&self, stage: Stage) -> bool {
        self.vm.borrow().as_ref().is_some_and(|vm| vm.has(stage))
    }

    /// The policy's verdict; None where the default applies.
    fn ask<T>(
        &self,
        stage: Stage,
        view: View<'_>,
        verdict: impl FnOnce(&Vm, &Opinion) -> Result<T, String>,
    ) -> Option<T> {
        // Only a stage asked from within a stage finds it borrowed, and nothing does that.
        let mut vm = self.vm.try_borrow_mut().ok()?;
        if vm.is_none() {
            *vm = self.rebuild();
        }
        let outcome = {
            let vm = vm.as_ref()?;
            vm.ask(stage, view, |opinion| verdict(vm, opinion))
        };
        match outcome {
            Ok(verdict) => verdict,
            Err(failure) => {
                if failure.cause.spoils() {
                    *vm = None;
                }
                drop(vm);
                self.report(failure);
                None
            }
        }
    }

    fn rebuild(&self) -> Option<Vm> {
        let now = Instant::now();
        if self.rebuild_after.get().is_some_and(|after| now < after) {
            return None;
        }
        let built = Vm::new(&self.program).and_then(|vm| {
            vm.set_servers(&self.servers).map_err(|error| PolicyError::Vm { why: failure::describe(&error) })?;
            Ok(vm)
        });
        match built {
            Ok(vm) => {
                self.rebuild_after.set(None);
                Some(vm)
            }
            Err(error) => {
                self.rebuild_after.set(Some(now + REBUILD_PAUSE));
                tracing::error!(target: "imscript::policy", %error, "the policy cannot be loaded again; defaults apply");
                None
            }
        }
    }

    fn report(&self, failure: Failure) {
        self.counters.count(failure.cause);
        if let Some(held_back) = self.throttle.admit(Instant::now()) {
            let stage = failure.stage.as_str();
            let cause = failure.cause.as_str();
            let reason = failure.message.as_str();
            tracing::warn!(target: "imscript::policy", stage, cause, reason, held_back, "policy failed; the default applies");
        }
        self.last_failure.replace(Some(failure));
    }
}

impl Decide for LuaPolicy {
    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        let view = View::Request { message: request, ctx, portion: None };
        self.ask(Stage::Register, view, |_, opinion| decode::register(opinion))
            .unwrap_or_else(|| Defaults.register(request, ctx))
    }

    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
        let view = View::Request { message: request, ctx, portion: None };
        self.ask(Stage::Verify, view, |_, opinion| decode::verify(opinion))
            .unwrap_or_else(|| Defaults.verify(request, ctx))
    }

    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        let view = View::Request { message: request, ctx, portion: None };
        self.ask(Stage::Authorized, view, |_, opinion| decode::authorized(opinion))
            .unwrap_or_else(|| Defaults.authorized(request, ctx))
    }

    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        let view = View::Request { message: request, ctx, portion: Some(portion) };
        self.ask(Stage::Broadcast, view, |_, opinion| decode::broadcast(opinion, portion, ctx))
            .unwrap_or_else(|| Defaults.broadcast(request, portion, ctx))
    }

    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        let known = |vm: &Vm, opinion: &Opinion| decode::status(opinion, event, |name| vm.knows_server(name));
        self.ask(Stage::Status, View::Event(event), known).unwrap_or_else(|| Defaults.status(event))
    }
}
