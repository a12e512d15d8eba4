//! The stages at which a policy is asked, and what it is told (rank 1).
//!
//! A stage is synchronous: borrowed request in, one verdict out. Whatever needs I/O is
//! done by Rust between two stages.

use super::{Defaults, verdict};
use crate::hss::RegState;
use crate::sip::Message;
use crate::sip::transaction::Source;
use std::rc::Rc;

/// The stages by name, in the order in which a request meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

    /// Every name, for messages: "receive, register, …".
    pub fn names() -> String {
        Stage::ALL.map(Stage::as_str).join(", ")
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No binding of this contact yet.
    Initial,
    Refresh,
    /// Expires 0 or `Contact: *`.
    Deregister,
    /// No REGISTER, or not read as one yet.
    Other,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Initial => "initial",
            Kind::Refresh => "refresh",
            Kind::Deregister => "deregister",
            Kind::Other => "other",
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
    /// Empty where no identity is known: in stage `receive`, and in `route` for a stranger.
    pub impi: &'a str,
    pub impu: &'a str,
    pub source: &'a Source,
    pub visited_network: Option<&'a str>,
    pub servers: &'a [ServerView],
    /// The terminal asked for all or nothing (`Require: bcast-ext`).
    pub all_or_nothing: bool,
    /// No HSS is connected, or it did not answer when it was last asked.
    pub hss_away: bool,
    /// The broadcast portion of the request, where it has one.
    pub portion: Option<&'a PortionView<'a>>,
    /// Seconds since 1970.
    pub unix: u64,
}

impl<'a> Context<'a> {
    /// Of a request that nothing is known of but where it came from.
    pub fn arrival(source: &'a Source, servers: &'a [ServerView], unix: u64) -> Self {
        Context {
            kind: Kind::Other,
            impi: "",
            impu: "",
            source,
            visited_network: None,
            servers,
            all_or_nothing: false,
            hss_away: false,
            portion: None,
            unix,
        }
    }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// Why a broadcast leg did not come about.
#[derive(Debug, Clone, Copy)]
pub struct FailureView<'a> {
    /// The server that was tried.
    pub server: &'a str,
    pub cause: &'a str,
    /// Its answer; None: it gave none.
    pub status: Option<u16>,
    /// 1 for the first server tried.
    pub attempt: u32,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    pub method: &'a str,
    /// Of the final answer.
    pub status: u16,
    /// Of the broadcast registration, where the request had to do with one.
    pub broadcast: Option<RegState>,
    /// The broadcast server concerned.
    pub server: Option<&'a str>,
    /// From the request's arrival to its answer.
    pub micros: u64,
}

/// One question to whoever answers stages: the arguments of that stage.
#[derive(Debug, Clone, Copy)]
pub enum Question<'a> {
    Receive {
        request: &'a Message<'a>,
        ctx: &'a Context<'a>,
    },
    Register {
        request: &'a Message<'a>,
        ctx: &'a Context<'a>,
    },
    Verify {
        request: &'a Message<'a>,
        ctx: &'a Context<'a>,
    },
    Authorized {
        request: &'a Message<'a>,
        ctx: &'a Context<'a>,
    },
    Broadcast {
        request: &'a Message<'a>,
        portion: &'a PortionView<'a>,
        ctx: &'a Context<'a>,
    },
    Failure {
        request: &'a Message<'a>,
        failure: &'a FailureView<'a>,
        portion: &'a PortionView<'a>,
        ctx: &'a Context<'a>,
    },
    Status {
        event: &'a StatusEvent<'a>,
    },
    Route {
        request: &'a Message<'a>,
        ctx: &'a Context<'a>,
    },
    Reply {
        response: &'a Message<'a>,
        ctx: &'a Context<'a>,
    },
    Finish {
        outcome: &'a Outcome<'a>,
        ctx: &'a Context<'a>,
    },
}

impl<'a> Question<'a> {
    pub fn stage(&self) -> Stage {
        match self {
            Question::Receive { .. } => Stage::Receive,
            Question::Register { .. } => Stage::Register,
            Question::Verify { .. } => Stage::Verify,
            Question::Authorized { .. } => Stage::Authorized,
            Question::Broadcast { .. } => Stage::Broadcast,
            Question::Failure { .. } => Stage::Failure,
            Question::Status { .. } => Stage::Status,
            Question::Route { .. } => Stage::Route,
            Question::Reply { .. } => Stage::Reply,
            Question::Finish { .. } => Stage::Finish,
        }
    }

    /// All but `status`, which is about an event, have a context.
    pub fn ctx(&self) -> Option<&'a Context<'a>> {
        match *self {
            Question::Receive { ctx, .. }
            | Question::Register { ctx, .. }
            | Question::Verify { ctx, .. }
            | Question::Authorized { ctx, .. }
            | Question::Broadcast { ctx, .. }
            | Question::Failure { ctx, .. }
            | Question::Route { ctx, .. }
            | Question::Reply { ctx, .. }
            | Question::Finish { ctx, .. } => Some(ctx),
            Question::Status { .. } => None,
        }
    }
}

/// Who decides. The Lua runtime, a Rust program and the tests implement it. Every answer is complete: "no opinion" is
/// settled inside, by the next in the chain or the stage's default ([`Defaults`], which a method left out gives).
pub trait Decide {
    /// A request as it arrived, before there is a transaction.
    fn receive(&self, _request: &Message<'_>, _ctx: &Context<'_>) -> verdict::Receive {
        verdict::Receive::pass()
    }

    /// REGISTER before authentication.
    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        Defaults.register(request, ctx)
    }

    /// Which subscription checks, and when.
    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
        Defaults.verify(request, ctx)
    }

    /// After the digest verdict, before the binding is stored.
    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        Defaults.authorized(request, ctx)
    }

    /// What of this REGISTER goes where.
    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        Defaults.broadcast(request, portion, ctx)
    }

    /// A broadcast server did not take what it was sent.
    fn failure(
        &self,
        _request: &Message<'_>,
        _failure: &FailureView<'_>,
        _portion: &PortionView<'_>,
        _ctx: &Context<'_>,
    ) -> verdict::Failure {
        verdict::Failure::GiveUp
    }

    /// Who is told of a change, and how.
    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        Defaults.status(event)
    }

    /// Any request that is no REGISTER.
    fn route(&self, _request: &Message<'_>, _ctx: &Context<'_>) -> verdict::Route {
        verdict::Route::Next
    }

    /// A final answer about to go out.
    fn reply(&self, _response: &Message<'_>, _ctx: &Context<'_>) -> verdict::Reply {
        verdict::Reply::default()
    }

    /// A request has been answered.
    fn finish(&self, _outcome: &Outcome<'_>, _ctx: &Context<'_>) {}

    /// Whether anybody has something to say at a stage; where not, the arguments need not be made.
    fn wants(&self, _stage: Stage) -> bool {
        true
    }

    /// Who decides all stages of one transaction of this user; None: this one. A policy that is replaced while traffic
    /// runs gives the generation that a transaction began under.
    fn pin(&self, _impi: &str) -> Option<Rc<dyn Decide>> {
        None
    }
}
