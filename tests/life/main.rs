//! The life of a node as a program: how it ends while others still want something of it, what the service manager hears,
//! and three nodes that are started anew one after the other.

mod drain;
mod rolling;
#[path = "../support/redis.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
