//! Profiles of the users who are registered here, as the HSS told them last: in the answer to SAR, or since then with PPR
//! (`pushed`). What the HSS begins while a SAR of the user is under way is newer than the answer, which it may overtake.

use crate::hss::profile::Profile;
use crate::identity::Impi;
use crate::shelf::Map;
use std::sync::Arc;

/// What the HSS has begun since it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meanwhile {
    Nothing,
    Changed,
    Ended,
}

pub(super) struct Profiles {
    held: Map<Impi, Arc<Profile>>,
    /// Users with a SAR under way.
    asked: Map<Impi, Meanwhile>,
    most: usize,
}

impl Profiles {
    /// `most`: of so many users; one that is not held is asked for again.
    pub(super) fn new(most: usize) -> Self {
        Profiles { held: Map::default(), asked: Map::default(), most }
    }

    pub(super) fn get(&self, impi: &str) -> Option<Arc<Profile>> {
        self.held.get(impi).map(|held| held.clone())
    }

    /// Held, or about to be.
    pub(super) fn has(&self, impi: &str) -> bool {
        self.held.contains_key(impi) || self.asked.contains_key(impi)
    }

    /// PPR
    pub(super) fn change(&self, impi: &Impi, profile: Profile) {
        // Held until the end: an answer to SAR is settled before this or after it.
        let mut asked = self.asked.get_mut(impi.as_str());
        if let Some(meanwhile) = &mut asked {
            **meanwhile = Meanwhile::Changed;
        }
        self.hold(impi, Arc::new(profile));
    }

    /// The user is not registered any more: RTR, or a deregistration of ours.
    pub(super) fn end(&self, impi: &Impi) {
        let mut asked = self.asked.get_mut(impi.as_str());
        if let Some(meanwhile) = &mut asked {
            **meanwhile = Meanwhile::Ended;
        }
        self.held.remove(impi.as_str());
    }

    /// A SAR that registers the user is under way until the answer is [settled](Asking::settle), or dropped. `first`: he is
    /// not registered yet.
    pub(super) fn ask(&self, impi: &Impi, first: bool) -> Asking<'_> {
        self.asked.insert(impi.clone(), Meanwhile::Nothing);
        Asking { profiles: self, impi: impi.clone(), before: self.get(impi.as_str()), first, settled: false }
    }

    fn hold(&self, impi: &Impi, profile: Arc<Profile>) {
        if self.held.len() < self.most || self.held.contains_key(impi.as_str()) {
            self.held.insert(impi.clone(), profile);
        }
    }
}

pub(super) struct Asking<'a> {
    profiles: &'a Profiles,
    impi: Impi,
    before: Option<Arc<Profile>>,
    first: bool,
    settled: bool,
}

impl Asking<'_> {
    /// What counts now that the HSS has agreed, and `given` this or nothing.
    pub(super) fn latest(&self, given: Option<Profile>) -> Option<Profile> {
        let changed = match self.meanwhile() {
            Meanwhile::Changed => self.profiles.get(self.impi.as_str()),
            Meanwhile::Nothing | Meanwhile::Ended => None,
        };
        let clone = |held: &Arc<Profile>| Profile::clone(held);
        changed.as_ref().map(clone).or(given).or_else(|| self.before.as_ref().map(clone))
    }

    /// The user is registered with this profile, unless the HSS has changed or ended it again.
    pub(super) fn settle(mut self, profile: &Profile) {
        self.settled = true;
        let meanwhile = self.profiles.asked.get(self.impi.as_str());
        if meanwhile.as_deref().is_none_or(|meanwhile| *meanwhile == Meanwhile::Nothing) {
            self.profiles.hold(&self.impi, Arc::new(profile.clone()));
        }
        drop(meanwhile);
    }

    fn meanwhile(&self) -> Meanwhile {
        self.profiles.asked.get(self.impi.as_str()).map_or(Meanwhile::Nothing, |meanwhile| *meanwhile)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.profiles.asked.remove(self.impi.as_str());
        if self.first && !self.settled && self.before.is_none() {
            // Not registered after all, so a profile that has come meanwhile is nobody's.
            self.profiles.held.remove(self.impi.as_str());
        }
    }
}
