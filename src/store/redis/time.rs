//! The store's clock: the median of the masters' clocks, told by the process's own, which never steps.

use std::time::Duration;

/// Microseconds by which the store's clock is before the process's. It is corrected forward at once, and back by running at
/// half speed until it is right, so that nobody sees it go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// What is right.
    offset: i64,
    /// Where it was corrected: our clock, and what was told then.
    at: i64,
    told: i64,
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Line {
    pub(super) fn new(offset: i64, mono: Duration) -> Self {
        let at = micros(mono);
        Line { offset, at, told: at.saturating_add(offset) }
    }

    pub(super) fn tell(&self, mono: Duration) -> Duration {
        let mono = micros(mono);
        let right = mono.saturating_add(self.offset);
        let slow = self.told.saturating_add((mono - self.at) / 2);
        Duration::from_micros(right.max(slow).max(0).unsigned_abs())
    }

    pub(super) fn correct(&mut self, offset: i64, mono: Duration) {
        let told = micros(self.tell(mono));
        *self = Line { offset, at: micros(mono), told };
    }

    pub(super) fn offset(&self) -> i64 {
        self.offset
    }
}

/// None of none.
pub(super) fn median(mut offsets: Vec<i64>) -> Option<i64> {
    offsets.sort_unstable();
    // Of two the lower one: what is told late does less harm than what runs out early.
    offsets.get(offsets.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_corrected_without_going_back() {
        let second = Duration::from_secs(1);
        let mut line = Line::new(1_000_000_000, second);
        assert_eq!(line.tell(second), Duration::from_secs(1001));
        line.correct(1_005_000_000, 2 * second);
        assert_eq!(line.tell(2 * second), Duration::from_secs(1007));
        line.correct(1_000_000_000, 3 * second);
        let mut before = line.tell(Duration::ZERO);
        for tenth in 0..200 {
            let told = line.tell(Duration::from_millis(tenth * 100));
            assert!(told >= before);
            before = told;
        }
        assert_eq!(line.tell(20 * second), Duration::from_secs(1020));
    }

    #[test]
    fn one_wrong_clock_of_three_plays_no_role() {
        let day = 86_400_000_000;
        assert_eq!(median(vec![5, day, 7]), Some(7));
        assert_eq!(median(vec![-day, 5, 7]), Some(5));
        assert_eq!(median(vec![7, 5]), Some(5));
        assert_eq!(median(vec![]), None);
    }
}
