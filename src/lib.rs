//! imscript: one SIP REGISTER, one AKA run, two registrations.
//!
//! An IMS application server (S-CSCF, BSF, HSS) that registers a smart-card terminal with the IMS and with a broadcast
//! server, steered by Lua policies. ARCHITECTURE.md tells where things are and who may import whom; the way in for a
//! program that embeds a node is [`server::Node::builder`], for one that decides in Rust [`policy::Decide`].
//!
//! * messages and keys: [`sip`], [`aka`], [`auth`], [`gba`]
//! * the IMS side: [`registrar`], [`hss`]; the broadcast side: [`broadcast`]
//! * deciding: [`policy`]; a node: [`config`], [`server`], [`observe`]; a terminal: [`terminal`]

pub mod aka;
pub mod answer;
pub mod auth;
pub mod broadcast;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gba;
pub mod hss;
pub mod http;
pub mod identity;
pub mod metrics;
pub mod observe;
pub mod policy;
pub mod registrar;
pub mod server;
pub mod sip;
pub mod store;
pub mod terminal;
