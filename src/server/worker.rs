//! One worker: a thread, a runtime, the sockets, and the roles on them.

use super::clerk::Clerks;
use super::drain::Gate;
use super::{Decides, Parts, diameter, due, orders, receive, reload};
use crate::answer::{Answer, Task};
use crate::broadcast::peer::Peer;
use crate::broadcast::server::{Bsm, BsmConfig, Env};
use crate::broadcast::state::BsmState;
use crate::broadcast::zn::Zn;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::hss::embedded::EmbeddedHss;
use crate::hss::remote::Pushed;
use crate::hss::{Hss, Locate};
use crate::icscf::Icscf;
use crate::observe::trace::Tracer;
use crate::policy::lua::Seat;
use crate::policy::native::Maker;
use crate::policy::{self, Decide};
use crate::registrar::Scscf;
use crate::server::StartError;
use crate::sip::transaction::{NextHop, Outbound, Source};
use crate::sip::transport::{Direction, Listen, Settings, Transports};
use crate::sip::{HeaderName, Message, ResponseWriter};
use crate::store::seal::Seal;
use crate::store::{Nature, Store};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::LocalSet;

/// The node's broadcast role, shared by its workers.
pub(super) struct BsmShared {
    config: Arc<BsmConfig>,
    state: Arc<BsmState>,
    hss: Option<Arc<dyn Hss>>,
    zn: Option<Arc<Zn>>,
}

impl BsmShared {
    /// `peers`: the configured broadcast servers. Those who were registered before are read in the background.
    pub(super) fn new(
        config: &Config,
        bsm: &config::Bsm,
        ims: NextHop,
        peers: &[Peer],
        hss: Option<Arc<dyn Hss>>,
        store: Arc<dyn Store>,
        seal: Arc<Seal>,
    ) -> Result<Self, StartError> {
        let ims = super::ims_peer(config, bsm, ims);
        // Of several servers for this NAF, the one without an address is this node's own.
        let mine = || config.servers.iter().filter(|s| s.nafs.iter().any(|naf| naf == bsm.naf.fqdn()));
        let name = mine().find(|s| s.hop.is_none()).or_else(|| mine().next());
        let name = name.map_or_else(|| "bsm".into(), |server| server.name.clone());
        let servers = peers.iter().filter(|peer| peer.name != name).cloned().collect();
        let bsf = Peer { uri: format!("sip:{}", config.bsf_domain), ..ims.clone() };
        let config = BsmConfig {
            name,
            uri: format!("sip:{}", bsm.naf.fqdn()),
            naf_fqdns: vec![bsm.naf.fqdn().to_string()],
            ims: vec![ims],
            servers,
            bsf,
            retrieval: bsm.retrieval,
            bsf_domains: Vec::new(),
            offered: None,
            // The IMS server's own limit for the whole leg must not run out first.
            retrieval_within: config.broadcast_timeout * 4 / 5,
        };
        let names = config.ims.iter().map(|peer| peer.name.clone()).collect();
        let state = Arc::new(BsmState::new(MAX_USERS, store.clone(), seal, names));
        if store.nature() == Nature::Durable {
            let state = state.clone();
            let reader = std::thread::Builder::new().name("bsm-load".into()).spawn(move || state.load());
            reader.map_err(|why| StartError::Worker(why.to_string()))?;
        }
        Ok(BsmShared { config: Arc::new(config), state, hss, zn: None })
    }

    pub(super) fn state(&self) -> Arc<BsmState> {
        self.state.clone()
    }

    /// The way to the BSF over Diameter.
    pub(super) fn with_zn(self, zn: Option<Arc<Zn>>) -> Self {
        BsmShared { zn, ..self }
    }
}

/// The node's I-CSCF, shared by its workers.
pub(super) struct IcscfShared {
    settings: Arc<crate::icscf::Settings>,
    hss: Arc<dyn Locate>,
    addresses: Arc<[SocketAddr]>,
    mark: String,
}

impl IcscfShared {
    pub(super) fn new(
        config: &Config,
        icscf: &config::Icscf,
        hss: Option<Arc<dyn Locate>>,
        listening: &[Listen],
    ) -> Result<Self, StartError> {
        let why = "the I-CSCF has no HSS to ask: [hss], or [diameter] listen and this node's own";
        let settings = crate::icscf::Settings {
            domain: config.domain.clone(),
            servers: icscf.servers.clone().into(),
            trusted_peers: config.trusted_peers.clone(),
            within: icscf.within,
        };
        Ok(IcscfShared {
            settings: Arc::new(settings),
            hss: hss.ok_or_else(|| StartError::Config(why.into()))?,
            addresses: listening.iter().map(|listen| listen.addr).collect(),
            mark: crate::icscf::mark(),
        })
    }
}

/// Users registered with the broadcast role at once.
const MAX_USERS: usize = 2_000_000;

/// Those who serve the requests of one role.
type Role = Rc<Clerks<(Message<'static>, Source), Option<Vec<u8>>>>;

/// The roles of one worker.
struct Roles {
    scscf: Option<Role>,
    bsm: Option<Role>,
    bsm_addresses: Arc<[SocketAddr]>,
    icscf: Option<(Role, Arc<[SocketAddr]>)>,
}

impl Roles {
    /// By where a request came in: broadcast role and I-CSCF have listeners of their own.
    fn handle(&self, request: Message<'_>, source: &Source) -> Answer<'static, Option<Vec<u8>>> {
        let for_bsm = self.scscf.is_none() || self.bsm_addresses.contains(&source.local);
        let role = match (&self.icscf, &self.scscf, &self.bsm) {
            (Some((icscf, addresses)), ..) if addresses.contains(&source.local) => icscf,
            (_, _, Some(bsm)) if for_bsm => bsm,
            (_, Some(scscf), _) => scscf,
            (_, None, _) => {
                let mut response = ResponseWriter::new(&request, 503, source.addr, "none");
                response.header(HeaderName::RetryAfter, "5");
                return Answer::now(Some(response.finish()));
            }
        };
        role.serve((request.into_owned(), source.clone()))
    }
}

/// The thread's main function. `ready` hears whether it could start.
pub(super) fn run(parts: Parts, ready: Sender<Result<(), StartError>>, stopped: watch::Receiver<Option<Duration>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return drop(ready.send(Err(StartError::Worker(why.to_string())))),
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        match start(parts).await {
            Ok((transports, seat)) => {
                let _ = ready.send(Ok(()));
                let within = wait(stopped).await;
                transports.stop(within).await;
                if let Some(seat) = seat {
                    seat.end();
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

async fn wait(mut stopped: watch::Receiver<Option<Duration>>) -> Duration {
    match stopped.wait_for(Option::is_some).await {
        Ok(within) => within.unwrap_or_default(),
        Err(_) => Duration::ZERO,
    }
}

/// The seat is where the policy is in Lua.
async fn start(parts: Parts) -> Result<(Transports, Option<Rc<Seat>>), StartError> {
    let settings = Settings { connections: parts.connections, ..Settings::default() };
    let transports = Transports::new(parts.sockets, parts.tls, settings, parts.clock)
        .map_err(|e| StartError::Worker(e.to_string()))?;
    if let Some(tracer) = parts.tracer {
        transports.observe(observer(tracer));
    }
    let outbound: Rc<dyn Outbound> = Rc::new(transports.clone());
    let spawn: Rc<dyn Fn(Task)> = Rc::new(|task| drop(tokio::task::spawn_local(task)));
    let sleep: Rc<dyn Fn(Duration) -> Task> = Rc::new(|time| Box::pin(tokio::time::sleep(time)));
    let natives = parts.plugins.iter().map(Maker::native).collect::<Result<_, _>>()?;
    // One list where there can be: a VM knows by its address that it has not changed.
    let views = parts.ims.as_ref().map_or(parts.views, |shared| shared.servers.clone());
    let surroundings = policy::lua::Env {
        clock: parts.clock,
        servers: views.clone(),
        spawn: spawn.clone(),
        sleep: sleep.clone(),
        first: parts.index == 0,
        seed: None,
        host: parts.host,
        natives,
    };
    let (policy, seat): (Rc<dyn Decide>, _) = match parts.policy {
        Decides::Given(make) => (make(&surroundings)?, None),
        Decides::Generation(first, jobs) => {
            let seat = Rc::new(Seat::new(&first, &surroundings)?);
            tokio::task::spawn_local(reload::work(jobs, seat.clone(), surroundings));
            (seat.clone(), Some(seat))
        }
    };
    let of_the_ims = parts.ims.is_some().then(|| parts.bsm_addresses.clone());
    let (ims, bsm_addresses) = (parts.ims.clone(), parts.bsm_addresses.clone());
    let gate = Gate { life: parts.life.clone(), ims, bsm_addresses, clock: parts.clock };
    transports.screen(gate.before(receive::screen(policy.clone(), views, of_the_ims, parts.clock)));
    let served = transports.clone();
    tokio::task::spawn_local(parts.life.attend(parts.index, move || served.in_flight()));
    let scscf = parts
        .ims
        .map(|shared| Rc::new(Scscf::new(shared, policy.clone(), outbound.clone(), spawn.clone(), sleep.clone())));
    let bsm = parts.bsm.map(|shared| {
        let clock = parts.clock;
        let env = Env { now: Rc::new(move || clock.now()), sleep: sleep.clone(), spawn: spawn.clone() };
        let BsmShared { config, state, hss, zn } = &*shared;
        Bsm::new(config.clone(), state.clone(), outbound.clone(), zn.clone(), policy.clone(), hss.clone(), env)
    });
    if parts.index == 0 {
        tokio::task::spawn_local(keep_time(
            scscf.clone(),
            bsm.clone(),
            parts.embedded,
            parts.pushed,
            parts.state,
            parts.clock,
        ));
    }
    if let (Some(orders), Some(scscf)) = (parts.orders, &scscf) {
        tokio::task::spawn_local(orders::carry_out(orders, scscf.clone()));
    }
    if let (Some(listener), Some(bsm)) = (parts.http, &bsm) {
        let handler = crate::broadcast::ua::handler(bsm.clone());
        super::http::serve(listener, handler, spawn.clone()).map_err(|e| StartError::Worker(e.to_string()))?;
    }
    if let (Some((listener, settings)), Some(scscf)) = (parts.ub, &scscf) {
        let handler = settings.handler(scscf);
        super::http::serve(listener, handler, spawn.clone()).map_err(|e| StartError::Worker(e.to_string()))?;
    }
    let icscf = parts.icscf.map(|shared| {
        let IcscfShared { settings, hss, addresses, mark } = &*shared;
        let own = scscf.clone();
        (Rc::new(Icscf::new(settings.clone(), hss.clone(), outbound.clone(), own, mark.clone())), addresses.clone())
    });
    let scscf = scscf.map(|scscf| {
        Clerks::new(move |(request, source): (Message<'static>, Source)| {
            let scscf = scscf.clone();
            async move { scscf.handle(&request, &source).await }
        })
    });
    let clock = parts.clock;
    let bsm = bsm.map(|bsm| {
        Clerks::new(move |(request, source): (Message<'static>, Source)| {
            let bsm = bsm.clone();
            async move { bsm.handle(&request, &source, clock.now()).await }
        })
    });
    let icscf = icscf.map(|(icscf, addresses)| {
        let role = Clerks::new(move |(request, source): (Message<'static>, Source)| {
            let icscf = icscf.clone();
            async move { icscf.handle(&request, &source).await }
        });
        (role, addresses)
    });
    let roles = Roles { scscf, bsm, bsm_addresses: parts.bsm_addresses, icscf };
    transports.serve(Rc::new(move |request: Message<'_>, source: &Source| roles.handle(request, source)));
    Ok((transports, seat))
}

/// Connections that each worker accepts: a quarter of the process's descriptors is left for the node's own, so that
/// strangers who take the rest do not cut it off from its broadcast servers.
pub(super) fn connections(workers: usize) -> usize {
    let most = Settings::default().connections;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    files.map_or(most, |files: usize| (files / 4 * 3 / workers.max(1)).clamp(1, most))
}

/// The timers of the whole node.
async fn keep_time(
    scscf: Option<Rc<Scscf>>,
    bsm: Option<Rc<Bsm>>,
    embedded: Option<Arc<EmbeddedHss>>,
    pushed: Option<Arc<Pushed>>,
    store: Arc<dyn Store>,
    clock: Clock,
) {
    if let Some(pushed) = &pushed {
        tokio::task::spawn_local(diameter::act(pushed.clone(), scscf.clone(), bsm.clone()));
    }
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tick.tick().await;
        if let Some(scscf) = &scscf {
            scscf.sweep().await;
        }
        if let Some(bsm) = &bsm {
            bsm.clone().sweep().await;
        }
        due::claim(&*store, scscf.as_ref(), bsm.as_ref()).await;
        if let (Some(hss), Some(scscf)) = (&embedded, &scscf) {
            scscf.withdraw(hss.take_removed());
        }
        if let Some(hss) = &embedded {
            hss.maintain(clock.now());
        }
        if let Some(pushed) = &pushed {
            diameter::keep_up(pushed, clock.now());
        }
    }
}

fn observer(tracer: Tracer) -> crate::sip::transport::Observer {
    Rc::new(move |direction, bytes, peer| {
        tracer.message(direction == Direction::Out, peer.transport.via(), peer.addr, bytes);
    })
}
