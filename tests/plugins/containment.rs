//! A plugin reaches its own folder and nothing else: `require`, links, globals of its neighbours.

use crate::world::{Dir, ctx, message, servers, source};
use imscript::policy::verdict::{Authorized, Reject};
use imscript::policy::{Chain, Decide};

fn authorized(chain: &Chain) -> Authorized {
    let (source, servers) = (source(), servers());
    chain.authorized(&message(), &ctx(&source, &servers))
}

fn says(dir: &Dir, body: &str) -> String {
    let function = format!("function plugin_.authorized()\n return ims.reject(403, {body})\nend");
    dir.plugin("x", "\"authorized\"", "on_error = \"skip\"\n", &function);
    let chain = dir.chain();
    match authorized(&chain) {
        Authorized::Reject(Reject { reason: Some(reason), .. }) => reason,
        other => panic!("{other:?} {:?}", chain.last_fault()),
    }
}

#[test]
fn modules_of_the_own_folder_run_once() {
    let dir = Dir::new();
    dir.file("x/names.lua", "local runs = 0\nreturn { next = function() runs = runs + 1 return 'name' .. runs end }");
    dir.file("x/lib/deep.lua", "local names = require('names')\nreturn names.next()");
    assert_eq!(says(&dir, "require('lib/deep') .. require('names').next() .. require('lib/deep')"), "name1name2name1");
}

#[test]
fn require_leads_nowhere_else() {
    for name in [
        "../y/main",
        "../../etc/passwd",
        "/etc/passwd",
        "./names",
        "names.lua",
        "y/main",
        "..",
        "",
        "tests/x_test",
        "@self/names",
        "os",
        "string",
        "plugin",
        "ims",
    ] {
        let dir = Dir::new();
        dir.plugin("y", "", "", "").file("x/names.lua", "return 1").file("x/tests/x_test.lua", "return 1");
        dir.plugin(
            "x",
            "\"authorized\"",
            "on_error = \"skip\"\n",
            &format!("require({name:?})\nfunction plugin_.authorized() end"),
        );
        let fault = dir.fault();
        assert!(
            fault.starts_with(&format!("x/main.lua:2: require({name:?}): x has no such module; it has names")),
            "{fault}"
        );
    }
}

#[test]
fn a_plugin_without_modules_has_none_to_suggest() {
    let dir = Dir::new();
    dir.plugin("x", "", "", "require('nope')");
    let fault = dir.fault();
    let said = "x/main.lua:2: require(\"nope\"): x has no modules; each would be a file beside main.lua";
    assert_eq!(fault, said);
    let shown = imscript::policy::diagnostic::Diagnostic::parse(&fault, "").in_text("\nrequire('nope')").to_string();
    assert!(!shown.contains("hint"), "{shown}");
}

#[test]
fn modules_in_a_ring_are_refused() {
    let dir = Dir::new();
    dir.plugin("x", "", "", "require('a')");
    dir.file("x/a.lua", "\nreturn require('b')").file("x/b.lua", "return require('a')");
    let fault = dir.fault();
    assert!(fault.starts_with("x/b.lua:1: ") && fault.contains("require each other in a ring"), "{fault}");
}

#[test]
fn a_fault_in_a_module_has_the_modules_line() {
    let dir = Dir::new();
    dir.plugin("x", "", "", "require('a')").file("x/a.lua", "\n\nerror('broken here')");
    assert_eq!(dir.fault(), "x/a.lua:3: broken here");
    dir.file("x/a.lua", "\nreturn )");
    assert!(dir.fault().starts_with("x/a.lua:2: "), "{}", dir.fault());
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_out_of_the_folder() {
    use std::os::unix::fs::symlink;
    let dir = Dir::new();
    dir.plugin("x", "", "", "").plugin("y", "", "", "");
    std::fs::write(dir.root().join("secret.lua"), "return 'secret'").unwrap();
    symlink(dir.root().join("secret.lua"), dir.path().join("x/secret.lua")).unwrap();
    symlink("../y/main.lua", dir.path().join("x/other.lua")).unwrap();
    symlink("main.lua", dir.path().join("x/own.lua")).unwrap();
    symlink("../y", dir.path().join("x/folder")).unwrap();
    symlink("nowhere", dir.path().join("x/lost.lua")).unwrap();
    let fault = dir.fault();
    assert!(fault.contains("x/secret.lua: the link leads out of the plugin's folder"), "{fault}");
    assert!(fault.contains("x/other.lua: the link leads out of the plugin's folder"), "{fault}");
    assert!(fault.contains("x/folder: a folder within a plugin may not be a symbolic link"), "{fault}");
    assert!(fault.contains("x/lost.lua: "), "{fault}");
    assert_eq!(fault.lines().count(), 4, "{fault}");
}

/// A plugin put in place by a link is a plugin: that is how many deploy.
#[cfg(unix)]
#[test]
fn a_whole_plugin_may_be_a_link() {
    let dir = Dir::new();
    dir.plugin("y", "", "", "");
    let elsewhere = dir.root().join("releases/x");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("plugin.toml"), "name = \"x\"\nversion = \"1.0.0\"\napi = 1\nstages = []\n").unwrap();
    std::fs::write(elsewhere.join("main.lua"), "require('m')\nreturn {}").unwrap();
    std::fs::write(elsewhere.join("m.lua"), "return {}").unwrap();
    std::os::unix::fs::symlink(&elsewhere, dir.path().join("x")).unwrap();
    assert_eq!(dir.load().unwrap().units.len(), 3);
}

/// Opening a pipe would hang the loader.
#[cfg(unix)]
#[test]
fn a_pipe_is_no_file() {
    let dir = Dir::new();
    dir.plugin("x", "", "", "");
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("x/pipe.lua")).status().unwrap();
    assert!(made.success());
    assert_eq!(dir.fault(), "x/pipe.lua: not a regular file");
}

#[test]
fn plugins_do_not_see_each_others_globals() {
    let dir = Dir::new();
    dir.plugin(
        "a",
        "\"authorized\"",
        "on_error = \"skip\"\n",
        "local leak = 0\nfunction plugin_.authorized()\n leak = leak + 1\n pcall(function() rawset(_G, 'seen', 'a') end)\n pcall(function() string.rep = nil end)\nend",
    );
    dir.plugin(
        "b",
        "\"authorized\"",
        "on_error = \"skip\"\n",
        "function plugin_.authorized()\n return ims.reject(403, tostring(rawget(_G, 'seen')) .. type(string.rep) .. plugin.name)\nend",
    );
    let chain = dir.chain();
    assert_eq!(authorized(&chain), Authorized::Reject(Reject::new(403, "nilfunctionb")));
    assert_eq!(chain.last_fault(), None);
}

/// Each plugin has its own memory and its own time.
#[test]
fn limits_are_those_of_the_manifest() {
    let dir = Dir::new();
    let hoard = "local kept = {}\nfunction plugin_.authorized()\n for i = 1, 64 do kept[i] = string.rep(tostring(i % 10), 65536) end\n return ims.reject(403, 'kept ' .. #kept)\nend";
    let loose = "on_error = \"skip\"\n[limits]\nmemory = \"16 MiB\"\nwall = \"50 ms\"\n";
    dir.plugin("x", "\"authorized\"", loose, hoard);
    assert_eq!(authorized(&dir.chain()), Authorized::Reject(Reject::new(403, "kept 64")));
    dir.plugin("x", "\"authorized\"", &loose.replace("16 MiB", "2 MiB"), hoard);
    let chain = dir.chain();
    assert_eq!(authorized(&chain), Authorized::Accept { expires: None });
    assert_eq!(chain.last_fault().unwrap().cause, imscript::policy::Cause::OutOfMemory);
    dir.plugin(
        "x",
        "\"authorized\"",
        "on_error = \"fail_closed\"\n[limits]\nwall = \"1 ms\"\nbreaker = { failures = 1 }\n",
        "function plugin_.authorized()\n while true do end\nend",
    );
    let chain = dir.chain();
    for _ in 0..2 {
        assert!(matches!(authorized(&chain), Authorized::Reject(Reject { status: 503, .. })));
    }
    assert!(
        chain.last_fault().unwrap().message.ends_with("x/main.lua:3: stopped after 1 ms"),
        "{:?}",
        chain.last_fault()
    );
}
