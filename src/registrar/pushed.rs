//! What the HSS, or the operator, begins at the S-CSCF: the end of a registration (TS 24.229 §5.4.1.5), a changed profile (TS 29.228
//! §6.2), the end of a broadcast registration (TS 29.328 §6.1.4); each is carried on to the broadcast server.

use super::register::Busy;
use super::scscf::Scscf;
use super::table::Leg;
use crate::hss::{Assignment, Profile, RegState};
use crate::identity::{Impi, Impu};
use std::time::Duration;

/// How long a REGISTER that is worked on is waited for.
const PATIENCE: usize = 200;
const PAUSE: Duration = Duration::from_millis(50);

impl Scscf {
    /// The user's registration ends, if he has one of these identities; none: whatever he has. An identity takes the
    /// whole implicit set along (TS 29.228 §6.1.3).
    pub async fn end_by_network(&self, impi: Impi, impus: &[Impu], reason: &str) {
        let _busy = self.alone_with(&impi).await;
        if self.fetch(&impi).await.is_err() {
            tracing::warn!(%impi, "the store is away: what this node has of the user ends");
        }
        let meant = |r: &super::Registration| impus.is_empty() || impus.iter().any(|impu| r.has(impu));
        if self.shared.table.with(impi.as_str(), |r| r.is_some_and(meant)) {
            self.deactivate(&impi, reason);
        }
    }

    /// The operator ends the registration of the user with this identity, public or private; the HSS hears of it too.
    /// Answers whose it was; None: he is not registered here.
    pub async fn end_by_operator(&self, identity: &str) -> Option<Impi> {
        let impi = self.find(identity).await.unwrap_or_else(|| Impi::from(identity));
        let _busy = self.alone_with(&impi).await;
        let _ = self.fetch(&impi).await; // what this node has of him is better than nothing
        let impu = self.shared.table.with(impi.as_str(), |r| r.and_then(|r| r.impus.first().cloned()))?;
        self.deactivate(&impi, "by the operator");
        // On a shared store the node whose save it is tells.
        if !self.shared.keeping.is_shared() {
            self.assign_or_warn(&impi, &impu, Assignment::AdministrativeDeregistration).await;
        }
        Some(impi)
    }

    /// The user's profile has changed. A broadcast registration that it does not allow ends; else its server learns what
    /// the user may receive. `latest` is asked once nothing else is done with him: of several changes the last one counts.
    pub async fn change_profile(&self, impi: Impi, latest: impl FnOnce() -> Option<Profile>) {
        let _busy = self.alone_with(&impi).await;
        let Some(profile) = latest() else { return };
        let _ = self.fetch(&impi).await; // what this node has of him is better than nothing
        self.shared.subscriptions.forget(&impi);
        let table = &self.shared.table;
        if !table.with(impi.as_str(), |r| r.is_some()) {
            return;
        }
        table.update(&impi, &profile.impus, |r| r.barred.clone_from(&profile.barred));
        let allowed = |known_as: &Impu| profile.broadcast.is_subscribed() && profile.impus.contains(known_as);
        let ended = table.update_leg(impi.as_str(), |leg| leg.take_if(|leg| !allowed(&leg.impu)));
        let changed = self.shared.bootstraps.resubscribe(&impi, &profile.broadcast);
        self.keep(&impi);
        if let Some(leg) = ended.flatten() {
            self.ims_ended(&impi, leg, "deactivated");
        } else if changed
            && let Some(leg) = table.leg(impi.as_str())
            && let Some(server) = self.shared.server(&leg.server)
        {
            self.tell_server(&impi, server.clone(), Some(profile.broadcast));
        }
    }

    /// The broadcast registration of whoever has this public identity ends, while he stays registered with the IMS.
    pub async fn end_broadcast(&self, impu: &Impu) {
        let Some(impi) = self.find(impu.as_str()).await else { return };
        let _busy = self.alone_with(&impi).await;
        let _ = self.fetch(&impi).await; // what this node has of him is better than nothing
        let stands = |leg: &Leg| matches!(leg.state, RegState::Registered | RegState::Pending);
        let ended = self.shared.table.update_leg(impi.as_str(), |leg| leg.take_if(|leg| stands(leg)));
        if let Some(leg) = ended.flatten() {
            tracing::info!(%impi, "the HSS ends a broadcast registration");
            self.shared.subscriptions.forget(&impi);
            self.keep(&impi);
            self.ims_ended(&impi, leg, "deactivated");
        }
    }

    /// Nothing else is done with the user meanwhile; None: something else has been at it all the time.
    async fn alone_with(&self, impi: &Impi) -> Option<Busy> {
        for _ in 0..PATIENCE {
            if let Some(busy) = Busy::enter(&self.shared, impi) {
                return Some(busy);
            }
            (self.sleep)(PAUSE).await;
        }
        None
    }
}
