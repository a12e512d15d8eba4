//! Security settings that a foreign HSS gave over Zh with the time of their last change (GUSS-Timestamp): said again in the
//! next MAR, they come only if they have changed since (TS 29.109 §4.2).

use crate::gba::guss::Guss;
use crate::identity::Impi;
use dashmap::DashMap;
use std::time::Duration;

/// Longest document that is kept; a longer one comes each time.
const LONGEST: usize = 4096;

pub(super) struct Gusses {
    held: DashMap<Impi, (Duration, Guss)>,
    most: usize,
}

impl Gusses {
    pub(super) fn new(most: usize) -> Self {
        Gusses { held: DashMap::new(), most }
    }

    /// When the settings that are here were changed last, since 1970.
    pub(super) fn since(&self, impi: &Impi) -> Option<Duration> {
        self.held.get(impi.as_str()).map(|held| held.0)
    }

    /// What the user has by an answer: `given`, with its length as a document and its time; or, where the HSS was told that
    /// it is `known` since when, what is here.
    pub(super) fn answered(
        &self,
        impi: &Impi,
        known: Option<Duration>,
        given: Option<(Guss, usize)>,
        since: Option<Duration>,
    ) -> Guss {
        match (given, since) {
            (Some((guss, length)), Some(since)) if length <= LONGEST => {
                if self.held.len() < self.most || self.held.contains_key(impi.as_str()) {
                    self.held.insert(impi.clone(), (since, guss.clone()));
                }
                guss
            }
            (Some((guss, _)), _) => {
                self.held.remove(impi.as_str());
                guss
            }
            // Another answer may have brought newer ones meanwhile.
            (None, _) => match known.and_then(|_| self.held.get(impi.as_str())) {
                Some(held) => held.1.clone(),
                None => Guss::default(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_time_and_a_bounded_length_is_kept() {
        let (gusses, alice) = (Gusses::new(1), Impi::from("alice"));
        let at = Duration::from_secs;
        let of = |lifetime| Guss { lifetime: Some(at(lifetime)), ..Guss::default() };
        assert_eq!(gusses.answered(&alice, None, Some((of(1), 10)), None), of(1));
        assert_eq!(gusses.since(&alice), None, "the HSS tells no time");
        gusses.answered(&alice, None, Some((of(2), 10)), Some(at(7)));
        assert_eq!((gusses.since(&alice), gusses.answered(&alice, Some(at(7)), None, None)), (Some(at(7)), of(2)));
        // No settings in an answer to a question without a time: the user has none.
        assert_eq!(gusses.answered(&alice, None, None, None), Guss::default());
        gusses.answered(&Impi::from("bob"), None, Some((of(3), 10)), Some(at(7)));
        assert_eq!(gusses.since(&Impi::from("bob")), None, "one user at most");
        gusses.answered(&alice, Some(at(7)), Some((of(4), LONGEST + 1)), Some(at(8)));
        assert_eq!(gusses.since(&alice), None);
    }
}
