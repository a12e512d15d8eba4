//! When registrations are due in an open loop. Tokio's timers count milliseconds, which would be most of what is measured;
//! a thread that sleeps is woken within some 60 µs. One thread wakes all lanes, at most every [`BEAT`]: to be woken for each
//! registration would cost the generator more than the registration does.

use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

/// What becomes due within it begins together. It counts as the server's time, like all that passes after a due time.
const BEAT: Duration = Duration::from_micros(250);

/// The pace of all lanes together.
#[derive(Clone)]
pub(super) struct Pace {
    began: Instant,
    rate: f64,
    beat: Arc<Notify>,
}

impl Pace {
    /// So many a second from now on. None: no thread can be had.
    pub(super) fn new(rate: f64) -> Option<Self> {
        let (began, beat) = (Instant::now(), Arc::new(Notify::new()));
        let lanes = Arc::downgrade(&beat);
        std::thread::Builder::new().name("pacer".into()).spawn(move || keep_pace(began, rate, &lanes)).ok()?;
        Some(Pace { began, rate, beat })
    }

    /// The share of lane `index` of `number`: they take turns.
    pub(super) fn share(&self, index: usize, number: usize) -> Pacer {
        Pacer { pace: self.clone(), next: index as u64, step: number as u64 }
    }
}

/// The pace of one lane.
pub(super) struct Pacer {
    pace: Pace,
    /// Number of its next registration among those of all lanes.
    next: u64,
    step: u64,
}

impl Pacer {
    /// When the next one was due, if its time has come. It counts as begun.
    pub(super) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.pace.began + due(self.next, self.pace.rate);
        (due <= now).then(|| {
            self.next = self.next.saturating_add(self.step);
            due
        })
    }

    /// Over when one may be due. To be had before [`Pacer::take`] is asked, so that nothing is missed in between.
    pub(super) fn beat(&self) -> OwnedNotified {
        self.pace.beat.clone().notified_owned()
    }
}

/// When the registration of this number is due.
fn due(number: u64, rate: f64) -> Duration {
    Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::from_secs(u32::MAX.into()))
}

/// Wakes the lanes when something is due, until they have gone. A lane that is busy then looks for itself.
fn keep_pace(began: Instant, rate: f64, lanes: &Weak<Notify>) {
    let mut number = 0;
    loop {
        let left = (began + due(number, rate)).saturating_duration_since(Instant::now()).max(BEAT);
        // In pieces, so that the thread ends with its lanes.
        std::thread::sleep(left.min(Duration::from_secs(1)));
        let Some(beat) = lanes.upgrade() else { return };
        let passed = began.elapsed();
        if due(number, rate) <= passed {
            number = ((passed.as_secs_f64() * rate) as u64).max(number) + 1;
            beat.notify_waiters();
        }
    }
}
