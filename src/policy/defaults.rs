//! Each stage's default verdict (rank 1): what holds where a policy has no function for the stage,
//! returns nil, or fails. This is the one place that says so.
//!
//! | stage | default |
//! |---|---|
//! | register | challenge with the node's algorithms |
//! | verify | always, after authentication |
//! | authorized | accept with the node's expiry |
//! | receive | goes on unchanged |
//! | broadcast | to the server of the NAF: key pushed, payload along, before the 200; unknown NAF: skip |
//! | status | IMS changes by third-party REGISTER to the user's servers, broadcast changes by MESSAGE to the IMS |
//! | failure | it stays pending or failed |
//! | route | the server's own handling |
//! | reply | goes out unchanged |
//! | finish | nothing |
//!
//! A terminal that asked for all or nothing gets it here too: its portion is then refused where
//! others are skipped or left pending (RFC 3261 §8.2.2.3: Require is no wish).

use super::stage::{Context, Decide, PortionView, ServerView, Stage, StatusEvent, System};
use super::verdict::{self, Forward, KeyMovement, NotifyBy, OnFailure, Order, Reject};
use crate::sip::Message;
use std::time::Duration;

/// The defaults as a policy of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults;

/// The configured server that is responsible for a NAF; never one that the message names by address.
pub fn server_by_naf<'a>(servers: &'a [ServerView], fqdn: &str) -> Option<&'a ServerView> {
    servers.iter().find(|server| server.naf_fqdns.iter().any(|naf| naf.eq_ignore_ascii_case(fqdn)))
}

impl Decide for Defaults {
    fn wants(&self, stage: Stage) -> bool {
        matches!(stage, Stage::Register | Stage::Verify | Stage::Authorized | Stage::Broadcast | Stage::Status)
    }

    fn register(&self, _: &Message<'_>, _: &Context<'_>) -> verdict::Register {
        verdict::Register::Challenge { algorithms: None }
    }

    fn verify(&self, _: &Message<'_>, _: &Context<'_>) -> verdict::Verify {
        verdict::Verify::default()
    }

    fn authorized(&self, _: &Message<'_>, _: &Context<'_>) -> verdict::Authorized {
        verdict::Authorized::Accept { expires: None }
    }

    fn broadcast(&self, _: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        match server_by_naf(ctx.servers, portion.naf_fqdn) {
            Some(server) => verdict::Broadcast::Forward(Forward {
                to: server.name.clone(),
                payload: portion.payload.is_some(),
                key: KeyMovement::Push,
                order: Order::Before200,
                on_failure: if ctx.all_or_nothing { OnFailure::Reject } else { OnFailure::Pending },
            }),
            None if ctx.all_or_nothing => verdict::Broadcast::Reject(Reject::new(403, "Unknown NAF")),
            None => verdict::Broadcast::Skip { reason: "no broadcast server for this NAF".to_owned() },
        }
    }

    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        match event.system {
            System::Ims => verdict::Status::Notify {
                to: event.servers.iter().map(|name| (*name).to_owned()).collect(),
                by: NotifyBy::ThirdPartyRegister,
                after: Duration::ZERO,
            },
            System::Broadcast => {
                verdict::Status::Notify { to: vec!["ims".to_owned()], by: NotifyBy::Message, after: Duration::ZERO }
            }
        }
    }
}
