//! Generic bootstrapping (TS 33.220): keys, identifiers, the BSF. [`ub`] is its HTTP face to terminals.
pub mod bootstrap;
pub mod bsf;
pub mod btid;
pub mod guss;
pub mod kdf;
pub mod naf_id;
pub mod ub;
