//! Broken plugins, each with the file and line that it is refused with.

use crate::world::Dir;

const VERIFY: &str = "function plugin_.verify() end";

#[test]
fn a_sound_plugin_is_taken() {
    let dir = Dir::new();
    dir.plugin("good", "\"verify\"", "", VERIFY).file("README.md", "not a plugin").file(".git/config", "");
    let loaded = dir.load().unwrap();
    let names: Vec<_> = loaded.units.iter().map(|u| (&*u.name, u.version.as_str())).collect();
    assert_eq!(names, [("good", "1.0.0"), ("policy", "")]);
    assert_eq!(loaded.name(), "policy.lua and 1 plugin");
}

#[test]
fn broken_manifests_by_line() {
    for (more, expected) in [
        ("colour = 1", "x/plugin.toml:5: unknown key \"colour\" (known are name, version, api, min_server, "),
        ("befor = []", "x/plugin.toml:5: unknown key \"befor\" (did you mean \"before\"?)"),
        ("before = [\"x\"]", "x/plugin.toml:5: before: a plugin cannot stand before itself"),
        ("min_server = \"99.0.0\"", "x/plugin.toml:5: min_server: 99.0.0 is newer than this server"),
        ("[capabilities]\nfiles = true", "x/plugin.toml:6: unknown capability \"files\""),
        ("[capabilities]\nhttp = [\"https://a/b\"]", "x/plugin.toml:6: http: \"https://a/b\": an origin has no path"),
        ("[limits]\nmemory = \"1 GiB\"", "x/plugin.toml:6: memory: \"1 GiB\": from 1 MiB to 64 MiB"),
        ("[limits]\nwall = \"1 s\"", "x/plugin.toml:6: wall: \"1 s\": from 1 ms to 50 ms"),
        ("[config.properties.a]\ntype = \"text\"", "x/plugin.toml:6: a: unknown type \"text\""),
        (
            "[config.properties.a]\ntype = \"integer\"\ndefault = \"1\"",
            "x/plugin.toml:7: a: default: expected an integer",
        ),
        ("on_error = 1", "x/plugin.toml:5: on_error: expected a string"),
        ("broken = \n", "x/plugin.toml:5: "),
    ] {
        let dir = Dir::new();
        dir.plugin("x", "\"verify\"", more, VERIFY);
        let fault = dir.fault();
        assert!(fault.starts_with(expected), "{more}\n{fault}");
        assert!(!fault.contains('\n'), "{more}\n{fault}");
    }
}

#[test]
fn stages_against_functions() {
    for (stages, functions, expected) in [
        (
            "\"verify\", \"status\"",
            VERIFY,
            "x/plugin.toml:4: stages: \"status\" is declared, but there is no such function (put one into the table that x/main.lua returns, or leave it out here)",
        ),
        (
            "\"verify\"",
            "function plugin_.verify() end\nfunction plugin_.status() end",
            "x/main.lua:3: stage status is not declared (add \"status\" to stages in x/plugin.toml)",
        ),
        ("\"verfy\"", VERIFY, "x/plugin.toml:4: stages: unknown stage \"verfy\" (did you mean \"verify\"?)"),
        (
            "\"verify\"",
            "function plugin_.verify() end\nfunction plugin_.brodcast() end",
            "x/main.lua:3: unknown stage \"brodcast\"",
        ),
        (
            "\"register\"",
            "function plugin_.register() end",
            "x/plugin.toml:4: stage register decides who gets in: on_error must be chosen",
        ),
    ] {
        let dir = Dir::new();
        dir.plugin("x", stages, "", functions);
        let fault = dir.fault();
        assert!(fault.starts_with(expected), "{stages}\n{fault}");
    }
}

#[test]
fn lua_faults_by_line() {
    for (functions, expected) in [
        ("function plugin_.verify( end", "x/main.lua:2: "),
        ("error('nothing works')", "x/main.lua:2: nothing works"),
        (
            "function plugin_.setup(conf)\n  error('no ' .. plugin.name)\nend\nfunction plugin_.verify() end",
            "x/main.lua:3: no x",
        ),
        ("function plugin_.verify() end\ncounter = 0", "x/main.lua:3: counter is assigned to as a global (write local"),
        ("plugin_.verify = 1", "x/main.lua: stage verify is a "),
        ("while true do end", "x/main.lua:2: not loaded within"),
    ] {
        let dir = Dir::new();
        dir.plugin("x", "\"verify\"", "", functions);
        let fault = dir.fault();
        assert!(fault.starts_with(expected), "{functions}\n{fault}");
    }
    let dir = Dir::new();
    dir.plugin("x", "\"verify\"", "", VERIFY).file("x/main.lua", "return 5");
    assert!(dir.fault().starts_with("x/main.lua: a policy returns a table"), "{}", dir.fault());
}

/// A newer plugin and a newer interface are refused in words, so that nobody looks for the fault in the code.
#[test]
fn a_newer_api_by_name() {
    let dir = Dir::new();
    dir.file("x/plugin.toml", "name = \"x\"\nversion = \"1.0.0\"\napi = 2\nstages = []\n")
        .file("x/main.lua", "return {}");
    assert!(dir.fault().starts_with("x/plugin.toml:3: api: 2 is newer than this server's, which is 1"));
}

#[test]
fn the_faults_of_all_plugins_at_once() {
    let dir = Dir::new();
    dir.plugin("a", "\"verify\"", "colour = 1\n", VERIFY)
        .plugin("b", "\"verify\"", "", "function plugin_.verify() end\nfunction plugin_.status() end")
        .plugin("c", "\"verify\"", "", VERIFY)
        .file("d/main.lua", "return {}");
    let fault = dir.fault();
    let files: Vec<_> = fault.lines().map(|l| l.split(": ").next().unwrap()).collect();
    assert_eq!(files, ["a/plugin.toml:5", "b/main.lua:3", "d/plugin.toml"], "{fault}");
}

#[test]
fn folders_that_are_no_plugins() {
    let dir = Dir::new();
    assert!(dir.fault().contains("no folder of plugins"));
    dir.file("x/plugin.toml", "name = \"x\"\nversion = \"1.0.0\"\napi = 1\nstages = []\n");
    assert!(dir.fault().starts_with("x/plugin.toml: main.lua is missing beside it"), "{}", dir.fault());
    dir.file("x/main.lua", "return {}").file("y/z.txt", "");
    assert!(dir.fault().starts_with("y/plugin.toml: there is no such file"), "{}", dir.fault());
}

#[test]
fn files_are_bounded_and_text() {
    let dir = Dir::new();
    dir.plugin("x", "\"verify\"", "", VERIFY);
    dir.file("x/big.lua", "-".repeat(256 * 1024 + 1)).file("x/raw.lua", [0x1b, b'L', 0xff, 0xfe]);
    let fault = dir.fault();
    assert_eq!(fault, "x/big.lua: longer than 256 KiB\nx/raw.lua: not text in UTF-8");
    let dir = Dir::new();
    dir.plugin("x", "\"verify\"", "", VERIFY);
    // Bytecode that happens to be text: compiled as text, so no program.
    dir.file("x/main.lua", "\u{9}\u{3}\u{1}x");
    assert!(dir.fault().starts_with("x/main.lua:1: "), "{}", dir.fault());
    let dir = Dir::new();
    dir.plugin("x", "\"verify\"", "", VERIFY);
    for i in 0..64 {
        dir.file(&format!("x/m{i}.lua"), "return {}");
    }
    assert!(dir.fault().contains("more than 64 Lua files"), "{}", dir.fault());
}

/// What an operator sees: the node does not start, and says why.
#[test]
fn a_node_does_not_start_with_a_broken_plugin() {
    let dir = Dir::new();
    dir.plugin("x", "\"verify\"", "colour = 1\n[capabilities]\nfiles = true\n", VERIFY);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_imscript"))
        .args(["run", "--listen", "udp:127.0.0.1:0", "--data-dir"])
        .arg(dir.root().join("data"))
        .arg("--plugins")
        .arg(dir.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).replace(&format!("{}/", dir.path().display()), "");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("x/plugin.toml:5: unknown key \"colour\""), "{told}");
    assert!(told.contains("x/plugin.toml:7: unknown capability \"files\""), "{told}");
}
