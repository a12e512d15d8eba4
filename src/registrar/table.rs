//! Who is registered: by private identity, found by public identity too, with the queue of
//! expiry times. Shared by all workers; no guard leaves this file.

use super::registration::Registration;
use crate::broadcast::forward::ThirdParty;
use crate::broadcast::identify::Payload;
use crate::clock::Time;
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::hss::RegState;
use crate::identity::{Impi, Impu, Impus};
use crate::policy::verdict::KeyMovement;
use crate::shelf::{Named, Shelf};
use arcstr::ArcStr;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The broadcast side of a registration as the IMS server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Configured name of the broadcast server.
    pub server: ArcStr,
    pub naf: NafId,
    /// The public identity that the server knows the user by.
    pub impu: Impu,
    pub btid: Option<Btid>,
    pub state: RegState,
    /// Never the same twice (see [`Table::next_serial`]); a job for an older one gives up.
    pub serial: u64,
    /// Changes of this leg so far: of two nodes' the one with more is the newer.
    pub changes: u32,
    /// What has not got through to the server yet; None: it has, or the terminal began it.
    pub outstanding: Option<Arc<Outstanding>>,
    /// Call-ID and CSeq of the third-party REGISTERs to this server.
    pub dialog: ThirdParty,
}

/// What of a REGISTER is to go to a broadcast server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outstanding {
    pub profile: Option<String>,
    pub payload: Option<Payload>,
    pub key: KeyMovement,
}

/// All that the table has of a user.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    pub registration: Registration,
    pub leg: Option<Leg>,
    /// Serial of the last leg that was ended while the user stayed; none of another node's below it counts.
    pub closed: u64,
}

/// The same as it is kept.
#[derive(Debug, Clone)]
struct Entry {
    registration: Registration,
    leg: Option<Box<Leg>>,
    closed: u64,
    /// The time under which the expiry queue holds this entry, once; a refresh does not move it.
    armed: Option<Time>,
}

impl Named for Entry {
    type Name = str;

    fn name(&self) -> &str {
        self.registration.impi.as_str()
    }
}

impl Entry {
    /// The time to put into the queue, if the entry must be looked at before the time it is armed for, and that time
    /// if there was one.
    fn arm(&mut self) -> Option<(Time, Option<Time>)> {
        let next = self.registration.bindings.iter().map(|b| b.until).min()?;
        if self.armed.is_some_and(|armed| armed <= next) {
            return None;
        }
        Some((next, self.armed.replace(next)))
    }
}

/// Whose a public identity is.
#[derive(Debug, Clone)]
struct Alias {
    impu: Impu,
    impi: Impi,
}

impl Named for Alias {
    type Name = str;

    fn name(&self) -> &str {
        self.impu.as_str()
    }
}

/// When an identity that is worked on is looked at again.
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// What ended by itself.
#[derive(Debug)]
pub struct Expired {
    pub impi: Impi,
    pub registration: Registration,
    pub leg: Option<Leg>,
}

/// Quarters of a second: who is due in the same one stands in one row of the queue.
type Quarter = u64;

fn quarter(time: impl Into<Duration>) -> Quarter {
    u64::try_from(time.into().as_millis() / 250).unwrap_or(u64::MAX)
}

#[derive(Default)]
pub struct Table {
    entries: Shelf<Box<Entry>>,
    by_impu: Shelf<Alias>,
    /// Look at this identity at that time: once per entry, the time it is armed for.
    due: Mutex<BTreeMap<Quarter, Vec<Impi>>>,
    serial: AtomicU64,
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
        self.by_impu.get(impu).map(|alias| alias.impi.clone())
    }

    /// Changes a registration under its lock, making an empty one first where there is none.
    /// An entry left without contacts is taken out; its broadcast leg is then the caller's to end.
    pub fn update<R>(
        &self,
        impi: &Impi,
        impus: &Impus,
        change: impl FnOnce(&mut Registration) -> R,
    ) -> (R, Option<Leg>) {
        let mut slot = self.entries.slot(impi.as_str());
        let entry = slot.or_put(|| {
            let registration = Registration { impus: impus.clone(), ..Registration::none(impi) };
            Box::new(Entry { registration, leg: None, closed: 0, armed: None })
        });
        let impi = entry.registration.impi.clone();
        let before = std::mem::replace(&mut entry.registration.impus, impus.clone());
        let result = change(&mut entry.registration);
        let empty = entry.registration.bindings.is_empty();
        let armed = if empty { None } else { entry.arm() };
        let (leg, disarmed) = if empty { (entry.leg.take(), entry.armed.take()) } else { (None, None) };
        if empty {
            slot.take();
        }
        drop(slot);
        before.iter().filter(|old| empty || !impus.contains(old)).for_each(|old| self.unname(old, &impi));
        if !empty {
            impus.iter().for_each(|impu| self.name(impu, &impi));
        }
        if armed.is_some() || disarmed.is_some() {
            self.requeue(&impi, armed.and_then(|(_, old)| old).or(disarmed), armed.map(|(next, _)| next));
        }
        (result, leg.map(|leg| *leg))
    }

    /// A number that no leg has had: above `known`, and above those that other nodes gave before `time`, which is of the
    /// store's clock, so that it goes on after a restart whatever the wall clock shows.
    pub fn next_serial(&self, time: Duration, known: u64) -> u64 {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX >> 8).saturating_mul(1 << 8);
        let next = |last: u64| last.max(known).saturating_add(1).max(time | last & 0xff);
        let last = self.serial.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        next(last.unwrap_or_default())
    }

    /// A public identity may be shared: it is the last one's who registered it.
    fn name(&self, impu: &Impu, impi: &Impi) {
        if self.by_impu.get(impu.as_str()).is_some_and(|alias| alias.impi == *impi) {
            return;
        }
        self.by_impu.insert(Alias { impu: impu.clone(), impi: impi.clone() });
    }

    fn unname(&self, impu: &Impu, impi: &Impi) {
        self.by_impu.remove_if(impu.as_str(), |alias| alias.impi == *impi);
    }

    fn requeue(&self, impi: &Impi, old: Option<Time>, new: Option<Time>) {
        let (old, new) = (old.map(quarter), new.map(quarter));
        if old == new {
            return;
        }
        let mut queue = self.queue();
        if let Some(old) = old
            && let Some(at) = queue.get_mut(&old)
        {
            if let Some(place) = at.iter().position(|other| other == impi) {
                at.swap_remove(place);
            }
            if at.is_empty() {
                queue.remove(&old);
            }
        }
        if let Some(new) = new {
            queue.entry(new).or_default().push(impi.clone());
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, BTreeMap<Quarter, Vec<Impi>>> {
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
        let entry = *self.entries.remove(impi.as_str())?;
        entry.registration.impus.iter().for_each(|impu| self.unname(impu, impi));
        self.requeue(impi, entry.armed, None);
        Some((entry.registration, entry.leg.map(|leg| *leg)))
    }

    pub fn leg(&self, impi: &str) -> Option<Leg> {
        self.entries.get(impi).and_then(|e| e.leg.as_deref().cloned())
    }

    /// Changes the broadcast leg under its lock; None if the user is not registered.
    pub fn update_leg<R>(&self, impi: &str, change: impl FnOnce(&mut Option<Leg>) -> R) -> Option<R> {
        self.entries.get_mut(impi).map(|mut entry| {
            let before = entry.leg.as_ref().map_or(0, |leg| leg.serial);
            let mut leg = entry.leg.as_deref().cloned();
            let result = change(&mut leg);
            if let Some(leg) = &mut leg {
                leg.changes = leg.changes.wrapping_add(1);
            } else {
                entry.closed = entry.closed.max(before);
            }
            match (&mut entry.leg, leg) {
                (Some(held), Some(leg)) => **held = leg,
                (held, leg) => *held = leg.map(Box::new),
            }
            result
        })
    }

    /// A copy of all of a user.
    pub(super) fn whole(&self, impi: &str) -> Option<Whole> {
        self.with_whole(impi, |registration, leg, closed| Whole {
            registration: registration.clone(),
            leg: leg.cloned(),
            closed,
        })
    }

    /// Reads all of a user in place.
    pub(super) fn with_whole<R>(
        &self,
        impi: &str,
        read: impl FnOnce(&Registration, Option<&Leg>, u64) -> R,
    ) -> Option<R> {
        self.entries.get(impi).map(|entry| read(&entry.registration, entry.leg.as_deref(), entry.closed))
    }

    /// Puts what `merge` makes of a user in place of what there is; None, or no contacts: nothing.
    pub(super) fn merge(&self, impi: &Impi, merge: impl FnOnce(Option<Whole>) -> Option<Whole>) {
        let mut slot = self.entries.slot(impi.as_str());
        let found = slot.get().map(|entry| Entry::clone(entry));
        let before = found.as_ref().map(|entry| (entry.registration.impus.clone(), entry.armed));
        let whole = |Entry { registration, leg, closed, .. }| Whole { registration, leg: leg.map(|leg| *leg), closed };
        let merged = merge(found.map(whole)).filter(|whole| !whole.registration.bindings.is_empty());
        let (mut after, mut armed) = (None, None);
        slot.take();
        if let Some(Whole { mut registration, leg, closed }) = merged {
            registration.bindings.shrink_to_fit();
            after = Some(registration.impus.clone());
            let mut entry = Entry { registration, leg: leg.map(Box::new), closed, armed: None };
            armed = entry.arm().map(|(next, _)| next);
            slot.put(Box::new(entry));
        }
        drop(slot);
        if let Some((impus, _)) = &before {
            let stays = |impu: &Impu| after.as_ref().is_some_and(|after| after.contains(impu));
            impus.iter().filter(|impu| !stays(impu)).for_each(|impu| self.unname(impu, impi));
        }
        after.iter().flat_map(|after| after.iter()).for_each(|impu| self.name(impu, impi));
        self.requeue(impi, before.and_then(|(_, armed)| armed), armed);
    }

    /// Drops the contacts of one user whose time is over; Some: that was the last of them.
    pub(super) fn end_if_over(&self, impi: &Impi, mono: Duration) -> Option<Expired> {
        let mut ended = None;
        self.merge(impi, |whole| {
            let mut whole = whole?;
            let last = whole.registration.clone();
            whole.registration.bindings.retain(|b| b.until > mono);
            if whole.registration.bindings.is_empty() {
                ended = Some(Expired { impi: impi.clone(), registration: last, leg: whole.leg });
                return None;
            }
            Some(whole)
        });
        ended
    }

    /// Drops the contacts whose time is over; says which registrations ended with them, each with what `claim` gave
    /// for it. One that cannot be claimed is being worked on and is looked at again a moment later.
    pub fn expire<C>(&self, mono: Duration, claim: impl Fn(&Impi) -> Option<C>) -> Vec<(Expired, C)> {
        let due = {
            let mut queue = self.queue();
            let later = queue.split_off(&quarter(mono).saturating_add(1));
            std::mem::replace(&mut *queue, later)
        };
        let mut ended = Vec::new();
        for (time, impi) in due.into_iter().flat_map(|(time, impis)| impis.into_iter().map(move |i| (time, i))) {
            let Some(mut entry) = self.entries.get_mut(impi.as_str()) else { continue };
            match entry.armed {
                Some(armed) if quarter(armed) != time => continue, // changed since the queue was read
                Some(armed) if armed > mono => {
                    drop(entry);
                    self.requeue(&impi, None, Some(armed)); // later in this quarter of a second
                    continue;
                }
                Some(_) => entry.armed = None,
                None => continue,
            }
            let last = entry.registration.clone();
            entry.registration.bindings.retain(|b| b.until > mono);
            let next = entry.arm().map(|(next, _)| next);
            let claimed = if next.is_none() { claim(&impi) } else { None };
            let Some(claimed) = claimed else {
                let next = next.unwrap_or(Time::from(mono + BUSY_PAUSE));
                if entry.registration.bindings.is_empty() {
                    entry.registration = last; // as it was found
                    entry.armed = Some(next);
                }
                drop(entry);
                self.requeue(&impi, None, Some(next));
                continue;
            };
            let leg = entry.leg.take().map(|leg| *leg);
            drop(entry);
            if self.entries.remove_if(impi.as_str(), |e| e.registration.bindings.is_empty()).is_some() {
                last.impus.iter().for_each(|impu| self.unname(impu, &impi));
                ended.push((Expired { impi, registration: last, leg }, claimed));
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
