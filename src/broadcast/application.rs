//! Service requests that a terminal sends itself as SIP MESSAGE through the IMS (figure 5 way b, figure 6 step 12):
//! the IMS vouches for the user, the B-TID says which key is the user's.

use super::alert::Change;
use super::ext::Ext;
use super::outgoing::Outgoing;
use super::provisioning::{Request, Response, StatusCode};
use super::retrieve::RetrieveError;
use super::server::{Bsm, Reply};
use super::state::{KeyFault, Record, Update};
use super::{Job, media};
use crate::clock::Now;
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::hss::RegState;
use crate::identity::Impu;
use crate::sip::transaction::Source;
use crate::sip::{HeaderName, Message, NameAddr};
use crate::store::StoreError;
use std::rc::Rc;
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A terminal's own request, over SIP or over HTTP.
pub(super) struct Application {
    pub(super) impu: Impu,
    pub(super) naf: NafId,
    pub(super) btid: Btid,
    pub(super) order: Request,
    pub(super) ims_peer: usize,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ApplicationError {
    #[error(transparent)]
    Retrieve(#[from] RetrieveError),
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// Nothing was done.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Bsm {
    /// 202 at once, the ServiceResponse as a MESSAGE back to the user.
    pub(super) async fn application(self: &Rc<Self>, request: &Message<'_>, source: &Source, now: Now) -> Reply {
        let application = match self.read_application(request, source, now).await {
            Ok(application) => application,
            Err(reply) => return reply,
        };
        let bsm = Rc::clone(self);
        let job: Job = Box::pin(async move {
            let response = match bsm.apply(&application, now).await {
                Ok(response) => response,
                Err(ApplicationError::Retrieve(RetrieveError::Refused(_)) | ApplicationError::Key(_)) => {
                    application.order.refusal(StatusCode::USER_AUTHENTICATION_FAILED)
                }
                Err(_) => application.order.refusal(StatusCode::SERVER_ERROR),
            };
            bsm.answer_user(&application, &response).await;
        });
        (self.env.spawn)(job);
        Reply::plain(202)
    }

    async fn read_application(&self, request: &Message<'_>, source: &Source, now: Now) -> Result<Application, Reply> {
        let (ims_peer, _) = self.ims_peer(source).ok_or_else(|| Reply::refuse(403, "users come through the IMS"))?;
        let asserted = request
            .list(HeaderName::PAssertedIdentity)
            .find_map(|value| NameAddr::parse(value).ok().map(|name| Impu::new(&*name.uri.aor())));
        let impu = asserted.ok_or_else(|| Reply::refuse(403, "no asserted identity"))?;
        let ext = Ext::of(request).map_err(|why| Reply::refuse(400, format_args!("Bcast-Ext: {why}")))?;
        let ext = ext.unwrap_or_default();
        let fetched = self.fetch(&impu).await;
        let record = self.state.record(&impu);
        let naf = match ext.naf.or_else(|| record.as_ref().map(|record| record.naf.clone())) {
            Some(naf) if self.is_mine(&naf) => naf,
            Some(_) => return Err(Reply::refuse(403, "naf-not-served")),
            None => return Err(Reply::refuse(400, "NAF_ID is needed")),
        };
        let btid = ext.btid.or_else(|| record.and_then(|record| record.btid));
        let btid = btid.ok_or_else(|| Reply::refuse(400, "B-TID is needed"))?;
        let order = Request::parse(request.body()).map_err(|why| Reply::refuse(400, why))?;
        // Without the store, who is registered here with a key that is alive is served all the same.
        if fetched.is_err() && !self.is_served(&impu, &btid, &naf, now) {
            return Err(Reply::away());
        }
        Ok(Application { impu, naf, btid, order, ims_peer })
    }

    /// Whether a user is registered here, and his key alive.
    pub(super) fn is_served(&self, impu: &Impu, btid: &Btid, naf: &NafId, now: Now) -> bool {
        let time = self.state.time(now);
        let alive = |user: Record| user.state == RegState::Registered && user.until > time;
        self.state.record(impu).is_some_and(alive) && self.state.smk(impu, btid, naf, now).is_some()
    }

    /// Gets the key if it is not here, registers the user, carries out the request, tells HSS and IMS.
    pub(super) async fn apply(
        self: &Rc<Self>,
        application: &Application,
        now: Now,
    ) -> Result<Response, ApplicationError> {
        let Application { impu, naf, btid, .. } = application;
        let document = match self.state.smk(impu, btid, naf, now) {
            Some(_) => None,
            None => Some(self.fetch_key(btid, naf, None).await?),
        };
        self.register_user(application, document).await
    }

    /// Registers a user who came himself and carries out his request; the key that was fetched for it becomes SMK.
    pub(super) async fn register_user(
        self: &Rc<Self>,
        application: &Application,
        document: Option<super::keys::KeyDocument>,
    ) -> Result<Response, ApplicationError> {
        let Application { impu, naf, btid, .. } = application;
        let now = (self.env.now)();
        if let Some(document) = &document {
            self.check_key(impu, document, now)?;
        }
        let known = self.state.record(impu);
        let key_ends = match (&document, &known) {
            (Some(document), _) => document.expires,
            (None, Some(record)) => record.smk.as_ref().map_or(0, |smk| smk.expires),
            (None, None) => 0,
        };
        let time = self.state.time(now);
        let key_lasts = key_ends.saturating_sub(time.as_secs());
        // A registration that the IMS made lasts as the IMS said; one made here, as long as its key.
        let until = match &known {
            Some(record) if record.state == RegState::Registered => record.until.get(),
            _ => time.saturating_add(Duration::from_secs(key_lasts)),
        };
        let before = self.state.before(impu);
        let previous = self.state.update(
            impu,
            Update {
                state: RegState::Registered,
                naf: naf.clone(),
                btid: Some(btid.clone()),
                until,
                subscription: None,
                ims_peer: application.ims_peer,
            },
            now,
        )?;
        if let Some(document) = &document {
            self.install_key(impu, document, now)?;
        }
        let response = self.serve(impu, &application.order);
        if previous != RegState::Registered || document.is_some() {
            self.keep(impu, before).await?;
        } else {
            // Of a user who is registered, what is ordered counts even if it is saved later only.
            let _ = self.changed(impu).await;
        }
        if previous != RegState::Registered {
            self.report(impu, naf, Some(btid), RegState::Registered).await;
            self.alert(Change {
                impu: impu.clone(),
                btid: Some(btid.clone()),
                naf: naf.clone(),
                previous,
                state: RegState::Registered,
                cause: "registered".to_string(),
                expires: u32::try_from(until.saturating_sub(time).as_secs()).unwrap_or(u32::MAX),
                ims_peer: application.ims_peer,
            });
        }
        Ok(response)
    }

    async fn answer_user(&self, application: &Application, response: &Response) {
        let Some(ims) = self.config.ims.get(application.ims_peer) else { return };
        let ext = Ext {
            state: Some(self.state.registration_state(&application.impu)),
            naf: Some(application.naf.clone()),
            btid: Some(application.btid.clone()),
            ..Ext::default()
        };
        let message = Outgoing {
            to: application.impu.as_str(),
            from: &self.config.uri,
            ext: Some(ext),
            body: Some((media::PROVISIONING, &response.to_xml())),
        }
        .request();
        match self.outbound.request(&ims.hop, message, ANSWER_WITHIN).await {
            Ok(answer) if answer.status() < 300 => {}
            Ok(answer) => tracing::warn!(status = answer.status(), "service response not taken"),
            Err(why) => tracing::warn!(%why, "service response not delivered"),
        }
    }
}
