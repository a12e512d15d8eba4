//! From nothing to a plugin that is tested and explained.

use super::*;

#[test]
fn new_check_test_explain() {
    let desk = Desk::new();
    has(&desk.run("new plugin visitors").ok(), &["plugins/visitors/main.lua", "imscript check plugins/visitors"]);
    desk.run("new policy home").ok();
    has(&desk.run("check").ok(), &["lua/policy/home.lua, plugins/visitors: no fault"]);
    has(&desk.run("test").ok(), &["  ok      visitors go to the server of the settings", "6 passed, 0 failed"]);
    desk.write("r.sip", REGISTER);
    let said = desk.run("explain r.sip --policy lua/policy/home.lua --plugins plugins").ok();
    has(
        &said,
        &[
            "REGISTER of sip:bob@home1.net as bob@home1.net, initial",
            "broadcast: visitors, then policy\n  visitors: forward",
            "by visitors\n",
            "authorized: nobody is asked\n  => accept by the default",
        ],
    );
    let json = desk.run("explain r.sip --policy lua/policy/home.lua --stage verify --json").json();
    assert_eq!(json["stages"][0]["decided_by"], "policy");
    assert_eq!(json["stages"][0]["verdict"]["subscription"], "always");
    assert!(json["stages"][0]["asked"][0]["nanoseconds"].as_u64().unwrap() > 0);
}

#[test]
fn new_overwrites_nothing_and_takes_no_wild_names() {
    let desk = Desk::new();
    desk.run("new policy home").ok();
    desk.write("lua/policy/home.lua", "mine");
    has(&desk.run("new policy home").fails(1), &["home.lua is there already; nothing was written"]);
    assert_eq!(desk.read("lua/policy/home.lua"), "mine");
    desk.run("new plugin visitors").ok();
    has(&desk.run("new plugin visitors").fails(1), &["plugins/visitors is there already"]);
    for name in ["Visitors", "../x", "a/b", "-a", "a-", "policy", ""] {
        let said = imscript(desk.0.path(), &["new", "plugin", name], "");
        assert_eq!(said.code.signum(), 1, "{name}: {}{}", said.out, said.err);
    }
    assert_eq!(std::fs::read_dir(desk.path("plugins")).unwrap().count(), 1);
}

#[test]
fn every_verb_has_help_with_an_example() {
    let desk = Desk::new();
    for verb in ["new", "check", "test", "explain", "replay", "repl", "bench"] {
        has(&desk.run(&format!("{verb} --help")).ok(), &["Examples:\n  imscript "]);
    }
}

#[test]
fn explain_of_what_is_no_request() {
    let desk = Desk::new();
    desk.write("response.sip", "SIP/2.0 200 OK\nCall-ID: 1\n\n").write("text.sip", "hello\n");
    has(&desk.run("explain response.sip").fails(1), &["response.sip: no SIP request in it"]);
    has(&desk.run("explain text.sip").fails(1), &["no SIP request"]);
    has(&desk.run("explain nowhere.sip").fails(1), &["nowhere.sip: "]);
    has(&desk.talk("explain -", REGISTER).ok(), &["REGISTER of sip:bob@home1.net"]);
}

#[test]
fn explain_shows_a_stage_that_fails() {
    let desk = Desk::new();
    desk.write("r.sip", REGISTER);
    desk.write(
        "p.lua",
        "local p = {}\nfunction p.verify(req)\n  return ims.verify { subscription = req.impi }\nend\nreturn p\n",
    );
    let said = desk.run("explain r.sip --policy p.lua --stage verify").ok();
    has(&said, &["policy: failed (error): p.lua:3: ", "by what holds on failure"]);
}

#[test]
fn trust_is_known_to_every_tool() {
    let desk = Desk::new();
    desk.write("r.sip", REGISTER);
    desk.write("p.lua", "return { register = function() return ims.trust() end }");
    desk.write(
        "tests/p_test.lua",
        "test('nobody is asked', function(t)
  t:equal(t:ask('register'), { verdict = 'trust', by = 'policy', stage = 'register' })
  local server = t:server('bsm')
  local terminal = t:terminal { naf_id = 'bsm.home1.net' }
  t:expect(terminal:register(), { status = 200, headers = { ['Bcast-Ext'] = 'state=failed' } })
  t:equal(#server:received(), 0)
end)
",
    );
    has(&desk.run("explain r.sip --policy p.lua --stage register").ok(), &["=> trust", "by policy"]);
    has(&desk.run("check p.lua --strict").ok(), &["no fault"]);
    has(&desk.run("test p.lua").ok(), &["1 passed"]);
}

#[test]
fn bench_measures_each_member_and_all_of_them() {
    let desk = Desk::new();
    desk.run("new plugin visitors").ok();
    let json = desk.run("bench plugins --readings 3 --json").json();
    let rows = json["stages"].as_array().unwrap();
    let of = |unit: &str, stage: &str| rows.iter().find(|row| row["unit"] == unit && row["stage"] == stage).cloned();
    let all = of("all", "broadcast").unwrap();
    assert!(all["median_ns"].as_f64() >= all["least_ns"].as_f64() && all["least_ns"].as_f64() > Some(0.0));
    assert!(of("visitors", "broadcast").is_some() && of("visitors", "verify").is_none());
    assert!(of("policy", "verify").is_some());
    desk.write("p.lua", "return { verify = function() error('x') end }");
    has(&desk.run("bench p.lua --readings 3").fails(1), &["p.lua:1: x", "a stage that fails is not measured"]);
}

/// A node of these tests; it ends with the test.
struct Node(std::process::Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reload_is_refused_by_the_plugins_own_tests() {
    use std::io::BufRead;
    let desk = Desk::new();
    desk.run("new plugin visitors").ok();
    desk.write(
        "imscript.toml",
        "listen = [\"udp:127.0.0.1:0\"]\nworkers = 1\ndata_dir = \"data\"\nplugins = \"plugins\"\n[reload]\nwatch = false\n",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_imscript"));
    command.args(["run", "--config", "imscript.toml"]).current_dir(desk.0.path());
    let mut node = Node(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut ready = String::new();
    std::io::BufReader::new(node.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.starts_with("listening "), "{ready}");

    let said = desk.run("reload --config imscript.toml");
    has(&(said.out.clone() + &said.err), &["3 passed", "serves on 1 workers"]);
    said.ok();
    let main = desk.read("plugins/visitors/main.lua");
    desk.write("plugins/visitors/main.lua", main.replace("to = server", "to = \"bsm\""));
    has(
        &desk.run("reload --config imscript.toml").fails(1),
        &["1 of 3 failed", "visitors_test.lua:11: got 0, expected 1", "11 |   t:equal(#visitors:received(), 1)"],
    );
    desk.run("reload --config imscript.toml --skip-tests").ok();
}
