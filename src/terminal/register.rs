//! One registration, without sockets or clock (TS 24.229 §5.1.1): REGISTER, challenge, AKA on the card, REGISTER with the
//! response, and what a registrar may ask for in between (423, stale nonce, resynchronisation). [`super::client`] and
//! [`super::load`] carry its requests.
//!
//! The second REGISTER repeats the extension and the payload when the answer protects the body (qop `auth-int`) or
//! the transport protects against loss and reordering (TCP, TLS); over UDP with plain `auth` it goes out as the patent
//! prints it, without either, and the registrar uses what the first one carried.

use super::TerminalError;
use super::challenge::{self, Answered, Challenge, Protected, SecretKind};
use super::identifiers::Identifiers;
use super::registration::{BootstrapKeys, Registration};
use super::usim::{Failure, Usim};
use crate::aka::vector::Auts;
use crate::auth::digest::{Password, QopKind};
use crate::gba::kdf::Ks;
use crate::gba::naf_id::NafId;
use crate::identity::{Impi, Impu};
use crate::sip::{HeaderName, Message, RequestWriter};
use std::fmt;
use std::sync::Arc;

/// The media type of the service provisioning payload.
pub const PROVISIONING: &str = "application/vnd.oma.bcast.sprov+xml";
const AGENT: &str = concat!("imscript-terminal/", env!("CARGO_PKG_VERSION"));

/// What the terminal proves itself with.
pub enum Credentials {
    Card(Box<Usim>),
    Password(Password),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Credentials::Card(_)) { "Card(…)" } else { "Password(…)" })
    }
}

/// Who the terminal is.
#[derive(Debug)]
pub struct Account {
    pub impi: Impi,
    pub impu: Impu,
    /// Home network domain: the Request-URI of a REGISTER.
    pub domain: Arc<str>,
    /// Digest realm of the first REGISTER, usually the domain.
    pub realm: Arc<str>,
    /// Where the B-TID points, should the registrar not name it.
    pub bsf_domain: Arc<str>,
    pub credentials: Credentials,
}

/// The domain of the BSF when nobody names it (TS 23.003 §16.2): by the home domain's form.
pub fn default_bsf_domain(domain: &str) -> String {
    match domain.strip_prefix("ims.").and_then(|rest| rest.strip_suffix(".3gppnetwork.org")) {
        Some(network) if network.starts_with("mnc") => format!("bsf.{network}.pub.3gppnetwork.org"),
        _ => format!("bsf.{domain}"),
    }
}

/// The patent's figures, as far as they differ for the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure(u8);

impl Figure {
    pub fn new(number: u8) -> Option<Self> {
        (3..=8).contains(&number).then_some(Figure(number))
    }
    pub fn number(self) -> u8 {
        self.0
    }
    /// The REGISTER names the NAF.
    pub fn names_naf(self) -> bool {
        self.0 != 5
    }
    /// The REGISTER carries the provisioning payload.
    pub fn has_payload(self) -> bool {
        matches!(self.0, 4 | 8)
    }
    /// The terminal asks the broadcast server itself once it is registered.
    pub fn asks_broadcast_server(self) -> bool {
        matches!(self.0, 5 | 6)
    }
    /// The 200 speaks for both registrations.
    pub fn is_simultaneous(self) -> bool {
        matches!(self.0, 6..=8)
    }
}

/// How the extension is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// `Bcast-Ext: profile="1.0";naf-id="…";ua-id=…`
    #[default]
    BcastExt,
    /// `Require: bcast_ext_profile=…; bcast_ext_scard= "…"`, no legal Require, as the patent prints it.
    LegacyRequire,
}

/// What of a REGISTER is for the broadcast server.
#[derive(Debug, Clone, Default)]
pub struct Portion {
    pub naf: Option<NafId>,
    pub payload: Option<Arc<[u8]>>,
    pub form: Form,
    /// Register in both or in neither (`Require: bcast-ext`).
    pub all_or_nothing: bool,
}

impl Portion {
    fn is_empty(&self) -> bool {
        self.naf.is_none() && self.payload.is_none()
    }
}

/// What the Contact header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// Bind this URI; `instance`: the URN of the device (RFC 5626 §4.1).
    Bind { uri: String, instance: String },
    /// Remove these URIs.
    Remove(Vec<String>),
    /// Remove all: `*`.
    RemoveAll,
    /// No Contact: ask what is bound.
    Query,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this request (it has no Via yet).
    Send(Vec<u8>),
    Registered(Box<Registration>),
    Failed(TerminalError),
}

/// A registration on its way.
#[derive(Debug)]
pub struct Flow {
    call_id: String,
    tag: String,
    cseq: u32,
    contact: Contact,
    expires: u32,
    portion: Portion,
    /// Ask for bodies in the 200: the B-TID document and the ServiceResponse.
    accept_bodies: bool,
    reliable: bool,
    cnonces: Identifiers,
    challenges: u8,
    resynchronised: bool,
    renewed_stale: bool,
    lengthened: bool,
    expects_fresh: bool,
    ending: Option<TerminalError>,
    answered: Option<Answered>,
    password: Option<Password>,
    keys: Option<BootstrapKeys>,
}

/// How a [`Flow`] starts.
#[derive(Debug)]
pub struct Start {
    pub call_id: String,
    /// CSeq of the first REGISTER.
    pub cseq: u32,
    pub contact: Contact,
    pub expires: u32,
    pub portion: Portion,
    pub accept_bodies: bool,
    /// TCP or TLS.
    pub reliable: bool,
}

impl Flow {
    pub fn new(start: Start, identifiers: &mut Identifiers) -> Flow {
        let Start { call_id, cseq, contact, expires, portion, accept_bodies, reliable } = start;
        Flow {
            call_id,
            tag: identifiers.fresh(),
            cseq,
            contact,
            expires,
            portion,
            accept_bodies,
            reliable,
            cnonces: identifiers.child(),
            challenges: 0,
            resynchronised: false,
            renewed_stale: false,
            lengthened: false,
            expects_fresh: false,
            ending: None,
            answered: None,
            password: None,
            keys: None,
        }
    }

    /// CSeq of the request that [`Flow::first`] or the last [`Step::Send`] gave.
    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    /// From here on over TCP.
    pub fn set_reliable(&mut self) {
        self.reliable = true;
    }

    /// REGISTER 1: an Authorization without nonce and response (TS 24.229 §5.1.1.2).
    pub fn first(&mut self, account: &Account) -> Vec<u8> {
        let authorization =
            challenge::unanswered(account.impi.as_str(), account.realm.as_bytes(), b"", &request_uri(account));
        self.write(account, &authorization, true)
    }

    /// REGISTER 1 without an Authorization, for a registrar that does not ask who it is.
    pub fn anonymous(&mut self, account: &Account) -> Vec<u8> {
        self.write(account, b"", true)
    }

    /// The answer to the last request; provisional ones are not for here.
    pub fn answer(&mut self, account: &mut Account, response: &Message<'_>) -> Step {
        if let Some(end) = self.ending.take() {
            return Step::Failed(end);
        }
        let step = match response.status() {
            200..=299 => self.registered(account, response).map(|done| Step::Registered(Box::new(done))),
            401 => self.challenged(account, response).map(Step::Send),
            423 => self.too_brief(account, response).map(Step::Send),
            _ => Err(rejected("REGISTER", response)),
        };
        step.unwrap_or_else(Step::Failed)
    }

    fn challenged(&mut self, account: &mut Account, response: &Message<'_>) -> Result<Vec<u8>, TerminalError> {
        let secret = match account.credentials {
            Credentials::Card(_) => SecretKind::Card,
            Credentials::Password(_) => SecretKind::Password,
        };
        let challenge = Challenge::choose(response.challenges(), secret)?;
        if self.answered.is_some() && !std::mem::take(&mut self.expects_fresh) {
            // Challenged again: only an outdated nonce excuses it, and only once.
            if !challenge.stale || std::mem::replace(&mut self.renewed_stale, true) {
                return Err(TerminalError::ResponseRefused);
            }
        }
        self.challenges = self.challenges.saturating_add(1);
        let password = match &mut account.credentials {
            Credentials::Password(password) => password.clone(),
            Credentials::Card(card) => {
                let (rand, autn) = challenge.rand_autn()?;
                match card.authenticate(&rand, &autn) {
                    Ok(run) => {
                        self.keys = Some(BootstrapKeys { rand, ks: Ks::new(&run.ck, &run.ik) });
                        Password::from_aka(challenge.algorithm, &run.res, &run.ik, &run.ck)
                    }
                    Err(Failure::SyncFailure(auts)) => return self.out_of_step(account, &challenge, &auts),
                    Err(Failure::MacFailure | Failure::SeparationBit) => {
                        // TS 24.229 §5.1.1.5.3: tell the network with an empty response, then end.
                        self.ending = Some(TerminalError::MacFailure);
                        let authorization = challenge::unanswered(
                            account.impi.as_str(),
                            &challenge.realm,
                            &challenge.nonce,
                            &request_uri(account),
                        );
                        self.cseq = self.cseq.saturating_add(1);
                        return Ok(self.write(account, &authorization, false));
                    }
                }
            }
        };
        let qop = challenge.protection(!self.portion.is_empty());
        let repeat = self.reliable || qop == Some(QopKind::AuthInt);
        let request = self.respond(account, &challenge, &password, qop, repeat, None);
        self.password = Some(password);
        Ok(request)
    }

    /// RFC 3310 §3.4: the same nonce, `auts`, and a response made with an empty password. Once per registration, or a
    /// broken card would loop for ever.
    fn out_of_step(&mut self, account: &Account, challenge: &Challenge, auts: &Auts) -> Result<Vec<u8>, TerminalError> {
        if std::mem::replace(&mut self.resynchronised, true) {
            return Err(TerminalError::ResyncFailed);
        }
        self.expects_fresh = true;
        let qop = challenge.protection(false);
        Ok(self.respond(account, challenge, &Password::empty(), qop, self.reliable, Some(auts)))
    }

    fn respond(
        &mut self,
        account: &Account,
        challenge: &Challenge,
        password: &Password,
        qop: Option<QopKind>,
        repeat: bool,
        auts: Option<&Auts>,
    ) -> Vec<u8> {
        let uri = request_uri(account);
        let payload = self.portion.payload.clone().filter(|_| repeat);
        let request = Protected {
            username: account.impi.as_str(),
            method: "REGISTER",
            uri: &uri,
            body: payload.as_deref().unwrap_or_default(),
        };
        let answered = challenge::answer(challenge, request, password, qop, self.cnonces.fresh(), auts);
        self.cseq = self.cseq.saturating_add(1);
        let request = self.write(account, &answered.authorization, repeat);
        self.answered = Some(answered);
        request
    }

    /// 423 (RFC 3261 §10.2.8): once more from the start, for as long as the registrar wants at least.
    fn too_brief(&mut self, account: &Account, response: &Message<'_>) -> Result<Vec<u8>, TerminalError> {
        let least = response
            .header(HeaderName::MinExpires)
            .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse::<u32>().ok())
            .filter(|least| *least > self.expires);
        match least {
            Some(least) if !std::mem::replace(&mut self.lengthened, true) => {
                self.expires = least;
                self.answered = None;
                self.expects_fresh = false;
                self.cseq = self.cseq.saturating_add(1);
                Ok(self.first(account))
            }
            _ => Err(rejected("REGISTER", response)),
        }
    }

    fn registered(&mut self, account: &Account, response: &Message<'_>) -> Result<Registration, TerminalError> {
        if let (Some(answered), Some(password)) = (&self.answered, &self.password) {
            let info = response.header(HeaderName::AuthenticationInfo);
            answered.check_rspauth(info, password, response.body())?;
        }
        let uri = match &self.contact {
            Contact::Bind { uri, .. } => Some(uri.as_str()),
            _ => None,
        };
        let mut done = Registration::read(response, uri, self.expires)?;
        done.impu = account.impu.clone();
        done.algorithm = self.answered.as_ref().map(Answered::algorithm);
        done.resynchronised = self.resynchronised;
        if let Some(keys) = self.keys.take() {
            done.bootstrapped(keys, &account.bsf_domain);
        }
        Ok(done)
    }

    fn write(&self, account: &Account, authorization: &[u8], with_portion: bool) -> Vec<u8> {
        let impu = &account.impu;
        let mut request = RequestWriter::new("REGISTER", &request_uri(account));
        request
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, format!("<{impu}>;tag={}", self.tag))
            .header(HeaderName::To, format!("<{impu}>"))
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format!("{} REGISTER", self.cseq));
        if !authorization.is_empty() {
            request.header(HeaderName::Authorization, authorization);
        }
        match &self.contact {
            Contact::Bind { uri, instance } => {
                let value = format!("<{uri}>;expires={};+sip.instance=\"<{instance}>\"", self.expires);
                request.header(HeaderName::Contact, value);
            }
            Contact::Remove(uris) => {
                for uri in uris {
                    request.header(HeaderName::Contact, format!("<{uri}>;expires=0"));
                }
            }
            Contact::RemoveAll => {
                request.header(HeaderName::Contact, "*");
            }
            Contact::Query => {}
        }
        if self.contact != Contact::Query {
            request.header(HeaderName::Expires, self.expires.to_string());
        }
        let supported = if self.portion.all_or_nothing { "path" } else { "path, bcast-ext" };
        request.header(HeaderName::Supported, supported);
        if self.portion.all_or_nothing {
            request.header(HeaderName::Require, "bcast-ext");
        }
        if let Some(naf) = self.portion.naf.as_ref().filter(|_| with_portion) {
            self.write_extension(&mut request, naf);
        }
        if self.accept_bodies {
            let accept = format!("multipart/mixed, application/vnd.3gpp.bsf+xml, {PROVISIONING}");
            request.header(HeaderName::Accept, accept);
        }
        request.header(HeaderName::UserAgent, AGENT);
        match self.portion.payload.as_deref().filter(|_| with_portion) {
            Some(payload) => {
                request.header(HeaderName::ContentDisposition, "render;handling=optional");
                request.body(PROVISIONING, payload)
            }
            None => request.finish(),
        }
    }

    fn write_extension(&self, request: &mut RequestWriter, naf: &NafId) {
        let ua = naf.ua;
        match self.portion.form {
            Form::BcastExt => {
                let value = format!("profile=\"1.0\";naf-id=\"{}\";ua-id={ua}", naf.fqdn());
                request.header(HeaderName::BcastExt, value);
            }
            Form::LegacyRequire => {
                let ua = if ua == crate::gba::naf_id::UaId::MBMS { String::new() } else { format!(";{ua}") };
                let value = format!("bcast_ext_profile=BCAST_EXT_PROFILE; bcast_ext_scard= \"{}{ua}\"", naf.fqdn());
                request.header(HeaderName::Require, value);
            }
        }
    }
}

fn request_uri(account: &Account) -> String {
    format!("sip:{}", account.domain)
}

/// A final response that ends it, in words: its status, its reason and the header that explains it.
pub(super) fn rejected(request: &'static str, response: &Message<'_>) -> TerminalError {
    let mut reason = String::from_utf8_lossy(response.reason()).into_owned();
    for name in [HeaderName::Warning, HeaderName::Unsupported, HeaderName::MinExpires, HeaderName::RetryAfter] {
        if let Some(value) = response.header(name) {
            reason.push_str(&format!("; {}: {}", name.as_str(), String::from_utf8_lossy(value)));
        }
    }
    reason.retain(|c| !c.is_control());
    TerminalError::Rejected { request, status: response.status(), reason }
}
