//! What is under test: a policy, plugins, or both, and what they said in the course of a test.

use crate::policy::chain::{Step, StepAnswer};
use crate::policy::lua::{Env, Generation, POLICY, Plugins, PolicyError, Unit, package};
use crate::policy::verdict;
use crate::policy::{Chain, Context, Decide, FailureView, Outcome, PortionView, Stage, StatusEvent};
use crate::sip::Message;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Steps of one test that are kept.
const MAX_STEPS: usize = 100_000;

/// What one test wants otherwise than the files say.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Settings of the plugin under test, key by key.
    pub conf: Option<serde_json::Value>,
    /// The operator's policy, from a file beside the tests.
    pub policy: Option<String>,
}

/// What is under test, by its files: a policy, plugins, or both.
#[derive(Debug, Clone)]
pub struct Subject {
    /// None: no policy among the members, so that what nobody decides shows as default.
    pub policy: Option<PathBuf>,
    pub plugins: Option<Plugins>,
    /// The plugin whose settings `t:conf` sets.
    pub tested: Option<String>,
    /// Where `t:policy` looks for files.
    pub folder: PathBuf,
    /// Lines that are run are counted.
    pub covered: bool,
}

impl Subject {
    /// A policy file by itself.
    pub fn policy(file: &Path) -> Self {
        let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
        Subject { policy: Some(file.to_path_buf()), plugins: None, tested: None, folder, covered: false }
    }

    /// The plugin in a folder, without those beside it.
    pub fn plugin(folder: &Path) -> Self {
        // "." has no parent to look for the others in.
        let whole = folder.file_name().is_none().then(|| folder.canonicalize().ok()).flatten();
        let folder = whole.as_deref().unwrap_or(folder);
        let name = plugin_name(folder);
        let parent = match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let beside = std::fs::read_dir(&parent).into_iter().flatten().flatten();
        let others = beside.filter(|entry| entry.path().is_dir()).map(|e| e.file_name().to_string_lossy().into_owned());
        let disabled =
            others.filter(|other| *other != name && !other.starts_with('.')).map(|other| (other, 0)).collect();
        let plugins = Plugins { disabled, ..Plugins::of(parent) };
        Subject {
            policy: None,
            plugins: Some(plugins),
            tested: Some(name),
            folder: folder.to_path_buf(),
            covered: false,
        }
    }

    /// The units as one test wants them.
    pub fn units(&self, overrides: &Overrides) -> Result<Vec<Arc<Unit>>, String> {
        let mut plugins = self.plugins.clone();
        if let Some(conf) = &overrides.conf {
            match (&mut plugins, &self.tested) {
                (Some(plugins), Some(name)) => plugins.configure(name, conf),
                _ => return Err("t:conf: a policy has no settings; only a plugin has".to_owned()),
            }
        }
        let policy = match &overrides.policy {
            Some(file) => Some(self.folder.join(file)),
            None => self.policy.clone(),
        };
        let loaded = package::read(policy.as_deref(), plugins.as_ref(), &[])
            .map_err(|found| found.iter().next().map_or_else(|| found.to_string(), |first| first.to_string()))?;
        let wanted = |unit: &Arc<Unit>| policy.is_some() || *unit.name != *POLICY;
        let units = loaded.units.into_iter().filter(wanted);
        if self.covered {
            return units.map(|unit| unit.covered().map(Arc::new)).collect::<Result<_, _>>().map_err(|e| e.to_string());
        }
        Ok(units.collect())
    }
}

/// The name that a plugin's folder gives it.
pub fn plugin_name(folder: &Path) -> String {
    let named = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    named.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A chain that writes down who was asked and said what.
pub struct Recorder {
    pub chain: Chain,
    steps: RefCell<Vec<Step>>,
}

impl Recorder {
    pub fn new(units: &[Arc<Unit>], env: &Env) -> Result<Self, PolicyError> {
        let chain = Generation::new(1, units.iter().cloned()).chain(env)?;
        Ok(Recorder { chain, steps: RefCell::default() })
    }

    fn recorded<T>(&self, asking: impl FnOnce(&Chain) -> T) -> T {
        let (answer, steps) = self.chain.recorded(asking);
        let mut all = self.steps.borrow_mut();
        let room = MAX_STEPS.saturating_sub(all.len());
        all.extend(steps.into_iter().take(room));
        answer
    }

    /// Who was asked since the last time.
    pub fn take_steps(&self) -> Vec<Step> {
        self.steps.take()
    }

    /// The steps so far that `which` picks are taken out.
    pub fn take_steps_if(&self, which: impl Fn(&Step) -> bool) -> Vec<Step> {
        let (taken, left) = self.steps.take().into_iter().partition(|step| which(step));
        self.steps.replace(left);
        taken
    }
}

/// Whether a step was a failure.
pub fn is_fault(step: &Step) -> bool {
    matches!(step.answer, StepAnswer::Fault(_))
}

impl Decide for Recorder {
    fn receive(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Receive {
        self.recorded(|chain| chain.receive(request, ctx))
    }

    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        self.recorded(|chain| chain.register(request, ctx))
    }

    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
        self.recorded(|chain| chain.verify(request, ctx))
    }

    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        self.recorded(|chain| chain.authorized(request, ctx))
    }

    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        self.recorded(|chain| chain.broadcast(request, portion, ctx))
    }

    fn failure(
        &self,
        request: &Message<'_>,
        failure: &FailureView<'_>,
        portion: &PortionView<'_>,
        ctx: &Context<'_>,
    ) -> verdict::Failure {
        self.recorded(|chain| chain.failure(request, failure, portion, ctx))
    }

    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        self.recorded(|chain| chain.status(event))
    }

    fn route(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Route {
        self.recorded(|chain| chain.route(request, ctx))
    }

    fn reply(&self, response: &Message<'_>, ctx: &Context<'_>) -> verdict::Reply {
        self.recorded(|chain| chain.reply(response, ctx))
    }

    fn finish(&self, outcome: &Outcome<'_>, ctx: &Context<'_>) {
        self.recorded(|chain| chain.finish(outcome, ctx));
    }

    fn wants(&self, stage: Stage) -> bool {
        self.chain.wants(stage)
    }
}
