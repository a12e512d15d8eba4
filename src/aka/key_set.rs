//! A subscriber's long-term keys and the functions f1 to f5* over them, whichever algorithm set it is.
//!
//! Called by the HSS (vectors, resynchronisation) and by the terminal's card. Lengths are those of IMS AKA
//! (TS 33.203 §6.1): MAC 64 bits, CK and IK 128 bits; only TUAK's RES has a choice.

use super::milenage::{self, Milenage};
use super::sqn::Sqn;
use super::tuak::{self, KeyBits, MacBits, ResBits, Topc, Tuak, TuakKey};
use super::vector::{AkaVector, Amf, Autn, Key128, Rand, Res};
use std::num::NonZeroU8;

/// The algorithm set of a subscriber.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    Milenage,
    Tuak,
}

impl Algorithm {
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Milenage => "milenage",
            Algorithm::Tuak => "tuak",
        }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = KeySetError;

    fn from_str(name: &str) -> Result<Self, KeySetError> {
        match name {
            "milenage" => Ok(Algorithm::Milenage),
            "tuak" => Ok(Algorithm::Tuak),
            _ => Err(KeySetError::UnknownAlgorithm),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeySetError {
    #[error("the algorithm is milenage or tuak")]
    UnknownAlgorithm,
    #[error("K has {0} octets: Milenage takes 16, TUAK 16 or 32")]
    KLength(usize),
    #[error("OP or OPc has {0} octets: Milenage takes 16, TUAK's TOP or TOPc 32")]
    OpLength(usize),
}

/// K and OPc (or TOPc); OP itself is never kept. Zeroised when dropped, Debug is redacted.
#[derive(Clone, Debug)]
pub enum KeySet {
    Milenage {
        k: Key128,
        opc: Key128,
    },
    /// Boxed, so that the others are small.
    Tuak {
        k: Box<TuakKey>,
        topc: Box<Topc>,
        res: ResBits,
        iterations: NonZeroU8,
    },
}

/// RES, CK, IK and AK of one RAND.
pub struct SessionKeys {
    pub res: Res,
    pub ck: Key128,
    pub ik: Key128,
    pub ak: [u8; 6],
}

impl KeySet {
    /// From stored octets: K with OPc (Milenage) or TOPc (TUAK, one iteration, RES of 64 bits).
    pub fn from_opc(algorithm: Algorithm, k: &[u8], opc: &[u8]) -> Result<Self, KeySetError> {
        Ok(match algorithm {
            Algorithm::Milenage => KeySet::Milenage { k: key(k)?, opc: Key128(op(opc)?) },
            Algorithm::Tuak => Self::tuak(tuak_key(k)?, Topc(op(opc)?)),
        })
    }

    /// From K with the operator's OP or TOP, which is turned into OPc or TOPc at once.
    pub fn from_op(algorithm: Algorithm, k: &[u8], operator: &[u8]) -> Result<Self, KeySetError> {
        Ok(match algorithm {
            Algorithm::Milenage => {
                let k = key(k)?;
                let opc = milenage::opc(&k, &op(operator)?);
                KeySet::Milenage { k, opc }
            }
            Algorithm::Tuak => {
                let k = tuak_key(k)?;
                let topc = tuak::topc(&k, &op(operator)?, NonZeroU8::MIN);
                Self::tuak(k, topc)
            }
        })
    }

    fn tuak(k: TuakKey, topc: Topc) -> Self {
        KeySet::Tuak { k: Box::new(k), topc: Box::new(topc), res: ResBits::B64, iterations: NonZeroU8::MIN }
    }

    pub fn algorithm(&self) -> Algorithm {
        match self {
            KeySet::Milenage { .. } => Algorithm::Milenage,
            KeySet::Tuak { .. } => Algorithm::Tuak,
        }
    }

    pub fn k(&self) -> &[u8] {
        match self {
            KeySet::Milenage { k, .. } => &k.0,
            KeySet::Tuak { k, .. } => k.as_bytes(),
        }
    }

    /// OPc or TOPc.
    pub fn opc(&self) -> &[u8] {
        match self {
            KeySet::Milenage { opc, .. } => &opc.0,
            KeySet::Tuak { topc, .. } => &topc.0,
        }
    }

    /// MAC-A.
    pub fn f1(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> [u8; 8] {
        match self {
            KeySet::Milenage { k, opc } => Milenage::new(k, opc).f1(rand, sqn, amf).0,
            KeySet::Tuak { k, topc, iterations, .. } => {
                octets(Tuak::new(k, topc, *iterations).f1(rand, sqn, amf, MacBits::B64).as_bytes())
            }
        }
    }

    /// MAC-S.
    pub fn f1_star(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> [u8; 8] {
        match self {
            KeySet::Milenage { k, opc } => Milenage::new(k, opc).f1(rand, sqn, amf).1,
            KeySet::Tuak { k, topc, iterations, .. } => {
                octets(Tuak::new(k, topc, *iterations).f1_star(rand, sqn, amf, MacBits::B64).as_bytes())
            }
        }
    }

    /// RES, CK, IK, AK.
    pub fn f2345(&self, rand: &Rand) -> SessionKeys {
        match self {
            KeySet::Milenage { k, opc } => milenage_keys(&Milenage::new(k, opc), rand),
            KeySet::Tuak { k, topc, res, iterations } => tuak_keys(&Tuak::new(k, topc, *iterations), rand, *res),
        }
    }

    /// AK*.
    pub fn f5_star(&self, rand: &Rand) -> [u8; 6] {
        match self {
            KeySet::Milenage { k, opc } => Milenage::new(k, opc).f5_star(rand),
            KeySet::Tuak { k, topc, iterations, .. } => Tuak::new(k, topc, *iterations).f5_star(rand),
        }
    }

    /// The vector for this RAND and SQN. RAND must be unpredictable, SQN fresh (see [`super::SqnState`]).
    pub fn generate(&self, rand: Rand, sqn: Sqn, amf: Amf) -> AkaVector {
        let (keys, mac_a) = match self {
            KeySet::Milenage { k, opc } => {
                let milenage = Milenage::new(k, opc); // one key schedule for all five blocks
                (milenage_keys(&milenage, &rand), milenage.f1(&rand, sqn, amf).0)
            }
            KeySet::Tuak { .. } => (self.f2345(&rand), self.f1(&rand, sqn, amf)),
        };
        let SessionKeys { res, ck, ik, ak } = keys;
        AkaVector { rand, autn: Autn::new(sqn, &ak, amf, &mac_a), xres: res, ck, ik }
    }
}

fn milenage_keys(milenage: &Milenage, rand: &Rand) -> SessionKeys {
    let out = milenage.f2345(rand);
    SessionKeys { res: Res::from(&out), ck: Key128(out.ck), ik: Key128(out.ik), ak: out.ak }
}

fn tuak_keys(tuak: &Tuak<'_>, rand: &Rand, res: ResBits) -> SessionKeys {
    let out = tuak.f2345(rand, res, KeyBits::B128, KeyBits::B128);
    let res = match res {
        ResBits::B32 => Res::new(&octets::<4>(out.res.as_bytes())),
        ResBits::B64 => Res::new(&octets::<8>(out.res.as_bytes())),
        ResBits::B128 => Res::new(&octets::<16>(out.res.as_bytes())),
        ResBits::B256 => Res::new(&octets::<32>(out.res.as_bytes())),
    };
    SessionKeys { res, ck: Key128(octets(out.ck.as_bytes())), ik: Key128(octets(out.ik.as_bytes())), ak: out.ak }
}

/// The first `N` octets of an output that was asked for with that length.
fn octets<const N: usize>(from: &[u8]) -> [u8; N] {
    let mut to = [0; N];
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    to
}

fn key(k: &[u8]) -> Result<Key128, KeySetError> {
    k.try_into().map(Key128).map_err(|_| KeySetError::KLength(k.len()))
}

fn tuak_key(k: &[u8]) -> Result<TuakKey, KeySetError> {
    TuakKey::try_from(k).map_err(|_| KeySetError::KLength(k.len()))
}

fn op<const N: usize>(op: &[u8]) -> Result<[u8; N], KeySetError> {
    op.try_into().map_err(|_| KeySetError::OpLength(op.len()))
}
