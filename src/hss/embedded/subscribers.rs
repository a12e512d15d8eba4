//! The subscribers of a store as an operator works with them: provision, remove, show, list, seal anew. A node that runs
//! on the store takes changes up by itself.
//!
//! A file of subscribers is checked as a whole before anything is written, so a bad line leaves nothing behind. What is
//! written then is many changes: if the process dies in the middle, a part of the file is in the store, each subscriber
//! of it whole, and the same file taken once more with `replace` completes it. First come the public identities, then the
//! subscriber whose they are; an identity whose owner does not name it is nobody's.

use super::EmbeddedError;
use super::entity;
use super::field;
use super::issuer;
use super::subscriber::{Credentials, Stored, StoredSqn, Subscriber};
use crate::aka::sqn;
use crate::answer::Answer;
use crate::clock::Now;
use crate::hss::RegState;
use crate::identity::{Impi, Impu};
use crate::store::{Class, Due, Entity, Key, Save, Saved, Seal, Store, StoreError};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Entities asked for at a time.
const CHUNK: usize = 512;
/// Changes under way at a time.
const UNDER_WAY: usize = 4096;
/// Walks that look for what is sealed in another way.
const PASSES: usize = 8;

/// Why one of several subscribers cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("{0} exists already")]
    Exists(Impi),
    #[error("{impu} belongs to {owner}")]
    ImpuTaken { impu: Impu, owner: Impi },
    #[error("no SQN follows the one given")]
    SqnUsedUp,
}

/// What stands against provisioning, each with the index of the subscriber.
pub type Conflicts = Vec<(usize, Conflict)>;

/// Told how many subscribers are done.
pub type Progress<'a> = &'a mut dyn FnMut(usize);

/// The subscribers of one store. All methods wait for it.
pub struct Subscribers {
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
}

/// What is to be done with one subscriber of a file.
struct Plan {
    save: Save,
    /// Identities that it had and has no more.
    dropped: Vec<Impu>,
}

/// A change that is under way.
struct Pending {
    index: usize,
    key: Key,
    answer: Answer<'static, Result<Saved, StoreError>>,
}

impl Subscribers {
    pub fn new(store: Arc<dyn Store>, seal: Arc<Seal>) -> Self {
        Subscribers { store, seal }
    }

    fn load(&self, keys: Vec<Key>) -> Result<Vec<Entity>, StoreError> {
        let mut entities = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK) {
            entities.extend(self.store.load(chunk.to_vec()).wait()?);
        }
        Ok(entities)
    }

    /// Takes all of `subscribers`, or none if any of them cannot be taken. `replace`: those that exist as well; their
    /// states stay, and their SQN while the keys stay. A conflict that only turns up while it is written, because
    /// somebody else provisions too, stops nothing.
    pub fn provision(
        &self,
        subscribers: &[Subscriber],
        now: Now,
        replace: bool,
        progress: Progress<'_>,
    ) -> Result<Conflicts, EmbeddedError> {
        let tick = sqn::ticks(self.store.time(now));
        let mut conflicts = Vec::new();
        let mut plans = Vec::with_capacity(subscribers.len());
        for (at, chunk) in subscribers.chunks(CHUNK).enumerate() {
            let held = self.load(chunk.iter().map(|s| entity::subscriber_key(&s.impi)).collect())?;
            for (index, (subscriber, held)) in chunk.iter().zip(&held).enumerate() {
                match self.plan(subscriber, held, tick, replace)? {
                    Ok(plan) => plans.push(plan),
                    Err(conflict) => conflicts.push((at * CHUNK + index, conflict)),
                }
            }
        }
        let identities = self.identities(subscribers, replace, &mut conflicts)?;
        if !conflicts.is_empty() {
            conflicts.sort_by_key(|(index, _)| *index);
            return Ok(conflicts);
        }
        self.write(subscribers, plans, &identities, progress)
    }

    /// Takes over subscribers with their generators, and marks by IND; who is there already is left alone.
    pub(super) fn adopt(
        &self,
        found: &[(Subscriber, Option<StoredSqn>)],
        marks: &[(u8, u64)],
    ) -> Result<(), EmbeddedError> {
        for (ind, mark) in marks {
            issuer::adopt_mark(&*self.store, *ind, *mark)?;
        }
        for chunk in found.chunks(UNDER_WAY) {
            let held = self.load(chunk.iter().map(|(s, _)| entity::subscriber_key(&s.impi)).collect())?;
            let (mut subscribers, mut plans) = (Vec::new(), Vec::new());
            for ((subscriber, sqn), held) in chunk.iter().zip(&held) {
                if !entity::is_subscriber(held) {
                    let mut fields = entity::profile(subscriber, 0, &self.seal)?;
                    fields.extend(sqn.map(entity::sqn));
                    let save = Save::whole(entity::subscriber_key(&subscriber.impi), fields).upon(held.version);
                    plans.push(Plan { save, dropped: Vec::new() });
                    subscribers.push(subscriber.clone());
                }
            }
            let mut conflicts = Vec::new();
            let identities = self.identities(&subscribers, false, &mut conflicts)?;
            conflicts.extend(self.write(&subscribers, plans, &identities, &mut |_| {})?);
            for (_, conflict) in conflicts {
                tracing::error!(%conflict, "of a subscriber of an earlier version");
            }
        }
        Ok(())
    }

    fn plan(
        &self,
        subscriber: &Subscriber,
        held: &Entity,
        tick: u64,
        replace: bool,
    ) -> Result<Result<Plan, Conflict>, EmbeddedError> {
        let exists = entity::is_subscriber(held);
        if exists && !replace {
            return Ok(Err(Conflict::Exists(subscriber.impi.clone())));
        }
        let old = entity::stored_sqn(held).filter(|_| exists);
        // A subscriber whose record cannot be read is replaced wholly.
        let known = match exists && subscriber.sqn.is_none() {
            true => entity::read(&subscriber.impi, held, &self.seal).ok().flatten(),
            false => None,
        };
        let goes_on = known.is_some_and(|known| subscriber.credentials.same_keys(&known.subscriber.credentials));
        let sqn = match &subscriber.credentials {
            Credentials::Digest(_) => None,
            Credentials::Aka(_) if goes_on => old,
            Credentials::Aka(_) => match StoredSqn::provisioned(subscriber.sqn.unwrap_or_default(), tick, old) {
                Ok(sqn) => Some(sqn),
                Err(_) => return Ok(Err(Conflict::SqnUsedUp)),
            },
        };
        let mut fields = entity::profile(subscriber, tick / 10, &self.seal)?;
        match sqn {
            // What a node learns meanwhile is not to be undone.
            Some(_) if goes_on => {}
            Some(sqn) => fields.push(entity::sqn(sqn)),
            None => fields.push((entity::SQN.into(), None)),
        }
        let key = entity::subscriber_key(&subscriber.impi);
        let save = match exists {
            true => Save::some(key, fields),
            false => Save::whole(key, fields).upon(held.version),
        };
        let mut dropped = entity::impus(held);
        dropped.retain(|impu| !subscriber.impus.contains(impu));
        Ok(Ok(Plan { save, dropped }))
    }

    /// The entities of all public identities; finds those that are somebody else's.
    fn identities(
        &self,
        subscribers: &[Subscriber],
        replace: bool,
        conflicts: &mut Conflicts,
    ) -> Result<Vec<Entity>, EmbeddedError> {
        let all = || {
            let one = |(index, subscriber): (usize, &'_ Subscriber)| {
                subscriber.impus.iter().map(move |impu| (index, impu.clone())).collect::<Vec<_>>()
            };
            subscribers.iter().enumerate().flat_map(one)
        };
        let entities = self.load(all().map(|(_, impu)| entity::identity_key(&impu)).collect())?;
        let within: HashSet<&Impi> = subscribers.iter().map(|subscriber| &subscriber.impi).collect();
        let mut first: HashMap<Impu, usize> = HashMap::new();
        let mut doubted = Vec::new();
        for ((index, impu), entity) in all().zip(&entities) {
            let Some(subscriber) = subscribers.get(index) else { continue };
            let before = *first.entry(impu.clone()).or_insert(index);
            if let Some(before) = subscribers.get(before).filter(|_| before != index) {
                conflicts.push((index, Conflict::ImpuTaken { impu, owner: before.impi.clone() }));
                continue;
            }
            let Some(owner) = entity::owner(entity).filter(|owner| *owner != subscriber.impi) else { continue };
            // Those of one file may exchange theirs: then it is in the file who has which.
            if !(replace && within.contains(&owner)) {
                doubted.push((index, impu, owner));
            }
        }
        let owners = self.load(doubted.iter().map(|(_, _, owner)| entity::subscriber_key(owner)).collect())?;
        for ((index, impu, owner), held) in doubted.into_iter().zip(&owners) {
            if entity::impus(held).contains(&impu) {
                conflicts.push((index, Conflict::ImpuTaken { impu, owner }));
            }
        }
        Ok(entities)
    }

    fn write(
        &self,
        subscribers: &[Subscriber],
        plans: Vec<Plan>,
        identities: &[Entity],
        progress: Progress<'_>,
    ) -> Result<Conflicts, EmbeddedError> {
        let taken: HashSet<&Impu> = subscribers.iter().flat_map(|subscriber| subscriber.impus.iter()).collect();
        let mut identities = identities.iter();
        let mut pending = VecDeque::new();
        let mut conflicts = Vec::new();
        let mut dropped = Vec::new();
        for (index, (subscriber, plan)) in subscribers.iter().zip(plans).enumerate() {
            for impu in subscriber.impus.iter() {
                let held = identities.next().cloned().unwrap_or_default();
                if entity::owner(&held).as_ref() != Some(&subscriber.impi) {
                    let save = entity::save_owner(impu, &subscriber.impi).upon(held.version);
                    pending.push_back(self.begin(index, save));
                }
            }
            pending.push_back(self.begin(index, plan.save));
            dropped.extend(plan.dropped.into_iter().filter(|impu| !taken.contains(impu)).map(|impu| (index, impu)));
            self.finish(&mut pending, UNDER_WAY, subscribers, &mut conflicts)?;
            progress(index + 1);
        }
        self.finish(&mut pending, 0, subscribers, &mut conflicts)?;
        let left = self.load(dropped.iter().map(|(_, impu)| entity::identity_key(impu)).collect())?;
        for ((index, impu), held) in dropped.iter().zip(&left) {
            if entity::owner(held).as_ref() == subscribers.get(*index).map(|subscriber| &subscriber.impi) {
                let save = Save::remove(entity::identity_key(impu)).upon(held.version);
                pending.push_back(self.begin(*index, save));
            }
        }
        while let Some(Pending { answer, .. }) = pending.pop_front() {
            answer.wait()?; // a conflict: it is somebody else's by now
        }
        Ok(conflicts)
    }

    fn begin(&self, index: usize, save: Save) -> Pending {
        Pending { index, key: save.key.clone(), answer: self.store.save(save) }
    }

    /// Waits until no more than `most` are under way.
    fn finish(
        &self,
        pending: &mut VecDeque<Pending>,
        most: usize,
        subscribers: &[Subscriber],
        conflicts: &mut Conflicts,
    ) -> Result<(), EmbeddedError> {
        while pending.len() > most {
            let Some(Pending { index, key, answer }) = pending.pop_front() else { break };
            if answer.wait()? != Saved::Conflict {
                continue;
            }
            let Some(subscriber) = subscribers.get(index) else { continue };
            let conflict = if key.class == Class::Subscriber {
                Conflict::Exists(subscriber.impi.clone())
            } else {
                let held = self.load(vec![key.clone()])?.pop().unwrap_or_default();
                let owner = entity::owner(&held).unwrap_or_else(|| Impi::from(""));
                Conflict::ImpuTaken { impu: Impu::new(key.name), owner }
            };
            conflicts.push((index, conflict));
        }
        Ok(())
    }

    /// Removes a subscriber with its keys and states; false: there is none. If it is registered, the node that looks
    /// at what is due of its user ends that.
    pub fn remove(&self, impi: &Impi, now: Now) -> Result<bool, EmbeddedError> {
        let held = self.load(vec![entity::subscriber_key(impi)])?.pop().unwrap_or_default();
        if !entity::is_subscriber(&held) {
            return Ok(false);
        }
        self.store.save(Save::remove(entity::subscriber_key(impi))).wait()?;
        let impus = entity::impus(&held);
        let identities = self.load(impus.iter().map(entity::identity_key).collect())?;
        for (impu, held) in impus.iter().zip(&identities) {
            if entity::owner(held).as_ref() == Some(impi) {
                self.store.save(Save::remove(entity::identity_key(impu)).upon(held.version)).wait()?;
            }
        }
        let user = Key::new(Class::User, impi.as_arc().clone());
        self.store.save(Save::some(user, Vec::new()).due(Due::At(self.store.time(now)))).wait()?;
        Ok(true)
    }

    /// The subscriber of a private or public identity.
    pub fn find(&self, identity: &str) -> Result<Option<Stored>, EmbeddedError> {
        let impi = Impi::from(identity);
        let impu = field::impu(identity).unwrap_or_else(|_| Impu::from(identity));
        if identity.is_empty() || identity.len() > crate::store::MAX_NAME {
            return Ok(None);
        }
        let held = self.load(vec![entity::subscriber_key(&impi), entity::identity_key(&impu)])?;
        let mut held = held.iter();
        if let Some(entity) = held.next().filter(|entity| entity::is_subscriber(entity)) {
            return entity::read(&impi, entity, &self.seal);
        }
        let Some(owner) = held.next().and_then(entity::owner) else { return Ok(None) };
        let held = self.load(vec![entity::subscriber_key(&owner)])?.pop().unwrap_or_default();
        let found = entity::read(&owner, &held, &self.seal)?;
        Ok(found.filter(|stored| stored.subscriber.impus.contains(&impu)))
    }

    /// Subscribers in no order, all or those registered somewhere, until `each` breaks. One that somebody has damaged is
    /// reported and left out.
    pub fn list(&self, registered: bool, mut each: impl FnMut(Stored) -> ControlFlow<()>) -> Result<(), EmbeddedError> {
        let is_registered = |entity: &Entity| {
            let registration = entity::registration(entity);
            let broadcast = registration.broadcast.map(|broadcast| broadcast.state);
            registration.ims == RegState::Registered || broadcast == Some(RegState::Registered)
        };
        self.store.walk(Class::Subscriber, &mut |key, entity| {
            if registered && !is_registered(&entity) {
                return ControlFlow::Continue(());
            }
            match entity::read(&Impi::new(key.name.clone()), &entity, &self.seal) {
                Ok(Some(stored)) => return each(stored),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "subscriber left out"),
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// Seals every key and password as this process seals today; the number of those that were sealed in another way.
    pub fn reseal(&self) -> Result<usize, EmbeddedError> {
        let mut done = 0;
        for _ in 0..PASSES {
            let (before, mut met) = (done, false);
            let mut pending = VecDeque::new();
            let mut failed = None;
            let mut finish = |pending: &mut VecDeque<Answer<'static, Result<Saved, StoreError>>>, most| {
                while pending.len() > most {
                    match pending.pop_front().map(Answer::wait) {
                        Some(Ok(Saved::Done(_))) => done += 1,
                        Some(Ok(Saved::Conflict)) => met = true, // changed meanwhile: in the next pass
                        Some(Err(error)) => return Err(EmbeddedError::from(error)),
                        None => {}
                    }
                }
                Ok(())
            };
            self.store.walk(Class::Subscriber, &mut |key, entity| {
                let resealed = entity::reseal(&Impi::new(key.name.clone()), &entity, &self.seal);
                let result = resealed.and_then(|fields| {
                    if let Some(fields) = fields {
                        pending.push_back(self.store.save(Save::some(key.clone(), fields).upon(entity.version)));
                    }
                    finish(&mut pending, UNDER_WAY)
                });
                failed = result.err();
                if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
            finish(&mut pending, 0)?;
            if !met {
                return Ok(done);
            }
            tracing::debug!(resealed = done - before, "some changed meanwhile: once more");
        }
        Err(StoreError::Away("subscribers change all the time".into()).into())
    }

    /// Whether the key opens what is there: so that a wrong one is found at the start and not by subscribers who are
    /// turned away. A few that are damaged are no sign of it.
    pub(super) fn check_seal(&self) -> Result<(), EmbeddedError> {
        let (mut looked, mut failed) = (0, None);
        self.store.walk(Class::Subscriber, &mut |key, entity| {
            match entity::read(&Impi::new(key.name.clone()), &entity, &self.seal) {
                Err(EmbeddedError::Seal(error)) => failed = Some(error),
                Ok(Some(_)) => {
                    failed = None;
                    return ControlFlow::Break(());
                }
                _ => {}
            }
            looked += 1;
            if looked < 8 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
