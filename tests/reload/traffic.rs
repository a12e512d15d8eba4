//! Traffic does not notice.

use crate::node::{Node, says};
use crate::support::Over;
use crate::support::fake_bsm::{Conduct, FakeBsm};
use imscript::cli::network::{NAF, free_address};
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

/// A policy that lets everybody register, and is of a size.
fn admits(n: usize) -> String {
    format!(
        "local policy = {{}}\nlocal seen = {{}}\nfunction policy.register(req, ctx)\n  seen[1] = req.impi\n  return nil\nend\n\
         function policy.verify(req, ctx)\n  return ims.verify {{ subscription = 'always', at = 'after_authentication' }}\n\
         end\nfunction policy.authorized(req, ctx)\n  return ims.accept {{ expires = {} }}\nend\nreturn policy\n",
        600 + n
    )
}

/// Resident memory of a process in KiB.
fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn a_hundred_reloads_under_load_fail_no_transaction() {
    let node = Node::with(&admits(0), "", "watch = false");
    node.imscript_ok(&["load", "--users", "400", "--domain", "home1.net", "--write-subscribers", "load.csv"]);
    node.imscript_ok(&["subscriber", "import", "load.csv", "--data-dir", "ims-data"]);
    let server = format!("udp:{}", node.ims);
    let over = AtomicBool::new(false);
    let (reports, mut times) = std::thread::scope(|scope| {
        let ended = Over(&over);
        // Load for as long as the reloads take.
        let loading = scope.spawn(|| {
            let mut reports = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let users = ["load", "--server", &server, "--from", "load.csv", "--window", "20"];
                let output = node.imscript(&[&users[..], &["--duration", "2", "--json"]].concat()).unwrap();
                let report: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert!(output.status.success() && report["errors"] == 0, "{report}");
                reports.push(report);
            }
            reports
        });
        let times: Vec<f64> = (0..100).map(|n| reload(&node, n)).collect();
        drop(ended);
        (loading.join().unwrap(), times)
    });
    let registrations: u64 = reports.iter().map(|report| report["registrations"].as_u64().unwrap()).sum();
    assert!(registrations > 100, "{reports:?}");
    times.sort_by(f64::total_cmp);
    println!(
        "reload ms: fastest {:.2}, median {:.2}, slowest {:.2}; {registrations} registrations",
        times[0], times[50], times[99]
    );
    // A busy machine may hold a stage up beyond its limit; nothing else fails.
    let faults = node.metric("imscript_policy_faults_total");
    let late = node.metric("imscript_policy_faults_total{cause=\"timeout\"}");
    assert!(faults == late && late < 5, "{faults} faults, {late} of them late");
    assert_eq!(node.generations().last().unwrap(), &(101, "serving".to_owned()));
}

#[test]
fn a_hundred_reloads_leave_no_memory_behind() {
    let node = Node::start("watch = false");
    (0..20).for_each(|n| _ = reload(&node, n));
    let (id, before) = (node.process_ids()[0], resident(node.process_ids()[0]));
    (0..100).for_each(|n| _ = reload(&node, n));
    let after = resident(id);
    println!("{before} KiB before, {after} KiB after 100 reloads");
    // A generation of one policy is some 300 KiB a worker.
    assert!(after < before + 3 * 1024, "{before} KiB before, {after} KiB after");
}

/// How long it took, in ms.
fn reload(node: &Node, n: usize) -> f64 {
    node.write(&admits(n));
    let done = node.done(&["reload"]);
    done["ms"].as_f64().unwrap()
}

#[test]
fn a_register_that_began_under_one_generation_ends_under_it() {
    let bsm = free_address(Ipv4Addr::LOCALHOST.into()).unwrap();
    let fake = FakeBsm::bind(bsm, Conduct::Silent);
    let tables = format!(
        "[[broadcast_server]]\nname = \"bsm\"\nnaf = [\"{NAF}\"]\naddress = \"tcp:{bsm}\"\n[broadcast]\ntimeout = 3\n"
    );
    let tells = |word: &str| {
        format!(
            "local policy = {{}}\nfunction policy.authorized(req)\n  log.info('{word} authorized')\nend\n\
             function policy.finish(outcome)\n  log.info('{word} finish ' .. outcome.status)\nend\nreturn policy\n"
        )
    };
    let node = Node::with(&tells("first"), &tables, "watch = false");
    let card = node.subscriber_with("yes");
    let result = std::thread::scope(|scope| {
        let terminal = scope.spawn(|| node.terminal("register", &card, &["--naf-id", NAF, "--timeout", "60"]).unwrap());
        // Its broadcast leg hangs; meanwhile the policy is replaced.
        fake.request(0, |request| request.method() == b"REGISTER");
        node.write(&tells("second"));
        node.done(&["reload"]);
        assert_eq!(node.metric("imscript_policy_chains{generation=\"1\""), 1, "the one that the REGISTER holds on to");
        terminal.join().unwrap()
    });
    assert_eq!(result["broadcast"], "pending", "{result}");
    node.wait_for_log("first finish 200");
    assert!(!node.log().contains("second finish"));
    // The next one is the new generation's, and the old one has ended.
    node.wait_for_log("has ended with the last of its transactions");
    node.terminal("register", &card, &[]).unwrap();
    node.wait_for_log("second finish 200");
}

#[test]
fn a_reload_of_the_same_policy_changes_nothing_that_anybody_sees() {
    let node = Node::start("watch = false");
    for _ in 0..5 {
        node.done(&["reload"]);
        assert_eq!(node.word(), "one");
    }
    node.write(&says("one"));
    assert_eq!(node.done(&["reload"])["generation"], 7);
}
