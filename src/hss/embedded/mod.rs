//! The node's own subscriber store and authentication centre (rank 3): [`crate::hss::Hss`] answered from
//! memory, kept in a [`Store`].
//!
//! On a store of the node's own all subscribers come to lie in memory: first as they are asked for, and by a walk of the
//! store meanwhile; what another process provisions is found when a look-up misses and once a second. Of a shared store
//! memory is a cache of a few seconds. A vector costs no write: SEQ follows the clock below a mark that is written ahead
//! of time ([`crate::aka::sqn`], [`issuer`]). Registration states change in memory at once and are written by one thread.
//! They outlive the node.
//!
//! [`Subscribers`] and [`import`] are what `imscript subscriber` works with.

mod auc;
mod directory;
mod entity;
pub mod field;
pub mod foreign;
pub mod import;
mod issuer;
pub mod legacy;
mod local;
mod lookup;
pub mod subscriber;
mod subscribers;
mod thread;
mod writer;

pub use subscriber::{
    BroadcastRegistration, Credentials, Next, Registration, Serving, Stored, StoredSqn, Subscriber, Watcher,
};
pub use subscribers::{Conflict, Conflicts, Progress, Subscribers};

use super::{
    Assignment, AuthItem, AuthScheme, Bootstrapping, BroadcastState, BroadcastSubscription, Hss, HssError, Profile,
    RegState, UserData,
};
use crate::aka::vector::{AkaVector, Auts, Rand};
use crate::answer::Answer;
use crate::clock::{Clock, Date, Now};
use crate::gba::guss::Guss;
use crate::identity::{Impi, Impu};
use crate::metrics::Metrics;
use crate::store::{Memory, Nature, Save, Saved, Seal, SealError, Store, StoreError};
use auc::Wanted;
use directory::{Directory, Record, Sought, Which};
use issuer::Issuer;
use local::Local;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use writer::Writer;

/// Times that a vector is tried for while offsets and marks are written.
const TRIES: usize = 6;

#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("{}: {cause}", path.display())]
    DataDir { path: PathBuf, cause: std::io::Error },
    #[error("{what} of subscriber {impi} cannot be read: damaged")]
    Damaged { impi: Impi, what: &'static str },
    #[error("subscribers of an earlier version in {}: {cause}", path.display())]
    Legacy { path: PathBuf, cause: rusqlite::Error },
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error("the IND of a node is 0 to 31, not {0}")]
    Ind(u8),
    #[error("SQNs: {0}")]
    Sqn(#[from] issuer::Trouble),
    #[error("the operating system gives no random numbers")]
    Random,
}

/// What is set for the bootstrappings of a subscriber, beside what services he has (GUSS `bsfInfo`).
pub type Terms = Box<dyn Fn(&Subscriber) -> Guss + Send + Sync>;

/// How a node runs its HSS.
#[derive(Default)]
pub struct Settings {
    /// Where it remembers its SQNs beside the store; None: nowhere.
    pub data_dir: Option<PathBuf>,
    /// The IND of all SQNs that it issues; None: leased where the store is shared, else 0.
    pub ind: Option<u8>,
    pub metrics: Arc<Metrics>,
    /// None: nothing is set for anybody.
    pub terms: Option<Terms>,
}

/// The embedded HSS of a node.
pub struct EmbeddedHss {
    directory: Arc<Directory>,
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    shared: bool,
    started: Now,
    writer: Writer,
    issuer: Issuer,
    terms: Option<Terms>,
    stopped: Arc<AtomicBool>,
    filling: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedHss {
    /// Serves the subscribers of `store`. Those of a store of the node's own are read in the background: a question
    /// about one that is not in memory yet is answered all the same.
    pub fn open(
        store: Arc<dyn Store>,
        seal: Arc<Seal>,
        settings: Settings,
        now: Now,
    ) -> Result<Arc<Self>, EmbeddedError> {
        let shared = store.nature() == Nature::Shared;
        let Settings { data_dir, ind, metrics, terms } = settings;
        let subscribers = Subscribers::new(store.clone(), seal.clone());
        let local = match &data_dir {
            Some(dir) => {
                legacy::take_over(dir, &subscribers)?;
                Local::open(dir).map_err(|cause| EmbeddedError::DataDir { path: dir.clone(), cause })?
            }
            None => Local::default(),
        };
        match subscribers.check_seal() {
            // A shared store may come back while the node runs.
            Err(EmbeddedError::Store(_)) if shared => {}
            checked => checked?,
        }
        let local = Arc::new(local);
        let directory = Arc::new(Directory::new(local.clone(), shared));
        directory.tell(now);
        let issuer = Issuer::start(store.clone(), local, ind, metrics, now)?;
        let writer = Writer::start(store.clone(), seal.clone(), directory.clone())?;
        let stopped = Arc::new(AtomicBool::new(false));
        let filling = match store.nature() {
            Nature::Shared => None,
            Nature::Volatile => {
                writer::fill(&*store, &seal, &directory, &|| false);
                None
            }
            Nature::Durable => {
                let (store, seal, directory) = (store.clone(), seal.clone(), directory.clone());
                let stopped = stopped.clone();
                let fill = move || writer::fill(&*store, &seal, &directory, &|| stopped.load(Ordering::Acquire));
                let thread = std::thread::Builder::new().name("hss-fill".into()).spawn(fill);
                Some(thread.map_err(EmbeddedError::Thread)?)
            }
        };
        let filling = Mutex::new(filling);
        Ok(Arc::new(EmbeddedHss {
            directory,
            store,
            seal,
            shared,
            started: now,
            writer,
            issuer,
            terms,
            stopped,
            filling,
        }))
    }

    /// An HSS that forgets everything at its end: demonstrations and tests.
    pub fn in_memory(now: Now) -> Result<Arc<Self>, EmbeddedError> {
        Self::open(Arc::new(Memory::new(Clock::new())), Arc::new(Seal::none()), Settings::default(), now)
    }

    /// Provisions one subscriber; refused if it exists.
    pub fn add(&self, subscriber: Subscriber) -> Result<(), EmbeddedError> {
        let impi = subscriber.impi.clone();
        match self.subscribers().provision(&[subscriber], self.started, false, &mut |_| {})?.pop() {
            None if self.shared => Ok(()),
            None => {
                self.writer.fetch_now(&impi);
                Ok(())
            }
            Some((_, conflict)) => Err(conflict.into()),
        }
    }

    /// For an operator.
    pub fn subscribers(&self) -> Subscribers {
        Subscribers::new(self.store.clone(), self.seal.clone())
    }

    /// Who was removed from the subscribers by another process since the last call, on a store of the node's own: their
    /// registrations end. On a shared store what is due of their users tells.
    pub fn take_removed(&self) -> Vec<Impi> {
        self.directory.take_removed()
    }

    /// Returns when the subscribers of a store of the node's own are in memory.
    pub fn filled(&self) {
        let thread = self.filling.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("subscribers are not read in advance: each is read when asked for");
        }
    }

    /// For a node whose registrar keeps nothing over a restart: who was registered before `started` is so no more. It
    /// blocks until all subscribers are read.
    pub fn forget_registrations(&self, started: Now) {
        self.filled();
        let start = started.unix.as_secs();
        self.directory.for_each(|record| {
            let mut registration = record.registration();
            let before = registration.clone();
            // An S-CSCF elsewhere keeps its users while this node is away.
            if registration.serving.is_none()
                && registration.ims_since < Date::new(start)
                && registration.ims != RegState::NotRegistered
            {
                (registration.ims, registration.ims_since) = (RegState::NotRegistered, Date::new(start));
            }
            if let Some(broadcast) = registration.broadcast.as_mut().filter(|b| b.since < Date::new(start))
                && broadcast.state != RegState::NotRegistered
            {
                (broadcast.state, broadcast.since) = (RegState::NotRegistered, Date::new(start));
            }
            let changed = *registration != before;
            drop(registration);
            if changed {
                self.writer.record(record, Which { ims: true, broadcast: true });
            }
        });
    }

    /// Number of subscribers in memory.
    pub fn len(&self) -> usize {
        self.directory.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both registration states of the subscriber with this private identity, if it is in memory.
    pub fn registration(&self, impi: &Impi) -> Option<Registration> {
        self.directory.find(&Sought::Impi(impi.clone())).ok().map(|record| record.registration().clone())
    }

    /// Looks for what other processes provisioned; does not wait. The writer does so once a second by itself.
    pub fn refresh_if_changed(&self) {
        self.writer.refresh_soon();
    }

    /// Keeps mark and lease ahead of the clock, so that no vector has to wait for the store: call it twice a second.
    pub fn maintain(&self, now: Now) {
        self.directory.tell(now);
        self.issuer.tick(now);
    }

    /// Returns when all states recorded so far are in the store, and what was to be maintained is done.
    pub fn flush(&self) {
        self.issuer.flush();
        self.writer.flush();
    }

    /// Writes what is left and ends the threads; a lease is given back. Vectors that need the store are refused
    /// afterwards.
    pub fn close(&self) {
        self.stopped.store(true, Ordering::Release);
        self.issuer.stop();
        self.filled();
        self.writer.stop();
    }

    fn authenticate<'a>(
        &'a self,
        record: Arc<Record>,
        scheme: AuthScheme,
        resync: Option<(Rand, Auts)>,
        foreign: bool,
        now: Now,
    ) -> Answer<'a, Result<AuthItem, HssError>> {
        match (&record.subscriber.credentials, scheme) {
            (Credentials::Aka(keys), AuthScheme::DigestAka | AuthScheme::Unknown) => {
                if let Some(resync) = resync {
                    // Of a shared store the RAND may be another node's; that it is this user's, the S-CSCF knows.
                    let foreign = foreign || self.shared;
                    let resync = |at| record.auc().resync(keys, resync, at, now.mono, foreign);
                    if let Err(error) = self.issuer.moment(now).and_then(resync) {
                        return Answer::now(Err(error));
                    }
                }
                match self.vector(&record, now) {
                    Ok(vector) => Answer::now(Ok(AuthItem::Aka(vector))),
                    Err(Wanted::Refused(error)) => Answer::now(Err(error)),
                    Err(wanted) => Answer::later(self.vector_later(record, wanted, now)),
                }
            }
            (Credentials::Digest(password), AuthScheme::SipDigest | AuthScheme::Unknown) if resync.is_none() => {
                Answer::now(Ok(AuthItem::Digest { password: password.clone() }))
            }
            _ => Answer::now(Err(HssError::SchemeNotSupported)),
        }
    }

    fn vector(&self, record: &Record, now: Now) -> Result<AkaVector, Wanted> {
        let keys = auc::keys(&record.subscriber.credentials).ok_or(Wanted::Refused(HssError::SchemeNotSupported))?;
        let moment = self.issuer.moment(now).map_err(Wanted::Refused)?;
        record.auc().vector(keys, &record.subscriber, moment)
    }

    /// Has written what is missing, and tries again.
    async fn vector_later(&self, record: Arc<Record>, mut wanted: Wanted, now: Now) -> Result<AuthItem, HssError> {
        for _ in 0..TRIES {
            match wanted {
                Wanted::Offset(sqn) => self.write_offset(&record, sqn).await?,
                Wanted::Mark => {
                    if !self.issuer.mark(now).await {
                        return Err(HssError::NoVector("the SQN mark cannot be written"));
                    }
                }
                Wanted::Refused(error) => return Err(error),
            }
            match self.vector(&record, now) {
                Ok(vector) => return Ok(AuthItem::Aka(vector)),
                Err(next) => wanted = next,
            }
        }
        Err(HssError::NoVector("the SQN mark does not keep up"))
    }

    /// The offset is remembered by this node and lies in the store, unless another node has written a newer one.
    async fn write_offset(&self, record: &Record, sqn: StoredSqn) -> Result<(), HssError> {
        const FAILED: HssError = HssError::NoVector("the SQN offset cannot be written");
        let impi = &record.subscriber.impi;
        if !self.issuer.learn(impi, sqn).await {
            return Err(FAILED);
        }
        for _ in 0..TRIES {
            let entity = self.read_one(entity::subscriber_key(impi)).await.map_err(|_| FAILED)?;
            if !entity::is_subscriber(&entity) {
                return Err(HssError::UserUnknown);
            }
            // Whoever wanted the same at the same time may have written it.
            if let Some(row) = entity::stored_sqn(&entity).filter(|row| *row >= sqn) {
                record.auc().reload(row);
                return Ok(());
            }
            let save = Save::some(entity::subscriber_key(impi), vec![entity::sqn(sqn)]).upon(entity.version);
            if let Saved::Done(_) = self.store.save(save).await.map_err(|_| FAILED)? {
                record.auc().written(sqn);
                return Ok(());
            }
        }
        Err(FAILED)
    }

    /// On a shared store a state that another node may contradict is written before the answer, so that states lie there
    /// in the order in which they were answered.
    fn assign(&self, record: &Arc<Record>, kind: Assignment, now: Now) -> Answer<'_, Result<Profile, HssError>> {
        let state = match kind {
            Assignment::Registration | Assignment::ReRegistration => Some(RegState::Registered),
            Assignment::UserDeregistration
            | Assignment::TimeoutDeregistration
            | Assignment::AdministrativeDeregistration => Some(RegState::NotRegistered),
            // A stranger who fails to authenticate must not change what the user has.
            Assignment::AuthenticationFailure | Assignment::AuthenticationTimeout | Assignment::UnregisteredUser => {
                None
            }
        };
        let Subscriber { impi, impus, broadcast, .. } = &record.subscriber;
        let profile = Profile { impi: Some(impi.clone()), ..Profile::new(impus.clone(), broadcast.clone()) };
        let elsewhere = record.registration().serving.is_some();
        if let Some(state) = state.filter(|state| *state == RegState::Registered || !elsewhere) {
            let mut registration = record.registration();
            // Who was served elsewhere is served here from now on.
            let from = registration.serving.take();
            let changed = registration.ims != state || from.is_some();
            if changed {
                registration.ims = state;
                registration.ims_since = Date::new(now.unix.as_secs());
            }
            drop(registration);
            if let Some(from) = from {
                self.directory.observer.tell(|| foreign::Change::Moved(foreign::Entry::of(record.clone()), from));
            }
            if changed {
                self.directory.observer.tell(|| foreign::Change::State(foreign::Entry::of(record.clone())));
            }
            // What is known of a shared store may be some seconds old.
            if changed || self.shared && kind != Assignment::ReRegistration {
                self.writer.record(record, Which::IMS);
                if self.shared {
                    return Answer::later(async move {
                        self.writer.written().await;
                        Ok(profile)
                    });
                }
            }
        }
        Answer::now(Ok(profile))
    }

    fn update(&self, record: &Arc<Record>, state: BroadcastState, now: Now) {
        let mut registration = record.registration();
        let changed = foreign::set_broadcast(&mut registration, state, now);
        drop(registration);
        if changed {
            self.directory.observer.tell(|| foreign::Change::Broadcast(foreign::Entry::of(record.clone())));
        }
        if changed || self.shared {
            self.writer.record(record, Which::BROADCAST);
        }
    }
}

impl Hss for EmbeddedHss {
    fn multimedia_auth<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        scheme: AuthScheme,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Answer<'a, Result<AuthItem, HssError>> {
        self.directory.tell(now);
        let sought = Sought::Both(impi.clone(), impu.clone());
        self.look_up(sought, true, move |record| self.authenticate(record, scheme, resync, false, now))
    }

    fn server_assignment<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        kind: Assignment,
        now: Now,
    ) -> Answer<'a, Result<Profile, HssError>> {
        self.directory.tell(now);
        let sought = Sought::Both(impi.clone(), impu.clone());
        self.look_up(sought, false, move |record| self.assign(&record, kind, now))
    }

    fn broadcast_subscription<'a>(&'a self, impi: &'a Impi) -> Answer<'a, Result<BroadcastSubscription, HssError>> {
        self.look_up(Sought::Impi(impi.clone()), false, |record| Answer::now(Ok(record.subscriber.broadcast.clone())))
    }

    fn broadcast_update<'a>(
        &'a self,
        impu: &'a Impu,
        state: BroadcastState,
        now: Now,
    ) -> Answer<'a, Result<(), HssError>> {
        self.directory.tell(now);
        self.look_up(Sought::Impu(impu.clone()), false, move |record| {
            self.update(&record, state, now);
            Answer::now(Ok(()))
        })
    }

    fn private_identity<'a>(&'a self, impu: &'a Impu) -> Answer<'a, Result<Impi, HssError>> {
        self.look_up(Sought::Impu(impu.clone()), false, |record| Answer::now(Ok(record.subscriber.impi.clone())))
    }

    /// What the services are, the BSF asks when a NAF does.
    fn bootstrapping<'a>(
        &'a self,
        impi: &'a Impi,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Answer<'a, Result<Bootstrapping, HssError>> {
        self.directory.tell(now);
        self.look_up(Sought::Impi(impi.clone()), true, move |record| {
            Answer::later(async move {
                let asked = self.authenticate(record.clone(), AuthScheme::DigestAka, resync, false, now);
                let AuthItem::Aka(vector) = asked.await? else { return Err(HssError::SchemeNotSupported) };
                let subscriber = &record.subscriber;
                let settings = self.terms.as_ref().map(|terms| terms(subscriber)).unwrap_or_default();
                let (impus, broadcast) = (subscriber.impus.clone(), subscriber.broadcast.clone());
                Ok(Bootstrapping { vector, impus, broadcast, settings })
            })
        })
    }

    fn user_data<'a>(&'a self, identity: &'a str) -> Answer<'a, Result<UserData, HssError>> {
        let sought = Sought::Either(Impi::new(identity), Impu::new(identity));
        self.look_up(sought, false, |record| Answer::now(Ok(user_data(&record))))
    }
}

fn user_data(record: &Record) -> UserData {
    let Subscriber { impi, impus, broadcast, .. } = &record.subscriber;
    let registration = record.registration().clone();
    let of_broadcast = |b: Box<BroadcastRegistration>| (b.state(), b.since.map_or(0, Date::seconds));
    UserData {
        impi: impi.clone(),
        impus: impus.clone(),
        broadcast: broadcast.clone(),
        ims: registration.ims,
        ims_since: registration.ims_since.map(Date::seconds),
        registration: registration.broadcast.map(of_broadcast),
    }
}

impl Drop for EmbeddedHss {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod testbed;
#[cfg(test)]
mod tests;
