//! From what a stage's function returned to the verdict of the stage.

use super::fields::type_name;
use super::ims::Opinion;
use crate::policy::{Context, PortionView, Stage, StatusEvent, verdict};
use mlua::Value;

/// The opinion in a return value; None is nil.
pub(super) fn opinion(value: &Value) -> Result<Option<mlua::UserDataRef<Opinion>>, String> {
    match value {
        Value::Nil => Ok(None),
        Value::UserData(object) => match object.borrow::<Opinion>() {
            Ok(opinion) => Ok(Some(opinion)),
            Err(_) => Err("returned an object that is no verdict".to_owned()),
        },
        other => {
            Err(format!("returned a {}; a verdict is made by a function of ims, and nil is none", type_name(other)))
        }
    }
}

fn unfit(stage: Stage, opinion: &Opinion, fit: &str) -> String {
    format!("{} does not answer stage {}; it takes {fit}", opinion.made_by(), stage.as_str())
}

pub(super) fn register(opinion: &Opinion) -> Result<verdict::Register, String> {
    match opinion {
        Opinion::Challenge { algorithms } => Ok(verdict::Register::Challenge { algorithms: algorithms.clone() }),
        Opinion::Reject(reject) => Ok(verdict::Register::Reject(reject.clone())),
        other => Err(unfit(Stage::Register, other, "ims.challenge or ims.reject")),
    }
}

pub(super) fn verify(opinion: &Opinion) -> Result<verdict::Verify, String> {
    match opinion {
        Opinion::Verify(verify) => Ok(*verify),
        other => Err(unfit(Stage::Verify, other, "ims.verify")),
    }
}

pub(super) fn authorized(opinion: &Opinion) -> Result<verdict::Authorized, String> {
    match opinion {
        Opinion::Accept { expires } => Ok(verdict::Authorized::Accept { expires: *expires }),
        Opinion::Reject(reject) => Ok(verdict::Authorized::Reject(reject.clone())),
        other => Err(unfit(Stage::Authorized, other, "ims.accept or ims.reject")),
    }
}

pub(super) fn broadcast(
    opinion: &Opinion,
    portion: &PortionView<'_>,
    ctx: &Context<'_>,
) -> Result<verdict::Broadcast, String> {
    match opinion {
        Opinion::Forward(forward) => {
            if !ctx.servers.iter().any(|server| server.name == forward.to) {
                return Err(format!("no server {:?} is configured", forward.to));
            }
            // A payload that the terminal did not send cannot go along.
            let payload = forward.payload && portion.payload.is_some();
            Ok(verdict::Broadcast::Forward(verdict::Forward { payload, ..forward.clone() }))
        }
        Opinion::Skip { reason } => Ok(verdict::Broadcast::Skip { reason: reason.clone() }),
        Opinion::Reject(reject) => Ok(verdict::Broadcast::Reject(reject.clone())),
        other => Err(unfit(Stage::Broadcast, other, "ims.forward, ims.skip or ims.reject")),
    }
}

/// `configured`: whether a broadcast server of that name is in the configuration.
pub(super) fn status(
    opinion: &Opinion,
    event: &StatusEvent<'_>,
    configured: impl Fn(&str) -> bool,
) -> Result<verdict::Status, String> {
    match opinion {
        Opinion::Notify { to, by } => {
            let known = |name: &str| name == "ims" || event.servers.contains(&name) || configured(name);
            match to.iter().find(|name| !known(name)) {
                Some(name) => Err(format!("no server {name:?} is configured")),
                None => Ok(verdict::Status::Notify { to: to.clone(), by: *by }),
            }
        }
        Opinion::Silent => Ok(verdict::Status::Silent),
        other => Err(unfit(Stage::Status, other, "ims.notify or ims.silent")),
    }
}
