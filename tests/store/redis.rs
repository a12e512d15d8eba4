//! One Redis server: the common behaviour, and what it has of its own.

use crate::behaviour::{self, Bed, key, load, made, put};
use crate::servers::{self, Server};
use imscript::clock::{Clock, Now};
use imscript::store::redis::{Options, Redis};
use imscript::store::{Class, Due, Entity, Key, Save, Saved, Store, StoreError};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Stores that do not meet: each has a prefix of its own.
pub(crate) struct Bench {
    pub(crate) urls: Vec<String>,
    pub(crate) clock: Clock,
    number: AtomicU32,
}

impl Bench {
    pub(crate) fn new(urls: Vec<String>) -> Self {
        Bench { urls, clock: Clock::new(), number: AtomicU32::new(0) }
    }
}

pub(crate) fn open(urls: &[String], prefix: &str, clock: Clock) -> Redis {
    Redis::open(&Options { urls: urls.to_vec(), prefix: prefix.into(), ca: None }, clock).unwrap()
}

impl Bed for Bench {
    fn store(&self) -> Arc<dyn Store> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Arc::new(open(&self.urls, &format!("t{number}"), self.clock))
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn while_(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn pass(&self, by: Duration) {
        std::thread::sleep(by);
    }
}

#[test]
fn one_server_does_what_a_store_does() {
    if servers::installed() {
        let server = Server::start(&[]);
        behaviour::all(&Bench::new(vec![server.url()]));
    }
}
