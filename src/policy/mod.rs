//! Policy: what operators decide. [`stage::Decide`] is the seam; [`lua`] answers it from Lua,
//! [`fixed`] from plain values, and [`defaults`] where nobody has an opinion.

pub mod defaults;
pub mod diagnostic;
pub mod fixed;
pub mod lua;
pub mod stage;
pub mod verdict;

pub use defaults::Defaults;
pub use fixed::FixedPolicy;
pub use stage::{Context, Decide, Kind, PortionView, ServerView, Stage, StatusEvent, System};
