//! The host API at the level of a plugin: what each function does, and what it refuses.

mod http;
mod https;
mod kept;
mod node;
mod plain;
mod table;
mod timers;
mod world;
