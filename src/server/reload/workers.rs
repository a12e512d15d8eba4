//! The way from the loader to the workers' seats: jobs, run on each worker between two questions.

use crate::policy::lua::{Env, Generation, Seat};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Something to be done on a worker's thread.
pub(in crate::server) type Job = Box<dyn FnOnce(&Seat, &Env) + Send>;
pub(in crate::server) type Jobs = UnboundedReceiver<Job>;

/// For all workers to have done a job: `setup` of a unit alone may take a second.
const WITHIN: Duration = Duration::from_secs(10);

/// Why not all workers are where they should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkerError {
    #[error("{why} (worker {worker})")]
    Refused { worker: usize, why: String },
    #[error("worker {worker} has not done it within {} s", WITHIN.as_secs())]
    Silent { worker: usize },
}

pub(in crate::server) struct Workers(Vec<UnboundedSender<Job>>);

/// A mailbox for each of so many workers.
pub(in crate::server) fn mailboxes(workers: usize) -> (Workers, Vec<Jobs>) {
    let (senders, receivers) = (0..workers).map(|_| unbounded_channel()).unzip();
    (Workers(senders), receivers)
}

/// Runs on the worker. A job is plain code without an await, so it falls between two questions.
pub(in crate::server) async fn work(mut jobs: Jobs, seat: Rc<Seat>, env: Env) {
    while let Some(job) = jobs.recv().await {
        job(&seat, &env);
    }
}

impl Workers {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Builds the VMs of a generation on every worker, and has them decide: for all users, or for a percentage. Either on
    /// all workers or on none, where `before` goes on.
    pub(super) fn publish(
        &self,
        generation: &Arc<Generation>,
        share: Option<u8>,
        before: &Arc<Generation>,
    ) -> Result<(), WorkerError> {
        let prepared = self.everywhere({
            let generation = generation.clone();
            move |seat, env| seat.prepare(&generation, env).map_err(|error| error.to_string())
        });
        if let Err(error) = prepared {
            self.post(|seat, _| seat.forget());
            return Err(error);
        }
        // This cannot fail, but a worker may be stuck in something. Jobs are done in order: it will switch, and go back.
        let switched = self.everywhere(move |seat, _| match seat.switch(share) {
            true => Ok(()),
            false => Err("nothing was prepared".to_owned()),
        });
        switched.inspect_err(|_| {
            let before = before.clone();
            self.post(move |seat, env| match share {
                Some(_) => seat.dismiss(),
                None => match seat.prepare(&before, env) {
                    Ok(()) => _ = seat.switch(None),
                    Err(error) => {
                        tracing::error!(target: "imscript::policy", generation = before.id, %error, "cannot go back")
                    }
                },
            });
        })
    }

    pub(super) fn promote(&self) -> Result<(), WorkerError> {
        self.everywhere(|seat, _| if seat.promote() { Ok(()) } else { Err("there is no canary".to_owned()) })
    }

    pub(super) fn dismiss(&self) -> Result<(), WorkerError> {
        self.everywhere(|seat, _| {
            seat.dismiss();
            Ok(())
        })
    }

    /// Does something on every worker, without waiting for it.
    pub(super) fn post(&self, job: impl Fn(&Seat, &Env) + Clone + Send + 'static) {
        for worker in &self.0 {
            let job = job.clone();
            // A worker that has ended needs nothing.
            let _ = worker.send(Box::new(move |seat, env| job(seat, env)));
        }
    }

    /// Does something on every worker and waits for all of them.
    pub(super) fn everywhere(
        &self,
        job: impl Fn(&Seat, &Env) -> Result<(), String> + Clone + Send + 'static,
    ) -> Result<(), WorkerError> {
        let (teller, told) = mpsc::channel();
        for (index, worker) in self.0.iter().enumerate() {
            let (job, teller) = (job.clone(), teller.clone());
            let _ = worker.send(Box::new(move |seat, env| {
                let _ = teller.send((index, job(seat, env)));
            }));
        }
        drop(teller);
        self.collect(&told)
    }

    fn collect(&self, told: &Receiver<(usize, Result<(), String>)>) -> Result<(), WorkerError> {
        let end = Instant::now() + WITHIN;
        let mut done = vec![false; self.0.len()];
        let mut refused = None;
        while !done.iter().all(|done| *done) {
            match told.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((worker, outcome)) => {
                    if let Some(done) = done.get_mut(worker) {
                        *done = true;
                    }
                    if let Err(why) = outcome {
                        refused.get_or_insert(WorkerError::Refused { worker, why });
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let worker = done.iter().position(|done| !done).unwrap_or_default();
                    return Err(refused.unwrap_or(WorkerError::Silent { worker }));
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Decide;
    use crate::policy::lua::{PolicySource, Unit};

    fn generation(id: u64, text: &str) -> Arc<Generation> {
        let program = PolicySource::new("p.lua", text).compile().unwrap();
        Arc::new(Generation::new(id, [Arc::new(Unit::policy(program))]))
    }

    /// Workers on threads; `told` hears what each serves after each job.
    fn start(count: usize, told: mpsc::Sender<(usize, u64, bool)>) -> Workers {
        let (workers, jobs) = mailboxes(count);
        for (index, mut jobs) in jobs.into_iter().enumerate() {
            let told = told.clone();
            std::thread::spawn(move || {
                let env = Env::detached(&[]);
                let seat = Seat::new(&generation(1, "return {}"), &env).unwrap();
                while let Some(job) = jobs.blocking_recv() {
                    job(&seat, &env);
                    let _ = told.send((index, seat.serving(), seat.pin("x").is_some()));
                }
            });
        }
        workers
    }

    #[test]
    fn all_of_them_switch() {
        let (teller, told) = mpsc::channel();
        let workers = start(3, teller);
        let first = generation(1, "return {}");
        workers.publish(&generation(2, "return {}"), None, &first).unwrap();
        drop(workers);
        let last = told.iter().fold([0; 3], |mut last, (index, serving, _)| {
            last[index] = serving;
            last
        });
        assert_eq!(last, [2; 3]);
    }

    #[test]
    fn none_switches_where_one_cannot() {
        // `setup` that works on the first two workers only.
        let (teller, told) = mpsc::channel();
        let workers = start(3, teller);
        let bad = generation(2, "return { setup = function() error('not here') end }");
        let good = generation(2, "return {}");
        let prepared = workers.everywhere({
            let which = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            move |seat, env| {
                let turn = which.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let generation = if turn < 2 { &good } else { &bad };
                seat.prepare(generation, env).map_err(|error| error.to_string())
            }
        });
        assert!(prepared.unwrap_err().to_string().contains("not here"));
        let refused =
            workers.publish(&generation(3, "error('nowhere')"), None, &generation(1, "return {}")).unwrap_err();
        assert!(refused.to_string().contains("p.lua:1: nowhere"), "{refused}");
        drop(workers);
        assert!(told.iter().all(|(_, serving, _)| serving == 1));
    }
}
