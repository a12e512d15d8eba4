//! Thousands of terminals at once, for `imscript load` and measurements: a window of registrations is kept outstanding over
//! a few sockets, on one thread, and every answer is checked as a single terminal would.

mod lane;
mod stats;
pub mod subscribers;

pub use stats::{LoadReport, cpu_time};

use self::stats::own_cpu_time;

use self::lane::{Lane, Plan};
use super::connection::{Link, Server, Tls};
use super::identifiers::Identifiers;
use super::register::{Account, Portion};
use super::{ConnectionError, TerminalError};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

/// What each terminal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Register once and stay registered.
    RegisterOnce,
    /// Register and deregister, so many times.
    Cycles(u32),
    /// Register again and again until the time is over.
    Until(Duration),
}

pub struct LoadOptions {
    pub server: Server,
    pub tls: Option<Tls>,
    pub accounts: Vec<Account>,
    /// Registrations outstanding at any time.
    pub window: usize,
    /// Sockets or connections; at most one per place in the window.
    pub sockets: usize,
    pub work: Work,
    /// Registrations started per second, at most.
    pub rate: Option<f64>,
    pub portion: Portion,
    pub expires: u32,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Called now and then with the number of registrations that ended.
    pub progress: Option<Rc<dyn Fn(u64)>>,
}

/// Runs it all; fails only if no socket can be had. Errors of single terminals are in the report.
pub async fn run(options: LoadOptions) -> Result<LoadReport, TerminalError> {
    let lanes = options.sockets.min(options.window).min(options.accounts.len()).max(1);
    let mut identifiers = Identifiers::new()?;
    let ended = Rc::new(Cell::new(0u64));
    let started = Instant::now();
    let mut shares: Vec<Vec<Account>> = (0..lanes).map(|_| Vec::new()).collect();
    for (account, lane) in options.accounts.into_iter().zip((0..lanes).cycle()) {
        if let Some(share) = shares.get_mut(lane) {
            share.push(account);
        }
    }
    let own_cpu = own_cpu_time();
    let local = LocalSet::new();
    let mut running = JoinSet::new();
    for (index, accounts) in shares.into_iter().enumerate() {
        let link = Link::open(&options.server, options.tls.as_ref()).await?;
        let plan = Plan {
            tls: options.tls.clone(),
            window: options.window / lanes + usize::from(index < options.window % lanes),
            work: options.work,
            end: match options.work {
                Work::Until(duration) => Some(started + duration),
                _ => None,
            },
            rate: options.rate.map(|rate| rate / lanes as f64),
            portion: options.portion.clone(),
            expires: options.expires,
            timeout: options.timeout,
            ended: ended.clone(),
            progress: options.progress.clone(),
        };
        running.spawn_local_on(Lane::new(plan, link, accounts, &mut identifiers).run(), &local);
    }
    let mut report = LoadReport::default();
    local
        .run_until(async {
            while let Some(finished) = running.join_next().await {
                match finished {
                    Ok(lane) => report.merge(lane),
                    Err(_) => report.error("a lane of the generator died"),
                }
            }
        })
        .await;
    report.elapsed = started.elapsed();
    report.own_cpu = own_cpu_time().zip(own_cpu).map(|(after, before)| after.saturating_sub(before));
    Ok(report)
}

/// The name under which an error is counted.
fn kind(error: &TerminalError) -> String {
    match error {
        TerminalError::Connection(ConnectionError::Timeout { .. }) => "timeout".to_owned(),
        TerminalError::Connection(_) => "connection lost".to_owned(),
        TerminalError::Rejected { status, .. } => format!("status {status}"),
        TerminalError::NoUsableChallenge { .. } => "no usable challenge".to_owned(),
        TerminalError::BadChallenge(_) => "bad challenge".to_owned(),
        TerminalError::MacFailure => "MAC failure".to_owned(),
        TerminalError::ResyncFailed => "resynchronisation failed".to_owned(),
        TerminalError::ResponseRefused => "response refused".to_owned(),
        other => other.to_string(),
    }
}
