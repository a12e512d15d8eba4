//! Keeping entities in step with what they describe in memory: for the S-CSCF's users and the broadcast server's, whose
//! tables are what traffic is answered from.
//!
//! Whoever has changed a thing says so ([`Keeper::changed`]); the keeper looks at the thing *then* ([`Kept::describe`])
//! and saves it whole. On a store of the node's own, look and place in the queue are one step, so the last save is of
//! the last state. On a shared store each save is made upon the version that this node knows; when another node was
//! faster, its entity is taken over first ([`Kept::reconcile`]) and the outcome of both is saved. A save that failed
//! is made again by [`Keeper::tend`], of whatever is so by then, unless its caller undid the change.

use super::{Class, Entity, Key, Nature, Save, Saved, Store, StoreError};
use crate::answer::{Answer, Task};
use crate::shelf::{Map, Set};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// A table whose things are kept.
pub trait Kept {
    /// The thing as it is now; None: there is none any more.
    fn describe(&self, key: &Key) -> Option<Save>;

    /// What lies in the store is newer than what this node knew, or is read for the first time: takes over what is newer
    /// there. Without fields: the store has nothing of it, or has lost it.
    fn reconcile(&self, key: &Key, entity: &Entity) -> Result<(), StoreError>;

    /// On a shared store: what was described last is saved.
    fn saved(&self, _key: &Key) {}
}

type Told = oneshot::Sender<Result<(), StoreError>>;

/// What this node knows of an entity of a shared store.
#[derive(Default)]
struct Known {
    version: u64,
    /// Changes so far.
    wanted: u64,
    /// A save is under way.
    saving: bool,
    waiting: Vec<(u64, Told)>,
}

const STRIPES: usize = 64;
/// Saves that meet another node's change before it is given up.
const CONFLICTS: usize = 16;
/// Keys that show the shards' epochs: of so many a cluster of any size has some in each shard.
const PROBES: usize = 128;
/// Failed saves that are tried again in one round.
const ROUND: usize = 2000;

pub struct Keeper {
    store: Arc<dyn Store>,
    nature: Nature,
    /// Held from the look at a thing until its save is in the queue.
    stripes: [Mutex<()>; STRIPES],
    known: Map<Key, Known>,
    failed: Set<Key>,
    /// Epochs of shards, seen through keys that lie anywhere.
    epochs: Mutex<Vec<u64>>,
}

impl Keeper {
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let nature = store.nature();
        let stripes = std::array::from_fn(|_| Mutex::new(()));
        Arc::new(Keeper {
            store,
            nature,
            stripes,
            known: Map::default(),
            failed: Set::default(),
            epochs: Mutex::default(),
        })
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub fn nature(&self) -> Nature {
        self.nature
    }

    /// Saves the thing as it is now; the answer comes when that, or something later of it, is saved. Not awaiting it is
    /// fine. `spawn`: where a save that may have to be repeated runs.
    pub fn changed<K: Kept + Send + Sync + 'static>(
        self: &Arc<Self>,
        key: &Key,
        kept: &Arc<K>,
        spawn: &dyn Fn(Task),
    ) -> Answer<'static, Result<(), StoreError>> {
        match self.nature {
            Nature::Volatile => Answer::now(Ok(())),
            Nature::Durable => self.enqueue(key, &**kept),
            Nature::Shared => {
                let (told, answer) = oneshot::channel();
                let begin = {
                    let mut known = self.known.entry(key.clone()).or_default();
                    known.wanted += 1;
                    let wanted = known.wanted;
                    known.waiting.push((wanted, told));
                    !std::mem::replace(&mut known.saving, true)
                };
                if begin {
                    let (me, key, kept) = (self.clone(), key.clone(), kept.clone());
                    spawn(Box::pin(async move { me.save(&key, &*kept).await }));
                }
                Answer::later(async move { answer.await.unwrap_or(Err(StoreError::Closed)) })
            }
        }
    }

    fn enqueue(self: &Arc<Self>, key: &Key, kept: &dyn Kept) -> Answer<'static, Result<(), StoreError>> {
        let stripe = &self.stripes[self.stripe(key)];
        let answer = {
            let _in_order = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            self.store.save(kept.describe(key).unwrap_or_else(|| Save::remove(key.clone())))
        };
        let settle = |me: &Self, key: &Key, result: Result<Saved, StoreError>| match result {
            Ok(_) => {
                me.failed.remove(key);
                Ok(())
            }
            Err(why) => {
                me.failed.insert(key.clone());
                Err(why)
            }
        };
        match answer {
            Answer::Now(Some(result)) => Answer::now(settle(self, key, result)),
            answer => {
                let (me, key) = (self.clone(), key.clone());
                Answer::later(async move { settle(&me, &key, answer.await) })
            }
        }
    }

    fn stripe(&self, key: &Key) -> usize {
        (self.known.hasher().hash_one(key) % STRIPES as u64) as usize
    }

    /// Saves until what is saved is what is.
    async fn save(&self, key: &Key, kept: &dyn Kept) {
        let mut conflicts = 0;
        loop {
            let Some((wanted, version)) = self.known.get(key).map(|known| (known.wanted, known.version)) else {
                return;
            };
            let save = kept.describe(key).unwrap_or_else(|| Save::remove(key.clone())).upon(version);
            let met = match self.store.save(save).await {
                Ok(Saved::Done(version)) => {
                    self.failed.remove(key);
                    kept.saved(key);
                    if self.saved(key, wanted, version) {
                        return;
                    }
                    continue;
                }
                Ok(Saved::Conflict) if conflicts < CONFLICTS => self.meet(key, kept).await,
                Ok(Saved::Conflict) => Err(StoreError::Refused("other nodes change it all the time".into())),
                Err(why) => Err(why),
            };
            conflicts += 1;
            if let Err(why) = met {
                self.failed.insert(key.clone());
                if let Some(mut known) = self.known.get_mut(key) {
                    known.saving = false;
                    known.waiting.drain(..).for_each(|(_, told)| _ = told.send(Err(why.clone())));
                }
                return;
            }
        }
    }

    /// True: nothing has changed since.
    fn saved(&self, key: &Key, wanted: u64, version: u64) -> bool {
        let Some(mut known) = self.known.get_mut(key) else { return true };
        known.version = version;
        for (_, told) in known.waiting.extract_if(.., |(at, _)| *at <= wanted) {
            let _ = told.send(Ok(()));
        }
        let still = known.wanted == wanted;
        known.saving = !still;
        drop(known);
        if still && version == 0 {
            self.known.remove_if(key, |_, known| known.version == 0 && !known.saving && known.waiting.is_empty());
        }
        still
    }

    /// Takes over what another node has made of it.
    async fn meet(&self, key: &Key, kept: &dyn Kept) -> Result<(), StoreError> {
        let entity = self.store.load(vec![key.clone()]).await?.pop().unwrap_or_default();
        kept.reconcile(key, &entity)?;
        if let Some(mut known) = self.known.get_mut(key) {
            known.version = entity.version;
        }
        Ok(())
    }

    /// Has the thing in memory as the store has it, before it is read: on a shared store always, on a store of the
    /// node's own where `missing` says that it is not in memory yet.
    pub fn fetch<'a>(
        self: &'a Arc<Self>,
        key: &Key,
        kept: &'a dyn Kept,
        missing: bool,
    ) -> Answer<'a, Result<(), StoreError>> {
        match self.nature {
            Nature::Volatile => Answer::now(Ok(())),
            Nature::Durable if !missing => Answer::now(Ok(())),
            Nature::Durable | Nature::Shared => {
                let key = key.clone();
                Answer::later(async move {
                    let entity = self.store.load(vec![key.clone()]).await?.pop().unwrap_or_default();
                    self.take_over(&key, kept, &entity)
                })
            }
        }
    }

    /// An entity that was read: takes it over, unless this node knows it or a later one already. While a save is under way
    /// too: who reads must see what others have had acknowledged, and the save meets it once more.
    pub fn take_over(&self, key: &Key, kept: &dyn Kept, entity: &Entity) -> Result<(), StoreError> {
        if self.nature != Nature::Shared {
            return if entity.exists() { kept.reconcile(key, entity) } else { Ok(()) };
        }
        match self.known.get(key) {
            Some(known) if known.version == entity.version => return Ok(()),
            // Read before the last save.
            Some(known) if entity.exists() && entity.version < known.version => return Ok(()),
            Some(known) if known.saving && !entity.exists() => return Ok(()),
            None if !entity.exists() => return Ok(()),
            _ => {}
        }
        kept.reconcile(key, entity)?;
        match entity.version {
            0 => drop(self.known.remove_if(key, |_, known| !known.saving)),
            version => {
                let mut known = self.known.entry(key.clone()).or_default();
                if !known.saving {
                    known.version = version;
                }
            }
        }
        Ok(())
    }

    /// The thing is no longer in memory here, and this node has no say in it.
    pub fn forget(&self, key: &Key) {
        self.known.remove_if(key, |_, known| !known.saving && known.waiting.is_empty());
        self.failed.remove(key);
    }

    /// The caller has undone a change whose save failed: what is in the store is what is in memory, as far as known.
    pub fn undone(&self, key: &Key) {
        self.failed.remove(key);
    }

    /// Makes saves again that failed. Called about once a second.
    pub fn tend<K: Kept + Send + Sync + 'static>(self: &Arc<Self>, kept: &Arc<K>, spawn: &dyn Fn(Task)) {
        if self.failed.is_empty() {
            return;
        }
        let again: Vec<Key> = self.failed.iter().take(ROUND).map(|key| key.clone()).collect();
        for key in again {
            self.failed.remove(&key);
            let answer = self.changed(&key, kept, spawn);
            spawn(Box::pin(async move { drop(answer.await) }));
        }
    }

    /// Epochs that shards of the store have newly: what was acknowledged there may be lost, and who has entities with one
    /// of these ([`Store::epoch`]) saves them again. Called about once a second.
    pub fn reborn(&self) -> Vec<u64> {
        if self.nature != Nature::Shared {
            return Vec::new();
        }
        let probe = |n: usize| self.store.epoch(&Key::new(Class::User, n.to_string()));
        let now: Vec<u64> = (0..PROBES).map(probe).collect();
        let mut seen = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *seen, now.clone());
        let mut new: Vec<u64> =
            now.into_iter().zip(before).filter(|(now, before)| now != before).map(|(now, _)| now).collect();
        new.sort_unstable();
        new.dedup();
        new
    }

    /// Entities whose last save failed.
    pub fn unsaved(&self) -> usize {
        self.failed.len()
    }
}

#[cfg(test)]
mod tests;
