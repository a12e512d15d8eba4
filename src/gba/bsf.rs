//! bsf
