//! What survives: kill -9 of a node under load, and several nodes on one Redis cluster whose parts die.

mod cluster;
mod kill;
#[path = "../support/redis.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;
