//! The stages at which a policy is asked, and what it is told (rank 1).
//!
//! A stage is synchronous: borrowed request in, one verdict out. Whatever needs I/O is
//! done by Rust between two stages.

use super::verdict;
use crate::hss::RegState;
use crate::sip::Message;
use crate::sip::transaction::Source;

/// The stages by name, in the order in which a registration meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Receive,
    Register,
    Verify,
    Authorized,
    Broadcast,
    Failure,
    Status,
    Route,
    Reply,
    Finish,
}

impl Stage {
    pub const COUNT: usize = 10;

    pub const ALL: [Stage; Stage::COUNT] = [
        Stage::Receive,
        Stage::Register,
        Stage::Verify,
        Stage::Authorized,
        Stage::Broadcast,
        Stage::Failure,
        Stage::Status,
        Stage::Route,
        Stage::Reply,
        Stage::Finish,
    ];

    /// The name of the policy's function.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Register => "register",
            Stage::Verify => "verify",
            Stage::Authorized => "authorized",
            Stage::Broadcast => "broadcast",
            Stage::Failure => "failure",
            Stage::Status => "status",
            Stage::Route => "route",
            Stage::Reply => "reply",
            Stage::Finish => "finish",
        }
    }

    pub fn named(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.as_str() == name)
    }
}

/// What a REGISTER asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No binding of this contact yet.
    Initial,
    Refresh,
    /// Expires 0 or `Contact: *`.
    Deregister,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Initial => "initial",
            Kind::Refresh => "refresh",
            Kind::Deregister => "deregister",
        }
    }
}

/// A configured broadcast server, as a policy sees it: by name, never by an address from a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerView {
    pub name: String,
    pub naf_fqdns: Vec<String>,
}

/// Everything about the registration at hand that is not in the request itself.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub kind: Kind,
    pub impi: &'a str,
    pub impu: &'a str,
    pub source: &'a Source,
    pub visited_network: Option<&'a str>,
    pub servers: &'a [ServerView],
    /// The terminal asked for all or nothing (`Require: bcast-ext`).
    pub all_or_nothing: bool,
    /// Seconds since 1970.
    pub unix: u64,
}

/// The broadcast portion that the identification module took out of a REGISTER.
#[derive(Debug, Clone, Copy)]
pub struct PortionView<'a> {
    pub naf_fqdn: &'a str,
    pub ua_id: [u8; 5],
    pub profile: Option<&'a str>,
    /// Service-provisioning body, octet for octet.
    pub payload: Option<&'a [u8]>,
    pub payload_type: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    Ims,
    Broadcast,
}

impl System {
    pub fn as_str(self) -> &'static str {
        match self {
            System::Ims => "ims",
            System::Broadcast => "broadcast",
        }
    }
}

/// A change of a registration in one of the two systems.
#[derive(Debug, Clone, Copy)]
pub struct StatusEvent<'a> {
    pub system: System,
    pub previous: RegState,
    pub state: RegState,
    /// "registered", "refreshed", "unregistered", "expired", "failed", "deactivated"
    pub cause: &'a str,
    pub impi: &'a str,
    pub impu: &'a str,
    pub btid: Option<&'a str>,
    pub naf_fqdn: Option<&'a str>,
    /// Names of the broadcast servers that this user is (or is to be) registered with.
    pub servers: &'a [&'a str],
    pub expires: u32,
    pub unix: u64,
}

/// Who decides. The Lua runtime, a Rust plugin and the tests implement it. Every answer is complete:
/// "no opinion" is settled inside, by the next in the chain or the stage's default.
pub trait Decide {
    /// REGISTER before authentication.
    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register;
    /// Which subscription checks, and when.
    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify;
    /// After the digest verdict, before the binding is stored.
    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized;
    /// What of this REGISTER goes where.
    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast;
    /// Who is told of a change, and how.
    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status;
}
