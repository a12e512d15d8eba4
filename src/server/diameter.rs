//! The node's Diameter side: made before the roles, which send through it and answer on it, and ended after them.

use super::StartError;
use crate::config::Config;
use crate::diameter::dictionary::application;
use crate::diameter::node::{Handle, PeerView, Prepared};
use crate::hss::Hss;
use crate::metrics::Metrics;
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
