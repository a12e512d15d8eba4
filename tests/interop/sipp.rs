//! SIPp as a terminal of our S-CSCF.

use super::foreign::{file, installed};
use super::support::Bed;
use imscript::cli::network::{Card, Plan};
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

/// A key that SIPp takes: it reads K and OP through its `[keyword]` parser, which 0x5b and 0x00 upset, and it takes OP,
/// not OPc.
const K: &str = "11223344556677889910aabbccddeeff";
const OP: &str = "63bfa50ee6523365ff14c1f45f88737d";

pub fn sipp_user(bed: &Bed) -> Card {
    let card = Card { k: K.into(), ..Card::number(9) };
    let args = ["subscriber", "add", "--data-dir", "ims-data", "--impi", &card.impi, "--impu", &card.impu];
    let more = ["--k", K, "--op", OP, "--broadcast", "yes"];
    bed.imscript_ok(&[&args[..], &more[..]].concat());
    card
}

/// One call of a scenario with one line of data.
pub fn sipp(bed: &Bed, scenario: &str, transport: &str, server: SocketAddr, line: &str) -> Output {
    std::fs::write(bed.path("users.csv"), format!("SEQUENTIAL\n{line}\n")).unwrap();
    let port = imscript::cli::network::free_address(server.ip()).unwrap().port().to_string();
    let mut command = Command::new("sipp");
    command.arg(server.to_string()).arg("-sf").arg(file(scenario)).args([
        "-inf",
        "users.csv",
        "-m",
        "1",
        "-t",
        transport,
    ]);
    command.args(["-i", &server.ip().to_string(), "-p", &port, "-timeout", "60s", "-timeout_error", "-nostdin"]);
    if server.is_ipv6() {
        command.args(["-auth_uri", "home1.net"]); // by itself it leaves the brackets out
    }
    command.args(["-trace_err", "-trace_msg"]).current_dir(bed.path("")).stdin(Stdio::null());
    command.output().unwrap()
}

/// A registration with AKA. SIPp takes RES for a text that ends at its first octet of 0, so one run in 32 it answers wrongly:
/// then it is asked again, with another RAND.
pub fn assert_registers(bed: &Bed, transport: &str, server: SocketAddr, card: &Card) {
    let register = || sipp(bed, "register.xml", transport, server, &aka(card, K));
    let says = |text: &[u8]| String::from_utf8_lossy(text).contains("digest response is wrong");
    let refused = |output: &Output| says(&output.stderr) || says(&output.stdout);
    let mut output = register();
    for _ in 0..3 {
        if output.status.success() || !refused(&output) {
            break;
        }
        output = register();
    }
    assert_passed(bed, &output);
}

fn assert_passed(bed: &Bed, output: &Output) {
    if output.status.success() {
        return;
    }
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    for file in std::fs::read_dir(bed.path("")).unwrap().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.ends_with("_messages.log") || name.ends_with("_errors.log") {
            said += &std::fs::read_to_string(file.path()).unwrap_or_default();
        }
    }
    panic!("sipp: {}\n{said}", output.status);
}

fn aka(card: &Card, k: &str) -> String {
    format!(
        "{};{};[authentication username={} aka_K=0x{k} aka_OP=0x{OP} aka_AMF=0x0000]",
        card.impi, card.impu, card.impi
    )
}

#[test]
fn sipp_registers_with_akav1_md5_over_udp_and_tcp() {
    if !installed("sipp", "-v") {
        return;
    }
    for transport in ["u1", "t1"] {
        let bed = Bed::start(&Plan::default());
        let card = sipp_user(&bed);
        assert_registers(&bed, transport, bed.ims, &card);
        bed.assert_states(&card.impi, "registered", "not_registered");
    }
}

#[test]
fn sipp_registers_over_ipv6() {
    if !installed("sipp", "-v") {
        return;
    }
    let bed = Bed::start(&Plan { host: "::1".parse().unwrap(), ..Plan::default() });
    let card = sipp_user(&bed);
    assert_registers(&bed, "u1", bed.ims, &card);
    bed.assert_states(&card.impi, "registered", "not_registered");
}

#[test]
fn sipp_with_a_wrong_key_gets_403_and_harms_nothing() {
    if !installed("sipp", "-v") {
        return;
    }
    let bed = Bed::start(&Plan::default());
    let card = sipp_user(&bed);
    assert_registers(&bed, "u1", bed.ims, &card);
    let before = bed.wait_for_states(&card.impi, "registered", "not_registered").unwrap();
    for transport in ["u1", "t1"] {
        let line = format!("{};{}", card.impi, card.impu);
        assert_passed(&bed, &sipp(&bed, "wrong_response.xml", transport, bed.ims, &line));
    }
    // With another K the MAC of AUTN is wrong, and SIPp ends without an answer: no harm either.
    let output = sipp(&bed, "register.xml", "u1", bed.ims, &aka(&card, "ffeeddccbbaa99887766554433221101"));
    assert!(!output.status.success());
    assert_eq!(bed.subscriber(&card.impi).unwrap(), before);
}

#[test]
fn sipp_registers_with_plain_digest() {
    if !installed("sipp", "-v") {
        return;
    }
    let ims_tables = "[registrar]\ndigest_algorithms = [\"MD5\"]\n".into();
    let bed = Bed::start(&Plan { ims_tables, ..Plan::default() });
    let (impi, impu) = ("plain@home1.net", "sip:plain@home1.net");
    let args = ["subscriber", "add", "--data-dir", "ims-data", "--impi", impi, "--impu", impu];
    bed.imscript_ok(&[&args[..], &["--algorithm", "digest", "--password", "secret9"]].concat());
    let line = |password: &str| format!("{impi};{impu};[authentication username={impi} password={password}]");
    assert_passed(&bed, &sipp(&bed, "refused.xml", "u1", bed.ims, &line("guessed")));
    bed.assert_states(impi, "not_registered", "not_registered");
    for transport in ["u1", "t1"] {
        assert_passed(&bed, &sipp(&bed, "register.xml", transport, bed.ims, &line("secret9")));
    }
    bed.assert_states(impi, "registered", "not_registered");
}
