//! What is known of the generations, for `imscript generations`, `status` and `metrics`: the loader writes it down, the
//! control socket reads it at any time.

use super::probation::Counts;
use crate::observe::lines::Serving;
use crate::policy::lua::Generation;
use crate::policy::{Cause, Counters, Stage};
use crate::server::control::protocol::Problem;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names of a generation's units in the order in which they are asked.
pub(super) fn names(generation: &Generation) -> String {
    generation.units().iter().map(|(unit, _)| &*unit.name).collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Serving,
    /// For a percentage of the users.
    Canary(u8),
    /// It served, and can be gone back to.
    Kept,
    /// It did not pass its probation.
    Failed,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Serving => "serving",
            State::Canary(_) => "canary",
            State::Kept => "kept",
            State::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Kept {
    generation: Arc<Generation>,
    state: State,
    since: Instant,
    /// It was replaced, and transactions may still hold on to it.
    ending: bool,
}

impl Kept {
    pub(super) fn new(generation: Arc<Generation>, state: State) -> Self {
        Kept { generation, state, since: Instant::now(), ending: false }
    }
}

pub(in crate::server) struct Board {
    /// Oldest first.
    kept: VecDeque<Kept>,
    /// Kept no longer, but not ended.
    leaving: Vec<Arc<Generation>>,
    results: BTreeMap<&'static str, u64>,
    /// Plugins in Rust, which are of no generation.
    natives: Natives,
    /// For those who ask nothing else.
    shown: Serving,
}

/// Names of plugins in Rust, and what has been counted of each.
pub(in crate::server) type Natives = Vec<(Arc<str>, Arc<Counters>)>;

impl Board {
    pub(super) fn new(first: Kept, natives: Natives, shown: Serving) -> Self {
        let results = ["ok", "failed", "rolled_back", "dry_run"].map(|result| (result, 0)).into();
        Board { kept: [first].into(), leaving: Vec::new(), results, natives, shown }
    }

    pub(super) fn count(&mut self, result: &'static str) {
        let count = self.results.entry(result).or_default();
        *count = count.saturating_add(1);
    }

    /// Adds a generation, and lets go of the oldest beyond `most` that does not serve.
    pub(super) fn add(&mut self, new: Kept, most: usize) {
        self.kept.push_back(new);
        self.show();
        while self.kept.len() > most.saturating_add(1) {
            let idle = |kept: &Kept| !matches!(kept.state, State::Serving | State::Canary(_));
            let Some(gone) = self.kept.iter().position(idle).and_then(|at| self.kept.remove(at)) else { return };
            if gone.generation.chains() > 0 {
                self.leaving.push(gone.generation);
            }
        }
    }

    pub(super) fn set(&mut self, id: u64, state: State) {
        for kept in self.kept.iter_mut().filter(|kept| kept.generation.id == id) {
            let serves = |state: State| matches!(state, State::Serving | State::Canary(_));
            kept.ending = serves(kept.state) && !serves(state);
            kept.state = state;
        }
        self.show();
    }

    /// The youngest that serves: one that takes its place is added first.
    fn serving(&self) -> Option<u64> {
        self.kept.iter().rfind(|kept| kept.state == State::Serving).map(|kept| kept.generation.id)
    }

    fn show(&self) {
        let canary = self.kept.iter().rfind(|kept| matches!(kept.state, State::Canary(_)));
        if let Some(serving) = self.serving() {
            self.shown.set(serving, canary.map(|kept| kept.generation.id));
        }
    }

    /// What a rollback goes to: the generation of that number, or the youngest before the one that serves which is not the
    /// same again.
    pub(super) fn target(&self, to: Option<u64>, serving: u64) -> Result<Arc<Generation>, Problem> {
        let refused = |message: String| Problem::new("rollback", message);
        let numbers = || self.kept.iter().map(|kept| kept.generation.id.to_string()).collect::<Vec<_>>().join(", ");
        if to == Some(serving) {
            return Err(refused(format!("generation {serving} serves already")));
        }
        let contents = |generation: &Generation| {
            generation.units().iter().map(|(unit, _)| (unit.name.clone(), unit.digest.clone())).collect::<Vec<_>>()
        };
        let present =
            self.kept.iter().find(|kept| kept.generation.id == serving).map(|kept| contents(&kept.generation));
        let wanted = |kept: &&Kept| match to {
            Some(to) => kept.generation.id == to,
            None => {
                let other = || present.as_ref() != Some(&contents(&kept.generation));
                kept.generation.id < serving && kept.state != State::Failed && other()
            }
        };
        let found = self.kept.iter().rfind(wanted).map(|kept| kept.generation.clone());
        found.ok_or_else(|| match to {
            Some(to) => refused(format!("generation {to} is not kept; kept: {}", numbers())),
            None => refused(format!("no generation before {serving} with other contents is kept; kept: {}", numbers())),
        })
    }

    /// Whether some generation was replaced and has not ended.
    pub(super) fn is_ending(&self) -> bool {
        !self.leaving.is_empty() || self.kept.iter().any(|kept| kept.ending)
    }

    /// Tells of generations whose last transaction is over.
    pub(super) fn note_ended(&mut self) {
        let told = |generation: &Generation| {
            tracing::info!(target: "imscript::policy", generation = generation.id, "has ended with the last of its transactions");
        };
        for kept in self.kept.iter_mut().filter(|kept| kept.ending && kept.generation.chains() == 0) {
            kept.ending = false;
            told(&kept.generation);
        }
        self.leaving.retain(|generation| {
            let ended = generation.chains() == 0;
            if ended {
                told(generation);
            }
            !ended
        });
    }

    pub(in crate::server) fn generations(&self) -> Value {
        let generation = |kept: &Kept| {
            let Counts { calls, faults, .. } = Counts::of(&kept.generation);
            let unit = |(unit, counters): &(Arc<crate::policy::lua::Unit>, Arc<Counters>)| {
                json!({
                    "name": *unit.name, "version": unit.version, "calls": counters.calls(), "faults": counters.total(),
                    "bypassed": counters.bypassed(), "breaker_opened": counters.opened(),
                })
            };
            json!({
                "generation": kept.generation.id,
                "state": kept.state.as_str(),
                "canary": match kept.state { State::Canary(percent) => Some(percent), _ => None },
                "age_s": kept.since.elapsed().as_secs(),
                "calls": calls,
                "faults": faults,
                "chains": kept.generation.chains(),
                "units": kept.generation.units().iter().map(unit).collect::<Vec<_>>(),
            })
        };
        let native = |(name, counters): &(Arc<str>, Arc<Counters>)| {
            json!({
                "name": **name, "calls": counters.calls(), "faults": counters.total(), "slow": counters.slow(),
                "bypassed": counters.bypassed(), "breaker_opened": counters.opened(),
            })
        };
        json!({
            "generations": self.kept.iter().map(generation).collect::<Vec<_>>(),
            "rust_plugins": self.natives.iter().map(native).collect::<Vec<_>>(),
        })
    }

    pub(in crate::server) fn status(&self) -> Value {
        let canary = self.kept.iter().find_map(|kept| match kept.state {
            State::Canary(percent) => Some(json!({ "generation": kept.generation.id, "percent": percent })),
            _ => None,
        });
        json!({ "generation": self.serving(), "canary": canary, "reloads": self.results })
    }

    /// In the Prometheus text format. What is of no generation has the number of the one that serves, as elsewhere.
    pub(in crate::server) fn metrics(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, u64)>| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(text, "{name}{{{labels}}} {value}");
            }
        };
        let generations = self.kept.iter().map(|kept| {
            (
                format!("generation=\"{}\",state=\"{}\"", kept.generation.id, kept.state.as_str()),
                kept.generation.chains() as u64,
            )
        });
        family("imscript_policy_chains", "gauge", "Chains of VMs of a generation, one a worker", generations.collect());
        let now = self.serving().map(|id| format!("generation=\"{id}\",")).unwrap_or_default();
        let results = self.results.iter().map(|(result, count)| (format!("{now}result=\"{result}\""), *count));
        family("imscript_reload_total", "counter", "Reloads by result", results.collect());
        let natives = || self.natives.iter().map(|(name, counters)| (format!("{now}unit=\"{name}\""), counters));
        let units = || {
            let of_generations = self.kept.iter().flat_map(|kept| {
                let id = kept.generation.id;
                kept.generation
                    .units()
                    .iter()
                    .map(move |(unit, counters)| (format!("generation=\"{id}\",unit=\"{}\"", unit.name), counters))
            });
            of_generations.chain(natives())
        };
        let by_stage = || {
            units().flat_map(|(labels, counters)| {
                Stage::ALL.map(|stage| (format!("{labels},stage=\"{}\"", stage.as_str()), stage, counters))
            })
        };
        // A unit has nothing to say at most stages.
        let asked = || by_stage().filter(|(_, stage, counters)| counters.calls_at(*stage) > 0);
        let calls = asked().map(|(labels, stage, counters)| (labels, counters.calls_at(stage))).collect();
        family("imscript_policy_calls_total", "counter", "Calls of a unit's stages", calls);
        let faults = asked().flat_map(|(labels, stage, counters)| {
            let of = |cause: Cause| (format!("{labels},cause=\"{}\"", cause.as_str()), counters.of_at(stage, cause));
            Cause::ALL.map(of)
        });
        family("imscript_policy_faults_total", "counter", "Calls that failed", faults.collect());
        let bypassed = units().map(|(labels, counters)| (labels, counters.bypassed())).collect();
        family("imscript_policy_bypassed_total", "counter", "Calls not made since the breaker was open", bypassed);
        let slow = natives().map(|(labels, counters)| (labels, counters.slow())).collect();
        family("imscript_policy_slow_total", "counter", "Calls of plugins in Rust over 5 ms", slow);
        text
    }
}
