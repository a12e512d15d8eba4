//! The I-CSCF as a node of its own, between terminals and an S-CSCF with the HSS, which it asks over Diameter.

use imscript::config::Config;
use imscript::server::Node;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn imscript(args: &[&str]) -> (bool, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_imscript")).args(args).output().unwrap();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn node(text: &str) -> Node {
    Node::builder(Config::parse(text, Path::new("imscript.toml")).unwrap()).start().unwrap()
}

/// The S-CSCF with HSS and broadcast server, its subscribers those of `imscript load`.
fn home(data: &Path) -> (Node, SocketAddr, String) {
    let list = data.join("load.csv");
    let list = list.to_str().unwrap();
    assert!(imscript(&["load", "--users", "20", "--write-subscribers", list]).0);
    assert!(imscript(&["subscriber", "import", list, "--data-dir", data.to_str().unwrap()]).0);
    let home = node(&format!(
        "listen = [\"udp:127.0.0.1:0\"]\nworkers = 1\ndata_dir = {data:?}\n[trusted]\npeers = [\"127.0.0.1\"]\n\
         [diameter]\nlisten = [\"tcp:127.0.0.1:0\"]\n[bsm]\nlisten = [\"udp:127.0.0.1:0\"]\n"
    ));
    let sip = home.listening()[0].addr;
    let diameter = home.diameter_listening()[0].to_string();
    (home, sip, diameter)
}

fn register(server: SocketAddr, more: &[&str]) -> (bool, Value) {
    let server = format!("udp:{server}");
    imscript(&[&["load", "--server", &server, "--window", "5", "--json", "--timeout", "20"], more].concat())
}

/// Until the HSS is connected a REGISTER gets 504.
fn ready(server: SocketAddr) {
    let end = Instant::now() + Duration::from_secs(30);
    while !register(server, &["--users", "1"]).0 {
        assert!(Instant::now() < end, "the HSS is not connected");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn terminals_register_for_both_through_the_i_cscf() {
    let data = tempfile::tempdir().unwrap();
    let (mut home, sip, hss) = home(data.path());
    // The first S-CSCF is not there: a TCP port that nobody listens at.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let front = tempfile::tempdir().unwrap();
    let mut icscf = node(&format!(
        "roles = [\"icscf\"]\nlisten = [\"udp:127.0.0.1:0\"]\nworkers = 1\ndata_dir = {:?}\nhss = {{ cx = [\"{hss}\"] }}\n\
         [[icscf.scscf]]\nname = \"sip:gone.home1.net\"\naddress = \"tcp:{gone}\"\n\
         [[icscf.scscf]]\nname = \"sip:{sip}\"\naddress = \"udp:{sip}\"\n",
        front.path()
    ));
    let entry = icscf.icscf_listening()[0].addr;
    assert!(icscf.ready_line().contains(&format!(" icscf udp {entry} ")), "{}", icscf.ready_line());
    ready(entry);
    let (registered, report) = register(entry, &["--users", "20", "--naf-id", "bsm.home1.net"]);
    assert!(registered && report["registrations"] == 20, "{report}");
    assert_eq!(report["broadcast"]["registered"], 20, "{report}");
    // They are assigned now: UAA names the S-CSCF. And they leave through it.
    let (left, report) = register(entry, &["--users", "20", "--cycles", "1"]);
    assert!(left && report["deregistrations"] == 20, "{report}");
    assert!(icscf.metrics().contains("imscript_diameter_"), "{}", icscf.metrics());
    icscf.stop(Duration::from_secs(1));
    home.stop(Duration::from_secs(1));
}

#[test]
fn one_node_is_both_and_asks_its_own_hss() {
    let data = tempfile::tempdir().unwrap();
    let list = data.path().join("load.csv");
    let list = list.to_str().unwrap();
    assert!(imscript(&["load", "--users", "5", "--write-subscribers", list]).0);
    assert!(imscript(&["subscriber", "import", list, "--data-dir", data.path().to_str().unwrap()]).0);
    let mut both = node(&format!(
        "listen = [\"udp:127.0.0.1:0\"]\nworkers = 1\ndata_dir = {:?}\n[bsm]\nlisten = [\"udp:127.0.0.1:0\"]\n\
         [diameter]\nlisten = [\"tcp:127.0.0.1:0\"]\n\
         [icscf]\nlisten = [\"udp:127.0.0.1:0\"]\n[[icscf.scscf]]\nname = \"sip:scscf.home1.net\"\n",
        data.path()
    ));
    let entry = both.icscf_listening()[0].addr;
    let (registered, report) = register(entry, &["--users", "5", "--naf-id", "bsm.home1.net"]);
    assert!(registered && report["broadcast"]["registered"] == 5, "{report}");
    // Whom the HSS does not know, the I-CSCF lets nobody try for.
    let (_, report) = register(entry, &["--users", "6"]);
    assert_eq!(report["errors_by_kind"]["status 403"], 1, "{report}");
    both.stop(Duration::from_secs(1));
}
