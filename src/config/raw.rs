//! The file as it is written, and the checks that turn it into a [`Config`].

mod diameter;
mod icscf;
mod service;
mod store;
mod zn;

use super::*;
use crate::policy::finding::Findings;
use serde::{Deserialize, de::IgnoredAny};
use std::ops::Range;
use toml::Spanned;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {why}", path.display())]
    Read { path: PathBuf, why: String },
    #[error("{}:{line}: {why}", path.display())]
    At { path: PathBuf, line: usize, why: String },
    /// Several at once, each with its file and line.
    #[error(transparent)]
    All(#[from] Findings),
}

type Text = Option<Spanned<String>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    domain: Text,
    roles: Option<Vec<Spanned<String>>>,
    listen: Option<Vec<Spanned<String>>>,
    data_dir: Option<PathBuf>,
    workers: Option<Spanned<usize>>,
    policy: Option<PathBuf>,
    /// Read by [`plugins::read`], which keeps the lines of the settings.
    plugins: Option<IgnoredAny>,
    log: Option<String>,
    trace: Option<PathBuf>,
    tls: Option<RawTls>,
    #[serde(default)]
    trusted: RawTrusted,
    #[serde(default)]
    registrar: RawRegistrar,
    #[serde(default)]
    bsf: RawBsf,
    #[serde(default)]
    broadcast: RawBroadcast,
    #[serde(default)]
    broadcast_server: Vec<RawServer>,
    bsm: Option<RawBsm>,
    #[serde(default)]
    reload: RawReload,
    #[serde(default)]
    store: store::RawStore,
    #[serde(default)]
    shutdown: RawShutdown,
    #[serde(default)]
    diameter: diameter::RawDiameter,
    hss: Option<Spanned<diameter::RawHss>>,
    icscf: Option<Spanned<icscf::RawIcscf>>,
    #[serde(default)]
    foreign: service::RawForeign,
    #[serde(default)]
    service: std::collections::BTreeMap<Spanned<String>, service::RawService>,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate: PathBuf,
    key: PathBuf,
    ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrusted {
    #[serde(default)]
    peers: Vec<Spanned<String>>,
    #[serde(default)]
    send_ck_ik: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistrar {
    min_expires: Option<Spanned<u32>>,
    default_expires: Option<Spanned<u32>>,
    max_expires: Option<Spanned<u32>>,
    max_contacts: Option<Spanned<usize>>,
    algorithms: Option<Spanned<Vec<Spanned<String>>>>,
    digest_algorithms: Option<Spanned<Vec<Spanned<String>>>>,
    reg_await_auth: Option<Spanned<u64>>,
    max_challenges: Option<Spanned<usize>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBsf {
    domain: Text,
    key_lifetime: Option<Spanned<u64>>,
    short_cut: Text,
    http: Text,
    keys: Text,
    #[serde(default)]
    naf: Vec<zn::RawNaf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBroadcast {
    extension: Option<bool>,
    timeout: Option<Spanned<f64>>,
    fig6_response_first: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    name: Spanned<String>,
    naf: Vec<Spanned<String>>,
    address: Text,
    tls_name: Option<String>,
    keys: Text,
    tells_hss: Option<Spanned<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBsm {
    listen: Option<Vec<Spanned<String>>>,
    http: Text,
    naf: Text,
    ims: Text,
    tls_name: Option<String>,
    ims_addresses: Option<Vec<Spanned<String>>>,
    keys: Text,
    #[serde(default)]
    bsf: Vec<Spanned<String>>,
    bsf_tls_name: Option<String>,
    key_retrieval: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReload {
    watch: Option<bool>,
    canary: Option<Spanned<u8>>,
    shadow: Option<Spanned<u32>>,
    probation: Text,
    require_tests: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShutdown {
    drain: Text,
}

impl Raw {
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut raw: Raw = toml::from_str(text).map_err(|e| ConfigError::At {
            path: path.to_path_buf(),
            line: line_of(text, e.span()),
            why: e.message().to_string(),
        })?;
        raw.text = text.to_string();
        raw.path = path.to_path_buf();
        Ok(raw)
    }

    fn fault<T>(&self, span: Range<usize>, why: impl ToString) -> Result<T, ConfigError> {
        Err(ConfigError::At { path: self.path.clone(), line: line_of(&self.text, Some(span)), why: why.to_string() })
    }

    /// Applies `read` to a value of the file; its refusal gets the value's line.
    fn read<T, E: ToString>(
        &self,
        v: &Spanned<String>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        read(v.get_ref()).or_else(|e| self.fault(v.span(), e.to_string()))
    }

    fn read_all<T, E: ToString>(
        &self,
        values: &[Spanned<String>],
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, ConfigError> {
        values.iter().map(|v| self.read(v, &read)).collect()
    }

    pub(super) fn check(self, path: &Path, domain: Option<&str>, listen: &[Listen]) -> Result<Config, ConfigError> {
        let beside = |p: PathBuf| match path.parent() {
            Some(folder) if p.is_relative() && p.as_os_str() != "-" => folder.join(p),
            _ => p,
        };
        let domain = match (domain, &self.domain) {
            (Some(text), _) => domain_name(text).or_else(|why| self.fault(0..0, format!("--domain: {why}")))?,
            (None, Some(text)) => self.read(text, domain_name)?,
            (None, None) => "home1.net".to_string(),
        };
        let roles = self.roles()?;
        let listen = match &self.listen {
            _ if !listen.is_empty() => listen.to_vec(),
            Some(list) => self.read_all(list, listen_address)?,
            None if roles.ims() => vec![known("udp:127.0.0.1:5060"), known("tcp:127.0.0.1:5060")],
            None => Vec::new(),
        };
        let bsm = roles.bsm.then(|| self.bsm(&domain, roles, &listen)).transpose()?;
        let servers = self.servers(&domain, bsm.as_ref(), roles)?;
        let mut diameter = self.diameter()?;
        if let (Some(bsm), false, None) = (&bsm, roles.ims(), &diameter.origin_host) {
            diameter.origin_host = Some(bsm.naf.fqdn().to_owned()); // a NAF is known by its own name
        }
        let limits = self.limits()?;
        let algorithms = |list: &Option<Spanned<Vec<Spanned<String>>>>, default: &[Algorithm], aka: bool| match list {
            None => Ok(default.to_vec()),
            Some(list) if list.get_ref().is_empty() => self.fault(list.span(), "one algorithm at least"),
            Some(list) => self.read_all(list.get_ref(), |t| algorithm(t, aka)),
        };
        let aka_algorithms = algorithms(&self.registrar.algorithms, &[Algorithm::Akav1Md5], true)?;
        let digest_algorithms =
            algorithms(&self.registrar.digest_algorithms, &[Algorithm::Md5, Algorithm::Sha256], false)?;
        let timeout = match &self.broadcast.timeout {
            Some(t) if !(0.05..=30.0).contains(t.get_ref()) => {
                return self.fault(t.span(), "timeout: 0.05 to 30 s, since the terminal waits 32 s at most (Timer F)");
            }
            Some(t) => *t.get_ref(),
            None => 5.0,
        };
        let short_cut = match &self.bsf.short_cut {
            Some(text) => self.read(text, short_cut)?,
            None => ShortCut::HomePcscfOnly,
        };
        let available = std::thread::available_parallelism().map_or(1, usize::from).min(256);
        let workers = self.number(&self.workers, "workers", 1..=256, available)?;
        let bsf_domain = match &self.bsf.domain {
            Some(text) => self.read(text, domain_name)?,
            None => format!("bsf.{domain}"),
        };
        let registrar = &self.registrar;
        let reg_await_auth = self.number(&registrar.reg_await_auth, "reg_await_auth", 1..=3600, 240)?;
        let max_challenges = self.number(&registrar.max_challenges, "max_challenges", 1..=100_000_000, 200_000)?;
        let bsf_http = self.http(&self.bsf.http)?;
        if let (Some(text), false) = (&self.bsf.http, roles.bsf) {
            return self.fault(text.span(), "[bsf] http: this node has no bsf role");
        }
        let icscf = self.icscf(roles, &listen)?;
        let key_lifetime = self.number(&self.bsf.key_lifetime, "key_lifetime", 60..=31_536_000, 86_400)?;
        Ok(Config {
            roles,
            listen,
            data_dir: beside(self.data_dir.clone().unwrap_or_else(|| PathBuf::from("imscript-data"))),
            store: self.store(&beside)?,
            workers,
            drain: self.drain()?,
            policy: self.policy.clone().map(beside),
            plugins: self.plugins.map(|_| plugins::read(&self.text, path, beside)).transpose()?.flatten(),
            reload: self.reload()?,
            tls: self.tls.as_ref().map(|t| Tls {
                certificate: beside(t.certificate.clone()),
                key: beside(t.key.clone()),
                ca: t.ca.clone().map(beside),
            }),
            trusted_peers: self.read_all(&self.trusted.peers, ip_address)?,
            send_ck_ik: self.trusted.send_ck_ik,
            limits,
            aka_algorithms,
            digest_algorithms,
            reg_await_auth: Duration::from_secs(reg_await_auth),
            max_challenges,
            bsf_domain,
            bsf_http,
            bsf_keys: self.key_transport(&self.bsf.keys)?,
            nafs: self.nafs(roles)?,
            key_lifetime: Duration::from_secs(key_lifetime),
            short_cut,
            extension: self.broadcast.extension.unwrap_or(true),
            broadcast_timeout: Duration::from_secs_f64(timeout),
            fig6_response_first: self.broadcast.fig6_response_first.unwrap_or(false),
            servers,
            bsm,
            icscf,
            diameter,
            foreign_hss: self.foreign_hss(roles)?,
            foreign: self.foreign(&beside)?,
            log: self.log.clone().unwrap_or_else(|| "info".into()),
            trace: self.trace.clone().map(beside),
            domain,
        })
    }

    fn roles(&self) -> Result<Roles, ConfigError> {
        let Some(list) = &self.roles else {
            return Ok(Roles { scscf: true, bsf: true, hss: true, bsm: true });
        };
        let mut roles = Roles { scscf: false, bsf: false, hss: false, bsm: false };
        let mut icscf = false;
        for role in list {
            match role.get_ref().as_str() {
                "scscf" => roles.scscf = true,
                "bsf" => roles.bsf = true,
                "hss" => roles.hss = true,
                "bsm" => roles.bsm = true,
                "icscf" => icscf = true,
                other => {
                    let names = Roles::NAMES.join(", ");
                    return self.fault(role.span(), format!("unknown role {other:?}, expected one of {names}"));
                }
            }
        }
        let span = list.first().map_or(0..0, Spanned::span);
        if !roles.ims() && !roles.bsm && !icscf {
            return self.fault(span, "a node needs scscf (with bsf and hss), bsm or icscf among its roles");
        }
        if roles.ims() && !(roles.scscf && roles.bsf && roles.hss) {
            return self.fault(span, "scscf, bsf and hss go together in one node in this version");
        }
        Ok(roles)
    }

    fn reload(&self) -> Result<Reload, ConfigError> {
        let raw = &self.reload;
        let probation = match &raw.probation {
            Some(text) => self.read(text, |text| {
                within(text, Duration::from_secs(3600))
                    .ok_or("probation: a time such as \"30s\" or \"5m\", 1 h at most")
            })?,
            None => Duration::from_secs(30),
        };
        Ok(Reload {
            watch: raw.watch.unwrap_or(true),
            canary: self.number(&raw.canary, "canary", 0..=99, 0)?,
            shadow: self.number(&raw.shadow, "shadow", 0..=10_000, 0)?,
            probation,
            require_tests: raw.require_tests.unwrap_or(true),
        })
    }

    fn drain(&self) -> Result<Duration, ConfigError> {
        let most = Duration::from_secs(300);
        let drain = |text: &str| within(text, most);
        match &self.shutdown.drain {
            Some(text) => self.read(text, |text| drain(text).ok_or("drain: a time such as \"5s\", 5 minutes at most")),
            None => Ok(Duration::from_secs(5)),
        }
    }

    fn limits(&self) -> Result<Limits, ConfigError> {
        let raw = &self.registrar;
        let day = 86_400;
        let min_expires = self.number(&raw.min_expires, "min_expires", 1..=day, 60)?;
        let max_expires = self.number(&raw.max_expires, "max_expires", min_expires..=366 * day, 600_000)?;
        let default = 3600.clamp(min_expires, max_expires);
        let default_expires =
            self.number(&raw.default_expires, "default_expires", min_expires..=max_expires, default)?;
        let max_contacts = self.number(&raw.max_contacts, "max_contacts", 1..=100, 10)?;
        Ok(Limits { min_expires, default_expires, max_expires, max_contacts })
    }

    /// A number of the file within its bounds, or what holds without it.
    fn number<N: PartialOrd + Copy + std::fmt::Display>(
        &self,
        value: &Option<Spanned<N>>,
        name: &str,
        bounds: std::ops::RangeInclusive<N>,
        default: N,
    ) -> Result<N, ConfigError> {
        match value {
            Some(n) if !bounds.contains(n.get_ref()) => {
                self.fault(n.span(), format!("{name}: {} to {}", bounds.start(), bounds.end()))
            }
            Some(n) => Ok(*n.get_ref()),
            None => Ok(default),
        }
    }

    fn servers(&self, domain: &str, bsm: Option<&Bsm>, roles: Roles) -> Result<Vec<BroadcastServer>, ConfigError> {
        let mut servers: Vec<BroadcastServer> = Vec::new();
        for raw in &self.broadcast_server {
            let name = raw.name.get_ref().clone();
            if name.is_empty() || name == "ims" || servers.iter().any(|s| s.name == name) {
                return self.fault(raw.name.span(), "name: must be there, unique, and not \"ims\"");
            }
            if raw.naf.is_empty() {
                return self.fault(raw.name.span(), "naf: one at least, what it is asked for by");
            }
            let nafs = self.read_all(&raw.naf, |t| naf_fqdn(t).map(|n| n.fqdn().to_string()))?;
            let hop = match &raw.address {
                Some(text) => Some(self.read(text, |t| next_hop(t, raw.tls_name.as_deref()))?),
                None if bsm.is_some() => None,
                None => return self.fault(raw.name.span(), "address is missing (this node has no bsm role)"),
            };
            // Several may be one NAF, for fail-over and weighted splits; but who speaks must be told by its address.
            if let Some(other) = servers.iter().find(|s| s.hop == hop && s.nafs.iter().any(|naf| nafs.contains(naf))) {
                let why = format!("same address and NAF as {:?}: nobody could tell the two apart", other.name);
                return self.fault(raw.name.span(), why);
            }
            let tells_hss = match &raw.tells_hss {
                Some(tells) if *tells.get_ref() && hop.is_none() => {
                    return self
                        .fault(tells.span(), "tells_hss: for a server in a node of its own; this one tells the HSS");
                }
                tells => tells.as_ref().is_some_and(|tells| *tells.get_ref()),
            };
            let key_transport = self.key_transport(&raw.keys)?;
            servers.push(BroadcastServer { name, nafs, hop, key_transport, tells_hss });
        }
        if servers.is_empty() && roles.ims() && bsm.is_some() {
            let nafs = vec![bsm.map_or_else(|| format!("bsm.{domain}"), |b| b.naf.fqdn().to_string())];
            servers.push(BroadcastServer {
                name: "bsm".into(),
                nafs,
                hop: None,
                key_transport: KeyTransport::MutualTls,
                tells_hss: false,
            });
        }
        Ok(servers)
    }

    fn bsm(&self, domain: &str, roles: Roles, ims_listen: &[Listen]) -> Result<Bsm, ConfigError> {
        let none = RawBsm::default();
        let raw = self.bsm.as_ref().unwrap_or(&none);
        let naf = match &raw.naf {
            Some(text) => self.read(text, naf_fqdn)?,
            None => match naf_fqdn(&format!("bsm.{domain}")) {
                Ok(naf) => naf,
                Err(why) => return self.fault(0..0, why),
            },
        };
        let ims = raw.ims.as_ref().map(|t| self.read(t, |t| next_hop(t, raw.tls_name.as_deref()))).transpose()?;
        if ims.is_none() && !roles.ims() {
            return self
                .fault(0..0, "[bsm] ims is missing: the address of the IMS server, such as \"tcp:127.0.0.1:5060\"");
        }
        let listen = match &raw.listen {
            Some(list) => self.read_all(list, listen_address)?,
            // A broadcast node of its own listens where the file says `listen`; in a whole network it gets ports of its own.
            None if !roles.ims() && !ims_listen.is_empty() => ims_listen.to_vec(),
            None if !roles.ims() => vec![known("udp:127.0.0.1:5070"), known("tcp:127.0.0.1:5070")],
            None => vec![known("tcp:127.0.0.1:0")],
        };
        let ims_addresses = match (&raw.ims_addresses, &ims) {
            (Some(list), _) => self.read_all(list, ip_address)?,
            // An IMS server with TLS is known by its certificate; its address alone would let anyone there speak for it.
            (None, Some(hop)) if hop.transport == Transport::Tls => Vec::new(),
            (None, Some(hop)) => vec![hop.addr.ip()],
            // The same node: what it sends itself comes from an address of its own.
            (None, None) => own_addresses(ims_listen),
        };
        let http = self.http(&raw.http)?;
        let key_transport = self.key_transport(&raw.keys)?;
        let (bsf, retrieval) = self.retrieval(raw)?;
        Ok(Bsm { listen, http, naf, ims, ims_addresses, key_transport, bsf, retrieval })
    }

    fn http(&self, text: &Text) -> Result<Option<SocketAddr>, ConfigError> {
        let address = |text: &str| text.parse::<SocketAddr>().map_err(|_| "http: an address such as 127.0.0.1:8080");
        text.as_ref().map(|text| self.read(text, address)).transpose()
    }

    fn key_transport(&self, text: &Text) -> Result<KeyTransport, ConfigError> {
        match text {
            None => Ok(KeyTransport::MutualTls),
            Some(text) => self.read(text, |t| match t {
                "mutual-tls" => Ok(KeyTransport::MutualTls),
                "plaintext-allowed" => Ok(KeyTransport::PlaintextAllowed),
                _ => Err("keys: \"mutual-tls\" (loopback needs none) or \"plaintext-allowed\""),
            }),
        }
    }
}

impl Roles {
    pub fn ims(self) -> bool {
        self.scscf || self.bsf || self.hss
    }
}

/// Loopback, and where the node listens.
pub(crate) fn own_addresses(listen: &[Listen]) -> Vec<IpAddr> {
    let loopback = [IpAddr::from(std::net::Ipv4Addr::LOCALHOST), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)];
    loopback.into_iter().chain(listen.iter().map(|l| l.addr.ip()).filter(|ip| !ip.is_unspecified())).collect()
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let end = span.map_or(0, |s| s.start).min(text.len());
    text.as_bytes()[..end].iter().filter(|b| **b == b'\n').count() + 1
}

/// A time of at most so much.
fn within(text: &str, most: Duration) -> Option<Duration> {
    seconds(text).filter(|time| *time <= most)
}

/// `500ms`, `30s`, `5m`, `1h`, up to a day.
fn seconds(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let time = match text.get(digits..)? {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    };
    (time <= Duration::from_secs(86_400)).then_some(time)
}

fn domain_name(text: &str) -> Result<String, String> {
    NafId::new(text, crate::gba::naf_id::UaId::MBMS)
        .map(|n| n.fqdn().to_string())
        .map_err(|e| format!("domain {text:?}: {}", e.why))
}

fn naf_fqdn(text: &str) -> Result<NafId, String> {
    NafId::parse(text).map_err(|e| e.to_string())
}

fn listen_address(text: &str) -> Result<Listen, String> {
    text.parse::<Listen>().map_err(|e| e.to_string())
}

fn known(text: &str) -> Listen {
    match text.parse() {
        Ok(listen) => listen,
        Err(_) => unreachable!("a constant of this file"),
    }
}

fn ip_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IP address"))
}

fn algorithm(text: &str, aka: bool) -> Result<Algorithm, String> {
    match Algorithm::from_bytes(text.as_bytes()) {
        Some(algorithm) if algorithm.is_aka() == aka => Ok(algorithm),
        _ if aka => Err(format!("{text:?}: AKAv1-MD5, AKAv2-MD5 or AKAv2-SHA-256")),
        _ => Err(format!("{text:?}: MD5 or SHA-256")),
    }
}

fn short_cut(text: &str) -> Result<ShortCut, &'static str> {
    match text {
        "home-pcscf-only" => Ok(ShortCut::HomePcscfOnly),
        "always" => Ok(ShortCut::Always),
        "off" => Ok(ShortCut::Off),
        _ => Err("short_cut: \"home-pcscf-only\", \"always\" or \"off\""),
    }
}
