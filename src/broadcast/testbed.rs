//! For tests: a broadcast server, a BSF and an IMS on one virtual clock, joined by function calls instead of sockets.

use super::Job;
use super::ext::Ext;
use super::peer::Peer;
use super::peer::tests::{peer, source};
use super::server::{Bsm, BsmConfig, Env, Retrieval};
use super::state::BsmState;
use super::zn::Zn;
use crate::aka::vector::{Auts, Rand};
use crate::answer::Answer;
use crate::clock::{Clock, Hands, Now};
use crate::diameter::exchange::{Destination, Exchange, Failure, Reply, Request, Serve};
use crate::diameter::{Origin, Writer};
use crate::gba;
use crate::gba::bootstrap::{Bootstrap, Bootstraps, Holder, Made};
use crate::gba::bsf::Bsf;
use crate::gba::btid::Btid;
use crate::gba::kdf::Ks;
use crate::gba::naf_id::NafId;
use crate::hss::*;
use crate::identity::{Impi, Impu};
use crate::policy::verdict;
use crate::policy::{Context, Decide, PortionView, StatusEvent};
use crate::sip::print::insert_via;
use crate::sip::transaction::{NextHop, Outbound, SendError, Source, Transport};
use crate::sip::{HeaderName, Message, RequestWriter};
use crate::store::seal::Seal;
use crate::store::{Memory, Nature, Store};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

pub(crate) const IMS: &str = "127.0.0.1:5060";
pub(crate) const BSM: &str = "127.0.0.1:5070";
/// Another broadcast server; nobody is there unless a test says so.
pub(crate) const OTHER: &str = "127.0.0.3:5070";

type Handler = Rc<dyn Fn(Vec<u8>, Source) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>>>>>;

/// Clock, tasks and wires.
pub(crate) struct World {
    clock: Clock,
    hands: &'static Hands,
    deadlines: RefCell<Vec<Duration>>,
    tasks: RefCell<Vec<Job>>,
    nodes: RefCell<HashMap<SocketAddr, Handler>>,
    /// Everything that was sent: destination and text.
    pub(crate) sent: RefCell<Vec<(SocketAddr, String)>>,
}

impl Default for World {
    fn default() -> Self {
        let (clock, hands) = Clock::by_hand();
        let (deadlines, tasks, nodes, sent) = Default::default();
        World { clock, hands, deadlines, tasks, nodes, sent }
    }
}

impl World {
    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn advance(&self, by: u64) {
        self.hands.advance(Duration::from_secs(by));
    }

    pub(crate) fn sleep(self: &Rc<Self>, time: Duration) -> Job {
        let until = self.now().mono + time;
        self.deadlines.borrow_mut().push(until);
        let world = Rc::clone(self);
        Box::pin(std::future::poll_fn(move |_| if world.now().mono >= until { Poll::Ready(()) } else { Poll::Pending }))
    }

    pub(crate) fn node(&self, at: &str, handler: Handler) {
        self.nodes.borrow_mut().insert(at.parse().unwrap(), handler);
    }

    /// Runs a future and all tasks; the clock jumps when nothing else moves.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let mut cx = std::task::Context::from_waker(Waker::noop());
        for _ in 0..100 {
            for _ in 0..20 {
                if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
                    return value;
                }
                self.turn(&mut cx);
            }
            self.jump();
        }
        panic!("stuck: nothing moves any more");
    }

    /// Lets background work run to its end.
    pub(crate) fn settle(&self) {
        let mut cx = std::task::Context::from_waker(Waker::noop());
        for _ in 0..100 {
            for _ in 0..20 {
                self.turn(&mut cx);
            }
            if self.tasks.borrow().is_empty() {
                return;
            }
            self.jump();
        }
        panic!("background work does not end");
    }

    /// The process ends: what was under way is gone.
    pub(crate) fn crash(&self) {
        self.tasks.borrow_mut().clear();
    }

    fn turn(&self, cx: &mut std::task::Context<'_>) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        let left: Vec<Job> =
            tasks.into_iter().filter_map(|mut task| task.as_mut().poll(cx).is_pending().then_some(task)).collect();
        self.tasks.borrow_mut().extend(left);
    }

    fn jump(&self) {
        let now = self.now().mono;
        self.deadlines.borrow_mut().retain(|deadline| *deadline > now);
        if let Some(next) = self.deadlines.borrow().iter().min() {
            self.hands.advance(*next - now);
        }
    }

    pub(crate) fn env(self: &Rc<Self>) -> Env {
        let (now, sleep, spawn) = (Rc::clone(self), Rc::clone(self), Rc::clone(self));
        Env {
            now: Rc::new(move || now.now()),
            sleep: Rc::new(move |time| sleep.sleep(time)),
            spawn: Rc::new(move |job| spawn.tasks.borrow_mut().push(job)),
        }
    }

    /// Methods and destinations' ports of what was sent, in order.
    pub(crate) fn ladder(&self) -> Vec<String> {
        let line =
            |(to, text): &(SocketAddr, String)| format!("{} {}", text.split(' ').next().unwrap_or_default(), to.port());
        self.sent.borrow().iter().map(line).collect()
    }
}

/// Sends from one address.
pub(crate) struct Wire {
    pub(crate) world: Rc<World>,
    pub(crate) from: &'static str,
}

impl Outbound for Wire {
    fn request(
        &self,
        to: &NextHop,
        request: Vec<u8>,
        within: Duration,
    ) -> Answer<'static, Result<Message<'static>, SendError>> {
        let request = insert_via(&request, &format!("SIP/2.0/UDP {};branch=z9hG4bKx", self.from));
        self.world.sent.borrow_mut().push((to.addr, String::from_utf8_lossy(&request).into_owned()));
        let node = self.world.nodes.borrow().get(&to.addr).cloned();
        let (world, from) = (Rc::clone(&self.world), source(Transport::Udp, self.from, &[]));
        Answer::later(async move {
            let answer = match node {
                Some(node) => node(request, from).await,
                None => None,
            };
            match answer {
                Some(answer) => Ok(Message::parse_owned(answer).unwrap()),
                None => {
                    world.sleep(within).await;
                    Err(SendError::Timeout)
                }
            }
        })
    }
}

/// A Diameter connection to who serves, without sockets.
pub(crate) struct Joined {
    serve: Arc<dyn Serve>,
    /// Who is connected.
    peer: Arc<str>,
    /// What becomes of a request instead of being answered; Timeout: nothing, for ever.
    pub(crate) fails: Mutex<Option<Failure>>,
    pub(crate) sent: AtomicUsize,
}

impl Joined {
    pub(crate) fn to(serve: impl Serve + 'static, peer: &str) -> Self {
        Joined { serve: Arc::new(serve), peer: peer.into(), fails: Mutex::default(), sent: AtomicUsize::new(0) }
    }
}

impl Exchange for Joined {
    fn send(&self, _: Destination, request: Writer) -> Answer<'static, Result<Reply, Failure>> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        match *self.fails.lock().unwrap() {
            Some(Failure::Timeout) => return Answer::later(std::future::pending()),
            Some(why) => return Answer::now(Err(why)),
            None => {}
        }
        let request = Request { octets: request.finish().unwrap(), peer: self.peer.clone() };
        request.message().unwrap().check().unwrap();
        let answer = self.serve.clone().serve(request);
        Answer::later(async move { Ok(Reply::new(answer.await.unwrap().finish().unwrap()).unwrap()) })
    }
}

pub(crate) fn origin(host: &str) -> Origin {
    Origin { host: host.into(), realm: "home1.net".into() }
}

/// A BSF that has nothing to read.
impl gba::zn::Find for Bootstraps {
    fn find<'a>(&'a self, btid: &'a Btid, now: Now) -> Answer<'a, Result<Option<Arc<Bootstrap>>, gba::zn::Away>> {
        Answer::now(Ok(self.get(btid, now)))
    }
}

/// Whom the broadcast server tells of changes, and after how many seconds.
#[derive(Clone, Default)]
pub(crate) struct Tells(Rc<RefCell<(Vec<String>, u64)>>);

impl Tells {
    pub(crate) fn set(&self, to: &[&str], after: u64) {
        *self.0.borrow_mut() = (to.iter().map(|name| name.to_string()).collect(), after);
    }
}

impl Decide for Tells {
    fn register(&self, _: &Message<'_>, _: &Context<'_>) -> verdict::Register {
        verdict::Register::Challenge { algorithms: None }
    }
    fn verify(&self, _: &Message<'_>, _: &Context<'_>) -> verdict::Verify {
        verdict::Verify { subscription: verdict::Subscription::Never, at: verdict::When::AfterAuthentication }
    }
    fn authorized(&self, _: &Message<'_>, _: &Context<'_>) -> verdict::Authorized {
        verdict::Authorized::Accept { expires: None }
    }
    fn broadcast(&self, _: &Message<'_>, _: &PortionView<'_>, _: &Context<'_>) -> verdict::Broadcast {
        verdict::Broadcast::Skip { reason: String::new() }
    }
    fn status(&self, _: &StatusEvent<'_>) -> verdict::Status {
        let (to, after) = self.0.borrow().clone();
        verdict::Status::Notify { to, by: verdict::NotifyBy::Message, after: Duration::from_secs(after) }
    }
}

#[derive(Default)]
pub(crate) struct FakeHss {
    pub(crate) subscription: Mutex<BroadcastSubscription>,
    pub(crate) updates: Mutex<Vec<(String, RegState)>>,
    /// What Zh gives, one after the other.
    pub(crate) zh: Mutex<VecDeque<Result<Bootstrapping, HssError>>>,
    pub(crate) resyncs: Mutex<Vec<(Rand, Auts)>>,
}

impl Hss for FakeHss {
    fn multimedia_auth<'a>(
        &'a self,
        _: &'a Impi,
        _: &'a Impu,
        _: AuthScheme,
        _: Option<(Rand, Auts)>,
        _: Now,
    ) -> Answer<'a, Result<AuthItem, HssError>> {
        Answer::now(Err(HssError::UserUnknown))
    }
    fn server_assignment<'a>(
        &'a self,
        _: &'a Impi,
        _: &'a Impu,
        _: Assignment,
        _: Now,
    ) -> Answer<'a, Result<Profile, HssError>> {
        Answer::now(Err(HssError::UserUnknown))
    }
    fn broadcast_subscription<'a>(&'a self, _: &'a Impi) -> Answer<'a, Result<BroadcastSubscription, HssError>> {
        Answer::now(Ok(self.subscription.lock().unwrap().clone()))
    }
    fn broadcast_update<'a>(
        &'a self,
        impu: &'a Impu,
        state: BroadcastState,
        _: Now,
    ) -> Answer<'a, Result<(), HssError>> {
        self.updates.lock().unwrap().push((impu.to_string(), state.state));
        Answer::now(Ok(()))
    }
    fn bootstrapping<'a>(
        &'a self,
        _: &'a Impi,
        resync: Option<(Rand, Auts)>,
        _: Now,
    ) -> Answer<'a, Result<Bootstrapping, HssError>> {
        self.resyncs.lock().unwrap().extend(resync);
        Answer::now(self.zh.lock().unwrap().pop_front().unwrap_or(Err(HssError::UserUnknown)))
    }
    fn private_identity<'a>(&'a self, _: &'a Impu) -> Answer<'a, Result<Impi, HssError>> {
        Answer::now(Err(HssError::UserUnknown))
    }
}

/// IMS with BSF at [`IMS`], broadcast server at [`BSM`], one bootstrapped user.
pub(crate) struct Bed {
    pub(crate) world: Rc<World>,
    pub(crate) bsm: Rc<Bsm>,
    pub(crate) bsf: Rc<Bsf>,
    /// From the broadcast server to the BSF, over Diameter.
    pub(crate) zn: Arc<Joined>,
    pub(crate) state: Arc<BsmState>,
    pub(crate) hss: Arc<FakeHss>,
    pub(crate) impu: Impu,
    pub(crate) naf: NafId,
    pub(crate) boot: Arc<Bootstrap>,
    pub(crate) tells: Tells,
    pub(crate) store: Arc<Memory>,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    /// `config`: of the broadcast server; `server`: the broadcast server as the BSF knows it.
    pub(crate) fn with(config: impl FnOnce(&mut BsmConfig), server: impl FnOnce(&mut Peer)) -> Self {
        Self::of_nature(Nature::Volatile, config, server)
    }

    /// `nature`: of the store.
    pub(crate) fn of_nature(
        nature: Nature,
        config: impl FnOnce(&mut BsmConfig),
        server: impl FnOnce(&mut Peer),
    ) -> Self {
        let world = Rc::new(World::default());
        let store = Arc::new(Memory::of_nature(world.clock(), nature));
        let hss = Arc::new(FakeHss { subscription: Mutex::new(BroadcastSubscription::All), ..FakeHss::default() });
        let bootstraps = Arc::new(Bootstraps::new(100));
        let rand = Rand([9; 16]);
        let impu = Impu::from("sip:u@home1.net");
        let boot = Bootstrap {
            impi: Impi::from("u@home1.net"),
            impus: [impu.clone()].into(),
            ks: Ks([3; 32]),
            btid: Btid::new(&rand, "bsf.home1.net"),
            expires: 0,
            created: Default::default(),
            made: Made::ByRegistration,
            holder: Holder::Me,
            subscription: BroadcastSubscription::All,
            settings: Default::default(),
        };
        let boot = bootstraps.put(boot, Duration::from_secs(3600), world.now()).unwrap();
        let mut bsm_peer = peer("bsm", Transport::Udp, BSM);
        server(&mut bsm_peer);
        let bsf = Rc::new(Bsf {
            bootstraps,
            hss: hss.clone(),
            peers: [Arc::new(bsm_peer)].into(),
            outbound: Rc::new(Wire { world: Rc::clone(&world), from: IMS }),
            uri: "sip:bsf.home1.net".into(),
            within: Duration::from_secs(4),
        });
        let bsf_over_zn = gba::zn::Bsf {
            origin: origin("bsf.home1.net"),
            nafs: [gba::zn::Naf {
                host: "bsm.home1.net".into(),
                fqdns: vec!["bsm.home1.net".into()],
                services: vec!["4".into()],
                required: vec!["4".into()],
                ..gba::zn::Naf::default()
            }]
            .into(),
            find: bsf.bootstraps.clone(),
            hss: hss.clone(),
            clock: world.clock(),
        };
        let zn = Arc::new(Joined::to(bsf_over_zn, "bsm.home1.net"));
        let mut bsm_config = BsmConfig {
            name: "bsm1".into(),
            uri: "sip:bsm.home1.net".into(),
            naf_fqdns: vec!["bsm.home1.net".into()],
            ims: vec![peer("scscf", Transport::Udp, IMS)],
            servers: vec![peer("other", Transport::Udp, OTHER)],
            bsf: peer("bsf", Transport::Udp, IMS),
            retrieval: Retrieval::Sip,
            bsf_domains: Vec::new(),
            offered: None,
            retrieval_within: Duration::from_secs(4),
        };
        config(&mut bsm_config);
        let state = Arc::new(state_on(store.clone(), &bsm_config, Seal::none()));
        let tells = Tells::default();
        tells.set(&["ims"], 0);
        let bsm = Bsm::new(
            Arc::new(bsm_config),
            Arc::clone(&state),
            Rc::new(Wire { world: Rc::clone(&world), from: BSM }),
            Some(Arc::new(Zn::new(zn.clone(), origin("bsm.home1.net"), None, 1))),
            Rc::new(tells.clone()),
            Some(hss.clone()),
            world.env(),
        );
        serve_at_bsm(&world, &bsm);
        let (node, nodes_world) = (Rc::clone(&bsf), Rc::clone(&world));
        world.node(
            IMS,
            Rc::new(move |bytes, source| {
                let request = Message::parse(&bytes).unwrap();
                request.check().unwrap();
                let answer = if crate::gba::bsf::is_key_request(&request) {
                    let (answer, job) = Rc::clone(&node).answer(&request, &source, None, nodes_world.now());
                    nodes_world.tasks.borrow_mut().extend(job);
                    answer
                } else {
                    crate::sip::ResponseWriter::new(&request, 200, source.addr, "t").finish()
                };
                Box::pin(async move { Some(answer) })
            }),
        );
        let naf = NafId::parse("bsm.home1.net").unwrap();
        Bed { world, bsm, bsf, zn, state, hss, impu, naf, boot, tells, store }
    }

    /// Another broadcast server on the same store, in this one's place: the same one started again, or another node that
    /// the IMS goes to from now on.
    pub(crate) fn again(&self, seal: Seal) -> Self {
        self.on(self.store.clone(), seal)
    }

    pub(crate) fn on(&self, store: Arc<dyn Store>, seal: Seal) -> Self {
        let (world, config) = (Rc::clone(&self.world), Arc::clone(&self.bsm.config));
        let state = Arc::new(state_on(store, &config, seal));
        let wire = Rc::new(Wire { world: Rc::clone(&world), from: BSM });
        let decide = Rc::new(self.tells.clone());
        let zn = Some(Arc::new(Zn::new(self.zn.clone(), origin("bsm.home1.net"), None, 2)));
        let bsm = Bsm::new(config, Arc::clone(&state), wire, zn, decide, Some(self.hss.clone()), world.env());
        serve_at_bsm(&world, &bsm);
        Bed {
            world,
            bsm,
            bsf: Rc::clone(&self.bsf),
            zn: Arc::clone(&self.zn),
            state,
            hss: Arc::clone(&self.hss),
            impu: self.impu.clone(),
            naf: self.naf.clone(),
            boot: Arc::clone(&self.boot),
            tells: self.tells.clone(),
            store: Arc::clone(&self.store),
        }
    }

    /// A third-party REGISTER with these Bcast-Ext parameters.
    pub(crate) fn register(&self, ext: Ext, expires: u32, body: Option<(&str, &[u8])>) -> Vec<u8> {
        let ext = Ext { naf: ext.naf.or(Some(self.naf.clone())), ..ext };
        let mut out = RequestWriter::new("REGISTER", "sip:bsm.home1.net");
        out.header(HeaderName::Via, "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1")
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, "<sip:scscf1.home1.net>;tag=1")
            .header(HeaderName::To, format!("<{}>", self.impu))
            .header(HeaderName::CallId, "c")
            .header(HeaderName::CSeq, "1 REGISTER")
            .header(HeaderName::Expires, expires.to_string())
            .header(HeaderName::BcastExt, ext.to_string());
        match body {
            Some((kind, octets)) => out.body(kind, octets),
            None => out.finish(),
        }
    }

    /// A MESSAGE with these headers.
    pub(crate) fn message(&self, headers: &[(HeaderName, String)], body: Option<(&str, &[u8])>) -> Vec<u8> {
        let mut out = RequestWriter::new("MESSAGE", "sip:bsm.home1.net");
        out.header(HeaderName::Via, "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK2")
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, "<sip:u@home1.net>;tag=1")
            .header(HeaderName::To, "<sip:bsm.home1.net>")
            .header(HeaderName::CallId, "m")
            .header(HeaderName::CSeq, "1 MESSAGE");
        for (name, value) in headers {
            out.header(*name, value);
        }
        match body {
            Some((kind, octets)) => out.body(kind, octets),
            None => out.finish(),
        }
    }

    /// The broadcast server's answer to octets from `from`.
    pub(crate) fn ask(&self, bytes: &[u8], from: &str) -> Message<'static> {
        let request = Message::parse(bytes).unwrap();
        let from = source(Transport::Udp, from, &[]);
        let answer = self.world.run(Rc::clone(&self.bsm).handle(&request, &from, self.world.now()));
        Message::parse_owned(answer.unwrap()).unwrap()
    }

    pub(crate) fn registration_state(&self) -> RegState {
        self.state.registration_state(&self.impu)
    }

    pub(crate) fn has_smk(&self) -> bool {
        let smk = self.state.smk(&self.impu, &self.boot.btid, &self.naf, self.world.now());
        smk.is_some_and(|smk| smk.key.0 == self.boot.ks_naf(&self.naf).0)
    }
}

fn state_on(store: Arc<dyn Store>, config: &BsmConfig, seal: Seal) -> BsmState {
    let ims = config.ims.iter().map(|peer| peer.name.clone()).collect();
    BsmState::new(100, store, Arc::new(seal), ims)
}

fn serve_at_bsm(world: &Rc<World>, bsm: &Rc<Bsm>) {
    let (node, nodes_world) = (Rc::clone(bsm), Rc::clone(world));
    world.node(
        BSM,
        Rc::new(move |bytes, source| {
            let (bsm, world) = (Rc::clone(&node), Rc::clone(&nodes_world));
            Box::pin(async move {
                let request = Message::parse(&bytes).unwrap();
                request.check().unwrap();
                bsm.handle(&request, &source, world.now()).await
            })
        }),
    );
}

pub(crate) fn ext_of(answer: &Message<'_>) -> Ext {
    Ext::of(answer).unwrap().unwrap()
}
