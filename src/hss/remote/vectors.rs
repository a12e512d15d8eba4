//! What users are authenticated with, kept for later: vectors that an HSS gave beyond the one that was needed, used in order,
//! one each, forgotten when a card says that its SQN is elsewhere (TS 29.228 §6.3.1); and the password of who has one, for
//! when the HSS is away. Few per user, for a limited time, of a limited number of users.
//!
//! Who is registered and has used his last vector is noted, so that new ones come before he or the HSS is gone.

use crate::aka::vector::AkaVector;
use crate::auth::digest::Password;
use crate::identity::{Impi, Impu};
use crate::shelf::Map;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

struct Kept {
    /// Empty: the user has used the last one.
    vectors: VecDeque<AkaVector>,
    /// On the monotonic clock.
    until: Duration,
}

pub(super) struct Vectors {
    kept: Map<Impi, Kept>,
    passwords: Map<Impi, (Password, Duration)>,
    lacking: Mutex<VecDeque<(Impi, Impu)>>,
    users: usize,
    lifetime: Duration,
}

/// Vectors kept of one user, whatever an HSS sends.
const MOST: usize = 8;
/// Users noted who have none left; of more, the next REGISTER asks.
const LACKING: usize = 10_000;
/// So many are asked for at once.
const ROUND: usize = 1_000;

impl Vectors {
    /// `users`: of so many at once; `lifetime`: none is used later than that.
    pub(super) fn new(users: usize, lifetime: Duration) -> Self {
        Vectors { kept: Map::default(), passwords: Map::default(), lacking: Mutex::default(), users, lifetime }
    }

    /// The next one, which is no longer there then.
    pub(super) fn take(&self, impi: &Impi, mono: Duration) -> Option<AkaVector> {
        let mut kept = self.kept.get_mut(impi.as_str())?;
        let vector = if kept.until > mono { kept.vectors.pop_front() } else { None };
        if vector.is_none() || kept.vectors.is_empty() {
            kept.vectors = VecDeque::new();
        }
        vector
    }

    /// Those of the latest answer, in the place of older ones: their SQNs are behind these.
    pub(super) fn keep(&self, impi: &Impi, vectors: impl Iterator<Item = AkaVector>, mono: Duration) {
        let vectors: VecDeque<_> = vectors.take(MOST).collect();
        let full = self.kept.len() >= self.users && !self.kept.contains_key(impi.as_str());
        if full {
            return;
        }
        self.kept.insert(impi.clone(), Kept { vectors, until: mono + self.lifetime });
    }

    /// One that was taken is not needed after all; none has come since.
    pub(super) fn give_back(&self, impi: &Impi, vector: AkaVector, mono: Duration) {
        match self.kept.get_mut(impi.as_str()) {
            Some(mut kept) => kept.vectors.push_front(vector),
            None => self.keep(impi, [vector].into_iter(), mono),
        }
    }

    /// The user has a password and no vectors.
    pub(super) fn keep_password(&self, impi: &Impi, password: &Password, mono: Duration) {
        if self.passwords.len() < self.users || self.passwords.contains_key(impi.as_str()) {
            self.passwords.insert(impi.clone(), (password.clone(), mono + self.lifetime));
        }
    }

    pub(super) fn password(&self, impi: &Impi, mono: Duration) -> Option<Password> {
        let kept = self.passwords.get(impi.as_str())?;
        (kept.1 > mono).then(|| kept.0.clone())
    }

    pub(super) fn forget_password(&self, impi: &Impi) {
        self.passwords.remove(impi.as_str());
    }

    /// Whether the user can be authenticated without the HSS.
    pub(super) fn has(&self, impi: &Impi, mono: Duration) -> bool {
        self.kept.get(impi.as_str()).is_some_and(|kept| kept.until > mono && !kept.vectors.is_empty())
            || self.passwords.get(impi.as_str()).is_some_and(|kept| kept.1 > mono)
    }

    /// A user is registered: if he has used his last one for that, it is noted.
    pub(super) fn look_after(&self, impi: &Impi, impu: &Impu) {
        if self.kept.get(impi.as_str()).is_some_and(|kept| kept.vectors.is_empty()) {
            let mut lacking = self.lacking();
            if lacking.len() < LACKING {
                lacking.push_back((impi.clone(), impu.clone()));
            }
        }
    }

    /// Users for whom new ones are to be fetched now.
    pub(super) fn wanted(&self) -> Vec<(Impi, Impu)> {
        let mut lacking = self.lacking();
        let round = lacking.len().min(ROUND);
        lacking.drain(..round).collect()
    }

    pub(super) fn forget(&self, impi: &Impi) {
        self.kept.remove(impi.as_str());
        self.forget_password(impi);
    }

    pub(super) fn sweep(&self, mono: Duration) {
        self.kept.retain(|_, kept| kept.until > mono);
        self.passwords.retain(|_, kept| kept.1 > mono);
    }

    fn lacking(&self) -> MutexGuard<'_, VecDeque<(Impi, Impu)>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aka::vector::{Autn, Key128, Rand, Res};

    fn vectors(firsts: std::ops::Range<u8>) -> impl Iterator<Item = AkaVector> {
        firsts.map(|first| AkaVector {
            rand: Rand([first; 16]),
            autn: Autn([0; 16]),
            xres: Res::new(&[0; 8]),
            ck: Key128([0; 16]),
            ik: Key128([0; 16]),
        })
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn each_is_used_once_in_order_and_within_its_time() {
        let (kept, alice) = (Vectors::new(10, HOUR), Impi::from("alice"));
        kept.keep(&alice, vectors(1..4), Duration::ZERO);
        let next = |at: Duration| kept.take(&alice, at).map(|vector| vector.rand.0[0]);
        assert_eq!((next(Duration::ZERO), next(HOUR / 2), next(HOUR)), (Some(1), Some(2), None));
        kept.keep(&alice, vectors(1..4), HOUR);
        kept.keep(&alice, vectors(7..8), HOUR);
        assert_eq!(kept.take(&alice, HOUR).map(|vector| vector.rand.0[0]), Some(7), "the latest answer's");
        assert!(!kept.has(&alice, HOUR));
    }

    #[test]
    fn who_has_none_left_is_noted_and_a_password_is_kept() {
        let (kept, alice, sip) = (Vectors::new(10, HOUR), Impi::from("alice"), Impu::from("sip:alice"));
        kept.keep(&alice, vectors(1..2), Duration::ZERO);
        kept.look_after(&alice, &sip);
        kept.look_after(&Impi::from("bob"), &Impu::from("sip:bob"));
        assert!(kept.wanted().is_empty(), "one is left; another was not authenticated with any");
        let taken = kept.take(&alice, Duration::ZERO).unwrap();
        kept.look_after(&alice, &sip);
        assert_eq!((kept.wanted(), kept.wanted()), (vec![(alice.clone(), sip.clone())], vec![]));
        kept.give_back(&alice, taken, Duration::ZERO);
        assert_eq!(kept.take(&alice, Duration::ZERO).map(|vector| vector.rand.0[0]), Some(1));
        kept.keep_password(&alice, &Password::new(*b"secret"), Duration::ZERO);
        assert!(kept.password(&alice, HOUR / 2).is_some());
        assert!(kept.password(&alice, HOUR).is_none() && !kept.has(&alice, HOUR));
        kept.forget(&alice);
        assert!(kept.password(&alice, Duration::ZERO).is_none());
        // However many there are, so many at once.
        kept.keep(&alice, vectors(0..0), Duration::ZERO);
        (0..2 * LACKING).for_each(|_| kept.look_after(&alice, &sip));
        let rounds: Vec<usize> = std::iter::repeat_with(|| kept.wanted().len()).take(LACKING / ROUND + 1).collect();
        assert_eq!((rounds[0], rounds[LACKING / ROUND], rounds.iter().sum::<usize>()), (ROUND, 0, LACKING));
    }

    #[test]
    fn they_are_bounded() {
        let kept = Vectors::new(2, HOUR);
        kept.keep(&Impi::from("a"), vectors(0..200), Duration::ZERO);
        assert_eq!(kept.kept.get("a").unwrap().vectors.len(), MOST);
        kept.keep(&Impi::from("b"), vectors(0..1), Duration::ZERO);
        kept.keep(&Impi::from("c"), vectors(0..1), Duration::ZERO);
        assert_eq!((kept.kept.len(), kept.has(&Impi::from("c"), Duration::ZERO)), (2, false));
        kept.keep(&Impi::from("b"), vectors(3..4), Duration::ZERO);
        assert!(kept.has(&Impi::from("b"), Duration::ZERO));
        kept.sweep(HOUR);
        assert!(kept.kept.is_empty());
    }
}
