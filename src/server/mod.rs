//! A node (rank 5): sockets, workers, roles put together from a [`Config`].
//!
//! One current-thread runtime per worker; each has its own sockets (SO_REUSEPORT), its own policy VM and its own
//! S-CSCF and broadcast server objects on state that all share. A program that embeds the crate makes a node the same
//! way ([`Node::builder`]) and may answer the stages itself.

mod builder;
mod clerk;
pub mod control;
mod diameter;
mod drain;
mod due;
mod from_config;
mod http;
mod orders;
pub(crate) mod receive;
mod reload;
mod steer;
pub mod systemd;
mod worker;
mod zn;

use crate::clock::Clock;
use crate::config::{self, Config, Durability};
use crate::diameter::exchange::Serve;
use crate::diameter::node::{Endpoint, NodeError, Prepared};
use crate::gba::bootstrap::Bootstraps;
use crate::hss::embedded::EmbeddedHss;
use crate::hss::remote::Pushed;
use crate::hss::serve::service;
use crate::hss::{Hss, Locate};
use crate::http::{Client, Fetch};
use crate::metrics::Metrics;
use crate::observe::lines::{GENERATION, Serving};
use crate::observe::trace::Tracer;
use crate::policy::lua::{Env, Generation, Host};
use crate::policy::native::{Maker, NativeError};
use crate::policy::{Decide, ServerView};
use crate::registrar::Shared;
use crate::sip::transport::{self, Listen, Sockets, Tls};
use crate::store::space::{self, Spaces};
use crate::store::{self, Nature, Store};
pub use builder::Builder;
use control::protocol::{Answer, Problem};
use control::{Control, ControlSocket};
pub use drain::Life;
use from_config::{hop_to, ims_peer, load_tls, peers, settings};
pub use reload::Tests;
use reload::{Jobs, Origin, Reloader};
use std::net::SocketAddr;
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
    Spaces(#[from] crate::store::space::SpaceError),
    #[error("data: {0}")]
    Open(#[from] store::open::OpenError),
    #[error("data: {0}")]
    Seal(#[from] store::SealError),
    #[error("data: {0}")]
    Data(#[from] crate::hss::embedded::EmbeddedError),
    #[error("cannot listen on http {addr}: {why}")]
    Http { addr: SocketAddr, why: std::io::Error },
    #[error("diameter: {0}")]
    Diameter(#[from] NodeError),
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

/// A running node.
pub struct Node {
    listening: Vec<Listen>,
    bsm_listening: Vec<Listen>,
    icscf_listening: Vec<Listen>,
    http: Option<SocketAddr>,
    ub: Option<SocketAddr>,
    policy_name: String,
    workers: Vec<JoinHandle<()>>,
    stop: watch::Sender<Option<Duration>>,
    hss: Option<Arc<EmbeddedHss>>,
    store: Arc<dyn Store>,
    spaces: Arc<Spaces>,
    metrics: Arc<Metrics>,
    serving: Serving,
    control: Option<Control>,
    reloader: Option<Reloader>,
    life: Arc<Life>,
    ims: Option<Arc<Shared>>,
    diameter: Option<crate::diameter::node::Node>,
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
    icscf: Option<Arc<worker::IcscfShared>>,
    embedded: Option<Arc<EmbeddedHss>>,
    /// What a foreign HSS begins.
    pushed: Option<Arc<Pushed>>,
    state: Arc<dyn Store>,
    /// Most that it accepts at a time.
    connections: usize,
    /// Number of the worker; the first, 0, also keeps the timers of the whole node.
    index: usize,
    life: Arc<Life>,
    /// Ua of the broadcast role.
    http: Option<std::net::TcpListener>,
    /// Ub of the BSF, with the settings that go with it.
    ub: Option<(std::net::TcpListener, http::UbSettings)>,
    /// What the operator has the S-CSCF do.
    orders: Option<UnboundedReceiver<orders::End>>,
}

impl Node {
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    fn assemble(builder: Builder) -> Result<Node, StartError> {
        let Builder { config, tracer, serving, hss, policy, plugins, tests, following, steered, applications, clock } =
            builder;
        let plugins: Arc<[Maker]> = plugins.into_iter().collect::<Result<_, _>>()?;
        let workers = config.workers;
        let tls = load_tls(&config)?;
        let http_client = http_of_scripts(&config)?;
        let ims_listen: &[Listen] = if config.roles.ims() { &config.listen } else { &[] };
        let (mut sockets, listening) = transport::bind(ims_listen, workers, &tls)?;
        let bsm_listen = config.bsm.as_ref().map_or(&[][..], |b| &b.listen);
        let (bsm_sockets, bsm_listening) = transport::bind(bsm_listen, workers, &tls)?;
        let icscf_listen = config.icscf.as_ref().map_or(&[][..], |icscf| &icscf.listen);
        let (icscf_sockets, icscf_listening) = transport::bind(icscf_listen, workers, &tls)?;
        for more in [bsm_sockets, icscf_sockets] {
            for (all, more) in sockets.iter_mut().zip(more) {
                all.merge(more);
            }
        }
        let origin = match (&policy, plugins.first()) {
            (None, _) => Some(Origin::open(&config, &plugins, tests, following, serving.clone())?),
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
        let metrics: Arc<Metrics> = Arc::default();
        let mut diameter = diameter::prepare(&config, &tls, &metrics)?;
        let store = store::open::node(&config.store.to_open(&config.data_dir), clock)?;
        let seal = Arc::new(config.store.seal(&config.data_dir)?);
        // Where users and keys are kept.
        let users: Arc<dyn Store> = match config.store.durability {
            Durability::Memory if store.nature() == Nature::Durable => Arc::new(store::Memory::new(clock)),
            _ => store.clone(),
        };
        let peers = peers(&config, &listening, &bsm_listening)?;
        let mut embedded = None;
        let mut remote = None;
        let hss = match hss {
            Some(hss) => Some(hss),
            None if let (Some(diameter), Some(foreign)) = (&diameter, &config.foreign_hss) => {
                let server = settings(&config, &listening, Vec::new()).uri;
                let exchange = diameter.exchange();
                let made = diameter::foreign_hss(exchange, &config, foreign, server, &peers, clock.now());
                remote = Some(made.clone());
                Some(made as Arc<dyn Hss>)
            }
            None if config.roles.hss => {
                let services = config.foreign.services.clone();
                let settings = crate::hss::embedded::Settings {
                    data_dir: Some(config.data_dir.clone()),
                    ind: config.store.ind,
                    metrics: metrics.clone(),
                    terms: Some(Box::new(move |subscriber| service::terms(&services, subscriber))),
                };
                let opened = EmbeddedHss::open(store.clone(), seal.clone(), settings, clock.now())?;
                if users.nature() != store.nature() {
                    let (hss, now) = (opened.clone(), clock.now());
                    from_config::reader("hss-forget", move || hss.forget_registrations(now))?;
                }
                embedded = Some(opened.clone());
                Some(opened as Arc<dyn Hss>)
            }
            None => None,
        };
        // Scripts that an operator put there may keep things; the built-in policy keeps nothing.
        let kept: Arc<dyn Store> = match config.policy.is_some() || config.plugins.is_some() {
            true => store.clone(),
            false => Arc::new(store::Memory::new(clock)),
        };
        if kept.nature() != Nature::Volatile {
            space::take_over(&config.data_dir, &*kept)?;
        }
        let spaces = Spaces::open(kept)?;
        let host = Arc::new(Host::new(metrics, spaces.clone(), hss.clone()).with_http(http_client));
        let views: Arc<[ServerView]> =
            peers.iter().map(|p| ServerView { name: p.name.clone(), naf_fqdns: p.naf_fqdns.clone() }).collect();
        let ims = match (&hss, config.roles.scscf) {
            (Some(hss), true) => {
                let settings = settings(&config, &listening, peers.clone());
                let bootstraps = Arc::new(Bootstraps::new(MAX_BOOTSTRAPS));
                let mut shared =
                    Shared::new(settings, hss.clone(), bootstraps, config.max_challenges, config.reg_await_auth, clock);
                shared.keep_in(users.clone(), seal.clone());
                if users.nature() == Nature::Durable {
                    let users = shared.keeping.users.clone();
                    from_config::reader("users-load", move || users.load())?;
                }
                Some(Arc::new(shared))
            }
            _ => None,
        };
        let zn = match (&ims, &hss) {
            (Some(shared), Some(hss)) => zn::bsf(&config, diameter.as_ref(), shared, hss)?,
            _ => None,
        };
        let bsm = match &config.bsm {
            Some(bsm) => {
                let ims_hop = bsm.ims.clone().or_else(|| hop_to(&listening));
                let ims_hop =
                    ims_hop.ok_or_else(|| StartError::Config("the broadcast role knows no IMS server".into()))?;
                let (users, seal) = (users.clone(), seal.clone());
                let zn = zn::naf(&config, bsm, diameter.as_ref(), clock)?;
                // Of a foreign HSS's users, the S-CSCF of the same node tells.
                let told = hss.clone().filter(|_| remote.is_none() || ims.is_none());
                let shared = worker::BsmShared::new(&config, bsm, ims_hop, &peers, told, users, seal)?;
                Some(Arc::new(shared.with_zn(zn)))
            }
            None => None,
        };
        let mut http = listen_http(config.bsm.as_ref().and_then(|b| b.http))?;
        let http_addr = http.as_ref().and_then(|l| l.local_addr().ok());
        let mut ub = listen_http(config.bsf_http)?
            .map(|listener| (listener, http::UbSettings::of(&config, host.metrics.clone())));
        let ub_addr = ub.as_ref().and_then(|(l, _)| l.local_addr().ok());
        let mut locate = remote.clone().map(|remote| remote as Arc<dyn Locate>);
        // An I-CSCF is told nothing.
        let pushed = remote
            .filter(|_| ims.is_some() || bsm.is_some())
            .map(|remote| diameter::pushed(remote, ims.as_deref(), bsm.as_deref(), &*users));
        if let Some(diameter) = &mut diameter {
            pushed.iter().for_each(|pushed| diameter.serve(pushed.clone()));
            let own = ims.as_ref().map(|shared| shared.settings.uri.clone());
            let side = |hss| diameter::hss_side(&config, diameter, hss, own, &peers, clock);
            let side = embedded.as_ref().map(side).transpose()?;
            locate = locate.or(side.clone().map(|side| side as Arc<dyn Locate>));
            let side = side.map(|side| side as Arc<dyn Serve>);
            // What a program brings along comes before what is built in.
            applications.into_iter().chain(zn).chain(side).for_each(|application| diameter.serve(application));
        }
        let diameter = diameter.map(Prepared::start).transpose()?;
        let icscf =
            config.icscf.as_ref().map(|icscf| worker::IcscfShared::new(&config, icscf, locate, &icscf_listening));
        let icscf = icscf.transpose()?.map(Arc::new);
        let (stop, stopped) = watch::channel(None);
        let mut node = Node {
            listening,
            bsm_listening,
            icscf_listening,
            http: http_addr,
            ub: ub_addr,
            policy_name,
            workers: Vec::new(),
            stop,
            hss: embedded.clone(),
            store: store.clone(),
            spaces,
            metrics: host.metrics.clone(),
            serving: serving.clone(),
            control: None,
            reloader: None,
            life: Life::new(workers),
            ims: ims.clone(),
            diameter,
            clock,
        };
        let bsm_addresses: Arc<[SocketAddr]> = node.bsm_listening.iter().map(|l| l.addr).collect();
        let mut waiting = Vec::new();
        let (mailboxes, jobs) = reload::mailboxes(workers);
        let (orders, mut to_carry_out) = match &ims {
            Some(_) => {
                let (orders, to_carry_out) = orders::channel();
                (Some(orders), Some(to_carry_out))
            }
            None => (None, None),
        };
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
                icscf: icscf.clone(),
                embedded: embedded.clone(),
                pushed: pushed.clone(),
                state: store.clone(),
                connections: worker::connections(workers),
                index,
                life: node.life.clone(),
                http: http.take(),
                ub: ub.take(),
                orders: to_carry_out.take(),
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
        let handle = node.reloader.as_ref().map(Reloader::handle);
        let peers = node.diameter.as_ref().map(|diameter| diameter.exchange());
        let (metrics, life) = (host.metrics.clone(), node.life.clone());
        let handler = steer::handler(handle, metrics, serving, life, store.clone(), peers, orders);
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
    /// A sample that names no generation of its own has that of the one that serves.
    pub fn metrics(&self) -> String {
        exposition(&self.metrics, &self.serving, &*self.store)
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

    /// Where the BSF answers terminals over HTTP (Ub).
    pub fn ub(&self) -> Option<SocketAddr> {
        self.ub
    }

    /// Where the I-CSCF takes requests.
    pub fn icscf_listening(&self) -> &[Listen] {
        &self.icscf_listening
    }

    /// Where Diameter is spoken.
    pub fn diameter_listening(&self) -> &[Endpoint] {
        self.diameter.as_ref().map_or(&[], |diameter| diameter.listening())
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
        if !self.icscf_listening.is_empty() {
            line.push_str(" icscf");
            self.icscf_listening.iter().for_each(|l| add(&mut line, l));
        }
        if let Some(http) = self.http {
            line.push_str(&format!(" http {http}"));
        }
        if let Some(ub) = self.ub {
            line.push_str(&format!(" ub {ub}"));
        }
        for endpoint in self.diameter_listening() {
            let transport = if endpoint.is_tls() { "tls" } else { "tcp" };
            line.push_str(&format!(" diameter {transport} {}", endpoint.addr));
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
        // Workers may have asked it until now.
        if let Some(diameter) = self.diameter.take() {
            diameter.stop(within.min(Duration::from_secs(1)));
        }
        self.spaces.close();
        if let Some(hss) = self.hss.take() {
            hss.close();
        }
        self.store.close();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

fn exposition(metrics: &Metrics, serving: &Serving, store: &dyn Store) -> String {
    let generation = serving.generation().map(|id| id.to_string());
    let text = metrics.exposition_with(generation.as_deref().map(|id| (GENERATION, id)));
    text + &health(generation.as_deref(), store)
}

/// How the parts of the store fare, written anew each time: a part that is no longer one leaves no sample behind.
fn health(generation: Option<&str>, store: &dyn Store) -> String {
    let mut text = String::from("# HELP imscript_store_well Whether a part of the store can be read or written\n");
    text.push_str("# TYPE imscript_store_well gauge\n");
    let generation = generation.map(|id| format!("{GENERATION}=\"{id}\",")).unwrap_or_default();
    for part in store.health() {
        for (what, well) in [("read", part.reads), ("write", part.writes)] {
            let (name, well) = (&part.part, u8::from(well));
            text.push_str(&format!("imscript_store_well{{{generation}part=\"{name}\",to=\"{what}\"}} {well}\n"));
        }
    }
    text
}

/// Bootstrappings held at once.
const MAX_BOOTSTRAPS: usize = 2_000_000;

/// The client behind `http` in plugins.
fn http_of_scripts(config: &Config) -> Result<Arc<dyn Fetch>, StartError> {
    let client = match config.plugins.as_ref().and_then(|plugins| plugins.ca.as_deref()) {
        Some(ca) => Client::believing(ca).map_err(|why| StartError::Config(format!("plugins.ca: {why}")))?,
        None => Client::default(),
    };
    Ok(Arc::new(client))
}

fn listen_http(addr: Option<SocketAddr>) -> Result<Option<std::net::TcpListener>, StartError> {
    let Some(addr) = addr else { return Ok(None) };
    let open = || {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map(Some).map_err(|why| StartError::Http { addr, why })
}
