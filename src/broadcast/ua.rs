//! Ua: a terminal goes to the broadcast server itself, over HTTP (figure 5 way a, TS 33.222, TS 24.109 clause 5).
//!
//! POST of a provisioning message; 401 with `realm="3GPP-bootstrapping@<NAF FQDN>"`, qop auth-int; POST again with the
//! B-TID as username and base64(Ks_NAF) as password. [`Bsm::ua`] is the whole of it without HTTP machinery; [`router`]
//! is its face to axum, and [`serve`] joins the two: axum's handlers may run on any thread, a `Bsm` stays on its own.

use super::application::{Application, ApplicationError};
use super::keys::KeyDocument;
use super::provisioning::{Request as Order, Response as Answer, StatusCode};
use super::retrieve::RetrieveError;
use super::server::{Bsm, RETRY_AFTER};
use super::{Job, media};
use crate::auth::digest::{Algorithm, Digest, Password, Qop, QopKind};
use crate::gba::btid::Btid;
use crate::gba::kdf::KsNaf;
use crate::gba::naf_id::{NafId, UaId};
use crate::sip::AuthParams;
use crate::store::StoreError;
use axum::Router;
use axum::body::{Body, HttpBody, to_bytes};
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

/// Largest request body.
pub const BODY_MAX: usize = 64 * 1024;
/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);
const REALM: &str = "3GPP-bootstrapping@";

/// An HTTP request as far as Ua needs it.
#[derive(Debug, Default, Clone)]
pub struct HttpRequest {
    pub method: String,
    /// The request target as sent; the digest's `uri` must be the same.
    pub target: String,
    pub host: Option<String>,
    pub authorization: Option<String>,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl HttpResponse {
    fn plain(status: u16) -> Self {
        HttpResponse { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Nothing was done, and later it will be.
    fn away() -> Self {
        Self::plain(503).with("retry-after", RETRY_AFTER)
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn provisioning(status: u16, answer: &Answer) -> Self {
        let mut response = Self::plain(status).with("content-type", media::PROVISIONING);
        response.body = answer.to_xml();
        response
    }
}

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
            Err(_) => return HttpResponse::away(),
        };
        let fetched = match held {
            Some(_) => None,
            None => match self.fetch_key(&btid, &naf).await {
                Ok(document) => Some(document),
                // No such bootstrapping: the terminal is to make a new one (TS 24.109 clause 5).
                Err(RetrieveError::Refused(_)) => return self.challenge(&naf, false),
                Err(_) => return HttpResponse::away(),
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
            (None, Some(impu)) if self.fetch(impu).await.is_err() => return HttpResponse::away(),
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
        let Ok(order) = Order::parse(body) else { return HttpResponse::provisioning(400, &Answer::malformed()) };
        let ims_peer = self.state.record(&impu).map_or(0, |record| record.ims_peer);
        let application = Application { impu, naf, btid, order, ims_peer };
        match self.register_user(&application, fetched).await {
            Ok(response) => HttpResponse::provisioning(200, &response),
            Err(ApplicationError::Key(why)) => {
                tracing::info!(impu = %application.impu, cause = %why, "broadcast registration failed");
                let refusal = application.order.refusal(StatusCode::USER_AUTHENTICATION_FAILED);
                HttpResponse::provisioning(403, &refusal)
            }
            Err(ApplicationError::Retrieve(_)) => HttpResponse::plain(503),
            Err(ApplicationError::Store(_)) => HttpResponse::away(),
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

/// Inside of a quoted-string.
fn escape(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .flat_map(|c| ['\\'].into_iter().filter(move |_| matches!(c, '"' | '\\')).chain([c]))
        .collect()
}

/// A request on its way to the worker that answers it.
pub struct Call {
    request: HttpRequest,
    answer: oneshot::Sender<HttpResponse>,
}

/// The HTTP service. Requests go through `calls` to [`serve`].
pub fn router(calls: mpsc::Sender<Call>) -> Router {
    Router::new().fallback(move |request: axum::extract::Request| {
        let calls = calls.clone();
        async move { into_axum(ask(calls, request).await) }
    })
}

/// Answers what comes through the channel, each request in a task of its own on this thread. Ends with the router.
pub async fn serve(bsm: Rc<Bsm>, mut calls: mpsc::Receiver<Call>) {
    while let Some(Call { request, answer }) = calls.recv().await {
        let worker = Rc::clone(&bsm);
        let job: Job = Box::pin(async move {
            // The other end is gone if the client hung up: then nobody wants the answer.
            tracing::trace!(target: "ladder", from = "UE", to = "BSM", what = "HTTP POST (Ua)");
            let response = worker.ua(request).await;
            tracing::trace!(target: "ladder", from = "BSM", to = "UE", what = "HTTP", status = response.status);
            let _ = answer.send(response);
        });
        (bsm.env.spawn)(job);
    }
}

async fn ask(calls: mpsc::Sender<Call>, request: axum::extract::Request) -> HttpResponse {
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > BODY_MAX as u64 {
        return HttpResponse::plain(413).with("connection", "close");
    }
    let body = match tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(body)) => body.to_vec(),
        Ok(Err(_)) => return HttpResponse::plain(413).with("connection", "close"),
        Err(_) => return HttpResponse::plain(408).with("connection", "close"),
    };
    let text = |headers: &HeaderMap, name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_string);
    let request = HttpRequest {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_string(),
        host: text(&parts.headers, header::HOST),
        authorization: text(&parts.headers, header::AUTHORIZATION),
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        body,
    };
    let (answer, answered) = oneshot::channel();
    if calls.try_send(Call { request, answer }).is_err() {
        return HttpResponse::plain(503).with("retry-after", "1");
    }
    answered.await.unwrap_or_else(|_| HttpResponse::plain(503))
}

fn into_axum(response: HttpResponse) -> axum::response::Response {
    let mut out = axum::response::Response::builder().status(response.status);
    for (name, value) in &response.headers {
        out = out.header(*name, value);
    }
    out.body(Body::from(response.body)).unwrap_or_else(|_| {
        let mut failed = axum::response::Response::new(Body::empty());
        *failed.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        failed
    })
}

#[cfg(test)]
#[path = "ua_tests.rs"]
mod tests;
