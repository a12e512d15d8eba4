//! The node as a program: every transport and both address families, several identities, cards out of step, its end
//! on signals, and what it says about a faulty configuration.

mod support;

use imscript::cli::network::{Card, DOMAIN, NAF, Plan};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::flow::Flow;
use support::{BINARY, Bed, certificates, figure_policy};

fn assert_both(bed: &Bed, card: &Card, result: &Value) {
    assert_eq!((&result["result"], &result["error"]), (&"registered".into(), &Value::Null), "{result}");
    assert_eq!(result["broadcast"], "registered", "{result}");
    bed.assert_states(&card.impi, "registered", "registered");
}

#[test]
fn registrations_over_udp_and_tcp_on_ipv4_and_ipv6() {
    for (host, between) in [("127.0.0.1", "tcp"), ("::1", "udp"), ("::1", "tcp")] {
        for figure in [7, 8] {
            let policy = Some(figure_policy(figure));
            let bed = Bed::start(&Plan { policy, between, host: host.parse().unwrap(), ..Plan::default() });
            let card = bed.subscriber_with("yes");
            for transport in ["udp", "tcp"] {
                let server = format!("{transport}:{}", bed.ims);
                let number = figure.to_string();
                let args = ["--figure", &number, "--naf-id", NAF];
                let result = bed.terminal_at(&server, "register", &card, &args).unwrap();
                assert_both(&bed, &card, &result);
                let result = bed.terminal_at(&server, "deregister", &card, &["--all"]).unwrap();
                assert_eq!(result["result"], "deregistered", "{result}");
                bed.wait_for_states(&card.impi, "not_registered", "not_registered").unwrap();
            }
        }
    }
}

#[test]
fn one_process_with_one_worker_plays_every_figure() {
    for figure in 3..=8u8 {
        let mut bed = Bed::empty("127.0.0.1");
        let (ims, bsm, http) = (bed.ims, bed.bsm, bed.bsm_http);
        let config = format!(
            "domain = \"{DOMAIN}\"\nlisten = [\"udp:{ims}\"]\ndata_dir = \"ims-data\"\nworkers = 1\npolicy = {:?}\n\
             [bsm]\nlisten = [\"tcp:{bsm}\"]\nhttp = \"{http}\"\n",
            figure_policy(figure)
        );
        bed.start_node("ims", &config).unwrap();
        let card = bed.subscriber_with("yes");
        let (number, url) = (figure.to_string(), format!("http://{http}/"));
        let mut args = vec!["--figure", &number, "--naf-id", NAF];
        for way in [&["--bsm-http", &*url][..], &["--via-ims"][..]] {
            args.truncate(4);
            if matches!(figure, 5 | 6) {
                args.extend(way);
            }
            let result = bed.terminal("register", &card, &args).unwrap();
            assert_eq!((&result["result"], &result["error"]), (&"registered".into(), &Value::Null), "{result}");
            bed.assert_states(&card.impi, "registered", "registered");
            bed.terminal("deregister", &card, &["--all"]).unwrap();
            bed.assert_states(&card.impi, "not_registered", "not_registered");
        }
    }
}

#[test]
fn a_terminal_on_a_stream_is_reached_through_its_connection_whatever_the_worker() {
    let ims_tables = "[registrar]\nmin_expires = 1\n".into();
    let bed = Bed::start(&Plan { policy: Some(figure_policy(5)), ims_tables, ..Plan::default() });
    let card = bed.subscriber_with("yes");
    for transport in ["tcp", "tcp", "tcp", "tcp", "udp", "udp"] {
        let server = format!("{transport}:{}", bed.ims);
        let args = ["--figure", "5", "--naf-id", NAF, "--via-ims"];
        let result = bed.terminal_at(&server, "register", &card, &args).unwrap();
        assert_eq!(result["error"], Value::Null, "{result}");
        assert_eq!(result["application"]["response"], "ServiceResponse", "{result}");
        bed.terminal("deregister", &card, &["--all"]).unwrap();
        bed.assert_states(&card.impi, "not_registered", "not_registered");
    }
}

/// IMS and broadcast node with TLS between them and towards terminals; the broadcast node shows the certificate `shown`.
fn secure(policy: u8, shown: &str) -> (Bed, Card) {
    let mut bed = Bed::empty("127.0.0.1");
    certificates(&bed, &["ims.home1.net", NAF, "evil.home1.net"]);
    let tls = |name: &str| format!("[tls]\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\"\nca = \"ca.pem\"\n");
    let (ims, bsm) = (bed.ims, bed.bsm);
    let bsm_config = format!(
        "domain = \"{DOMAIN}\"\nroles = [\"bsm\"]\nlisten = [\"tls:{bsm}\", \"udp:{bsm}\"]\ndata_dir = \"bsm-data\"\n\
         trace = \"bsm.jsonl\"\nworkers = 2\n{}[bsm]\nnaf = \"{NAF}\"\nims = \"tls:{ims}\"\ntls_name = \"ims.home1.net\"\n",
        tls(shown)
    );
    let ims_config = format!(
        "domain = \"{DOMAIN}\"\nroles = [\"scscf\", \"bsf\", \"hss\"]\nlisten = [\"tls:{ims}\", \"udp:{ims}\"]\n\
         data_dir = \"ims-data\"\ntrace = \"ims.jsonl\"\nworkers = 2\npolicy = {:?}\n{}\
         [[broadcast_server]]\nname = \"bsm\"\nnaf = [\"{NAF}\"]\naddress = \"tls:{bsm}\"\ntls_name = \"{NAF}\"\n\
         [broadcast]\ntimeout = 2\n",
        figure_policy(policy),
        tls("ims.home1.net")
    );
    bed.start_node("bsm", &bsm_config).unwrap();
    bed.start_node("ims", &ims_config).unwrap();
    let card = bed.subscriber_with("yes");
    (bed, card)
}

const TRUSTING: [&str; 4] = ["--ca", "ca.pem", "--tls-name", "ims.home1.net"];

#[test]
fn terminal_and_key_over_tls_with_certificates_on_both_sides() {
    for figure in [7, 8] {
        let (bed, card) = secure(figure, NAF);
        let number = figure.to_string();
        let mut args = vec!["--figure", &number, "--naf-id", NAF];
        args.extend(TRUSTING);
        let result = bed.terminal_at(&format!("tls:{}", bed.ims), "register", &card, &args).unwrap();
        assert_both(&bed, &card, &result);
        let flow = Flow::of(&bed).unwrap();
        for step in flow.steps().iter().filter(|step| !step.id.is_empty()) {
            assert!(step.what.ends_with("(TLS)"), "{step:?}");
        }
    }
}

#[test]
fn a_terminal_does_not_trust_a_server_of_another_name() {
    let (bed, card) = secure(7, NAF);
    let args = ["--naf-id", NAF, "--ca", "ca.pem", "--tls-name", "other.home1.net"];
    let result = bed.terminal_at(&format!("tls:{}", bed.ims), "register", &card, &args).unwrap();
    assert_eq!(result["result"], "failed", "{result}");
    bed.assert_states(&card.impi, "not_registered", "not_registered");
}

#[test]
fn no_key_goes_to_a_broadcast_server_with_another_certificate() {
    let (bed, card) = secure(7, "evil.home1.net");
    let mut args = vec!["--naf-id", NAF];
    args.extend(TRUSTING);
    let result = bed.terminal_at(&format!("tls:{}", bed.ims), "register", &card, &args).unwrap();
    assert_eq!((&result["result"], &result["broadcast"]), (&"registered".into(), &"pending".into()), "{result}");
    let flow = Flow::of(&bed).unwrap();
    assert!(!flow.messages().any(|line| line.contains("BSM")), "\n{flow}");
}

#[test]
fn where_tls_is_configured_the_address_alone_is_no_credential() {
    let (bed, card) = secure(7, NAF);
    let mut args = vec!["--naf-id", NAF];
    args.extend(TRUSTING);
    let result = bed.terminal_at(&format!("tls:{}", bed.ims), "register", &card, &args).unwrap();
    assert_both(&bed, &card, &result);
    // From the IMS server's own address, but over UDP: whoever can send from there is not the IMS server.
    let ended = |from: std::net::SocketAddr| {
        format!(
            "REGISTER sip:{NAF} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK79\r\nMax-Forwards: 70\r\n\
             From: <sip:{DOMAIN}>;tag=1\r\nTo: <{}>\r\nCall-ID: 79\r\nCSeq: 1 REGISTER\r\nExpires: 0\r\n\
             Bcast-Ext: naf-id=\"{NAF}\";mode=status\r\nContent-Length: 0\r\n\r\n",
            card.impu
        )
    };
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let answer = support::fake_bsm::exchange_from(&socket, &ended(socket.local_addr().unwrap()), bed.bsm);
    assert_eq!(answer.status(), 403);
    // The same for a key request at the BSF.
    let from = socket.local_addr().unwrap();
    let asked = format!(
        "MESSAGE sip:bsf.{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK80\r\nMax-Forwards: 70\r\n\
         From: <sip:{NAF}>;tag=1\r\nTo: <sip:bsf.{DOMAIN}>\r\nCall-ID: 80\r\nCSeq: 1 MESSAGE\r\n\
         Bcast-Ext: request=key;naf-id=\"{NAF}\";btid=\"{}\"\r\nContent-Length: 0\r\n\r\n",
        result["btid"].as_str().unwrap()
    );
    assert_eq!(support::fake_bsm::exchange_from(&socket, &asked, bed.ims).status(), 403);
}

#[test]
fn all_public_identities_of_the_set_are_registered_together() {
    let bed = Bed::start(&Plan::default());
    let card = Card::number(1);
    let second = "sip:second@home1.net";
    let mut args = vec!["subscriber", "add", "--data-dir", "ims-data", "--impi", &card.impi, "--impu", &card.impu];
    args.extend(["--impu", second, "--impu", "tel:+12015550123", "--k", &card.k, "--opc", &card.opc]);
    args.extend(["--broadcast", "yes"]);
    bed.imscript_ok(&args);
    // Any of the set may register, and all are registered.
    let by_second = Card { impu: second.into(), ..card.clone() };
    let result = bed.terminal("register", &by_second, &["--naf-id", NAF]).unwrap();
    assert_both(&bed, &card, &result);
    let associated = result["associated"].as_array().unwrap();
    for impu in [&*card.impu, second, "tel:+12015550123"] {
        assert!(associated.contains(&impu.into()), "{impu} is not in {result}");
    }
    // And any of them ends it.
    let result = bed.terminal("deregister", &card, &["--all"]).unwrap();
    assert_eq!(result["result"], "deregistered", "{result}");
    bed.wait_for_states(&card.impi, "not_registered", "not_registered").unwrap();
}

#[test]
fn a_card_out_of_step_is_resynchronised() {
    let bed = Bed::start(&Plan::default());
    let card = bed.subscriber_with("yes");
    let first = bed.terminal("register", &card, &["--naf-id", NAF, "--card", "card.json"]).unwrap();
    assert_eq!(first["resync"], false, "{first}");
    // A card that has been elsewhere: its SQN is ahead of the network's.
    let mut kept: Value = serde_json::from_slice(&fs::read(bed.path("card.json")).unwrap()).unwrap();
    for seq in kept["seq"].as_array_mut().unwrap() {
        *seq = (seq.as_u64().unwrap() + 5_000_000).into();
    }
    fs::write(bed.path("card.json"), kept.to_string()).unwrap();
    let result = bed.terminal("register", &card, &["--naf-id", NAF, "--card", "card.json"]).unwrap();
    assert_eq!(result["resync"], true, "{result}");
    assert_both(&bed, &card, &result);
    let flow = Flow::of(&bed).unwrap();
    flow.assert_order(&["UE > IMS  REGISTER auts", "S-CSCF > HSS  MAR (AUTS)", "IMS > UE  401 (REGISTER auts)"]);
    // From then on they are in step.
    let again = bed.terminal("register", &card, &["--naf-id", NAF, "--card", "card.json"]).unwrap();
    assert_eq!(again["resync"], false, "{again}");
}

#[test]
fn signals_end_a_node_cleanly() {
    for (signal, node) in [("TERM", "ims"), ("INT", "ims"), ("TERM", "bsm"), ("INT", "bsm")] {
        let mut bed = Bed::start(&Plan::default());
        let card = bed.subscriber_with("yes");
        let result = bed.terminal("register", &card, &["--naf-id", NAF]).unwrap();
        assert_eq!(result["broadcast"], "registered", "{result}");
        let (status, took) = bed.signal(node, signal);
        assert!(status.success(), "{node} on SIG{signal}: {status}");
        assert!(took < Duration::from_secs(20), "{node} on SIG{signal}: {took:?}");
        // What the HSS held is on disk.
        let shown = bed.subscriber(&card.impi).unwrap();
        assert_eq!(shown["ims"]["state"], "registered", "{shown}");
        assert_eq!(shown["broadcast_registration"]["state"], "registered", "{shown}");
    }
}

/// Waits for a broadcast server longer than it takes to end.
const PATIENT: &str = "[broadcast]\ntimeout = 30\n[shutdown]\ndrain = \"3s\"\n";

#[test]
fn a_node_ends_in_time_while_a_broadcast_server_keeps_it_waiting() {
    use support::fake_bsm::{Conduct, FakeBsm};
    let ims_tables = PATIENT.into();
    let mut bed = Bed::start(&Plan { with_bsm: false, ims_tables, ..Plan::default() });
    let bsm = FakeBsm::bind(bed.bsm, Conduct::Silent);
    let card = bed.subscriber_with("yes");
    let server = format!("udp:{}", bed.ims);
    let args =
        ["terminal", "register", "--server", &server, "--impi", &card.impi, "--impu", &card.impu, "--k", &card.k];
    let more = ["--opc", &card.opc, "--naf-id", NAF, "--timeout", "60", "--json"];
    let mut terminal = Command::new(BINARY).args(args).args(more).stdout(Stdio::null()).spawn().unwrap();
    bsm.request(0, |request| request.method() == b"REGISTER");
    let (status, took) = bed.signal("ims", "TERM");
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
}

#[test]
fn a_faulty_configuration_is_refused_by_file_and_line() {
    let bed = Bed::empty("127.0.0.1");
    for (text, line, word) in [
        ("domain = \"home1.net\"\nlisten = [\"sctp:127.0.0.1:5060\"]\n", 2, "sctp"),
        ("domain = \"home1.net\"\n\ncolour = \"red\"\n", 3, "colour"),
        ("domain = \"home1.net\"\nroles = [\"scscf\", \"dj\"]\n", 2, "dj"),
        ("workers = 0\n", 1, "workers"),
        ("domain = \"home1.net\n", 1, ""),
        ("[registrar]\nmin_expires = 600\nmax_expires = 60\n", 3, "max_expires"),
        ("[bsf]\nshort_cut = \"maybe\"\n", 2, "short_cut"),
        ("[[broadcast_server]]\nname = \"a\"\nnaf = [\"a.b\"]\naddress = \"tls:127.0.0.1:1\"\n", 4, "tls_name"),
    ] {
        fs::write(bed.path("bad.toml"), text).unwrap();
        let output = bed.imscript(&["run", "--config", "bad.toml"]).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}: {error}");
        assert!(error.contains(&format!("bad.toml:{line}")) && error.contains(word), "{text}: {error}");
    }
    let output = bed.imscript(&["run", "--config", "none.toml"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.toml"));
}

#[test]
fn a_faulty_policy_or_a_taken_port_is_an_error_that_says_so() {
    let bed = Bed::start(&Plan::default());
    fs::write(bed.path("bad.lua"), "local policy = {}\n\nfunction policy.verify(req ctx)\nend\nreturn policy\n")
        .unwrap();
    fs::write(bed.path("bad.toml"), "policy = \"bad.lua\"\nlisten = [\"udp:127.0.0.1:0\"]\ndata_dir = \"x\"\n")
        .unwrap();
    let output = bed.imscript(&["run", "--config", "bad.toml"]).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("bad.lua:3"), "{error}");
    for transport in ["udp", "tcp"] {
        let taken = format!("{transport}:{}", bed.ims);
        let output = bed.imscript(&["run", "--listen", &taken, "--data-dir", "y"]).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(&taken), "{error}");
    }
}

/// A whole node on one address, its broadcast role left to the defaults.
fn whole_node(bed: &mut Bed, listen: &str, tables: &str) {
    let config = format!(
        "domain = \"{DOMAIN}\"\nlisten = [{listen}]\ndata_dir = \"ims-data\"\ntrace = \"ims.jsonl\"\nworkers = 2\n{tables}"
    );
    bed.start_node("ims", &config).unwrap();
}

#[test]
fn a_whole_node_registers_with_both_wherever_it_listens() {
    for host in ["127.0.0.2", "::1", "127.0.0.1"] {
        let mut bed = Bed::empty(host);
        let (ims, http) = (bed.ims, bed.bsm_http);
        whole_node(&mut bed, &format!("\"udp:{ims}\""), &format!("[bsm]\nhttp = \"{http}\"\n"));
        let card = bed.subscriber_with("yes");
        let url = format!("http://{http}/");
        for more in [&["--figure", "7"][..], &["--figure", "5", "--bsm-http", &url], &["--figure", "5", "--via-ims"]] {
            let result = bed.terminal("register", &card, &[&["--naf-id", NAF], more].concat()).unwrap();
            assert_eq!(result["error"], Value::Null, "{host} {more:?}: {result}");
            bed.assert_states(&card.impi, "registered", "registered");
        }
    }
}

#[test]
fn a_restarted_node_has_everybody_registered_who_was() {
    let mut bed = Bed::empty("127.0.0.1");
    let listen = format!("\"udp:{}\"", bed.ims);
    whole_node(&mut bed, &listen, "");
    let card = bed.subscriber_with("yes");
    assert_both(&bed, &card, &bed.terminal("register", &card, &["--naf-id", NAF]).unwrap());
    bed.signal("ims", "TERM");
    bed.assert_states(&card.impi, "registered", "registered");
    whole_node(&mut bed, &listen, "");
    bed.assert_states(&card.impi, "registered", "registered");
    // He is not only written down: what ends him is told to both.
    assert_eq!(bed.terminal("deregister", &card, &[]).unwrap()["result"], "deregistered");
    bed.assert_states(&card.impi, "not_registered", "not_registered");
}

#[test]
fn with_durability_memory_registrations_end_with_the_process_and_subscribers_do_not() {
    let mut bed = Bed::empty("127.0.0.1");
    let listen = format!("\"udp:{}\"", bed.ims);
    whole_node(&mut bed, &listen, "[store]\ndurability = \"memory\"\n");
    let card = bed.subscriber_with("yes");
    assert_both(&bed, &card, &bed.terminal("register", &card, &["--naf-id", NAF]).unwrap());
    bed.signal("ims", "TERM");
    std::thread::sleep(std::time::Duration::from_secs(1)); // the HSS counts in seconds
    whole_node(&mut bed, &listen, "[store]\ndurability = \"memory\"\n");
    bed.assert_states(&card.impi, "not_registered", "not_registered");
    assert_both(&bed, &card, &bed.terminal("register", &card, &["--naf-id", NAF]).unwrap());
}

#[test]
fn a_removed_subscriber_is_deregistered_at_both() {
    let bed = Bed::start(&Plan::default());
    let card = bed.subscriber_with("yes");
    assert_both(&bed, &card, &bed.terminal("register", &card, &["--naf-id", NAF]).unwrap());
    bed.imscript_ok(&["subscriber", "remove", &card.impi, "--data-dir", "ims-data"]);
    support::wait_for(|| {
        let events = format!("{:?}", bed.events().unwrap());
        events.contains("\"Expires: 0\"").then_some(())
    });
    assert_eq!(bed.terminal("register", &card, &[]).unwrap()["result"], "failed");
}

#[test]
fn a_subscription_that_comes_later_counts_at_the_next_refresh() {
    let bed = Bed::start(&Plan::default());
    let card = bed.subscriber_with("no");
    let failed = bed.terminal("register", &card, &["--naf-id", NAF]).unwrap();
    assert_eq!(failed["broadcast"], "failed", "{failed}");
    let mut args = vec!["subscriber", "add", "--replace", "--data-dir", "ims-data", "--broadcast", "yes"];
    args.extend(["--impi", &card.impi, "--impu", &card.impu, "--algorithm", "milenage", "--k", &card.k]);
    bed.imscript_ok(&[&args[..], &["--opc", &card.opc]].concat());
    support::wait_for(|| {
        let result = bed.terminal("register", &card, &["--naf-id", NAF]).unwrap();
        (result["broadcast"] == "registered").then_some(())
    });
}

#[test]
fn a_node_that_stops_answers_those_whom_a_silent_broadcast_server_keeps_waiting() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bed = Bed::empty("127.0.0.1");
    let tables = format!(
        "[[broadcast_server]]\nname = \"bsm\"\nnaf = [\"{NAF}\"]\naddress = \"tcp:{}\"\n{PATIENT}",
        silent.local_addr().unwrap()
    );
    let listen = format!("\"udp:{}\"", bed.ims);
    whole_node(&mut bed, &listen, &tables);
    let card = bed.subscriber_with("yes");
    let (ims, waiting) = (bed.ims, card.clone());
    let terminal = std::thread::spawn(move || {
        let server = format!("udp:{ims}");
        let mut args = vec!["terminal", "register", "--server", &server, "--impi", &waiting.impi];
        args.extend(["--impu", &waiting.impu, "--k", &waiting.k, "--opc", &waiting.opc, "--naf-id", NAF, "--json"]);
        Command::new(BINARY).args(args).output().unwrap()
    });
    let (held, _) = silent.accept().unwrap(); // the leg is open
    let (status, took) = bed.signal("ims", "TERM");
    assert!(status.success() && took < Duration::from_secs(20), "{status} after {took:?}");
    let output = terminal.join().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["result"], &result["broadcast"]), (&"registered".into(), &"pending".into()), "{result}");
    drop(held);
}
