//! The node's services behind the host functions ([`Host`]); shared by all workers and generations.

use super::space::Space;
use crate::hss::Hss;
use crate::http::{Client, Fetch};
use crate::metrics::Metrics;
use crate::store::space::{self as store, Spaces};
use dashmap::DashMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Requests of one unit that are under way at a time, on all workers.
const MAX_FLIGHTS: usize = 64;

/// Metrics that one unit may have.
const MAX_METRICS: usize = 32;

pub struct Host {
    pub metrics: Arc<Metrics>,
    store: Arc<Spaces>,
    pub(super) http: Arc<dyn Fetch>,
    pub(super) hss: Option<Arc<dyn Hss>>,
    namespaces: DashMap<Arc<str>, Arc<Namespace>>,
}

/// What all VMs of one unit share, over generations.
pub(super) struct Namespace {
    pub(super) shared: Space,
    pub(super) store: Arc<store::Space>,
    metrics: Mutex<BTreeSet<String>>,
    flights: Arc<AtomicUsize>,
}

/// A request under way.
pub(super) struct Flight(Arc<AtomicUsize>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Namespace {
    /// Whether the unit may have a metric of that name: one that it has, or a few new ones.
    pub(super) fn may_have(&self, metric: &str) -> Result<(), String> {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if metrics.contains(metric) {
            return Ok(());
        }
        if metrics.len() >= MAX_METRICS {
            return Err(format!("there are {MAX_METRICS} metrics of this plugin already"));
        }
        metrics.insert(metric.to_owned());
        Ok(())
    }

    /// None: there are too many already.
    pub(super) fn take_off(&self) -> Option<Flight> {
        let more = |flights| (flights < MAX_FLIGHTS).then_some(flights + 1);
        self.flights.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Flight(self.flights.clone()))
    }
}

impl Host {
    pub fn new(metrics: Arc<Metrics>, store: Arc<Spaces>, hss: Option<Arc<dyn Hss>>) -> Self {
        Host { metrics, store, http: Arc::new(Client::default()), hss, namespaces: DashMap::new() }
    }

    /// Requests go through this instead.
    #[must_use]
    pub fn with_http(mut self, http: Arc<dyn Fetch>) -> Self {
        self.http = http;
        self
    }

    pub(super) fn namespace(&self, unit: &Arc<str>) -> Arc<Namespace> {
        if let Some(namespace) = self.namespaces.get(unit) {
            return namespace.clone();
        }
        let new = || {
            Arc::new(Namespace {
                shared: Space::default(),
                store: self.store.space(unit),
                metrics: Mutex::default(),
                flights: Arc::default(),
            })
        };
        self.namespaces.entry(unit.clone()).or_insert_with(new).clone()
    }
}

/// Nothing is durable, nobody is registered; HTTP goes out if somebody runs the requests.
impl Default for Host {
    fn default() -> Self {
        Host::new(Arc::default(), Spaces::in_memory(), None)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
