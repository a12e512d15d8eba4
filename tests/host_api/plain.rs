//! Functions without a world around them: time, random, re, json, encodings, logs, metrics.

use crate::world::{World, stage, unit};
use imscript::policy::capability::Capabilities;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

#[test]
fn time_is_the_nodes_and_moves_when_told_to() {
    let world = World::new();
    assert_eq!(world.value("time.now()"), "1767225600");
    assert_eq!(world.value("time.monotonic()"), "0");
    world.advance(1.5);
    assert_eq!(world.value("time.now() .. ' ' .. time.monotonic()"), "1767225601.5 1.5");
}

#[test]
fn dates_know_zones_and_weekdays() {
    let world = World::new();
    let date = |arguments: &str| {
        let show = "local d = time.date(%) return ims.skip(table.concat({ d.year, d.month, d.day, d.hour, d.minute, d.second, d.weekday, d.minutes }, ' '))";
        let chain = world.chain(Capabilities::default(), &stage(&show.replace('%', arguments)));
        world.ask(&chain)
    };
    assert_eq!(date("0").unwrap(), "1970 1 1 0 0 0 4 0");
    assert_eq!(date("").unwrap(), "2026 1 1 0 0 0 4 0");
    assert_eq!(date("1709164800.9, 90").unwrap(), "2024 2 29 1 30 0 4 90");
    assert_eq!(date("1704067199, -60").unwrap(), "2023 12 31 22 59 59 7 1379");
    assert!(date("-1").unwrap_err().contains("probe.lua:3: time.date: the time is before 1970"));
    assert!(date("0, 5000").unwrap_err().contains("zone is -1440 to 1440"));
    assert!(date("1e300").unwrap_err().contains("after the year 9999"));
    let minutes: Vec<String> = ["00:00", "23:59", "24:00", "7:30", "12:60", "", "ab:cd"]
        .iter()
        .map(|clock| world.value(&format!("time.minutes('{clock}')")))
        .collect();
    assert_eq!(minutes, ["0", "1439", "nil", "nil", "nil", "nil", "nil"]);
}

#[test]
fn chance_repeats_itself_under_a_seed_and_only_then() {
    let roll =
        |world: &World| world.value("random.integer(1, 1000000) .. random.number() .. hex.encode(random.bytes(8))");
    assert_eq!(roll(&World::new()), roll(&World::new()));
    let mut free = World::new();
    free.env.seed = None;
    assert_ne!(roll(&free), roll(&free));
    let world = World::new();
    let within = "(function() for i = 1, 200 do local n = random.integer(-3, 3) if n < -3 or n > 3 or n % 1 ~= 0 then return n end end return 'ok' end)()";
    assert_eq!(world.value(within), "ok");
    assert_eq!(world.value("#random.bytes(1024)"), "1024");
    assert!(world.try_value("random.bytes(1025)").unwrap_err().contains("count is 0 to 1024"));
    assert!(world.try_value("random.integer(2, 1)").unwrap_err().contains("2 to 1 is no range"));
}

#[test]
fn patterns_match_find_and_replace() {
    let world = World::new();
    let re = |pattern: &str, call: &str| world.value(&format!("re.compile([[{pattern}]]):{call}"));
    assert_eq!(re("(?P<user>\\w+)@(\\w+)", "match('to bob@home now').user"), "bob");
    assert_eq!(re("(\\w+)@(\\w+)", "match('to bob@home now')[2]"), "home");
    assert_eq!(re("x(y)?", "match('ax')[1]"), "nil");
    assert_eq!(re("z", "match('ax')"), "nil");
    assert_eq!(re("b+", "find('abba')[2]"), "3");
    assert_eq!(re("b+", "find('abbab', 4)[1]"), "5");
    assert_eq!(re("b", "find('abb', 99)"), "nil");
    assert_eq!(re("^a", "test('\\xff a')"), "false");
    assert_eq!(re("(\\d)(\\d)", "replace('12 34 5', '$2$1')"), "21 43 5");
    assert_eq!(re("a", "replace('aaa', 'b', 2)"), "bba");
    assert_eq!(re("a*", "replace('baac', '-')"), "-b-c-");
}

/// For how long this thread has had a processor.
fn busy() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn patterns_are_bounded_in_size_number_and_time() {
    let world = World::new();
    let refused = |expression: &str| world.try_value(expression).unwrap_err();
    assert!(refused("re.compile('(')").contains("probe.lua:3: re.compile: \"(\" is no pattern: unclosed group"));
    assert!(refused("re.compile([[(?u)\\w{200}{20}]])").contains("is too large"));
    assert!(refused("re.compile(('a'):rep(2000))").contains("more than 1024 octets"));
    assert!(refused("re.compile('a').match('a', 'b')").contains("Pattern:match: call it with a colon"));
    let many = "(function() for i = 1, 100 do re.compile('a' .. i) end end)()";
    assert!(refused(many).contains("there are 64 patterns already"));
    assert_eq!(world.value("(function() for i = 1, 1000 do re.compile('a') end return 'ok' end)()"), "ok");
    assert!(refused("re.compile('a'):replace(('a'):rep(8000), ('b'):rep(60000))").contains("the result has more than"));
    assert!(refused("re.compile('a'):test(('a'):rep(70000))").contains("at most 8192"));

    // The worst that fits holds the worker up for milliseconds; here for code that is not optimised.
    for pattern in [
        "(a|a?)+$",
        "(.*)(.*)(.*)(.*)(.*)x",
        "(?:a?){60}(a{60})",
        "(?s)(.{0,400})(b)",
        "([a-c]{0,450}?)*(b)",
        "(a{0,1000})(b)",
        "((?:a{0,30}){0,60})(b)",
        r"(?:\w?\W?){90}(z)",
        r"(?u)(\w{0,3})(z)",
    ] {
        let code = |length: usize| {
            let code =
                format!("local p = re.compile([[{pattern}]]) p:match(('a'):rep({length})) return ims.skip('ok')");
            world.chain(Capabilities::default(), &stage(&code))
        };
        let took = [8192, 1024, 256].into_iter().find_map(|length| {
            let chain = code(length);
            let began = busy();
            let refused = world.ask(&chain).is_err_and(|fault| fault.contains("are too many"));
            (!refused).then(|| busy() - began)
        });
        assert!(took.is_some_and(|took| took < Duration::from_millis(200)), "{pattern}: {took:?}");
    }
}

#[test]
fn json_is_read_and_written() {
    let world = World::new();
    assert_eq!(world.value("json.encode({ b = { 1, 2.5, true }, a = 'x\"y' })"), r#"{"a":"x\"y","b":[1,2.5,true]}"#);
    assert_eq!(world.value("json.encode({})"), "{}");
    assert_eq!(world.value("json.decode('{\"a\":[1,{\"b\":null,\"c\":\"d\"}]}').a[2].c"), "d");
    assert_eq!(world.value("json.decode('[1,null,3]')[3]"), "3");
    let refused = |expression: &str| world.try_value(expression).unwrap_err();
    assert!(refused("json.decode('{')").contains("probe.lua:3: json.decode: "));
    assert!(refused("json.encode(print)").contains("value is nil; it must be given"));
    assert!(refused("json.encode({ tostring })").contains("a function is no JSON"));
    assert!(refused("json.encode({ 1, a = 2 })").contains("either a list or has names"));
    assert!(refused("json.encode(0/0)").contains("is no JSON"));
    assert!(refused("(function() local t = {} t.t = t return json.encode(t) end)()").contains("16 levels deep"));
    assert!(refused("json.encode(('x'):rep(70000))").contains("more than 65536 octets"));
    assert!(refused("json.decode(('['):rep(100) .. (']'):rep(100))").contains("deep"));
}

#[test]
fn octets_are_encoded_and_signed() {
    let world = World::new();
    assert_eq!(world.value("base64.encode('a\\255')"), "Yf8=");
    assert_eq!(world.value("base64.encode_url('a\\255?>')"), "Yf8_Pg");
    assert_eq!(world.value("hex.encode(base64.decode('Yf8=')) .. hex.encode(base64.decode('Yf8_Pg'))"), "61ff61ff3f3e");
    assert_eq!(world.value("base64.decode('!')"), "nil");
    assert_eq!(
        world.value("hex.decode('4A6b') .. tostring(hex.decode('4')) .. tostring(hex.decode('zz'))"),
        "Jknilnil"
    );
    // FIPS 180-4, RFC 4231 test case 2.
    assert_eq!(
        world.value("hex.encode(hash.sha256('abc'))"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(
        world.value("hex.encode(hmac.sha256('Jefe', 'what do ya want for nothing?'))"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    assert_eq!(world.value("tostring(hmac.equal('a', 'a')) .. tostring(hmac.equal('a', 'b'))"), "truefalse");
    assert!(world.try_value("base64.encode(('x'):rep(70000))").unwrap_err().contains("at most 65536"));
}

#[test]
fn wrong_arguments_name_the_place_what_was_got_and_what_is_expected() {
    let world = World::new();
    let cases = [
        ("hex.encode(5)", "probe.lua:3: hex.encode: octets is 5; it must be a string"),
        ("time.date('x')", "time.date: unix is \"x\"; it must be a finite number"),
        ("random.integer(1.5, 2)", "random.integer: from is 1.5; it must be a whole number"),
        ("shared.set('k', nil)", "shared.set: value is nil; it must be a string, number, boolean or table"),
        ("shared.set('k', 1, { tll = 1 })", "shared.set: unknown key \"tll\"; known: ttl"),
        ("shared.set('k', 1, { ttl = 'x' })", "shared.set: ttl is \"x\"; it must be a finite number"),
        ("shared.set('k', 1, { ttl = -1 })", "shared.set: ttl is -1; it must be above 0"),
        ("shared.set('k', 1, 5)", "shared.set: options is 5; it must be a table of ttl"),
        ("shared.get({})", "shared.get: key is a table; it must be a string"),
        ("metric.counter('a'):add(-1)", "Counter:add: by is -1; a counter goes up only"),
        ("metric.counter('a').add(1)", "Counter:add: call it with a colon"),
        ("metric.gauge('g').set(metric.counter('a'), 1)", "Gauge:set: call it on its own metric"),
    ];
    for (expression, expected) in cases {
        let fault = world.try_value(expression).unwrap_err();
        assert!(fault.contains(expected), "{expression}\n{fault}");
    }
}

#[test]
fn metrics_stand_among_the_nodes_under_the_plugins_name() {
    let world = World::new();
    let text = "
        local hits = metric.counter('hits')
        local policy = {}
        function policy.setup()
          hits:add() hits:add(2)
          metric.counter('by_site', { site = 'north' }):add(5)
          metric.gauge('load'):set(0.5)
          local h = metric.histogram('wait', { buckets = { 1, 2 }, labels = { a = 'b' } })
          h:observe(1.5)
        end
        return policy";
    let capabilities = Capabilities { metric: true, ..Capabilities::default() };
    world.load(unit("verify-cache", capabilities.clone(), text)).unwrap();
    let exposition = world.env.host.metrics.exposition();
    for line in [
        "verify_cache_hits_total 3",
        "verify_cache_by_site_total{site=\"north\"} 5",
        "verify_cache_load 0.5",
        "verify_cache_wait_bucket{a=\"b\",le=\"2\"} 1",
    ] {
        assert!(exposition.lines().any(|found| found == line), "{line}\n{exposition}");
    }
    let refused = |text: &str| world.load(unit("verify-cache", capabilities.clone(), text)).err().unwrap().to_string();
    assert!(refused("metric.gauge('hits_total') return {}").contains("is a counter, not a gauge"));
    assert!(refused("metric.counter('by_site', { city = 'x' }) return {}").contains("has the labels (site)"));
    assert!(refused("metric.counter('a b') return {}").contains("is no metric's name"));
    assert!(refused("metric.histogram('h', { buckets = { 2, 1 } }) return {}").contains("each above the one before"));
    assert!(refused("for i = 1, 40 do metric.counter('c' .. i) end return {}").contains("there are 32 metrics"));
    let flood = "for i = 1, 500 do metric.counter('by_site', { site = i }):add() end return {}";
    world.load(unit("verify-cache", capabilities, flood)).unwrap();
    assert!(world.env.host.metrics.exposition().contains("verify_cache_by_site_total{site=\"other\"}"));
}
