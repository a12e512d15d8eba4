//! Verdicts in the words that policies use: as JSON for programs and tests, and as one line for people (rank 1):
//! `explain`, `replay`, the prompt and the shadow of a reload tell them alike.

use super::verdict::{
    Authorized, Broadcast, Edit, Failure, KeyMovement, NotifyBy, OnFailure, Opinion, Order, Receive, Register, Reject,
    Route, Status, Subscription, Verify, When,
};
use serde_json::{Map, Value, json};

/// `{"verdict": "forward", "to": "north", …}`: the name of the constructor and its arguments.
pub fn json(opinion: &Opinion) -> Value {
    match opinion {
        Opinion::Receive(Receive::Next { edits }) | Opinion::Reply(super::verdict::Reply { edits }) => {
            json!({ "verdict": "next", "edits": edits.iter().map(edit).collect::<Vec<_>>() })
        }
        Opinion::Receive(Receive::Drop) => json!({ "verdict": "drop" }),
        Opinion::Receive(Receive::Reject(r))
        | Opinion::Register(Register::Reject(r))
        | Opinion::Authorized(Authorized::Reject(r))
        | Opinion::Broadcast(Broadcast::Reject(r))
        | Opinion::Route(Route::Reject(r)) => reject(r),
        Opinion::Register(Register::Challenge { algorithms }) => with(
            "challenge",
            [(
                "algorithms",
                algorithms.as_ref().map(|list| json!(list.iter().map(|a| a.as_str()).collect::<Vec<_>>())),
            )],
        ),
        Opinion::Register(Register::Trust) => json!({ "verdict": "trust" }),
        Opinion::Verify(verify) => self::verify(verify),
        Opinion::Authorized(Authorized::Accept { expires }) => {
            with("accept", [("expires", expires.map(|seconds| json!(seconds)))])
        }
        Opinion::Broadcast(Broadcast::Forward(forward)) => json!({
            "verdict": "forward",
            "to": forward.to,
            "parts": parts(forward),
            "key": forward.key.as_str(),
            "when": match forward.order {
                Order::Before200 => "before_200",
                Order::After200 => "after_200",
                Order::ByTerminal => "by_terminal",
            },
            "on_failure": match forward.on_failure {
                OnFailure::Pending => "pending",
                OnFailure::Reject => "reject",
            },
        }),
        Opinion::Broadcast(Broadcast::Skip { reason }) => json!({ "verdict": "skip", "reason": reason }),
        Opinion::Failure(Failure::GiveUp) => json!({ "verdict": "give_up" }),
        Opinion::Failure(Failure::Retry { to }) => json!({ "verdict": "retry", "to": to }),
        Opinion::Status(Status::Notify { to, by, after }) => with(
            "notify",
            [
                ("to", Some(json!(to))),
                (
                    "by",
                    Some(json!(match by {
                        NotifyBy::ThirdPartyRegister => "third_party_register",
                        NotifyBy::Message => "message",
                    })),
                ),
                ("after", (!after.is_zero()).then(|| json!(after.as_secs()))),
            ],
        ),
        Opinion::Status(Status::Silent) => json!({ "verdict": "silent" }),
        Opinion::Route(Route::Next) => json!({ "verdict": "next" }),
        Opinion::Route(Route::To { server }) => json!({ "verdict": "route", "to": server }),
        Opinion::Route(Route::Answer(answer)) => with(
            "answer",
            [
                ("status", Some(json!(answer.status))),
                ("reason", answer.reason.as_ref().map(|reason| json!(reason))),
                ("headers", (!answer.headers.is_empty()).then(|| json!(answer.headers))),
                ("body", answer.body.as_ref().map(|(_, octets)| json!(String::from_utf8_lossy(octets)))),
                ("content_type", answer.body.as_ref().map(|(kind, _)| json!(kind))),
            ],
        ),
    }
}

fn with<const N: usize>(verdict: &str, fields: [(&str, Option<Value>); N]) -> Value {
    let mut object = Map::new();
    object.insert("verdict".to_owned(), json!(verdict));
    for (name, value) in fields {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    }
    Value::Object(object)
}

fn reject(reject: &Reject) -> Value {
    with(
        "reject",
        [
            ("status", Some(json!(reject.status))),
            ("reason", reject.reason.as_ref().map(|reason| json!(reason))),
            ("retry_after", reject.retry_after.map(|seconds| json!(seconds))),
        ],
    )
}

fn verify(verify: &Verify) -> Value {
    let (subscription, max_age) = match verify.subscription {
        Subscription::Always => ("always", None),
        Subscription::Cached(age) => ("cached", Some(json!(age.as_secs()))),
        Subscription::NewServices => ("new_services", None),
        Subscription::Never => ("never", None),
    };
    let at = match verify.at {
        When::BeforeChallenge => "before_challenge",
        When::AfterAuthentication => "after_authentication",
    };
    with("verify", [("subscription", Some(json!(subscription))), ("max_age", max_age), ("at", Some(json!(at)))])
}

fn parts(forward: &super::verdict::Forward) -> Vec<&'static str> {
    let mut parts = Vec::new();
    if forward.key == KeyMovement::Push {
        parts.push("key");
    }
    if forward.payload {
        parts.push("payload");
    }
    parts.push("identity");
    parts
}

fn edit(edit: &Edit) -> Value {
    match edit {
        Edit::Set { name, value } => json!({ "set": name, "value": value }),
        Edit::Add { name, value } => json!({ "add": name, "value": value }),
        Edit::Remove { name } => json!({ "remove": name }),
    }
}

/// `forward to="north" parts=["key"] key="push" …`
pub fn line(opinion: &Opinion) -> String {
    line_of(&json(opinion))
}

/// As [`line`], of what [`json`] gave.
pub fn line_of(verdict: &Value) -> String {
    let Value::Object(fields) = verdict else { return verdict.to_string() };
    let mut text = fields.get("verdict").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (name, value) in fields.iter().filter(|(name, value)| *name != "verdict" && **value != json!([])) {
        text.push_str(&format!(" {name}={value}"));
    }
    text
}
