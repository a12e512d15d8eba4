//! `imscript store` through the program, beside a node that holds the store open.

use crate::behaviour::{key, load, made, put};
use imscript::clock::Clock;
use imscript::store::sqlite::{Durability, FILE_NAME, Sqlite};
use imscript::store::{Class, Key, Save, Store};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

struct Done {
    ok: bool,
    out: String,
    err: String,
}

fn run(dir: &Path, args: &[&str]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imscript"));
    let done = command.arg("store").args(args).current_dir(dir).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    Done { ok: done.status.success(), out: text(done.stdout), err: text(done.stderr) }
}

fn node(dir: &Path) -> Sqlite {
    Sqlite::open_node(&dir.join("imscript-data"), Durability::Commit, Clock::new()).unwrap()
}

/// A few entities of several classes, one of them large.
fn filled(dir: &Path) -> Sqlite {
    let node = node(dir);
    made(&node, Save::whole(key("a@home1.net"), vec![put("state", "{\"n\":1}"), put("more", "[\"é\"]")]));
    made(&node, Save::whole(key("b@home1.net"), vec![put("state", "\"x\"")]));
    let large = serde_json::to_string(&"y".repeat(20_000)).unwrap();
    made(&node, Save::whole(Key::new(Class::Plugin, "p"), vec![put("large", large), put("small", "1")]));
    made(&node, Save::whole(Key::new(Class::Node, "0"), vec![put("mark", "5")]));
    node
}

#[test]
fn what_is_exported_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    made(&store, Save::whole(Key::new(Class::Btid, "octets"), vec![put("k", b"\xff\0")]));
    let done = run(dir.path(), &["export", "all.jsonl"]);
    assert!(done.ok && done.out == "5 entities in all.jsonl\n", "{}{}", done.out, done.err);
    assert_eq!(std::fs::metadata(dir.path().join("all.jsonl")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!run(dir.path(), &["export", "all.jsonl"]).ok, "a file that is there is not written over");
    let users = run(dir.path(), &["export", "-", "--class", "user"]);
    let lines: Vec<Value> = users.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["name"], &lines[0]["fields"]["state"]), (&"a@home1.net".into(), &"{\"n\":1}".into()));

    let done = run(dir.path(), &["import", "all.jsonl", "--data-dir", "other"]);
    assert!(done.ok && done.out == "5 entities from all.jsonl\n", "{}{}", done.out, done.err);
    let other = Sqlite::open_tool(&dir.path().join("other")).unwrap();
    for key in [key("a@home1.net"), Key::new(Class::Plugin, "p"), Key::new(Class::Btid, "octets")] {
        assert_eq!(load(&other, key.clone()).fields, load(&store, key).fields);
    }
}

#[test]
fn an_import_is_checked_before_anything_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let import = |text: &str, more: &[&str]| {
        std::fs::write(dir.path().join("i.jsonl"), text).unwrap();
        run(dir.path(), &[&["import", "i.jsonl"], more].concat())
    };
    let line =
        |class: &str, name: &str| format!("{{\"class\":\"{class}\",\"name\":\"{name}\",\"fields\":{{\"f\":\"2\"}}}}\n");
    let text = [line("user", "new"), line("users", "x"), "{}\n".into(), "\n".into(), line("user", "new")].concat();
    let done = import(&text, &[]);
    assert!(!done.ok && done.out.is_empty());
    assert!(done.err.contains("i.jsonl:2: class: \"users\" is none\n"), "{}", done.err);
    assert!(done.err.contains("i.jsonl:3: missing field `class`"), "{}", done.err);
    assert!(done.err.contains("i.jsonl:5: user \"new\" is on line 1 already\n"), "{}", done.err);
    assert!(done.err.contains("3 bad lines, nothing of the file was taken"), "{}", done.err);
    assert!(!load(&store, key("new")).exists());

    let text = [line("user", "new"), line("user", "a@home1.net"), line("node", "0")].concat();
    let done = import(&text, &[]);
    let expected = "i.jsonl:2: user \"a@home1.net\" exists already (--replace replaces it)\n";
    assert!(!done.ok && done.err.contains(expected), "{}", done.err);
    assert!(!load(&store, key("new")).exists());
    let done = import(&text, &["--replace"]);
    assert!(done.ok && done.out.contains("2 entities from i.jsonl, 1 of class node left"), "{}{}", done.out, done.err);
    let replaced = load(&store, key("a@home1.net"));
    assert_eq!((replaced.fields.len(), replaced.field("f")), (1, Some(&b"2"[..])));
    assert_eq!(load(&store, Key::new(Class::Node, "0")).field("mark"), Some(&b"5"[..]));
    // The node hears of it, and is told to look at what has a time.
    assert_eq!(store.changed().wait().unwrap().len(), 2);
    assert_eq!(store.claim_due(std::time::Duration::from_secs(9), 9).wait().unwrap().len(), 2);
}

#[test]
fn a_backup_of_a_node_that_writes_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                // Two entities that go together: no backup may have the second without the first.
                let both = [Class::Bootstrap, Class::Btid].map(|class| {
                    store.save(Save::whole(Key::new(class, format!("{n}")), vec![put("n", n.to_string())]))
                });
                both.into_iter().for_each(|answer| _ = answer.wait().unwrap());
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
            }
        });
        for _ in 0..3 {
            let done = run(dir.path(), &["backup", "b/copy.db"]);
            assert!(!done.ok && done.err.contains("b/copy.db"), "{}", done.err);
            let done = run(dir.path(), &["backup", "copy.db"]);
            assert!(done.ok && done.out.starts_with("copy.db: "), "{}{}", done.out, done.err);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let copy = dir.path().join("copy.db");
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!dir.path().join("copy.db.part").exists());
    let back = dir.path().join("back/imscript-data");
    std::fs::create_dir_all(&back).unwrap();
    std::fs::copy(&copy, back.join(FILE_NAME)).unwrap();
    let done = run(&dir.path().join("back"), &["check"]);
    assert!(done.ok && done.out.ends_with("no fault\n"), "{}{}", done.out, done.err);
    let restored = node(&dir.path().join("back"));
    assert_eq!(load(&restored, key("a@home1.net")), load(&store, key("a@home1.net")));
    let stats = run(&dir.path().join("back"), &["stats", "--json"]);
    let stats: Value = serde_json::from_str(&stats.out).unwrap();
    let count = |class: &str| stats["classes"][class]["entities"].as_u64().unwrap();
    assert!(count("bootstrap") > 0 && (count("btid")..=count("btid") + 1).contains(&count("bootstrap")));
}

#[test]
fn check_names_what_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let good = run(dir.path(), &["check"]);
    assert!(good.ok && good.out == "4 entities: no fault\n", "{}{}", good.out, good.err);
    made(&store, Save::whole(key("c@home1.net"), vec![put("state", "{secret")]));
    let bad = run(dir.path(), &["check"]);
    assert!(!bad.ok && bad.out.contains("user \"c@home1.net\": field \"state\" is no JSON text"), "{}", bad.out);
    assert!(!bad.out.contains("secret"));
    store.close();
    let file = rusqlite::Connection::open(dir.path().join("imscript-data").join(FILE_NAME)).unwrap();
    file.execute("UPDATE store_user SET fields = x'00' WHERE name = 'b@home1.net'", []).unwrap();
    file.execute("INSERT INTO field VALUES ('user', 4711, 'a', x'')", []).unwrap();
    drop(file);
    let bad: Value = serde_json::from_str(&run(dir.path(), &["check", "--json"]).out).unwrap();
    assert_eq!(bad["ok"], false);
    let faults = bad["faults"].to_string();
    assert!(faults.contains("user \\\"b@home1.net\\\" cannot be read"), "{faults}");
    assert!(faults.contains("user number 4711 has fields and is not there"), "{faults}");
}

#[test]
fn stats_and_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    for verb in [&["check"][..], &["stats"], &["export", "-"], &["backup", "x"]] {
        let done = run(dir.path(), verb);
        assert!(!done.ok && done.err.contains("there is no store in imscript-data"), "{}", done.err);
    }
    std::fs::write(dir.path().join("imscript.toml"), "[store]\nkind = \"memory\"\n").unwrap();
    let done = run(dir.path(), &["stats", "--config", "imscript.toml"]);
    assert!(!done.ok && done.err.contains("a store in memory belongs to the node's process alone"), "{}", done.err);
    let _store = filled(dir.path());
    std::fs::write(dir.path().join("imscript.toml"), "data_dir = \"imscript-data\"\n").unwrap();
    let done = run(dir.path(), &["stats", "--config", "imscript.toml"]);
    assert!(done.ok, "{}", done.err);
    assert!(
        done.out.lines().any(|line| line.split_whitespace().collect::<Vec<_>>()[..2] == ["user", "2"]),
        "{}",
        done.out
    );
    assert!(done.out.contains(FILE_NAME));
}
