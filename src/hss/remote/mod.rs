//! A foreign HSS over Diameter (rank 3): [`Hss`] asked with Cx and Sh requests through an [`Exchange`].
//!
//! The S-CSCF sends MAR and SAR, and as the I-CSCF in the same box UAR. Vectors beyond the one that is needed are kept
//! (`vectors`), and so is the profile of each registered user (`held`): what it says of his broadcast subscription is right
//! until the HSS says otherwise with a PPR (`pushed`), so it need not be asked for. The broadcast registration is written to the
//! HSS over Sh (`repository`), whose changes this node has itself told of (`notified`); the BSF's vectors come over Zh (`bootstrapping`), or over Cx where no Zh is spoken.

mod bootstrapping;
mod held;
mod locate;
mod notified;
mod pushed;
mod repository;
mod settings;
mod unregistered;
mod vectors;
pub(super) mod verdict;
mod watch;

pub use pushed::{Push, Pushed, Users};

use super::profile::{ImsSubscription, NAF};
use super::{
    Assignment, AuthItem, AuthScheme, Bootstrapping, BroadcastState, BroadcastSubscription, Entry, Hss, HssError,
    Locate, Profile, RegState, UserData,
};
use crate::aka::vector::{Auts, Rand};
use crate::answer::Answer;
use crate::auth::digest::{Algorithm, Password};
use crate::clock::Now;
use crate::diameter::cx::{self, Given, Maa, Mar, Sar, Scheme, ServerAssignment, SipDigest};
use crate::diameter::dictionary::application::CX;
use crate::diameter::dictionary::{SESSION_ID, USER_DATA, command};
use crate::diameter::exchange::{Destination, Exchange, Reply};
use crate::diameter::{Origin, Writer, request};
use crate::identity::{Impi, Impu};
use crate::sip::{Host, Uri};
use held::Profiles;
use repository::Repositories;
use settings::Gusses;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use unregistered::Unregistered;
use vectors::Vectors;
use watch::Watches;

#[derive(Debug, Clone)]
pub struct Settings {
    pub origin: Origin,
    /// URI of this S-CSCF: Server-Name.
    pub server: String,
    /// Digest realm: HA1 of another is of no use.
    pub domain: String,
    /// Asks with UAR before MAR, and names this network where the request names none; None: another one is the I-CSCF.
    pub visited_network: Option<String>,
    /// What this S-CSCF is able to do, by the operator's numbers.
    pub capabilities: Vec<u32>,
    /// Vectors asked for at once.
    pub vectors: u32,
    /// How long those that are not used at once are good.
    pub vector_lifetime: Duration,
    /// Users whose vectors, and users whose profiles are kept.
    pub users: usize,
    /// The broadcast servers as filter criteria name them: URIs.
    pub broadcast_servers: Vec<String>,
    /// Of the HSS, where the operator names it.
    pub host: Option<Arc<str>>,
    pub realm: Option<Arc<str>>,
    /// Whether it speaks Cx: a node that is a broadcast server alone asks for nothing there.
    pub cx: bool,
    /// Whether it speaks Sh: what Cx cannot tell it is not told otherwise.
    pub sh: bool,
    /// Whether it speaks Zh: else the BSF takes its vectors from Cx.
    pub zh: bool,
}

pub struct RemoteHss {
    exchange: Arc<dyn Exchange>,
    settings: Settings,
    /// In canonical form; one that is named by its domain has the name at every port.
    broadcast_servers: Vec<String>,
    vectors: Vectors,
    /// Of users who are registered here.
    profiles: Profiles,
    repositories: Repositories,
    watches: Watches,
    unregistered: Unregistered,
    gusses: Gusses,
    away: AtomicBool,
    /// The HSS does not know the scheme "Unknown": it is asked for AKA, then for SIP Digest.
    wants_scheme: AtomicBool,
    session: AtomicU64,
    /// The minute in which ended things were last cleared away.
    tidied: AtomicU64,
}

impl RemoteHss {
    pub fn new(exchange: Arc<dyn Exchange>, settings: Settings, now: Now) -> Self {
        let canonical = |uri: &String| Uri::parse(uri.as_bytes()).ok().map(|uri| uri.aor().into_owned());
        RemoteHss {
            exchange,
            broadcast_servers: settings.broadcast_servers.iter().filter_map(canonical).collect(),
            vectors: Vectors::new(settings.users, settings.vector_lifetime),
            profiles: Profiles::new(settings.users),
            repositories: Repositories::new(settings.users),
            watches: Watches::new(settings.users),
            unregistered: Unregistered::new(settings.users),
            gusses: Gusses::new(settings.users),
            away: AtomicBool::new(false),
            wants_scheme: AtomicBool::new(false),
            // Begins with the time, so that no restart says a Session-Id again (RFC 6733 §8.8).
            session: AtomicU64::new(now.unix.as_secs() << 32),
            tidied: AtomicU64::new(0),
            settings,
        }
    }

    pub(super) fn maintain(&self, now: Now) {
        let minute = now.mono.as_secs() / 60;
        if self.tidied.fetch_max(minute, Ordering::Relaxed) < minute {
            self.vectors.sweep(now.mono);
        }
    }

    fn session(&self) -> String {
        let number = self.session.fetch_add(1, Ordering::Relaxed);
        format!("{};{};{}", self.settings.origin.host, number >> 32, number & 0xffff_ffff)
    }

    /// Sends a request; its answer may be a refusal.
    async fn ask(&self, application: u32, command: u32, fill: impl FnOnce(&mut Writer)) -> Result<Reply, HssError> {
        let session = self.session();
        let mut writer = request(application, command, &session, &self.settings.origin);
        fill(&mut writer);
        let Settings { host, realm, .. } = &self.settings;
        let to = Destination { application, host: host.clone(), realm: realm.clone() };
        let reply = self.exchange.send(to, writer).await;
        // A registration hangs on Cx alone.
        if application == CX {
            let away = reply.as_ref().err().is_some_and(|failure| verdict::is_away(*failure));
            if self.away.swap(away, Ordering::Relaxed) != away {
                tracing::warn!("the HSS {}", if away { "does not answer" } else { "answers again" });
            }
        }
        let reply = reply?;
        // Vectors and profiles of another question may be another user's.
        let of_another = match reply.message()?.avps().get(&SESSION_ID) {
            Some(answered) => answered.text()? != session,
            None => false,
        };
        if of_another { Err(HssError::Garbled("an answer of another session".to_owned())) } else { Ok(reply) }
    }

    /// UAR of the I-CSCF in the same box.
    async fn admit(&self, impi: &Impi, impu: &Impu, visited_network: &str, entry: Entry) -> Result<(), HssError> {
        let kind = match entry {
            Entry::Registration => cx::Authorization::Registration,
            Entry::Deregistration => cx::Authorization::Deregistration,
        };
        let located = self.user_authorization(impi, impu, visited_network, kind).await?;
        if let Some(server) = located.server.filter(|server| *server != self.settings.server) {
            // Where I-CSCF and S-CSCF are one, there is no other: the HSS learns so from MAR (TS 29.228 §6.3.1).
            tracing::info!(%impi, server, "the HSS has another S-CSCF for the user: taken over");
        }
        let has = |number: &u32| self.settings.capabilities.contains(number);
        if located.capabilities.mandatory.iter().all(has) { Ok(()) } else { Err(HssError::NoServer) }
    }

    async fn auth(
        &self,
        impi: &Impi,
        impu: &Impu,
        scheme: AuthScheme,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Result<AuthItem, HssError> {
        // HSSs of before release 8 have no "Unknown": whether the user has a card or a password is then found by trying.
        let schemes: &[Scheme<'_>] = match scheme {
            _ if resync.is_some() => &[Scheme::Aka],
            AuthScheme::Unknown if self.wants_scheme.load(Ordering::Relaxed) => &[Scheme::Aka, Scheme::SipDigest],
            AuthScheme::Unknown => &[Scheme::Unknown, Scheme::Aka, Scheme::SipDigest],
            AuthScheme::DigestAka => &[Scheme::Aka],
            AuthScheme::SipDigest => &[Scheme::SipDigest],
        };
        for scheme in schemes {
            match self.ask_for(impi, impu, *scheme, resync, now).await {
                Err(HssError::SchemeNotSupported) => {}
                answer => {
                    if answer.is_ok() && schemes.first() != Some(scheme) && schemes.contains(&Scheme::Unknown) {
                        self.wants_scheme.store(true, Ordering::Relaxed);
                    }
                    return answer;
                }
            }
        }
        Err(HssError::SchemeNotSupported)
    }

    async fn ask_for(
        &self,
        impi: &Impi,
        impu: &Impu,
        scheme: Scheme<'_>,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Result<AuthItem, HssError> {
        let Settings { vectors, server, .. } = &self.settings;
        let mar = Mar { impi: impi.as_str(), impu: impu.as_str(), items: (*vectors).max(1), scheme, resync, server };
        let reply = self.ask(CX, command::MULTIMEDIA_AUTH, |writer| mar.write(writer)).await?;
        let answer = reply.message()?;
        verdict::of(&answer)?;
        let mut items = Maa::read(answer.avps())?.items.into_iter().map(|item| item.given);
        match items.next() {
            Some(Given::Aka(vector)) => {
                let more = items.filter_map(|given| match given {
                    Given::Aka(vector) => Some(vector),
                    _ => None,
                });
                self.vectors.keep(impi, more, now.mono);
                Ok(AuthItem::Aka(vector))
            }
            Some(Given::Digest(digest)) => {
                let password = self.password(&digest)?;
                self.vectors.keep_password(impi, &password, now.mono);
                Ok(AuthItem::Digest { password })
            }
            Some(Given::Other(scheme)) => {
                tracing::warn!(%impi, scheme, "the HSS authenticates the user in a way that this server has not");
                Err(HssError::SchemeNotSupported)
            }
            None => Err(HssError::NoVector("the HSS gives none")),
        }
    }

    fn password(&self, digest: &SipDigest<'_>) -> Result<Password, HssError> {
        if digest.realm != self.settings.domain {
            return Err(HssError::Garbled(format!("HA1 of another realm, {}", digest.realm)));
        }
        let algorithm = Algorithm::from_bytes(digest.algorithm.unwrap_or("MD5").as_bytes());
        let password = algorithm.and_then(|algorithm| Password::ha1(algorithm, &digest.ha1));
        password.ok_or_else(|| HssError::Garbled("HA1".to_owned()))
    }

    /// Vectors for the next REGISTERs of a registered user who has none left.
    async fn restock(&self, impi: Impi, impu: Impu, now: Now) {
        let is_registered = || self.profiles.get(impi.as_str()).is_some();
        if self.vectors.has(&impi, now.mono) || !is_registered() {
            return; // a REGISTER was faster
        }
        match self.auth(&impi, &impu, AuthScheme::Unknown, None, now).await {
            Ok(AuthItem::Aka(vector)) => self.vectors.give_back(&impi, vector, now.mono),
            Ok(AuthItem::Digest { .. }) => {}
            Err(why) => tracing::debug!(%impi, %why, "no vectors beforehand"),
        }
        if !is_registered() {
            self.vectors.forget(&impi);
        }
    }

    async fn assign(&self, impi: &Impi, impu: &Impu, kind: Assignment) -> Result<Profile, HssError> {
        let ends = matches!(
            kind,
            Assignment::UserDeregistration
                | Assignment::TimeoutDeregistration
                | Assignment::AdministrativeDeregistration
        );
        if ends {
            // Whatever the HSS says: the user is not served here any more.
            self.forget(impi);
        }
        let registers = matches!(kind, Assignment::Registration | Assignment::ReRegistration);
        let asking = registers.then(|| self.profiles.ask(impi, kind == Assignment::Registration));
        let sar = Sar {
            impi: Some(impi.as_str()),
            impus: vec![impu.as_str()],
            wildcard: None,
            server: &self.settings.server,
            kind: kind.into(),
            has_profile: self.profiles.get(impi.as_str()).is_some(),
            restoration: None,
            multiple: false,
        };
        let reply = self.ask(CX, command::SERVER_ASSIGNMENT, |writer| sar.write(writer)).await?;
        let answer = reply.message()?;
        verdict::of(&answer)?;
        if !registers && kind != Assignment::UnregisteredUser {
            return Ok(Profile::new([impu.clone()], BroadcastSubscription::None));
        }
        // All of the answer that counts here.
        let given = answer.avps().octets(&USER_DATA).map(|document| self.read_profile(document)).transpose()?;
        let latest = match &asking {
            Some(asking) => asking.latest(given),
            None => given,
        };
        let mut profile = latest.ok_or_else(|| HssError::Garbled("no user profile".to_owned()))?;
        // A document that leaves out who was asked about: the HSS has taken him all the same.
        if !profile.has(impu) {
            profile.barred = profile.barred.iter().chain([impu]).cloned().collect();
        }
        if profile.impus.is_empty() {
            return Err(HssError::Garbled("a user profile without a public identity that is not barred".to_owned()));
        }
        if let Some(asking) = asking {
            self.unregistered.forget(impi);
            asking.settle(&profile);
            if self.settings.vectors > 1 {
                self.vectors.look_after(impi, impu);
            }
        }
        Ok(profile)
    }

    fn read_profile(&self, document: &[u8]) -> Result<Profile, HssError> {
        let read = ImsSubscription::parse(document).map_err(|why| HssError::Garbled(why.to_string()))?;
        Ok(self.as_profile(&read))
    }

    fn as_profile(&self, read: &ImsSubscription) -> Profile {
        read.profile(|name| Uri::parse(name.as_bytes()).is_ok_and(|uri| self.is_broadcast_server(&uri)))
    }

    fn is_broadcast_server(&self, uri: &Uri<'_>) -> bool {
        let is = |name: &str| self.broadcast_servers.iter().any(|server| server == name);
        let Uri::Sip(sip) = uri else { return false };
        let domain = match &sip.host {
            Host::Name(name) => Some(Cow::Borrowed(*name)),
            Host::V4(_) | Host::V6(_) => sip.param(NAF),
        };
        let named = domain.as_deref().and_then(|name| std::str::from_utf8(name).ok());
        let named = named.map(|name| format!("sip:{}", name.trim_end_matches('.').to_ascii_lowercase()));
        is(&uri.aor()) || named.is_some_and(|named| is(&named))
    }

    fn forget(&self, impi: &Impi) {
        self.profiles.end(impi);
        self.unregistered.forget(impi);
        self.vectors.forget(impi);
    }
}

impl From<Assignment> for ServerAssignment {
    fn from(kind: Assignment) -> Self {
        match kind {
            Assignment::Registration => ServerAssignment::Registration,
            Assignment::ReRegistration => ServerAssignment::ReRegistration,
            Assignment::UnregisteredUser => ServerAssignment::UnregisteredUser,
            Assignment::UserDeregistration => ServerAssignment::UserDeregistration,
            Assignment::TimeoutDeregistration => ServerAssignment::TimeoutDeregistration,
            Assignment::AdministrativeDeregistration => ServerAssignment::AdministrativeDeregistration,
            Assignment::AuthenticationFailure => ServerAssignment::AuthenticationFailure,
            Assignment::AuthenticationTimeout => ServerAssignment::AuthenticationTimeout,
        }
    }
}

impl Hss for RemoteHss {
    fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed) || (self.settings.cx && self.exchange.is_cut_off(CX))
    }

    /// Where the HSS is away, a user who still has vectors here was let in not long ago.
    fn authorize<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        visited_network: Option<&'a str>,
        entry: Entry,
        now: Now,
    ) -> Answer<'a, Result<(), HssError>> {
        let Some(own) = &self.settings.visited_network else { return Answer::now(Ok(())) };
        Answer::later(async move {
            let visited_network = visited_network.unwrap_or(own);
            match self.admit(impi, impu, visited_network, entry).await {
                Err(HssError::Unavailable(_) | HssError::Busy) if self.vectors.has(impi, now.mono) => Ok(()),
                answer => answer,
            }
        })
    }

    fn multimedia_auth<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        scheme: AuthScheme,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Answer<'a, Result<AuthItem, HssError>> {
        if resync.is_some() {
            self.vectors.forget(impi);
        } else if scheme != AuthScheme::SipDigest
            && let Some(vector) = self.vectors.take(impi, now.mono)
        {
            return Answer::now(Ok(AuthItem::Aka(vector)));
        }
        Answer::later(async move {
            let answer = self.auth(impi, impu, scheme, resync, now).await;
            if scheme == AuthScheme::DigestAka {
                return answer;
            }
            match answer {
                Err(why @ (HssError::Unavailable(_) | HssError::Busy)) => {
                    let password = self.vectors.password(impi, now.mono);
                    password.map(|password| AuthItem::Digest { password }).ok_or(why)
                }
                // He has a card, or the HSS says no: the password that he had is no more.
                Ok(AuthItem::Aka(_)) | Err(_) => {
                    self.vectors.forget_password(impi);
                    answer
                }
                Ok(AuthItem::Digest { .. }) => answer,
            }
        })
    }

    fn server_assignment<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        kind: Assignment,
        _: Now,
    ) -> Answer<'a, Result<Profile, HssError>> {
        Answer::later(self.assign(impi, impu, kind))
    }

    fn serve_unregistered<'a>(&'a self, impu: &'a Impu, now: Now) -> Answer<'a, Option<Result<(), HssError>>> {
        match self.settings.cx {
            true => Answer::later(async move { Some(self.take_up(impu, now).await) }),
            false => Answer::now(None),
        }
    }

    fn bootstrapping<'a>(
        &'a self,
        impi: &'a Impi,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Answer<'a, Result<Bootstrapping, HssError>> {
        Answer::later(self.bootstrap(impi, resync, now))
    }

    fn broadcast_subscription<'a>(&'a self, impi: &'a Impi) -> Answer<'a, Result<BroadcastSubscription, HssError>> {
        let held = self.profiles.get(impi.as_str()).map(|held| held.broadcast.clone());
        Answer::now(held.ok_or(HssError::NotTold))
    }

    fn broadcast_update<'a>(
        &'a self,
        impu: &'a Impu,
        state: BroadcastState,
        now: Now,
    ) -> Answer<'a, Result<(), HssError>> {
        match self.settings.sh {
            true => Answer::later(self.write_registration(impu, state, now)),
            false => Answer::now(Ok(())),
        }
    }

    /// Cx has no such question: the private identity is the public one without its scheme (TS 24.229 §5.4.1.2.1).
    fn private_identity<'a>(&'a self, impu: &'a Impu) -> Answer<'a, Result<Impi, HssError>> {
        Answer::now(impu.as_str().strip_prefix("sip:").map(Impi::from).ok_or(HssError::UserUnknown))
    }

    fn user_data<'a>(&'a self, identity: &'a str) -> Answer<'a, Result<UserData, HssError>> {
        if self.settings.sh {
            let public = identity.starts_with("sip:") || identity.starts_with("tel:");
            let impu = if public { Impu::from(identity) } else { Impu::new(format!("sip:{identity}")) };
            return Answer::later(self.read_user(impu));
        }
        let impi = identity.strip_prefix("sip:").unwrap_or(identity);
        let held = self.profiles.get(impi).map(|held| (held, RegState::Registered));
        let held = held.or_else(|| self.unregistered.profile(impi).map(|held| (held, RegState::NotRegistered)));
        Answer::now(held.ok_or(HssError::UserUnknown).map(|(held, ims)| UserData {
            impi: Impi::from(impi),
            impus: held.impus.clone(),
            broadcast: held.broadcast.clone(),
            ims,
            ims_since: None,
            registration: None,
        }))
    }
}

#[cfg(test)]
mod held_tests;
#[cfg(test)]
mod notified_tests;
#[cfg(test)]
mod tests;
