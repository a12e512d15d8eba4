//! One worker's `Decide` ([`Seat`]): the chain of the generation that serves, and while a canary is on, that of the
//! candidate beside it. It changes hands between two questions.
//!
//! A transaction keeps the chain that it pinned, so a generation that was replaced ends with the last of its transactions.

use super::PolicyError;
use super::env::Env;
use super::generation::Generation;
use crate::answer::Task;
use crate::policy::record::Tap;
use crate::policy::stage::{Context, Decide, FailureView, Outcome, PortionView, Question, Stage, StatusEvent};
use crate::policy::verdict::{self, Opinion};
use crate::policy::{Chain, Defaults};
use crate::sip::Message;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

pub struct Seat {
    serving: RefCell<Rc<Sitting>>,
    /// Built, and asked nothing yet.
    prepared: RefCell<Option<Rc<Sitting>>>,
    /// Decides for a share of the users.
    candidate: RefCell<Option<Rc<Sitting>>>,
    /// Percentage of the users that are the candidate's.
    share: Cell<u8>,
    tap: Rc<Tap>,
}

impl Seat {
    /// Builds this thread's VMs of the first generation.
    pub fn new(generation: &Generation, env: &Env) -> Result<Self, PolicyError> {
        let tap = Rc::new(Tap::default());
        Ok(Seat {
            serving: RefCell::new(Sitting::new(generation, env, &tap)?.begun()),
            prepared: RefCell::new(None),
            candidate: RefCell::new(None),
            share: Cell::new(0),
            tap,
        })
    }

    /// Builds this thread's VMs of a generation that may serve next; nothing changes yet.
    pub fn prepare(&self, generation: &Generation, env: &Env) -> Result<(), PolicyError> {
        self.prepared.replace(None);
        let sitting = Sitting::new(generation, env, &self.tap)?;
        self.prepared.replace(Some(sitting));
        Ok(())
    }

    /// From the next question on, what was prepared decides for all users (None) or for a percentage of them. False:
    /// nothing is prepared.
    pub fn switch(&self, share: Option<u8>) -> bool {
        let Some(next) = self.prepared.take() else { return false };
        let next = next.begun();
        match share {
            Some(percent) => {
                retire(self.candidate.replace(Some(next)));
                self.share.set(percent.min(100));
            }
            None => {
                retire(Some(self.serving.replace(next)));
                retire(self.candidate.replace(None));
            }
        }
        true
    }

    /// Lets go of what was prepared.
    pub fn forget(&self) {
        self.prepared.replace(None);
    }

    /// The candidate decides for all. False: there is none.
    pub fn promote(&self) -> bool {
        let Some(next) = self.candidate.take() else { return false };
        retire(Some(self.serving.replace(next)));
        true
    }

    /// The candidate decides no more; its users are the serving generation's again.
    pub fn dismiss(&self) {
        retire(self.candidate.replace(None));
    }

    /// The node stops.
    pub fn end(&self) {
        let sittings = [Some(self.current()), self.candidate.borrow().clone()];
        sittings.iter().flatten().for_each(|sitting| sitting.chain.retire("stopped"));
    }

    /// The number of the generation that serves.
    pub fn serving(&self) -> u64 {
        self.serving.borrow().chain.generation()
    }

    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    fn current(&self) -> Rc<Sitting> {
        self.serving.borrow().clone()
    }

    /// Whose question it is: a user stays with one generation for as long as there are two.
    fn of(&self, impi: &str) -> Rc<Sitting> {
        match &*self.candidate.borrow() {
            Some(candidate) if is_in_share(impi, self.share.get()) => candidate.clone(),
            _ => self.current(),
        }
    }
}

/// Whether a user is among a percentage of all, the same on every worker, node and day. A stranger is not.
fn is_in_share(impi: &str, percent: u8) -> bool {
    // FNV-1a, and the bits well mixed, since names differ in their last digits only.
    let hash = impi
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    !impi.is_empty() && (hash >> 32) % 100 < u64::from(percent)
}

/// One generation's chain on this worker.
struct Sitting {
    chain: Chain,
    tap: Rc<Tap>,
    /// What its `setup` functions asked for (timers, requests) waits here until it decides. None: it does.
    held: Rc<RefCell<Option<Vec<Task>>>>,
    spawn: Rc<dyn Fn(Task)>,
    _in_use: Arc<()>,
}

/// Transactions that began with it may still ask it, but nothing more comes from itself.
fn retire(sitting: Option<Rc<Sitting>>) {
    if let Some(sitting) = sitting {
        sitting.chain.retire("replaced");
    }
}

impl Sitting {
    fn new(generation: &Generation, env: &Env, tap: &Rc<Tap>) -> Result<Rc<Self>, PolicyError> {
        let held = Rc::new(RefCell::new(Some(Vec::new())));
        let (gate, spawn) = (held.clone(), env.spawn.clone());
        let through_gate = move |task| {
            let mut held = gate.borrow_mut();
            if let Some(held) = held.as_mut() {
                return held.push(task);
            }
            drop(held); // the task may run at once, and spawn more
            spawn(task);
        };
        let chain = generation.chain(&Env { spawn: Rc::new(through_gate), ..env.clone() })?;
        let (tap, spawn) = (tap.clone(), env.spawn.clone());
        Ok(Rc::new(Sitting { chain, tap, held, spawn, _in_use: generation.hold() }))
    }

    /// It decides from now on.
    fn begun(self: Rc<Self>) -> Rc<Self> {
        let held = self.held.borrow_mut().take();
        held.into_iter().flatten().for_each(|task| (self.spawn)(task));
        self
    }
}

impl Decide for Sitting {
    fn receive(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Receive {
        let answer = self.chain.receive(request, ctx);
        self.tap.saw(&Question::Receive { request, ctx }, || Opinion::Receive(answer.clone()));
        answer
    }

    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        let answer = self.chain.register(request, ctx);
        self.tap.saw(&Question::Register { request, ctx }, || Opinion::Register(answer.clone()));
        answer
    }

    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
        let answer = self.chain.verify(request, ctx);
        self.tap.saw(&Question::Verify { request, ctx }, || Opinion::Verify(answer));
        answer
    }

    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        let answer = self.chain.authorized(request, ctx);
        self.tap.saw(&Question::Authorized { request, ctx }, || Opinion::Authorized(answer.clone()));
        answer
    }

    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        let answer = self.chain.broadcast(request, portion, ctx);
        self.tap.saw(&Question::Broadcast { request, portion, ctx }, || Opinion::Broadcast(answer.clone()));
        answer
    }

    fn failure(
        &self,
        request: &Message<'_>,
        failure: &FailureView<'_>,
        portion: &PortionView<'_>,
        ctx: &Context<'_>,
    ) -> verdict::Failure {
        let answer = self.chain.failure(request, failure, portion, ctx);
        self.tap.saw(&Question::Failure { request, failure, portion, ctx }, || Opinion::Failure(answer.clone()));
        answer
    }

    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        let answer = self.chain.status(event);
        self.tap.saw(&Question::Status { event }, || Opinion::Status(answer.clone()));
        answer
    }

    fn route(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Route {
        let answer = self.chain.route(request, ctx);
        self.tap.saw(&Question::Route { request, ctx }, || Opinion::Route(answer.clone()));
        answer
    }

    fn reply(&self, response: &Message<'_>, ctx: &Context<'_>) -> verdict::Reply {
        let answer = self.chain.reply(response, ctx);
        self.tap.saw(&Question::Reply { response, ctx }, || Opinion::Reply(answer.clone()));
        answer
    }

    fn finish(&self, outcome: &Outcome<'_>, ctx: &Context<'_>) {
        self.chain.finish(outcome, ctx);
    }

    fn wants(&self, stage: Stage) -> bool {
        self.chain.wants(stage)
    }
}

impl Decide for Seat {
    fn receive(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Receive {
        self.of(ctx.impi).receive(request, ctx)
    }

    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        self.of(ctx.impi).register(request, ctx)
    }

    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
        self.of(ctx.impi).verify(request, ctx)
    }

    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        self.of(ctx.impi).authorized(request, ctx)
    }

    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        self.of(ctx.impi).broadcast(request, portion, ctx)
    }

    fn failure(
        &self,
        request: &Message<'_>,
        failure: &FailureView<'_>,
        portion: &PortionView<'_>,
        ctx: &Context<'_>,
    ) -> verdict::Failure {
        self.of(ctx.impi).failure(request, failure, portion, ctx)
    }

    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        self.of(event.impi).status(event)
    }

    fn route(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Route {
        self.of(ctx.impi).route(request, ctx)
    }

    fn reply(&self, response: &Message<'_>, ctx: &Context<'_>) -> verdict::Reply {
        self.of(ctx.impi).reply(response, ctx)
    }

    fn finish(&self, outcome: &Outcome<'_>, ctx: &Context<'_>) {
        self.of(ctx.impi).finish(outcome, ctx);
    }

    fn wants(&self, stage: Stage) -> bool {
        let candidate = self.candidate.borrow().as_ref().is_some_and(|candidate| candidate.wants(stage));
        candidate || self.current().wants(stage) || Defaults.wants(stage)
    }

    fn pin(&self, impi: &str) -> Option<Rc<dyn Decide>> {
        Some(self.of(impi))
    }
}

#[cfg(test)]
mod tests;
