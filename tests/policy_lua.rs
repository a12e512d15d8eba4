//! Policies in Lua, by behaviour: every stage and verdict, the defaults behind them, and what a
//! policy cannot do.

use imscript::hss::RegState;
use imscript::policy::lua::{Cause, Failure, LuaPolicy, PolicyError, PolicySource, builtin, builtin_names};
use imscript::policy::verdict::{self, Forward, KeyMovement, NotifyBy, OnFailure, Order, Reject, Subscription, When};
use imscript::policy::{Context, Decide, Defaults, Kind, PortionView, ServerView, Stage, StatusEvent, System};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use std::sync::Arc;
use std::time::{Duration, Instant};

const REGISTER: &[u8] = b"REGISTER sip:home1.net SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:alice@home1.net>;tag=a\r\n\
    To: <sip:alice@home1.net>\r\n\
    i: c1@192.0.2.7\r\n\
    CSeq: 1 REGISTER\r\n\
    m: <sip:alice@192.0.2.7>;expires=1200\r\n\
    Expires: 600000\r\n\
    X-Site: north\r\n  east\r\n\
    Content-Length: 0\r\n\r\n";

/// Everything that a stage is asked about, ready to be changed by a test.
struct World {
    source: Source,
    servers: Vec<ServerView>,
    kind: Kind,
    all_or_nothing: bool,
    visited_network: Option<&'static str>,
    naf: &'static str,
    payload: Option<&'static [u8]>,
}

impl World {
    fn new() -> Self {
        let server = |name: &str, fqdns: &[&str]| ServerView {
            name: name.to_owned(),
            naf_fqdns: fqdns.iter().map(|fqdn| (*fqdn).to_owned()).collect(),
        };
        World {
            source: Source {
                transport: Transport::Udp,
                addr: "192.0.2.7:5060".parse().unwrap(),
                local: "192.0.2.1:5060".parse().unwrap(),
                peer_names: Arc::new([]),
            },
            servers: vec![server("bsm", &["bsm.home1.net"]), server("tv", &["tv.home1.net", "tv2.home1.net"])],
            kind: Kind::Initial,
            all_or_nothing: false,
            visited_network: None,
            naf: "bsm.home1.net",
            payload: None,
        }
    }

    fn ctx(&self) -> Context<'_> {
        Context {
            kind: self.kind,
            impi: "alice@home1.net",
            impu: "sip:alice@home1.net",
            source: &self.source,
            visited_network: self.visited_network,
            servers: &self.servers,
            all_or_nothing: self.all_or_nothing,
            unix: 1_700_000_000,
        }
    }

    fn portion(&self) -> PortionView<'_> {
        PortionView {
            naf_fqdn: self.naf,
            ua_id: [1, 0, 0, 0, 1],
            profile: Some("1.0"),
            payload: self.payload,
            payload_type: self.payload.map(|_| "application/vnd.oma.bcast.sprov+xml"),
        }
    }

    fn register(&self, policy: &LuaPolicy) -> verdict::Register {
        policy.register(&message(), &self.ctx())
    }

    fn verify(&self, policy: &LuaPolicy) -> verdict::Verify {
        policy.verify(&message(), &self.ctx())
    }

    fn authorized(&self, policy: &LuaPolicy) -> verdict::Authorized {
        policy.authorized(&message(), &self.ctx())
    }

    fn broadcast(&self, policy: &LuaPolicy) -> verdict::Broadcast {
        policy.broadcast(&message(), &self.portion(), &self.ctx())
    }
}

fn message() -> Message<'static> {
    Message::parse(REGISTER).expect("the test's REGISTER")
}

fn event(system: System) -> StatusEvent<'static> {
    StatusEvent {
        system,
        previous: RegState::NotRegistered,
        state: RegState::Registered,
        cause: "registered",
        impi: "alice@home1.net",
        impu: "sip:alice@home1.net",
        btid: Some("AAAA@bsf.home1.net"),
        naf_fqdn: Some("bsm.home1.net"),
        servers: &["bsm"],
        expires: 600,
        unix: 1_700_000_000,
    }
}

fn load(text: &str) -> LuaPolicy {
    LuaPolicy::load(&PolicySource::new("test.lua", text)).expect("policy loads")
}

fn refused(text: &str) -> String {
    match LuaPolicy::load(&PolicySource::new("test.lua", text)) {
        Ok(_) => panic!("loaded: {text}"),
        Err(error) => error.to_string(),
    }
}

/// A policy whose one stage is `body`.
fn stage(stage: &str, arguments: &str, body: &str) -> LuaPolicy {
    load(&format!("local policy = {{}}\nfunction policy.{stage}({arguments})\n{body}\nend\nreturn policy"))
}

fn failure(policy: &LuaPolicy) -> Failure {
    policy.last_failure().expect("a failure")
}

fn assert_default(policy: &LuaPolicy, cause: Cause, place: &str, reason: &str) {
    let world = World::new();
    assert_eq!(world.authorized(policy), Defaults.authorized(&message(), &world.ctx()));
    let failure = failure(policy);
    assert_eq!((failure.stage, failure.cause), (Stage::Authorized, cause), "{failure}");
    assert!(failure.message.starts_with(place), "{failure} should be at {place}");
    assert!(failure.message.contains(reason), "{failure} should say {reason}");
    assert_eq!(policy.counters().of(cause), 1);
}

#[test]
fn an_empty_policy_leaves_every_stage_to_its_default() {
    let policy = load("return {}");
    let world = World::new();
    assert_eq!(world.register(&policy), verdict::Register::Challenge { algorithms: None });
    assert_eq!(
        world.verify(&policy),
        verdict::Verify { subscription: Subscription::Always, at: When::AfterAuthentication }
    );
    assert_eq!(world.authorized(&policy), verdict::Authorized::Accept { expires: None });
    assert_eq!(
        world.broadcast(&policy),
        verdict::Broadcast::Forward(Forward {
            to: "bsm".into(),
            payload: false,
            key: KeyMovement::Push,
            order: Order::Before200,
            on_failure: OnFailure::Pending
        })
    );
    let unknown = World { naf: "elsewhere.net", ..World::new() };
    assert!(matches!(unknown.broadcast(&policy), verdict::Broadcast::Skip { .. }));
    let required = World { all_or_nothing: true, ..unknown };
    assert!(matches!(required.broadcast(&policy), verdict::Broadcast::Reject(Reject { status: 403, .. })));
    let ims = verdict::Status::Notify { to: vec!["bsm".into()], by: NotifyBy::ThirdPartyRegister };
    assert_eq!(policy.status(&event(System::Ims)), ims);
    let broadcast = verdict::Status::Notify { to: vec!["ims".into()], by: NotifyBy::Message };
    assert_eq!(policy.status(&event(System::Broadcast)), broadcast);
    assert_eq!(policy.counters().total(), 0);
}

#[test]
fn nil_is_no_opinion() {
    let policy = stage("authorized", "req, ctx", "return nil");
    assert_eq!(World::new().authorized(&policy), verdict::Authorized::Accept { expires: None });
    assert_eq!(policy.last_failure(), None);
}

#[test]
fn register_challenges_or_rejects() {
    use verdict::Algorithm::{Akav1Md5, Akav2Sha256};
    let world = World::new();
    let policy =
        stage("register", "req, ctx", r#"return ims.challenge{ algorithms = { "AKAv2-SHA-256", "AKAv1-MD5" } }"#);
    assert_eq!(world.register(&policy), verdict::Register::Challenge { algorithms: Some(vec![Akav2Sha256, Akav1Md5]) });
    let policy = stage("register", "req, ctx", "return ims.challenge()");
    assert_eq!(world.register(&policy), verdict::Register::Challenge { algorithms: None });
    let policy = stage("register", "req, ctx", r#"return ims.reject(403, "Not here")"#);
    let reject = Reject { status: 403, reason: Some("Not here".into()) };
    assert_eq!(world.register(&policy), verdict::Register::Reject(reject));
}

#[test]
fn verify_says_which_check_and_when() {
    let world = World::new();
    let cases = [
        ("{}", Subscription::Always, When::AfterAuthentication),
        (r#"{ subscription = "never", at = "before_challenge" }"#, Subscription::Never, When::BeforeChallenge),
        (
            r#"{ subscription = "cached", max_age = 60 }"#,
            Subscription::Cached(Duration::from_secs(60)),
            When::AfterAuthentication,
        ),
        (r#"{ subscription = "cached" }"#, Subscription::Cached(Duration::from_secs(300)), When::AfterAuthentication),
    ];
    for (argument, subscription, at) in cases {
        let policy = stage("verify", "req, ctx", &format!("return ims.verify{argument}"));
        assert_eq!(world.verify(&policy), verdict::Verify { subscription, at }, "{argument}");
        assert_eq!(policy.last_failure(), None);
    }
}

#[test]
fn authorized_accepts_or_rejects() {
    let world = World::new();
    let policy = stage("authorized", "req, ctx", "return ims.accept{ expires = 600 }");
    assert_eq!(world.authorized(&policy), verdict::Authorized::Accept { expires: Some(600) });
    let policy = stage("authorized", "req, ctx", "return ims.reject(503)");
    assert_eq!(world.authorized(&policy), verdict::Authorized::Reject(Reject { status: 503, reason: None }));
}

#[test]
fn broadcast_skips_rejects_or_forwards() {
    let world = World { payload: Some(b"<x/>"), ..World::new() };
    let policy = stage("broadcast", "req, portion, ctx", r#"return ims.skip("not today")"#);
    assert_eq!(world.broadcast(&policy), verdict::Broadcast::Skip { reason: "not today".into() });
    let policy = stage("broadcast", "req, portion, ctx", "return ims.reject(480)");
    assert_eq!(world.broadcast(&policy), verdict::Broadcast::Reject(Reject { status: 480, reason: None }));

    let body = r#"return ims.forward{ to = ctx.servers:by_name("tv").name, parts = { "payload", "identity" },
        key = "on_use", when = "after_200", on_failure = "reject" }"#;
    let policy = stage("broadcast", "req, portion, ctx", body);
    let forward = |payload| {
        verdict::Broadcast::Forward(Forward {
            to: "tv".into(),
            payload,
            key: KeyMovement::OnUse,
            order: Order::After200,
            on_failure: OnFailure::Reject,
        })
    };
    assert_eq!(world.broadcast(&policy), forward(true));
    assert_eq!(World::new().broadcast(&policy), forward(false), "no payload came, so none goes");
}

#[test]
fn status_notifies_or_stays_silent() {
    let policy = stage("status", "event, ctx", "return ims.silent()");
    assert_eq!(policy.status(&event(System::Ims)), verdict::Status::Silent);
    let policy = stage("status", "event, ctx", r#"return ims.notify{ to = event.servers, by = "message" }"#);
    let expected = verdict::Status::Notify { to: vec!["bsm".into()], by: NotifyBy::Message };
    assert_eq!(policy.status(&event(System::Ims)), expected);
}

#[test]
fn status_may_name_a_configured_server_that_is_not_in_the_event() {
    let body = r#"return ims.notify{ to = { "tv" }, by = "message" }"#;
    let policy = stage("status", "event, ctx", body);
    assert_eq!(policy.status(&event(System::Ims)), Defaults.status(&event(System::Ims)));
    assert!(failure(&policy).message.contains("\"tv\""));
    let policy = stage("status", "event, ctx", body).with_servers(&World::new().servers);
    let expected = verdict::Status::Notify { to: vec!["tv".into()], by: NotifyBy::Message };
    assert_eq!(policy.status(&event(System::Ims)), expected);
}

#[test]
fn a_stage_sees_the_request_the_context_and_the_portion() {
    let body = r#"
        assert(req.method == "REGISTER" and req.uri == "sip:home1.net")
        assert(req.impi == "alice@home1.net" and req.impu == "sip:alice@home1.net")
        assert(req.kind == "refresh" and req.expires == 1200)
        assert(req.source == "192.0.2.7:5060" and req.transport == "udp")
        assert(req:header("Call-ID") == "c1@192.0.2.7" and req:header("i") == "c1@192.0.2.7")
        assert(req:header("contact") == "<sip:alice@192.0.2.7>;expires=1200")
        assert(req:header("x-site") == "north east" and req:header("X-None") == nil)
        assert(tostring(req) == "req" and tostring(portion) == "portion" and tostring(ctx) == "ctx")
        assert(ctx.visited_network == "visited.net" and ctx.all_or_nothing == true and ctx.now == 1700000000)
        assert(#ctx.servers == 2 and ctx.servers[1].name == "bsm" and ctx.servers[2].naf_ids[2] == "tv2.home1.net")
        local names = {}
        for _, server in ipairs(ctx.servers) do names[#names + 1] = server.name end
        assert(table.concat(names, ",") == "bsm,tv")
        assert(ctx.servers:by_naf("TV2.home1.net").name == "tv" and ctx.servers:by_naf("x") == nil)
        assert(ctx.servers:by_name("bsm").name == "bsm" and ctx.servers:by_name("x") == nil)
        assert(portion.naf_id == "bsm.home1.net" and portion.ua_id == "0100000001" and portion.profile == "1.0")
        assert(portion.payload == "a\0\255" and portion.payload_type == "application/vnd.oma.bcast.sprov+xml")
        return ims.skip("seen")"#;
    let policy = stage("broadcast", "req, portion, ctx", body);
    let world = World {
        kind: Kind::Refresh,
        all_or_nothing: true,
        visited_network: Some("visited.net"),
        payload: Some(b"a\0\xff"),
        ..World::new()
    };
    assert_eq!(world.broadcast(&policy), verdict::Broadcast::Skip { reason: "seen".into() });
    assert_eq!(policy.last_failure(), None);
}

#[test]
fn a_stage_sees_the_event() {
    let body = r#"
        assert(event.system == "broadcast" and event.state == "registered" and event.previous == "not_registered")
        assert(event.cause == "registered" and event.impi == "alice@home1.net" and event.impu == "sip:alice@home1.net")
        assert(event.btid == "AAAA@bsf.home1.net" and event.naf_id == "bsm.home1.net" and event.expires == 600)
        assert(#event.servers == 1 and event.servers[1] == "bsm" and ctx.now == 1700000000)
        return ims.silent()"#;
    let policy = stage("status", "event, ctx", body);
    assert_eq!(policy.status(&event(System::Broadcast)), verdict::Status::Silent);
    assert_eq!(policy.last_failure(), None);
}

#[test]
fn a_request_kept_beyond_its_stage_raises_an_error() {
    let policy = load(
        "local kept, method\nlocal policy = {}\n\
         function policy.register(req) kept, method = req, req.header end\n\
         function policy.authorized()\nreturn kept.impi\nend\n\
         function policy.verify(req)\nreturn method(kept, 'To')\nend\n\
         return policy",
    );
    let world = World::new();
    world.register(&policy);
    assert_default(&policy, Cause::Error, "test.lua:5:", "req is used after its stage has returned");
    world.verify(&policy);
    assert!(failure(&policy).message.starts_with("test.lua:8: req is used after its stage"), "{}", failure(&policy));
}

#[test]
fn a_misspelt_field_is_an_error_and_not_nil() {
    let policy = stage("authorized", "req, ctx", "if req.expiry then return nil end");
    assert_default(&policy, Cause::Error, "test.lua:3:", "req has no field \"expiry\"; it has method, uri");
    let policy = stage("authorized", "req, ctx", "ctx.now = 5");
    assert_default(&policy, Cause::Error, "test.lua:3:", "");
}

#[test]
fn an_error_applies_the_default_and_names_file_and_line() {
    let policy = stage("authorized", "req, ctx", "\nerror('no such thing')");
    assert_default(&policy, Cause::Error, "test.lua:4:", "no such thing");
    let policy = stage("authorized", "req, ctx", "return nothing.at.all");
    assert_default(&policy, Cause::Error, "test.lua:3:", "nil");
    let policy = stage("authorized", "req, ctx", "error({})");
    assert_default(&policy, Cause::Error, "test.lua:3:", "");
    let policy = stage("authorized", "req, ctx", "error('a\\nb\\27[31m', 0)");
    assert_default(&policy, Cause::Error, "test.lua:3: a", "a");
}

#[test]
fn a_wrong_argument_of_a_constructor_is_an_error_at_its_line() {
    let cases = [
        (r#"ims.accept{ expire = 600 }"#, r#"ims.accept: unknown key "expire"; known: expires"#),
        (r#"ims.accept{ expires = "600" }"#, "whole number"),
        (r#"ims.accept{ expires = 1.5 }"#, "whole number"),
        (r#"ims.accept{ expires = -1 }"#, "whole number"),
        (r#"ims.accept{ expires = 0 }"#, "ims.reject"),
        (r#"ims.accept(600)"#, "takes a table"),
        (r#"ims.reject(200)"#, "between 400 and 699"),
        (r#"ims.reject(401)"#, "ims.challenge"),
        (r#"ims.reject()"#, "status is nil"),
        (r#"ims.reject(403, "a\r\nX-Evil: 1")"#, "control character"),
        (r#"ims.reject(403, ("x"):rep(1000))"#, "octets"),
        (r#"ims.challenge{ algorithms = { "MD4" } }"#, "MD4"),
        (r#"ims.challenge{ algorithms = {} }"#, "empty"),
        (r#"ims.challenge{ algorithms = "MD5" }"#, "must be a list"),
        (r#"ims.verify{ subscription = "sometimes" }"#, r#"may be "always", "cached", "never""#),
        (r#"ims.verify{ max_age = 5 }"#, "cached"),
        (r#"ims.forward{ key = "push" }"#, "to is missing"),
        (r#"ims.forward{ to = "bsm", key = "shove" }"#, r#""push", "pull", "on_use""#),
        (r#"ims.forward{ to = "bsm", parts = { "keys" } }"#, r#"parts is "keys""#),
        (r#"ims.forward{ to = "bsm", parts = { a = "key" } }"#, "out of place"),
        (r#"ims.forward{ to = "bsm", parts = { "payload" }, key = "push" }"#, "needs"),
        (r#"ims.forward{ to = "bsm", key = "push", when = "by_terminal" }"#, "forwards nothing"),
        (r#"ims.forward{ to = "bsm", on_failure = "panic" }"#, r#""pending", "reject""#),
        (r#"ims.notify{ to = "ims" }"#, "by is missing"),
        (r#"ims.notify{ by = "message" }"#, "to is missing"),
        (r#"ims.notify{ to = "ims", by = "third_party_register" }"#, "message"),
        (r#"ims.skip({})"#, "must be a string"),
    ];
    for (call, reason) in cases {
        let policy = stage("authorized", "req, ctx", &format!("return {call}"));
        assert_default(&policy, Cause::Error, "test.lua:3: ims.", reason);
    }
}

#[test]
fn a_bad_verdict_applies_the_default() {
    let cases = [
        ("return true", "returned a boolean"),
        ("return { expires = 600 }", "returned a table"),
        ("return req", "returned a"),
        ("return ims.skip('x')", "ims.skip does not answer stage authorized; it takes ims.accept or ims.reject"),
    ];
    for (body, reason) in cases {
        assert_default(&stage("authorized", "req, ctx", body), Cause::BadVerdict, "test.lua:2:", reason);
    }
    let policy = stage("broadcast", "req, portion, ctx", "return ims.forward{ to = 'evil.example' }");
    let world = World::new();
    let default = Defaults.broadcast(&message(), &world.portion(), &world.ctx());
    assert_eq!(world.broadcast(&policy), default);
    assert_eq!(failure(&policy).cause, Cause::BadVerdict);
    assert!(failure(&policy).message.contains("no server \"evil.example\" is configured"), "{}", failure(&policy));
}

#[test]
fn an_endless_loop_is_stopped_whatever_it_hides_in() {
    let loops = [
        "while true do end",
        "for i = 1, 1e15 do end",
        "repeat until false",
        "while true do pcall(function() while true do end end) end",
        "xpcall(function() while true do end end, function() while true do end end)",
        "local function f() pcall(f) f() end f()",
        "local function f() return f() + 1 end while true do pcall(f) end",
        "coroutine.wrap(function() while true do end end)()",
        "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) while true do pcall(function() return t[1] end) end",
        "local s = ('a'):rep(3000) while true do s:find('.-.-.-b') end",
        "table.sort({ 1, 2, 3, 4, 5 }, function() while true do end end)",
        "while true do pcall(string.rep, 'x', 1000000) end",
    ];
    for body in loops {
        let policy = stage("authorized", "req, ctx", body);
        let start = Instant::now();
        assert_default(&policy, Cause::Timeout, "test.lua:", "stopped after 5 ms");
        assert!(start.elapsed() < Duration::from_secs(3), "{body} took {:?}", start.elapsed());
    }
}

#[test]
fn a_memory_bomb_is_stopped() {
    let bombs = [
        "local s = 'x' while true do s = s .. s end",
        "return ('x'):rep(1e9)",
        "local t = {} for i = 1, 1e9 do t[i] = {} end",
        "return table.create(1e7)",
        "local t = {} while true do t[#t + 1] = buffer.create(1000000) end",
    ];
    for body in bombs {
        let policy = stage("authorized", "req, ctx", body);
        let world = World::new();
        assert_eq!(world.authorized(&policy), verdict::Authorized::Accept { expires: None });
        let cause = failure(&policy).cause;
        assert!(matches!(cause, Cause::OutOfMemory | Cause::Timeout), "{body}: {}", failure(&policy));
        assert!(failure(&policy).message.starts_with("test.lua:"), "{}", failure(&policy));
    }
}

#[test]
fn after_a_timeout_the_vm_is_built_anew() {
    let policy = load(
        "local calls = 0\nlocal policy = {}\n\
         function policy.authorized()\n calls = calls + 1\n if calls == 2 then while true do end end\n\
         return ims.accept{ expires = 100 + calls }\nend\nreturn policy",
    );
    let world = World::new();
    assert_eq!(world.authorized(&policy), verdict::Authorized::Accept { expires: Some(101) });
    assert_eq!(world.authorized(&policy), verdict::Authorized::Accept { expires: None });
    assert_eq!(world.authorized(&policy), verdict::Authorized::Accept { expires: Some(101) });
    assert_eq!((policy.counters().of(Cause::Timeout), policy.counters().total()), (1, 1));
}

#[test]
fn a_failure_of_one_stage_does_not_touch_the_next() {
    let policy = load(
        "return { authorized = function() error('x') end, verify = function() return ims.verify{ subscription = 'never' } end }",
    );
    let world = World::new();
    for _ in 0..3 {
        assert_eq!(world.authorized(&policy), verdict::Authorized::Accept { expires: None });
        assert_eq!(world.verify(&policy).subscription, Subscription::Never);
    }
    assert_eq!(policy.counters().of(Cause::Error), 3);
}

#[test]
fn a_verdict_may_be_made_once_and_returned_often() {
    let policy = load("local OK = ims.accept{ expires = 60 }\nreturn { authorized = function() return OK end }");
    for _ in 0..3 {
        assert_eq!(World::new().authorized(&policy), verdict::Authorized::Accept { expires: Some(60) });
    }
}

#[test]
fn what_is_wrong_with_a_policy_is_said_when_it_is_loaded() {
    let cases = [
        ("local x =\nlocal y", "test.lua:2: "),
        ("return", "test.lua: a policy returns a table of functions; this one returns nil"),
        ("return 5", "this one returns number"),
        ("local x = nil\nreturn x.y", "test.lua:2: "),
        ("error('broken')", "test.lua:1: broken"),
        (
            "local policy = {}\nfunction policy.brodcast() end\nreturn policy",
            "test.lua:2: unknown stage \"brodcast\"; the stages are register, verify, authorized, broadcast, status",
        ),
        ("return { register = 5 }", "test.lua: stage register is a "),
        ("while true do end", "test.lua:1: not loaded within"),
        ("local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end", "test.lua: memory limit reached"),
        ("return { verify = ims.verify{ at = 'noon' } }", "test.lua:1: ims.verify: at is \"noon\""),
        ("\u{1b}Lua", "test.lua:1: "),
    ];
    for (text, expected) in cases {
        let error = refused(text);
        assert!(error.contains(expected), "{text:?} gave {error:?}, not {expected:?}");
    }
    let long = format!("--{}\nreturn {{}}", "x".repeat(300 * 1024));
    assert!(matches!(LuaPolicy::load(&PolicySource::new("l", long)), Err(PolicyError::TooLarge { .. })));
    assert_eq!(load("return { version = '1.2', author = {} }").counters().total(), 0);
}

#[test]
fn a_policy_reads_no_file_and_loads_no_code() {
    for name in [
        "require",
        "loadstring",
        "load",
        "loadfile",
        "dofile",
        "getfenv",
        "setfenv",
        "newproxy",
        "collectgarbage",
        "print",
        "os",
        "io",
        "debug",
        "package",
    ] {
        load(&format!("assert({name} == nil, '{name}') assert(_G.{name} == nil) return {{}}"));
    }
}

#[test]
fn a_policy_cannot_tamper_with_what_is_shared() {
    let attacks = [
        "string.find = nil",
        "ims.skip = nil",
        "log.info = nil",
        "table.insert(ims, 1)",
        "rawset(ims, 'skip', 1)",
        "rawset(string, 'find', 1)",
        "getmetatable('').__index = {}",
        "setmetatable(ims, {})",
        "setmetatable(ctx.servers, {})",
        "ctx.servers[1] = nil",
        "ctx.servers[1].name = 'evil'",
        "ctx.servers[1].naf_ids[1] = 'evil'",
        "rawset(ctx.servers, 3, {})",
        "getmetatable(ctx.servers).x = 1",
        "getmetatable(req).__index = nil",
        "getmetatable(ims.skip('x')).__tostring = nil",
        "_G.string = nil",
        "a_global = 1",
    ];
    for attack in attacks {
        let policy = load(&format!(
            "local policy = {{}}\nfunction policy.authorized(req, ctx)\n{attack}\nend\n\
             function policy.broadcast(req, portion, ctx)\n\
             assert(ctx.servers:by_naf('bsm.home1.net').name == 'bsm' and ('abc'):find('b') == 2)\n\
             return ims.skip('sound')\nend\nreturn policy"
        ));
        assert_default(&policy, Cause::Error, "test.lua:3", "");
        assert_eq!(World::new().broadcast(&policy), verdict::Broadcast::Skip { reason: "sound".into() }, "{attack}");
    }
}

#[test]
fn figure_policies_follow_the_table_of_modes() {
    use {KeyMovement::*, Order::*};
    let table = [
        ("figure_3", After200, Push, false),
        ("figure_4", After200, Pull, true),
        ("figure_5", ByTerminal, OnUse, false),
        ("figure_6", Before200, OnUse, true),
        ("figure_7", Before200, Push, false),
        ("figure_8", Before200, Pull, true),
    ];
    for (name, order, key, payload) in table {
        let policy = LuaPolicy::load(&builtin(name).expect(name)).expect(name);
        let world = World { payload: Some(b"<x/>"), ..World::new() };
        let expected = Forward { to: "bsm".into(), payload, key, order, on_failure: OnFailure::Pending };
        assert_eq!(world.broadcast(&policy), verdict::Broadcast::Forward(expected), "{name}");
        let unknown = World { naf: "elsewhere.net", ..World::new() };
        assert!(matches!(unknown.broadcast(&policy), verdict::Broadcast::Skip { .. }), "{name}");
        assert_eq!(policy.last_failure(), None, "{name}");
    }
}

#[test]
fn the_default_policy_is_what_the_defaults_are_but_for_cached_refreshes() {
    let policy = LuaPolicy::load(&builtin("default").expect("default")).expect("default");
    for payload in [None, Some(&b"<x/>"[..])] {
        for all_or_nothing in [false, true] {
            for naf in ["bsm.home1.net", "elsewhere.net"] {
                let world = World { payload, all_or_nothing, naf, ..World::new() };
                let default = Defaults.broadcast(&message(), &world.portion(), &world.ctx());
                assert_eq!(world.broadcast(&policy), default);
                assert_eq!(world.verify(&policy), Defaults.verify(&message(), &world.ctx()));
            }
        }
    }
    let refresh = World { kind: Kind::Refresh, ..World::new() };
    assert_eq!(refresh.verify(&policy).subscription, Subscription::Cached(Duration::from_secs(300)));
    for system in [System::Ims, System::Broadcast] {
        assert_eq!(policy.status(&event(system)), Defaults.status(&event(system)));
    }
    assert_eq!(policy.last_failure(), None);
}

#[test]
fn every_builtin_policy_loads() {
    assert_eq!(builtin_names().count(), 7);
    for name in builtin_names() {
        LuaPolicy::load(&builtin(name).expect(name)).expect(name);
    }
    assert!(builtin("figure_9").is_none());
}

#[test]
fn a_policy_is_read_from_a_text_file_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.lua");
    std::fs::write(&path, "return {}").unwrap();
    assert!(LuaPolicy::load(&PolicySource::read(&path).unwrap()).is_ok());
    std::fs::write(&path, b"\x07\x03\xff\xfe").unwrap();
    assert!(matches!(PolicySource::read(&path), Err(PolicyError::Unreadable { .. })));
    std::fs::write(&path, vec![b' '; 300 * 1024]).unwrap();
    assert!(matches!(PolicySource::read(&path), Err(PolicyError::TooLarge { .. })));
    assert!(PolicySource::read(&folder.path().join("none.lua")).unwrap_err().to_string().contains("none.lua"));
}

#[test]
fn a_policy_may_write_to_the_log() {
    let policy =
        stage("authorized", "req, ctx", "for i = 1, 40 do log.info('impi', req.impi, i, nil, {}) end log.warn('x')");
    World::new().authorized(&policy);
    assert_eq!(policy.last_failure(), None);
}

/// `cargo test --release --test policy_lua -- --ignored --nocapture cost`
#[test]
#[ignore = "a measurement"]
fn cost_of_the_four_stages_of_a_registration() {
    let policy = LuaPolicy::load(&builtin("default").expect("default")).expect("default");
    let world = World { payload: Some(b"<x/>"), ..World::new() };
    let (request, ctx, portion) = (message(), world.ctx(), world.portion());
    let event = event(System::Ims);
    let measure = |name: &str, call: &dyn Fn()| {
        let best = (0..100).map(|_| {
            let start = Instant::now();
            (0..1000).for_each(|_| call());
            start.elapsed()
        });
        println!("{name:12} {:6} ns", best.min().unwrap_or_default().as_nanos() / 1000);
    };
    measure("register", &|| drop(policy.register(&request, &ctx)));
    measure("verify", &|| _ = policy.verify(&request, &ctx));
    measure("authorized", &|| drop(policy.authorized(&request, &ctx)));
    measure("broadcast", &|| drop(policy.broadcast(&request, &portion, &ctx)));
    measure("status", &|| drop(policy.status(&event)));
}
