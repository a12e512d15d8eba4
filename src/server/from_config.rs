//! What a configuration means to the roles: peers, settings of the S-CSCF, certificates.

use super::StartError;
use crate::broadcast::peer::{Peer, PeerAddress};
use crate::config::{self, Config};
use crate::registrar::Settings;
use crate::registrar::scscf::sip_uri;
use crate::sip::transaction::{NextHop, Transport};
use crate::sip::transport::{Identity, Listen, Tls, TlsFiles};
use std::sync::Arc;

pub(super) fn load_tls(config: &Config) -> Result<Tls, StartError> {
    match &config.tls {
        Some(tls) => {
            let own = Identity { certificate: tls.certificate.clone(), key: tls.key.clone() };
            Ok(Tls::load(&TlsFiles {
                server: Some(own.clone()),
                client: Some(own),
                client_ca: tls.ca.clone(),
                roots: tls.ca.clone(),
                require_client_certificate: false,
            })?)
        }
        None => Ok(Tls::default()),
    }
}

/// Over what this node reaches itself: a stream if it has one, since keys and payloads outgrow datagrams.
pub(super) fn hop_to(listening: &[Listen]) -> Option<NextHop> {
    let best = listening
        .iter()
        .find(|l| l.transport == Transport::Tcp)
        .or_else(|| listening.iter().find(|l| l.transport == Transport::Udp))?;
    let mut addr = best.addr;
    if addr.ip().is_unspecified() {
        let loopback: std::net::IpAddr =
            if addr.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        addr.set_ip(loopback);
    }
    Some(NextHop { transport: best.transport, addr, tls_name: None })
}

/// The configured broadcast servers with their addresses; one without an address is this node's own.
pub(super) fn peers(config: &Config, listening: &[Listen], bsm_listening: &[Listen]) -> Result<Vec<Peer>, StartError> {
    let mut peers = Vec::new();
    for server in &config.servers {
        let hop = match server.hop.clone().or_else(|| hop_to(bsm_listening)) {
            Some(hop) => hop,
            None => return Err(StartError::Config(format!("broadcast server {:?} has no address", server.name))),
        };
        let naf = server.nafs.first().cloned().unwrap_or_default();
        peers.push(Peer {
            name: server.name.clone(),
            uri: format!("sip:{naf}"),
            hop,
            naf_fqdns: server.nafs.clone(),
            tls_names: Vec::new(),
            // This node's own broadcast role may speak from any address of the node.
            addresses: match server.hop {
                Some(_) => Vec::new(),
                None => config::own_addresses(listening).into_iter().map(|ip| PeerAddress { ip, port: None }).collect(),
            },
            key_transport: server.key_transport,
            trusted: true,
            tells_hss: server.tells_hss,
        });
    }
    Ok(peers)
}

/// The IMS server as the broadcast role sees it.
pub(super) fn ims_peer(config: &Config, bsm: &config::Bsm, hop: NextHop) -> Peer {
    Peer {
        name: "ims".into(),
        uri: format!("sip:{}", config.domain),
        hop,
        naf_fqdns: Vec::new(),
        tls_names: Vec::new(),
        addresses: bsm.ims_addresses.iter().map(|ip| PeerAddress { ip: *ip, port: None }).collect(),
        key_transport: bsm.key_transport,
        trusted: true,
        tells_hss: false,
    }
}

pub(super) fn settings(config: &Config, listening: &[Listen], peers: Vec<Peer>) -> Settings {
    let tls = || listening.iter().find(|l| l.transport == Transport::Tls);
    let uri = match (hop_to(listening), tls()) {
        (Some(hop), _) => sip_uri(hop.transport, hop.addr),
        (None, Some(listen)) => sip_uri(listen.transport, listen.addr),
        (None, None) => format!("sip:{}", config.domain),
    };
    Settings {
        domain: config.domain.clone(),
        uri,
        bsf_domain: config.bsf_domain.clone(),
        limits: config.limits,
        aka_algorithms: config.aka_algorithms.clone(),
        digest_algorithms: config.digest_algorithms.clone(),
        trusted_peers: config.trusted_peers.clone(),
        send_ck_ik: config.send_ck_ik,
        key_lifetime: config.key_lifetime,
        short_cut: config.short_cut,
        extension: config.extension,
        broadcast_timeout: config.broadcast_timeout,
        fig6_response_first: config.fig6_response_first,
        servers: peers.into_iter().map(Arc::new).collect(),
    }
}

/// A thread that reads what a store has, beside the traffic.
pub(super) fn reader(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    let started = std::thread::Builder::new().name(name.into()).spawn(work);
    started.map(drop).map_err(|why| StartError::Worker(why.to_string()))
}
