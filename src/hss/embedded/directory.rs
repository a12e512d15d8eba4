//! The hot copy of the subscriber database: every subscriber in memory, found by IMPI and by IMPU.

use super::auc::Auc;
use super::subscriber::{Registration, Stored, StoredSqn, Subscriber};
use crate::hss::{HssError, RegState};
use crate::identity::{Impi, Impu};
use dashmap::DashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What changes while a node runs. It outlives a change of the provisioned part.
#[derive(Debug)]
pub(super) struct Live {
    auc: Mutex<Auc>,
    registration: Mutex<Registration>,
    /// In the writer's queue already.
    queued: AtomicBool,
}

/// One subscriber.
#[derive(Debug)]
pub(super) struct Record {
    pub subscriber: Subscriber,
    live: Arc<Live>,
}

/// A panic of another holder leaves nothing half done here: each change is a single assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Record {
    pub(super) fn auc(&self) -> MutexGuard<'_, Auc> {
        lock(&self.live.auc)
    }

    pub(super) fn registration(&self) -> MutexGuard<'_, Registration> {
        lock(&self.live.registration)
    }

    /// True if the caller has to put it into the writer's queue.
    pub(super) fn enqueue(&self) -> bool {
        !self.live.queued.swap(true, Ordering::AcqRel)
    }

    /// Out of the queue: what changes from now on has to be written again.
    pub(super) fn dequeue(&self) -> Registration {
        self.live.queued.store(false, Ordering::Release);
        self.registration().clone()
    }
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    by_impi: DashMap<Impi, Arc<Record>>,
    by_impu: DashMap<Impu, Arc<Record>>,
    /// The SQN mark that is on disk.
    mark: AtomicU64,
    /// Removed while the node runs, not yet taken note of by the registrar.
    removed: Mutex<Vec<Impi>>,
}

impl Directory {
    pub(super) fn len(&self) -> usize {
        self.by_impi.len()
    }

    pub(super) fn mark(&self) -> u64 {
        self.mark.load(Ordering::Acquire)
    }

    pub(super) fn set_mark(&self, mark: u64) {
        self.mark.fetch_max(mark, Ordering::AcqRel);
    }

    pub(super) fn by_impi(&self, impi: &Impi) -> Result<Arc<Record>, HssError> {
        self.by_impi.get(impi).map(|record| record.clone()).ok_or(HssError::UserUnknown)
    }

    pub(super) fn by_impu(&self, impu: &Impu) -> Result<Arc<Record>, HssError> {
        self.by_impu.get(impu).map(|record| record.clone()).ok_or(HssError::UserUnknown)
    }

    /// Both identities have to exist and belong together (TS 29.228 §6.3.1, §6.1.2.1).
    pub(super) fn by_both(&self, impi: &Impi, impu: &Impu) -> Result<Arc<Record>, HssError> {
        let record = self.by_impi(impi)?;
        if record.subscriber.impus.contains(impu) {
            return Ok(record);
        }
        Err(if self.by_impu.contains_key(impu) { HssError::IdentitiesDontMatch } else { HssError::UserUnknown })
    }

    pub(super) fn all(&self) -> Vec<Arc<Record>> {
        self.by_impi.iter().map(|record| record.clone()).collect()
    }

    pub(super) fn take_removed(&self) -> Vec<Impi> {
        std::mem::take(&mut lock(&self.removed))
    }

    pub(super) fn remove(&self, impi: &str) {
        if let Some((impi, record)) = self.by_impi.remove(impi) {
            self.drop_impus(&record);
            if record.registration().ims != RegState::NotRegistered {
                lock(&self.removed).push(impi);
            }
        }
    }

    /// A subscriber is new or was provisioned anew: its live part stays.
    pub(super) fn put(&self, stored: Stored) {
        let Stored { subscriber, sqn, registration } = stored;
        let sqn = sqn.unwrap_or(StoredSqn { offset: 0, tick: 0 });
        let old = self.by_impi.get(&subscriber.impi).map(|record| record.clone());
        let live = match &old {
            Some(old) => {
                old.auc().reload(sqn);
                old.live.clone()
            }
            None => Arc::new(Live {
                auc: Mutex::new(Auc::new(sqn)),
                registration: Mutex::new(registration),
                queued: AtomicBool::new(false),
            }),
        };
        let record = Arc::new(Record { subscriber, live });
        for impu in record.subscriber.impus.iter() {
            self.by_impu.insert(impu.clone(), record.clone());
        }
        self.by_impi.insert(record.subscriber.impi.clone(), record.clone());
        if let Some(old) = old {
            self.drop_impus_but(&old, &record.subscriber.impus);
        }
    }

    fn drop_impus(&self, record: &Record) {
        self.drop_impus_but(record, &[]);
    }

    fn drop_impus_but(&self, record: &Record, kept: &[Impu]) {
        for impu in record.subscriber.impus.iter().filter(|impu| !kept.contains(impu)) {
            // It may belong to somebody else by now.
            self.by_impu.remove_if(impu, |_, owner| owner.subscriber.impi == record.subscriber.impi);
        }
    }
}
