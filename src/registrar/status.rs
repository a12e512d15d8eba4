//! Status both ways (claims 2 and 9; figure 2, step 235): the IMS side tells broadcast servers by third-party
//! REGISTER what became of the IMS registration, and takes in what they tell of theirs. Whom, the policy says.

use super::authenticate::Memo;
use super::notice::Notice;
use super::register::{Asked, Busy};
use super::scscf::Scscf;
use super::table::{Expired, Leg};
use crate::auth::challenge::Challenge;
use crate::broadcast::ext::Mode;
use crate::broadcast::forward::{Forward, KeyPart, ThirdParty};
use crate::broadcast::held::Step;
use crate::broadcast::keys::BroadcastRegistration;
use crate::broadcast::peer::Peer;
use crate::gba::btid::Btid;
use crate::hss::{Assignment, BroadcastSubscription, RegState};
use crate::identity::Impi;
use crate::policy::verdict::{NotifyBy, Status};
use crate::policy::{Decide, StatusEvent, System};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A change of the IMS registration.
#[derive(Clone, Copy)]
struct Change<'a> {
    previous: RegState,
    state: RegState,
    cause: &'a str,
    expires: u32,
}

/// A change of a broadcast registration.
struct BroadcastChange<'a> {
    previous: RegState,
    state: RegState,
    /// None: the state says it.
    cause: Option<&'a str>,
}

impl Scscf {
    /// The IMS registration was made or refreshed. `told`: the server that the forwarded portion told already.
    pub(super) fn ims_changed(
        &self,
        decide: &dyn Decide,
        asked: &Asked<'_>,
        was_registered: bool,
        cause: &str,
        expires: u32,
        told: Option<String>,
    ) {
        let Some(leg) = self.shared.table.leg(asked.impi.as_str()) else { return };
        let previous = if was_registered { RegState::Registered } else { RegState::NotRegistered };
        if let Some(told) = &told {
            self.overtake(&asked.impi, told);
        }
        let change = Change { previous, state: RegState::Registered, cause, expires };
        self.tell_of_ims(decide, &asked.impi, &leg, change, told.as_deref());
    }

    /// A broadcast server that came to a registered user by itself (figure 5) is told of the IMS registration.
    pub(super) fn introduce(&self, impi: &Impi) {
        let Some(leg) = self.shared.table.leg(impi.as_str()) else { return };
        let change = Change {
            previous: RegState::NotRegistered,
            state: RegState::Registered,
            cause: "registered",
            expires: self.expires_left(impi),
        };
        self.tell_of_ims(&*self.decides_for(impi), impi, &leg, change, None);
    }

    fn tell_of_ims(&self, decide: &dyn Decide, impi: &Impi, leg: &Leg, change: Change<'_>, told: Option<&str>) {
        let (servers, after) = self.whom_to_tell(decide, impi, leg, change);
        // Its time runs anew with every REGISTER, and the server must know.
        let step = Step { previous: change.previous, state: change.state, renews: true };
        for server in servers.into_iter().filter(|server| told != Some(&server.name)) {
            self.notify(impi, step, Notice::Ims { impi: impi.clone(), server }, after);
        }
    }

    /// The IMS registration has ended, or the user's right to the broadcast one: the broadcast one ends with it.
    pub(super) fn ims_ended(&self, impi: &Impi, leg: Leg, cause: &str) {
        let step = Step { previous: RegState::Registered, state: RegState::NotRegistered, renews: false };
        let change = Change { previous: step.previous, state: step.state, cause, expires: 0 };
        let decide = self.decides_for(impi);
        let (servers, after) = self.whom_to_tell(&*decide, impi, &leg, change);
        let ended = BroadcastChange { previous: leg.state, state: RegState::NotRegistered, cause: Some(cause) };
        self.tell_of_broadcast(&*decide, impi, &leg, ended);
        let me = self.clone();
        let impi = impi.clone();
        (self.spawn)(Box::pin(async move {
            for server in servers {
                let notice = Notice::Ended { impi: impi.clone(), server, leg: Box::new(leg.clone()) };
                me.notify(&impi, step, notice, after);
            }
            // The IMS no longer vouches for the user there, so no key lives on in the HSS's view, whoever is told; unless
            // he has come back meanwhile.
            if me.shared.table.leg(impi.as_str()).is_some_and(|anew| anew.server == leg.server) {
                return;
            }
            me.tell_hss(&leg.impu, &leg.server, &leg.naf, None, RegState::NotRegistered).await;
        }));
    }

    fn whom_to_tell(
        &self,
        decide: &dyn Decide,
        impi: &Impi,
        leg: &Leg,
        change: Change<'_>,
    ) -> (Vec<Arc<Peer>>, Duration) {
        let Change { previous, state, cause, expires } = change;
        let (servers, btid) = ([&*leg.server], leg.btid.as_ref().map(Btid::text));
        let event = StatusEvent {
            system: System::Ims,
            previous,
            state,
            cause,
            impi: impi.as_str(),
            impu: leg.impu.as_str(),
            btid: btid.as_deref(),
            naf_fqdn: Some(leg.naf.fqdn()),
            servers: &servers,
            expires,
            unix: self.now().unix.as_secs(),
        };
        // Whatever the policy says of the way: of the IMS registration a server is told by third-party REGISTER.
        match decide.status(&event) {
            Status::Notify { to, after, .. } => {
                (to.iter().filter_map(|name| self.shared.server(name)).cloned().collect(), after)
            }
            Status::Silent => (Vec::new(), Duration::ZERO),
        }
    }

    /// Who decides for this user now.
    pub(super) fn decides_for(&self, impi: &Impi) -> Rc<dyn Decide> {
        self.policy.pin(impi.as_str()).unwrap_or_else(|| self.policy.clone())
    }

    /// Third-party REGISTER without a key: the state alone, for as long as the IMS registration lasts; `services`: what
    /// the user may receive, where that has changed.
    pub(super) fn tell_server(&self, impi: &Impi, server: Arc<Peer>, services: Option<BroadcastSubscription>) {
        let Some(leg) = self.shared.table.leg(impi.as_str()) else { return };
        let me = self.clone();
        let impi = impi.clone();
        let mut foreign = ThirdParty::new(&self.shared.settings.domain);
        self.insist(move || {
            let expires = me.expires_left(&impi);
            let written = me.shared.table.update_leg(impi.as_str(), |held| {
                // Whatever has taken the leg's place tells its own.
                let held = held.as_mut().filter(|held| held.serial == leg.serial && expires > 0)?;
                let own = *held.server == *server.name;
                let forward = Forward { services: services.as_ref(), ..me.state_alone(&server, &leg, expires) };
                forward.request(if own { &mut held.dialog } else { &mut foreign }).ok()
            });
            me.keep(&impi); // the CSeq goes on after a restart
            written.flatten().map(|request| (server.clone(), request))
        });
    }

    fn state_alone<'a>(&'a self, server: &'a Peer, leg: &'a Leg, expires: u32) -> Forward<'a> {
        Forward {
            peer: server,
            scscf: &self.shared.settings.uri,
            impu: &leg.impu,
            naf: &leg.naf,
            btid: leg.btid.as_ref().filter(|_| expires > 0),
            mode: Mode::Status,
            key: KeyPart::Unchanged,
            profile: None,
            payload: None,
            expires,
            services: None,
            trigger: None,
        }
    }

    /// Expires 0 to a broadcast server: it holds a key, or may. `leg` is out of the table by now.
    pub(super) fn end_at_server(&self, impi: &Impi, server: Arc<Peer>, leg: &Leg) {
        self.overtake(impi, &server.name);
        let me = self.clone();
        let (impi, mut leg) = (impi.clone(), leg.clone());
        if *leg.server != *server.name {
            leg.dialog = ThirdParty::new(&self.shared.settings.domain);
        }
        self.insist(move || {
            let anew = me.shared.table.leg(impi.as_str()).is_some_and(|held| *held.server == *server.name);
            let mut dialog = leg.dialog.clone();
            let request = me.state_alone(&server, &leg, 0).request(&mut dialog).ok().filter(|_| !anew)?;
            leg.dialog = dialog;
            Some((server.clone(), request))
        });
    }

    /// Sends what `next` writes until a server has answered, for some minutes; None: no longer needed.
    pub(super) fn insist(&self, mut next: impl FnMut() -> Option<(Arc<Peer>, Vec<u8>)> + 'static) {
        let me = self.clone();
        (self.spawn)(Box::pin(async move {
            let mut pause = Duration::from_secs(2);
            for _ in 0..ATTEMPTS {
                let Some((server, request)) = next() else { return };
                match me.outbound.request(&server.hop, request, me.shared.settings.broadcast_timeout).await {
                    Ok(answer) if answer.status() < 500 => return,
                    Ok(answer) => tracing::info!(server = server.name, status = answer.status(), "not told"),
                    Err(why) => tracing::info!(server = server.name, %why, "not told"),
                }
                (me.sleep)(pause).await;
                pause *= 2;
            }
            tracing::warn!("a broadcast server was not told of the IMS registration's state");
        }));
    }

    /// The broadcast registration has a new state: the HSS learns of it, and whoever the policy names.
    pub(super) async fn broadcast_changed(
        &self,
        decide: &dyn Decide,
        impi: &Impi,
        previous: RegState,
        state: RegState,
        cause: Option<&str>,
    ) {
        let Some(leg) = self.shared.table.leg(impi.as_str()) else { return };
        self.tell_hss(&leg.impu, &leg.server, &leg.naf, leg.btid.as_ref(), state).await;
        self.tell_of_broadcast(decide, impi, &leg, BroadcastChange { previous, state, cause });
    }

    /// Whom the policy names hears of a change of a broadcast registration; its server knows by itself.
    fn tell_of_broadcast(&self, decide: &dyn Decide, impi: &Impi, leg: &Leg, change: BroadcastChange<'_>) {
        let BroadcastChange { previous, state, cause } = change;
        if previous == state {
            return;
        }
        let (servers, btid) = ([&*leg.server], leg.btid.as_ref().map(Btid::text));
        let event = StatusEvent {
            system: System::Broadcast,
            previous,
            state,
            cause: cause.unwrap_or(state.as_str()),
            impi: impi.as_str(),
            impu: leg.impu.as_str(),
            btid: btid.as_deref(),
            naf_fqdn: Some(leg.naf.fqdn()),
            servers: &servers,
            expires: self.expires_left(impi),
            unix: self.now().unix.as_secs(),
        };
        let Status::Notify { to, by, after } = decide.status(&event) else { return };
        let step = Step { previous, state, renews: false };
        for server in to.iter().filter(|name| **name != *leg.server).filter_map(|name| self.shared.server(name)) {
            let server = server.clone();
            let notice = match by {
                NotifyBy::ThirdPartyRegister if event.expires == 0 => {
                    Notice::Ended { impi: impi.clone(), server, leg: Box::new(leg.clone()) }
                }
                NotifyBy::ThirdPartyRegister => Notice::Ims { impi: impi.clone(), server },
                NotifyBy::Message => {
                    let word = BroadcastRegistration {
                        state,
                        impu: leg.impu.clone(),
                        btid: leg.btid.clone(),
                        naf_fqdn: leg.naf.fqdn().to_owned(),
                        expires: event.expires,
                        cause: event.cause.to_owned(),
                    };
                    Notice::Broadcast { server, naf: leg.naf.clone(), word: Box::new(word), at: self.now().mono }
                }
            };
            self.notify(impi, step, notice, after);
        }
    }

    pub(super) fn expires_left(&self, impi: &Impi) -> u32 {
        let mono = self.now().mono;
        self.shared.table.with(impi.as_str(), |r| r.map_or(0, |r| r.expires_in(mono)))
    }

    /// These are no subscribers any more.
    pub fn withdraw(&self, impis: Vec<Impi>) {
        impis.iter().for_each(|impi| self.deactivate(impi, "no subscriber any more"));
    }

    /// Network-initiated deregistration (TS 24.229 §5.4.1.5): contacts and keys go, and the broadcast server is told.
    pub(super) fn deactivate(&self, impi: &Impi, why: &str) {
        self.shared.bootstraps.remove(impi);
        self.shared.subscriptions.forget(impi);
        self.may_end(impi, "deactivated");
        let removed = self.shared.table.remove(impi);
        self.keep(impi);
        if let Some((_, leg)) = removed {
            tracing::info!(%impi, why, "deregistered");
            if let Some(leg) = leg.filter(|_| !self.shared.keeping.is_shared()) {
                self.ims_ended(impi, leg, "deactivated");
            }
        }
    }

    /// Timers: contacts, challenges and bootstrappings whose time is over. Called by one worker, about once a second.
    /// What the HSS is told is told by jobs of their own: a slow HSS must not stop the clock.
    pub async fn sweep(&self) {
        let now = self.now();
        self.tell_due();
        let minute = now.mono.as_secs() / 60;
        let tidy = self.shared.tidied.fetch_max(minute, Ordering::Relaxed) < minute;
        self.tend(tidy);
        if self.shared.keeping.is_shared() {
            // Whose time it is, is told by the node that claims it (`due`).
            for (ended, ()) in self.shared.table.expire(now.mono, |_| Some(())) {
                self.let_go(&ended.impi);
            }
        }
        for (ended, busy) in self.shared.table.expire(now.mono, |impi| Busy::enter(&self.shared, impi)) {
            let me = self.clone();
            (self.spawn)(Box::pin(async move {
                me.expired(ended).await;
                drop(busy);
            }));
        }
        let unanswered = self.shared.challenges.expire(now.mono);
        if !unanswered.is_empty() {
            let me = self.clone();
            (self.spawn)(Box::pin(async move {
                for (impi, challenge) in unanswered {
                    me.unanswered(&impi, &challenge).await;
                    if me.shared.hss.is_away() {
                        return; // nothing is lost: it keeps no state of those who were not let in
                    }
                }
            }));
        }
        // These are not found any more once their time is over; this only gives the memory back.
        if tidy {
            for impi in self.shared.bootstraps.sweep(now) {
                // One who is registered is saved again with his next change; a shared store lets go by itself.
                let registered = self.shared.table.with(impi.as_str(), |registration| registration.is_some());
                if !registered && !self.shared.keeping.is_shared() {
                    self.keep(&impi);
                }
            }
            self.shared.subscriptions.sweep(now.mono);
        }
    }

    pub(super) async fn unanswered(&self, impi: &Impi, challenge: &Challenge<Memo>) {
        let kind = Assignment::AuthenticationTimeout;
        if let Err(why) = self.shared.hss.server_assignment(impi, challenge.memo.impu(), kind, self.now()).await {
            tracing::debug!(%impi, %why, "the HSS was not told of the unanswered challenge");
        }
    }

    pub(super) async fn expired(&self, ended: Expired) {
        let Expired { impi, registration, leg } = ended;
        self.shared.bootstraps.end_registration(&impi);
        if self.shared.keeping.is_shared() {
            let _ = self.kept(&impi).await; // tells it, now or when the store is back
            return;
        }
        self.keep(&impi);
        if let Some(leg) = leg {
            self.ims_ended(&impi, leg, "expired");
        }
        let Some(impu) = registration.impus.first() else { return };
        tracing::info!(%impi, %impu, "registration expired");
        let kind = Assignment::TimeoutDeregistration;
        if let Err(why) = self.shared.hss.server_assignment(&impi, impu, kind, self.now()).await {
            tracing::warn!(%impi, %why, "the HSS was not told of the expiry");
        }
    }
}

/// How often a broadcast server is told the same thing: with doubling pauses, for some minutes.
const ATTEMPTS: usize = 8;
