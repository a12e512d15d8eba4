//! Ua: a terminal goes to the broadcast server itself, over HTTP (figure 5 way a, TS 33.222, TS 24.109 clause 5).
//!
//! POST of a provisioning message; 401 with `realm="3GPP-bootstrapping@<NAF FQDN>"`, qop auth-int; POST again with the
//! B-TID as username and base64(Ks_NAF) as password. [`Bsm::ua`] is the whole of it without HTTP machinery, [`handler`]
//! what a listener is given.

use super::application::{Application, ApplicationError};
use super::keys::KeyDocument;
use super::media;
use super::provisioning::{Request as Order, Response as Answer, StatusCode};
use super::retrieve::RetrieveError;
use super::server::{Bsm, RETRY_AFTER};
use crate::auth::digest::{Algorithm, Digest, Password, Qop, QopKind};
use crate::gba::btid::Btid;
use crate::gba::kdf::KsNaf;
use crate::gba::naf_id::{NafId, UaId};
use crate::http::server::{BODY_MAX, Handler, HttpRequest, HttpResponse, escape};
use crate::sip::AuthParams;
use crate::store::StoreError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::rc::Rc;
use zeroize::Zeroizing;

const REALM: &str = "3GPP-bootstrapping@";

/// The parameters of an Authorization field that a digest needs.
struct Credentials {
    username: String,
    uri: String,
    nonce: String,
    nc: String,
    cnonce: String,
    response: Vec<u8>,
}

impl Bsm {
    /// Answers one HTTP request.
    pub async fn ua(self: Rc<Self>, request: HttpRequest) -> HttpResponse {
        if request.method != "POST" {
            return HttpResponse::plain(405).with("allow", "POST");
        }
        if !media::is(request.content_type.as_deref().unwrap_or_default().as_bytes(), media::PROVISIONING) {
            return HttpResponse::plain(415);
        }
        if request.body.len() > BODY_MAX {
            return HttpResponse::plain(413);
        }
        let Some(naf) = self.naf_of(request.host.as_deref()) else { return HttpResponse::plain(503) };
        let Some(given) = request.authorization.as_deref() else { return self.challenge(&naf, false) };
        let Some(credentials) = credentials(given, &naf) else { return self.challenge(&naf, false) };
        let now = (self.env.now)();
        if !self.state.nonces.is_alive(&credentials.nonce, now.unix) {
            return self.challenge(&naf, true);
        }
        let (Ok(btid), Ok(nc)) = (Btid::parse(&credentials.username), u32::from_str_radix(&credentials.nc, 16)) else {
            return self.challenge(&naf, false);
        };
        if credentials.uri != request.target {
            return HttpResponse::plain(400);
        }

        // The key: held already, or from the BSF. It is kept only after the digest has shown whose it is.
        let (owner, held) = match self.held_key(&btid, &naf).await {
            Ok(held) => held,
            Err(_) => return away(),
        };
        let fetched = match held {
            Some(_) => None,
            None => match self.fetch_key(&btid, &naf, None).await {
                Ok(document) => Some(document),
                // No such bootstrapping: the terminal is to make a new one (TS 24.109 clause 5).
                Err(RetrieveError::Refused(_)) => return self.challenge(&naf, false),
                Err(_) => return away(),
            },
        };
        let Some(key) = held.or_else(|| fetched.as_ref().map(|document| document.key.clone())) else {
            return HttpResponse::plain(503);
        };
        let password = Zeroizing::new(STANDARD.encode(key.0));
        let password = Password::new(password.as_bytes());
        let realm = format!("{REALM}{}", naf.fqdn());
        let digest = credentials.digest(&realm, &request.body);
        if !digest.verify(&password, &credentials.response) {
            return self.challenge(&naf, false);
        }
        if !self.state.nonces.spend(&credentials.nonce, nc, now.unix) {
            return self.challenge(&naf, true);
        }
        let impu = match (owner, fetched.as_ref().and_then(|document| document.impus.first())) {
            (Some(owner), _) => owner,
            (None, Some(impu)) if self.fetch(impu).await.is_err() => return away(),
            (None, Some(impu)) => impu.clone(),
            (None, None) => return HttpResponse::plain(403),
        };
        let response = self.provide(impu, naf, btid, &request.body, fetched).await;
        let rspauth = credentials.digest(&realm, &response.body).rspauth(&password);
        let Credentials { nc, cnonce, .. } = &credentials;
        response.with(
            "authentication-info",
            format!("qop=auth-int, rspauth=\"{rspauth}\", cnonce=\"{}\", nc={nc}", escape(cnonce)),
        )
    }

    /// What an authenticated user asked for.
    async fn provide(
        self: &Rc<Self>,
        impu: crate::identity::Impu,
        naf: NafId,
        btid: Btid,
        body: &[u8],
        fetched: Option<KeyDocument>,
    ) -> HttpResponse {
        let Ok(order) = Order::parse(body) else { return provisioning(400, &Answer::malformed()) };
        let ims_peer = self.state.record(&impu).map_or(0, |record| record.ims_peer.into());
        let application = Application { impu, naf, btid, order, ims_peer };
        match self.register_user(&application, fetched).await {
            Ok(response) => provisioning(200, &response),
            Err(ApplicationError::Key(why)) => {
                tracing::info!(impu = %application.impu, cause = %why, "broadcast registration failed");
                let refusal = application.order.refusal(StatusCode::USER_AUTHENTICATION_FAILED);
                provisioning(403, &refusal)
            }
            Err(ApplicationError::Retrieve(_)) => HttpResponse::plain(503),
            Err(ApplicationError::Store(_)) => away(),
        }
    }

    /// The NAF that the terminal means: the one of Host if that is one of ours, else the first.
    fn naf_of(&self, host: Option<&str>) -> Option<NafId> {
        let named = host.and_then(|host| {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            NafId::new(&name.to_ascii_lowercase(), UaId::MBMS).ok().filter(|naf| self.is_mine(naf))
        });
        named.or_else(|| NafId::new(self.config.naf_fqdns.first()?, UaId::MBMS).ok())
    }

    /// Whose the B-TID is and his key, as far as they are known. Without the store, who is registered here with a key that
    /// is alive is served all the same.
    async fn held_key(
        &self,
        btid: &Btid,
        naf: &NafId,
    ) -> Result<(Option<crate::identity::Impu>, Option<KsNaf>), StoreError> {
        let Some(owner) = self.owner(btid).await? else { return Ok((None, None)) };
        let fetched = self.fetch(&owner).await;
        let now = (self.env.now)();
        let smk = self.state.smk(&owner, btid, naf, now);
        match fetched {
            Err(why) if !self.is_served(&owner, btid, naf, now) => Err(why),
            _ => {
                // What others have written of the B-TID may be older than the user's record.
                let his =
                    smk.is_some() || self.state.record(&owner).is_some_and(|user| user.btid.as_ref() == Some(btid));
                Ok((his.then_some(owner), smk.map(|smk| smk.key.clone())))
            }
        }
    }

    fn challenge(&self, naf: &NafId, stale: bool) -> HttpResponse {
        let Some(nonce) = self.state.nonces.make((self.env.now)().unix) else { return HttpResponse::plain(503) };
        let stale = if stale { ", stale=true" } else { "" };
        let value = format!(
            "Digest realm=\"{REALM}{}\", qop=\"auth-int\", nonce=\"{nonce}\", algorithm=MD5{stale}",
            naf.fqdn()
        );
        HttpResponse::plain(401).with("www-authenticate", value)
    }
}

impl Credentials {
    fn digest<'a>(&'a self, realm: &'a str, body: &'a [u8]) -> Digest<'a> {
        Digest {
            algorithm: Algorithm::Md5,
            username: self.username.as_bytes(),
            realm: realm.as_bytes(),
            method: b"POST",
            uri: self.uri.as_bytes(),
            nonce: self.nonce.as_bytes(),
            qop: Some(Qop { kind: QopKind::AuthInt, nc: self.nc.as_bytes(), cnonce: self.cnonce.as_bytes(), body }),
        }
    }
}

/// The credentials, if they are for our realm and of the kind that was asked for.
fn credentials(field: &str, naf: &NafId) -> Option<Credentials> {
    let params = AuthParams::parse(field.as_bytes()).ok().filter(AuthParams::is_digest)?;
    let text = |name| params.get(name).and_then(|value| String::from_utf8(value.into_owned()).ok());
    let is = |name, want: &str| text(name).is_some_and(|value| value.eq_ignore_ascii_case(want));
    if text("realm")?.strip_prefix(REALM)? != naf.fqdn()
        || !is("qop", "auth-int")
        || params.get("algorithm").is_some() && !is("algorithm", "MD5")
    {
        return None;
    }
    let nc = text("nc").filter(|nc| nc.len() == 8)?;
    Some(Credentials {
        username: text("username")?,
        uri: text("uri")?,
        nonce: text("nonce")?,
        nc,
        cnonce: text("cnonce").filter(|cnonce| !cnonce.is_empty() && cnonce.is_ascii())?,
        response: text("response")?.into_bytes(),
    })
}

/// Nothing was done, and later it will be.
fn away() -> HttpResponse {
    HttpResponse::plain(503).with("retry-after", RETRY_AFTER)
}

fn provisioning(status: u16, answer: &Answer) -> HttpResponse {
    let mut response = HttpResponse::plain(status).with("content-type", media::PROVISIONING);
    response.body = answer.to_xml();
    response
}

/// The broadcast server's side of an HTTP listener.
pub fn handler(bsm: Rc<Bsm>) -> Handler {
    Rc::new(move |request| {
        let bsm = Rc::clone(&bsm);
        crate::answer::Answer::later(async move {
            tracing::trace!(target: "ladder", from = "UE", to = "BSM", what = "HTTP POST (Ua)");
            let response = bsm.ua(request).await;
            tracing::trace!(target: "ladder", from = "BSM", to = "UE", what = "HTTP", status = response.status);
            response
        })
    })
}

#[cfg(test)]
#[path = "ua_tests.rs"]
mod tests;
