//! The S-CSCF: what its procedures share. [`Shared`] is one per node, [`Scscf`] one per worker.

use super::authenticate::Memo;
use super::keeping::Keeping;
use super::notice::Notice;
use super::subscription::Checks;
use super::table::Table;
use super::turn::Turn;
use crate::answer::Task;
use crate::auth::challenge::Challenges;
use crate::auth::digest::Algorithm;
use crate::broadcast::held::Held;
use crate::broadcast::peer::Peer;
use crate::clock::{Clock, Now};
use crate::gba::bootstrap::{Bootstraps, ShortCut};
use crate::gba::bsf::Bsf;
use crate::hss::Hss;
use crate::identity::Impi;
use crate::policy::throttle::Throttle;
use crate::policy::{Decide, ServerView, Stage};
use crate::registrar::Limits;
use crate::shelf::Set;
use crate::sip::transaction::{Outbound, Source, Transport};
use crate::sip::{HeaderName, Message, ResponseWriter, is_defined_method, reason_phrase};
use crate::store::Store;
use crate::store::seal::Seal;
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Home network domain and digest realm.
    pub domain: String,
    /// This server's URI, in From and Contact of what it sends and in Service-Route.
    pub uri: String,
    pub bsf_domain: String,
    pub limits: Limits,
    pub aka_algorithms: Vec<Algorithm>,
    pub digest_algorithms: Vec<Algorithm>,
    pub trusted_peers: Vec<IpAddr>,
    pub send_ck_ik: bool,
    pub key_lifetime: Duration,
    pub short_cut: ShortCut,
    pub extension: bool,
    pub broadcast_timeout: Duration,
    pub fig6_response_first: bool,
    /// The configured broadcast servers.
    pub servers: Arc<[Arc<Peer>]>,
}

/// State of the node's S-CSCF and BSF, shared by its workers.
pub struct Shared {
    pub settings: Settings,
    /// The same as policies see them.
    pub servers: Arc<[ServerView]>,
    pub table: Arc<Table>,
    pub keeping: Keeping,
    pub challenges: Challenges<Memo>,
    pub bootstraps: Arc<Bootstraps>,
    pub hss: Arc<dyn Hss>,
    /// Results of subscription checks.
    pub subscriptions: Checks,
    /// Notifications that a policy holds back.
    pub held: Held<Notice>,
    /// Identities whose REGISTER is being worked on past its authentication.
    pub busy: Set<Impi>,
    pub clock: Clock,
    /// In the branch of what this node sends on, so that it knows it again.
    pub(super) mark: String,
    /// The minute in which ended things were last cleared away.
    pub(super) tidied: AtomicU64,
}

impl Shared {
    pub fn new(
        settings: Settings,
        hss: Arc<dyn Hss>,
        bootstraps: Arc<Bootstraps>,
        max_challenges: usize,
        reg_await_auth: Duration,
        clock: Clock,
    ) -> Self {
        let servers = settings
            .servers
            .iter()
            .map(|s| ServerView { name: s.name.clone(), naf_fqdns: s.naf_fqdns.clone() })
            .collect();
        let table = Arc::<Table>::default();
        let keeping = Keeping::volatile(table.clone(), bootstraps.clone(), clock);
        Shared {
            settings,
            servers,
            table,
            keeping,
            challenges: Challenges::new(max_challenges, reg_await_auth),
            bootstraps,
            hss,
            subscriptions: Checks::default(),
            held: Held::default(),
            busy: Set::default(),
            clock,
            mark: Tokens::new().next(),
            tidied: AtomicU64::new(0),
        }
    }

    /// Keeps users in this store, keys sealed.
    pub fn keep_in(&mut self, store: Arc<dyn Store>, seal: Arc<Seal>) {
        self.keeping = Keeping::new(store, seal, self.table.clone(), self.bootstraps.clone(), self.clock);
    }

    pub fn server(&self, name: &str) -> Option<&Arc<Peer>> {
        self.settings.servers.iter().find(|s| s.name == name)
    }

    /// The configured servers that a request may have come from: several can share an address.
    pub fn servers_at<'a>(&'a self, source: &'a Source) -> impl Iterator<Item = &'a Arc<Peer>> {
        self.settings.servers.iter().filter(move |peer| peer.is_source(source))
    }

    /// Of several that would do, the one that this user's broadcast registration is with; else the first configured.
    pub(super) fn of_user<'a>(
        &self,
        mut fit: impl Iterator<Item = &'a Arc<Peer>>,
        impi: Option<&str>,
    ) -> Option<&'a Arc<Peer>> {
        let held = impi.and_then(|impi| self.table.leg(impi)).map(|leg| leg.server);
        let first = fit.next()?;
        match held {
            Some(held) if *held != *first.name => Some(fit.find(|peer| *held == *peer.name).unwrap_or(first)),
            _ => Some(first),
        }
    }

    pub fn is_trusted(&self, source: &Source) -> bool {
        let from = source.addr.ip().to_canonical();
        self.settings.trusted_peers.iter().any(|peer| peer.to_canonical() == from)
    }
}

/// One worker's S-CSCF.
#[derive(Clone)]
pub struct Scscf {
    pub shared: Arc<Shared>,
    pub policy: Rc<dyn Decide>,
    pub outbound: Rc<dyn Outbound>,
    /// Runs a job on this worker.
    pub spawn: Rc<dyn Fn(Task)>,
    pub sleep: Rc<dyn Fn(Duration) -> Task>,
    pub(super) bsf: Rc<Bsf>,
    pub(super) tokens: Rc<Tokens>,
    /// Verdicts that cannot be carried out are logged at a limited rate.
    pub(super) complaints: Rc<Throttle>,
}

impl Scscf {
    pub fn new(
        shared: Arc<Shared>,
        policy: Rc<dyn Decide>,
        outbound: Rc<dyn Outbound>,
        spawn: Rc<dyn Fn(Task)>,
        sleep: Rc<dyn Fn(Duration) -> Task>,
    ) -> Self {
        let bsf = Rc::new(Bsf {
            bootstraps: shared.bootstraps.clone(),
            hss: shared.hss.clone(),
            peers: shared.settings.servers.clone(),
            outbound: outbound.clone(),
            uri: format!("sip:{}", shared.settings.bsf_domain),
            within: shared.settings.broadcast_timeout,
        });
        Scscf {
            shared,
            policy,
            outbound,
            spawn,
            sleep,
            bsf,
            tokens: Rc::new(Tokens::new()),
            complaints: Rc::new(Throttle::new(5)),
        }
    }

    pub fn now(&self) -> Now {
        self.shared.clock.now()
    }

    /// What this S-CSCF does with a request: REGISTER, MESSAGE and OPTIONS, or what stage `route` says; any other method
    /// is refused (§8.2.1).
    pub async fn handle(&self, request: &Message<'_>, source: &Source) -> Option<Vec<u8>> {
        match request.method() {
            b"ACK" => return None,
            b"CANCEL" => return Some(self.response(request, 481, source).finish()),
            _ => {}
        }
        let mut turn = Turn::begin(self);
        let result = match request.method() {
            b"REGISTER" => self.register(request, source, &mut turn).await,
            _ => self.other(request, source, &mut turn).await,
        };
        let response = result.unwrap_or_else(|refusal| self.refuse(request, source, refusal));
        Some(self.close(&turn, request, source, response))
    }

    async fn other(&self, request: &Message<'_>, source: &Source, turn: &mut Turn) -> Result<Vec<u8>, Refusal> {
        let asked = |stage| self.policy.wants(stage);
        if [Stage::Route, Stage::Reply, Stage::Finish].into_iter().any(asked)
            && let Ok((impi, impu)) = self.registered_sender(request, source).await
        {
            turn.identify(self, &impi, &impu);
        }
        if let Some(response) = self.routed(request, source, turn).await? {
            return Ok(response);
        }
        self.check_called(request).await?;
        match request.method() {
            b"MESSAGE" => self.message(request, source, turn).await,
            b"OPTIONS" => self.options(request, source),
            method => {
                let status = if is_defined_method(method) { 405 } else { 501 };
                Err(Refusal::new(status).with(HeaderName::Allow, ALLOW))
            }
        }
    }

    fn options(&self, request: &Message<'_>, source: &Source) -> Result<Vec<u8>, Refusal> {
        self.check_require(request)?;
        let mut response = self.response(request, 200, source);
        response.header(HeaderName::Allow, ALLOW);
        Ok(response.finish())
    }

    pub(super) fn response(&self, request: &Message<'_>, status: u16, source: &Source) -> ResponseWriter {
        ResponseWriter::new(request, status, source.addr, &self.tokens.next())
    }

    pub(super) fn refuse(&self, request: &Message<'_>, source: &Source, refusal: Refusal) -> Vec<u8> {
        tracing::debug!(status = refusal.status, reason = %refusal.reason, from = %source.addr, "request refused");
        let tag = self.tokens.next();
        let mut response = ResponseWriter::with_reason(request, refusal.status, &refusal.reason, source.addr, &tag);
        for (name, value) in &refusal.headers {
            response.header(*name, value);
        }
        response.finish()
    }
}

/// The URI of an address of this node.
pub fn sip_uri(transport: Transport, addr: SocketAddr) -> String {
    match transport {
        Transport::Udp => format!("sip:{addr}"),
        stream => format!("sip:{addr};transport={}", stream.param()),
    }
}

const ALLOW: &str = "REGISTER, MESSAGE, OPTIONS";

/// A final answer other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub fn new(status: u16) -> Self {
        Refusal { status, reason: reason_phrase(status).to_string(), headers: Vec::new() }
    }

    /// "403 Forbidden (why)": the cause where a person reads it.
    pub fn because(status: u16, why: impl std::fmt::Display) -> Self {
        Refusal { status, reason: format!("{} ({why})", reason_phrase(status)), headers: Vec::new() }
    }

    pub fn with(mut self, name: HeaderName, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// Tags and Call-IDs: unpredictable start, then counted, so that two are never alike.
pub(crate) struct Tokens {
    seed: u64,
    count: Cell<u64>,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        let mut seed = [0; 8];
        // Without entropy tokens stay unique within the process, which is what RFC 3261 §19.3 needs most.
        let _ = getrandom::fill(&mut seed);
        Tokens { seed: u64::from_ne_bytes(seed), count: Cell::new(0) }
    }

    pub(crate) fn next(&self) -> String {
        let n = self.count.get().wrapping_add(1);
        self.count.set(n);
        // An odd multiplier permutes 64 bits, so the tokens differ as the counts do.
        format!("{:016x}", (self.seed ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}
