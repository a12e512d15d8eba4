//! What an operator says of foreign nodes: service profiles, and what of a subscriber follows from his.

use crate::broadcast::ext::services_text;
use crate::diameter::Origin;
use crate::diameter::cx::{Capabilities, Charging};
use crate::gba::guss::{Guss, MBMS, Uss};
use crate::hss::BroadcastSubscription;
use crate::hss::embedded::Subscriber;
use crate::hss::profile::{
    ApplicationServer, Criterion, ImsSubscription, Match, PublicIdentity, ServiceProfile, Trigger, TriggerPoint,
};
use std::collections::HashMap;
use std::time::Duration;

/// The service profile of who names none.
pub const DEFAULT: &str = "default";

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub origin: Origin,
    /// Of SIP Digest.
    pub digest_realm: String,
    /// SIP URI of this node's own S-CSCF: for who is registered with it, and the first choice for all others.
    pub scscf: Option<String>,
    /// SIP URI of the broadcast server that subscribers to broadcast services are registered with.
    pub broadcast_server: Option<String>,
    /// By name; see [`DEFAULT`].
    pub services: HashMap<String, Service>,
    pub clients: Clients,
}

/// Origin-Hosts of who may ask; where there are none, every peer may.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clients {
    /// Cx: they get vectors and keys.
    pub cscfs: Vec<String>,
    /// Sh
    pub application_servers: Vec<String>,
    /// Zh: they get vectors and keys.
    pub bsfs: Vec<String>,
    /// Peers that are NAFs: where no CSCFs or BSFs are named, they are none all the same.
    pub nafs: Vec<String>,
}

/// A service profile.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Service {
    /// S-CSCF to be taken first, in place of this node's own.
    pub scscf: Option<String>,
    /// What an S-CSCF must and should be able to do (TS 29.228 §6.7).
    pub mandatory: Vec<u32>,
    pub optional: Vec<u32>,
    /// Networks that may be visited; empty: all.
    pub visited: Vec<String>,
    /// Whether who is not registered is served: his requests go to an S-CSCF all the same.
    pub unregistered: bool,
    /// Filter criteria beside that of the broadcast server.
    pub criteria: Vec<Criterion>,
    /// DiameterURIs.
    pub event_charging: Vec<String>,
    pub charging_collection: Vec<String>,
    /// Cards take part in GBA themselves.
    pub gba_u: bool,
    /// Of a bootstrapping.
    pub key_lifetime: Option<Duration>,
    /// Group of the NAFs that the MBMS settings are for.
    pub naf_group: Option<String>,
}

/// The subscriber's own, or that of who names none.
fn service_of<'a>(services: &'a HashMap<String, Service>, subscriber: &Subscriber) -> Option<&'a Service> {
    let name = if subscriber.service.is_empty() { DEFAULT } else { &subscriber.service };
    services.get(name).or_else(|| services.get(DEFAULT))
}

/// What the profile says of the subscriber's card, and of his bootstrappings.
pub fn terms(services: &HashMap<String, Service>, subscriber: &Subscriber) -> Guss {
    let service = service_of(services, subscriber);
    Guss {
        gba_u: service.is_some_and(|service| service.gba_u),
        lifetime: service.and_then(|service| service.key_lifetime),
        ..Guss::default()
    }
}

impl Settings {
    pub fn service(&self, subscriber: &Subscriber) -> Option<&Service> {
        service_of(&self.services, subscriber)
    }

    pub(super) fn capabilities(&self, subscriber: &Subscriber) -> Option<Capabilities<'_>> {
        let service = self.service(subscriber);
        let server = service.and_then(|service| service.scscf.as_deref()).or(self.scscf.as_deref());
        let capabilities = Capabilities {
            mandatory: service.map(|service| service.mandatory.clone()).unwrap_or_default(),
            optional: service.map(|service| service.optional.clone()).unwrap_or_default(),
            servers: server.into_iter().collect(),
        };
        (capabilities != Capabilities::default()).then_some(capabilities)
    }

    pub(super) fn may_visit(&self, subscriber: &Subscriber, network: &[u8]) -> bool {
        let allowed = self.service(subscriber).map_or(&[][..], |service| &service.visited);
        let network = network.trim_ascii();
        // Some put quotes around the name as they found it in P-Visited-Network-ID.
        let bare = network.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(network);
        allowed.is_empty() || allowed.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(bare))
    }

    pub(super) fn serves_unregistered(&self, subscriber: &Subscriber) -> bool {
        self.service(subscriber).is_some_and(|service| service.unregistered)
    }

    /// By priority.
    pub(super) fn criteria(&self, subscriber: &Subscriber) -> Vec<Criterion> {
        let more = self.service(subscriber).map_or(&[][..], |service| &service.criteria);
        let mut criteria: Vec<Criterion> = self.broadcast_criterion(subscriber).into_iter().collect();
        criteria.extend(more.iter().cloned());
        criteria.sort_by_key(|criterion| criterion.priority);
        criteria
    }

    /// Every REGISTER goes to the broadcast server with the terminal's own in it: there the broadcast portion is found.
    /// Who is subscribed to everything has no ServiceInfo, since some S-CSCFs send that in place of the terminal's REGISTER.
    fn broadcast_criterion(&self, subscriber: &Subscriber) -> Option<Criterion> {
        let name = self.broadcast_server.clone().filter(|_| subscriber.broadcast.is_subscribed())?;
        let service_info = match &subscriber.broadcast {
            BroadcastSubscription::Services(ids) => Some(ids.join(" ")),
            _ => None,
        };
        let register = Trigger {
            negated: false,
            groups: vec![0],
            matches: Match::Method("REGISTER".into()),
            registration: Vec::new(),
        };
        Some(Criterion {
            priority: 0,
            trigger: Some(TriggerPoint { conjunctive: false, triggers: vec![register] }),
            server: ApplicationServer {
                name,
                ends_session: false,
                service_info,
                include_request: true,
                include_response: false,
            },
            part: None,
        })
    }

    /// The user profile, an XML document.
    pub(super) fn user_data(&self, subscriber: &Subscriber) -> Vec<u8> {
        let profile = ServiceProfile {
            identities: subscriber.impus.iter().map(|impu| PublicIdentity::new(impu.as_str())).collect(),
            criteria: self.criteria(subscriber),
            ..ServiceProfile::default()
        };
        ImsSubscription { impi: subscriber.impi.clone(), profiles: vec![profile] }.to_xml()
    }

    pub(super) fn charging(&self, subscriber: &Subscriber) -> Option<Charging<'_>> {
        let service = self.service(subscriber)?;
        let charging = Charging {
            event: service.event_charging.first().map(String::as_str),
            event_secondary: service.event_charging.get(1).map(String::as_str),
            collection: service.charging_collection.first().map(String::as_str),
            collection_secondary: service.charging_collection.get(1).map(String::as_str),
        };
        (charging != Charging::default()).then_some(charging)
    }

    /// The security settings: who is subscribed to broadcast services has those of MBMS.
    pub(super) fn guss(&self, subscriber: &Subscriber) -> Guss {
        let service = self.service(subscriber);
        let mbms = subscriber.broadcast.is_subscribed().then(|| Uss {
            id: MBMS.to_owned(),
            kind: 4,
            naf_group: service.and_then(|service| service.naf_group.clone()),
            uids: std::iter::once(subscriber.impi.as_str())
                .chain(subscriber.impus.iter().map(|impu| impu.as_str()))
                .map(str::to_owned)
                .collect(),
            flags: vec![1],
            services: Some(services_text(&subscriber.broadcast)),
        });
        Guss {
            id: Some(subscriber.impi.as_str().to_owned()),
            settings: mbms.into_iter().collect(),
            ..terms(&self.services, subscriber)
        }
    }
}
