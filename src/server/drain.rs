//! The end of a node in steps, and whether it lives: what it still takes while it drains, when nothing is left to wait for,
//! and which workers answer. `server` holds it, each worker attends, and `imscript run` with systemd's watchdog asks.
//!
//! A node that drains is not ready: a new request gets 503 with Retry-After and the policy is not asked. What belongs to a
//! registration in progress goes on: the REGISTER that answers a challenge of this node, and what broadcast and IMS server
//! say to each other meanwhile.

use crate::clock::Clock;
use crate::registrar::Shared;
use crate::sip::transaction::Source;
use crate::sip::transport::{Screen, Screener};
use crate::sip::{Message, reason_phrase};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often a draining node is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Looks in a row that find nothing before it is at rest: a job that was just begun has its first turn between two.
const QUIET: u32 = 2;
/// How long a terminal is given for the answer to a challenge: it takes milliseconds, and a lost datagram two more turns
/// (T1, RFC 3261 §17.1.2.2). Terminals that went away are not waited for.
const CHALLENGED: Duration = Duration::from_secs(2);
/// Retry-After in seconds, and by how much it differs from one dialogue to the next, so that not all come back at once.
const RETRY_AFTER: u64 = 3;
const SPREAD: u64 = 5;
/// Beyond the time that they have, for workers to end.
const GRACE: Duration = Duration::from_secs(2);

/// A node as it is seen from without.
#[derive(Debug)]
pub struct Life {
    draining: AtomicBool,
    /// The number of the last call to the workers.
    calls: watch::Sender<u64>,
    heard: Mutex<Vec<Heard>>,
    news: Condvar,
}

/// What a worker has said last.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// The call that it answered.
    call: u64,
    /// Requests being handled and requests of its own that wait for an answer.
    in_flight: usize,
}

impl Life {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Life {
            draining: AtomicBool::new(false),
            calls: watch::Sender::new(0),
            heard: Mutex::new(vec![Heard::default(); workers]),
            news: Condvar::new(),
        })
    }

    /// Answers calls, on the worker's own thread: one that is stuck answers none.
    pub(super) fn attend<F: Fn() -> usize>(
        self: &Arc<Self>,
        worker: usize,
        in_flight: F,
    ) -> impl Future<Output = ()> + use<F> {
        let (life, mut calls) = (self.clone(), self.calls.subscribe());
        async move {
            while calls.changed().await.is_ok() {
                let call = *calls.borrow_and_update();
                let now = Heard { call, in_flight: in_flight() };
                if let Some(heard) = life.heard().get_mut(worker) {
                    *heard = now;
                }
                life.news.notify_all();
            }
        }
    }

    /// Calls all workers and gives the numbers of those that have not answered `within`.
    pub fn silent(&self, within: Duration) -> Vec<usize> {
        let mut call = 0;
        self.calls.send_modify(|last| {
            *last = last.wrapping_add(1);
            call = *last;
        });
        let waiting = |heard: &mut Vec<Heard>| heard.iter().any(|heard| heard.call < call);
        let waited = self.news.wait_timeout_while(self.heard(), within, waiting);
        let (heard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        heard.iter().enumerate().filter(|(_, heard)| heard.call < call).map(|(worker, _)| worker).collect()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Requests being handled and requests of the node's own that wait for an answer, at the last call.
    pub(super) fn in_flight(&self) -> usize {
        self.heard().iter().fold(0, |sum, heard| sum.saturating_add(heard.in_flight))
    }

    fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the node take nothing new and waits until what it has begun is done, for three quarters of `within` at most: the
/// rest is for answers to those whom a peer of ours still keeps waiting. What is left of `within`; nothing if `hurried`,
/// which waits for the time that it is given, said so.
pub(super) fn drain(
    life: &Life,
    ims: Option<&Shared>,
    clock: Clock,
    within: Duration,
    mut hurried: impl FnMut(Duration) -> bool,
) -> Duration {
    life.draining.store(true, Ordering::Relaxed);
    let (begun, most) = (Instant::now(), within / 4 * 3);
    let mut quiet = 0;
    while quiet < QUIET && begun.elapsed() < most {
        if hurried(LOOK.min(most.saturating_sub(begun.elapsed()))) {
            return Duration::ZERO;
        }
        let at_rest = || {
            life.silent(LOOK).is_empty()
                && life.in_flight() == 0
                && ims.is_none_or(|ims| !ims.challenges.any_since(CHALLENGED, clock.now().mono))
        };
        quiet = if at_rest() { quiet + 1 } else { 0 };
    }
    let (took, in_flight) = (begun.elapsed(), life.in_flight());
    tracing::info!(ms = took.as_millis(), in_flight, "drained");
    within.saturating_sub(took)
}

/// Waits for workers that were told to end `within`; one that is stuck is left behind.
pub(super) fn join(workers: impl Iterator<Item = JoinHandle<()>>, within: Duration) {
    let end = Instant::now() + within + GRACE;
    for worker in workers {
        while !worker.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        let name = worker.thread().name().unwrap_or_default().to_owned();
        if !worker.is_finished() {
            tracing::error!(worker = name, "does not end; it is left behind");
        } else if worker.join().is_err() {
            tracing::error!(worker = name, "had ended by a panic");
        }
    }
}

/// What a node that drains still takes.
pub(super) struct Gate {
    pub(super) life: Arc<Life>,
    pub(super) ims: Option<Arc<Shared>>,
    pub(super) bsm_addresses: Arc<[SocketAddr]>,
    pub(super) clock: Clock,
}

impl Gate {
    /// Stands before `next`, which is not asked about what is refused.
    pub(super) fn before(self, next: Screener) -> Screener {
        let spread = RandomState::new();
        std::rc::Rc::new(move |request, source| {
            if !self.life.is_draining() || self.is_begun(request, source) {
                return next(request, source);
            }
            let later = spread.hash_one(request.call_id().unwrap_or_default()) % SPREAD;
            Screen::Reject {
                status: 503,
                reason: reason_phrase(503).to_owned(),
                headers: vec![("Retry-After".to_owned(), (RETRY_AFTER + later).to_string())],
            }
        })
    }

    /// Whether the request is part of a registration that this node works on.
    fn is_begun(&self, request: &Message<'_>, source: &Source) -> bool {
        match &self.ims {
            // The two roles of one node: what comes in for the broadcast role comes from the node itself.
            Some(_) if self.bsm_addresses.contains(&source.local) => true,
            Some(ims) => match request.method() {
                b"REGISTER" => self.answers_a_challenge(ims, request),
                b"MESSAGE" => ims.servers_at(source).next().is_some(),
                _ => false,
            },
            // A key that this broadcast server has asked for comes in a MESSAGE of its own.
            None => request.method() == b"MESSAGE",
        }
    }

    fn answers_a_challenge(&self, ims: &Shared, request: &Message<'_>) -> bool {
        request.authorizations().flatten().any(|given| {
            let (name, nonce) = (given.get("username").unwrap_or_default(), given.get("nonce").unwrap_or_default());
            std::str::from_utf8(&name).is_ok_and(|impi| ims.challenges.holds(impi, &nonce, self.clock.now().mono))
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A worker that answers calls until it is told to be stuck.
    pub(in crate::server) fn worker(life: &Arc<Life>, number: usize, in_flight: usize) -> mpsc::Sender<()> {
        let (stick, stuck) = mpsc::channel();
        let calls = life.attend(number, move || {
            if stuck.try_recv().is_ok() {
                std::thread::park();
            }
            in_flight
        });
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(calls);
        });
        stick
    }

    #[test]
    fn a_worker_that_is_stuck_is_told_by_its_number() {
        let life = Life::new(3);
        let workers: Vec<_> = (0..3).map(|number| worker(&life, number, number)).collect();
        assert_eq!((life.silent(Duration::from_secs(10)), life.in_flight()), (vec![], 3));
        workers[1].send(()).unwrap();
        assert_eq!(life.silent(Duration::from_secs(1)), [1]);
    }

    #[test]
    fn drained_once_nothing_is_left_or_three_quarters_are_over_or_at_once() {
        let within = Duration::from_secs(3);
        let sleep = |pause| {
            std::thread::sleep(pause);
            false
        };
        let idle = Life::new(1);
        let _idle = worker(&idle, 0, 0);
        assert!(!idle.is_draining());
        assert!(drain(&idle, None, Clock::new(), Duration::from_secs(60), sleep) > Duration::from_secs(30));
        assert!(idle.is_draining());
        let busy = Life::new(1);
        let _busy = worker(&busy, 0, 1);
        let left = drain(&busy, None, Clock::new(), within, sleep);
        assert!(left > Duration::ZERO && left <= within / 4, "{left:?}");
        assert_eq!(drain(&busy, None, Clock::new(), within, |_| true), Duration::ZERO);
    }

    #[test]
    fn a_worker_that_does_not_end_is_left_behind() {
        let (keep, kept) = mpsc::channel::<()>();
        let stuck = std::thread::spawn(move || _ = kept.recv());
        let begun = Instant::now();
        join([stuck, std::thread::spawn(|| ())].into_iter(), Duration::from_millis(10));
        assert!(begun.elapsed() < Duration::from_secs(30));
        drop(keep);
    }
}
