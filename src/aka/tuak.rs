//! TUAK (TS 35.231): f1, f1*, f2 to f5 and f5* around Keccak-f\[1600\], with every length the specification
//! allows. [`super::KeySet`] uses the lengths that IMS AKA needs, the command line any.

use super::sqn::Sqn;
use super::vector::{Amf, Rand};
use std::num::NonZeroU8;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// ALGONAME of TS 35.231 §6.1.
const NAME: &[u8; 7] = b"TUAK1.0";

/// Length of MAC-A and MAC-S.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MacBits {
    B64,
    B128,
    B256,
}

/// Length of RES.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResBits {
    B32,
    B64,
    B128,
    B256,
}

/// Length of CK or IK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyBits {
    B128,
    B256,
}

/// A length in bits that TUAK does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("TUAK has no {what} of {bits} bits")]
pub struct NoSuchLength {
    pub what: &'static str,
    pub bits: usize,
}

macro_rules! lengths {
    ($type:ident, $what:literal, $($variant:ident = $bits:literal, $instance:literal;)+) => {
        impl $type {
            pub fn octets(self) -> usize {
                match self { $($type::$variant => $bits / 8,)+ }
            }
            /// The bits that stand for this length in INSTANCE (§6.2 to §6.5).
            fn instance(self) -> u8 {
                match self { $($type::$variant => $instance,)+ }
            }
        }
        impl TryFrom<usize> for $type {
            type Error = NoSuchLength;
            fn try_from(bits: usize) -> Result<Self, NoSuchLength> {
                match bits {
                    $($bits => Ok($type::$variant),)+
                    _ => Err(NoSuchLength { what: $what, bits }),
                }
            }
        }
    };
}
lengths!(MacBits, "MAC", B64 = 64, 0x08; B128 = 128, 0x10; B256 = 256, 0x20;);
lengths!(ResBits, "RES", B32 = 32, 0x00; B64 = 64, 0x08; B128 = 128, 0x10; B256 = 256, 0x20;);
// CK's bit of INSTANCE; IK's is the one below it.
lengths!(KeyBits, "key", B128 = 128, 0x00; B256 = 256, 0x04;);

/// K: 128 or 256 bits. Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TuakKey {
    octets: [u8; 32],
    long: bool,
}

impl TuakKey {
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..if self.long { 32 } else { 16 }]
    }
}

impl TryFrom<&[u8]> for TuakKey {
    type Error = NoSuchLength;

    fn try_from(k: &[u8]) -> Result<Self, NoSuchLength> {
        let long = match k.len() {
            16 => false,
            32 => true,
            octets => return Err(NoSuchLength { what: "K", bits: octets.saturating_mul(8) }),
        };
        let mut octets = [0; 32];
        octets[..k.len()].copy_from_slice(k);
        Ok(TuakKey { octets, long })
    }
}

impl std::fmt::Debug for TuakKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TuakKey(…)")
    }
}

/// TOPc, 256 bits. Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Topc(pub [u8; 32]);

impl std::fmt::Debug for Topc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Topc(…)")
    }
}

/// An output of 4 to 32 octets.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Output {
    octets: [u8; 32],
    len: u8,
}

impl Output {
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }
}

/// What f2, f3, f4 and f5 give for one RAND.
pub struct Outputs {
    pub res: Output,
    pub ck: Output,
    pub ik: Output,
    pub ak: [u8; 6],
}

/// K and TOPc of one subscriber, and how often the permutation runs.
pub struct Tuak<'a> {
    k: &'a TuakKey,
    topc: &'a Topc,
    iterations: NonZeroU8,
}

/// TOPc of this subscriber from the operator's TOP (§6.1).
pub fn topc(k: &TuakKey, top: &[u8; 32], iterations: NonZeroU8) -> Topc {
    let out = permuted(k, top, 0, None, iterations);
    let mut topc = Topc([0; 32]);
    take_reversed(&out, 0, &mut topc.0);
    topc
}

impl<'a> Tuak<'a> {
    pub fn new(k: &'a TuakKey, topc: &'a Topc, iterations: NonZeroU8) -> Self {
        Tuak { k, topc, iterations }
    }

    /// MAC-A (§6.2).
    pub fn f1(&self, rand: &Rand, sqn: Sqn, amf: Amf, len: MacBits) -> Output {
        self.mac(0x00, rand, sqn, amf, len)
    }

    /// MAC-S (§6.3).
    pub fn f1_star(&self, rand: &Rand, sqn: Sqn, amf: Amf, len: MacBits) -> Output {
        self.mac(0x80, rand, sqn, amf, len)
    }

    /// RES, CK, IK and AK out of one permutation (§6.4).
    pub fn f2345(&self, rand: &Rand, res: ResBits, ck: KeyBits, ik: KeyBits) -> Outputs {
        let instance = 0x40 | res.instance() | ck.instance() | ik.instance() >> 1;
        let out = self.permuted(instance, rand, [0; 6], Amf([0; 2]));
        Outputs {
            res: output(&out, 0, res.octets()),
            ck: output(&out, 32, ck.octets()),
            ik: output(&out, 64, ik.octets()),
            ak: ak(&out),
        }
    }

    /// AK* (§6.5).
    pub fn f5_star(&self, rand: &Rand) -> [u8; 6] {
        ak(&self.permuted(0xc0, rand, [0; 6], Amf([0; 2])))
    }

    fn mac(&self, function: u8, rand: &Rand, sqn: Sqn, amf: Amf, len: MacBits) -> Output {
        output(&self.permuted(function | len.instance(), rand, sqn.to_octets(), amf), 0, len.octets())
    }

    fn permuted(&self, instance: u8, rand: &Rand, sqn: [u8; 6], amf: Amf) -> Zeroizing<[u8; 200]> {
        permuted(self.k, &self.topc.0, instance, Some((rand, sqn, amf)), self.iterations)
    }
}

/// Fills INOUT and permutes it. Every parameter goes in, and every result comes out, last octet first.
fn permuted(
    k: &TuakKey,
    top: &[u8; 32],
    instance: u8,
    challenge: Option<(&Rand, [u8; 6], Amf)>,
    iterations: NonZeroU8,
) -> Zeroizing<[u8; 200]> {
    let mut inout = Zeroizing::new([0u8; 200]);
    put_reversed(&mut inout, 0, top);
    inout[32] = instance | u8::from(k.long);
    put_reversed(&mut inout, 33, NAME);
    if let Some((rand, sqn, amf)) = challenge {
        put_reversed(&mut inout, 40, &rand.0);
        put_reversed(&mut inout, 56, &amf.0);
        put_reversed(&mut inout, 58, &sqn);
    }
    put_reversed(&mut inout, 64, k.as_bytes());
    // Padding: bits 768 to 772 and 1087; the capacity above stays zero.
    inout[96] = 0x1f;
    inout[135] = 0x80;

    let mut lanes: Zeroizing<[u64; 25]> =
        Zeroizing::new(std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|j| inout[i * 8 + j]))));
    keccak::Keccak::new().with_f1600(|f1600| {
        for _ in 0..iterations.get() {
            f1600(&mut lanes);
        }
    });
    for (octets, lane) in inout.chunks_exact_mut(8).zip(lanes.iter()) {
        octets.copy_from_slice(&lane.to_le_bytes());
    }
    inout
}

fn put_reversed(inout: &mut [u8; 200], at: usize, value: &[u8]) {
    for (to, from) in inout.iter_mut().skip(at).zip(value.iter().rev()) {
        *to = *from;
    }
}

fn take_reversed(inout: &[u8; 200], at: usize, value: &mut [u8]) {
    for (to, from) in value.iter_mut().rev().zip(inout.iter().skip(at)) {
        *to = *from;
    }
}

fn output(inout: &[u8; 200], at: usize, len: usize) -> Output {
    let mut output = Output { octets: [0; 32], len: len as u8 };
    take_reversed(inout, at, &mut output.octets[..len]);
    output
}

fn ak(inout: &[u8; 200]) -> [u8; 6] {
    let mut ak = [0; 6];
    take_reversed(inout, 96, &mut ak);
    ak
}
