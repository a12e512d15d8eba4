//! Names that must not repeat: Call-ID, tags, branches, cnonces. One random prefix per run and a counter, so that a load
//! generator does not ask the kernel for every one.

use super::TerminalError;
use std::fmt::Write;

/// A source of identifiers, unique in this process and, by its 64 random bits, elsewhere.
#[derive(Debug, Clone)]
pub struct Identifiers {
    prefix: String,
    next: u64,
}

impl Identifiers {
    pub fn new() -> Result<Self, TerminalError> {
        let mut octets = [0u8; 8];
        getrandom::fill(&mut octets).map_err(|_| TerminalError::NoRandom)?;
        Ok(Identifiers { prefix: hex(&octets), next: 0 })
    }

    /// The next identifier: a token (RFC 3261 §25.1) of hex digits.
    pub fn fresh(&mut self) -> String {
        self.next = self.next.wrapping_add(1);
        format!("{}{:x}", self.prefix, self.next)
    }

    /// A source of its own whose identifiers differ from this one's.
    pub fn child(&mut self) -> Identifiers {
        Identifiers { prefix: format!("{}x", self.fresh()), next: 0 }
    }
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
