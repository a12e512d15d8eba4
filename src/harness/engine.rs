//! Time and tasks of one test: an executor that jumps from timer to timer. Nothing in it waits for a real clock.

use crate::answer::Task;
use crate::clock::{Clock, Hands};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Steps that one call may take; a policy that sets timers of no length would go on for ever.
const MAX_STEPS: u32 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error("waits for something that will never happen")]
    Stuck,
    #[error("the test's time is up")]
    TimeUp,
    #[error("no end of timers: one of no length sets itself again")]
    Endless,
}

/// Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Engine {
    pub clock: Clock,
    hands: &'static Hands,
    timers: Rc<RefCell<BTreeSet<Duration>>>,
    jobs: Rc<RefCell<Vec<Task>>>,
    /// When the real time of this test is up.
    until: Rc<Cell<Option<Instant>>>,
}

impl Engine {
    /// The virtual clock starts at 2026-01-01T00:00:00Z ([`Clock::by_hand`]).
    pub fn new() -> Self {
        let (clock, hands) = Clock::by_hand();
        Engine { clock, hands, timers: Rc::default(), jobs: Rc::default(), until: Rc::default() }
    }

    /// From now on no call goes on beyond `until`.
    pub fn limit(&self, until: Instant) {
        self.until.set(Some(until));
    }

    pub fn now(&self) -> Duration {
        self.clock.now().mono
    }

    pub fn spawn(&self, job: Task) {
        self.jobs.borrow_mut().push(job);
    }

    /// Gives up every job.
    pub fn clear(&self) {
        // Out of the cell first: a job may spawn another as it is dropped.
        drop(std::mem::take(&mut *self.jobs.borrow_mut()));
    }

    pub fn sleep(&self, time: Duration) -> Task {
        let me = self.clone();
        let until = me.now().saturating_add(time);
        Box::pin(std::future::poll_fn(move |_| {
            if me.now() >= until {
                return Poll::Ready(());
            }
            me.timers.borrow_mut().insert(until);
            Poll::Pending
        }))
    }

    /// Polls every job once; whether anything came of it.
    fn poll_jobs(&self) -> bool {
        let jobs = std::mem::take(&mut *self.jobs.borrow_mut());
        let before = jobs.len();
        let mut waiting = Vec::new();
        for mut job in jobs {
            if job.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                waiting.push(job);
            }
        }
        let mut jobs = self.jobs.borrow_mut();
        let moved = waiting.len() < before || !jobs.is_empty();
        jobs.extend(waiting);
        moved
    }

    /// Jumps to the next timer if there is one before `until`.
    fn next_timer(&self, until: Duration) -> bool {
        let next = self.timers.borrow().first().copied().filter(|next| *next <= until);
        if let Some(next) = next {
            self.timers.borrow_mut().remove(&next);
            self.hands.advance(next.saturating_sub(self.now()));
        }
        next.is_some()
    }

    fn step(&self, steps: &mut u32) -> Result<(), EngineError> {
        *steps = steps.saturating_add(1);
        if *steps > MAX_STEPS {
            return Err(EngineError::Endless);
        }
        match self.until.get() {
            Some(until) if Instant::now() >= until => Err(EngineError::TimeUp),
            _ => Ok(()),
        }
    }

    /// Lets everything run that can without time passing.
    pub fn settle(&self) -> Result<(), EngineError> {
        let mut steps = 0;
        while self.poll_jobs() {
            self.step(&mut steps)?;
        }
        Ok(())
    }

    /// Lets time pass, timer by timer.
    pub fn pass(&self, time: Duration) -> Result<(), EngineError> {
        let until = self.now().saturating_add(time);
        let mut steps = 0;
        self.settle()?;
        while self.next_timer(until) {
            self.step(&mut steps)?;
            self.settle()?;
        }
        self.hands.advance(until.saturating_sub(self.now()));
        self.settle()
    }

    /// Runs to the end of `future`; time passes as far as it is needed, and jobs run along.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> Result<T, EngineError> {
        let mut future = pin!(future);
        let mut steps = 0;
        loop {
            self.step(&mut steps)?;
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Ok(value);
            }
            if !self.poll_jobs() && !self.next_timer(Duration::MAX) {
                return Err(EngineError::Stuck);
            }
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_no_time_is_lost() {
        let engine = Engine::new();
        let log: Rc<RefCell<Vec<u64>>> = Rc::default();
        for seconds in [3, 1, 2] {
            let (me, log) = (engine.clone(), log.clone());
            engine.spawn(Box::pin(async move {
                me.sleep(Duration::from_secs(seconds)).await;
                log.borrow_mut().push(me.now().as_secs());
            }));
        }
        engine.pass(Duration::from_millis(2500)).unwrap();
        assert_eq!(*log.borrow(), [1, 2]);
        assert_eq!(engine.now(), Duration::from_millis(2500));
        engine.run(engine.sleep(Duration::from_secs(1))).unwrap();
        assert_eq!(*log.borrow(), [1, 2, 3]);
    }

    #[test]
    fn what_never_ends_is_an_error() {
        let engine = Engine::new();
        assert_eq!(engine.run(std::future::pending::<()>()), Err(EngineError::Stuck));
        let me = engine.clone();
        engine.spawn(Box::pin(async move {
            loop {
                me.sleep(Duration::from_nanos(1)).await;
            }
        }));
        assert_eq!(engine.pass(Duration::from_secs(1)), Err(EngineError::Endless));
        engine.limit(Instant::now());
        assert_eq!(engine.pass(Duration::from_secs(1)), Err(EngineError::TimeUp));
    }
}
