//! What a broadcast server knows of its users: one record per public identity, shared by all workers and kept in the
//! store ([`super::keep`]).
//!
//! No lock is held across an await: each method does one step and lets go. Where two tables are locked, `records` is
//! first.

use super::alert::Word;
use super::held::Held;
use super::keys::KeyDocument;
use super::nonce::Nonces;
use super::retrieve::Waiting;
use crate::aka::Rand;
use crate::clock::{Now, Time};
use crate::few::Few;
use crate::gba::btid::Btid;
use crate::gba::kdf::KsNaf;
use crate::gba::naf_id::NafId;
use crate::hss::{BroadcastSubscription, RegState};
use crate::identity::Impu;
use crate::shelf::{Map, Named, Shelf};
use crate::store::keeper::Keeper;
use crate::store::seal::Seal;
use crate::store::{Nature, Store};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
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
    /// End of the registration on the store's clock.
    pub until: Time,
    /// The latest end that it ever had: an older copy elsewhere is over by then.
    pub latest: Time,
    /// What the HSS lets the user receive, as told by the IMS.
    pub subscription: BroadcastSubscription,
    /// Purchase items that were granted.
    pub services: Few<String>,
    /// Which configured IMS node the user came through; one that there is not: no node that is configured now.
    pub ims_peer: u16,
    /// Time of the last change on the store's clock; of two versions the later counts. It only grows.
    pub changed: Time,
}

impl Record {
    /// The key is still to come: somebody asks for it now, or did before he was stopped.
    pub fn awaits_key(&self) -> bool {
        self.state == RegState::Pending && self.btid.is_some() && self.smk.is_none()
    }
}

/// A record with whose it is.
pub(super) struct User {
    pub(super) impu: Impu,
    pub(super) record: Record,
}

impl Named for User {
    type Name = str;

    fn name(&self) -> &str {
        self.impu.as_str()
    }
}

/// Whose key it is that was derived with a RAND. Of two B-TIDs with one RAND, which no BSF gives, the later counts.
pub(super) struct Owner {
    rand: Rand,
    impu: Impu,
}

impl Named for Owner {
    type Name = [u8; 16];

    fn name(&self) -> &[u8; 16] {
        &self.rand.0
    }
}

/// A registration that has ended, for as long as an older copy of it could come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) changed: Duration,
    pub(super) until: Duration,
    /// It was this node that ended it because its time was over.
    pub(super) expired_here: bool,
}

/// A user as he was before a change, to be put back if that cannot be saved.
#[derive(Default)]
pub(super) struct Before {
    record: Option<Record>,
    ended: Option<Ended>,
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
    /// On the store's clock.
    pub until: Duration,
    pub subscription: Option<BroadcastSubscription>,
    pub ims_peer: usize,
}

/// How long a registration that has ended is remembered beyond the end of its last copy.
pub(super) const REMEMBERED: Duration = Duration::from_secs(60);
/// Registrations ended in one sweep: after a long stop all may be over at once.
const ROUND: usize = 5000;
/// The smallest step of a change's time.
const STEP: Duration = Duration::from_micros(1);

/// All records of a broadcast server, and what its modules share between workers.
pub struct BsmState {
    pub(super) records: Shelf<Box<User>>,
    by_btid: Shelf<Owner>,
    pub(super) ended: Map<Impu, Ended>,
    pub(super) waiting: Waiting,
    pub(super) nonces: Nonces,
    /// Alerts that a policy holds back.
    pub(super) held: Held<Word>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) seal: Arc<Seal>,
    /// Names of the configured IMS nodes, in their order.
    pub(super) ims: Vec<String>,
    /// All that lay in a store of this node's own is in memory.
    pub(super) loaded: AtomicBool,
    /// Read from the store while their keys were still to come, with the time of their change.
    pub(super) unfinished: Mutex<Vec<(Impu, Duration)>>,
    limit: usize,
}

impl BsmState {
    /// `limit`: users at once. `ims`: names of the configured IMS nodes, in their order.
    pub fn new(limit: usize, store: Arc<dyn Store>, seal: Arc<Seal>, ims: Vec<String>) -> Self {
        let loaded = AtomicBool::new(store.nature() != Nature::Durable);
        BsmState {
            records: Shelf::default(),
            by_btid: Shelf::default(),
            ended: Map::default(),
            waiting: Waiting::default(),
            nonces: Nonces::new(),
            held: Held::default(),
            keeper: Keeper::new(store),
            seal,
            ims,
            loaded,
            unfinished: Mutex::default(),
            limit,
        }
    }

    /// The store's clock, by which registrations end.
    pub fn time(&self, now: Now) -> Duration {
        self.keeper.store().time(now)
    }

    pub fn nature(&self) -> Nature {
        self.keeper.nature()
    }

    /// A copy of a record.
    pub fn record(&self, impu: &Impu) -> Option<Record> {
        self.records.get(impu.as_str()).map(|user| user.record.clone())
    }

    pub fn registration_state(&self, impu: &Impu) -> RegState {
        self.records.get(impu.as_str()).map_or(RegState::NotRegistered, |user| user.record.state)
    }

    /// Whose B-TID this is, as far as known here.
    pub fn owner(&self, btid: &Btid) -> Option<Impu> {
        let impu = self.by_btid.get(&btid.rand().0).map(|owner| owner.impu.clone())?;
        let his = |user: &User| user.record.smk.as_ref().is_some_and(|smk| smk.btid == *btid);
        self.records.get(impu.as_str()).is_some_and(|user| his(&user)).then_some(impu)
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The key of that B-TID for that NAF, if it is here and alive.
    pub fn smk(&self, impu: &Impu, btid: &Btid, naf: &NafId, now: Now) -> Option<Smk> {
        let user = self.records.get(impu.as_str())?;
        user.record
            .smk
            .as_ref()
            .filter(|smk| smk.btid == *btid && smk.naf == *naf && smk.expires > self.time(now).as_secs())
            .cloned()
    }

    /// Makes or changes a record; answers with the state before.
    pub fn update(&self, impu: &Impu, update: Update, now: Now) -> Result<RegState, KeyFault> {
        if self.records.len() >= self.limit && !self.records.contains(impu.as_str()) {
            return Err(KeyFault::Full);
        }
        let ims_peer = u16::try_from(update.ims_peer).unwrap_or(u16::MAX);
        let mut slot = self.records.slot(impu.as_str());
        let user = slot.or_put(|| {
            let record = Record {
                state: RegState::NotRegistered,
                ims: RegState::Registered,
                naf: update.naf.clone(),
                btid: None,
                smk: None,
                until: update.until.into(),
                latest: update.until.into(),
                subscription: BroadcastSubscription::All,
                services: Few::default(),
                ims_peer,
                changed: self.ended.remove(impu).map_or(Duration::ZERO, |(_, ended)| ended.changed).into(),
            };
            Box::new(User { impu: impu.clone(), record })
        });
        let record = &mut user.record;
        let previous = std::mem::replace(&mut record.state, update.state);
        record.ims = RegState::Registered;
        record.naf = update.naf;
        record.until = update.until.into();
        record.latest = record.latest.max(record.until);
        record.ims_peer = ims_peer;
        record.changed = self.stamp(record.changed, now);
        if update.btid.is_some() {
            record.btid = update.btid;
        }
        if let Some(subscription) = update.subscription {
            record.subscription = subscription;
        }
        Ok(previous)
    }

    /// The time of a change after one at `last`.
    fn stamp(&self, last: Time, now: Now) -> Time {
        self.time(now).max(last.get() + STEP).into()
    }

    /// Sets the state alone.
    pub fn set_state(&self, impu: &Impu, state: RegState, now: Now) -> Option<RegState> {
        self.records.get_mut(impu.as_str()).map(|mut user| {
            let record = &mut user.record;
            record.changed = self.stamp(record.changed, now);
            std::mem::replace(&mut record.state, state)
        })
    }

    /// The ground rules for a key that came: whose it is, and whether it may take the place of the one held.
    pub fn install_key(&self, impu: &Impu, document: &KeyDocument, now: Now) -> Result<(), KeyFault> {
        self.may_install(impu, document, now)?;
        let mut user = self.records.get_mut(impu.as_str()).ok_or(KeyFault::Full)?;
        let record = &mut user.record;
        let replaced = record.smk.replace(Smk {
            key: document.key.clone(),
            btid: document.btid.clone(),
            naf: document.naf.clone(),
            expires: document.expires,
        });
        record.btid = Some(document.btid.clone());
        record.changed = self.stamp(record.changed, now);
        let check = tracing::enabled!(target: "ladder", tracing::Level::TRACE).then(|| document.key.check_value());
        tracing::trace!(target: "ladder", at = "BSM", what = "SMK = Ks_NAF", check = check.as_deref().unwrap_or_default());
        if let Some(services) = &document.services {
            record.subscription = services.clone();
        }
        drop(user);
        self.index(impu, replaced.as_ref(), Some(&document.btid));
        Ok(())
    }

    /// Has the index say whose the key of a B-TID is, in place of the key that he had before.
    pub(super) fn index(&self, impu: &Impu, replaced: Option<&Smk>, btid: Option<&Btid>) {
        if let Some(replaced) = replaced.filter(|replaced| Some(&replaced.btid) != btid) {
            self.by_btid.remove_if(&replaced.btid.rand().0, |owner| owner.impu == *impu);
        }
        if let Some(btid) = btid {
            self.by_btid.insert(Owner { rand: btid.rand(), impu: impu.clone() });
        }
    }

    /// [`BsmState::install_key`]'s checks alone.
    pub fn may_install(&self, impu: &Impu, document: &KeyDocument, now: Now) -> Result<(), KeyFault> {
        if document.expires <= self.time(now).as_secs() {
            return Err(KeyFault::Expired);
        }
        if !document.impus.is_empty() && !document.impus.contains(impu) {
            return Err(KeyFault::AnotherUser);
        }
        let user = self.records.get(impu.as_str());
        match user.as_ref().and_then(|user| user.record.smk.as_ref()) {
            Some(held) if held.btid == document.btid && held.naf == document.naf => {
                if bool::from(held.key.0.ct_eq(&document.key.0)) { Ok(()) } else { Err(KeyFault::Conflict) }
            }
            Some(held) if held.naf == document.naf && held.expires > document.expires => Err(KeyFault::Older),
            _ => Ok(()),
        }
    }

    /// Adds and removes granted items.
    pub fn set_services(&self, impu: &Impu, granted: &[String], removed: &[String], now: Now) {
        if granted.is_empty() && removed.is_empty() {
            return;
        }
        if let Some(mut user) = self.records.get_mut(impu.as_str()) {
            let record = &mut user.record;
            let stays = |service: &&String| !removed.contains(service) && !granted.contains(service);
            record.services = record.services.iter().filter(stays).chain(granted).cloned().collect();
            record.changed = self.stamp(record.changed, now);
        }
    }

    /// Ends a registration: the record goes, and the key with it.
    pub fn terminate(&self, impu: &Impu, now: Now) -> Option<Record> {
        self.end(impu, now, |_| true, |record| (self.stamp(record.changed, now).get(), false))
    }

    /// Ends a registration whose time is over. That counts less than any other change after the last one that this node
    /// knows: of several nodes that end it, and one that has it refreshed, only one has its way.
    pub(super) fn expire(&self, impu: &Impu, now: Now) -> Option<Record> {
        let time = self.time(now);
        self.end(impu, now, |record| record.until <= time, |record| (record.changed.get() + STEP, true))
    }

    fn end(
        &self,
        impu: &Impu,
        now: Now,
        which: impl FnOnce(&Record) -> bool,
        stamp: impl FnOnce(&Record) -> (Duration, bool),
    ) -> Option<Record> {
        let mut slot = self.records.slot(impu.as_str());
        let record = slot.get().map(|user| &user.record).filter(|record| which(record))?;
        let (changed, expired_here) = stamp(record);
        if self.remembers() {
            let until = record.latest.get().max(self.time(now)) + REMEMBERED;
            self.ended.insert(impu.clone(), Ended { changed, until, expired_here });
        }
        let record = slot.take()?.record;
        drop(slot);
        self.index(impu, record.smk.as_ref(), None);
        Some(record)
    }

    /// Whether an older copy could bring back what has ended: another node's, or one that is being read.
    fn remembers(&self) -> bool {
        match self.nature() {
            Nature::Volatile => false,
            Nature::Durable => !self.loaded.load(Ordering::Acquire),
            Nature::Shared => true,
        }
    }

    /// Whether nothing is known of a user: neither that he is registered nor that he was.
    pub(super) fn knows_nothing_of(&self, impu: &Impu) -> bool {
        !self.records.contains(impu.as_str()) && !self.ended.contains_key(impu)
    }

    /// When what is known of a user was changed last.
    pub(super) fn changed_at(&self, impu: &Impu) -> Duration {
        let record = self.records.get(impu.as_str()).map(|user| user.record.changed.get());
        record.or_else(|| self.ended.get(impu).map(|ended| ended.changed)).unwrap_or_default()
    }

    /// A user as he is now. Nothing, where changes need no saving.
    pub(super) fn before(&self, impu: &Impu) -> Before {
        match self.nature() {
            Nature::Volatile => Before::default(),
            _ => Before { record: self.record(impu), ended: self.ended.get(impu).map(|ended| *ended) },
        }
    }

    /// Puts a user back to what he was, unless he was changed again since the change `at`.
    pub(super) fn undo(&self, impu: &Impu, before: Before, at: Duration) -> bool {
        let mut slot = self.records.slot(impu.as_str());
        let (here, smk) = match slot.get().map(|user| &user.record) {
            Some(record) => (record.changed.get(), record.smk.clone()),
            None => (self.ended.get(impu).map_or(Duration::ZERO, |ended| ended.changed), None),
        };
        if here != at {
            return false;
        }
        let btid = before.record.as_ref().and_then(|record| record.smk.as_ref()).map(|smk| smk.btid.clone());
        slot.take();
        if let Some(record) = before.record {
            slot.put(Box::new(User { impu: impu.clone(), record }));
        }
        drop(slot);
        match before.ended {
            Some(ended) => drop(self.ended.insert(impu.clone(), ended)),
            None => drop(self.ended.remove(impu)),
        }
        self.index(impu, smk.as_ref(), btid.as_ref());
        true
    }

    /// Lets go of keys that are over; their registrations stay until they end themselves. Answers with the users whose
    /// registration has been over for `since`.
    pub(super) fn sweep(&self, now: Now, since: Duration) -> Vec<Impu> {
        let time = self.time(now);
        let mut over = Vec::new();
        let mut forgotten = Vec::new();
        self.records.for_each_mut(|user| {
            let User { impu, record } = &mut **user;
            if record.until.get() + since <= time {
                if over.len() < ROUND {
                    over.push(impu.clone());
                }
            } else if record.smk.as_ref().is_some_and(|smk| smk.expires <= time.as_secs()) {
                forgotten.extend(record.smk.take().map(|smk| (smk, impu.clone())));
            }
        });
        for (smk, impu) in forgotten {
            self.index(&impu, Some(&smk), None);
        }
        over
    }
}
