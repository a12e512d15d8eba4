//! One broadcast server after another (stage `failure`): what did not get through to the first may go to others that
//! are configured for the same NAF, within the leg's time.

use super::leg::{Attempt, Job};
use super::scscf::Scscf;
use super::turn::Turn;
use crate::broadcast::peer::Peer;
use crate::hss::RegState;
use crate::policy::{Context, Decide, FailureView, Kind, PortionView, Stage, verdict};
use crate::sip::Message;
use crate::sip::transaction::Source;
use std::sync::Arc;
use std::time::Duration;

/// Servers tried in one leg.
const MOST: u32 = 3;

/// What stage `failure` is told beside the job itself; kept only where a policy has that stage.
#[derive(Debug, Clone)]
pub(super) struct Circumstances {
    kind: Kind,
    source: Source,
    visited_network: Option<String>,
    all_or_nothing: bool,
}

impl Circumstances {
    pub(super) fn of(turn: &Turn, source: &Source) -> Option<Box<Self>> {
        turn.decide.wants(Stage::Failure).then(|| {
            Box::new(Circumstances {
                kind: turn.kind,
                source: source.clone(),
                visited_network: turn.visited_network.clone(),
                all_or_nothing: turn.all_or_nothing,
            })
        })
    }
}

impl Scscf {
    /// Attempts until a server takes the portion or the policy gives up. `job` is then the last one's.
    pub(super) async fn attempt_each(&self, job: &mut Job, trigger: &Message<'_>, decide: &dyn Decide) -> Attempt {
        let begun = self.now().mono;
        let whole = self.shared.settings.broadcast_timeout;
        let others = match job.circumstances {
            Some(_) => self.shared.settings.servers.iter().filter(|peer| peer.is_naf(&job.naf)).count(),
            None => 1,
        };
        let most = u32::try_from(others).unwrap_or(MOST).clamp(1, MOST);
        let mut tried: Vec<String> = Vec::new();
        let mut number = 1;
        loop {
            // A silent server must leave time for the others.
            let left = whole.saturating_sub(self.now().mono.saturating_sub(begun));
            let attempt = self.attempt(job, trigger, left / (most - number + 1).max(1)).await;
            let Some((cause, status)) = attempt.failure() else { return attempt };
            if number >= most || whole.saturating_sub(self.now().mono.saturating_sub(begun)) < SHORTEST {
                return attempt;
            }
            tried.push(job.peer.name.clone());
            let view = FailureView { server: &job.peer.name, cause, status, attempt: number };
            let Some(next) = self.next_server(job, trigger, &view, &tried, decide) else { return attempt };
            let current = self.shared.table.leg(job.impi.as_str()).is_some_and(|leg| leg.serial == job.serial);
            if !current {
                return Attempt::Superseded;
            }
            tracing::info!(impi = %job.impi, from = job.peer.name, to = next.name, cause, "another broadcast server is tried");
            // The one that failed may have the user all the same, and a key: taking its place tells it of the end.
            let (serial, impu) = self.open_leg(&job.impi, &job.impu, &next, &job.naf, &job.bootstrap, &job.what);
            (job.peer, job.serial, job.impu) = (next, serial, impu);
            number += 1;
        }
    }

    /// The server that the policy names, if the key may go there.
    fn next_server(
        &self,
        job: &Job,
        trigger: &Message<'_>,
        failure: &FailureView<'_>,
        tried: &[String],
        decide: &dyn Decide,
    ) -> Option<Arc<Peer>> {
        let known = job.circumstances.as_ref()?;
        let portion = PortionView {
            naf_fqdn: job.naf.fqdn(),
            ua_id: job.naf.ua.0,
            profile: job.what.profile.as_deref(),
            payload: job.what.payload.as_ref().map(|p| p.octets.as_slice()),
            payload_type: job.what.payload.as_ref().map(|p| p.content_type.as_str()),
        };
        let ctx = Context {
            kind: known.kind,
            impi: job.impi.as_str(),
            impu: job.impu.as_str(),
            visited_network: known.visited_network.as_deref(),
            all_or_nothing: known.all_or_nothing,
            hss_away: self.shared.hss.is_away(),
            portion: Some(&portion),
            ..Context::arrival(&known.source, &self.shared.servers, self.now().unix.as_secs())
        };
        let verdict::Failure::Retry { to } = decide.failure(trigger, failure, &portion, &ctx) else { return None };
        let refuse = |why: &str| {
            self.complain(Stage::Failure, &format_args!("no retry at {to:?}: {why}"));
            None
        };
        match self.shared.server(&to) {
            None => refuse("it is not configured"),
            Some(peer) if !peer.is_naf(&job.naf) => refuse("it does not have this NAF"),
            Some(_) if tried.contains(&to) => refuse("it was tried already"),
            Some(peer) => Some(peer.clone()),
        }
    }
}

/// With less time left than this nobody else is tried.
const SHORTEST: Duration = Duration::from_millis(20);

impl Attempt {
    /// Why it failed, and the server's answer if there was one.
    fn failure(&self) -> Option<(&str, Option<u16>)> {
        match self {
            Attempt::Answered { state: RegState::Failed | RegState::NotRegistered, cause, status, .. } => {
                Some((cause.as_deref().unwrap_or("broadcast server"), Some(*status)))
            }
            Attempt::Answered { .. } | Attempt::Superseded => None,
            Attempt::Retry(cause, status) | Attempt::Refused(cause, status) => Some((cause, *status)),
        }
    }
}
