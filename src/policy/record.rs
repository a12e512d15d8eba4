//! Questions that were answered, kept as values of their own (rank 1): what a new generation is asked beside the old one
//! before it serves. A worker keeps a few of the last ones ([`Tap`]) and hands on those of the moment while somebody wants them.
//!
//! No key is in a question; what a terminal sent is, so records stay in memory and are bounded.

use super::stage::{Context, Decide, FailureView, Kind, PortionView, Question, ServerView, Stage, StatusEvent, System};
use super::verdict::Opinion;
use crate::hss::RegState;
use crate::sip::Message;
use crate::sip::transaction::Source;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

/// Records kept by a worker, and taken in one second: copying costs under load what answering does.
pub const KEPT: usize = 64;
/// Longest message and payload that is kept.
const MAX_OCTETS: usize = 8 * 1024;

/// A question and the answer that was given.
#[derive(Debug, Clone)]
pub struct Record {
    what: What,
    pub answer: Opinion,
}

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // nearly all of them are messages
enum What {
    Message(Box<KeptMessage>),
    Status(Box<KeptEvent>),
}

#[derive(Debug, Clone)]
struct KeptMessage {
    stage: Stage,
    octets: Arc<[u8]>,
    ctx: KeptContext,
    failure: Option<KeptFailure>,
}

#[derive(Debug, Clone)]
struct KeptContext {
    kind: Kind,
    impi: Box<str>,
    impu: Box<str>,
    source: Source,
    visited_network: Option<Box<str>>,
    all_or_nothing: bool,
    hss_away: bool,
    /// Of the context, or the portion that the stage is about.
    portion: Option<Box<KeptPortion>>,
    unix: u64,
}

#[derive(Debug, Clone)]
struct KeptPortion {
    naf_fqdn: Box<str>,
    ua_id: [u8; 5],
    profile: Option<Box<str>>,
    payload: Option<Box<[u8]>>,
    payload_type: Option<Box<str>>,
}

#[derive(Debug, Clone)]
struct KeptFailure {
    server: Box<str>,
    cause: Box<str>,
    status: Option<u16>,
    attempt: u32,
}

#[derive(Debug, Clone)]
struct KeptEvent {
    system: System,
    previous: RegState,
    state: RegState,
    cause: Box<str>,
    impi: Box<str>,
    impu: Box<str>,
    btid: Option<Box<str>>,
    naf_fqdn: Option<Box<str>>,
    servers: Vec<Box<str>>,
    expires: u32,
    unix: u64,
}

impl Record {
    /// None: too large to be kept, or of a stage that gives no answer. `last`: the octets of the record before, since
    /// most stages are about the same message as the one before.
    fn of(question: &Question<'_>, answer: Opinion, last: Option<&Record>) -> Option<Record> {
        let message = |message: &Message<'_>, portion: Option<&PortionView<'_>>, failure: Option<KeptFailure>| {
            let ctx = question.ctx()?;
            let portion = portion.or(ctx.portion);
            let octets = message.bytes();
            let payload = portion.and_then(|portion| portion.payload).map_or(0, <[u8]>::len);
            if octets.len() > MAX_OCTETS || payload > MAX_OCTETS {
                return None;
            }
            let same = last.and_then(Record::octets).filter(|last| ***last == *octets);
            let octets = same.map_or_else(|| octets.into(), Arc::clone);
            let ctx = KeptContext::of(ctx, portion);
            Some(What::Message(Box::new(KeptMessage { stage: question.stage(), octets, ctx, failure })))
        };
        let what = match *question {
            Question::Receive { request, .. }
            | Question::Register { request, .. }
            | Question::Verify { request, .. }
            | Question::Authorized { request, .. }
            | Question::Route { request, .. } => message(request, None, None),
            Question::Reply { response, .. } => message(response, None, None),
            Question::Broadcast { request, portion, .. } => message(request, Some(portion), None),
            Question::Failure { request, failure, portion, .. } => {
                let failure = KeptFailure {
                    server: failure.server.into(),
                    cause: failure.cause.into(),
                    status: failure.status,
                    attempt: failure.attempt,
                };
                message(request, Some(portion), Some(failure))
            }
            Question::Status { event } => Some(What::Status(Box::new(KeptEvent::of(event)))),
            Question::Finish { .. } => None,
        }?;
        Some(Record { what, answer })
    }

    fn octets(&self) -> Option<&Arc<[u8]>> {
        match &self.what {
            What::Message(kept) => Some(&kept.octets),
            What::Status(_) => None,
        }
    }

    pub fn stage(&self) -> Stage {
        match &self.what {
            What::Message(kept) => kept.stage,
            What::Status(_) => Stage::Status,
        }
    }

    pub fn impi(&self) -> &str {
        match &self.what {
            What::Message(kept) => &kept.ctx.impi,
            What::Status(event) => &event.impi,
        }
    }

    /// What `decide` says to the same question. None: the record cannot be asked again.
    pub fn ask(&self, decide: &dyn Decide, servers: &[ServerView]) -> Option<Opinion> {
        match &self.what {
            What::Message(kept) => {
                let KeptMessage { stage, octets, ctx, failure } = &**kept;
                let message = Message::parse(octets).ok()?;
                let portion = ctx.portion.as_ref().map(|portion| portion.view());
                let ctx = ctx.view(portion.as_ref(), servers);
                let failure = failure.as_ref().map(KeptFailure::view);
                ask_about(decide, *stage, &message, &ctx, portion.as_ref(), failure.as_ref())
            }
            What::Status(event) => {
                let servers: Vec<&str> = event.servers.iter().map(|name| &**name).collect();
                Some(Opinion::Status(decide.status(&event.view(&servers))))
            }
        }
    }
}

fn ask_about(
    decide: &dyn Decide,
    stage: Stage,
    message: &Message<'_>,
    ctx: &Context<'_>,
    portion: Option<&PortionView<'_>>,
    failure: Option<&FailureView<'_>>,
) -> Option<Opinion> {
    Some(match stage {
        Stage::Receive => Opinion::Receive(decide.receive(message, ctx)),
        Stage::Register => Opinion::Register(decide.register(message, ctx)),
        Stage::Verify => Opinion::Verify(decide.verify(message, ctx)),
        Stage::Authorized => Opinion::Authorized(decide.authorized(message, ctx)),
        Stage::Broadcast => Opinion::Broadcast(decide.broadcast(message, portion?, ctx)),
        Stage::Failure => Opinion::Failure(decide.failure(message, failure?, portion?, ctx)),
        Stage::Route => Opinion::Route(decide.route(message, ctx)),
        Stage::Reply => Opinion::Reply(decide.reply(message, ctx)),
        Stage::Status | Stage::Finish => return None,
    })
}

impl KeptContext {
    fn of(ctx: &Context<'_>, portion: Option<&PortionView<'_>>) -> Self {
        KeptContext {
            kind: ctx.kind,
            impi: ctx.impi.into(),
            impu: ctx.impu.into(),
            source: ctx.source.clone(),
            visited_network: ctx.visited_network.map(Into::into),
            all_or_nothing: ctx.all_or_nothing,
            hss_away: ctx.hss_away,
            portion: portion.map(|portion| Box::new(KeptPortion::of(portion))),
            unix: ctx.unix,
        }
    }

    fn view<'a>(&'a self, portion: Option<&'a PortionView<'a>>, servers: &'a [ServerView]) -> Context<'a> {
        Context {
            kind: self.kind,
            impi: &self.impi,
            impu: &self.impu,
            source: &self.source,
            visited_network: self.visited_network.as_deref(),
            servers,
            all_or_nothing: self.all_or_nothing,
            hss_away: self.hss_away,
            portion,
            unix: self.unix,
        }
    }
}

impl KeptPortion {
    fn of(portion: &PortionView<'_>) -> Self {
        KeptPortion {
            naf_fqdn: portion.naf_fqdn.into(),
            ua_id: portion.ua_id,
            profile: portion.profile.map(Into::into),
            payload: portion.payload.map(Into::into),
            payload_type: portion.payload_type.map(Into::into),
        }
    }

    fn view(&self) -> PortionView<'_> {
        PortionView {
            naf_fqdn: &self.naf_fqdn,
            ua_id: self.ua_id,
            profile: self.profile.as_deref(),
            payload: self.payload.as_deref(),
            payload_type: self.payload_type.as_deref(),
        }
    }
}

impl KeptFailure {
    fn view(&self) -> FailureView<'_> {
        FailureView { server: &self.server, cause: &self.cause, status: self.status, attempt: self.attempt }
    }
}

impl KeptEvent {
    fn of(event: &StatusEvent<'_>) -> Self {
        KeptEvent {
            system: event.system,
            previous: event.previous,
            state: event.state,
            cause: event.cause.into(),
            impi: event.impi.into(),
            impu: event.impu.into(),
            btid: event.btid.map(Into::into),
            naf_fqdn: event.naf_fqdn.map(Into::into),
            servers: event.servers.iter().map(|name| (*name).into()).collect(),
            expires: event.expires,
            unix: event.unix,
        }
    }

    fn view<'a>(&'a self, servers: &'a [&'a str]) -> StatusEvent<'a> {
        StatusEvent {
            system: self.system,
            previous: self.previous,
            state: self.state,
            cause: &self.cause,
            impi: &self.impi,
            impu: &self.impu,
            btid: self.btid.as_deref(),
            naf_fqdn: self.naf_fqdn.as_deref(),
            servers,
            expires: self.expires,
            unix: self.unix,
        }
    }
}

/// Takes records; false: no more are wanted.
pub type Listener = Box<dyn Fn(Record) -> bool>;

/// What one worker keeps of its questions.
#[derive(Default)]
pub struct Tap {
    kept: RefCell<VecDeque<Record>>,
    listener: RefCell<Option<Listener>>,
    /// The second of the last record, and how many were kept in it.
    second: Cell<(u64, usize)>,
}

impl Tap {
    /// A question has been answered.
    pub fn saw(&self, question: &Question<'_>, answer: impl FnOnce() -> Opinion) {
        let listened = self.listener.borrow().is_some();
        if !listened && !self.admits(question) {
            return;
        }
        let mut kept = self.kept.borrow_mut();
        let Some(record) = Record::of(question, answer(), kept.back()) else { return };
        if listened {
            let wanted = self.listener.borrow().as_ref().is_some_and(|listener| listener(record.clone()));
            if !wanted {
                self.listener.replace(None);
            }
        }
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(record);
    }

    /// Whether this second's records are not used up. The question brings the time along.
    fn admits(&self, question: &Question<'_>) -> bool {
        let unix = match question {
            Question::Status { event } => event.unix,
            other => other.ctx().map_or(0, |ctx| ctx.unix),
        };
        let (second, taken) = self.second.get();
        let taken = if second == unix { taken } else { 0 };
        self.second.set((unix, taken.saturating_add(1)));
        taken < KEPT
    }

    /// The last `most` records, oldest first.
    pub fn last(&self, most: usize) -> Vec<Record> {
        let kept = self.kept.borrow();
        kept.iter().skip(kept.len().saturating_sub(most)).cloned().collect()
    }

    /// From now on every record goes to `listener` too, until it wants no more.
    pub fn listen(&self, listener: Option<Listener>) {
        self.listener.replace(listener);
    }
}

#[cfg(test)]
mod tests;
