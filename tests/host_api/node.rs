//! The host API of a whole node: its data folder, its workers, its metrics.

use imscript::config::Config;
use imscript::server::Node;
use imscript::store::space::Value;
use std::time::{Duration, Instant};

#[test]
fn a_node_runs_timers_on_one_worker_and_keeps_what_they_store() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.lua");
    let text = "
        local ticks = metric.counter('ticks')
        local policy = {}
        function policy.setup()
          metric.counter('setups'):add()
          timer.every(0.02, function()
            ticks:add()
            store.set('ticks', (store.get('ticks') or 0) + 1)
          end)
        end
        return policy";
    std::fs::write(&policy, text).unwrap();
    let config = dir.path().join("imscript.toml");
    let settings = "domain = \"home1.net\"\nlisten = [\"udp:127.0.0.1:0\"]\ndata_dir = \"data\"\nworkers = 2\npolicy = \"policy.lua\"\n";
    std::fs::write(&config, settings).unwrap();
    let mut node = Node::builder(Config::load(&config).unwrap()).start().unwrap();
    let metric = |node: &Node, name: &str| -> u64 {
        let text = node.metrics();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("{generation=\"1\"} ")?.parse().ok());
        line.unwrap_or_default()
    };
    let began = Instant::now();
    while metric(&node, "policy_ticks_total") < 3 && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    node.stop(Duration::ZERO);
    let ticks = metric(&node, "policy_ticks_total");
    assert!(ticks >= 3, "{}", node.metrics());
    assert_eq!(metric(&node, "policy_setups_total"), 2, "one a worker\n{}", node.metrics());
    drop(node);
    let store = crate::kept::spaces(&dir.path().join("data"));
    assert_eq!(store.space("policy").get("ticks"), Some(Value::Number(ticks as f64)));
}
