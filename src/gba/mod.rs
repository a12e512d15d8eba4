//! Generic bootstrapping (TS 33.220): keys, identifiers, the BSF.
pub mod bootstrap;
pub mod bsf;
pub mod btid;
pub mod kdf;
pub mod naf_id;
