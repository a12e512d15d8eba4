//! What is due in a store that several nodes share: each entity is claimed by one of them, and goes to the role that it
//! is of. Called by the node's timekeeper; on a store of the node's own the roles' sweeps see to it.

use crate::broadcast::server::Bsm;
use crate::identity::Impi;
use crate::registrar::Scscf;
use crate::store::{Class, Key, Nature, Store};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;

/// When another node may look at what this one has claimed: longer than a key may take to come.
const HOLD: Duration = Duration::from_secs(15);
/// Entities claimed at once, and how often in one round.
const MOST: usize = 500;
const TIMES: usize = 8;

/// Claims what is due now. An entity of a role that is not here is left to a node that has it.
pub(super) async fn claim(store: &dyn Store, scscf: Option<&Rc<Scscf>>, bsm: Option<&Rc<Bsm>>) {
    if store.nature() != Nature::Shared {
        return;
    }
    for _ in 0..TIMES {
        let keys = match store.claim_due(HOLD, MOST).await {
            Ok(keys) => keys,
            // The store's health says so too; the next round is in half a second.
            Err(why) => return tracing::debug!(%why, "nothing is claimed"),
        };
        let all = keys.len();
        keys.into_iter().for_each(|key| dispatch(key, scscf, bsm));
        if all < MOST {
            return;
        }
    }
}

/// Each is a job of its own: one that has to wait for a foreign server must not hold up the others.
fn dispatch(key: Key, scscf: Option<&Rc<Scscf>>, bsm: Option<&Rc<Bsm>>) {
    match (key.class, scscf.cloned(), bsm.cloned()) {
        (Class::BroadcastUser, _, Some(bsm)) => drop(spawn_local(bsm.due(key))),
        (Class::User, Some(scscf), _) => {
            drop(spawn_local(async move { scscf.due(Impi::new(key.name)).await }));
        }
        (Class::Challenge, Some(scscf), _) => {
            drop(spawn_local(async move { scscf.challenge_due(Impi::new(key.name)).await }));
        }
        _ => {}
    }
}
