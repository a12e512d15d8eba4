//! What one user, registered with the IMS and with a broadcast server, costs in memory, table by table: the tables of a
//! node, filled in the order in which a registration fills them, through what its procedures call.
//!
//! `cargo bench --bench memory` · `memory USERS` for others than 100 000. Octets are those that glibc's allocator takes for
//! what is alive (a multiple of 16, 8 of them its own, 32 at least), so they hold for any machine and do not know of
//! fragmentation; a table that grows by doubling costs more or less with the number of users.
#![allow(unsafe_code)] // one trait whose methods are unsafe to call, below

use imscript::aka::{Algorithm as Aka, Amf, KeySet, Sqn};
use imscript::auth::challenge::{Challenge, Challenges, Memo, Secret};
use imscript::auth::digest::Algorithm;
use imscript::broadcast::forward::ThirdParty;
use imscript::broadcast::identify::Portion;
use imscript::broadcast::keys::KeyDocument;
use imscript::broadcast::state::{BsmState, Update};
use imscript::clock::Clock;
use imscript::gba::bootstrap::{Bootstrap, Bootstraps, Holder, Made};
use imscript::gba::btid::Btid;
use imscript::gba::kdf::Ks;
use imscript::gba::naf_id::NafId;
use imscript::hss::embedded::{Credentials, EmbeddedHss, Settings, Subscriber, Subscribers};
use imscript::hss::{Assignment, AuthItem, AuthScheme, BroadcastState, BroadcastSubscription, Hss, Profile, RegState};
use imscript::identity::{Impi, Impu};
use imscript::registrar::Limits;
use imscript::registrar::registration::Plan;
use imscript::registrar::subscription::Checks;
use imscript::registrar::table::{Leg, Table};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use imscript::store::seal::Seal;
use imscript::store::sqlite::{Durability, Sqlite};
use imscript::store::{Memory, Store};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

static OCTETS: AtomicUsize = AtomicUsize::new(0);
static PIECES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

/// What glibc takes for so much: its own word before it, in steps of 16.
fn chunk(layout: Layout) -> usize {
    ((layout.size() + 8).next_multiple_of(16)).max(32)
}

// SAFETY: every method hands its arguments unchanged to `System`, which keeps the contract of `GlobalAlloc`, and gives
// back what `System` gave; the counters touch no memory but their own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        OCTETS.fetch_add(chunk(layout), Ordering::Relaxed);
        PIECES.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System.alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        OCTETS.fetch_sub(chunk(layout), Ordering::Relaxed);
        PIECES.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: `at` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const DOMAIN: &str = "home1.net";
const NAF: &str = "bsm.home1.net";

/// Of `imscript load`.
fn name(n: usize) -> String {
    format!("00101{n:010}@{DOMAIN}")
}

struct Nothing;

impl Memo for Nothing {
    fn octets(&self) -> usize {
        0
    }
    fn shed(&mut self) {}
}

/// Runs a step for each user and prints what it has left behind.
fn step(what: &str, users: usize, total: &mut (f64, f64), mut each: impl FnMut(usize)) {
    let before = (OCTETS.load(Ordering::Relaxed), PIECES.load(Ordering::Relaxed));
    (0..users).for_each(&mut each);
    let per_user = |now: usize, before: usize| now.saturating_sub(before) as f64 / users as f64;
    let octets = per_user(OCTETS.load(Ordering::Relaxed), before.0);
    let pieces = per_user(PIECES.load(Ordering::Relaxed), before.1);
    println!("{what:44} {octets:8.0} {pieces:12.1}");
    (total.0, total.1) = (total.0 + octets, total.1 + pieces);
}

fn main() {
    let users = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100_000usize);
    let clock = Clock::new();
    let now = clock.now();
    let dir = tempfile::tempdir().expect("a folder");
    let store = Sqlite::open_node(dir.path(), Durability::WriteBehind, clock).expect("a store");
    let store: Arc<dyn Store> = Arc::new(store);
    let provisioned = Subscribers::new(store.clone(), Arc::new(Seal::none()));
    let subscriber = |n: usize| Subscriber {
        impi: Impi::new(name(n)),
        impus: [Impu::new(format!("sip:{}", name(n)))].into(),
        credentials: Credentials::Aka(KeySet::from_opc(Aka::Milenage, &[7; 16], &[9; 16]).expect("keys")),
        amf: Amf([0; 2]),
        sqn: Sqn::from_parts(0, 0),
        broadcast: BroadcastSubscription::All,
        service: "".into(),
    };
    for first in (0..users).step_by(1000) {
        let some: Vec<Subscriber> = (first..users.min(first + 1000)).map(subscriber).collect();
        provisioned.provision(&some, now, false, &mut |_| {}).expect("provisioned");
    }
    println!("{:44} {:>8} {:>12}", format!("{users} users"), "octets", "allocations");
    let (mut total, mut hss) = ((0.0, 0.0), None);
    step("HSS: subscribers", users, &mut total, |n| {
        if n == 0 {
            let seal = Arc::new(Seal::none());
            let opened = EmbeddedHss::open(store.clone(), seal, Settings::default(), now).expect("an HSS");
            opened.filled();
            hss = Some(opened);
        }
    });
    let hss = hss.filter(|hss| hss.len() == users).expect("an HSS with all subscribers");

    let challenges = Challenges::new(1_000_000, Duration::from_secs(240));
    let table = Table::default();
    let bootstraps = Bootstraps::new(10_000_000);
    let checks = Checks::default();
    let impi = |n: usize| Impi::new(name(n));
    let profile = |n: usize| -> Profile {
        let (impi, impu) = (impi(n), Impu::new(format!("sip:{}", name(n))));
        hss.server_assignment(&impi, &impu, Assignment::Registration, now).wait().expect("a profile")
    };
    let vector = |impi: &Impi, impu: &Impu| match hss
        .multimedia_auth(impi, impu, AuthScheme::DigestAka, None, now)
        .wait()
        .expect("a vector")
    {
        AuthItem::Aka(vector) => vector,
        AuthItem::Digest { .. } => panic!("a vector for a card"),
    };
    step("HSS: vector, and that he is registered", users, &mut total, |n| {
        vector(&impi(n), &Impu::new(format!("sip:{}", name(n))));
        profile(n);
        if n + 1 == users {
            hss.flush();
        }
    });
    step("S-CSCF: challenge, answered", users, &mut total, |n| {
        let impi = impi(n);
        let vector = vector(&impi, &profile(n).impus[0]);
        let algorithms = [Algorithm::Akav1Md5].into();
        let nonce: Box<str> = name(n).into();
        let challenge =
            Challenge { nonce: nonce.clone(), algorithms, secret: Secret::Aka(vector), resyncs: 0, memo: Nothing };
        challenges.put(&impi, challenge, now.mono);
        assert!(challenges.take(impi.as_str(), nonce.as_bytes(), now.mono).is_some());
    });
    let source = Source {
        transport: Transport::Udp,
        addr: "127.0.0.1:40000".parse().expect("an address"),
        local: "127.0.0.1:5060".parse().expect("an address"),
        peer_names: Arc::default(),
    };
    let limits = Limits { min_expires: 60, default_expires: 3600, max_expires: 600_000, max_contacts: 10 };
    step("S-CSCF: contact", users, &mut total, |n| {
        let name = name(n);
        let request = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:40000;branch=z9hG4bK1\r\n\
             From: <sip:{name}>;tag=1\r\nTo: <sip:{name}>\r\nCall-ID: {n:016x}{n:016x}\r\nCSeq: 2 REGISTER\r\n\
             Contact: <sip:00101{n:010}@127.0.0.1:40000>;expires=3600;\
             +sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-{n:012x}>\"\r\nContent-Length: 0\r\n\r\n"
        );
        let request = Message::parse(request.as_bytes()).expect("a request");
        let plan = Plan::read(&request, &limits).expect("contacts");
        let profile = profile(n);
        let mono = now.mono + Duration::from_micros(100 * n as u64);
        // What the HSS has of him already need not be kept twice.
        let impi = profile.impi.clone().expect("a private identity");
        let (bound, _) = table.update(&impi, &profile.impus, |registration| {
            registration.barred.clone_from(&profile.barred);
            registration.apply(&plan, &request, &source, &limits, mono, 1).is_ok()
        });
        assert!(bound);
    });
    // Of one REGISTER the text of the private identity goes everywhere.
    let asked = |n: usize| table.get(&name(n)).expect("registered").impi;
    step("S-CSCF and BSF: Ks", users, &mut total, |n| {
        let impi = asked(n);
        let vector = vector(&impi, &profile(n).impus[0]);
        let new = Bootstrap {
            impus: profile(n).impus,
            ks: Ks::new(&vector.ck, &vector.ik),
            btid: Btid::new(&vector.rand, "bsf.home1.net"),
            expires: 0,
            created: Default::default(),
            made: Made::ByRegistration,
            holder: Holder::Me,
            subscription: BroadcastSubscription::All,
            settings: Default::default(),
            impi,
        };
        bootstraps.put(new, Duration::from_secs(86_400), now).expect("room");
    });
    step("S-CSCF: subscription checked", users, &mut total, |n| {
        let naf = NafId::parse(NAF).expect("a NAF");
        let portion = Portion { naf, profile: None, payload: None, btid: None, all_or_nothing: false };
        checks.record(&asked(n), &checks.wanted(&portion, false), BroadcastSubscription::All, now.mono);
    });
    let server = arcstr::ArcStr::from("bsm");
    step("S-CSCF: broadcast leg", users, &mut total, |n| {
        let impi = impi(n);
        let btid = bootstraps.of_impi(&impi, now).expect("a bootstrapping").btid.clone();
        let leg = Leg {
            server: server.clone(),
            naf: NafId::parse(NAF).expect("a NAF"),
            impu: profile(n).impus[0].clone(),
            btid: Some(btid),
            state: RegState::Registered,
            serial: table.next_serial(now.mono, 0),
            changes: 0,
            outstanding: None,
            dialog: ThirdParty::new(DOMAIN),
        };
        table.update_leg(impi.as_str(), |held| *held = Some(leg)).expect("registered");
    });
    step("HSS: broadcast registration", users, &mut total, |n| {
        let state = BroadcastState {
            state: RegState::Registered,
            server: "bsm".into(),
            naf_fqdn: NAF.into(),
            btid: bootstraps.of_impi(&impi(n), now).map(|held| held.btid.text()),
        };
        hss.broadcast_update(&Impu::new(format!("sip:{}", name(n))), state, now).wait().expect("told");
        if n + 1 == users {
            hss.flush();
        }
    });
    let memory: Arc<dyn Store> = Arc::new(Memory::new(clock));
    let bsm = BsmState::new(10_000_000, memory, Arc::new(Seal::none()), Vec::new());
    step("broadcast server: user and key", users, &mut total, |n| {
        let impu = Impu::new(format!("sip:{}", name(n)));
        let held = bootstraps.of_impi(&impi(n), now).expect("a bootstrapping");
        let sent = held.key_document(&NafId::parse(NAF).expect("a NAF")).to_xml();
        let document = KeyDocument::parse(&sent).expect("what was written");
        let update = Update {
            state: RegState::Registered,
            naf: NafId::parse(NAF).expect("a NAF"),
            btid: Some(Btid::parse(&held.btid.text()).expect("a B-TID")),
            until: bsm.time(now) + Duration::from_secs(3600),
            subscription: document.services.clone(),
            ims_peer: 0,
        };
        bsm.update(&impu, update, now).expect("room");
        bsm.install_key(&impu, &document, now).expect("a key");
    });
    println!("{:44} {:8.0} {:12.1}", "all", total.0, total.1);
    let most = Duration::from_secs(86_000);
    assert!(bootstraps.len() == users && table.len() == users && bsm.len() == users && now.mono < most);
    store.close();
}
