//! A policy of plain Rust values (rank 1), for tests and for embedders that need no script.

use super::defaults::Defaults;
use super::stage::{Context, Decide, PortionView, Stage, StatusEvent};
use super::verdict;
use crate::sip::Message;

/// Answers every request alike. `None` is no opinion: the stage's default ([`Defaults`]).
///
/// ```
/// use imscript::policy::{FixedPolicy, verdict};
/// let policy = FixedPolicy {
///     authorized: Some(verdict::Authorized::Accept { expires: Some(600) }),
///     ..FixedPolicy::default()
/// };
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, Default)]
pub struct FixedPolicy {
    pub register: Option<verdict::Register>,
    pub verify: Option<verdict::Verify>,
    pub authorized: Option<verdict::Authorized>,
    pub broadcast: Option<verdict::Broadcast>,
    pub status: Option<verdict::Status>,
}

impl Decide for FixedPolicy {
    fn wants(&self, stage: Stage) -> bool {
        Defaults.wants(stage)
    }

    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        self.register.clone().unwrap_or_else(|| Defaults.register(request, ctx))
    }

    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
        self.verify.unwrap_or_else(|| Defaults.verify(request, ctx))
    }

    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        self.authorized.clone().unwrap_or_else(|| Defaults.authorized(request, ctx))
    }

    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        self.broadcast.clone().unwrap_or_else(|| Defaults.broadcast(request, portion, ctx))
    }

    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        self.status.clone().unwrap_or_else(|| Defaults.status(event))
    }
}
