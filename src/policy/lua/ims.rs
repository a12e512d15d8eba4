//! The verdict constructors of a policy: `ims.challenge{…}` and the rest.
//!
//! A constructor checks every key and every word at once, so that a slip is reported with the line
//! it stands on, and gives a value that the policy may return, or keep and return many times.

use super::failure::{describe, located};
use super::fields::{each_field, known_word, line, list, number, octets, pairs, text, word};
use crate::auth::digest::Algorithm;
use crate::policy::verdict::{self, KeyMovement, NotifyBy, OnFailure, Order, Reject, Subscription, When};
use mlua::{Error, Lua, MetaMethod, Table, UserData, UserDataMethods, Value};
use std::time::Duration;

/// Age of a cached subscription that is good enough when a policy does not say.
const MAX_AGE: u32 = 300;

/// Longest time that a notification is held back.
const MAX_AFTER: u32 = 86_400;

/// What a constructor makes; [`super::decode`] turns it into the verdict of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    Challenge { algorithms: Option<Vec<Algorithm>> },
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

impl UserData for Made {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.made_by()));
    }
}

/// The table `ims`.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let ims = lua.create_table()?;
    install(lua, &ims, "challenge", challenge)?;
    install(lua, &ims, "verify", verify)?;
    install(lua, &ims, "accept", accept)?;
    install(lua, &ims, "forward", forward)?;
    install(lua, &ims, "notify", notify)?;
    install(lua, &ims, "skip", |why| match why {
        Value::Nil => Ok(Made::Skip { reason: String::new() }),
        why => Ok(Made::Skip { reason: line("reason", &why)? }),
    })?;
    install(lua, &ims, "retry", |argument| Ok(Made::Retry { to: destination(&argument)? }))?;
    install(lua, &ims, "route", |argument| Ok(Made::Route { to: destination(&argument)? }))?;
    install(lua, &ims, "answer", answer)?;
    let plain = [("silent", Made::Silent), ("next", Made::Next), ("drop", Made::Drop), ("give_up", Made::GiveUp)];
    for (name, made) in plain {
        let made = lua.create_userdata(made)?;
        ims.set(name, lua.create_function(move |_, ()| Ok(made.clone()))?)?;
    }
    ims.set(
        "reject",
        lua.create_function(|lua, (status, reason, more): (Value, Value, Value)| {
            reject(&status, &reason, &more).map_err(|error| refuse(lua, "reject", &error))
        })?,
    )?;
    ims.set_readonly(true);
    Ok(ims)
}

fn install(
    lua: &Lua,
    ims: &Table,
    name: &'static str,
    make: impl Fn(Value) -> mlua::Result<Made> + 'static,
) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, argument: Value| {
        let opinion = make(argument).map_err(|error| refuse(lua, name, &error))?;
        lua.create_userdata(opinion)
    })?;
    ims.set(name, function)
}

fn refuse(lua: &Lua, name: &str, error: &Error) -> Error {
    match error {
        Error::MemoryError(_) => error.clone(),
        error => located(lua, &format!("ims.{name}: {}", describe(error))),
    }
}

fn challenge(argument: Value) -> mlua::Result<Made> {
    let mut algorithms = None;
    each_field(&argument, &["algorithms"], |key, value| {
        if key == "algorithms" {
            let names = list(key, value)?;
            if names.is_empty() {
                return Err(Error::runtime("algorithms is empty"));
            }
            algorithms = Some(names.iter().map(|name| algorithm(name)).collect::<mlua::Result<Vec<_>>>()?);
        }
        Ok(())
    })?;
    Ok(Made::Challenge { algorithms })
}

fn algorithm(name: &str) -> mlua::Result<Algorithm> {
    Algorithm::from_bytes(name.as_bytes()).ok_or_else(|| Error::runtime(format!("unknown algorithm {name:?}")))
}

/// The status must be one that a registrar may answer by itself: 401 and 407 carry a challenge.
fn reject(status: &Value, reason: &Value, more: &Value) -> mlua::Result<Made> {
    let status = match number("status", status)? {
        401 | 407 => return Err(Error::runtime("a 401 or 407 is a challenge: use ims.challenge")),
        status @ 400..=699 => u16::try_from(status).map_err(Error::external)?,
        status => return Err(Error::runtime(format!("status {status} is not between 400 and 699"))),
    };
    let reason = match reason {
        Value::Nil => None,
        reason => Some(line("reason", reason)?),
    };
    let mut retry_after = None;
    each_field(more, &["retry_after"], |key, value| {
        retry_after = Some(number(key, value)?);
        Ok(())
    })?;
    Ok(Made::Reject(Reject { status, reason, retry_after }))
}

/// `{ to = name }` of a configured server.
fn destination(argument: &Value) -> mlua::Result<String> {
    let mut to = None;
    each_field(argument, &["to"], |key, value| {
        to = Some(text(key, value)?);
        Ok(())
    })?;
    to.ok_or_else(|| Error::runtime("to is missing: the name of a configured server"))
}

/// Longest body of an answer of a policy's own.
const MAX_BODY: usize = 16 * 1024;

fn answer(argument: Value) -> mlua::Result<Made> {
    let mut answer = verdict::Answer { status: 200, reason: None, headers: Vec::new(), body: None };
    let (mut body, mut kind) = (None, None);
    each_field(&argument, &["status", "reason", "headers", "body", "content_type"], |key, value| {
        match key {
            "status" => {
                answer.status = match number(key, value)? {
                    401 | 407 => return Err(Error::runtime("a 401 or 407 is a challenge: use ims.challenge")),
                    status @ 200..=699 => u16::try_from(status).map_err(Error::external)?,
                    status => return Err(Error::runtime(format!("status {status} is not between 200 and 699"))),
                }
            }
            "reason" => answer.reason = Some(line(key, value)?),
            "headers" => answer.headers = pairs(key, value)?,
            "body" => body = Some(octets(key, value, MAX_BODY)?),
            _ => kind = Some(line(key, value)?),
        }
        Ok(())
    })?;
    answer.body = match (body, kind) {
        (Some(body), kind) => Some((kind.unwrap_or_else(|| "text/plain".to_owned()), body)),
        (None, Some(_)) => return Err(Error::runtime("content_type belongs to a body")),
        (None, None) => None,
    };
    Ok(Made::Answer(answer))
}

fn verify(argument: Value) -> mlua::Result<Made> {
    #[derive(Clone, Copy, PartialEq)]
    enum Asked {
        Always,
        Cached,
        NewServices,
        Never,
    }
    let (mut asked, mut at, mut max_age) = (Asked::Always, When::AfterAuthentication, None);
    each_field(&argument, &["subscription", "at", "max_age"], |key, value| {
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
        return Err(Error::runtime("max_age belongs to subscription = \"cached\""));
    }
    let subscription = match asked {
        Asked::Always => Subscription::Always,
        Asked::Cached => Subscription::Cached(Duration::from_secs(max_age.unwrap_or(MAX_AGE).into())),
        Asked::NewServices => Subscription::NewServices,
        Asked::Never => Subscription::Never,
    };
    Ok(Made::Verify(verdict::Verify { subscription, at }))
}

fn accept(argument: Value) -> mlua::Result<Made> {
    let mut expires = None;
    each_field(&argument, &["expires"], |key, value| {
        expires = Some(number(key, value)?);
        Ok(())
    })?;
    if expires == Some(0) {
        return Err(Error::runtime("expires = 0 would undo the registration: use ims.reject"));
    }
    Ok(Made::Accept { expires })
}

const FORWARD: [&str; 5] = ["to", "parts", "key", "when", "on_failure"];

fn forward(argument: Value) -> mlua::Result<Made> {
    let (mut to, mut parts, mut key_movement) = (None, None, None);
    let (mut order, mut on_failure) = (Order::Before200, OnFailure::Pending);
    each_field(&argument, &FORWARD, |key, value| {
        match key {
            "to" => to = Some(text(key, value)?),
            "parts" => parts = Some(Parts::read(key, value)?),
            "key" => {
                let known = [("push", KeyMovement::Push), ("pull", KeyMovement::Pull), ("on_use", KeyMovement::OnUse)];
                key_movement = Some(word(key, value, &known)?);
            }
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
    let to = to.ok_or_else(|| Error::runtime("to is missing: the name of a configured server"))?;
    let parts = parts.unwrap_or(Parts { key: order != Order::ByTerminal, payload: order != Order::ByTerminal });
    let key = match (key_movement, order) {
        (Some(KeyMovement::Push), Order::ByTerminal) => {
            return Err(Error::runtime("when = \"by_terminal\" forwards nothing, so the key cannot be pushed"));
        }
        (Some(KeyMovement::Push), _) if !parts.key => {
            return Err(Error::runtime("key = \"push\" needs \"key\" among the parts"));
        }
        (Some(movement), _) => movement,
        (None, Order::ByTerminal) => KeyMovement::OnUse,
        (None, _) if parts.key => KeyMovement::Push,
        (None, _) => KeyMovement::Pull,
    };
    if parts.payload && order == Order::ByTerminal {
        return Err(Error::runtime("when = \"by_terminal\" forwards nothing, so the payload cannot go along"));
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
    fn read(key: &str, value: &Value) -> mlua::Result<Parts> {
        let mut parts = Parts { key: false, payload: false };
        for part in list(key, value)? {
            match known_word(key, &part, &[("key", 0), ("payload", 1), ("identity", 2)])? {
                0 => parts.key = true,
                1 => parts.payload = true,
                _ => {}
            }
        }
        Ok(parts)
    }
}

fn notify(argument: Value) -> mlua::Result<Made> {
    let (mut to, mut by, mut after) = (None, None, 0);
    each_field(&argument, &["to", "by", "after"], |key, value| {
        match key {
            "to" => to = Some(if value.is_table() { list(key, value)? } else { vec![text(key, value)?] }),
            "after" => after = number(key, value)?,
            _ => {
                let known = [("third_party_register", NotifyBy::ThirdPartyRegister), ("message", NotifyBy::Message)];
                by = Some(word(key, value, &known)?);
            }
        }
        Ok(())
    })?;
    let to = to.ok_or_else(|| Error::runtime("to is missing: names of broadcast servers, or \"ims\""))?;
    let by = by.ok_or_else(|| Error::runtime("by is missing: \"third_party_register\" or \"message\""))?;
    if by == NotifyBy::ThirdPartyRegister && to.iter().any(|name| name == "ims") {
        return Err(Error::runtime("the IMS is told by = \"message\""));
    }
    if after > MAX_AFTER {
        return Err(Error::runtime(format!("after is {after}; at most {MAX_AFTER} s")));
    }
    Ok(Made::Notify { to, by, after: Duration::from_secs(after.into()) })
}
