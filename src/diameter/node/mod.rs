//! The connections of a node (rank 3): one thread with a current-thread runtime has them all, opened and accepted; SIP
//! workers send through a [`Handle`], which is the [`Exchange`] of the applications.
//!
//! 1. [`Prepared::new`] opens the listeners, so that ports are known and faults told;
//! 2. [`Prepared::exchange`] is there for those who send, [`Prepared::serve`] takes those who answer;
//! 3. [`Prepared::start`] starts the thread; [`Node::stop`] says goodbye to the peers and ends it.
//!
//! A request goes to the first peer of the list that is up and speaks its application ([`route`]); where one fails, to the
//! next, with the T flag if there was no answer (RFC 6733 §5.5.4).

mod address;
mod core;
mod dial;
mod duplicates;
mod entry;
mod link;
mod meters;
mod missing;
mod places;
mod route;
mod sending;
mod serving;
mod waiting;

pub use address::{AddressError, Endpoint};

use super::applications::Applications;
use super::dictionary::TGPP;
use super::exchange::{Destination, Exchange, Failure, Reply, Serve};
use super::peer::{Local, Timing};
use super::{Origin, Writer};
use crate::answer::Answer;
use crate::metrics::Metrics;
use crate::sip::transport::Tls;
use core::Core;
use missing::Missing;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, mpsc as sync_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// A peer that we connect to; those before it in the list are asked first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    pub endpoint: Endpoint,
    /// What it is asked; empty: whatever it advertises.
    pub applications: Vec<u32>,
    /// Its Origin-Host, if no other may answer there. Where both sides connect, an election needs it.
    pub host: Option<String>,
}

/// Who may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// From where. One whose certificate has been verified and carries its Origin-Host may come from anywhere.
    pub addresses: Vec<IpAddr>,
    /// Origin-Hosts; empty: any.
    pub hosts: Vec<String>,
}

impl Default for Accept {
    fn default() -> Self {
        Accept { addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], hosts: Vec::new() }
    }
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub origin: Origin,
    pub peers: Vec<PeerSettings>,
    pub listen: Vec<Endpoint>,
    pub accept: Accept,
    /// Applications that we ask for; those served and those of peers are advertised as well.
    pub applications: Vec<u32>,
    pub vendor: u32,
    pub product: String,
    /// For a request in all, with every peer that is tried.
    pub request_within: Duration,
    /// Most requests that wait for answers, in all and with one peer.
    pub max_waiting: usize,
    pub max_waiting_peer: usize,
    /// Most requests of one connection that are being served; more are answered 3004.
    pub max_serving: usize,
    /// Most accepted connections.
    pub connections: usize,
    /// Octets that may wait for a peer that does not read; more closes the connection.
    pub unsent: usize,
    pub timing: Timing,
}

impl Settings {
    pub fn new(origin: Origin) -> Self {
        Settings {
            origin,
            peers: Vec::new(),
            listen: Vec::new(),
            accept: Accept::default(),
            applications: Vec::new(),
            vendor: TGPP,
            product: "imscript".into(),
            // So that a REGISTER is refused within two seconds, before the terminal's retransmissions pile up.
            request_within: Duration::from_millis(1800),
            max_waiting: 20_000,
            max_waiting_peer: 10_000,
            max_serving: 2_000,
            connections: 256,
            unsent: 4 << 20,
            timing: Timing::default(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot listen on {endpoint}: {why}")]
    Listen { endpoint: Endpoint, why: std::io::Error },
    #[error("cannot listen on {0}: no TLS certificate is configured")]
    NoCertificate(Endpoint),
    #[error("peer {0}: no authority is configured to verify a TLS peer")]
    NoAuthority(Endpoint),
    #[error("thread: {0}")]
    Thread(std::io::Error),
}

/// A peer as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its Origin-Host, where that is known; else its address.
    pub name: String,
    pub address: String,
    /// Whether it is one of those that we connect to.
    pub configured: bool,
    pub state: &'static str,
    pub standing: &'static str,
    /// So long.
    pub since: Duration,
    pub realm: Option<String>,
    pub product: Option<String>,
    pub applications: Vec<u32>,
    /// Requests that wait for its answer; those sent, answered, not answered in time; those of its own that were served.
    pub waiting: usize,
    pub sent: u64,
    pub answered: u64,
    pub timeouts: u64,
    pub served: u64,
    pub connects: u64,
    /// Why the last connection ended.
    pub ended: Option<String>,
}

/// What the thread is told.
enum Command {
    Send(waiting::Sending),
    Peers(sync_mpsc::Sender<Vec<PeerView>>),
    Stop(Duration),
}

/// The sending side; any thread may have one.
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    waiting: Arc<AtomicUsize>,
    max_waiting: usize,
    missing: Arc<Missing>,
}

impl Handle {
    /// How the peers are; empty if the node has ended.
    pub fn peers(&self) -> Vec<PeerView> {
        let (reply, told) = sync_mpsc::channel();
        let asked = self.commands.send(Command::Peers(reply)).is_ok();
        if asked { told.recv_timeout(ASK).unwrap_or_default() } else { Vec::new() }
    }
}

/// For the thread to say how the peers are.
const ASK: Duration = Duration::from_secs(1);

impl Exchange for Handle {
    fn send(&self, to: Destination, request: Writer) -> Answer<'static, Result<Reply, Failure>> {
        let Some(place) = waiting::Place::take(&self.waiting, self.max_waiting) else {
            return Answer::now(Err(Failure::Busy));
        };
        let (reply, told) = oneshot::channel();
        let sending = waiting::Sending { to, request, reply, place };
        match self.commands.send(Command::Send(sending)) {
            Ok(()) => Answer::later(async move { told.await.unwrap_or(Err(Failure::Stopped)) }),
            Err(_) => Answer::now(Err(Failure::Stopped)),
        }
    }

    fn is_cut_off(&self, application: u32) -> bool {
        self.missing.has(application)
    }
}

/// A node about to start.
pub struct Prepared {
    settings: Settings,
    tls: Tls,
    metrics: Arc<Metrics>,
    listeners: Vec<(Endpoint, TcpListener)>,
    applications: Applications,
    handle: Arc<Handle>,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl Prepared {
    pub fn new(settings: Settings, tls: Tls, metrics: Arc<Metrics>) -> Result<Self, NodeError> {
        if let Some(peer) = settings.peers.iter().find(|peer| peer.endpoint.is_tls() && !tls.can_connect()) {
            return Err(NodeError::NoAuthority(peer.endpoint.clone()));
        }
        let mut listeners = Vec::new();
        for endpoint in &settings.listen {
            if endpoint.is_tls() && !tls.can_serve() {
                return Err(NodeError::NoCertificate(endpoint.clone()));
            }
            listeners.push(listen(endpoint).map_err(|why| NodeError::Listen { endpoint: endpoint.clone(), why })?);
        }
        let (sender, commands) = mpsc::unbounded_channel();
        let missing = Arc::new(Missing::default());
        missing.set(settings.peers.iter().flat_map(|peer| peer.applications.iter().copied()));
        let waiting = Arc::new(AtomicUsize::new(0));
        let handle = Handle { commands: sender, waiting, max_waiting: settings.max_waiting, missing };
        let applications = Applications::default();
        Ok(Prepared { settings, tls, metrics, listeners, applications, handle: Arc::new(handle), commands })
    }

    /// Where it listens, ports known.
    pub fn listening(&self) -> Vec<Endpoint> {
        self.listeners.iter().map(|(endpoint, _)| endpoint.clone()).collect()
    }

    /// For those who send; what they send before the start waits for it.
    pub fn exchange(&self) -> Arc<Handle> {
        self.handle.clone()
    }

    /// Has requests of this one's applications given to it.
    pub fn serve(&mut self, serve: Arc<dyn Serve>) {
        self.applications.add(serve);
    }

    pub fn start(self) -> Result<Node, NodeError> {
        let listening = self.listening();
        let handle = self.handle.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NodeError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("diameter".into())
            .spawn(move || LocalSet::new().block_on(&runtime, self.run()))
            .map_err(NodeError::Thread)?;
        Ok(Node { handle, listening, thread: Mutex::new(Some(thread)) })
    }

    /// The node's life, on the current thread's `LocalSet`.
    async fn run(self) {
        let Prepared { settings, tls, metrics, listeners, applications, handle, commands } = self;
        let missing = handle.missing.clone();
        // The thread's own handle would keep the channel open for ever.
        drop(handle);
        let local = Arc::new(local(&settings, &applications));
        let core = Core::new(settings, local, Arc::new(applications), tls, metrics, missing);
        core.run(listeners, commands).await;
    }
}

/// A running node.
pub struct Node {
    handle: Arc<Handle>,
    listening: Vec<Endpoint>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    pub fn listening(&self) -> &[Endpoint] {
        &self.listening
    }

    pub fn exchange(&self) -> Arc<Handle> {
        self.handle.clone()
    }

    pub fn peers(&self) -> Vec<PeerView> {
        self.handle.peers()
    }

    /// Takes nothing more, waits for the answers that are outstanding either way, disconnects from the peers
    /// (DPR, REBOOTING), and ends, all `within` this time.
    pub fn stop(&self, within: Duration) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = self.handle.commands.send(Command::Stop(within));
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

fn local(settings: &Settings, applications: &Applications) -> Local {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut local = Local::new(settings.origin.clone(), settings.vendor, settings.product.clone(), unix, seed() as u32);
    local.served = applications.applications();
    let asked = settings.applications.iter().chain(settings.peers.iter().flat_map(|peer| &peer.applications));
    local.applications = local.served.iter().chain(asked).copied().collect();
    local.applications.sort_unstable();
    local.applications.dedup();
    local
}

/// Spreads; where there is no randomness it is not worth failing for.
fn seed() -> u64 {
    let mut octets = [0; 8];
    let _ = getrandom::fill(&mut octets);
    u64::from_ne_bytes(octets)
}

fn listen(endpoint: &Endpoint) -> std::io::Result<(Endpoint, TcpListener)> {
    use socket2::{Domain, Protocol, Socket, Type};
    let addr = match &endpoint.name {
        Some(name) => (name.as_str(), endpoint.addr.port()).to_socket_addrs()?.next(),
        None => Some(endpoint.addr),
    };
    let addr = addr.ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?; // connections of an earlier run may linger in TIME_WAIT
    socket.bind(&addr.into())?;
    socket.listen(128)?;
    let listener: TcpListener = socket.into();
    let addr: SocketAddr = listener.local_addr()?;
    Ok((Endpoint { addr, name: None, ..endpoint.clone() }, listener))
}

#[cfg(test)]
mod tests;
