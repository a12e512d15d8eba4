//! Not too many lines in the log (rank 1).

use std::cell::Cell;
use std::time::Duration;

/// At most so many lines a second; the next line says how many were held back.
#[derive(Debug)]
pub(crate) struct Throttle {
    per_second: u32,
    since: Cell<Option<Duration>>,
    passed: Cell<u32>,
    held_back: Cell<u64>,
}

impl Throttle {
    pub(crate) fn new(per_second: u32) -> Self {
        Throttle { per_second, since: Cell::new(None), passed: Cell::new(0), held_back: Cell::new(0) }
    }

    /// Some(number held back before) if this line may go out.
    pub(crate) fn admit(&self, now: Duration) -> Option<u64> {
        let fresh = self.since.get().is_none_or(|since| now.saturating_sub(since) >= Duration::from_secs(1));
        if fresh {
            self.since.set(Some(now));
            self.passed.set(0);
        }
        if self.passed.get() < self.per_second {
            self.passed.set(self.passed.get().saturating_add(1));
            Some(self.held_back.replace(0))
        } else {
            self.held_back.set(self.held_back.get().saturating_add(1));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_throttle_says_how_many_lines_it_held_back() {
        let throttle = Throttle::new(2);
        let start = Duration::from_secs(7);
        assert_eq!(throttle.admit(start), Some(0));
        assert_eq!(throttle.admit(start), Some(0));
        assert_eq!(throttle.admit(start), None);
        assert_eq!(throttle.admit(start), None);
        assert_eq!(throttle.admit(start + Duration::from_secs(1)), Some(2));
    }
}
