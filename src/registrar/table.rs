//! Who is registered: by private identity, found by public identity too, with the queue of
//! expiry times. Shared by all workers; no guard leaves this file.

use super::registration::Registration;
use crate::broadcast::forward::ThirdParty;
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::hss::RegState;
use crate::identity::{Impi, Impu};
use dashmap::DashMap;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The broadcast side of a registration as the IMS server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Configured name of the broadcast server.
    pub server: Arc<str>,
    pub naf: NafId,
    pub btid: Option<Btid>,
    pub state: RegState,
    /// Grows with each new attempt to register; a job for an older one gives up.
    pub serial: u64,
    /// Call-ID and CSeq of the third-party REGISTERs to this server.
    pub dialog: ThirdParty,
}

#[derive(Debug, Clone)]
struct Entry {
    registration: Registration,
    leg: Option<Leg>,
    /// The time under which the expiry queue holds this entry, once; a refresh does not move it.
    armed: Option<Duration>,
}

impl Entry {
    /// The time to put into the queue, if the entry must be looked at before the time it is armed for.
    fn arm(&mut self) -> Option<Duration> {
        let next = self.registration.bindings.iter().map(|b| b.until).min()?;
        if self.armed.is_some_and(|armed| armed <= next) {
            return None;
        }
        self.armed = Some(next);
        self.armed
    }
}

/// What ended by itself.
#[derive(Debug)]
pub struct Expired {
    pub impi: Impi,
    pub registration: Registration,
    pub leg: Option<Leg>,
}

#[derive(Default)]
pub struct Table {
    entries: DashMap<Impi, Entry>,
    by_impu: DashMap<Impu, Impi>,
    /// Look at this identity at that time; stale entries are harmless.
    due: Mutex<BTreeMap<Duration, Vec<Impi>>>,
}

impl Table {
    pub fn get(&self, impi: &str) -> Option<Registration> {
        self.entries.get(impi).map(|e| e.registration.clone())
    }

    /// Reads a registration in place.
    pub fn with<R>(&self, impi: &str, read: impl FnOnce(Option<&Registration>) -> R) -> R {
        match self.entries.get(impi) {
            Some(entry) => read(Some(&entry.registration)),
            None => read(None),
        }
    }

    pub fn private_identity(&self, impu: &str) -> Option<Impi> {
        self.by_impu.get(impu).map(|impi| impi.clone())
    }

    /// Changes a registration under its lock, making an empty one first where there is none.
    /// An entry left without contacts is taken out; its broadcast leg is then the caller's to end.
    pub fn update<R>(
        &self,
        impi: &Impi,
        impus: &Arc<[Impu]>,
        change: impl FnOnce(&mut Registration) -> R,
    ) -> (R, Option<Leg>) {
        let mut entry = self.entries.entry(impi.clone()).or_insert_with(|| Entry {
            registration: Registration { impi: impi.clone(), impus: impus.clone(), bindings: Vec::new() },
            leg: None,
            armed: None,
        });
        let before: Arc<[Impu]> = entry.registration.impus.clone();
        entry.registration.impus = impus.clone();
        let result = change(&mut entry.registration);
        let empty = entry.registration.bindings.is_empty();
        let until = entry.arm();
        let leg = if empty { entry.leg.take() } else { None };
        drop(entry);
        for impu in before.iter().filter(|old| !impus.contains(old)) {
            self.by_impu.remove(impu.as_str());
        }
        if empty {
            self.entries.remove_if(impi.as_str(), |_, e| e.registration.bindings.is_empty());
            impus.iter().for_each(|impu| drop(self.by_impu.remove(impu.as_str())));
        } else {
            impus.iter().for_each(|impu| drop(self.by_impu.insert(impu.clone(), impi.clone())));
        }
        if let Some(until) = until {
            self.queue().entry(until).or_default().push(impi.clone());
        }
        (result, leg)
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, BTreeMap<Duration, Vec<Impi>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a registration back as it was (all-or-nothing undone), or takes it out.
    pub fn restore(&self, impi: &Impi, previous: Option<Registration>) -> Option<Leg> {
        match previous {
            Some(previous) => {
                let impus = previous.impus.clone();
                self.update(impi, &impus, |r| *r = previous).1
            }
            None => self.remove(impi).and_then(|(_, leg)| leg),
        }
    }

    pub fn remove(&self, impi: &Impi) -> Option<(Registration, Option<Leg>)> {
        let (_, entry) = self.entries.remove(impi.as_str())?;
        entry.registration.impus.iter().for_each(|impu| drop(self.by_impu.remove(impu.as_str())));
        Some((entry.registration, entry.leg))
    }

    pub fn leg(&self, impi: &str) -> Option<Leg> {
        self.entries.get(impi).and_then(|e| e.leg.clone())
    }

    /// Changes the broadcast leg under its lock; None if the user is not registered.
    pub fn update_leg<R>(&self, impi: &str, change: impl FnOnce(&mut Option<Leg>) -> R) -> Option<R> {
        self.entries.get_mut(impi).map(|mut e| change(&mut e.leg))
    }

    /// Drops the contacts whose time is over; says which registrations ended with them.
    pub fn expire(&self, mono: Duration) -> Vec<Expired> {
        let due = {
            let mut queue = self.queue();
            let later = queue.split_off(&(mono + Duration::from_nanos(1)));
            std::mem::replace(&mut *queue, later)
        };
        let mut ended = Vec::new();
        for (time, impi) in due.into_iter().flat_map(|(time, impis)| impis.into_iter().map(move |i| (time, i))) {
            let Some(mut entry) = self.entries.get_mut(impi.as_str()) else { continue };
            if entry.armed != Some(time) {
                continue; // an entry of an earlier life of this identity
            }
            entry.armed = None;
            let last = entry.registration.clone();
            entry.registration.bindings.retain(|b| b.until > mono);
            if let Some(next) = entry.arm() {
                drop(entry);
                self.queue().entry(next).or_default().push(impi);
                continue;
            }
            let leg = entry.leg.take();
            drop(entry);
            if self.entries.remove_if(impi.as_str(), |_, e| e.registration.bindings.is_empty()).is_some() {
                last.impus.iter().for_each(|impu| drop(self.by_impu.remove(impu.as_str())));
                ended.push(Expired { impi, registration: last, leg });
            }
        }
        ended
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
