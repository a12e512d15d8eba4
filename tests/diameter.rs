//! Diameter of a whole node: a peer asks an application of it, `imscript diameter peers` tells of it; and
//! `imscript diameter decode` with the golden messages.

use imscript::answer::Answer;
use imscript::config::Config;
use imscript::diameter::dictionary::application::SH;
use imscript::diameter::dictionary::command;
use imscript::diameter::exchange::{Destination, Exchange, Failure, Request, Serve};
use imscript::diameter::fault::base;
use imscript::diameter::node::{PeerSettings, Prepared, Settings};
use imscript::diameter::{Origin, Writer, answer_to, request};
use imscript::server::{Node, StartError};
use imscript::sip::transport::Tls;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn origin(host: &str) -> Origin {
    Origin { host: host.into(), realm: "home1.net".into() }
}

struct Yes;

impl Serve for Yes {
    fn applications(&self) -> Vec<u32> {
        vec![SH]
    }

    fn serve(self: Arc<Self>, request: Request) -> Answer<'static, Option<Writer>> {
        let message = request.message().unwrap();
        Answer::now(Some(answer_to(&message, base::SUCCESS, &origin("hss.home1.net"))))
    }
}

fn imscript(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imscript")).args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn node(data: &Path, more: &str) -> Result<Node, StartError> {
    let text = format!("listen = [\"udp:127.0.0.1:0\"]\nworkers = 1\ndata_dir = {data:?}\n{more}");
    let config = Config::parse(&text, Path::new("imscript.toml")).unwrap();
    Node::builder(config).application(Arc::new(Yes)).steered().start()
}

#[test]
fn a_peer_asks_a_node_and_the_node_tells_of_it() {
    let data = tempfile::tempdir().unwrap();
    let mut node = node(data.path(), "[diameter]\nlisten = [\"tcp:127.0.0.1:0\"]\n").unwrap();
    let at = node.diameter_listening()[0].clone();
    assert!(node.ready_line().contains(&format!(" diameter tcp {} policy ", at.addr)), "{}", node.ready_line());
    let peer = PeerSettings { endpoint: at, applications: vec![SH], host: Some("hss.home1.net".into()) };
    let settings = Settings { peers: vec![peer], ..Settings::new(origin("as.home1.net")) };
    let client = Prepared::new(settings, Tls::default(), Arc::default()).unwrap().start().unwrap();
    let ask = || {
        let udr = request(SH, command::USER_DATA, "as.home1.net;1;1", &origin("as.home1.net"));
        client.exchange().send(Destination::any(SH), udr).wait()
    };
    let end = Instant::now() + Duration::from_secs(10);
    let reply = loop {
        match ask() {
            Err(Failure::NoPeer) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            answered => break answered.unwrap(),
        }
    };
    assert_eq!(reply.message().unwrap().result(), Ok(base::SUCCESS));
    let shown = imscript(&["diameter", "peers", "--data-dir", data.path().to_str().unwrap()]);
    let text = out(&shown);
    assert!(text.starts_with("as.home1.net  up for 0 s, open, 127.0.0.1:"), "{text}");
    assert!(
        text.contains("connected to us, Sh, \"imscript\"") && text.contains("; served 1; connections 1\n"),
        "{text}"
    );
    let shown = imscript(&["diameter", "peers", "--json", "--data-dir", data.path().to_str().unwrap()]);
    let json: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(json["done"]["peers"][0]["standing"], "up", "{json}");
    assert!(node.metrics().contains("imscript_diameter_served_total{"), "{}", node.metrics());
    node.stop(Duration::from_secs(1));
    let end = Instant::now() + Duration::from_secs(10);
    while client.peers()[0].ended.is_none() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(client.peers()[0].ended.as_deref(), Some("the peer disconnects: REBOOTING"));
}

#[test]
fn a_node_without_diameter_says_so_and_a_taken_port_is_told() {
    let data = tempfile::tempdir().unwrap();
    let _node = node(data.path(), "").unwrap();
    let shown = imscript(&["diameter", "peers", "--data-dir", data.path().to_str().unwrap()]);
    assert!(!shown.status.success());
    assert!(String::from_utf8_lossy(&shown.stderr).contains("[diameter] listen"), "{shown:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = tempfile::tempdir().unwrap();
    let section = format!("[diameter]\nlisten = [\"tcp:{}\"]\n", taken.local_addr().unwrap());
    let error = node(other.path(), &section).err().unwrap().to_string();
    assert!(error.starts_with("diameter: cannot listen on tcp:127.0.0.1:"), "{error}");
}

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/diameter.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn messages_are_told_in_words() {
    let golden = golden();
    let hex = |name: &str| golden["messages"][name].as_str().unwrap();
    let mar = imscript(&["diameter", "decode", hex("Cx-MAR")]);
    assert!(mar.status.success());
    let text = out(&mar);
    assert!(
        text.starts_with("Multimedia-Auth (MAR), Cx, flags RP, hop-by-hop 11223344, end-to-end 55667788, 376 octets\n"),
        "{text}"
    );
    assert!(text.contains("\n  Auth-Session-State [M] 1 NO_STATE_MAINTAINED\n"), "{text}");
    assert!(text.contains("\n    Auth-Application-Id [M] 16777216 Cx\n"), "{text}");
    // Several at once, as octets and over standard input; keys only when they are asked for.
    let unhex = |hex: &str| -> Vec<u8> {
        hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("messages");
    std::fs::write(&file, [unhex(hex("Cx-MAA")), unhex(hex("Zn-BIA"))].concat()).unwrap();
    let hidden = out(&imscript(&["diameter", "decode", file.to_str().unwrap()]));
    assert_eq!(hidden.matches("shown with --keys").count(), 4, "{hidden}");
    let shown = imscript(&["diameter", "decode", "--json", "--keys", file.to_str().unwrap()]);
    let json: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (json[0]["command_name"].as_str(), json[1]["application_name"].as_str()),
        (Some("Multimedia-Auth (MAA)"), Some("Zn"))
    );
    assert!(!json.to_string().contains("hidden"));
    let mut decode = Command::new(env!("CARGO_BIN_EXE_imscript"))
        .args(["diameter", "decode", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let spaced = format!("{} \n {}", &hex("DWR")[..30], &hex("DWR")[30..]);
    decode.stdin.take().unwrap().write_all(spaced.as_bytes()).unwrap();
    let text = out(&decode.wait_with_output().unwrap());
    assert!(text.starts_with("Device-Watchdog (DWR), base, flags R,"), "{text}");
    let colons: Vec<_> = unhex(hex("DWR")).iter().map(|octet| format!("{octet:02X}")).collect();
    for written in [format!("0x{}", hex("DWR")), colons.join(":")] {
        assert_eq!(out(&imscript(&["diameter", "decode", &written])), text);
    }
}

#[test]
fn what_is_no_message_is_told_with_exit_code_1() {
    let golden = golden();
    let cut = &golden["messages"]["CER"].as_str().unwrap()[..100];
    for (input, said) in [(cut, "fault: the message is cut off"), ("474554202f", "fault: Diameter version 71")] {
        let output = imscript(&["diameter", "decode", input]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(out(&output).contains(said), "{output:?}");
    }
    for input in ["no-such-file", "012"] {
        let output = imscript(&["diameter", "decode", input]);
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""), "{output:?}");
    }
}
