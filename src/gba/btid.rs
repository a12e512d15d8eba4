//! B-TID = base64(RAND) "@" BSF domain (TS 33.220 §4.5.2).
use crate::aka::vector::Rand;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Btid(std::sync::Arc<str>);
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("B-TID: {0}")]
pub struct BtidError(pub &'static str);
impl Btid {
    pub fn new(rand: &Rand, bsf_domain: &str) -> Self {
        let _ = (rand, bsf_domain);
        todo!()
    }
    /// Splits at the last "@", checks that the left side is base64 of 16 octets.
    pub fn parse(text: &str) -> Result<Self, BtidError> {
        let _ = text;
        todo!()
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn rand(&self) -> Rand {
        todo!()
    }
    pub fn bsf_domain(&self) -> &str {
        todo!()
    }
}
