//! A breaker (rank 1): a member of the chain that fails again and again is left out for a while, since every failure
//! costs more than its answer would.

use super::manifest;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

/// Counts the faults of one member on one worker.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// So many faults within the window open it.
    threshold: manifest::Breaker,
    /// When the last faults were, oldest first.
    faults: RefCell<VecDeque<Duration>>,
    /// Some while it is open: until when nobody is asked.
    until: Cell<Option<Duration>>,
}

impl Breaker {
    pub(super) const PAUSE: Duration = Duration::from_secs(30);

    pub(super) fn new(threshold: manifest::Breaker) -> Self {
        Breaker { threshold, ..Breaker::default() }
    }

    /// Whether the member may be asked. After the pause one call is a trial: it closes the breaker or opens it again.
    pub(super) fn admits(&self, now: impl FnOnce() -> Duration) -> bool {
        self.until.get().is_none_or(|until| now() >= until)
    }

    pub(super) fn succeeded(&self) {
        if self.until.get().is_some() {
            self.until.set(None);
            self.faults.borrow_mut().clear();
        }
    }

    /// True if this fault opens it.
    pub(super) fn failed(&self, now: Duration) -> bool {
        if self.until.get().is_some() {
            self.until.set(Some(now.saturating_add(Self::PAUSE)));
            return true;
        }
        let mut faults = self.faults.borrow_mut();
        while faults.front().is_some_and(|first| now.saturating_sub(*first) > self.threshold.window) {
            faults.pop_front();
        }
        faults.push_back(now);
        let opens = u32::try_from(faults.len()).is_ok_and(|faults| faults >= self.threshold.failures);
        if opens {
            self.until.set(Some(now.saturating_add(Self::PAUSE)));
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn ten_faults_in_ten_seconds_open_it_and_a_good_trial_closes_it() {
        let breaker = Breaker::default();
        assert!((0..9).all(|i| !breaker.failed(s(i))));
        assert!(breaker.failed(s(9)));
        assert!(!breaker.admits(|| s(38)));
        assert!(breaker.admits(|| s(39)));
        breaker.succeeded();
        assert!(!breaker.failed(s(40)));
        assert!(breaker.admits(|| s(40)));
    }

    #[test]
    fn a_bad_trial_opens_it_again() {
        let breaker = Breaker::default();
        (0..10).for_each(|_| _ = breaker.failed(s(0)));
        assert!(breaker.failed(s(30)));
        assert!(!breaker.admits(|| s(59)));
    }

    #[test]
    fn slow_faults_never_open_it() {
        let breaker = Breaker::default();
        assert!((0..100).all(|i| !breaker.failed(s(i * 2))));
    }
}
