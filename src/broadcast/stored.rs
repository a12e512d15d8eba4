//! A user of the broadcast server as he lies in the store: JSON in one field of his entity, the key in it sealed.
//!
//! Written and read by [`super::keep`]. Times are microseconds of the store's clock. The IMS node stands by its name,
//! since the configuration's order may change between two starts. What a later version adds is skipped here.

use super::ext::{state_from_token, state_token};
use super::state::{BsmState, Ended, Record, Smk};
use crate::gba::btid::Btid;
use crate::gba::kdf::KsNaf;
use crate::gba::naf_id::{NafId, UaId};
use crate::hss::{BroadcastSubscription, RegState};
use crate::store::{Entity, Key, seal};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// The field.
pub(super) const RECORD: &str = "record";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoredError {
    #[error("it is no record: {0}")]
    Form(String),
    #[error("{0} has no value that can be read")]
    Value(&'static str),
}

/// What an entity says.
pub(super) enum Stored {
    Registered(Box<Record>),
    Ended(Ended),
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    state: Cow<'a, str>,
    changed: u64,
    until: u64,
    /// All else: None in a registration that has ended.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    user: Option<User<'a>>,
}

#[derive(Serialize, Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    ims: Cow<'a, str>,
    latest: u64,
    #[serde(borrow)]
    naf: Naf<'a>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    btid: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    smk: Option<SealedKey<'a>>,
    /// None: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<Cow<'a, [String]>>,
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    services: Cow<'a, [String]>,
    #[serde(borrow)]
    ims_peer: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct Naf<'a> {
    #[serde(borrow)]
    fqdn: Cow<'a, str>,
    /// The Ua security protocol, ten hexadecimal digits.
    ua: String,
}

#[derive(Serialize, Deserialize)]
struct SealedKey<'a> {
    #[serde(borrow)]
    btid: Cow<'a, str>,
    #[serde(borrow)]
    naf: Naf<'a>,
    /// Seconds since 1970.
    expires: u64,
    #[serde(borrow)]
    key: Cow<'a, str>,
}

impl BsmState {
    /// `record` as it is written under `key`.
    pub(super) fn written(&self, key: &Key, record: &Record) -> Option<Box<[u8]>> {
        let user = User {
            ims: state_token(record.ims).into(),
            latest: micros(record.latest.get()),
            naf: naf_written(&record.naf),
            btid: record.btid.as_ref().map(|btid| btid.text().into()),
            smk: record.smk.as_ref().and_then(|smk| self.sealed(key, smk)),
            subscription: match &record.subscription {
                BroadcastSubscription::All => None,
                BroadcastSubscription::None => Some(Cow::Borrowed(&[])),
                BroadcastSubscription::Services(services) => Some(Cow::Owned(services.to_vec())),
            },
            services: (&*record.services).into(),
            ims_peer: self.ims.get(usize::from(record.ims_peer)).map_or("", String::as_str).into(),
        };
        octets(&Written {
            state: state_token(record.state).into(),
            changed: micros(record.changed.get()),
            until: micros(record.until.get()),
            user: Some(user),
        })
    }

    fn sealed<'a>(&self, key: &Key, smk: &'a Smk) -> Option<SealedKey<'a>> {
        match self.seal.seal(&seal::context(key, RECORD), &smk.key.0) {
            Ok(sealed) => Some(SealedKey {
                btid: smk.btid.text().into(),
                naf: naf_written(&smk.naf),
                expires: smk.expires,
                key: sealed.into(),
            }),
            Err(why) => {
                // The BSF can be asked for it again.
                tracing::warn!(%why, "a key is not kept in the store");
                None
            }
        }
    }

    /// What lies under `key`; None: nothing.
    pub(super) fn read(&self, key: &Key, entity: &Entity) -> Result<Option<Stored>, StoredError> {
        let Some(octets) = entity.field(RECORD) else { return Ok(None) };
        let written: Written<'_> = serde_json::from_slice(octets).map_err(|why| StoredError::Form(why.to_string()))?;
        let state = state_from_token(&written.state).ok_or(StoredError::Value("state"))?;
        let (changed, until) = (Duration::from_micros(written.changed), Duration::from_micros(written.until));
        let user = match written.user {
            Some(user) if state != RegState::NotRegistered => user,
            _ => return Ok(Some(Stored::Ended(Ended { changed, until, expired_here: false }))),
        };
        let smk = user.smk.map(|sealed| self.opened(key, sealed)).transpose()?.flatten();
        let ims_peer = self.ims.iter().position(|name| *name == user.ims_peer);
        let record = Record {
            state,
            ims: state_from_token(&user.ims).ok_or(StoredError::Value("ims"))?,
            naf: naf_read(&user.naf)?,
            btid: user.btid.map(|btid| btid_read(&btid)).transpose()?,
            smk,
            until: until.into(),
            latest: Duration::from_micros(user.latest).max(until).into(),
            subscription: match user.subscription {
                None => BroadcastSubscription::All,
                Some(none) if none.is_empty() => BroadcastSubscription::None,
                Some(services) => BroadcastSubscription::Services(services.iter().cloned().collect()),
            },
            services: user.services.into_owned().into(),
            // One that is not configured any more: alerts go to the first that is.
            ims_peer: ims_peer.and_then(|at| u16::try_from(at).ok()).unwrap_or(u16::MAX),
            changed: changed.into(),
        };
        Ok(Some(Stored::Registered(Box::new(record))))
    }

    /// None: it was sealed with a key that this node has not. The BSF can be asked for it again.
    fn opened(&self, key: &Key, sealed: SealedKey<'_>) -> Result<Option<Smk>, StoredError> {
        let octets = match self.seal.open(&seal::context(key, RECORD), &sealed.key) {
            Ok(octets) => octets,
            Err(why) => {
                tracing::warn!(%why, "a key in the store is not taken");
                return Ok(None);
            }
        };
        let mut key = KsNaf([0; 32]);
        if octets.len() != key.0.len() {
            return Err(StoredError::Value("key"));
        }
        key.0.copy_from_slice(&octets);
        let (btid, naf) = (btid_read(&sealed.btid)?, naf_read(&sealed.naf)?);
        Ok(Some(Smk { key, btid, naf, expires: sealed.expires }))
    }
}

impl Ended {
    /// As it is written in a store that others share.
    pub(super) fn written(&self) -> Option<Box<[u8]>> {
        octets(&Written {
            state: state_token(RegState::NotRegistered).into(),
            changed: micros(self.changed),
            until: micros(self.until),
            user: None,
        })
    }
}

/// Plain text and numbers: it cannot fail.
fn octets(written: &Written<'_>) -> Option<Box<[u8]>> {
    serde_json::to_vec(written).ok().map(Vec::into_boxed_slice)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn naf_written(naf: &NafId) -> Naf<'_> {
    Naf { fqdn: naf.fqdn().into(), ua: naf.ua.to_string() }
}

fn naf_read(naf: &Naf<'_>) -> Result<NafId, StoredError> {
    let ua = UaId::parse(&naf.ua).ok_or(StoredError::Value("ua"))?;
    NafId::new(&naf.fqdn, ua).map_err(|_| StoredError::Value("naf"))
}

fn btid_read(text: &str) -> Result<Btid, StoredError> {
    Btid::parse(text).map_err(|_| StoredError::Value("btid"))
}
