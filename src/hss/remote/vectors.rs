//! Vectors that an HSS gave beyond the one that was needed: used in order, one each, forgotten when a card says that
//! its SQN is elsewhere (TS 29.228 §6.3.1). Few per user, for a limited time, of a limited number of users.

use crate::aka::vector::AkaVector;
use crate::identity::Impi;
use crate::shelf::Map;
use std::collections::VecDeque;
use std::time::Duration;

struct Kept {
    vectors: VecDeque<AkaVector>,
    /// On the monotonic clock.
    until: Duration,
}

pub(super) struct Vectors {
    kept: Map<Impi, Kept>,
    users: usize,
    lifetime: Duration,
}

/// Vectors kept of one user, whatever an HSS sends.
const MOST: usize = 8;

impl Vectors {
    /// `users`: of so many at once; `lifetime`: none is used later than that.
    pub(super) fn new(users: usize, lifetime: Duration) -> Self {
        Vectors { kept: Map::default(), users, lifetime }
    }

    /// The next one, which is no longer there then.
    pub(super) fn take(&self, impi: &Impi, mono: Duration) -> Option<AkaVector> {
        let mut kept = self.kept.get_mut(impi.as_str())?;
        let vector = if kept.until > mono { kept.vectors.pop_front() } else { None };
        let over = vector.is_none() || kept.vectors.is_empty();
        drop(kept);
        if over {
            self.kept.remove_if(impi.as_str(), |_, kept| kept.vectors.is_empty() || kept.until <= mono);
        }
        vector
    }

    /// Those of the latest answer, in the place of older ones: their SQNs are behind these.
    pub(super) fn keep(&self, impi: &Impi, vectors: impl Iterator<Item = AkaVector>, mono: Duration) {
        let vectors: VecDeque<_> = vectors.take(MOST).collect();
        let full = self.kept.len() >= self.users && !self.kept.contains_key(impi.as_str());
        if vectors.is_empty() || full {
            return self.forget(impi);
        }
        self.kept.insert(impi.clone(), Kept { vectors, until: mono + self.lifetime });
    }

    pub(super) fn has(&self, impi: &Impi, mono: Duration) -> bool {
        self.kept.get(impi.as_str()).is_some_and(|kept| kept.until > mono && !kept.vectors.is_empty())
    }

    pub(super) fn forget(&self, impi: &Impi) {
        self.kept.remove(impi.as_str());
    }

    pub(super) fn sweep(&self, mono: Duration) {
        self.kept.retain(|_, kept| kept.until > mono);
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
        assert!(kept.kept.is_empty());
        kept.keep(&alice, vectors(1..4), HOUR);
        kept.keep(&alice, vectors(7..8), HOUR);
        assert_eq!(kept.take(&alice, HOUR).map(|vector| vector.rand.0[0]), Some(7), "the latest answer's");
        assert!(!kept.has(&alice, HOUR) && kept.kept.is_empty());
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
