//! The members of one generation in their order (rank 1): [`Chain`] asks them stage by stage and gives the complete
//! answers of [`Decide`].
//!
//! At most stages the first opinion counts. At `receive` and `reply` all are asked and their edits add up; at `finish`
//! all are told. A member that fails is counted and logged, `on_error` says what holds instead, and one that fails too
//! often is left out for a while (its breaker is open).

use super::Defaults;
use super::breaker::Breaker;
use super::fault::{Counters, Fault, OnError};
use super::plugin::Link;
use super::stage::{Context, Decide, FailureView, Outcome, PortionView, Question, Stage, StatusEvent};
use super::throttle::Throttle;
use super::verdict::{self, Opinion, Reject};
use crate::clock::Clock;
use crate::sip::Message;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// Faults of one member that are logged, a second.
const LOG_RATE: u32 = 5;
/// A call that cannot be cut short and takes longer than this is counted and logged.
const SLOW: Duration = Duration::from_millis(5);
/// What a refusal by a member that failed closed asks the sender to wait.
const RETRY_AFTER: u32 = 30;

/// One worker's chain of one generation.
pub struct Chain {
    generation: u64,
    members: Vec<Member>,
    /// Per stage the members to ask, in order.
    order: [Box<[usize]>; Stage::COUNT],
    clock: Clock,
    last_fault: RefCell<Option<Fault>>,
    /// Some while somebody wants to see who said what.
    steps: RefCell<Option<Vec<Step>>>,
}

struct Member {
    link: Box<dyn Link>,
    counters: Arc<Counters>,
    breaker: Breaker,
    throttle: Throttle,
}

/// One member asked at one stage.
#[derive(Debug, Clone)]
pub struct Step {
    pub unit: Arc<str>,
    pub stage: Stage,
    pub answer: StepAnswer,
    pub took: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepAnswer {
    Opinion(Opinion),
    /// No opinion.
    None,
    Fault(Fault),
    /// Not asked: its breaker is open.
    Bypassed,
}

impl Chain {
    /// `links` in the order in which they are asked, at every stage that they answer. The counters are of the same
    /// members in the same order, and shared with the other workers.
    pub fn new(generation: u64, links: Vec<(Box<dyn Link>, Arc<Counters>)>, clock: Clock) -> Self {
        let asked = |stage| {
            let at = |(index, (link, _)): (usize, &(Box<dyn Link>, _))| link.answers(stage).then_some(index);
            links.iter().enumerate().filter_map(at).collect()
        };
        let order = Stage::ALL.map(asked);
        Chain::ordered(generation, links, order, clock)
    }

    /// As [`Chain::new`], with an order of its own for each stage: indices into `links`.
    pub fn ordered(
        generation: u64,
        links: Vec<(Box<dyn Link>, Arc<Counters>)>,
        order: [Box<[usize]>; Stage::COUNT],
        clock: Clock,
    ) -> Self {
        let member = |(link, counters): (Box<dyn Link>, _)| Member {
            breaker: Breaker::new(link.breaker()),
            link,
            counters,
            throttle: Throttle::new(LOG_RATE),
        };
        let members = links.into_iter().map(member).collect();
        Chain { generation, members, order, clock, last_fault: RefCell::new(None), steps: RefCell::new(None) }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The names of those asked at a stage, in order.
    pub fn order(&self, stage: Stage) -> impl Iterator<Item = &str> {
        self.at(stage).map(|member| member.link.name())
    }

    /// Another chain decides from now on, or none: `teardown` is called, timers and answers that are waited for end.
    pub fn retire(&self, reason: &str) {
        self.members.iter().for_each(|member| member.link.retire(reason));
    }

    /// What went wrong last.
    pub fn last_fault(&self) -> Option<Fault> {
        self.last_fault.borrow().clone()
    }

    /// Runs `asking` and tells who was asked and said what meanwhile.
    pub fn recorded<T>(&self, asking: impl FnOnce(&Self) -> T) -> (T, Vec<Step>) {
        self.steps.replace(Some(Vec::new()));
        let answer = asking(self);
        (answer, self.steps.take().unwrap_or_default())
    }

    fn at(&self, stage: Stage) -> impl Iterator<Item = &Member> {
        self.order[stage as usize].iter().filter_map(|index| self.members.get(*index))
    }

    /// The first opinion.
    pub fn first(&self, question: &Question<'_>) -> Option<Opinion> {
        self.at(question.stage()).find_map(|member| self.ask(member, question))
    }

    fn ask(&self, member: &Member, question: &Question<'_>) -> Option<Opinion> {
        if !member.breaker.admits(|| self.clock.now().mono) {
            member.counters.count_bypassed();
            self.note(member, question, None, || StepAnswer::Bypassed);
            return self.instead(member, question);
        }
        member.counters.count_call(question.stage());
        let unbounded = !member.link.interruptible();
        let began = (unbounded || self.steps.borrow().is_some()).then(|| self.clock.now().mono);
        let answer = member.link.ask(question);
        if let Some(began) = began.filter(|_| unbounded) {
            self.mind_time(member, question, began);
        }
        match answer {
            Ok(opinion) => {
                member.breaker.succeeded();
                self.note(member, question, began, || opinion.clone().map_or(StepAnswer::None, StepAnswer::Opinion));
                opinion
            }
            Err(fault) => {
                self.note(member, question, began, || StepAnswer::Fault(fault.clone()));
                self.report(member, fault);
                self.instead(member, question)
            }
        }
    }

    /// Tells of a call that held up its worker.
    fn mind_time(&self, member: &Member, question: &Question<'_>, began: Duration) {
        let now = self.clock.now().mono;
        let took = now.saturating_sub(began);
        if took <= SLOW {
            return;
        }
        member.counters.count_slow();
        if let Some(held_back) = member.throttle.admit(now) {
            let (unit, stage, ms) = (member.link.name(), question.stage().as_str(), took.as_millis());
            tracing::warn!(
                target: "imscript::policy", unit, generation = self.generation, stage, ms, held_back,
                "a plugin in Rust held up its worker",
            );
        }
    }

    fn note(
        &self,
        member: &Member,
        question: &Question<'_>,
        began: Option<Duration>,
        answer: impl FnOnce() -> StepAnswer,
    ) {
        if let Some(steps) = self.steps.borrow_mut().as_mut() {
            let took = began.map_or(Duration::ZERO, |began| self.clock.now().mono.saturating_sub(began));
            steps.push(Step { unit: member.link.name().into(), stage: question.stage(), answer: answer(), took });
        }
    }

    fn report(&self, member: &Member, fault: Fault) {
        member.counters.count(fault.stage, fault.cause);
        let now = self.clock.now().mono;
        let unit = &*fault.unit;
        if member.breaker.failed(now) {
            member.counters.count_opened();
            tracing::error!(
                target: "imscript::policy", unit, generation = self.generation,
                "fails too often and is left out for {} s; {}",
                Breaker::PAUSE.as_secs(), instead_of(member.link.on_error(), fault.stage),
            );
        }
        if let Some(held_back) = member.throttle.admit(now) {
            let (stage, cause, reason) = (fault.stage.as_str(), fault.cause.as_str(), fault.message.as_str());
            tracing::warn!(
                target: "imscript::policy", unit, generation = self.generation, stage, cause, reason, held_back,
                "policy failed; {}", instead_of(member.link.on_error(), fault.stage),
            );
        }
        self.last_fault.replace(Some(fault));
    }

    /// What holds instead of a member that failed; None: the next one's word.
    fn instead(&self, member: &Member, question: &Question<'_>) -> Option<Opinion> {
        match member.link.on_error() {
            OnError::Skip => None,
            OnError::FailClosed => closed(question.stage()),
        }
    }
}

fn instead_of(on_error: OnError, stage: Stage) -> &'static str {
    match (on_error, stage) {
        (OnError::FailClosed, Stage::Receive | Stage::Register | Stage::Authorized | Stage::Route) => {
            "requests are refused"
        }
        (OnError::FailClosed, Stage::Broadcast) => "broadcast portions stay here",
        (OnError::FailClosed, Stage::Verify) => "the subscription is always checked",
        _ => "the default applies",
    }
}

/// The answer of a member that fails closed.
fn closed(stage: Stage) -> Option<Opinion> {
    let refusal =
        || Reject { status: 503, reason: Some("Service Unavailable".to_owned()), retry_after: Some(RETRY_AFTER) };
    match stage {
        Stage::Receive => Some(Opinion::Receive(verdict::Receive::Reject(refusal()))),
        Stage::Register => Some(Opinion::Register(verdict::Register::Reject(refusal()))),
        Stage::Verify => {
            let verify = verdict::Verify::default();
            Some(Opinion::Verify(verify))
        }
        Stage::Authorized => Some(Opinion::Authorized(verdict::Authorized::Reject(refusal()))),
        Stage::Broadcast => {
            let reason = "policy failed".to_owned();
            Some(Opinion::Broadcast(verdict::Broadcast::Skip { reason }))
        }
        Stage::Route => Some(Opinion::Route(verdict::Route::Reject(refusal()))),
        Stage::Failure | Stage::Status | Stage::Reply | Stage::Finish => None,
    }
}

/// A member whose opinion is of another stage than it was asked at. Only a wrong [`Link`] does that; it counts as none.
macro_rules! of_stage {
    ($opinion:expr, $stage:ident) => {
        match $opinion {
            Some(Opinion::$stage(verdict)) => Some(verdict),
            _ => None,
        }
    };
}

impl Decide for Chain {
    fn receive(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Receive {
        let question = Question::Receive { request, ctx };
        let mut all = Vec::new();
        for member in self.at(Stage::Receive) {
            match of_stage!(self.ask(member, &question), Receive) {
                Some(verdict::Receive::Next { edits }) => all.extend(edits),
                Some(other) => return other,
                None => {}
            }
        }
        verdict::Receive::Next { edits: all }
    }

    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        of_stage!(self.first(&Question::Register { request, ctx }), Register)
            .unwrap_or_else(|| Defaults.register(request, ctx))
    }

    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
        of_stage!(self.first(&Question::Verify { request, ctx }), Verify)
            .unwrap_or_else(|| Defaults.verify(request, ctx))
    }

    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        of_stage!(self.first(&Question::Authorized { request, ctx }), Authorized)
            .unwrap_or_else(|| Defaults.authorized(request, ctx))
    }

    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        of_stage!(self.first(&Question::Broadcast { request, portion, ctx }), Broadcast)
            .unwrap_or_else(|| Defaults.broadcast(request, portion, ctx))
    }

    fn failure(
        &self,
        request: &Message<'_>,
        failure: &FailureView<'_>,
        portion: &PortionView<'_>,
        ctx: &Context<'_>,
    ) -> verdict::Failure {
        of_stage!(self.first(&Question::Failure { request, failure, portion, ctx }), Failure)
            .unwrap_or(verdict::Failure::GiveUp)
    }

    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        of_stage!(self.first(&Question::Status { event }), Status).unwrap_or_else(|| Defaults.status(event))
    }

    fn route(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Route {
        of_stage!(self.first(&Question::Route { request, ctx }), Route).unwrap_or(verdict::Route::Next)
    }

    fn reply(&self, response: &Message<'_>, ctx: &Context<'_>) -> verdict::Reply {
        let question = Question::Reply { response, ctx };
        let edits = |member| of_stage!(self.ask(member, &question), Reply).map(|reply| reply.edits);
        verdict::Reply { edits: self.at(Stage::Reply).filter_map(edits).flatten().collect() }
    }

    fn finish(&self, outcome: &Outcome<'_>, ctx: &Context<'_>) {
        for member in self.at(Stage::Finish) {
            self.ask(member, &Question::Finish { outcome, ctx });
        }
    }

    fn wants(&self, stage: Stage) -> bool {
        !self.order[stage as usize].is_empty() || Defaults.wants(stage)
    }
}
