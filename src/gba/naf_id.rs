//! NAF_Id = FQDN || Ua security protocol identifier (TS 33.220 §4, annex H).

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UaId(pub [u8; 5]);
impl UaId {
    pub const MBMS: UaId = UaId([1, 0, 0, 0, 1]);
}

/// Canonical: lower case, no trailing dot, A-labels only; anything else is refused, not converted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NafId {
    fqdn: std::sync::Arc<str>,
    pub ua: UaId,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("NAF_ID {text:?}: {why}")]
pub struct NafIdError {
    pub text: String,
    pub why: &'static str,
}

impl NafId {
    pub fn new(fqdn: &str, ua: UaId) -> Result<Self, NafIdError> {
        let _ = (fqdn, ua);
        todo!()
    }
    /// The text forms of a REGISTER: `FQDN`, `FQDN;0100000001`, or base64 of FQDN || 5 octets.
    pub fn parse(text: &str) -> Result<Self, NafIdError> {
        let _ = text;
        todo!()
    }
    pub fn fqdn(&self) -> &str {
        &self.fqdn
    }
    /// FQDN || 5 octets
    pub fn octets(&self) -> Vec<u8> {
        todo!()
    }
}
