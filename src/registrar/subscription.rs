//! What the HSS said of users' broadcast subscriptions, and for what it was asked (claims 3 and 10): the memory behind
//! `verify`'s "cached" and "new_services". Shared by all workers.

use crate::broadcast::identify::Portion;
use crate::broadcast::provisioning::{Operation, Request};
use crate::hss::BroadcastSubscription;
use crate::identity::{Impi, Recent, common};
use crate::shelf::{Named, Shelf};
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

#[derive(Debug, Clone)]
struct Check {
    impi: Impi,
    made: Duration,
    subscription: BroadcastSubscription,
    /// Mostly those that all others have as well.
    nafs: Arc<[Arc<str>]>,
    services: Box<[String]>,
}

impl Named for Check {
    type Name = str;

    fn name(&self) -> &str {
        self.impi.as_str()
    }
}

thread_local! {
    static NAFS: Recent<[Arc<str>]> = const { Recent::new() };
}

/// The last check of each user.
#[derive(Default)]
pub struct Checks {
    held: Shelf<Box<Check>>,
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
        self.held
            .get(impi.as_str())
            .is_some_and(|held| mono.saturating_sub(held.made) <= age.min(KEPT) && held.subscription.is_subscribed())
    }

    /// Whether successful checks that are still held were about all that is wanted now.
    pub fn covers(&self, impi: &Impi, wanted: &Wanted, mono: Duration) -> bool {
        let Some(services) = &wanted.services else { return false };
        self.is_fresh(impi, KEPT, mono)
            && self.held.get(impi.as_str()).is_some_and(|held| {
                held.nafs.iter().any(|naf| **naf == *wanted.naf)
                    && services.iter().all(|service| held.services.contains(service))
            })
    }

    /// Takes down what the HSS has just said. What it does not let the user have any more is covered no longer.
    pub fn record(&self, impi: &Impi, wanted: &Wanted, subscription: BroadcastSubscription, mono: Duration) {
        let mut slot = self.held.slot(impi.as_str());
        let held = slot.or_put(|| {
            let (subscription, nafs, services) = (BroadcastSubscription::None, Arc::default(), Box::default());
            Box::new(Check { impi: impi.clone(), made: mono, subscription, nafs, services })
        });
        held.made = mono;
        let allowed = |service: &String| match &subscription {
            BroadcastSubscription::None => false,
            BroadcastSubscription::All => true,
            BroadcastSubscription::Services(ids) => ids.contains(service),
        };
        if !held.services.iter().all(allowed) {
            held.services = std::mem::take(&mut held.services).into_iter().filter(allowed).collect();
        }
        if subscription.is_subscribed() {
            let mut nafs = Box::from(&*held.nafs);
            add(&mut nafs, std::slice::from_ref(&common(&wanted.naf)));
            held.nafs = NAFS.with(|recent| recent.same(|one| *one == *nafs, || Arc::from(&*nafs)));
            let new: Vec<String> = wanted.services.iter().flatten().filter(|id| allowed(id)).cloned().collect();
            add(&mut held.services, &new);
        } else {
            held.nafs = Arc::default();
        }
        held.subscription = subscription;
    }

    pub fn forget(&self, impi: &Impi) {
        self.held.remove(impi.as_str());
    }

    /// Gives the memory of old checks back; they count no more anyway.
    pub fn sweep(&self, mono: Duration) {
        self.held.retain(|held| mono.saturating_sub(held.made) < KEPT);
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
        let held = checks.held.get("alice").unwrap().clone();
        assert!(held.nafs.len() <= COVERED_MAX && held.services.len() <= COVERED_MAX);
        assert!(checks.covers(&alice, &wanted("n9999", &["s9999"]), NOON));
        checks.sweep(NOON + KEPT);
        assert!(checks.held.is_empty());
    }
}
