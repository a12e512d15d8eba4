//! The life of a node as a program: how it ends while others still want something of it, what the service manager hears,
//! three nodes that are started anew one after the other, and a wall clock that is set.

mod clock;
mod drain;
mod rolling;
#[path = "../support/redis.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
