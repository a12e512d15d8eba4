//! What is counted of a peer, for `imscript metrics` and `imscript diameter peers`.

use crate::diameter::ResultCode;
use crate::diameter::dictionary::{application, command};
use crate::diameter::peer::Standing;
use crate::metrics::{Counter, Gauge, Histogram, Metrics, SECONDS};
use crate::shelf::Hasher;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Handles kept by one peer; what goes beyond is looked up each time.
const MAX_KEPT: usize = 256;

/// Application and command code.
type Command = (u32, u32);

pub(super) struct Meters {
    metrics: Arc<Metrics>,
    peer: String,
    standing: Gauge,
    waiting: Gauge,
    connects: Counter,
    sent: HashMap<Command, (Counter, Histogram), Hasher>,
    results: HashMap<(bool, Command, Option<ResultCode>), Counter, Hasher>,
    pub(super) totals: Totals,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) timeouts: u64,
    pub(super) served: u64,
    pub(super) connects: u64,
}

impl Meters {
    pub(super) fn new(metrics: Arc<Metrics>, peer: &str) -> Self {
        let labels = [("peer", peer)];
        let help = "Diameter peers: 0 down, 1 suspect, 2 on probation, 3 up";
        let standing = metrics.gauge("imscript_diameter_peer_standing", help, &labels).unwrap_or_default();
        let help = "Diameter requests that wait for an answer";
        let waiting = metrics.gauge("imscript_diameter_waiting", help, &labels).unwrap_or_default();
        let help = "Diameter connections that were opened, either way";
        let connects = metrics.counter("imscript_diameter_connects_total", help, &labels).unwrap_or_default();
        let (sent, results) = (HashMap::default(), HashMap::default());
        Meters { peer: peer.to_owned(), metrics, standing, waiting, connects, sent, results, totals: Totals::default() }
    }

    pub(super) fn standing(&self, standing: Standing) {
        self.standing.set(match standing {
            Standing::Down => 0.0,
            Standing::Suspect => 1.0,
            Standing::Probation => 2.0,
            Standing::Up => 3.0,
        });
    }

    pub(super) fn waiting(&self, waiting: usize) {
        self.waiting.set(waiting as f64);
    }

    pub(super) fn connected(&mut self) {
        self.totals.connects += 1;
        self.connects.add(1);
    }

    pub(super) fn sent(&mut self, command: Command) {
        self.totals.sent += 1;
        self.of(command).0.add(1);
    }

    pub(super) fn answered(&mut self, command: Command, result: Option<ResultCode>, after: Duration) {
        self.totals.answered += 1;
        self.of(command).1.observe(after.as_secs_f64());
        self.result(true, command, result);
    }

    pub(super) fn timed_out(&mut self, command: Command) {
        self.totals.timeouts += 1;
        let name = name(command);
        let labels = [("peer", self.peer.as_str()), ("command", name.as_str())];
        let help = "Diameter requests that a peer did not answer in time";
        if let Ok(counter) = self.metrics.counter("imscript_diameter_timeouts_total", help, &labels) {
            counter.add(1);
        }
    }

    /// A request of the peer's.
    pub(super) fn served(&mut self, command: Command, result: Option<ResultCode>) {
        self.totals.served += 1;
        self.result(false, command, result);
    }

    fn of(&mut self, command: Command) -> &(Counter, Histogram) {
        // What we send are commands that we know, so these are few.
        self.sent.entry(command).or_insert_with(|| {
            let name = name(command);
            let labels = [("peer", self.peer.as_str()), ("command", name.as_str())];
            let help = "Diameter requests sent";
            let sent = self.metrics.counter("imscript_diameter_requests_total", help, &labels).unwrap_or_default();
            let help = "Time until a Diameter request is answered";
            let took = self.metrics.histogram("imscript_diameter_answer_seconds", help, &labels, &SECONDS);
            (sent, took.unwrap_or_default())
        })
    }

    fn result(&mut self, received: bool, command: Command, result: Option<ResultCode>) {
        let key = (received, command, result);
        if let Some(counter) = self.results.get(&key) {
            return counter.add(1);
        }
        let (command, result) = (name(command), result.map_or_else(|| "none".to_owned(), label));
        let labels = [("peer", self.peer.as_str()), ("command", command.as_str()), ("result", result.as_str())];
        let counter = match received {
            true => self.metrics.counter("imscript_diameter_answers_total", "Diameter answers received", &labels),
            false => self.metrics.counter("imscript_diameter_served_total", "Diameter requests answered", &labels),
        };
        let counter = counter.unwrap_or_default();
        counter.add(1);
        if self.results.len() < MAX_KEPT {
            self.results.insert(key, counter);
        }
    }
}

/// `Cx-MA`, as in MAR and MAA; what is not in the dictionary is all one.
fn name((application, code): Command) -> String {
    match (application::name(application), command::name(application, code)) {
        (Some(application), Some((_, command))) => format!("{application}-{command}"),
        _ => "other".to_owned(),
    }
}

/// `2001`; of a vendor `10415:5001`.
fn label(result: ResultCode) -> String {
    match result {
        ResultCode::Base(code) => code.to_string(),
        ResultCode::Experimental { vendor, code } => format!("{vendor}:{code}"),
    }
}
