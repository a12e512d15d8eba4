//! Challenge and verdict of a REGISTER (TS 24.229 §5.4.1.2, RFC 3310, TS 33.203 §6.1).

use super::register::Asked;
use super::scscf::{Refusal, Scscf};
use crate::aka::vector::{Auts, Rand};
use crate::auth::challenge::{Challenge, Secret};
use crate::auth::digest::{Algorithm, Digest, Qop, QopKind};
use crate::broadcast::identify::Portion;
use crate::hss::{Assignment, AuthItem, AuthScheme, HssError};
use crate::sip::transaction::Source;
use crate::sip::{AuthParams, HeaderName, Message, Uri};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// What is remembered with a challenge of the REGISTER that caused it: the identification
/// module's find counts later only if the answer comes from the same place (flows.md 4).
#[derive(Debug)]
pub struct Memo {
    pub origin: Origin,
    pub portion: Option<Portion>,
}

impl Memo {
    fn size(&self) -> usize {
        let Origin { call_id, to, from, contact, .. } = &self.origin;
        let texts: usize = [call_id, to, from, contact].iter().map(|text| text.len()).sum();
        texts + self.portion.as_ref().map_or(0, Portion::size)
    }
}

/// By what a second REGISTER is known to continue the first.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    call_id: Box<[u8]>,
    to: Box<[u8]>,
    from: Box<[u8]>,
    contact: Box<[u8]>,
    address: std::net::SocketAddr,
    reliable: bool,
}

impl Origin {
    fn of(request: &Message<'_>, source: &Source) -> Self {
        let uri = |value: Result<crate::sip::NameAddr<'_>, _>| value.map(|v| v.uri_raw.into()).unwrap_or_default();
        Origin {
            call_id: request.call_id().unwrap_or_default().into(),
            to: uri(request.to()),
            from: uri(request.from()),
            contact: request.header(HeaderName::Contact).unwrap_or_default().into(),
            address: source.addr,
            reliable: source.transport.is_reliable(),
        }
    }

    /// Same source means the same address; over a stream the port may differ if the terminal connected anew.
    fn is_continued_by(&self, other: &Origin) -> bool {
        let same_place = if self.reliable && other.reliable {
            self.address.ip() == other.address.ip()
        } else {
            self.address == other.address
        };
        same_place
            && (&self.call_id, &self.to, &self.from, &self.contact)
                == (&other.call_id, &other.to, &other.from, &other.contact)
    }
}

/// The terminal is who it says.
pub struct Authenticated {
    /// Ks comes from it if it is an AKA vector.
    pub secret: Option<Secret>,
    /// The broadcast portion that counts.
    pub portion: Option<Portion>,
    /// Authentication-Info for the 200 (RFC 7616 §3.5), for passwords.
    pub info: Option<String>,
    /// Whether CK and IK went to the P-CSCF in the 401.
    pub keys_sent: bool,
}

pub enum Verdict {
    /// The 401.
    Challenge(Vec<u8>),
    Authenticated(Authenticated),
}

impl Scscf {
    /// Reads the request's credentials and settles whether it is answered with a challenge or goes on.
    /// `portion`: what the identification module found in this request.
    pub(super) async fn authenticate(
        &self,
        request: &Message<'_>,
        source: &Source,
        asked: &Asked<'_>,
        portion: Option<Portion>,
        offer: Option<Vec<Algorithm>>,
    ) -> Result<Verdict, Refusal> {
        let Some(credentials) = &asked.credentials else {
            return self.challenge(request, source, asked, portion, offer, None, 0).await;
        };
        let nonce = credentials.get("nonce").unwrap_or_default();
        if nonce.is_empty() {
            if self.is_protected_refresh(credentials, source, asked) {
                let settled = Authenticated { secret: None, portion, info: None, keys_sent: false };
                return Ok(Verdict::Authenticated(settled));
            }
            return self.challenge(request, source, asked, portion, offer, None, 0).await;
        }
        let now = self.now();
        let Some(held) = self.shared.challenges.take(asked.impi.as_str(), &nonce, now.mono) else {
            // Not ours, spent, or too old: never 403, the terminal may just have been slow (TS 24.229 §5.4.1.2.2).
            return self.challenge(request, source, asked, portion, offer, None, 0).await;
        };
        let response = credentials.get("response").unwrap_or_default();
        if let (Some(auts), Secret::Aka(vector)) = (credentials.get("auts"), &held.secret) {
            return self.resynchronise(request, source, asked, portion, offer, vector.rand, &auts, held.resyncs).await;
        }
        if response.is_empty() {
            self.report_failure(asked, Assignment::AuthenticationFailure).await;
            return Err(Refusal::because(403, "the terminal refused the network's authentication (MAC)"));
        }
        let Some((algorithm, password)) = accepted(credentials, &held) else {
            self.report_failure(asked, Assignment::AuthenticationFailure).await;
            return Err(Refusal::because(403, "digest algorithm was not offered"));
        };
        let digest = digest_of(request, credentials, algorithm, &nonce)?;
        if !self.names_us(&digest) {
            return Err(Refusal::because(400, "digest uri names another domain"));
        }
        if !digest.as_digest(request).verify(&password, &response) {
            tracing::info!(impi = %asked.impi, algorithm = algorithm.as_str(), "digest response is wrong");
            self.report_failure(asked, Assignment::AuthenticationFailure).await;
            return Err(Refusal::because(403, "digest response is wrong"));
        }
        let info = (!algorithm.is_aka() && digest.qop.is_some()).then(|| digest.info(request, &password));
        // What this request carries counts; else what the first one carried, if this one continues it.
        let portion = match portion {
            Some(portion) => Some(portion),
            None if held.memo.origin.is_continued_by(&Origin::of(request, source)) => held.memo.portion,
            None => None,
        };
        let keys_sent = self.sends_keys_to(source) && algorithm.is_aka();
        Ok(Verdict::Authenticated(Authenticated { secret: Some(held.secret), portion, info, keys_sent }))
    }

    /// A re-registration over the security association that a trusted P-CSCF vouches for (TS 24.229 §5.4.1.2.2).
    fn is_protected_refresh(&self, credentials: &AuthParams<'_>, source: &Source, asked: &Asked<'_>) -> bool {
        let vouched = credentials
            .get("integrity-protected")
            .is_some_and(|v| matches!(&*v, b"yes" | b"tls-yes" | b"ip-assoc-yes" | b"auth-done"));
        vouched && self.shared.is_trusted(source) && self.shared.table.with(asked.impi.as_str(), |r| r.is_some())
    }

    fn sends_keys_to(&self, source: &Source) -> bool {
        self.shared.settings.send_ck_ik && self.shared.is_trusted(source)
    }

    #[allow(clippy::too_many_arguments)] // one call's worth of a procedure, not an interface
    async fn resynchronise(
        &self,
        request: &Message<'_>,
        source: &Source,
        asked: &Asked<'_>,
        portion: Option<Portion>,
        offer: Option<Vec<Algorithm>>,
        rand: Rand,
        auts: &[u8],
        resyncs: u8,
    ) -> Result<Verdict, Refusal> {
        if resyncs > 0 {
            self.report_failure(asked, Assignment::AuthenticationFailure).await;
            return Err(Refusal::because(403, "one resynchronisation per registration attempt"));
        }
        let auts = STANDARD_NO_PAD
            .decode(auts.trim_ascii_end().strip_suffix(b"=").unwrap_or(auts))
            .ok()
            .and_then(|octets| <[u8; 14]>::try_from(octets).ok())
            .ok_or_else(|| Refusal::because(400, "auts is not base64 of 14 octets"))?;
        tracing::info!(impi = %asked.impi, "resynchronisation asked for by the card");
        self.challenge(request, source, asked, portion, offer, Some((rand, Auts(auts))), 1).await
    }

    #[allow(clippy::too_many_arguments)]
    async fn challenge(
        &self,
        request: &Message<'_>,
        source: &Source,
        asked: &Asked<'_>,
        portion: Option<Portion>,
        offer: Option<Vec<Algorithm>>,
        resync: Option<(Rand, Auts)>,
        resyncs: u8,
    ) -> Result<Verdict, Refusal> {
        let settings = &self.shared.settings;
        let now = self.now();
        tracing::trace!(target: "ladder", from = "S-CSCF", to = "HSS", what = if resync.is_some() { "MAR (AUTS)" } else { "MAR" }, impi = %asked.impi);
        let item = self
            .shared
            .hss
            .multimedia_auth(&asked.impi, &asked.impu, AuthScheme::Unknown, resync, now)
            .await
            .map_err(refusal_of)?;
        let (secret, nonce, defaults) = match item {
            AuthItem::Aka(vector) => {
                let mut octets = [0; 32];
                octets[..16].copy_from_slice(&vector.rand.0);
                octets[16..].copy_from_slice(&vector.autn.0);
                tracing::trace!(target: "ladder", from = "HSS", to = "S-CSCF", what = "MAA RAND AUTN XRES CK IK", impi = %asked.impi);
                (Secret::Aka(vector), STANDARD.encode(octets), &settings.aka_algorithms)
            }
            AuthItem::Digest { password } => {
                let mut octets = [0; 24];
                getrandom::fill(&mut octets).map_err(|_| Refusal::new(500))?;
                (Secret::Password(password), STANDARD.encode(octets), &settings.digest_algorithms)
            }
        };
        let algorithms: Vec<Algorithm> = match offer {
            Some(offer) => offer.into_iter().filter(|a| secret.password(*a).is_some()).collect(),
            None => defaults.clone(),
        };
        if algorithms.is_empty() {
            return Err(Refusal::because(403, "no algorithm is left for this subscriber"));
        }
        // auth-int covers the broadcast portion, so it is offered where there is one.
        let qop = if portion.is_some() { "auth,auth-int" } else { "auth" };
        let mut response = self.response(request, 401, source);
        for algorithm in &algorithms {
            let mut value = format!(
                "Digest realm=\"{}\",nonce=\"{nonce}\",algorithm={},qop=\"{qop}\"",
                settings.domain,
                algorithm.as_str()
            );
            if let (true, true, Secret::Aka(vector)) = (algorithm.is_aka(), self.sends_keys_to(source), &secret) {
                use std::fmt::Write;
                for (name, key) in [("ik", &vector.ik), ("ck", &vector.ck)] {
                    let _ = write!(value, ",{name}=\"");
                    key.0.iter().for_each(|octet| {
                        let _ = write!(value, "{octet:02x}");
                    });
                    value.push('"');
                }
            }
            response.header(HeaderName::WwwAuthenticate, value);
        }
        let memo = Memo { origin: Origin::of(request, source), portion };
        let octets = memo.size();
        let challenge = Challenge { nonce: nonce.into(), algorithms: algorithms.into(), secret, resyncs, memo, octets };
        self.shared.challenges.put(&asked.impi, challenge, now.mono);
        Ok(Verdict::Challenge(response.finish()))
    }

    /// Tells the HSS of a failure; an existing registration stays as it is.
    async fn report_failure(&self, asked: &Asked<'_>, kind: Assignment) {
        let told = self.shared.hss.server_assignment(&asked.impi, &asked.impu, kind, self.now()).await;
        if let Err(why) = told {
            tracing::debug!(impi = %asked.impi, %why, "the HSS was not told of the failed authentication");
        }
    }

    /// The digest `uri` must name the home domain; a peer that puts this server's own address there means the same.
    fn names_us(&self, digest: &DigestParams<'_>) -> bool {
        match Uri::parse(&digest.uri) {
            Ok(uri) => self.is_home(&uri),
            Err(_) => false,
        }
    }
}

/// The algorithm that the terminal used, if it was offered and goes with the secret.
fn accepted(
    credentials: &AuthParams<'_>,
    held: &Challenge<Memo>,
) -> Option<(Algorithm, crate::auth::digest::Password)> {
    let algorithm = match credentials.get("algorithm") {
        Some(token) => Algorithm::from_bytes(&token)?,
        // RFC 7616 §3.4: absent means MD5; a terminal that leaves it out of its answer means the one offered.
        None if held.algorithms.len() == 1 => held.algorithms[0],
        None => Algorithm::Md5,
    };
    if !held.algorithms.contains(&algorithm) {
        return None;
    }
    Some((algorithm, held.secret.password(algorithm)?))
}

/// A digest's parameters as the terminal sent them.
struct DigestParams<'a> {
    algorithm: Algorithm,
    username: std::borrow::Cow<'a, [u8]>,
    realm: std::borrow::Cow<'a, [u8]>,
    uri: std::borrow::Cow<'a, [u8]>,
    nonce: &'a [u8],
    qop: Option<(QopKind, std::borrow::Cow<'a, [u8]>, std::borrow::Cow<'a, [u8]>)>,
}

fn digest_of<'a>(
    _request: &Message<'_>,
    credentials: &AuthParams<'a>,
    algorithm: Algorithm,
    nonce: &'a [u8],
) -> Result<DigestParams<'a>, Refusal> {
    let bad = |why: &str| Refusal::because(400, why);
    let qop = match credentials.get("qop") {
        None => None,
        Some(kind) => {
            let kind = match kind.to_ascii_lowercase().as_slice() {
                b"auth" => QopKind::Auth,
                b"auth-int" => QopKind::AuthInt,
                _ => return Err(bad("unknown qop")),
            };
            let nc = credentials.get("nc").ok_or_else(|| bad("qop without nc"))?;
            let count =
                std::str::from_utf8(&nc).ok().filter(|t| t.len() == 8).and_then(|t| u32::from_str_radix(t, 16).ok());
            // Every nonce is used once, so the only right count is 1; a terminal that counts on is still right once.
            if count.is_none_or(|count| count == 0) {
                return Err(bad("nc is not 8 hex digits above 0"));
            }
            Some((kind, nc, credentials.get("cnonce").ok_or_else(|| bad("qop without cnonce"))?))
        }
    };
    Ok(DigestParams {
        algorithm,
        username: credentials.get("username").unwrap_or_default(),
        realm: credentials.get("realm").unwrap_or_default(),
        uri: credentials.get("uri").ok_or_else(|| bad("Authorization without uri"))?,
        nonce,
        qop,
    })
}

impl DigestParams<'_> {
    fn as_digest<'s>(&'s self, request: &'s Message<'_>) -> Digest<'s> {
        Digest {
            algorithm: self.algorithm,
            username: &self.username,
            realm: &self.realm,
            method: request.method(),
            uri: &self.uri,
            nonce: self.nonce,
            qop: self.qop.as_ref().map(|(kind, nc, cnonce)| Qop { kind: *kind, nc, cnonce, body: request.body() }),
        }
    }

    fn info(&self, request: &Message<'_>, password: &crate::auth::digest::Password) -> String {
        let digest = self.as_digest(request);
        let Some((_, nc, cnonce)) = &self.qop else { return String::new() };
        // The response has no body that auth-int could cover beyond the empty one.
        let digest = Digest { qop: digest.qop.map(|q| Qop { kind: QopKind::Auth, ..q }), ..digest };
        format!(
            "qop=auth,rspauth=\"{}\",cnonce=\"{}\",nc={}",
            digest.rspauth(password),
            String::from_utf8_lossy(cnonce).replace(['"', '\\'], ""),
            String::from_utf8_lossy(nc)
        )
    }
}

/// What the HSS's refusals mean to the terminal (TS 24.229 §5.4.1.2).
pub(super) fn refusal_of(error: HssError) -> Refusal {
    match error {
        HssError::UserUnknown => Refusal::because(403, "user unknown"),
        HssError::IdentitiesDontMatch => Refusal::because(403, "public identity is not this user's"),
        HssError::SchemeNotSupported => Refusal::because(403, "authentication scheme not supported"),
        HssError::ResyncRefused => Refusal::because(403, "resynchronisation refused"),
        HssError::NoVector(_) => Refusal::new(503).with(HeaderName::RetryAfter, 5),
        HssError::Unavailable(_) => Refusal::new(504).with(HeaderName::RetryAfter, 5),
    }
}
