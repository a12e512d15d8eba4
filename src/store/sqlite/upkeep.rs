//! The thread that keeps house beside the writer: it carries the write-ahead log over into the database, which would make
//! the writer stand still for 60 to 100 ms, and finds what may go.

use super::queue::{Job, Queue};
use super::rows;
use super::time::Time;
use crate::store::Class;
use rusqlite::Connection;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Pages of the log, by estimate, after which they are carried over.
const CARRIED_AT: usize = 4000;
/// Length of the log in pages at which the writer itself carries over what is left, so that the log begins anew: under
/// steady load nobody else meets it without something left.
const LONG: i64 = 16_384;
/// How often what came meanwhile is carried over before that, and what is little of it, in pages.
const PASSES: usize = 4;
const LITTLE: i64 = 200;
/// Rows that are looked at each second for whether they may go.
const LOOKED_AT: usize = 2000;
const SECOND: Duration = Duration::from_secs(1);

/// What both threads know of the log.
#[derive(Default)]
pub(super) struct Log {
    pages: AtomicUsize,
    catch_up: AtomicBool,
    stop: Mutex<bool>,
    woken: Condvar,
}

impl Log {
    /// Told by the writer after each commit.
    pub(super) fn written(&self, jobs: &[Job]) {
        let pages: usize = jobs.iter().filter(|job| job.writes()).map(|job| 2 + job.octets() / 4096).sum();
        if self.pages.fetch_add(pages, Ordering::Relaxed) + pages >= CARRIED_AT {
            self.woken.notify_one();
        }
    }

    /// The writer's share, if it was asked for.
    pub(super) fn help(&self, connection: Option<&Connection>) {
        if self.catch_up.swap(false, Ordering::Relaxed)
            && let Some(connection) = connection
            && let Err(error) = carry_over(connection)
        {
            tracing::warn!(%error, "the write-ahead log cannot be carried over");
        }
    }

    pub(super) fn stop(&self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_one();
    }

    /// False: it is the end.
    fn wait(&self) -> bool {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = |stop: &mut bool| !*stop && self.pages.load(Ordering::Relaxed) < CARRIED_AT;
        !*self.woken.wait_timeout_while(stop, SECOND, nothing).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Carries over what is in the log now, and tells its length in pages; of what is written meanwhile it knows nothing.
fn carry_over(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
}

pub(super) struct Upkeep {
    /// Open as long as the store is: the last connection of a file that closes touches the log, and after a fault of the
    /// writer nobody but the next commit may.
    pub(super) connection: Connection,
    /// The database. Whoever closes one descriptor of a file gives up the process's locks on it, so it is open as long.
    pub(super) file: Arc<File>,
    pub(super) queue: Arc<Queue>,
    pub(super) time: Arc<Time>,
    pub(super) log: Arc<Log>,
    /// A tool lets nothing go.
    pub(super) tool: bool,
}

impl Upkeep {
    pub(super) fn run(self) {
        let (mut class, mut after) = (0, 0);
        let mut failing = false;
        while self.log.wait() {
            if self.log.pages.load(Ordering::Relaxed) >= CARRIED_AT {
                self.log.pages.store(0, Ordering::Relaxed);
                match self.carry() {
                    Ok(()) => failing = false,
                    Err(error) if !std::mem::replace(&mut failing, true) => {
                        tracing::warn!(%error, "the write-ahead log cannot be carried over now");
                    }
                    Err(_) => {}
                }
            } else if !self.tool {
                // A fault shows where it matters; here the next round tries again.
                let _ = self.look(&mut class, &mut after);
            }
        }
    }

    /// If the log is long, again and again, each time what has come meanwhile, until that is little.
    fn carry(&self) -> rusqlite::Result<()> {
        let mut length = carry_over(&self.connection)?;
        if length < LONG {
            return Ok(());
        }
        for _ in 0..PASSES {
            let before = std::mem::replace(&mut length, carry_over(&self.connection)?);
            if length - before < LITTLE {
                break;
            }
        }
        // SQLite syncs the database only where nothing was written meanwhile: left to the writer, that would take it 20 ms.
        // If it fails here, it fails there.
        let _ = self.file.sync_data();
        self.log.catch_up.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Goes on through all classes, a piece at a time.
    fn look(&self, class: &mut usize, after: &mut i64) -> rusqlite::Result<()> {
        let mut found = Vec::new();
        let now = self.time.present();
        for _ in Class::ALL {
            let Some(this) = Class::ALL.get(*class) else {
                *class = 0;
                continue;
            };
            *after = rows::over(&self.connection, *this, *after, LOOKED_AT, now, &mut found)?;
            if *after != 0 {
                break;
            }
            *class += 1;
        }
        if !found.is_empty() {
            self.queue.push(Job::LetGo(found));
        }
        Ok(())
    }
}
