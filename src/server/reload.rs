//! Hot reload: a new generation of policy and plugins takes the place of the old one while traffic runs.
//!
//! A thread of its own, the loader, has it read, compiled, tried and tested; the workers only build their VMs and switch, all or
//! none, each between two questions. Whatever goes wrong, the generation that serves goes on serving and the reason goes to
//! whoever asked and to the log. docs/reload.md tells it step by step.

mod load;
mod prepare;
mod probation;
mod questions;
mod report;
mod shadow;
mod workers;

use load::Prepared;
pub use load::Tests;
pub(super) use load::{Following, Origin};
pub(super) use workers::{Jobs, Workers, mailboxes, work};

use super::control::Reply;
use super::control::protocol::Problem;
use crate::clock::Clock;
use crate::config::Reload as Settings;
use crate::policy::ServerView;
use crate::policy::lua::Generation;
use crate::policy::lua::watch::{Digest, Timing, Watch, WatchError};
use crate::policy::record::Record;
use probation::{Counts, Judgement, Probation};
use report::{Board, Kept, State};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Generations kept for going back to, beside the one that serves.
const KEPT_GENERATIONS: usize = 5;
/// How often the loader looks at a probation, and at generations that are ending.
const TICK: Duration = Duration::from_millis(100);

/// What a reload is asked to do besides.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    pub(super) shadow: Option<u32>,
    pub(super) canary: Option<u8>,
    pub(super) skip_tests: bool,
    pub(super) dry_run: bool,
}

/// Who asked for it.
#[derive(Debug)]
enum Why {
    Asked(Reply, How),
    Signal,
    /// The files hold something else.
    Files(Digest),
}

#[allow(clippy::large_enum_variant)] // one at a time
enum Command {
    Reload(Why),
    Rollback {
        to: Option<u64>,
        reply: Reply,
    },
    /// A question that was just answered, for the shadow.
    Answered(Box<Record>),
    /// What the thread of this number has come to.
    Prepared(u64, Box<Prepared>),
    Stop,
}

/// The node's handle on its loader. The loader ends when this is dropped, after what it is doing.
pub(super) struct Reloader {
    handle: Handle,
    _watch: Option<Watch>,
}

/// What others may hold of it.
#[derive(Clone)]
pub(super) struct Handle {
    commands: Sender<Command>,
    board: Arc<Mutex<Board>>,
    /// A signal has come that no reload has begun for: more of them ask for nothing more.
    signalled: Arc<Mutex<Vec<Reply>>>,
}

impl Reloader {
    pub(super) fn start(
        origin: Origin,
        workers: Workers,
        servers: Arc<[ServerView]>,
        clock: Clock,
        settings: Settings,
    ) -> Result<Self, WatchError> {
        let (commands, inbox) = mpsc::channel();
        let watch = match settings.watch && !origin.roots.is_empty() {
            true => {
                let commands = commands.clone();
                let told = move |digest| drop(commands.send(Command::Reload(Why::Files(digest))));
                Some(Watch::start(origin.roots.clone(), origin.known, Timing::default(), told)?)
            }
            false => None,
        };
        let first = Kept::new(origin.first.clone(), State::Serving);
        let board = Arc::new(Mutex::new(Board::new(first, origin.natives.clone(), origin.serving.clone())));
        let signalled = Arc::<Mutex<Vec<Reply>>>::default();
        let loader = Loader {
            serving: origin.first.clone(),
            next: origin.first.id.saturating_add(1),
            known: Some(origin.known),
            taken: (origin.first.id, origin.known),
            origin: Arc::new(origin),
            workers,
            servers,
            clock,
            settings,
            trial: None,
            commands: commands.clone(),
            inbox,
            left_behind: Vec::new(),
            attempt: 0,
            waiting: VecDeque::new(),
            board: board.clone(),
            signalled: signalled.clone(),
        };
        std::thread::Builder::new().name("loader".into()).spawn(move || loader.run()).map_err(WatchError::Thread)?;
        Ok(Reloader { handle: Handle { commands, board, signalled }, _watch: watch })
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        let _ = self.handle.commands.send(Command::Stop);
    }
}

impl Handle {
    pub(super) fn reload(&self, how: How, reply: Reply) {
        let _ = self.commands.send(Command::Reload(Why::Asked(reply, how)));
    }

    /// What SIGHUP asks for; its outcome is in the log too. A burst of them is one reload, which answers them all.
    pub(super) fn signalled(&self, reply: Reply) {
        let mut waiting = self.signalled.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(reply);
        if waiting.len() == 1 {
            let _ = self.commands.send(Command::Reload(Why::Signal));
        }
    }

    pub(super) fn rollback(&self, to: Option<u64>, reply: Reply) {
        let _ = self.commands.send(Command::Rollback { to, reply });
    }

    pub(super) fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        report::lock(&self.board)
    }
}

/// A generation on probation.
struct Trial {
    generation: Arc<Generation>,
    /// What it is measured by, and what serves again if it fails.
    before: Arc<Generation>,
    /// Some while it has a share of the users only.
    canary: Option<u8>,
    probation: Probation,
}

struct Loader {
    origin: Arc<Origin>,
    workers: Workers,
    servers: Arc<[ServerView]>,
    clock: Clock,
    settings: Settings,
    serving: Arc<Generation>,
    /// Number of the next generation.
    next: u64,
    /// The contents that were taken, or refused, last: they need no second try when only a time stamp has changed.
    known: Option<Digest>,
    /// The contents that were taken last, and the number of the generation that they became.
    taken: (u64, Digest),
    trial: Option<Trial>,
    commands: Sender<Command>,
    inbox: Receiver<Command>,
    /// Threads of loads that were given up.
    left_behind: Vec<JoinHandle<()>>,
    /// Number of the last load.
    attempt: u64,
    /// Came while a generation was loaded, or a shadow was waiting for questions.
    waiting: VecDeque<Command>,
    board: Arc<Mutex<Board>>,
    /// The handles'.
    signalled: Arc<Mutex<Vec<Reply>>>,
}

impl Loader {
    fn run(mut self) {
        loop {
            let command = match self.waiting.pop_front() {
                Some(command) => Ok(command),
                None if self.trial.is_some() || report::lock(&self.board).is_ending() => self.inbox.recv_timeout(TICK),
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match command {
                Ok(Command::Reload(why)) => self.reload(why),
                Ok(Command::Rollback { to, reply }) => self.rollback(to, reply),
                // Late for a shadow that is over, or of a load that was given up.
                Ok(Command::Answered(_) | Command::Prepared(..)) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.judge();
            report::lock(&self.board).note_ended();
        }
    }

    fn reload(&mut self, why: Why) {
        let (how, replies, asked_by) = match why {
            Why::Asked(reply, how) => (how, vec![reply], "imscript reload"),
            Why::Signal => {
                let waiting = std::mem::take(&mut *self.signalled.lock().unwrap_or_else(PoisonError::into_inner));
                (How::default(), waiting, "SIGHUP")
            }
            Why::Files(digest) if self.known == Some(digest) => return,
            // Put back to what serves, after something that was refused.
            Why::Files(digest) if self.taken == (self.serving.id, digest) => {
                self.known = Some(digest);
                tracing::info!(target: "imscript::policy", generation = self.serving.id, "the files hold what serves again");
                return;
            }
            Why::Files(_) => (How::default(), Vec::new(), "changed files"),
        };
        let how = How {
            // 0 in a request: none, whatever is configured.
            shadow: Some(how.shadow.unwrap_or(self.settings.shadow)).filter(|most| *most > 0),
            canary: Some(how.canary.unwrap_or(self.settings.canary)).filter(|percent| *percent > 0),
            skip_tests: how.skip_tests || !self.settings.require_tests,
            ..how
        };
        let began = Instant::now();
        let outcome = self.try_reload(how, replies.first(), began);
        match outcome {
            Ok(done) => {
                let result = if how.dry_run { "dry_run" } else { "ok" };
                report::lock(&self.board).count(result);
                replies.into_iter().for_each(|reply| reply.done(done.clone()));
            }
            Err(problem) => {
                report::lock(&self.board).count("failed");
                let (step, reason) = (&problem.step, &problem.message);
                tracing::error!(
                    target: "imscript::policy", generation = self.serving.id, asked_by, step, reason,
                    "not reloaded; the generation that serves goes on"
                );
                replies.into_iter().for_each(|reply| reply.failed(problem.clone()));
            }
        }
    }

    fn try_reload(&mut self, how: How, reply: Option<&Reply>, began: Instant) -> Result<serde_json::Value, Problem> {
        let say = |text: String| {
            if let Some(reply) = reply {
                reply.step(text);
            }
        };
        let id = self.next;
        let Prepared { digest, outcome } = self.prepared(id, how, reply)?;
        if !how.dry_run {
            self.known = Some(digest);
        }
        let (generation, tests) = outcome?;
        let shadow = match how.shadow {
            Some(most) => Some(self.shadow(&generation, most as usize, &say)?),
            None => None,
        };
        if how.dry_run {
            return Ok(json!({
                "dry_run": true, "serving": self.serving.id, "shadow": shadow, "tests": tests, "ms": millis(began),
            }));
        }
        self.next = id.saturating_add(1);
        let switching = Instant::now();
        self.publish(&generation, how.canary)?;
        self.taken = (id, digest);
        let switch_ms = millis(switching);
        let (workers, ms) = (self.workers.count(), millis(began));
        let canary = how.canary;
        tracing::info!(
            target: "imscript::policy", generation = id, before = self.trial.as_ref().map(|trial| trial.before.id), workers,
            canary, ms, units = report::names(&generation), "serves"
        );
        Ok(json!({
            "generation": id, "workers": workers, "canary": canary, "shadow": shadow, "tests": tests, "ms": ms,
            "switch_ms": switch_ms, "probation_s": self.settings.probation.as_secs_f64(),
        }))
    }

    /// Puts a generation in force on all workers, for all users or for a share, and on probation.
    fn publish(&mut self, generation: &Arc<Generation>, canary: Option<u8>) -> Result<(), Problem> {
        let counts = Counts::of(generation);
        self.workers
            .publish(generation, canary, &self.serving)
            .map_err(|error| Problem::new("workers", error.to_string()))?;
        let before = self.serving.clone();
        let mut board = report::lock(&self.board);
        if let Some(trial) = self.trial.take().filter(|trial| trial.canary.is_some()) {
            board.set(trial.generation.id, State::Kept);
        }
        let state = canary.map_or(State::Serving, State::Canary);
        board.add(Kept::new(generation.clone(), state), KEPT_GENERATIONS);
        if canary.is_none() {
            board.set(before.id, State::Kept);
            self.serving = generation.clone();
        }
        drop(board);
        let probation = Probation::begin(self.clock.now().mono, self.settings.probation, counts);
        self.trial = Some(Trial { generation: generation.clone(), before, canary, probation });
        Ok(())
    }

    /// Looks at the generation on probation.
    fn judge(&mut self) {
        let Some(trial) = &self.trial else { return };
        let now = self.clock.now().mono;
        let (id, before) = (trial.generation.id, trial.before.id);
        match trial.probation.judge(now, Counts::of(&trial.generation), Counts::of(&trial.before)) {
            Judgement::Open => {}
            Judgement::Passed => self.pass(),
            Judgement::Failed(reason) => {
                tracing::error!(target: "imscript::policy", generation = id, reason, "fails on probation; generation {before} serves again");
                self.fail();
            }
        }
    }

    /// The probation is over and nothing has happened.
    fn pass(&mut self) {
        let Some(trial) = self.trial.take() else { return };
        let id = trial.generation.id;
        if trial.canary.is_none() {
            tracing::info!(target: "imscript::policy", generation = id, "has passed its probation");
            return;
        }
        match self.workers.promote() {
            Ok(()) => {
                tracing::info!(target: "imscript::policy", generation = id, "has passed its probation and serves all users");
                let mut board = report::lock(&self.board);
                board.set(trial.before.id, State::Kept);
                board.set(id, State::Serving);
                drop(board);
                self.serving = trial.generation;
            }
            Err(error) => {
                tracing::error!(target: "imscript::policy", generation = id, %error, "cannot serve all users");
                self.dismiss(&trial);
            }
        }
    }

    /// The probation has ended badly: what served before serves again.
    fn fail(&mut self) {
        let Some(trial) = self.trial.take() else { return };
        report::lock(&self.board).count("rolled_back");
        if trial.canary.is_some() {
            return self.dismiss(&trial);
        }
        match self.workers.publish(&trial.before, None, &trial.generation) {
            Ok(()) => self.returned_to(trial.before, State::Failed),
            Err(error) => {
                tracing::error!(target: "imscript::policy", generation = trial.generation.id, %error, "cannot go back");
            }
        }
    }

    fn dismiss(&mut self, trial: &Trial) {
        if let Err(error) = self.workers.dismiss() {
            tracing::error!(target: "imscript::policy", generation = trial.generation.id, %error, "the canary is not ended");
        }
        report::lock(&self.board).set(trial.generation.id, State::Failed);
    }

    /// `generation` serves again; what served until now gets `state`.
    fn returned_to(&mut self, generation: Arc<Generation>, state: State) {
        let mut board = report::lock(&self.board);
        board.set(self.serving.id, state);
        board.set(generation.id, State::Serving);
        drop(board);
        self.serving = generation;
    }

    fn rollback(&mut self, to: Option<u64>, reply: Reply) {
        match self.try_rollback(to) {
            Ok(()) => {
                let (generation, workers) = (self.serving.id, self.workers.count());
                report::lock(&self.board).count("rolled_back");
                tracing::warn!(target: "imscript::policy", generation, "serves again: imscript rollback");
                reply.done(json!({ "generation": generation, "workers": workers }));
            }
            Err(problem) => reply.failed(problem),
        }
    }

    fn try_rollback(&mut self, to: Option<u64>) -> Result<(), Problem> {
        // While a canary is on, going back is to end it.
        if to.is_none_or(|to| to == self.serving.id)
            && let Some(trial) = self.trial.take_if(|trial| trial.canary.is_some())
        {
            self.dismiss(&trial);
            return Ok(());
        }
        let target = report::lock(&self.board).target(to, self.serving.id)?;
        self.workers
            .publish(&target, None, &self.serving)
            .map_err(|error| Problem::new("workers", error.to_string()))?;
        if let Some(trial) = self.trial.take().filter(|trial| trial.canary.is_some()) {
            report::lock(&self.board).set(trial.generation.id, State::Kept);
        }
        self.returned_to(target, State::Kept);
        Ok(())
    }
}

fn millis(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 100_000.0).round() / 100.0
}
