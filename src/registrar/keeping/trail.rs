//! What a node knows of a user in a shared store, and what is gone since: so that what it saves tells others what must
//! not come back.

use super::Users;
use crate::identity::{Impi, Impus};
use crate::registrar::binding::Binding;
use crate::registrar::document::{Gone, Times, Untold};
use crate::registrar::table::Leg;

#[derive(Default)]
pub(super) struct Trail {
    /// Those that are there; `at`: since when.
    pub(super) bindings: Vec<Gone>,
    pub(super) gone: Vec<Gone>,
    pub(super) closed: u64,
    /// What lies in the store has contacts.
    pub(super) stored: bool,
    /// What is being saved has contacts.
    pub(super) said: bool,
}

impl Users {
    /// For what a REGISTER is about to change ([`Binding::since`]). Nodes differ about the store's clock by a few milliseconds,
    /// on busy machines by more, and what one acknowledges after another must not look like the earlier.
    pub(in crate::registrar) fn since(&self, impi: &Impi) -> u64 {
        let times = self.times();
        let known = self
            .trails
            .get(impi.as_str())
            .map_or(0, |trail| trail.bindings.iter().chain(&trail.gone).map(|gone| gone.at).max().unwrap_or(0));
        times.to_store(times.mono).max(known + 1)
    }

    /// Notes what is gone since this node saved the user last, and what is there now.
    pub(super) fn trail(&self, impi: &Impi, present: Vec<Gone>, leg: u64, now: u64) -> (Vec<Gone>, u64) {
        let mut trail = self.trails.entry(impi.clone()).or_default();
        let left = trail.left(&present, now);
        trail.gone.retain(|gone| gone.until > now && !left.iter().any(|new| new.is(gone)));
        trail.gone.extend(left);
        trail.said = !present.is_empty();
        trail.bindings = present;
        trail.closed = trail.closed.max(leg);
        (trail.gone.clone(), trail.closed)
    }

    /// An end that has yet to be stored or told, for the save that is about to be made. It is nobody's to tell if the
    /// store has no contacts either: another node ended them.
    pub(super) fn ending(&self, impi: &Impi, registered: bool) -> Option<(Untold, Impus, Option<Leg>)> {
        let stored = self.trails.get(impi.as_str()).is_some_and(|trail| trail.stored);
        let mut ending = self.endings.get_mut(impi.as_str())?;
        ending.said = !registered && (stored || ending.stored);
        let untold = || Untold { cause: ending.cause.clone(), by: self.me };
        ending.said.then(|| (untold(), ending.impus.clone(), ending.leg.clone()))
    }
}

impl Trail {
    /// What this node knew and has no longer, and others may have.
    pub(super) fn left(&self, present: &[Gone], now: u64) -> Vec<Gone> {
        let left = |old: &&Gone| old.until > now && !present.iter().any(|new| new.is(old));
        self.bindings.iter().filter(left).cloned().collect()
    }
}

pub(super) fn gone_of(contact: &Binding, times: Times) -> Gone {
    Gone {
        uri: contact.uri().to_owned(),
        instance: contact.instance().map(str::to_owned),
        reg_id: contact.reg_id,
        at: contact.since,
        until: times.to_store(contact.latest.get()),
    }
}
