//! What a load run measured.

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
    /// Broadcast states of the 200s.
    pub broadcast: BTreeMap<&'static str, u64>,
    /// From the first REGISTER to its 200, µs.
    pub latency: Option<Histogram<u64>>,
    pub elapsed: Duration,
    /// CPU time of this process meanwhile.
    pub own_cpu: Option<Duration>,
    /// CPU time of the server meanwhile, if its process was named.
    pub server_cpu: Option<Duration>,
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
            own_cpu: None,
            server_cpu: None,
        }
    }
}

impl LoadReport {
    pub(super) fn error(&mut self, kind: impl Into<String>) {
        let count = self.errors.entry(kind.into()).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn took(&mut self, time: Duration) {
        if let Some(latency) = &mut self.latency {
            latency.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST));
        }
    }

    pub(super) fn merge(&mut self, other: LoadReport) {
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

    fn per_registration(&self, cpu: Option<Duration>) -> Option<f64> {
        let each = cpu?.as_secs_f64() * 1e6 / self.registrations as f64;
        each.is_finite().then(|| (each * 100.0).round() / 100.0)
    }

    /// µs of this process per registration.
    pub fn own_cpu_us(&self) -> Option<f64> {
        self.per_registration(self.own_cpu)
    }

    /// µs of the server per registration.
    pub fn server_cpu_us(&self) -> Option<f64> {
        self.per_registration(self.server_cpu)
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
            "max_ms": self.quantile_ms(1.0),
            "own_cpu_us_per_registration": self.own_cpu_us(),
            "server_cpu_us_per_registration": self.server_cpu_us(),
        })
    }
}

/// User and system time of this process with all its threads.
pub(super) fn own_cpu_time() -> Option<Duration> {
    Some(stat("self")?.1)
}

/// The same of another process together with those that it started: servers that fork count as one. None if there is
/// no such process.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let (_, mut sum) = stat(&pid.to_string())?;
    let mut others: Vec<(u32, u32, Duration)> = std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let other: u32 = entry.file_name().to_str()?.parse().ok()?;
            let (parent, time) = stat(&other.to_string())?;
            Some((other, parent, time))
        })
        .collect();
    let mut family = vec![pid];
    while let Some(parent) = family.pop() {
        others.retain(|(other, of, time)| {
            let child = *of == parent;
            if child {
                family.push(*other);
                sum = sum.saturating_add(*time);
            }
            !child
        });
    }
    Some(sum)
}

/// Parent and CPU time from `/proc/PID/stat` (proc(5)). The unit is the kernel's USER_HZ, 1/100 s on every Linux that Rust
/// has a tier 1 target for.
fn stat(pid: &str) -> Option<(u32, Duration)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in parentheses may hold anything; the fields proper follow the last one.
    let fields: Vec<&str> = stat.get(stat.rfind(')')?.checked_add(1)?..)?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number.checked_sub(3)?); // numbered from 1; state is 3
    let time = |number: usize| field(number)?.parse::<u64>().ok();
    let ticks = time(14)?.saturating_add(time(15)?);
    Some((field(4)?.parse().ok()?, Duration::from_millis(ticks.saturating_mul(10))))
}
