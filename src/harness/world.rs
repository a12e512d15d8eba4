//! The network of one test, all in memory and in virtual time: a real S-CSCF with real transactions around the policy
//! under test, an HSS and broadcast servers that do as they are told.

use super::engine::{Engine, EngineError};
use super::hss::TestHss;
use super::servers::{Behaviour, Server, Servers};
use crate::auth::digest::Algorithm;
use crate::broadcast::peer::{KeyTransport, Peer};
use crate::gba::bootstrap::{Bootstraps, ShortCut};
use crate::policy::{Decide, ServerView};
use crate::registrar::{Limits, Scscf, Settings, Shared};
use crate::server::receive;
use crate::sip::transaction::server::{Arrival, ServerTable};
use crate::sip::transaction::{NextHop, Source, Transport};
use crate::sip::transport::{Screen, Screener};
use crate::sip::{Message, ResponseWriter};
use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const DOMAIN: &str = "home1.net";
const BSF: &str = "bsf.home1.net";
const PCSCF: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// How often a node looks for what has expired, in a test: every second, less often when days pass.
const SWEEP: Duration = Duration::from_secs(1);
const SWEEPS: u32 = 2000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the message cannot be read: {0}")]
    Unreadable(String),
    #[error("no answer")]
    Silence,
    #[error("{0}")]
    Terminal(String),
    #[error("the keys of the tests are no keys")]
    Keys,
}

/// A broadcast server as a test declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSetup {
    pub name: String,
    pub nafs: Vec<String>,
}

impl ServerSetup {
    /// What there is when a test declares nothing.
    pub fn default_servers() -> Vec<Self> {
        vec![Self::named("bsm")]
    }

    /// Under the NAF name that its own name gives: `NAME.home1.net`.
    pub fn named(name: &str) -> Self {
        ServerSetup { name: name.to_owned(), nafs: vec![format!("{name}.{DOMAIN}")] }
    }

    pub fn view(&self) -> ServerView {
        ServerView { name: self.name.clone(), naf_fqdns: self.nafs.clone() }
    }
}

pub struct World {
    pub scscf: Scscf,
    pub hss: Arc<TestHss>,
    pub servers: Rc<Servers>,
    pub engine: Engine,
    transactions: RefCell<ServerTable>,
    screener: Screener,
    terminals: Cell<u16>,
}

impl World {
    pub fn new(engine: Engine, servers: &[ServerSetup], hss: Arc<TestHss>, policy: Rc<dyn Decide>) -> World {
        let all: Vec<Rc<Server>> = servers
            .iter()
            .zip(1u16..)
            .map(|(setup, number)| {
                Rc::new(Server {
                    name: setup.name.clone(),
                    nafs: setup.nafs.clone(),
                    addr: SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), 5070u16.saturating_add(number)),
                    behaviour: RefCell::new(Behaviour::default()),
                    received: RefCell::default(),
                })
            })
            .collect();
        let settings = settings(&all);
        let servers = Rc::new(Servers { all, engine: engine.clone() });
        let bootstraps = Arc::new(Bootstraps::new(10_000));
        let challenge = Duration::from_secs(240);
        let shared = Shared::new(settings, hss.clone(), bootstraps, 10_000, challenge, engine.clock);
        let screener = receive::screen(policy.clone(), shared.servers.clone(), None, engine.clock);
        let (spawner, sleeper) = (engine.clone(), engine.clone());
        let scscf = Scscf::new(
            Arc::new(shared),
            policy,
            servers.clone(),
            Rc::new(move |job| spawner.spawn(job)),
            Rc::new(move |pause| sleeper.sleep(pause)),
        );
        let transactions = RefCell::new(ServerTable::new(10_000));
        World { scscf, hss, servers, engine, transactions, screener, terminals: Cell::new(0) }
    }

    pub fn domain(&self) -> &str {
        DOMAIN
    }

    pub fn bsf_domain(&self) -> &str {
        BSF
    }

    pub(super) fn next_terminal(&self) -> u16 {
        self.terminals.replace(self.terminals.get().wrapping_add(1))
    }

    pub(super) fn terminal_address(&self, number: u16) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 40_000u16.wrapping_add(number % 20_000))
    }

    /// Whom nobody knows.
    pub(super) fn stranger(&self) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 39_999)
    }

    pub(super) fn pcscf(&self, number: u16) -> SocketAddr {
        SocketAddr::new(PCSCF.into(), 20_000u16.wrapping_add(number % 20_000))
    }

    pub fn source(&self, addr: SocketAddr, transport: Transport) -> Source {
        let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 5060);
        Source { transport, addr, local, peer_names: Arc::new([]) }
    }

    /// A request through the parser, the message checks, the server transaction and the S-CSCF; its final response.
    /// None: it gets none (ACK, or a retransmission of what has no answer yet).
    pub fn send(&self, octets: &[u8], source: &Source) -> Result<Option<Message<'static>>, WorldError> {
        let request =
            Message::parse_owned(octets.to_vec()).map_err(|f| WorldError::Unreadable(f.reason.to_string()))?;
        if !request.is_request() {
            return Err(WorldError::Unreadable("it is a response".to_owned()));
        }
        let key = self.transactions.borrow().key(&request, source.addr.ip());
        let key = key.map_err(|e| WorldError::Unreadable(e.to_string()))?;
        if let Err(fault) = request.check() {
            return read(ResponseWriter::fault(&request, &fault, source.addr, &key.tag()).finish()).map(Some);
        }
        match self.transactions.borrow_mut().on_request(key, self.engine.now()) {
            Arrival::New => {}
            Arrival::Retransmit(octets) => return read(octets.to_vec()).map(Some),
            Arrival::Absorb | Arrival::Full => return Ok(None),
        }
        // What stage `receive` keeps out leaves nothing behind, as in a node.
        let request = match (self.screener)(&request, source) {
            Screen::Pass => request,
            Screen::Edited(octets) => read(octets)?,
            Screen::Drop => {
                self.transactions.borrow_mut().forget(key);
                return Ok(None);
            }
            Screen::Reject { status, reason, headers } => {
                self.transactions.borrow_mut().forget(key);
                let mut answer = ResponseWriter::with_reason(&request, status, &reason, source.addr, &key.tag());
                for (name, value) in &headers {
                    answer.header_named(name, value);
                }
                return read(answer.finish()).map(Some);
            }
        };
        let answer = self.engine.run(self.scscf.handle(&request, source))?;
        let now = self.engine.now();
        match &answer {
            Some(octets) => {
                let reliable = source.transport.is_reliable();
                self.transactions.borrow_mut().answered(key, octets, reliable, now);
            }
            None => self.transactions.borrow_mut().unanswered(key, now),
        }
        self.engine.settle()?;
        answer.map(read).transpose()
    }

    /// Lets time pass: timers fire, registrations expire, what was held back goes out.
    pub fn advance(&self, time: Duration) -> Result<(), WorldError> {
        let step = SWEEP.max(time.checked_div(SWEEPS).unwrap_or(SWEEP));
        let mut left = time;
        while left > Duration::ZERO {
            let now = left.min(step);
            self.engine.pass(now)?;
            self.engine.run(self.scscf.sweep())?;
            self.engine.settle()?;
            left = left.saturating_sub(now);
        }
        Ok(())
    }
}

fn read(octets: Vec<u8>) -> Result<Message<'static>, WorldError> {
    Message::parse_owned(octets).map_err(|fault| WorldError::Unreadable(fault.reason.to_string()))
}

fn settings(servers: &[Rc<Server>]) -> Settings {
    let peer = |server: &Rc<Server>| Peer {
        name: server.name.clone(),
        uri: format!("sip:{}", server.nafs.first().map_or(server.name.as_str(), String::as_str)),
        hop: NextHop { transport: Transport::Tcp, addr: server.addr, tls_name: None },
        naf_fqdns: server.nafs.clone(),
        tls_names: Vec::new(),
        addresses: Vec::new(),
        key_transport: KeyTransport::MutualTls,
        trusted: true,
        tells_hss: false,
    };
    Settings {
        domain: DOMAIN.to_owned(),
        uri: format!("sip:scscf.{DOMAIN}"),
        bsf_domain: BSF.to_owned(),
        limits: Limits { min_expires: 60, default_expires: 3600, max_expires: 600_000, max_contacts: 10 },
        aka_algorithms: vec![Algorithm::Akav1Md5],
        digest_algorithms: vec![Algorithm::Md5, Algorithm::Sha256],
        trusted_peers: vec![PCSCF.into()],
        send_ck_ik: false,
        key_lifetime: Duration::from_secs(86_400),
        short_cut: ShortCut::HomePcscfOnly,
        extension: true,
        broadcast_timeout: Duration::from_secs(5),
        fig6_response_first: false,
        servers: servers.iter().map(peer).map(Arc::new).collect(),
    }
}
