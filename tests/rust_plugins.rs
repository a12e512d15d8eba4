//! Plugins in Rust: their place in the chain, what a panic and a slow call do, what a reload leaves alone, and a node
//! that has them.

use imscript::clock::{Clock, Hands};
use imscript::config::Config;
use imscript::policy::lua::{Env, Generation, PolicySource, Seat, Unit};
use imscript::policy::native::Maker;
use imscript::policy::verdict::{Authorized, Register, Reject};
use imscript::policy::{Chain, Context, Decide, Native, OnError, Plugin, Stage, order};
use imscript::server::{Node, StartError};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const REGISTER: &str = "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bK1;rport\r\n\
    Max-Forwards: 70\r\nFrom: <sip:alice@home1.net>;tag=a\r\nTo: <sip:alice@home1.net>\r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\n\
    Authorization: Digest username=\"alice@home1.net\", realm=\"home1.net\", nonce=\"\", uri=\"sip:home1.net\", response=\"\"\r\n\
    Contact: <sip:alice@127.0.0.1:5099>\r\nContent-Length: 0\r\n\r\n";

/// A plugin of closures.
struct Made<F> {
    name: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
    on_error: OnError,
    register: F,
}

impl<F: Fn() -> Option<Register>> Made<F> {
    fn new(name: &'static str, register: F) -> Self {
        Made { name, before: &[], after: &[], on_error: OnError::Skip, register }
    }
}

impl<F: Fn() -> Option<Register>> Plugin for Made<F> {
    fn name(&self) -> &str {
        self.name
    }
    fn before(&self) -> &[&str] {
        self.before
    }
    fn after(&self) -> &[&str] {
        self.after
    }
    fn on_error(&self) -> OnError {
        self.on_error
    }
    fn stages(&self) -> &[Stage] {
        &[Stage::Register]
    }
    fn register(&self, _request: &Message<'_>, _ctx: &Context<'_>) -> Option<Register> {
        (self.register)()
    }
}

fn rejects(status: u16) -> impl Fn() -> Option<Register> {
    move || Some(Register::Reject(Reject::new(status, "Test")))
}

fn source() -> Source {
    let addr: SocketAddr = "127.0.0.1:5099".parse().unwrap();
    Source { transport: Transport::Udp, addr, local: addr, peer_names: Arc::new([]) }
}

/// The status that a REGISTER is refused with; 0: it is not.
fn status(policy: &dyn Decide) -> u16 {
    let source = source();
    match policy.register(&Message::parse(REGISTER.as_bytes()).unwrap(), &Context::arrival(&source, &[], 0)) {
        Register::Reject(reject) => reject.status,
        Register::Challenge { .. } | Register::Trust => 0,
    }
}

fn alone(plugin: impl Plugin + 'static, clock: Clock) -> (Chain, Native) {
    let native = Native::new(plugin);
    let chain = Chain::new(1, vec![(Box::new(native.clone()), native.counters().clone())], clock);
    (chain, native)
}

/// A generation of one Lua policy among plugins in Rust, and this thread's surroundings with their instances.
fn among(id: u64, lua: &str, makers: &[Maker]) -> (Generation, Env) {
    let unit = Unit::policy(PolicySource::new("test.lua", lua).compile().unwrap());
    let mut members: Vec<_> = makers.iter().map(|maker| maker.place().clone()).collect();
    members.push(order::Member::policy("test.lua"));
    let order = order::resolve(&members, &[], "test.toml").unwrap().names;
    let natives = makers.iter().map(|maker| maker.native().unwrap()).collect();
    (Generation::new(id, [Arc::new(unit)]).in_order(order), Env { natives, ..Env::detached(&[]) })
}

const REJECTS_499: &str = "return { register = function() return ims.reject(499) end }";

#[test]
fn a_plugin_stands_before_the_policy_unless_it_says_otherwise() {
    let makers = [
        Maker::new(|| Made::new("b-second", rejects(481))).unwrap(),
        Maker::new(|| Made { before: &["b-second"], ..Made::new("z-first", || None) }).unwrap(),
        Maker::new(|| Made { after: &["policy"], ..Made::new("a-last", rejects(482)) }).unwrap(),
    ];
    let (generation, env) = among(1, REJECTS_499, &makers);
    let chain = generation.chain(&env).unwrap();
    assert_eq!(chain.order(Stage::Register).collect::<Vec<_>>(), ["z-first", "b-second", "policy", "a-last"]);
    assert_eq!(status(&chain), 481);
    let (generation, env) = among(1, REJECTS_499, &makers[1..]);
    assert_eq!(status(&generation.chain(&env).unwrap()), 499);
    let (generation, env) = among(1, "return {}", &makers[1..]);
    assert_eq!(status(&generation.chain(&env).unwrap()), 482);
}

#[test]
fn a_plugin_that_nobody_ordered_is_not_lost() {
    let unit = Unit::policy(PolicySource::new("test.lua", REJECTS_499).compile().unwrap());
    let env = Env { natives: Rc::new([Native::new(Made::new("guard", rejects(481)))]), ..Env::detached(&[]) };
    let chain = Generation::new(1, [Arc::new(unit)]).chain(&env).unwrap();
    assert_eq!(chain.order(Stage::Register).collect::<Vec<_>>(), ["guard", "policy"]);
}

#[test]
fn a_reload_leaves_the_instance_and_its_counters_alone() {
    let maker = Maker::new(|| {
        let calls = Cell::new(480);
        Made::new("counts", move || {
            calls.set(calls.get() + 1);
            Some(Register::Reject(Reject::new(calls.get(), "Test")))
        })
    });
    let makers = [maker.unwrap()];
    let (first, env) = among(1, "return {}", &makers);
    let seat = Seat::new(&first, &env).unwrap();
    assert_eq!((status(&seat), status(&seat)), (481, 482));
    let kept = seat.pin("alice").unwrap();
    let second = Generation::new(2, first.units().iter().map(|(unit, _)| unit.clone()));
    seat.prepare(&second, &env).unwrap();
    assert!(seat.switch(None));
    assert_eq!((status(&seat), seat.serving()), (483, 2));
    assert_eq!(status(&*kept), 484, "a transaction of the old generation asks the same instance");
    assert_eq!(makers[0].counters().calls(), 4);
}

#[test]
fn a_panic_is_a_fault_and_many_open_the_breaker() {
    let (clock, hands): (Clock, &Hands) = Clock::by_hand();
    let (chain, native) = alone(Made::new("falls", || panic!("boom {}\nsecond line", 7)), clock);
    for _ in 0..12 {
        assert_eq!(status(&chain), 0);
    }
    let fault = chain.last_fault().unwrap();
    assert_eq!(fault.to_string(), "error in stage register: panicked: boom 7");
    assert_eq!(&*fault.unit, "falls");
    let counters = native.counters();
    assert_eq!((counters.calls(), counters.total(), counters.bypassed(), counters.opened()), (10, 10, 2, 1));
    hands.advance(Duration::from_secs(31));
    assert_eq!(status(&chain), 0);
    assert_eq!(counters.calls(), 11, "tried again after the pause");

    let (chain, _) = alone(Made { on_error: OnError::FailClosed, ..Made::new("guard", || panic!("boom")) }, clock);
    assert_eq!(status(&chain), 503);
}

#[test]
fn a_slow_call_is_counted_and_its_answer_still_holds() {
    let (clock, hands) = Clock::by_hand();
    let takes = Cell::new(Duration::from_millis(5));
    let takes: &'static Cell<Duration> = Box::leak(Box::new(takes));
    let slow = Made::new("slow", move || {
        hands.advance(takes.get());
        Some(Register::Reject(Reject::new(480, "Test")))
    });
    let (chain, native) = alone(slow, clock);
    assert_eq!((status(&chain), native.counters().slow()), (480, 0));
    takes.set(Duration::from_millis(6));
    assert_eq!((status(&chain), native.counters().slow()), (480, 1));
    assert_eq!(native.counters().total(), 0);
}

fn config(data: &std::path::Path) -> Config {
    config_with(data, "")
}

fn config_with(data: &std::path::Path, more: &str) -> Config {
    let text = format!("listen = [\"udp:127.0.0.1:0\"]\nworkers = 2\ndata_dir = {data:?}\n{more}");
    Config::parse(&text, &data.join("imscript.toml")).unwrap()
}

/// What the node answers to a REGISTER.
fn answer(node: &Node) -> u16 {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let text = REGISTER.replace("z9hG4bK1", &format!("z9hG4bK-{call}")).replace("c1", &format!("c-{call}"));
    socket.send_to(text.as_bytes(), node.listening()[0].addr).unwrap();
    let mut buffer = [0; 4096];
    let (len, _) = socket.recv_from(&mut buffer).expect("an answer");
    Message::parse(&buffer[..len]).unwrap().status()
}

/// What a node says to one line on its control socket.
fn asked(socket: &std::path::Path, line: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    writeln!(stream, "{line}").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_node_asks_its_plugins_on_every_worker() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let data = tempfile::tempdir().unwrap();
    let builder = Node::builder(config(data.path()));
    let guard = || {
        MADE.fetch_add(1, Ordering::Relaxed);
        Made::new("guard", rejects(481))
    };
    let falls = || Made { before: &["guard"], ..Made::new("falls", || panic!("on purpose")) };
    let mut node = builder.plugin(guard).plugin(falls).steered().start().unwrap();
    assert_eq!(MADE.load(Ordering::Relaxed), 3, "one to look at, one for each of two workers");
    for _ in 0..30 {
        assert_eq!(answer(&node), 481);
    }
    let metrics = asked(&data.path().join("control.sock"), r#"{"v":1,"verb":"metrics"}"#);
    for line in [
        r#"imscript_policy_calls_total{generation=\"1\",unit=\"guard\",stage=\"register\"} 30"#,
        r#"imscript_policy_slow_total{generation=\"1\",unit=\"guard\"} 0"#,
        r#"imscript_policy_faults_total{generation=\"1\",unit=\"falls\",stage=\"register\",cause=\"error\"} "#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    node.stop(Duration::ZERO);
}

/// `plugins/NAME` in Lua that refuses every REGISTER.
fn lua_plugin(data: &std::path::Path, name: &str, status: u16) {
    let folder = data.join("plugins").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let manifest =
        format!("api = 1\nname = {name:?}\nversion = \"1.0.0\"\nstages = [\"register\"]\non_error = \"skip\"\n");
    std::fs::write(folder.join("plugin.toml"), manifest).unwrap();
    let text = format!("return {{ register = function(req, ctx) return ims.reject({status}) end }}\n");
    std::fs::write(folder.join("main.lua"), text).unwrap();
}

#[test]
fn plugins_in_rust_and_lua_stand_in_one_order() {
    let data = tempfile::tempdir().unwrap();
    lua_plugin(data.path(), "b-lua", 482);
    let orders = [
        ("", "a-rust", 481),
        ("", "c-rust", 482),
        ("order = [\"c-rust\", \"b-lua\"]\n", "c-rust", 481),
        ("order = [\"b-lua\", \"a-rust\"]\n", "a-rust", 482),
    ];
    for (order, name, expected) in orders {
        let own = tempfile::tempdir().unwrap();
        let plugins = format!("[plugins]\ndir = {:?}\n{order}", data.path().join("plugins"));
        let node = Node::builder(config_with(own.path(), &plugins)).plugin(move || Made::new(name, rejects(481)));
        assert_eq!(answer(&node.start().unwrap()), expected, "{order} {name}");
    }
    let plugins = format!("[plugins]\ndir = {:?}\n", data.path().join("plugins"));
    let same = refused(Node::builder(config_with(data.path(), &plugins)).plugin(|| Made::new("b-lua", rejects(481))));
    assert!(same.contains("b-lua: a plugin in Rust of this program has the same name"), "{same}");
}

fn refused(builder: imscript::server::Builder) -> String {
    match builder.start() {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_cannot_be_ordered_or_named_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let builder = || Node::builder(config(data.path()));
    let named = |name| move || Made::new(name, || None);
    for name in ["policy", "Fraud Guard", ""] {
        let error = refused(builder().plugin(named(name)));
        assert_eq!(
            error,
            format!(
                "plugin: {name:?} is no plugin's name: lower-case words with hyphens between them, and not \"policy\""
            )
        );
    }
    let twice = refused(builder().plugin(named("guard")).plugin(named("guard")));
    assert_eq!(twice, "plugin: two plugins are named \"guard\"");
    let ring = || Made { before: &["policy"], after: &["policy"], ..Made::new("ring", || None) };
    let ring = refused(builder().plugin(ring));
    assert!(ring.contains("ring before policy (plugin ring in Rust"), "{ring}");
    let panics = refused(builder().plugin(|| -> Made<fn() -> Option<Register>> { panic!("no key file") }));
    assert_eq!(panics, "plugin: a plugin in Rust panicked while it was made: no key file");
    struct All;
    impl Decide for All {
        fn authorized(&self, _request: &Message<'_>, _ctx: &Context<'_>) -> Authorized {
            Authorized::Accept { expires: None }
        }
    }
    let both = builder().policy(|| All).plugin(named("guard")).start();
    assert!(matches!(both, Err(StartError::Config(why)) if why.contains("\"guard\" would never be asked")));
}
