//! When contents are at rest: not while events come, and not while two looks differ. Time is an argument.

use super::{Digest, Timing};
use std::time::Duration;

/// What a look has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Wait,
    /// These are the contents now.
    Tell(Digest),
}

pub(super) struct Rest {
    timing: Timing,
    /// What was told last.
    known: Digest,
    unrest: Option<Unrest>,
    /// When to look next.
    due: Duration,
}

/// A change that has not come to rest.
struct Unrest {
    since: Duration,
    /// What the last look found, if it was other than known.
    seen: Option<Digest>,
}

impl Rest {
    /// The first look is due at once.
    pub(super) fn new(timing: Timing, known: Digest) -> Self {
        Rest { timing, known, unrest: None, due: Duration::ZERO }
    }

    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// An event says that something is going on.
    pub(super) fn touched(&mut self, now: Duration) {
        let since = self.unrest.get_or_insert(Unrest { since: now, seen: None }).since;
        self.due = now.saturating_add(self.timing.quiet).min(since.saturating_add(self.timing.at_most));
    }

    /// A look has found these contents.
    pub(super) fn looked(&mut self, found: Digest, now: Duration) -> Next {
        self.due = now.saturating_add(self.timing.poll);
        if found == self.known {
            self.unrest = None;
            return Next::Wait;
        }
        let unrest = self.unrest.get_or_insert(Unrest { since: now, seen: None });
        let late = now.saturating_sub(unrest.since) >= self.timing.at_most;
        if unrest.seen == Some(found) || late {
            self.unrest = None;
            self.known = found;
            return Next::Tell(found);
        }
        unrest.seen = Some(found);
        self.due = now.saturating_add(self.timing.quiet);
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Digest = Digest([1; 32]);
    const B: Digest = Digest([2; 32]);
    const C: Digest = Digest([3; 32]);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn at_rest() -> Rest {
        let mut rest = Rest::new(Timing::default(), A);
        assert_eq!(rest.looked(A, ms(0)), Next::Wait);
        assert_eq!(rest.due(), ms(2000));
        rest
    }

    #[test]
    fn a_change_is_told_when_two_looks_a_quiet_time_apart_agree() {
        let mut rest = at_rest();
        assert_eq!(rest.looked(B, ms(2000)), Next::Wait);
        assert_eq!(rest.due(), ms(2250));
        assert_eq!(rest.looked(B, ms(2250)), Next::Tell(B));
        assert_eq!(rest.due(), ms(4250));
        assert_eq!(rest.looked(B, ms(4250)), Next::Wait);
    }

    #[test]
    fn events_put_the_look_off_while_they_come_and_not_for_ever() {
        let mut rest = at_rest();
        for now in (100..2000).step_by(100) {
            rest.touched(ms(now));
            assert_eq!(rest.due(), ms((now + 250).min(2100)));
        }
        rest.touched(ms(2090));
        assert_eq!(rest.looked(B, ms(2100)), Next::Tell(B), "two seconds of events are enough");
    }

    #[test]
    fn contents_that_differ_at_every_look_are_told_after_the_longest_time() {
        let mut rest = at_rest();
        assert_eq!(rest.looked(B, ms(2000)), Next::Wait);
        let mut now = 2250;
        for found in [C, B, C, B, C, B, C] {
            assert_eq!(rest.looked(found, ms(now)), Next::Wait, "{now}");
            now += 250;
        }
        assert_eq!(rest.looked(B, ms(4000)), Next::Tell(B));
    }

    #[test]
    fn what_is_put_back_is_no_change() {
        let mut rest = at_rest();
        rest.touched(ms(100));
        assert_eq!(rest.looked(B, ms(350)), Next::Wait);
        rest.touched(ms(400));
        assert_eq!(rest.looked(A, ms(650)), Next::Wait);
        assert_eq!(rest.due(), ms(2650));
        // And the next change starts afresh.
        rest.touched(ms(9000));
        assert_eq!(rest.due(), ms(9250));
    }
}
