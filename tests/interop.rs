//! Foreign programs against a running network: SIPp as a terminal, tshark as a reader of everything on the wire.
//!
//! A program that is not installed is reported as skipped; with `IMSCRIPT_FOREIGN=required` its absence is a failure.

mod support;

use imscript::cli::network::{Card, NAF, Network, Plan};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use support::{Bed, figure_policy, wait_for};

/// Says whether the program is there; a test returns early when it is not.
fn installed(program: &str, version: &str) -> bool {
    let found = Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    found
}

fn skipped(why: &str) {
    let required = std::env::var("IMSCRIPT_FOREIGN").is_ok_and(|value| value == "required");
    assert!(!required, "{why}, and IMSCRIPT_FOREIGN=required");
    println!("skipped: {why}");
}

/// A key that SIPp takes: it reads K and OP through its `[keyword]` parser, which 0x5b and 0x00 upset, and it takes OP,
/// not OPc.
const K: &str = "11223344556677889910aabbccddeeff";
const OP: &str = "63bfa50ee6523365ff14c1f45f88737d";

fn sipp_user(bed: &Bed) -> Card {
    let card = Card { k: K.into(), ..Card::number(9) };
    let args = ["subscriber", "add", "--data-dir", "ims-data", "--impi", &card.impi, "--impu", &card.impu];
    let more = ["--k", K, "--op", OP, "--broadcast", "yes"];
    bed.imscript_ok(&[&args[..], &more[..]].concat());
    card
}

/// One call of a scenario with one line of data.
fn sipp(bed: &Bed, scenario: &str, transport: &str, server: SocketAddr, line: &str) -> Output {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(scenario);
    std::fs::write(bed.path("users.csv"), format!("SEQUENTIAL\n{line}\n")).unwrap();
    let port = imscript::cli::network::free_address(server.ip()).unwrap().port().to_string();
    let mut command = Command::new("sipp");
    command.arg(server.to_string()).arg("-sf").arg(scenario).args(["-inf", "users.csv", "-m", "1", "-t", transport]);
    command.args(["-i", &server.ip().to_string(), "-p", &port, "-timeout", "60s", "-timeout_error", "-nostdin"]);
    if server.is_ipv6() {
        command.args(["-auth_uri", "home1.net"]); // by itself it leaves the brackets out
    }
    command.args(["-trace_err", "-trace_msg"]).current_dir(bed.path("")).stdin(Stdio::null());
    command.output().unwrap()
}

/// A registration with AKA. SIPp takes RES for a text that ends at its first octet of 0, so one run in 32 it answers wrongly:
/// then it is asked again, with another RAND.
fn assert_registers(bed: &Bed, transport: &str, card: &Card) {
    let register = || sipp(bed, "register.xml", transport, bed.ims, &aka(card, K));
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
        assert_registers(&bed, transport, &card);
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
    assert_registers(&bed, "u1", &card);
    bed.assert_states(&card.impi, "registered", "not_registered");
}

#[test]
fn sipp_with_a_wrong_key_gets_403_and_harms_nothing() {
    if !installed("sipp", "-v") {
        return;
    }
    let bed = Bed::start(&Plan::default());
    let card = sipp_user(&bed);
    assert_registers(&bed, "u1", &card);
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

/// tshark as it writes a capture of the network's ports.
struct Capture(Child);

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Capture {
    /// None if capturing is not permitted here.
    fn start(file: &Path, bed: &Network) -> Option<Capture> {
        let ports = [bed.ims, bed.bsm, bed.bsm_http].map(|addr| format!("port {}", addr.port())).join(" or ");
        let mut child = Command::new("tshark")
            .args(["-n", "-i", "lo", "-f", &ports, "-w"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        // "Capturing on …" comes before the interface is open, "Capture started." after.
        for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
            if line.contains("Capture started") {
                return Some(Capture(child));
            }
            said = said + &line + "\n";
        }
        let _ = child.wait();
        skipped(&format!("tshark cannot capture on loopback: {said}"));
        None
    }

    /// Ends as tshark does on Ctrl-C, with everything written.
    fn stop(mut self) {
        assert!(Command::new("kill").args(["-s", "INT", &self.0.id().to_string()]).status().unwrap().success());
        wait_for(|| self.0.try_wait().unwrap());
    }
}

fn tshark(file: &Path, bed: &Network, more: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(file);
    for addr in [bed.ims, bed.bsm] {
        for layer in ["udp", "tcp"] {
            command.args(["-d", &format!("{layer}.port=={},sip", addr.port())]);
        }
    }
    command.args(["-d", &format!("tcp.port=={},http", bed.bsm_http.port())]);
    let output = command.args(more).output().unwrap();
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tshark_finds_no_fault_in_the_six_figures() {
    if !installed("tshark", "-v") {
        return;
    }
    std::thread::scope(|scope| {
        for figure in 3..=8 {
            scope.spawn(move || dissect(figure));
        }
    });
}

fn dissect(figure: u8) {
    let between = if figure.is_multiple_of(2) { "udp" } else { "tcp" };
    let bed = Bed::start(&Plan { policy: Some(figure_policy(figure)), between, ..Plan::default() });
    let card = bed.subscriber_with("yes");
    let file = bed.path("figure.pcapng");
    let Some(capture) = Capture::start(&file, &bed) else { return };
    let (number, http) = (figure.to_string(), format!("http://{}/", bed.bsm_http));
    let mut args = vec!["--figure", &number, "--naf-id", NAF];
    match figure {
        5 => args.extend(["--bsm-http", &http]),
        6 => args.push("--via-ims"),
        _ => {}
    }
    let result = bed.terminal("register", &card, &args).unwrap();
    assert_eq!((&result["result"], &result["error"]), (&"registered".into(), &serde_json::Value::Null), "{result}");
    bed.wait_for_states(&card.impi, "registered", "registered").unwrap();
    bed.terminal("deregister", &card, &["--all"]).unwrap();
    support::flow::Flow::with(&bed, "BSM > IMS  200 (REGISTER expires=0)");
    // The capture is complete once the last message stands in it: both deregistrations, and the answers.
    wait_for(|| {
        let octets = std::fs::read(&file).unwrap();
        let ended = octets.windows(12).filter(|window| *window == b"Expires: 0\r\n").count();
        (ended >= 4).then_some(())
    });
    capture.stop();
    let faults = tshark(&file, &bed, &["-Y", "_ws.malformed || _ws.expert.severity == error"]);
    assert_eq!(faults, "", "figure {figure}");
    // It was dissected as SIP, all of it.
    let methods = tshark(&file, &bed, &["-Y", "sip", "-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"]);
    assert!(methods.lines().count() >= 12, "figure {figure}:\n{methods}");
    assert!(methods.contains("REGISTER") && methods.contains("401") && methods.contains("200"), "{methods}");
    let payload = "(tcp.len > 0 || udp) && !sip && !http";
    let other = tshark(&file, &bed, &["-Y", payload]);
    let continued: Vec<_> = other.lines().filter(|line| !line.contains("segment of a reassembled")).collect();
    assert_eq!(continued, Vec::<&str>::new(), "figure {figure}: not dissected");
}
