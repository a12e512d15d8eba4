//! A clock that does not step: what the store calls its time.
//!
//! Within one boot of the machine, time goes on as the kernel's boot-time clock does, from the last sign of life that a
//! node has left in the database, whatever anybody does to the wall clock. After another boot the wall clock is believed,
//! but never so far that time would go back.

use crate::clock::{Clock, Now};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Signs of life are at most so far apart while the node writes.
pub(super) const BEAT: Duration = Duration::from_secs(3);
/// How much of the time before a crash no sign of life may tell of.
const UNTOLD: Duration = Duration::from_secs(5);
/// What the kernel's answer is rounded by, at both ends.
const GRAIN: Duration = Duration::from_millis(20);
/// Timers of the process stand still while the machine sleeps: it has slept if they are so far behind.
const ASLEEP: Duration = Duration::from_secs(1);

/// A boot of the machine and how long ago it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    pub id: String,
    pub up: Duration,
}

/// Where [`Boot`] comes from; None: unknown, then the wall clock is believed at every start.
pub type Boots = fn() -> Option<Boot>;

/// As the kernel says.
pub(super) fn kernel() -> Option<Boot> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let up = std::fs::read_to_string("/proc/uptime").ok()?;
    let up = up.split_whitespace().next()?.parse().ok()?;
    Some(Boot { id: id.trim().to_owned(), up: Duration::try_from_secs_f64(up).ok()? })
}

pub(super) struct Time {
    clock: Clock,
    boots: Boots,
    /// The store's time less the process's, in nanoseconds. It only grows.
    ahead: AtomicU64,
}

impl Time {
    /// Goes on from what the database says.
    pub(super) fn resume(connection: &Connection, clock: Clock, boots: Boots) -> rusqlite::Result<Self> {
        let now = clock.now();
        let last = connection
            .query_row("SELECT time, boot, up FROM beat", [], |row| {
                Ok((micros(row.get(0)?), row.get::<_, String>(1)?, micros(row.get(2)?)))
            })
            .optional()?;
        let time = match (last, boots()) {
            (None, _) => now.unix,
            (Some((time, id, up)), Some(boot)) if boot.id == id => time + boot.up.saturating_sub(up) + GRAIN,
            (Some((time, ..)), Some(_)) => now.unix.max(time + UNTOLD),
            (Some((time, ..)), None) => now.unix.max(time),
        };
        Ok(Time { clock, boots, ahead: AtomicU64::new(nanos(time.saturating_sub(now.mono))) })
    }

    pub(super) fn at(&self, now: Now) -> Duration {
        Duration::from_nanos(self.ahead.load(Ordering::Relaxed)).saturating_add(now.mono)
    }

    pub(super) fn present(&self) -> Duration {
        self.at(self.clock.now())
    }

    /// Leaves a sign of life.
    pub(super) fn beat(&self, connection: &Connection) -> rusqlite::Result<()> {
        let boot = (self.boots)();
        if let Some(boot) = &boot {
            self.wake(connection, boot)?;
        }
        let Boot { id, up } = boot.unwrap_or(Boot { id: String::new(), up: Duration::ZERO });
        connection
            .prepare_cached("INSERT OR REPLACE INTO beat (one, time, boot, up) VALUES (1, ?1, ?2, ?3)")?
            .execute(params![integer(self.present()), id, integer(up)])?;
        Ok(())
    }

    /// Catches up on the time in which the machine slept.
    fn wake(&self, connection: &Connection, boot: &Boot) -> rusqlite::Result<()> {
        let mut last = connection.prepare_cached("SELECT time, up FROM beat WHERE boot = ?1")?;
        let last = last.query_row([&boot.id], |row| Ok((micros(row.get(0)?), micros(row.get(1)?)))).optional()?;
        let Some((time, up)) = last else { return Ok(()) };
        let behind = (time + boot.up.saturating_sub(up)).saturating_sub(self.present());
        if behind > ASLEEP {
            self.ahead.fetch_add(nanos(behind), Ordering::Relaxed);
        }
        Ok(())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// As times stand in the database; SQLite's integers are signed.
pub(super) fn integer(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn micros(integer: i64) -> Duration {
    Duration::from_micros(integer.try_into().unwrap_or(0))
}
