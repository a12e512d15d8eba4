//! Authentication and key agreement (TS 33.102 §6.3): Milenage, TUAK, vectors, SQN, resynchronisation (rank 0).
//!
//! The HSS keeps a [`KeySet`] per subscriber and calls [`KeySet::generate`]; the terminal's card uses the
//! same functions from the other side. `milenage` and `tuak` are the two algorithm sets underneath.

pub mod key_set;
pub mod milenage;
pub mod resync;
pub mod sqn;
pub mod tuak;
pub mod vector;

pub use key_set::{Algorithm, KeySet, KeySetError};
pub use sqn::{Sqn, SqnClock, SqnError, SqnState};
pub use vector::{AkaVector, Amf, Autn, Auts, Key128, Rand, Res};
