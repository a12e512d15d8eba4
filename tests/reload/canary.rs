use crate::node::{FAILS, Node, says, states};
use crate::support::wait_for;

fn users() -> Vec<String> {
    (0..60).map(|n| format!("canary{n}")).collect()
}

#[test]
fn a_share_of_the_users_gets_the_new_generation_and_keeps_it_until_all_do() {
    let node = Node::start("watch = false\nprobation = \"4s\"");
    node.write(&says("two"));
    let done = node.done(&["reload", "--canary", "30"]);
    assert_eq!((&done["generation"], &done["canary"]), (&2.into(), &30.into()), "{done}");
    let words: Vec<String> = users().iter().map(|user| node.word_for(user)).collect();
    let share = words.iter().filter(|word| *word == "two").count();
    assert!((6..=32).contains(&share), "{share} of {}", words.len());
    assert!(words.iter().all(|word| word == "one" || word == "two"), "{words:?}");
    let again: Vec<String> = users().iter().map(|user| node.word_for(user)).collect();
    assert_eq!(again, words, "a user stays with his generation");
    assert_eq!(node.generations(), states(&[(1, "serving"), (2, "canary")]));
    // The probation passes, and all users are the new one's.
    node.wait_for_log("has passed its probation and serves all users");
    assert_eq!(node.word(), "two");
    assert_eq!(node.generations(), states(&[(1, "kept"), (2, "serving")]));
}

#[test]
fn a_canary_that_fails_is_taken_back() {
    let node = Node::start("watch = false\nprobation = \"60m\"\ncanary = 50");
    node.write(FAILS);
    assert_eq!(node.done(&["reload"])["canary"], 50);
    wait_for(|| {
        users().iter().for_each(|user| drop(node.word_for(user)));
        node.log().contains("fails on probation").then_some(())
    });
    assert!(users().iter().all(|user| node.word_for(user) == "one"));
    assert_eq!(node.generations(), states(&[(1, "serving"), (2, "failed")]));
}

#[test]
fn a_rollback_ends_a_canary() {
    let node = Node::start("watch = false\nprobation = \"60m\"");
    node.write(&says("two"));
    node.done(&["reload", "--canary", "99"]);
    assert_eq!(node.done(&["rollback"])["generation"], 1);
    assert!(users().iter().all(|user| node.word_for(user) == "one"));
    // And a reload in its middle takes its place.
    node.done(&["reload", "--canary", "50"]);
    node.write(&says("three"));
    assert_eq!(node.done(&["reload"])["generation"], 4);
    assert!(users().iter().all(|user| node.word_for(user) == "three"));
    assert_eq!(node.generations().last().unwrap(), &(4, "serving".to_owned()));
}
