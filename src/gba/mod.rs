//! Generic bootstrapping (TS 33.220): keys, identifiers, the BSF. [`bsf`] is its SIP side to
//! broadcast servers, [`zn`] its Diameter side to NAFs, [`ub`] its HTTP side to terminals.
pub mod bootstrap;
pub mod bsf;
pub mod btid;
pub mod guss;
pub mod kdf;
pub mod naf_id;
pub mod ub;
pub mod zn;
