//! One socket of the generator: its share of the terminals and of the window. Responses find their registration by the
//! branch, which names the place in the window and the transaction there.

use super::pacer::Pacer;
use super::stats::LoadReport;
use super::{Asks, Work, kind};
use crate::gba::kdf;
use crate::sip::Message;
use crate::sip::print::insert_via;
use crate::terminal::application::ask_http;
use crate::terminal::connection::{Link, T1, T2, Tls};
use crate::terminal::http::Http;
use crate::terminal::identifiers::Identifiers;
use crate::terminal::register::{Account, Contact, Flow, Portion, Start, Step};
use crate::terminal::registration::{BroadcastState, Registration};
use crate::terminal::{TerminalError, client, connection::ConnectionError};
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often timers are looked at; retransmissions may be late by this.
const TICK: Duration = Duration::from_millis(5);
/// Attempts to reopen a broken connection before the lane gives up.
const REOPENINGS: u32 = 20;

pub(super) struct Plan {
    pub(super) tls: Option<Tls>,
    pub(super) window: usize,
    pub(super) portion: Portion,
    pub(super) asks: Option<Rc<Asks>>,
    pub(super) anonymous: bool,
    pub(super) expires: u32,
    pub(super) timeout: Duration,
    pub(super) pause: Duration,
    /// Registrations that ended, in all lanes.
    pub(super) ended: Rc<Cell<u64>>,
    pub(super) progress: Option<Rc<dyn Fn(u64)>>,
}

struct Terminal {
    account: Account,
    call_id: String,
    cseq: u32,
    contact: String,
    instance: String,
    rounds: u32,
}

/// A registration (or its end) on its way.
struct Place {
    terminal: usize,
    flow: Flow,
    ends: bool,
    /// Which transaction in this place: a late response to an earlier one is a stray.
    transaction: u64,
    request: Vec<u8>,
    /// When it began, or was due.
    began: Instant,
    /// The answer to a challenge waits until then.
    held: Option<(Instant, Vec<u8>)>,
    /// Registered; the broadcast server is being asked.
    asking: bool,
    again: Instant,
    interval: Duration,
    deadline: Instant,
}

pub(super) struct Lane {
    plan: Plan,
    link: Link,
    identifiers: Identifiers,
    branch: String,
    transactions: u64,
    terminals: Vec<Terminal>,
    waiting: VecDeque<usize>,
    places: Vec<Option<Place>>,
    free: Vec<usize>,
    report: LoadReport,
    work: Work,
    end: Option<Instant>,
    pacer: Option<Pacer>,
    /// What the broadcast server said, by transaction.
    answers: (mpsc::UnboundedSender<Asked>, mpsc::UnboundedReceiver<Asked>),
}

struct Asked {
    place: usize,
    transaction: u64,
    outcome: Result<(), TerminalError>,
}

impl Lane {
    pub(super) fn new(plan: Plan, link: Link, accounts: Vec<Account>, identifiers: &mut Identifiers) -> Lane {
        let mut identifiers = identifiers.child();
        let terminals: Vec<Terminal> = accounts
            .into_iter()
            .map(|account| Terminal {
                contact: contact(&account, &link),
                instance: client::instance(&account),
                account,
                call_id: identifiers.fresh(),
                cseq: 0,
                rounds: 0,
            })
            .collect();
        let window = plan.window.min(terminals.len());
        Lane {
            branch: format!("z9hG4bK{}", identifiers.fresh()),
            plan,
            link,
            identifiers,
            transactions: 0,
            waiting: VecDeque::new(),
            terminals,
            places: (0..window).map(|_| None).collect(),
            free: (0..window).rev().collect(),
            report: LoadReport::default(),
            work: Work::RegisterOnce,
            end: None,
            pacer: None,
            answers: mpsc::unbounded_channel(),
        }
    }

    /// What was asked for, or what can be done of it over this server's connection.
    /// `pacer`: says when each is due, in an open loop.
    pub(super) async fn run(&mut self, work: Work, pacer: Option<Pacer>) -> LoadReport {
        self.work = work;
        self.end = match work {
            Work::Until(duration) => Some(Instant::now() + duration),
            _ => None,
        };
        self.pacer = pacer;
        let rounds = match work {
            Work::RegisterOnce => 1,
            Work::Cycles(rounds) => rounds,
            Work::Until(_) => u32::MAX,
        };
        self.terminals.iter_mut().for_each(|terminal| terminal.rounds = rounds);
        self.waiting = (0..self.terminals.len()).collect();
        self.work().await;
        std::mem::take(&mut self.report)
    }

    async fn work(&mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reopenings = 0;
        loop {
            let beat = self.pacer.as_ref().map(Pacer::beat);
            let mut outcome = self.fill().await;
            if outcome.is_ok() {
                if self.free.len() == self.places.len() && !self.may_start() {
                    return;
                }
                let (room, more) = (!self.free.is_empty(), self.may_start());
                let due = async {
                    match beat {
                        Some(beat) if room && more => beat.await,
                        _ => std::future::pending().await,
                    }
                };
                outcome = tokio::select! {
                    received = self.link.receive() => match received {
                        Ok(bytes) => self.received(bytes).await,
                        Err(error) => Err(error),
                    },
                    Some(asked) = self.answers.1.recv() => self.asked(asked).await,
                    () = due => Ok(()),
                    _ = tick.tick() => self.timers().await,
                };
            }
            if let Err(error) = outcome {
                // UDP: an ICMP error, the timers decide. A broken connection takes its registrations with it.
                tick.tick().await;
                if self.link.server().transport.is_reliable() {
                    reopenings += 1;
                    self.lose_all(&error.into());
                    match Link::open(&self.link.server().clone(), self.plan.tls.as_ref()).await {
                        Ok(link) => self.link = link,
                        Err(_) if reopenings < REOPENINGS => tokio::time::sleep(T1).await,
                        Err(_) => return,
                    }
                } else {
                    let _ = self.timers().await;
                }
            }
        }
    }

    /// More is to be begun, now or when the rate allows it.
    fn may_start(&self) -> bool {
        !self.waiting.is_empty() && self.end.is_none_or(|end| Instant::now() < end)
    }

    async fn fill(&mut self) -> Result<(), ConnectionError> {
        while !self.free.is_empty() && self.may_start() {
            let now = Instant::now();
            let began = match &mut self.pacer {
                None => now,
                Some(pacer) => match pacer.take(now) {
                    Some(due) => due,
                    None => break,
                },
            };
            let (Some(terminal), Some(place)) = (self.waiting.pop_front(), self.free.pop()) else { break };
            self.begin(place, terminal, false, began).await?;
        }
        Ok(())
    }

    async fn begin(
        &mut self,
        place: usize,
        terminal: usize,
        ends: bool,
        began: Instant,
    ) -> Result<(), ConnectionError> {
        let Some(ue) = self.terminals.get_mut(terminal) else { return Ok(()) };
        let contact = match ends {
            false => Contact::Bind { uri: ue.contact.clone(), instance: ue.instance.clone() },
            true => Contact::Remove(vec![ue.contact.clone()]),
        };
        let start = Start {
            call_id: ue.call_id.clone(),
            cseq: ue.cseq.saturating_add(1),
            contact,
            expires: if ends { 0 } else { self.plan.expires },
            portion: if ends { Portion::default() } else { self.plan.portion.clone() },
            accept_bodies: false,
            reliable: self.link.server().transport.is_reliable(),
        };
        let mut flow = Flow::new(start, &mut self.identifiers);
        let request = if self.plan.anonymous { flow.anonymous(&ue.account) } else { flow.first(&ue.account) };
        let now = Instant::now();
        let taken = Place {
            terminal,
            flow,
            ends,
            transaction: 0,
            request: Vec::new(),
            began,
            held: None,
            asking: false,
            again: now,
            interval: T1,
            deadline: now,
        };
        if let Some(slot) = self.places.get_mut(place) {
            *slot = Some(taken);
        }
        self.send(place, request).await
    }

    /// Sends the next request of the registration in this place, in a new transaction.
    async fn send(&mut self, place: usize, request: Vec<u8>) -> Result<(), ConnectionError> {
        self.transactions = self.transactions.wrapping_add(1);
        let branch = format!("{}.{place:x}.{:x}", self.branch, self.transactions);
        let Some(taken) = self.places.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        let now = Instant::now();
        taken.transaction = self.transactions;
        taken.interval = T1;
        taken.again = now + T1;
        taken.deadline = now + self.plan.timeout;
        taken.request = insert_via(&request, &self.link.via(&branch));
        self.link.send(&taken.request).await
    }

    async fn received(&mut self, bytes: Vec<u8>) -> Result<(), ConnectionError> {
        let Ok(message) = Message::parse_owned(bytes) else {
            self.report.error("an answer that is not SIP");
            return Ok(());
        };
        if message.is_request() {
            return Ok(()); // notifications are no part of the measurement
        }
        let Some(place) = self.place_of(&message) else {
            self.report.strays += 1;
            return Ok(());
        };
        let Some(taken) = self.places.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        if taken.held.is_some() || taken.asking {
            self.report.strays += 1;
            return Ok(());
        }
        if message.status() < 200 {
            taken.interval = T2;
            return Ok(());
        }
        let Some(ue) = self.terminals.get_mut(taken.terminal) else { return Ok(()) };
        if message.check().is_err() {
            return self.end(place, Err("a malformed answer".to_owned())).await;
        }
        match taken.flow.answer(&mut ue.account, &message) {
            Step::Send(request) if self.plan.pause.is_zero() => self.send(place, request).await,
            Step::Send(request) => {
                let until = Instant::now() + self.plan.pause;
                taken.held = Some((until, request));
                (taken.again, taken.deadline) = (until + T2, until + self.plan.timeout);
                Ok(())
            }
            Step::Registered(done) => {
                if taken.ends {
                    return self.end(place, Ok(())).await;
                }
                self.report.resynchronisations += u64::from(done.resynchronised);
                let checked = check(&done, self.plan.portion.naf.is_some());
                match self.plan.asks.clone().filter(|_| checked.is_ok()) {
                    Some(asks) => self.ask(place, asks, &done).await,
                    None => {
                        self.report.broadcast(done.broadcast.state);
                        self.end(place, checked.map_err(str::to_owned)).await
                    }
                }
            }
            Step::Failed(error) => self.end(place, Err(kind(&error))).await,
        }
    }

    /// Asks the broadcast server, beside all else that this lane does.
    async fn ask(&mut self, place: usize, asks: Rc<Asks>, done: &Registration) -> Result<(), ConnectionError> {
        let Some(taken) = self.places.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        let Some(ue) = self.terminals.get(taken.terminal) else { return Ok(()) };
        let (Some(keys), Some(btid)) = (&done.keys, &done.btid) else {
            return self.end(place, Err("no key for the broadcast server: no AKA run".to_owned())).await;
        };
        taken.asking = true;
        let key = kdf::ks_naf(&keys.ks, &keys.rand, ue.account.impi.as_str(), &asks.naf);
        let (btid, cnonce, transaction) = (btid.text(), self.identifiers.fresh(), taken.transaction);
        let http = Http { timeout: self.plan.timeout, observer: None };
        let answers = self.answers.0.clone();
        tokio::task::spawn_local(async move {
            let asked = ask_http(&http, &asks.url, &asks.naf, &btid, &key, &asks.payload, cnonce).await;
            // The lane may have gone.
            let _ = answers.send(Asked { place, transaction, outcome: asked.map(|_| ()) });
        });
        Ok(())
    }

    /// The broadcast server has answered, or not in time.
    async fn asked(&mut self, asked: Asked) -> Result<(), ConnectionError> {
        let waits = |place: &Place| place.asking && place.transaction == asked.transaction;
        if !self.places.get(asked.place).and_then(Option::as_ref).is_some_and(waits) {
            return Ok(()); // lost with its connection
        }
        let failed = asked.outcome.is_err();
        self.report.broadcast(if failed { BroadcastState::Failed } else { BroadcastState::Registered });
        self.end(asked.place, asked.outcome.map_err(|error| kind(&error))).await
    }

    /// The place whose outstanding transaction this response answers.
    fn place_of(&self, response: &Message<'_>) -> Option<usize> {
        let via = response.top_via().ok()?;
        let tail = std::str::from_utf8(via.branch()?.strip_prefix(self.branch.as_bytes())?).ok()?;
        let (place, transaction) = tail.strip_prefix('.')?.split_once('.')?;
        let place = usize::from_str_radix(place, 16).ok()?;
        let taken = self.places.get(place)?.as_ref()?;
        (u64::from_str_radix(transaction, 16).ok()? == taken.transaction).then_some(place)
    }

    /// The registration in this place is over; its terminal may have more to do.
    async fn end(&mut self, place: usize, outcome: Result<(), String>) -> Result<(), ConnectionError> {
        let Some(over) = self.places.get_mut(place).and_then(Option::take) else { return Ok(()) };
        let Some(ue) = self.terminals.get_mut(over.terminal) else { return Ok(()) };
        ue.cseq = over.flow.cseq();
        let good = outcome.is_ok();
        match outcome {
            Err(kind) => self.report.error(kind),
            Ok(()) if over.ends => self.report.deregistrations += 1,
            Ok(()) => {
                self.report.registrations += 1;
                self.report.took(over.began.elapsed());
            }
        }
        if good && !over.ends && matches!(self.work, Work::Cycles(_)) {
            return self.begin(place, over.terminal, true, Instant::now()).await;
        }
        ue.rounds = ue.rounds.saturating_sub(1);
        if ue.rounds > 0 {
            self.waiting.push_back(over.terminal);
        }
        self.free.push(place);
        self.plan.ended.set(self.plan.ended.get() + 1);
        Ok(())
    }

    async fn timers(&mut self) -> Result<(), ConnectionError> {
        if let Some(progress) = &self.plan.progress {
            progress(self.plan.ended.get());
        }
        let now = Instant::now();
        let repeats = !self.link.server().transport.is_reliable();
        for index in 0..self.places.len() {
            let Some(taken) = self.places.get_mut(index).and_then(Option::as_mut) else { continue };
            if taken.asking {
                // It has its own time.
            } else if taken.held.is_some() {
                if let Some((_, request)) = taken.held.take_if(|(until, _)| *until <= now) {
                    self.send(index, request).await?;
                }
            } else if now >= taken.deadline {
                self.end(index, Err("timeout".to_owned())).await?;
            } else if repeats && now >= taken.again {
                taken.interval = (taken.interval * 2).min(T2);
                taken.again = now + taken.interval;
                self.report.retransmissions += 1;
                self.link.send(&taken.request).await?;
            }
        }
        Ok(())
    }

    fn lose_all(&mut self, error: &TerminalError) {
        for (index, place) in self.places.iter_mut().enumerate() {
            let Some(over) = place.take() else { continue };
            self.report.error(kind(error));
            self.free.push(index);
            self.plan.ended.set(self.plan.ended.get() + 1);
            if let Some(ue) = self.terminals.get_mut(over.terminal) {
                ue.cseq = over.flow.cseq();
                ue.rounds = ue.rounds.saturating_sub(1);
                if ue.rounds > 0 {
                    self.waiting.push_back(over.terminal);
                }
            }
        }
    }
}

/// What a 200 must say beyond what every terminal insists on.
fn check(done: &Registration, broadcast: bool) -> Result<(), &'static str> {
    if !done.contact_listed {
        return Err("200 without our contact");
    }
    if done.expires == 0 {
        return Err("200 with expires 0");
    }
    match done.broadcast.state {
        _ if !broadcast => Ok(()),
        BroadcastState::None => Err("200 without a broadcast registration"),
        BroadcastState::Failed => Err("broadcast registration failed"),
        BroadcastState::Pending | BroadcastState::Registered => Ok(()),
    }
}

fn contact(account: &Account, link: &Link) -> String {
    let transport = link.server().transport;
    let parameter = if transport.is_reliable() { format!(";transport={}", transport.param()) } else { String::new() };
    format!("sip:{}@{}{parameter}", client::user(account), link.local())
}
