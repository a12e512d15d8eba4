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
//! | `deadline` | when a call's time is up |
//! | `raw` | the C functions between Lua and Rust: the only `unsafe` here |
//! | `view`, `message`, `servers` | what a stage sees |
//! | `ims`, `args`, `decode` | what a stage may answer |
//! | `host` | what a script can do beside: logs, metrics, storage, HTTP, timers |
//! | `failure` | what is reported |
//! | `watch` | that the files have changed |

mod args;
mod coverage;
mod deadline;
mod decode;
pub mod env;
mod failure;
mod fields;
mod generation;
mod globals;
pub mod host;
mod ims;
mod known;
mod message;
pub mod package;
mod raw;
mod seat;
mod servers;
mod show;
mod source;
mod unit;
mod view;
mod vm;
pub mod watch;

pub use crate::policy::fault::{Cause, Counters, Fault};
pub use coverage::Coverage;
pub use env::Env;
pub use generation::Generation;
pub use globals::{GlobalUse, globals};
pub use host::Host;
pub use known::{Known, argument_fields};
pub use package::Plugins;
pub use seat::Seat;
pub use show::show;
pub use source::{MAX_TEXT, PolicySource, Program, builtin, builtin_names};
pub use unit::{LuaLink, POLICY, Unit};
pub(crate) use vm::narrow;
pub use vm::prompt::{Prompt, PromptError, Shown};

use super::stage::{Context, Decide, FailureView, Outcome, PortionView, Stage, StatusEvent};
use super::{Chain, verdict};
use crate::sip::Message;
use std::sync::Arc;

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
    #[error("{place}: unknown stage {stage:?}; the stages are {}", Stage::names())]
    UnknownStage { place: String, stage: String },
    #[error("cannot make a Lua VM: {why}")]
    Vm { why: String },
}

/// A single policy file at work on one thread, without a node around it.
pub struct LuaPolicy {
    generation: Generation,
    chain: Chain,
}

impl LuaPolicy {
    /// Compiles and loads a policy; the error names file, line and reason.
    pub fn load(source: &PolicySource) -> Result<LuaPolicy, PolicyError> {
        LuaPolicy::new(&source.compile()?)
    }

    /// Loads a compiled policy.
    pub fn new(program: &Program) -> Result<LuaPolicy, PolicyError> {
        LuaPolicy::within(program, &Env::detached(&[]))
    }

    /// As [`LuaPolicy::new`], with surroundings: the configured servers, which stage `status` may name, and a clock.
    pub fn within(program: &Program, env: &Env) -> Result<LuaPolicy, PolicyError> {
        let generation = Generation::new(0, [Arc::new(Unit::policy(program.clone()))]);
        let chain = generation.chain(env)?;
        Ok(LuaPolicy { generation, chain })
    }

    pub fn name(&self) -> &str {
        self.generation.units().first().map_or("", |(unit, _)| unit.main.name())
    }

    pub fn counters(&self) -> &Arc<Counters> {
        let [(_, counters), ..] = self.generation.units() else { unreachable!("made with one unit") };
        counters
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What went wrong last.
    pub fn last_fault(&self) -> Option<Fault> {
        self.chain.last_fault()
    }

    /// Whether the policy has a function for the stage.
    pub fn has(&self, stage: Stage) -> bool {
        self.chain.order(stage).next().is_some()
    }
}

impl Decide for LuaPolicy {
    fn receive(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Receive {
        self.chain.receive(request, ctx)
    }

    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        self.chain.register(request, ctx)
    }

    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
        self.chain.verify(request, ctx)
    }

    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        self.chain.authorized(request, ctx)
    }

    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        self.chain.broadcast(request, portion, ctx)
    }

    fn failure(
        &self,
        request: &Message<'_>,
        failure: &FailureView<'_>,
        portion: &PortionView<'_>,
        ctx: &Context<'_>,
    ) -> verdict::Failure {
        self.chain.failure(request, failure, portion, ctx)
    }

    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        self.chain.status(event)
    }

    fn route(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Route {
        self.chain.route(request, ctx)
    }

    fn reply(&self, response: &Message<'_>, ctx: &Context<'_>) -> verdict::Reply {
        self.chain.reply(response, ctx)
    }

    fn finish(&self, outcome: &Outcome<'_>, ctx: &Context<'_>) {
        self.chain.finish(outcome, ctx);
    }

    fn wants(&self, stage: Stage) -> bool {
        self.chain.wants(stage)
    }
}
