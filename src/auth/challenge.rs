//! Challenges that are out (rank 1): one per private identity, bounded in number and in time.
//!
//! A nonce is good for one success. Answered, wrongly or rightly, it is gone, so that a
//! replayed Authorization meets an unknown nonce and gets a fresh 401 (TS 24.229 §5.4.1.2.2,
//! timer reg-await-auth). The caller hangs what it must remember on the challenge as a [`Memo`].
//!
//! Memos come from unauthenticated requests, so their octets are bounded in all: beyond the budget the oldest
//! are let go, not the challenges themselves. A flood then costs others their memos at most, never their login.

use super::digest::{Algorithm, Password};
use crate::aka::vector::AkaVector;
use crate::identity::Impi;
use crate::shelf::Map;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Timer reg-await-auth (TS 24.229 table 7.8.1).
pub const REG_AWAIT_AUTH: Duration = Duration::from_secs(240);

/// Octets of memos held at once, if nothing else is said.
pub const MEMO_BUDGET: usize = 64 * 1024 * 1024;

/// Places of a queue that are not worth clearing up.
const FEW: usize = 1024;

/// What is remembered with a challenge.
pub trait Memo {
    /// What keeping it costs beyond its own size; 0: nothing worth counting.
    fn octets(&self) -> usize;
    /// Lets go of what costs; the challenge itself stays.
    fn shed(&mut self);
}

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
            Secret::Password(password) if !algorithm.is_aka() && password.serves(algorithm) => Some(password.clone()),
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
}

struct Outstanding<T> {
    challenge: Challenge<T>,
    serial: u64,
    until: Duration,
}

/// Oldest first; entries whose serial has been replaced are skipped.
#[derive(Default)]
struct Order {
    all: VecDeque<(Duration, u64, Impi)>,
    /// Those whose memo counts.
    heavy: VecDeque<(u64, Impi)>,
}

/// The table. Shared by all workers.
pub struct Challenges<T> {
    table: Map<Impi, Outstanding<T>>,
    // Lock order: this before an entry of the table, never the other way round.
    order: Mutex<Order>,
    serial: AtomicU64,
    count: AtomicUsize,
    octets: AtomicUsize,
    capacity: usize,
    budget: usize,
    lifetime: Duration,
}

impl<T: Memo> Challenges<T> {
    pub fn new(capacity: usize, lifetime: Duration) -> Self {
        Challenges {
            table: Map::default(),
            order: Mutex::default(),
            serial: AtomicU64::new(0),
            count: AtomicUsize::new(0),
            octets: AtomicUsize::new(0),
            capacity: capacity.max(1),
            budget: MEMO_BUDGET,
            lifetime,
        }
    }

    /// Another bound on the octets of memos.
    pub fn with_budget(self, octets: usize) -> Self {
        Challenges { budget: octets, ..self }
    }

    /// How long a challenge may wait for its answer.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Remembers a challenge, in place of an older one to the same identity. `mono`: now.
    pub fn put(&self, impi: &Impi, challenge: Challenge<T>, mono: Duration) {
        let until = mono.saturating_add(self.lifetime);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let octets = challenge.memo.octets();
        self.count.fetch_add(1, Ordering::Relaxed);
        self.octets.fetch_add(octets, Ordering::Relaxed);
        if let Some(replaced) = self.table.insert(impi.clone(), Outstanding { challenge, serial, until }) {
            self.gone(&replaced.challenge);
        }
        let mut order = self.order();
        order.all.push_back((until, serial, impi.clone()));
        if octets > 0 {
            order.heavy.push_back((serial, impi.clone()));
        }
        // What was answered or replaced stays in a queue until that is half of it: of most there are few, of a flood many.
        let few = 2 * self.len() + FEW;
        if order.all.len() > few {
            let held = |impi: &Impi, serial| self.table.get(impi).is_some_and(|held| held.serial == serial);
            order.all.retain(|(_, serial, impi)| held(impi, *serial));
            order.heavy.retain(|(serial, impi)| held(impi, *serial));
            order.all.shrink_to(few);
            order.heavy.shrink_to(few);
        }
        while self.len() > self.capacity || order.all.len() > self.capacity.saturating_mul(2) {
            let Some((_, serial, impi)) = order.all.pop_front() else { break };
            self.drop_if(&impi, serial);
        }
        while self.octets() > self.budget || order.heavy.len() > self.capacity.saturating_mul(2) {
            let Some((serial, impi)) = order.heavy.pop_front() else { break };
            if let Some(mut held) = self.table.get_mut(&impi).filter(|held| held.serial == serial) {
                self.octets.fetch_sub(held.challenge.memo.octets(), Ordering::Relaxed);
                held.challenge.memo.shed();
                self.octets.fetch_add(held.challenge.memo.octets(), Ordering::Relaxed);
            }
        }
    }

    /// Takes the challenge out if `nonce` is the one outstanding for `impi`. A foreign nonce leaves it where it is.
    pub fn take(&self, impi: &str, nonce: &[u8], mono: Duration) -> Option<Challenge<T>> {
        let (_, held) = self.table.remove_if(impi, |_, held| held.challenge.nonce.as_bytes() == nonce)?;
        self.gone(&held.challenge);
        (held.until > mono).then_some(held.challenge)
    }

    /// Whether `nonce` is the one outstanding for `impi`.
    pub fn holds(&self, impi: &str, nonce: &[u8], mono: Duration) -> bool {
        let held = self.table.get(impi);
        held.is_some_and(|held| held.challenge.nonce.as_bytes() == nonce && held.until > mono)
    }

    /// Whether a challenge of the last `age` is still unanswered.
    pub fn any_since(&self, age: Duration, mono: Duration) -> bool {
        let put_since = mono.saturating_add(self.lifetime).saturating_sub(age);
        let order = self.order();
        let mut young = order.all.iter().rev().take_while(|(until, ..)| *until >= put_since);
        young.any(|(_, serial, impi)| self.table.get(impi).is_some_and(|held| held.serial == *serial))
    }

    /// Drops what has not been answered in time and says for whom (the HSS is told AUTHENTICATION_TIMEOUT).
    pub fn expire(&self, mono: Duration) -> Vec<(Impi, Challenge<T>)> {
        let mut ended = Vec::new();
        let mut order = self.order();
        while order.all.front().is_some_and(|(until, ..)| *until <= mono) {
            let Some((_, serial, impi)) = order.all.pop_front() else { break };
            ended.extend(self.drop_if(&impi, serial));
        }
        ended
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of all memos.
    pub fn octets(&self) -> usize {
        self.octets.load(Ordering::Relaxed)
    }

    fn drop_if(&self, impi: &Impi, serial: u64) -> Option<(Impi, Challenge<T>)> {
        let (impi, held) = self.table.remove_if(impi, |_, held| held.serial == serial)?;
        self.gone(&held.challenge);
        Some((impi, held.challenge))
    }

    fn gone(&self, challenge: &Challenge<T>) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.octets.fetch_sub(challenge.memo.octets(), Ordering::Relaxed);
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many octets.
    impl Memo for usize {
        fn octets(&self) -> usize {
            *self
        }

        fn shed(&mut self) {
            *self = 0;
        }
    }

    fn challenge(nonce: &str) -> Challenge<usize> {
        Challenge {
            nonce: nonce.into(),
            algorithms: [Algorithm::Md5].into(),
            secret: Secret::Password(Password::new(*b"secret")),
            resyncs: 0,
            memo: 0,
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
    fn young_ones_that_wait_for_their_answer() {
        let table = Challenges::new(10, REG_AWAIT_AUTH);
        assert!(!table.any_since(at(2), at(1)));
        table.put(&Impi::from("a@home1.net"), challenge("n1"), at(10));
        table.put(&Impi::from("b@home1.net"), challenge("n2"), at(11));
        assert!(table.any_since(at(2), at(12)));
        assert!(table.holds("a@home1.net", b"n1", at(12)) && !table.holds("a@home1.net", b"n2", at(12)));
        table.take("b@home1.net", b"n2", at(12)).unwrap();
        assert!(table.any_since(at(2), at(12)), "the other one");
        assert!(!table.any_since(at(2), at(13)), "old");
        assert!(table.holds("a@home1.net", b"n1", at(13)) && !table.holds("a@home1.net", b"n1", at(300)));
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
        assert!(table.order.lock().unwrap().all.len() <= 6);
        assert!(table.take("same@home1.net", b"n", at(12)).is_some(), "queue trimming keeps the live one");
    }

    #[test]
    fn memos_within_their_budget_and_the_oldest_let_go() {
        let table = Challenges::new(100, REG_AWAIT_AUTH).with_budget(100);
        let heavy = |octets| Challenge { memo: octets, ..challenge("n") };
        let name = |i: usize| Impi::new(format!("{i}@home1.net"));
        for i in 0..50 {
            table.put(&name(i), heavy(30), at(0));
            assert!(table.octets() <= 100, "{}", table.octets());
        }
        assert_eq!(table.len(), 50, "the challenges stay");
        assert_eq!(table.take("0@home1.net", b"n", at(1)).unwrap().memo, 0);
        assert_eq!(table.take("49@home1.net", b"n", at(1)).unwrap().memo, 30);
        assert_eq!(table.octets(), 60);
        table.put(&name(48), heavy(10), at(1));
        assert_eq!(table.octets(), 40, "a replaced memo no longer counts");
        table.put(&name(60), heavy(1000), at(1));
        assert_eq!(table.octets(), 0, "what is larger than the budget is not kept at all");
        assert_eq!(table.expire(at(1000)).len(), 49);
        assert!(table.is_empty() && table.octets() == 0);
    }

    #[test]
    fn counts_hold_when_workers_meet() {
        let table = Challenges::new(20, REG_AWAIT_AUTH).with_budget(500);
        std::thread::scope(|scope| {
            for worker in 0..4usize {
                let table = &table;
                scope.spawn(move || {
                    for i in 0..3000usize {
                        let impi = Impi::new(format!("{}@home1.net", (i * 7 + worker) % 30));
                        match i % 3 {
                            0 => drop(table.take(impi.as_str(), b"n", at(1))),
                            _ => table.put(&impi, Challenge { memo: i % 60, ..challenge("n") }, at(0)),
                        }
                    }
                });
            }
        });
        assert!(table.len() <= 20 && table.octets() <= 500, "{} {}", table.len(), table.octets());
        table.expire(at(1000));
        assert!(table.is_empty() && table.table.is_empty() && table.octets() == 0);
    }
}
