//! Whatever is wrong with what is in the files, the generation that serves goes on serving.

use crate::node::{Node, says, states, within};
use std::time::Duration;

#[test]
fn what_is_wrong_is_told_with_file_line_and_source_and_the_old_one_serves() {
    let node = Node::start("watch = false");
    for (what, text, line, word) in [
        ("syntax", "local policy = {}\nfunction policy.verify(req ctx)\nend\nreturn policy\n", 2, "ctx"),
        ("a loop at the top", "local n = 0\nwhile true do\n  n = n + 1\nend\n", 0, "not loaded within"),
        (
            "a set-up that fails",
            "return {\n  setup = function()\n    error('no licence')\n  end,\n}\n",
            3,
            "no licence",
        ),
        (
            "a set-up that never ends",
            "return { setup = function()\n  while true do end\nend }\n",
            0,
            "not loaded within",
        ),
        ("no table", "return 1\n", 0, "returns a table"),
        ("an unknown stage", "local policy = {}\nfunction policy.registre(req)\nend\nreturn policy\n", 2, "registre"),
        ("too much memory", "local t = {}\nfor i = 1, 1e9 do t[i] = i end\nreturn t\n", 0, "memory"),
        ("an error at the top", "local policy = {}\npolicy.x.y = 1\nreturn policy\n", 2, "nil"),
    ] {
        node.write(text);
        let error = within(Duration::from_secs(30), || node.refused(&["reload"]));
        assert!(error.contains("policy.lua") && error.contains(word), "{what}: {error}");
        if line > 0 {
            assert!(error.contains(&format!("policy.lua:{line}:")), "{what}: {error}");
            let source = text.lines().nth(line - 1).unwrap();
            assert!(error.contains(&format!("{line} | {source}")) && error.contains('^'), "{what}: {error}");
        }
        assert_eq!(node.word(), "one", "{what}");
    }
    std::fs::remove_file(node.path("policy.lua")).unwrap();
    assert!(node.refused(&["reload"]).contains("policy.lua"));
    assert_eq!(node.word(), "one");
    std::fs::write(node.path("policy.lua"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(node.refused(&["reload"]).contains("UTF-8"));

    assert_eq!(node.generations(), states(&[(1, "serving")]));
    assert_eq!(node.metric("imscript_reload_total{result=\"failed\"}"), 10);
    assert_eq!(node.metric("imscript_reload_total{result=\"ok\"}"), 0);
    node.wait_for_log("the generation that serves goes on");

    // And the next good one is taken.
    node.write(&says("two"));
    assert_eq!(node.done(&["reload"])["generation"], 2);
    assert_eq!(node.word(), "two");
}

#[test]
fn a_refusal_in_json_has_the_step_and_the_reason() {
    let node = Node::start("watch = false");
    node.write("return {");
    let output = node.verb(&["reload", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["step"], "load", "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("policy.lua:1"), "{last}");
}

#[test]
fn a_request_that_makes_no_sense_is_refused_by_the_command_line() {
    let node = Node::start("watch = false");
    for args in [&["reload", "--canary", "0"][..], &["reload", "--canary", "100"], &["reload", "--shadow", "0"]] {
        assert_eq!(node.verb(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    let prepare = |dir: &std::path::Path| std::fs::create_dir(dir.join("tests")).unwrap();
    let node = Node::prepared(prepare, &says("one"), "", "");
    let pipe = |name: &str| {
        let _ = std::fs::remove_file(node.path(name));
        assert!(std::process::Command::new("mkfifo").arg(node.path(name)).status().unwrap().success());
    };
    let refused = || within(Duration::from_secs(30), || node.refused(&["reload"]));
    for name in ["policy.lua", "tests/policy_test.lua", "ims.toml"] {
        let before = std::fs::read(node.path(name)).ok();
        pipe(name);
        let error = refused();
        assert!(error.contains(name) && error.contains("not a regular file"), "{name}: {error}");
        std::fs::remove_file(node.path(name)).unwrap();
        std::fs::create_dir(node.path(name)).unwrap();
        // A folder is no test.
        if name != "tests/policy_test.lua" {
            let error = refused();
            assert!(error.contains("not a regular file"), "{name}: {error}");
        }
        std::fs::remove_dir(node.path(name)).unwrap();
        if let Some(before) = before {
            std::fs::write(node.path(name), before).unwrap();
        }
    }
    // The loader and the watch of the files still live.
    node.write(&says("two"));
    node.wait_for_word("two");
    within(Duration::from_secs(30), || node.done(&["rollback"]));
    assert_eq!(node.word(), "one");
}
