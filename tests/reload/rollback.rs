use crate::node::{FAILS, Node, says, states, within};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn back_to_the_one_before_or_to_a_given_one() {
    let node = Node::start("watch = false");
    for word in ["two", "three"] {
        node.write(&says(word));
        node.done(&["reload"]);
    }
    assert_eq!(node.done(&["rollback"])["generation"], 2);
    assert_eq!(node.word(), "two");
    assert_eq!(node.done(&["rollback"])["generation"], 1);
    assert_eq!(node.word(), "one");
    assert_eq!(node.done(&["rollback", "3"])["generation"], 3);
    assert_eq!(node.word(), "three");
    assert_eq!(node.generations(), states(&[(1, "kept"), (2, "kept"), (3, "serving")]));
    assert!(node.refused(&["rollback", "3"]).contains("serves already"));
    assert!(node.refused(&["rollback", "9"]).contains("generation 9 is not kept; kept: 1, 2, 3"));
    node.done(&["rollback", "1"]);
    assert!(node.refused(&["rollback"]).contains("no generation before 1"));
    // A new one gets a number of its own.
    node.write(&says("four"));
    assert_eq!(node.done(&["reload"])["generation"], 4);
}

#[test]
fn what_is_the_same_again_is_not_gone_back_to() {
    let node = Node::start("watch = false");
    node.write(&says("two"));
    (0..3).for_each(|_| drop(node.done(&["reload"])));
    assert_eq!(node.done(&["rollback"])["generation"], 1);
    assert_eq!(node.word(), "one");
    assert!(node.refused(&["rollback"]).contains("with other contents"));
}

#[test]
fn only_so_many_are_kept() {
    let node = Node::start("watch = false");
    for n in 2..=9 {
        node.write(&says(&format!("word{n}")));
        node.done(&["reload"]);
    }
    assert!(node.refused(&["rollback", "3"]).contains("kept: 4, 5, 6, 7, 8, 9"));
    node.done(&["rollback", "4"]);
    assert_eq!(node.word(), "word4");
}

#[test]
fn a_generation_that_fails_on_probation_is_taken_back() {
    let node = Node::start("watch = false\nprobation = \"1h\"".replace("1h", "60m").as_str());
    assert_eq!(node.word(), "one");
    node.write(FAILS);
    node.done(&["reload"]);
    // The first failures apply the default; then the old one is back.
    node.wait_for_word("one");
    assert_eq!(node.generations(), states(&[(1, "serving"), (2, "failed")]));
    assert_eq!(node.metric("imscript_reload_total{result=\"rolled_back\"}"), 1);
    node.wait_for_log("fails on probation; generation 1 serves again");
    // What failed is not gone back to unless somebody says so by number.
    node.write(&says("three"));
    node.done(&["reload"]);
    assert_eq!(node.done(&["rollback"])["generation"], 1);
}

#[test]
fn a_rollback_does_not_wait_for_tests_that_do_not_end() {
    let node = Node::start("watch = false");
    node.write(&says("two"));
    node.done(&["reload"]);
    node.write(&says("three"));
    let long = |n| format!("test('long {n}', function(t) while true do end end)\n");
    let tests: String = (0..50).map(long).collect();
    std::fs::write(node.path("policy_test.lua"), tests).unwrap();
    let mut command = Command::new(crate::support::BINARY);
    command.args(["reload", "--json", "--data-dir", "ims-data"]).current_dir(&node.dir).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("set up in")).unwrap();
    assert_eq!(within(Duration::from_secs(20), || node.done(&["rollback"]))["generation"], 1);
    assert!(lines.last().unwrap().contains("interrupted"));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(node.word(), "one");
    // What was given up does not stand in the way of the next.
    std::fs::remove_file(node.path("policy_test.lua")).unwrap();
    assert_eq!(node.done(&["reload"])["generation"], 3);
    assert_eq!(node.word(), "three");
}
