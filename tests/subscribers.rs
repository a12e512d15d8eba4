//! `imscript subscriber` through the program: files good and bad, secrets kept, 100 000 lines.

use imscript::clock::Clock;
use imscript::hss::Hss;
use imscript::hss::embedded::{EmbeddedHss, Settings};
use imscript::store::Seal;
use imscript::store::sqlite::{Durability, Sqlite};
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const OP: &str = "cdc202d5123e20f62b6d676ac72cb318";
const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";
const PASSWORD: &str = "open sesame";

struct Done {
    ok: bool,
    out: String,
    err: String,
}

fn done(output: Output) -> Done {
    let text = |octets| String::from_utf8(octets).unwrap();
    Done { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imscript"));
    command.arg("subscriber").args(args).arg("--data-dir").arg(dir.join("data")).current_dir(dir);
    command
}

fn run(dir: &Path, args: &[&str]) -> Done {
    done(command(dir, args).output().unwrap())
}

fn import(dir: &Path, text: &str) -> Done {
    std::fs::write(dir.join("s.csv"), text).unwrap();
    run(dir, &["import", "s.csv"])
}

fn json(done: &Done) -> Value {
    assert!(done.ok, "{}", done.err);
    serde_json::from_str(&done.out).unwrap()
}

fn good_file() -> String {
    format!(
        "impi,impu,algorithm,k,opc,op,sqn,amf,password,broadcast\r\n\
         a@home1.net,sip:A@HOME1.NET sip:a@home1.net tel:+1-201,milenage,{K},{OPC},,00000000a0e0,8000,,yes\r\n\
         b@home1.net,sip:b@home1.net tel:+1202,MILENAGE,{K},,{OP},,,,svc2 svc1\r\n\
         c@home1.net,sip:c@home1.net,tuak,{K}{K},{OPC}{OPC},,,,,svc1;svc2\r\n\
         d@home1.net,sip:d@home1.net,digest,,,,,,\"{PASSWORD}\",no\r\n"
    )
}

#[test]
fn a_good_file_is_taken_and_shown_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let done = import(dir.path(), &good_file());
    assert!(done.ok && done.out.starts_with("imported 4 subscribers"), "{}{}", done.out, done.err);
    let mode = |name: &str| std::os::unix::fs::MetadataExt::mode(&dir.path().join(name).metadata().unwrap()) & 0o777;
    assert_eq!((mode("data"), mode("data/imscript.db"), mode("data/store.key")), (0o700, 0o600, 0o600));

    let a = json(&run(dir.path(), &["show", "a@home1.net", "--json"]));
    assert_eq!(a["impus"], serde_json::json!(["sip:A@home1.net", "sip:a@home1.net", "tel:+1201"]));
    assert_eq!((&a["algorithm"], &a["broadcast"], &a["amf"]), (&"milenage".into(), &true.into(), &"8000".into()));
    assert_eq!(a["ims"], serde_json::json!({ "state": "not_registered", "since": null, "scscf": null }));
    assert_eq!(a["broadcast_registration"]["state"], "not_registered");
    let b = json(&run(dir.path(), &["show", "tel:+1-202", "--json", "--secrets"]));
    assert_eq!((&b["impi"], &b["k"], &b["opc"]), (&"b@home1.net".into(), &K.into(), &OPC.into()));
    assert_eq!(b["broadcast"], serde_json::json!(["svc2", "svc1"]));
    let d = run(dir.path(), &["show", "SIP:d@home1.net", "--secrets"]);
    assert!(d.out.contains(PASSWORD));

    let mut all = run(dir.path(), &["list"]).out + &run(dir.path(), &["list", "--json"]).out;
    for impi in ["a@home1.net", "b@home1.net", "c@home1.net", "d@home1.net"] {
        all += &run(dir.path(), &["show", impi]).out;
        all += &run(dir.path(), &["show", impi, "--json"]).out;
    }
    for secret in [K, OP, OPC, PASSWORD, "sesame"] {
        assert!(!all.contains(secret) && !all.to_lowercase().contains(secret), "{secret} is printed");
    }
}

#[test]
fn a_bad_line_is_named_and_nothing_of_the_file_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{}\r\ne@home1.net,sip:e@home1.net,milenage,{},{OPC},,,,,yes\r\na@home1.net,sip:x@h,digest,,,,,,{PASSWORD},\r\n",
        good_file(),
        &K[1..]
    );
    let done = import(dir.path(), &text);
    assert!(!done.ok && done.out.is_empty());
    assert!(done.err.contains("s.csv:7: column k: 31 hex digits, 32 needed\n"), "{}", done.err);
    assert!(done.err.contains("s.csv:8: impi: a@home1.net is on line 2 already\n"), "{}", done.err);
    assert!(done.err.contains("2 bad lines, nothing of the file was taken"), "{}", done.err);
    assert!(!done.err.contains(&K[1..]) && !done.err.contains(OPC) && !done.err.contains(PASSWORD));
    assert!(!run(dir.path(), &["show", "a@home1.net"]).ok);

    // What is in the store already is named by line as well, and the new lines around it are not taken.
    assert!(import(dir.path(), &good_file()).ok);
    let header = "impi,impu,algorithm,password\n";
    let done = import(
        dir.path(),
        &format!("{header}n@h,sip:n@h,digest,x\na@home1.net,sip:m@h,digest,x\no@h,sip:b@home1.net,digest,x\n"),
    );
    assert!(done.err.contains("s.csv:3: impi: a@home1.net exists already\n"), "{}", done.err);
    assert!(done.err.contains("s.csv:4: impu: sip:b@home1.net belongs to b@home1.net\n"), "{}", done.err);
    assert!(!run(dir.path(), &["show", "n@h"]).ok);
}

#[test]
fn no_more_than_twenty_bad_lines_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    let done = import(dir.path(), &format!("impi,impu,algorithm\n{}", "x,y,z\n".repeat(1000)));
    assert_eq!(done.err.lines().count(), 22, "{}", done.err);
    assert!(done.err.contains("s.csv: and 980 more\n") && done.err.contains("1000 bad lines"));
}

#[test]
fn unknown_columns_and_missing_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let done = import(dir.path(), "impi,impu,algorithm,colour\n");
    assert!(!done.ok && done.err.contains("s.csv:1: unknown column \"colour\""), "{}", done.err);
    let done = run(dir.path(), &["import", "none.csv"]);
    assert!(!done.ok && done.err.contains("none.csv"), "{}", done.err);
    let done = run(dir.path(), &["show", "a@home1.net"]);
    assert!(!done.ok && done.err.contains("no subscribers yet"), "{}", done.err);
}

#[test]
fn add_and_remove_with_keys_off_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("k"), format!("{K}\n")).unwrap();
    let add = ["add", "--impi", "u@h.net", "--impu", "sip:u@h.net", "--impu", "tel:+1", "--k", "@k", "--op", "-"];
    let with_op = |extra: &[&str]| {
        let mut child = command(dir.path(), &[&add[..], extra].concat());
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(OP.as_bytes()).unwrap();
        done(child.wait_with_output().unwrap())
    };
    assert!(with_op(&["--broadcast", "svc1,svc2"]).ok);
    let again = with_op(&[]);
    assert!(!again.ok && again.err.contains("u@h.net exists already (--replace"), "{}", again.err);
    assert!(with_op(&["--replace", "--sqn", "000000000100"]).ok);
    let shown = json(&run(dir.path(), &["show", "tel:+1", "--json", "--secrets"]));
    assert_eq!((&shown["opc"], &shown["broadcast"]), (&OPC.into(), &false.into()));

    let bad = run(dir.path(), &["add", "--impi", "v@h", "--impu", "sip:v@h", "--k", &K[1..], "--opc", OPC]);
    assert!(!bad.ok && bad.err.contains("--k: 31 hex digits, 32 needed") && !bad.err.contains(&K[1..]), "{}", bad.err);

    assert!(run(dir.path(), &["remove", "u@h.net"]).ok);
    let gone = run(dir.path(), &["remove", "u@h.net"]);
    assert!(!gone.ok && gone.err.contains("no subscriber u@h.net"), "{}", gone.err);
    assert_eq!(json(&run(dir.path(), &["list", "--json"])), serde_json::json!([]));
}

#[test]
fn a_hundred_thousand_lines_are_imported() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from("impi,impu,algorithm,k,op,broadcast\n");
    for n in 0..100_000 {
        text += &format!("u{n}@home1.net,sip:u{n}@home1.net tel:+1{n:09},milenage,{n:032x},{OP},yes\n");
    }
    let started = Instant::now();
    let done = import(dir.path(), &text);
    println!("100 000 lines: {:.1} s", started.elapsed().as_secs_f64());
    assert!(done.ok && done.out.starts_with("imported 100000 subscribers"), "{}{}", done.out, done.err);
    assert!(done.err.is_empty(), "no progress bar without a terminal: {}", done.err);
    assert_eq!(json(&run(dir.path(), &["show", "tel:+1000099999", "--json"]))["impi"], "u99999@home1.net");
    assert_eq!(json(&run(dir.path(), &["list", "--json", "--limit", "3"])).as_array().unwrap().len(), 3);

    let clock = Clock::new();
    let data = dir.path().join("data");
    let started = Instant::now();
    let store = Arc::new(Sqlite::open_node(&data, Durability::Commit, clock).unwrap());
    let seal = Arc::new(Seal::from_file(&data.join("store.key")).unwrap());
    let hss = EmbeddedHss::open(store, seal, Settings::default(), clock.now()).unwrap();
    let last = hss.private_identity(&"tel:+1000099999".into()).wait();
    println!("100 000 subscribers: first answer after {:.3} s", started.elapsed().as_secs_f64());
    assert_eq!(last, Ok("u99999@home1.net".into()));
    hss.filled();
    println!("100 000 subscribers in memory after {:.2} s", started.elapsed().as_secs_f64());
    assert_eq!(hss.len(), 100_000);
}

#[test]
fn keys_lie_sealed_and_the_key_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    assert!(import(dir.path(), &good_file()).ok);
    let key = dir.path().join("data/store.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let files = || {
        let one = |name: &str| std::fs::read(dir.path().join("data").join(name)).unwrap_or_default();
        [one("imscript.db"), one("imscript.db-wal")].concat()
    };
    let has = |octets: &[u8], what: &[u8]| octets.windows(what.len()).any(|window| window == what);
    let k: Vec<_> = (0..16).map(|at| u8::from_str_radix(&K[2 * at..2 * at + 2], 16).unwrap()).collect();
    let found = files();
    assert!(has(&found, b"a@home1.net") && has(&found, b"s1."));
    for secret in [&k[..], K.as_bytes(), b"sesame", b"b3BlbiBzZXNhbWU", b"Rltc6LGZtJ"] {
        assert!(!has(&found, secret), "a secret in the clear");
    }
    let exported = Command::new(env!("CARGO_BIN_EXE_imscript"))
        .args(["store", "export", "-", "--data-dir", "data"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    for secret in [K.as_bytes(), b"sesame", b"b3BlbiBzZXNhbWU", b"Rltc6LGZtJ"] {
        assert!(!has(&exported.stdout, secret) && !has(&exported.stderr, secret), "a secret is exported");
    }
    let config = dir.path().join("imscript.toml");
    std::fs::write(&config, "data_dir = \"data\"\n[store]\nkey_file = \"new.key\"\n").unwrap();
    let with = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imscript"));
        done(
            command
                .arg("subscriber")
                .args(args)
                .args(["--config", "imscript.toml"])
                .current_dir(dir.path())
                .output()
                .unwrap(),
        )
    };
    let absent = with(&["show", "b@home1.net"]);
    assert!(!absent.ok && absent.err.contains("new.key"), "{}", absent.err);
    std::fs::write(dir.path().join("new.key"), "0f".repeat(32)).unwrap();
    let open = with(&["show", "b@home1.net"]);
    assert!(!open.ok && open.err.contains("can be read by others"), "{}", open.err);
    std::fs::set_permissions(dir.path().join("new.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let other = with(&["show", "b@home1.net"]);
    assert!(!other.ok && other.err.contains("does not open") && !other.err.contains("0f0f"), "{}", other.err);
    let resealed = with(&["reseal", "--old-key-file", "data/store.key"]);
    assert!(resealed.ok && resealed.out == "sealed 4 subscribers anew\n", "{}{}", resealed.out, resealed.err);
    assert_eq!(json(&with(&["show", "b@home1.net", "--secrets", "--json"]))["k"], K);
    assert!(!run(dir.path(), &["show", "b@home1.net"]).ok);
}
