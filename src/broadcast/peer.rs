//! Who is at the other end: configured peers, how they are recognised, and which of them may be sent a key.
//!
//! Addresses come from the configuration only. A NAF_ID names an entry of the table of peers; it is never resolved.

use crate::gba::naf_id::NafId;
use crate::sip::transaction::{NextHop, Source, Transport};
use std::net::IpAddr;

/// Over what a key may travel to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyTransport {
    /// TLS with certificates on both sides; on loopback anything.
    #[default]
    MutualTls,
    /// The operator said in words that plaintext will do.
    PlaintextAllowed,
}

/// An address that requests of a peer come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress {
    pub ip: IpAddr,
    /// None: any port (a peer that connects over TCP has no fixed one).
    pub port: Option<u16>,
}

/// A node that this one works with: a broadcast server as the IMS sees it, or the IMS as a broadcast server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name in the configuration.
    pub name: String,
    /// Request-URI for what is sent to it, also its own name in From and P-Asserted-Identity.
    pub uri: String,
    pub hop: NextHop,
    /// FQDNs of the NAFs that it is.
    pub naf_fqdns: Vec<String>,
    /// Certificate names by which it is recognised, beside the one of `hop`.
    pub tls_names: Vec<String>,
    /// Addresses by which it is recognised where no certificate is called for; empty: the address of `hop`,
    /// any port, because nodes send from ports of their own.
    pub addresses: Vec<PeerAddress>,
    pub key_transport: KeyTransport,
    /// In the trust domain (RFC 3325): gets access network and visited network.
    pub trusted: bool,
    /// A broadcast server that tells the HSS of its registrations itself, so that nobody needs to for it.
    pub tells_hss: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyPathError {
    #[error("{hop} is not the configured address of {peer}")]
    NotThePeer { peer: String, hop: String },
    #[error("no key over {hop}: {peer} needs TLS with certificates on both sides, or loopback, or plaintext allowed")]
    Unprotected { peer: String, hop: String },
}

impl Peer {
    /// Whether a request comes from this peer. A peer configured with TLS is recognised by its certificate only,
    /// unless the operator lists addresses for it.
    pub fn is_source(&self, source: &Source) -> bool {
        if source.transport == Transport::Tls && self.names_match(source) {
            return true;
        }
        let from = (source.addr.ip().to_canonical(), source.addr.port());
        if self.addresses.is_empty() {
            return self.hop.transport != Transport::Tls && self.hop.addr.ip().to_canonical() == from.0;
        }
        self.addresses
            .iter()
            .any(|known| known.ip.to_canonical() == from.0 && known.port.is_none_or(|port| port == from.1))
    }

    fn names_match(&self, source: &Source) -> bool {
        source
            .peer_names
            .iter()
            .any(|shown| self.hop.tls_name.iter().chain(&self.tls_names).any(|known| known.eq_ignore_ascii_case(shown)))
    }

    /// Whether this peer is the NAF of that name.
    pub fn is_naf(&self, naf: &NafId) -> bool {
        self.naf_fqdns.iter().any(|fqdn| fqdn.trim_end_matches('.').eq_ignore_ascii_case(naf.fqdn()))
    }

    /// Whether a key that came from there came protected.
    pub fn key_came_protected(&self, source: &Source) -> bool {
        self.key_transport == KeyTransport::PlaintextAllowed
            || source.addr.ip().to_canonical().is_loopback()
            || (source.transport == Transport::Tls && self.names_match(source))
    }
}

/// Whether a key for `peer` may be sent to `hop` (TS 33.220 §4.5.3: the key travels protected, to the NAF only).
pub fn may_carry_key(peer: &Peer, hop: &NextHop) -> Result<(), KeyPathError> {
    let names = || (peer.name.clone(), hop.to_string());
    if hop != &peer.hop {
        let (peer, hop) = names();
        return Err(KeyPathError::NotThePeer { peer, hop });
    }
    // A TLS hop is mutual by construction: the name is verified here, our certificate is shown there.
    let protected = hop.transport == Transport::Tls && hop.tls_name.is_some();
    if protected || hop.addr.ip().to_canonical().is_loopback() || peer.key_transport == KeyTransport::PlaintextAllowed {
        Ok(())
    } else {
        let (peer, hop) = names();
        Err(KeyPathError::Unprotected { peer, hop })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn peer(name: &str, transport: Transport, addr: &str) -> Peer {
        Peer {
            name: name.into(),
            uri: format!("sip:{name}.home1.net"),
            hop: NextHop {
                transport,
                addr: addr.parse().unwrap(),
                tls_name: (transport == Transport::Tls).then(|| format!("{name}.home1.net")),
            },
            naf_fqdns: vec![format!("{name}.home1.net")],
            tls_names: Vec::new(),
            addresses: Vec::new(),
            key_transport: KeyTransport::MutualTls,
            trusted: true,
            tells_hss: false,
        }
    }

    pub(crate) fn source(transport: Transport, addr: &str, names: &[&str]) -> Source {
        Source {
            transport,
            addr: addr.parse().unwrap(),
            local: "127.0.0.1:5060".parse().unwrap(),
            peer_names: names.iter().map(|name| name.to_string()).collect(),
        }
    }

    #[test]
    fn claim_1_negative_key_only_to_the_configured_peer_and_protected() {
        let loopback = peer("bsm", Transport::Udp, "127.0.0.1:5070");
        assert_eq!(may_carry_key(&loopback, &loopback.hop), Ok(()));
        let tls = peer("bsm", Transport::Tls, "192.0.2.1:5061");
        assert_eq!(may_carry_key(&tls, &tls.hop), Ok(()));
        assert!(matches!(may_carry_key(&tls, &loopback.hop), Err(KeyPathError::NotThePeer { .. })));
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut plain = peer("bsm", transport, "192.0.2.1:5060");
            assert!(matches!(may_carry_key(&plain, &plain.hop), Err(KeyPathError::Unprotected { .. })));
            plain.key_transport = KeyTransport::PlaintextAllowed;
            assert_eq!(may_carry_key(&plain, &plain.hop), Ok(()));
        }
        let mut nameless = tls.clone();
        nameless.hop.tls_name = None;
        assert!(may_carry_key(&nameless, &nameless.hop).is_err());
    }

    #[test]
    fn recognised_by_certificate_or_address() {
        let tls = peer("bsm", Transport::Tls, "192.0.2.1:5061");
        assert!(tls.is_source(&source(Transport::Tls, "192.0.2.77:40000", &["x", "BSM.home1.net"])));
        assert!(!tls.is_source(&source(Transport::Tls, "192.0.2.1:40000", &["evil.net"])));
        assert!(!tls.is_source(&source(Transport::Udp, "192.0.2.1:5060", &[])));
        let mut plain = peer("bsm", Transport::Udp, "127.0.0.1:5070");
        assert!(plain.is_source(&source(Transport::Udp, "[::ffff:127.0.0.1]:5070", &[])));
        assert!(!plain.is_source(&source(Transport::Udp, "127.0.0.2:5070", &[])));
        assert!(plain.is_source(&source(Transport::Udp, "127.0.0.1:40000", &[])));
        plain.addresses = vec![PeerAddress { ip: "127.0.0.1".parse().unwrap(), port: Some(5070) }];
        assert!(!plain.is_source(&source(Transport::Udp, "127.0.0.1:5071", &[])));
        assert!(plain.is_source(&source(Transport::Udp, "127.0.0.1:5070", &[])));
    }
}
