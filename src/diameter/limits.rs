//! Bounds of what is read and written.

/// Largest message and AVP that is read or written.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// AVPs of a message, those in groups counted.
pub const MAX_AVPS: usize = 4096;
/// How deep groups may lie in one another.
pub const MAX_DEPTH: usize = 8;
