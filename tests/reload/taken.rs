use crate::node::{FAILS, Node, says, states};
use std::fs;
use std::process::Stdio;

#[test]
fn a_good_reload_changes_the_verdicts_on_every_worker_before_it_answers() {
    let node = Node::start("watch = false");
    assert_eq!(node.word(), "one");
    for (number, word) in [(2, "two"), (3, "three")] {
        node.write(&says(word));
        assert_eq!(node.word_for("x"), if number == 2 { "one" } else { "two" }, "not before it is asked to");
        let output = node.verb(&["reload"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.starts_with(&format!("generation {number} serves on 2 workers (")), "{text}");
        assert_eq!(node.word(), word);
    }
    assert_eq!(node.generations(), states(&[(1, "kept"), (2, "kept"), (3, "serving")]));
    assert_eq!(node.metric("imscript_reload_total{result=\"ok\"}"), 2);
    // The replaced ones have no VMs any more.
    node.wait_for_log("generation=1");
    node.wait_for_log("has ended with the last of its transactions");
    assert_eq!(node.metric("imscript_policy_chains{generation=\"1\""), 0);
    assert_eq!(node.metric("imscript_policy_chains{generation=\"3\""), 2);
}

#[test]
fn the_answer_in_json_has_the_generation_and_the_time() {
    let node = Node::start("watch = false");
    node.write(&says("two"));
    let done = node.done(&["reload"]);
    assert_eq!((&done["generation"], &done["workers"]), (&2.into(), &2.into()), "{done}");
    let ms = done["ms"].as_f64().unwrap();
    assert!(ms > 0.0 && ms < 5000.0, "{done}");
    println!("reload: {ms:.2} ms");
}

#[test]
fn sighup_reloads_and_the_log_has_the_outcome() {
    let node = Node::start("watch = false");
    let id = node.process_ids()[0].to_string();
    let hang_up = || assert!(std::process::Command::new("kill").args(["-s", "HUP", &id]).status().unwrap().success());
    node.write(&says("two"));
    hang_up();
    node.wait_for_word("two");
    node.write("return 1");
    hang_up();
    node.wait_for_log("SIGHUP");
    node.wait_for_log("a policy returns a table of functions");
    assert_eq!(node.word(), "two");
}

#[test]
fn many_signals_at_once_are_few_reloads() {
    let node = Node::start("watch = false");
    let id = node.process_ids()[0].to_string();
    node.write(&says("two"));
    let signals = format!("for n in $(seq 60); do kill -HUP {id}; done");
    assert!(std::process::Command::new("sh").args(["-c", &signals]).status().unwrap().success());
    node.wait_for_word("two");
    node.write(&says("three"));
    node.done(&["reload"]); // after all that is waiting
    let last = node.generations().last().unwrap().0;
    assert!(last < 30, "{last}");
}

#[test]
fn a_dry_run_finds_faults_and_changes_nothing() {
    let node = Node::start("watch = false");
    node.write(&says("two"));
    let done = node.done(&["reload", "--dry-run"]);
    assert_eq!((&done["dry_run"], &done["serving"]), (&true.into(), &1.into()), "{done}");
    assert_eq!((node.word().as_str(), node.generations()), ("one", states(&[(1, "serving")])));
    node.write("return {");
    assert!(node.refused(&["reload", "--dry-run"]).contains("policy.lua:1"));
}

#[test]
fn a_node_that_starts_on_the_data_folder_of_another_is_refused_and_takes_over_from_a_dead_one() {
    let mut node = Node::start("watch = false");
    let second = "second.toml";
    fs::write(node.path(second), "listen = [\"udp:127.0.0.1:0\"]\ndata_dir = \"ims-data\"\n").unwrap();
    let output = node.imscript(&["run", "--config", second]).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("a node already runs on"), "{error}");
    node.done(&["generations"]);

    node.kill("ims");
    assert!(node.path("ims-data/control.sock").exists(), "killed without a chance to take it away");
    assert!(node.refused(&["reload"]).contains("no node answers"));
    let config = fs::read_to_string(node.path("ims.toml")).unwrap();
    node.start_node("ims", &config).unwrap();
    assert_eq!(node.generations(), states(&[(1, "serving")]));
    node.signal("ims", "TERM");
    assert!(!node.path("ims-data/control.sock").exists());
    assert!(node.refused(&["reload"]).contains("no node runs there"));
}

#[test]
fn several_reloads_at_once_are_done_one_after_the_other() {
    let node = Node::start("watch = false");
    node.write(&says("two"));
    let mut asked = Vec::new();
    for _ in 0..6 {
        let mut command = std::process::Command::new(crate::support::BINARY);
        command.args(["reload", "--data-dir", "ims-data", "--json"]).current_dir(&node.dir);
        asked.push(command.stdout(Stdio::piped()).spawn().unwrap());
    }
    let mut numbers: Vec<u64> = asked
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            last["done"]["generation"].as_u64().unwrap_or_else(|| panic!("{text}"))
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
    // The serving one and five more are kept.
    assert_eq!(node.generations().len(), 6);
    assert_eq!(node.word(), "two");
}

#[test]
fn every_log_line_about_a_policy_names_the_generation() {
    let node = Node::start("watch = false\nprobation = \"0s\"");
    node.write(FAILS);
    node.done(&["reload"]);
    node.word_for("x");
    node.wait_for_log("as it happens");
    let log = node.log();
    let line = log.lines().find(|line| line.contains("as it happens")).unwrap();
    assert!(line.contains("generation=2"), "{line}");
}
