//! From what a stage's function returned to the verdict of the stage.

use super::ims::Made;
use crate::policy::verdict::{self, Edit, Opinion};
use crate::policy::{Question, Stage};

/// What may answer each stage.
fn fit(stage: Stage) -> &'static str {
    match stage {
        Stage::Receive => "ims.drop, ims.reject or nil",
        Stage::Register => "ims.challenge, ims.trust or ims.reject",
        Stage::Verify => "ims.verify",
        Stage::Authorized => "ims.accept or ims.reject",
        Stage::Broadcast => "ims.forward, ims.skip or ims.reject",
        Stage::Failure => "ims.retry or ims.give_up",
        Stage::Status => "ims.notify or ims.silent",
        Stage::Route => "ims.route, ims.answer or ims.reject",
        Stage::Reply | Stage::Finish => "nil",
    }
}

/// The opinion of a stage that returned without a verdict: its edits, if it made any.
pub(super) fn edits_alone(stage: Stage, edits: Vec<Edit>) -> Option<Opinion> {
    match stage {
        _ if edits.is_empty() => None,
        Stage::Receive => Some(Opinion::Receive(verdict::Receive::Next { edits })),
        Stage::Reply => Some(Opinion::Reply(verdict::Reply { edits })),
        _ => None,
    }
}

/// `edits`: what the stage changed in its message; `configured`: whether a broadcast server of that name is there.
pub(super) fn opinion(
    question: &Question<'_>,
    made: Made,
    edits: Vec<Edit>,
    configured: impl Fn(&str) -> bool,
) -> Result<Opinion, String> {
    let stage = question.stage();
    let known = |name: &str| match configured(name) {
        true => Ok(()),
        false => Err(format!("no server {name:?} is configured")),
    };
    Ok(match (question, made) {
        (Question::Receive { .. }, Made::Drop) => Opinion::Receive(verdict::Receive::Drop),
        (Question::Receive { .. }, Made::Reject(reject)) => Opinion::Receive(verdict::Receive::Reject(reject)),
        (Question::Receive { .. }, Made::Next) => Opinion::Receive(verdict::Receive::Next { edits }),
        (Question::Register { .. }, Made::Challenge { algorithms }) => {
            Opinion::Register(verdict::Register::Challenge { algorithms })
        }
        (Question::Register { .. }, Made::Trust) => Opinion::Register(verdict::Register::Trust),
        (Question::Register { .. }, Made::Reject(reject)) => Opinion::Register(verdict::Register::Reject(reject)),
        (Question::Verify { .. }, Made::Verify(verify)) => Opinion::Verify(verify),
        (Question::Authorized { .. }, Made::Accept { expires }) => {
            Opinion::Authorized(verdict::Authorized::Accept { expires })
        }
        (Question::Authorized { .. }, Made::Reject(reject)) => Opinion::Authorized(verdict::Authorized::Reject(reject)),
        (Question::Broadcast { portion, .. }, Made::Forward(forward)) => {
            known(&forward.to)?;
            // A payload that the terminal did not send cannot go along.
            let payload = forward.payload && portion.payload.is_some();
            Opinion::Broadcast(verdict::Broadcast::Forward(verdict::Forward { payload, ..forward }))
        }
        (Question::Broadcast { .. }, Made::Skip { reason }) => Opinion::Broadcast(verdict::Broadcast::Skip { reason }),
        (Question::Broadcast { .. }, Made::Reject(reject)) => Opinion::Broadcast(verdict::Broadcast::Reject(reject)),
        (Question::Failure { .. }, Made::Retry { to }) => {
            known(&to)?;
            Opinion::Failure(verdict::Failure::Retry { to })
        }
        (Question::Failure { .. }, Made::GiveUp) => Opinion::Failure(verdict::Failure::GiveUp),
        (Question::Status { event }, Made::Notify { to, by, after }) => {
            to.iter().try_for_each(|name| match name == "ims" || event.servers.contains(&name.as_str()) {
                true => Ok(()),
                false => known(name),
            })?;
            Opinion::Status(verdict::Status::Notify { to, by, after })
        }
        (Question::Status { .. }, Made::Silent) => Opinion::Status(verdict::Status::Silent),
        (Question::Route { .. }, Made::Route { to }) => {
            known(&to)?;
            Opinion::Route(verdict::Route::To { server: to })
        }
        (Question::Route { .. }, Made::Answer(answer)) => Opinion::Route(verdict::Route::Answer(answer)),
        (Question::Route { .. }, Made::Reject(reject)) => Opinion::Route(verdict::Route::Reject(reject)),
        (Question::Route { .. }, Made::Next) => Opinion::Route(verdict::Route::Next),
        (_, made) => {
            return Err(format!(
                "{} does not answer stage {}; it takes {}",
                made.made_by(),
                stage.as_str(),
                fit(stage)
            ));
        }
    })
}
