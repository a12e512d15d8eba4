//! A node (rank 5): sockets, workers, roles put together from a [`Config`].
//!
//! One current-thread runtime per worker; each has its own sockets (SO_REUSEPORT), its own policy VM and its own
//! S-CSCF and broadcast server objects on state that all share. A program that embeds the crate makes a node the same
//! way ([`Node::builder`]) and may answer the stages itself.

pub mod control;
mod drain;
pub(crate) mod receive;
mod reload;
mod steer;
pub mod systemd;
mod ua;
mod worker;

use crate::broadcast::peer::{Peer, PeerAddress};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::gba::bootstrap::Bootstraps;
use crate::hss::Hss;
use crate::hss::embedded::EmbeddedHss;
use crate::metrics::Metrics;
use crate::observe::trace::Tracer;
use crate::policy::lua::{Env, Generation, Host};
use crate::policy::native::{Maker, NativeError};
use crate::policy::{Decide, Plugin, ServerView};
use crate::registrar::scscf::sip_uri;
use crate::registrar::{Settings, Shared};
use crate::sip::transaction::{NextHop, Transport};
use crate::sip::transport::{self, Identity, Listen, Sockets, Tls, TlsFiles};
use crate::store::space::Spaces;
use control::protocol::{Answer, Problem};
use control::{Control, ControlSocket};
pub use drain::Life;
pub use reload::Tests;
use reload::{Following, Jobs, Origin, Reloader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] transport::BindError),
    #[error("tls: {0}")]
    Tls(#[from] transport::TlsError),
    #[error("policy: {0}")]
    Policy(#[from] crate::policy::lua::PolicyError),
    /// Policies and plugins that are not taken, a line each.
    #[error("policy: {0}")]
    Refused(#[from] crate::policy::finding::Findings),
    #[error("plugin: {0}")]
    Plugin(#[from] NativeError),
    #[error("data: {0}")]
    Store(#[from] crate::store::space::SpaceError),
    #[error("data: {0}")]
    Data(#[from] crate::hss::embedded::EmbeddedError),
    #[error("cannot listen on http {addr}: {why}")]
    Http { addr: SocketAddr, why: std::io::Error },
    #[error(transparent)]
    Control(#[from] control::ControlError),
    #[error(transparent)]
    Watch(#[from] crate::policy::lua::watch::WatchError),
    #[error("worker: {0}")]
    Worker(String),
    #[error("{0}")]
    Config(String),
}

/// Makes the policy of one worker, on that worker's thread.
pub type PolicyMaker = Arc<dyn Fn(&Env) -> Result<Rc<dyn Decide>, StartError> + Send + Sync>;

/// A node about to start.
pub struct Builder {
    config: Config,
    tracer: Option<Tracer>,
    hss: Option<Arc<dyn Hss>>,
    policy: Option<PolicyMaker>,
    tests: Option<Tests>,
    following: Option<Following>,
    steered: bool,
    plugins: Vec<Result<Maker, NativeError>>,
}

impl Builder {
    /// Adds a plugin in Rust to the chain, beside those in Lua and the operator's policy. `make` is called once at once,
    /// to learn the plugin's name and place, and once on each worker's thread.
    pub fn plugin<P: Plugin + 'static>(mut self, make: impl Fn() -> P + Send + Sync + 'static) -> Self {
        self.plugins.push(Maker::new(make));
        self
    }

    /// Answers the stages in Rust instead of Lua, all of them: plugins have no place beside it. Called once on each
    /// worker's thread.
    pub fn policy<D: Decide + 'static>(mut self, make: impl Fn() -> D + Send + Sync + 'static) -> Self {
        self.policy = Some(Arc::new(move |_| Ok(Rc::new(make()))));
        self
    }

    /// Uses this HSS instead of the embedded one.
    pub fn hss(mut self, hss: Arc<dyn Hss>) -> Self {
        self.hss = Some(hss);
        self
    }

    /// Has every SIP message written to a trace.
    pub fn trace(mut self, tracer: Option<Tracer>) -> Self {
        self.tracer = tracer;
        self
    }

    /// Runs the tests of every generation that is to be taken by a reload.
    pub fn tests(mut self, tests: Tests) -> Self {
        self.tests = Some(tests);
        self
    }

    /// Reads the configuration again at every reload, for what it says of policy and plugins; `file` is where it stands.
    pub fn following(
        mut self,
        file: PathBuf,
        read: impl Fn() -> Result<Config, String> + Send + Sync + 'static,
    ) -> Self {
        self.following = Some(Following { file, read: Box::new(read) });
        self
    }

    /// Opens the control socket in the data folder, and takes changed policy files if `reload.watch` says so.
    pub fn steered(mut self) -> Self {
        self.steered = true;
        self
    }

    pub fn start(self) -> Result<Node, StartError> {
        Node::assemble(self)
    }
}

/// A running node.
pub struct Node {
    listening: Vec<Listen>,
    bsm_listening: Vec<Listen>,
    http: Option<SocketAddr>,
    policy_name: String,
    workers: Vec<JoinHandle<()>>,
    stop: watch::Sender<Option<Duration>>,
    hss: Option<Arc<EmbeddedHss>>,
    store: Arc<Spaces>,
    metrics: Arc<Metrics>,
    control: Option<Control>,
    reloader: Option<Reloader>,
    life: Arc<Life>,
    ims: Option<Arc<Shared>>,
    clock: Clock,
}

/// Where a worker's answers come from.
enum Decides {
    /// A policy that is compiled in.
    Given(PolicyMaker),
    /// This generation first, and what the loader has the worker do then.
    Generation(Arc<Generation>, Jobs),
}

/// All that a worker gets; made before any of them starts.
struct Parts {
    sockets: Sockets,
    tls: Tls,
    clock: Clock,
    tracer: Option<Tracer>,
    policy: Decides,
    plugins: Arc<[Maker]>,
    views: Arc<[ServerView]>,
    host: Arc<Host>,
    ims: Option<Arc<Shared>>,
    bsm: Option<Arc<worker::BsmShared>>,
    /// Where requests for the broadcast role come in; anything else is the IMS's, if it is here.
    bsm_addresses: Arc<[SocketAddr]>,
    embedded: Option<Arc<EmbeddedHss>>,
    /// Most that it accepts at a time.
    connections: usize,
    /// Number of the worker; the first, 0, also keeps the timers of the whole node.
    index: usize,
    life: Arc<Life>,
    http: Option<std::net::TcpListener>,
}

impl Node {
    pub fn builder(config: Config) -> Builder {
        let plugins = Vec::new();
        Builder { config, tracer: None, hss: None, policy: None, plugins, tests: None, following: None, steered: false }
    }

    fn assemble(builder: Builder) -> Result<Node, StartError> {
        let Builder { config, tracer, hss, policy, plugins, tests, following, steered } = builder;
        let plugins: Arc<[Maker]> = plugins.into_iter().collect::<Result<_, _>>()?;
        let clock = Clock::new();
        let workers = config.workers;
        let tls = load_tls(&config)?;
        let ims_listen: &[Listen] = if config.roles.ims() { &config.listen } else { &[] };
        let (mut sockets, listening) = transport::bind(ims_listen, workers, &tls)?;
        let bsm_listen = config.bsm.as_ref().map_or(&[][..], |b| &b.listen);
        let (bsm_sockets, bsm_listening) = transport::bind(bsm_listen, workers, &tls)?;
        for (all, more) in sockets.iter_mut().zip(bsm_sockets) {
            all.merge(more);
        }
        let origin = match (&policy, plugins.first()) {
            (None, _) => Some(Origin::open(&config, &plugins, tests, following)?),
            (Some(_), None) => None,
            (Some(_), Some(plugin)) => {
                let name = plugin.name();
                let why = format!(
                    "plugin {name:?} would never be asked: the program answers all stages itself (Builder::policy)"
                );
                return Err(StartError::Config(why));
            }
        };
        let control = steered.then(|| ControlSocket::open(&config.data_dir)).transpose()?;
        let policy_name = origin.as_ref().map_or_else(|| "(embedded)".into(), |origin| origin.name.clone());
        let mut embedded = None;
        let hss = match hss {
            Some(hss) => Some(hss),
            None if config.roles.hss => {
                let opened = EmbeddedHss::open(&config.data_dir, 0, clock.now())?;
                // Contacts live in memory: what an earlier run registered is reached no more.
                opened.forget_registrations(clock.now());
                embedded = Some(opened.clone());
                Some(opened as Arc<dyn Hss>)
            }
            None => None,
        };
        // Scripts that an operator put there may keep things; the built-in policy keeps nothing.
        let store = match config.policy.is_some() || config.plugins.is_some() {
            true => Spaces::open(&config.data_dir)?,
            false => Spaces::in_memory(),
        };
        let host = Arc::new(Host::new(Arc::default(), store.clone(), hss.clone()));
        let peers = peers(&config, &listening, &bsm_listening)?;
        let views: Arc<[ServerView]> =
            peers.iter().map(|p| ServerView { name: p.name.clone(), naf_fqdns: p.naf_fqdns.clone() }).collect();
        let ims = match (&hss, config.roles.scscf) {
            (Some(hss), true) => {
                let settings = settings(&config, &listening, peers.clone());
                let bootstraps = Arc::new(Bootstraps::new(MAX_BOOTSTRAPS));
                let shared =
                    Shared::new(settings, hss.clone(), bootstraps, config.max_challenges, config.reg_await_auth, clock);
                Some(Arc::new(shared))
            }
            _ => None,
        };
        let bsm = match &config.bsm {
            Some(bsm) => {
                let ims_hop = bsm.ims.clone().or_else(|| hop_to(&listening));
                let ims_hop =
                    ims_hop.ok_or_else(|| StartError::Config("the broadcast role knows no IMS server".into()))?;
                Some(Arc::new(worker::BsmShared::new(&config, bsm, ims_hop, &peers, hss.clone())))
            }
            None => None,
        };
        let http = match config.bsm.as_ref().and_then(|b| b.http) {
            Some(addr) => Some(listen_http(addr).map_err(|why| StartError::Http { addr, why })?),
            None => None,
        };
        let http_addr = http.as_ref().and_then(|l| l.local_addr().ok());
        let (stop, stopped) = watch::channel(None);
        let mut node = Node {
            listening,
            bsm_listening,
            http: http_addr,
            policy_name,
            workers: Vec::new(),
            stop,
            hss: embedded.clone(),
            store,
            metrics: host.metrics.clone(),
            control: None,
            reloader: None,
            life: Life::new(workers),
            ims: ims.clone(),
            clock,
        };
        let bsm_addresses: Arc<[SocketAddr]> = node.bsm_listening.iter().map(|l| l.addr).collect();
        let mut http = http;
        let mut waiting = Vec::new();
        let (mailboxes, jobs) = reload::mailboxes(workers);
        for (index, (sockets, jobs)) in sockets.into_iter().zip(jobs).enumerate() {
            let decides = match (&policy, &origin) {
                (None, Some(origin)) => Decides::Generation(origin.first.clone(), jobs),
                (Some(given), _) => Decides::Given(given.clone()),
                (None, None) => return Err(StartError::Config("there is no policy".into())),
            };
            let parts = Parts {
                sockets,
                tls: tls.clone(),
                clock,
                tracer: tracer.clone(),
                policy: decides,
                plugins: plugins.clone(),
                views: views.clone(),
                host: host.clone(),
                ims: ims.clone(),
                bsm: bsm.clone(),
                bsm_addresses: bsm_addresses.clone(),
                embedded: embedded.clone(),
                connections: worker::connections(workers),
                index,
                life: node.life.clone(),
                http: http.take(),
            };
            let (ready, is_ready) = std::sync::mpsc::channel();
            let stopped = stopped.clone();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker::run(parts, ready, stopped))
                .map_err(|e| StartError::Worker(e.to_string()))?;
            node.workers.push(thread);
            waiting.push(is_ready);
        }
        for is_ready in waiting {
            match is_ready.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    node.stop(Duration::ZERO);
                    return Err(error);
                }
                Err(_) => {
                    node.stop(Duration::ZERO);
                    return Err(StartError::Worker("ended before it was ready".into()));
                }
            }
        }
        if let Some(origin) = origin {
            let settings = config::Reload { watch: config.reload.watch && steered, ..config.reload };
            node.reloader = Some(Reloader::start(origin, mailboxes, views, clock, settings)?);
        }
        let handler =
            steer::handler(node.reloader.as_ref().map(Reloader::handle), host.metrics.clone(), node.life.clone());
        node.control = control.map(|socket| socket.serve(handler)).transpose()?;
        Ok(node)
    }

    /// Takes the policy and plugins as they are in the files now; what comes of it is in the log, and in what this gives,
    /// last of all.
    pub fn reload(&self) -> UnboundedReceiver<Answer> {
        let (reply, told) = control::Reply::channel();
        match &self.reloader {
            Some(reloader) => reloader.handle().signalled(reply),
            None => {
                let why = "this node's policy is compiled in: there is nothing to reload";
                tracing::warn!("{why}");
                reply.failed(Problem::new("reload", why));
            }
        }
        told
    }

    /// Whether its workers answer, and whether it drains.
    pub fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// What the node and its scripts count, in the Prometheus text format; `imscript metrics` has the generations too.
    pub fn metrics(&self) -> String {
        self.metrics.exposition()
    }

    /// Where the IMS role listens, ports known.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// Where the broadcast role listens.
    pub fn bsm_listening(&self) -> &[Listen] {
        &self.bsm_listening
    }

    /// The broadcast role's HTTP address.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// `listening udp 127.0.0.1:5060 tcp 127.0.0.1:5060 bsm tcp 127.0.0.1:41001 policy …`
    pub fn ready_line(&self) -> String {
        let mut line = String::from("listening");
        let add = |line: &mut String, listen: &Listen| {
            line.push_str(&format!(" {} {}", listen.transport.param(), listen.addr));
        };
        self.listening.iter().for_each(|l| add(&mut line, l));
        if !self.bsm_listening.is_empty() {
            line.push_str(" bsm");
            self.bsm_listening.iter().for_each(|l| add(&mut line, l));
        }
        if let Some(http) = self.http {
            line.push_str(&format!(" http {http}"));
        }
        line.push_str(&format!(" policy {}", self.policy_name));
        line
    }

    /// Ends the node without loss, `within` this time: new requests get 503 with Retry-After, what has been begun is finished.
    /// Waiting is left to `hurried`, which waits so long and then says whether the node is to end at once instead.
    pub fn drain(&mut self, within: Duration, hurried: impl FnMut(Duration) -> bool) {
        let left = drain::drain(&self.life, self.ims.as_deref(), self.clock, within, hurried);
        self.stop(left);
    }

    /// Lets what runs finish for at most `within`, then ends; what the HSS holds is on disk afterwards.
    pub fn stop(&mut self, within: Duration) {
        self.control.take();
        self.reloader.take();
        let _ = self.stop.send(Some(within));
        drain::join(self.workers.drain(..), within);
        self.store.close();
        if let Some(hss) = self.hss.take() {
            hss.close();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// Bootstrappings held at once.
const MAX_BOOTSTRAPS: usize = 2_000_000;

fn load_tls(config: &Config) -> Result<Tls, StartError> {
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
fn hop_to(listening: &[Listen]) -> Option<NextHop> {
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
fn peers(config: &Config, listening: &[Listen], bsm_listening: &[Listen]) -> Result<Vec<Peer>, StartError> {
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
        });
    }
    Ok(peers)
}

/// The IMS server as the broadcast role sees it.
fn ims_peer(config: &Config, bsm: &config::Bsm, hop: NextHop) -> Peer {
    Peer {
        name: "ims".into(),
        uri: format!("sip:{}", config.domain),
        hop,
        naf_fqdns: Vec::new(),
        tls_names: Vec::new(),
        addresses: bsm.ims_addresses.iter().map(|ip| PeerAddress { ip: *ip, port: None }).collect(),
        key_transport: bsm.key_transport,
        trusted: true,
    }
}

fn settings(config: &Config, listening: &[Listen], peers: Vec<Peer>) -> Settings {
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
        servers: peers.into(),
    }
}

fn listen_http(addr: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
