//! Time as an argument (rank 0): everything below rank 3 is told what time it is.

use std::num::NonZero;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
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

/// A reading of either clock in 8 octets, for what there are millions of. It holds nanoseconds, so it is exact; what is
/// more than 584 years away is no farther.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(NonZero<u64>);

impl From<Duration> for Time {
    fn from(time: Duration) -> Self {
        // One more than there are, so that an `Option` of it takes no more.
        Time(NonZero::<u64>::MIN.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl From<Time> for Duration {
    fn from(time: Time) -> Self {
        time.get()
    }
}

impl Time {
    pub fn get(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }
}

impl PartialEq<Duration> for Time {
    fn eq(&self, other: &Duration) -> bool {
        self.get() == *other
    }
}

impl PartialOrd<Duration> for Time {
    fn partial_cmp(&self, other: &Duration) -> Option<std::cmp::Ordering> {
        self.get().partial_cmp(other)
    }
}

impl std::fmt::Debug for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

/// A date in whole seconds since 1970, in 4 octets, also in an `Option`; what is later than 2106 is then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(NonZero<u32>);

impl Date {
    /// None: the beginning of time, which stands for no date.
    pub fn new(seconds: u64) -> Option<Self> {
        NonZero::new(u32::try_from(seconds).unwrap_or(u32::MAX)).map(Date)
    }

    pub fn seconds(self) -> u64 {
        self.0.get().into()
    }
}

/// The machine's clocks, or hands that a test moves.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    hands: Option<&'static Hands>,
    wall: Option<&'static Wall>,
}

/// A machine's wall clock that somebody sets: seconds by which it is wrong.
#[derive(Debug, Default)]
pub struct Wall(AtomicI64);

impl Wall {
    pub const fn new() -> Self {
        Wall(AtomicI64::new(0))
    }

    pub fn set(&self, wrong_by: i64) {
        self.0.store(wrong_by, Ordering::Relaxed);
    }

    fn of(&self, unix: Duration) -> Duration {
        let wrong_by = self.0.load(Ordering::Relaxed);
        let by = Duration::from_secs(wrong_by.unsigned_abs());
        if wrong_by < 0 { unix.saturating_sub(by) } else { unix.saturating_add(by) }
    }
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
        Clock { start: Instant::now(), hands: None, wall: None }
    }

    /// The machine's time, with a wall clock that a test sets. The process's clocks share it, as they share the machine's.
    pub fn with_wall(wall: &'static Wall) -> Self {
        Clock { wall: Some(wall), ..Clock::new() }
    }

    /// Virtual time. The hands live as long as the process, so that a clock stays a plain value.
    pub fn by_hand() -> (Self, &'static Hands) {
        let hands: &'static Hands = Box::leak(Box::default());
        (Clock { hands: Some(hands), ..Clock::new() }, hands)
    }

    /// Whether its time is virtual, so that the machine's other clocks say nothing about it.
    pub fn is_by_hand(&self) -> bool {
        self.hands.is_some()
    }

    pub fn now(&self) -> Now {
        match self.hands {
            Some(hands) => hands.now(),
            None => {
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Now { mono: self.start.elapsed(), unix: self.wall.map_or(unix, |wall| wall.of(unix)) }
            }
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_reading_that_it_was_made_of() {
        let exact = [Duration::ZERO, Duration::from_nanos(1), Duration::new(1_767_225_600, 999_999_999)];
        for time in exact {
            assert_eq!(Time::from(time).get(), time);
        }
        assert!(exact.map(Time::from).is_sorted());
        let last = Time::from(Duration::MAX);
        assert!(last.get() > Duration::from_secs(584 * 365 * 86_400) && Time::from(last.get()) == last);
        assert_eq!(size_of::<Option<Time>>(), 8);
        assert_eq!(
            [0, 1_767_225_600, u64::MAX].map(|date| Date::new(date).map(Date::seconds)),
            [None, Some(1_767_225_600), Some(0xffff_ffff)]
        );
        assert_eq!(size_of::<Option<Date>>(), 4);
    }
}
