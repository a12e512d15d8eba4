//! What goes wrong in a member of the chain (rank 1): the words for it, and the count of it.

use super::stage::Stage;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A Lua error, a constructor's refusal of its arguments among them.
    Error,
    /// The deadline of the call was passed.
    Timeout,
    /// The VM's memory limit was reached.
    OutOfMemory,
    /// The stage returned something that is no verdict for it.
    BadVerdict,
}

impl Cause {
    pub const ALL: [Cause; 4] = [Cause::Error, Cause::Timeout, Cause::OutOfMemory, Cause::BadVerdict];

    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Error => "error",
            Cause::Timeout => "timeout",
            Cause::OutOfMemory => "out of memory",
            Cause::BadVerdict => "bad verdict",
        }
    }
}

/// One member that failed at a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The member's name.
    pub unit: Arc<str>,
    pub stage: Stage,
    pub cause: Cause,
    /// `file:line: reason`
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in stage {}: {}", self.cause.as_str(), self.stage.as_str(), self.message)
    }
}

/// What holds instead of a member that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The next member is asked, and in the end the stage's default holds.
    #[default]
    Skip,
    /// The request is refused: 503, or for a broadcast portion the IMS alone.
    FailClosed,
}

/// Counts of one member since the start, for any thread to read.
#[derive(Debug, Default)]
pub struct Counters {
    stages: [OfStage; Stage::COUNT],
    /// Faults of timers and callbacks.
    background: [AtomicU64; Cause::ALL.len()],
    /// Calls that were not made since the breaker was open.
    bypassed: AtomicU64,
    /// Times that the breaker opened.
    opened: AtomicU64,
    /// Calls that took too long and could not be cut short.
    slow: AtomicU64,
}

#[derive(Debug, Default)]
struct OfStage {
    calls: AtomicU64,
    faults: [AtomicU64; Cause::ALL.len()],
}

impl Counters {
    pub fn calls(&self) -> u64 {
        Stage::ALL.into_iter().map(|stage| self.calls_at(stage)).sum()
    }

    pub fn calls_at(&self, stage: Stage) -> u64 {
        self.stages[stage as usize].calls.load(Ordering::Relaxed)
    }

    /// Faults at all stages, and of timers and callbacks.
    pub fn of(&self, cause: Cause) -> u64 {
        let background = self.background[cause as usize].load(Ordering::Relaxed);
        Stage::ALL.into_iter().map(|stage| self.of_at(stage, cause)).sum::<u64>() + background
    }

    pub fn of_at(&self, stage: Stage, cause: Cause) -> u64 {
        self.stages[stage as usize].faults[cause as usize].load(Ordering::Relaxed)
    }

    /// All faults.
    pub fn total(&self) -> u64 {
        Cause::ALL.into_iter().map(|cause| self.of(cause)).sum()
    }

    pub fn bypassed(&self) -> u64 {
        self.bypassed.load(Ordering::Relaxed)
    }

    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub fn slow(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }

    pub(super) fn count_call(&self, stage: Stage) {
        self.stages[stage as usize].calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, stage: Stage, cause: Cause) {
        self.stages[stage as usize].faults[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_background(&self, cause: Cause) {
        self.background[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_bypassed(&self) {
        self.bypassed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }
}
