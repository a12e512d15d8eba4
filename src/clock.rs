//! Time as an argument (rank 0): everything below rank 3 is told what time it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks. Timers and expiry use `mono`, which never steps;
/// what leaves the process as a date (key lifetime, SQN) uses `unix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Time since the process's clock was made.
    pub mono: Duration,
    /// Time since 1970-01-01T00:00:00Z.
    pub unix: Duration,
}

impl Now {
    /// This moment moved on by `by` on both clocks.
    pub fn after(self, by: Duration) -> Self {
        Now { mono: self.mono + by, unix: self.unix + by }
    }
}

/// The machine's clocks, or hands that a test moves.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    hands: Option<&'static Hands>,
}

/// Time that passes when it is told to; both clocks move together, from 2026-01-01T00:00:00Z on.
#[derive(Debug, Default)]
pub struct Hands(AtomicU64);

impl Hands {
    const EPOCH: Duration = Duration::from_secs(1_767_225_600);

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn now(&self) -> Now {
        let mono = Duration::from_nanos(self.0.load(Ordering::Relaxed));
        Now { mono, unix: Self::EPOCH + mono }
    }
}

impl Clock {
    pub fn new() -> Self {
        Clock { start: Instant::now(), hands: None }
    }

    /// Virtual time. The hands live as long as the process, so that a clock stays a plain value.
    pub fn by_hand() -> (Self, &'static Hands) {
        let hands: &'static Hands = Box::leak(Box::default());
        (Clock { start: Instant::now(), hands: Some(hands) }, hands)
    }

    /// Whether its time is virtual, so that the machine's other clocks say nothing about it.
    pub fn is_by_hand(&self) -> bool {
        self.hands.is_some()
    }

    pub fn now(&self) -> Now {
        match self.hands {
            Some(hands) => hands.now(),
            None => Now {
                mono: self.start.elapsed(),
                unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            },
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
