//! What a load run measured.

use super::process::Usage;
use crate::terminal::registration::BroadcastState;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Latencies are kept up to this, in µs.
const LONGEST: u64 = 120_000_000;

#[derive(Debug, Clone)]
pub struct LoadReport {
    pub registrations: u64,
    pub deregistrations: u64,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    pub retransmissions: u64,
    pub resynchronisations: u64,
    /// Responses that answer nothing outstanding: repetitions, or late ones.
    pub strays: u64,
    /// Broadcast states of the 200s; where terminals ask the broadcast server themselves, what came of it.
    pub broadcast: BTreeMap<&'static str, u64>,
    /// From the first REGISTER, or from when it was due, to its 200 or the broadcast server's answer, µs.
    pub latency: Option<Histogram<u64>>,
    pub elapsed: Duration,
    /// Registrations that failed before anything was measured.
    pub warm_up_errors: u64,
    /// This process meanwhile.
    pub own: Option<Usage>,
    /// The server meanwhile, if its process was named.
    pub server: Option<Usage>,
}

impl Default for LoadReport {
    fn default() -> Self {
        LoadReport {
            registrations: 0,
            deregistrations: 0,
            errors: BTreeMap::new(),
            retransmissions: 0,
            resynchronisations: 0,
            strays: 0,
            broadcast: BTreeMap::new(),
            latency: Histogram::new_with_max(LONGEST, 3).ok(),
            elapsed: Duration::ZERO,
            warm_up_errors: 0,
            own: None,
            server: None,
        }
    }
}

impl LoadReport {
    pub(super) fn error(&mut self, kind: impl Into<String>) {
        let count = self.errors.entry(kind.into()).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn broadcast(&mut self, state: BroadcastState) {
        let count = self.broadcast.entry(state.as_str()).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn took(&mut self, time: Duration) {
        if let Some(latency) = &mut self.latency {
            latency.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST));
        }
    }

    pub(super) fn merge(&mut self, other: LoadReport) {
        self.warm_up_errors += other.warm_up_errors;
        self.registrations += other.registrations;
        self.deregistrations += other.deregistrations;
        self.retransmissions += other.retransmissions;
        self.resynchronisations += other.resynchronisations;
        self.strays += other.strays;
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        for (state, count) in other.broadcast {
            *self.broadcast.entry(state).or_default() += count;
        }
        if let (Some(mine), Some(other)) = (&mut self.latency, &other.latency) {
            let _ = mine.add(other); // both have the same bounds
        }
    }

    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    pub fn per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.registrations as f64 / seconds } else { 0.0 }
    }

    /// Milliseconds that this part of the registrations took at most.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency.as_ref().map_or(0.0, |latency| latency.value_at_quantile(quantile) as f64 / 1000.0)
    }

    fn per_registration(&self, usage: Option<Usage>) -> Option<f64> {
        let each = usage?.cpu.as_secs_f64() * 1e6 / self.registrations as f64;
        each.is_finite().then(|| (each * 100.0).round() / 100.0)
    }

    /// µs of this process per registration.
    pub fn own_cpu_us(&self) -> Option<f64> {
        self.per_registration(self.own)
    }

    /// µs of the server per registration.
    pub fn server_cpu_us(&self) -> Option<f64> {
        self.per_registration(self.server)
    }

    pub fn json(&self) -> Value {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        json!({
            "registrations": self.registrations,
            "deregistrations": self.deregistrations,
            "errors": self.error_count(),
            "errors_by_kind": self.errors,
            "retransmissions": self.retransmissions,
            "resynchronisations": self.resynchronisations,
            "strays": self.strays,
            "broadcast": self.broadcast,
            "seconds": rounded(self.elapsed.as_secs_f64()),
            "registrations_per_second": rounded(self.per_second()),
            "p50_ms": self.quantile_ms(0.5),
            "p90_ms": self.quantile_ms(0.9),
            "p99_ms": self.quantile_ms(0.99),
            "p99_9_ms": self.quantile_ms(0.999),
            "max_ms": self.quantile_ms(1.0),
            "own_cpu_us_per_registration": self.own_cpu_us(),
            "server_cpu_us_per_registration": self.server_cpu_us(),
            "server_memory_octets": self.server.and_then(|server| server.memory),
            "warm_up_errors": self.warm_up_errors,
        })
    }
}
