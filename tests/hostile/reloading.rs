//! A node takes, or is to take, what is hostile by a reload, while others register: what serves goes on serving, the refusal
//! says why, and nobody is late.

use crate::support::Server;
use crate::under_load::{LATE, while_others_register};
use std::fs;
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;

/// A node with one worker and one plugin, which does nothing yet.
pub(crate) struct Fleet {
    pub(crate) server: Server,
    folder: TempDir,
}

const MANIFEST: &str = "name = \"hostile\"\nversion = \"1.0.0\"\napi = 1\ndescription = \"Hostile\"\nstages = []\n\
    [capabilities]\nhttp = [\"http://127.0.0.1:9\"]\ntimer = true\nstore = true\nshared = true\nhss = true\nmetric = true\n";

impl Fleet {
    pub(crate) fn start() -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let plugin = folder.path().join("hostile");
        fs::create_dir_all(plugin.join("tests")).unwrap();
        fs::write(plugin.join("plugin.toml"), MANIFEST).unwrap();
        fs::write(plugin.join("main.lua"), "return {}").unwrap();
        let options = ["--plugins", folder.path().to_str().unwrap()];
        let server = Server::start(3, "", "[reload]\nwatch = false\n", &options);
        Fleet { server, folder }
    }

    /// The plugin becomes this; `test`: its test, if not empty.
    pub(crate) fn write_plugin(&self, text: &str, test: &str) {
        let plugin = self.folder.path().join("hostile");
        fs::write(plugin.join("main.lua"), text).unwrap();
        let file = plugin.join("tests/hostile_test.lua");
        match test {
            "" => drop(fs::remove_file(file)),
            test => fs::write(file, test).unwrap(),
        }
    }
}

pub(crate) fn imscript(server: &Server, verb: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imscript"))
        .args([verb, "--data-dir", "data"])
        .args(more)
        .current_dir(server.dir.path())
        .output()
        .unwrap()
}

pub(crate) fn reload(server: &Server, more: &[&str]) -> Output {
    imscript(server, "reload", more)
}

/// What is to be taken: main.lua, a test, and what the refusal says.
const REFUSED: [(&str, &str, &str); 9] = [
    ("while true do end", "", "not loaded within 50 ms"),
    ("local t = {} while true do t[#t + 1] = ('x'):rep(60000) .. #t end", "", "memory limit"),
    ("while true do pcall(function() while true do end end) end", "", "not loaded within 50 ms"),
    ("local function f() return f() + 1 end f() return {}", "", "main.lua:1: "),
    ("return { setup = function() while true do end end }", "", "not loaded within 50 ms"),
    (
        "return { setup = function() local t = {} while true do t[#t + 1] = ('x'):rep(60000) .. #t end end }",
        "",
        "memory limit",
    ),
    ("return { setup = function() for _ = 1, 100 do timer.every(1, print) end end }", "", "main.lua:1: "),
    ("return {}", "test('loops', function(t) while true do end end)", "hostile_test.lua"),
    ("return {}", "local t = {} while true do t[#t + 1] = ('x'):rep(60000) .. #t end", "hostile_test.lua"),
];

/// Err: somebody was late, or the time was over before the text came to its point.
fn round(text: &str, test: &str, why: &str) -> Result<(), String> {
    let mut fleet = Fleet::start();
    let quiet = while_others_register(&fleet.server, || std::thread::sleep(Duration::from_millis(400)));
    let before = fleet.server.memory();
    fleet.write_plugin(text, test);
    let mut said = String::new();
    let attacked = while_others_register(&fleet.server, || {
        let output = reload(&fleet.server, &[]);
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}: {said}");
    });
    println!("{text} {test}\n  others: {} REGISTERs, max {:?} (quiet {:?})", attacked.count, attacked.max, quiet.max);
    let generations = imscript(&fleet.server, "generations", &["--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&generations.stdout).unwrap();
    let kept = listed["done"]["generations"].as_array().unwrap();
    assert!(kept.len() == 1 && kept[0]["state"] == "serving", "{listed}");
    fleet.server.is_well(before + 64);
    let late = attacked.max.saturating_sub(quiet.max);
    match () {
        () if !said.contains(why) => Err(said),
        () if late > LATE => Err(format!("a REGISTER was late by {late:?}")),
        () => Ok(()),
    }
}

#[test]
fn what_is_hostile_when_it_is_loaded_is_not_taken_and_nobody_waits_for_it() {
    for (text, test, why) in REFUSED {
        let mut outcome = round(text, test, why);
        for _ in 1..3 {
            if let Err(late) = &outcome {
                println!("{late}; once more");
                outcome = round(text, test, why);
            }
        }
        assert_eq!(outcome, Ok(()), "{text}");
    }
}
