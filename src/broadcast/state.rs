//! What a broadcast server knows of its users: one record per public identity, shared by all workers.
//!
//! No lock is held across an await: each method does one step and lets go.

use super::alert::Word;
use super::held::Held;
use super::keys::KeyDocument;
use super::nonce::Nonces;
use super::retrieve::Waiting;
use crate::clock::Now;
use crate::gba::btid::Btid;
use crate::gba::kdf::KsNaf;
use crate::gba::naf_id::NafId;
use crate::hss::{BroadcastSubscription, RegState};
use crate::identity::Impu;
use dashmap::DashMap;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// The subscriber management key: Ks_NAF in its use (claim 6). Wiped when dropped; Debug is redacted.
#[derive(Debug, Clone)]
pub struct Smk {
    pub key: KsNaf,
    pub btid: Btid,
    pub naf: NafId,
    /// Seconds since 1970.
    pub expires: u64,
}

/// One user of this broadcast server.
#[derive(Debug, Clone)]
pub struct Record {
    pub state: RegState,
    /// State of the IMS registration, as far as this server was told.
    pub ims: RegState,
    pub naf: NafId,
    /// Of the key that counts, whether it is here already or not.
    pub btid: Option<Btid>,
    pub smk: Option<Smk>,
    /// End of the registration on the monotonic clock.
    pub until: Duration,
    /// What the HSS lets the user receive, as told by the IMS.
    pub subscription: BroadcastSubscription,
    /// Purchase items that were granted.
    pub services: Vec<String>,
    /// Which configured IMS node the user came through.
    pub ims_peer: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("key-for-another-naf")]
    WrongNaf,
    #[error("key-for-another-btid")]
    WrongBtid,
    #[error("unknown-bsf")]
    UnknownBsf,
    #[error("key-expired")]
    Expired,
    #[error("older-key")]
    Older,
    #[error("another-key-under-the-same-btid")]
    Conflict,
    #[error("btid-of-another-user")]
    AnotherUser,
    #[error("table-full")]
    Full,
}

/// What a registration brings.
#[derive(Debug, Clone)]
pub struct Update {
    pub state: RegState,
    pub naf: NafId,
    pub btid: Option<Btid>,
    pub until: Duration,
    pub subscription: Option<BroadcastSubscription>,
    pub ims_peer: usize,
}

/// All records of a broadcast server, and what its modules share between workers.
pub struct BsmState {
    records: DashMap<Impu, Record>,
    by_btid: DashMap<Btid, Impu>,
    pub(super) waiting: Waiting,
    pub(super) nonces: Nonces,
    /// Alerts that a policy holds back.
    pub(super) held: Held<Word>,
    limit: usize,
}

impl BsmState {
    /// `limit`: users at once.
    pub fn new(limit: usize) -> Self {
        BsmState {
            records: DashMap::new(),
            by_btid: DashMap::new(),
            waiting: Waiting::default(),
            nonces: Nonces::new(),
            held: Held::default(),
            limit,
        }
    }

    /// A copy of a record.
    pub fn record(&self, impu: &Impu) -> Option<Record> {
        self.records.get(impu).map(|record| record.clone())
    }

    pub fn registration_state(&self, impu: &Impu) -> RegState {
        self.records.get(impu).map_or(RegState::NotRegistered, |record| record.state)
    }

    /// Whose B-TID this is, as far as known here.
    pub fn owner(&self, btid: &Btid) -> Option<Impu> {
        self.by_btid.get(btid).map(|impu| impu.clone())
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The key of that B-TID for that NAF, if it is here and alive.
    pub fn smk(&self, impu: &Impu, btid: &Btid, naf: &NafId, now: Now) -> Option<Smk> {
        let record = self.records.get(impu)?;
        record
            .smk
            .as_ref()
            .filter(|smk| smk.btid == *btid && smk.naf == *naf && smk.expires > now.unix.as_secs())
            .cloned()
    }

    /// Makes or changes a record; answers with the state before.
    pub fn update(&self, impu: &Impu, update: Update) -> Result<RegState, KeyFault> {
        if self.records.len() >= self.limit && !self.records.contains_key(impu) {
            return Err(KeyFault::Full);
        }
        let mut record = self.records.entry(impu.clone()).or_insert_with(|| Record {
            state: RegState::NotRegistered,
            ims: RegState::Registered,
            naf: update.naf.clone(),
            btid: None,
            smk: None,
            until: update.until,
            subscription: BroadcastSubscription::All,
            services: Vec::new(),
            ims_peer: update.ims_peer,
        });
        let previous = std::mem::replace(&mut record.state, update.state);
        record.ims = RegState::Registered;
        record.naf = update.naf;
        record.until = update.until;
        record.ims_peer = update.ims_peer;
        if update.btid.is_some() {
            record.btid = update.btid;
        }
        if let Some(subscription) = update.subscription {
            record.subscription = subscription;
        }
        Ok(previous)
    }

    /// Sets the state alone.
    pub fn set_state(&self, impu: &Impu, state: RegState) -> Option<RegState> {
        self.records.get_mut(impu).map(|mut record| std::mem::replace(&mut record.state, state))
    }

    /// The ground rules for a key that came: whose it is, and whether it may take the place of the one held.
    pub fn install_key(&self, impu: &Impu, document: &KeyDocument, now: Now) -> Result<(), KeyFault> {
        self.may_install(impu, document, now)?;
        let mut record = self.records.get_mut(impu).ok_or(KeyFault::Full)?;
        let replaced = record.smk.replace(Smk {
            key: document.key.clone(),
            btid: document.btid.clone(),
            naf: document.naf.clone(),
            expires: document.expires,
        });
        record.btid = Some(document.btid.clone());
        let check = tracing::enabled!(target: "ladder", tracing::Level::TRACE).then(|| document.key.check_value());
        tracing::trace!(target: "ladder", at = "BSM", what = "SMK = Ks_NAF", check = check.as_deref().unwrap_or_default());
        if let Some(services) = &document.services {
            record.subscription = services.clone();
        }
        drop(record);
        if let Some(replaced) = replaced.filter(|replaced| replaced.btid != document.btid) {
            self.by_btid.remove_if(&replaced.btid, |_, owner| owner == impu);
        }
        self.by_btid.insert(document.btid.clone(), impu.clone());
        Ok(())
    }

    /// [`BsmState::install_key`]'s checks alone.
    pub fn may_install(&self, impu: &Impu, document: &KeyDocument, now: Now) -> Result<(), KeyFault> {
        if document.expires <= now.unix.as_secs() {
            return Err(KeyFault::Expired);
        }
        if !document.impus.is_empty() && !document.impus.contains(impu) {
            return Err(KeyFault::AnotherUser);
        }
        let record = self.records.get(impu);
        match record.as_ref().and_then(|record| record.smk.as_ref()) {
            Some(held) if held.btid == document.btid && held.naf == document.naf => {
                if bool::from(held.key.0.ct_eq(&document.key.0)) { Ok(()) } else { Err(KeyFault::Conflict) }
            }
            Some(held) if held.naf == document.naf && held.expires > document.expires => Err(KeyFault::Older),
            _ => Ok(()),
        }
    }

    /// Adds and removes granted items.
    pub fn set_services(&self, impu: &Impu, granted: &[String], removed: &[String]) {
        if let Some(mut record) = self.records.get_mut(impu) {
            record.services.retain(|service| !removed.contains(service) && !granted.contains(service));
            record.services.extend_from_slice(granted);
        }
    }

    /// Ends a registration: the record goes, and the key with it.
    pub fn terminate(&self, impu: &Impu) -> Option<Record> {
        let (_, record) = self.records.remove(impu)?;
        if let Some(smk) = &record.smk {
            self.by_btid.remove_if(&smk.btid, |_, owner| owner == impu);
        }
        Some(record)
    }

    /// Ends what is over; keys that are over go, their registrations stay until they end themselves.
    pub fn sweep(&self, now: Now) -> Vec<(Impu, Record)> {
        let mut over = Vec::new();
        let mut forgotten = Vec::new();
        for mut record in self.records.iter_mut() {
            if record.until <= now.mono {
                over.push(record.key().clone());
            } else if record.smk.as_ref().is_some_and(|smk| smk.expires <= now.unix.as_secs()) {
                let smk = record.smk.take();
                forgotten.extend(smk.map(|smk| (smk.btid, record.key().clone())));
            }
        }
        for (btid, impu) in forgotten {
            self.by_btid.remove_if(&btid, |_, owner| *owner == impu);
        }
        over.into_iter()
            .filter(|impu| self.records.get(impu).is_some_and(|record| record.until <= now.mono))
            .filter_map(|impu| self.terminate(&impu).map(|record| (impu, record)))
            .collect()
    }
}
