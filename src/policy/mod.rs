//! Policy: what operators decide. [`stage::Decide`] is the seam that the server asks; a [`chain::Chain`] of members
//! answers it: policies and plugins in Lua ([`lua`]), plugins in Rust ([`plugin::Plugin`]). [`fixed`] answers from plain
//! values, [`defaults`] where nobody has an opinion.

mod breaker;
pub mod capability;
pub mod chain;
pub mod conf;
pub mod defaults;
pub mod diagnostic;
pub mod document;
pub mod fault;
pub mod finding;
pub mod fixed;
pub mod lua;
pub mod manifest;
pub mod native;
pub mod order;
pub mod plugin;
pub mod quantity;
pub mod record;
pub mod schema;
pub mod stage;
pub(crate) mod throttle;
pub mod verdict;
pub mod version;
pub mod words;

pub use chain::Chain;
pub use defaults::Defaults;
pub use fault::{Cause, Counters, Fault, OnError};
pub use fixed::FixedPolicy;
pub use native::Native;
pub use plugin::{Link, Plugin};
pub use stage::{
    Context, Decide, FailureView, Kind, Outcome, PortionView, Question, ServerView, Stage, StatusEvent, System,
};
