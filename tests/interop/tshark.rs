//! tshark reads what goes over the wire in the six figures.

use super::capture::Capture;
use super::foreign::installed;
use super::support::{Bed, figure_policy, flow};
use imscript::cli::network::{NAF, Plan};

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
    let ports = [(bed.ims.port(), "sip"), (bed.bsm.port(), "sip"), (bed.bsm_http.port(), "http")];
    let Some(mut capture) = Capture::start(bed.path("figure.pcapng"), &ports) else { return };
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
    flow::Flow::with(&bed, "BSM > IMS  200 (REGISTER expires=0)");
    // The capture is complete once the last message stands in it: both deregistrations, and the answers.
    capture.wait_until(|octets| octets.windows(12).filter(|window| *window == b"Expires: 0\r\n").count() >= 4);
    capture.stop();
    let faults = capture.read(&["-Y", "_ws.malformed || _ws.expert.severity == error"]);
    assert_eq!(faults, "", "figure {figure}");
    // It was dissected as SIP, all of it.
    let methods = capture.read(&["-Y", "sip", "-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"]);
    assert!(methods.lines().count() >= 12, "figure {figure}:\n{methods}");
    assert!(methods.contains("REGISTER") && methods.contains("401") && methods.contains("200"), "{methods}");
    let payload = "(tcp.len > 0 || udp) && !sip && !http";
    let other = capture.read(&["-Y", payload]);
    let continued: Vec<_> = other.lines().filter(|line| !line.contains("segment of a reassembled")).collect();
    assert_eq!(continued, Vec::<&str>::new(), "figure {figure}: not dissected");
}
