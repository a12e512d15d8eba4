//! The verdict constructors of a policy: `ims.challenge{…}` and the rest.
//!
//! A constructor checks every key and every word at once, so that a slip is reported with the line
//! it stands on, and gives a value that the policy may return, or keep and return many times.

use super::args::{Arg, Refusal, each_entry, each_field, line, list, number, octets, pairs, text, word};
use crate::auth::digest::Algorithm;
use crate::policy::verdict::{self, KeyMovement, NotifyBy, OnFailure, Order, Reject, Subscription, When};
use crate::sip::edit::Edit;
use std::time::Duration;

/// Age of a cached subscription that is good enough when a policy does not say.
const MAX_AGE: u32 = 300;

/// Longest time that a notification is held back.
const MAX_AFTER: u32 = 86_400;

/// What a constructor makes; [`super::decode`] turns it into the verdict of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    Challenge { algorithms: Option<Vec<Algorithm>> },
    Trust,
    Reject(Reject),
    Verify(verdict::Verify),
    Accept { expires: Option<u32> },
    Forward(verdict::Forward),
    Skip { reason: String },
    Notify { to: Vec<String>, by: NotifyBy, after: Duration },
    Silent,
    Next,
    Drop,
    Retry { to: String },
    GiveUp,
    Route { to: String },
    Answer(verdict::Answer),
}

impl Made {
    /// The constructor's name, as it stands in a policy.
    pub(super) fn made_by(&self) -> &'static str {
        match self {
            Made::Challenge { .. } => "ims.challenge",
            Made::Trust => "ims.trust",
            Made::Reject(_) => "ims.reject",
            Made::Verify(_) => "ims.verify",
            Made::Accept { .. } => "ims.accept",
            Made::Forward(_) => "ims.forward",
            Made::Skip { .. } => "ims.skip",
            Made::Notify { .. } => "ims.notify",
            Made::Silent => "ims.silent",
            Made::Next => "ims.next",
            Made::Drop => "ims.drop",
            Made::Retry { .. } => "ims.retry",
            Made::GiveUp => "ims.give_up",
            Made::Route { .. } => "ims.route",
            Made::Answer(_) => "ims.answer",
        }
    }
}

/// The functions of the table `ims`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Constructor(u8);

type Make = fn([Arg<'_>; 3]) -> Result<Made, Refusal>;

const CONSTRUCTORS: [(&str, Make); 15] = [
    ("challenge", |[argument, ..]| challenge(argument)),
    ("trust", |_| Ok(Made::Trust)),
    ("verify", |[argument, ..]| verify(argument)),
    ("accept", |[argument, ..]| accept(argument)),
    ("forward", |[argument, ..]| forward(argument)),
    ("notify", |[argument, ..]| notify(argument)),
    ("skip", |[why, ..]| match why {
        Arg::Nil => Ok(Made::Skip { reason: String::new() }),
        why => Ok(Made::Skip { reason: line("reason", why)?.to_owned() }),
    }),
    ("reject", |[status, reason, more]| reject(status, reason, more)),
    ("retry", |[argument, ..]| Ok(Made::Retry { to: destination(argument)? })),
    ("route", |[argument, ..]| Ok(Made::Route { to: destination(argument)? })),
    ("answer", |[argument, ..]| answer(argument)),
    ("silent", |_| Ok(Made::Silent)),
    ("next", |_| Ok(Made::Next)),
    ("drop", |_| Ok(Made::Drop)),
    ("give_up", |_| Ok(Made::GiveUp)),
];

impl Constructor {
    pub(super) fn all() -> impl Iterator<Item = Constructor> {
        (0..CONSTRUCTORS.len()).filter_map(|at| u8::try_from(at).ok()).map(Constructor)
    }

    /// As a number that a closure can carry.
    pub(super) fn number(self) -> u8 {
        self.0
    }

    pub(super) fn numbered(number: u8) -> Option<Constructor> {
        CONSTRUCTORS.get(usize::from(number)).map(|_| Constructor(number))
    }

    pub(super) fn name(self) -> &'static str {
        CONSTRUCTORS.get(usize::from(self.0)).map_or("", |(name, _)| name)
    }

    /// What a manifest must grant before it may be called.
    pub(super) fn capability(self) -> Option<&'static str> {
        (self.name() == "trust").then_some("trust")
    }

    /// Makes the verdict; the refusal begins with the constructor's name.
    pub(super) fn make(self, arguments: [Arg<'_>; 3]) -> Result<Made, Refusal> {
        let (name, make) = CONSTRUCTORS.get(usize::from(self.0)).ok_or_else(String::new)?;
        make(arguments).map_err(|why| format!("ims.{name}: {why}"))
    }
}

fn challenge(argument: Arg<'_>) -> Result<Made, Refusal> {
    let mut algorithms = None;
    each_field(argument, &["algorithms"], |key, value| {
        if key == "algorithms" {
            let names = list(key, value)?;
            if names.is_empty() {
                return Err("algorithms is empty".to_owned());
            }
            algorithms = Some(names.iter().map(|name| algorithm(name)).collect::<Result<Vec<_>, Refusal>>()?);
        }
        Ok(())
    })?;
    Ok(Made::Challenge { algorithms })
}

fn algorithm(name: &str) -> Result<Algorithm, Refusal> {
    Algorithm::from_bytes(name.as_bytes()).ok_or_else(|| format!("unknown algorithm {name:?}"))
}

/// The status must be one that a registrar may answer by itself: 401 and 407 carry a challenge.
fn reject(status: Arg<'_>, reason: Arg<'_>, more: Arg<'_>) -> Result<Made, Refusal> {
    let status = match number("status", status)? {
        401 | 407 => return Err("a 401 or 407 is a challenge: use ims.challenge".to_owned()),
        status @ 400..=699 => u16::try_from(status).map_err(|e| e.to_string())?,
        status => return Err(format!("status {status} is not between 400 and 699")),
    };
    let reason = match reason {
        Arg::Nil => None,
        reason => Some(line("reason", reason)?.to_owned()),
    };
    let mut retry_after = None;
    each_field(more, &["retry_after"], |key, value| {
        retry_after = Some(number(key, value)?);
        Ok(())
    })?;
    Ok(Made::Reject(Reject { status, reason, retry_after }))
}

/// `{ to = name }` of a configured server.
fn destination(argument: Arg<'_>) -> Result<String, Refusal> {
    let mut to = None;
    each_field(argument, &["to"], |key, value| {
        to = Some(text(key, value)?.to_owned());
        Ok(())
    })?;
    to.ok_or_else(|| "to is missing: the name of a configured server".to_owned())
}

/// Longest body of an answer of a policy's own.
const MAX_BODY: usize = 16 * 1024;

fn answer(argument: Arg<'_>) -> Result<Made, Refusal> {
    let mut answer = verdict::Answer { status: 200, reason: None, headers: Vec::new(), body: None };
    let (mut body, mut kind) = (None, None);
    each_field(argument, &["status", "reason", "headers", "body", "content_type"], |key, value| {
        match key {
            "status" => {
                answer.status = match number(key, value)? {
                    401 | 407 => return Err("a 401 or 407 is a challenge: use ims.challenge".to_owned()),
                    status @ 200..=699 => u16::try_from(status).map_err(|e| e.to_string())?,
                    status => return Err(format!("status {status} is not between 200 and 699")),
                }
            }
            "reason" => answer.reason = Some(line(key, value)?.to_owned()),
            "headers" => {
                answer.headers = pairs(key, value)?;
                for (name, value) in &answer.headers {
                    let edit = Edit::Add { name: name.clone(), value: value.clone() };
                    edit.check().map_err(|why| why.to_string())?;
                }
            }
            "body" => body = Some(octets(key, value, MAX_BODY)?),
            _ => kind = Some(line(key, value)?.to_owned()),
        }
        Ok(())
    })?;
    answer.body = match (body, kind) {
        (Some(body), kind) => Some((kind.unwrap_or_else(|| "text/plain".to_owned()), body)),
        (None, Some(_)) => return Err("content_type belongs to a body".to_owned()),
        (None, None) => None,
    };
    Ok(Made::Answer(answer))
}

fn verify(argument: Arg<'_>) -> Result<Made, Refusal> {
    #[derive(Clone, Copy, PartialEq)]
    enum Asked {
        Always,
        Cached,
        NewServices,
        Never,
    }
    let (mut asked, mut at, mut max_age) = (Asked::Always, When::AfterAuthentication, None);
    each_field(argument, &["subscription", "at", "max_age"], |key, value| {
        match key {
            "subscription" => {
                let known = [
                    ("always", Asked::Always),
                    ("cached", Asked::Cached),
                    ("new_services", Asked::NewServices),
                    ("never", Asked::Never),
                ];
                asked = word(key, value, &known)?;
            }
            "at" => {
                let known =
                    [("before_challenge", When::BeforeChallenge), ("after_authentication", When::AfterAuthentication)];
                at = word(key, value, &known)?;
            }
            _ => max_age = Some(number(key, value)?),
        }
        Ok(())
    })?;
    if max_age.is_some() && asked != Asked::Cached {
        return Err("max_age belongs to subscription = \"cached\"".to_owned());
    }
    let subscription = match asked {
        Asked::Always => Subscription::Always,
        Asked::Cached => Subscription::Cached(Duration::from_secs(max_age.unwrap_or(MAX_AGE).into())),
        Asked::NewServices => Subscription::NewServices,
        Asked::Never => Subscription::Never,
    };
    Ok(Made::Verify(verdict::Verify { subscription, at }))
}

fn accept(argument: Arg<'_>) -> Result<Made, Refusal> {
    let mut expires = None;
    each_field(argument, &["expires"], |key, value| {
        expires = Some(number(key, value)?);
        Ok(())
    })?;
    if expires == Some(0) {
        return Err("expires = 0 would undo the registration: use ims.reject".to_owned());
    }
    Ok(Made::Accept { expires })
}

const FORWARD: [&str; 5] = ["to", "parts", "key", "when", "on_failure"];

fn forward(argument: Arg<'_>) -> Result<Made, Refusal> {
    let (mut to, mut parts, mut key_movement) = (None, None, None);
    let (mut order, mut on_failure) = (Order::Before200, OnFailure::Pending);
    each_field(argument, &FORWARD, |key, value| {
        match key {
            "to" => to = Some(text(key, value)?.to_owned()),
            "parts" => parts = Some(Parts::read(key, value)?),
            "key" => key_movement = Some(word(key, value, &KeyMovement::WORDS)?),
            "when" => {
                let known = [
                    ("before_200", Order::Before200),
                    ("after_200", Order::After200),
                    ("by_terminal", Order::ByTerminal),
                ];
                order = word(key, value, &known)?;
            }
            _ => on_failure = word(key, value, &[("pending", OnFailure::Pending), ("reject", OnFailure::Reject)])?,
        }
        Ok(())
    })?;
    let to = to.ok_or_else(|| "to is missing: the name of a configured server".to_owned())?;
    let parts = parts.unwrap_or(Parts { key: order != Order::ByTerminal, payload: order != Order::ByTerminal });
    let key = match (key_movement, order) {
        (Some(KeyMovement::Push), Order::ByTerminal) => {
            return Err("when = \"by_terminal\" forwards nothing, so the key cannot be pushed".to_owned());
        }
        (Some(KeyMovement::Push), _) if !parts.key => {
            return Err("key = \"push\" needs \"key\" among the parts".to_owned());
        }
        (Some(movement), _) => movement,
        (None, Order::ByTerminal) => KeyMovement::OnUse,
        (None, _) if parts.key => KeyMovement::Push,
        (None, _) => KeyMovement::Pull,
    };
    if parts.payload && order == Order::ByTerminal {
        return Err("when = \"by_terminal\" forwards nothing, so the payload cannot go along".to_owned());
    }
    Ok(Made::Forward(verdict::Forward { to, payload: parts.payload, key, order, on_failure }))
}

/// The parts of the portion that go along. "identity" always does: it is what the request says.
#[derive(Clone, Copy)]
struct Parts {
    key: bool,
    payload: bool,
}

impl Parts {
    fn read(key: &str, value: Arg<'_>) -> Result<Parts, Refusal> {
        let mut parts = Parts { key: false, payload: false };
        each_entry(key, value, |part| {
            match word(key, part, &[("key", 0), ("payload", 1), ("identity", 2)])? {
                0 => parts.key = true,
                1 => parts.payload = true,
                _ => {}
            }
            Ok(())
        })?;
        Ok(parts)
    }
}

fn notify(argument: Arg<'_>) -> Result<Made, Refusal> {
    let (mut to, mut by, mut after) = (None, None, 0);
    each_field(argument, &["to", "by", "after"], |key, value| {
        match key {
            "to" => to = Some(if value.is_table() { list(key, value)? } else { vec![text(key, value)?.to_owned()] }),
            "after" => after = number(key, value)?,
            _ => {
                let known = [("third_party_register", NotifyBy::ThirdPartyRegister), ("message", NotifyBy::Message)];
                by = Some(word(key, value, &known)?);
            }
        }
        Ok(())
    })?;
    let to = to.ok_or_else(|| "to is missing: names of broadcast servers, or \"ims\"".to_owned())?;
    let by = by.ok_or_else(|| "by is missing: \"third_party_register\" or \"message\"".to_owned())?;
    if by == NotifyBy::ThirdPartyRegister && to.iter().any(|name| name == "ims") {
        return Err("the IMS is told by = \"message\"".to_owned());
    }
    if after > MAX_AFTER {
        return Err(format!("after is {after}; at most {MAX_AFTER} s"));
    }
    Ok(Made::Notify { to, by, after: Duration::from_secs(after.into()) })
}
