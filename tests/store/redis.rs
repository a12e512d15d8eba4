//! One Redis server: the common behaviour, and what it has of its own.

use crate::behaviour::{self, Bed, key, load, made, put};
use crate::servers::{self, Server, Wire};
use imscript::clock::{Clock, Now};
use imscript::store::redis::{Options, Redis};
use imscript::store::{Due, Key, Save, Saved, Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Stores that do not meet: each has a prefix of its own.
pub(crate) struct Bench {
    urls: Vec<String>,
    clock: Clock,
    number: AtomicU32,
}

impl Bench {
    pub(crate) fn new(urls: Vec<String>) -> Self {
        Bench { urls, clock: Clock::new(), number: AtomicU32::new(0) }
    }
}

pub(crate) fn open(urls: &[String], prefix: &str) -> Redis {
    open_at(urls, prefix, Clock::new())
}

fn open_at(urls: &[String], prefix: &str, clock: Clock) -> Redis {
    Redis::open(&Options { urls: urls.to_vec(), prefix: prefix.into(), ca: None }, clock).unwrap()
}

/// What comes by itself has come by then, also on a busy machine; by itself it takes a second or two.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// How long `ask` takes, and what it says.
pub(crate) fn timed<T>(ask: impl FnOnce() -> T) -> (Duration, T) {
    let from = Instant::now();
    let answer = ask();
    (from.elapsed(), answer)
}

pub(crate) fn eventually(what: &str, within: Duration, mut test: impl FnMut() -> bool) -> Duration {
    let from = Instant::now();
    while !test() {
        assert!(from.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    from.elapsed()
}

/// Asks so many times: each time nobody is there, and that is said at once. A machine that has other things to do may hold up
/// one in ten.
pub(crate) fn assert_refuses_at_once<T: std::fmt::Debug>(times: usize, mut ask: impl FnMut() -> Result<T, StoreError>) {
    let mut all = Vec::new();
    for _ in 0..times {
        let (took, answer) = timed(&mut ask);
        assert!(matches!(answer, Err(StoreError::Away(_))), "{answer:?}");
        all.push(took);
    }
    all.sort();
    assert!(all[times * 9 / 10] < Duration::from_millis(200) && all[times - 1] < Duration::from_secs(3), "{all:?}");
}

pub(crate) fn save(store: &dyn Store, name: &str) -> Result<Saved, StoreError> {
    store.save(Save::whole(key(name), vec![put("a", "1")])).wait()
}

impl Bed for Bench {
    fn store(&self) -> Arc<dyn Store> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Arc::new(open_at(&self.urls, &format!("t{number}"), self.clock))
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn while_(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn pass(&self, by: Duration) {
        std::thread::sleep(by);
    }
}

#[test]
fn one_server_does_what_a_store_does() {
    if servers::installed() {
        let server = Server::start(&[]);
        behaviour::all(&Bench::new(vec![server.url()]));
    }
}

#[test]
fn a_node_may_be_there_before_its_server() {
    if !servers::installed() {
        return;
    }
    let mut server = Server::start(&[]);
    server.kill();
    let store = open(&[server.url()], "t");
    assert_refuses_at_once(20, || save(&store, "x"));
    let health = store.health();
    assert!(!health.is_empty() && health.iter().all(|part| !part.reads && !part.why.is_empty()), "{health:?}");
    assert!(matches!(store.claim_due(Duration::from_secs(1), 1).wait(), Err(StoreError::Away(_))));
    assert!(matches!(store.walk(key("x").class, &mut |_, _| panic!()), Err(StoreError::Away(_))));
    server.run();
    eventually("it is there", SOON, || save(&store, "x").is_ok());
}

#[test]
fn a_server_that_goes_and_comes_back_has_another_epoch() {
    if !servers::installed() {
        return;
    }
    let mut server = Server::start(&[]);
    let store = open(&[server.url()], "t");
    save(&store, "x").unwrap();
    let epoch = store.epoch(&key("x"));
    server.kill();
    assert_refuses_at_once(50, || save(&store, "x"));
    assert_refuses_at_once(50, || store.load(vec![key("x"), key("y"), key("z")]).wait());
    assert_eq!(store.epoch(&key("x")), epoch, "nobody knows yet");
    server.run();
    eventually("it is back", SOON, || store.load(vec![key("x")]).wait().is_ok());
    assert_ne!(store.epoch(&key("x")), epoch, "known before the first answer");
    assert!(!load(&store, key("x")).exists());
}

#[test]
fn an_emptied_server_is_noticed() {
    if !servers::installed() {
        return;
    }
    let server = Server::start(&[]);
    let (one, other) = (open(&[server.url()], "t"), open(&[server.url()], "t"));
    save(&one, "x").unwrap();
    let epochs = (one.epoch(&key("x")), other.epoch(&key("x")));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((one.epoch(&key("x")), other.epoch(&key("x"))), epochs, "nothing has happened");
    server.cli(&["FLUSHALL"]);
    eventually("both notice", SOON, || one.epoch(&key("x")) != epochs.0 && other.epoch(&key("x")) != epochs.1);
    save(&one, "x").unwrap();
    assert!(load(&other, key("x")).exists());
}

#[test]
fn a_partition_is_over_when_it_is_over() {
    if !servers::installed() {
        return;
    }
    let server = Server::start(&[]);
    let wire = Wire::to(server.port);
    let store = open(&[wire.url()], "t");
    save(&store, "x").unwrap();
    let epoch = store.epoch(&key("x"));
    wire.cut(true);
    let from = Instant::now();
    let (took, answer) = timed(|| save(&store, "x"));
    assert!(matches!(answer, Err(StoreError::Away(_))) && took < Duration::from_secs(3), "{took:?} {answer:?}");
    while from.elapsed() < Duration::from_secs(2) {
        assert_refuses_at_once(20, || save(&store, "x"));
        std::thread::sleep(Duration::from_millis(10));
    }
    wire.cut(false);
    eventually("it is back", SOON, || save(&store, "x").is_ok());
    assert_eq!(store.epoch(&key("x")), epoch, "the same server, which has lost nothing");
}

#[test]
fn a_clock_that_is_wrong_plays_no_role() {
    if !servers::installed() {
        return;
    }
    let server = Server::start(&[]);
    // Its wall clock shows the first of January 2026, and it stands.
    let (clock, hands) = Clock::by_hand();
    let store = open_at(&[server.url()], "t", clock);
    let right = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let is_right = || store.time(clock.now()).abs_diff(right()) < Duration::from_secs(2);
    eventually("it is the server's", SOON, is_right);
    assert!(clock.now().unix.abs_diff(right()) > Duration::from_secs(86_400));
    let mut before = store.time(clock.now());
    for step in [3600, 0, 0, 0] {
        hands.advance(Duration::from_secs(step));
        std::thread::sleep(Duration::from_millis(600));
        let now = store.time(clock.now());
        assert!(now >= before, "it does not go back");
        before = now;
    }
}

#[test]
fn what_two_nodes_claim_each_gets_once() {
    if !servers::installed() {
        return;
    }
    let server = Server::start(&[]);
    let urls = [server.url()];
    let stores = [open(&urls, "t"), open(&urls, "t")];
    let at = stores[0].time(Clock::new().now());
    let names: BTreeSet<Key> = (0..300).map(|n| key(&format!("c{n}"))).collect();
    for key in &names {
        made(&stores[0], Save::whole(key.clone(), vec![put("a", "1")]).due(Due::At(at)));
    }
    let claimed = AtomicU32::new(0);
    let claim = |store: &Redis| {
        let (mut all, begun) = (Vec::new(), Instant::now());
        // All, and for a while whatever may come beyond.
        while claimed.load(Ordering::Relaxed) < 300 && begun.elapsed() < SOON
            || begun.elapsed() < Duration::from_secs(3)
        {
            let keys = store.claim_due(Duration::from_secs(60), 20).wait().unwrap();
            claimed.fetch_add(keys.len() as u32, Ordering::Relaxed);
            all.extend(keys);
        }
        all
    };
    let all = std::thread::scope(|scope| {
        let claims: Vec<_> = stores.iter().map(|store| scope.spawn(|| claim(store))).collect();
        claims.into_iter().map(|claim| claim.join().unwrap()).collect::<Vec<_>>().concat()
    });
    assert_eq!((all.len(), BTreeSet::from_iter(all)), (300, names));
}

#[test]
fn scripts_that_a_server_loses_are_given_again() {
    if !servers::installed() {
        return;
    }
    let server = Server::start(&[]);
    let store = open(&[server.url()], "t");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20 {
                server.cli(&["SCRIPT", "FLUSH"]);
                std::thread::sleep(Duration::from_millis(20));
            }
            stop.store(true, Ordering::SeqCst);
        });
        let mut n = 0;
        while !stop.load(Ordering::SeqCst) {
            let saves: Vec<_> =
                (n..n + 20).map(|n| store.save(Save::whole(key("x"), vec![put("n", n.to_string())]))).collect();
            n += 20;
            let last = load(&store, key("x"));
            assert_eq!(last.field("n"), Some((n - 1).to_string().as_bytes()), "all before it are made");
            saves.into_iter().for_each(|save| _ = save.wait().unwrap());
        }
    });
}

#[test]
fn a_full_server_is_read_and_says_that_it_is_full() {
    if !servers::installed() {
        return;
    }
    let server = Server::start(&[]);
    let store = open(&[server.url()], "t");
    save(&store, "x").unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let answer = save(&store, "y");
    assert!(matches!(answer, Err(StoreError::Unwritable(_))), "{answer:?}");
    assert!(load(&store, key("x")).exists());
    let health = store.health();
    assert!(health[0].reads && !health[0].writes && health[0].why.contains("OOM"), "{health:?}");
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    save(&store, "y").unwrap();
    eventually("it says so", SOON, || store.health()[0].writes);
}

#[test]
fn what_lies_there_and_is_none_of_ours_is_named() {
    if !servers::installed() {
        return;
    }
    let server = Server::start(&[]);
    let store = open(&[server.url()], "t");
    save(&store, "x").unwrap();
    let name = server.cli(&["--scan", "--pattern", "t:*:user:x"]);
    server.cli(&["HSET", &name, "", "nonsense"]);
    let damaged =
        |answer: Option<StoreError>| matches!(answer, Some(StoreError::Damaged { key: at, .. }) if at == key("x"));
    assert!(damaged(store.load(vec![key("x")]).wait().err()));
    assert!(damaged(save(&store, "x").err()));
    server.cli(&["SET", &name, "text"]);
    assert!(damaged(store.load(vec![key("x")]).wait().err()));
    assert!(damaged(save(&store, "x").err()));
}

#[test]
fn over_tls_with_a_user_who_may_only_what_is_needed() {
    if !servers::installed() {
        return;
    }
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let key_pair = rcgen::KeyPair::generate().unwrap();
    let leaf =
        rcgen::CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap().signed_by(&key_pair, &issuer).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let page = include_str!("../../docs/deployment.md");
    let rule = page.lines().find(|line| line.starts_with("user imscript on ")).unwrap();
    let acl = format!("{}\nuser default off\n", rule.replace("change-me", "p%ss/word").replace("~home1:", "~net1:"));
    let server = Server::start_in(|port, dir| {
        for (name, text) in [("cert.pem", leaf.pem()), ("key.pem", key_pair.serialize_pem()), ("acl", acl.clone())] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let file = |name: &str| dir.join(name).display().to_string();
        let tls = ["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "no"].map(str::to_owned);
        let files = [("--tls-cert-file", "cert.pem"), ("--tls-key-file", "key.pem"), ("--aclfile", "acl")];
        let files = files.into_iter().flat_map(|(option, name)| [option.to_owned(), file(name)]);
        tls.into_iter().chain(files).chain(["--tls-ca-cert-file".into(), ca_file.display().to_string()]).collect()
    });
    let options = |password: &str, ca: Option<std::path::PathBuf>| Options {
        urls: vec![format!("rediss://imscript:{password}@127.0.0.1:{}", server.port)],
        prefix: "net1".into(),
        ca,
    };
    let store = Redis::open(&options("p%25ss%2Fword", Some(ca_file.clone())), Clock::new()).unwrap();
    made(&store, Save::whole(key("x"), vec![put("a", "1")]).due(Due::At(Duration::ZERO)));
    assert_eq!(store.claim_due(Duration::from_secs(9), 9).wait().unwrap(), [key("x")]);
    let mut walked = 0;
    let mut each = |_: &Key, _| {
        walked += 1;
        std::ops::ControlFlow::Continue(())
    };
    store.walk(key("x").class, &mut each).unwrap();
    assert_eq!(walked, 1);
    assert!(store.take(key("x")).wait().unwrap().exists());
    assert!(store.health().iter().all(|part| part.writes), "{:?}", store.health());
    // Not with a wrong password, which nobody is told, and not with a server that no authority vouches for.
    let wrong = options("wr0ng-s3cret", Some(ca_file));
    for options in [wrong, options("p%25ss%2Fword", None)] {
        let store = match Redis::open(&options, Clock::new()) {
            Ok(store) => store,
            Err(error) => {
                assert!(error.to_string().contains("ca: "), "{error}"); // a system without authorities
                continue;
            }
        };
        let answer = save(&store, "x").unwrap_err();
        let said = format!("{answer} {:?} {options:?}", store.health());
        assert!(matches!(answer, StoreError::Away(_)), "{said}");
        for secret in ["wr0ng", "p%25", "p%ss"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}
