//! The number of a generation stands in every log line and in every metric.

use crate::node::{Node, says};

/// A policy that counts, logs, and refuses with this word.
fn counts(word: &str) -> String {
    let body = "local asked = metric.counter('asked')\nlocal policy = {}\nfunction policy.register(req)\n  asked:add()\n  \
                log.info('asked')\n  return ims.reject(480, WORD)\nend\nreturn policy\n";
    body.replace("WORD", &format!("{word:?}"))
}

/// The generation that a log line names; it names one only.
fn named(line: &str) -> u64 {
    let mut numbers = line.split(' ').filter_map(|field| field.strip_prefix("generation="));
    let number = numbers.next().unwrap_or_else(|| panic!("no generation in {line}"));
    assert_eq!(numbers.next(), None, "{line}");
    number.parse().unwrap()
}

#[test]
fn every_log_line_names_a_generation_and_only_one() {
    let mut node = Node::with(&counts("one"), "log = \"imscript=debug\"", "watch = false");
    assert_eq!(node.word(), "one");
    node.write(&counts("two"));
    node.done(&["reload"]);
    node.wait_for_log("has ended with the last of its transactions"); // its last line
    let before = node.log().lines().count();
    assert_eq!(node.word(), "two");
    node.write("return {");
    node.refused(&["reload"]);
    // Requests that no policy sees: nothing is registered here, and nobody speaks SIP.
    let (node_address, socket) = (node.ims, std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    socket.send_to(b"nothing of ours", node_address).unwrap();
    node.signal("ims", "TERM");
    let log = node.log();
    let numbers: Vec<u64> = log.lines().map(named).collect();
    assert!(numbers[before..].iter().all(|number| *number == 2), "{log}");
    for part in ["request refused", "asked", "not reloaded", "stopping"] {
        assert!(log.lines().any(|line| line.contains(part) && named(line) == 2), "{part}\n{log}");
    }
    assert!(log.lines().any(|line| line.contains("request refused") && named(line) == 1), "{log}");
}

#[test]
fn while_a_canary_is_on_the_lines_name_it_too() {
    let node = Node::with(&says("one"), "log = \"imscript=debug\"", "watch = false\nprobation = \"60m\"");
    node.write(&says("two"));
    node.done(&["reload", "--canary", "1"]);
    node.word_for("x");
    node.wait_for_log("request refused");
    assert!(node.log().lines().any(|line| line.ends_with(" generation=1 canary=2")), "{}", node.log());
    node.done(&["rollback"]);
    node.word_for("x");
    let log = node.log();
    let last = log.lines().rfind(|line| line.contains("request refused")).unwrap();
    assert!(last.ends_with(" generation=1"), "{log}");
}

#[test]
fn every_sample_names_a_generation_and_a_plugins_counter_goes_on_over_a_reload() {
    let node = Node::with(&counts("one"), "", "watch = false");
    assert_eq!(node.word(), "one");
    let asked = node.metric("policy_asked_total{generation=\"1\"}");
    assert_eq!(asked, 12);
    node.write(&counts("two"));
    node.done(&["reload"]);
    assert_eq!(node.word(), "two");
    assert_eq!(node.metric("policy_asked_total{generation=\"2\"}"), 24);
    assert_eq!(node.metric("policy_asked_total{generation=\"1\"}"), 0, "a metric that lives on has one number");
    assert_eq!(node.metric("imscript_reload_total{generation=\"2\",result=\"ok\"}"), 1);
    let text = node.metrics();
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        assert_eq!(sample.matches("generation=\"").count(), 1, "{sample}");
    }
}
