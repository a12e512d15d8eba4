//! Generations: what is loaded together and replaced together ([`Generation`]), and a worker's place for the one that
//! decides now ([`Seat`]).

use super::PolicyError;
use super::env::Env;
use super::unit::{LuaLink, Unit};
use crate::policy::stage::{Context, Decide, FailureView, Outcome, PortionView, Stage, StatusEvent};
use crate::policy::{Chain, Counters, Link, verdict};
use crate::sip::Message;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// A policy and its plugins, compiled; the same for all workers.
#[derive(Debug)]
pub struct Generation {
    pub id: u64,
    /// In the order in which they are asked.
    units: Vec<(Arc<Unit>, Arc<Counters>)>,
}

impl Generation {
    /// `units` in the order in which they are asked.
    pub fn new(id: u64, units: impl IntoIterator<Item = Arc<Unit>>) -> Self {
        Generation { id, units: units.into_iter().map(|unit| (unit, Arc::default())).collect() }
    }

    /// The units with what has been counted of each.
    pub fn units(&self) -> &[(Arc<Unit>, Arc<Counters>)] {
        &self.units
    }

    /// Builds this thread's VMs.
    pub fn chain(&self, env: &Env) -> Result<Chain, PolicyError> {
        let link = |(unit, counters): &(Arc<Unit>, Arc<Counters>)| {
            let link: Box<dyn Link> = Box::new(LuaLink::new(unit.clone(), env, self.id)?);
            Ok((link, counters.clone()))
        };
        let links = self.units.iter().map(link).collect::<Result<Vec<_>, PolicyError>>()?;
        Ok(Chain::new(self.id, links, env.clock))
    }
}

/// One worker's `Decide`: the chain of the generation that decides now. A transaction keeps the chain that it pinned,
/// so a generation that was replaced ends with the last of its transactions.
pub struct Seat {
    current: RefCell<Rc<Chain>>,
}

impl Seat {
    pub fn new(chain: Chain) -> Self {
        Seat { current: RefCell::new(Rc::new(chain)) }
    }

    /// The next question goes to this chain.
    pub fn switch(&self, chain: Chain) {
        self.current.replace(Rc::new(chain));
    }

    pub fn current(&self) -> Rc<Chain> {
        self.current.borrow().clone()
    }
}

impl Decide for Seat {
    fn receive(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Receive {
        self.current().receive(request, ctx)
    }

    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        self.current().register(request, ctx)
    }

    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
        self.current().verify(request, ctx)
    }

    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        self.current().authorized(request, ctx)
    }

    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        self.current().broadcast(request, portion, ctx)
    }

    fn failure(
        &self,
        request: &Message<'_>,
        failure: &FailureView<'_>,
        portion: &PortionView<'_>,
        ctx: &Context<'_>,
    ) -> verdict::Failure {
        self.current().failure(request, failure, portion, ctx)
    }

    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        self.current().status(event)
    }

    fn route(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Route {
        self.current().route(request, ctx)
    }

    fn reply(&self, response: &Message<'_>, ctx: &Context<'_>) -> verdict::Reply {
        self.current().reply(response, ctx)
    }

    fn finish(&self, outcome: &Outcome<'_>, ctx: &Context<'_>) {
        self.current().finish(outcome, ctx);
    }

    fn wants(&self, stage: Stage) -> bool {
        self.current().wants(stage)
    }

    fn pin(&self, _impi: &str) -> Option<Rc<dyn Decide>> {
        Some(self.current())
    }
}
