//! freeDiameter as a peer for the base protocol: capabilities, election, watchdog, goodbye, TLS.

use super::capture::{Capture, assert_diameter_is_sound};
use super::foreign::{Program, fill, free_port, installed, wait_for_peer};
use super::support::{Bed, wait_for};
use imscript::cli::network::Plan;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::Path;
use std::process::Command;

/// Origin-Host of the node under test.
const OURS: &str = "hss.home1.net";
const THEIRS: &str = "free.home1.net";

/// An authority, and a certificate with its key for each name, as PEM files in `folder`. RSA is not asked for: its keys take
/// seconds.
fn certificates(folder: &Path, names: &[(&str, &str)]) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let authority = Issuer::new(params, key);
    for (file, name) in names {
        let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, *name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(folder.join(format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

struct Free {
    program: Program,
}

impl Free {
    /// `security`: "No_TLS;" or nothing, towards our node at `port`.
    fn start(folder: &Path, ours: u16, security: &str) -> Free {
        std::fs::copy(super::foreign::file("freediameter/dh.pem"), folder.join("dh.pem")).unwrap();
        let values = [
            ("PORT", free_port().to_string()),
            ("SECURE_PORT", free_port().to_string()),
            ("FOLDER", folder.display().to_string()),
            ("PEER", OURS.to_owned()),
            ("PEER_PORT", ours.to_string()),
            ("SECURITY", security.to_owned()),
        ];
        fill("freediameter/freediameter.conf", &folder.join("freediameter.conf"), &values);
        // Its log by the line, or nothing would be there before its end.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "freeDiameterd", "-c"]).arg(folder.join("freediameter.conf"));
        Free { program: Program::start(command, folder.join("freediameter.log")) }
    }

    fn wait_for(&self, text: &str) {
        wait_for(|| self.program.log().contains(text).then_some(()));
    }
}

fn node(listen: &str, more: &str) -> Bed {
    let ims_tables = format!("[diameter]\norigin_host = \"{OURS}\"\nlisten = [\"{listen}\"]\n{more}");
    Bed::start(&Plan { ims_tables, ..Plan::default() })
}

#[test]
fn freediameter_and_we_exchange_capabilities_watchdogs_and_goodbyes() {
    if !installed("freeDiameterd", "--version") {
        return;
    }
    let ours = free_port();
    let mut bed = node(&format!("tcp:127.0.0.1:{ours}"), "");
    certificates(&bed.path(""), &[("free", THEIRS)]);
    let mut capture =
        installed("tshark", "-v").then(|| Capture::start(bed.path("base.pcapng"), &[(ours, "diameter")])).flatten();
    let mut free = Free::start(&bed.path(""), ours, "No_TLS;");
    free.wait_for("-> 'STATE_OPEN'");
    wait_for_peer(&bed, "ims-data", |peer| peer["name"] == THEIRS && peer["state"] == "open");
    // Its watchdog comes after six seconds of silence, and is answered; nothing that we sent was unknown to it.
    free.wait_for("'Device-Watchdog-Answer'");
    // It says goodbye, and comes back.
    free.program.stop();
    free.wait_for("'Disconnect-Peer-Answer'");
    let free = Free::start(&bed.path(""), ours, "No_TLS;");
    wait_for_peer(&bed, "ims-data", |peer| peer["name"] == THEIRS && peer["state"] == "open");
    // We say goodbye.
    bed.signal("ims", "TERM");
    free.wait_for("'Disconnect-Peer-Request'");
    if let Some(capture) = &mut capture {
        // Its DPR (282) with our DPA, and ours with its.
        capture.wait_until(|octets| octets.windows(4).filter(|four| four[1..] == [0, 1, 26]).count() >= 4);
        capture.stop();
        assert_diameter_is_sound(capture, &format!("tcp.srcport == {ours}"), 5);
    }
    let log = free.program.log();
    assert!(!log.contains("AVP: '(unknown)") && !log.contains("parse error"), "{log}");
}

#[test]
fn freediameter_and_we_over_tls_with_our_certificates() {
    if !installed("freeDiameterd", "--version") {
        return;
    }
    let ours = free_port();
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), &[("free", THEIRS), ("ours", OURS)]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!(
        "\n[tls]\ncertificate = \"{}\"\nkey = \"{}\"\nca = \"{}\"\n",
        path("ours.pem"),
        path("ours.key"),
        path("ca.pem")
    );
    let bed = node(&format!("tls:127.0.0.1:{ours}"), &tls);
    let free = Free::start(folder.path(), ours, "");
    free.wait_for("-> 'STATE_OPEN'");
    wait_for_peer(&bed, "ims-data", |peer| peer["name"] == THEIRS && peer["state"] == "open");
}
