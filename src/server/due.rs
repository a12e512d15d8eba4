//! What is due in a store that several nodes share: each entity is claimed by one of them, and goes to the role that it
//! is of. Called by the node's timekeeper; on a store of the node's own the roles' sweeps see to it.

use crate::broadcast::server::Bsm;
use crate::identity::Impi;
use crate::registrar::Scscf;
use crate::store::{Class, Key, Nature, Store};
use std::rc::Rc;
use std::time::Duration;

/// When another node may look at what this one has claimed: longer than a key may take to come.
const HOLD: Duration = Duration::from_secs(15);
/// Entities claimed at once.
const MOST: usize = 500;

/// Claims once. An entity of a role that is not here is left to a node that has it.
pub(super) async fn claim(store: &dyn Store, scscf: Option<&Rc<Scscf>>, bsm: Option<&Rc<Bsm>>) {
    if store.nature() != Nature::Shared {
        return;
    }
    match store.claim_due(HOLD, MOST).await {
        Ok(keys) => {
            for key in &keys {
                dispatch(key, scscf, bsm);
            }
        }
        // The store's health says so too; the next round is in half a second.
        Err(why) => tracing::debug!(%why, "nothing is claimed"),
    }
}

/// Each is a job of its own: one that has to wait for a foreign server must not hold up the others.
fn dispatch(key: &Key, scscf: Option<&Rc<Scscf>>, bsm: Option<&Rc<Bsm>>) {
    match (key.class, scscf, bsm) {
        (Class::BroadcastUser, _, Some(bsm)) => {
            let (bsm, key) = (bsm.clone(), key.clone());
            tokio::task::spawn_local(async move { bsm.due(&key).await });
        }
        (Class::User, Some(scscf), _) => {
            let (scscf, impi) = (scscf.clone(), Impi::new(key.name.clone()));
            tokio::task::spawn_local(async move { scscf.due(impi).await });
        }
        (Class::Challenge, Some(scscf), _) => {
            let (scscf, impi) = (scscf.clone(), Impi::new(key.name.clone()));
            tokio::task::spawn_local(async move { scscf.challenge_due(impi).await });
        }
        _ => {}
    }
}
