//! Authentication of SIP requests (rank 1): digest computation, challenges, nonces.
pub mod digest;
pub mod nonce;
