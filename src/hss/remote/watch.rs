//! This node's Sh subscriptions (TS 29.328 §6.1.3), as bookkeeping: whose changes it is to be told, until when, and what is
//! due next. No I/O and no clock; [`super::notified`] sends what [`Watches::due`] gives.

use crate::identity::Impu;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a subscription asks for; an HSS may give less.
pub(super) const LASTS: Duration = Duration::from_secs(86_400);
/// One that the HSS ends sooner is not asked for more often than this.
const SHORTEST: Duration = Duration::from_secs(30);
/// Until a question that the HSS did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(30);
/// Questions begun at once; the rest waits for the next round.
const ROUND: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Subscribe,
    Unsubscribe,
}

/// What the HSS said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Good for so long.
    Yes(Duration),
    /// Nothing of the kind, as things are.
    No,
    /// Nothing.
    Away,
}

#[derive(Clone, Copy)]
struct Watch {
    next: Step,
    /// The HSS has been asked, so it may have the subscription.
    asked: bool,
    /// When `next` is due, on the monotonic clock.
    due: Duration,
}

#[derive(Default)]
struct Inner {
    held: HashMap<Impu, Watch>,
    due: BTreeSet<(Duration, Impu)>,
}

/// Of public identities, a bounded number.
pub(super) struct Watches {
    inner: Mutex<Inner>,
    most: usize,
}

impl Watches {
    pub(super) fn new(most: usize) -> Self {
        Watches { inner: Mutex::default(), most }
    }

    /// The node needs to know of this identity's changes.
    pub(super) fn want(&self, impu: &Impu, mono: Duration) {
        let mut inner = self.inner();
        match inner.held.get(impu).copied() {
            Some(Watch { next: Step::Subscribe, .. }) => {}
            Some(held) => inner.put(impu, Watch { next: Step::Subscribe, due: mono, ..held }),
            None if inner.held.len() < self.most => {
                inner.put(impu, Watch { next: Step::Subscribe, asked: false, due: mono });
            }
            None => {}
        }
    }

    /// It needs to no longer.
    pub(super) fn end(&self, impu: &Impu, mono: Duration) {
        let mut inner = self.inner();
        match inner.held.get(impu).copied() {
            Some(Watch { asked: false, .. }) => inner.remove(impu),
            Some(held) => inner.put(impu, Watch { next: Step::Unsubscribe, due: mono, ..held }),
            None => {}
        }
    }

    pub(super) fn has(&self, impu: &Impu) -> bool {
        self.inner().held.get(impu).is_some_and(|watch| watch.next == Step::Subscribe)
    }

    /// What the HSS is to be asked now. What is not answered comes again.
    pub(super) fn due(&self, mono: Duration) -> Vec<(Impu, Step)> {
        let mut inner = self.inner();
        let mut begun = Vec::new();
        while begun.len() < ROUND
            && let Some((_, impu)) = inner.due.first().filter(|(due, _)| *due <= mono).cloned()
            && let Some(watch) = inner.held.get(&impu).copied()
        {
            inner.put(&impu, Watch { asked: true, due: mono + PAUSE, ..watch });
            begun.push((impu, watch.next));
        }
        begun
    }

    /// The HSS's answer to what was asked at `mono`, or later.
    pub(super) fn answered(&self, impu: &Impu, step: Step, said: Said, mono: Duration) {
        let mut inner = self.inner();
        let Some(watch) = inner.held.get(impu).copied().filter(|watch| watch.next == step) else { return };
        match (step, said) {
            (Step::Subscribe, Said::Yes(lasts)) => {
                // Anew well before its time is over.
                let due = mono + (lasts.min(LASTS) / 2).max(SHORTEST);
                inner.put(impu, Watch { due, ..watch });
            }
            (Step::Subscribe, Said::Away) => {}
            // A subscription that cannot be ended ends with its time.
            (Step::Subscribe, Said::No) | (Step::Unsubscribe, _) => inner.remove(impu),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, impu: &Impu, watch: Watch) {
        if let Some(old) = self.held.insert(impu.clone(), watch) {
            self.due.remove(&(old.due, impu.clone()));
        }
        self.due.insert((watch.due, impu.clone()));
    }

    fn remove(&mut self, impu: &Impu) {
        if let Some(old) = self.held.remove(impu) {
            self.due.remove(&(old.due, impu.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_subscription_is_asked_for_once_and_again_before_it_ends() {
        let (watches, alice) = (Watches::new(10), Impu::from("sip:alice"));
        let due = |seconds| watches.due(at(seconds));
        let ask = |step| vec![(alice.clone(), step)];
        watches.want(&alice, at(1));
        watches.want(&alice, at(1));
        assert_eq!((due(1), due(1)), (ask(Step::Subscribe), vec![]), "once, while the answer is waited for");
        assert!(watches.has(&alice));
        watches.answered(&alice, Step::Subscribe, Said::Yes(HOUR), at(1));
        watches.want(&alice, at(2));
        assert_eq!((due(1800), due(1801)), (vec![], ask(Step::Subscribe)));
        watches.answered(&alice, Step::Subscribe, Said::Away, at(1801));
        assert_eq!((due(1830), due(1831)), (vec![], ask(Step::Subscribe)), "the HSS was away");
        watches.answered(&alice, Step::Subscribe, Said::Yes(at(1)), at(1831));
        assert_eq!((due(1860), due(1861)), (vec![], ask(Step::Subscribe)), "an HSS that gives a second");
        watches.end(&alice, at(1862));
        assert!(!watches.has(&alice));
        assert_eq!(due(1862), ask(Step::Unsubscribe));
        // The answer to what was asked before says nothing of it any more.
        watches.answered(&alice, Step::Subscribe, Said::Yes(HOUR), at(1863));
        watches.answered(&alice, Step::Unsubscribe, Said::Away, at(1863));
        assert!(due(100_000).is_empty());
    }

    #[test]
    fn who_comes_back_is_watched_and_who_was_refused_is_not() {
        let (watches, alice) = (Watches::new(1), Impu::from("sip:alice"));
        watches.want(&alice, at(1));
        watches.end(&alice, at(1));
        assert!(watches.due(at(1)).is_empty(), "the HSS never heard of it");
        watches.want(&alice, at(2));
        watches.want(&Impu::from("sip:bob"), at(2));
        assert_eq!(watches.due(at(2)).len(), 1, "one at most");
        watches.end(&alice, at(3));
        watches.want(&alice, at(3));
        assert_eq!(watches.due(at(3)), [(alice.clone(), Step::Subscribe)]);
        watches.answered(&alice, Step::Subscribe, Said::No, at(3));
        assert!(!watches.has(&alice) && watches.due(at(100_000)).is_empty());
    }

    #[test]
    fn many_are_asked_for_in_rounds() {
        let watches = Watches::new(1000);
        (0..200).for_each(|user| watches.want(&Impu::new(format!("sip:{user}")), at(0)));
        assert_eq!([0, 0, 0].map(|now| watches.due(at(now)).len()), [ROUND, 200 - ROUND, 0]);
    }
}
