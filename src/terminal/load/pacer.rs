//! When registrations are due in an open loop. Tokio's timers count milliseconds, which would be most of what is measured;
//! a thread that sleeps is woken within some 60 µs.

use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) struct Pacer {
    began: Instant,
    rate: f64,
    begun: u64,
    woken: Arc<Notify>,
}

impl Pacer {
    /// So many a second, the first at `began`. None: no thread can be had.
    pub(super) fn new(began: Instant, rate: f64) -> Option<Self> {
        let woken = Arc::new(Notify::new());
        let notify = Arc::downgrade(&woken);
        std::thread::Builder::new().name("pacer".into()).spawn(move || keep_pace(began, rate, &notify)).ok()?;
        Some(Pacer { began, rate, begun: 0, woken })
    }

    /// When the next one was due, if its time has come. It counts as begun.
    pub(super) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.began + due(self.begun, self.rate);
        (due <= now).then(|| {
            self.begun = self.begun.saturating_add(1);
            due
        })
    }

    /// Until one is due.
    pub(super) async fn wait(&self) {
        self.woken.notified().await;
    }
}

/// When the registration of this number is due.
fn due(number: u64, rate: f64) -> Duration {
    Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::from_secs(u32::MAX.into()))
}

/// Wakes the lane for each, until it has gone.
fn keep_pace(began: Instant, rate: f64, notify: &Weak<Notify>) {
    for number in 0.. {
        let left = (began + due(number, rate)).saturating_duration_since(Instant::now());
        // In pieces, so that the thread ends with its lane.
        for _ in 0..left.as_secs() {
            std::thread::sleep(Duration::from_secs(1));
            if notify.strong_count() == 0 {
                return;
            }
        }
        let left = (began + due(number, rate)).saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
        match notify.upgrade() {
            Some(notify) => notify.notify_one(),
            None => return,
        }
    }
}
