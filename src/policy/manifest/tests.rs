//! Manifests: the good one read back, the bad ones by line. The same through `imscript`: tests/plugins.

use super::*;
use crate::policy::capability::HttpGrant;

const WHOLE: &str = r#"
name = "status-webhook"
version = "1.2.0"
api = 1
min_server = "0.1.0"
license = "MIT"
description = "Tells a web service"
stages = ["status", "authorized"]
before = ["policy"]
after = ["maintenance-window"]
on_error = "fail_closed"

[capabilities]
http = ["https://hooks.example:8443", "config.url"]
shared = true
store = { quota = "4 MiB" }
timer = true

[limits]
memory = "4 MiB"
wall = "10 ms"
breaker = { failures = 5, window = "1 min" }

[config]
required = ["url"]

[config.properties.url]
type = "string"
format = "uri"
"#;

fn faults(text: &str) -> Vec<String> {
    let error = Manifest::parse(text, "x/plugin.toml", "x").unwrap_err();
    error.iter().map(ToString::to_string).collect()
}

/// With the keys that must be there above it, on one line each: `text` begins on line 5.
fn fault(text: &str) -> String {
    let head = "name = \"x\"\nversion = \"1.0.0\"\napi = 1\nstages = [\"status\"]\n";
    let all = faults(&format!("{head}{text}"));
    assert_eq!(all.len(), 1, "{text}: {all:#?}");
    all.into_iter().next().unwrap()
}

#[test]
fn a_whole_manifest() {
    let manifest = Manifest::parse(WHOLE, "p/status-webhook/plugin.toml", "status-webhook").unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version.to_string()), ("status-webhook", "1.2.0".to_owned()));
    assert_eq!(manifest.stages[0], Declared { stage: Stage::Status, line: 8 });
    assert!(manifest.declares(Stage::Authorized) && !manifest.declares(Stage::Route));
    assert_eq!(manifest.place_of(Stage::Authorized).unwrap().to_string(), "p/status-webhook/plugin.toml:8");
    assert_eq!((manifest.before[0].line, manifest.after[0].name.as_str()), (9, "maintenance-window"));
    assert_eq!(manifest.on_error, OnError::FailClosed);
    let granted = &manifest.capabilities;
    assert_eq!(granted.http[0].clone(), HttpGrant::Origin("https://hooks.example:8443".parse().unwrap()));
    assert_eq!(granted.http[1].clone(), HttpGrant::Config("url".to_owned()));
    assert_eq!((granted.shared, granted.store), (Some(1 << 20), Some(4 << 20)));
    let names: Vec<_> = super::super::capability::CAPABILITIES.into_iter().filter(|n| granted.grants(n)).collect();
    assert_eq!(names, ["http", "shared", "store", "timer"]);
    assert_eq!((manifest.limits.memory, manifest.limits.wall), (4 << 20, Duration::from_millis(10)));
    assert_eq!(manifest.limits.breaker, Breaker { failures: 5, window: Duration::from_secs(60) });
}

#[test]
fn the_least_manifest_may_do_nothing() {
    let text = "name = \"x\"\nversion = \"0.1.0\"\napi = 1\nstages = [\"verify\"]\n";
    let manifest = Manifest::parse(text, "x/plugin.toml", "x").unwrap();
    assert_eq!(manifest.capabilities, Capabilities::default());
    assert_eq!((manifest.on_error, manifest.limits), (OnError::Skip, Limits::default()));
}

#[test]
fn all_that_is_missing_is_told_at_once() {
    let all = faults("");
    assert_eq!(
        all,
        [
            "x/plugin.toml:1: api is missing (api = 1)",
            "x/plugin.toml:1: name is missing (name = \"x\")",
            "x/plugin.toml:1: stages is missing (stages = [\"broadcast\"], with the functions of main.lua)",
            "x/plugin.toml:1: version is missing (version = \"0.1.0\")",
        ]
    );
    let syntax = faults("name = \"x\"\nversion = \n");
    assert!(syntax[0].starts_with("x/plugin.toml:2: "), "{syntax:?}");
}

#[test]
fn several_faults_in_the_order_of_their_lines() {
    let all = faults(
        "name = \"X\"\nversion = \"1\"\napi = 2\nstages = [\"brodcast\", \"status\", \"status\"]\ncolour = 1\n[capabilities]\nhtpp = []\n",
    );
    let lines: Vec<_> = all.iter().map(|f| f.split(": ").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "x/plugin.toml:1",
            "x/plugin.toml:2",
            "x/plugin.toml:3",
            "x/plugin.toml:4",
            "x/plugin.toml:4",
            "x/plugin.toml:5",
            "x/plugin.toml:7"
        ]
    );
}

#[test]
fn names_and_versions() {
    let with = |name: &str| faults(&format!("name = {name}\nversion = \"1.0.0\"\napi = 1\nstages = []\n")).join("\n");
    assert!(with("\"y\"").contains("x/plugin.toml:1: name: \"y\" stands in a folder named \"x\" (make them the same)"));
    for bad in ["\"X\"", "\"a_b\"", "\"a--b\"", "\"-a\"", "\"a-\"", "\"1a\"", "\"\"", "\"../x\"", "\"ä\""] {
        assert!(with(bad).contains("is not in kebab-case"), "{bad}");
    }
    assert!(with("\"policy\"").contains("is the operator's own policy file"));
    assert!(with("3").contains("name: expected a string, found an integer"));
    assert!(is_kebab_case("a-b2-c") && !is_kebab_case(&"a".repeat(65)));
    assert!(
        faults("name = \"x\"\nversion = \"1.0\"\napi = 1\nstages = []")[0]
            .contains("x/plugin.toml:2: version: \"1.0\": expected a version of three numbers")
    );
}

#[test]
fn api_and_server_by_name() {
    let api = |value: &str| faults(&format!("name = \"x\"\nversion = \"1.0.0\"\nstages = []\napi = {value}")).join("");
    assert_eq!(
        api("2"),
        "x/plugin.toml:4: api: 2 is newer than this server's, which is 1 (a newer imscript, or an older release of the plugin)"
    );
    assert!(api("0").contains("there is no interface 0"));
    assert!(api("\"1\"").contains("expected an integer, found a string"));
    let own = Version::of_server();
    assert_eq!(
        fault("min_server = \"99.0.0\""),
        format!("x/plugin.toml:5: min_server: 99.0.0 is newer than this server, {own} (a newer imscript)")
    );
    assert!(fault("min_server = \"new\"").contains("expected a version"));
}

#[test]
fn a_security_stage_needs_a_choice() {
    for stage in ["receive", "register", "authorized", "route"] {
        let text = |on_error: &str| {
            format!("name = \"x\"\nversion = \"1.0.0\"\napi = 1\n{on_error}stages = [\n\"status\",\n\"{stage}\"]\n")
        };
        assert_eq!(
            faults(&text("")),
            [format!(
                "x/plugin.toml:6: stage {stage} decides who gets in: on_error must be chosen \
                 (\"fail_closed\": the request is refused; \"skip\": the next in the chain is asked)"
            )]
        );
        assert!(Manifest::parse(&text("on_error = \"skip\"\n"), "f", "x").is_ok());
    }
    assert!(fault("on_error = \"ignore\"").contains("x/plugin.toml:5: on_error: \"ignore\" is no choice"));
}

#[test]
fn stages_neighbours_and_keys() {
    let stages =
        |list: &str| faults(&format!("name = \"x\"\nversion = \"1.0.0\"\napi = 1\nstages = {list}")).join("\n");
    assert_eq!(
        stages("[\"brodcast\"]"),
        "x/plugin.toml:4: stages: unknown stage \"brodcast\" (did you mean \"broadcast\"?)"
    );
    assert!(stages("[\"timer\"]").contains("(known are receive, register, verify"));
    assert!(stages("[\"status\", \"status\"]").contains("stands here twice"));
    assert!(stages("\"status\"").contains("expected a list of strings, found a string"));
    assert!(stages("[1]").contains("expected strings, found an integer"));
    assert!(fault("before = [\"x\"]").contains("x/plugin.toml:5: before: a plugin cannot stand before itself"));
    assert!(fault("after = [\"Some Plugin\"]").contains("is no plugin's name (or \"policy\")"));
    assert!(fault("before = [\"a\"]\nafter = [\"a\"]").contains("stands in both before and after"));
    assert_eq!(fault("stage = []"), "x/plugin.toml:5: unknown key \"stage\" (did you mean \"stages\"?)");
    assert!(fault("license = \"\"").contains("license is empty"));
    assert!(fault("priority = 10").contains("unknown key \"priority\""));
}

#[test]
fn capabilities_are_checked_one_by_one() {
    let fault = |text: &str| fault(&format!("[capabilities]\n{text}"));
    assert_eq!(fault("htttp = []"), "x/plugin.toml:6: unknown capability \"htttp\" (did you mean \"http\"?)");
    assert!(fault("redis = true").contains("(known are http, shared, store, metric, hss, timer, trust)"));
    assert_eq!(fault("log = true"), "x/plugin.toml:6: log is no capability (it is always there: take this out)");
    assert!(fault("http = true").contains("http: expected a list of strings, found a boolean"));
    assert!(
        fault("http = [\n\"https://a.example\",\n\"https://b.example/hook\"]").starts_with("x/plugin.toml:8: http: ")
    );
    assert!(fault("http = [\"*\"]").contains("expected \"https://host\""));
    assert!(fault("http = [\"config.url\"]").contains("there is no config property \"url\""));
    assert!(fault("hss = 1").contains("hss: expected true or false"));
    assert!(fault("trust = 1").contains("trust: expected true or false"));
    assert!(fault("shared = \"1 MiB\"").contains("shared: expected true or a quota (shared = { quota = \"1 MiB\" })"));
    assert!(fault("shared = { quota = \"1 GiB\" }").contains("shared: quota is from 1 KiB to 64 MiB"));
    assert!(fault("shared = { quota = \"10\" }").contains("expected a size"));
    assert!(fault("store = { size = \"1 MiB\" }").contains("unknown key of store \"size\""));
    assert!(
        super::tests::fault("capabilities = [\"http\"]").contains("capabilities: expected a table, found an array")
    );
}

#[test]
fn limits_within_bounds() {
    let fault = |text: &str| fault(&format!("[limits]\n{text}"));
    assert_eq!(fault("memory = \"65 MiB\""), "x/plugin.toml:6: memory: \"65 MiB\": from 1 MiB to 64 MiB");
    assert!(fault("memory = \"512 KiB\"").contains("from 1 MiB to 64 MiB"));
    assert!(fault("memory = 4").contains("memory: expected a string"));
    assert!(fault("wall = \"51 ms\"").contains("from 1 ms to 50 ms"));
    assert!(fault("wall = \"5\"").contains("expected a duration"));
    assert!(fault("instructions = 5").contains("unknown limit \"instructions\""));
    assert!(fault("breaker = { failures = 0 }").contains("failures: expected an integer from 1 to 10000"));
    assert!(fault("breaker = { window = \"2 h\" }").contains("from 1 s to 1 h"));
    assert!(fault("breaker = { pause = \"2 h\" }").contains("unknown key of breaker"));
}

/// A manifest is a file from anywhere: nothing in it may bring the server down.
#[test]
fn any_text_is_refused_in_words() {
    for text in [
        "\0",
        "[[[[",
        "a.b.c = 1\na = 2",
        "\u{feff}name = 1",
        "name = \"\\uD800\"",
        "x = 1979-05-27",
        "[config]\nproperties = 1",
    ] {
        let error = Manifest::parse(text, "x/plugin.toml", "x").unwrap_err();
        assert!(error.iter().all(|f| f.reason.len() > 5), "{text:?}: {error}");
    }
}
