//! What the requests on the control socket do.

use super::control::protocol::{Problem, Request};
use super::control::{Handler, Reply};
use super::reload::{Handle, How};
use crate::metrics::Metrics;
use crate::observe::lines::Serving;
use serde_json::json;
use std::sync::Arc;

/// `policy`: the loader; None where the node's policy is compiled in. `metrics`: those of the node and its plugins.
pub(super) fn handler(policy: Option<Handle>, metrics: Arc<Metrics>, serving: Serving) -> Handler {
    Arc::new(move |request, reply| match (&policy, request) {
        (policy, Request::Metrics {}) => {
            let generations = policy.as_ref().map(|policy| policy.board().metrics()).unwrap_or_default();
            reply.done(json!({ "text": generations + &super::exposition(&metrics, &serving) }));
        }
        (Some(policy), request) => steer(policy, request, reply),
        (None, request) => without(&request, reply),
    })
}

fn steer(policy: &Handle, request: Request, reply: Reply) {
    match request {
        Request::Reload { shadow, canary, skip_tests, dry_run } => {
            policy.reload(How { shadow, canary, skip_tests, dry_run }, reply);
        }
        Request::Rollback { to } => policy.rollback(to, reply),
        Request::Generations {} => reply.done(policy.board().generations()),
        Request::Status {} => reply.done(json!({ "pid": std::process::id(), "policy": policy.board().status() })),
        Request::Metrics {} => {} // answered above, with or without a loader
    }
}

fn without(request: &Request, reply: Reply) {
    match request {
        Request::Status {} => reply.done(json!({ "pid": std::process::id(), "policy": null })),
        other => {
            reply.failed(Problem::new(other.verb(), "this node's policy is compiled in: there are no generations"))
        }
    }
}
