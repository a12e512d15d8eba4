//! Stage `receive`: what the policy says of a request before anything is remembered of it.
//!
//! In a node with both roles it is asked about what comes in for the IMS server: what goes on between the two roles inside
//! the node is not an operator's traffic.

use crate::clock::Clock;
use crate::policy::throttle::Throttle;
use crate::policy::verdict::{Receive, Reject};
use crate::policy::{Context, Decide, ServerView, Stage};
use crate::sip::transaction::Source;
use crate::sip::transport::{Screen, Screener};
use crate::sip::{Edit, Message, edit, reason_phrase};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Complaints about edits that cannot be made, a second.
const LOG_RATE: u32 = 5;

/// `exempt`: where requests come in that are not asked about, if this node has an IMS role.
pub(crate) fn screen(
    policy: Rc<dyn Decide>,
    servers: Arc<[ServerView]>,
    exempt: Option<Arc<[SocketAddr]>>,
    clock: Clock,
) -> Screener {
    let complaints = Throttle::new(LOG_RATE);
    Rc::new(move |request, source| {
        if !policy.wants(Stage::Receive) || exempt.as_ref().is_some_and(|those| those.contains(&source.local)) {
            return Screen::Pass;
        }
        let now = clock.now();
        let ctx = Context::arrival(source, &servers, now.unix.as_secs());
        match policy.receive(request, &ctx) {
            Receive::Next { edits } if edits.is_empty() => Screen::Pass,
            Receive::Next { edits } => edited(request, &edits, source).unwrap_or_else(|why| {
                if let Some(held_back) = complaints.admit(now.mono) {
                    tracing::warn!(target: "imscript::policy", stage = "receive", %why, held_back, "edits not made");
                }
                Screen::Pass
            }),
            Receive::Drop => Screen::Drop,
            Receive::Reject(Reject { status, reason, retry_after }) => Screen::Reject {
                status,
                reason: reason.unwrap_or_else(|| reason_phrase(status).to_owned()),
                headers: retry_after.map(|s| ("Retry-After".to_owned(), s.to_string())).into_iter().collect(),
            },
        }
    })
}

fn edited(request: &Message<'_>, edits: &[Edit], source: &Source) -> Result<Screen, edit::EditError> {
    let octets = edit::apply(request, edits)?;
    tracing::debug!(from = %source.addr, edits = edits.len(), "request edited by policy");
    Ok(Screen::Edited(octets))
}
