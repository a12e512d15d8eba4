//! `imscript terminal` and `imscript load`, run as programs.

use crate::registrar::{IMPI, K, OPC, Registrar, Shared, udp, unhex};
use base64::Engine;
use imscript::aka::{Algorithm as Card, KeySet};
use imscript::auth::digest::{Algorithm, Digest, Password, Qop, QopKind};
use imscript::gba::naf_id::NafId;
use imscript::sip::AuthParams;
use imscript::terminal::load::subscribers;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

fn imscript(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imscript")).args(args).output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn terminal(server: &str, verb: &str, more: &[&str]) -> Output {
    let who = ["--impi", IMPI, "--impu", "sip:alice@home1.net", "--k", K, "--opc", OPC, "--json", "--timeout", "60"];
    imscript(&[&["terminal", verb, "--server", server], &who[..], more].concat())
}

fn network(broadcast: Option<&'static str>) -> (String, Shared) {
    udp(Registrar { naf: Some(NafId::parse("bsm.home1.net").unwrap()), broadcast, ..Registrar::new() })
}

const NAF: [&str; 2] = ["--naf-id", "bsm.home1.net"];

#[test]
fn register_and_its_json() {
    let (server, network) = network(Some("registered"));
    let output = terminal(&server, "register", &[&NAF[..], &["--figure", "7", "--secrets"]].concat());
    let result = json(&output);
    assert!(output.status.success(), "{result}");
    assert_eq!(result["result"], "registered");
    assert_eq!((&result["status"], &result["broadcast"]), (&200.into(), &"registered".into()));
    assert_eq!((&result["algorithm"], &result["resync"]), (&"AKAv1-MD5".into(), &false.into()));
    assert_eq!(result["ks_naf"].as_str(), network.lock().unwrap().ks_naf.as_deref());
    let starts: Vec<_> = result["messages"].as_array().unwrap().iter().map(|m| m["start"].as_str().unwrap()).collect();
    let expected = [
        "REGISTER sip:home1.net SIP/2.0",
        "SIP/2.0 401 Unauthorized",
        "REGISTER sip:home1.net SIP/2.0",
        "SIP/2.0 200 OK",
    ];
    assert_eq!(starts, expected);
    assert_eq!(result["messages"][0]["dir"], "→");
    let output = terminal(&server, "deregister", &["--all"]);
    assert_eq!(json(&output)["result"], "deregistered");
    assert!(output.status.success());
}

#[test]
fn no_key_is_printed_unless_asked_for() {
    let (server, network) = network(Some("registered"));
    let output = terminal(&server, "register", &[&NAF[..], &["--verbose"]].concat());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let key = network.lock().unwrap().ks_naf.clone().unwrap();
    for secret in [key.as_str(), K, OPC] {
        assert!(!said.contains(secret));
    }
}

#[test]
fn exit_code_follows_what_the_figure_promises() {
    for (broadcast, figure, good) in [
        (Some("pending"), "3", true),
        (Some("pending"), "4", true),
        (Some("pending"), "7", false),
        (Some("failed"), "8", false),
        (None, "7", false),
        (Some("registered"), "8", true),
    ] {
        let (server, network) = network(broadcast);
        let output = terminal(&server, "register", &[&NAF[..], &["--figure", figure]].concat());
        assert_eq!(output.status.success(), good, "figure {figure} with {broadcast:?}: {}", json(&output));
        let body = !network.lock().unwrap().request(0).body().is_empty();
        assert_eq!(body, matches!(figure, "4" | "8"), "figure {figure}");
    }
    let (server, network) = network(Some("pending"));
    let output = terminal(&server, "register", &[&NAF[..], &["--all-or-nothing"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json(&output)["result"], "registered", "in the IMS it is");
    let first = network.lock().unwrap().request(0);
    assert_eq!(first.header_named("Require"), Some(&b"bcast-ext"[..]));
}

/// A policy that leaves the broadcast server to the terminal: registered with the IMS, no more, and that is no error.
#[test]
fn a_broadcast_registration_that_there_is_not() {
    for state in ["terminated", "Terminated"] {
        let (server, _network) = network(Some(state));
        let output = terminal(&server, "register", &NAF);
        let result = json(&output);
        assert!(output.status.success(), "{result}");
        assert_eq!((&result["result"], &result["broadcast"]), (&"registered".into(), &"none".into()));
        let promised = terminal(&server, "register", &[&NAF[..], &["--figure", "7"]].concat());
        assert_eq!(promised.status.code(), Some(1), "{}", json(&promised));
    }
    let (server, _network) = network(Some("maybe"));
    let result = json(&terminal(&server, "register", &NAF));
    assert!(result["error"].as_str().unwrap().contains("the state in Bcast-Ext is unknown"), "{result}");
}

#[test]
fn legacy_require_as_the_patent_prints_it() {
    let (server, network) = network(None);
    terminal(&server, "register", &[&NAF[..], &["--legacy-require"]].concat());
    let first = network.lock().unwrap().request(0);
    let expected = "bcast_ext_profile=BCAST_EXT_PROFILE; bcast_ext_scard= \"bsm.home1.net\"";
    assert_eq!(first.header_named("Require"), Some(expected.as_bytes()));
}

#[test]
fn a_card_file_remembers_its_sqn() {
    let folder = tempfile::tempdir().unwrap();
    let card = folder.path().join("card.json");
    let card = ["--card", card.to_str().unwrap()];
    let (server, network) = network(None);
    assert_eq!(json(&terminal(&server, "register", &card))["resync"], false);
    network.lock().unwrap().sqn = 0x20; // the network forgets
    assert_eq!(json(&terminal(&server, "register", &card))["resync"], true);
    let other = imscript(&[
        "terminal",
        "register",
        "--server",
        &server,
        "--impi",
        "b@home1.net",
        "--k",
        K,
        "--opc",
        OPC,
        card[0],
        card[1],
    ]);
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stderr).contains("is the card of"));
}

#[test]
fn errors_are_json_too_and_exit_1() {
    let (server, _) = network(None);
    let wrong = ["terminal", "register", "--server", &server, "--impi", IMPI, "--k", OPC, "--opc", K, "--json"];
    let output = imscript(&wrong);
    assert_eq!(output.status.code(), Some(1));
    let result = json(&output);
    assert_eq!(result["result"], "failed");
    assert!(result["error"].as_str().unwrap().contains("MAC in AUTN"), "{result}");
    for server in ["127.0.0.1:5060", "udp:", "udp:[::1:5060", "udp:127.0.0.1:0", "sctp:127.0.0.1:5060"] {
        let output = imscript(&["terminal", "register", "--server", server, "--impi", IMPI, "--password", "x"]);
        assert_eq!(output.status.code(), Some(1), "{server}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("udp:HOST:PORT"), "{server}");
    }
}

#[test]
fn figure_5_over_http_with_digest_on_ks_naf() {
    let (server, network) = network(None);
    for (realm, good) in [("3GPP-bootstrapping@bsm.home1.net", true), ("3GPP-bootstrapping@evil.example", false)] {
        let (url, seen) = broadcast_server(realm);
        let output = terminal(&server, "register", &[&NAF[..], &["--figure", "5", "--bsm-http", &url]].concat());
        let result = json(&output);
        assert_eq!(output.status.success(), good, "{result}");
        if good {
            assert_eq!(result["application"]["global_status"], "0");
            let posts = seen.join().unwrap();
            prove(&posts[1], network.lock().unwrap().ks_naf.as_deref().unwrap());
            assert!(!posts[0].contains("uthorization") && posts[0].contains("3gpp-gba"));
            let btid = result["btid"].as_str().unwrap();
            assert!(posts[1].contains(&format!("username=\"{btid}\"")) && posts[1].contains("qop=auth-int"));
        }
    }
}

/// The digest of a POST is that of base64(Ks_NAF) over its body.
fn prove(post: &str, ks_naf: &str) {
    let (head, body) = post.split_once("\r\n\r\n").unwrap();
    let line = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap();
    let given = AuthParams::parse(line.as_bytes()).unwrap();
    let get = |name: &str| given.get(name).unwrap().into_owned();
    let (username, nc, cnonce) = (get("username"), get("nc"), get("cnonce"));
    let digest = Digest {
        algorithm: Algorithm::Md5,
        username: &username,
        realm: b"3GPP-bootstrapping@bsm.home1.net",
        method: b"POST",
        uri: b"/sprov",
        nonce: b"n",
        qop: Some(Qop { kind: QopKind::AuthInt, nc: &nc, cnonce: &cnonce, body: body.as_bytes() }),
    };
    let password = Password::new(base64::engine::general_purpose::STANDARD.encode(unhex(ks_naf)));
    assert!(digest.verify(&password, &get("response")), "{line}");
}

/// Two POSTs: the first is challenged, the second served.
fn broadcast_server(realm: &str) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/sprov", listener.local_addr().unwrap());
    let challenge = format!(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"{realm}\", nonce=\"n\", qop=\"auth-int\"\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let body = "<ServiceResponse globalStatusCode=\"0\"/>";
    let served = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let thread = std::thread::spawn(move || {
        [challenge, served]
            .iter()
            .map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                while !String::from_utf8_lossy(&request).contains("</ServiceRequest>") {
                    let length = stream.read(&mut chunk).unwrap();
                    request.extend_from_slice(&chunk[..length]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&request).into_owned()
            })
            .collect()
    });
    (url, thread)
}

#[test]
fn load_checks_every_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("load.csv");
    let file = file.to_str().unwrap();
    assert!(imscript(&["load", "--users", "300", "--write-subscribers", file]).status.success());
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text.lines().next(), Some("impi,impu,algorithm,k,opc,op,sqn,amf,password,broadcast"));
    assert_eq!(subscribers::read(text.as_bytes(), None, None).unwrap().len(), 300);
    let known = text.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        let keys = KeySet::from_opc(Card::Milenage, &unhex(fields[3]), &unhex(fields[4])).unwrap();
        (fields[0].as_bytes().to_vec(), keys)
    });
    let (server, network) = network(Some("registered"));
    network.lock().unwrap().subscribers = known.collect();
    let base = ["load", "--server", &server, "--window", "20", "--json", "--timeout", "60"];
    for (more, registrations, deregistrations) in
        [(&["--users", "300", NAF[0], NAF[1]][..], 300, 0), (&["--from", file, "--cycles", "2"][..], 600, 600)]
    {
        let output = imscript(&[&base[..], more].concat());
        let result = json(&output);
        assert!(output.status.success(), "{result}");
        assert_eq!(result["registrations"], registrations, "{result}");
        assert_eq!(result["deregistrations"], deregistrations);
        assert!(result["p99_ms"].as_f64().unwrap() > 0.0);
    }
    let pid = std::process::id().to_string();
    let output =
        imscript(&[&base[..], &["--users", "20", "--duration", "2", "--rate", "20", "--server-pid", &pid]].concat());
    let result = json(&output);
    assert!(output.status.success() && result["server_cpu_us_per_registration"].is_number(), "{result}");
    assert!((20..=45).contains(&result["registrations"].as_u64().unwrap()), "{result}");

    // Refreshes: what is counted are second registrations of terminals that are registered.
    let output = imscript(&[&base[..], &["--users", "20", "--warm-up", "--duration", "0.2", "--rate", "100"]].concat());
    let result = json(&output);
    assert!(output.status.success() && result["warm_up_errors"] == 0, "{result}");
    assert!((15..=21).contains(&result["registrations"].as_u64().unwrap()), "{result}");
    // A terminal's pause counts.
    let output = imscript(&[&base[..], &["--users", "5", "--pause", "40"]].concat());
    assert!(json(&output)["p50_ms"].as_f64().unwrap() >= 40.0, "{output:?}");

    // A 200 that does not say what it must is an error, and so is a wrong key.
    network.lock().unwrap().broadcast = None;
    let output = imscript(&[&base[..], &["--users", "10", NAF[0], NAF[1]]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json(&output)["errors_by_kind"]["200 without a broadcast registration"], 10);
    network.lock().unwrap().subscribers.clear();
    let output = imscript(&[&base[..], &["--users", "10"]].concat());
    assert_eq!(json(&output)["errors_by_kind"]["MAC failure"], 10);
}
