//! The hot copy of the subscribers: found by IMPI and by IMPU, filled as they are asked for or by a walk of the store.
//!
//! On a store of the node's own it is complete once it has been filled, and what it does not have does not exist. On a
//! shared store it is a cache: a record counts for [`FRESH`], and is kept longer only for the time in which the store is
//! away.

use super::auc::Auc;
use super::foreign::{self, Change, Observer};
use super::local::Local;
use super::subscriber::{Registration, Stored, StoredSqn, Subscriber, Watcher};
use crate::clock::{Date, Now};
use crate::few::Few;
use crate::hss::{HssError, RegState};
use crate::identity::{Impi, Impu};
use crate::shelf::{self, MappedMutexGuard, Named, Shelf};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a record of a shared store is taken for what lies there, in milliseconds.
const FRESH: u64 = 3_000;
/// And how long it is kept after it was last read; far longer than an SQN can be ahead of the clock.
const KEPT: u64 = 600_000;

/// What changes while a node runs. It outlives a change of the provisioned part. A panic of who has it leaves nothing half
/// done: each change is a single assignment.
type Live = shelf::Mutex<(Auc, Registration)>;

/// Where a record's live part is.
#[derive(Debug)]
enum Life {
    /// With it, in one piece of memory.
    Own(Live),
    /// With the first one that there was of the subscriber.
    Of(Arc<Record>),
}

/// Which of a subscriber's two registrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Which {
    pub ims: bool,
    pub broadcast: bool,
}

impl Which {
    pub(super) const IMS: Which = Which { ims: true, broadcast: false };
    pub(super) const BROADCAST: Which = Which { ims: false, broadcast: true };

    fn bits(self) -> u8 {
        u8::from(self.ims) | u8::from(self.broadcast) << 1
    }

    fn of_bits(bits: u8) -> Self {
        Which { ims: bits & 1 != 0, broadcast: bits & 2 != 0 }
    }
}

/// One subscriber.
#[derive(Debug)]
pub(super) struct Record {
    pub subscriber: Subscriber,
    /// When it was provisioned.
    pub changed: Option<Date>,
    /// Who is told over Sh when the subscriber's data change.
    pub watchers: Few<Watcher>,
    life: Life,
    /// What the writer has yet to write; it is in its queue if there is any. That of the record with the live part counts.
    queued: AtomicU8,
    /// When it was last read from the store, as [`Directory::present`].
    read: AtomicU64,
}

impl Named for Record {
    type Name = str;

    fn name(&self) -> &str {
        self.subscriber.impi.as_str()
    }
}

/// A public identity and whose it is.
struct Alias {
    record: Arc<Record>,
    /// Which of the subscriber's it is; none, which cannot be, has no name.
    place: usize,
}

impl Named for Alias {
    type Name = str;

    fn name(&self) -> &str {
        self.record.subscriber.impus.get(self.place).map_or("", Impu::as_str)
    }
}

impl Alias {
    /// All of a subscriber's.
    fn all(record: &Arc<Record>) -> impl Iterator<Item = Alias> {
        (0..record.subscriber.impus.len()).map(|place| Alias { record: record.clone(), place })
    }
}

/// A panic of another holder leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Record {
    /// The one that has the live part, and that.
    fn first(&self) -> (&Record, &Live) {
        match &self.life {
            Life::Own(live) => (self, live),
            Life::Of(first) => first.first(),
        }
    }

    fn live(&self) -> &Live {
        self.first().1
    }

    fn queued(&self) -> &AtomicU8 {
        &self.first().0.queued
    }

    /// With [`Record::registration`] under one lock: none may be asked for while the other is held.
    pub(super) fn auc(&self) -> MappedMutexGuard<'_, Auc> {
        shelf::MutexGuard::map(self.live().lock(), |(auc, _)| auc)
    }

    pub(super) fn registration(&self) -> MappedMutexGuard<'_, Registration> {
        shelf::MutexGuard::map(self.live().lock(), |(_, registration)| registration)
    }

    /// Whether the provisioned part is this.
    fn is(&self, subscriber: &Subscriber, changed: Option<Date>, watchers: &Few<Watcher>) -> bool {
        let Subscriber { impi, impus, credentials, amf, sqn, broadcast, service } = &self.subscriber;
        changed == self.changed
            && *watchers == self.watchers
            && credentials.is(&subscriber.credentials)
            && (impi, impus, amf, sqn) == (&subscriber.impi, &subscriber.impus, &subscriber.amf, &subscriber.sqn)
            && (broadcast, service) == (&subscriber.broadcast, &subscriber.service)
    }

    /// True if the caller has to put it into the writer's queue.
    pub(super) fn enqueue(&self, which: Which) -> bool {
        self.queued().fetch_or(which.bits(), Ordering::AcqRel) == 0
    }

    /// Out of the queue: what changes from now on has to be written again.
    pub(super) fn dequeue(&self) -> (Registration, Which) {
        let which = self.queued().swap(0, Ordering::AcqRel);
        (self.registration().clone(), Which::of_bits(which))
    }
}

/// Whom a question is about.
#[derive(Clone, Debug)]
pub(super) enum Sought {
    Impi(Impi),
    Impu(Impu),
    /// Both have to exist and belong together (TS 29.228 §6.3.1, §6.1.2.1).
    Both(Impi, Impu),
    /// Whichever it is.
    Either(Impi, Impu),
}

pub(super) struct Directory {
    by_impi: Shelf<Arc<Record>>,
    by_impu: Shelf<Alias>,
    local: Arc<Local>,
    /// The store is several nodes'.
    shared: bool,
    /// All that the store has is here, or was refused as damaged.
    complete: AtomicBool,
    /// Milliseconds of the monotonic clock when it was last told.
    present: AtomicU64,
    /// Removed while the node runs, not yet taken note of by the registrar.
    removed: Mutex<Vec<Impi>>,
    pub observer: Observer,
    /// Removed while the directory was being filled: what the walk has read of them is out of date.
    gone: Mutex<HashSet<Impi>>,
}

impl Directory {
    pub(super) fn new(local: Arc<Local>, shared: bool) -> Self {
        Directory {
            by_impi: Shelf::default(),
            by_impu: Shelf::default(),
            local,
            shared,
            complete: AtomicBool::new(false),
            present: AtomicU64::new(0),
            removed: Mutex::default(),
            observer: Observer::default(),
            gone: Mutex::default(),
        }
    }

    /// What time it is.
    pub(super) fn tell(&self, now: Now) {
        self.present.fetch_max(u64::try_from(now.mono.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    fn present(&self) -> u64 {
        self.present.load(Ordering::Acquire)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    pub(super) fn set_complete(&self) {
        let mut gone = lock(&self.gone);
        self.complete.store(true, Ordering::Release);
        *gone = HashSet::new();
    }

    pub(super) fn len(&self) -> usize {
        self.by_impi.len()
    }

    /// No lock is held while `each` runs.
    pub(super) fn for_each(&self, mut each: impl FnMut(&Arc<Record>)) {
        let mut all: Vec<Arc<Record>> = Vec::new();
        self.by_impi.for_each(|record| all.push(record.clone()));
        all.iter().for_each(&mut each);
    }

    /// Whether the record counts as what lies in the store.
    pub(super) fn is_fresh(&self, record: &Record) -> bool {
        !self.shared || self.present().saturating_sub(record.read.load(Ordering::Acquire)) < FRESH
    }

    pub(super) fn find(&self, sought: &Sought) -> Result<Arc<Record>, HssError> {
        let by_impi =
            |impi: &Impi| self.by_impi.get(impi.as_str()).map(|record| record.clone()).ok_or(HssError::UserUnknown);
        let by_impu = |impu: &Impu| {
            self.by_impu.get(impu.as_str()).map(|alias| alias.record.clone()).ok_or(HssError::UserUnknown)
        };
        match sought {
            Sought::Impi(impi) => by_impi(impi),
            Sought::Impu(impu) => by_impu(impu),
            Sought::Either(impi, impu) => by_impi(impi).or_else(|_| by_impu(impu)),
            Sought::Both(impi, impu) => {
                let record = by_impi(impi)?;
                if record.subscriber.impus.contains(impu) {
                    return Ok(record);
                }
                let known = self.by_impu.contains(impu.as_str());
                Err(if known { HssError::IdentitiesDontMatch } else { HssError::UserUnknown })
            }
        }
    }

    pub(super) fn take_removed(&self) -> Vec<Impi> {
        std::mem::take(&mut lock(&self.removed))
    }

    /// Whether this is still what the directory has of the subscriber.
    pub(super) fn has(&self, record: &Record) -> bool {
        self.by_impi.get(record.name()).is_some_and(|held| std::ptr::eq(held.live(), record.live()))
    }

    pub(super) fn remove(&self, impi: &Impi) {
        {
            let mut gone = lock(&self.gone);
            if !self.is_complete() && !self.shared {
                gone.insert(impi.clone());
            }
        }
        if let Some(record) = self.by_impi.remove(impi.as_str()) {
            self.drop_impus_but(&record, &[]);
            let registration = record.registration().clone();
            if let Some(serving) = registration.serving {
                self.observer.tell(|| Change::Removed(foreign::Entry::of(record), serving));
            } else if !self.shared && registration.ims != RegState::NotRegistered {
                // Of a shared store the nodes are told by what is due of the user.
                lock(&self.removed).push(impi.clone());
            }
        }
    }

    /// From the walk of the store: whoever is here already is newer.
    pub(super) fn fill(&self, stored: Stored) {
        let gone = lock(&self.gone);
        if gone.contains(&stored.subscriber.impi) {
            return;
        }
        let impi = stored.subscriber.impi.clone();
        let mut slot = self.by_impi.slot(impi.as_str());
        if slot.get().is_none() {
            let record = self.record(stored, None);
            slot.put(record.clone());
            for alias in Alias::all(&record) {
                let place = alias.place;
                self.by_impu.slot(alias.name()).or_put(|| Alias { record: record.clone(), place });
            }
        }
    }

    /// A subscriber as the store has it now; the live part of one that is here stays.
    pub(super) fn put(&self, stored: Stored) -> Arc<Record> {
        // Two who have read the same one at once get one live part: no SQN comes from two generators.
        let impi = stored.subscriber.impi.clone();
        let (record, old) = {
            let mut slot = self.by_impi.slot(impi.as_str());
            let record = self.record(stored, slot.get());
            (record.clone(), slot.put(record))
        };
        Alias::all(&record).for_each(|alias| drop(self.by_impu.insert(alias)));
        if let Some(old) = old {
            self.drop_impus_but(&old, &record.subscriber.impus);
            let (was, is) = (&old.subscriber, &record.subscriber);
            if was.impus != is.impus || was.broadcast != is.broadcast || was.service != is.service {
                self.observer.tell(|| Change::Profile(foreign::Entry::of(record.clone())));
            }
        }
        record
    }

    fn record(&self, stored: Stored, old: Option<&Arc<Record>>) -> Arc<Record> {
        let Stored { subscriber, changed, sqn, registration, watchers } = stored;
        let sqn = sqn.unwrap_or(StoredSqn { step: 0, tick: 0, offset: 0 });
        let present = self.present();
        let life = match old {
            Some(old) => {
                old.auc().reload(sqn);
                // Other nodes write states too; what this node has still to write is newer.
                if self.shared {
                    let mine = Which::of_bits(old.queued().load(Ordering::Acquire));
                    let mut held = old.registration();
                    if !mine.ims {
                        (held.ims, held.ims_since) = (registration.ims, registration.ims_since);
                        held.serving = registration.serving;
                    }
                    if !mine.broadcast {
                        held.broadcast = registration.broadcast;
                    }
                }
                if old.is(&subscriber, changed, &watchers) {
                    old.read.store(present, Ordering::Release);
                    return old.clone();
                }
                Life::Of(match &old.life {
                    Life::Own(_) => old.clone(),
                    Life::Of(first) => first.clone(),
                })
            }
            None => Life::Own(Live::new((Auc::new(sqn, self.local.offset(&subscriber.impi)), registration))),
        };
        Arc::new(Record {
            subscriber,
            changed,
            watchers,
            life,
            queued: AtomicU8::new(0),
            read: AtomicU64::new(present),
        })
    }

    fn drop_impus_but(&self, record: &Record, kept: &[Impu]) {
        for impu in record.subscriber.impus.iter().filter(|impu| !kept.contains(impu)) {
            // It may belong to somebody else by now.
            self.by_impu.remove_if(impu.as_str(), |alias| alias.record.subscriber.impi == record.subscriber.impi);
        }
    }

    /// Lets go of what nobody has asked for in a while, of a shared store that answers.
    pub(super) fn sweep(&self) {
        let oldest = self.present().saturating_sub(KEPT);
        let old = |record: &Record| {
            record.read.load(Ordering::Acquire) < oldest && record.queued().load(Ordering::Acquire) == 0
        };
        self.by_impi.retain(|record| !old(record));
        self.by_impu.retain(|alias| !old(&alias.record));
    }
}
