//! The BSF towards NAFs, in SIP: a broadcast server asks for its key, the key goes to that server's configured address.
//!
//! flows of the patent's figures 4, 5, 6 and 8: MESSAGE with `Bcast-Ext: request=key;naf-id=…;btid=…`, answered 202 at
//! once; then, in a transaction of its own, MESSAGE with the key document or with a refusal. A 2xx to a MESSAGE has no
//! body (RFC 3428 §7), so the key cannot ride in it. Called by the S-CSCF's dispatcher.

use super::bootstrap::Bootstraps;
use super::btid::Btid;
use super::naf_id::NafId;
use crate::broadcast::Job;
use crate::broadcast::ext::Ext;
use crate::broadcast::keys::{KeyDocument, KeyRefusal};
use crate::broadcast::outgoing::Outgoing;
use crate::broadcast::peer::{Peer, may_carry_key};
use crate::broadcast::{media, token};
use crate::clock::Now;
use crate::hss::Hss;
use crate::sip::transaction::{Outbound, Source};
use crate::sip::{HeaderName, Message, ResponseWriter};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Why a key is not given; stands in the refusal as `cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("naf-not-allowed")]
    NafNotAllowed,
    #[error("unknown-btid")]
    UnknownBtid,
    #[error("not-subscribed")]
    NotSubscribed,
    #[error("hss-unavailable")]
    HssUnavailable,
    #[error("unprotected")]
    Unprotected,
}

pub struct Bsf {
    pub bootstraps: Arc<Bootstraps>,
    pub hss: Arc<dyn Hss>,
    /// The configured broadcast servers.
    pub peers: Arc<[Arc<Peer>]>,
    pub outbound: Rc<dyn Outbound>,
    /// This BSF's own URI.
    pub uri: String,
    /// How long a delivery may take.
    pub within: Duration,
}

/// Whether a request is a broadcast server's question for a key.
pub fn is_key_request(request: &Message<'_>) -> bool {
    request.method() == b"MESSAGE"
        && request.header(HeaderName::BcastExt).is_some()
        && Ext::of(request).is_ok_and(|ext| ext.is_some_and(|ext| ext.asks_key))
}

impl Bsf {
    /// The answer, at once, and what is to be done after it. `server`: the one that the B-TID's user is registered with,
    /// or about to be.
    pub fn answer(
        self: Rc<Self>,
        request: &Message<'_>,
        source: &Source,
        server: Option<&str>,
        now: Now,
    ) -> (Vec<u8>, Option<Job>) {
        let respond =
            |status, reason: &str| ResponseWriter::with_reason(request, status, reason, source.addr, &token()).finish();
        let known: Vec<usize> =
            self.peers.iter().enumerate().filter(|(_, peer)| peer.is_source(source)).map(|(at, _)| at).collect();
        let Some(&first) = known.first() else {
            return (respond(403, "Forbidden: not a configured broadcast server"), None);
        };
        let (naf, btid) = match Ext::of(request) {
            Ok(Some(Ext { naf: Some(naf), btid: Some(btid), asks_key: true, .. })) => (naf, btid),
            Ok(_) => return (respond(400, "Bad Request: NAF_ID and B-TID are needed"), None),
            Err(_) => return (respond(400, "Bad Request: Bcast-Ext cannot be read"), None),
        };
        // Several servers may share an address, and a NAF: one that is this NAF gets the key, at its configured hop, and
        // of several the user's own.
        let is = |at: &usize, fits: &dyn Fn(&Peer) -> bool| self.peers.get(*at).is_some_and(|peer| fits(peer));
        let nafs: Vec<usize> = known.iter().copied().filter(|at| is(at, &|peer| peer.is_naf(&naf))).collect();
        let own = nafs.iter().find(|at| is(at, &|peer| server == Some(peer.name.as_str())));
        let (peer, allowed) = match own.or(nafs.first()) {
            Some(&at) => (at, true),
            None => (first, false),
        };
        let accepted = ResponseWriter::new(request, 202, source.addr, &token()).finish();
        let job: Job = Box::pin(async move {
            let outcome = if allowed { self.key(peer, &btid, &naf, now).await } else { Err(Refused::NafNotAllowed) };
            self.deliver(peer, btid, naf, outcome).await;
        });
        (accepted, Some(job))
    }

    /// All checks, then the key.
    async fn key(&self, peer: usize, btid: &Btid, naf: &NafId, now: Now) -> Result<KeyDocument, Refused> {
        let peer = self.peers.get(peer).ok_or(Refused::NafNotAllowed)?;
        let bootstrap = self.bootstraps.get(btid, now).ok_or(Refused::UnknownBtid)?;
        let subscription = match self.hss.broadcast_subscription(&bootstrap.impi).await {
            Ok(subscription) if subscription.is_subscribed() => subscription,
            Ok(_) => return Err(Refused::NotSubscribed),
            Err(_) => return Err(Refused::HssUnavailable),
        };
        may_carry_key(peer, &peer.hop).map_err(|_| Refused::Unprotected)?;
        let mut document = bootstrap.key_document(naf);
        document.services = Some(subscription);
        Ok(document)
    }

    async fn deliver(&self, peer: usize, btid: Btid, naf: NafId, outcome: Result<KeyDocument, Refused>) {
        let Some(peer) = self.peers.get(peer) else { return };
        let (kind, document) = match outcome {
            Ok(document) => (media::NAF_KEY, document.to_xml()),
            Err(why) => {
                tracing::info!(peer = peer.name, naf = naf.fqdn(), %why, "key request refused");
                let refusal = KeyRefusal { btid: btid.clone(), naf: naf.clone(), cause: why.to_string() };
                (media::NAF_KEY_ERROR, refusal.to_xml().into())
            }
        };
        let ext = Ext { naf: Some(naf), ua_given: true, btid: Some(btid), ..Ext::default() };
        let message =
            Outgoing { to: &peer.uri, from: &self.uri, ext: Some(ext), body: Some((kind, &document)) }.request();
        match self.outbound.request(&peer.hop, message, self.within).await {
            Ok(answer) if (200..300).contains(&answer.status()) => {}
            Ok(answer) => tracing::warn!(peer = peer.name, status = answer.status(), "key document not accepted"),
            Err(why) => tracing::warn!(peer = peer.name, %why, "key document not delivered"),
        }
    }
}

#[cfg(test)]
#[path = "bsf_tests.rs"]
mod tests;
