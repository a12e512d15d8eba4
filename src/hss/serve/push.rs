//! What the HSS begins: RTR and PPR to S-CSCFs (TS 29.228 §6.1.3, §6.2), PNR to application servers (TS 29.328 §6.1.4).
//!
//! Changes are handed over without waiting and sent from a thread of their own, many at a time, so that a peer that does
//! not answer holds up nobody. What does not get through is tried again for some minutes ([`super::retry`]); what finds no
//! place is left out and logged: the next change tells the state again.

use super::HssServer;
use super::retry::{Attempt, Retries};
use super::sh::{Wanted, is_alive};
use crate::clock::Now;
use crate::diameter::cx::{Ppr, Reason, Rtr};
use crate::diameter::dictionary::{application, command};
use crate::diameter::exchange::Destination;
use crate::diameter::fault::{base, tgpp};
use crate::diameter::sh::{DataReference, PushNotificationRequest, User};
use crate::diameter::{ResultCode, Writer, request};
use crate::hss::HssError;
use crate::hss::embedded::foreign::{Change, Entry};
use crate::hss::embedded::{Serving, Watcher};
use crate::hss::repository::SERVICE;
use crate::identity::Impu;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;

/// Changes that wait to be told.
const WAITING: usize = 4096;
/// Changes that are being told.
const AT_ONCE: usize = 256;
/// How often it is looked for what is to be tried again.
const TICK: Duration = Duration::from_millis(500);

/// Session-Ids (RFC 6733 §8.8).
pub(super) struct Sessions {
    host: String,
    started: u64,
    last: AtomicU32,
}

impl Sessions {
    pub(super) fn new(host: &str, started: Now) -> Self {
        Sessions { host: host.to_owned(), started: started.unix.as_secs(), last: AtomicU32::new(0) }
    }

    fn next(&self) -> String {
        format!("{};{};{};hss", self.host, self.started & 0xffff_ffff, self.last.fetch_add(1, Ordering::Relaxed))
    }
}

/// Hears of changes and sends them until the server is gone.
pub(super) fn start(server: &Arc<HssServer>) -> std::io::Result<()> {
    let (sender, changes) = mpsc::channel(WAITING);
    let told: Weak<HssServer> = Arc::downgrade(server);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name("hss-push".into())
        .spawn(move || LocalSet::new().block_on(&runtime, run(changes, told)))?;
    server.hss.observe(move |change| {
        if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(change) {
            tracing::warn!("more changes of subscribers than can be told to foreign nodes: one is left out");
        }
    });
    Ok(())
}

async fn run(mut changes: mpsc::Receiver<Change>, server: Weak<HssServer>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let (ending, mut ended) = mpsc::unbounded_channel();
    let mut retries: Retries<Push> = Retries::new();
    // What is being told and is not overtaken, by number.
    let mut under_way: HashMap<u64, Rc<Attempt<Push>>> = HashMap::new();
    let mut last = 0_u64;
    // Of its own, so that changes that come all the time do not put it off.
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            change = changes.recv() => match change {
                Some(change) => Event::Change(change),
                None => return,
            },
            Some((number, delivery)) = ended.recv() => Event::Ended(number, delivery),
            _ = tick.tick(), if !retries.is_empty() => Event::Tick,
        };
        let Some(told) = server.upgrade() else { return };
        let now = told.clock.now().mono;
        let attempts = match event {
            Event::Change(change) => {
                let pushes = told.pushes(change);
                for new in &pushes {
                    retries.overtake(|old| new.says_more_than(old));
                    under_way.retain(|_, old| !new.says_more_than(&old.what));
                }
                pushes.into_iter().map(|push| Attempt::first(push, now)).collect()
            }
            Event::Ended(number, delivery) => {
                let attempt = under_way.remove(&number).and_then(Rc::into_inner);
                let failed = attempt.filter(|_| delivery == Delivery::Failed);
                if let Some(push) = failed.and_then(|attempt| retries.failed(attempt, now)) {
                    let (impi, host) = (&push.entry.subscriber().impi, push.host());
                    tracing::warn!(%impi, host, "a foreign node was not told of a change, and will not be");
                }
                continue;
            }
            Event::Tick => retries.due(now),
        };
        for attempt in attempts {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (told, ending) = (told.clone(), ending.clone());
            last += 1;
            let (number, attempt) = (last, Rc::new(attempt));
            under_way.insert(number, attempt.clone());
            tokio::task::spawn_local(async move {
                let delivery = told.deliver(&attempt).await;
                drop(attempt);
                let _ = ending.send((number, delivery));
                drop(place);
            });
        }
    }
}

enum Event {
    Change(Change),
    Ended(u64, Delivery),
    Tick,
}

/// Whether a push came to who it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// It was answered, or is no longer needed.
    Done,
    Failed,
}

/// One thing that one peer is to be told of a subscriber.
#[derive(Debug)]
struct Push {
    /// As he was then.
    entry: Entry,
    what: What,
}

#[derive(Debug)]
enum What {
    Terminate { from: Box<Serving>, reason: Reason },
    Profile,
    Notify { watcher: Box<Watcher>, data: Vec<DataReference>, services: Vec<String> },
}

impl Push {
    fn terminate(entry: Entry, from: Box<Serving>, reason: Reason) -> Self {
        Push { entry, what: What::Terminate { from, reason } }
    }

    fn host(&self) -> &str {
        match &self.what {
            What::Terminate { from, .. } => &from.host,
            What::Profile => "S-CSCF",
            What::Notify { watcher, .. } => &watcher.host,
        }
    }

    /// Whether `old`, which is told as things are when it is told, need not be told after this one.
    fn says_more_than(&self, old: &Push) -> bool {
        let same = self.entry.subscriber().impi == old.entry.subscriber().impi;
        same && match (&self.what, &old.what) {
            (What::Profile, What::Profile) => true,
            (What::Terminate { from: new, .. }, What::Terminate { from: old, .. }) => new.host == old.host,
            (What::Notify { watcher, data, services }, What::Notify { watcher: of, data: old, services: named }) => {
                watcher == of
                    && old.iter().all(|one| data.contains(one))
                    && named.iter().all(|one| services.contains(one))
            }
            _ => false,
        }
    }
}

impl HssServer {
    /// Who is to be told what of a change.
    fn pushes(&self, change: Change) -> Vec<Push> {
        use DataReference as Data;
        match change {
            Change::Moved(entry, from) => vec![Push::terminate(entry, from, Reason::NewServerAssigned)],
            Change::Removed(entry, from) => vec![Push::terminate(entry, from, Reason::PermanentTermination)],
            Change::Profile(entry) => {
                let data = [Data::PublicIdentity, Data::InitialFilterCriteria, Data::ChargingInformation];
                let mut pushes = self.notifications(&entry, &data, None);
                pushes.insert(0, Push { entry, what: What::Profile });
                pushes
            }
            Change::State(entry) => self.notifications(&entry, &[Data::UserState, Data::ScscfName], None),
            Change::Broadcast(entry) => self.notifications(&entry, &[Data::RepositoryData], Some(SERVICE)),
            Change::Repository(entry, service) => self.notifications(&entry, &[Data::RepositoryData], Some(&service)),
        }
    }

    /// One for each who watches any of `data`. `service`: of which repository data.
    fn notifications(&self, entry: &Entry, data: &[DataReference], service: Option<&str>) -> Vec<Push> {
        let now = self.clock.now().unix.as_secs();
        let mut pushes = Vec::new();
        for watcher in entry.watchers().iter().filter(|watcher| is_alive(watcher, now)) {
            let services: Vec<String> =
                watcher.services.iter().filter(|one| Some(&***one) == service).cloned().collect();
            let watched = |one: &DataReference| {
                watcher.data.contains(&one.number()) && (*one != DataReference::RepositoryData || !services.is_empty())
            };
            let data: Vec<DataReference> = data.iter().copied().filter(watched).collect();
            if !data.is_empty() {
                let what = What::Notify { watcher: Box::new(watcher.clone()), data, services };
                pushes.push(Push { entry: entry.clone(), what });
            }
        }
        pushes
    }

    /// Another attempt tells what is so by then.
    async fn deliver(&self, attempt: &Attempt<Push>) -> Delivery {
        let Push { entry, what } = &attempt.what;
        let fresh = match attempt.is_first() {
            true => Some(entry.clone()),
            false => match self.hss.entry(Some(entry.subscriber().impi.as_str()), None, self.clock.now()).await {
                Ok(entry) => Some(entry),
                Err(HssError::UserUnknown) => None,
                Err(_) => return Delivery::Failed,
            },
        };
        match (what, fresh) {
            (What::Terminate { from, reason }, fresh) => {
                let serving = fresh.filter(|_| !attempt.is_first()).and_then(|entry| entry.registration().serving);
                // He has come back to the same one: that registration is not what was to end.
                match serving.is_some_and(|serving| serving.host == from.host) {
                    true => Delivery::Done,
                    false => self.terminate(entry, from, *reason).await,
                }
            }
            (What::Profile, Some(entry)) => self.push_profile(&entry).await,
            (What::Notify { watcher, data, services }, Some(entry)) => match entry.watchers().contains(watcher) {
                true => self.notify(&entry, watcher, data, services).await,
                false => Delivery::Done,
            },
            (What::Profile | What::Notify { .. }, None) => Delivery::Done,
        }
    }

    /// RTR
    async fn terminate(&self, entry: &Entry, from: &Serving, reason: Reason) -> Delivery {
        let subscriber = entry.subscriber();
        let mut rtr =
            request(application::CX, command::REGISTRATION_TERMINATION, &self.sessions.next(), &self.settings.origin);
        Rtr {
            impi: subscriber.impi.as_str(),
            associated: Vec::new(),
            impus: subscriber.impus.iter().map(Impu::as_str).collect(),
            reason,
            info: None,
        }
        .write(&mut rtr);
        let code = self.send(application::CX, &from.host, &from.realm, rtr).await;
        tracing::info!(impi = %subscriber.impi, scscf = from.scscf, reason = reason.as_str(), %code, "S-CSCF told that a registration ends");
        delivery(code)
    }

    /// PPR, to who serves the user.
    async fn push_profile(&self, entry: &Entry) -> Delivery {
        let Some(serving) = entry.registration().serving.filter(|serving| !serving.authenticating) else {
            return Delivery::Done;
        };
        let subscriber = entry.subscriber();
        let mut ppr = request(application::CX, command::PUSH_PROFILE, &self.sessions.next(), &self.settings.origin);
        let document = self.settings.user_data(subscriber);
        Ppr {
            impi: subscriber.impi.as_str(),
            user_data: Some(&document),
            charging: self.settings.charging(subscriber),
            item: None,
        }
        .write(&mut ppr);
        let code = self.send(application::CX, &serving.host, &serving.realm, ppr).await;
        tracing::info!(impi = %subscriber.impi, scscf = serving.scscf, %code, "S-CSCF given a changed profile");
        delivery(code)
    }

    /// PNR
    async fn notify(&self, entry: &Entry, watcher: &Watcher, data: &[DataReference], services: &[String]) -> Delivery {
        let wanted = Wanted { data, services, sets: &[], server: watcher.server.as_deref(), changed: true };
        let told = match self.sh_data(entry, wanted).await {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, server = watcher.host, "a change cannot be told now");
                return Delivery::Failed;
            }
        };
        let mut pnr =
            request(application::SH, command::PUSH_NOTIFICATION, &self.sessions.next(), &self.settings.origin);
        PushNotificationRequest {
            user: User::Public(Impu::from(&*watcher.impu)),
            data: told.write().into_bytes(),
            impi: None,
        }
        .write(&mut pnr);
        let code = self.send(application::SH, &watcher.host, &watcher.realm, pnr).await;
        tracing::debug!(impi = %entry.subscriber().impi, server = watcher.host, %code, "a change is told");
        if delivery(code) == Delivery::Failed {
            return Delivery::Failed;
        }
        // Who knows nothing of it, or has been told once, is told no more.
        if watcher.once || [tgpp::USER_UNKNOWN, tgpp::NO_SUBSCRIPTION_TO_DATA].contains(&code) {
            let ended = self.hss.watch(entry, |watchers| watchers.retain(|other| other != watcher)).await;
            ended
                .inspect_err(|error| tracing::warn!(%error, server = watcher.host, "a subscription is not ended"))
                .ok();
        }
        Delivery::Done
    }

    /// What the peer answers.
    async fn send(&self, application: u32, host: &str, realm: &str, request: Writer) -> ResultCode {
        let to = Destination { application, host: Some(host.into()), realm: Some(realm.into()) };
        match self.exchange.send(to, request).await {
            Ok(reply) => reply.message().ok().and_then(|message| message.result().ok()).unwrap_or(UNREADABLE),
            Err(error) => {
                tracing::info!(host, %error, "a foreign node is not told of a change yet");
                UNDELIVERED
            }
        }
    }
}

/// Whether a push with this answer is done.
fn delivery(code: ResultCode) -> Delivery {
    match code {
        base::UNABLE_TO_DELIVER | base::TOO_BUSY | ResultCode::Base(4000..5000) => Delivery::Failed,
        _ => Delivery::Done,
    }
}

const UNREADABLE: ResultCode = base::UNABLE_TO_COMPLY;
const UNDELIVERED: ResultCode = base::UNABLE_TO_DELIVER;
