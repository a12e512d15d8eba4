//! The wall-clock limit of a call into a VM. One call runs at a time on a thread, so there is one [`Deadline`] a thread.
//!
//! Luau calls its interrupt at every call, return and loop edge and inside pattern matching, in coroutines and under
//! `pcall` as well; [`Deadline::passed`] is asked there. Reading the clock each time would triple the price of a loop,
//! and reading it at every n-th time gives an attacker n library calls. So the system's coarse clock is looked at, which
//! moves with its timer (every 4 ms on most systems) and costs a load or two, and the clock proper only once that has moved:
//! no thread, no signal, and nothing to take back when a VM is dropped.
//!
//! Time in which the thread was ready but had no processor is not the script's: on a busy machine it would be stopped
//! for what others do.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// However coarse it is, the clock proper is read after so many.
const INTERRUPTS_PER_CLOCK: u32 = 1024;
/// Once a call has taken long enough for the clock to be read: it is not to have a whole tick more.
const INTERRUPTS_OF_A_LONG_CALL: u32 = 16;
/// So many times its limit a call may take at most, whoever had the processor.
const PATIENCE: u32 = 10;

const NEVER: TimeSpec = TimeSpec::new(0, 0);

thread_local! {
    static DEADLINE: Deadline = const { Deadline {
        within: Cell::new(None),
        began: Cell::new(None),
        tick: Cell::new(NEVER),
        interrupts: Cell::new(0),
        expired: Cell::new(false),
        place: RefCell::new(String::new()),
    } };
}

pub(super) struct Deadline {
    /// None between calls.
    within: Cell<Option<Duration>>,
    /// Read at the first tick after the call began: most calls end before it and never read the clock.
    began: Cell<Option<Began>>,
    tick: Cell<TimeSpec>,
    interrupts: Cell<u32>,
    /// Set once the time is up; stays until the call has ended, so that no `pcall` gets past it.
    expired: Cell<bool>,
    /// Where the call was then.
    place: RefCell<String>,
}

#[derive(Clone, Copy)]
struct Began {
    at: Instant,
    waited: Duration,
}

/// That the time was up, and the `file:line` that ran then, as far as known.
pub(super) struct Expired {
    pub(super) place: Option<String>,
}

/// Runs `call` with this limit. Whether the time was up is told whatever the call gave.
pub(super) fn limited<T>(within: Duration, call: impl FnOnce() -> T) -> (T, Option<Expired>) {
    DEADLINE.with(|deadline| {
        // A call within a call, which nothing makes so far, has its own limit and leaves the outer one as it was.
        let outer = (deadline.within.replace(Some(within)), deadline.began.take(), deadline.expired.take());
        deadline.interrupts.set(0);
        deadline.tick.set(tick());
        let outcome = call();
        let expired = deadline.expired.get().then(|| {
            let place = deadline.place.take();
            Expired { place: (!place.is_empty()).then_some(place) }
        });
        deadline.within.set(outer.0);
        deadline.began.set(outer.1);
        deadline.expired.set(outer.2);
        (outcome, expired)
    })
}

/// Asked at every interrupt: whether the call in progress must end. `place` says where it is, once.
pub(super) fn passed(place: impl FnOnce(&mut String)) -> bool {
    DEADLINE.with(|deadline| {
        let passed = deadline.passed();
        if passed && !deadline.expired.replace(true) {
            place(&mut deadline.place.borrow_mut());
        }
        passed
    })
}

impl Deadline {
    fn passed(&self) -> bool {
        if self.expired.get() {
            return true;
        }
        let Some(within) = self.within.get() else { return false };
        let interrupts = self.interrupts.get().wrapping_add(1);
        self.interrupts.set(interrupts);
        let tick = tick();
        let most = if self.began.get().is_some() { INTERRUPTS_OF_A_LONG_CALL } else { INTERRUPTS_PER_CLOCK };
        if tick == self.tick.get() && !interrupts.is_multiple_of(most) {
            return false;
        }
        self.tick.set(tick);
        let now = Instant::now();
        match self.began.get() {
            Some(began) => {
                let took = now.duration_since(began.at);
                took >= within
                    && (took >= within.saturating_mul(PATIENCE)
                        || took.saturating_sub(waited().saturating_sub(began.waited)) >= within)
            }
            None => {
                self.began.set(Some(Began { at: now, waited: waited() }));
                false
            }
        }
    }
}

/// How long this thread has waited for a processor since it was started, where the system tells.
fn waited() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// The coarse clock: another value once the system's timer has run.
fn tick() -> TimeSpec {
    // Without that clock, which every Linux has, the interrupts are counted.
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(2);

    fn spin(most: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < most {
            if passed(|place| place.push_str("here:1")) {
                return true;
            }
        }
        false
    }

    #[test]
    fn a_long_call_is_stopped_and_stays_so_and_a_short_one_is_not() {
        let (stopped, expired) = limited(Duration::from_millis(5), || spin(Duration::from_secs(20)) && spin(SHORT));
        assert!(stopped);
        assert_eq!(expired.and_then(|expired| expired.place).as_deref(), Some("here:1"));
        let (stopped, expired) = limited(Duration::from_secs(60), || spin(SHORT));
        assert!(!stopped && expired.is_none());
        assert!(!passed(|_| unreachable!("no call is in progress")));
    }

    #[test]
    fn a_call_within_a_call_leaves_the_outer_limit() {
        let (_, outer) = limited(Duration::from_secs(60), || {
            let (_, inner) = limited(Duration::ZERO, || spin(Duration::from_secs(20)));
            assert!(inner.is_some());
            assert!(!spin(SHORT));
        });
        assert!(outer.is_none());
    }
}
