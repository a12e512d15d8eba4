//! The loader's part in a shadow: the workers' last questions and their next ones, until there are enough.

use super::shadow::{self, Shadow};
use super::{Command, Loader, workers};
use crate::policy::lua::Generation;
use crate::policy::record::{KEPT, Record};
use crate::server::control::protocol::Problem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest wait for the questions that a shadow still wants.
const SHADOW_WITHIN: Duration = Duration::from_secs(30);

impl Loader {
    /// Asks the new generation what the serving one was and will be asked, `most` questions each.
    pub(super) fn shadow(
        &mut self,
        generation: &Generation,
        most: usize,
        say: &dyn Fn(String),
    ) -> Result<shadow::Outcome, Problem> {
        if !self.origin.natives.is_empty() {
            let why = "this node has plugins in Rust, which cannot be asked without effect: reload without a shadow";
            return Err(Problem::new("shadow", why));
        }
        let failed = |error: crate::policy::lua::PolicyError| Problem::new("shadow", error.to_string());
        let mut shadow = Shadow::new(generation, &self.servers).map_err(failed)?;
        for record in self.last(most) {
            shadow.ask(&record);
        }
        let (past, end) = (shadow.asked(), Instant::now() + SHADOW_WITHIN);
        self.listen(most).map_err(|error| Problem::new("shadow", error.to_string()))?;
        let (serving, id) = (self.serving.id, generation.id);
        tracing::info!(target: "imscript::policy", generation = id, serving, past, most, "asked beside the one that serves");
        let seconds = SHADOW_WITHIN.as_secs();
        say(format!("shadow: asked {past} of the last questions; waiting for {most} more, {seconds} s at most"));
        let mut heard = 0;
        while heard < most {
            match self.inbox.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Command::Answered(record)) => {
                    heard = heard.saturating_add(1);
                    shadow.ask(&record);
                }
                Ok(command @ (Command::Rollback { .. } | Command::Stop)) => {
                    self.waiting.push_back(command);
                    self.workers.post(|seat, _| seat.tap().listen(None));
                    return Err(Problem::new("shadow", "interrupted: something more urgent was asked for"));
                }
                Ok(command) => self.waiting.push_back(command),
                Err(_) => break,
            }
            self.judge();
        }
        self.workers.post(|seat, _| seat.tap().listen(None));
        let outcome = shadow.outcome();
        if let Some(fault) = outcome.fault.as_ref().filter(|_| outcome.faults > 0) {
            let message = format!("{} of {} questions failed: {fault}", outcome.faults, outcome.asked);
            return Err(Problem::new("shadow", message));
        }
        Ok(outcome)
    }

    /// The last questions of all workers.
    fn last(&self, most: usize) -> Vec<Record> {
        let (teller, told) = mpsc::channel();
        let each = most.div_ceil(self.workers.count().max(1)).min(KEPT);
        self.workers.post(move |seat, _| drop(teller.send(seat.tap().last(each))));
        let end = Instant::now() + Duration::from_secs(1);
        let mut records = Vec::new();
        for _ in 0..self.workers.count() {
            match told.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(more) => records.extend(more),
                Err(_) => break,
            }
        }
        records.truncate(most);
        records
    }

    /// Has the workers send their next questions, `most` in all.
    fn listen(&self, most: usize) -> Result<(), workers::WorkerError> {
        let left = Arc::new(AtomicU32::new(u32::try_from(most).unwrap_or(u32::MAX)));
        let commands = self.commands.clone();
        self.workers.everywhere(move |seat, _| {
            let (left, commands) = (left.clone(), commands.clone());
            seat.tap().listen(Some(Box::new(move |record| {
                let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                taken.is_ok() && commands.send(Command::Answered(Box::new(record))).is_ok()
            })));
            Ok(())
        })
    }
}
