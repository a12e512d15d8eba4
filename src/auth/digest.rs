//! Digest responses: MD5, SHA-256 (RFC 7616, RFC 8760), AKAv1-MD5 (RFC 3310), AKAv2-MD5 (RFC 4169), AKAv2-SHA-256 (TS 33.203).
//!
//! Called by the registrar to verify, by the terminal to answer, and for Digest on Ua. Everything is octets:
//! RES may hold any value, and nonce, uri and cnonce count exactly as they were sent.

use crate::aka::vector::{Key128, Res};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What RFC 4169 §3 feeds to the PRF for the password.
const AKAV2_PASSWORD: &[u8] = b"http-digest-akav2-password";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Akav1Md5,
    Akav2Md5,
    Akav2Sha256,
    Md5,
    Sha256,
}

impl Algorithm {
    const ALL: [Algorithm; 5] =
        [Algorithm::Akav1Md5, Algorithm::Akav2Md5, Algorithm::Akav2Sha256, Algorithm::Md5, Algorithm::Sha256];

    /// The token of the `algorithm` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Akav1Md5 => "AKAv1-MD5",
            Algorithm::Akav2Md5 => "AKAv2-MD5",
            Algorithm::Akav2Sha256 => "AKAv2-SHA-256",
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// Any case; None if unknown.
    pub fn from_bytes(token: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str().as_bytes().eq_ignore_ascii_case(token))
    }

    pub fn is_aka(self) -> bool {
        matches!(self, Algorithm::Akav1Md5 | Algorithm::Akav2Md5 | Algorithm::Akav2Sha256)
    }
}

/// The digest password: octets, not text; or in its place HA1, the hash of user, realm and password. Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password {
    octets: Vec<u8>,
    /// The algorithm whose HA1 this is.
    #[zeroize(skip)]
    hashed: Option<Algorithm>,
}

impl Password {
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Password { octets: octets.into(), hashed: None }
    }

    /// HA1 in hexadecimal: good for this user, realm and algorithm alone. None: it is no hash of this algorithm.
    pub fn ha1(algorithm: Algorithm, hex: &str) -> Option<Self> {
        let digits = match algorithm {
            Algorithm::Md5 => 32,
            Algorithm::Sha256 => 64,
            _ => return None,
        };
        let sound = hex.len() == digits && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        sound.then(|| Password { octets: hex.to_ascii_lowercase().into_bytes(), hashed: Some(algorithm) })
    }

    /// What a response that carries `auts` is computed with (RFC 3310 §3.4).
    pub fn empty() -> Self {
        Password::new(Vec::new())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.octets
    }

    /// The algorithm of an HA1; None: it is the password itself.
    pub fn hashed(&self) -> Option<Algorithm> {
        self.hashed
    }

    /// Whether it is of use under `algorithm`.
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.hashed.is_none_or(|hashed| hashed == algorithm)
    }

    /// The password that AKA gives for `algorithm`: RES itself, or the base64 of the PRF over RES||IK||CK.
    pub fn from_aka(algorithm: Algorithm, res: &Res, ik: &Key128, ck: &Key128) -> Self {
        let prf = match algorithm {
            Algorithm::Akav2Md5 => hmac_of::<Hmac<Md5>>(res, ik, ck),
            Algorithm::Akav2Sha256 => hmac_of::<Hmac<Sha256>>(res, ik, ck),
            Algorithm::Akav1Md5 | Algorithm::Md5 | Algorithm::Sha256 => return Password::new(res.as_bytes()),
        };
        Password::new(STANDARD.encode(prf.as_slice()))
    }
}

fn hmac_of<M: Mac + KeyInit>(res: &Res, ik: &Key128, ck: &Key128) -> Zeroizing<Vec<u8>> {
    let key = Zeroizing::new([res.as_bytes(), &ik.0, &ck.0].concat());
    // HMAC takes a key of any length, so this is always Ok.
    let prf = <M as KeyInit>::new_from_slice(&key).map(|mac| mac.chain_update(AKAV2_PASSWORD).finalize());
    Zeroizing::new(prf.map(|prf| prf.into_bytes().to_vec()).unwrap_or_default())
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Everything of a digest but the password.
#[derive(Debug, Clone, Copy)]
pub struct Digest<'a> {
    pub algorithm: Algorithm,
    pub username: &'a [u8],
    pub realm: &'a [u8],
    pub method: &'a [u8],
    pub uri: &'a [u8],
    pub nonce: &'a [u8],
    pub qop: Option<Qop<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Qop<'a> {
    /// As sent: "auth" or "auth-int"
    pub kind: QopKind,
    /// As sent, 8 hex digits
    pub nc: &'a [u8],
    pub cnonce: &'a [u8],
    /// Entity body, hashed for auth-int
    pub body: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QopKind {
    Auth,
    AuthInt,
}

impl QopKind {
    pub fn as_str(self) -> &'static str {
        match self {
            QopKind::Auth => "auth",
            QopKind::AuthInt => "auth-int",
        }
    }

    /// Any case; None if unknown.
    pub fn from_bytes(token: &[u8]) -> Option<Self> {
        [QopKind::Auth, QopKind::AuthInt].into_iter().find(|q| q.as_str().as_bytes().eq_ignore_ascii_case(token))
    }
}

impl Digest<'_> {
    /// The `response` value, lower-case hex (32 or 64 digits).
    pub fn response(&self, password: &Password) -> String {
        self.compute(self.method, password).as_str().to_owned()
    }

    /// Compares a received `response` in constant time after checking that it is hex of the right length.
    pub fn verify(&self, password: &Password, response: &[u8]) -> bool {
        let expected = self.compute(self.method, password);
        let expected = expected.as_str().as_bytes();
        if response.len() != expected.len() || !response.iter().all(u8::is_ascii_hexdigit) {
            return false;
        }
        let mut lower = [0; Hex::DIGITS];
        let lower = &mut lower[..response.len()];
        lower.copy_from_slice(response);
        lower.make_ascii_lowercase();
        bool::from(lower.ct_eq(expected))
    }

    /// `rspauth` of Authentication-Info: as response, with an empty method in A2 (RFC 7616 §3.5).
    pub fn rspauth(&self, password: &Password) -> String {
        self.compute(b"", password).as_str().to_owned()
    }

    fn compute(&self, method: &[u8], password: &Password) -> Hex {
        match self.algorithm {
            Algorithm::Akav1Md5 | Algorithm::Akav2Md5 | Algorithm::Md5 => self.compute_with::<Md5>(method, password),
            Algorithm::Akav2Sha256 | Algorithm::Sha256 => self.compute_with::<Sha256>(method, password),
        }
    }

    /// RFC 7616 §3.4.1 to §3.4.3.
    fn compute_with<H: sha2::Digest>(&self, method: &[u8], password: &Password) -> Hex {
        let ha1 = match password.hashed {
            Some(_) => Hex::of_digits(password.as_bytes()),
            None => hash::<H>(&[self.username, self.realm, password.as_bytes()]),
        };
        let Some(qop) = self.qop else {
            let ha2 = hash::<H>(&[method, self.uri]);
            return hash::<H>(&[ha1.as_bytes(), self.nonce, ha2.as_bytes()]);
        };
        let ha2 = match qop.kind {
            QopKind::Auth => hash::<H>(&[method, self.uri]),
            QopKind::AuthInt => hash::<H>(&[method, self.uri, hash::<H>(&[qop.body]).as_bytes()]),
        };
        let kind = qop.kind.as_str().as_bytes();
        hash::<H>(&[ha1.as_bytes(), self.nonce, qop.nc, qop.cnonce, kind, ha2.as_bytes()])
    }
}

/// What an S-CSCF is given instead of a password (TS 29.228 §6.3): good for this realm, MD5.
pub fn ha1(username: &str, realm: &str, password: &Password) -> Zeroizing<String> {
    let hex = hash::<Md5>(&[username.as_bytes(), realm.as_bytes(), password.as_bytes()]);
    Zeroizing::new(hex.as_str().to_owned())
}

/// The hash of `parts` joined with colons, in hexadecimal.
fn hash<H: sha2::Digest>(parts: &[&[u8]]) -> Hex {
    let mut hash = H::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    Hex::new(&hash.finalize())
}

/// A hash in lower-case hexadecimal, on the stack.
struct Hex {
    digits: [u8; Hex::DIGITS],
    len: usize,
}

impl Hex {
    const DIGITS: usize = 64;

    fn new(octets: &[u8]) -> Self {
        let mut hex = Hex { digits: [b'0'; Hex::DIGITS], len: (octets.len() * 2).min(Hex::DIGITS) };
        for (pair, octet) in hex.digits.chunks_exact_mut(2).zip(octets) {
            for (digit, nibble) in pair.iter_mut().zip([octet >> 4, octet & 0xf]) {
                *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            }
        }
        hex
    }

    /// What is in hexadecimal already.
    fn of_digits(text: &[u8]) -> Self {
        let len = text.len().min(Hex::DIGITS);
        let mut hex = Hex { digits: [b'0'; Hex::DIGITS], len };
        hex.digits[..len].copy_from_slice(&text[..len]);
        hex
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default() // always ASCII
    }
}

/// HA1 serves instead of the password.
impl Drop for Hex {
    fn drop(&mut self) {
        self.digits.zeroize();
    }
}
