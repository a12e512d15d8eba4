//! `imscript test`: what a failing test shows, what the harness can do, how it reports.

use super::*;

const POLICY: &str = "local p = {}

function p.verify(req, ctx)
  if req.kind == 'refresh' then
    return ims.verify { subscription = 'never' }
  end
  return nil
end

function p.status(event, ctx)
  return ims.silent()
end

return p
";

fn tested(test: &str) -> (Desk, Said) {
    let desk = Desk::new();
    desk.write("p.lua", POLICY).write("tests/p_test.lua", test);
    let said = desk.run("test p.lua");
    (desk, said)
}

#[test]
fn a_failing_test_shows_file_line_source_and_hint() {
    for (test, parts) in [
        (
            "test('status', function(t)\n  local terminal = t:terminal()\n  t:expect(terminal:register(), { status = 403 })\nend)\n",
            &[
                "  FAILED  status",
                "tests/p_test.lua:3: status: got 200 OK, expected 403\n",
                "3 |   t:expect(terminal:register(), { status = 403 })\n",
                "|   ^^^^",
            ][..],
        ),
        (
            "test('key', function(t)\n  t:terminal { impl = 'x' }\nend)\n",
            &[
                "tests/p_test.lua:2: t:terminal: unknown key impl; known: ",
                " |                ^^^^\n",
                "hint: did you mean impi?",
            ],
        ),
        (
            "test('method', function(t)\n  t:equl(1, 1)\nend)\n",
            &["tests/p_test.lua:2: t has no \"equl\"; did you mean t:equal?"],
        ),
        (
            "test('nil', function(t)\n  tset()\nend)\n",
            &["tests/p_test.lua:2: attempt to call a nil value", "hint: did you mean test?"],
        ),
        (
            "test('stage', function(t)\n  t:ask('vrify')\nend)\n",
            &["tests/p_test.lua:2: unknown stage \"vrify\"", "verify"],
        ),
        (
            "test('values', function(t)\n  t:equal({ 1, a = 'x' }, { 1, a = 'y' }, 'why')\nend)\n",
            &["tests/p_test.lua:2: got { 1, a = \"x\" }, expected { 1, a = \"y\" } (why)"],
        ),
        ("test('print', function(t)\n  print('seen', { 1 })\n  t:fail()\nend)\n", &["printed: seen\t{ 1 }"]),
        ("test('syntax', function(t)\n", &["FAILED  the file cannot be run", "tests/p_test.lua:", "got <eof>"]),
        ("local x = 1\n", &["no test in this file", "hint: declare one"]),
        (
            "test('a', function() end)\ntest('a', function() end)\n",
            &["tests/p_test.lua:2: there is a test \"a\" already"],
        ),
    ] {
        let (_, said) = tested(test);
        has(&said.fails(1), parts);
    }
}

#[test]
fn a_test_that_never_ends_is_ended_where_it_is() {
    let desk = Desk::new();
    desk.write("p.lua", POLICY);
    desk.write(
        "tests/p_test.lua",
        "test('loop', function(t)\n  local n = 0\n  while true do\n    n = n + 1\n  end\nend)\n",
    );
    let said = desk.run("test p.lua --timeout 100").fails(1);
    has(&said, &["not done within 100 ms", "--timeout"]);
    assert!(["tests/p_test.lua:3:", "tests/p_test.lua:4:"].iter().any(|place| said.contains(place)), "{said}");
}

#[test]
fn a_registration_runs_through_time() {
    let (_, said) = tested(
        "test('life', function(t)
  t:clock('2026-11-22T03:00:00Z')
  local server = t:server('bsm')
  local terminal = t:terminal { impi = 'bob@home1.net', naf_id = 'bsm.home1.net', payload = '<x/>' }
  local response = terminal:register { expires = 600 }
  t:expect(response, { status = 200, headers = { Contact = 'expires=600', ['Bcast-Ext'] = 'state=registered', Foo = false } })
  t:equal(terminal:broadcast_state(), 'registered')
  local received = server:received()
  t:equal({ #received, received[1].method, received[1].key }, { 1, 'REGISTER', true })
  t:contains(received[1].body, '(hidden)')
  t:equal(#t:hss_calls() > 0, true)
  t:advance('9m')
  t:is_true(terminal:is_registered())
  t:advance('2m')
  t:equal(terminal:is_registered(), false)
  t:contains(table.concat(t:hss_calls(), ','), 'SAR timeout-deregistration')
  t:equal(t:now(), 1795316400 + 660)
end)

test('isolated', function(t)
  t:equal(t:terminal():is_registered(), false)
  t:equal(t:hss_calls(), {})
end)

test('a server that is down, and one that is slow', function(t)
  local server = t:server('bsm')
  local terminal = t:terminal { naf_id = 'bsm.home1.net' }
  server:down()
  t:expect(terminal:register { all_or_nothing = true }, { status = 504 })
  t:equal(terminal:is_registered(), false)
  server:answers { status = 200, after = '3s' }
  local before = t:now()
  t:expect(terminal:register(), { status = 200 })
  t:equal(t:now() - before, 3)
  server:answers { status = 503 }
  t:expect(terminal:deregister(), { status = 200 })
end)

test('an HSS that is down', function(t)
  local terminal = t:terminal()
  t:hss_down()
  local refused = terminal:register()
  t:is_true(refused.status >= 480)
  t:equal(terminal:is_registered(), false)
  t:hss_down(false)
  t:expect(terminal:register(), { status = 200 })
end)
",
    );
    has(&said.ok(), &["  ok      life", "4 passed, 0 failed"]);
}

#[test]
fn requests_are_sent_as_text_or_table_and_retransmissions_get_the_same_answer() {
    let (_, said) = tested(
        "local OPTIONS = [[
OPTIONS sip:home1.net SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKx
From: <sip:a@home1.net>;tag=1
To: <sip:a@home1.net>
Call-ID: 1
CSeq: 1 OPTIONS
Max-Forwards: 70
]]

test('text', function(t)
  local first, again = t:send(OPTIONS), t:send(OPTIONS)
  t:expect(first, { status = 200, headers = { Allow = 'REGISTER' } })
  t:equal(first:header('To'), again:header('To'))
end)

test('table', function(t)
  t:expect(t:send { method = 'INVITE' }, { status = 405 })
  t:expect(t:send { impu = 'sip:nobody@home1.net' }, { status = 403 })
  t:raises(function() t:send { method = 'A B' } end, 'no blanks')
  t:raises(function() t:send('hello') end, 'no SIP message')
end)
",
    );
    has(&said.out, &["  ok      text"]);
    has(&said.ok(), &["2 passed"]);
}

#[test]
fn every_stage_is_reached_through_the_network() {
    let desk = Desk::new();
    desk.write(
        "p.lua",
        "local p = {}
function p.receive(req) if req:header('X-Bad') then return ims.reject(403, 'Bad') end
  if req:header('X-Gone') then return ims.drop() end end
function p.route(req) if req.method == 'OPTIONS' then return ims.answer { status = 200, reason = 'Mine' } end end
function p.reply(resp) resp:set_header('X-Seen', tostring(resp.status)) end
function p.finish(outcome) log.info('finished', { status = outcome.status }) end
function p.failure(req, failure) return ims.retry { to = 'second' } end
return p
",
    );
    desk.write(
        "p_test.lua",
        "test('all', function(t)
  local first = t:server('first', { naf = 'bsm.home1.net' })
  local second = t:server('second', { naf = 'bsm.home1.net' })
  first:answers { status = 503 }
  local response = t:terminal { naf_id = 'bsm.home1.net' }:register()
  t:expect(response, { status = 200, headers = { ['X-Seen'] = '200', ['Bcast-Ext'] = 'state=registered' } })
  t:equal(#second:received(), 1)
  t:expect(t:send { method = 'OPTIONS' }, { status = 200, reason = 'Mine' })
  t:expect(t:send { headers = { ['X-Bad'] = '1' } }, { status = 403 })
  t:is_nil(t:send { headers = { ['X-Gone'] = '1' } })
  t:contains(t:logs()[1].text, 'finished')
  t:equal(t:faults(), {})
  t:equal(t:verdicts('failure')[1].to, 'second')
end)
",
    );
    has(&desk.run("test p.lua").ok(), &["1 passed"]);
}

#[test]
fn questions_verdicts_faults_and_logs() {
    let desk = Desk::new();
    desk.write("other.lua", "return { verify = function() log.warn('asked', { times = 1 }) error('broken') end }");
    desk.write("p.lua", POLICY);
    desk.write(
        "p_test.lua",
        "test('who decides', function(t)
  t:equal(t:ask('verify', { req = { kind = 'refresh' } }), {
    verdict = 'verify', subscription = 'never', at = 'after_authentication', by = 'policy', stage = 'verify' })
  t:equal(t:ask('verify').by, 'default')
  t:equal(t:ask('status', { event = { system = 'broadcast', state = 'failed' } }).verdict, 'silent')
  local verdict = t:ask('broadcast', { portion = { naf_id = 'bsm.home1.net', payload = 'x' } })
  t:equal(verdict.parts, { 'key', 'payload', 'identity' })
  t:raises(function() t:ask('broadcast') end, 'needs a portion')
  t:raises(function() t:ask('verify', { req = { kind = 'first' } }) end, 'it may be \"initial\"')
end)

test('another policy', function(t)
  t:policy('other.lua')
  t:equal(t:ask('verify').by, 'default')
  local fault = t:faults()[1]
  t:equal({ fault.unit, fault.stage, fault.cause }, { 'policy', 'verify', 'error' })
  t:contains(fault.message, 'other.lua:1: broken')
  t:equal(t:faults(), {})
  t:contains(t:logs()[1].text, 'asked times=1')
  t:raises(function() t:policy('p.lua') end, 'comes before the first request')
end)

test('verdicts of a run', function(t)
  t:terminal { naf_id = 'bsm.home1.net' }:register()
  t:equal(#t:verdicts('status') >= 1, true)
  t:equal(t:verdicts('verify'), {})
end)
",
    );
    has(&desk.run("test p.lua").ok(), &["3 passed"]);
}

#[test]
fn line_coverage_is_right() {
    let desk = Desk::new();
    desk.write("p.lua", POLICY);
    desk.write("tests/p_test.lua", "test('one', function(t)\n  t:ask('verify')\nend)\n");
    let json = desk.run("test p.lua --coverage --json").json();
    let file = &json["coverage"][0];
    assert_eq!(file["file"], "p.lua");
    // Not run: the verdict of a refresh, and the body of status.
    assert_eq!(file["missed"], serde_json::json!([5, 11]), "{file}");
    assert_eq!(file["total"].as_u64().unwrap() - 2, file["covered"].as_u64().unwrap());
    has(&desk.run("test p.lua --coverage").ok(), &["coverage p.lua: ", "not run: 5, 11"]);
    desk.write(
        "tests/p_test.lua",
        "test('two', function(t)\n  t:ask('verify', { req = { kind = 'refresh' } })\n  t:ask('status')\nend)\n",
    );
    assert_eq!(desk.run("test p.lua --coverage --json").json()["coverage"][0]["missed"], serde_json::json!([7]));
}

#[test]
fn junit_json_and_filter() {
    let desk = Desk::new();
    desk.write("p.lua", POLICY);
    desk.write("tests/p_test.lua", "test('a <&> b', function(t) end)\ntest('c', function(t) t:fail('no') end)\n");
    desk.run("test p.lua --junit report.xml").fails(1);
    let xml = desk.read("report.xml");
    let mut reader = quick_xml::Reader::from_str(&xml);
    let mut names = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Eof => break,
            quick_xml::events::Event::Start(e) | quick_xml::events::Event::Empty(e) => {
                names.push(e.name().as_ref().to_owned());
            }
            _ => {}
        }
    }
    assert_eq!(names, ["testsuites", "testsuite", "testcase", "testcase", "failure"], "{xml}");
    has(&xml, &["name=\"a &lt;&amp;&gt; b\"", "failures=\"1\"", "p_test.lua:2: no"]);
    let json = desk.run("test p.lua --json").json();
    assert_eq!((json["passed"].as_u64(), json["failed"].as_u64()), (Some(1), Some(1)));
    assert_eq!(json["files"][0]["tests"][1]["failure"]["line"], 2);
    has(&desk.run("test p.lua --filter b").ok(), &["1 passed, 0 failed"]);
    has(&desk.run("test p.lua --filter nothing").fails(1), &["no test has \"nothing\" in its name"]);
    has(&Desk::new().write("x.lua", POLICY).run("test x.lua").fails(1), &["no tests"]);
}

#[test]
fn a_test_file_has_no_way_out() {
    let (_, said) = tested(
        "test('out', function(t)
  for _, name in { 'os', 'io', 'require', 'loadstring', 'dofile', 'debug', 'getfenv', 'collectgarbage' } do
    t:is_nil(getmetatable('').__index[name])
    t:is_nil(_G[name], name)
  end
end)
test('memory', function(t)
  string.rep('x', 1e9)
end)
",
    );
    let said = said.fails(1);
    has(&said, &["  FAILED  memory", "more than 64 MB of memory"]);
    has(&said, &["1 passed, 1 failed"]);
}

#[test]
fn host_functions_of_a_plugin_in_its_tests() {
    let desk = Desk::new();
    desk.write(
        "plugins/hook/plugin.toml",
        "name = \"hook\"\nversion = \"0.1.0\"\napi = 1\nstages = [\"status\"]\n[capabilities]\nmetric = true\n\
         timer = true\nhttp = [\"https://hook.example\"]\n",
    );
    desk.write(
        "plugins/hook/main.lua",
        "local told = metric.counter('told')
local late = false
return {
  setup = function()
    timer.after(30, function() late = true end)
  end,
  status = function(event)
    http.post('https://hook.example/status?x=1', { body = event.state }, function(answer, why)
      told:add(1)
      log.info(answer and answer.status or why)
    end)
    return late and ims.silent() or nil
  end,
}
",
    );
    desk.write(
        "plugins/hook/tests/hook_test.lua",
        "test('told', function(t)
  t:http_answers('https://hook.example/', { status = 202 })
  t:terminal { naf_id = 'bsm.home1.net' }:register()
  local sent = t:http()
  t:equal({ sent[1].method, sent[1].url, sent[1].body }, { 'POST', 'https://hook.example/status?x=1', 'registered' })
  t:equal(t:metric('told'), #sent)
  t:is_nil(t:metric('nothing'))
  t:contains(t:logs()[1].text, '202')
  t:equal(t:http(), {})
end)

test('nobody answers', function(t)
  t:ask('status')
  t:advance('1s')
  t:contains(t:logs()[1].text, 'the test has no answer for it')
end)

test('time passes for timers', function(t)
  t:equal(t:ask('status').by, 'default')
  t:advance('31s')
  t:equal(t:ask('status').verdict, 'silent')
end)
",
    );
    desk.run("check plugins/hook").ok();
    has(&desk.run("test plugins/hook").ok(), &["3 passed"]);
}
