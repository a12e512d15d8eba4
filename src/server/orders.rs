//! What an operator orders over the control socket and a worker carries out: the end of a user's registration.

use super::control::Reply;
use super::control::protocol::Problem;
use crate::registrar::Scscf;
use serde_json::json;
use std::rc::Rc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// One order. They are few: the socket has few clients at a time, and each waits for the answer.
pub(super) struct End {
    /// A public identity, or the private one.
    pub(super) identity: String,
    pub(super) reply: Reply,
}

pub(super) type Orders = UnboundedSender<End>;

pub(super) fn channel() -> (Orders, UnboundedReceiver<End>) {
    unbounded_channel()
}

/// On a worker's thread, until the node ends.
pub(super) async fn carry_out(mut orders: UnboundedReceiver<End>, scscf: Rc<Scscf>) {
    while let Some(End { identity, reply }) = orders.recv().await {
        let scscf = scscf.clone();
        // One that waits for a user who is worked on holds up no other.
        tokio::task::spawn_local(async move {
            match scscf.end_by_operator(&identity).await {
                Some(impi) => reply.done(json!({ "ended": impi.as_str() })),
                None => reply.failed(Problem::new("end", format!("{identity}: not registered here"))),
            }
        });
    }
}
