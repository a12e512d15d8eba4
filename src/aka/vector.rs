//! The pieces of an authentication vector (TS 33.102 §6.3.2) and of its answers.

use super::sqn::Sqn;
use zeroize::{Zeroize, ZeroizeOnDrop};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rand(pub [u8; 16]);

/// AUTN = (SQN xor AK) || AMF || MAC-A.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Autn(pub [u8; 16]);

impl Autn {
    pub fn new(sqn: Sqn, ak: &[u8; 6], amf: Amf, mac_a: &[u8; 8]) -> Self {
        let mut octets = [0; 16];
        octets[..6].copy_from_slice(&masked(&sqn.to_octets(), ak));
        octets[6..8].copy_from_slice(&amf.0);
        octets[8..].copy_from_slice(mac_a);
        Autn(octets)
    }

    /// The SQN under the mask `ak`.
    pub fn sqn(&self, ak: &[u8; 6]) -> Sqn {
        Sqn::from_octets(masked(&take(&self.0, 0), ak))
    }

    pub fn amf(&self) -> Amf {
        Amf(take(&self.0, 6))
    }

    pub fn mac_a(&self) -> [u8; 8] {
        take(&self.0, 8)
    }
}

/// AUTS = (SQN_MS xor AK*) || MAC-S (TS 33.102 §6.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auts(pub [u8; 14]);

impl Auts {
    pub fn new(sqn_ms: Sqn, ak_star: &[u8; 6], mac_s: &[u8; 8]) -> Self {
        let mut octets = [0; 14];
        octets[..6].copy_from_slice(&masked(&sqn_ms.to_octets(), ak_star));
        octets[6..].copy_from_slice(mac_s);
        Auts(octets)
    }

    /// The SQN_MS under the mask `ak_star`; worth nothing before MAC-S is verified.
    pub(super) fn sqn_ms(&self, ak_star: &[u8; 6]) -> Sqn {
        Sqn::from_octets(masked(&take(&self.0, 0), ak_star))
    }

    pub(super) fn mac_s(&self) -> [u8; 8] {
        take(&self.0, 6)
    }
}

/// Authentication management field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amf(pub [u8; 2]);

impl Amf {
    /// What IMS AKA and GBA use: all zero, so the separation bit is clear.
    pub const IMS: Amf = Amf([0, 0]);
    /// MAC-S is always computed over this one (TS 33.102 §6.3.3).
    pub const RESYNC: Amf = Amf([0, 0]);

    /// Bit 0, set only in vectors for E-UTRAN and 5G (TS 33.102 annex H).
    pub fn separation_bit(self) -> bool {
        self.0[0] & 0x80 != 0
    }
}

/// RES or XRES: 4 to 16 octets (TUAK: up to 32), any values. Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Res {
    octets: [u8; 32],
    len: u8,
}

/// A RES is 4 to 32 octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("RES of {0} octets: 4 to 32 are possible")]
pub struct ResLength(pub usize);

impl Res {
    /// From an array whose length is known when compiling; received octets go through `TryFrom<&[u8]>`.
    pub fn new<const N: usize>(octets: &[u8; N]) -> Self {
        const { assert!(N >= 4 && N <= 32, "RES is 4 to 32 octets") };
        let mut res = Res { octets: [0; 32], len: N as u8 };
        res.octets[..N].copy_from_slice(octets);
        res
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }
}

impl TryFrom<&[u8]> for Res {
    type Error = ResLength;

    fn try_from(octets: &[u8]) -> Result<Self, ResLength> {
        if !(4..=32).contains(&octets.len()) {
            return Err(ResLength(octets.len()));
        }
        let mut res = Res { octets: [0; 32], len: octets.len() as u8 };
        res.octets[..octets.len()].copy_from_slice(octets);
        Ok(res)
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

fn masked(sqn: &[u8; 6], mask: &[u8; 6]) -> [u8; 6] {
    std::array::from_fn(|i| sqn[i] ^ mask[i])
}

/// `N` octets of `from` beginning at `at`; callers stay within the fixed layouts above.
fn take<const N: usize, const M: usize>(from: &[u8; M], at: usize) -> [u8; N] {
    std::array::from_fn(|i| from[at + i])
}
