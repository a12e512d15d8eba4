//! What the requests on the control socket do.

use super::control::protocol::{Problem, Request};
use super::control::{Handler, Reply};
use super::reload::{Handle, How};
use serde_json::json;
use std::sync::Arc;

/// `policy`: the loader; None where the node's policy is compiled in.
pub(super) fn handler(policy: Option<Handle>) -> Handler {
    Arc::new(move |request, reply| match &policy {
        Some(policy) => steer(policy, request, reply),
        None => without(&request, reply),
    })
}

fn steer(policy: &Handle, request: Request, reply: Reply) {
    match request {
        Request::Reload { shadow, canary, skip_tests, dry_run } => {
            policy.reload(How { shadow, canary, skip_tests, dry_run }, reply);
        }
        Request::Rollback { to } => policy.rollback(to, reply),
        Request::Generations {} => reply.done(policy.board().generations()),
        Request::Metrics {} => reply.done(json!({ "text": policy.board().metrics() })),
        Request::Status {} => reply.done(json!({ "pid": std::process::id(), "policy": policy.board().status() })),
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
