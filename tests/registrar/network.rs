//! The network around one S-CSCF, all in memory and in virtual time: broadcast servers that answer as told, an executor
//! that jumps from timer to timer, and the HSS of [`crate::hss`].

pub(crate) use crate::hss::{FakeHss, User};
use imscript::aka::vector::AkaVector;
use imscript::aka::{Algorithm as Card, KeySet};
use imscript::answer::{Answer, Task};
use imscript::auth::digest::Algorithm;
use imscript::broadcast::peer::{KeyTransport, Peer};
use imscript::clock::{Clock, Hands};
use imscript::gba::bootstrap::{Bootstraps, ShortCut};
use imscript::gba::kdf::{Ks, ks_naf};
use imscript::gba::naf_id::NafId;
use imscript::hss::*;
use imscript::identity::Impu;
use imscript::policy::{Decide, FixedPolicy};
use imscript::registrar::{Limits, Scscf, Settings, Shared};
use imscript::sip::transaction::{NextHop, Outbound, SendError, Source, Transport};
use imscript::sip::{HeaderName, Message, ResponseWriter};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
pub(crate) const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";
pub(crate) const REALM: &str = "home1.net";
pub(crate) const NAF: &str = "bsm.home1.net";

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

pub(crate) fn keys() -> KeySet {
    KeySet::from_opc(Card::Milenage, &unhex(K), &unhex(OPC)).unwrap()
}

pub(crate) fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

// ---- broadcast servers

#[derive(Clone)]
pub(crate) enum Reply {
    /// Status, Bcast-Ext, Content-Type and body.
    Says(u16, &'static str, Option<(&'static str, Vec<u8>)>),
    Nothing,
    After(Duration, Box<Reply>),
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Reply::Says(200, "state=registered", None)
    }

    pub(crate) fn status(status: u16) -> Self {
        Reply::Says(status, "", None)
    }
}

pub(crate) struct Sent {
    pub(crate) at: Duration,
    pub(crate) to: NextHop,
    pub(crate) request: Message<'static>,
}

impl Sent {
    pub(crate) fn text(&self, name: HeaderName) -> &str {
        text(&self.request, name)
    }

    pub(crate) fn has_key(&self) -> bool {
        String::from_utf8_lossy(self.request.body()).contains("<muk>")
    }

    pub(crate) fn muk(&self) -> String {
        let body = String::from_utf8_lossy(self.request.body()).into_owned();
        body.split("<muk>").nth(1).unwrap().split("</muk>").next().unwrap().to_string()
    }

    pub(crate) fn expires(&self) -> u32 {
        self.request.expires().unwrap()
    }
}

pub(crate) fn text<'a>(message: &'a Message<'_>, name: HeaderName) -> &'a str {
    std::str::from_utf8(message.header(name).unwrap_or_default()).unwrap()
}

struct Servers {
    sent: Rc<RefCell<Vec<Sent>>>,
    answer: Rc<RefCell<Reply>>,
    by_port: Rc<RefCell<BTreeMap<u16, Reply>>>,
    time: Time,
}

impl Outbound for Servers {
    fn request(
        &self,
        to: &NextHop,
        request: Vec<u8>,
        within: Duration,
    ) -> Answer<'static, Result<Message<'static>, SendError>> {
        let request = Message::parse_owned(request).unwrap();
        let own = self.by_port.borrow().get(&to.addr.port()).cloned();
        let mut reply = own.unwrap_or_else(|| self.answer.borrow().clone());
        let time = self.time.clone();
        let mut wait = Duration::ZERO;
        while let Reply::After(pause, then) = reply {
            wait += pause;
            reply = *then;
        }
        let answer = match &reply {
            Reply::Says(status, ext, body) => {
                let mut out = ResponseWriter::new(&request, *status, to.addr, "bsm");
                if !ext.is_empty() {
                    out.header(HeaderName::BcastExt, ext);
                }
                let octets = match body {
                    Some((kind, octets)) => out.body(kind, octets),
                    None => out.finish(),
                };
                Some(Message::parse_owned(octets).unwrap())
            }
            _ => None,
        };
        self.sent.borrow_mut().push(Sent { at: time.clock.now().mono, to: to.clone(), request });
        Answer::later(async move {
            match answer {
                Some(answer) if wait <= within => {
                    if wait > Duration::ZERO {
                        time.sleep(wait).await;
                    }
                    Ok(answer)
                }
                _ => {
                    time.sleep(within).await;
                    Err(SendError::Timeout)
                }
            }
        })
    }
}

// ---- time and tasks

#[derive(Clone)]
pub(crate) struct Time {
    pub(crate) clock: Clock,
    hands: &'static Hands,
    timers: Rc<RefCell<BTreeSet<Duration>>>,
}

impl Time {
    fn sleep(&self, time: Duration) -> Task {
        let me = self.clone();
        let until = me.clock.now().mono + time;
        Box::pin(std::future::poll_fn(move |_| {
            if me.clock.now().mono >= until {
                return Poll::Ready(());
            }
            me.timers.borrow_mut().insert(until);
            Poll::Pending
        }))
    }
}

/// Everything.
pub(crate) struct Network {
    pub(crate) scscf: Scscf,
    pub(crate) hss: Arc<FakeHss>,
    pub(crate) sent: Rc<RefCell<Vec<Sent>>>,
    pub(crate) answer: Rc<RefCell<Reply>>,
    /// Of servers that answer otherwise than the rest.
    pub(crate) by_port: Rc<RefCell<BTreeMap<u16, Reply>>>,
    pub(crate) time: Time,
    jobs: Rc<RefCell<Vec<Task>>>,
    /// A 401 with ck and ik is expected: it goes to a P-CSCF.
    pub(crate) keys_may_go: Cell<bool>,
}

pub(crate) fn settings() -> Settings {
    let server = |name: &str, addr: &str| Peer {
        name: name.into(),
        uri: format!("sip:{name}.home1.net"),
        hop: NextHop { transport: Transport::Tcp, addr: addr.parse().unwrap(), tls_name: None },
        naf_fqdns: vec![format!("{name}.home1.net")],
        tls_names: Vec::new(),
        addresses: Vec::new(),
        key_transport: KeyTransport::MutualTls,
        trusted: true,
        tells_hss: false,
    };
    Settings {
        domain: REALM.into(),
        uri: "sip:scscf.home1.net".into(),
        bsf_domain: "bsf.home1.net".into(),
        limits: Limits { min_expires: 60, default_expires: 3600, max_expires: 600_000, max_contacts: 4 },
        aka_algorithms: vec![Algorithm::Akav1Md5],
        digest_algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
        trusted_peers: vec!["10.0.0.1".parse().unwrap()],
        send_ck_ik: false,
        key_lifetime: seconds(86_400),
        short_cut: ShortCut::HomePcscfOnly,
        extension: true,
        broadcast_timeout: seconds(5),
        fig6_response_first: false,
        servers: [
            server("bsm", "127.0.0.1:5070"),
            server("bsm2", "127.0.0.2:5070"),
            // No protected way there, so it gets no key.
            server("far", "192.0.2.9:5070"),
        ]
        .map(Arc::new)
        .into(),
    }
}

impl Network {
    pub(crate) fn new() -> Self {
        Self::with(settings(), FixedPolicy::default())
    }

    pub(crate) fn policy(policy: impl Decide + 'static) -> Self {
        Self::with(settings(), policy)
    }

    pub(crate) fn with(settings: Settings, policy: impl Decide + 'static) -> Self {
        Self::tuned(settings, policy, |_| {})
    }

    pub(crate) fn tuned(settings: Settings, policy: impl Decide + 'static, tune: impl FnOnce(&mut Shared)) -> Self {
        Self::over(settings, policy, |shared, _| tune(shared))
    }

    /// `tune` may put something between the S-CSCF and its HSS.
    pub(crate) fn over(
        settings: Settings,
        policy: impl Decide + 'static,
        tune: impl FnOnce(&mut Shared, Arc<FakeHss>),
    ) -> Self {
        let hss = Arc::new(FakeHss::default());
        let user = |impus: &[&str], broadcast, password: Option<&str>| User {
            impus: impus.iter().map(|impu| Impu::from(*impu)).collect(),
            broadcast,
            password: password.map(str::to_string),
        };
        {
            let users = &mut hss.0.lock().unwrap().users;
            let all = BroadcastSubscription::All;
            users.insert("alice@home1.net".into(), user(&["sip:alice@home1.net", "tel:+1234"], all.clone(), None));
            users.insert("bob@home1.net".into(), user(&["sip:bob@home1.net"], BroadcastSubscription::None, None));
            users.insert("carol@home1.net".into(), user(&["sip:carol@home1.net"], all, Some("secret")));
        }
        let (clock, hands) = Clock::by_hand();
        hands.advance(seconds(1000));
        let behind = hss.clone();
        Self::at(Time { clock, hands, timers: Rc::default() }, hss, settings, policy, |shared| tune(shared, behind))
    }

    /// Another node at the same time, with the same HSS.
    pub(crate) fn beside(&self, policy: impl Decide + 'static, tune: impl FnOnce(&mut Shared)) -> Self {
        let time = Time { timers: Rc::default(), ..self.time.clone() };
        Self::at(time, self.hss.clone(), settings(), policy, tune)
    }

    fn at(
        time: Time,
        hss: Arc<FakeHss>,
        settings: Settings,
        policy: impl Decide + 'static,
        tune: impl FnOnce(&mut Shared),
    ) -> Self {
        let clock = time.clock;
        let (sent, answer) = (Rc::default(), Rc::new(RefCell::new(Reply::ok())));
        let by_port: Rc<RefCell<BTreeMap<u16, Reply>>> = Rc::default();
        let outbound =
            Servers { sent: Rc::clone(&sent), answer: answer.clone(), by_port: by_port.clone(), time: time.clone() };
        let mut shared = Shared::new(settings, hss.clone(), Arc::new(Bootstraps::new(1000)), 100, seconds(240), clock);
        tune(&mut shared);
        let jobs: Rc<RefCell<Vec<Task>>> = Rc::default();
        let (spawned, sleeper) = (jobs.clone(), time.clone());
        let scscf = Scscf::new(
            Arc::new(shared),
            Rc::new(policy),
            Rc::new(outbound),
            Rc::new(move |job| spawned.borrow_mut().push(job)),
            Rc::new(move |pause| sleeper.sleep(pause)),
        );
        Network { scscf, hss, sent, answer, by_port, time, jobs, keys_may_go: Cell::new(false) }
    }

    pub(crate) fn now(&self) -> Duration {
        self.time.clock.now().mono
    }

    fn poll_jobs(&self) -> bool {
        let mut moved = false;
        let mut waiting = Vec::new();
        let jobs: Vec<Task> = self.jobs.borrow_mut().drain(..).collect();
        for mut job in jobs {
            match job.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(()) => moved = true,
                Poll::Pending => waiting.push(job),
            }
        }
        moved |= !self.jobs.borrow().is_empty();
        self.jobs.borrow_mut().extend(waiting);
        moved
    }

    /// Lets everything run that can without time passing.
    pub(crate) fn settle(&self) {
        while self.poll_jobs() {}
    }

    fn next_timer(&self, until: Duration) -> bool {
        let next = self.time.timers.borrow().first().copied().filter(|next| *next <= until);
        if let Some(next) = next {
            self.time.timers.borrow_mut().remove(&next);
            self.time.hands.advance(next.saturating_sub(self.now()));
        }
        next.is_some()
    }

    /// Time passes while this node does nothing, as one that is down.
    pub(crate) fn time_passes_unseen(&self, time: Duration) {
        self.time.hands.advance(time);
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&self, time: Duration) {
        let until = self.now() + time;
        self.settle();
        while self.next_timer(until) {
            self.settle();
        }
        self.time.hands.advance(until - self.now());
        self.settle();
    }

    /// Runs to the end of `future`, time passing as needed; jobs run along.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return value;
            }
            if !self.poll_jobs() && !self.next_timer(Duration::MAX) {
                panic!("stuck");
            }
        }
    }

    pub(crate) fn sweep(&self) {
        self.run(self.scscf.sweep());
        self.settle();
    }

    /// A request's answer; nothing that is spawned has run by then unless time had to pass.
    pub(crate) fn send(&self, request: &[u8], source: &Source) -> Message<'static> {
        let request = Message::parse_owned(request.to_vec()).unwrap();
        self.answered(self.run(self.scscf.handle(&request, source)).unwrap())
    }

    /// Leaves the request to a job; its answer comes in the cell.
    pub(crate) fn begin(&self, request: &[u8], source: &Source) -> Rc<RefCell<Option<Vec<u8>>>> {
        let (scscf, source) = (self.scscf.clone(), source.clone());
        let request = Message::parse_owned(request.to_vec()).unwrap();
        let answer = Rc::new(RefCell::new(None));
        let cell = answer.clone();
        self.jobs.borrow_mut().push(Box::pin(async move {
            let response = scscf.handle(&request, &source).await;
            *cell.borrow_mut() = response;
        }));
        self.settle();
        answer
    }

    /// Whatever a terminal is answered, no key is in it.
    pub(crate) fn answered(&self, response: Vec<u8>) -> Message<'static> {
        let response = Message::parse_owned(response).unwrap();
        response.check().unwrap();
        if !self.keys_may_go.get() {
            assert_no_secrets(response.bytes(), &self.secrets());
        }
        response
    }

    /// Everything secret that this network has made so far: CK, IK, RES, Ks and Ks_NAF.
    pub(crate) fn secrets(&self) -> Vec<Vec<u8>> {
        let naf = NafId::parse(NAF).unwrap();
        let store = self.hss.0.lock().unwrap();
        let of = |(impi, v): &(String, AkaVector)| {
            let ks = Ks::new(&v.ck, &v.ik);
            let naf_key = ks_naf(&ks, &v.rand, impi, &naf).0.to_vec();
            vec![v.ck.0.to_vec(), v.ik.0.to_vec(), v.xres.as_bytes().to_vec(), ks.0.to_vec(), naf_key]
        };
        store.vectors.iter().flat_map(of).collect()
    }

    /// The HSS's calls since the last time.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.hss.0.lock().unwrap().calls)
    }

    /// What went to broadcast servers since the last time.
    pub(crate) fn forwarded(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.sent.borrow_mut())
    }

    pub(crate) fn answer(&self, reply: Reply) {
        *self.answer.borrow_mut() = reply;
    }

    /// One server's own way to answer.
    pub(crate) fn answer_at(&self, port: u16, reply: Reply) {
        self.by_port.borrow_mut().insert(port, reply);
    }

    pub(crate) fn is_registered(&self, impi: &str) -> bool {
        self.scscf.shared.table.get(impi).is_some()
    }

    pub(crate) fn leg_state(&self, impi: &str) -> Option<RegState> {
        self.scscf.shared.table.leg(impi).map(|leg| leg.state)
    }
}

pub(crate) fn assert_no_secrets(octets: &[u8], secrets: &[Vec<u8>]) {
    use base64::Engine;
    let lower = octets.to_ascii_lowercase();
    let holds = |part: &[u8], whole: &[u8]| whole.windows(part.len()).any(|w| w == part);
    for secret in secrets {
        let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
        let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret);
        assert!(!holds(secret, octets) && !holds(hex.as_bytes(), &lower), "a key in what the terminal gets");
        assert!(!holds(base64.as_bytes(), octets), "a key in what the terminal gets");
    }
}

pub(crate) fn source(transport: Transport, addr: &str) -> Source {
    let local = "127.0.0.1:5060".parse().unwrap();
    Source { transport, addr: addr.parse().unwrap(), local, peer_names: Arc::new([]) }
}
