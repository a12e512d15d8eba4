//! What survives: kill -9 of a node under load, several nodes on one Redis cluster whose parts die, and two nodes that are
//! asked about the same users at the same time.

mod cluster;
mod kill;
#[path = "../support/redis.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod two;
