//! Changed files are taken by themselves.

use crate::node::{Node, says, states};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn a_policy_written_in_place_or_replaced_by_renaming_is_taken() {
    let node = Node::start("");
    node.write(&says("two"));
    node.wait_for_word("two");
    fs::write(node.path("policy.lua.new"), says("three")).unwrap();
    fs::rename(node.path("policy.lua.new"), node.path("policy.lua")).unwrap();
    node.wait_for_word("three");
    // Only a touch: there is nothing to take.
    node.write(&says("three"));
    node.write(&says("four"));
    node.wait_for_word("four");
    assert_eq!(node.generations().last().unwrap().0, 4);
}

#[test]
fn the_swap_of_a_link_is_taken() {
    let node = Node::start("watch = false");
    // The policy is a link into a folder that is itself a link, as a ConfigMap is mounted.
    for (version, word) in [("..1", "two"), ("..2", "three")] {
        fs::create_dir(node.path(version)).unwrap();
        fs::write(node.path(version).join("policy.lua"), says(word)).unwrap();
    }
    symlink("..1", node.path("..data")).unwrap();
    symlink("..data/policy.lua", node.path("linked.lua")).unwrap();
    let mut node = node;
    let config = fs::read_to_string(node.path("ims.toml")).unwrap();
    node.signal("ims", "TERM");
    node.start_node("ims", &config.replace("policy.lua", "linked.lua").replace("watch = false", "")).unwrap();
    assert_eq!(node.word(), "two");
    symlink("..2", node.path("..data_tmp")).unwrap();
    fs::rename(node.path("..data_tmp"), node.path("..data")).unwrap();
    node.wait_for_word("three");
}

#[test]
fn a_broken_file_is_told_in_the_log_once_and_the_mended_one_is_taken() {
    let node = Node::start("");
    node.write("return {");
    node.wait_for_log("changed files");
    assert_eq!(node.word(), "one");
    fs::remove_file(node.path("policy.lua")).unwrap();
    node.wait_for_log("No such file");
    assert_eq!(node.word(), "one");
    // Put back to what serves: there is nothing to take.
    node.write(&says("one"));
    node.wait_for_log("hold what serves again");
    node.write(&says("two"));
    node.wait_for_word("two");
    assert_eq!(node.generations(), states(&[(1, "kept"), (2, "serving")]));
    assert_eq!(node.log().matches("not reloaded").count(), 2, "{}", node.log());
}
