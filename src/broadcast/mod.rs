//! The broadcast side (rank 2): what the IMS server does for a broadcast server, and the broadcast server itself.
//!
//! IMS server: [`identify`] takes the broadcast portion out of a REGISTER (module 130), [`forward`] sends it on
//! (module 135). Broadcast server: [`server`] keeps the registrations (140), [`retrieve`] asks the BSF for Ks_NAF (145), in
//! SIP or over [`zn`], [`alert`] tells the IMS of changes (150), [`ua`] is its HTTP face, and the users outlive a restart in the store
//! (`keep`). Between them travel [`ext`] (a header), [`keys`] (key documents) and [`provisioning`] (what the user wants
//! to receive).

pub mod alert;
mod application;
pub mod datetime;
mod embedded;
pub mod ext;
pub mod forward;
pub mod held;
pub mod identify;
mod keep;
pub mod keys;
mod nonce;
pub(crate) mod outgoing;
pub mod peer;
pub mod provisioning;
mod registration;
pub mod retrieve;
pub mod server;
pub mod state;
mod stored;
#[cfg(test)]
pub(crate) mod testbed;
mod third_party;
pub mod ua;
pub mod zn;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;

/// Work that goes on after an answer was given; the caller spawns it on its own thread.
pub type Job = Pin<Box<dyn Future<Output = ()>>>;

/// The media types of this module.
pub mod media {
    /// OMA BCAST service provisioning, as registered at IANA.
    pub const PROVISIONING: &str = "application/vnd.oma.bcast.sprov+xml";
    pub const NAF_KEY: &str = "application/vnd.imscript.naf-key+xml";
    pub const NAF_KEY_ERROR: &str = "application/vnd.imscript.naf-key-error+xml";
    /// A SIP message as a body (RFC 3261 §27.5).
    pub const SIP: &str = "message/sip";
    pub const BCAST_REGISTRATION: &str = "application/vnd.imscript.bcast-reg+xml";

    /// Whether a Content-Type value names the type `full`: without regard to case and parameters, and also in the
    /// form that the patent prints, with quotes around it and blanks inside.
    pub fn is(raw: &[u8], full: &str) -> bool {
        let mut octets = raw
            .split(|&octet| octet == b';')
            .next()
            .unwrap_or_default()
            .iter()
            .filter(|octet| !matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b'"'));
        full.bytes().all(|want| octets.next().is_some_and(|have| have.eq_ignore_ascii_case(&want)))
            && octets.next().is_none()
    }
}

/// A random token for tags, Call-IDs and boundaries: 80 bits, hexadecimal.
pub(crate) fn token() -> String {
    hex(&drawn())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    let mut text = String::with_capacity(octets.len() * 2);
    octets.iter().for_each(|octet| text.extend([digit(octet >> 4), digit(octet & 15)]));
    text
}

/// What a token is made of. The system is asked for many at once: they are no secret, only not to be guessed beforehand.
pub(crate) fn drawn() -> [u8; 10] {
    thread_local! {
        static STOCK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    STOCK.with_borrow_mut(|stock| {
        if stock.len() < 10 {
            stock.resize(640, 0);
            // Without a source of randomness the token is only less unique; nothing secret hangs on it.
            let _ = getrandom::fill(stock);
        }
        let mut octets = [0; 10];
        octets.iter_mut().zip(stock.drain(stock.len() - 10..)).for_each(|(octet, fresh)| *octet = fresh);
        octets
    })
}

#[cfg(test)]
mod tests {
    use super::media;

    #[test]
    fn media_types_in_any_form() {
        for form in [
            &b"application/vnd.oma.bcast.sprov+xml"[..],
            b"APPLICATION/vnd.oma.bcast.SPROV+xml;charset=utf-8",
            b"\"application/vnd.oma.bcast.sprov + xml\"",
        ] {
            assert!(media::is(form, media::PROVISIONING), "{:?}", String::from_utf8_lossy(form));
        }
        assert!(!media::is(b"application/vnd.oma.bcast.sprov+xmlx", media::PROVISIONING));
        assert!(!media::is(b"application/sdp", media::PROVISIONING));
        assert!(!media::is(b"", media::PROVISIONING));
    }
}
