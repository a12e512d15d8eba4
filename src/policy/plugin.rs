//! The members of a chain (rank 1): [`Link`] is what [`super::Chain`] asks; [`Plugin`] is what an author in Rust
//! writes, one method a stage, and [`super::Native`] makes a link of it.

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

    /// Whether a call that takes too long is cut short. Where it is not, the chain measures it and tells.
    fn interruptible(&self) -> bool {
        true
    }

    /// A later generation decides from now on, or the node stops: `reason` is `replaced` or `stopped`. Only transactions that
    /// began before still ask.
    fn retire(&self, _reason: &str) {}
}

/// A plugin in Rust, compiled in. A method that is left out has no opinion, and neither has one that returns None: the
/// next member of the chain is asked, and in the end the stage's default holds.
///
/// A plugin runs on the worker's own thread and must not block: nothing can cut a call short. It belongs to one worker
/// for as long as the node runs, whatever is reloaded meanwhile; what all workers share goes behind an `Arc`. A panic is
/// a fault: it is counted and logged, [`Plugin::on_error`] says what holds instead, and the plugin is asked again, with
/// whatever the panic left half done.
///
/// ```
/// use imscript::policy::{Context, Plugin, Stage, verdict};
/// use imscript::sip::Message;
///
/// struct NightRest;
///
/// impl Plugin for NightRest {
///     fn name(&self) -> &str {
///         "night-rest"
///     }
///     fn stages(&self) -> &[Stage] {
///         &[Stage::Authorized]
///     }
///     fn authorized(&self, _request: &Message<'_>, ctx: &Context<'_>) -> Option<verdict::Authorized> {
///         let hour = ctx.unix / 3600 % 24;
///         (hour < 5).then_some(verdict::Authorized::Accept { expires: Some(18_000) })
///     }
/// }
/// ```
pub trait Plugin {
    /// As `before` and `after` of other plugins and the operator's list call it: lower-case words with hyphens.
    fn name(&self) -> &str;

    /// The plugins (or `"policy"`) that are asked after this one. A name that is not loaded asks nothing.
    fn before(&self) -> &[&str] {
        &[]
    }

    /// The plugins (or `"policy"`) that are asked before this one.
    fn after(&self) -> &[&str] {
        &[]
    }

    /// What holds when it panics.
    fn on_error(&self) -> OnError {
        OnError::Skip
    }

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
