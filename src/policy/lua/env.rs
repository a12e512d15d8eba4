//! What surrounds the units of a worker: time, tasks, the configured servers, and the node's services behind the host
//! functions ([`Host`]).

use super::host::Host;
use crate::answer::Task;
use crate::clock::Clock;
use crate::policy::{Native, ServerView};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One worker's surroundings; cheap to clone.
#[derive(Clone)]
pub struct Env {
    pub clock: Clock,
    /// The configured broadcast servers.
    pub servers: Arc<[ServerView]>,
    /// Runs a job on this worker.
    pub spawn: Rc<dyn Fn(Task)>,
    pub sleep: Rc<dyn Fn(Duration) -> Task>,
    /// Timers that `setup` sets run on the first worker only.
    pub first: bool,
    /// Scripts get the same chance again and again: for tests.
    pub seed: Option<u64>,
    pub host: Arc<Host>,
    /// This worker's plugins in Rust, the same for all generations.
    pub natives: Rc<[Native]>,
}

impl Env {
    /// Without a node around it: jobs are dropped, nothing is durable. For checks, and for embedders that ask a policy alone.
    pub fn detached(servers: &[ServerView]) -> Self {
        Env {
            clock: Clock::new(),
            servers: servers.into(),
            spawn: Rc::new(drop),
            sleep: Rc::new(|_| Box::pin(std::future::pending())),
            first: false,
            seed: None,
            host: Arc::default(),
            natives: Rc::new([]),
        }
    }
}
