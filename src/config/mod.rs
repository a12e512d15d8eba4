//! The node's configuration (rank 4): one TOML file, unknown keys are errors with file and
//! line ([`raw`]); checked and with defaults filled in, it is a [`Config`].

mod diameter;
mod plugins;
mod raw;
mod store;

use crate::auth::digest::Algorithm;
use crate::broadcast::peer::KeyTransport;
use crate::broadcast::server::Retrieval;
use crate::diameter::node::Endpoint;
use crate::file;
use crate::gba::bootstrap::ShortCut;
use crate::gba::naf_id::NafId;
use crate::gba::zn::Naf;
use crate::hss::serve::{Clients, Service};
use crate::icscf::ScscfEntry;
use crate::policy::lua::Plugins;
use crate::registrar::Limits;
use crate::sip::transaction::{NextHop, Transport};
use crate::sip::transport::Listen;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use diameter::{Diameter, ForeignHss, HssAddress};
pub use raw::ConfigError;
pub(crate) use raw::own_addresses;
pub use store::{Durability, Redis, Store, StoreKind};

/// Longest configuration.
pub(crate) const MAX_TEXT: usize = 1 << 20;

/// What a node does; all on by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub scscf: bool,
    pub bsf: bool,
    pub hss: bool,
    pub bsm: bool,
}

/// A broadcast server that the IMS side knows: the only places that a portion or a key goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadcastServer {
    pub name: String,
    /// The NAF FQDNs that it may have keys for. Several servers may have one in common; the first of them is its
    /// default.
    pub nafs: Vec<String>,
    /// None: the broadcast server of this same node.
    pub hop: Option<NextHop>,
    pub key_transport: KeyTransport,
    /// It tells the HSS of its registrations itself.
    pub tells_hss: bool,
}

/// The broadcast role of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bsm {
    pub listen: Vec<Listen>,
    /// Ua over HTTP (figure 5).
    pub http: Option<SocketAddr>,
    pub naf: NafId,
    /// The IMS server and BSF; None: this same node.
    pub ims: Option<NextHop>,
    /// Addresses that the IMS server's requests come from.
    pub ims_addresses: Vec<IpAddr>,
    pub key_transport: KeyTransport,
    /// The BSF over Diameter, those before asked first; empty: keys come in SIP.
    pub bsf: Vec<Endpoint>,
    pub retrieval: Retrieval,
}

/// The I-CSCF role of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icscf {
    pub listen: Vec<Listen>,
    /// The S-CSCFs that requests may go to.
    pub servers: Vec<ScscfEntry>,
    /// How long one has for its answer before the next is tried.
    pub within: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// CA that peers' certificates are checked against, both ways.
    pub ca: Option<PathBuf>,
}

/// How a running node takes a changed policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// Whether changed files are taken by themselves.
    pub watch: bool,
    /// Percentage of the users that a new generation gets first; 0: all at once.
    pub canary: u8,
    /// Questions that a new generation is asked beside the old one first; 0: none.
    pub shadow: u32,
    /// How long a new generation may be taken back for its faults.
    pub probation: Duration,
    /// Whether the plugins' tests must pass.
    pub require_tests: bool,
}

/// What foreign nodes are told of this node's subscribers over Diameter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Foreign {
    pub clients: Clients,
    /// S-CSCF to be taken first; None: this node's own.
    pub scscf: Option<String>,
    /// For the filter criteria; None: the first that the node knows.
    pub broadcast_server: Option<String>,
    /// Service profiles by name.
    pub services: HashMap<String, Service>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub domain: String,
    pub roles: Roles,
    pub listen: Vec<Listen>,
    pub data_dir: PathBuf,
    pub store: Store,
    pub workers: usize,
    /// Longest that the node takes to end.
    pub drain: Duration,
    /// None: the default policy built in.
    pub policy: Option<PathBuf>,
    /// None: no plugins.
    pub plugins: Option<Plugins>,
    pub reload: Reload,
    pub tls: Option<Tls>,
    /// P-CSCFs of the home network: their integrity-protected and P- headers count.
    pub trusted_peers: Vec<IpAddr>,
    /// Whether the 401 carries ck and ik towards a trusted P-CSCF (TS 24.229 §5.4.1.2.1).
    pub send_ck_ik: bool,
    pub limits: Limits,
    pub aka_algorithms: Vec<Algorithm>,
    pub digest_algorithms: Vec<Algorithm>,
    pub reg_await_auth: Duration,
    pub max_challenges: usize,
    pub bsf_domain: String,
    /// Ub over HTTP.
    pub bsf_http: Option<SocketAddr>,
    /// Over what keys may go on Zn.
    pub bsf_keys: KeyTransport,
    /// Who may ask for keys over Zn.
    pub nafs: Vec<Naf>,
    pub key_lifetime: Duration,
    pub short_cut: ShortCut,
    /// Whether the broadcast extension is recognised at all.
    pub extension: bool,
    /// The broadcast leg's time in all.
    pub broadcast_timeout: Duration,
    /// Figure 6 as printed: the 200 before the service-provisioning message.
    pub fig6_response_first: bool,
    pub servers: Vec<BroadcastServer>,
    pub bsm: Option<Bsm>,
    pub icscf: Option<Icscf>,
    pub diameter: Diameter,
    /// Instead of the node's own.
    pub foreign_hss: Option<ForeignHss>,
    /// For whom this node is the HSS.
    pub foreign: Foreign,
    pub log: String,
    /// Ladder events as JSON lines; "-": standard output.
    pub trace: Option<PathBuf>,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = file::text(path, MAX_TEXT)
            .map_err(|e| ConfigError::Read { path: path.to_path_buf(), why: e.to_string() })?;
        Self::parse(&text, path)
    }

    /// `path` stands in the errors; relative paths in the text are taken from its folder.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse_with(text, path, None, &[])
    }

    /// As [`Config::parse`], with a domain and listeners that count instead of the text's: other defaults hang on them.
    pub fn parse_with(text: &str, path: &Path, domain: Option<&str>, listen: &[Listen]) -> Result<Self, ConfigError> {
        raw::Raw::parse(text, path)?.check(path, domain, listen)
    }

    /// A whole test network on loopback: every role, UDP and TCP on port 5060.
    pub fn all_on_loopback() -> Self {
        match Self::parse("", Path::new("imscript.toml")) {
            Ok(config) => config,
            Err(e) => unreachable!("the built-in defaults are valid: {e}"),
        }
    }
}

impl Roles {
    pub const NAMES: [&'static str; 5] = ["scscf", "bsf", "hss", "bsm", "icscf"];
}

/// `tcp:127.0.0.1:5070` as a next hop; `tls_name` for the certificate.
pub fn next_hop(text: &str, tls_name: Option<&str>) -> Result<NextHop, String> {
    let listen: Listen = text.parse().map_err(|e| format!("{e}"))?;
    if listen.transport == Transport::Tls && tls_name.is_none() {
        return Err("tls needs tls_name, the name in the peer's certificate".into());
    }
    Ok(NextHop { transport: listen.transport, addr: listen.addr, tls_name: tls_name.map(str::to_string) })
}
