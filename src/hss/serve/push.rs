//! What the HSS begins: RTR and PPR to S-CSCFs (TS 29.228 §6.1.3, §6.2), PNR to application servers (TS 29.328 §6.1.4).
//!
//! Changes are handed over without waiting and sent from a thread of their own, many at a time, so that a peer that does
//! not answer holds up nobody. What finds no place is left out and logged: the next change tells the state again.

use super::HssServer;
use super::sh::{Wanted, is_alive};
use crate::clock::Now;
use crate::diameter::cx::{Ppr, Reason, Rtr};
use crate::diameter::dictionary::{application, command};
use crate::diameter::exchange::Destination;
use crate::diameter::fault::tgpp;
use crate::diameter::sh::{DataReference, PushNotificationRequest, User};
use crate::diameter::{ResultCode, Writer, request};
use crate::hss::embedded::foreign::{Change, Entry};
use crate::hss::embedded::{Serving, Watcher};
use crate::hss::repository::SERVICE;
use crate::identity::Impu;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

/// Changes that wait to be told.
const WAITING: usize = 4096;
/// Changes that are being told.
const AT_ONCE: usize = 256;

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
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
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
    while let Some(change) = changes.recv().await {
        let (Ok(place), Some(server)) = (places.clone().acquire_owned().await, server.upgrade()) else { return };
        tokio::task::spawn_local(async move {
            server.push(change).await;
            drop(place);
        });
    }
}

impl HssServer {
    async fn push(&self, change: Change) {
        use DataReference as Data;
        match change {
            Change::Moved(entry, from) => self.terminate(&entry, &from, Reason::NewServerAssigned).await,
            Change::Removed(entry, from) => self.terminate(&entry, &from, Reason::PermanentTermination).await,
            Change::Profile(entry) => {
                self.push_profile(&entry).await;
                let data = [Data::PublicIdentity, Data::InitialFilterCriteria, Data::ChargingInformation];
                self.notify(&entry, &data, None).await;
            }
            Change::State(entry) => self.notify(&entry, &[Data::UserState, Data::ScscfName], None).await,
            Change::Broadcast(entry) => self.notify(&entry, &[Data::RepositoryData], Some(SERVICE)).await,
            Change::Repository(entry, service) => {
                self.notify(&entry, &[Data::RepositoryData], Some(&service)).await;
            }
        }
    }

    /// RTR
    async fn terminate(&self, entry: &Entry, from: &Serving, reason: Reason) {
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
    }

    /// PPR, to who serves the user.
    async fn push_profile(&self, entry: &Entry) {
        let Some(serving) = entry.registration().serving.filter(|serving| !serving.authenticating) else { return };
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
    }

    /// PNR, to all who watch any of `data`. `service`: of which repository data.
    async fn notify(&self, entry: &Entry, data: &[DataReference], service: Option<&str>) {
        let now = self.clock.now().unix.as_secs();
        for watcher in entry.watchers().iter().filter(|watcher| is_alive(watcher, now)) {
            let services: Vec<String> =
                watcher.services.iter().filter(|one| Some(&***one) == service).cloned().collect();
            let watched = |one: &DataReference| {
                watcher.data.contains(&one.number()) && (*one != DataReference::RepositoryData || !services.is_empty())
            };
            let data: Vec<DataReference> = data.iter().copied().filter(watched).collect();
            if !data.is_empty() {
                self.notify_one(entry, watcher, &data, &services).await;
            }
        }
    }

    async fn notify_one(&self, entry: &Entry, watcher: &Watcher, data: &[DataReference], services: &[String]) {
        let wanted = Wanted { data, services, sets: &[], server: watcher.server.as_deref(), changed: true };
        let told = match self.sh_data(entry, wanted).await {
            Ok(told) => told,
            Err(error) => return tracing::warn!(%error, server = watcher.host, "a change cannot be told"),
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
        // Who knows nothing of it, or has been told once, is told no more.
        if watcher.once || [tgpp::USER_UNKNOWN, tgpp::NO_SUBSCRIPTION_TO_DATA].contains(&code) {
            let ended = self.hss.watch(entry, |watchers| watchers.retain(|other| other != watcher)).await;
            ended
                .inspect_err(|error| tracing::warn!(%error, server = watcher.host, "a subscription is not ended"))
                .ok();
        }
    }

    /// What the peer answers.
    async fn send(&self, application: u32, host: &str, realm: &str, request: Writer) -> ResultCode {
        let to = Destination { application, host: Some(host.into()), realm: Some(realm.into()) };
        match self.exchange.send(to, request).await {
            Ok(reply) => reply.message().ok().and_then(|message| message.result().ok()).unwrap_or(UNREADABLE),
            Err(error) => {
                tracing::warn!(host, %error, "a foreign node is not told of a change");
                UNDELIVERED
            }
        }
    }
}

const UNREADABLE: ResultCode = crate::diameter::fault::base::UNABLE_TO_COMPLY;
const UNDELIVERED: ResultCode = crate::diameter::fault::base::UNABLE_TO_DELIVER;
