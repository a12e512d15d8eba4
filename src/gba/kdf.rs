//! Key derivation (TS 33.220 annex B).
use super::naf_id::NafId;
use crate::aka::vector::{Key128, Rand};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Ks = CK || IK. Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Ks(pub [u8; 32]);
impl Ks {
    pub fn new(ck: &Key128, ik: &Key128) -> Self {
        let _ = (ck, ik);
        todo!()
    }
}
impl std::fmt::Debug for Ks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ks(…)")
    }
}

/// A NAF key (Ks_NAF, Ks_ext_NAF or Ks_int_NAF), 32 octets. Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KsNaf(pub [u8; 32]);
impl std::fmt::Debug for KsNaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KsNaf(…)")
    }
}

/// Ks_NAF (GBA_ME) and Ks_ext_NAF (GBA_U): KDF(Ks, "gba-me", RAND, IMPI, NAF_Id).
pub fn ks_naf(ks: &Ks, rand: &Rand, impi: &str, naf: &NafId) -> KsNaf {
    let _ = (ks, rand, impi, naf);
    todo!()
}
/// Ks_int_NAF: KDF(Ks, "gba-u", RAND, IMPI, NAF_Id).
pub fn ks_int_naf(ks: &Ks, rand: &Rand, impi: &str, naf: &NafId) -> KsNaf {
    let _ = (ks, rand, impi, naf);
    todo!()
}
