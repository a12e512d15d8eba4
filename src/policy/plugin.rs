//! The members of a chain (rank 1): [`Link`] is what [`super::Chain`] asks; [`Plugin`] is what an author in Rust
//! writes, one method a stage, and [`Native`] makes a link of it.

use super::fault::{Fault, OnError};
use super::manifest::Breaker;
use super::stage::{Context, FailureView, Outcome, PortionView, Question, Stage, StatusEvent};
use super::verdict::{self, Opinion};
use crate::sip::Message;

/// One member of the chain.
pub trait Link {
    fn name(&self) -> &str;

    /// Whether it has something to say at a stage at all.
    fn answers(&self, stage: Stage) -> bool;

    /// Its opinion; None: the next is asked.
    fn ask(&self, question: &Question<'_>) -> Result<Option<Opinion>, Fault>;

    /// What holds when it fails.
    fn on_error(&self) -> OnError {
        OnError::Skip
    }

    /// How many failures in what time leave it out for a while.
    fn breaker(&self) -> Breaker {
        Breaker::default()
    }
}

/// A plugin in Rust, compiled in. A method that is left out has no opinion, and neither has one that returns None: the
/// next member of the chain is asked, and in the end the stage's default holds.
///
/// A plugin runs on the worker's own thread and must not block. It belongs to one worker: what all workers share goes
/// behind an `Arc`.
pub trait Plugin {
    /// As `before` and `after` of other plugins and the operator's list call it.
    fn name(&self) -> &str;

    /// The stages whose methods are there; the others are not called.
    fn stages(&self) -> &[Stage];

    /// A request as it arrived, before there is a transaction.
    fn receive(&self, _request: &Message<'_>, _ctx: &Context<'_>) -> Option<verdict::Receive> {
        None
    }

    /// REGISTER before authentication.
    fn register(&self, _request: &Message<'_>, _ctx: &Context<'_>) -> Option<verdict::Register> {
        None
    }

    /// Which subscription checks, and when.
    fn verify(&self, _request: &Message<'_>, _ctx: &Context<'_>) -> Option<verdict::Verify> {
        None
    }

    /// After the digest verdict, before the binding is stored.
    fn authorized(&self, _request: &Message<'_>, _ctx: &Context<'_>) -> Option<verdict::Authorized> {
        None
    }

    /// What of this REGISTER goes where.
    fn broadcast(
        &self,
        _request: &Message<'_>,
        _portion: &PortionView<'_>,
        _ctx: &Context<'_>,
    ) -> Option<verdict::Broadcast> {
        None
    }

    /// A broadcast server did not take what it was sent.
    fn failure(
        &self,
        _request: &Message<'_>,
        _failure: &FailureView<'_>,
        _portion: &PortionView<'_>,
        _ctx: &Context<'_>,
    ) -> Option<verdict::Failure> {
        None
    }

    /// Who is told of a change, and how.
    fn status(&self, _event: &StatusEvent<'_>) -> Option<verdict::Status> {
        None
    }

    /// Any request that is no REGISTER.
    fn route(&self, _request: &Message<'_>, _ctx: &Context<'_>) -> Option<verdict::Route> {
        None
    }

    /// A final answer about to go out.
    fn reply(&self, _response: &Message<'_>, _ctx: &Context<'_>) -> Option<verdict::Reply> {
        None
    }

    /// A request has been answered.
    fn finish(&self, _outcome: &Outcome<'_>, _ctx: &Context<'_>) {}
}

/// A [`Plugin`] as a member of the chain.
pub struct Native<P>(pub P);

impl<P: Plugin> Link for Native<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn answers(&self, stage: Stage) -> bool {
        self.0.stages().contains(&stage)
    }

    fn ask(&self, question: &Question<'_>) -> Result<Option<Opinion>, Fault> {
        let plugin = &self.0;
        Ok(match *question {
            Question::Receive { request, ctx } => plugin.receive(request, ctx).map(Opinion::Receive),
            Question::Register { request, ctx } => plugin.register(request, ctx).map(Opinion::Register),
            Question::Verify { request, ctx } => plugin.verify(request, ctx).map(Opinion::Verify),
            Question::Authorized { request, ctx } => plugin.authorized(request, ctx).map(Opinion::Authorized),
            Question::Broadcast { request, portion, ctx } => {
                plugin.broadcast(request, portion, ctx).map(Opinion::Broadcast)
            }
            Question::Failure { request, failure, portion, ctx } => {
                plugin.failure(request, failure, portion, ctx).map(Opinion::Failure)
            }
            Question::Status { event } => plugin.status(event).map(Opinion::Status),
            Question::Route { request, ctx } => plugin.route(request, ctx).map(Opinion::Route),
            Question::Reply { response, ctx } => plugin.reply(response, ctx).map(Opinion::Reply),
            Question::Finish { outcome, ctx } => {
                plugin.finish(outcome, ctx);
                None
            }
        })
    }
}
