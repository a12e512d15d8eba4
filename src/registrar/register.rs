//! The REGISTER procedure (RFC 3261 §10.3, TS 24.229 §5.4.1, flows.md 4): from the request to its final answer.
//!
//! identification (130) → challenge or verdict → Ks, B-TID → `authorized` → SAR, bindings →
//! broadcast leg → 200 → status. Nothing is forwarded before the verdict.

use super::authenticate::{Authenticated, Remembered, Verdict, refusal_of};
use super::content;
use super::outcome::LegOutcome;
use super::registration::{BindingError, Plan, Registration};
use super::scscf::{Refusal, Scscf, Shared};
use super::turn::{Turn, view};
use crate::auth::challenge::Secret;
use crate::broadcast::{identify, media};
use crate::few::Few;
use crate::gba::bootstrap::{Access, Bootstrap, Holder, Made};
use crate::gba::btid::Btid;
use crate::gba::kdf::Ks;
use crate::hss::{Assignment, Entry, HssError, Profile};
use crate::identity::{Impi, Impu};
use crate::policy::verdict;
use crate::policy::{Context, Kind};
use crate::sip::transaction::{Source, Transport};
use crate::sip::{AuthParams, HeaderName, Host, Message, Uri};
use std::sync::Arc;

/// Who asks for what, read from a REGISTER.
pub struct Asked<'a> {
    pub impi: Impi,
    pub impu: Impu,
    pub credentials: Option<AuthParams<'a>>,
    pub visited_network: Option<String>,
    pub entry: Entry,
}

/// What becomes of one identity is worked on; a REGISTER meanwhile is told to wait.
pub(super) struct Busy {
    shared: Arc<Shared>,
    impi: Impi,
}

impl Busy {
    /// None: somebody else is at it.
    pub(super) fn enter(shared: &Arc<Shared>, impi: &Impi) -> Option<Self> {
        shared.busy.insert(impi.clone()).then(|| Busy { shared: shared.clone(), impi: impi.clone() })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.shared.busy.remove(self.impi.as_str());
    }
}

impl Scscf {
    /// The procedure; a refusal is an answer too.
    pub(super) async fn register(
        &self,
        request: &Message<'_>,
        source: &Source,
        turn: &mut Turn,
    ) -> Result<Vec<u8>, Refusal> {
        let settings = &self.shared.settings;
        self.check_extensions(request)?;
        let mut asked = self.read(request).await?;
        turn.identify(self, &asked.impi, &asked.impu);
        turn.visited_network.clone_from(&asked.visited_network);
        self.fetch(&asked.impi).await?;
        content::check(request, TAKEN)?;
        let in_progress =
            || Refusal::because(500, "a registration of this user is in progress").with(HeaderName::RetryAfter, 5);
        if self.shared.busy.contains(asked.impi.as_str()) {
            return Err(in_progress());
        }
        let plan = Plan::read(request, &settings.limits).map_err(refuse_contacts)?;
        let kind = self.shared.table.with(asked.impi.as_str(), |r| plan.kind(r.map_or(&[], |r| &r.bindings)));
        if kind == Kind::Deregister {
            asked.entry = Entry::Deregistration;
        }
        let portion = if settings.extension && kind != Kind::Deregister {
            identify::identify(request).map_err(|e| Refusal::because(e.status(), e))?
        } else {
            None
        };
        turn.kind = kind;
        turn.all_or_nothing = portion.as_ref().is_some_and(|p| p.all_or_nothing);
        let (offer, verify) = {
            let view = portion.as_ref().map(view);
            let ctx = Context { portion: view.as_ref(), ..turn.context(&self.shared, source) };
            let offer = match turn.decide.register(request, &ctx) {
                verdict::Register::Challenge { algorithms } => Some(algorithms),
                verdict::Register::Trust => None,
                verdict::Register::Reject(reject) => return Err(rejected(reject)),
            };
            (offer, turn.decide.verify(request, &ctx))
        };
        turn.verify = verify;
        if let (Some(portion), verdict::When::BeforeChallenge) = (&portion, verify.at) {
            match self.is_subscribed(&asked.impi, verify.subscription, portion).await {
                Ok(false) if portion.all_or_nothing => {
                    return Err(Refusal::because(403, "no broadcast subscription"));
                }
                // It comes with the profile: asked again then.
                Ok(_) | Err(HssError::NotTold) => {}
                Err(why) => return Err(refusal_of(why)),
            }
        }
        let authenticated = match offer {
            None => self.trusted(&asked, &plan, portion).await?,
            Some(offer) => match self.authenticate(request, source, &asked, portion, offer).await? {
                Verdict::Challenge(response) => return Ok(response),
                Verdict::Authenticated(authenticated) => *authenticated,
            },
        };
        // The portion of the first REGISTER may be the one that counts.
        turn.all_or_nothing = authenticated.portion.as_ref().is_some_and(Remembered::is_all_or_nothing);
        let _busy = Busy::enter(&self.shared, &asked.impi).ok_or_else(in_progress)?;
        match kind {
            Kind::Deregister => self.deregister(request, source, &asked, &plan, authenticated).await,
            _ => self.admit(request, source, asked, turn, plan, authenticated).await,
        }
    }

    /// Require: what this server does not know is answered 420 (RFC 3261 §8.2.2.3).
    pub(super) fn check_require(&self, request: &Message<'_>) -> Result<(), Refusal> {
        let unknown = identify::unknown_require(request, SUPPORTED, self.shared.settings.extension);
        if unknown.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(420).with(HeaderName::Unsupported, unknown.join(", ")))
    }

    fn check_extensions(&self, request: &Message<'_>) -> Result<(), Refusal> {
        self.check_require(request)?;
        let wants = |name| request.list(name).any(|tag| tag.eq_ignore_ascii_case(b"path"));
        if request.header(HeaderName::Path).is_some() && !wants(HeaderName::Supported) && !wants(HeaderName::Require) {
            return Err(Refusal::new(421).with(HeaderName::Require, "path"));
        }
        if request.max_forwards().ok().flatten() == Some(0) && !self.is_home_request(request) {
            return Err(Refusal::new(483));
        }
        Ok(())
    }

    fn is_home_request(&self, request: &Message<'_>) -> bool {
        request.request_uri().is_ok_and(|uri| self.is_home(&uri))
    }

    /// The home domain, a name in it, or an address: terminals without DNS put the registrar's address there.
    pub(super) fn is_home(&self, uri: &Uri<'_>) -> bool {
        let Uri::Sip(uri) = uri else { return false };
        match uri.host {
            Host::Name(name) => {
                let domain = self.shared.settings.domain.as_bytes();
                let name = name.strip_suffix(b".").unwrap_or(name);
                let Some(start) = name.len().checked_sub(domain.len()) else { return false };
                name[start..].eq_ignore_ascii_case(domain) && (start == 0 || name[start - 1] == b'.')
            }
            Host::V4(_) | Host::V6(_) => true,
        }
    }

    async fn read<'a>(&self, request: &'a Message<'_>) -> Result<Asked<'a>, Refusal> {
        if !self.is_home_request(request) {
            return Err(Refusal::because(404, "this server does not serve that domain"));
        }
        let to = request.to().map_err(|e| Refusal::because(400, e))?;
        if matches!(to.uri, Uri::Other { .. }) {
            return Err(Refusal::because(400, "To is no SIP or tel address of record"));
        }
        let impu = Impu::new(to.uri.aor());
        // Credentials for another realm or of another scheme are not for this server (RFC 4475 §3.3.7).
        let mut credentials = None;
        for given in request.authorizations() {
            let given = given.map_err(|e| Refusal::because(400, e))?;
            let realm = given.get("realm").unwrap_or_default();
            if given.is_digest()
                && (realm.is_empty() || realm.eq_ignore_ascii_case(self.shared.settings.domain.as_bytes()))
            {
                credentials = Some(given);
                break;
            }
        }
        let impi = match credentials.as_ref().and_then(|c| c.get("username")).filter(|name| !name.is_empty()) {
            Some(name) => {
                let text = |n: &&str| n.len() <= 255 && !n.chars().any(char::is_control);
                let name = std::str::from_utf8(&name).ok().filter(text);
                Impi::new(name.ok_or_else(|| Refusal::because(400, "username is not text of at most 255 octets"))?)
            }
            None => self.shared.hss.private_identity(&impu).await.map_err(refusal_of)?,
        };
        let visited_network = request
            .header(HeaderName::PVisitedNetworkId)
            .and_then(|v| std::str::from_utf8(v).ok())
            .map(|v| v.trim_matches('"').to_string());
        Ok(Asked { impi, impu, credentials, visited_network, entry: Entry::Registration })
    }

    /// The way of a registration or refresh once the terminal is known.
    async fn admit(
        &self,
        request: &Message<'_>,
        source: &Source,
        mut asked: Asked<'_>,
        turn: &mut Turn,
        plan: Plan<'_>,
        authenticated: Authenticated,
    ) -> Result<Vec<u8>, Refusal> {
        let settings = &self.shared.settings;
        let plan = {
            let view = authenticated.portion.as_ref().and_then(Remembered::portion).map(view);
            let ctx = Context { portion: view.as_ref(), ..turn.context(&self.shared, source) };
            match turn.decide.authorized(request, &ctx) {
                verdict::Authorized::Accept { expires: Some(ceiling) } => plan.at_most(ceiling, &settings.limits),
                verdict::Authorized::Accept { expires: None } => plan,
                verdict::Authorized::Reject(reject) => return Err(rejected(reject)),
            }
        };
        let previous = self.shared.table.get(asked.impi.as_str());
        if let Plan::Query = plan {
            return Ok(self.told(request, source, &asked, previous, authenticated.info));
        }
        let profile = self.profile(&asked, previous.as_ref()).await?;
        if let Some(impi) = &profile.impi {
            asked.impi = impi.clone();
        }
        let asked = &asked;
        let registration = match self.bind(asked, &profile, &plan, request, source) {
            Ok(registration) => registration,
            Err(refusal) => {
                if previous.is_none() {
                    let _ = self.assign(asked, Assignment::UserDeregistration).await;
                }
                return Err(refusal);
            }
        };
        if registration.bindings.is_empty() {
            // One contact both bound and removed: nothing is left of it.
            self.shared.bootstraps.end_registration(&asked.impi);
            self.keep(&asked.impi);
            let _ = self.assign(asked, Assignment::UserDeregistration).await;
            return Ok(self.accepted(request, source, &registration, &LegOutcome::none(), authenticated.info));
        }
        let new_key = self.bootstrap(asked, source, &profile, &authenticated);
        if self.shared.keeping.is_shared() && new_key.is_some() && authenticated.portion.is_some() {
            // The broadcast server may ask another node for the key.
            if let Err(refusal) = self.kept(&asked.impi).await {
                self.undo(asked, previous).await;
                return Err(refusal);
            }
        }
        let expires = registration.expires_in(self.now().mono);
        let outcome =
            self.broadcast_leg(request, source, asked, turn, authenticated.portion, &profile, new_key, expires).await;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => {
                self.undo(asked, previous).await;
                return Err(refusal);
            }
        };
        if let Err(refusal) = self.kept(&asked.impi).await {
            self.undo(asked, previous).await;
            return Err(refusal);
        }
        turn.afterwards.take().into_iter().for_each(|job| (self.spawn)(job));
        turn.broadcast = outcome.asked.then_some(outcome.state);
        turn.server.clone_from(&outcome.told);
        if previous.is_none() {
            tracing::info!(impi = %asked.impi, impu = %asked.impu, expires, broadcast = outcome.state.as_str(), "registered");
        }
        let cause = if previous.is_none() { "registered" } else { "refreshed" };
        let response = self.accepted(request, source, &registration, &outcome, authenticated.info);
        self.ims_changed(&*turn.decide, asked, previous.is_some(), cause, expires, outcome.told);
        Ok(response)
    }

    /// The answer to a REGISTER without Contact (RFC 3261 §10.2.3); it changes nothing.
    fn told(
        &self,
        request: &Message<'_>,
        source: &Source,
        asked: &Asked<'_>,
        held: Option<Registration>,
        info: Option<String>,
    ) -> Vec<u8> {
        let registration = held.filter(|held| held.has(&asked.impu)).unwrap_or_else(|| Registration::none(&asked.impi));
        let outcome = match self.shared.table.leg(asked.impi.as_str()) {
            Some(leg) if !registration.bindings.is_empty() => LegOutcome::standing(&leg),
            _ => LegOutcome::none(),
        };
        self.accepted(request, source, &registration, &outcome, info)
    }

    /// All or nothing: what this REGISTER brought is taken back; what was there before it stays.
    async fn undo(&self, asked: &Asked<'_>, previous: Option<Registration>) {
        let fresh = previous.is_none();
        if let Some(leg) = self.shared.table.restore(&asked.impi, previous) {
            self.leave_server(&asked.impi, leg);
        }
        if fresh {
            self.shared.bootstraps.end_registration(&asked.impi);
        }
        self.not_kept_is_undone(&asked.impi);
        self.keep(&asked.impi);
        if fresh && let Err(why) = self.assign(asked, Assignment::UserDeregistration).await {
            tracing::warn!(impi = %asked.impi, status = why.status, "the HSS still has the user registered");
        }
    }

    /// The key generator's part: Ks = CK || IK of this run, under its B-TID, where the setting allows the short cut.
    fn bootstrap(
        &self,
        asked: &Asked<'_>,
        source: &Source,
        profile: &Profile,
        by: &Authenticated,
    ) -> Option<Arc<Bootstrap>> {
        let Some(Secret::Aka(vector)) = &by.secret else { return None };
        let settings = &self.shared.settings;
        let access = Access { keys_sent: by.keys_sent, home_pcscf: self.shared.is_trusted(source) };
        if !settings.short_cut.allows(access) {
            tracing::debug!(impi = %asked.impi, "no bootstrapping from this AKA run: short_cut setting");
            return None;
        }
        let bootstrap = Bootstrap {
            impi: asked.impi.clone(),
            impus: profile.impus.clone(),
            ks: Ks::new(&vector.ck, &vector.ik),
            btid: Btid::new(&vector.rand, &settings.bsf_domain),
            expires: 0,
            created: None,
            made: Made::ByRegistration,
            holder: Holder::Me,
            subscription: profile.broadcast.clone(),
            settings: Few::default(),
        };
        match self.shared.bootstraps.put(bootstrap, settings.key_lifetime, self.steady()) {
            Ok(stored) => {
                tracing::trace!(target: "ladder", at = "BSF", what = "Ks = CK || IK stored", btid = stored.btid.text());
                Some(stored)
            }
            Err(why) => {
                tracing::warn!(impi = %asked.impi, %why, "no bootstrapping");
                None
            }
        }
    }

    /// The profile from the HSS. Where that is away, a user who is registered and has shown who he is goes on with what
    /// he has: a refresh changes nothing there.
    async fn profile(&self, asked: &Asked<'_>, held: Option<&Registration>) -> Result<Profile, Refusal> {
        let Some(held) = held else { return self.assign(asked, Assignment::Registration).await };
        match self.server_assignment(asked, Assignment::ReRegistration).await {
            Err(why @ (HssError::Unavailable(_) | HssError::Busy)) if held.has(&asked.impu) => {
                tracing::info!(impi = %asked.impi, %why, "refreshed without the HSS");
                let bootstrap = self.shared.bootstraps.of_impi(&asked.impi, self.now());
                let broadcast = match self.shared.hss.broadcast_subscription(&asked.impi).await {
                    Ok(told) => told,
                    Err(_) => bootstrap.map(|held| held.subscription.clone()).unwrap_or_default(),
                };
                Ok(Profile { impi: None, impus: held.impus.clone(), barred: held.barred.clone(), broadcast })
            }
            answer => answer.map_err(refusal_of),
        }
    }

    pub(super) async fn assign(&self, asked: &Asked<'_>, kind: Assignment) -> Result<Profile, Refusal> {
        self.server_assignment(asked, kind).await.map_err(refusal_of)
    }

    async fn server_assignment(&self, asked: &Asked<'_>, kind: Assignment) -> Result<Profile, HssError> {
        let name = match kind {
            Assignment::Registration => "SAR REGISTRATION",
            Assignment::ReRegistration => "SAR RE_REGISTRATION",
            Assignment::UserDeregistration => "SAR USER_DEREGISTRATION",
            Assignment::TimeoutDeregistration => "SAR TIMEOUT_DEREGISTRATION",
            _ => "SAR",
        };
        tracing::trace!(target: "ladder", from = "S-CSCF", to = "HSS", what = name);
        let answer = self.shared.hss.server_assignment(&asked.impi, &asked.impu, kind, self.now()).await;
        tracing::trace!(target: "ladder", from = "HSS", to = "S-CSCF", what = if answer.is_ok() { "SAA" } else { "SAA (refused)" });
        answer
    }

    fn bind(
        &self,
        asked: &Asked<'_>,
        profile: &Profile,
        plan: &Plan<'_>,
        request: &Message<'_>,
        source: &Source,
    ) -> Result<Registration, Refusal> {
        let (mono, since) = (self.now().mono, self.shared.keeping.users.since(&asked.impi));
        let limits = &self.shared.settings.limits;
        let (result, leg) = self.shared.table.update(&asked.impi, &profile.impus, |registration| {
            registration.barred.clone_from(&profile.barred);
            registration.apply(plan, request, source, limits, mono, since).map(|()| registration.clone())
        });
        if let Some(leg) = leg {
            // A mix of removals, or contacts that were over already, can leave nothing bound.
            self.ended(&asked.impi, &profile.impus, Some(leg), "unregistered");
            self.keep(&asked.impi);
        } else if self.shared.keeping.is_shared() {
            self.not_ended(&asked.impi);
        }
        result.map_err(refuse_contacts)
    }

    async fn deregister(
        &self,
        request: &Message<'_>,
        source: &Source,
        asked: &Asked<'_>,
        plan: &Plan<'_>,
        authenticated: Authenticated,
    ) -> Result<Vec<u8>, Refusal> {
        let Some(previous) = self.shared.table.get(asked.impi.as_str()) else {
            // Nothing is registered, so it is as the terminal wants it. The identities are still checked.
            self.assign(asked, Assignment::UserDeregistration).await?;
            let none = Registration::none(&asked.impi);
            return Ok(self.accepted(request, source, &none, &LegOutcome::none(), authenticated.info));
        };
        if !previous.has(&asked.impu) {
            return Err(Refusal::because(403, "public identity is not this user's"));
        }
        let (mono, since) = (self.now().mono, self.shared.keeping.users.since(&asked.impi));
        let limits = &self.shared.settings.limits;
        self.may_end(&asked.impi, "unregistered");
        let (result, leg) = self.shared.table.update(&asked.impi, &previous.impus, |registration| {
            registration.apply(plan, request, source, limits, mono, since).map(|()| registration.clone())
        });
        let over = self.shared.table.with(asked.impi.as_str(), |held| held.is_none());
        if !over {
            self.not_ended(&asked.impi);
        }
        let registration = result.map_err(refuse_contacts)?;
        let keys = self.shared.bootstraps.held(&asked.impi);
        if over {
            self.shared.bootstraps.end_registration(&asked.impi);
        }
        if let Err(refusal) = self.kept(&asked.impi).await {
            // He stays registered until it can be written down that he is not.
            self.not_ended(&asked.impi);
            self.shared.table.restore(&asked.impi, Some(previous));
            self.shared.table.update_leg(asked.impi.as_str(), |held| *held = leg);
            self.shared.bootstraps.put_back(&asked.impi, keys);
            self.not_kept_is_undone(&asked.impi);
            return Err(refusal);
        }
        // Several nodes agree first whether anything is left: `kept` has told it.
        if over && !self.shared.keeping.is_shared() {
            if let Err(why) = self.assign(asked, Assignment::UserDeregistration).await {
                tracing::warn!(impi = %asked.impi, status = why.status, "the HSS was not told of the deregistration");
            }
            tracing::info!(impi = %asked.impi, impu = %asked.impu, "deregistered");
            leg.into_iter().for_each(|leg| self.ims_ended(&asked.impi, leg, "unregistered"));
        }
        Ok(self.accepted(request, source, &registration, &LegOutcome::none(), authenticated.info))
    }

    /// The 200 (TS 24.229 §5.4.1.2.2F): contacts, Path, Service-Route, P-Associated-URI, state of the broadcast leg.
    fn accepted(
        &self,
        request: &Message<'_>,
        source: &Source,
        registration: &Registration,
        outcome: &LegOutcome,
        info: Option<String>,
    ) -> Vec<u8> {
        let mut response = self.response(request, 200, source);
        registration.write_contacts(&mut response, self.now().mono);
        if !registration.bindings.is_empty() {
            response.copy(request, HeaderName::Path);
            // Where the terminal came in is where it can send its next requests.
            let mut route = response.line(HeaderName::ServiceRoute);
            if source.local.ip().is_unspecified() {
                route.text("<").text(&self.shared.settings.uri);
            } else {
                route.text("<sip:").socket(source.local);
                if source.transport != Transport::Udp {
                    route.text(";transport=").text(source.transport.param());
                }
            }
            route.text(";lr>");
            drop(route);
            let mut associated = response.line(HeaderName::PAssociatedUri);
            for (n, impu) in registration.impus.iter().enumerate() {
                associated.text(if n == 0 { "<" } else { ", <" }).text(impu.as_str()).text(">");
            }
        }
        if let Some(info) = info {
            response.header(HeaderName::AuthenticationInfo, info);
        }
        if let Some(value) = outcome.header() {
            response.header(HeaderName::BcastExt, value);
        }
        match outcome.body_for(request) {
            Some((content_type, body)) => response.body(&content_type, &body),
            None => response.finish(),
        }
    }
}

/// Bodies that a REGISTER may have.
const TAKEN: &[&str] = &[media::PROVISIONING, "multipart/"];

/// Option tags that a REGISTER may require, beside the broadcast extension's own.
const SUPPORTED: &[&str] = &["path"];

fn refuse_contacts(error: BindingError) -> Refusal {
    match error {
        BindingError::BadContact | BindingError::BadStar => Refusal::because(400, error),
        BindingError::TooBrief(min) => Refusal::new(423).with(HeaderName::MinExpires, min),
        BindingError::TooMany(_) => Refusal::because(403, error),
        BindingError::OutOfOrder => Refusal::because(500, error),
    }
}

pub(super) fn rejected(reject: verdict::Reject) -> Refusal {
    let mut refusal = Refusal::new(reject.status);
    if let Some(reason) = reject.reason {
        refusal.reason = reason;
    }
    match reject.retry_after {
        Some(seconds) => refusal.with(HeaderName::RetryAfter, seconds),
        None => refusal,
    }
}
