//! What a policy cannot do, and how its failures are told.

use crate::world::*;
use imscript::policy::lua::{Cause, LuaPolicy, PolicyError, PolicySource};
use imscript::policy::verdict::{self, Subscription};
use imscript::policy::{Decide, Defaults};
use std::time::{Duration, Instant};

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
        (r#"ims.accept{ expires = -1 }"#, "a whole number from 0 to 4294967295"),
        (r#"ims.accept{ expires = 2^40 }"#, "is 1099511627776; it must be a whole number from 0 to 4294967295"),
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
        (r#"ims.verify{ subscription = "sometimes" }"#, r#"may be "always", "cached", "new_services", "never""#),
        (r#"ims.verify{ max_age = 5 }"#, "cached"),
        (r#"ims.forward{ key = "push" }"#, "to is missing"),
        (r#"ims.forward{ to = "bsm", key = "shove" }"#, r#""push", "pull", "pull_sip", "pull_zn", "on_use""#),
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
fn what_is_wrong_with_a_policy_is_said_when_it_is_loaded() {
    let cases = [
        ("local x =\nlocal y", "test.lua:2: "),
        ("return", "test.lua: a policy returns a table of functions; this one returns nil"),
        ("return 5", "this one returns number"),
        ("local x = nil\nreturn x.y", "test.lua:2: "),
        ("error('broken')", "test.lua:1: broken"),
        (
            "local policy = {}\nfunction policy.brodcast() end\nreturn policy",
            "test.lua:2: unknown stage \"brodcast\"; the stages are receive, register, verify, authorized, broadcast, failure, status, route, reply, finish",
        ),
        ("return { register = 5 }", "test.lua: stage register is a "),
        ("while true do end", "test.lua:1: not loaded within"),
        ("local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end", ": memory limit reached"),
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
