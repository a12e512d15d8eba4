use crate::node::{FAILS, Node, says};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn differences_with_the_last_and_the_next_questions_are_listed_and_nothing_is_applied() {
    let node = Node::start("watch = false");
    (0..10).for_each(|n| assert_eq!(node.word_for(&format!("past{n}")), "one"));
    // Another word for one user.
    node.write(
        "local policy = {}\nfunction policy.register(req)\n  log.warn('heard from the new one')\n  local other = req.impi:find('past3_', 1, true) or \
         req.impi:find('next', 1, true)\n  return ims.reject(480, other and 'two' or 'one')\nend\nreturn policy\n",
    );
    let mut command = Command::new(crate::support::BINARY);
    command.args(["reload", "--shadow", "20", "--dry-run", "--json", "--data-dir", "ims-data"]);
    let mut child = command.current_dir(&node.dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Once it has the last questions it waits for the next; the old generation answers them.
    let waiting = lines.find(|line| line.contains("waiting for 20 more")).unwrap();
    assert!(waiting.contains("asked 10 of the last"), "{waiting}");
    (0..20).for_each(|_| assert_eq!(node.word_for("next"), "one"));
    let text = lines.last().unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    let last: serde_json::Value = serde_json::from_str(&text).unwrap();
    let shadow = &last["done"]["shadow"];
    assert_eq!(shadow["asked"], 30, "{shadow}");
    let differences = shadow["differences"].as_array().unwrap();
    assert_eq!(shadow["different"].as_u64().unwrap() as usize, differences.len());
    let of = |impi: &str| differences.iter().filter(|d| d["impi"].as_str().unwrap().starts_with(impi)).count();
    assert_eq!((of("past3_"), of("past4_")), (1, 0), "{shadow}");
    assert_eq!(of("next"), 20, "{shadow}");
    let difference = &differences[0];
    assert_eq!(difference["stage"], "register");
    assert!(difference["old"].as_str().unwrap().contains("one") && difference["new"].as_str().unwrap().contains("two"));
    // Nothing of it is in force or counted.
    assert_eq!(node.word(), "one");
    assert_eq!(node.metric("imscript_policy_faults_total"), 0);
    assert!(!node.log().contains("heard from the new one"));
}

#[test]
fn a_generation_that_fails_in_the_shadow_never_serves() {
    let node = Node::start("watch = false");
    (0..40).for_each(|_| drop(node.word_for("past")));
    node.write(FAILS);
    // Rolled back by hand while it waits for traffic that does not come would do too; here the traffic comes.
    let refused = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| node.refused(&["reload", "--shadow", "10"]));
        while !waiting.is_finished() {
            assert_eq!(node.word_for("next"), "one");
        }
        waiting.join().unwrap()
    });
    assert!(refused.contains("questions failed") && refused.contains("policy.lua:3"), "{refused}");
    assert_eq!(node.word(), "one");
}

#[test]
fn a_rollback_does_not_wait_for_a_shadow() {
    let node = Node::start("watch = false");
    node.write(&says("two"));
    node.done(&["reload"]);
    node.write(&says("three"));
    let refused = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| node.refused(&["reload", "--shadow", "1000"]));
        node.wait_for_log("asked beside the one that serves");
        assert_eq!(node.done(&["rollback"])["generation"], 1);
        waiting.join().unwrap()
    });
    assert!(refused.contains("interrupted"), "{refused}");
    assert_eq!(node.word(), "one");
}
