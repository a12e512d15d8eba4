//! The broadcast server (140 of the patent; BSM, BSD/A and BM-SC in one): takes registrations from the IMS, holds
//! SMK = Ks_NAF, answers service requests.
//!
//! [`Bsm::handle`] is called by the node's dispatcher for every REGISTER and MESSAGE that is for this role, each in a
//! task of its own: in figure 8 one request stays open while the BSF's key comes in another.

use super::alert::Change;
use super::ext::{Ext, KeyWay, Mode, state_token};
use super::keys::{KeyDocument, KeyRefusal};
use super::peer::Peer;
use super::provisioning::{Operation, Request, Response};
use super::state::{BsmState, KeyFault, Update};
use super::{Job, media, token};
use crate::clock::Now;
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::hss::{BroadcastState, BroadcastSubscription, Hss, RegState};
use crate::identity::Impu;
use crate::policy::Decide;
use crate::sip::transaction::{Outbound, Source};
use crate::sip::{HeaderName, Message, ResponseWriter};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Expires of a third-party REGISTER that has none.
const EXPIRES_DEFAULT: u32 = 3600;

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
    /// Where keys come from.
    pub bsf: Peer,
    /// BSF domains whose B-TIDs are accepted; empty: any that the configured nodes send.
    pub bsf_domains: Vec<String>,
    /// Services on offer; None: all.
    pub offered: Option<Vec<String>>,
    /// How long a key may take to come; less than the IMS gives the whole broadcast leg (5 s).
    pub retrieval_within: Duration,
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
    pub(super) decide: Rc<dyn Decide>,
    pub(super) hss: Option<Arc<dyn Hss>>,
    pub(super) env: Env,
}

/// An answer in the making.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) reason: Option<String>,
    pub(super) ext: Option<Ext>,
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

    /// A refused registration.
    fn failed(status: u16, cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string();
        let ext = Ext { state: Some(RegState::Failed), cause: Some(cause.clone()), ..Ext::default() };
        Reply { ext: Some(ext), ..Reply::refuse(status, cause) }
    }

    fn write(self, request: &Message<'_>, source: &Source) -> Vec<u8> {
        let tag = token();
        let mut out = match &self.reason {
            Some(reason) => ResponseWriter::with_reason(request, self.status, reason, source.addr, &tag),
            None => ResponseWriter::new(request, self.status, source.addr, &tag),
        };
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

/// A third-party REGISTER, read.
struct Registration {
    impu: Impu,
    naf: NafId,
    btid: Option<Btid>,
    mode: Mode,
    key: Option<KeyWay>,
    services: Option<BroadcastSubscription>,
    expires: u32,
    ims_peer: usize,
    document: Option<KeyDocument>,
    order: Option<Result<Request, ()>>,
}

impl Bsm {
    pub fn new(
        config: Arc<BsmConfig>,
        state: Arc<BsmState>,
        outbound: Rc<dyn Outbound>,
        decide: Rc<dyn Decide>,
        hss: Option<Arc<dyn Hss>>,
        env: Env,
    ) -> Rc<Self> {
        Rc::new(Bsm { config, state, outbound, decide, hss, env })
    }

    /// Answers a request. None: a method that this role does not take.
    pub async fn handle(self: Rc<Self>, request: &Message<'_>, source: &Source, now: Now) -> Option<Vec<u8>> {
        let content_type = request.header(HeaderName::ContentType).unwrap_or_default();
        let reply = match request.method() {
            b"REGISTER" => match self.read(request, source) {
                Ok(registration) => self.register(registration, now).await,
                Err(reply) => reply,
            },
            b"MESSAGE" if media::is(content_type, media::NAF_KEY) => self.key_comes(request, source, now),
            b"MESSAGE" if media::is(content_type, media::NAF_KEY_ERROR) => self.refusal_comes(request, source),
            b"MESSAGE" if media::is(content_type, media::PROVISIONING) => self.application(request, source, now),
            b"MESSAGE" => Reply::plain(415),
            _ => return None,
        };
        Some(reply.write(request, source))
    }

    /// Ends registrations that are over. Called now and then by one worker.
    pub async fn sweep(self: Rc<Self>) {
        let now = (self.env.now)();
        for (impu, record) in self.state.sweep(now) {
            self.report(&impu, &record.naf, record.btid.as_ref(), RegState::NotRegistered).await;
            self.alert(Change {
                impu,
                btid: record.btid,
                naf: record.naf,
                previous: record.state,
                state: RegState::NotRegistered,
                cause: "expired".to_string(),
                expires: 0,
                ims_peer: record.ims_peer,
            });
        }
    }

    pub(super) fn ims_peer(&self, source: &Source) -> Option<(usize, &Peer)> {
        self.config.ims.iter().enumerate().find(|(_, peer)| peer.is_source(source))
    }

    pub(super) fn is_mine(&self, naf: &NafId) -> bool {
        self.config.naf_fqdns.iter().any(|fqdn| fqdn.trim_end_matches('.').eq_ignore_ascii_case(naf.fqdn()))
    }

    /// Everything about a third-party REGISTER that can be said without doing it.
    fn read(&self, request: &Message<'_>, source: &Source) -> Result<Registration, Reply> {
        let (ims_peer, ims) =
            self.ims_peer(source).ok_or_else(|| Reply::refuse(403, "registrations come from the IMS"))?;
        let to = request.to().map_err(|why| Reply::refuse(400, why))?;
        let impu = Impu::new(&*to.uri.aor());
        let ext = match Ext::of(request) {
            Ok(Some(ext)) => ext,
            Ok(None) => return Err(Reply::refuse(400, "Bcast-Ext is needed")),
            Err(why) => return Err(Reply::refuse(400, format_args!("Bcast-Ext: {why}"))),
        };
        let naf = ext.naf.ok_or_else(|| Reply::refuse(400, "NAF_ID is needed"))?;
        if !self.is_mine(&naf) {
            return Err(Reply::failed(403, "naf-not-served"));
        }
        let (mut document, mut order) = (None, None);
        if !request.body().is_empty() {
            let parts = request.parts().map_err(|_| Reply::refuse(400, "the multipart body cannot be read"))?;
            for part in parts {
                if media::is(part.content_type, media::NAF_KEY) {
                    if !ims.key_came_protected(source) {
                        return Err(Reply::failed(403, "unprotected"));
                    }
                    let read = KeyDocument::parse(part.content).map_err(|why| Reply::failed(400, why))?;
                    if document.replace(read).is_some() {
                        return Err(Reply::failed(400, "more than one key"));
                    }
                } else if media::is(part.content_type, media::PROVISIONING) {
                    // What the terminal wrote is the terminal's fault, not the IMS server's: it is answered inside.
                    let read = Request::parse(part.content).map_err(|_| ());
                    if order.replace(read).is_some() {
                        return Err(Reply::failed(400, "more than one service request"));
                    }
                }
            }
        }
        Ok(Registration {
            naf,
            btid: ext.btid.or_else(|| self.state.record(&impu).and_then(|record| record.btid)),
            impu,
            mode: ext.mode.unwrap_or(Mode::Status),
            key: ext.key,
            services: ext.services,
            expires: request.expires().unwrap_or(EXPIRES_DEFAULT),
            ims_peer,
            document,
            order,
        })
    }

    async fn register(self: &Rc<Self>, registration: Registration, now: Now) -> Reply {
        let Registration { impu, naf, .. } = &registration;
        if registration.expires == 0 {
            let ended = self.state.terminate(impu);
            if let Some(record) = ended {
                self.report(impu, naf, record.btid.as_ref(), RegState::NotRegistered).await;
            }
            let ext = Ext { state: Some(RegState::NotRegistered), ..Ext::default() };
            return Reply { ext: Some(ext), expires: Some(0), ..Reply::plain(200) };
        }
        if registration.services.as_ref().is_some_and(|services| !services.is_subscribed()) {
            return self.fail(&registration, 403, "not-subscribed").await;
        }
        if let Some(document) = &registration.document {
            let wrong = match () {
                () if document.naf != *naf => Some(KeyFault::WrongNaf),
                () if registration.btid.as_ref().is_some_and(|btid| *btid != document.btid) => {
                    Some(KeyFault::WrongBtid)
                }
                () => self.check_key(impu, document, now).err(),
            };
            if let Some(wrong) = wrong {
                return self.fail(&registration, 400, wrong).await;
            }
            return self.complete(registration, None, now).await;
        }
        if registration.key == Some(KeyWay::Included) {
            return self.fail(&registration, 400, "key-missing").await;
        }
        let Some(btid) = registration.btid.clone() else { return Reply::failed(400, "btid-missing") };
        let held = self.state.smk(impu, &btid, naf, now).is_some();
        if held || registration.key == Some(KeyWay::OnUse) {
            return self.complete(registration, None, now).await;
        }
        if registration.mode == Mode::Simultaneous {
            return match self.fetch_key(&btid, naf).await {
                Ok(document) => self.complete(registration, Some(document), (self.env.now)()).await,
                Err(why) => self.fail(&registration, why.status(), why).await,
            };
        }
        self.register_later(registration, btid, now).await
    }

    /// Subsequent, pull: the answer now, the key and the rest afterwards.
    async fn register_later(self: &Rc<Self>, registration: Registration, btid: Btid, now: Now) -> Reply {
        // A user who is registered stays so while the key for the next period comes.
        let was = self.state.registration_state(&registration.impu);
        let meanwhile = if was == RegState::Registered { was } else { RegState::Pending };
        if let Err(why) = self.state.update(&registration.impu, update(&registration, meanwhile, now)) {
            return Reply::failed(503, why);
        }
        self.report(&registration.impu, &registration.naf, Some(&btid), meanwhile).await;
        let ext = Ext { state: Some(meanwhile), ..Ext::default() };
        let reply = Reply { ext: Some(ext), expires: Some(registration.expires), ..Reply::plain(200) };
        let bsm = Rc::clone(self);
        let job: Job = Box::pin(async move {
            let (impu, naf) = (registration.impu.clone(), registration.naf.clone());
            let (expires, ims_peer) = (registration.expires, registration.ims_peer);
            let outcome = bsm.fetch_key(&btid, &naf).await;
            if bsm.state.record(&impu).is_none() {
                return; // deregistered meanwhile: the key must not bring the user back
            }
            let cause = match outcome {
                Ok(document) => {
                    let reply = bsm.complete(registration, Some(document), (bsm.env.now)()).await;
                    reply.ext.and_then(|ext| ext.cause)
                }
                Err(why) => {
                    bsm.fail(&registration, why.status(), &why).await;
                    Some(why.to_string())
                }
            };
            let state = bsm.state.registration_state(&impu);
            if state != meanwhile {
                bsm.alert(Change {
                    btid: Some(btid),
                    naf,
                    previous: meanwhile,
                    state,
                    cause: cause.unwrap_or_else(|| "registered".to_string()),
                    expires,
                    ims_peer,
                    impu,
                });
            }
        });
        (self.env.spawn)(job);
        reply
    }

    /// The registration succeeds; `fetched` is the key if it was asked for.
    async fn complete(self: &Rc<Self>, registration: Registration, fetched: Option<KeyDocument>, now: Now) -> Reply {
        let document = fetched.as_ref().or(registration.document.as_ref());
        if let Some(document) = document
            && let Err(why) = self.check_key(&registration.impu, document, now)
        {
            return self.fail(&registration, 403, why).await;
        }
        let mut change = update(&registration, RegState::Registered, now);
        change.btid = document.map(|document| document.btid.clone()).or(change.btid);
        let installed = self.state.update(&registration.impu, change).and_then(|_| match document {
            Some(document) => self.state.install_key(&registration.impu, document, now),
            None => Ok(()),
        });
        if let Err(why) = installed {
            return self.fail(&registration, 503, why).await;
        }
        let body = match &registration.order {
            Some(Ok(order)) => Some(self.serve(&registration.impu, order).to_xml()),
            Some(Err(())) => Some(Response::malformed().to_xml()),
            None => None,
        };
        self.report(&registration.impu, &registration.naf, registration.btid.as_ref(), RegState::Registered).await;
        let ext = Ext { state: Some(RegState::Registered), ..Ext::default() };
        Reply { ext: Some(ext), expires: Some(registration.expires), body, ..Reply::plain(200) }
    }

    /// The registration fails. One that stood before goes on with its old key for as long as it lasts.
    async fn fail(&self, registration: &Registration, status: u16, why: impl std::fmt::Display) -> Reply {
        tracing::info!(impu = %registration.impu, cause = %why, "broadcast registration failed");
        if self.state.registration_state(&registration.impu) != RegState::Registered {
            self.state.set_state(&registration.impu, RegState::Failed);
            self.report(&registration.impu, &registration.naf, registration.btid.as_ref(), RegState::Failed).await;
        }
        Reply::failed(status, why)
    }

    /// The validation of a Ks_NAF: for this server, from a known BSF, alive, this user's, not older than the one held.
    pub(super) fn check_key(&self, impu: &Impu, document: &KeyDocument, now: Now) -> Result<(), KeyFault> {
        if !self.is_mine(&document.naf) {
            return Err(KeyFault::WrongNaf);
        }
        let domain = document.btid.bsf_domain();
        let known = &self.config.bsf_domains;
        if !known.is_empty() && !known.iter().any(|known| known.eq_ignore_ascii_case(domain)) {
            return Err(KeyFault::UnknownBsf);
        }
        self.state.may_install(impu, document, now)
    }

    /// Carries out a service request of a registered user.
    pub(super) fn serve(&self, impu: &Impu, order: &Request) -> Response {
        let subscription = self.state.record(impu).map_or(BroadcastSubscription::None, |record| record.subscription);
        let offered = |item: &str| self.config.offered.as_ref().is_none_or(|all| all.iter().any(|one| one == item));
        let response = order.answer(offered, &subscription);
        match order.operation {
            Operation::Service => {
                let granted: Vec<_> = response.granted().map(str::to_string).collect();
                self.state.set_services(impu, &granted, &[]);
            }
            Operation::Unsubscribe => self.state.set_services(impu, &[], &order.items),
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
        if document.expires <= now.unix.as_secs() {
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

    /// Sh PUR, where this node has an HSS. Its failure does not undo the registration.
    pub(super) async fn report(&self, impu: &Impu, naf: &NafId, btid: Option<&Btid>, state: RegState) {
        let Some(hss) = &self.hss else { return };
        let told = BroadcastState {
            state,
            server: self.config.name.clone(),
            naf_fqdn: naf.fqdn().to_string(),
            btid: btid.map(|btid| btid.as_str().to_string()),
        };
        if let Err(why) = hss.broadcast_update(impu, told, (self.env.now)()).await {
            tracing::warn!(%impu, state = state_token(state), %why, "the HSS was not told");
        }
    }
}

fn update(registration: &Registration, state: RegState, now: Now) -> Update {
    Update {
        state,
        naf: registration.naf.clone(),
        btid: registration.btid.clone(),
        until: now.mono.saturating_add(Duration::from_secs(registration.expires.into())),
        subscription: registration.services.clone(),
        ims_peer: registration.ims_peer,
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
