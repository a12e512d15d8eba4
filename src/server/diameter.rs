//! The node's Diameter side: made before the roles, which send through it and answer on it, and ended after them.

use super::StartError;
use crate::broadcast::peer::Peer;
use crate::clock::Clock;
use crate::config::Config;
use crate::diameter::dictionary::application;
use crate::diameter::exchange::Serve;
use crate::diameter::node::{Handle, PeerView, Prepared};
use crate::hss::Hss;
use crate::hss::embedded::EmbeddedHss;
use crate::hss::serve::{self, HssServer};
use crate::metrics::Metrics;
use crate::registrar::scscf::sip_uri;
use crate::sip::transport::Tls;
use serde_json::{Value, json};
use std::sync::Arc;

/// None: the configuration asks for no Diameter.
pub(super) fn prepare(config: &Config, tls: &Tls, metrics: &Arc<Metrics>) -> Result<Option<Prepared>, StartError> {
    let settings = {
        let bsf = config.bsm.as_ref().map(|bsm| bsm.bsf.as_slice()).unwrap_or_default();
        config.diameter.settings(&config.domain, config.foreign_hss.as_ref(), bsf)
    };
    Ok(settings.map(|settings| Prepared::new(settings, tls.clone(), metrics.clone())).transpose()?)
}

/// The client of the HSS that the configuration names.
pub(super) fn foreign_hss(_exchange: Arc<Handle>, _config: &Config) -> Result<Arc<dyn Hss>, StartError> {
    Err(StartError::Config("[hss]: this program has no client of a foreign HSS (Builder::hss)".into()))
}

/// Who answers foreign nodes from this node's own subscribers: wherever Diameter is spoken. `scscf`: this node's.
pub(super) fn hss_side(
    config: &Config,
    diameter: &Prepared,
    hss: &Arc<EmbeddedHss>,
    scscf: Option<String>,
    broadcast_servers: &[Peer],
    clock: Clock,
) -> Result<Arc<dyn Serve>, StartError> {
    let foreign = &config.foreign;
    let server = broadcast_servers.first().map(|server| sip_uri(server.hop.transport, server.hop.addr));
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
    Ok(server.map_err(|why| StartError::Worker(why.to_string()))?)
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
