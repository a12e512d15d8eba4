//! Diameter (RFC 6733): the codec over octets and its dictionary.
//!
//! rank 0: [`avp`], [`message`], [`dictionary`], [`fault`], [`zn`]: values and octets, no I/O, no clock; rank 1: [`exchange`], the seam to
//! those who have the connections, [`applications`], and [`peer`], the life of a peer; rank 3: [`node`], which has the connections.

pub mod applications;
pub mod avp;
pub mod dictionary;
pub mod exchange;
pub mod fault;
mod limits;
pub mod message;
pub mod node;
pub mod peer;
mod write;
pub mod zn;

pub use avp::{Avp, Avps, Def, Kind};
pub use fault::{Fault, ResultCode};
pub use limits::{MAX_AVPS, MAX_DEPTH, MAX_MESSAGE};
pub use message::{Header, Message, frame_len};
pub use write::{Origin, TooLong, Writer, answer_to, refusal_of, request};

#[cfg(test)]
mod tests;
