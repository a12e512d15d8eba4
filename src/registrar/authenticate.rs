//! Challenge and verdict of a REGISTER (TS 24.229 §5.4.1.2, RFC 3310, TS 33.203 §6.1).

use super::register::Asked;
use super::scscf::{Refusal, Scscf};
use crate::aka::vector::{Auts, Rand};
use crate::auth::challenge::{self, Challenge, Secret};
use crate::auth::digest::{Algorithm, Digest, Qop, QopKind};
use crate::auth::nonce;
use crate::broadcast::identify::Portion;
use crate::hss::{Assignment, AuthItem, AuthScheme, HssError};
use crate::identity::Impu;
use crate::sip::transaction::Source;
use crate::sip::{AuthParams, HeaderName, Message, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::net::SocketAddr;

/// What is remembered with a challenge of the REGISTER that caused it.
#[derive(Debug)]
pub struct Memo {
    pub(super) impu: Impu,
    /// The 401 carried CK and IK.
    pub(super) keys_sent: bool,
    pub(super) found: Option<Found>,
}

/// The identification module's find: it counts later only if the answer comes from the same place, since nobody has
/// shown yet that it is the user's.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) origin: Origin,
    pub(super) portion: Remembered,
}

/// The broadcast portion that counts for a REGISTER.
#[derive(Debug)]
pub enum Remembered {
    Portion(Portion),
    /// It had to be let go under load (see [`challenge::Memo`]).
    Shed {
        all_or_nothing: bool,
    },
    /// Nobody has shown that it is the user's: there is no key that could go with it.
    Unproven,
}

impl Remembered {
    pub(super) fn portion(&self) -> Option<&Portion> {
        match self {
            Remembered::Portion(portion) => Some(portion),
            Remembered::Shed { .. } | Remembered::Unproven => None,
        }
    }

    pub(super) fn is_all_or_nothing(&self) -> bool {
        match self {
            Remembered::Portion(portion) => portion.all_or_nothing,
            Remembered::Shed { all_or_nothing } => *all_or_nothing,
            Remembered::Unproven => false,
        }
    }
}

impl Memo {
    /// Whose challenge it was, for the HSS when nobody answers.
    pub(super) fn impu(&self) -> &Impu {
        &self.impu
    }
}

impl challenge::Memo for Memo {
    fn octets(&self) -> usize {
        match &self.found {
            Some(Found { portion: Remembered::Portion(portion), .. }) => portion.size(),
            _ => 0,
        }
    }

    fn shed(&mut self) {
        if let Some(Found { portion, .. }) = &mut self.found
            && let Remembered::Portion(Portion { all_or_nothing, .. }) = *portion
        {
            *portion = Remembered::Shed { all_or_nothing };
        }
    }
}

/// By what a second REGISTER is known to continue the first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Hash of Call-ID, To, From and Contact.
    pub(super) fields: [u8; 32],
    pub(super) address: SocketAddr,
    pub(super) reliable: bool,
}

impl Origin {
    fn of(request: &Message<'_>, source: &Source) -> Self {
        let mut hash = Sha256::new();
        let mut add = |field: &[u8]| {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        };
        add(request.call_id().unwrap_or_default());
        add(request.to().map(|to| to.uri_raw).unwrap_or_default());
        add(request.from().map(|from| from.uri_raw).unwrap_or_default());
        request.headers(HeaderName::Contact).for_each(add);
        Origin { fields: hash.finalize().into(), address: source.addr, reliable: source.transport.is_reliable() }
    }

    /// Same source means the same address; over a stream the port may differ if the terminal connected anew.
    fn is_continued_by(&self, other: &Origin) -> bool {
        let same_place = if self.reliable && other.reliable {
            self.address.ip() == other.address.ip()
        } else {
            self.address == other.address
        };
        same_place && self.fields == other.fields
    }
}

/// The terminal is who it says.
pub struct Authenticated {
    /// Ks comes from it if it is an AKA vector.
    pub secret: Option<Secret>,
    /// The broadcast portion that counts.
    pub portion: Option<Remembered>,
    /// Authentication-Info for the 200 (RFC 7616 §3.5), for passwords.
    pub info: Option<String>,
    /// Whether CK and IK went to the P-CSCF in the 401.
    pub keys_sent: bool,
}

pub enum Verdict {
    /// The 401.
    Challenge(Vec<u8>),
    Authenticated(Box<Authenticated>),
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
        let find = |portion: Option<Portion>| {
            portion.map(|p| Found { origin: Origin::of(request, source), portion: Remembered::Portion(p) })
        };
        let Some(credentials) = &asked.credentials else {
            return self.challenge(request, source, asked, find(portion), offer, None).await;
        };
        let nonce = credentials.get("nonce").unwrap_or_default();
        if nonce.is_empty() {
            if self.is_protected_refresh(credentials, source, asked) {
                return Ok(vouched_for(portion));
            }
            return self.challenge(request, source, asked, find(portion), offer, None).await;
        }
        let now = self.now();
        let Some(held) = self.recall(&asked.impi, &nonce, now).await? else {
            // Not ours, spent, or too old: never 403, the terminal may just have been slow (TS 24.229 §5.4.1.2.2).
            let refresh = self.is_protected_refresh(credentials, source, asked).then(|| portion.clone());
            let challenge = self.challenge(request, source, asked, find(portion), offer, None).await;
            return match refresh {
                // A terminal says the last nonce again in each refresh; where no new one can be had, the P-CSCF's word will do.
                Some(portion) if is_unanswered(&challenge) && self.shared.hss.is_away() => Ok(vouched_for(portion)),
                _ => challenge,
            };
        };
        // What this request carries counts; else what the first one carried, if this one continues it.
        let Challenge { algorithms, secret, resyncs, memo: Memo { keys_sent, found, .. }, .. } = held;
        let earlier = match portion {
            Some(_) => None,
            None => found.filter(|found| found.origin.is_continued_by(&Origin::of(request, source))),
        };
        let response = credentials.get("response").unwrap_or_default();
        if let (Some(auts), Secret::Aka(vector)) = (credentials.get("auts").filter(|auts| !auts.is_empty()), &secret) {
            if resyncs > 0 {
                self.report_failure(asked, Assignment::AuthenticationFailure).await;
                return Err(Refusal::because(403, "one resynchronisation per registration attempt"));
            }
            let auts = nonce::decode_auts(&auts).map_err(|why| Refusal::because(400, why))?;
            tracing::info!(impi = %asked.impi, "resynchronisation asked for by the card");
            let found = find(portion).or(earlier);
            return self.challenge(request, source, asked, found, offer, Some((vector.rand, auts))).await;
        }
        if response.is_empty() {
            self.report_failure(asked, Assignment::AuthenticationFailure).await;
            return Err(Refusal::because(403, "the terminal refused the network's authentication (MAC)"));
        }
        let Some((algorithm, password)) = accepted(credentials, &algorithms, &secret) else {
            self.report_failure(asked, Assignment::AuthenticationFailure).await;
            return Err(Refusal::because(403, "digest algorithm was not offered"));
        };
        let digest = digest_of(credentials, algorithm, &nonce)?;
        if !self.names_us(&digest) {
            return Err(Refusal::because(400, "digest uri names another domain"));
        }
        if !digest.as_digest(request).verify(&password, &response) {
            tracing::info!(impi = %asked.impi, algorithm = algorithm.as_str(), "digest response is wrong");
            self.report_failure(asked, Assignment::AuthenticationFailure).await;
            return Err(Refusal::because(403, "digest response is wrong"));
        }
        let info = (!algorithm.is_aka() && digest.qop.is_some()).then(|| digest.info(request, &password));
        let portion = portion.map(Remembered::Portion).or_else(|| earlier.map(|found| found.portion));
        Ok(Verdict::Authenticated(Box::new(Authenticated { secret: Some(secret), portion, info, keys_sent })))
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

    /// Remembers a fresh challenge and writes the 401; `resync`: the card's answer to the one before.
    async fn challenge(
        &self,
        request: &Message<'_>,
        source: &Source,
        asked: &Asked<'_>,
        found: Option<Found>,
        offer: Option<Vec<Algorithm>>,
        resync: Option<(Rand, Auts)>,
    ) -> Result<Verdict, Refusal> {
        let settings = &self.shared.settings;
        let now = self.now();
        let resyncs = u8::from(resync.is_some());
        if resync.is_none() {
            let visited = asked.visited_network.as_deref();
            let allowed = self.shared.hss.authorize(&asked.impi, &asked.impu, visited, asked.entry, now).await;
            allowed.map_err(refusal_of)?;
        }
        tracing::trace!(target: "ladder", from = "S-CSCF", to = "HSS", what = if resync.is_some() { "MAR (AUTS)" } else { "MAR" });
        let item = self
            .shared
            .hss
            .multimedia_auth(&asked.impi, &asked.impu, AuthScheme::Unknown, resync, now)
            .await
            .map_err(refusal_of)?;
        let (secret, nonce, defaults) = match item {
            AuthItem::Aka(vector) => {
                tracing::trace!(target: "ladder", from = "HSS", to = "S-CSCF", what = "MAA RAND AUTN XRES CK IK");
                let nonce = nonce::encode(&vector.rand, &vector.autn);
                (Secret::Aka(vector), nonce, &settings.aka_algorithms)
            }
            AuthItem::Digest { password } => {
                let mut octets = [0; 24];
                getrandom::fill(&mut octets).map_err(|_| Refusal::new(500))?;
                (Secret::Password(password), STANDARD.encode(octets), &settings.digest_algorithms)
            }
        };
        let algorithms: Vec<Algorithm> = match offer {
            Some(offer) => offer,
            None => defaults.clone(),
        };
        let algorithms: Vec<_> = algorithms.into_iter().filter(|a| secret.password(*a).is_some()).collect();
        if algorithms.is_empty() {
            return Err(Refusal::because(403, "no algorithm is left for this subscriber"));
        }
        // auth-int covers the broadcast portion, so it is offered where there is one.
        let qop = if found.is_some() { "auth,auth-int" } else { "auth" };
        let mut response = self.response(request, 401, source);
        let mut keys_sent = false;
        for algorithm in &algorithms {
            let mut line = response.line(HeaderName::WwwAuthenticate);
            line.text("Digest realm=\"").text(&settings.domain).text("\",nonce=\"").text(&nonce).text("\",algorithm=");
            line.text(algorithm.as_str()).text(",qop=\"").text(qop).text("\"");
            if let (true, true, Secret::Aka(vector)) = (algorithm.is_aka(), self.sends_keys_to(source), &secret) {
                keys_sent = true;
                line.text(",ik=\"").hex(vector.ik.0).text("\",ck=\"").hex(vector.ck.0).text("\"");
            }
        }
        let memo = Memo { impu: asked.impu.clone(), keys_sent, found };
        let challenge = Challenge { nonce: nonce.into(), algorithms: algorithms.into(), secret, resyncs, memo };
        self.remember(&asked.impi, challenge, now).await?;
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
            Err(_) => is_bare_ipv6(&digest.uri),
        }
    }
}

/// The HSS has not said no: it has said nothing.
fn is_unanswered(challenge: &Result<Verdict, Refusal>) -> bool {
    matches!(challenge, Err(Refusal { status: 504, .. }))
}

/// A refresh that needs no answer to a challenge.
fn vouched_for(portion: Option<Portion>) -> Verdict {
    let portion = portion.map(Remembered::Portion);
    Verdict::Authenticated(Box::new(Authenticated { secret: None, portion, info: None, keys_sent: false }))
}

/// `sip:::1:5060`: an IPv6 address without its brackets, as SIPp writes it here and only here.
fn is_bare_ipv6(uri: &[u8]) -> bool {
    let is_address = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
    std::str::from_utf8(uri).ok().and_then(|text| text.strip_prefix("sip:")).is_some_and(|place| {
        is_address(place)
            || place.rsplit_once(':').is_some_and(|(host, port)| is_address(host) && port.parse::<u16>().is_ok())
    })
}

/// The algorithm that the terminal used, if it was offered and goes with the secret.
fn accepted(
    credentials: &AuthParams<'_>,
    offered: &[Algorithm],
    secret: &Secret,
) -> Option<(Algorithm, crate::auth::digest::Password)> {
    let algorithm = match credentials.get("algorithm") {
        Some(token) => Algorithm::from_bytes(&token)?,
        // RFC 7616 §3.4: absent means MD5; a terminal that leaves it out of its answer means the one offered.
        None => match offered {
            [only] => *only,
            _ => Algorithm::Md5,
        },
    };
    if !offered.contains(&algorithm) {
        return None;
    }
    Some((algorithm, secret.password(algorithm)?))
}

/// A digest's parameters as the terminal sent them.
struct DigestParams<'a> {
    algorithm: Algorithm,
    username: Cow<'a, [u8]>,
    realm: Cow<'a, [u8]>,
    uri: Cow<'a, [u8]>,
    nonce: &'a [u8],
    qop: Option<QopParams<'a>>,
}

struct QopParams<'a> {
    kind: QopKind,
    nc: Cow<'a, [u8]>,
    cnonce: Cow<'a, [u8]>,
}

fn digest_of<'a>(
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
            let cnonce = credentials.get("cnonce").ok_or_else(|| bad("qop without cnonce"))?;
            Some(QopParams { kind, nc, cnonce })
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
            qop: self.qop.as_ref().map(|q| Qop { kind: q.kind, nc: &q.nc, cnonce: &q.cnonce, body: request.body() }),
        }
    }

    fn info(&self, request: &Message<'_>, password: &crate::auth::digest::Password) -> String {
        let digest = self.as_digest(request);
        let Some(QopParams { nc, cnonce, .. }) = &self.qop else { return String::new() };
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
pub(crate) fn refusal_of(error: HssError) -> Refusal {
    match error {
        HssError::UserUnknown => Refusal::because(403, "user unknown"),
        HssError::IdentitiesDontMatch => Refusal::because(403, "public identity is not this user's"),
        HssError::SchemeNotSupported => Refusal::because(403, "authentication scheme not supported"),
        HssError::RoamingNotAllowed => Refusal::because(403, "roaming not allowed"),
        HssError::NotAuthorized | HssError::NotRegistered => Refusal::because(403, error),
        HssError::AlreadyRegistered => Refusal::because(403, "public identity is registered by another user"),
        HssError::NoServer => Refusal::new(600),
        HssError::NotTold | HssError::Refused(_) | HssError::Garbled(_) => {
            tracing::warn!(why = %error, "no sense in what the HSS says");
            Refusal::new(500)
        }
        HssError::Busy => Refusal::new(480).with(HeaderName::RetryAfter, 5),
        HssError::ResyncRefused => Refusal::because(403, "resynchronisation refused"),
        HssError::NoVector(why) => {
            tracing::debug!(why, "no vector");
            Refusal::new(503).with(HeaderName::RetryAfter, 5)
        }
        HssError::Unavailable(_) => Refusal::new(504).with(HeaderName::RetryAfter, 5),
    }
}
