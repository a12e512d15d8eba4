//! The node's trace: events of the target `ladder` and SIP messages, one JSON line each.

use super::event::{Event, What};
use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Writes a node's events; cheap to clone, shared by its workers.
#[derive(Clone)]
pub struct Tracer {
    node: Arc<str>,
    out: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Tracer {
    /// `path`: a file to append to, or `-` for standard output.
    pub fn open(node: &str, path: &Path) -> std::io::Result<Self> {
        let out: Box<dyn Write + Send> = if path.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else {
            Box::new(std::fs::OpenOptions::new().create(true).append(true).open(path)?)
        };
        Ok(Self::new(node, out))
    }

    pub fn new(node: &str, out: Box<dyn Write + Send>) -> Self {
        Tracer { node: node.into(), out: Arc::new(Mutex::new(out)) }
    }

    pub fn message(&self, sent: bool, transport: &str, peer: SocketAddr, bytes: &[u8]) {
        if let Some(what) = What::of_message(sent, transport, peer, bytes) {
            self.write(what);
        }
    }

    pub fn write(&self, what: What) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let event = Event { at, node: self.node.to_string(), what };
        let Ok(mut line) = serde_json::to_string(&event) else { return };
        line.push('\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A trace that cannot be written must not harm what it watches.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// Catches the `ladder` events of domain code.
pub struct LadderLayer(pub Tracer);

impl<S: tracing::Subscriber> Layer<S> for LadderLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "ladder" {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let what = format!("{}{}", fields.what, fields.rest);
        self.0.write(match (fields.from, fields.to) {
            (Some(from), Some(to)) => What::Call { from, to, what },
            _ => What::State { role: fields.at.unwrap_or_default(), what },
        });
    }
}

#[derive(Default)]
struct Fields {
    from: Option<String>,
    to: Option<String>,
    at: Option<String>,
    what: String,
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "from" => self.from = Some(value.into()),
            "to" => self.to = Some(value.into()),
            "at" => self.at = Some(value.into()),
            "what" => self.what = value.into(),
            name => drop(write!(self.rest, " {name}={value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.rest, " {}={value:?}", field.name());
    }
}
