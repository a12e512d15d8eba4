//! `imscript repl` with its input from a pipe.

use super::*;

#[test]
fn a_session() {
    let desk = Desk::new();
    desk.write(
        "p.lua",
        "local p = {}\nfunction p.verify(req) return ims.verify { subscription = 'never' } end\nreturn p\n",
    );
    desk.write("r.sip", REGISTER);
    let input = "=req.kind\n\
                 =ctx.servers:by_naf(portion.naf_id).name\n\
                 function double(x)\n  return x * 2\nend\n\
                 double(21), { 1, a = 'x' }\n\
                 =ims.forward { to = \"bsm\" }\n\
                 x = 5\n\
                 =x + 1\n\
                 :load p.lua\n\
                 :stage verify\n\
                 =policy.verify(req, ctx)\n\
                 :stage status\n\
                 =event.system\n\
                 =req\n\
                 :message r.sip\n\
                 :stage register\n\
                 =req:header('call-id'), req.impu\n\
                 :quit\n\
                 =1\n";
    let said = desk.talk("repl", input).ok();
    let expected = [
        "\"initial\"",
        "\"bsm\"",
        "42",
        "{ 1, a = \"x\" }",
        "forward key=\"push\" on_failure=\"pending\" parts=[\"key\",\"identity\"] to=\"bsm\" when=\"before_200\"",
        "6",
        "policy = p.lua",
        "verify at=\"after_authentication\" subscription=\"never\"",
        "\"ims\"",
        "nil",
        "\"1\"",
        "\"sip:bob@home1.net\"",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_guards_of_a_policy_hold() {
    let desk = Desk::new();
    for (input, why) in [
        ("while true do end", "stopped after 50 ms"),
        ("string.rep('x', 1e9)", "memory limit reached"),
        ("=os.exit()", "index nil with 'exit'"),
        ("io.open('x')", "index nil with 'open'"),
        ("require('x')", "call a nil value"),
        ("x = = 1", "input:1: "),
        (":stage nowhere", "the stages are receive"),
        (":load nowhere.lua", "nowhere.lua: "),
        (":what", "no command :what"),
        ("function f(", "the input ends before"),
        ("kept = req\n:stage status\n=kept.kind", "error: "),
    ] {
        let said = desk.talk("repl", &format!("{input}\n")).fails(1);
        has(&said, &["error: ", why]);
    }
    // What failed leaves the prompt in order.
    let said = desk.talk("repl", "while true do end\n=1 + 1\n").fails(1);
    assert!(said.ends_with("\n2\n"), "{said}");
}

#[test]
fn every_line_sees_the_arguments_of_its_own_question() {
    let desk = Desk::new();
    desk.write("p.lua", "local p = {}\nfunction p.broadcast(req, portion, ctx)\n  if ctx.portion.profile == 'x' then return ims.ignore {} end\nend\nreturn p\n");
    let input = "=portion.naf_id\n=policy.broadcast(req, portion, ctx)\npolicy.broadcast(req, portion, ctx)\n\
                 function kind() return req.kind end\n=kind()\n=kind()\n\
                 print(req.kind, 'x\\27[2Jy', nil, 2)\nfor n = 1, 2 do print(n) end\n";
    let said = desk.talk("repl --policy p.lua", input).ok();
    let expected =
        ["\"bsm.home1.net\"", "nil", "nil", "\"initial\"", "\"initial\"", "initial\tx [2Jy\tnil\t2", "1", "2"];
    let lines: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(lines.get(1..), expected.get(1..), "{said}");
}
