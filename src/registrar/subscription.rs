//! What the HSS said of users' broadcast subscriptions, and for what it was asked (claims 3 and 10): the memory behind
//! `verify`'s "cached" and "new_services". Shared by all workers.

use crate::broadcast::identify::Portion;
use crate::broadcast::provisioning::{Operation, Request};
use crate::clock::Time;
use crate::hss::BroadcastSubscription;
use crate::identity::{Impi, Recent, common};
use crate::shelf::{Named, Shelf};
use arcstr::ArcStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the result of a check is remembered at most.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// NAFs and service ids remembered for one user; beyond that he is asked about anew.
const COVERED_MAX: usize = 256;

/// What a check is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    naf: String,
    /// None: the payload cannot be read, so it can want anything.
    services: Option<Vec<String>>,
}

impl Wanted {
    /// The NAF and, if they are to be `read`, the service ids that a portion asks for; giving one up needs no subscription.
    fn of(portion: &Portion, read: bool) -> Self {
        let services = match &portion.payload {
            Some(payload) if read => match Request::parse(&payload.octets) {
                Ok(request) if request.operation == Operation::Unsubscribe => Some(Vec::new()),
                Ok(request) => Some(request.items),
                Err(_) => None,
            },
            _ => Some(Vec::new()),
        };
        Wanted { naf: portion.naf.fqdn().to_ascii_lowercase(), services }
    }
}

/// The last check of one user.
#[derive(Debug, Clone)]
struct Check {
    impi: Impi,
    made: Time,
    found: Arc<Found>,
}

impl Named for Check {
    type Name = str;

    fn name(&self) -> &str {
        self.impi.as_str()
    }
}

impl Check {
    fn is_fresh(&self, age: Duration, mono: Duration) -> bool {
        mono.saturating_sub(self.made.get()) <= age.min(KEPT) && self.found.subscription.is_subscribed()
    }
}

/// What came of checks: mostly the same as of all others', and then the same thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Found {
    subscription: BroadcastSubscription,
    /// About which NAFs and service ids it was asked.
    nafs: Box<[ArcStr]>,
    services: Box<[String]>,
}

impl Found {
    fn covers(&self, naf: &str, mut services: impl Iterator<Item = impl AsRef<str>>) -> bool {
        self.nafs.iter().any(|held| *held == naf)
            && services.all(|id| self.services.iter().any(|held| held == id.as_ref()))
    }

    /// With what the HSS has just said. What it does not let the user have any more is covered no longer.
    fn followed_by(&self, wanted: &Wanted, subscription: BroadcastSubscription) -> Found {
        let allowed = |service: &&String| allows(&subscription, service);
        let mut services: Box<[String]> = self.services.iter().filter(allowed).cloned().collect();
        let mut nafs = Box::default();
        if subscription.is_subscribed() {
            nafs = self.nafs.clone();
            add(&mut nafs, std::slice::from_ref(&common(&wanted.naf)));
            let new: Vec<String> = wanted.services.iter().flatten().filter(allowed).cloned().collect();
            add(&mut services, &new);
        }
        Found { subscription, nafs, services }
    }
}

fn allows(subscription: &BroadcastSubscription, service: &String) -> bool {
    match subscription {
        BroadcastSubscription::None => false,
        BroadcastSubscription::All => true,
        BroadcastSubscription::Services(ids) => ids.contains(service),
    }
}

thread_local! {
    static FOUND: Recent<Arc<Found>> = const { Recent::new() };
}

/// The last check of each user.
#[derive(Default)]
pub struct Checks {
    held: Shelf<Check>,
    /// Whether anybody has asked for "new_services" yet: until then no payload is read for its service ids.
    by_services: AtomicBool,
}

impl Checks {
    /// What is asked for, as far as it matters. `new_services`: this question is about just that.
    pub fn wanted(&self, portion: &Portion, new_services: bool) -> Wanted {
        if new_services {
            self.by_services.store(true, Ordering::Relaxed);
        }
        Wanted::of(portion, self.by_services.load(Ordering::Relaxed))
    }

    /// Whether a check not older than `age` found a subscription. A refusal is asked anew: the user may have
    /// subscribed meanwhile.
    pub fn is_fresh(&self, impi: &Impi, age: Duration, mono: Duration) -> bool {
        self.held.get(impi.as_str()).is_some_and(|held| held.is_fresh(age, mono))
    }

    /// Whether successful checks that are still held were about all that is wanted now.
    pub fn covers(&self, impi: &Impi, wanted: &Wanted, mono: Duration) -> bool {
        let Some(services) = &wanted.services else { return false };
        let covers = |held: &Check| held.is_fresh(KEPT, mono) && held.found.covers(&wanted.naf, services.iter());
        self.held.get(impi.as_str()).is_some_and(|held| covers(&held))
    }

    /// Takes down what the HSS has just said.
    pub fn record(&self, impi: &Impi, wanted: &Wanted, subscription: BroadcastSubscription, mono: Duration) {
        let mut slot = self.held.slot(impi.as_str());
        let held = slot.or_put(|| Check { impi: impi.clone(), made: mono.into(), found: Arc::default() });
        held.made = mono.into();
        let new = wanted.services.iter().flatten().filter(|service| allows(&subscription, service));
        if held.found.subscription == subscription
            && (!subscription.is_subscribed() || held.found.covers(&wanted.naf, new))
        {
            return;
        }
        let found = held.found.followed_by(wanted, subscription);
        held.found = FOUND.with(|recent| recent.same(|one| **one == found, || Arc::new(found.clone())));
    }

    pub fn forget(&self, impi: &Impi) {
        self.held.remove(impi.as_str());
    }

    /// Gives the memory of old checks back; they count no more anyway.
    pub fn sweep(&self, mono: Duration) {
        self.held.retain(|held| mono.saturating_sub(held.made.get()) < KEPT);
    }
}

/// Remembers within bounds: a full list starts anew with what is asked for now.
fn add<T: Clone + PartialEq>(list: &mut Box<[T]>, new: &[T]) {
    let new: Vec<&T> = new.iter().take(COVERED_MAX).filter(|one| !list.contains(one)).collect();
    if new.is_empty() {
        return;
    }
    let held = if list.len() + new.len() > COVERED_MAX { &[] } else { &**list };
    let mut all = Vec::with_capacity(held.len() + new.len());
    all.extend_from_slice(held);
    for one in new {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
    *list = all.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(naf: &str, services: &[&str]) -> Wanted {
        Wanted { naf: naf.into(), services: Some(services.iter().map(|s| s.to_string()).collect()) }
    }

    fn some(ids: &[&str]) -> BroadcastSubscription {
        BroadcastSubscription::Services(ids.iter().map(|id| id.to_string()).collect())
    }

    const NOON: Duration = Duration::from_secs(1000);

    #[test]
    fn covered_is_what_a_successful_check_was_about() {
        let (checks, alice) = (Checks::default(), Impi::from("alice"));
        assert!(!checks.covers(&alice, &wanted("n1", &[]), NOON));
        checks.record(&alice, &wanted("n1", &["a"]), BroadcastSubscription::All, NOON);
        assert!(checks.covers(&alice, &wanted("n1", &["a"]), NOON) && checks.covers(&alice, &wanted("n1", &[]), NOON));
        assert!(!checks.covers(&alice, &wanted("n1", &["a", "b"]), NOON), "a new service");
        assert!(!checks.covers(&alice, &wanted("n2", &[]), NOON), "a new NAF");
        assert!(!checks.covers(&Impi::from("bob"), &wanted("n1", &[]), NOON));
        checks.record(&alice, &wanted("n2", &["b"]), BroadcastSubscription::All, NOON);
        assert!(checks.covers(&alice, &wanted("n1", &["a", "b"]), NOON), "checks add up");
        assert!(!checks.covers(&alice, &Wanted { services: None, ..wanted("n1", &[]) }, NOON), "cannot be read");
        assert!(!checks.covers(&alice, &wanted("n1", &["a"]), NOON + KEPT + KEPT), "not held any more");
    }

    #[test]
    fn a_refused_service_and_a_lost_subscription_are_asked_about_again() {
        let (checks, alice) = (Checks::default(), Impi::from("alice"));
        checks.record(&alice, &wanted("n", &["a", "b"]), some(&["a"]), NOON);
        assert!(checks.covers(&alice, &wanted("n", &["a"]), NOON));
        assert!(!checks.covers(&alice, &wanted("n", &["b"]), NOON));
        checks.record(&alice, &wanted("n", &[]), some(&["b"]), NOON);
        assert!(!checks.covers(&alice, &wanted("n", &["a"]), NOON));
        checks.record(&alice, &wanted("n", &["b"]), BroadcastSubscription::None, NOON);
        assert!(!checks.covers(&alice, &wanted("n", &[]), NOON));
        assert!(!checks.is_fresh(&alice, KEPT, NOON));
        checks.record(&alice, &wanted("n", &["b"]), BroadcastSubscription::All, NOON);
        assert!(checks.is_fresh(&alice, Duration::from_secs(5), NOON + Duration::from_secs(5)));
        assert!(!checks.is_fresh(&alice, Duration::from_secs(5), NOON + Duration::from_secs(6)));
        checks.forget(&alice);
        assert!(!checks.covers(&alice, &wanted("n", &[]), NOON));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (checks, alice) = (Checks::default(), Impi::from("alice"));
        for n in 0..10_000 {
            checks.record(&alice, &wanted(&format!("n{n}"), &[&format!("s{n}")]), BroadcastSubscription::All, NOON);
        }
        let held = checks.held.get("alice").unwrap().found.clone();
        assert!(held.nafs.len() <= COVERED_MAX && held.services.len() <= COVERED_MAX);
        assert!(checks.covers(&alice, &wanted("n9999", &["s9999"]), NOON));
        checks.sweep(NOON + KEPT);
        assert!(checks.held.is_empty());
    }
}
