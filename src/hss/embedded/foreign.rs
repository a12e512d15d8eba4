//! What foreign nodes ask and change over Diameter beyond [`crate::hss::Hss`]: the S-CSCF that serves a user, repository data, and who is told
//! of changes. [`crate::hss::serve`] has the protocol; here is what touches directory and store.

use super::directory::{Record, Sought, Which};
use super::subscriber::Told;
use super::{BroadcastRegistration, EmbeddedHss, Registration, Serving, Subscriber, TRIES, Watcher, entity, field};
use crate::aka::vector::{Auts, Rand};
use crate::answer::Answer;
use crate::clock::{Date, Now};
use crate::hss::repository::{self, SERVICE};
use crate::hss::{AuthItem, AuthScheme, BroadcastState, HssError};
use crate::identity::{Impi, Impu, common};
use crate::store::{Entity, Save, Saved};
use std::sync::{Arc, OnceLock};

/// Services that may keep data of one subscriber.
const REPOSITORIES: usize = 32;
/// Application servers that may watch one subscriber.
const WATCHERS: usize = 16;

/// A subscriber at hand.
#[derive(Clone, Debug)]
pub struct Entry(Arc<Record>);

impl Entry {
    pub(super) fn of(record: Arc<Record>) -> Self {
        Entry(record)
    }

    pub fn subscriber(&self) -> &Subscriber {
        &self.0.subscriber
    }

    /// When it was provisioned, in seconds since 1970.
    pub fn changed(&self) -> u64 {
        self.0.changed.map_or(0, Date::seconds)
    }

    pub fn registration(&self) -> Registration {
        self.0.registration().clone()
    }

    pub fn watchers(&self) -> &[Watcher] {
        &self.0.watchers
    }
}

/// What others may want to know.
#[derive(Debug)]
pub enum Change {
    /// The state in the IMS, or who serves the user.
    State(Entry),
    /// The broadcast registration.
    Broadcast(Entry),
    /// Repository data of this service.
    Repository(Entry, String),
    /// What is provisioned.
    Profile(Entry),
    /// The subscriber is gone; this S-CSCF had him.
    Removed(Entry, Box<Serving>),
    /// Another S-CSCF serves him now; this one had him.
    Moved(Entry, Box<Serving>),
}

type Watch = Box<dyn Fn(Change) + Send + Sync>;

/// Who hears of changes, if anybody does. It is called with no lock held, and must not wait.
#[derive(Default)]
pub(super) struct Observer(OnceLock<Watch>);

impl Observer {
    pub(super) fn tell(&self, change: impl FnOnce() -> Change) {
        if let Some(watch) = self.0.get() {
            watch(change());
        }
    }
}

/// What came of a change of repository data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    Done,
    /// The number is not the one that follows.
    OutOfSync,
    /// More than one subscriber may have.
    TooMuch,
    /// There is nothing that could be taken out.
    Nothing,
}

/// Sets the broadcast registration and the number of its repository data; false: it was so.
pub(super) fn set_broadcast(registration: &mut Registration, new: BroadcastState, now: Now) -> bool {
    let BroadcastState { state, server, naf_fqdn, btid } = new;
    let (server, naf_fqdn, btid) = (common(&server), common(&naf_fqdn), btid.as_deref().map(Told::read));
    let old = registration.broadcast.as_deref();
    let since = old.filter(|old| old.state == state).map_or(Date::new(now.unix.as_secs()), |old| old.since);
    let sequence = old.map_or(0, |old| old.sequence);
    let mut new = Box::new(BroadcastRegistration { state, server, naf_fqdn, btid, since, sequence });
    if registration.broadcast.as_ref() == Some(&new) {
        return false;
    }
    if registration.broadcast.is_some() {
        new.sequence = repository::next(sequence);
    }
    registration.broadcast = Some(new);
    true
}

impl EmbeddedHss {
    /// Has all changes told to `watch` from now on; the first caller's counts.
    pub fn observe(&self, watch: impl Fn(Change) + Send + Sync + 'static) {
        let _ = self.directory.observer.0.set(Box::new(watch));
    }

    /// The subscriber of a private identity, of a public one, or of both, which have to belong together.
    pub fn entry(&self, impi: Option<&str>, impu: Option<&str>, now: Now) -> Answer<'_, Result<Entry, HssError>> {
        self.directory.tell(now);
        let impi = impi.map(Impi::from);
        // In any spelling of the URI.
        let impu = impu.map(|text| field::impu(text).unwrap_or_else(|_| Impu::from(text)));
        let sought = match (impi, impu) {
            (Some(impi), Some(impu)) => Sought::Both(impi, impu),
            (Some(impi), None) => Sought::Impi(impi),
            (None, Some(impu)) => Sought::Impu(impu),
            (None, None) => return Answer::now(Err(HssError::UserUnknown)),
        };
        self.look_up(sought, false, |record| Answer::now(Ok(Entry(record))))
    }

    /// What a foreign S-CSCF or BSF authenticates a subscriber with. Either keeps several vectors, and knows itself that a RAND
    /// that comes back with an AUTS is one of them.
    pub fn authentication<'a>(
        &'a self,
        impi: &Impi,
        impu: &Impu,
        scheme: AuthScheme,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Answer<'a, Result<AuthItem, HssError>> {
        self.directory.tell(now);
        let sought = Sought::Both(impi.clone(), impu.clone());
        self.look_up(sought, true, move |record| self.authenticate(record, scheme, resync, true, now))
    }

    pub fn tell(&self, change: Change) {
        self.directory.observer.tell(|| change);
    }

    /// Changes the states of a subscriber, has them written, and tells who wants to know. `known`: what a change makes
    /// known, if anything.
    pub fn change<T>(
        &self,
        entry: &Entry,
        change: impl FnOnce(&mut Registration) -> T,
        known: impl FnOnce(Entry) -> Option<Change>,
    ) -> T {
        let mut registration = entry.0.registration();
        let before = registration.clone();
        let result = change(&mut registration);
        let broadcast = registration.broadcast != before.broadcast;
        let ims = *registration != Registration { broadcast: registration.broadcast.clone(), ..before };
        drop(registration);
        if ims || broadcast {
            self.writer.record(&entry.0, Which { ims, broadcast });
            known(entry.clone()).into_iter().for_each(|known| self.tell(known));
        }
        result
    }

    /// Repository data of a service: its number, and `ServiceData`.
    pub async fn repository(&self, entry: &Entry, service: &str) -> Result<Option<(u16, String)>, HssError> {
        if service == SERVICE {
            let registration = entry.0.registration().clone();
            let told = |held: Box<BroadcastRegistration>| (held.sequence, repository::write(&held.state()));
            return Ok(registration.broadcast.map(told));
        }
        let entity = self.stored(entry).await?;
        Ok(entity::repository(&entity, service).map(|held| (held.sequence, held.data)))
    }

    /// Puts repository data in place of those with the number before; `data`: None takes them out.
    pub async fn update_repository(
        &self,
        entry: &Entry,
        service: &str,
        sequence: u16,
        data: Option<String>,
    ) -> Result<Updated, HssError> {
        for _ in 0..TRIES {
            let entity = self.stored(entry).await?;
            let held = entity::repository(&entity, service);
            if !follows(held.as_ref().map(|held| held.sequence), sequence) {
                return Ok(Updated::OutOfSync);
            }
            if held.is_none() && data.is_none() {
                return Ok(Updated::Nothing);
            }
            if held.is_none() && entity::repositories(&entity) >= REPOSITORIES {
                return Ok(Updated::TooMuch);
            }
            let new = data.clone().map(|data| entity::Repository { sequence, data });
            if self.save(entry, entity::of_repository(service, new.as_ref()), &entity).await? {
                self.directory.observer.tell(|| Change::Repository(entry.clone(), service.to_owned()));
                return Ok(Updated::Done);
            }
        }
        Err(HssError::Unavailable("the subscriber changes all the time".into()))
    }

    /// The same of the broadcast registration, which this HSS keeps by itself.
    pub fn update_broadcast(&self, entry: &Entry, sequence: u16, new: Option<BroadcastState>, now: Now) -> Updated {
        let change = |registration: &mut Registration| {
            if !follows(registration.broadcast.as_ref().map(|held| held.sequence), sequence) {
                return Updated::OutOfSync;
            }
            match new {
                None if registration.broadcast.is_none() => return Updated::Nothing,
                None => registration.broadcast = None,
                Some(new) => {
                    set_broadcast(registration, new, now);
                    registration.broadcast.iter_mut().for_each(|broadcast| broadcast.sequence = sequence);
                }
            }
            Updated::Done
        };
        self.change(entry, change, |entry| Some(Change::Broadcast(entry)))
    }

    /// Changes who watches a subscriber, as the store has them; false: that would be too many.
    pub async fn watch(&self, entry: &Entry, change: impl Fn(&mut Vec<Watcher>)) -> Result<bool, HssError> {
        for _ in 0..TRIES {
            let entity = self.stored(entry).await?;
            let mut watchers = entity::watchers(&entity).to_vec();
            change(&mut watchers);
            if watchers.len() > WATCHERS {
                return Ok(false);
            }
            if self.save(entry, entity::of_watchers(&watchers), &entity).await? {
                // So that the directory has them.
                let sought = Sought::Impi(entry.subscriber().impi.clone());
                match self.shared {
                    true => drop(self.read_now(&sought).await),
                    false => self.writer.fetch(sought).await?,
                }
                return Ok(true);
            }
        }
        Err(HssError::Unavailable("the subscriber changes all the time".into()))
    }

    /// The directory has a subscriber as the store has him: what the writer does when another process has changed him.
    #[cfg(test)]
    pub(crate) fn fetch(&self, impi: &Impi) {
        self.writer.fetch_now(impi);
    }

    async fn stored(&self, entry: &Entry) -> Result<Entity, HssError> {
        let entity = self.read_one(entity::subscriber_key(&entry.subscriber().impi)).await;
        let entity = entity.map_err(|error| HssError::Unavailable(error.to_string()))?;
        if entity::is_subscriber(&entity) { Ok(entity) } else { Err(HssError::UserUnknown) }
    }

    /// False: somebody else has changed it meanwhile.
    async fn save(&self, entry: &Entry, fields: entity::Fields, upon: &Entity) -> Result<bool, HssError> {
        let save = Save::some(entity::subscriber_key(&entry.subscriber().impi), fields).upon(upon.version);
        match self.store.save(save).await {
            Ok(saved) => Ok(saved != Saved::Conflict),
            Err(error) => Err(HssError::Unavailable(error.to_string())),
        }
    }
}

/// TS 29.328 §6.1.2.1: 0 where there is nothing, else the one after.
fn follows(held: Option<u16>, sequence: u16) -> bool {
    match held {
        None => sequence == 0,
        Some(held) => sequence == repository::next(held),
    }
}
