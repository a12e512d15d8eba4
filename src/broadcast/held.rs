//! Notifications that a policy has held back (stage `status`, `after`): one for each user, system and recipient. A later
//! change takes the place of the one that waits; what came back to what the recipient last heard is not told at all.
//!
//! The first one's time counts, so a user whose state never rests is still told once in each window. Filled by the
//! registrar's [`crate::registrar::status`] and by [`super::alert`], emptied by their sweeps, about twice a second. They are
//! in memory only: a node that stops forgets what is held, also where it keeps the registrations.

use crate::hss::RegState;
use crate::policy::System;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest time that something is held back.
pub const LONGEST: Duration = Duration::from_secs(86_400);
/// Notifications held at once; one more is sent without delay.
pub const MOST: usize = 100_000;

/// Whose change in which system, and who is to hear of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct About {
    pub user: String,
    pub system: System,
    pub to: String,
}

/// From what to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub previous: RegState,
    pub state: RegState,
    /// To be told even where the recipient has heard of this state before: its time runs anew.
    pub renews: bool,
}

#[derive(Debug)]
struct Entry<T> {
    /// What the recipient was told last.
    heard: RegState,
    step: Step,
    due: Duration,
    serial: u64,
    what: T,
}

impl<T> Entry<T> {
    fn news(self) -> Option<T> {
        (self.step.renews || self.step.state != self.heard).then_some(self.what)
    }
}

#[derive(Debug)]
struct Tables<T> {
    entries: HashMap<About, Entry<T>>,
    queue: BTreeMap<(Duration, u64), About>,
    serial: u64,
}

/// What is held; shared by all workers.
#[derive(Debug)]
pub struct Held<T> {
    tables: Mutex<Tables<T>>,
    /// Entries; zero is the common case and costs no lock.
    count: AtomicUsize,
    most: usize,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Held::new(MOST)
    }
}

impl<T> Held<T> {
    pub fn new(most: usize) -> Self {
        let tables = Tables { entries: HashMap::new(), queue: BTreeMap::new(), serial: 0 };
        Held { tables: Mutex::new(tables), count: AtomicUsize::new(0), most }
    }

    /// Takes a notification in. Some: it is to be sent now.
    pub fn offer(
        &self,
        about: impl FnOnce() -> About,
        step: Step,
        what: T,
        after: Duration,
        mono: Duration,
    ) -> Option<T> {
        if after.is_zero() && self.is_empty() {
            return Some(what);
        }
        let about = about();
        let mut tables = self.tables();
        let due = mono.saturating_add(after.min(LONGEST));
        let earlier = tables.take(&about);
        let entry = match earlier {
            Some(earlier) => Entry { step, what, due: due.min(earlier.due), ..earlier },
            None => Entry { heard: step.previous, step, due, serial: tables.next(), what },
        };
        if after.is_zero() {
            self.counted(&tables);
            return entry.news();
        }
        if tables.entries.len() >= self.most {
            tracing::warn!(held = self.most, "too many notifications are held back: this one goes at once");
            self.counted(&tables);
            return entry.news();
        }
        tables.queue.insert((entry.due, entry.serial), about.clone());
        tables.entries.insert(about, entry);
        self.counted(&tables);
        None
    }

    /// The recipient has heard otherwise, or must not hear of it any more.
    pub fn cancel(&self, about: impl FnOnce() -> About) {
        if !self.is_empty() {
            let mut tables = self.tables();
            tables.take(&about());
            self.counted(&tables);
        }
    }

    /// Those whose time has come and that are still news.
    pub fn due(&self, mono: Duration) -> Vec<T> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut tables = self.tables();
        let mut news = Vec::new();
        while let Some(first) = tables.queue.first_entry().filter(|first| first.key().0 <= mono) {
            let about = first.remove();
            news.extend(tables.entries.remove(&about).and_then(Entry::news));
        }
        self.counted(&tables);
        news
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn counted(&self, tables: &Tables<T>) {
        self.count.store(tables.entries.len(), Ordering::Release);
    }

    fn tables(&self) -> MutexGuard<'_, Tables<T>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Tables<T> {
    fn take(&mut self, about: &About) -> Option<Entry<T>> {
        let entry = self.entries.remove(about)?;
        self.queue.remove(&(entry.due, entry.serial));
        Some(entry)
    }

    fn next(&mut self) -> u64 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RegState::{Failed, NotRegistered, Pending, Registered};

    fn at(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn about(user: &str) -> impl FnOnce() -> About {
        let user = user.to_owned();
        || About { user, system: System::Broadcast, to: "ims".into() }
    }

    fn step(previous: RegState, state: RegState) -> Step {
        Step { previous, state, renews: false }
    }

    #[test]
    fn the_last_word_is_told_once_when_the_first_ones_time_has_come() {
        let held = Held::new(10);
        assert_eq!(held.offer(about("a"), step(NotRegistered, Pending), 1, at(60), at(0)), None);
        assert_eq!(held.offer(about("a"), step(Pending, Failed), 2, at(60), at(30)), None);
        assert_eq!(held.offer(about("b"), step(NotRegistered, Pending), 3, at(60), at(30)), None);
        assert!(held.due(at(59)).is_empty());
        assert_eq!(held.due(at(60)), [2]);
        assert_eq!(held.due(at(90)), [3]);
        assert!(held.is_empty());
    }

    #[test]
    fn what_came_back_is_not_told_unless_it_runs_anew() {
        let held = Held::new(10);
        held.offer(about("a"), step(Registered, Pending), 1, at(60), at(0));
        held.offer(about("a"), step(Pending, Registered), 2, at(60), at(1));
        assert!(held.due(at(100)).is_empty() && held.is_empty());
        held.offer(about("a"), step(Registered, NotRegistered), 1, at(60), at(0));
        let again = Step { previous: NotRegistered, state: Registered, renews: true };
        held.offer(about("a"), again, 2, at(60), at(1));
        assert_eq!(held.due(at(100)), [2]);
    }

    #[test]
    fn one_without_delay_takes_the_place_of_the_one_that_waits() {
        let held = Held::new(10);
        assert_eq!(held.offer(about("a"), step(Registered, Pending), 1, at(0), at(0)), Some(1));
        held.offer(about("a"), step(Registered, Pending), 1, at(60), at(0));
        assert_eq!(held.offer(about("a"), step(Pending, Failed), 2, at(0), at(1)), Some(2));
        held.offer(about("a"), step(Registered, Pending), 1, at(60), at(0));
        assert_eq!(
            held.offer(about("a"), step(Pending, Registered), 2, at(0), at(1)),
            None,
            "it never heard of pending"
        );
        held.offer(about("a"), step(Registered, Pending), 1, at(60), at(0));
        held.offer(about("a"), step(Pending, Failed), 2, at(5), at(1));
        assert_eq!(held.due(at(6)), [2], "a shorter delay counts");
        held.offer(about("a"), step(Registered, Pending), 1, at(60), at(0));
        held.cancel(about("a"));
        assert!(held.due(at(100)).is_empty());
    }

    #[test]
    fn time_and_number_are_bounded() {
        let held = Held::new(2);
        held.offer(about("a"), step(Registered, Failed), 1, Duration::MAX, at(0));
        held.offer(about("b"), step(Registered, Failed), 2, at(10), at(0));
        assert_eq!(held.offer(about("c"), step(Registered, Failed), 3, at(10), at(0)), Some(3));
        assert_eq!(held.offer(about("b"), step(Failed, Pending), 4, at(10), at(0)), None, "it has its place already");
        assert_eq!(held.due(LONGEST), [4, 1]);
        assert!(held.tables().queue.is_empty());
    }
}
