//! The retrieval module over Zn (TS 29.109 §5.2): BIR with NAF-Id and B-TID to the BSF, BIA with the key. What it gives is
//! the same key document that a BSF sends in SIP.

use super::ext::parse_services;
use super::keys::{KeyDocument, canonical};
use super::retrieve::RetrieveError;
use crate::clock::Now;
use crate::diameter::dictionary::{application, command};
use crate::diameter::exchange::{Destination, Exchange, Failure};
use crate::diameter::fault::{base, tgpp};
use crate::diameter::zn::{InfoAnswer, InfoRequest};
use crate::diameter::{Origin, ResultCode, request};
use crate::gba::btid::Btid;
use crate::gba::guss::{Guss, MBMS, Uss};
use crate::gba::naf_id::NafId;
use crate::hss::BroadcastSubscription;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The way to the BSF; shared by all workers.
pub struct Zn {
    exchange: Arc<dyn Exchange>,
    to: Destination,
    origin: Origin,
    /// Of Session-Ids: the start, and how many there were since.
    started: u64,
    sessions: AtomicU32,
}

impl Zn {
    /// `realm`: the BSF's, where requests are routed by it. `started`: seconds since 1970.
    pub fn new(exchange: Arc<dyn Exchange>, origin: Origin, realm: Option<Arc<str>>, started: u64) -> Self {
        let to = Destination { realm, ..Destination::any(application::ZN) };
        Zn { exchange, to, origin, started, sessions: AtomicU32::new(0) }
    }

    /// One question and its answer. How long that may take, the connections say, and the caller, who may drop it.
    pub(super) async fn ask(
        &self,
        btid: &Btid,
        naf: &NafId,
        now: impl Fn() -> Now,
    ) -> Result<KeyDocument, RetrieveError> {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let session = format!("{};{};{number}", self.origin.host, self.started);
        let mut question = request(application::ZN, command::BOOTSTRAPPING_INFO, &session, &self.origin);
        let (btid, naf) = (btid.clone(), naf.clone());
        // Ks_int_NAF is on the card, which the broadcast server's keys do not go to.
        let services = vec![MBMS.into()];
        let asked = InfoRequest { btid, naf, services, gba_u_aware: false, without_identity: false };
        asked.write(&mut question);
        tracing::trace!(target: "ladder", from = "BSM", to = "BSF", what = "BIR (Zn)");
        let reply = self.exchange.send(self.to.clone(), question).await.map_err(no_answer)?;
        let answer = reply.message().map_err(no_answer)?;
        let code = answer.result().map_err(|_| no_answer(Failure::Garbled))?;
        tracing::trace!(target: "ladder", from = "BSF", to = "BSM", what = "BIA (Zn)", code = code.number());
        if !code.is_success() {
            return Err(refusal(code));
        }
        let info = InfoAnswer::read(&answer).map_err(|why| {
            tracing::warn!(%why, "the BSF's answer on Zn cannot be read");
            RetrieveError::Refused("bia-unreadable".into())
        })?;
        document(asked, info, now())
    }
}

fn no_answer(why: Failure) -> RetrieveError {
    tracing::warn!(%why, "the BSF was not reached on Zn");
    match why {
        Failure::Timeout => RetrieveError::Timeout,
        Failure::Busy => RetrieveError::TooMany,
        _ => RetrieveError::Unreachable,
    }
}

/// The causes are those of a refusal in SIP.
fn refusal(code: ResultCode) -> RetrieveError {
    let cause = match code {
        tgpp::TRANSACTION_IDENTIFIER_INVALID => "unknown-btid".to_owned(),
        tgpp::NOT_AUTHORIZED => "naf-not-allowed".to_owned(),
        tgpp::IDENTITY_UNKNOWN => "user-unknown".to_owned(),
        base::UNABLE_TO_DELIVER
        | base::REALM_NOT_SERVED
        | base::TOO_BUSY
        | base::UNABLE_TO_COMPLY
        | ResultCode::Base(4000..5000) => {
            tracing::warn!(%code, "the BSF cannot answer on Zn now");
            return RetrieveError::Unreachable;
        }
        code => format!("bsf-said-{}", code.number()),
    };
    RetrieveError::Refused(cause)
}

fn document(asked: InfoRequest, info: InfoAnswer, now: Now) -> Result<KeyDocument, RetrieveError> {
    let refused = |cause: &str| RetrieveError::Refused(cause.to_owned());
    let expires = info.expires.ok_or_else(|| refused("no-expiry"))?;
    if expires <= now.unix.as_secs() {
        return Err(refused("expired"));
    }
    let setting = info.settings.as_ref().map(|Guss { settings, .. }| settings.iter().find(|uss| uss.id == MBMS));
    let services = setting.map(|uss| match uss {
        None => BroadcastSubscription::None,
        // A foreign HSS says that the user has the service, and no more.
        Some(Uss { services: None, .. }) => BroadcastSubscription::All,
        Some(Uss { services: Some(text), .. }) => parse_services(text),
    });
    if services.as_ref().is_some_and(|services| !services.is_subscribed()) {
        return Err(refused("not-subscribed"));
    }
    let is_public = |uid: &&String| ["sip:", "sips:", "tel:"].iter().any(|scheme| uid.starts_with(scheme));
    let uids = setting.flatten().map(|uss| uss.uids.as_slice()).unwrap_or_default();
    Ok(KeyDocument {
        key: info.me_key,
        expires,
        btid: asked.btid,
        naf: asked.naf,
        impus: uids.iter().filter(is_public).map(|uid| canonical(uid)).collect(),
        services,
    })
}

#[cfg(test)]
#[path = "zn_tests.rs"]
mod tests;
