//! A node about to start: what a program that embeds the crate may add to its configuration.

use super::reload::{Following, Tests};
use super::{Node, PolicyMaker, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::diameter::exchange::Serve;
use crate::hss::Hss;
use crate::observe::lines::Serving;
use crate::observe::trace::Tracer;
use crate::policy::native::{Maker, NativeError};
use crate::policy::{Decide, Plugin};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// A node about to start.
pub struct Builder {
    pub(super) config: Config,
    pub(super) tracer: Option<Tracer>,
    pub(super) serving: Serving,
    pub(super) hss: Option<Arc<dyn Hss>>,
    pub(super) policy: Option<PolicyMaker>,
    pub(super) tests: Option<Tests>,
    pub(super) following: Option<Following>,
    pub(super) steered: bool,
    pub(super) plugins: Vec<Result<Maker, NativeError>>,
    pub(super) applications: Vec<Arc<dyn Serve>>,
    pub(super) clock: Clock,
}

impl Builder {
    pub(super) fn new(config: Config) -> Self {
        Builder {
            config,
            tracer: None,
            serving: Serving::default(),
            hss: None,
            policy: None,
            tests: None,
            following: None,
            steered: false,
            plugins: Vec::new(),
            applications: Vec::new(),
            clock: Clock::new(),
        }
    }

    /// Adds a plugin in Rust to the chain, beside those in Lua and the operator's policy. `make` is called once at once,
    /// to learn the plugin's name and place, and once on each worker's thread.
    pub fn plugin<P: Plugin + 'static>(mut self, make: impl Fn() -> P + Send + Sync + 'static) -> Self {
        self.plugins.push(Maker::new(make));
        self
    }

    /// Answers the stages in Rust instead of Lua, all of them: plugins have no place beside it. Called once on each
    /// worker's thread.
    pub fn policy<D: Decide + 'static>(mut self, make: impl Fn() -> D + Send + Sync + 'static) -> Self {
        self.policy = Some(Arc::new(move |_| Ok(Rc::new(make()))));
        self
    }

    /// Uses this HSS instead of the embedded one.
    pub fn hss(mut self, hss: Arc<dyn Hss>) -> Self {
        self.hss = Some(hss);
        self
    }

    /// Answers requests of Diameter peers for its applications, where the node speaks Diameter. Of two that serve the same
    /// application the first has it.
    pub fn application(mut self, application: Arc<dyn Serve>) -> Self {
        self.applications.push(application);
        self
    }

    /// Uses this clock instead of one of its own.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Has every SIP message written to a trace.
    pub fn trace(mut self, tracer: Option<Tracer>) -> Self {
        self.tracer = tracer;
        self
    }

    /// Has this tell, from the start on, which generation serves: for log lines.
    pub fn serving(mut self, serving: Serving) -> Self {
        self.serving = serving;
        self
    }

    /// Runs the tests of every generation that is to be taken by a reload.
    pub fn tests(mut self, tests: Tests) -> Self {
        self.tests = Some(tests);
        self
    }

    /// Reads the configuration again at every reload, for what it says of policy and plugins; `file` is where it stands.
    pub fn following(
        mut self,
        file: PathBuf,
        read: impl Fn() -> Result<Config, String> + Send + Sync + 'static,
    ) -> Self {
        self.following = Some(Following { file, read: Box::new(read) });
        self
    }

    /// Opens the control socket in the data folder, and takes changed policy files if `reload.watch` says so.
    pub fn steered(mut self) -> Self {
        self.steered = true;
        self
    }

    pub fn start(self) -> Result<Node, StartError> {
        Node::assemble(self)
    }
}
