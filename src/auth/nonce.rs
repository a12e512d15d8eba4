//! The nonce of a Digest AKA challenge: base64(RAND || AUTN || server data) (RFC 3310 §3.2).

use crate::aka::vector::{Autn, Auts, Rand};
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};

/// Standard alphabet; padding may be missing in what is received.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NonceError {
    #[error("the nonce is not base64")]
    NotBase64,
    #[error("the nonce holds {0} octets: RAND and AUTN are 32")]
    TooShort(usize),
    #[error("auts is not base64 of 14 octets")]
    Auts,
}

/// The nonce without server data.
pub fn encode(rand: &Rand, autn: &Autn) -> String {
    let mut octets = [0; 32];
    octets[..16].copy_from_slice(&rand.0);
    octets[16..].copy_from_slice(&autn.0);
    STANDARD.encode(octets)
}

/// RAND and AUTN of a received nonce; server data is left aside.
pub fn decode(nonce: &[u8]) -> Result<(Rand, Autn), NonceError> {
    let octets = LENIENT.decode(nonce).map_err(|_| NonceError::NotBase64)?;
    let short = NonceError::TooShort(octets.len());
    let (rand, rest) = octets.split_first_chunk::<16>().ok_or(short)?;
    let autn = rest.first_chunk::<16>().ok_or(short)?;
    Ok((Rand(*rand), Autn(*autn)))
}

/// The `auts` parameter as the terminal sends it.
pub fn encode_auts(auts: &Auts) -> String {
    STANDARD.encode(auts.0)
}

/// A received `auts` parameter.
pub fn decode_auts(auts: &[u8]) -> Result<Auts, NonceError> {
    let octets = LENIENT.decode(auts).map_err(|_| NonceError::Auts)?;
    octets.try_into().map(Auts).map_err(|_| NonceError::Auts)
}
