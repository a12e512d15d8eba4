//! Keeping the broadcast server's users: over a restart on a store of the node's own, and in step with other nodes on a
//! shared one. What waits for a key, Ua's nonces and held alerts stay in memory.
//!
//! [`Bsm`] has a user read before it works on a request ([`Bsm::fetch`]) and his change saved before it answers
//! ([`Bsm::keep`]). [`BsmState::load`] runs on a thread of its own when the node starts; [`Bsm::due`] is called by the
//! node's timekeeper for what [`crate::store::Store::claim_due`] gives it.

use super::Job;
use super::alert::Change;
use super::keys::KeyDocument;
use super::server::Bsm;
use super::state::{Before, BsmState, KeyFault, REMEMBERED, Record, User};
use super::stored::{RECORD, Stored};
use crate::answer::Answer;
use crate::clock::Now;
use crate::gba::btid::Btid;
use crate::hss::RegState;
use crate::identity::Impu;
use crate::store::keeper::Kept;
use crate::store::{Class, Due, Entity, Key, Nature, Save, StoreError};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A shared store holds who is over for so long, for nodes that were all away when his time came.
const GRACE: Duration = Duration::from_secs(3600);
/// A key that did not come for so long is not waited for any more where it was asked for: that node has died.
const PATIENCE: Duration = Duration::from_secs(30);
/// Keys asked for again in one sweep.
const ROUND: usize = 256;
/// Field of a B-TID's entity: our user. The S-CSCF has a field of its own there.
const OWNER: &str = "broadcast-owner";
/// Between two attempts to read all users.
const PAUSE: Duration = Duration::from_secs(1);

fn key_of(impu: &Impu) -> Key {
    Key::new(Class::BroadcastUser, impu.as_str())
}

impl Kept for BsmState {
    fn describe(&self, key: &Key) -> Option<Save> {
        let impu = Impu::new(key.name.clone());
        let whole = |octets| Save::whole(key.clone(), vec![(RECORD.into(), Some(octets))]);
        let shared = self.nature() == Nature::Shared;
        if let Some(user) = self.records.get(impu.as_str()) {
            let record = &user.record;
            let save = whole(self.written(key, record)?);
            return Some(match shared {
                true => save.due(Due::At(due_at(record))).until(record.latest.get() + GRACE),
                // This node sees to its own users itself.
                false => save.due(Due::Never),
            });
        }
        let ended = self.ended.get(&impu).filter(|_| shared)?;
        Some(whole(ended.written()?).due(Due::Never).until(ended.until))
    }

    /// The later change counts, as a whole. An entity that cannot be read counts for nothing: what is here stays, and the
    /// next change is written over it.
    fn reconcile(&self, key: &Key, entity: &Entity) -> Result<(), StoreError> {
        let impu = Impu::new(key.name.clone());
        match self.read(key, entity) {
            // Of nobody, or the store has lost him: what is here is saved again with the next change.
            Ok(None) => {}
            Ok(Some(Stored::Registered(theirs))) => self.take_record(&impu, *theirs),
            Ok(Some(Stored::Ended(theirs))) => {
                let mut slot = self.records.slot(impu.as_str());
                let ours = match slot.get() {
                    Some(user) => user.record.changed.get(),
                    None => self.ended.get(&impu).map_or(Duration::ZERO, |ours| ours.changed),
                };
                if ours > theirs.changed {
                    return Ok(());
                }
                let held = slot.take();
                self.ended.insert(impu.clone(), theirs);
                drop(slot);
                self.index(&impu, held.as_ref().and_then(|user| user.record.smk.as_ref()), None);
            }
            Err(why) => tracing::error!(%key, %why, "what the store has of a user is not taken"),
        }
        Ok(())
    }
}

/// When a node is to look at a user by itself.
fn due_at(record: &Record) -> Duration {
    let until = record.until.get();
    if record.awaits_key() { until.min(record.changed.get() + PATIENCE) } else { until }
}

impl BsmState {
    fn take_record(&self, impu: &Impu, theirs: Record) {
        if theirs.awaits_key() && self.nature() == Nature::Durable {
            let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
            unfinished.push((impu.clone(), theirs.changed.get()));
        }
        let btid = theirs.smk.as_ref().map(|smk| smk.btid.clone());
        let mut slot = self.records.slot(impu.as_str());
        let ours = match slot.get() {
            Some(user) => user.record.changed.get(),
            None => self.ended.get(impu).map_or(Duration::ZERO, |ours| ours.changed),
        };
        if ours > theirs.changed.get() {
            return;
        }
        let replaced = slot.put(Box::new(User { impu: impu.clone(), record: theirs }));
        if replaced.is_none() {
            self.ended.remove(impu);
        }
        let replaced = replaced.and_then(|user| user.record.smk);
        drop(slot);
        self.index(impu, replaced.as_ref(), btid.as_ref());
    }

    /// Reads all users from a store of this node's own. It blocks, for as long as a thread of its own may take: until it
    /// is done, who is missing in memory is looked for in the store.
    pub fn load(&self) {
        let mut each = |key: &Key, entity: Entity| {
            // Reconciling does not fail here.
            let _ = self.keeper.take_over(key, self, &entity);
            ControlFlow::Continue(())
        };
        while !self.loaded.load(Ordering::Acquire) {
            match self.keeper.store().walk(Class::BroadcastUser, &mut each) {
                Ok(()) => self.loaded.store(true, Ordering::Release),
                Err(StoreError::Closed) => return,
                Err(why) => {
                    tracing::error!(%why, "the broadcast server's users cannot be read yet");
                    std::thread::sleep(PAUSE);
                }
            }
        }
        tracing::debug!(users = self.len(), "the broadcast server's users are read");
    }

    /// On a shared store other nodes may look after a user: his copy here goes when his time has been over for a while.
    fn let_go(&self, impu: &Impu, now: Now) {
        let time = self.time(now);
        let over = |user: &mut Box<User>| user.record.until.get() + REMEMBERED <= time;
        if let Some(user) = self.records.remove_if(impu.as_str(), over) {
            self.index(impu, user.record.smk.as_ref(), None);
            self.keeper.forget(&key_of(impu));
        }
    }

    /// What has ended so long ago that no copy can bring it back.
    fn forget_ended(&self, now: Now) {
        let time = self.time(now);
        let durable = self.nature() == Nature::Durable;
        if self.ended.is_empty() || durable && !self.loaded.load(Ordering::Acquire) {
            return;
        }
        self.ended.retain(|impu, ended| {
            let goes = ended.until <= time;
            if goes && !durable {
                self.keeper.forget(&key_of(impu));
            }
            !goes
        });
    }

    fn take_unfinished(&self) -> Vec<(Impu, Duration)> {
        let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        let first = unfinished.len().saturating_sub(ROUND);
        unfinished.split_off(first)
    }
}

impl Bsm {
    /// Has a user in memory as the store has him. Err: the store is away, and others may know better than this node.
    pub(super) async fn fetch(&self, impu: &Impu) -> Result<(), StoreError> {
        let state = &self.state;
        if state.nature() == Nature::Volatile {
            return Ok(());
        }
        let missing = !state.loaded.load(Ordering::Acquire) && state.knows_nothing_of(impu);
        let key = key_of(impu);
        state.keeper.fetch(&key, &**state, missing).await.inspect_err(|why| {
            tracing::info!(%impu, %why, "a user cannot be looked up");
        })?;
        if state.nature() == Nature::Shared && state.knows_nothing_of(impu) {
            state.keeper.forget(&key);
        }
        Ok(())
    }

    /// Whose a B-TID is, by this node's memory or what others have written in a shared store.
    pub(super) async fn owner(&self, btid: &Btid) -> Result<Option<Impu>, StoreError> {
        let known = self.state.owner(btid);
        if known.is_some() || self.state.nature() != Nature::Shared {
            return Ok(known);
        }
        let key = Key::new(Class::Btid, btid.text());
        let entity = self.state.keeper.store().load(vec![key]).await?.pop().unwrap_or_default();
        Ok(entity.field(OWNER).and_then(|octets| std::str::from_utf8(octets).ok()).map(Impu::from))
    }

    /// Saves a user's change and waits for it. If that fails, he is put back to what he was `before`.
    pub(super) async fn keep(&self, impu: &Impu, before: Before) -> Result<(), StoreError> {
        if self.state.nature() == Nature::Volatile {
            return Ok(());
        }
        let at = self.state.changed_at(impu);
        let saved = self.changed(impu).await;
        if let Err(why) = &saved {
            tracing::debug!(%impu, %why, "a change is not saved, and undone");
            if self.state.undo(impu, before, at) {
                self.state.keeper.undone(&key_of(impu));
            }
        }
        saved
    }

    /// Saves a user's change in the background, until it succeeds.
    pub(super) fn keep_later(&self, impu: &Impu) {
        if self.state.nature() != Nature::Volatile {
            let saved = self.changed(impu);
            // Heard to the end, so that a failure is known and [`Bsm::tend`] saves it again.
            (self.env.spawn)(Box::pin(async move { drop(saved.await) }));
        }
    }

    /// Saves a user's change; one that failed is saved again later, unless it is undone.
    pub(super) fn changed(&self, impu: &Impu) -> Answer<'static, Result<(), StoreError>> {
        if self.state.nature() == Nature::Volatile {
            return Answer::now(Ok(()));
        }
        self.state.keeper.changed(&key_of(impu), &self.state, &*self.env.spawn)
    }

    /// Takes a key that came for a user, who is there. On a shared store it is also written whose its B-TID is, for other
    /// nodes, that a terminal comes to over Ua with the B-TID alone; where that is missing they ask the BSF.
    pub(super) fn install_key(&self, impu: &Impu, document: &KeyDocument, now: Now) -> Result<(), KeyFault> {
        self.state.install_key(impu, document, now)?;
        if self.state.nature() == Nature::Shared {
            self.write_owner(impu, document, now);
        }
        Ok(())
    }

    fn write_owner(&self, impu: &Impu, document: &KeyDocument, now: Now) {
        let lasts = document.expires.saturating_sub(self.state.time(now).as_secs());
        let owner = impu.as_str().as_bytes().into();
        let key = Key::new(Class::Btid, document.btid.text());
        // Never sooner than what the S-CSCF says of the same B-TID.
        let until = self.state.time(now) + Duration::from_secs(lasts) + GRACE;
        let saved = self.state.keeper.store().save(Save::some(key, vec![(OWNER.into(), Some(owner))]).until(until));
        (self.env.spawn)(Box::pin(async move { drop(saved.await) }));
    }

    /// Once in each sweep: what failed is saved again, what a stopped run left undone is taken up.
    pub(super) fn tend(self: &Rc<Self>, now: Now) {
        let state = &self.state;
        state.keeper.tend(state, &*self.env.spawn);
        // A shared store may have lost what this node knows of: it is written again, upon whatever is there now.
        let reborn = state.keeper.reborn();
        if !reborn.is_empty() {
            let mut known = Vec::new();
            state.records.for_each(|user| known.push(user.impu.clone()));
            let ended = state.ended.iter().map(|ended| ended.key().clone());
            let lost = |impu: &Impu| reborn.contains(&state.keeper.store().epoch(&key_of(impu)));
            let again: Vec<Impu> = known.into_iter().chain(ended).filter(lost).collect();
            again.iter().for_each(|impu| self.keep_later(impu));
        }
        state.forget_ended(now);
        for (impu, changed) in state.take_unfinished() {
            self.resume(&impu, |record| record.changed == changed);
        }
    }

    /// Ends a registration whose time is over, here or by whoever of several nodes has claimed it.
    pub(super) async fn end_over(self: &Rc<Self>, impu: &Impu, now: Now) {
        let shared = self.state.nature() == Nature::Shared;
        let before = if shared { self.state.before(impu) } else { Before::default() };
        let Some(record) = self.state.expire(impu, now) else { return };
        if shared {
            // Who cannot save it leaves it to whoever claims it next.
            let saved = self.keep(impu, before).await;
            let ours = self.state.ended.get(impu).is_some_and(|ended| ended.expired_here);
            if saved.is_err() || !ours {
                return;
            }
        } else {
            self.keep_later(impu);
        }
        self.tell_end(impu, record, "expired").await;
    }

    /// The HSS says that a user's registration is over: his key goes, and the IMS hears of it.
    pub async fn withdrawn(self: Rc<Self>, impu: Impu) {
        // If the store is away, what this node knows has to do.
        let _ = self.fetch(&impu).await;
        let Some(record) = self.state.terminate(&impu, (self.env.now)()) else { return };
        tracing::info!(%impu, "the HSS ends a registration");
        self.keep_later(&impu);
        self.tell_end(&impu, record, "deactivated").await;
    }

    async fn tell_end(self: &Rc<Self>, impu: &Impu, record: Record, cause: &str) {
        self.report(impu, &record.naf, record.btid.as_ref(), RegState::NotRegistered).await;
        self.alert(Change {
            impu: impu.clone(),
            btid: record.btid,
            naf: record.naf,
            previous: record.state,
            state: RegState::NotRegistered,
            cause: cause.to_string(),
            expires: 0,
            ims_peer: record.ims_peer.into(),
        });
    }

    /// Looks at a user of a shared store who is due: ends what is over, asks again for a key whose asker has died.
    pub async fn due(self: Rc<Self>, key: Key) {
        let impu = Impu::new(key.name.clone());
        if key.class != Class::BroadcastUser || self.fetch(&impu).await.is_err() {
            return; // due again before long
        }
        let now = (self.env.now)();
        let time = self.state.time(now);
        match self.state.record(&impu) {
            Some(record) if record.until <= time => self.end_over(&impu, now).await,
            Some(record) if due_at(&record) <= time => self.resume(&impu, Record::awaits_key),
            // Claiming has moved its time: it is put back.
            Some(_) => self.keep_later(&impu),
            None => {}
        }
    }

    /// Sweeps what this node alone looks after, or on a shared store only its copies.
    pub(super) async fn end_all_over(self: &Rc<Self>, now: Now) {
        let shared = self.state.nature() == Nature::Shared;
        for impu in self.state.sweep(now, if shared { REMEMBERED } else { Duration::ZERO }) {
            if shared {
                self.state.let_go(&impu, now);
            } else {
                self.end_over(&impu, now).await;
            }
        }
    }

    /// Asks again for the key of a pending registration.
    fn resume(self: &Rc<Self>, impu: &Impu, which: impl FnOnce(&Record) -> bool) {
        let Some(record) = self.state.record(impu).filter(Record::awaits_key).filter(which) else { return };
        let (bsm, impu) = (Rc::clone(self), impu.clone());
        let job: Job = Box::pin(async move { bsm.register_again(impu, record).await });
        (self.env.spawn)(job);
    }
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
