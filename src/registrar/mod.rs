//! The registrar and the S-CSCF's REGISTER procedure (rank 2; RFC 3261 §10.3, TS 24.229 §5.4.1).
//!
//! * [`binding`], [`registration`]: contacts and what a REGISTER does to them, pure
//! * [`table`]: who is registered, shared by all workers, with the expiry queue
//! * [`scscf`]: what the procedure needs, one per worker; [`register`] the procedure itself,
//!   [`authenticate`] its challenge and verdict (`trust`: neither), [`leg`] the broadcast leg, [`status`] and [`notice`] who is
//!   told of changes, `pushed` what the HSS begins, `terminating` requests to who is not registered, [`message`] MESSAGEs
//!   between terminal, broadcast server and BSF;
//! * [`keeping`]: how users outlive the process and reach other nodes; `document`, their form in a store
//!
//!   [`bootstrapping`] takes up what was made over Ub; [`subscription`] remembers the HSS's answers; `content` says which bodies are taken

pub mod authenticate;
pub mod binding;
pub mod bootstrapping;
mod challenges;
mod content;
mod document;
mod fail_over;
pub mod keeping;
pub mod leg;
pub mod message;
pub mod notice;
mod outcome;
mod pushed;
pub mod register;
pub mod registration;
mod resume;
mod route;
pub mod scscf;
pub mod status;
pub mod subscription;
pub mod table;
mod terminating;
mod trust;
mod turn;

pub use registration::{Limits, Registration};
pub use scscf::{Scscf, Settings, Shared};
