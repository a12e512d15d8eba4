//! The shadow: a generation that does not serve yet is asked what the serving one was asked, and the answers are compared.
//! All of it happens on the loader's thread, on copies, in surroundings without a node; nothing is applied, and no worker
//! waits for it.

use crate::policy::lua::{Env, Generation, PolicyError};
use crate::policy::record::Record;
use crate::policy::verdict::Opinion;
use crate::policy::{Chain, ServerView, words};
use serde::Serialize;
use std::sync::Arc;

/// Differences that are listed; all are counted.
const LISTED: usize = 100;
/// Longest text of an answer.
const MAX_TEXT: usize = 240;

#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Outcome {
    pub(super) asked: usize,
    pub(super) different: usize,
    pub(super) differences: Vec<Difference>,
    /// Calls of the new generation that failed.
    pub(super) faults: u64,
    /// The last of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Difference {
    stage: &'static str,
    impi: String,
    old: String,
    new: String,
}

pub(super) struct Shadow {
    /// The same units with counters of their own, so that nothing of this is in the metrics.
    twin: Generation,
    chain: Chain,
    servers: Arc<[ServerView]>,
    outcome: Outcome,
}

impl Shadow {
    pub(super) fn new(generation: &Generation, servers: &Arc<[ServerView]>) -> Result<Self, PolicyError> {
        let twin = generation.twin();
        let chain = silently(|| twin.chain(&Env::detached(servers)))?;
        Ok(Shadow { twin, chain, servers: servers.clone(), outcome: Outcome::default() })
    }

    pub(super) fn asked(&self) -> usize {
        self.outcome.asked
    }

    pub(super) fn ask(&mut self, record: &Record) {
        let Some(answer) = silently(|| record.ask(&self.chain, &self.servers)) else { return };
        self.outcome.asked = self.outcome.asked.saturating_add(1);
        if answer == record.answer {
            return;
        }
        self.outcome.different = self.outcome.different.saturating_add(1);
        if self.outcome.differences.len() < LISTED {
            self.outcome.differences.push(Difference {
                stage: record.stage().as_str(),
                impi: record.impi().to_owned(),
                old: shown(&record.answer),
                new: shown(&answer),
            });
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        let faults = super::probation::Counts::of(&self.twin).faults;
        let fault = self.chain.last_fault().map(|fault| format!("{}: {}", fault.unit, fault.message));
        Outcome { faults, fault, ..self.outcome }
    }
}

/// Nothing that is logged meanwhile on this thread is heard: what is only tried must not look as if it had happened.
pub(super) fn silently<T>(trial: impl FnOnce() -> T) -> T {
    tracing::dispatcher::with_default(&tracing::Dispatch::none(), trial)
}

/// An answer in one line.
fn shown(answer: &Opinion) -> String {
    let inner = words::line(answer);
    let mut line: String = inner.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if inner.chars().nth(MAX_TEXT).is_some() {
        line.push('…');
    }
    line
}
