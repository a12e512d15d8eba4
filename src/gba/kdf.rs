//! Key derivation (TS 33.220 annex B).
//!
//! Called by the BSF (NAF keys), the broadcast server (MRK) and the terminal, which derives the same keys.

use super::naf_id::NafId;
use crate::aka::vector::{Autn, Key128, Rand};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// FC of the GBA keys (annex B.3).
pub const FC_GBA: u8 = 0x01;

/// Ks = CK || IK. Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Ks(pub [u8; 32]);

impl Ks {
    pub fn new(ck: &Key128, ik: &Key128) -> Self {
        let mut ks = Ks([0; 32]);
        ks.0[..16].copy_from_slice(&ck.0);
        ks.0[16..].copy_from_slice(&ik.0);
        ks
    }
}

impl std::fmt::Debug for Ks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ks(…)")
    }
}

/// A NAF key (Ks_NAF, Ks_ext_NAF or Ks_int_NAF) or MRK, 32 octets. Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KsNaf(pub [u8; 32]);

impl KsNaf {
    /// A value by which two holders can be seen to have the same key, and which says nothing else of it.
    pub fn check_value(&self) -> String {
        use sha2::Digest;
        let hash = sha2::Sha256::new().chain_update(b"imscript key check").chain_update(self.0).finalize();
        hash[..8].iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

impl std::fmt::Debug for KsNaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KsNaf(…)")
    }
}

/// KDF(key, S) = HMAC-SHA-256(key, S) with S = FC || P0 || L0 || P1 || L1 … (annex B.2).
///
/// L has two octets. The messages and names that parameters come from are bounded below that; a longer
/// one has no encoding, and its L saturates.
pub fn kdf(key: &[u8; 32], fc: u8, parameters: &[&[u8]]) -> [u8; 32] {
    let mut mac = new_hmac(key);
    mac.update(&[fc]);
    for parameter in parameters {
        mac.update(parameter);
        mac.update(&length(parameter));
    }
    mac.finalize().into_bytes().into()
}

/// S itself, for people who debug a derivation. It holds nothing secret.
pub fn kdf_input(fc: u8, parameters: &[&[u8]]) -> Vec<u8> {
    let mut s = vec![fc];
    for parameter in parameters {
        s.extend_from_slice(parameter);
        s.extend_from_slice(&length(parameter));
    }
    s
}

fn length(parameter: &[u8]) -> [u8; 2] {
    u16::try_from(parameter.len()).unwrap_or(u16::MAX).to_be_bytes()
}

fn new_hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    // A key no longer than a block is padded with zeros (RFC 2104 §2), so this equals the 32-octet key.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mac = Hmac::new((&block).into());
    block.zeroize();
    mac
}

/// Ks_NAF (GBA_ME) and Ks_ext_NAF (GBA_U): KDF(Ks, "gba-me", RAND, IMPI, NAF_Id).
pub fn ks_naf(ks: &Ks, rand: &Rand, impi: &str, naf: &NafId) -> KsNaf {
    KsNaf(kdf(&ks.0, FC_GBA, &[b"gba-me", &rand.0, impi.as_bytes(), &naf.octets()]))
}

/// Ks_int_NAF: KDF(Ks, "gba-u", RAND, IMPI, NAF_Id).
pub fn ks_int_naf(ks: &Ks, rand: &Rand, impi: &str, naf: &NafId) -> KsNaf {
    KsNaf(kdf(&ks.0, FC_GBA, &[b"gba-u", &rand.0, impi.as_bytes(), &naf.octets()]))
}

/// MRK of MBMS (SRK of BCAST) in GBA_ME: KDF(Ks_NAF, "mbms-mrk") (TS 33.246 annex F).
pub fn mrk(ks_naf: &KsNaf) -> KsNaf {
    KsNaf(kdf(&ks_naf.0, FC_GBA, &[b"mbms-mrk"]))
}

/// AUTN* for a GBA_U-aware card: MAC* = MAC xor the first 8 octets of SHA-1(IK) (TS 33.220 §5.3.2).
pub fn autn_star(autn: &Autn, ik: &Key128) -> Autn {
    let mut star = *autn;
    for (octet, mask) in star.0.iter_mut().skip(8).zip(Sha1::digest(ik.0)) {
        *octet ^= mask;
    }
    star
}
