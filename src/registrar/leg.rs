//! The broadcast leg of a registration: which server gets what, in which order, and what becomes of it
//! (flows.md 5; the forwarding module's caller).
//!
//! The IMS registration never waits longer than the leg's time, and never falls with it unless the
//! terminal or the policy asked for all or nothing. What did not get through is tried again while Ks lives.

use super::authenticate::{Remembered, refusal_of};
use super::fail_over::Circumstances;
use super::outcome::LegOutcome;
use super::register::Asked;
use super::scscf::{Refusal, Scscf};
use super::table::{Leg, Outstanding};
use super::turn::{Turn, view};
use crate::answer::Task;
use crate::broadcast::ext::{Ext, Mode};
use crate::broadcast::forward::{Forward, KeyPart, ThirdParty};
use crate::broadcast::identify::Portion;
use crate::broadcast::peer::Peer;
use crate::broadcast::server::Retrieval;
use crate::gba::bootstrap::Bootstrap;
use crate::gba::naf_id::NafId;
use crate::hss::{BroadcastState, HssError, Profile, RegState};
use crate::identity::{Impi, Impu, common};
use crate::policy::verdict::{self, KeyMovement, OnFailure, Order};
use crate::policy::{Context, Decide};
use crate::sip::transaction::Source;
use crate::sip::{HeaderName, Message, RequestWriter};
use std::sync::Arc;
use std::time::Duration;

/// One forwarding, owned: it may outlive the request.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) impi: Impi,
    pub(super) impu: Impu,
    pub(super) peer: Arc<Peer>,
    pub(super) naf: NafId,
    pub(super) what: Arc<Outstanding>,
    pub(super) mode: Mode,
    pub(super) expires: u32,
    pub(super) bootstrap: Arc<Bootstrap>,
    /// The leg that this job is for; it gives up when another one has taken its place.
    pub(super) serial: u64,
    pub(super) circumstances: Option<Box<Circumstances>>,
}

/// What came of one forwarding; with the status of the server's answer, if there was one.
pub(super) enum Attempt {
    /// The server answered: its state and body.
    Answered { state: RegState, cause: Option<String>, body: Option<(String, Vec<u8>)>, status: u16 },
    /// Not now: no answer, or one that says so.
    Retry(String, Option<u16>),
    /// The server, or this one, refuses.
    Refused(String, Option<u16>),
    /// Another leg has taken the place of this one.
    Superseded,
}

impl Scscf {
    #[allow(clippy::too_many_arguments)] // the procedure's state at this point, passed once
    pub(super) async fn broadcast_leg(
        &self,
        request: &Message<'_>,
        source: &Source,
        asked: &Asked<'_>,
        turn: &Turn,
        portion: Option<Remembered>,
        profile: &Profile,
        new_key: Option<Arc<Bootstrap>>,
        expires: u32,
    ) -> Result<LegOutcome, Refusal> {
        let standing = self.shared.table.leg(asked.impi.as_str());
        let portion = match (portion, &standing) {
            (Some(Remembered::Portion(portion)), _) => portion,
            (Some(Remembered::Shed { all_or_nothing: true }), _) => {
                return Err(
                    Refusal::because(503, "broadcast portion let go under load").with(HeaderName::RetryAfter, 5)
                );
            }
            (Some(Remembered::Shed { .. }), _) => return Ok(LegOutcome::failed("let go under load")),
            (Some(Remembered::Unproven), _) => return Ok(LegOutcome::failed("not authenticated")),
            // A new Ks: the server that holds a key of the old one gets the new one, unless it has ended things itself.
            (None, Some(leg)) if new_key.is_some() && leg.state != RegState::NotRegistered => {
                Portion { naf: leg.naf.clone(), profile: None, payload: None, btid: None, all_or_nothing: false }
            }
            (None, Some(leg)) => return Ok(LegOutcome::standing(leg)),
            (None, None) => return Ok(LegOutcome::none()),
        };
        let all_or_nothing = portion.all_or_nothing;
        let refuse = |status: u16, cause: &str| match all_or_nothing {
            true => Err(Refusal::because(status, cause)),
            false => Ok(LegOutcome::failed(cause)),
        };
        let subscribed = match turn.verify.subscription {
            verdict::Subscription::Never => Ok(profile.broadcast.is_subscribed()),
            how => self.is_subscribed(&asked.impi, how, &portion).await,
        };
        match subscribed {
            Ok(true) => {}
            Ok(false) => {
                // A subscription that was withdrawn: the server is not to go on with an old key.
                if let Some(leg) = self.shared.table.update_leg(asked.impi.as_str(), Option::take).flatten() {
                    self.ims_ended(&asked.impi, leg, "deactivated");
                }
                return refuse(403, "no broadcast subscription");
            }
            // The IMS registration is made already and does not fall with this question.
            Err(why) => return refuse(refusal_of(why).status, "subscription cannot be checked"),
        }
        let shown = view(&portion);
        let ctx = Context { portion: Some(&shown), ..turn.context(&self.shared, source) };
        let forward = match turn.decide.broadcast(request, &shown, &ctx) {
            verdict::Broadcast::Forward(forward) => forward,
            verdict::Broadcast::Skip { reason } => return refuse(403, &reason),
            verdict::Broadcast::Reject(reject) => {
                return refuse(reject.status, reject.reason.as_deref().unwrap_or("policy"));
            }
        };
        // Keys go to configured servers, and to each only its own: never to a host that the message names.
        let Some(peer) = self.shared.server(&forward.to).filter(|peer| peer.is_naf(&portion.naf)) else {
            return refuse(403, "unknown NAF");
        };
        let all_or_nothing = all_or_nothing || forward.on_failure == OnFailure::Reject;
        let bootstrap = match new_key {
            Some(new) => new,
            None => match self.shared.bootstraps.of_impi(&asked.impi, self.now()) {
                Some(held) => held,
                None => return refuse(403, "no bootstrapping"),
            },
        };
        if forward.order == Order::ByTerminal {
            let state = standing.map_or(RegState::NotRegistered, |leg| leg.state);
            return Ok(LegOutcome { state, asked: true, btid: Some(bootstrap.btid.clone()), ..LegOutcome::none() });
        }
        // A 200 that leaves the broadcast side open is no answer to a terminal that wants both or none.
        let before_200 = all_or_nothing
            || forward.order == Order::Before200
                && !(forward.key == KeyMovement::OnUse && self.shared.settings.fig6_response_first);
        let what = Arc::new(Outstanding {
            profile: portion.profile,
            payload: portion.payload.filter(|_| forward.payload),
            key: forward.key,
        });
        // The server is to know the user by an identity that others may know.
        let barred = profile.barred.contains(&asked.impu);
        let shown = if barred { profile.impus.first() } else { profile.impus.iter().find(|impu| **impu == asked.impu) };
        let shown = shown.unwrap_or(&asked.impu);
        let (serial, impu) = self.open_leg(&asked.impi, shown, peer, &portion.naf, &bootstrap, &what);
        let mut job = Job {
            impi: asked.impi.clone(),
            impu,
            peer: peer.clone(),
            naf: portion.naf,
            what,
            mode: if before_200 { Mode::Simultaneous } else { Mode::Subsequent },
            expires,
            bootstrap: bootstrap.clone(),
            serial,
            circumstances: Circumstances::of(turn, source),
        };
        let btid = Some(bootstrap.btid.clone());
        if !before_200 {
            let told = Some(job.peer.name.clone());
            turn.afterwards.borrow_mut().push(self.forwarding(job, request, false));
            return Ok(LegOutcome { state: RegState::Pending, asked: true, btid, told, ..LegOutcome::none() });
        }
        let attempt = self.attempt_each(&mut job, request, &*turn.decide).await;
        let told = Some(job.peer.name.clone());
        match attempt {
            Attempt::Answered { state: RegState::Failed | RegState::NotRegistered, cause, .. } if all_or_nothing => {
                self.close_leg(&job).await;
                Err(Refusal::because(403, cause.unwrap_or_else(|| "broadcast server".into())))
            }
            Attempt::Answered { state, cause, body, .. } => {
                self.settle(&*turn.decide, &job, state, cause.as_deref(), false).await;
                Ok(LegOutcome { state, asked: true, cause, btid, body, told })
            }
            Attempt::Superseded if all_or_nothing => Err(Refusal::because(403, "superseded")),
            Attempt::Superseded => Ok(LegOutcome { btid, ..LegOutcome::failed("superseded") }),
            Attempt::Refused(cause, _) if all_or_nothing => {
                self.close_leg(&job).await;
                Err(Refusal::because(403, cause))
            }
            Attempt::Refused(cause, _) => {
                self.settle(&*turn.decide, &job, RegState::Failed, Some(&cause), false).await;
                Ok(LegOutcome { btid, told, ..LegOutcome::failed(cause) })
            }
            Attempt::Retry(cause, _) if all_or_nothing => {
                self.close_leg(&job).await;
                Err(Refusal::because(504, cause))
            }
            Attempt::Retry(cause, _) => {
                self.settle(&*turn.decide, &job, RegState::Pending, Some(&cause), true).await;
                let job = Job { mode: Mode::Subsequent, ..job };
                turn.afterwards.borrow_mut().push(self.forwarding(job, request, true));
                Ok(LegOutcome { state: RegState::Pending, asked: true, cause: Some(cause), btid, body: None, told })
            }
        }
    }

    /// Claims 3 and 10: what the HSS says, or said lately where the policy lets that do.
    pub(super) async fn is_subscribed(
        &self,
        impi: &Impi,
        how: verdict::Subscription,
        portion: &Portion,
    ) -> Result<bool, HssError> {
        let mono = self.now().mono;
        let checks = &self.shared.subscriptions;
        match how {
            verdict::Subscription::Never => return Ok(true),
            verdict::Subscription::Cached(age) if checks.is_fresh(impi, age, mono) => return Ok(true),
            _ => {}
        }
        let new_services = how == verdict::Subscription::NewServices;
        let wanted = checks.wanted(portion, new_services);
        if new_services && checks.covers(impi, &wanted, mono) {
            return Ok(true);
        }
        tracing::trace!(target: "ladder", from = "S-CSCF", to = "HSS", what = "UDR broadcast subscription");
        let found = self.shared.hss.broadcast_subscription(impi).await?;
        tracing::trace!(target: "ladder", from = "HSS", to = "S-CSCF", what = "UDA", subscribed = found.is_subscribed());
        let subscribed = found.is_subscribed();
        checks.record(impi, &wanted, found, mono);
        Ok(subscribed)
    }

    /// Puts the leg into the table as pending; an attempt under an older serial gives up from here on. Answers with
    /// the public identity that the server knows the user by: the same for as long as it is the same server.
    pub(super) fn open_leg(
        &self,
        impi: &Impi,
        impu: &Impu,
        peer: &Peer,
        naf: &NafId,
        bootstrap: &Bootstrap,
        what: &Arc<Outstanding>,
    ) -> (u64, Impu) {
        let table = &self.shared.table;
        let serial = self.next_serial(impi);
        let (known_as, left) = table
            .update_leg(impi.as_str(), |held| {
                let before = held.take();
                let (impu, dialog, state, left) = match before {
                    Some(before) if *before.server == *peer.name => {
                        // A server that has the user registered keeps that until it says otherwise.
                        let is_registered = before.state == RegState::Registered;
                        let state = if is_registered { before.state } else { RegState::Pending };
                        (before.impu, before.dialog, state, None)
                    }
                    other => (impu.clone(), ThirdParty::new(&self.shared.settings.domain), RegState::Pending, other),
                };
                *held = Some(Leg {
                    server: common(&peer.name),
                    naf: naf.clone(),
                    impu: impu.clone(),
                    btid: Some(bootstrap.btid.clone()),
                    state,
                    serial,
                    changes: 0,
                    outstanding: Some(what.clone()),
                    dialog,
                });
                (impu, left)
            })
            .unwrap_or_else(|| (impu.clone(), None));
        if let Some(left) = left {
            self.leave_server(impi, left);
        }
        (serial, known_as)
    }

    /// One forwarding.
    pub(super) async fn attempt(&self, job: &Job, trigger: &Message<'_>, within: Duration) -> Attempt {
        let key = job.what.key;
        let document = (key == KeyMovement::Push).then(|| job.bootstrap.key_document(&job.naf));
        let forward = Forward {
            peer: &job.peer,
            scscf: &self.shared.settings.uri,
            impu: &job.impu,
            naf: &job.naf,
            btid: Some(&job.bootstrap.btid),
            mode: job.mode,
            key: match (&document, key) {
                (Some(document), _) => KeyPart::Included(document),
                (None, KeyMovement::OnUse) => KeyPart::OnUse,
                (None, KeyMovement::PullInSip) => KeyPart::Pull(Some(Retrieval::Sip)),
                (None, KeyMovement::PullOverZn) => KeyPart::Pull(Some(Retrieval::Zn)),
                (None, KeyMovement::Push | KeyMovement::Pull) => KeyPart::Pull(None),
            },
            profile: job.what.profile.as_deref(),
            payload: job.what.payload.as_ref(),
            expires: job.expires,
            services: Some(&job.bootstrap.subscription),
            trigger: Some(trigger),
        };
        // Written under the leg's lock, so that two workers never use one CSeq.
        let written = self.shared.table.update_leg(job.impi.as_str(), |leg| {
            leg.as_mut().filter(|l| l.serial == job.serial).map(|l| forward.request(&mut l.dialog))
        });
        let request = match written.flatten() {
            Some(Ok(request)) => request,
            Some(Err(why)) => {
                tracing::warn!(impi = %job.impi, %why, "nothing forwarded");
                return Attempt::Refused("no protected way to the broadcast server".into(), None);
            }
            None => return Attempt::Superseded,
        };
        match self.outbound.request(&job.peer.hop, request, within).await {
            Ok(answer) => read_answer(&answer),
            Err(why) => {
                // The terminal hears that it failed, not where the server is.
                tracing::info!(impi = %job.impi, server = job.peer.name, %why, "broadcast server cannot be had");
                Attempt::Retry("no answer from the broadcast server".into(), None)
            }
        }
    }

    /// The leg as a job of its own, for when the answer is on its way. `again`: one attempt has failed already.
    fn forwarding(&self, job: Job, request: &Message<'_>, again: bool) -> Task {
        let me = self.clone();
        // The job may last as long as Ks: of the terminal's request it keeps what goes along.
        let mut kept = RequestWriter::new("REGISTER", &job.peer.uri);
        for name in [HeaderName::PChargingVector, HeaderName::PAccessNetworkInfo, HeaderName::PVisitedNetworkId] {
            kept.copy(request, name);
        }
        let kept = kept.finish();
        Box::pin(async move {
            let Ok(trigger) = Message::parse_owned(kept) else { return };
            me.forward_until_done(job, &trigger, again).await;
        })
    }

    /// Attempts with growing pauses, until the server has answered, the leg is another's, or Ks is gone.
    pub(super) async fn forward_until_done(&self, job: Job, trigger: &Message<'_>, again: bool) {
        let serial = job.serial;
        if self.shared.keeping.running.insert(serial) {
            self.forward_again_and_again(job, trigger, again).await;
            self.shared.keeping.running.remove(&serial);
        }
    }

    async fn forward_again_and_again(&self, mut job: Job, trigger: &Message<'_>, mut again: bool) {
        let mut pause = Duration::from_secs(1);
        let mut told = again;
        loop {
            if again {
                (self.sleep)(pause).await;
                pause = (pause * 2).min(Duration::from_secs(60));
                job.expires = self.expires_left(&job.impi);
            }
            again = true;
            let current = self.shared.table.leg(job.impi.as_str()).is_some_and(|leg| leg.serial == job.serial);
            if !current || job.expires == 0 {
                return;
            }
            if self.shared.bootstraps.get(&job.bootstrap.btid, self.now()).is_none() {
                let decide = self.decides_for(&job.impi);
                self.settle(&*decide, &job, RegState::Failed, Some("Ks has ended"), false).await;
                return;
            }
            let decide = self.decides_for(&job.impi);
            match self.attempt_each(&mut job, trigger, &*decide).await {
                Attempt::Answered { state, cause, .. } => {
                    return self.settle(&*decide, &job, state, cause.as_deref(), false).await;
                }
                Attempt::Refused(cause, _) => {
                    return self.settle(&*decide, &job, RegState::Failed, Some(&cause), false).await;
                }
                Attempt::Superseded => return,
                Attempt::Retry(cause, _) if !told => {
                    told = true;
                    self.settle(&*decide, &job, RegState::Pending, Some(&cause), true).await;
                }
                // Says to other nodes that this one is at it.
                Attempt::Retry(..) => self.keep(&job.impi),
            }
        }
    }

    /// The leg has a new state: table, HSS, whoever the policy names.
    /// `open`: the server has yet to take what is outstanding.
    async fn settle(&self, decide: &dyn Decide, job: &Job, state: RegState, cause: Option<&str>, open: bool) {
        let previous = self.shared.table.update_leg(job.impi.as_str(), |leg| {
            let leg = leg.as_mut().filter(|l| l.serial == job.serial)?;
            if !open {
                leg.outstanding = None;
            }
            // An answer that leaves the key outstanding does not undo an alert that came in between.
            if state == RegState::Pending && leg.state == RegState::Registered {
                return None;
            }
            Some(std::mem::replace(&mut leg.state, state))
        });
        self.keep(&job.impi);
        if let Some(Some(previous)) = previous {
            if state == RegState::Failed {
                tracing::warn!(impi = %job.impi, server = job.peer.name, cause, "broadcast registration failed");
            }
            self.broadcast_changed(decide, &job.impi, previous, state, cause).await;
        }
    }

    /// All or nothing, and it is nothing. The server may have registered the user although its answer did not come.
    async fn close_leg(&self, job: &Job) {
        let closed = self.shared.table.update_leg(job.impi.as_str(), |leg| leg.take_if(|l| l.serial == job.serial));
        self.keep(&job.impi);
        self.tell_hss(&job.impu, &job.peer.name, &job.naf, None, RegState::NotRegistered).await;
        if let Some(leg) = closed.flatten() {
            self.end_at_server(&job.impi, job.peer.clone(), &leg);
        }
    }

    /// The user has gone to another server.
    pub(super) fn leave_server(&self, impi: &Impi, leg: Leg) {
        if let Some(server) = self.shared.server(&leg.server) {
            self.end_at_server(impi, server.clone(), &leg);
        }
    }

    /// PUR, unless the server does that itself.
    pub(super) async fn tell_hss(
        &self,
        impu: &Impu,
        server: &str,
        naf: &NafId,
        btid: Option<&crate::gba::btid::Btid>,
        state: RegState,
    ) {
        if self.shared.server(server).is_some_and(|peer| peer.tells_hss) {
            return;
        }
        tracing::trace!(target: "ladder", from = "S-CSCF", to = "HSS", what = "PUR broadcast:", state = state.as_str());
        let update = BroadcastState {
            state,
            server: server.to_string(),
            naf_fqdn: naf.fqdn().to_string(),
            btid: btid.map(|b| b.text()),
        };
        if let Err(why) = self.shared.hss.broadcast_update(impu, update, self.now()).await {
            tracing::warn!(%impu, %why, "the HSS does not know of the broadcast registration's state");
        }
    }
}

/// What the broadcast server's answer to a forwarded request says.
fn read_answer(answer: &Message<'_>) -> Attempt {
    let ext = Ext::of(answer).ok().flatten().unwrap_or_default();
    match answer.status() {
        200..=299 => {
            let body = (!answer.body().is_empty()).then(|| {
                let kind = answer.header(HeaderName::ContentType).unwrap_or_default();
                (String::from_utf8_lossy(kind).into_owned(), answer.body().to_vec())
            });
            Attempt::Answered {
                state: ext.state.unwrap_or(RegState::Registered),
                cause: ext.cause,
                body,
                status: answer.status(),
            }
        }
        // What may go better later (RFC 3261 §21.5); the rest is the server's last word.
        408 | 480 | 500 | 503 | 504 => {
            Attempt::Retry(format!("broadcast server answered {}", answer.status()), Some(answer.status()))
        }
        status => {
            let cause = ext.cause.unwrap_or_else(|| format!("broadcast server answered {status}"));
            Attempt::Refused(cause, Some(status))
        }
    }
}
