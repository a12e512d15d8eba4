//! What others are to be told of a user's registrations, now or when a policy's `after` is over. [`super::status`] asks
//! the policy; here is what becomes of its answer.

use super::scscf::Scscf;
use super::table::Leg;
use crate::broadcast::ext::Ext;
use crate::broadcast::held::{About, Step};
use crate::broadcast::keys::BroadcastRegistration;
use crate::broadcast::media;
use crate::broadcast::outgoing::Outgoing;
use crate::broadcast::peer::Peer;
use crate::gba::naf_id::NafId;
use crate::identity::Impi;
use crate::policy::System;
use std::sync::Arc;
use std::time::Duration;

/// One thing to be told to one server.
#[derive(Debug, Clone)]
pub enum Notice {
    /// The IMS registration as it stands when this is sent.
    Ims { impi: Impi, server: Arc<Peer> },
    /// Its end; the leg is out of the table.
    Ended { impi: Impi, server: Arc<Peer>, leg: Box<Leg> },
    /// The state of a registration with another broadcast server, and when that was so.
    Broadcast { server: Arc<Peer>, naf: NafId, word: Box<BroadcastRegistration>, at: Duration },
}

impl Notice {
    fn server(&self) -> &Peer {
        match self {
            Notice::Ims { server, .. } | Notice::Ended { server, .. } | Notice::Broadcast { server, .. } => server,
        }
    }

    fn system(&self) -> System {
        match self {
            Notice::Broadcast { .. } => System::Broadcast,
            Notice::Ims { .. } | Notice::Ended { .. } => System::Ims,
        }
    }
}

fn about(impi: &Impi, system: System, server: &str) -> About {
    About { user: impi.to_string(), system, to: server.to_owned() }
}

impl Scscf {
    /// Tells it, or holds it back.
    pub(super) fn notify(&self, impi: &Impi, step: Step, notice: Notice, after: Duration) {
        let (system, server) = (notice.system(), notice.server().name.clone());
        let mono = self.now().mono;
        if let Some(notice) = self.shared.held.offer(|| about(impi, system, &server), step, notice, after, mono) {
            self.tell(notice);
        }
    }

    /// The server has heard of the IMS registration in another way: what is held for it is out of date.
    pub(super) fn overtake(&self, impi: &Impi, server: &str) {
        self.shared.held.cancel(|| about(impi, System::Ims, server));
    }

    /// What was held back, when its time has come. Called with the other timers.
    pub(super) fn tell_due(&self) {
        for notice in self.shared.held.due(self.now().mono) {
            self.tell(notice);
        }
    }

    fn tell(&self, notice: Notice) {
        match notice {
            Notice::Ims { impi, server } => self.tell_server(&impi, server, None),
            Notice::Ended { impi, server, leg } => self.end_at_server(&impi, server, &leg),
            Notice::Broadcast { server, naf, mut word, at } => {
                let waited = self.now().mono.saturating_sub(at).as_secs();
                word.expires = word.expires.saturating_sub(u32::try_from(waited).unwrap_or(u32::MAX));
                let ext = Ext {
                    state: Some(word.state),
                    cause: Some(word.cause.clone()),
                    naf: Some(naf),
                    btid: word.btid.clone(),
                    ..Ext::default()
                };
                let (document, uri) = (word.to_xml(), self.shared.settings.uri.clone());
                self.insist(move || {
                    let body = Some((media::BCAST_REGISTRATION, document.as_slice()));
                    let message = Outgoing { to: &server.uri, from: &uri, ext: Some(ext.clone()), body };
                    Some((server.clone(), message.request()))
                });
            }
        }
    }
}
