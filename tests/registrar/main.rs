//! The S-CSCF's REGISTER procedure without sockets (RFC 3261 §10.3, TS 24.229 §5.4.1): authentication, bindings, the
//! broadcast leg, MESSAGEs between terminal and broadcast server. No test sleeps; time is virtual.

mod authentication;
mod bindings;
mod bootstrapped;
mod broadcast;
mod claims;
mod foreign_hss;
mod hss;
mod kept;
mod messages;
mod model;
mod network;
mod phone;
mod policies;
mod route;
mod server_fails;
mod shared_naf;
mod stages;
mod status;
mod trust;
