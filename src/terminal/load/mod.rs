//! Thousands of terminals at once, for `imscript load` and measurements, over a few sockets and on one thread: a window of
//! registrations is kept outstanding (closed loop), or they begin at a rate whatever becomes of the others (open loop).
//! Every answer is checked as a single terminal would.

mod lane;
mod pacer;
mod process;
mod stats;
pub mod subscribers;

pub use process::Usage;
pub use stats::LoadReport;

use self::lane::{Lane, Plan};
use self::pacer::Pace;
use super::connection::{Link, Server, Tls};
use super::identifiers::Identifiers;
use super::register::{Account, Portion};
use super::{ConnectionError, TerminalError};
use crate::gba::naf_id::NafId;
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

/// A request for service over HTTP, with the key that the registration left behind.
#[derive(Clone)]
pub struct Asks {
    pub url: String,
    pub naf: NafId,
    pub payload: Vec<u8>,
}

pub struct LoadOptions {
    pub server: Server,
    pub tls: Option<Tls>,
    pub accounts: Vec<Account>,
    /// Registrations outstanding at any time; at a `rate`, at most.
    pub window: usize,
    /// Sockets or connections; at most one per place in the window.
    pub sockets: usize,
    pub work: Work,
    /// Registrations begun per second; a registration's time then counts from when it was due.
    pub rate: Option<f64>,
    /// All terminals register once before anything is measured, so that what is measured are refreshes.
    pub warm_up: bool,
    /// No Authorization header: for registrars that do not authenticate.
    pub anonymous: bool,
    pub portion: Portion,
    /// What a terminal asks the broadcast server itself once it is registered (figures 5 and 6).
    pub asks: Option<Asks>,
    pub expires: u32,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// How long a terminal takes to answer a challenge.
    pub pause: Duration,
    /// Called now and then with the number of registrations that ended.
    pub progress: Option<Rc<dyn Fn(u64)>>,
    /// The server's process, to be measured with all that it started.
    pub server_pid: Option<u32>,
}

/// Runs it all; fails only if no socket can be had. Errors of single terminals are in the report.
pub async fn run(options: LoadOptions) -> Result<LoadReport, TerminalError> {
    let lanes = options.sockets.min(options.window).min(options.accounts.len()).max(1);
    let mut identifiers = Identifiers::new()?;
    let ended = Rc::new(Cell::new(0u64));
    let mut shares: Vec<Vec<Account>> = (0..lanes).map(|_| Vec::new()).collect();
    for (account, lane) in options.accounts.into_iter().zip((0..lanes).cycle()) {
        if let Some(share) = shares.get_mut(lane) {
            share.push(account);
        }
    }
    let mut ready = Vec::new();
    for (index, accounts) in shares.into_iter().enumerate() {
        let link = Link::open(&options.server, options.tls.as_ref()).await?;
        let plan = Plan {
            tls: options.tls.clone(),
            window: options.window / lanes + usize::from(index < options.window % lanes),
            portion: options.portion.clone(),
            asks: options.asks.clone().map(Rc::new),
            anonymous: options.anonymous,
            expires: options.expires,
            timeout: options.timeout,
            pause: options.pause,
            ended: ended.clone(),
            progress: options.progress.clone(),
        };
        ready.push(Lane::new(plan, link, accounts, &mut identifiers));
    }
    let mut report = LoadReport::default();
    if options.warm_up {
        let warm_up;
        (ready, warm_up) = all(ready, Work::RegisterOnce, None).await;
        report.warm_up_errors = warm_up.error_count();
        ended.set(0);
    }
    let (own, server) = (Usage::own(), options.server_pid.and_then(Usage::of));
    let started = Instant::now();
    let (_, measured) = all(ready, options.work, options.rate).await;
    report.merge(measured);
    report.elapsed = started.elapsed();
    report.own = Usage::own().zip(own).map(|(after, before)| after.since(&before));
    report.server = options.server_pid.and_then(Usage::of).zip(server).map(|(after, before)| after.since(&before));
    Ok(report)
}

/// Each lane does its share.
async fn all(lanes: Vec<Lane>, work: Work, rate: Option<f64>) -> (Vec<Lane>, LoadReport) {
    let local = LocalSet::new();
    let mut running = JoinSet::new();
    let pace = match rate {
        Some(rate) => match Pace::new(rate) {
            Some(pace) => Some(pace),
            None => {
                let mut report = LoadReport::default();
                report.error("no thread for the pace");
                return (lanes, report);
            }
        },
        None => None,
    };
    let number = lanes.len();
    for (index, mut lane) in lanes.into_iter().enumerate() {
        let pacer = pace.as_ref().map(|pace| pace.share(index, number));
        let run = async move {
            let report = lane.run(work, pacer).await;
            (lane, report)
        };
        running.spawn_local_on(run, &local);
    }
    let (mut lanes, mut report) = (Vec::new(), LoadReport::default());
    local
        .run_until(async {
            while let Some(finished) = running.join_next().await {
                match finished {
                    Ok((lane, done)) => {
                        lanes.push(lane);
                        report.merge(done);
                    }
                    Err(_) => report.error("a lane of the generator died"),
                }
            }
        })
        .await;
    (lanes, report)
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
