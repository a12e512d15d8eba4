//! What outlives a process, and what several nodes share: one trait, [`Store`] (rank 1), and three stores behind it.
//!
//! A store holds *entities*: a [`Key`] with named fields of octets (JSON text, secrets in it sealed by [`seal`]) and a
//! version that every change raises. A change touches one entity and is made wholly or not at all; it may say which
//! version it was made upon. That is all that registrar, BSF, HSS, broadcast server and plugins need, so that a node on a
//! file and ten nodes on a cluster run the same code. Two rules carry the rest:
//!
//! * [`Store::save`] takes its place in the queue *when it is called*, not when its answer is awaited: who calls it with
//!   the lock of the thing that it describes in hand has changes written in the order in which they were made.
//! * Times in a store are the store's own ([`Store::time`]), so that a node whose clock is wrong ends nobody's
//!   registration.

pub mod keeper;
pub mod memory;
pub mod open;
pub mod redis;
pub mod seal;
pub mod space;
pub mod sqlite;

pub use memory::Memory;
pub use seal::{Seal, SealError};

use crate::answer::Answer;
use crate::clock::Now;
use arcstr::ArcStr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// What an entity is about; with the name that [`Key`] gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A subscriber of the HSS, by private identity: what is provisioned, SQN offset, states.
    Subscriber,
    /// Whose a public identity is in the HSS.
    PublicIdentity,
    /// A user of the S-CSCF, by private identity: contacts, broadcast leg.
    User,
    /// Which user has a public identity registered.
    Registered,
    /// A user's bootstrappings, by private identity.
    Bootstrap,
    /// Which user a B-TID belongs to.
    Btid,
    /// A challenge that is out, by private identity.
    Challenge,
    /// A user of the broadcast server, by public identity.
    BroadcastUser,
    /// A subscription to an event.
    Subscription,
    /// What a plugin keeps, by the plugin's name: its keys are the fields.
    Plugin,
    /// A node of this network, by the IND of its SQNs.
    Node,
}

impl Class {
    pub const ALL: [Class; 11] = [
        Class::Subscriber,
        Class::PublicIdentity,
        Class::User,
        Class::Registered,
        Class::Bootstrap,
        Class::Btid,
        Class::Challenge,
        Class::BroadcastUser,
        Class::Subscription,
        Class::Plugin,
        Class::Node,
    ];

    /// As it is written in a store.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Subscriber => "subscriber",
            Class::PublicIdentity => "public-identity",
            Class::User => "user",
            Class::Registered => "registered",
            Class::Bootstrap => "bootstrap",
            Class::Btid => "btid",
            Class::Challenge => "challenge",
            Class::BroadcastUser => "broadcast-user",
            Class::Subscription => "subscription",
            Class::Plugin => "plugin",
            Class::Node => "node",
        }
    }

    pub fn parse(text: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

/// Which entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub class: Class,
    /// At most [`MAX_NAME`] octets. Entities of one name lie on one shard, whatever their class.
    pub name: ArcStr,
}

impl Key {
    pub fn new(class: Class, name: impl Into<ArcStr>) -> Self {
        Key { class, name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.class.as_str(), self.name)
    }
}

/// Longest name of an entity in octets.
pub const MAX_NAME: usize = 1024;
/// Longest value of a field in octets.
pub const MAX_VALUE: usize = 1 << 20;

/// An entity as it lies in the store. Version 0, without fields: there is none. A change raises the version by 1; one that
/// is made anew begins above all versions that an earlier one of the same key can have had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entity {
    pub version: u64,
    /// In order of their names.
    pub fields: Vec<(Box<str>, Box<[u8]>)>,
}

impl Entity {
    pub fn exists(&self) -> bool {
        self.version != 0
    }

    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let at = self.fields.binary_search_by(|(held, _)| (**held).cmp(name)).ok()?;
        self.fields.get(at).map(|(_, value)| &**value)
    }
}

/// When a node is to look at an entity by itself ([`Store::claim_due`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Due {
    /// As it is.
    #[default]
    Unchanged,
    Never,
    /// A time of the store's clock.
    At(Duration),
}

/// Fields by name with what to put; None: to take out.
pub type Changes = Vec<(Box<str>, Option<Box<[u8]>>)>;

/// A change of one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save {
    pub key: Key,
    /// Some: only upon this version, 0: only if there is none.
    pub upon: Option<u64>,
    /// Fields to put, or with None to take out. An entity that is left without fields is gone.
    pub fields: Changes,
    /// Take out all other fields.
    pub whole: bool,
    pub due: Due,
    /// When the store may let go of the entity by itself, a time of its own clock; None: never. It is nothing to rely
    /// on: who reads checks the times within.
    pub until: Option<Duration>,
}

impl Save {
    /// Puts `fields` in place of whatever there was.
    pub fn whole(key: Key, fields: Changes) -> Self {
        Save { key, upon: None, fields, whole: true, due: Due::Unchanged, until: None }
    }

    /// Changes some fields and leaves the others.
    pub fn some(key: Key, fields: Changes) -> Self {
        Save { whole: false, ..Save::whole(key, fields) }
    }

    pub fn remove(key: Key) -> Self {
        Save { due: Due::Never, ..Save::whole(key, Vec::new()) }
    }

    pub fn upon(self, version: u64) -> Self {
        Save { upon: Some(version), ..self }
    }

    pub fn due(self, due: Due) -> Self {
        Save { due, ..self }
    }

    pub fn until(self, until: Duration) -> Self {
        Save { until: Some(until), ..self }
    }
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// Made; as durable as the store is set to make it. The version after it, 0 if the entity is gone.
    Done(u64),
    /// Not made: the entity is of another version than the one that it was to be made upon.
    Conflict,
}

/// Clone: one failure may have to be told to many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Neither read nor written now. Nothing is said of whether a change that was under way was made.
    #[error("the store is away: {0}")]
    Away(Arc<str>),
    /// Disk full, not writable, failing: changes are not made, what is there can be read.
    #[error("the store cannot be written: {0}")]
    Unwritable(Arc<str>),
    #[error("{key} cannot be read: {why}")]
    Damaged { key: Key, why: Arc<str> },
    /// Too long, or not one of a thing that there may be one of.
    #[error("not taken: {0}")]
    Refused(Arc<str>),
    #[error("the store is closed")]
    Closed,
}

/// How far what is written in a store reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It ends with the process: nobody needs to write into it.
    Volatile,
    /// This node's own, and it outlives it.
    Durable,
    /// Several nodes': what lies in memory may be older than what lies there.
    Shared,
}

/// How a part of a store fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// `sqlite`, or the address of a shard's master.
    pub part: String,
    pub reads: bool,
    pub writes: bool,
    /// Why not; empty if all is well.
    pub why: String,
}

type Answered<T> = Answer<'static, Result<T, StoreError>>;

/// A store. All methods but [`Store::walk`] return at once; what has to wait is in the answer.
pub trait Store: Send + Sync {
    fn nature(&self) -> Nature;

    /// Entities in the order of `keys`; one that is not there has version 0.
    fn load(&self, keys: Vec<Key>) -> Answered<Vec<Entity>>;

    /// Takes its place in the queue before it returns; see the head of this module.
    fn save(&self, save: Save) -> Answered<Saved>;

    /// Takes an entity out and gives it to exactly one asker.
    fn take(&self, key: Key) -> Answered<Entity>;

    /// At most `most` entities that are due. They are due again after `hold`, unless a save says otherwise: so each is one
    /// node's to look at, and another's if that one dies over it.
    fn claim_due(&self, hold: Duration, most: usize) -> Answered<Vec<Key>>;

    /// What other processes have changed since the last call, where the store can say: a shared one cannot.
    fn changed(&self) -> Answered<Vec<Key>>;

    /// All entities of a class, in no order, until `each` breaks. It blocks: not for a worker.
    fn walk(&self, class: Class, each: &mut dyn FnMut(&Key, Entity) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// The store's clock at `now`: time since 1970 that does not step.
    fn time(&self, now: Now) -> Duration;

    /// A number that changes when what was acknowledged of this entity may have been lost: its shard has another master, which
    /// may lag, or was started anew or emptied. Who has the state at hand writes it again. A store that loses nothing says
    /// 0 for ever.
    fn epoch(&self, _key: &Key) -> u64 {
        0
    }

    /// Never empty.
    fn health(&self) -> Vec<Health>;

    /// Writes what is left and ends; later calls are answered [`StoreError::Closed`]. It blocks.
    fn close(&self);
}
