//! Policies in Lua, by behaviour: every stage and verdict, the defaults behind them, and what a
//! policy cannot do.

mod limits;
mod node;
mod world;

use imscript::policy::lua::{LuaPolicy, PolicyError, PolicySource, builtin, builtin_names};
use imscript::policy::verdict::{self, Forward, KeyMovement, NotifyBy, OnFailure, Order, Reject, Subscription, When};
use imscript::policy::{Decide, Defaults, Kind, System};
use std::time::{Duration, Instant};
use world::*;

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
    let ims =
        verdict::Status::Notify { to: vec!["bsm".into()], by: NotifyBy::ThirdPartyRegister, after: Duration::ZERO };
    assert_eq!(policy.status(&event(System::Ims)), ims);
    let broadcast = verdict::Status::Notify { to: vec!["ims".into()], by: NotifyBy::Message, after: Duration::ZERO };
    assert_eq!(policy.status(&event(System::Broadcast)), broadcast);
    assert_eq!(policy.counters().total(), 0);
}

#[test]
fn nil_is_no_opinion() {
    let policy = stage("authorized", "req, ctx", "return nil");
    assert_eq!(World::new().authorized(&policy), verdict::Authorized::Accept { expires: None });
    assert_eq!(policy.last_fault(), None);
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
    let policy = stage("register", "req, ctx", "return ims.trust()");
    assert_eq!(world.register(&policy), verdict::Register::Trust);
    let policy = stage("register", "req, ctx", r#"return ims.reject(403, "Not here")"#);
    let reject = Reject::new(403, "Not here");
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
        assert_eq!(policy.last_fault(), None);
    }
}

#[test]
fn authorized_accepts_or_rejects() {
    let world = World::new();
    let policy = stage("authorized", "req, ctx", "return ims.accept{ expires = 600 }");
    assert_eq!(world.authorized(&policy), verdict::Authorized::Accept { expires: Some(600) });
    let policy = stage("authorized", "req, ctx", "return ims.reject(503)");
    assert_eq!(
        world.authorized(&policy),
        verdict::Authorized::Reject(Reject { status: 503, reason: None, retry_after: None })
    );
}

#[test]
fn broadcast_skips_rejects_or_forwards() {
    let world = World { payload: Some(b"<x/>"), ..World::new() };
    let policy = stage("broadcast", "req, portion, ctx", r#"return ims.skip("not today")"#);
    assert_eq!(world.broadcast(&policy), verdict::Broadcast::Skip { reason: "not today".into() });
    let policy = stage("broadcast", "req, portion, ctx", "return ims.reject(480)");
    assert_eq!(
        world.broadcast(&policy),
        verdict::Broadcast::Reject(Reject { status: 480, reason: None, retry_after: None })
    );

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
    let expected = verdict::Status::Notify { to: vec!["bsm".into()], by: NotifyBy::Message, after: Duration::ZERO };
    assert_eq!(policy.status(&event(System::Ims)), expected);
}

#[test]
fn status_may_name_a_configured_server_that_is_not_in_the_event() {
    let body = r#"return ims.notify{ to = { "tv" }, by = "message" }"#;
    let policy = stage("status", "event, ctx", body);
    assert_eq!(policy.status(&event(System::Ims)), Defaults.status(&event(System::Ims)));
    assert!(failure(&policy).message.contains("\"tv\""));
    let policy = stage_among("status", "event, ctx", body, &World::new().servers);
    let expected = verdict::Status::Notify { to: vec!["tv".into()], by: NotifyBy::Message, after: Duration::ZERO };
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
    assert_eq!(policy.last_fault(), None);
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
    assert_eq!(policy.last_fault(), None);
}

#[test]
fn a_verdict_may_be_made_once_and_returned_often() {
    let policy = load("local OK = ims.accept{ expires = 60 }\nreturn { authorized = function() return OK end }");
    for _ in 0..3 {
        assert_eq!(World::new().authorized(&policy), verdict::Authorized::Accept { expires: Some(60) });
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
        assert_eq!(policy.last_fault(), None, "{name}");
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
    assert_eq!(policy.last_fault(), None);
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
    let policy = stage(
        "authorized",
        "req, ctx",
        "for i = 1, 40 do log.info('impi', { impi = req.impi, i = i }) end log.warn('x')",
    );
    World::new().authorized(&policy);
    assert_eq!(policy.last_fault(), None);
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
