//! Generic bootstrapping (TS 33.220): keys, identifiers, the BSF.
pub mod btid;
pub mod kdf;
pub mod naf_id;
