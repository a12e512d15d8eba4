//! The broadcast server (140 of the patent; BSM, BSD/A and BM-SC in one): takes registrations from the IMS, holds
//! SMK = Ks_NAF, answers service requests.
//!
//! [`Bsm::handle`] is called by the node's dispatcher for every REGISTER and MESSAGE that is for this role, each in a
//! task of its own: in figure 8 one request stays open while the BSF's key comes in another.

use super::ext::{Ext, state_token};
use super::keys::{BroadcastRegistration, KeyDocument, KeyRefusal};
use super::peer::Peer;
use super::provisioning::{Operation, Request, Response};
use super::state::{BsmState, KeyFault};
use super::zn::Zn;
use super::{Job, media, token};
use crate::clock::Now;
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::hss::{BroadcastState, BroadcastSubscription, Hss, RegState};
use crate::identity::Impu;
use crate::policy::Decide;
use crate::sip::transaction::{Outbound, Source};
use crate::sip::{HeaderName, Message, ResponseWriter, is_defined_method};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What the operator says about a broadcast server.
#[derive(Debug, Clone)]
pub struct BsmConfig {
    /// Its name in the configuration.
    pub name: String,
    /// Its own URI.
    pub uri: String,
    /// The NAFs that it is.
    pub naf_fqdns: Vec<String>,
    /// The IMS nodes that may register users, and are told of changes.
    pub ims: Vec<Peer>,
    /// Other broadcast servers that a policy may tell of changes, and that may tell this one.
    pub servers: Vec<Peer>,
    /// Where keys come from.
    pub bsf: Peer,
    /// How they are asked for.
    pub retrieval: Retrieval,
    /// BSF domains whose B-TIDs are accepted; empty: any that the configured nodes send.
    pub bsf_domains: Vec<String>,
    /// Services on offer; None: all.
    pub offered: Option<Vec<String>>,
    /// How long a key may take to come; less than the IMS gives the whole broadcast leg (5 s).
    pub retrieval_within: Duration,
}

/// How the retrieval module asks the BSF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retrieval {
    /// In SIP, as the patent has it.
    #[default]
    Sip,
    /// Over Zn.
    Zn,
    /// Over Zn, and in SIP if no BSF answers there; what it refuses is refused.
    ZnElseSip,
}

impl Retrieval {
    pub const ALL: [Retrieval; 3] = [Retrieval::Sip, Retrieval::Zn, Retrieval::ZnElseSip];

    pub fn as_str(self) -> &'static str {
        match self {
            Retrieval::Sip => "sip",
            Retrieval::Zn => "zn",
            Retrieval::ZnElseSip => "zn-else-sip",
        }
    }

    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| text.eq_ignore_ascii_case(way.as_str()))
    }
}

/// The world around: clock, sleep and background work, so that tests can have their own.
#[derive(Clone)]
pub struct Env {
    pub now: Rc<dyn Fn() -> Now>,
    pub sleep: Rc<dyn Fn(Duration) -> Job>,
    pub spawn: Rc<dyn Fn(Job)>,
}

/// One worker's broadcast server; the state is shared with the other workers.
pub struct Bsm {
    pub(super) config: Arc<BsmConfig>,
    pub(super) state: Arc<BsmState>,
    pub(super) outbound: Rc<dyn Outbound>,
    /// None: keys come in SIP only.
    pub(super) zn: Option<Arc<Zn>>,
    pub(super) decide: Rc<dyn Decide>,
    pub(super) hss: Option<Arc<dyn Hss>>,
    pub(super) env: Env,
}

const ALLOW: &str = "REGISTER, MESSAGE, OPTIONS";
/// Bodies that a MESSAGE may have.
const TAKEN: &str = "application/vnd.oma.bcast.sprov+xml, application/vnd.imscript.naf-key+xml, \
    application/vnd.imscript.naf-key-error+xml, application/vnd.imscript.bcast-reg+xml";

/// Seconds.
pub(super) const RETRY_AFTER: &str = "5";

/// An answer in the making.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) reason: Option<String>,
    pub(super) ext: Option<Box<Ext>>,
    pub(super) expires: Option<u32>,
    pub(super) body: Option<Vec<u8>>,
}

impl Reply {
    pub(super) fn plain(status: u16) -> Self {
        Reply { status, reason: None, ext: None, expires: None, body: None }
    }

    pub(super) fn refuse(status: u16, why: impl std::fmt::Display) -> Self {
        let reason = format!("{}: {why}", crate::sip::reason_phrase(status));
        Reply { reason: Some(reason), ..Reply::plain(status) }
    }

    /// The store cannot be read or written: nothing was done, and later it will be.
    pub(super) fn away() -> Self {
        Reply::refuse(503, "the store is away")
    }

    /// A refused registration.
    pub(super) fn failed(status: u16, cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string();
        let ext = Ext { state: Some(RegState::Failed), cause: Some(cause.clone()), ..Ext::default() };
        Reply { ext: Some(Box::new(ext)), ..Reply::refuse(status, cause) }
    }

    fn write(self, request: &Message<'_>, source: &Source) -> Vec<u8> {
        let tag = token();
        let mut out = match &self.reason {
            Some(reason) => ResponseWriter::with_reason(request, self.status, reason, source.addr, &tag),
            None => ResponseWriter::new(request, self.status, source.addr, &tag),
        };
        match self.status {
            200 if request.method() == b"OPTIONS" => drop(out.header(HeaderName::Allow, ALLOW)),
            405 | 501 => drop(out.header(HeaderName::Allow, ALLOW)),
            415 => drop(out.header(HeaderName::Accept, TAKEN)),
            503 => drop(out.header(HeaderName::RetryAfter, RETRY_AFTER)),
            _ => {}
        }
        if let Some(expires) = self.expires {
            out.header(HeaderName::Expires, expires.to_string());
        }
        if let Some(ext) = &self.ext {
            out.header(HeaderName::BcastExt, ext.to_string());
        }
        match &self.body {
            Some(body) => out.body(media::PROVISIONING, body),
            None => out.finish(),
        }
    }
}

impl Bsm {
    pub fn new(
        config: Arc<BsmConfig>,
        state: Arc<BsmState>,
        outbound: Rc<dyn Outbound>,
        zn: Option<Arc<Zn>>,
        decide: Rc<dyn Decide>,
        hss: Option<Arc<dyn Hss>>,
        env: Env,
    ) -> Rc<Self> {
        Rc::new(Bsm { config, state, outbound, zn, decide, hss, env })
    }

    /// Answers a request. None: an ACK, which has no answer.
    pub async fn handle(self: Rc<Self>, request: &Message<'_>, source: &Source, now: Now) -> Option<Vec<u8>> {
        let content_type = request.header(HeaderName::ContentType).unwrap_or_default();
        let reply = match request.method() {
            b"REGISTER" => match self.read_registration(request, source).await {
                Ok(registration) => self.register(registration, now).await,
                Err(reply) => reply,
            },
            b"MESSAGE" if media::is(content_type, media::NAF_KEY) => self.key_comes(request, source, now),
            b"MESSAGE" if media::is(content_type, media::NAF_KEY_ERROR) => self.refusal_comes(request, source),
            b"MESSAGE" if media::is(content_type, media::PROVISIONING) => self.application(request, source, now).await,
            b"MESSAGE" if media::is(content_type, media::BCAST_REGISTRATION) => self.word_comes(request, source),
            b"MESSAGE" => Reply::plain(415),
            b"OPTIONS" => Reply::plain(200),
            b"ACK" => return None,
            method => Reply::plain(if is_defined_method(method) { 405 } else { 501 }),
        };
        Some(reply.write(request, source))
    }

    /// Ends registrations that are over, tells what was held back, and saves again what could not be saved. Called about
    /// twice a second by one worker.
    pub async fn sweep(self: Rc<Self>) {
        let now = (self.env.now)();
        self.tell_due();
        self.tend(now);
        self.end_all_over(now).await;
    }

    pub(super) fn ims_peer(&self, source: &Source) -> Option<(usize, &Peer)> {
        self.config.ims.iter().enumerate().find(|(_, peer)| peer.is_source(source))
    }

    pub(super) fn is_mine(&self, naf: &NafId) -> bool {
        self.config.naf_fqdns.iter().any(|fqdn| fqdn.trim_end_matches('.').eq_ignore_ascii_case(naf.fqdn()))
    }

    /// Carries out a service request of a registered user, whose change the caller has saved.
    pub(super) fn serve(&self, impu: &Impu, order: &Request) -> Response {
        let subscription = self.state.record(impu).map_or(BroadcastSubscription::None, |record| record.subscription);
        let offered = |item: &str| self.config.offered.as_ref().is_none_or(|all| all.iter().any(|one| one == item));
        let response = order.answer(offered, &subscription);
        let now = (self.env.now)();
        match order.operation {
            Operation::Service => {
                let granted: Vec<_> = response.granted().map(str::to_string).collect();
                self.state.set_services(impu, &granted, &[], now);
            }
            Operation::Unsubscribe => self.state.set_services(impu, &[], &order.items, now),
            _ => {}
        }
        response
    }

    /// MESSAGE with a key document: only one that was asked for counts.
    fn key_comes(&self, request: &Message<'_>, source: &Source, now: Now) -> Reply {
        let bsf = &self.config.bsf;
        if !bsf.is_source(source) {
            return Reply::refuse(403, "keys come from the BSF");
        }
        if !bsf.key_came_protected(source) {
            return Reply::refuse(403, "the key came unprotected");
        }
        let document = match KeyDocument::parse(request.body()) {
            Ok(document) => document,
            Err(why) => return Reply::refuse(400, why),
        };
        if !self.state.waiting.expects(&document.btid, &document.naf) {
            return Reply::refuse(403, "this key was not asked for");
        }
        if document.expires <= self.state.time(now).as_secs() {
            return Reply::refuse(400, KeyFault::Expired);
        }
        if self.state.waiting.key(document) {
            Reply::plain(200)
        } else {
            Reply::refuse(403, "this key was not asked for")
        }
    }

    fn refusal_comes(&self, request: &Message<'_>, source: &Source) -> Reply {
        if !self.config.bsf.is_source(source) {
            return Reply::refuse(403, "keys come from the BSF");
        }
        match KeyRefusal::parse(request.body()) {
            Ok(refusal) => {
                if self.state.waiting.refusal(refusal) {
                    Reply::plain(200)
                } else {
                    Reply::refuse(403, "this key was not asked for")
                }
            }
            Err(why) => Reply::refuse(400, why),
        }
    }

    /// A policy elsewhere has this server told of a registration with another one. It changes nothing here: a
    /// registration with this server is the IMS server's to make and to end.
    fn word_comes(&self, request: &Message<'_>, source: &Source) -> Reply {
        if self.ims_peer(source).is_none() && !self.config.servers.iter().any(|server| server.is_source(source)) {
            return Reply::refuse(403, "neither the IMS nor a configured broadcast server");
        }
        match BroadcastRegistration::parse(request.body()) {
            Ok(told) => {
                let state = state_token(told.state);
                tracing::info!(impu = %told.impu, naf = told.naf_fqdn, state, cause = told.cause, "told of a registration elsewhere");
                Reply::plain(200)
            }
            Err(why) => Reply::refuse(400, why),
        }
    }

    /// Sh PUR, where this node has an HSS. Its failure does not undo the registration.
    pub(super) async fn report(&self, impu: &Impu, naf: &NafId, btid: Option<&Btid>, state: RegState) {
        let Some(hss) = &self.hss else { return };
        let told = BroadcastState {
            state,
            server: self.config.name.clone(),
            naf_fqdn: naf.fqdn().to_string(),
            btid: btid.map(|btid| btid.text()),
        };
        if let Err(why) = hss.broadcast_update(impu, told, (self.env.now)()).await {
            tracing::warn!(%impu, state = state_token(state), %why, "the HSS was not told");
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
