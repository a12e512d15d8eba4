//! The node's Diameter side: made before the roles, which send through it and answer on it, and ended after them.

use super::StartError;
use super::worker::BsmShared;
use crate::broadcast::peer::Peer;
use crate::broadcast::server::Bsm;
use crate::broadcast::state::BsmState;
use crate::clock::{Clock, Now};
use crate::config::{BroadcastServer, Config, ForeignHss};
use crate::diameter::dictionary::application;
use crate::diameter::node::{Handle, PeerView, Prepared};
use crate::hss::embedded::EmbeddedHss;
use crate::hss::profile::NAF;
use crate::hss::remote::{self, Push, Pushed, RemoteHss, Users};
use crate::hss::serve::{self, HssServer};
use crate::identity::Impu;
use crate::metrics::Metrics;
use crate::registrar::scscf::sip_uri;
use crate::registrar::table::Table;
use crate::registrar::{Scscf, Shared};
use crate::sip::transport::Tls;
use crate::store::{Nature, Store};
use serde_json::{Value, json};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// So much of what the HSS begins is carried out at once.
const AT_ONCE: usize = 1_000;

/// None: the configuration asks for no Diameter.
pub(super) fn prepare(config: &Config, tls: &Tls, metrics: &Arc<Metrics>) -> Result<Option<Prepared>, StartError> {
    let settings = {
        let bsf = config.bsm.as_ref().map(|bsm| bsm.bsf.as_slice()).unwrap_or_default();
        config.diameter.settings(&config.domain, config.foreign_hss.as_ref(), bsf)
    };
    Ok(settings.map(|settings| Prepared::new(settings, tls.clone(), metrics.clone())).transpose()?)
}

/// The client of the HSS that the configuration names. `server`: URI of the S-CSCF; `peers`: the broadcast servers.
pub(super) fn foreign_hss(
    exchange: Arc<Handle>,
    config: &Config,
    foreign: &ForeignHss,
    server: String,
    peers: &[Peer],
    now: Now,
) -> Arc<RemoteHss> {
    let named = |peer: &Peer| {
        let nafs = peer.naf_fqdns.iter().map(|naf| format!("sip:{naf}"));
        [peer.uri.clone(), format!("sip:{}", peer.hop.addr)].into_iter().chain(nafs).collect::<Vec<_>>()
    };
    let settings = remote::Settings {
        origin: config.diameter.origin(&config.domain, true),
        server,
        domain: config.domain.clone(),
        visited_network: foreign.visited_network.clone(),
        capabilities: foreign.capabilities.clone(),
        vectors: foreign.vectors,
        vector_lifetime: foreign.vector_lifetime,
        users: MAX_USERS,
        broadcast_servers: peers.iter().flat_map(named).collect(),
        host: None,
        realm: foreign.realm.as_deref().map(Arc::from),
        cx: !foreign.cx.is_empty(),
        sh: !foreign.sh.is_empty(),
        zh: !foreign.zh.is_empty(),
    };
    Arc::new(RemoteHss::new(exchange, settings, now))
}

/// Users whose vectors and profiles are held.
const MAX_USERS: usize = 2_000_000;

/// Users of this node, as the HSS names them. On a shared store any node may be told of any user.
struct Known {
    ims: Option<Arc<Table>>,
    bsm: Option<Arc<BsmState>>,
    any: bool,
}

impl Users for Known {
    fn has_private(&self, impi: &str) -> bool {
        let held = |table: &Arc<Table>| table.with(impi, |registered| registered.is_some());
        self.ims.as_ref().is_some_and(|table| self.any || held(table))
    }

    fn has_public(&self, impu: &str) -> bool {
        let registered = self.ims.as_ref().is_some_and(|table| table.private_identity(impu).is_some());
        let with_us = |state: &Arc<BsmState>| state.record(&Impu::from(impu)).is_some();
        self.any || registered || self.bsm.as_ref().is_some_and(with_us)
    }
}

/// The clients' side of a foreign HSS: the S-CSCF's, or the broadcast server's where it is alone.
pub(super) fn pushed(
    remote: Arc<RemoteHss>,
    ims: Option<&Shared>,
    bsm: Option<&BsmShared>,
    users: &dyn Store,
) -> Arc<Pushed> {
    let ims = ims.map(|shared| shared.table.clone());
    let bsm = bsm.map(BsmShared::state).filter(|_| ims.is_none());
    Arc::new(Pushed::new(remote, Known { ims, bsm, any: users.nature() == Nature::Shared }))
}

/// Carries out what the HSS begins, as it comes: a REGISTER soon after finds it done. Each is a job of its own, but those of
/// one user are done one after the other.
pub(super) async fn act(pushed: Arc<Pushed>, scscf: Option<Rc<Scscf>>, bsm: Option<Rc<Bsm>>) {
    let come = Arc::new(Notify::new());
    let came = come.clone();
    pushed.tell(move || came.notify_one());
    // What is more waits in the queue, whose bound the HSS is told of.
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        for push in pushed.take() {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            carry_out(push, place, &pushed, scscf.as_ref(), bsm.as_ref());
        }
        come.notified().await;
    }
}

fn carry_out(
    push: Push,
    place: OwnedSemaphorePermit,
    pushed: &Arc<Pushed>,
    scscf: Option<&Rc<Scscf>>,
    bsm: Option<&Rc<Bsm>>,
) {
    let (pushed, scscf, bsm) = (pushed.clone(), scscf.cloned(), bsm.cloned());
    tokio::task::spawn_local(async move {
        let _place = place;
        match (push, scscf, bsm) {
            (Push::End { impis, impus, reason }, Some(scscf), _) => {
                for impi in impis {
                    scscf.end_by_network(impi, &impus, reason).await;
                }
            }
            (Push::Profile { impi }, Some(scscf), _) => {
                scscf.change_profile(impi.clone(), || pushed.profile(&impi)).await;
            }
            (Push::Unregistered { impu }, ..) if !pushed.is_unregistered(&impu).await => {
                tracing::debug!(%impu, "the user has registered again");
            }
            // The S-CSCF tells its broadcast server.
            (Push::Withdrawn { impu } | Push::Unregistered { impu }, Some(scscf), _) => {
                scscf.end_broadcast(&impu).await;
            }
            (Push::Withdrawn { impu } | Push::Unregistered { impu }, None, Some(bsm)) => bsm.withdrawn(impu).await,
            (_, None, _) => {}
        }
    });
}

/// What is due with the HSS.
pub(super) fn keep_up(pushed: &Arc<Pushed>, now: Now) {
    for job in pushed.due(now) {
        tokio::task::spawn_local(job);
    }
    pushed.maintain(now);
}

/// Who answers foreign nodes from this node's own subscribers: wherever Diameter is spoken. `scscf`: this node's.
pub(super) fn hss_side(
    config: &Config,
    diameter: &Prepared,
    hss: &Arc<EmbeddedHss>,
    scscf: Option<String>,
    broadcast_servers: &[Peer],
    clock: Clock,
) -> Result<Arc<HssServer>, StartError> {
    let foreign = &config.foreign;
    let server = broadcast_servers.first().map(|server| {
        let address = sip_uri(server.hop.transport, server.hop.addr);
        match (config.servers.first(), server.naf_fqdns.first()) {
            // A node of ours that asks has one of its own, at another address, with the same name.
            (Some(BroadcastServer { hop: None, .. }), Some(naf)) => format!("{address};{NAF}={naf}"),
            _ => address,
        }
    });
    let settings = serve::Settings {
        origin: config.diameter.origin(&config.domain, config.foreign_hss.is_some()),
        digest_realm: config.domain.clone(),
        scscf: foreign.scscf.clone().or(scscf),
        broadcast_server: foreign.broadcast_server.clone().or(server),
        services: foreign.services.clone(),
        clients: serve::Clients {
            nafs: config.nafs.iter().map(|naf| naf.host.clone()).collect(),
            ..foreign.clients.clone()
        },
    };
    let server = HssServer::start(hss.clone(), settings, diameter.exchange(), clock);
    server.map_err(|why| StartError::Worker(why.to_string()))
}

/// For `imscript diameter peers`.
pub(super) fn shown(peers: &[PeerView]) -> Value {
    let one = |peer: &PeerView| {
        let name = |id: &u32| application::name(*id).map_or_else(|| id.to_string(), str::to_owned);
        let applications: Vec<String> = peer.applications.iter().map(name).collect();
        json!({
            "name": peer.name, "address": peer.address, "configured": peer.configured, "state": peer.state,
            "standing": peer.standing, "since_seconds": peer.since.as_secs(), "realm": peer.realm,
            "product": peer.product, "applications": applications, "waiting": peer.waiting, "sent": peer.sent,
            "answered": peer.answered, "timeouts": peer.timeouts, "served": peer.served, "connects": peer.connects,
            "ended": peer.ended,
        })
    };
    json!({ "peers": peers.iter().map(one).collect::<Vec<_>>() })
}
