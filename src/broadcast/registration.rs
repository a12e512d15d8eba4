//! A user's registration with the broadcast server: the IMS sends a third-party REGISTER, and by its `key` and `mode`
//! the key is in it (push), fetched before the answer or after it (pull), or fetched at first use. A foreign S-CSCF's says
//! nothing of that; then what the terminal's own REGISTER says counts, if it is there ([`super::embedded`]).

use super::alert::Change;
use super::embedded::{Embedded, embedded};
use super::ext::{Ext, KeyWay, Mode};
use super::keys::KeyDocument;
use super::provisioning::{Request, Response};
use super::server::{Bsm, Reply, Retrieval};
use super::state::{KeyFault, Record, Update};
use super::{Job, media};
use crate::clock::Now;
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::hss::{BroadcastSubscription, RegState};
use crate::identity::Impu;
use crate::sip::transaction::Source;
use crate::sip::{Message, Part};
use std::rc::Rc;
use std::time::Duration;

/// Expires of a third-party REGISTER that has none.
const EXPIRES_DEFAULT: u32 = 3600;

/// A third-party REGISTER, read.
pub(super) struct Registration {
    impu: Impu,
    naf: NafId,
    btid: Option<Btid>,
    mode: Mode,
    key: Option<KeyWay>,
    services: Option<BroadcastSubscription>,
    expires: u32,
    ims_peer: usize,
    document: Option<KeyDocument>,
    order: Option<Order>,
}

/// A service request. Err: it cannot be read; that is the terminal's fault, not the IMS server's, and is answered inside.
type Order = Result<Request, ()>;

fn read_order(octets: &[u8]) -> Order {
    Request::parse(octets).map_err(|_| ())
}

impl Registration {
    /// How the IMS wants the key to be asked for, if it says so.
    fn retrieval(&self) -> Option<Retrieval> {
        match self.key {
            Some(KeyWay::PullInSip) => Some(Retrieval::Sip),
            Some(KeyWay::PullOverZn) => Some(Retrieval::Zn),
            _ => None,
        }
    }
}

/// Whether somebody waits for the answer, and hears that nothing was done if it cannot be saved.
#[derive(Clone, Copy)]
enum Waits {
    Yes,
    No,
}

impl Bsm {
    /// Everything about a third-party REGISTER that can be said without doing it.
    pub(super) async fn read_registration(
        &self,
        request: &Message<'_>,
        source: &Source,
    ) -> Result<Registration, Reply> {
        let (ims_peer, ims) =
            self.ims_peer(source).ok_or_else(|| Reply::refuse(403, "registrations come from the IMS"))?;
        let to = request.to().map_err(|why| Reply::refuse(400, why))?;
        let impu = Impu::new(&*to.uri.aor());
        self.fetch(&impu).await.map_err(|_| Reply::away())?;
        let expires = request.expires().unwrap_or(EXPIRES_DEFAULT);
        let parts = request.parts().map_err(|_| Reply::refuse(400, "the multipart body cannot be read"))?;
        let (ext, mut order) = match Ext::of(request) {
            Ok(Some(ext)) => (ext, None),
            Ok(None) => self.read_embedded(&parts, &impu, expires)?,
            Err(why) => return Err(Reply::refuse(400, format_args!("Bcast-Ext: {why}"))),
        };
        let naf = ext.naf.ok_or_else(|| Reply::refuse(400, "NAF_ID is needed"))?;
        if !self.is_mine(&naf) {
            return Err(Reply::failed(403, "naf-not-served"));
        }
        let mut document = None;
        for part in parts {
            if media::is(part.content_type, media::NAF_KEY) {
                if !ims.key_came_protected(source) {
                    return Err(Reply::failed(403, "unprotected"));
                }
                let read = KeyDocument::parse(part.content).map_err(|why| Reply::failed(400, why))?;
                if document.replace(read).is_some() {
                    return Err(Reply::failed(400, "more than one key"));
                }
            } else if media::is(part.content_type, media::PROVISIONING)
                && order.replace(read_order(part.content)).is_some()
            {
                return Err(Reply::failed(400, "more than one service request"));
            }
        }
        Ok(Registration {
            naf,
            btid: ext.btid.or_else(|| self.state.record(&impu).and_then(|record| record.btid)),
            impu,
            mode: ext.mode.unwrap_or(Mode::Status),
            key: ext.key,
            services: ext.services,
            expires,
            ims_peer,
            document,
            order,
        })
    }

    /// Of a REGISTER without `Bcast-Ext`: what the terminal's REGISTER says that stands in it, else that a registered
    /// user's IMS registration goes on or ends. Err: the answer, where there is nothing to do.
    fn read_embedded(&self, parts: &[Part<'_>], impu: &Impu, expires: u32) -> Result<(Ext, Option<Order>), Reply> {
        let embedded = embedded(parts).map_err(|why| Reply::failed(400, why))?;
        let is_there = embedded.is_some();
        if let Some(Embedded { ext: Some(ext), payload }) = embedded {
            return Ok((ext, payload.map(|octets| read_order(&octets))));
        }
        match self.state.record(impu) {
            Some(record) => Ok((Ext { naf: Some(record.naf), mode: Some(Mode::Status), ..Ext::default() }, None)),
            // A user of the IMS alone: no fault, or the S-CSCF would throw him out (DefaultHandling 1).
            None if is_there || expires == 0 => {
                let ext = Ext { state: Some(RegState::NotRegistered), ..Ext::default() };
                Err(Reply { ext: Some(Box::new(ext)), ..Reply::plain(200) })
            }
            None => Err(Reply::refuse(400, "Bcast-Ext or the terminal's REGISTER is needed")),
        }
    }

    pub(super) async fn register(self: &Rc<Self>, registration: Registration, now: Now) -> Reply {
        let Registration { impu, naf, .. } = &registration;
        if registration.expires == 0 {
            let before = self.state.before(impu);
            if let Some(record) = self.state.terminate(impu, now) {
                if self.keep(impu, before).await.is_err() {
                    return Reply::away();
                }
                self.report(impu, naf, record.btid.as_ref(), RegState::NotRegistered).await;
            }
            let ext = Ext { state: Some(RegState::NotRegistered), ..Ext::default() };
            return Reply { ext: Some(Box::new(ext)), expires: Some(0), ..Reply::plain(200) };
        }
        if registration.services.as_ref().is_some_and(|services| !services.is_subscribed()) {
            // A subscription that was taken back ends what stands.
            if self.state.terminate(impu, now).is_some() {
                self.keep_later(impu);
            }
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
            return self.complete(registration, None, now, Waits::Yes).await;
        }
        if registration.key == Some(KeyWay::Included) {
            return self.fail(&registration, 400, "key-missing").await;
        }
        let Some(btid) = registration.btid.clone() else { return Reply::failed(400, "btid-missing") };
        let held = self.state.smk(impu, &btid, naf, now).is_some();
        if held || registration.key == Some(KeyWay::OnUse) {
            return self.complete(registration, None, now, Waits::Yes).await;
        }
        if registration.mode == Mode::Simultaneous {
            return match self.fetch_key(&btid, naf, registration.retrieval()).await {
                Ok(document) => self.complete(registration, Some(document), (self.env.now)(), Waits::Yes).await,
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
        let before = self.state.before(&registration.impu);
        if let Err(why) = self.state.update(&registration.impu, self.update(&registration, meanwhile, now), now) {
            return Reply::failed(503, why);
        }
        if self.keep(&registration.impu, before).await.is_err() {
            return Reply::away();
        }
        self.report(&registration.impu, &registration.naf, Some(&btid), meanwhile).await;
        let ext = Ext { state: Some(meanwhile), ..Ext::default() };
        let reply = Reply { ext: Some(Box::new(ext)), expires: Some(registration.expires), ..Reply::plain(200) };
        let bsm = Rc::clone(self);
        let job: Job = Box::pin(async move { bsm.finish(registration, btid, meanwhile, None).await });
        (self.env.spawn)(job);
        reply
    }

    /// Gets the key of a registration that was answered, and tells what became of it. `upon`: only if the user was not
    /// changed since then.
    async fn finish(
        self: &Rc<Self>,
        registration: Registration,
        btid: Btid,
        meanwhile: RegState,
        upon: Option<Duration>,
    ) {
        let (impu, naf) = (registration.impu.clone(), registration.naf.clone());
        let (expires, ims_peer) = (registration.expires, registration.ims_peer);
        let outcome = self.fetch_key(&btid, &naf, registration.retrieval()).await;
        // If the store is away, what this node knows has to do.
        let _ = self.fetch(&impu).await;
        if self.state.record(&impu).is_none() {
            return; // deregistered meanwhile: the key must not bring the user back
        }
        if upon.is_some_and(|upon| self.state.changed_at(&impu) != upon) {
            return; // he has registered anew
        }
        let cause = match outcome {
            Ok(document) => {
                let reply = self.complete(registration, Some(document), (self.env.now)(), Waits::No).await;
                reply.ext.and_then(|ext| ext.cause)
            }
            Err(why) => {
                self.fail(&registration, why.status(), &why).await;
                Some(why.to_string())
            }
        };
        let state = self.state.registration_state(&impu);
        if state != meanwhile {
            self.alert(Change {
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
    }

    /// Takes up a registration whose key was asked for by a run of this node, or by another node, that has ended. What
    /// the user ordered in it is lost; the user is not.
    pub(super) async fn register_again(self: Rc<Self>, impu: Impu, record: Record) {
        let left = record.until.get().saturating_sub(self.state.time((self.env.now)())).as_secs();
        let (Some(btid), Ok(expires @ 1..)) = (record.btid, u32::try_from(left)) else { return };
        let registration = Registration {
            impu,
            naf: record.naf,
            btid: Some(btid.clone()),
            mode: Mode::Subsequent,
            key: Some(KeyWay::Pull),
            services: None,
            expires,
            ims_peer: record.ims_peer.into(),
            document: None,
            order: None,
        };
        self.finish(registration, btid, record.state, Some(record.changed.get())).await;
    }

    /// The registration succeeds; `fetched` is the key if it was asked for.
    async fn complete(
        self: &Rc<Self>,
        registration: Registration,
        fetched: Option<KeyDocument>,
        now: Now,
        waits: Waits,
    ) -> Reply {
        let document = fetched.as_ref().or(registration.document.as_ref());
        if let Some(document) = document
            && let Err(why) = self.check_key(&registration.impu, document, now)
        {
            return self.fail(&registration, 403, why).await;
        }
        let mut change = self.update(&registration, RegState::Registered, now);
        change.btid = document.map(|document| document.btid.clone()).or(change.btid);
        let before = self.state.before(&registration.impu);
        let installed = self.state.update(&registration.impu, change, now).and_then(|_| match document {
            Some(document) => self.install_key(&registration.impu, document, now),
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
        match waits {
            Waits::No => self.keep_later(&registration.impu),
            Waits::Yes if self.keep(&registration.impu, before).await.is_err() => return Reply::away(),
            Waits::Yes => {}
        }
        self.report(&registration.impu, &registration.naf, registration.btid.as_ref(), RegState::Registered).await;
        let ext = Ext { state: Some(RegState::Registered), ..Ext::default() };
        Reply { ext: Some(Box::new(ext)), expires: Some(registration.expires), body, ..Reply::plain(200) }
    }

    /// The registration fails. One that stood before goes on with its old key for as long as it lasts.
    async fn fail(&self, registration: &Registration, status: u16, why: impl std::fmt::Display) -> Reply {
        tracing::info!(impu = %registration.impu, cause = %why, "broadcast registration failed");
        if self.state.registration_state(&registration.impu) != RegState::Registered {
            if self.state.set_state(&registration.impu, RegState::Failed, (self.env.now)()).is_some() {
                self.keep_later(&registration.impu);
            }
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

    fn update(&self, registration: &Registration, state: RegState, now: Now) -> Update {
        Update {
            state,
            naf: registration.naf.clone(),
            btid: registration.btid.clone(),
            until: self.state.time(now).saturating_add(Duration::from_secs(registration.expires.into())),
            subscription: registration.services.clone(),
            ims_peer: registration.ims_peer,
        }
    }
}
