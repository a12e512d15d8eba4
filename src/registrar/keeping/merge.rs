//! What becomes of a user whom another node of a shared store has changed meanwhile.

use super::Users;
use super::trail::{Trail, gone_of};
use crate::gba::bootstrap::{Bootstrap, Made};
use crate::identity::Impi;
use crate::registrar::Registration;
use crate::registrar::document::{Gone, Times};
use crate::registrar::table::{Leg, Whole};
use std::sync::Arc;
use std::time::Duration;

impl Users {
    pub(super) fn reconcile_shared(
        &self,
        impi: &Impi,
        by_another: bool,
        theirs: Option<Whole>,
        gone: Vec<Gone>,
        mut keys: Vec<(Arc<Bootstrap>, Duration)>,
        times: Times,
    ) {
        let mut gone = gone;
        let now = times.to_store(times.mono);
        let stored = theirs.as_ref().is_some_and(|theirs| !theirs.registration.bindings.is_empty());
        let (mut left, mut mine_closed, mut said) = (None, 0, false);
        self.table.merge(impi, |mine| {
            if let Some(trail) = self.trails.get(impi.as_str()) {
                // Also what was taken out here a moment ago and has yet to be saved.
                let mine = mine.iter().flat_map(|mine| &mine.registration.bindings);
                let mine: Vec<Gone> = mine.map(|binding| gone_of(binding, times)).collect();
                gone.extend(trail.gone.iter().cloned());
                gone.extend(trail.left(&mine, now));
                (mine_closed, said) = (trail.closed, trail.said);
            }
            let merged = merged(impi, mine, theirs, &gone, mine_closed, times);
            left = Some(merged.clone());
            Some(merged)
        });
        let over = left.take_if(|whole| whole.registration.bindings.is_empty()).filter(|_| stored);
        self.end_is_met(
            impi,
            by_another,
            stored,
            left.is_some(),
            over.map(|whole| (whole.registration.impus, whole.leg)),
        );
        let present =
            left.as_ref().map_or(Vec::new(), |w| w.registration.bindings.iter().map(|b| gone_of(b, times)).collect());
        gone.retain(|gone| gone.until > now);
        gone.sort_by(|a, b| (&a.uri, a.at).cmp(&(&b.uri, b.at)));
        gone.dedup_by(|b, a| {
            a.is(b) && {
                a.at = a.at.max(b.at);
                true
            }
        });
        let closed = left.as_ref().map_or(mine_closed, |whole| whole.closed);
        self.trails.insert(impi.clone(), Trail { bindings: present, gone, closed, stored, said });
        let newest = |all: &[(Arc<Bootstrap>, Duration)]| all.first().map(|(_, until)| *until);
        if left.is_none() {
            // What came over Ub is no registration's, so it stays.
            self.bootstraps.end_registration(impi);
            keys.retain(|(bootstrap, _)| bootstrap.made == Made::OverUb);
        }
        if newest(&keys) > newest(&self.bootstraps.held(impi)) {
            self.bootstraps.put_back(impi, keys);
        }
    }
}

/// The outcome of what this node has of a user and what lies in the store: contact by contact the later REGISTER counts,
/// and what was taken out after it stays out.
pub(super) fn merged(
    impi: &Impi,
    mine: Option<Whole>,
    theirs: Option<Whole>,
    gone: &[Gone],
    mine_closed: u64,
    times: Times,
) -> Whole {
    let nobody = || Whole { registration: Registration::none(impi), leg: None, closed: 0 };
    let (mine, mut out) = (mine.unwrap_or_else(nobody), theirs.unwrap_or_else(nobody));
    if out.registration.impus.is_empty() {
        out.registration.impus = mine.registration.impus;
        out.registration.barred = mine.registration.barred;
    }
    for binding in mine.registration.bindings {
        match out.registration.bindings.iter_mut().find(|other| other.is(&binding)) {
            Some(other) => {
                let latest = binding.latest.max(other.latest);
                if binding.is_newer_than(other) {
                    *other = binding;
                }
                other.latest = latest;
            }
            None if binding.until > times.mono => out.registration.bindings.push(binding),
            None => {}
        }
    }
    out.registration.bindings.retain(|b| !gone.iter().any(|gone| gone.was(b) && b.since <= gone.at));
    out.closed = out.closed.max(mine.closed).max(mine_closed);
    let age = |leg: &Leg| (leg.serial, leg.changes);
    out.leg = match (out.leg, mine.leg) {
        (Some(theirs), Some(mine)) => Some(if age(&mine) > age(&theirs) { mine } else { theirs }),
        (theirs, mine) => theirs.or(mine),
    };
    let closed = out.closed;
    out.leg = out.leg.filter(|leg| leg.serial > closed);
    out
}
