//! embedded HSS
