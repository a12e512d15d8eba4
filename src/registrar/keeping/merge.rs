//! What becomes of a user whom another node of a shared store has changed meanwhile.

use super::{Trail, Users, gone_of};
use crate::gba::bootstrap::Bootstrap;
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
        theirs: Option<Whole>,
        gone: Vec<Gone>,
        keys: Vec<(Arc<Bootstrap>, Duration)>,
        times: Times,
    ) {
        let mut gone = gone;
        let mine_closed = match self.trails.get(impi.as_str()) {
            Some(trail) => {
                gone.extend(trail.gone.iter().cloned());
                trail.closed
            }
            None => 0,
        };
        let mut left = None;
        self.table.merge(impi, |mine| {
            let merged = merged(impi, mine, theirs, &gone, mine_closed, times);
            left.clone_from(&merged);
            merged
        });
        let present =
            left.as_ref().map_or(Vec::new(), |w| w.registration.bindings.iter().map(|b| gone_of(b, times)).collect());
        let now = times.to_store(times.mono);
        gone.retain(|gone| gone.until > now);
        gone.sort_by(|a, b| (&a.uri, a.at).cmp(&(&b.uri, b.at)));
        gone.dedup_by(|b, a| {
            a.uri == b.uri && a.instance == b.instance && a.reg_id == b.reg_id && {
                a.at = a.at.max(b.at);
                true
            }
        });
        let closed = left.as_ref().map_or(mine_closed, |whole| whole.closed);
        self.trails.insert(impi.clone(), Trail { bindings: present, gone, closed });
        let mine = self.bootstraps.held(impi);
        let newest = |all: Option<u64>| all.unwrap_or(0);
        if left.is_none_or(|whole| whole.registration.bindings.is_empty()) && keys.is_empty() {
            self.bootstraps.remove(impi);
        } else if newest(keys.first().map(|(k, _)| k.expires)) > newest(mine.first().map(|(k, _)| k.expires)) {
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
) -> Option<Whole> {
    let nobody = || Whole { registration: Registration::none(impi), leg: None, closed: 0 };
    let (mine, mut out) = (mine.unwrap_or_else(nobody), theirs.unwrap_or_else(nobody));
    if out.registration.impus.is_empty() {
        out.registration.impus = mine.registration.impus;
        out.registration.barred = mine.registration.barred;
    }
    for binding in mine.registration.bindings {
        match out.registration.bindings.iter_mut().find(|other| other.is(&binding)) {
            Some(other) if binding.is_newer_than(other) => *other = binding,
            Some(_) => {}
            None if binding.until > times.mono => out.registration.bindings.push(binding),
            None => {}
        }
    }
    let out_stays = |gone: &Gone, since: Duration| times.to_store(since) <= gone.at;
    out.registration.bindings.retain(|b| !gone.iter().any(|gone| gone.was(b) && out_stays(gone, b.since)));
    out.closed = out.closed.max(mine.closed).max(mine_closed);
    let age = |leg: &Leg| (leg.serial, leg.changes);
    out.leg = match (out.leg, mine.leg) {
        (Some(theirs), Some(mine)) => Some(if age(&mine) > age(&theirs) { mine } else { theirs }),
        (theirs, mine) => theirs.or(mine),
    };
    let closed = out.closed;
    out.leg = out.leg.filter(|leg| leg.serial > closed);
    (!out.registration.bindings.is_empty()).then_some(out)
}
