//! What is under test: a policy, plugins, or both, and what they said in the course of a test.

use crate::policy::chain::{Step, StepAnswer};
use crate::policy::lua::{Env, Generation, POLICY, PolicyError, PolicySource, Unit};
use crate::policy::verdict;
use crate::policy::{Chain, Context, Decide, FailureView, Outcome, PortionView, Stage, StatusEvent};
use crate::sip::Message;
use std::cell::RefCell;
use std::path::PathBuf;
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

/// The units under test and where they came from.
#[derive(Debug, Clone)]
pub struct Subject {
    /// In the order in which they are asked.
    pub units: Vec<Arc<Unit>>,
    /// The name of the one whose settings `t:conf` sets.
    pub tested: Arc<str>,
    /// Where `t:policy` looks for files.
    pub folder: PathBuf,
}

impl Subject {
    /// The units as one test wants them.
    pub fn units(&self, overrides: &Overrides) -> Result<Vec<Arc<Unit>>, String> {
        let mut units = self.units.clone();
        if let Some(conf) = &overrides.conf {
            let tested = units.iter_mut().find(|unit| unit.name == self.tested);
            let unit = tested.ok_or_else(|| "t:conf: nothing under test has settings".to_owned())?;
            let mut changed = Unit::clone(unit);
            changed.conf = merged(&unit.conf, conf);
            *unit = Arc::new(changed);
        }
        if let Some(file) = &overrides.policy {
            let path = self.folder.join(file);
            let program = PolicySource::read(&path).and_then(|source| source.compile()).map_err(|e| e.to_string())?;
            let policy = Arc::new(Unit::policy(program));
            match units.iter_mut().find(|unit| *unit.name == *POLICY) {
                Some(known) => *known = policy,
                None => units.push(policy),
            }
        }
        Ok(units)
    }
}

/// `given` over `base`, table by table.
fn merged(base: &serde_json::Value, given: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value::Object;
    match (base, given) {
        (Object(base), Object(given)) => {
            let mut all = base.clone();
            for (name, value) in given {
                let value = base.get(name).map_or_else(|| value.clone(), |base| merged(base, value));
                all.insert(name.clone(), value);
            }
            Object(all)
        }
        _ => given.clone(),
    }
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
