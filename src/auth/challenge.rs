//! Challenges that are out (rank 1): one per private identity, bounded in number and in time.
//!
//! A nonce is good for one success. Answered, wrongly or rightly, it is gone, so that a
//! replayed Authorization meets an unknown nonce and gets a fresh 401 (TS 24.229 §5.4.1.2.2,
//! timer reg-await-auth). The caller hangs what it must remember on the challenge as `T`.

use super::digest::{Algorithm, Password};
use crate::aka::vector::AkaVector;
use crate::identity::Impi;
use dashmap::DashMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Timer reg-await-auth (TS 24.229 table 7.8.1).
pub const REG_AWAIT_AUTH: Duration = Duration::from_secs(240);

/// What the answer to a challenge is checked against.
#[derive(Debug, Clone)]
pub enum Secret {
    Aka(AkaVector),
    Password(Password),
}

impl Secret {
    /// The digest password that this secret gives under `algorithm`; None if the two do not go together.
    pub fn password(&self, algorithm: Algorithm) -> Option<Password> {
        match self {
            Secret::Aka(v) if algorithm.is_aka() => Some(Password::from_aka(algorithm, &v.xres, &v.ik, &v.ck)),
            Secret::Password(password) if !algorithm.is_aka() => Some(password.clone()),
            _ => None,
        }
    }
}

/// One challenge as it was sent.
#[derive(Debug)]
pub struct Challenge<T> {
    /// The nonce's text, exactly as sent.
    pub nonce: Box<str>,
    /// What was offered; an answer under another algorithm is a downgrade.
    pub algorithms: Box<[Algorithm]>,
    pub secret: Secret,
    /// Resynchronisations done in this registration attempt; one is allowed.
    pub resyncs: u8,
    pub memo: T,
    /// What `memo` takes up: a sender that proves nothing decides it.
    pub octets: usize,
}

/// Memos held at once. One of 48 KiB each for all subscribers would be gigabytes.
const OCTETS: usize = 128 * 1024 * 1024;

struct Outstanding<T> {
    challenge: Challenge<T>,
    serial: u64,
    until: Duration,
}

/// The table. Shared by all workers.
pub struct Challenges<T> {
    table: DashMap<Impi, Outstanding<T>>,
    /// Oldest first; entries whose serial has been replaced are skipped.
    order: Mutex<VecDeque<(Duration, u64, Impi)>>,
    serial: AtomicU64,
    capacity: usize,
    lifetime: Duration,
    octets: AtomicUsize,
}

impl<T> Challenges<T> {
    pub fn new(capacity: usize, lifetime: Duration) -> Self {
        Challenges {
            table: DashMap::new(),
            order: Mutex::new(VecDeque::new()),
            serial: AtomicU64::new(0),
            capacity: capacity.max(1),
            lifetime,
            octets: AtomicUsize::new(0),
        }
    }

    /// Remembers a challenge, in place of an older one to the same identity. `mono`: now.
    pub fn put(&self, impi: &Impi, challenge: Challenge<T>, mono: Duration) {
        let until = mono + self.lifetime;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.octets.fetch_add(challenge.octets, Ordering::Relaxed);
        let replaced = self.table.insert(impi.clone(), Outstanding { challenge, serial, until });
        self.gone(replaced.as_ref());
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.push_back((until, serial, impi.clone()));
        // Replaced entries stay in the queue until they come to its head: twice the capacity bounds both.
        while self.table.len() > self.capacity
            || order.len() > 2 * self.capacity
            || self.octets.load(Ordering::Relaxed) > OCTETS
        {
            let Some((_, serial, impi)) = order.pop_front() else { break };
            let removed = self.table.remove_if(&impi, |_, held| held.serial == serial);
            self.gone(removed.as_ref().map(|(_, held)| held));
        }
    }

    fn gone(&self, held: Option<&Outstanding<T>>) {
        let octets = held.map_or(0, |held| held.challenge.octets);
        self.octets.fetch_sub(octets, Ordering::Relaxed);
    }

    /// Takes the challenge out if `nonce` is the one outstanding for `impi`. A foreign nonce leaves it where it is.
    pub fn take(&self, impi: &str, nonce: &[u8], mono: Duration) -> Option<Challenge<T>> {
        let (_, held) = self.table.remove_if(impi, |_, held| held.challenge.nonce.as_bytes() == nonce)?;
        self.gone(Some(&held));
        (held.until > mono).then_some(held.challenge)
    }

    /// Drops what has not been answered in time and says for whom (the HSS is told AUTHENTICATION_TIMEOUT).
    pub fn expire(&self, mono: Duration) -> Vec<(Impi, Challenge<T>)> {
        let mut gone = Vec::new();
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        while order.front().is_some_and(|(until, ..)| *until <= mono) {
            let Some((_, serial, impi)) = order.pop_front() else { break };
            if let Some((impi, held)) = self.table.remove_if(&impi, |_, held| held.serial == serial) {
                self.gone(Some(&held));
                gone.push((impi, held.challenge));
            }
        }
        gone
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(nonce: &str) -> Challenge<u8> {
        Challenge {
            nonce: nonce.into(),
            algorithms: [Algorithm::Md5].into(),
            secret: Secret::Password(Password::new(*b"secret")),
            resyncs: 0,
            memo: 0,
            octets: 0,
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_nonce_one_use() {
        let table = Challenges::new(10, REG_AWAIT_AUTH);
        let impi = Impi::from("a@home1.net");
        table.put(&impi, challenge("n1"), at(0));
        assert!(table.take("a@home1.net", b"other", at(1)).is_none(), "a foreign nonce takes nothing");
        assert!(table.take("a@home1.net", b"n1", at(1)).is_some());
        assert!(table.take("a@home1.net", b"n1", at(1)).is_none(), "spent");
    }

    #[test]
    fn one_challenge_per_identity_and_reg_await_auth() {
        let table = Challenges::new(10, REG_AWAIT_AUTH);
        let impi = Impi::from("a@home1.net");
        table.put(&impi, challenge("n1"), at(0));
        table.put(&impi, challenge("n2"), at(100));
        assert_eq!(table.len(), 1);
        assert!(table.take("a@home1.net", b"n1", at(100)).is_none(), "replaced");
        assert!(table.expire(at(240)).is_empty(), "the replaced entry's time is not the new one's");
        let gone = table.expire(at(340));
        assert_eq!(gone.len(), 1);
        assert_eq!(&*gone[0].1.nonce, "n2");
        table.put(&impi, challenge("n3"), at(400));
        assert!(table.take("a@home1.net", b"n3", at(640)).is_none(), "too late even before the sweep");
    }

    #[test]
    fn bounded_in_octets_too() {
        let table = Challenges::new(100_000, REG_AWAIT_AUTH);
        for i in 0..10_000 {
            table.put(&Impi::new(format!("{i}@home1.net")), Challenge { octets: 50_000, ..challenge("n") }, at(0));
        }
        assert_eq!(table.len(), OCTETS / 50_000);
        assert!(table.take("9999@home1.net", b"n", at(1)).is_some());
        table.expire(at(1000));
        assert_eq!(table.octets.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bounded_by_dropping_the_oldest() {
        let table = Challenges::new(3, REG_AWAIT_AUTH);
        for i in 0..10 {
            table.put(&Impi::new(format!("{i}@home1.net")), challenge("n"), at(i));
        }
        assert_eq!(table.len(), 3);
        assert!(table.take("9@home1.net", b"n", at(10)).is_some());
        assert!(table.take("0@home1.net", b"n", at(10)).is_none());
        for _ in 0..100 {
            table.put(&Impi::from("same@home1.net"), challenge("n"), at(11));
        }
        assert!(table.order.lock().unwrap().len() <= 6);
        assert!(table.take("same@home1.net", b"n", at(12)).is_some(), "queue trimming keeps the live one");
    }
}
