//! Ub: a GBA client bootstraps over HTTP, without SIP (TS 33.220 §4.5.2, TS 24.109 clause 4).
//!
//! GET with the private identity and no answer yet; 401 with a Digest AKAv1-MD5 challenge (realm: the BSF, qop
//! auth-int); GET with the answer, or with `auts` and so a second challenge; 200 with B-TID and lifetime. [`Ub::answer`]
//! is the whole of it without HTTP machinery, [`handler`] what a listener is given.
//!
//! There is no `nextnonce`: an AKA nonce is a vector, and one handed out for a day later would be out of the card's window
//! by then. A client that comes with a TMPI is told that it is not known, upon which it comes with its private identity.

use super::bootstrap::{Bootstrap, BootstrapError, Holder, Made};
use super::btid::Btid;
use super::kdf::{Ks, autn_star};
use crate::aka::vector::{Auts, Rand};
use crate::answer::Answer;
use crate::auth::challenge::{Challenge, Challenges, Memo, Secret};
use crate::auth::digest::{Algorithm, Digest, Qop, QopKind};
use crate::auth::nonce;
use crate::broadcast::datetime;
use crate::clock::Now;
use crate::gba::guss::Guss;
use crate::hss::{self, BroadcastSubscription, Hss, HssError};
use crate::http::server::{Handler, HttpRequest, HttpResponse, escape};
use crate::identity::{Impi, Impus};
use crate::metrics::{Counter, Metrics};
use crate::registrar::Scscf;
use crate::registrar::bootstrapping::NotKept;
use crate::sip::AuthParams;
use crate::xml;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bootstrapping information (TS 24.109 annex C).
pub const MEDIA: &str = "application/vnd.3gpp.bsf+xml";
/// The token of a terminal whose card does GBA_U (TS 24.109 §4.2).
const UICC_AGENT: &str = "3gpp-gba-uicc";
const ALGORITHM: Algorithm = Algorithm::Akav1Md5;
/// Longest private identity.
const IMPI_MAX: usize = 255;
/// Seconds.
const RETRY_AFTER: &str = "5";

/// What is remembered with a challenge: what came from the HSS with the vector.
#[derive(Debug)]
pub struct Pending {
    impus: Impus,
    broadcast: BroadcastSubscription,
    settings: Guss,
    holder: Holder,
}

/// Nothing of it comes from the one who asks.
impl Memo for Pending {
    fn octets(&self) -> usize {
        0
    }

    fn shed(&mut self) {}
}

/// Who keeps what was made.
pub trait Keep {
    fn keep(&self, new: Bootstrap, lifetime: Duration) -> Answer<'static, Result<Arc<Bootstrap>, NotKept>>;
}

impl Keep for Scscf {
    fn keep(&self, new: Bootstrap, lifetime: Duration) -> Answer<'static, Result<Arc<Bootstrap>, NotKept>> {
        let me = self.clone();
        Answer::later(async move { me.bootstrapped(new, lifetime).await })
    }
}

/// The BSF towards terminals, on the worker that has the listener.
pub struct Ub {
    /// The BSF's name: the realm, and in every B-TID.
    pub domain: String,
    /// How long Ks lives where the subscriber's settings do not say.
    pub lifetime: Duration,
    pub hss: Arc<dyn Hss>,
    /// One a private identity, bounded in number and in time.
    pub challenges: Challenges<Pending>,
    pub keep: Rc<dyn Keep>,
    pub now: Rc<dyn Fn() -> Now>,
    pub meters: Meters,
}

/// Requests by what they were answered.
pub struct Meters([(u16, Counter); RESULTS.len()], Counter);

/// Statuses and what they mean here; others are odd requests.
const RESULTS: [(u16, &str); 5] =
    [(200, "bootstrapped"), (401, "challenged"), (403, "refused"), (400, "malformed"), (503, "away")];

impl Meters {
    pub fn new(metrics: &Metrics) -> Self {
        let help = "Requests of GBA clients on Ub, by what came of them";
        let of =
            |result| metrics.counter("imscript_ub_requests_total", help, &[("result", result)]).unwrap_or_default();
        Meters(RESULTS.map(|(status, result)| (status, of(result))), of("other"))
    }

    fn answered(&self, status: u16) {
        let Meters(known, other) = self;
        known.iter().find(|(of, _)| *of == status).map_or(other, |(_, counter)| counter).add(1);
    }
}

impl Ub {
    /// Answers one HTTP request.
    pub async fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let response = self.respond(request).await.unwrap_or_else(|refused| refused);
        self.meters.answered(response.status);
        response.with("cache-control", "no-store")
    }

    async fn respond(&self, request: &HttpRequest) -> Result<HttpResponse, HttpResponse> {
        if request.target != "/" {
            return Err(HttpResponse::plain(404));
        }
        if request.method != "GET" {
            return Err(HttpResponse::plain(405).with("allow", "GET"));
        }
        let field = request.authorization.as_deref().unwrap_or_default();
        let credentials = AuthParams::parse(field.as_bytes()).ok().filter(AuthParams::is_digest);
        let credentials = credentials.ok_or_else(|| {
            HttpResponse::because(400, "Authorization: Digest with the private identity as username is needed")
        })?;
        let impi = self.private_identity(&credentials)?;
        // A product may come with its version (RFC 9110 §10.1.5).
        let product = |agent: &str| agent.split('/').next() == Some(UICC_AGENT);
        let on_card = request.user_agent.as_deref().is_some_and(|agents| agents.split(' ').any(product));
        let nonce = credentials.get("nonce").unwrap_or_default();
        if nonce.is_empty() {
            return self.challenge(&impi, on_card, None, false).await;
        }
        let Some(held) = self.challenges.take(impi.as_str(), &nonce, (self.now)().mono) else {
            // Not ours, spent, replaced, or too old: the client may just have been slow.
            return self.challenge(&impi, on_card, None, true).await;
        };
        let Challenge { secret: Secret::Aka(vector), resyncs, memo, .. } = &held else {
            return Err(HttpResponse::plain(500));
        };
        if let Some(auts) = credentials.get("auts").filter(|auts| !auts.is_empty()) {
            if *resyncs > 0 {
                return Err(HttpResponse::because(403, "one resynchronisation per bootstrapping"));
            }
            let auts = nonce::decode_auts(&auts).map_err(|why| HttpResponse::because(400, why))?;
            tracing::info!(%impi, "resynchronisation asked for by the card");
            return self.challenge(&impi, on_card, Some((vector.rand, auts)), false).await;
        }
        let response = credentials.get("response").unwrap_or_default();
        if response.is_empty() {
            return Err(HttpResponse::because(403, "the terminal refused the network's authentication (MAC)"));
        }
        let digest = Answered::read(&credentials, &self.domain, &request.target)?;
        let password = held.secret.password(ALGORITHM).ok_or_else(|| HttpResponse::plain(500))?;
        if !digest.over(&nonce, b"GET", &request.body).verify(&password, &response) {
            tracing::info!(%impi, "digest response on Ub is wrong");
            return Err(HttpResponse::because(403, "digest response is wrong"));
        }
        let new = Bootstrap {
            impi: impi.clone(),
            impus: memo.impus.clone(),
            ks: Ks::new(&vector.ck, &vector.ik),
            btid: Btid::new(&vector.rand, &self.domain),
            expires: 0,
            created: None,
            made: Made::OverUb,
            holder: memo.holder,
            subscription: memo.broadcast.clone(),
            settings: memo.settings.settings.clone().into(),
        };
        let lifetime = memo.settings.lifetime.filter(|lifetime| !lifetime.is_zero()).unwrap_or(self.lifetime);
        let kept = self.keep.keep(new, lifetime).await.map_err(|why| {
            tracing::warn!(%impi, %why, "no bootstrapping over Ub");
            match why {
                NotKept::Table(BootstrapError::Collision) => HttpResponse::plain(500),
                _ => away(),
            }
        })?;
        tracing::info!(%impi, btid = %kept.btid, "bootstrapped over Ub");
        let body = information(&kept);
        let rspauth = digest.over(&nonce, b"GET", &body).rspauth(&password);
        let (cnonce, nc) = (escape(&digest.cnonce), &digest.nc);
        let info = format!("qop=auth-int, rspauth=\"{rspauth}\", cnonce=\"{cnonce}\", nc={nc}");
        let answer = HttpResponse { body, ..HttpResponse::plain(200) };
        Ok(answer
            .with("content-type", MEDIA)
            .with("authentication-info", info)
            .with("expires", datetime::format_http(kept.expires)))
    }

    fn private_identity(&self, credentials: &AuthParams<'_>) -> Result<Impi, HttpResponse> {
        let username = credentials.get("username").unwrap_or_default();
        let text = std::str::from_utf8(&username)
            .ok()
            .filter(|text| (1..=IMPI_MAX).contains(&text.len()) && !text.chars().any(char::is_control));
        let text = text.ok_or_else(|| HttpResponse::because(400, "username is no private identity"))?;
        if text.rsplit_once('@').is_some_and(|(_, domain)| domain.to_ascii_lowercase().starts_with("tmpi.")) {
            return Err(HttpResponse::because(403, "this TMPI is not known: use the private identity"));
        }
        Ok(Impi::from(text))
    }

    /// The 401, and what is remembered with it. `resync`: the card's answer to the one before.
    async fn challenge(
        &self,
        impi: &Impi,
        on_card: bool,
        resync: Option<(Rand, Auts)>,
        stale: bool,
    ) -> Result<HttpResponse, HttpResponse> {
        let now = (self.now)();
        let resyncs = u8::from(resync.is_some());
        tracing::trace!(target: "ladder", from = "BSF", to = "HSS", what = if resync.is_some() { "MAR (AUTS)" } else { "MAR" });
        let hss::Bootstrapping { vector, impus, broadcast, settings } =
            self.hss.bootstrapping(impi, resync, now).await.map_err(|why| refusal_of(impi, why))?;
        tracing::trace!(target: "ladder", from = "HSS", to = "BSF", what = "MAA RAND AUTN XRES CK IK");
        // Only a card that knows GBA_U can undo AUTN*, and only a terminal that says so will ask it to.
        let (holder, autn) = match settings.gba_u && on_card {
            true => (Holder::Uicc, autn_star(&vector.autn, &vector.ik)),
            false => (Holder::Me, vector.autn),
        };
        let nonce = nonce::encode(&vector.rand, &autn);
        let stale = if stale { ", stale=true" } else { "" };
        let value = format!(
            "Digest realm=\"{}\", nonce=\"{nonce}\", qop=\"auth-int\", algorithm={}{stale}",
            self.domain,
            ALGORITHM.as_str()
        );
        let memo = Pending { impus, broadcast, settings, holder };
        let (nonce, algorithms) = (nonce.into(), [ALGORITHM].into());
        let challenge = Challenge { nonce, algorithms, secret: Secret::Aka(vector), resyncs, memo };
        self.challenges.put(impi, challenge, now.mono);
        self.challenges.expire(now.mono);
        Ok(HttpResponse::plain(401).with("www-authenticate", value))
    }
}

/// The parameters of an answer that its digest is made of.
struct Answered {
    username: Vec<u8>,
    realm: Vec<u8>,
    uri: Vec<u8>,
    nc: String,
    cnonce: String,
}

impl Answered {
    fn read(credentials: &AuthParams<'_>, domain: &str, target: &str) -> Result<Self, HttpResponse> {
        let bad = |why: &str| HttpResponse::because(400, why);
        let octets = |name| credentials.get(name).map(|value| value.into_owned());
        let text = |name| octets(name).and_then(|value| String::from_utf8(value).ok());
        let realm = octets("realm").filter(|realm| realm.as_slice() == domain.as_bytes());
        let realm = realm.ok_or_else(|| bad("realm is not the one of the challenge"))?;
        let algorithm = credentials.get("algorithm");
        if algorithm.is_some_and(|token| Algorithm::from_bytes(&token) != Some(ALGORITHM)) {
            return Err(bad("algorithm is not the one of the challenge"));
        }
        if credentials.get("qop").and_then(|qop| QopKind::from_bytes(&qop)) != Some(QopKind::AuthInt) {
            return Err(bad("qop is not auth-int"));
        }
        let uri = octets("uri").filter(|uri| names(uri, target)).ok_or_else(|| bad("uri is not what is asked for"))?;
        let count = |nc: &String| nc.len() == 8 && u32::from_str_radix(nc, 16).is_ok_and(|nc| nc > 0);
        let nc = text("nc").filter(count).ok_or_else(|| bad("nc is not 8 hex digits above 0"))?;
        let cnonce = text("cnonce").filter(|cnonce| !cnonce.is_empty() && cnonce.is_ascii());
        let cnonce = cnonce.ok_or_else(|| bad("cnonce is missing"))?;
        Ok(Answered { username: octets("username").unwrap_or_default(), realm, uri, nc, cnonce })
    }

    fn over<'a>(&'a self, nonce: &'a [u8], method: &'a [u8], body: &'a [u8]) -> Digest<'a> {
        Digest {
            algorithm: ALGORITHM,
            username: &self.username,
            realm: &self.realm,
            method,
            uri: &self.uri,
            nonce,
            qop: Some(Qop { kind: QopKind::AuthInt, nc: self.nc.as_bytes(), cnonce: self.cnonce.as_bytes(), body }),
        }
    }
}

/// Whether a digest's `uri`, a path or a whole URL, is this target.
fn names(uri: &[u8], target: &str) -> bool {
    let Ok(uri) = std::str::from_utf8(uri) else { return false };
    let path = match uri.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => uri,
    };
    path == target
}

fn information(kept: &Bootstrap) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<BootstrappingInfo xmlns=\"uri:3gpp-gba\"><btid>{}</btid>\
         <lifetime>{}</lifetime></BootstrappingInfo>\n",
        xml::escape(&kept.btid.text()),
        datetime::format(kept.expires),
    )
    .into_bytes()
}

/// Nothing was done, and later it will be.
fn away() -> HttpResponse {
    HttpResponse::plain(503).with("retry-after", RETRY_AFTER)
}

fn refusal_of(impi: &Impi, error: HssError) -> HttpResponse {
    tracing::debug!(%impi, why = %error, "no challenge on Ub");
    match error {
        HssError::UserUnknown | HssError::IdentitiesDontMatch => HttpResponse::because(403, "user unknown"),
        HssError::SchemeNotSupported => HttpResponse::because(403, "this subscriber has no card"),
        HssError::ResyncRefused => HttpResponse::because(403, "resynchronisation refused"),
        HssError::RoamingNotAllowed
        | HssError::NotAuthorized
        | HssError::NotRegistered
        | HssError::AlreadyRegistered
        | HssError::NoServer
        | HssError::NotTold
        | HssError::Refused(_) => HttpResponse::because(403, "the HSS refuses"),
        HssError::NoVector(_) | HssError::Unavailable(_) | HssError::Busy | HssError::Garbled(_) => away(),
    }
}

/// The BSF's side of an HTTP listener.
pub fn handler(ub: Rc<Ub>) -> Handler {
    Rc::new(move |request| {
        let ub = Rc::clone(&ub);
        Answer::later(async move {
            tracing::trace!(target: "ladder", from = "UE", to = "BSF", what = "HTTP GET (Ub)");
            let response = ub.answer(&request).await;
            tracing::trace!(target: "ladder", from = "BSF", to = "UE", what = "HTTP", status = response.status);
            response
        })
    })
}

#[cfg(test)]
#[path = "ub_tests.rs"]
mod tests;
