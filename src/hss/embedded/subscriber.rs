//! One subscriber as it is provisioned, and as it lies in the store.

use crate::aka::{Amf, KeySet, Sqn, SqnError, SqnState, sqn};
use crate::auth::digest::Password;
use crate::clock::Date;
use crate::few::Few;
use crate::gba::btid::Btid;
use crate::hss::{BroadcastState, BroadcastSubscription, RegState};
use crate::identity::{Impi, Impus};
use arcstr::ArcStr;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a subscriber proves who it is.
#[derive(Clone, Debug)]
pub enum Credentials {
    Aka(KeySet),
    Digest(Password),
}

impl Credentials {
    /// `milenage`, `tuak` or `digest`, as in the import file.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Credentials::Aka(keys) => keys.algorithm().as_str(),
            Credentials::Digest(_) => "digest",
        }
    }

    /// Whether it is the same card: then the SQN goes on where it was.
    pub(super) fn same_keys(&self, other: &Credentials) -> bool {
        match (self, other) {
            (Credentials::Aka(a), Credentials::Aka(b)) => {
                a.algorithm() == b.algorithm() && a.k() == b.k() && a.opc() == b.opc()
            }
            _ => false,
        }
    }

    /// Whether it is what that is, so that nothing changes.
    pub(super) fn is(&self, other: &Credentials) -> bool {
        match (self, other) {
            (Credentials::Digest(a), Credentials::Digest(b)) => a.as_bytes() == b.as_bytes(),
            _ => self.same_keys(other),
        }
    }
}

/// What an operator provisions.
#[derive(Clone, Debug)]
pub struct Subscriber {
    pub impi: Impi,
    /// The implicit registration set, default identity first.
    pub impus: Impus,
    pub credentials: Credentials,
    pub amf: Amf,
    /// The highest SQN that the card has accepted; a fresh card's is 0. None when an existing
    /// subscriber is replaced: the generator goes on, if the keys stay the same.
    pub sqn: Option<Sqn>,
    pub broadcast: BroadcastSubscription,
    /// Which of the service profiles in the configuration is the subscriber's; empty: the one named `default`.
    pub service: ArcStr,
}

/// A subscriber's SQN generator at rest: the next SEQ is above `tick + offset - 1`. The greater one is the newer one: by
/// `step`, and of two nodes that learnt at the same time by `tick`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoredSqn {
    /// Which change it is: provisioning sets it by the time, what is learnt from the card adds 1. A store that lost a
    /// write shows an older one than a node remembers.
    pub step: u64,
    /// When the offset was learnt.
    pub tick: u64,
    /// SEQ minus ticks, see [`crate::aka::sqn`].
    pub offset: i64,
}

/// Between two provisionings at least: what is learnt in between does not catch up.
pub(super) const PROVISIONING: u64 = 1 << 20;

impl StoredSqn {
    /// The generator of a card that has accepted `sqn`, learnt at `tick`; `old` is what it replaces.
    pub(super) fn provisioned(sqn: Sqn, tick: u64, old: Option<StoredSqn>) -> Result<Self, SqnError> {
        let at = Duration::from_millis(tick.saturating_mul(100));
        let offset = SqnState::imported(sqn, at)?.offset;
        let step = (tick / 10).saturating_mul(PROVISIONING);
        let above = old.map_or(0, |old| old.step.saturating_add(PROVISIONING));
        Ok(StoredSqn { step: step.max(above), tick, offset })
    }

    /// What follows after `offset` was learnt at `tick`.
    pub(super) fn learnt(self, offset: i64, tick: u64) -> Self {
        StoredSqn { step: self.step.saturating_add(1), tick, offset }
    }

    /// The generator at `now`; `floor` is the tick at which this node's SQN clock started.
    pub(super) fn resume(self, now: Duration, floor: u64) -> Result<SqnState, SqnError> {
        let last = i128::from(self.tick) + i128::from(self.offset) - 1;
        let last = u64::try_from(last).map_err(|_| SqnError::Exhausted)?;
        if self.tick > sqn::ticks(now) {
            // Learnt under a clock that ran ahead of ours: the same SEQ has to follow at our own time.
            return SqnState::imported(Sqn::from_parts(last, 0).ok_or(SqnError::Exhausted)?, now);
        }
        let mut state = SqnState::restored(self.offset, floor);
        state.last_seq = state.last_seq.max(last);
        Ok(state)
    }
}

/// The broadcast side of a subscriber's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastRegistration {
    pub state: RegState,
    pub server: ArcStr,
    pub naf_fqdn: ArcStr,
    pub btid: Option<Told>,
    pub since: Option<Date>,
    /// Of the repository data that application servers see (TS 29.328 §6.1.2).
    pub sequence: u16,
}

/// A B-TID as others have told it: small where it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Btid(Btid),
    Other(Box<str>),
}

impl Told {
    pub fn read(text: &str) -> Self {
        Btid::parse(text).map_or_else(|_| Told::Other(text.into()), Told::Btid)
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Told::Btid(btid) => btid.fmt(f),
            Told::Other(text) => f.write_str(text),
        }
    }
}

impl BroadcastRegistration {
    /// As others are told.
    pub fn state(&self) -> BroadcastState {
        BroadcastState {
            state: self.state,
            server: self.server.to_string(),
            naf_fqdn: self.naf_fqdn.to_string(),
            btid: self.btid.as_ref().map(Told::to_string),
        }
    }
}

/// The S-CSCF that a user is assigned to, if it is not this node's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Server-Name: its SIP URI.
    pub scscf: String,
    /// Origin-Host and Origin-Realm: where requests for it go.
    pub host: String,
    pub realm: String,
    /// It has asked for vectors and not registered the user yet.
    pub authenticating: bool,
    /// It does not answer the I-CSCF: another one may take its place.
    pub reassign: bool,
    /// Another one that has asked for vectors since: it may take its place when it registers the user.
    pub next: Option<Next>,
    /// SCSCF-Restoration-Info as it came.
    pub restoration: Option<Vec<u8>>,
}

/// An S-CSCF that authenticates a user whom another one serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// Server-Name.
    pub scscf: String,
    /// Seconds since 1970: nobody answers a challenge later.
    pub until: u64,
}

/// An application server that is told when a subscriber's data change (Sh SNR).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watcher {
    pub host: String,
    pub realm: String,
    /// The public identity that it named.
    pub impu: String,
    /// Numbers of Data-References.
    pub data: Vec<i32>,
    /// Service-Indications of repository data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// SIP URI of the server, for its filter criteria.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Seconds since 1970; None: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// One notification and no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
}

/// Both registration states. They outlive the node that recorded them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Registration {
    pub ims: RegState,
    /// When `ims` last changed; None: it never did.
    pub ims_since: Option<Date>,
    pub broadcast: Option<Box<BroadcastRegistration>>,
    /// None: this node's own S-CSCF, if any.
    pub serving: Option<Box<Serving>>,
}

/// A subscriber as it lies in the store.
#[derive(Clone, Debug)]
pub struct Stored {
    pub subscriber: Subscriber,
    /// When it was provisioned.
    pub changed: Option<Date>,
    /// None for `digest`.
    pub sqn: Option<StoredSqn>,
    pub registration: Registration,
    pub watchers: Few<Watcher>,
}

/// The text of a broadcast subscription: `no`, `yes`, or service ids separated by spaces.
pub fn broadcast_text(subscription: &BroadcastSubscription) -> String {
    match subscription {
        BroadcastSubscription::None => "no".into(),
        BroadcastSubscription::All => "yes".into(),
        BroadcastSubscription::Services(ids) => ids.join(" "),
    }
}
