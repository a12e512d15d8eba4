//! Stores: the behaviour that all have in common, and what each has of its own.

mod behaviour;
mod memory;
mod redis;
#[path = "../support/redis.rs"]
mod servers;
mod sqlite;
