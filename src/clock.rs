//! Time as an argument (rank 0): everything below rank 3 is told what time it is.

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

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn new() -> Self {
        Clock { start: Instant::now() }
    }

    pub fn now(&self) -> Now {
        Now { mono: self.start.elapsed(), unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
