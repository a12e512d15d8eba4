//! Stores: the behaviour that all have in common, and what each has of its own.

mod behaviour;
mod disk;
mod faults;
mod memory;
mod program;
mod redis;
mod redis_cluster;
#[path = "../support/redis.rs"]
mod servers;
mod sqlite;
