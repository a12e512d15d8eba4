//! Cx, the HSS's side (TS 29.228 §6.1 and §6.3; TS 29.229 §6.1).

use super::assignment::{Asking, Outcome, assign, authenticate, next};
use super::{Answered, HssServer, Refusal, origin_of};
use crate::auth::digest::ha1;
use crate::diameter::cx::{
    AuthItem, Authorization, Capabilities, Features, Given, Lia, Lir, Maa, Mar, Saa, Sar, Scheme, ServerAssignment,
    SipDigest, Uaa, Uar,
};
use crate::diameter::dictionary::{PUBLIC_IDENTITY, TGPP, USER_NAME};
use crate::diameter::fault::{base, tgpp};
use crate::diameter::{Fault, Message, ResultCode, Writer};
use crate::hss::embedded::Registration;
use crate::hss::embedded::foreign::{Change, Entry};
use crate::hss::{self, AuthScheme, RegState};
use crate::identity::{Impi, Impu};

/// Vectors given at a time.
const VECTORS: u32 = 5;
/// Octets kept for an S-CSCF of one user.
const RESTORATION: usize = 16 * 1024;
/// Features of Cx that are here.
const FEATURES: u32 = Features::RESTORATION;

/// Where a user is served.
pub(super) struct Found<'a> {
    code: ResultCode,
    /// The S-CSCF assigned.
    pub(super) server: Option<String>,
    /// What one must be able to, where one is to be chosen.
    pub(super) capabilities: Option<Capabilities<'a>>,
}

impl HssServer {
    /// The features of both sides, if the request names any; what is required and not here is refused.
    fn features(message: &Message<'_>) -> Result<bool, Refusal> {
        let features = Features::of(message)?;
        let known = |one: &Features| one.vendor == TGPP && one.list == 1;
        if features.iter().any(|one| one.required && (!known(one) || one.bits & !FEATURES != 0)) {
            return Err(tgpp::FEATURE_UNSUPPORTED.into());
        }
        Ok(features.iter().any(known))
    }

    fn cx_answer(&self, message: &Message<'_>, code: ResultCode, features: bool) -> Writer {
        let mut writer = self.answer(message, code);
        if features {
            Features::offered(FEATURES).write(&mut writer);
        }
        writer
    }

    /// Who serves the user or is about to.
    pub(super) fn server_name(&self, registration: &Registration) -> Option<String> {
        match &registration.serving {
            Some(serving) => Some(serving.scscf.clone()),
            None => self.settings.scscf.clone().filter(|_| registration.ims == RegState::Registered),
        }
    }

    /// UAR: where a REGISTER goes (TS 29.228 §6.1.1).
    pub(super) async fn user_authorization(&self, message: &Message<'_>) -> Answered {
        let features = Self::features(message)?;
        let uar = Uar::read(message.avps())?;
        let Found { code, server, capabilities } = self.authorize(&uar).await?;
        let mut writer = self.cx_answer(message, code, features);
        Uaa { server: server.as_deref(), capabilities }.write(&mut writer);
        Ok(writer)
    }

    pub(super) async fn authorize(&self, uar: &Uar<'_>) -> Result<Found<'_>, Refusal> {
        let entry = self.hss.entry(Some(uar.impi), Some(uar.impu), self.clock.now()).await?;
        let subscriber = entry.subscriber();
        let roams = uar.kind != Authorization::Deregistration && !uar.emergency;
        if roams && !self.settings.may_visit(subscriber, uar.visited_network) {
            return Err(tgpp::ROAMING_NOT_ALLOWED.into());
        }
        let capabilities = || self.settings.capabilities(subscriber);
        let found = |code, server, capabilities| Ok(Found { code, server, capabilities });
        let registration = entry.registration();
        match (uar.kind, self.server_name(&registration)) {
            (Authorization::RegistrationAndCapabilities, _) => {
                self.may_be_reassigned(&entry);
                found(base::SUCCESS, None, capabilities())
            }
            (Authorization::Registration, None) => found(tgpp::FIRST_REGISTRATION, None, capabilities()),
            (Authorization::Registration, server) => {
                let now = self.clock.now();
                let next = registration.serving.and_then(|serving| next(&serving, now).map(str::to_owned));
                found(tgpp::SUBSEQUENT_REGISTRATION, next.or(server), None)
            }
            (Authorization::Deregistration, server) if server.is_none() || is_challenged(&registration) => {
                Err(tgpp::IDENTITY_NOT_REGISTERED.into())
            }
            (Authorization::Deregistration, server) => found(base::SUCCESS, server, None),
        }
    }

    /// The I-CSCF looks for another S-CSCF: it may take the place of the one that is there.
    fn may_be_reassigned(&self, entry: &Entry) {
        let mark = |registration: &mut Registration| {
            registration.serving.iter_mut().for_each(|serving| serving.reassign = true);
        };
        self.hss.change(entry, mark, |_| None);
    }

    /// LIR: who serves a user (TS 29.228 §6.1.4).
    pub(super) async fn location_info(&self, message: &Message<'_>) -> Answered {
        let features = Self::features(message)?;
        let lir = Lir::read(message.avps())?;
        let Found { code, server, capabilities } = self.locate(&lir).await?;
        let mut writer = self.cx_answer(message, code, features);
        Lia { server: server.as_deref(), capabilities, wildcard: None }.write(&mut writer);
        Ok(writer)
    }

    pub(super) async fn locate(&self, lir: &Lir<'_>) -> Result<Found<'_>, Refusal> {
        let entry = self.hss.entry(None, Some(lir.impu), self.clock.now()).await?;
        let subscriber = entry.subscriber();
        let registration = entry.registration();
        let server = self.server_name(&registration);
        let unregistered = lir.originating || self.settings.serves_unregistered(subscriber);
        let other = lir.kind == Some(Authorization::RegistrationAndCapabilities);
        let capabilities = || self.settings.capabilities(subscriber);
        let found = |code, server, capabilities| Ok(Found { code, server, capabilities });
        match server {
            Some(_) if is_challenged(&registration) && !unregistered => Err(tgpp::IDENTITY_NOT_REGISTERED.into()),
            Some(server) if !other => found(base::SUCCESS, Some(server), None),
            Some(_) => {
                self.may_be_reassigned(&entry);
                found(base::SUCCESS, None, capabilities())
            }
            None if unregistered => found(tgpp::UNREGISTERED_SERVICE, None, capabilities()),
            None => Err(tgpp::IDENTITY_NOT_REGISTERED.into()),
        }
    }

    /// MAR: what a user is authenticated with (TS 29.228 §6.3).
    pub(super) async fn multimedia_auth(&self, message: &Message<'_>) -> Answered {
        let features = Self::features(message)?;
        let mar = Mar::read(message.avps())?;
        let (host, realm) = origin_of(message)?;
        let scheme = match mar.scheme {
            Scheme::Aka => AuthScheme::DigestAka,
            Scheme::SipDigest => AuthScheme::SipDigest,
            Scheme::Unknown => AuthScheme::Unknown,
            Scheme::Other(_) => return Err(tgpp::AUTH_SCHEME_NOT_SUPPORTED.into()),
        };
        let entry = self.hss.entry(Some(mar.impi), Some(mar.impu), self.clock.now()).await?;
        let (impi, impu) = own_names(&entry, mar.impu);
        let mut resync = mar.resync;
        let mut items = Vec::new();
        for number in 1..=mar.items.clamp(1, VECTORS) {
            let asked = self.hss.authentication(&impi, &impu, scheme, resync.take(), self.clock.now());
            let given = match asked.await {
                Ok(hss::AuthItem::Aka(vector)) => Given::Aka(vector),
                Ok(hss::AuthItem::Digest { password }) => {
                    let realm = &self.settings.digest_realm;
                    let ha1 = ha1(impi.as_str(), realm, &password);
                    Given::Digest(SipDigest { realm, algorithm: Some("MD5"), qop: Some("auth"), ha1 })
                }
                // One vector is enough to go on with.
                Err(_) if !items.is_empty() => break,
                Err(error) => return Err(error.into()),
            };
            let only = matches!(given, Given::Digest(_));
            items.push(AuthItem { number: Some(number), given });
            if only {
                break;
            }
        }
        let asking = Asking { scscf: mar.server, host: &host, realm: &realm };
        let now = self.clock.now();
        self.hss.change(
            &entry,
            |registration| authenticate(registration, asking, now),
            |entry| Some(Change::State(entry)),
        );
        let mut writer = self.cx_answer(message, base::SUCCESS, features);
        Maa { impi: Some(mar.impi), impu: Some(mar.impu), items }.write(&mut writer);
        Ok(writer)
    }

    /// SAR: who serves a user, and his profile (TS 29.228 §6.1.2).
    pub(super) async fn server_assignment(&self, message: &Message<'_>) -> Answered {
        let features = Self::features(message)?;
        let sar = Sar::read(message.avps())?;
        has_identities(message, &sar)?;
        let (host, realm) = origin_of(message)?;
        let now = self.clock.now();
        let entry = self.hss.entry(sar.impi, sar.impus.first().copied(), now).await?;
        for impu in sar.impus.iter().skip(1) {
            self.hss.entry(Some(entry.subscriber().impi.as_str()), Some(impu), now).await?;
        }
        if sar.restoration.is_some_and(|info| info.len() > RESTORATION) {
            return Err(base::UNABLE_TO_COMPLY.into());
        }
        let asking = Asking { scscf: sar.server, host: &host, realm: &realm };
        let change = |registration: &mut Registration| assign(registration, sar.kind, asking, sar.restoration, now);
        let outcome = self.hss.change(&entry, change, |entry| Some(Change::State(entry)))?;
        let Outcome { profile, restoration, moved } = outcome;
        if let Some(from) = moved {
            self.hss.tell(Change::Moved(entry.clone(), from));
        }
        let subscriber = entry.subscriber();
        let document = (profile && !sar.has_profile).then(|| self.settings.user_data(subscriber));
        let restores = !matches!(sar.kind, ServerAssignment::ReRegistration);
        let mut writer = self.cx_answer(message, base::SUCCESS, features);
        Saa {
            impi: Some(subscriber.impi.as_str()),
            user_data: document.as_deref(),
            charging: if profile { self.settings.charging(subscriber) } else { None },
            restoration: restoration.as_deref().filter(|_| restores).into_iter().collect(),
            ..Saa::default()
        }
        .write(&mut writer);
        Ok(writer)
    }
}

/// An S-CSCF authenticates the user, and does not serve him: that somebody tries to be him is no registration.
fn is_challenged(registration: &Registration) -> bool {
    registration.serving.as_ref().is_some_and(|serving| serving.authenticating)
}

/// Who registers is named by both identities; several public ones, or none, only where a registration ends (TS 29.228
/// §6.1.2.1).
fn has_identities(message: &Message<'_>, sar: &Sar<'_>) -> Result<(), Fault> {
    use ServerAssignment::{ReRegistration, Registration};
    if matches!(sar.kind, Registration | ReRegistration) && sar.impi.is_none() {
        return Err(USER_NAME.missing());
    }
    if sar.kind.is_deregistration() {
        return Ok(());
    }
    let mut named = message.avps().all(&PUBLIC_IDENTITY);
    named.next().ok_or_else(|| PUBLIC_IDENTITY.missing())?;
    named.next().map_or(Ok(()), |second| Err(second.too_many()))
}

/// The identities as they are provisioned, whatever their spelling in the request.
fn own_names(entry: &Entry, impu: &str) -> (Impi, Impu) {
    let subscriber = entry.subscriber();
    let canonical = crate::hss::embedded::field::impu(impu).unwrap_or_else(|_| Impu::from(impu));
    (subscriber.impi.clone(), canonical)
}
