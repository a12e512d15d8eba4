//! Plugins are taken with the policy: their folders, and what the configuration says of them.

use crate::node::{Node, states};
use imscript::config::Config;
use imscript::server::Node as Embedded;
use imscript::server::control::protocol::{Answer, Request};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const MANIFEST: &str = "name = \"door\"\nversion = \"1.0.0\"\napi = 1\nlicense = \"MIT\"\n\
    description = \"Says a word to everybody\"\nstages = [\"register\"]\nbefore = [\"policy\"]\non_error = \"skip\"\n\
    [config.properties.word]\ntype = \"string\"\nmaxLength = 10\ndefault = \"closed\"\ndescription = \"the word\"\n";
const MAIN: &str = "local door = {}\nlocal word\nfunction door.setup(conf)\n  word = conf.word\nend\n\
    function door.register(req)\n  return ims.reject(480, word)\nend\nreturn door\n";

fn put(node: &Node, file: &str, text: &str) {
    fs::create_dir_all(node.path("plugins/door")).unwrap();
    fs::write(node.path("plugins/door").join(file), text).unwrap();
}

fn node(reload: &str) -> Node {
    let plugins = "[plugins]\ndir = \"plugins\"\n";
    let make = |dir: &Path| fs::create_dir(dir.join("plugins")).unwrap();
    Node::prepared(make, &crate::node::says("one"), plugins, reload)
}

#[test]
fn a_plugin_that_comes_and_changes_is_taken_and_a_bad_one_is_refused_by_file_and_line() {
    let node = node("watch = false");
    assert_eq!(node.word(), "one");
    put(&node, "plugin.toml", MANIFEST);
    put(&node, "main.lua", MAIN);
    assert_eq!(node.done(&["reload"])["generation"], 2);
    assert_eq!(node.word(), "closed");
    for (what, file, text, place, word) in [
        ("an unknown key", "plugin.toml", MANIFEST.replace("license", "licence"), "plugin.toml:4", "licence"),
        (
            "an unknown stage",
            "plugin.toml",
            MANIFEST.replace("[\"register\"]", "[\"registre\"]"),
            "plugin.toml:6",
            "registre",
        ),
        (
            "a ring",
            "plugin.toml",
            MANIFEST.replace("before = [\"policy\"]", "before = [\"door\"]"),
            "plugin.toml:7",
            "door",
        ),
        ("a syntax error", "main.lua", MAIN.replace("word = conf.word", "word = = conf.word"), "main.lua:4", "="),
        (
            "a set-up that fails",
            "main.lua",
            MAIN.replace("word = conf.word", "error('no key')"),
            "main.lua:4",
            "no key",
        ),
    ] {
        put(&node, file, &text);
        let error = node.refused(&["reload"]);
        assert!(error.contains(place) && error.contains(word), "{what}: {error}");
        assert_eq!(node.word(), "closed", "{what}");
        put(&node, "plugin.toml", MANIFEST);
        put(&node, "main.lua", MAIN);
    }
    assert_eq!(node.generations(), states(&[(1, "kept"), (2, "serving")]));
    fs::remove_dir_all(node.path("plugins/door")).unwrap();
    node.done(&["reload"]);
    assert_eq!(node.word(), "one");
    node.done(&["rollback"]);
    assert_eq!(node.word(), "closed", "what is kept does not need its files");
}

#[test]
fn settings_in_the_configuration_are_read_anew() {
    let node = node("watch = false");
    put(&node, "plugin.toml", MANIFEST);
    put(&node, "main.lua", MAIN);
    node.done(&["reload"]);
    assert_eq!(node.word(), "closed");
    let config = fs::read_to_string(node.path("ims.toml")).unwrap();
    let set =
        |table: &str| fs::write(node.path("ims.toml"), format!("{config}\n[plugins.config.door]\n{table}\n")).unwrap();
    set("word = \"open\"");
    node.done(&["reload"]);
    assert_eq!(node.word(), "open");
    set("word = \"much too long a word\"");
    let error = node.refused(&["reload"]);
    assert!(error.contains("ims.toml:") && error.contains("word"), "{error}");
    fs::write(node.path("ims.toml"), "colour = 1").unwrap();
    let error = node.refused(&["reload"]);
    assert!(error.contains("ims.toml:1") && error.contains("colour"), "{error}");
    assert_eq!(node.word(), "open");
}

#[test]
fn a_new_plugin_and_a_new_setting_are_seen_by_the_watch() {
    let node = node("");
    put(&node, "plugin.toml", MANIFEST);
    put(&node, "main.lua", MAIN);
    node.wait_for_word("closed");
    let mut config = fs::read_to_string(node.path("ims.toml")).unwrap();
    config.push_str("\n[plugins.config.door]\nword = \"open\"\n");
    fs::write(node.path("ims.toml"), config).unwrap();
    node.wait_for_word("open");
}

/// Asks a node in this process.
fn ask(dir: &Path, request: &Request) -> Vec<Answer> {
    let stream = UnixStream::connect(dir.join("control.sock")).unwrap();
    (&stream).write_all(request.to_line().as_bytes()).unwrap();
    let mut answers = Vec::new();
    for line in BufReader::new(stream).lines() {
        answers.push(Answer::from_line(line.unwrap().as_bytes()).unwrap());
        if answers.last().is_some_and(Answer::is_final) {
            break;
        }
    }
    answers
}

#[test]
fn tests_that_fail_keep_a_generation_out_unless_they_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        format!("listen = [\"udp:127.0.0.1:0\"]\nworkers = 1\ndata_dir = {:?}\n[reload]\nwatch = false\n", dir.path());
    let config = Config::parse(&text, Path::new("imscript.toml")).unwrap();
    let fails = Arc::new(AtomicBool::new(true));
    let failing = fails.clone();
    let tests = Arc::new(move |generation: &imscript::policy::lua::Generation| {
        assert_eq!(generation.units().len(), 1);
        if failing.load(Ordering::Relaxed) {
            Err("1 of 2 failed\ndoor_test.lua:7: no".to_owned())
        } else {
            Ok("2 passed".into())
        }
    });
    let _node = Embedded::builder(config).tests(tests).steered().start().unwrap();
    let reload =
        |skip_tests| ask(dir.path(), &Request::Reload { shadow: None, canary: None, skip_tests, dry_run: false });
    match reload(false).last() {
        Some(Answer::Error(problem)) => {
            assert_eq!(problem.step, "tests");
            assert!(problem.message.contains("door_test.lua:7"), "{problem:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(reload(true).last(), Some(Answer::Done(done)) if done["generation"] == 2));
    fails.store(false, Ordering::Relaxed);
    assert!(matches!(reload(false).last(), Some(Answer::Done(done)) if done["tests"] == "2 passed"));
    // The first is kept; its number is told of the status.
    assert!(
        matches!(ask(dir.path(), &Request::Status {}).last(), Some(Answer::Done(done)) if done["policy"]["generation"] == 3)
    );
}

#[test]
fn a_node_whose_policy_is_compiled_in_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("listen = [\"udp:127.0.0.1:0\"]\nworkers = 1\ndata_dir = {:?}\n", dir.path());
    let config = Config::parse(&text, Path::new("imscript.toml")).unwrap();
    let node = Embedded::builder(config).policy(|| imscript::policy::Defaults).steered().start().unwrap();
    node.reload();
    match ask(dir.path(), &Request::Generations {}).last() {
        Some(Answer::Error(problem)) => assert!(problem.message.contains("compiled in"), "{problem:?}"),
        other => panic!("{other:?}"),
    }
}
