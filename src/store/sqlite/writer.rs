//! The one thread that writes: what has gathered while the last transaction was on its way to the disk is the next one.

use super::file::Place;
use super::queue::{Job, Queue, Run};
use super::time::{BEAT, Time};
use super::upkeep::Log;
use super::{Durability, State};
use crate::store::StoreError;
use rusqlite::{Connection, ErrorCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bounds of one transaction.
const MOST_JOBS: usize = 512;
const MOST_OCTETS: usize = 16 << 20;
/// The same for write-behind, and how long a transaction gathers; with the time that it takes to be synced it stays below
/// the bound that is stated in [`Durability::WriteBehind`].
const MOST_BEHIND: usize = 4096;
const GATHERED: Duration = Duration::from_millis(50);
/// How long a commit waits for company where the last one had some: a group of many costs a sync, and a change of threads
/// there and back, as a single change does.
const COMPANY: Duration = Duration::from_millis(2);
/// So many are company.
const SOME: usize = 4;
/// After it, other processes get a chance to write.
const DOOR_OPEN: Duration = Duration::from_millis(1);
/// While the disk fails, it is tried so often for those who ask, and so often by itself.
const NOT_AGAIN: Duration = Duration::from_millis(20);
const BY_ITSELF: Duration = Duration::from_secs(1);
/// A node that has nothing to write leaves a sign of life so often.
const IDLE: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    pub(super) place: Place,
    pub(super) queue: Arc<Queue>,
    pub(super) time: Arc<Time>,
    pub(super) state: Arc<State>,
    pub(super) log: Arc<Log>,
    /// None: it has failed and is opened anew before it is used again.
    pub(super) connection: Option<Connection>,
    pub(super) durability: Durability,
    pub(super) tool: bool,
    made: u64,
    beaten: Option<Instant>,
    failed: Option<(Instant, StoreError)>,
    /// Told to be done, and lost with their transaction: they come before all others.
    owed: Vec<Job>,
    /// Whether another process has committed since is told by a change of this.
    data_version: i64,
}

impl Writer {
    #[allow(clippy::too_many_arguments)] // one caller, and all of them are of different types
    pub(super) fn new(
        place: Place,
        connection: Connection,
        time: Arc<Time>,
        queue: Arc<Queue>,
        state: Arc<State>,
        log: Arc<Log>,
        durability: Durability,
        tool: bool,
    ) -> Self {
        Writer {
            place,
            queue,
            time,
            state,
            log,
            connection: Some(connection),
            durability,
            tool,
            made: 0,
            beaten: None,
            failed: None,
            owed: Vec::new(),
            data_version: 0,
        }
    }

    pub(super) fn run(mut self) {
        let mut jobs = Vec::new();
        let mut busy = false;
        loop {
            let wait = if self.failed.is_some() { BY_ITSELF } else { IDLE };
            if !self.queue.take(&mut jobs, MOST_JOBS, MOST_OCTETS, wait) {
                break;
            }
            if busy && !self.tool && !self.is_behind() && jobs.len() < MOST_JOBS && !self.queue.is_closed() {
                std::thread::sleep(COMPANY);
                self.queue.take(&mut jobs, MOST_JOBS, MOST_OCTETS, Duration::ZERO);
            }
            busy = jobs.len() >= SOME;
            self.turn(&mut jobs);
            self.queue.ended(&jobs);
            jobs.clear();
            self.log.help(self.connection.as_ref());
        }
        if !self.owed.is_empty() {
            self.turn(&mut Vec::new());
        }
        if !self.owed.is_empty() {
            tracing::error!(changes = self.owed.len(), "the store ends without having written what it was given");
        }
    }

    fn is_behind(&self) -> bool {
        self.durability == Durability::WriteBehind
    }

    fn turn(&mut self, jobs: &mut Vec<Job>) {
        if let Some((at, why)) = &self.failed
            && at.elapsed() < NOT_AGAIN
            && !jobs.is_empty()
        {
            let why = why.clone();
            return self.refuse(jobs, &why);
        }
        match self.attempt(jobs) {
            Ok(()) => {
                if self.failed.take().is_some() {
                    tracing::info!("the store can be written again");
                    self.state.writes(None);
                }
                jobs.iter_mut().for_each(Job::end);
            }
            Err(error) => {
                let why = self.fall(&error);
                if self.is_behind() {
                    // Who was told that it is done must not lose it.
                    self.owed.extend(jobs.extract_if(.., |job| job.is_told()));
                }
                self.refuse(jobs, &why);
            }
        }
    }

    /// One transaction, or none if there is nothing to write.
    fn attempt(&mut self, jobs: &mut Vec<Job>) -> rusqlite::Result<()> {
        if self.connection.is_none() {
            self.connection = Some(self.place.writing()?);
            self.data_version = 0;
        }
        let Some(connection) = self.connection.take() else { return Ok(()) };
        let done = self.attempt_on(&connection, jobs);
        self.connection = Some(connection);
        done
    }

    fn attempt_on(&mut self, connection: &Connection, jobs: &mut Vec<Job>) -> rusqlite::Result<()> {
        self.spare_idle_polls(connection, jobs)?;
        // While the disk fails, the sign of life is what shows that it does no more.
        let beat = !self.tool && (self.failed.is_some() || self.beaten.is_none_or(|at| at.elapsed() >= BEAT));
        let writes = jobs.iter().any(Job::writes) || (beat && jobs.is_empty()) || self.failed.is_some();
        if !writes {
            connection.prepare_cached("BEGIN")?.execute([])?;
            self.run_all(connection, jobs, 0)?;
            return connection.prepare_cached("COMMIT")?.execute([]).map(drop);
        }
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for job in &self.owed {
            job.run_again(connection, self.time.present())?;
        }
        if beat {
            self.time.beat(connection)?;
        }
        self.run_all(connection, jobs, 0)?;
        if self.is_behind() {
            self.gather(connection, jobs)?;
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        self.log.written(jobs);
        if beat {
            self.beaten = Some(Instant::now());
        }
        self.queue.ended(&std::mem::take(&mut self.owed));
        if self.is_behind() && !self.queue.is_closed() {
            std::thread::sleep(DOOR_OPEN);
        }
        Ok(())
    }

    fn run_all(&mut self, connection: &Connection, jobs: &mut [Job], from: usize) -> rusqlite::Result<()> {
        let now = self.time.present();
        let mut run = Run { connection, now, made: &mut self.made, tool: self.tool };
        jobs.iter_mut().skip(from).try_for_each(|job| job.run(&mut run))
    }

    /// Write-behind: who saves is told at once, and the transaction goes on for a while, unless somebody waits for its end.
    fn gather(&mut self, connection: &Connection, jobs: &mut Vec<Job>) -> rusqlite::Result<()> {
        let until = Instant::now() + GATHERED;
        loop {
            if jobs.iter().any(Job::is_urgent) {
                return Ok(());
            }
            jobs.iter_mut().for_each(Job::tell);
            let left = until.saturating_duration_since(Instant::now());
            let from = jobs.len();
            if left.is_zero() || from >= MOST_BEHIND || self.queue.is_closed() {
                return Ok(());
            }
            self.queue.take(jobs, from + MOST_JOBS, MOST_OCTETS, left);
            self.run_all(connection, jobs, from)?;
        }
    }

    /// The node asks every second what others have changed: mostly nothing, and that needs no transaction.
    fn spare_idle_polls(&mut self, connection: &Connection, jobs: &mut [Job]) -> rusqlite::Result<()> {
        if !jobs.iter().any(|job| matches!(job, Job::Changed(_))) {
            return Ok(());
        }
        let version: i64 = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if version == self.data_version {
            jobs.iter_mut().for_each(Job::tell_of_no_change);
        } else {
            self.data_version = version;
        }
        Ok(())
    }

    /// After a fault: what the connection still holds is not to be trusted, unless the fault is a harmless one.
    fn fall(&mut self, error: &rusqlite::Error) -> StoreError {
        let harmless = matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy));
        if let Some(connection) = self.connection.take()
            && (connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok())
            && harmless
        {
            self.connection = Some(connection);
        }
        self.data_version = 0;
        let why = StoreError::Unwritable(error.to_string().into());
        if self.failed.is_none() {
            tracing::error!(%error, "the store cannot be written");
        }
        self.state.writes(Some(&why));
        self.failed = Some((Instant::now(), why.clone()));
        why
    }

    /// Changes are not made; loads are answered with what is there.
    fn refuse(&mut self, jobs: &mut [Job], why: &StoreError) {
        let now = self.time.present();
        let reading = jobs.iter().any(|job| !job.writes()).then(|| self.place.reading()).and_then(Result::ok);
        for job in jobs {
            match &reading {
                Some(connection) if !job.writes() => {
                    let mut run = Run { connection, now, made: &mut self.made, tool: self.tool };
                    match job.run(&mut run) {
                        Ok(()) => job.tell(),
                        Err(error) => job.fail(&StoreError::Away(error.to_string().into())),
                    }
                }
                _ => job.fail(why),
            }
        }
    }
}
