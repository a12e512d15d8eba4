//! terminal
pub mod usim;
