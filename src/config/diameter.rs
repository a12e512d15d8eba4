//! `[diameter]` and `[hss]`: where Diameter is spoken, and a foreign HSS instead of the node's own.

use crate::diameter::Origin;
use crate::diameter::dictionary::application::{CX, SH, ZH, ZN};
use crate::diameter::node::{Accept, Endpoint, PeerSettings, Settings};
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diameter {
    /// Empty: nobody may connect.
    pub listen: Vec<Endpoint>,
    /// None: `hss.DOMAIN`, or with a foreign HSS `scscf.DOMAIN`.
    pub origin_host: Option<String>,
    /// None: the domain.
    pub origin_realm: Option<String>,
    pub accept: Accept,
    /// For a request in all.
    pub request_within: Duration,
    /// Tw of the watchdog.
    pub watchdog: Duration,
}

/// Addresses of a foreign HSS, those before asked first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignHss {
    pub cx: Vec<Endpoint>,
    pub sh: Vec<Endpoint>,
    pub zh: Vec<Endpoint>,
    /// Origin-Hosts of these addresses: another that answers there is not taken.
    pub hosts: Vec<(Endpoint, String)>,
    /// Destination-Realm; None: that of whoever is asked.
    pub realm: Option<String>,
    /// Vectors asked for at once.
    pub vectors: u32,
    /// How long vectors that were not used are good.
    pub vector_lifetime: Duration,
    /// This node is the I-CSCF too: asks with UAR, and names this network where a request names none.
    pub visited_network: Option<String>,
    /// What this node can do as S-CSCF, by the operator's numbers.
    pub capabilities: Vec<u32>,
}

impl Default for ForeignHss {
    fn default() -> Self {
        ForeignHss {
            cx: Vec::new(),
            sh: Vec::new(),
            zh: Vec::new(),
            hosts: Vec::new(),
            realm: None,
            vectors: 3,
            vector_lifetime: Duration::from_secs(3600),
            visited_network: None,
            capabilities: Vec::new(),
        }
    }
}

impl ForeignHss {
    /// Each address once, with all that is asked there.
    fn peers(&self) -> Vec<PeerSettings> {
        let mut peers: Vec<PeerSettings> = Vec::new();
        for (application, endpoints) in [(CX, &self.cx), (SH, &self.sh), (ZH, &self.zh)] {
            for endpoint in endpoints {
                match peers.iter_mut().find(|peer| peer.endpoint == *endpoint) {
                    Some(peer) => peer.applications.push(application),
                    None => peers.push(PeerSettings {
                        endpoint: endpoint.clone(),
                        applications: vec![application],
                        host: self.hosts.iter().find(|(at, _)| at == endpoint).map(|(_, host)| host.clone()),
                    }),
                }
            }
        }
        peers
    }

    /// What a node needs and has no address for. `ims`: it is an S-CSCF or a BSF; `icscf`: an I-CSCF.
    pub fn lacks(&self, ims: bool, icscf: bool) -> Option<&'static str> {
        match (ims, icscf) {
            // With Zh alone the node is a BSF, where nobody registers.
            (true, _) if self.cx.is_empty() && self.zh.is_empty() => Some("cx"),
            (false, true) if self.cx.is_empty() => Some("cx"),
            (false, false) if self.sh.is_empty() => Some("sh"),
            _ => None,
        }
    }

    pub fn add(&mut self, reference: &HssAddress) {
        match reference.application {
            SH => self.sh.push(reference.endpoint.clone()),
            ZH => self.zh.push(reference.endpoint.clone()),
            _ => self.cx.push(reference.endpoint.clone()),
        }
    }
}

/// `cx:tcp:127.0.0.1:3868`, as on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HssAddress {
    application: u32,
    endpoint: Endpoint,
}

impl FromStr for HssAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, endpoint) = text.split_once(':').unwrap_or((text, ""));
        let application = match name.to_ascii_lowercase().as_str() {
            "cx" => CX,
            "sh" => SH,
            "zh" => ZH,
            _ => return Err(format!("{text:?}: an address such as cx:tcp:127.0.0.1:3868; also sh: and zh:")),
        };
        Ok(HssAddress { application, endpoint: endpoint.parse().map_err(|why| format!("{why}"))? })
    }
}

impl Diameter {
    /// Who we are.
    pub fn origin(&self, domain: &str, foreign: bool) -> Origin {
        let role = if foreign { "scscf" } else { "hss" };
        Origin {
            host: self.origin_host.clone().unwrap_or_else(|| format!("{role}.{domain}")),
            realm: self.origin_realm.clone().unwrap_or_else(|| domain.to_owned()),
        }
    }

    /// None: no Diameter is spoken. `bsf`: asked for keys by the broadcast role.
    pub fn settings(&self, domain: &str, hss: Option<&ForeignHss>, bsf: &[Endpoint]) -> Option<Settings> {
        if self.listen.is_empty() && hss.is_none() && bsf.is_empty() {
            return None;
        }
        let mut settings = Settings::new(self.origin(domain, hss.is_some()));
        settings.listen.clone_from(&self.listen);
        settings.accept = self.accept.clone();
        settings.request_within = self.request_within;
        settings.timing.tw = self.watchdog;
        settings.peers = hss.map(ForeignHss::peers).unwrap_or_default();
        settings.peers.extend(bsf.iter().map(|endpoint| PeerSettings {
            endpoint: endpoint.clone(),
            applications: vec![ZN],
            host: None,
        }));
        Some(settings)
    }
}
