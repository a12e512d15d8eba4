//! Policy: what operators decide. [`stage::Decide`] is the seam; [`lua`] answers it from Lua.

pub mod stage;
pub mod verdict;

pub use stage::{Context, Decide, Kind, PortionView, ServerView, StatusEvent, System};
