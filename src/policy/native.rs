//! Plugins in Rust at work (rank 1): [`Maker`] knows how every worker comes by its own instance and where it stands in
//! the chain, [`Native`] is one instance as a member of it.
//!
//! An instance belongs to its worker and not to a generation: a reload puts the same one into the new chain, so what it
//! knows lives as long as the node.

use super::fault::{Cause, Counters, Fault, OnError};
use super::manifest::{self, Neighbour, POLICY};
use super::order;
use super::plugin::{Link, Plugin};
use super::stage::{Question, Stage};
use super::verdict::Opinion;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

/// Why a plugin in Rust is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NativeError {
    #[error("{name:?} is no plugin's name: lower-case words with hyphens between them, and not \"policy\"")]
    Name { name: String },
    #[error("two plugins are named {name:?}")]
    Twice { name: String },
    #[error("a plugin in Rust panicked while it was made: {text}")]
    Panicked { text: String },
}

type Make = Box<dyn Fn() -> Rc<dyn Plugin> + Send + Sync>;

/// Makes the instances of one plugin, one for each worker.
pub struct Maker {
    make: Make,
    name: Arc<str>,
    place: order::Member,
    /// Of all workers and generations.
    counters: Arc<Counters>,
}

impl Maker {
    /// Makes one instance at once, to learn the plugin's name and place; it is dropped again.
    pub fn new<P: Plugin + 'static>(make: impl Fn() -> P + Send + Sync + 'static) -> Result<Maker, NativeError> {
        let place = caught(|| place(&make())).map_err(|text| NativeError::Panicked { text })?;
        if !manifest::is_kebab_case(&place.name) || place.name == POLICY {
            return Err(NativeError::Name { name: place.name });
        }
        let make: Make = Box::new(move || Rc::new(make()));
        Ok(Maker { name: place.name.as_str().into(), place, make, counters: Arc::default() })
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// For [`order::resolve`], beside the members of the other kinds.
    pub fn place(&self) -> &order::Member {
        &self.place
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// This thread's instance.
    pub fn native(&self) -> Result<Native, NativeError> {
        let made = caught(|| Native::of((self.make)(), self.name.clone(), self.counters.clone()));
        made.map_err(|text| NativeError::Panicked { text })
    }
}

fn place(plugin: &dyn Plugin) -> order::Member {
    let neighbours = |names: &[&str]| names.iter().map(|n| Neighbour { name: (*n).to_owned(), line: 0 }).collect();
    order::Member {
        name: plugin.name().to_owned(),
        before: neighbours(plugin.before()),
        after: neighbours(plugin.after()),
        file: format!("plugin {} in Rust", plugin.name()).into(),
    }
}

/// Refuses two plugins of one name, be they in Rust or in Lua.
pub fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), NativeError> {
    let mut seen = std::collections::BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(twice) => Err(NativeError::Twice { name: twice.to_owned() }),
        None => Ok(()),
    }
}

/// One worker's instance of a [`Plugin`]; clones are the same instance.
#[derive(Clone)]
pub struct Native {
    name: Arc<str>,
    stages: [bool; Stage::COUNT],
    on_error: OnError,
    plugin: Rc<dyn Plugin>,
    counters: Arc<Counters>,
}

impl Native {
    /// An instance alone, as a plugin's own tests ask it.
    pub fn new(plugin: impl Plugin + 'static) -> Self {
        let name = plugin.name().into();
        Native::of(Rc::new(plugin), name, Arc::default())
    }

    /// What it says of itself is asked once, where a panic is seen.
    fn of(plugin: Rc<dyn Plugin>, name: Arc<str>, counters: Arc<Counters>) -> Self {
        let stages = Stage::ALL.map(|stage| plugin.stages().contains(&stage));
        Native { name, stages, on_error: plugin.on_error(), plugin, counters }
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

impl Link for Native {
    fn name(&self) -> &str {
        &self.name
    }

    fn answers(&self, stage: Stage) -> bool {
        self.stages[stage as usize]
    }

    /// A panic is a fault like any other; the next call finds the instance as the panic left it.
    fn ask(&self, question: &Question<'_>) -> Result<Option<Opinion>, Fault> {
        caught(|| opinion(&*self.plugin, question)).map_err(|text| Fault {
            unit: self.name.clone(),
            stage: question.stage(),
            cause: Cause::Error,
            message: format!("panicked: {text}"),
        })
    }

    fn on_error(&self) -> OnError {
        self.on_error
    }

    fn interruptible(&self) -> bool {
        false
    }
}

fn opinion(plugin: &dyn Plugin, question: &Question<'_>) -> Option<Opinion> {
    match *question {
        Question::Receive { request, ctx } => plugin.receive(request, ctx).map(Opinion::Receive),
        Question::Register { request, ctx } => plugin.register(request, ctx).map(Opinion::Register),
        Question::Verify { request, ctx } => plugin.verify(request, ctx).map(Opinion::Verify),
        Question::Authorized { request, ctx } => plugin.authorized(request, ctx).map(Opinion::Authorized),
        Question::Broadcast { request, portion, ctx } => {
            plugin.broadcast(request, portion, ctx).map(Opinion::Broadcast)
        }
        Question::Failure { request, failure, portion, ctx } => {
            plugin.failure(request, failure, portion, ctx).map(Opinion::Failure)
        }
        Question::Status { event } => plugin.status(event).map(Opinion::Status),
        Question::Route { request, ctx } => plugin.route(request, ctx).map(Opinion::Route),
        Question::Reply { response, ctx } => plugin.reply(response, ctx).map(Opinion::Reply),
        Question::Finish { outcome, ctx } => {
            plugin.finish(outcome, ctx);
            None
        }
    }
}

/// Runs foreign code; a panic comes back as its text. The panic hook has told the place by then.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(text)
}

fn text(panic: Box<dyn Any + Send>) -> String {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "(no text)",
    };
    text.lines().next().unwrap_or_default().chars().take(LONGEST_TEXT).collect()
}

/// Of a panic's text, in characters.
const LONGEST_TEXT: usize = 200;
