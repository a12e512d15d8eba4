//! Resynchronisation (TS 33.102 §6.3.3, §6.3.5): AUTS as the card makes it and as the AuC reads it.

use super::key_set::KeySet;
use super::sqn::Sqn;
use super::vector::{Amf, Auts, Rand};
use subtle::ConstantTimeEq;

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResyncError {
    /// Wrong card, wrong RAND or a forgery: nothing may change.
    #[error("MAC-S does not verify")]
    MacS,
}

/// SQN_MS out of AUTS, given only when MAC-S proves that this subscriber's card made it for this RAND.
pub fn sqn_ms(keys: &KeySet, rand: &Rand, auts: &Auts) -> Result<Sqn, ResyncError> {
    let sqn_ms = auts.sqn_ms(&keys.f5_star(rand));
    let expected = keys.f1_star(rand, sqn_ms, Amf::RESYNC);
    if bool::from(expected.ct_eq(&auts.mac_s())) { Ok(sqn_ms) } else { Err(ResyncError::MacS) }
}

/// The AUTS of a card whose highest accepted SQN is `sqn_ms`.
pub fn make_auts(keys: &KeySet, rand: &Rand, sqn_ms: Sqn) -> Auts {
    Auts::new(sqn_ms, &keys.f5_star(rand), &keys.f1_star(rand, sqn_ms, Amf::RESYNC))
}
