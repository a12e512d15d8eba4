//! A subscriber as the entity `subscriber` of the store, and back: fields of JSON text.
//!
//! `profile` is what is provisioned, with K and OPc or the password sealed in it; `sqn` is the generator at rest; `state`
//! and `broadcast` are the two registrations; `watchers` and `repository:NAME` are what application servers have subscribed
//! to and left there over Sh. Each has writers of its own, so that none overwrites what another wrote. `owner` of the
//! entity `public-identity` names the subscriber; it counts only if that one's profile names the identity.

use super::EmbeddedError;
use super::directory::Which;
use super::field;
use super::subscriber::{
    BroadcastRegistration, Credentials, Next, Registration, Serving, Stored, StoredSqn, Subscriber, Told, Watcher,
    broadcast_text,
};
use crate::aka::{Algorithm, Amf, KeySet};
use crate::auth::digest::Password;
use crate::clock::Date;
use crate::few::Few;
use crate::hss::{BroadcastSubscription, RegState};
use crate::identity::{Impi, Impu, common};
use crate::store::{Class, Entity, Key, Save, Seal, seal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::ops::Not;
use zeroize::Zeroizing;

pub(super) const PROFILE: &str = "profile";
pub(super) const SQN: &str = "sqn";
pub(super) const STATE: &str = "state";
const BROADCAST: &str = "broadcast";
pub(super) const WATCHERS: &str = "watchers";
const REPOSITORY: &str = "repository:";
const OWNER: &str = "owner";
/// Name of the sealed value within the profile, in what binds it to its place.
const SECRET: &str = "profile secret";

/// Fields as a [`Save`] takes them.
pub(super) type Fields = Vec<(Box<str>, Option<Box<[u8]>>)>;

#[derive(Serialize, Deserialize)]
struct Profile {
    algorithm: String,
    /// K and OPc one after the other, or the password.
    secret: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    amf: String,
    impus: Vec<String>,
    broadcast: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    service: String,
    /// When it was provisioned, in seconds since 1970.
    #[serde(default)]
    changed: u64,
}

#[derive(Serialize, Deserialize, Default)]
struct State {
    ims: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ims_since: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serving: Option<Served>,
}

#[derive(Serialize, Deserialize)]
struct Served {
    scscf: String,
    host: String,
    realm: String,
    #[serde(default, skip_serializing_if = "Not::not")]
    authenticating: bool,
    #[serde(default, skip_serializing_if = "Not::not")]
    reassign: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
    /// Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restoration: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Broadcast {
    state: String,
    server: String,
    naf: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    btid: Option<String>,
    since: u64,
    #[serde(default)]
    sequence: u16,
}

/// What an application server keeps here: the number of its last change, and `ServiceData` as XML.
#[derive(Serialize, Deserialize)]
pub(super) struct Repository {
    pub sequence: u16,
    pub data: String,
}

pub(super) fn subscriber_key(impi: &Impi) -> Key {
    Key::new(Class::Subscriber, impi.as_arc().clone())
}

pub(super) fn identity_key(impu: &Impu) -> Key {
    Key::new(Class::PublicIdentity, impu.as_arc().clone())
}

fn json(value: &impl Serialize) -> Option<Box<[u8]>> {
    // No map with keys that are not text, no fault of a writer: this cannot fail.
    Some(serde_json::to_vec(value).unwrap_or_default().into())
}

/// The field `profile` with its secret sealed. `changed`: now, in seconds since 1970.
pub(super) fn profile(subscriber: &Subscriber, changed: u64, seal: &Seal) -> Result<Fields, EmbeddedError> {
    let secret = match &subscriber.credentials {
        Credentials::Aka(keys) => Zeroizing::new([keys.k(), keys.opc()].concat()),
        Credentials::Digest(password) => Zeroizing::new(password.as_bytes().to_vec()),
    };
    let secret = seal.seal(&place(&subscriber.impi), &secret)?;
    let profile = Profile {
        algorithm: subscriber.credentials.algorithm().into(),
        secret,
        amf: subscriber.amf.0.iter().map(|octet| format!("{octet:02x}")).collect(),
        impus: subscriber.impus.iter().map(|impu| impu.as_str().into()).collect(),
        broadcast: broadcast_text(&subscriber.broadcast),
        service: subscriber.service.to_string(),
        changed,
    };
    Ok(vec![(PROFILE.into(), json(&profile))])
}

pub(super) fn sqn(sqn: StoredSqn) -> (Box<str>, Option<Box<[u8]>>) {
    (SQN.into(), json(&sqn))
}

/// Writes one state or both, and nothing else.
pub(super) fn save_state(impi: &Impi, registration: &Registration, which: Which) -> Save {
    let mut fields = Fields::new();
    if which.ims {
        let serving = registration.serving.as_deref().map(|serving| Served {
            scscf: serving.scscf.clone(),
            host: serving.host.clone(),
            realm: serving.realm.clone(),
            authenticating: serving.authenticating,
            reassign: serving.reassign,
            next: serving.next.clone(),
            restoration: serving.restoration.as_ref().map(|octets| STANDARD.encode(octets)),
        });
        let ims_since = registration.ims_since.map(Date::seconds);
        let state = State { ims: registration.ims.as_str().into(), ims_since, serving };
        fields.push((STATE.into(), json(&state)));
    }
    if which.broadcast {
        let broadcast = registration.broadcast.as_deref().and_then(|b| {
            json(&Broadcast {
                state: b.state.as_str().into(),
                server: b.server.to_string(),
                naf: b.naf_fqdn.to_string(),
                btid: b.btid.as_ref().map(Told::to_string),
                since: b.since.map_or(0, Date::seconds),
                sequence: b.sequence,
            })
        });
        fields.push((BROADCAST.into(), broadcast));
    }
    Save::some(subscriber_key(impi), fields)
}

pub(super) fn save_owner(impu: &Impu, impi: &Impi) -> Save {
    Save::whole(identity_key(impu), vec![(OWNER.into(), Some(impi.as_str().as_bytes().into()))])
}

pub(super) fn owner(entity: &Entity) -> Option<Impi> {
    std::str::from_utf8(entity.field(OWNER)?).ok().map(Impi::from)
}

/// Whether there is a subscriber: states that were written while it was removed do not make one.
pub(super) fn is_subscriber(entity: &Entity) -> bool {
    entity.field(PROFILE).is_some()
}

/// The implicit set alone, without opening the secret.
pub(super) fn impus(entity: &Entity) -> Vec<Impu> {
    let profile: Option<Profile> = entity.field(PROFILE).and_then(|field| serde_json::from_slice(field).ok());
    profile.map_or_else(Vec::new, |profile| profile.impus.iter().map(|impu| Impu::new(&**impu)).collect())
}

/// None: there is no such subscriber.
pub(super) fn read(impi: &Impi, entity: &Entity, seal: &Seal) -> Result<Option<Stored>, EmbeddedError> {
    let Some(profile) = entity.field(PROFILE) else { return Ok(None) };
    let damaged = |what| EmbeddedError::Damaged { impi: impi.clone(), what };
    let profile: Profile = serde_json::from_slice(profile).map_err(|_| damaged("profile"))?;
    let changed = Date::new(profile.changed);
    let secret = seal.open(&place(impi), &profile.secret)?;
    let credentials = credentials(&profile.algorithm, &secret).ok_or_else(|| damaged("algorithm or keys"))?;
    let sqn = match &credentials {
        Credentials::Digest(_) => None,
        Credentials::Aka(_) => Some(stored_sqn(entity).ok_or_else(|| damaged("SQN"))?),
    };
    if profile.impus.is_empty() {
        return Err(damaged("public identities"));
    }
    let subscriber = Subscriber {
        impi: impi.clone(),
        impus: profile.impus.iter().map(|impu| Impu::new(&**impu)).collect(),
        credentials,
        amf: amf(&profile.amf).ok_or_else(|| damaged("AMF"))?,
        sqn: None,
        broadcast: broadcast(&profile.broadcast).ok_or_else(|| damaged("broadcast subscription"))?,
        service: common(&profile.service),
    };
    Ok(Some(Stored { subscriber, sqn, changed, registration: registration(entity), watchers: watchers(entity) }))
}

pub(super) fn watchers(entity: &Entity) -> Few<Watcher> {
    let watchers: Option<Vec<Watcher>> = entity.field(WATCHERS).and_then(|field| serde_json::from_slice(field).ok());
    watchers.unwrap_or_default().into()
}

/// The field of all watchers.
pub(super) fn of_watchers(watchers: &[Watcher]) -> Fields {
    vec![(WATCHERS.into(), if watchers.is_empty() { None } else { json(&watchers) })]
}

pub(super) fn repository(entity: &Entity, service: &str) -> Option<Repository> {
    serde_json::from_slice(entity.field(&format!("{REPOSITORY}{service}"))?).ok()
}

/// How many services have data of the subscriber's here.
pub(super) fn repositories(entity: &Entity) -> usize {
    entity.fields.iter().filter(|(name, _)| name.starts_with(REPOSITORY)).count()
}

/// The field of a service's data; None: it goes.
pub(super) fn of_repository(service: &str, repository: Option<&Repository>) -> Fields {
    vec![(format!("{REPOSITORY}{service}").into(), repository.and_then(json))]
}

/// The profile sealed anew; None if its secret is sealed as it is to be.
pub(super) fn reseal(impi: &Impi, entity: &Entity, seal: &Seal) -> Result<Option<Fields>, EmbeddedError> {
    let damaged = || EmbeddedError::Damaged { impi: impi.clone(), what: "profile" };
    let Some(profile) = entity.field(PROFILE) else { return Ok(None) };
    let mut profile: Profile = serde_json::from_slice(profile).map_err(|_| damaged())?;
    if seal.is_current(&place(impi), &profile.secret) {
        return Ok(None);
    }
    let secret = seal.open(&place(impi), &profile.secret)?;
    profile.secret = seal.seal(&place(impi), &secret)?;
    Ok(Some(vec![(PROFILE.into(), json(&profile))]))
}

pub(super) fn stored_sqn(entity: &Entity) -> Option<StoredSqn> {
    serde_json::from_slice(entity.field(SQN)?).ok()
}

/// Nobody is registered where nothing, or nothing readable, is said.
pub(super) fn registration(entity: &Entity) -> Registration {
    let state: Option<State> = entity.field(STATE).and_then(|field| serde_json::from_slice(field).ok());
    let State { ims, ims_since, serving } = state.unwrap_or_default();
    let broadcast: Option<Broadcast> = entity.field(BROADCAST).and_then(|field| serde_json::from_slice(field).ok());
    let broadcast = broadcast.map(|Broadcast { state, server, naf, btid, since, sequence }| {
        let state = reg_state(&state);
        let (server, naf_fqdn, btid) = (common(&server), common(&naf), btid.as_deref().map(Told::read));
        Box::new(BroadcastRegistration { state, server, naf_fqdn, btid, since: Date::new(since), sequence })
    });
    let serving = serving.map(|Served { scscf, host, realm, authenticating, reassign, next, restoration }| {
        let restoration = restoration.and_then(|text| STANDARD.decode(text).ok());
        Box::new(Serving { scscf, host, realm, authenticating, reassign, next, restoration })
    });
    Registration { ims: reg_state(&ims), ims_since: ims_since.and_then(Date::new), broadcast, serving }
}

fn place(impi: &Impi) -> String {
    seal::context(&subscriber_key(impi), SECRET)
}

/// `secret` as [`profile`] puts it together: OPc has one length with each algorithm.
pub(super) fn credentials(algorithm: &str, secret: &[u8]) -> Option<Credentials> {
    let (algorithm, opc) = match algorithm {
        "milenage" => (Algorithm::Milenage, 16),
        "tuak" => (Algorithm::Tuak, 32),
        "digest" => return Some(Credentials::Digest(Password::new(secret))),
        _ => return None,
    };
    let (k, opc) = secret.split_at_checked(secret.len().checked_sub(opc)?)?;
    KeySet::from_opc(algorithm, k, opc).ok().map(Credentials::Aka)
}

fn amf(text: &str) -> Option<Amf> {
    let octet = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (text.len() == 4).then_some(Amf([octet(0)?, octet(2)?]))
}

/// Nearly all subscribers have everything or nothing: no parsing for them.
pub(super) fn broadcast(text: &str) -> Option<BroadcastSubscription> {
    match text {
        "no" => Some(BroadcastSubscription::None),
        "yes" => Some(BroadcastSubscription::All),
        ids => field::broadcast(ids).ok(),
    }
}

fn reg_state(text: &str) -> RegState {
    let all = [RegState::Pending, RegState::Registered, RegState::Failed];
    all.into_iter().find(|state| state.as_str() == text).unwrap_or_default()
}
