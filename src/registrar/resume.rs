//! Taking up what was outstanding to a broadcast server when a node ended ([`super::keeping`] knows of it).

use super::leg::Job;
use super::scscf::Scscf;
use crate::broadcast::ext::Mode;
use crate::identity::Impi;
use crate::sip::{Message, RequestWriter};

impl Scscf {
    /// Takes up what a leg has outstanding, if no job of this node is at it: after a restart, or because the node that
    /// was at it says nothing any more.
    pub(super) fn resume(&self, impi: &Impi) {
        let Some(leg) = self.shared.table.leg(impi.as_str()) else { return };
        let Some(what) = leg.outstanding.clone() else { return };
        let keys = leg.btid.as_ref().and_then(|btid| self.shared.bootstraps.get(btid, self.now()));
        let (Some(bootstrap), Some(peer)) = (keys, self.shared.server(&leg.server)) else { return };
        tracing::info!(%impi, server = peer.name, "what is outstanding to a broadcast server is taken up again");
        let job = Job {
            impi: impi.clone(),
            impu: leg.impu,
            peer: peer.clone(),
            naf: leg.naf,
            what,
            mode: Mode::Subsequent,
            expires: self.expires_left(impi),
            bootstrap,
            serial: leg.serial,
            circumstances: None,
        };
        let me = self.clone();
        let trigger = RequestWriter::new("REGISTER", &job.peer.uri).finish();
        (self.spawn)(Box::pin(async move {
            let Ok(trigger) = Message::parse_owned(trigger) else { return };
            me.forward_until_done(job, &trigger, false).await;
        }));
    }
}
