//! The pieces of an authentication vector.
use zeroize::{Zeroize, ZeroizeOnDrop};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rand(pub [u8; 16]);
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Autn(pub [u8; 16]);
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auts(pub [u8; 14]);

/// RES or XRES: 4 to 16 octets (TUAK: up to 32), any values. Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Res {
    octets: [u8; 32],
    len: u8,
}
impl Res {
    pub fn new(octets: &[u8]) -> Self {
        let mut r = Res { octets: [0; 32], len: octets.len() as u8 };
        r.octets[..octets.len()].copy_from_slice(octets);
        r
    }
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len as usize]
    }
}
impl std::fmt::Debug for Res {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Res(…)")
    }
}

/// A 128-bit key (K, OPc, CK, IK). Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key128(pub [u8; 16]);
impl std::fmt::Debug for Key128 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key128(…)")
    }
}

/// RAND, AUTN, XRES, CK, IK as the HSS gives them to the S-CSCF.
#[derive(Clone, Debug)]
pub struct AkaVector {
    pub rand: Rand,
    pub autn: Autn,
    pub xres: Res,
    pub ck: Key128,
    pub ik: Key128,
}
