//! Policy: what operators decide. [`stage::Decide`] is the seam; [`lua`] answers it from Lua,
//! [`fixed`] from plain values, and [`defaults`] where nobody has an opinion.

pub mod capability;
pub mod conf;
pub mod defaults;
pub mod document;
pub mod fault;
pub mod finding;
pub mod fixed;
pub mod lua;
pub mod manifest;
pub mod order;
pub mod quantity;
pub mod schema;
pub mod stage;
pub mod verdict;
pub mod version;

pub use defaults::Defaults;
pub use fault::OnError;
pub use fixed::FixedPolicy;
pub use stage::{Context, Decide, Kind, PortionView, ServerView, Stage, StatusEvent, System};
