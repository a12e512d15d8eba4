//! What a second worker brings: registrations by AKA in memory, from a request's octets to its answer's, on one thread and on two
//! that share tables, HSS and keys, each with users of its own. `cargo bench --bench workers` · `workers THREADS` for others than two.
//!
//! What counts is the thread's CPU time within the S-CSCF: neither network nor generator is in it, so it shows what sharing costs
//! (locks, and memory that one core takes from the other), on a machine with as many cores as threads.

use imscript::aka::{Algorithm as Aka, Amf, KeySet, Sqn};
use imscript::answer::Answer;
use imscript::auth::digest::Algorithm;
use imscript::clock::Clock;
use imscript::gba::bootstrap::{Bootstraps, ShortCut};
use imscript::hss::BroadcastSubscription;
use imscript::hss::embedded::{Credentials, EmbeddedHss, Settings as HssSettings, Subscriber, Subscribers};
use imscript::identity::{Impi, Impu};
use imscript::policy::lua::{Env, Generation, Unit, builtin};
use imscript::registrar::scscf::{Scscf, Shared};
use imscript::registrar::{Limits, Settings};
use imscript::sip::Message;
use imscript::sip::print::insert_via;
use imscript::sip::transaction::{NextHop, Outbound, SendError, Source, Transport};
use imscript::store::seal::Seal;
use imscript::store::{Memory, Store};
use imscript::terminal::identifiers::Identifiers;
use imscript::terminal::register::{Account, Contact, Credentials as Card, Flow, Portion, Start, Step};
use imscript::terminal::usim::{SqnArray, Usim};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const DOMAIN: &str = "home1.net";
const USERS: usize = 20_000;
const ROUNDS: usize = 5;
/// Of each measurement.
const TIME: Duration = Duration::from_secs(1);

fn name(n: usize) -> String {
    format!("00101{n:010}@{DOMAIN}")
}

fn keys() -> KeySet {
    KeySet::from_opc(Aka::Milenage, &[7; 16], &[9; 16]).expect("keys")
}

/// What all threads have in common: a node's tables without a network.
fn node() -> Arc<Shared> {
    let clock = Clock::new();
    let store: Arc<dyn Store> = Arc::new(Memory::new(clock));
    let subscribers = Subscribers::new(store.clone(), Arc::new(Seal::none()));
    let subscriber = |n: usize| Subscriber {
        impi: Impi::new(name(n)),
        impus: [Impu::new(format!("sip:{}", name(n)))].into_iter().collect(),
        credentials: Credentials::Aka(keys()),
        amf: Amf::IMS,
        sqn: Sqn::from_parts(0, 0),
        broadcast: BroadcastSubscription::None,
        service: "".into(),
    };
    let all: Vec<Subscriber> = (0..USERS).map(subscriber).collect();
    subscribers.provision(&all, clock.now(), false, &mut |_| {}).expect("subscribers");
    let hss = EmbeddedHss::open(store, Arc::new(Seal::none()), HssSettings::default(), clock.now()).expect("an HSS");
    hss.filled();
    let settings = Settings {
        domain: DOMAIN.into(),
        uri: format!("sip:scscf.{DOMAIN}"),
        bsf_domain: format!("bsf.{DOMAIN}"),
        limits: Limits { min_expires: 60, default_expires: 3600, max_expires: 600_000, max_contacts: 10 },
        aka_algorithms: vec![Algorithm::Akav1Md5],
        digest_algorithms: vec![Algorithm::Md5],
        trusted_peers: vec!["127.0.0.1".parse().expect("an address")],
        send_ck_ik: false,
        key_lifetime: Duration::from_secs(86_400),
        short_cut: ShortCut::HomePcscfOnly,
        extension: true,
        broadcast_timeout: Duration::from_secs(5),
        fig6_response_first: false,
        servers: Arc::new([]),
    };
    let bootstraps = Arc::new(Bootstraps::new(1_000_000));
    Arc::new(Shared::new(settings, hss, bootstraps, 1_000_000, Duration::from_secs(240), clock))
}

/// Nobody is at the other end.
struct Nowhere;

impl Outbound for Nowhere {
    fn request(&self, _: &NextHop, _: Vec<u8>, _: Duration) -> Answer<'static, Result<Message<'static>, SendError>> {
        Answer::now(Err(SendError::Timeout))
    }
}

/// One worker: registers its users again and again for a while. Its registrations, and its CPU time within the S-CSCF.
fn work(shared: &Arc<Shared>, users: impl Iterator<Item = usize>, start: &Barrier) -> (u64, Duration) {
    let program = builtin("default").and_then(|source| source.compile().ok()).expect("the default policy");
    let env = Env { servers: shared.servers.clone(), ..Env::detached(&[]) };
    let chain = Generation::new(1, [Arc::new(Unit::policy(program))]).chain(&env).expect("a chain");
    let never = |_| -> imscript::answer::Task { Box::pin(std::future::pending()) };
    let scscf = Scscf::new(shared.clone(), Rc::new(chain), Rc::new(Nowhere), Rc::new(drop), Rc::new(never));
    let mut identifiers = Identifiers::new().expect("random octets");
    let mut accounts: Vec<(Account, u32)> = users
        .map(|n| {
            let account = Account {
                impi: Impi::new(name(n)),
                impu: Impu::new(format!("sip:{}", name(n))),
                domain: DOMAIN.into(),
                realm: DOMAIN.into(),
                bsf_domain: format!("bsf.{DOMAIN}").into(),
                credentials: Card::Card(Box::new(Usim::new(keys(), SqnArray::fresh()))),
            };
            (account, 0)
        })
        .collect();
    let source = Source {
        transport: Transport::Udp,
        addr: "127.0.0.1:40000".parse().expect("an address"),
        local: "127.0.0.1:5060".parse().expect("an address"),
        peer_names: Arc::from([]),
    };
    let mut register = |(account, cseq): &mut (Account, u32)| {
        let mut spent = Duration::ZERO;
        let begin = Start {
            call_id: account.impi.as_str().into(),
            cseq: *cseq + 1,
            contact: Contact::Bind { uri: "sip:127.0.0.1:40000".into(), instance: "urn:uuid:bench".into() },
            expires: 3600,
            portion: Portion::default(),
            accept_bodies: false,
            reliable: false,
        };
        let mut flow = Flow::new(begin, &mut identifiers);
        let mut request = flow.first(account);
        loop {
            let octets = insert_via(&request, &format!("SIP/2.0/UDP 127.0.0.1:40000;branch=z9hG4bK{}", flow.cseq()));
            let before = thread_time();
            let answer = answer(&scscf, &octets, &source);
            spent += thread_time().saturating_sub(before);
            match flow.answer(account, &Message::parse_owned(answer).expect("an answer")) {
                Step::Send(next) => request = next,
                Step::Registered(_) => break,
                Step::Failed(why) => panic!("{why}"),
            }
        }
        *cseq = flow.cseq();
        spent
    };
    for account in &mut accounts {
        register(account);
    }
    start.wait();
    let (began, mut count, mut spent) = (Instant::now(), 0, Duration::ZERO);
    loop {
        for account in &mut accounts {
            spent += register(account);
            count += 1;
            if began.elapsed() >= TIME {
                return (count, spent);
            }
        }
    }
}

/// From octets to octets; with everything in memory there is nothing to wait for.
fn answer(scscf: &Scscf, octets: &[u8], source: &Source) -> Vec<u8> {
    let request = Message::parse(octets).expect("a request");
    request.check().expect("a sound request");
    let mut answer = pin!(scscf.handle(&request, source));
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(answer)) => answer,
        Poll::Ready(None) | Poll::Pending => panic!("no answer at once"),
    }
}

fn thread_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// CPU of one registration, in microseconds, with so many workers.
fn measure(threads: usize) -> f64 {
    let (shared, start) = (node(), Barrier::new(threads));
    let done: Vec<(u64, Duration)> = std::thread::scope(|scope| {
        let one = |first| {
            let (shared, start) = (&shared, &start);
            scope.spawn(move || work(shared, (first..USERS).step_by(threads), start))
        };
        let all: Vec<_> = (0..threads).map(one).collect();
        all.into_iter().map(|one| one.join().expect("a worker")).collect()
    });
    let (count, spent) =
        done.into_iter().fold((0, Duration::ZERO), |(n, sum), (count, spent)| (n + count, sum + spent));
    spent.as_secs_f64() * 1e6 / count as f64
}

fn main() {
    let threads = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(2usize).max(2);
    println!("{:>10} {:>12} {:>12} {:>20}", "round", "1, µs", format!("{threads}, µs"), "as much as one");
    let mut gains: Vec<f64> = Vec::new();
    for round in 1..=ROUNDS {
        let (alone, together) = (measure(1), measure(threads));
        gains.push(threads as f64 * alone / together);
        println!("{round:>10} {alone:>12.2} {together:>12.2} {:>20.2}", gains[gains.len() - 1]);
    }
    gains.sort_by(f64::total_cmp);
    println!(
        "{threads} workers do {:.2} ({:.2}..{:.2}) times what one does",
        gains[gains.len() / 2],
        gains[0],
        gains[gains.len() - 1]
    );
}
