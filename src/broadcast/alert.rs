//! The alert module (150 of the patent): tells the IMS server when a broadcast registration changes other than by the
//! answer to the IMS server's own request. Whether, whom (another broadcast server too) and when is the policy's decision
//! (stage `status`); what it holds back waits in [`super::held`].

use super::Job;
use super::held::{About, Step};
use super::keys::BroadcastRegistration;
use super::outgoing::Outgoing;
use super::peer::Peer;
use super::server::Bsm;
use super::{ext::Ext, media};
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::hss::RegState;
use crate::identity::Impu;
use crate::policy::verdict::Status;
use crate::policy::{StatusEvent, System};
use std::rc::Rc;
use std::time::Duration;

/// Pauses before the second and later attempts.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
const WITHIN: Duration = Duration::from_secs(5);

/// A change of a broadcast registration.
#[derive(Debug, Clone)]
pub struct Change {
    pub impu: Impu,
    pub btid: Option<Btid>,
    pub naf: NafId,
    pub previous: RegState,
    pub state: RegState,
    /// As the stage `status` names causes.
    pub cause: String,
    pub expires: u32,
    pub ims_peer: usize,
}

/// A change on its way to somebody.
#[derive(Debug, Clone)]
pub struct Word {
    change: Change,
    to: Peer,
    /// When it was said, on the monotonic clock.
    at: Duration,
}

impl Bsm {
    /// Asks the policy and, if it wants so, tells the IMS or another server, in the background.
    pub(super) fn alert(self: &Rc<Self>, change: Change) {
        let now = (self.env.now)();
        let btid = change.btid.as_ref().map(Btid::text);
        let event = StatusEvent {
            system: System::Broadcast,
            previous: change.previous,
            state: change.state,
            cause: &change.cause,
            // A broadcast server never learns private identities.
            impi: "",
            impu: change.impu.as_str(),
            btid: btid.as_deref(),
            naf_fqdn: Some(change.naf.fqdn()),
            servers: &[&self.config.name],
            expires: change.expires,
            unix: now.unix.as_secs(),
        };
        let Status::Notify { to, after, .. } = self.decide.status(&event) else { return };
        let step = Step { previous: change.previous, state: change.state, renews: false };
        for name in to {
            let Some(peer) = self.recipient(&name, &change) else {
                tracing::debug!(name, "a policy names somebody whom this server cannot tell");
                continue;
            };
            let word = Word { change: change.clone(), to: peer.clone(), at: now.mono };
            let about = || About { user: change.impu.to_string(), system: System::Broadcast, to: name };
            if let Some(word) = self.state.held.offer(about, step, word, after, now.mono) {
                self.tell_later(word);
            }
        }
    }

    /// "ims", or another broadcast server by its configured name.
    fn recipient(&self, name: &str, change: &Change) -> Option<&Peer> {
        match name {
            "ims" => self.config.ims.get(change.ims_peer).or(self.config.ims.first()),
            name => self.config.servers.iter().find(|server| server.name == name),
        }
    }

    /// What was held back, when its time has come. Called with the other timers.
    pub(super) fn tell_due(self: &Rc<Self>) {
        let now = (self.env.now)().mono;
        for mut word in self.state.held.due(now) {
            let waited = u32::try_from(now.saturating_sub(word.at).as_secs()).unwrap_or(u32::MAX);
            word.change.expires = word.change.expires.saturating_sub(waited);
            let bsm = Rc::clone(self);
            let job: Job = Box::pin(async move {
                // What the IMS server did itself meanwhile it knows.
                if bsm.is_still_so(&word.change).await {
                    bsm.tell(word).await;
                }
            });
            (self.env.spawn)(job);
        }
    }

    /// Whether no later change has overtaken this one, by another node either.
    async fn is_still_so(&self, change: &Change) -> bool {
        // Without the store, what this node knows has to do.
        let _ = self.fetch(&change.impu).await;
        self.state.registration_state(&change.impu) == change.state
    }

    fn tell_later(self: &Rc<Self>, word: Word) {
        let bsm = Rc::clone(self);
        let job: Job = Box::pin(async move { bsm.tell(word).await });
        (self.env.spawn)(job);
    }

    async fn tell(&self, Word { change, to: peer, .. }: Word) {
        let document = BroadcastRegistration {
            state: change.state,
            impu: change.impu.clone(),
            btid: change.btid.clone(),
            naf_fqdn: change.naf.fqdn().to_string(),
            expires: change.expires,
            cause: change.cause.clone(),
        }
        .to_xml();
        let ext = Ext {
            state: Some(change.state),
            cause: Some(change.cause.clone()),
            naf: Some(change.naf.clone()),
            btid: change.btid.clone(),
            ..Ext::default()
        };
        for attempt in 0..=PAUSES.len() {
            let message = Outgoing {
                to: &peer.uri,
                from: &self.config.uri,
                ext: Some(ext.clone()),
                body: Some((media::BCAST_REGISTRATION, &document)),
            }
            .request();
            match self.outbound.request(&peer.hop, message, WITHIN).await {
                Ok(answer) if answer.status() < 300 => return,
                // It was understood and not wanted; saying it again changes nothing.
                Ok(answer) if (400..500).contains(&answer.status()) && answer.status() != 408 => {
                    tracing::warn!(peer = peer.name, status = answer.status(), "status message refused");
                    return;
                }
                Ok(answer) => tracing::info!(peer = peer.name, status = answer.status(), "status message not taken"),
                Err(why) => tracing::info!(peer = peer.name, %why, "status message not delivered"),
            }
            let Some(pause) = PAUSES.get(attempt) else { break };
            (self.env.sleep)(*pause).await;
            if !self.is_still_so(&change).await {
                return; // overtaken by a later change, which has its own message
            }
        }
    }
}
