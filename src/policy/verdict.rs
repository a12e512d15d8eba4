//! What a policy may answer: plain values, one type per stage (rank 1).

pub use crate::sip::edit::Edit;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub status: u16,
    pub reason: Option<String>,
    /// Seconds, as `Retry-After`.
    pub retry_after: Option<u32>,
}

impl Reject {
    pub fn new(status: u16, reason: impl Into<String>) -> Self {
        Reject { status, reason: Some(reason.into()), retry_after: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receive {
    /// Goes on, with these edits.
    Next {
        edits: Vec<Edit>,
    },
    /// Not answered at all.
    Drop,
    Reject(Reject),
}

impl Receive {
    pub fn pass() -> Self {
        Receive::Next { edits: Vec::new() }
    }
}

/// Digest algorithm to challenge with (RFC 3310, RFC 4169, TS 33.203).
pub use crate::auth::digest::Algorithm;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Register {
    /// Challenge; `algorithms` in order of preference, None: the node's setting.
    Challenge {
        algorithms: Option<Vec<Algorithm>>,
    },
    /// No challenge: the terminal is whom it says it is. Whoever can send such a request is then every user.
    Trust,
    Reject(Reject),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    Always,
    /// A result younger than this will do.
    Cached(Duration),
    /// Asked only if the portion names a NAF or a service that no earlier check of this user covered.
    NewServices,
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

impl Default for Verify {
    fn default() -> Self {
        Verify { subscription: Subscription::Always, at: When::AfterAuthentication }
    }
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
    /// The broadcast server asks for it at once (figures 4, 8), as it is set up to.
    Pull,
    /// The same in SIP, or over Zn, whatever it is set up to.
    PullInSip,
    PullOverZn,
    /// The broadcast server asks for it when the terminal first turns to it (figures 5, 6).
    OnUse,
}

impl KeyMovement {
    /// With the words of policies.
    pub const WORDS: [(&'static str, KeyMovement); 5] = [
        ("push", KeyMovement::Push),
        ("pull", KeyMovement::Pull),
        ("pull_sip", KeyMovement::PullInSip),
        ("pull_zn", KeyMovement::PullOverZn),
        ("on_use", KeyMovement::OnUse),
    ];

    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, movement)| *movement == self).map_or("", |(word, _)| word)
    }

    pub fn named(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, movement)| *movement)
    }
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
        /// Held back so long; a later change of the same user and system takes its place.
        after: Duration,
    },
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyBy {
    ThirdPartyRegister,
    Message,
}

/// What is done when a broadcast server did not take a portion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It stays at that: pending or failed, or both registrations undone.
    GiveUp,
    /// Another configured server that has the NAF, by name.
    Retry { to: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The server's own handling.
    Next,
    /// To a configured broadcast server, by name.
    To {
        server: String,
    },
    Answer(Answer),
    Reject(Reject),
}

/// A final answer of a policy's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub reason: Option<String>,
    pub headers: Vec<(String, String)>,
    /// Content-Type and octets.
    pub body: Option<(String, Vec<u8>)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    pub edits: Vec<Edit>,
}

/// What one member of the chain says at any stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opinion {
    Receive(Receive),
    Register(Register),
    Verify(Verify),
    Authorized(Authorized),
    Broadcast(Broadcast),
    Failure(Failure),
    Status(Status),
    Route(Route),
    Reply(Reply),
}
