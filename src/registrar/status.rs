//! Status both ways (claims 2 and 9; figure 2, step 235): the IMS side tells broadcast servers by third-party
//! REGISTER what became of the IMS registration, and takes in what they tell of theirs. Whom, the policy says.

use super::register::Asked;
use super::scscf::Scscf;
use super::table::Leg;
use crate::broadcast::ext::Mode;
use crate::broadcast::forward::{Forward, KeyPart, ThirdParty};
use crate::broadcast::peer::Peer;
use crate::gba::naf_id::NafId;
use crate::hss::{Assignment, RegState};
use crate::identity::{Impi, Impu};
use crate::policy::verdict::Status;
use crate::policy::{StatusEvent, System};
use std::sync::Arc;
use std::time::Duration;

impl Scscf {
    /// The IMS registration was made or refreshed. `told`: the server that the forwarded portion told already.
    pub(super) fn ims_changed(
        &self,
        asked: &Asked<'_>,
        was_registered: bool,
        state: RegState,
        cause: &str,
        expires: u32,
        told: Option<String>,
    ) {
        let Some(leg) = self.shared.table.leg(asked.impi.as_str()) else { return };
        let previous = if was_registered { RegState::Registered } else { RegState::NotRegistered };
        for server in self.whom_to_tell(&asked.impi, &asked.impu, &leg, previous, state, cause, expires) {
            if told.as_ref() != Some(&server.name) {
                self.tell_server(&asked.impi, &asked.impu, &server, expires);
            }
        }
    }

    /// A broadcast server that came to a registered user by itself (figure 5) is told of the IMS registration.
    pub(super) fn introduce(&self, impi: &Impi, impu: &Impu) {
        let Some(leg) = self.shared.table.leg(impi.as_str()) else { return };
        let expires = self.expires_left(impi);
        let none = RegState::NotRegistered;
        for server in self.whom_to_tell(impi, impu, &leg, none, RegState::Registered, "registered", expires) {
            self.tell_server(impi, impu, &server, expires);
        }
    }

    /// The IMS registration has ended: the broadcast one ends with it.
    pub(super) fn ims_ended(&self, impi: &Impi, impus: &[Impu], leg: Option<Leg>, cause: &str) {
        let (Some(leg), Some(impu)) = (leg, impus.first()) else { return };
        let servers = self.whom_to_tell(impi, impu, &leg, RegState::Registered, RegState::NotRegistered, cause, 0);
        let me = self.clone();
        let (impi, impu) = (impi.clone(), impu.clone());
        (self.spawn)(Box::pin(async move {
            // The IMS no longer vouches for the user, so no key lives on in the HSS's view, whoever is told.
            me.tell_hss(&impu, &leg.server, &leg.naf, None, RegState::NotRegistered).await;
            for server in servers {
                let dialog = if *leg.server == *server.name {
                    leg.dialog.clone()
                } else {
                    ThirdParty::new(&me.shared.settings.domain)
                };
                me.end_at_server(impi.clone(), impu.clone(), server, leg.naf.clone(), dialog);
            }
        }));
    }

    #[allow(clippy::too_many_arguments)]
    fn whom_to_tell(
        &self,
        impi: &Impi,
        impu: &Impu,
        leg: &Leg,
        previous: RegState,
        state: RegState,
        cause: &str,
        expires: u32,
    ) -> Vec<Peer> {
        let servers = [&*leg.server];
        let event = StatusEvent {
            system: System::Ims,
            previous,
            state,
            cause,
            impi: impi.as_str(),
            impu: impu.as_str(),
            btid: leg.btid.as_ref().map(|b| b.as_str()),
            naf_fqdn: Some(leg.naf.fqdn()),
            servers: &servers,
            expires,
            unix: self.now().unix.as_secs(),
        };
        match self.policy.status(&event) {
            Status::Notify { to, .. } => to.iter().filter_map(|name| self.shared.server(name)).cloned().collect(),
            Status::Silent => Vec::new(),
        }
    }

    /// Third-party REGISTER without a key: the state alone.
    fn tell_server(&self, impi: &Impi, impu: &Impu, server: &Peer, expires: u32) {
        let me = self.clone();
        let (impi, impu, server) = (impi.clone(), impu.clone(), server.clone());
        (self.spawn)(Box::pin(async move {
            let Some(leg) = me.shared.table.leg(impi.as_str()) else { return };
            let own = *leg.server == *server.name;
            let mut dialog = if own { leg.dialog.clone() } else { ThirdParty::new(&me.shared.settings.domain) };
            let forward = me.state_alone(&impu, &server, &leg.naf, leg.btid.as_ref(), expires);
            let Ok(request) = forward.request(&mut dialog) else { return };
            if own {
                me.shared.table.update_leg(impi.as_str(), |l| {
                    if let Some(l) = l.as_mut().filter(|l| l.serial == leg.serial) {
                        l.dialog = dialog;
                    }
                });
            }
            let answer = me.outbound.request(&server.hop, request, me.shared.settings.broadcast_timeout).await;
            if let Err(why) = answer {
                tracing::info!(%impi, server = server.name, %why, "broadcast server was not told of the IMS registration");
            }
        }));
    }

    fn state_alone<'a>(
        &'a self,
        impu: &'a Impu,
        server: &'a Peer,
        naf: &'a NafId,
        btid: Option<&'a crate::gba::btid::Btid>,
        expires: u32,
    ) -> Forward<'a> {
        Forward {
            peer: server,
            scscf: &self.shared.settings.uri,
            impu,
            naf,
            btid,
            mode: Mode::Status,
            key: KeyPart::Unchanged,
            profile: None,
            payload: None,
            expires,
            services: None,
            trigger: None,
        }
    }

    /// Expires 0 to a broadcast server, repeated for some minutes if it does not answer: it holds a key.
    pub(super) fn end_at_server(&self, impi: Impi, impu: Impu, server: Peer, naf: NafId, mut dialog: ThirdParty) {
        let me = self.clone();
        (self.spawn)(Box::pin(async move {
            let mut pause = Duration::from_secs(2);
            for _ in 0..8 {
                if me.shared.table.leg(impi.as_str()).is_some_and(|leg| *leg.server == *server.name) {
                    return; // registered there anew
                }
                let forward = me.state_alone(&impu, &server, &naf, None, 0);
                let Ok(request) = forward.request(&mut dialog) else { return };
                match me.outbound.request(&server.hop, request, me.shared.settings.broadcast_timeout).await {
                    Ok(answer) if answer.status() < 500 => return,
                    Ok(_) | Err(_) => {}
                }
                (me.sleep)(pause).await;
                pause *= 2;
            }
            tracing::warn!(%impu, server = server.name, "broadcast server was not told of the deregistration");
        }));
    }

    /// The broadcast registration has a new state: the HSS learns of it, and whoever the policy names.
    pub(super) async fn broadcast_changed(
        &self,
        impi: &Impi,
        impu: &Impu,
        previous: RegState,
        state: RegState,
        cause: Option<&str>,
    ) {
        let Some(leg) = self.shared.table.leg(impi.as_str()) else { return };
        self.tell_hss(impu, &leg.server, &leg.naf, leg.btid.as_ref(), state).await;
        if previous == state {
            return;
        }
        let event = StatusEvent {
            system: System::Broadcast,
            previous,
            state,
            cause: cause.unwrap_or(state.as_str()),
            impi: impi.as_str(),
            impu: impu.as_str(),
            btid: leg.btid.as_ref().map(|b| b.as_str()),
            naf_fqdn: Some(leg.naf.fqdn()),
            servers: &[],
            expires: 0,
            unix: self.now().unix.as_secs(),
        };
        // The server itself knows; a policy may name others.
        if let Status::Notify { to, .. } = self.policy.status(&event) {
            let expires = self.expires_left(impi);
            for server in to.iter().filter(|name| **name != *leg.server).filter_map(|name| self.shared.server(name)) {
                self.tell_server(impi, impu, server, expires);
            }
        }
    }

    pub(super) fn expires_left(&self, impi: &Impi) -> u32 {
        let mono = self.now().mono;
        self.shared.table.with(impi.as_str(), |r| {
            let until = r.and_then(|r| r.until()).unwrap_or_default();
            u32::try_from(until.saturating_sub(mono).as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
        })
    }

    /// Timers: contacts, challenges and bootstrappings whose time is over. Called by one worker, about once a second.
    pub async fn sweep(&self) {
        let now = self.now();
        for ended in self.shared.table.expire(now.mono) {
            self.shared.bootstraps.remove(&ended.impi);
            let impus: Arc<[Impu]> = ended.registration.impus.clone();
            if let Some(impu) = impus.first() {
                tracing::info!(impi = %ended.impi, %impu, "registration expired");
                let kind = Assignment::TimeoutDeregistration;
                if let Err(why) = self.shared.hss.server_assignment(&ended.impi, impu, kind, now).await {
                    tracing::warn!(impi = %ended.impi, %why, "the HSS was not told of the expiry");
                }
            }
            self.ims_ended(&ended.impi, &impus, ended.leg, "expired");
        }
        for (impi, _) in self.shared.challenges.expire(now.mono) {
            if let Some(impu) = self.shared.table.with(impi.as_str(), |r| r.and_then(|r| r.impus.first().cloned())) {
                // Only a registered user's record is worth telling; nothing changes in it.
                let kind = Assignment::AuthenticationTimeout;
                let _ = self.shared.hss.server_assignment(&impi, &impu, kind, now).await;
            }
        }
        self.shared.bootstraps.sweep(now);
    }
}
