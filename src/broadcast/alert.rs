//! The alert module (150 of the patent): tells the IMS server when a broadcast registration changes other than by the
//! answer to the IMS server's own request. Whether and whom to tell is the policy's decision (stage `status`).

use super::Job;
use super::keys::BroadcastRegistration;
use super::outgoing::Outgoing;
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

impl Bsm {
    /// Asks the policy and, if it wants so, tells the IMS, in the background.
    pub(super) fn alert(self: &Rc<Self>, change: Change) {
        let event = StatusEvent {
            system: System::Broadcast,
            previous: change.previous,
            state: change.state,
            cause: &change.cause,
            // A broadcast server never learns private identities.
            impi: "",
            impu: change.impu.as_str(),
            btid: change.btid.as_ref().map(Btid::as_str),
            naf_fqdn: Some(change.naf.fqdn()),
            servers: &[&self.config.name],
            expires: change.expires,
            unix: (self.env.now)().unix.as_secs(),
        };
        let told = match self.decide.status(&event) {
            Status::Notify { to, .. } => to.iter().any(|to| to == "ims"),
            Status::Silent => false,
        };
        if told {
            let bsm = Rc::clone(self);
            let job: Job = Box::pin(async move { bsm.tell(change).await });
            (self.env.spawn)(job);
        }
    }

    async fn tell(&self, change: Change) {
        let Some(ims) = self.config.ims.get(change.ims_peer).or(self.config.ims.first()) else { return };
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
                to: &ims.uri,
                from: &self.config.uri,
                ext: Some(ext.clone()),
                body: Some((media::BCAST_REGISTRATION, &document)),
            }
            .request();
            match self.outbound.request(&ims.hop, message, WITHIN).await {
                Ok(answer) if answer.status() < 300 => return,
                // It was understood and not wanted; saying it again changes nothing.
                Ok(answer) if (400..500).contains(&answer.status()) && answer.status() != 408 => {
                    tracing::warn!(peer = ims.name, status = answer.status(), "status message refused");
                    return;
                }
                Ok(answer) => tracing::info!(peer = ims.name, status = answer.status(), "status message not taken"),
                Err(why) => tracing::info!(peer = ims.name, %why, "status message not delivered"),
            }
            let Some(pause) = PAUSES.get(attempt) else { break };
            (self.env.sleep)(*pause).await;
            if self.state.registration_state(&change.impu) != change.state {
                return; // overtaken by a later change, which has its own message
            }
        }
    }
}
