//! What the requests on the control socket do.

use super::control::protocol::{Problem, Request};
use super::control::{Handler, Reply};
use super::drain::Life;
use super::orders::{End, Orders};
use super::reload::{Handle, How};
use crate::diameter::node;
use crate::metrics::Metrics;
use crate::observe::lines::Serving;
use crate::store::Store;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// For the workers to answer when somebody asks how the node is.
const CALL: Duration = Duration::from_millis(500);

/// `policy`: the loader; None where the node's policy is compiled in. `metrics`: those of the node and its plugins.
/// `diameter`: None where none is spoken. `orders`: to the S-CSCF; None: there is none.
pub(super) fn handler(
    policy: Option<Handle>,
    metrics: Arc<Metrics>,
    serving: Serving,
    life: Arc<Life>,
    store: Arc<dyn Store>,
    diameter: Option<Arc<node::Handle>>,
    orders: Option<Orders>,
) -> Handler {
    Arc::new(move |request, reply| match (&policy, request) {
        (policy, Request::Metrics {}) => {
            let generations = policy.as_ref().map(|policy| policy.board().metrics()).unwrap_or_default();
            reply.done(json!({ "text": generations + &super::exposition(&metrics, &serving, &*store) }));
        }
        (policy, Request::Status {}) => {
            let policy = policy.as_ref().map(|policy| policy.board().status());
            reply.done(status(&life, &*store, policy));
        }
        (_, Request::DiameterPeers {}) => match &diameter {
            Some(diameter) => reply.done(super::diameter::shown(&diameter.peers())),
            None => reply.failed(Problem::new("diameter", "this node speaks no Diameter: [diameter] listen, or [hss]")),
        },
        (_, Request::EndRegistration { identity }) => match &orders {
            // Without a worker that takes it, the reply says that there is no answer.
            Some(orders) => drop(orders.send(End { identity, reply })),
            None => reply.failed(Problem::new("end", "this node has no scscf role")),
        },
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
        // Answered above, with or without a loader.
        Request::Status {} | Request::Metrics {} | Request::DiameterPeers {} | Request::EndRegistration { .. } => {}
    }
}

fn without(request: &Request, reply: Reply) {
    reply.failed(Problem::new(request.verb(), "this node's policy is compiled in: there are no generations"));
}

/// "ready"; "draining": it takes nothing new; "degraded": a worker does not answer, or a part of the store.
fn status(life: &Life, store: &dyn Store, policy: Option<Value>) -> Value {
    let silent = life.silent(CALL);
    let ill = store.health().into_iter().filter(|part| !part.reads || !part.writes);
    let ill: Vec<Value> = ill
        .map(|part| json!({ "part": part.part, "reads": part.reads, "writes": part.writes, "why": part.why }))
        .collect();
    let state = match (life.is_draining(), silent.is_empty() && ill.is_empty()) {
        (true, _) => "draining",
        (false, false) => "degraded",
        (false, true) => "ready",
    };
    let (pid, in_flight) = (std::process::id(), life.in_flight());
    json!({
        "pid": pid, "state": state, "silent_workers": silent, "store": ill, "in_flight": in_flight, "policy": policy,
    })
}
