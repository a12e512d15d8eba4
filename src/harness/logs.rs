//! What the units of a test write to the log, caught on its thread.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Lines of one test that are kept.
const MAX_LINES: usize = 10_000;
/// Where the Lua runtime and the chain log to.
const TARGET: &str = "imscript::policy";

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    pub level: String,
    pub unit: String,
    pub text: String,
}

/// The lines so far; filled while [`Logs::during`] runs.
#[derive(Clone, Default)]
pub struct Logs {
    lines: Rc<RefCell<Vec<Line>>>,
    caught: Arc<Mutex<Vec<Line>>>,
}

impl Logs {
    /// Runs `part`; what is logged on this thread meanwhile is caught.
    pub fn during<T>(&self, part: impl FnOnce() -> T) -> T {
        let subscriber = tracing_subscriber::registry().with(Catch(self.caught.clone()));
        tracing::subscriber::with_default(subscriber, part)
    }

    /// The lines since the last time.
    pub fn take(&self) -> Vec<Line> {
        let mut caught = self.caught.lock().unwrap_or_else(PoisonError::into_inner);
        self.lines.borrow_mut().append(&mut caught);
        self.lines.take()
    }
}

struct Catch(Arc<Mutex<Vec<Line>>>);

impl<S: tracing::Subscriber> Layer<S> for Catch {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut line = Line { level: event.metadata().level().as_str().to_ascii_lowercase(), ..Line::default() };
        event.record(&mut Fields(&mut line));
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MAX_LINES {
            lines.push(line);
        }
    }
}

struct Fields<'a>(&'a mut Line);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "unit" => self.0.unit = value.to_owned(),
            "reason" => drop(write!(self.0.text, ": {value}")),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.text.insert_str(0, &format!("{value:?}"));
        }
    }
}
