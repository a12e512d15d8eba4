//! Hot reload of a running node, by the operator's commands: what is taken, what is refused, and that traffic does not
//! notice. docs/reload.md is what is claimed.

#![allow(unreachable_pub)] // modules of one test program

#[path = "../support/mod.rs"]
mod support;

mod canary;
mod files;
mod node;
mod numbered;
mod plugins;
mod refused;
mod rollback;
mod shadow;
mod taken;
mod traffic;
