//! The smart card: what a USIM or ISIM does with a challenge (TS 33.102 §6.3.3, annex C.2; TS 31.102 §7.1.2).
//!
//! Called by the terminal's SIP client and by the load generator. The card's memory of sequence numbers,
//! [`SqnArray`], serialises with serde, so that a terminal on the command line stays the same card
//! from one run to the next.

use crate::aka::KeySet;
use crate::aka::resync;
use crate::aka::sqn::{DELTA, IND_COUNT, SEQ_MAX, Sqn};
use crate::aka::vector::{Autn, Auts, Key128, Rand, Res};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

const SLOTS: usize = IND_COUNT as usize;

/// A card: keys, what it has accepted so far, and a setting.
#[derive(Debug, Clone)]
pub struct Usim {
    keys: KeySet,
    sqn: SqnArray,
    refuse_separation_bit: bool,
}

/// What an accepted challenge yields.
#[derive(Debug, Clone)]
pub struct Success {
    pub res: Res,
    pub ck: Key128,
    pub ik: Key128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// AUTN was not made with this card's keys: the network is not ours.
    #[error("MAC-A of AUTN does not verify")]
    MacFailure,
    /// The network is ours but its SQN is stale or too far ahead; AUTS tells it ours.
    #[error("SQN is out of range")]
    SyncFailure(Auts),
    /// A vector for E-UTRAN or 5G in an IMS or GBA context (annex H), refused only if so configured.
    #[error("the AMF separation bit is set")]
    SeparationBit,
}

impl Usim {
    pub fn new(keys: KeySet, sqn: SqnArray) -> Self {
        Usim { keys, sqn, refuse_separation_bit: false }
    }

    /// In TS 33.102 annex H it is the ME on E-UTRAN access that insists on the bit being set; cards for other
    /// access mostly ignore it, and the published test vectors set it freely. So it is accepted by default.
    pub fn refusing_separation_bit(mut self, refuse: bool) -> Self {
        self.refuse_separation_bit = refuse;
        self
    }

    /// To be stored after every [`Usim::authenticate`].
    pub fn sqn(&self) -> &SqnArray {
        &self.sqn
    }

    /// Runs AKA on one challenge. Only success changes the card.
    pub fn authenticate(&mut self, rand: &Rand, autn: &Autn) -> Result<Success, Failure> {
        let keys = self.keys.f2345(rand);
        let sqn = autn.sqn(&keys.ak);
        let expected = self.keys.f1(rand, sqn, autn.amf());
        if !bool::from(expected.ct_eq(&autn.mac_a())) {
            return Err(Failure::MacFailure);
        }
        if self.refuse_separation_bit && autn.amf().separation_bit() {
            return Err(Failure::SeparationBit);
        }
        if !self.sqn.accept(sqn) {
            return Err(Failure::SyncFailure(resync::make_auts(&self.keys, rand, self.sqn.highest())));
        }
        Ok(Success { res: keys.res, ck: keys.ck, ik: keys.ik })
    }
}

/// The highest SEQ accepted for every IND (annex C.2.2). As text: a list of 32 numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct SqnArray([u64; SLOTS]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SqnArrayError {
    #[error("{0} entries: a card has 32")]
    Length(usize),
    #[error("SEQ {0} has more than 43 bits")]
    Seq(u64),
}

impl SqnArray {
    /// A card fresh from the factory.
    pub fn fresh() -> Self {
        SqnArray([0; SLOTS])
    }

    /// A card whose SQN_MS is `sqn`: no lower SEQ is accepted for any IND.
    pub fn at(sqn: Sqn) -> Self {
        let ind = usize::from(sqn.ind());
        SqnArray(std::array::from_fn(|slot| if slot <= ind { sqn.seq() } else { sqn.seq().saturating_sub(1) }))
    }

    /// SQN_MS: the highest SQN accepted so far.
    pub fn highest(&self) -> Sqn {
        let slots = self.0.iter().zip(0u8..).filter_map(|(seq, ind)| Sqn::from_parts(*seq, ind));
        let highest = slots.max().unwrap_or_default();
        if highest.seq() == 0 { Sqn::ZERO } else { highest }
    }

    /// Takes the SQN over if its SEQ is new for its IND and at most Δ above the highest.
    fn accept(&mut self, sqn: Sqn) -> bool {
        let highest = self.highest().seq();
        match self.0.get_mut(usize::from(sqn.ind())) {
            Some(slot) if sqn.seq() > *slot && sqn.seq().saturating_sub(highest) <= DELTA => {
                *slot = sqn.seq();
                true
            }
            _ => false,
        }
    }
}

impl Default for SqnArray {
    fn default() -> Self {
        Self::fresh()
    }
}

impl TryFrom<Vec<u64>> for SqnArray {
    type Error = SqnArrayError;

    fn try_from(entries: Vec<u64>) -> Result<Self, SqnArrayError> {
        if let Some(seq) = entries.iter().find(|seq| **seq > SEQ_MAX) {
            return Err(SqnArrayError::Seq(*seq));
        }
        entries.try_into().map(SqnArray).map_err(|entries: Vec<u64>| SqnArrayError::Length(entries.len()))
    }
}

impl From<SqnArray> for Vec<u64> {
    fn from(array: SqnArray) -> Self {
        array.0.to_vec()
    }
}

#[cfg(test)]
mod tests;
