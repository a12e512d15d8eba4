//! Milenage (TS 35.206): f1, f1*, f2 to f5 and f5* around AES-128. Called by [`super::KeySet`].

use super::sqn::Sqn;
use super::vector::{Amf, Key128, Rand, Res};
use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::Zeroize;

/// K's key schedule and OPc, for the length of one computation.
pub struct Milenage {
    aes: Aes128,
    opc: [u8; 16],
}

/// What f2, f3, f4 and f5 give for one RAND.
pub struct Outputs {
    pub res: [u8; 8],
    pub ck: [u8; 16],
    pub ik: [u8; 16],
    pub ak: [u8; 6],
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.res.zeroize();
        self.ck.zeroize();
        self.ik.zeroize();
        self.ak.zeroize();
    }
}

impl Drop for Milenage {
    fn drop(&mut self) {
        self.opc.zeroize();
    }
}

/// OPc = OP xor E_K(OP) (TS 35.206 §4.1). It can be stored instead of OP and does not reveal it.
pub fn opc(k: &Key128, op: &[u8; 16]) -> Key128 {
    Key128(xor(&encrypt(&Aes128::new((&k.0).into()), *op), op))
}

impl Milenage {
    pub fn new(k: &Key128, opc: &Key128) -> Self {
        Milenage { aes: Aes128::new((&k.0).into()), opc: opc.0 }
    }

    /// MAC-A (f1) and MAC-S (f1*): the two halves of OUT1.
    pub fn f1(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> ([u8; 8], [u8; 8]) {
        let sqn = sqn.to_octets();
        let in1: [u8; 16] = std::array::from_fn(|i| if i % 8 < 6 { sqn[i % 8] } else { amf.0[i % 8 - 6] });
        // r1 = 64 bits, c1 = 0; f1 alone adds TEMP after the rotation.
        let block = xor(&rotated(xor(&in1, &self.opc), 8), &self.temp(rand));
        let out = xor(&encrypt(&self.aes, block), &self.opc);
        (std::array::from_fn(|i| out[i]), std::array::from_fn(|i| out[8 + i]))
    }

    /// RES (f2), CK (f3), IK (f4), AK (f5).
    pub fn f2345(&self, rand: &Rand) -> Outputs {
        let temp = self.temp(rand);
        let out2 = self.out(&temp, 0, 1);
        Outputs {
            res: std::array::from_fn(|i| out2[8 + i]),
            ck: self.out(&temp, 4, 2),
            ik: self.out(&temp, 8, 4),
            ak: std::array::from_fn(|i| out2[i]),
        }
    }

    /// AK of f5 alone: the card unmasks SQN with it before it computes anything else.
    pub fn f5(&self, rand: &Rand) -> [u8; 6] {
        let out2 = self.out(&self.temp(rand), 0, 1);
        std::array::from_fn(|i| out2[i])
    }

    /// AK* (f5*), which masks SQN_MS in AUTS.
    pub fn f5_star(&self, rand: &Rand) -> [u8; 6] {
        let out5 = self.out(&self.temp(rand), 12, 8);
        std::array::from_fn(|i| out5[i])
    }

    /// TEMP = E_K(RAND xor OPc).
    fn temp(&self, rand: &Rand) -> [u8; 16] {
        encrypt(&self.aes, xor(&rand.0, &self.opc))
    }

    /// OUT2 to OUT5: E_K(rot(TEMP xor OPc, r) xor c) xor OPc, the rotation given in octets (§4.1).
    fn out(&self, temp: &[u8; 16], rotation: usize, constant: u8) -> [u8; 16] {
        let mut block = rotated(xor(temp, &self.opc), rotation);
        block[15] ^= constant;
        xor(&encrypt(&self.aes, block), &self.opc)
    }
}

fn encrypt(aes: &Aes128, block: [u8; 16]) -> [u8; 16] {
    let mut block = block.into();
    aes.encrypt_block(&mut block);
    block.into()
}

fn xor(a: &[u8; 16], b: &[u8; 16]) -> [u8; 16] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// Cyclic rotation towards the most significant bit.
fn rotated(mut block: [u8; 16], octets: usize) -> [u8; 16] {
    block.rotate_left(octets);
    block
}

impl From<&Outputs> for Res {
    fn from(outputs: &Outputs) -> Self {
        Res::new(&outputs.res)
    }
}
