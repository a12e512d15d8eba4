//! How the S-CSCF's users outlive the process and reach other nodes: contacts, broadcast leg and bootstrappings of one
//! user are one entity of the store ([`super::document`]), kept in step with the tables by a [`Keeper`].
//!
//! The procedures call four things: [`Scscf::fetch`] before a user is read, [`Scscf::kept`] before something is
//! acknowledged, [`Scscf::keep`] after any other change, [`Scscf::find`] where only a public identity is known.
//! On a shared store index entities lead from a public identity or a B-TID to the user, and timers fire at the node that
//! claims them ([`Scscf::due`]).

use super::Registration;
use super::document::{
    CONTACTS, Contacts, Gone, KEYS, LEG, LegDocument, Times, Unreadable, json, keys_text, read_keys,
};
use super::register::Busy;
use super::scscf::{Refusal, Scscf, Shared};
use super::table::{Leg, Table, Whole};
use crate::answer::Answer;
use crate::clock::{Clock, Now};
use crate::gba::bootstrap::{Bootstrap, Bootstraps};
use crate::gba::btid::Btid;
use crate::gba::zn::{Away, Find};
use crate::hss::HssError;
use crate::identity::{Impi, Impu, Impus};
use crate::shelf::{Map, Set};
use crate::sip::HeaderName;
use crate::store::keeper::{Keeper, Kept};
use crate::store::seal::{self, Seal};
use crate::store::{Class, Due, Entity, Key, Memory, Nature, Save, Store, StoreError};
use ending::Ending;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use trail::{Trail, gone_of};

/// How long after its time an entity is still there for the timers to find.
const AFTERLIFE: Duration = Duration::from_secs(24 * 3600);
/// A node that is at a leg's outstanding request says so at least this often; another takes it up after that.
const OUTSTANDING_FOR: Duration = Duration::from_secs(90);
/// Field of an index entity.
const OWNER: &str = "owner";

/// The tables, as the keeper sees them.
pub struct Users {
    table: Arc<Table>,
    bootstraps: Arc<Bootstraps>,
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    clock: Clock,
    /// Of each user on a shared store, what this node saved last.
    trails: Map<Impi, Trail>,
    /// Ends of registrations that have yet to be stored or told, on a shared store.
    endings: Map<Impi, Ending>,
    /// Users whom another node has ended while this one had contacts of theirs that it did not know.
    revived: Set<Impi>,
    /// Whose endings are whose: this process, by a number that no other has.
    me: u64,
    /// Until when the index of a shared store leads to a user.
    indexed: Map<Key, u64>,
    /// Users that were read since the start, until all are.
    met: Set<Impi>,
    loaded: AtomicBool,
    /// Users whose leg has something outstanding from before the start.
    resume: Mutex<Vec<Impi>>,
    /// Users to be saved again, because a shared store may have lost them.
    again: Mutex<Vec<Impi>>,
}

/// What [`super::Shared`] has of all this.
pub struct Keeping {
    pub keeper: Arc<Keeper>,
    pub users: Arc<Users>,
    /// Legs whose outstanding request a job of this node is at, by serial.
    pub(super) running: Set<u64>,
}

impl Keeping {
    pub(super) fn new(
        store: Arc<dyn Store>,
        seal: Arc<Seal>,
        table: Arc<Table>,
        bootstraps: Arc<Bootstraps>,
        clock: Clock,
    ) -> Self {
        let loaded = AtomicBool::new(store.nature() != Nature::Durable);
        let users = Users {
            table,
            bootstraps,
            store: store.clone(),
            seal,
            clock,
            trails: Map::default(),
            endings: Map::default(),
            revived: Set::default(),
            me: ending::number(),
            indexed: Map::default(),
            met: Set::default(),
            loaded,
            resume: Mutex::default(),
            again: Mutex::default(),
        };
        Keeping { keeper: Keeper::new(store), users: Arc::new(users), running: Set::default() }
    }

    /// Nothing outlives the process.
    pub(super) fn volatile(table: Arc<Table>, bootstraps: Arc<Bootstraps>, clock: Clock) -> Self {
        Self::new(Arc::new(Memory::new(clock)), Arc::new(Seal::none()), table, bootstraps, clock)
    }

    pub(super) fn seal(&self) -> &Seal {
        &self.users.seal
    }

    pub(super) fn is_shared(&self) -> bool {
        self.keeper.nature() == Nature::Shared
    }
}

pub(super) fn user_key(impi: &Impi) -> Key {
    Key::new(Class::User, impi.as_arc().clone())
}

impl Users {
    fn times(&self) -> Times {
        let now = self.clock.now();
        Times { mono: now.mono, store: self.store.time(now) }
    }

    fn is_shared(&self) -> bool {
        self.store.nature() == Nature::Shared
    }

    /// Reads all users of a store of the node's own, beside the traffic. It blocks: a thread's whole work.
    pub fn load(&self) {
        let mut read = 0u64;
        let begun = self.clock.now().mono;
        let mut each = |key: &Key, entity: Entity| {
            read += 1;
            if let Err(why) = self.reconcile(key, &entity) {
                tracing::error!(%why, "a registration in the store is left alone");
            }
            ControlFlow::Continue(())
        };
        let mut told = false;
        loop {
            match self.store.walk(Class::User, &mut each) {
                Ok(()) => break,
                Err(StoreError::Closed) => return,
                Err(why) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(%why, "registrations cannot be read, tried again");
                    }
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
        self.loaded.store(true, Ordering::Release);
        self.met.clear();
        let seconds = self.clock.now().mono.saturating_sub(begun).as_secs_f64();
        tracing::info!(users = read, seconds, "registrations read from the store");
    }

    fn is_missing(&self, impi: &Impi) -> bool {
        !self.loaded.load(Ordering::Acquire) && !self.met.contains(impi.as_str())
    }

    fn to_resume(&self) -> std::sync::MutexGuard<'_, Vec<Impi>> {
        self.resume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable(key: &Key, why: Unreadable) -> StoreError {
        StoreError::Damaged { key: key.clone(), why: why.to_string().into() }
    }
}

impl Kept for Users {
    fn describe(&self, key: &Key) -> Option<Save> {
        let impi = Impi::new(key.name.clone());
        let times = self.times();
        let now = times.to_store(times.mono);
        let found = self.table.whole(impi.as_str());
        let mut contacts = found.as_ref().map(|found| Contacts::of(&found.registration, found.closed, times));
        let mut leg = found.as_ref().and_then(|found| found.leg.as_ref());
        let ended;
        let held = self.bootstraps.held(&impi);
        let mut last = held.iter().map(|(_, until)| times.to_store(*until)).max().unwrap_or(0);
        let mut first = u64::MAX;
        if self.is_shared() {
            let bindings = found.as_ref().map_or(&[][..], |found| &found.registration.bindings);
            let present: Vec<Gone> = bindings.iter().map(|b| gone_of(b, times)).collect();
            if let Some(contacts) = &contacts {
                first = contacts.contacts.iter().map(|contact| contact.until).min().unwrap_or(u64::MAX);
            }
            if leg.is_some_and(|leg| leg.outstanding.is_some()) {
                first = first.min(now + OUTSTANDING_FOR.as_millis() as u64);
            }
            last = present.iter().map(|b| b.until).fold(last, u64::max);
            let ending = self.ending(&impi, found.is_some());
            let serial = ending.as_ref().and_then(|(_, _, leg)| leg.as_ref()).map_or(0, |leg| leg.serial);
            let closed = found.as_ref().map_or(0, |found| found.closed);
            let (gone, closed) = self.trail(&impi, present, closed, now);
            let closed = closed.max(serial);
            last = gone.iter().map(|gone| gone.until).fold(last, u64::max);
            if ending.is_some() {
                first = now + ending::TOLD_WITHIN.as_millis() as u64;
                last = last.max(first);
            }
            match &mut contacts {
                Some(contacts) => (contacts.gone, contacts.closed) = (gone, closed),
                None if !gone.is_empty() || ending.is_some() => {
                    let (ending, impus, of_the_ended) = match ending {
                        Some((ending, impus, leg)) => (Some(ending), impus, leg),
                        None => (None, Impus::default(), None),
                    };
                    ended = (Registration { impus, ..Registration::none(&impi) }, of_the_ended);
                    contacts = Some(Contacts { gone, ending, ..Contacts::of(&ended.0, closed, times) });
                    leg = ended.1.as_ref();
                }
                None => {}
            }
        }
        if contacts.is_none() && held.is_empty() {
            self.trails.remove(impi.as_str());
            return None;
        }
        let keys = match held.is_empty() {
            true => None,
            false => match keys_text(&held, &self.seal, &seal::context(key, KEYS), times) {
                Ok(text) => Some(text),
                Err(why) => {
                    tracing::error!(%impi, %why, "Ks is not stored");
                    None
                }
            },
        };
        let contacts = contacts.and_then(|contacts| json(&contacts).ok());
        let leg = leg.and_then(|leg| json(&LegDocument::of(leg)).ok());
        let save = Save::whole(key.clone(), vec![(CONTACTS.into(), contacts), (LEG.into(), leg), (KEYS.into(), keys)]);
        Some(match self.is_shared() {
            false => save,
            true => save
                .due(if first == u64::MAX { Due::Never } else { Due::At(Duration::from_millis(first)) })
                .until(Duration::from_millis(last) + AFTERLIFE),
        })
    }

    fn reconcile(&self, key: &Key, entity: &Entity) -> Result<(), StoreError> {
        let impi = Impi::new(key.name.clone());
        let times = self.times();
        let damaged = |why| Self::unreadable(key, why);
        let mut contacts = entity.field(CONTACTS).map(Contacts::read).transpose().map_err(damaged)?;
        let registration = contacts.as_mut().map(|c| c.registration(&impi, times)).transpose().map_err(damaged)?;
        let mut leg = entity.field(LEG).map(LegDocument::read).transpose().map_err(damaged)?;
        let impus = registration.as_ref().map(|registration| registration.impus.clone()).unwrap_or_default();
        if let Some(leg) = &mut leg
            && let Some(impu) = impus.iter().find(|impu| **impu == leg.impu)
        {
            leg.impu = impu.clone(); // one text for both
        }
        let context = seal::context(key, KEYS);
        let read = |text| read_keys(text, &impi, &impus, &self.seal, &context, times);
        let keys = entity.field(KEYS).map(read).transpose().map_err(damaged)?.unwrap_or_default();
        let (gone, closed, untold) = match contacts {
            Some(Contacts { gone, closed, ending, .. }) => (gone, closed, ending),
            None => (Vec::new(), 0, None),
        };
        let theirs = registration.map(|registration| Whole { registration, leg, closed });
        if self.is_shared() {
            let by_another = entity.exists() && untold.is_none_or(|untold| untold.by != self.me);
            self.reconcile_shared(&impi, by_another, theirs, gone, keys, times);
        } else if self.met.insert(impi.clone()) {
            if theirs.as_ref().is_some_and(|t| t.leg.as_ref().is_some_and(|leg| leg.outstanding.is_some())) {
                self.to_resume().push(impi.clone());
            }
            self.table.merge(&impi, |mine| mine.or(theirs));
            self.bootstraps.put_back(&impi, keys);
        }
        Ok(())
    }

    fn saved(&self, key: &Key) {
        let mut ended = 0;
        if let Some(mut ending) = self.endings.get_mut(&*key.name) {
            ending.stored = ending.said;
            ended = ending.leg.as_ref().filter(|_| ending.said).map_or(0, |leg| leg.serial);
        }
        if let Some(mut trail) = self.trails.get_mut(&*key.name) {
            trail.stored = trail.said;
            trail.closed = trail.closed.max(ended);
        }
    }
}

/// What a store that fails means to a terminal.
pub(super) fn not_kept(why: StoreError) -> Refusal {
    match &why {
        StoreError::Damaged { .. } => tracing::error!(%why, "a user cannot be served"),
        why => tracing::debug!(%why, "not kept"),
    }
    Refusal::because(503, "state cannot be kept now").with(HeaderName::RetryAfter, 5)
}

impl Shared {
    /// Has the user as the store has him.
    async fn fetch(&self, impi: &Impi) -> Result<(), StoreError> {
        let Keeping { keeper, users, .. } = &self.keeping;
        let missing = users.is_missing(impi);
        keeper.fetch(&user_key(impi), &**users, missing).await?;
        if missing {
            users.met.insert(impi.clone()); // also one of whom there is nothing
        }
        Ok(())
    }

    async fn owner_of(&self, key: Key) -> Result<Option<Impi>, StoreError> {
        let entity = self.keeping.keeper.store().load(vec![key]).await?.pop().unwrap_or_default();
        Ok(entity.field(OWNER).and_then(|owner| std::str::from_utf8(owner).ok()).map(Impi::new))
    }

    /// Has the user of a B-TID as the store has him.
    async fn fetch_by_btid(&self, btid: &Btid) -> Result<(), StoreError> {
        if !self.keeping.is_shared() || self.bootstraps.get(btid, self.clock.now()).is_some() {
            return Ok(());
        }
        match self.owner_of(Key::new(Class::Btid, btid.text())).await? {
            Some(impi) => self.fetch(&impi).await,
            None => Ok(()),
        }
    }
}

/// For those who come with a B-TID alone.
impl Find for Shared {
    fn find<'a>(&'a self, btid: &'a Btid, now: Now) -> Answer<'a, Result<Option<Arc<Bootstrap>>, Away>> {
        if let Some(found) = self.bootstraps.get(btid, now) {
            return Answer::now(Ok(Some(found)));
        }
        if !self.keeping.is_shared() {
            // Until all are read, nobody can say that there is none.
            let loaded = self.keeping.users.loaded.load(Ordering::Acquire);
            return Answer::now(if loaded { Ok(None) } else { Err(Away) });
        }
        Answer::later(async move {
            self.fetch_by_btid(btid).await.map_err(|_| Away)?;
            Ok(self.bootstraps.get(btid, self.clock.now()))
        })
    }
}

impl Scscf {
    pub(super) fn keeping(&self) -> &Keeping {
        &self.shared.keeping
    }

    /// For a new leg of this user.
    pub(super) fn next_serial(&self, impi: &Impi) -> u64 {
        let Keeping { users, .. } = self.keeping();
        let ended = users.trails.get(impi.as_str()).map_or(0, |trail| trail.closed);
        let held = |_: &Registration, leg: Option<&Leg>, closed: u64| leg.map_or(0, |leg| leg.serial).max(closed);
        let known = self.shared.table.with_whole(impi.as_str(), held).unwrap_or(0);
        self.shared.table.next_serial(users.times().store, known.max(ended))
    }

    /// This moment, with the store's clock for the dates that others are told: that never steps.
    pub(super) fn steady(&self) -> Now {
        let now = self.now();
        Now { unix: self.keeping().keeper.store().time(now), ..now }
    }

    /// Has the user as the store has him.
    pub(super) async fn fetch(&self, impi: &Impi) -> Result<(), Refusal> {
        self.shared.fetch(impi).await.map_err(not_kept)
    }

    /// Returns when the user is stored as he is now, and his end told if that is what was stored.
    pub(super) async fn kept(&self, impi: &Impi) -> Result<(), Refusal> {
        self.index(impi);
        self.saved(impi).await.map_err(not_kept)?;
        self.tell_end(impi).await;
        self.revive(impi).await;
        Ok(())
    }

    async fn saved(&self, impi: &Impi) -> Result<(), StoreError> {
        let Keeping { keeper, users, .. } = self.keeping();
        keeper.changed(&user_key(impi), users, &*self.spawn).await
    }

    /// The caller has put back what he could not have stored.
    pub(super) fn not_kept_is_undone(&self, impi: &Impi) {
        self.keeping().keeper.undone(&user_key(impi));
    }

    /// Has the user stored as he is now, soon.
    pub(super) fn keep(&self, impi: &Impi) {
        if self.keeping().keeper.nature() == Nature::Volatile {
            return;
        }
        let (me, impi) = (self.clone(), impi.clone());
        let answer = self.keeping().keeper.changed(&user_key(&impi), &self.keeping().users, &*self.spawn);
        (self.spawn)(Box::pin(async move {
            match answer.await {
                Ok(()) => me.tell_end(&impi).await,
                Err(why) => tracing::debug!(%impi, %why, "not stored yet, tried again"),
            }
        }));
    }

    /// Who has this public identity registered; his entry is then as the store has it, or as this node last knew it.
    pub async fn find(&self, impu: &str) -> Option<Impi> {
        let known = self.shared.table.private_identity(impu);
        let impi = match (known, self.keeping().is_shared()) {
            (Some(impi), _) => impi,
            (None, true) => self.shared.owner_of(Key::new(Class::Registered, impu)).await.ok()??,
            (None, false) => return None,
        };
        // A store that is away leaves us with what is in memory, which is how the user could be reached last.
        let _ = self.fetch(&impi).await;
        self.shared
            .table
            .with(impi.as_str(), |r| r.is_some_and(|r| r.impus.iter().any(|i| i.as_str() == impu)))
            .then_some(impi)
    }

    /// A shared store may have lost what it had acknowledged: what this node has there is saved again, upon whatever is
    /// there now; what others changed since is met and taken over. A share of it in each round of the timers.
    fn push_again(&self) {
        let Keeping { keeper, users, .. } = self.keeping();
        let reborn = keeper.reborn();
        let mut again = users.again.lock().unwrap_or_else(PoisonError::into_inner);
        if !reborn.is_empty() {
            let lost = |impi: &Impi| reborn.contains(&keeper.store().epoch(&user_key(impi)));
            again.extend(users.trails.iter().map(|trail| trail.key().clone()).filter(lost));
            again.sort_unstable();
            again.dedup();
            users.indexed.clear();
            tracing::warn!(users = again.len(), "a part of the store may have lost something: it is written again");
        }
        let rest = again.len().saturating_sub(PUSHED_AT_ONCE);
        let now = again.split_off(rest);
        drop(again);
        for impi in now {
            self.index(&impi);
            self.keep(&impi);
        }
    }

    /// Has the user of a B-TID as the store has him.
    pub(super) async fn fetch_by_btid(&self, btid: &Btid) {
        if let Err(why) = self.shared.fetch_by_btid(btid).await {
            tracing::debug!(%why, "what this node has of a B-TID's user has to do");
        }
    }

    /// Leads others to this user.
    fn index(&self, impi: &Impi) {
        let Keeping { keeper, users, .. } = self.keeping();
        if keeper.nature() != Nature::Shared {
            return;
        }
        let times = users.times();
        let mut wanted: Vec<(Key, u64)> = Vec::new();
        self.shared.table.with_whole(impi.as_str(), |registration, _, _| {
            let until = registration.until().map_or(0, |until| times.to_store(until));
            let of = |impu: &Impu| (Key::new(Class::Registered, impu.as_str()), until);
            wanted.extend(registration.impus.iter().map(of));
        });
        let of = |(held, until): &(Arc<Bootstrap>, Duration)| {
            (Key::new(Class::Btid, held.btid.text()), times.to_store(*until))
        };
        wanted.extend(self.shared.bootstraps.held(impi).iter().map(of));
        let now = times.to_store(times.mono);
        for (key, until) in wanted {
            if users.indexed.get(&key).is_some_and(|held| *held >= until) {
                continue;
            }
            // Twice the time, so that not every refresh has to say it again.
            let until = until + until.saturating_sub(now);
            users.indexed.insert(key.clone(), until);
            let owner: Box<[u8]> = impi.as_str().as_bytes().into();
            let save = Save::some(key.clone(), vec![(OWNER.into(), Some(owner))]).until(Duration::from_millis(until));
            let (answer, users) = (keeper.store().save(save), users.clone());
            (self.spawn)(Box::pin(async move {
                if answer.await.is_err() {
                    users.indexed.remove(&key);
                }
            }));
        }
    }

    /// A user whose time has come, claimed by this node.
    pub async fn due(&self, impi: Impi) {
        if self.shared.table.with(impi.as_str(), |held| held.is_none()) {
            self.keeping().keeper.forget(&user_key(&impi)); // a copy that was let go is read anew
        }
        if self.fetch(&impi).await.is_err() {
            return; // due again, here or elsewhere
        }
        if matches!(self.shared.hss.broadcast_subscription(&impi).await, Err(HssError::UserUnknown)) {
            return self.withdraw(vec![impi]);
        }
        // Saved as he is, he is due again at once, and not only when the claim has run out.
        let Some(busy) = Busy::enter(&self.shared, &impi) else { return self.keep(&impi) };
        if self.shared.table.with(impi.as_str(), |held| held.is_none()) {
            return self.take_up_end(&impi).await;
        }
        self.may_end(&impi, "expired");
        match self.shared.table.end_if_over(&impi, self.now().mono) {
            Some(ended) => self.expired(ended).await,
            None => {
                self.not_ended(&impi);
                self.resume(&impi);
                self.keep(&impi);
            }
        }
        drop(busy);
    }

    /// The keeper's share of the timers: what is outstanding from before the start, saves that failed, and on a shared
    /// store copies that are out of date.
    pub(super) fn tend(&self, tidy: bool) {
        let Keeping { keeper, users, .. } = self.keeping();
        keeper.tend(users, &*self.spawn);
        self.tell_ends();
        self.push_again();
        let again: Vec<Impi> = {
            let mut all = users.to_resume();
            let rest = all.len().saturating_sub(RESUMED_AT_ONCE);
            all.split_off(rest)
        };
        again.iter().for_each(|impi| self.resume(impi));
        if tidy {
            let now = users.times();
            let now = now.to_store(now.mono);
            users.indexed.retain(|_, until| *until > now);
        }
    }

    /// A local copy of a user of a shared store ends by itself; who tells the others is who claims him.
    pub(super) fn let_go(&self, impi: &Impi) {
        let Keeping { keeper, users, .. } = self.keeping();
        users.trails.remove(impi.as_str());
        self.shared.bootstraps.remove(impi);
        keeper.forget(&user_key(impi));
    }
}

/// Users saved again in one round of the timers.
const PUSHED_AT_ONCE: usize = 1000;
/// Legs taken up again in one round of the timers.
const RESUMED_AT_ONCE: usize = 200;

mod ending;
mod merge;
#[cfg(test)]
mod tests;
mod trail;
