//! Nonces of the digest on Ua: made without keeping anything, kept only once used.
//!
//! A nonce is the time and some random octets with a MAC over them, so that unanswered challenges cost no memory.
//! For a nonce that was used, the highest `nc` is remembered until it is too old anyway (RFC 7616 §5.12).

use super::hex;
use crate::shelf::Map;
use dashmap::Entry;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// How long a nonce may be used.
const LIFE: Duration = Duration::from_secs(120);
/// Used nonces remembered at once.
const USED_MAX: usize = 65_536;
/// Hexadecimal digits of the time, of the random octets, of the MAC.
const LENGTHS: [usize; 3] = [16, 16, 32];

struct Used {
    nc: u32,
    made: u64,
}

pub(super) struct Nonces {
    /// None: no source of randomness, so no challenge can be made.
    secret: Option<[u8; 32]>,
    used: Map<String, Used>,
}

impl Nonces {
    pub(super) fn new() -> Self {
        let mut secret = [0; 32];
        let secret = getrandom::fill(&mut secret).is_ok().then_some(secret);
        Nonces { secret, used: Map::default() }
    }

    /// A new nonce; `now` since 1970.
    pub(super) fn make(&self, now: Duration) -> Option<String> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).ok()?;
        let head = format!("{:016x}{}", now.as_secs(), hex(&random));
        let mac = self.mac(&head)?;
        Some(head + &mac)
    }

    /// Whether this nonce is one of ours and young.
    pub(super) fn is_alive(&self, nonce: &str, now: Duration) -> bool {
        self.made(nonce).is_some_and(|made| {
            let age = now.as_secs().checked_sub(made);
            age.is_some_and(|age| age < LIFE.as_secs())
        })
    }

    /// Takes `nc` of a nonce whose digest was right; false: that count, or a higher one, was there before.
    pub(super) fn spend(&self, nonce: &str, nc: u32, now: Duration) -> bool {
        let Some(made) = self.made(nonce) else { return false };
        if nc == 0 {
            return false;
        }
        if self.used.len() >= USED_MAX {
            self.used.retain(|_, used| now.as_secs().saturating_sub(used.made) < LIFE.as_secs());
            if self.used.len() >= USED_MAX {
                return false;
            }
        }
        match self.used.entry(nonce.to_string()) {
            Entry::Vacant(free) => {
                free.insert(Used { nc, made });
                true
            }
            Entry::Occupied(mut used) => {
                let grows = nc > used.get().nc;
                if grows {
                    used.get_mut().nc = nc;
                }
                grows
            }
        }
    }

    /// The time in a nonce, if its MAC is right.
    fn made(&self, nonce: &str) -> Option<u64> {
        if nonce.len() != LENGTHS.iter().sum::<usize>() {
            return None;
        }
        let (head, mac) = nonce.split_at_checked(LENGTHS[0] + LENGTHS[1])?;
        if !bool::from(self.mac(head)?.as_bytes().ct_eq(mac.as_bytes())) {
            return None;
        }
        u64::from_str_radix(head.get(..LENGTHS[0])?, 16).ok()
    }

    fn mac(&self, head: &str) -> Option<String> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.secret.as_ref()?).ok()?;
        mac.update(head.as_bytes());
        let octets = mac.finalize().into_bytes();
        Some(hex(octets.get(..LENGTHS[2] / 2)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_lives_two_minutes_and_its_count_grows() {
        let nonces = Nonces::new();
        let now = Duration::from_secs(1_767_225_600);
        let nonce = nonces.make(now).unwrap();
        assert!(nonces.is_alive(&nonce, now) && nonces.is_alive(&nonce, now + Duration::from_secs(119)));
        assert!(!nonces.is_alive(&nonce, now + LIFE));
        assert!(!nonces.spend(&nonce, 0, now));
        assert!(nonces.spend(&nonce, 1, now));
        assert!(!nonces.spend(&nonce, 1, now), "replayed");
        assert!(nonces.spend(&nonce, 3, now));
        assert!(!nonces.spend(&nonce, 2, now));
    }

    #[test]
    fn forged_nonces_are_not_ours() {
        let nonces = Nonces::new();
        let now = Duration::from_secs(1_767_225_600);
        let nonce = nonces.make(now).unwrap();
        assert!(!Nonces::new().is_alive(&nonce, now));
        let later = format!("{:016x}{}", now.as_secs() + 1000, &nonce[16..]);
        for forged in ["", "x", &later, &nonce[1..], &"é".repeat(32)] {
            assert!(!nonces.is_alive(forged, now), "{forged}");
            assert!(!nonces.spend(forged, 1, now));
        }
    }
}
