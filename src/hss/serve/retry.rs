//! What could not be told, and when it is tried again: pauses that grow, a bounded number of times and for a bounded time.
//! No I/O and no clock; [`super::push`] asks what is due.

use std::collections::BTreeMap;
use std::time::Duration;

/// Before the second attempt; twice as long before each that follows, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Attempts in all.
const ATTEMPTS: u32 = 12;
/// After so long it is given up, however many attempts there were.
const LIFE: Duration = Duration::from_secs(600);
/// What waits at once.
const WAITING: usize = 4096;

/// Something to be told, with the attempts so far.
#[derive(Debug)]
pub(super) struct Attempt<T> {
    pub(super) what: T,
    begun: Duration,
    failures: u32,
}

impl<T> Attempt<T> {
    pub(super) fn first(what: T, now: Duration) -> Self {
        Attempt { what, begun: now, failures: 0 }
    }

    pub(super) fn is_first(&self) -> bool {
        self.failures == 0
    }
}

/// In the order of their times.
pub(super) struct Retries<T> {
    waiting: BTreeMap<(Duration, u64), Attempt<T>>,
    number: u64,
}

impl<T> Retries<T> {
    pub(super) fn new() -> Self {
        Retries { waiting: BTreeMap::new(), number: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// An attempt has failed. Some: it is given up.
    pub(super) fn failed(&mut self, mut attempt: Attempt<T>, now: Duration) -> Option<T> {
        attempt.failures += 1;
        let pause = PAUSE.saturating_mul(1 << attempt.failures.min(16) >> 1).min(LONGEST_PAUSE);
        let due = now + pause;
        if attempt.failures >= ATTEMPTS || due > attempt.begun + LIFE || self.waiting.len() >= WAITING {
            return Some(attempt.what);
        }
        self.number += 1;
        self.waiting.insert((due, self.number), attempt);
        None
    }

    /// What is to be tried now.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Attempt<T>> {
        let later = self.waiting.split_off(&(now + Duration::from_nanos(1), 0));
        std::mem::replace(&mut self.waiting, later).into_values().collect()
    }

    /// What is told now says this too.
    pub(super) fn overtake(&mut self, is: impl Fn(&T) -> bool) {
        self.waiting.retain(|_, attempt| !is(&attempt.what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When something that always fails is tried, each attempt taking so long.
    fn tried(takes: Duration) -> Vec<u64> {
        let mut retries = Retries::new();
        let mut now = Duration::from_secs(100);
        let begun = now;
        let mut times = vec![0];
        let mut attempt = Attempt::first("x", now);
        loop {
            now += takes;
            if retries.failed(attempt, now).is_some() {
                assert!(retries.is_empty());
                return times;
            }
            assert!(retries.due(now).is_empty(), "not at once");
            attempt = loop {
                now += Duration::from_millis(500);
                if let Some(due) = retries.due(now).pop() {
                    break due;
                }
            };
            times.push((now - begun).as_secs());
        }
    }

    #[test]
    fn pauses_grow_and_attempts_end_by_number_or_by_time() {
        assert_eq!(tried(Duration::ZERO), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]);
        let slow = tried(Duration::from_secs(60));
        assert_eq!((slow.len(), slow.last()), (8, Some(&543)));
    }

    #[test]
    fn what_is_overtaken_is_not_tried_and_what_waits_is_bounded() {
        let (mut retries, now) = (Retries::new(), Duration::ZERO);
        for number in 0..=WAITING {
            let given_up = retries.failed(Attempt::first(number, now), now);
            assert_eq!(given_up, (number == WAITING).then_some(WAITING));
        }
        retries.overtake(|number| *number > 1);
        let due = retries.due(PAUSE).into_iter().map(|attempt| attempt.what).collect::<Vec<_>>();
        assert_eq!(due, [0, 1]);
    }
}
