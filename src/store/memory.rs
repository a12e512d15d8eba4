//! The store that ends with the process: for tests, demonstrations and `durability = "memory"`; what the others are
//! measured against.

use super::{Answered, Class, Due, Entity, Health, Key, MAX_NAME, MAX_VALUE, Nature, Save, Saved, Store, StoreError};
use crate::answer::Answer;
use crate::clock::{Clock, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

struct Held {
    entity: Entity,
    due: Option<Duration>,
    until: Option<Duration>,
}

#[derive(Default)]
struct Inside {
    entities: BTreeMap<Key, Held>,
    due: BTreeSet<(Duration, Key)>,
    /// Number of the entity last made.
    made: u64,
    closed: bool,
}

/// One for each process; several "nodes" of a test may share it, and then it says so.
pub struct Memory {
    inside: Mutex<Inside>,
    clock: Clock,
    /// When its clock was at 0: after that it goes by what never steps.
    start: Duration,
    nature: Nature,
}

impl Memory {
    pub fn new(clock: Clock) -> Self {
        Self::of_nature(clock, Nature::Volatile)
    }

    /// One that claims to be durable or shared, as tests of those who use a store want it.
    pub fn of_nature(clock: Clock, nature: Nature) -> Self {
        let now = clock.now();
        Memory { inside: Mutex::default(), clock, start: now.unix.saturating_sub(now.mono), nature }
    }

    /// Each change is a few assignments that cannot fail between them.
    fn open(&self) -> Result<MutexGuard<'_, Inside>, StoreError> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.closed { Err(StoreError::Closed) } else { Ok(inside) }
    }

    fn present(&self) -> Duration {
        self.time(self.clock.now())
    }

    fn save_now(&self, save: Save) -> Result<Saved, StoreError> {
        save.check()?;
        let now = self.present();
        let mut inside = self.open()?;
        inside.let_go(&save.key, now);
        inside.made = inside.made.max(now.as_micros() as u64) + 1;
        let made = inside.made;
        let version = inside.entities.get(&save.key).map_or(0, |held| held.entity.version);
        if save.upon.is_some_and(|upon| upon != version) {
            return Ok(Saved::Conflict);
        }
        let mut held = inside.take(&save.key).unwrap_or(Held { entity: Entity::default(), due: None, until: None });
        if save.whole {
            held.entity.fields.clear();
        }
        for (name, value) in save.fields {
            let at = held.entity.fields.binary_search_by(|(other, _)| other.cmp(&name));
            match (at, value) {
                (Ok(at), Some(value)) => held.entity.fields[at].1 = value,
                (Ok(at), None) => drop(held.entity.fields.remove(at)),
                (Err(at), Some(value)) => held.entity.fields.insert(at, (name, value)),
                (Err(_), None) => {}
            }
        }
        if held.entity.fields.is_empty() {
            return Ok(Saved::Done(0));
        }
        // An entity that is made anew goes on above all that were there before it.
        held.entity.version = if version == 0 { made } else { version + 1 };
        let version = held.entity.version;
        match save.due {
            Due::Unchanged => {}
            Due::Never => held.due = None,
            Due::At(at) => held.due = Some(at),
        }
        held.until = save.until;
        inside.put(save.key, held);
        Ok(Saved::Done(version))
    }
}

impl Inside {
    fn take(&mut self, key: &Key) -> Option<Held> {
        let held = self.entities.remove(key)?;
        if let Some(due) = held.due {
            self.due.remove(&(due, key.clone()));
        }
        Some(held)
    }

    fn put(&mut self, key: Key, held: Held) {
        if let Some(due) = held.due {
            self.due.insert((due, key.clone()));
        }
        self.entities.insert(key, held);
    }

    fn let_go(&mut self, key: &Key, now: Duration) {
        if self.entities.get(key).is_some_and(|held| held.until.is_some_and(|until| until <= now)) {
            self.take(key);
        }
    }
}

impl Store for Memory {
    fn nature(&self) -> Nature {
        self.nature
    }

    fn load(&self, keys: Vec<Key>) -> Answered<Vec<Entity>> {
        let now = self.present();
        Answer::now(self.open().map(|mut inside| {
            let mut one = |key: &Key| {
                inside.let_go(key, now);
                inside.entities.get(key).map(|held| held.entity.clone()).unwrap_or_default()
            };
            keys.iter().map(&mut one).collect()
        }))
    }

    fn save(&self, save: Save) -> Answered<Saved> {
        Answer::now(self.save_now(save))
    }

    fn take(&self, key: Key) -> Answered<Entity> {
        let now = self.present();
        Answer::now(self.open().map(|mut inside| {
            inside.let_go(&key, now);
            inside.take(&key).map(|held| held.entity).unwrap_or_default()
        }))
    }

    fn claim_due(&self, hold: Duration, most: usize) -> Answered<Vec<Key>> {
        let now = self.present();
        Answer::now(self.open().map(|mut inside| {
            let due: Vec<_> = inside.due.iter().take_while(|(at, _)| *at <= now).take(most).cloned().collect();
            for (_, key) in &due {
                if let Some(mut held) = inside.take(key) {
                    held.due = Some(now + hold);
                    inside.put(key.clone(), held);
                }
            }
            due.into_iter().map(|(_, key)| key).collect()
        }))
    }

    fn changed(&self) -> Answered<Vec<Key>> {
        Answer::now(Ok(Vec::new()))
    }

    fn walk(&self, class: Class, each: &mut dyn FnMut(&Key, Entity) -> ControlFlow<()>) -> Result<(), StoreError> {
        let now = self.present();
        let mut after: Option<Key> = None;
        loop {
            // No lock is held while somebody else's code runs.
            let next = {
                let inside = self.open()?;
                let from = match &after {
                    Some(key) => std::ops::Bound::Excluded(key.clone()),
                    None => std::ops::Bound::Included(Key::new(class, "")),
                };
                inside
                    .entities
                    .range((from, std::ops::Bound::Unbounded))
                    .take_while(|(key, _)| key.class == class)
                    .find(|(_, held)| held.until.is_none_or(|until| until > now))
                    .map(|(key, held)| (key.clone(), held.entity.clone()))
            };
            let Some((key, entity)) = next else { return Ok(()) };
            if each(&key, entity).is_break() {
                return Ok(());
            }
            after = Some(key);
        }
    }

    fn time(&self, now: Now) -> Duration {
        self.start + now.mono
    }

    fn health(&self) -> Vec<Health> {
        vec![Health { part: "memory".into(), reads: true, writes: true, why: String::new() }]
    }

    fn close(&self) {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }
}

impl Save {
    /// Whether names and values are of a size that every store takes.
    pub fn check(&self) -> Result<(), StoreError> {
        let name = self.key.name.len();
        if name == 0 || name > MAX_NAME {
            return Err(StoreError::Refused(format!("a name has 1 to {MAX_NAME} octets, not {name}").into()));
        }
        for (field, value) in &self.fields {
            if field.is_empty() || field.len() > MAX_NAME {
                let why = format!("a field's name has 1 to {MAX_NAME} octets, not {}", field.len());
                return Err(StoreError::Refused(why.into()));
            }
            let value = value.as_ref().map_or(0, |value| value.len());
            if value > MAX_VALUE {
                return Err(StoreError::Refused(format!("a value has at most {MAX_VALUE} octets, not {value}").into()));
            }
        }
        Ok(())
    }
}
