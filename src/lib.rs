//! imscript: one SIP REGISTER, one AKA run, two registrations.

pub mod aka;
pub mod answer;
pub mod auth;
pub mod broadcast;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gba;
pub mod hss;
pub mod identity;
pub mod notify;
pub mod observe;
pub mod policy;
pub mod registrar;
pub mod server;
pub mod sip;
pub mod terminal;
