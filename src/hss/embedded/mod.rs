//! The node's own subscriber store and authentication centre (rank 3): [`crate::hss::Hss`] answered from
//! memory, kept in SQLite.
//!
//! All subscribers lie in memory; what another process provisions is found when a look-up misses and
//! once a second. A vector costs no write: SEQ follows the clock below a mark that is on disk ahead of
//! time ([`crate::aka::sqn`]). Registration states change in memory at once and are committed in groups
//! by one thread. They outlive the node: at the next start they are as they were, until they change.
//!
//! [`Database`] and [`import`] are what `imscript subscriber` works with.

mod auc;
pub mod database;
mod directory;
pub mod field;
pub mod import;
mod rows;
mod schema;
pub mod subscriber;
mod writer;

pub use database::{Conflict, Database};
pub use subscriber::{BroadcastRegistration, Credentials, Registration, Stored, StoredSqn, Subscriber};

use super::{
    Assignment, AuthItem, AuthScheme, BroadcastState, BroadcastSubscription, Hss, HssError, Profile, RegState, UserData,
};
use crate::aka::vector::{AkaVector, Auts, Rand};
use crate::aka::{SqnClock, sqn};
use crate::answer::Answer;
use crate::clock::Now;
use crate::identity::{Impi, Impu};
use auc::{Moment, Wanted};
use directory::{Directory, Record};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use writer::Writer;

/// The mark is moved on when less than this is left of it: 5 s.
const MARK_RESERVE: u64 = sqn::MAX_LEAD / 2;

#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error("no subscribers yet: {} does not exist", .0.display())]
    Absent(PathBuf),
    #[error("{} cannot be made: {cause}", path.display())]
    DataDir { path: PathBuf, cause: std::io::Error },
    #[error("{} cannot be opened: {cause}", path.display())]
    Open { path: PathBuf, cause: rusqlite::Error },
    #[error("{} is of version {found}, this program knows versions up to {known}: use a newer imscript", path.display())]
    Newer { path: PathBuf, found: usize, known: usize },
    #[error("another node runs on {}: every node needs a data dir of its own", .0.display())]
    InUse(PathBuf),
    #[error("subscriber database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("damaged row in the subscriber database: {0}")]
    Damaged(&'static str),
    #[error("the writer cannot be started: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error("the IND of a node is 0 to 31, not {0}")]
    Ind(u8),
    #[error("the HSS is closed")]
    Closed,
}

/// The embedded HSS of a node.
pub struct EmbeddedHss {
    directory: Arc<Directory>,
    writer: Writer,
    clock: SqnClock,
    ind: u8,
    /// Held while the node runs; the kernel lets it go even after a kill.
    _lock: Option<File>,
}

impl EmbeddedHss {
    /// Opens or makes the database in `data_dir`. `node_ind`: the IND of all SQNs that this node issues.
    pub fn open(data_dir: &Path, node_ind: u8, now: Now) -> Result<Arc<Self>, EmbeddedError> {
        let db = Database::create(data_dir)?;
        let path = data_dir.join("subscribers.lock");
        let failed = |cause| EmbeddedError::DataDir { path: path.clone(), cause };
        let lock = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Self::start(db, node_ind, now, Some(lock)),
            Err(TryLockError::WouldBlock) => Err(EmbeddedError::InUse(data_dir.into())),
            Err(TryLockError::Error(cause)) => Err(failed(cause)),
        }
    }

    /// An HSS that forgets everything at its end: demonstrations and tests.
    pub fn in_memory(now: Now) -> Result<Arc<Self>, EmbeddedError> {
        Self::start(Database::in_memory()?, 0, now, None)
    }

    fn start(mut db: Database, ind: u8, now: Now, lock: Option<File>) -> Result<Arc<Self>, EmbeddedError> {
        if ind >= sqn::IND_COUNT {
            return Err(EmbeddedError::Ind(ind));
        }
        let clock = SqnClock::start(now, db.sqn_mark()?);
        let directory = Arc::new(Directory::default());
        let tx = db.begin()?;
        database::put_sqn_mark(&tx, ind, clock.mark(now))?;
        tx.commit()?;
        directory.set_mark(clock.mark(now));
        db.forget_removed()?;
        let seen = db.changes(0, |_| {}, |stored| directory.put(stored))?;
        let writer = Writer::start(db, ind, directory.clone(), seen)?;
        Ok(Arc::new(EmbeddedHss { directory, writer, clock, ind, _lock: lock }))
    }

    /// Provisions one subscriber; refused if it exists.
    pub fn add(&self, subscriber: Subscriber) -> Result<(), EmbeddedError> {
        match self.writer.provision(subscriber, self.clock.floor())?.pop() {
            None => Ok(()),
            Some((_, conflict)) => Err(conflict.into()),
        }
    }

    /// Nobody is registered any more: for a node whose registrar starts empty.
    pub fn forget_registrations(&self, now: Now) {
        let since = Some(now.unix.as_secs());
        for record in self.directory.all() {
            let mut registration = record.registration();
            let mut changed = false;
            if registration.ims != RegState::NotRegistered {
                (registration.ims, registration.ims_since, changed) = (RegState::NotRegistered, since, true);
            }
            if let Some(broadcast) = registration.broadcast.as_mut().filter(|b| b.state != RegState::NotRegistered) {
                (broadcast.state, broadcast.since, changed) = (RegState::NotRegistered, now.unix.as_secs(), true);
            }
            drop(registration);
            if changed {
                self.writer.record(&record);
            }
        }
    }

    /// Who was removed from the subscribers by another process since the last call: their registrations end.
    pub fn take_removed(&self) -> Vec<Impi> {
        self.directory.take_removed()
    }

    /// Number of subscribers.
    pub fn len(&self) -> usize {
        self.directory.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both registration states of the subscriber with this private identity.
    pub fn registration(&self, impi: &Impi) -> Option<Registration> {
        self.directory.by_impi(impi).ok().map(|record| record.registration().clone())
    }

    /// Looks for what other processes provisioned; does not wait. The writer does so once a second by itself.
    pub fn refresh_if_changed(&self) {
        self.writer.refresh_soon();
    }

    /// Keeps the SQN mark ahead of the clock, so that no vector has to wait for the disk: call it once a second.
    pub fn maintain(&self, now: Now) {
        let ahead = self.directory.mark().saturating_sub(sqn::ticks(self.clock.read(now)));
        if ahead < MARK_RESERVE {
            self.writer.mark_soon(self.clock.mark(now));
        }
    }

    /// Returns when all states recorded so far are in the database.
    pub fn flush(&self) {
        self.writer.flush();
    }

    /// Writes what is left and ends the writer. Vectors that need the disk are refused afterwards.
    pub fn close(&self) {
        self.writer.stop();
    }

    /// Looks up in memory; on a miss once more after a look for changes of other processes.
    fn look_up<'a, T: Unpin>(
        &'a self,
        find: impl Fn(&Directory) -> Result<Arc<Record>, HssError> + 'a,
        then: impl FnOnce(Arc<Record>) -> Answer<'a, Result<T, HssError>> + 'a,
    ) -> Answer<'a, Result<T, HssError>> {
        match find(&self.directory) {
            Ok(record) => then(record),
            Err(error) => match self.writer.refresh() {
                None => Answer::now(Err(error)),
                Some(refreshed) => Answer::later(async move {
                    let _ = refreshed.await; // an ended writer leaves us with what is in memory
                    match find(&self.directory) {
                        Ok(record) => then(record).await,
                        Err(error) => Err(error),
                    }
                }),
            },
        }
    }

    fn authenticate<'a>(
        &'a self,
        record: Arc<Record>,
        scheme: AuthScheme,
        resync: Option<(Rand, Auts)>,
        now: Now,
    ) -> Answer<'a, Result<AuthItem, HssError>> {
        match (&record.subscriber.credentials, scheme) {
            (Credentials::Aka(keys), AuthScheme::DigestAka | AuthScheme::Unknown) => {
                if let Some(resync) = resync
                    && let Err(error) = record.auc().resync(keys, resync, self.moment(now), now.mono)
                {
                    return Answer::now(Err(error));
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

    fn moment(&self, now: Now) -> Moment {
        Moment { time: self.clock.read(now), floor: self.clock.floor(), mark: self.directory.mark(), ind: self.ind }
    }

    fn vector(&self, record: &Record, now: Now) -> Result<AkaVector, Wanted> {
        self.maintain(now);
        let keys = auc::keys(&record.subscriber.credentials).ok_or(Wanted::Refused(HssError::SchemeNotSupported))?;
        record.auc().vector(keys, &record.subscriber, self.moment(now))
    }

    /// Has written what is missing, and tries again: at most an offset, then a mark, then once more each.
    async fn vector_later(&self, record: Arc<Record>, mut wanted: Wanted, now: Now) -> Result<AuthItem, HssError> {
        for _ in 0..4 {
            match wanted {
                Wanted::Offset(sqn) => {
                    if !self.writer.offset(&record.subscriber.impi, sqn).await {
                        return Err(HssError::NoVector("the SQN offset cannot be written"));
                    }
                    record.auc().written(sqn);
                }
                Wanted::Mark => {
                    if !self.writer.mark(self.clock.mark(now)).await {
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

    fn assign(&self, record: &Arc<Record>, kind: Assignment, now: Now) -> Profile {
        let state = match kind {
            Assignment::Registration | Assignment::ReRegistration => Some(RegState::Registered),
            Assignment::UserDeregistration
            | Assignment::TimeoutDeregistration
            | Assignment::AdministrativeDeregistration => Some(RegState::NotRegistered),
            // A stranger who fails to authenticate must not change what the user has.
            Assignment::AuthenticationFailure | Assignment::AuthenticationTimeout => None,
        };
        if let Some(state) = state {
            let mut registration = record.registration();
            if registration.ims != state {
                registration.ims = state;
                registration.ims_since = Some(now.unix.as_secs());
                drop(registration);
                self.writer.record(record);
            }
        }
        Profile { impus: record.subscriber.impus.clone(), broadcast: record.subscriber.broadcast.clone() }
    }

    fn update(&self, record: &Arc<Record>, state: BroadcastState, now: Now) {
        let BroadcastState { state, server, naf_fqdn, btid } = state;
        let mut registration = record.registration();
        let since = match &registration.broadcast {
            Some(old) if old.state == state => old.since,
            _ => now.unix.as_secs(),
        };
        let new = Some(BroadcastRegistration { state, server, naf_fqdn, btid, since });
        if registration.broadcast != new {
            registration.broadcast = new;
            drop(registration);
            self.writer.record(record);
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
        self.look_up(
            move |directory| directory.by_both(impi, impu),
            move |record| self.authenticate(record, scheme, resync, now),
        )
    }

    fn server_assignment<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        kind: Assignment,
        now: Now,
    ) -> Answer<'a, Result<Profile, HssError>> {
        self.look_up(
            move |directory| directory.by_both(impi, impu),
            move |record| Answer::now(Ok(self.assign(&record, kind, now))),
        )
    }

    fn broadcast_subscription<'a>(&'a self, impi: &'a Impi) -> Answer<'a, Result<BroadcastSubscription, HssError>> {
        self.look_up(
            move |directory| directory.by_impi(impi),
            |record| Answer::now(Ok(record.subscriber.broadcast.clone())),
        )
    }

    fn broadcast_update<'a>(
        &'a self,
        impu: &'a Impu,
        state: BroadcastState,
        now: Now,
    ) -> Answer<'a, Result<(), HssError>> {
        self.look_up(
            move |directory| directory.by_impu(impu),
            move |record| {
                self.update(&record, state, now);
                Answer::now(Ok(()))
            },
        )
    }

    fn private_identity<'a>(&'a self, impu: &'a Impu) -> Answer<'a, Result<Impi, HssError>> {
        self.look_up(move |directory| directory.by_impu(impu), |record| Answer::now(Ok(record.subscriber.impi.clone())))
    }

    fn user_data<'a>(&'a self, identity: &'a str) -> Answer<'a, Result<UserData, HssError>> {
        let (impi, impu) = (Impi::new(identity), Impu::new(identity));
        self.look_up(
            move |directory| directory.by_impi(&impi).or_else(|_| directory.by_impu(&impu)),
            |record| Answer::now(Ok(user_data(&record))),
        )
    }
}

fn user_data(record: &Record) -> UserData {
    let Subscriber { impi, impus, broadcast, .. } = &record.subscriber;
    let registration = record.registration().clone();
    let of_broadcast = |b: BroadcastRegistration| {
        let BroadcastRegistration { state, server, naf_fqdn, btid, since } = b;
        (BroadcastState { state, server, naf_fqdn, btid }, since)
    };
    UserData {
        impi: impi.clone(),
        impus: impus.clone(),
        broadcast: broadcast.clone(),
        ims: registration.ims,
        ims_since: registration.ims_since,
        registration: registration.broadcast.map(of_broadcast),
    }
}

impl Drop for EmbeddedHss {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
