//! Digest responses: MD5, SHA-256 (RFC 7616, RFC 8760), AKAv1-MD5 (RFC 3310), AKAv2-MD5 (RFC 4169), AKAv2-SHA-256 (TS 33.203).
use crate::aka::vector::{Key128, Res};
use zeroize::{Zeroize, ZeroizeOnDrop};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Akav1Md5,
    Akav2Md5,
    Akav2Sha256,
    Md5,
    Sha256,
}
impl Algorithm {
    /// The token of the `algorithm` parameter.
    pub fn as_str(self) -> &'static str {
        todo!()
    }
    /// Any case; None if unknown.
    pub fn from_bytes(token: &[u8]) -> Option<Self> {
        let _ = token;
        todo!()
    }
    pub fn is_aka(self) -> bool {
        todo!()
    }
}

/// The digest password: octets, not text. Debug is redacted.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(Vec<u8>);
impl Password {
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Password(octets.into())
    }
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    /// The password that AKA gives for `algorithm`: RES itself, or the base64 of the PRF over RES||IK||CK.
    pub fn from_aka(algorithm: Algorithm, res: &Res, ik: &Key128, ck: &Key128) -> Self {
        let _ = (algorithm, res, ik, ck);
        todo!()
    }
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

impl Digest<'_> {
    /// The `response` value, lower-case hex (32 or 64 digits).
    pub fn response(&self, password: &Password) -> String {
        let _ = password;
        todo!()
    }
    /// Compares a received `response` in constant time after checking that it is hex of the right length.
    pub fn verify(&self, password: &Password, response: &[u8]) -> bool {
        let _ = (password, response);
        todo!()
    }
    /// `rspauth` of Authentication-Info: as response, with an empty method in A2 (RFC 7616 §3.5).
    pub fn rspauth(&self, password: &Password) -> String {
        let _ = password;
        todo!()
    }
}
