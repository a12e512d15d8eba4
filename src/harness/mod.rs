//! Tests of policies and plugins in the real engine (rank 5): the crate's own parser, transactions, S-CSCF and AKA, around
//! them a network in memory and a clock that is moved by hand.
//!
//! * [`engine`]: time and tasks; [`world`]: the network of one test; [`hss`], [`servers`], [`terminal`] are in it
//! * [`report`]: what came of it, for people, programs and JUnit readers
//!
//! `imscript test` and the reload pipeline call it.

pub mod engine;
pub mod hss;
pub mod report;
pub mod servers;
pub mod terminal;
pub mod world;
