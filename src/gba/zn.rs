//! The BSF towards NAFs, over Diameter (Zn, TS 29.109 §5.2, TS 33.220 §4.5.3): which NAF gets the key of which B-TID.
//!
//! A NAF is known by the Origin-Host of its request, and that is believed of who is connected: the NAF itself, or an agent
//! that is configured to relay for it. It gets keys for the FQDNs that the operator gave it, none other, and is told of the
//! user what the operator says that it may know. Served by the node's Diameter connections; keys are never logged.

use super::bootstrap::Bootstrap;
use super::btid::Btid;
use super::guss::{Guss, MBMS, Uss};
use crate::answer::Answer;
use crate::broadcast::ext::services_text;
use crate::clock::{Clock, Date, Now};
use crate::diameter::dictionary::{ORIGIN_HOST, application, command};
use crate::diameter::exchange::{Request, Serve};
use crate::diameter::fault::{base, tgpp};
use crate::diameter::zn::{InfoAnswer, InfoRequest, Unread};
use crate::diameter::{Fault, Message, Origin, ResultCode, Writer, answer_to, refusal_of};
use crate::hss::Hss;
use std::sync::Arc;

/// A network application function, as the operator describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Naf {
    /// Origin-Host of its requests.
    pub host: String,
    /// Agents that its requests may come through, by their own Origin-Host.
    pub via: Vec<String>,
    /// The FQDNs that it may have keys for.
    pub fqdns: Vec<String>,
    /// Whether it may know the private identity.
    pub user_name: bool,
    /// Settings that it may be told, by GAA-Service-Identifier.
    pub services: Vec<String>,
    /// Settings without which a user is none of its: no key then.
    pub required: Vec<String>,
    /// The group of NAFs that it belongs to: settings for other groups are not told.
    pub group: Option<String>,
}

/// The bootstrappings cannot be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store is away")]
pub struct Away;

/// Where bootstrappings are found.
pub trait Find: Send + Sync {
    fn find<'a>(&'a self, btid: &'a Btid, now: Now) -> Answer<'a, Result<Option<Arc<Bootstrap>>, Away>>;
}

/// Why a NAF gets nothing.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("{0}")]
    Code(&'static str, ResultCode),
}

/// The BSF's side of Zn.
pub struct Bsf {
    pub origin: Origin,
    pub nafs: Arc<[Naf]>,
    pub find: Arc<dyn Find>,
    pub hss: Arc<dyn Hss>,
    pub clock: Clock,
}

impl Serve for Bsf {
    fn applications(&self) -> Vec<u32> {
        vec![application::ZN]
    }

    fn serve(self: Arc<Self>, request: Request) -> Answer<'static, Option<Writer>> {
        Answer::later(async move { self.respond(&request).await })
    }
}

impl Bsf {
    async fn respond(&self, request: &Request) -> Option<Writer> {
        // The connections have checked it: what cannot be read never comes here.
        let message = request.message().ok()?;
        if message.header().command != command::BOOTSTRAPPING_INFO {
            return None;
        }
        Some(match self.info(&message, &request.peer).await {
            Ok(info) => {
                let mut answer = answer_to(&message, base::SUCCESS, &self.origin);
                info.write(&mut answer);
                answer
            }
            Err(Refusal::Fault(fault)) => refusal_of(&message, &fault, &self.origin),
            Err(Refusal::Code(why, code)) => {
                let naf = message.identity(&ORIGIN_HOST).unwrap_or_default();
                tracing::info!(naf, peer = %request.peer, why, "key refused on Zn");
                answer_to(&message, code, &self.origin)
            }
        })
    }

    /// All checks, then the key.
    async fn info(&self, message: &Message<'_>, peer: &str) -> Result<InfoAnswer, Refusal> {
        let host = message.identity(&ORIGIN_HOST)?;
        let naf = self.nafs.iter().find(|naf| naf.is(host, peer));
        let not_authorized = |why| Refusal::Code(why, tgpp::NOT_AUTHORIZED);
        // Who is no NAF of ours does not learn which B-TIDs there are.
        let naf = naf.ok_or_else(|| not_authorized("not a configured NAF"))?;
        let asked = InfoRequest::read(message).map_err(|why| match why {
            Unread::Fault(fault) => Refusal::Fault(fault),
            Unread::Btid(_) => Refusal::Code("no B-TID", tgpp::TRANSACTION_IDENTIFIER_INVALID),
            Unread::Naf(_) | Unread::Settings(_) => not_authorized("no NAF-Id"),
        })?;
        if !naf.fqdns.iter().any(|fqdn| fqdn.eq_ignore_ascii_case(asked.naf.fqdn())) {
            return Err(not_authorized("not this NAF's FQDN"));
        }
        let found = self.find.find(&asked.btid, self.clock.now()).await;
        let found = found.map_err(|Away| Refusal::Code("the store is away", base::TOO_BUSY))?;
        let invalid = Refusal::Code("B-TID unknown or expired", tgpp::TRANSACTION_IDENTIFIER_INVALID);
        let bootstrap = found.ok_or(invalid)?;
        let mut settings = Vec::new();
        for id in naf.required.iter().chain(asked.services.iter().filter(|id| naf.services.contains(id))) {
            if settings.iter().any(|uss: &Uss| uss.id == *id) {
                continue;
            }
            match self.setting(&bootstrap, id, naf).await? {
                Some(uss) => settings.push(uss),
                None if naf.required.contains(id) => return Err(not_authorized("the user has not the service")),
                None => {}
            }
        }
        settings.retain(|uss| asked.services.contains(&uss.id) && naf.services.contains(&uss.id));
        let user = Some(&bootstrap.impi).filter(|_| naf.user_name && !asked.without_identity);
        if user.is_none() {
            let others = |uss: &mut Uss| uss.uids.retain(|uid| uid != bootstrap.impi.as_str());
            settings.iter_mut().for_each(others);
        }
        let settings = (!asked.services.is_empty()).then(|| Guss {
            id: user.map(|impi| impi.as_str().to_owned()),
            settings,
            ..Guss::default()
        });
        tracing::trace!(target: "ladder", at = "BSF", what = "Ks_NAF = KDF(Ks, gba-me, RAND, IMPI, NAF_Id)", naf = asked.naf.fqdn());
        Ok(InfoAnswer {
            user: user.cloned(),
            me_key: bootstrap.ks_naf(&asked.naf),
            uicc_key: bootstrap.ks_int_naf(&asked.naf).filter(|_| asked.gba_u_aware),
            expires: Some(bootstrap.expires),
            // Of a bootstrapping that an earlier version stored, it is not known.
            created: bootstrap.created.map(Date::seconds),
            settings,
        })
    }

    /// A user's setting of one service: what came with the bootstrapping, or, of broadcast, what the HSS says now.
    async fn setting(&self, bootstrap: &Bootstrap, id: &str, naf: &Naf) -> Result<Option<Uss>, Refusal> {
        let mine = |uss: &&Uss| uss.naf_group.is_none() || uss.naf_group == naf.group;
        if bootstrap.settings.iter().any(|uss| uss.id == id) {
            return Ok(bootstrap.settings.iter().filter(|uss| uss.id == id).find(mine).cloned());
        }
        if id != MBMS {
            return Ok(None);
        }
        let subscription = self.hss.broadcast_subscription(&bootstrap.impi).await.map_err(|why| {
            tracing::debug!(%why, "no broadcast subscription for Zn");
            Refusal::Code("the HSS is away", base::UNABLE_TO_COMPLY)
        })?;
        Ok(subscription.is_subscribed().then(|| Uss {
            id: MBMS.to_owned(),
            kind: 4,
            naf_group: None,
            uids: bootstrap.impus.iter().map(|impu| impu.as_str().to_owned()).collect(),
            flags: Vec::new(),
            services: Some(services_text(&subscription)),
        }))
    }
}

impl Naf {
    /// Whether a request of this Origin-Host, by way of this peer, is its own.
    fn is(&self, host: &str, peer: &str) -> bool {
        let relayed = || self.via.iter().any(|agent| agent.eq_ignore_ascii_case(peer));
        self.host.eq_ignore_ascii_case(host) && (peer.eq_ignore_ascii_case(host) || relayed())
    }
}

#[cfg(test)]
#[path = "zn_tests.rs"]
mod tests;
