//! What a policy may answer: plain values, one type per stage (rank 1).

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub status: u16,
    pub reason: Option<String>,
}

/// Digest algorithm to challenge with (RFC 3310, RFC 4169, TS 33.203).
pub use crate::auth::digest::Algorithm;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Register {
    /// Challenge; `algorithms` in order of preference, None: the node's setting.
    Challenge {
        algorithms: Option<Vec<Algorithm>>,
    },
    Reject(Reject),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    Always,
    /// A result younger than this will do.
    Cached(Duration),
    /// Not asked: the profile of the last SAR counts.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    BeforeChallenge,
    AfterAuthentication,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verify {
    pub subscription: Subscription,
    pub at: When,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorized {
    Accept { expires: Option<u32> },
    Reject(Reject),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMovement {
    /// Ks_NAF travels in the forwarded request (figures 3, 7).
    Push,
    /// The broadcast server asks for it at once (figures 4, 8).
    Pull,
    /// The broadcast server asks for it when the terminal first turns to it (figures 5, 6).
    OnUse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Simultaneous: the terminal's 200 speaks for both.
    Before200,
    /// Subsequent: the 200 speaks for the IMS only.
    After200,
    /// Nothing is forwarded by the IMS; the terminal goes to the broadcast server itself (figure 5).
    ByTerminal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The IMS registration stands, the broadcast one is `pending` or `failed`, retried while Ks lives.
    Pending,
    /// All or nothing: both are undone.
    Reject,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Name of a configured broadcast server.
    pub to: String,
    /// Whether the provisioning payload goes along.
    pub payload: bool,
    pub key: KeyMovement,
    pub order: Order,
    pub on_failure: OnFailure,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broadcast {
    Forward(Forward),
    /// Register with the IMS alone.
    Skip {
        reason: String,
    },
    Reject(Reject),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Tell these: names of broadcast servers, or "ims".
    Notify {
        to: Vec<String>,
        by: NotifyBy,
    },
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyBy {
    ThirdPartyRegister,
    Message,
}
