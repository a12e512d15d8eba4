//! Authentication and key agreement (TS 33.102 §6.3): Milenage, TUAK, vectors, SQN, resynchronisation (rank 0).
pub mod milenage;
pub mod resync;
pub mod sqn;
pub mod tuak;
pub mod vector;
