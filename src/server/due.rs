//! What is due in a store that several nodes share: each entity is claimed by one of them, and goes to the role that it
//! is of. Called by the node's timekeeper; on a store of the node's own the roles' sweeps see to it.

use crate::broadcast::server::Bsm;
use crate::store::{Class, Key, Nature, Store};
use std::rc::Rc;
use std::time::Duration;

/// When another node may look at what this one has claimed: longer than a key may take to come.
const HOLD: Duration = Duration::from_secs(15);
/// Entities claimed at once.
const MOST: usize = 500;

/// Claims once. An entity of a role that is not here is left to a node that has it.
pub(super) async fn claim(store: &dyn Store, bsm: Option<&Rc<Bsm>>) {
    if store.nature() != Nature::Shared {
        return;
    }
    match store.claim_due(HOLD, MOST).await {
        Ok(keys) => {
            for key in &keys {
                dispatch(key, bsm).await;
            }
        }
        // The store's health says so too; the next round is in half a second.
        Err(why) => tracing::debug!(%why, "nothing is claimed"),
    }
}

async fn dispatch(key: &Key, bsm: Option<&Rc<Bsm>>) {
    match (key.class, bsm) {
        (Class::BroadcastUser, Some(bsm)) => bsm.clone().due(key).await,
        _ => {}
    }
}
