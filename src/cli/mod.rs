//! cli
pub mod load;
pub mod terminal;
