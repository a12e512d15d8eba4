//! Values in memory that all workers share: what is behind `shared`. Time is an argument.

use crate::store::space::{SpaceError, Value};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// When nothing fits, what has expired is looked for; not more often than this.
const SWEEP: Duration = Duration::from_millis(100);

struct Kept {
    value: Value,
    /// None: for ever.
    until: Option<Duration>,
}

impl Kept {
    fn lives(&self, now: Duration) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

#[derive(Default)]
pub(super) struct Space {
    entries: DashMap<Box<str>, Kept>,
    cost: AtomicUsize,
    /// Milliseconds; 0: never.
    swept: AtomicU64,
}

impl Space {
    pub(super) fn get(&self, key: &str, now: Duration) -> Option<Value> {
        self.entries.get(key).filter(|kept| kept.lives(now)).map(|kept| kept.value.clone())
    }

    pub(super) fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
        quota: usize,
        now: Duration,
    ) -> Result<(), SpaceError> {
        self.change(key, quota, now, |_| Ok(Some((value, ttl)))).map(drop)
    }

    /// False: there is one already.
    pub(super) fn add(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
        quota: usize,
        now: Duration,
    ) -> Result<bool, SpaceError> {
        self.change(key, quota, now, |old| Ok(old.is_none().then_some((value, ttl))))
    }

    /// The new number; None: there is something else. The life of a number is set when it begins, so that a counter
    /// with a time to live counts a window.
    pub(super) fn increment(
        &self,
        key: &str,
        by: f64,
        ttl: Option<Duration>,
        quota: usize,
        now: Duration,
    ) -> Result<Option<f64>, SpaceError> {
        let mut result = None;
        self.change(key, quota, now, |old| {
            let (number, rest) = match old {
                None => (0.0, ttl),
                Some(Kept { value: Value::Number(number), until }) => {
                    (*number, until.map(|until| until.saturating_sub(now)))
                }
                Some(_) => return Ok(None),
            };
            result = Some(number + by);
            Ok(Some((Value::Number(number + by), rest)))
        })?;
        Ok(result)
    }

    pub(super) fn delete(&self, key: &str, now: Duration) -> bool {
        let Some((key, kept)) = self.entries.remove(key) else { return false };
        self.cost.fetch_sub(kept.value.cost(&key), Ordering::Relaxed);
        kept.lives(now)
    }

    pub(super) fn keys(&self, prefix: &str, limit: usize, now: Duration) -> Vec<Box<str>> {
        let living = self.entries.iter().filter(|entry| entry.key().starts_with(prefix) && entry.lives(now));
        let mut keys: Vec<_> = living.map(|entry| entry.key().clone()).collect();
        keys.sort_unstable();
        keys.truncate(limit);
        keys
    }

    /// Replaces the value of a key by what `new` makes of the living one; false: it makes nothing.
    fn change(
        &self,
        key: &str,
        quota: usize,
        now: Duration,
        new: impl FnOnce(Option<&Kept>) -> Result<Option<(Value, Option<Duration>)>, SpaceError>,
    ) -> Result<bool, SpaceError> {
        // Before the entry is held: the sweep takes the same locks.
        if self.cost.load(Ordering::Relaxed).saturating_add(key.len() + 1024) > quota {
            self.sweep(now);
        }
        let entry = self.entries.entry(key.into());
        let old = match &entry {
            Entry::Occupied(occupied) => Some(occupied.get()),
            Entry::Vacant(_) => None,
        };
        let old_cost = old.map_or(0, |kept| kept.value.cost(key));
        let Some((value, ttl)) = new(old.filter(|kept| kept.lives(now)))? else { return Ok(false) };
        value.fits(key)?;
        let new_cost = value.cost(key);
        let used = self.cost.fetch_add(new_cost, Ordering::Relaxed);
        if new_cost > old_cost && used.saturating_add(new_cost - old_cost) > quota {
            self.cost.fetch_sub(new_cost, Ordering::Relaxed);
            return Err(SpaceError::Quota { quota, used, wanted: new_cost - old_cost });
        }
        self.cost.fetch_sub(old_cost, Ordering::Relaxed);
        entry.insert(Kept { value, until: ttl.map(|ttl| now.saturating_add(ttl)) });
        Ok(true)
    }

    fn sweep(&self, now: Duration) {
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(1);
        let swept = self.swept.load(Ordering::Relaxed);
        let due = swept == 0 || u128::from(millis.saturating_sub(swept)) >= SWEEP.as_millis();
        if due && self.swept.compare_exchange(swept, millis, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.entries.retain(|key, kept| {
                let lives = kept.lives(now);
                if !lives {
                    self.cost.fetch_sub(kept.value.cost(key), Ordering::Relaxed);
                }
                lives
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: usize = 4096;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn text(value: &str) -> Value {
        Value::Text(value.as_bytes().into())
    }

    #[test]
    fn values_live_as_long_as_they_are_given() {
        let space = Space::default();
        space.set("a", text("1"), Some(at(10)), QUOTA, at(0)).unwrap();
        space.set("b", text("2"), None, QUOTA, at(0)).unwrap();
        assert_eq!(space.get("a", at(9)), Some(text("1")));
        assert_eq!(space.get("a", at(10)), None);
        assert_eq!(space.keys("", 9, at(10)), [Box::<str>::from("b")]);
        assert!(!space.add("b", text("x"), None, QUOTA, at(10)).unwrap());
        assert!(space.add("a", text("x"), None, QUOTA, at(10)).unwrap());
        assert!(space.delete("a", at(10)) && !space.delete("a", at(10)));
        assert_eq!(space.get("b", at(1_000_000)), Some(text("2")));
    }

    #[test]
    fn a_counter_counts_a_window() {
        let space = Space::default();
        let count = |now| space.increment("k", 1.0, Some(at(60)), QUOTA, at(now)).unwrap();
        assert_eq!([count(0), count(30), count(59)], [Some(1.0), Some(2.0), Some(3.0)]);
        assert_eq!([count(60), count(61)], [Some(1.0), Some(2.0)]);
        space.set("t", text("x"), None, QUOTA, at(0)).unwrap();
        assert_eq!(space.increment("t", 1.0, None, QUOTA, at(0)).unwrap(), None);
    }

    #[test]
    fn threads_lose_no_increment() {
        let space = Space::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| drop(space.increment("k", 1.0, None, QUOTA, at(0)))));
            }
        });
        assert_eq!(space.get("k", at(0)), Some(Value::Number(4000.0)));
        assert_eq!(space.cost.load(Ordering::Relaxed), Value::Number(0.0).cost("k"));
    }

    #[test]
    fn what_has_expired_makes_room() {
        let space = Space::default();
        let fill = |key: &str, now| space.set(key, text(&"x".repeat(1000)), Some(at(5)), QUOTA, at(now));
        for key in ["a", "b", "c"] {
            fill(key, 1).unwrap();
        }
        assert!(matches!(fill("d", 2), Err(SpaceError::Quota { .. })));
        fill("d", 6).unwrap();
        assert_eq!(space.entries.len(), 1);
        space.delete("d", at(6));
        assert_eq!(space.cost.load(Ordering::Relaxed), 0);
    }
}
