//! Tables that all workers share (rank 0): a [`Shelf`] for things that carry their own name, and [`Map`] and [`Set`] for what
//! does not.
//!
//! A place of a shelf that is empty costs what a pointer costs, and a name is kept once; with a million users that is more
//! than half of what tables take. All hash with one keyed function: its keys are drawn anew in each process, so that nobody
//! outside can make names meet, as the names come from outside.
//!
//! A guard holds a part of a shelf: no second one may be asked for on the same thread, nor may one be held across an await.

pub use ahash::RandomState as Hasher;
/// For what lies in a shelf with a lock of its own; who has it may hand on a part.
pub use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use hashbrown::HashTable;
use parking_lot::{MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::hash::Hash;

pub type Map<K, V> = dashmap::DashMap<K, V, Hasher>;
pub type Set<K> = dashmap::DashSet<K, Hasher>;

/// Parts that are locked by themselves.
const PARTS: usize = 64;

/// What carries the name by which it is found.
pub trait Named {
    type Name: ?Sized + Hash + Eq;

    fn name(&self) -> &Self::Name;
}

impl<T: Named> Named for Box<T> {
    type Name = T::Name;

    fn name(&self) -> &T::Name {
        (**self).name()
    }
}

impl<T: Named> Named for std::sync::Arc<T> {
    type Name = T::Name;

    fn name(&self) -> &T::Name {
        (**self).name()
    }
}

pub struct Shelf<T> {
    parts: Box<[RwLock<HashTable<T>>; PARTS]>,
    hasher: Hasher,
}

pub type Read<'a, T> = MappedRwLockReadGuard<'a, T>;
pub type Write<'a, T> = MappedRwLockWriteGuard<'a, T>;

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        let parts = Box::new(std::array::from_fn(|_| RwLock::new(HashTable::new())));
        Shelf { parts, hasher: Hasher::new() }
    }
}

impl<T: Named> Shelf<T> {
    fn part(&self, name: &T::Name) -> (&RwLock<HashTable<T>>, u64) {
        let hash = self.hasher.hash_one(name);
        // Neither the lowest bits, which say the place within the part, nor the highest, by which places are told apart.
        (&self.parts[(hash >> 40) as usize % PARTS], hash)
    }

    pub fn get(&self, name: &T::Name) -> Option<Read<'_, T>> {
        let (part, hash) = self.part(name);
        RwLockReadGuard::try_map(part.read(), |part| part.find(hash, |held| held.name() == name)).ok()
    }

    pub fn get_mut(&self, name: &T::Name) -> Option<Write<'_, T>> {
        let (part, hash) = self.part(name);
        RwLockWriteGuard::try_map(part.write(), |part| part.find_mut(hash, |held| held.name() == name)).ok()
    }

    pub fn contains(&self, name: &T::Name) -> bool {
        self.get(name).is_some()
    }

    /// The place of a name, held until it is let go of.
    pub fn slot<'a>(&'a self, name: &'a T::Name) -> Slot<'a, T> {
        let (part, hash) = self.part(name);
        Slot { part: part.write(), hasher: &self.hasher, hash, name }
    }

    /// What was there under that name.
    pub fn insert(&self, thing: T) -> Option<T> {
        let (part, hash) = self.part(thing.name());
        put(&mut part.write(), &self.hasher, hash, thing)
    }

    pub fn remove(&self, name: &T::Name) -> Option<T> {
        self.remove_if(name, |_| true)
    }

    pub fn remove_if(&self, name: &T::Name, which: impl FnOnce(&mut T) -> bool) -> Option<T> {
        let (part, hash) = self.part(name);
        let mut part = part.write();
        let mut found = part.find_entry(hash, |held| held.name() == name).ok()?;
        which(found.get_mut()).then(|| found.remove().0)
    }

    /// Each in turn, a part at a time.
    pub fn for_each(&self, mut each: impl FnMut(&T)) {
        self.parts.iter().for_each(|part| part.read().iter().for_each(&mut each));
    }

    pub fn for_each_mut(&self, mut each: impl FnMut(&mut T)) {
        self.parts.iter().for_each(|part| part.write().iter_mut().for_each(&mut each));
    }

    pub fn retain(&self, mut which: impl FnMut(&mut T) -> bool) {
        self.parts.iter().for_each(|part| part.write().retain(&mut which));
    }

    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.read().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.read().is_empty())
    }
}

fn put<T: Named>(part: &mut HashTable<T>, hasher: &Hasher, hash: u64, thing: T) -> Option<T> {
    let entry = part.entry(hash, |held| held.name() == thing.name(), |held| hasher.hash_one(held.name()));
    match entry {
        hashbrown::hash_table::Entry::Occupied(mut held) => Some(std::mem::replace(held.get_mut(), thing)),
        hashbrown::hash_table::Entry::Vacant(free) => {
            free.insert(thing);
            None
        }
    }
}

/// The place of one name.
pub struct Slot<'a, T: Named> {
    part: RwLockWriteGuard<'a, HashTable<T>>,
    hasher: &'a Hasher,
    hash: u64,
    name: &'a T::Name,
}

impl<'a, T: Named> Slot<'a, T> {
    pub fn get(&self) -> Option<&T> {
        self.part.find(self.hash, |held| held.name() == self.name)
    }

    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.part.find_mut(self.hash, |held| held.name() == self.name)
    }

    pub fn take(&mut self) -> Option<T> {
        self.part.find_entry(self.hash, |held| held.name() == self.name).ok().map(|found| found.remove().0)
    }

    /// `thing`: of the name that the place is for. What was there before.
    pub fn put(&mut self, thing: T) -> Option<T> {
        debug_assert!(thing.name() == self.name);
        put(&mut self.part, self.hasher, self.hash, thing)
    }

    /// What is there, made first where there is nothing; `make`: of the name that the place is for.
    pub fn or_put(&mut self, make: impl FnOnce() -> T) -> &mut T {
        let Slot { part, hasher, hash, name } = self;
        let found = part.entry(*hash, |held| held.name() == *name, |held| hasher.hash_one(held.name()));
        found.or_insert_with(make).into_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(String, usize);

    impl Named for Thing {
        type Name = str;

        fn name(&self) -> &str {
            &self.0
        }
    }

    fn thing(n: usize) -> Thing {
        Thing(n.to_string(), n)
    }

    #[test]
    fn things_are_found_by_their_names() {
        let shelf = Shelf::default();
        for n in 0..10_000 {
            assert!(shelf.insert(thing(n)).is_none());
        }
        assert_eq!(shelf.len(), 10_000);
        assert_eq!(shelf.get("4711").unwrap().1, 4711);
        shelf.get_mut("4711").unwrap().1 = 0;
        assert_eq!(shelf.insert(thing(4711)).unwrap().1, 0, "one under each name");
        assert!(shelf.get("x").is_none() && shelf.get_mut("x").is_none() && shelf.remove("x").is_none());
        assert!(shelf.remove_if("1", |thing| thing.1 != 1).is_none());
        assert_eq!(shelf.remove("1").unwrap().1, 1);
        shelf.retain(|thing| thing.1 % 2 == 0);
        let mut sum = 0;
        shelf.for_each(|thing| sum += thing.1);
        assert_eq!((shelf.len(), sum), (5000, 24_995_000));
    }

    #[test]
    fn a_slot_is_the_place_of_its_name() {
        let shelf = Shelf::default();
        let mut slot = shelf.slot("1");
        assert!(slot.get().is_none() && slot.take().is_none());
        assert!(slot.put(thing(1)).is_none());
        slot.get_mut().unwrap().1 = 7;
        assert_eq!(slot.put(thing(1)).unwrap().1, 7);
        drop(slot);
        shelf.slot("1").or_put(|| thing(1)).1 += 1;
        shelf.slot("2").or_put(|| thing(2)).1 += 1;
        assert_eq!((shelf.get("1").unwrap().1, shelf.get("2").unwrap().1), (2, 3));
        assert_eq!(shelf.slot("1").take().unwrap().1, 2);
        assert!(!shelf.contains("1") && shelf.contains("2"));
    }

    #[test]
    fn each_change_counts_when_workers_meet() {
        let shelf = Shelf::<Thing>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..4000).for_each(|n| shelf.slot((n % 10).to_string().as_str()).or_put(|| thing(n % 10)).1 += 1)
                });
            }
        });
        let mut sum = 0;
        shelf.for_each(|thing| sum += thing.1);
        assert_eq!((shelf.len(), sum), (10, 16_000 + 45));
    }
}
