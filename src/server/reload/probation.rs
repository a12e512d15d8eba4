//! A new generation's first time in office: whether it fails more than the one before (no clock, no threads: `now` and the
//! counts are arguments).

use crate::policy::lua::Generation;
use std::time::Duration;

/// Fewer faults than this say nothing yet.
const FAULTS: u64 = 5;

/// What a generation's members have done, all workers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) faults: u64,
    /// Times that a breaker opened.
    pub(super) opened: u64,
}

impl Counts {
    pub(super) fn of(generation: &Generation) -> Self {
        generation.units().iter().fold(Counts::default(), |sum, (_, counters)| Counts {
            calls: sum.calls.saturating_add(counters.calls()),
            faults: sum.faults.saturating_add(counters.total()),
            opened: sum.opened.saturating_add(counters.opened()),
        })
    }

    fn since(self, before: Counts) -> Counts {
        Counts {
            calls: self.calls.saturating_sub(before.calls),
            faults: self.faults.saturating_sub(before.faults),
            opened: self.opened.saturating_sub(before.opened),
        }
    }

    /// Whether it fails in a larger part of its calls.
    fn fails_more_than(self, other: Counts) -> bool {
        let ours = u128::from(self.faults).saturating_mul(u128::from(other.calls.max(1)));
        let theirs = u128::from(other.faults).saturating_mul(u128::from(self.calls.max(1)));
        ours > theirs
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Too early to say.
    Open,
    Passed,
    Failed(String),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Probation {
    until: Duration,
    /// The new generation's counts when it began: it may have served before.
    began: Counts,
}

impl Probation {
    pub(super) fn begin(now: Duration, window: Duration, counts: Counts) -> Self {
        Probation { until: now.saturating_add(window), began: counts }
    }

    /// `new`, `old`: the counts of both since they exist.
    pub(super) fn judge(&self, now: Duration, new: Counts, old: Counts) -> Judgement {
        let new = new.since(self.began);
        let Counts { calls, faults, opened } = new;
        if opened > 0 && new.fails_more_than(old) {
            return Judgement::Failed(format!("{faults} of {calls} calls failed, and its breaker opened"));
        }
        if faults >= FAULTS && new.fails_more_than(old) {
            return Judgement::Failed(format!(
                "{faults} of {calls} calls failed; of the generation before, {} of {}",
                old.faults, old.calls
            ));
        }
        if now >= self.until { Judgement::Passed } else { Judgement::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(calls: u64, faults: u64) -> Counts {
        Counts { calls, faults, opened: 0 }
    }

    fn failed(judgement: &Judgement) -> bool {
        matches!(judgement, Judgement::Failed(_))
    }

    const WINDOW: Duration = Duration::from_secs(30);
    const SOON: Duration = Duration::from_secs(1);

    #[test]
    fn five_faults_and_a_higher_rate_fail_it() {
        let probation = Probation::begin(Duration::ZERO, WINDOW, counts(0, 0));
        assert_eq!(probation.judge(SOON, counts(4, 4), counts(1000, 0)), Judgement::Open);
        assert!(failed(&probation.judge(SOON, counts(5, 5), counts(1000, 0))));
        assert!(failed(&probation.judge(SOON, counts(1000, 5), counts(1000, 4))));
        assert_eq!(probation.judge(SOON, counts(1000, 5), counts(1000, 5)), Judgement::Open);
        assert!(failed(&probation.judge(SOON, counts(1000, 5), counts(0, 0))));
    }

    #[test]
    fn an_open_breaker_fails_it_and_what_was_before_does_not() {
        let before = Counts { calls: 100, faults: 60, opened: 3 };
        let probation = Probation::begin(Duration::ZERO, WINDOW, before);
        assert_eq!(probation.judge(SOON, before, counts(10, 0)), Judgement::Open);
        let opened = Counts { calls: 101, faults: 61, opened: 4 };
        assert!(failed(&probation.judge(SOON, opened, counts(10, 0))));
    }

    #[test]
    fn it_passes_when_the_time_is_over() {
        let probation = Probation::begin(SOON, WINDOW, counts(0, 0));
        assert_eq!(probation.judge(WINDOW, counts(9, 0), counts(9, 0)), Judgement::Open);
        assert_eq!(probation.judge(WINDOW + SOON, counts(9, 0), counts(9, 0)), Judgement::Passed);
        assert!(failed(&probation.judge(WINDOW + SOON, counts(9, 9), counts(9, 0))));
    }
}
