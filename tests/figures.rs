//! The patent's figures 3 to 8 over real sockets: IMS node, broadcast node and terminal are processes of their own, and
//! each figure is its policy in `lua/policy/figures/`. Asserted are the messages and their order, both registration
//! states as the terminal and as the HSS have them, and that terminal and broadcast server hold the same key.

mod support;

use imscript::broadcast::{keys::KeyDocument, media};
use imscript::cli::network::{Card, NAF, Plan};
use imscript::sip::Message;
use serde_json::Value;
use support::fake_bsm::{Conduct, FakeBsm};
use support::flow::Flow;
use support::{Bed, figure_policy, hex};

fn bed(figure: u8) -> (Bed, Card) {
    let bed = Bed::start(&Plan { policy: Some(figure_policy(figure)), ..Plan::default() });
    let card = bed.subscriber_with("yes");
    (bed, card)
}

/// Registers as the terminal of this figure; the 200 gave `state` for the broadcast registration.
fn register(bed: &Bed, card: &Card, figure: u8, state: &str, more: &[&str]) -> Value {
    let number = figure.to_string();
    let mut args = vec!["--figure", &number, "--naf-id", NAF];
    args.extend_from_slice(more);
    let result = bed.terminal("register", card, &args).unwrap();
    assert_eq!(result["result"], "registered", "{result}");
    assert_eq!(result["error"], Value::Null, "{result}");
    assert_eq!(result["broadcast"], state, "{result}");
    result
}

/// The broadcast server made the terminal's key its SMK: their check values are the same.
fn assert_same_key(flow: &Flow, result: &Value) {
    let check = result["key_check"].as_str().expect("the terminal's check value");
    assert_eq!(check.len(), 16, "{check}");
    let smk: Vec<_> = flow.steps().iter().filter(|step| step.from == "BSM" && step.what.starts_with("SMK")).collect();
    assert_eq!(smk.len(), 1, "\n{flow}");
    assert!(smk[0].what.contains(&format!("check={check}")), "{check} is not in {:?}", smk[0].what);
}

fn assert_hss(bed: &Bed, card: &Card, result: &Value) {
    let shown = bed.wait_for_states(&card.impi, "registered", "registered").unwrap();
    let broadcast = &shown["broadcast_registration"];
    assert_eq!((&broadcast["server"], &broadcast["naf"]), (&"bsm".into(), &NAF.into()), "{shown}");
    assert_eq!(broadcast["btid"], result["btid"], "{shown}");
}

const CHALLENGED: [&str; 4] = [
    "UE > IMS  REGISTER",
    "IMS > UE  401 (REGISTER)",
    "UE > IMS  REGISTER response",
    "IMS > UE  200 (REGISTER response)",
];

fn with_challenge(more: &[&'static str]) -> Vec<&'static str> {
    CHALLENGED.into_iter().chain(more.iter().copied()).collect()
}

/// Steps 1 to 8 of every figure, with what the HSS is asked.
const STEPS_1_TO_8: [&str; 9] = [
    "UE > IMS  REGISTER",
    "S-CSCF > HSS  MAR",
    "HSS > S-CSCF  MAA",
    "IMS > UE  401 (REGISTER)",
    "UE > IMS  REGISTER response",
    "S-CSCF > HSS  SAR REGISTRATION",
    "HSS > S-CSCF  SAA",
    "BSF > BSF  Ks = CK || IK",
    "S-CSCF > HSS  UDR",
];

fn after_step_8(more: &[&'static str]) -> Vec<&'static str> {
    STEPS_1_TO_8.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn figure_3_subsequent_push() {
    let (bed, card) = bed(3);
    let result = register(&bed, &card, 3, "pending", &[]);
    assert_hss(&bed, &card, &result);
    let flow = Flow::with(&bed, "BSM > IMS  200 (REGISTER key=included)");
    flow.assert_messages(&with_challenge(&[
        "IMS > BSM  REGISTER key=included",
        "BSM > IMS  200 (REGISTER key=included)",
    ]));
    flow.assert_order(&after_step_8(&[
        "IMS > UE  200 (REGISTER response)",
        "BSF > BSF  Ks_NAF",
        "IMS > BSM  REGISTER key=included",
        "BSM > BSM  SMK = Ks_NAF",
        "BSM > IMS  200 (REGISTER key=included)",
        "S-CSCF > HSS  PUR",
    ]));
    assert_same_key(&flow, &result);
}

#[test]
fn figure_4_subsequent_pull_with_payload() {
    let (bed, card) = bed(4);
    let result = register(&bed, &card, 4, "pending", &[]);
    assert_hss(&bed, &card, &result);
    let flow = Flow::with(&bed, "IMS > BSM  200 (MESSAGE status)");
    flow.assert_messages(&with_challenge(&[
        "IMS > BSM  REGISTER key=pull",
        "BSM > IMS  200 (REGISTER key=pull)",
        "BSM > IMS  MESSAGE key-request",
        "IMS > BSM  202 (MESSAGE key-request)",
        "IMS > BSM  MESSAGE key",
        "BSM > IMS  200 (MESSAGE key)",
        "BSM > IMS  MESSAGE status",
        "IMS > BSM  200 (MESSAGE status)",
    ]));
    flow.assert_order(&after_step_8(&[
        "IMS > UE  200 (REGISTER response)",
        "IMS > BSM  REGISTER key=pull",
        "BSM > IMS  MESSAGE key-request",
        "IMS > BSM  MESSAGE key",
        "BSM > BSM  SMK = Ks_NAF",
        "BSM > IMS  MESSAGE status",
        "S-CSCF > HSS  PUR",
    ]));
    // The forwarded request has its answer before the key is there: subsequent.
    flow.assert_order(&[
        "IMS > BSM  REGISTER key=pull",
        "BSM > IMS  200 (REGISTER key=pull)",
        "IMS > BSM  MESSAGE key",
    ]);
    flow.assert_order(&["IMS > BSM  MESSAGE key", "BSM > IMS  200 (MESSAGE key)"]);
    assert_same_key(&flow, &result);
}

#[test]
fn figure_5_subsequent_terminal_asks_itself_over_http() {
    let (bed, card) = bed(5);
    let url = format!("http://{}/", bed.bsm_http);
    let result = register(&bed, &card, 5, "none", &["--bsm-http", &url]);
    assert_eq!(result["application"]["status"], 200, "{result}");
    assert_eq!(result["application"]["response"], "ServiceResponse", "{result}");
    assert_hss(&bed, &card, &result);
    let flow = Flow::with(&bed, "BSM > IMS  200 (REGISTER mode=status)");
    flow.assert_order(&[
        "IMS > UE  200 (REGISTER response)",
        "UE > BSM  HTTP POST (Ua)",
        "BSM > UE  HTTP status=401",
        "UE > BSM  HTTP POST (Ua)",
        "BSM > IMS  MESSAGE key-request",
        "IMS > BSM  MESSAGE key",
        "BSM > BSM  SMK = Ks_NAF",
        "BSM > UE  HTTP status=200",
    ]);
    flow.assert_order(&["BSM > BSM  SMK = Ks_NAF", "BSM > IMS  MESSAGE status", "S-CSCF > HSS  PUR"]);
    assert_same_key(&flow, &result);
}

#[test]
fn figure_5_subsequent_terminal_asks_itself_through_the_ims() {
    let (bed, card) = bed(5);
    let result = register(&bed, &card, 5, "none", &["--via-ims"]);
    assert_eq!(result["application"]["response"], "ServiceResponse", "{result}");
    assert_hss(&bed, &card, &result);
    let flow = Flow::with(&bed, "BSM > IMS  200 (REGISTER mode=status)");
    flow.assert_messages(&with_challenge(&[
        "UE > IMS  MESSAGE service",
        "IMS > BSM  MESSAGE service",
        "BSM > IMS  202 (MESSAGE service)",
        "IMS > UE  202 (MESSAGE service)",
        "BSM > IMS  MESSAGE key-request",
        "IMS > BSM  202 (MESSAGE key-request)",
        "IMS > BSM  MESSAGE key",
        "BSM > IMS  200 (MESSAGE key)",
        // The ServiceResponse on its way back.
        "BSM > IMS  MESSAGE service",
        "IMS > UE  MESSAGE service",
        "UE > IMS  200 (MESSAGE service)",
        "IMS > BSM  200 (MESSAGE service)",
        // Step 15, and the IMS's word in return.
        "BSM > IMS  MESSAGE status",
        "IMS > BSM  200 (MESSAGE status)",
        "IMS > BSM  REGISTER mode=status",
        "BSM > IMS  200 (REGISTER mode=status)",
    ]));
    flow.assert_order(&[
        "IMS > UE  200 (REGISTER response)",
        "UE > IMS  MESSAGE service",
        "IMS > BSM  MESSAGE service",
        "BSM > IMS  MESSAGE key-request",
        "IMS > BSM  MESSAGE key",
        "BSM > BSM  SMK = Ks_NAF",
        "BSM > IMS  MESSAGE service",
        "IMS > UE  MESSAGE service",
    ]);
    flow.assert_order(&["BSM > BSM  SMK = Ks_NAF", "BSM > IMS  MESSAGE status", "S-CSCF > HSS  PUR"]);
    assert_same_key(&flow, &result);
}

#[test]
fn figure_6_simultaneous_pull() {
    let (bed, card) = bed(6);
    let url = format!("http://{}/", bed.bsm_http);
    let result = register(&bed, &card, 6, "registered", &["--bsm-http", &url]);
    assert_eq!(result["application"]["status"], 200, "{result}");
    assert_hss(&bed, &card, &result);
    let flow = Flow::of(&bed).unwrap();
    flow.assert_order(&after_step_8(&[
        "IMS > BSM  REGISTER key=on-use",
        "BSM > IMS  200 (REGISTER key=on-use)",
        "S-CSCF > HSS  PUR",
        "IMS > UE  200 (REGISTER response)",
        "UE > BSM  HTTP POST (Ua)",
        "BSM > IMS  MESSAGE key-request",
        "IMS > BSM  MESSAGE key",
        "BSM > BSM  SMK = Ks_NAF",
        "BSM > UE  HTTP status=200",
    ]));
    assert_same_key(&flow, &result);
}

#[test]
fn figure_6_simultaneous_pull_through_the_ims() {
    let (bed, card) = bed(6);
    let result = register(&bed, &card, 6, "registered", &["--via-ims"]);
    assert_hss(&bed, &card, &result);
    let flow = Flow::of(&bed).unwrap();
    flow.assert_order(&[
        "BSM > IMS  200 (REGISTER key=on-use)",
        "IMS > UE  200 (REGISTER response)",
        "UE > IMS  MESSAGE service",
        "IMS > BSM  MESSAGE service",
        "BSM > IMS  MESSAGE key-request",
        "IMS > BSM  MESSAGE key",
        "BSM > BSM  SMK = Ks_NAF",
        "BSM > IMS  MESSAGE service",
        "IMS > UE  MESSAGE service",
    ]);
    assert_same_key(&flow, &result);
}

#[test]
fn figure_6_as_printed_answers_the_terminal_first() {
    let policy = Some(figure_policy(6));
    let ims_tables = "[broadcast]\nfig6_response_first = true\n".into();
    let bed = Bed::start(&Plan { policy, ims_tables, ..Plan::default() });
    let card = bed.subscriber_with("yes");
    let args = ["--naf-id", NAF, "--via-ims"];
    let result = bed.terminal("register", &card, &args).unwrap();
    assert_eq!(result["result"], "registered", "{result}");
    assert_eq!(result["broadcast"], "pending", "{result}");
    assert_hss(&bed, &card, &result);
    let flow = Flow::of(&bed).unwrap();
    flow.assert_order(&["IMS > UE  200 (REGISTER response)", "IMS > BSM  REGISTER key=on-use"]);
    assert_same_key(&flow, &result);
}

#[test]
fn figure_7_simultaneous_push() {
    let (bed, card) = bed(7);
    let result = register(&bed, &card, 7, "registered", &[]);
    assert_hss(&bed, &card, &result);
    let flow = Flow::of(&bed).unwrap();
    flow.assert_messages(&with_challenge(&[
        "IMS > BSM  REGISTER key=included",
        "BSM > IMS  200 (REGISTER key=included)",
    ]));
    flow.assert_order(&after_step_8(&[
        "BSF > BSF  Ks_NAF",
        "IMS > BSM  REGISTER key=included",
        "BSM > BSM  SMK = Ks_NAF",
        "BSM > IMS  200 (REGISTER key=included)",
        "S-CSCF > HSS  PUR",
        "IMS > UE  200 (REGISTER response)",
    ]));
    assert_same_key(&flow, &result);
}

#[test]
fn figure_8_simultaneous_pull_with_payload() {
    let (bed, card) = bed(8);
    let result = register(&bed, &card, 8, "registered", &["--accept-body"]);
    assert!(result["service_response"].as_str().unwrap().contains("ServiceResponse"), "{result}");
    assert_hss(&bed, &card, &result);
    let flow = Flow::of(&bed).unwrap();
    flow.assert_messages(&with_challenge(&[
        "IMS > BSM  REGISTER key=pull",
        "BSM > IMS  MESSAGE key-request",
        "IMS > BSM  202 (MESSAGE key-request)",
        "IMS > BSM  MESSAGE key",
        "BSM > IMS  200 (MESSAGE key)",
        "BSM > IMS  200 (REGISTER key=pull)",
    ]));
    // The forwarded request stays open while the key is fetched, and the terminal's while that one is.
    flow.assert_order(&after_step_8(&[
        "IMS > BSM  REGISTER key=pull",
        "BSM > IMS  MESSAGE key-request",
        "IMS > BSM  MESSAGE key",
        "BSM > BSM  SMK = Ks_NAF",
        "BSM > IMS  200 (REGISTER key=pull)",
        "S-CSCF > HSS  PUR",
        "IMS > UE  200 (REGISTER response)",
    ]));
    flow.assert_order(&["IMS > BSM  MESSAGE key", "BSM > IMS  200 (MESSAGE key)"]);
    assert_same_key(&flow, &result);
}

/// A document that anything which reads and rewrites would change.
const ODD_PAYLOAD: &[u8] =
    b"<?xml version='1.0'?>\r\n<ServiceRequest  requestID = '7'\txmlns=\"urn:x\" ><!-- \xc3\xa9\xff\x00 \
--boundary\r\n\r\nSIP/2.0 200 OK\n\r -->\n<a></a><a/>&#13;</ServiceRequest >\n \r\n";

/// Registers against a broadcast server that keeps every octet; the forwarded request.
fn forwarded(figure: u8, between: &'static str, payload: &[u8]) -> (Message<'static>, Value) {
    let policy = Some(figure_policy(figure));
    let bed = Bed::start(&Plan { policy, with_bsm: false, between, ..Plan::default() });
    let bsm = FakeBsm::bind(bed.bsm, Conduct::Registers);
    let card = bed.subscriber_with("yes");
    std::fs::write(bed.path("payload.xml"), payload).unwrap();
    let number = figure.to_string();
    let mut args = vec!["--figure", &number, "--naf-id", NAF, "--secrets"];
    if !payload.is_empty() {
        args.extend(["--payload", "payload.xml"]);
    }
    let result = bed.terminal("register", &card, &args).unwrap();
    assert_eq!(result["result"], "registered", "{result}");
    (bsm.request(0, |request| request.method() == b"REGISTER"), result)
}

fn part<'a>(request: &'a Message<'_>, kind: &str) -> Option<&'a [u8]> {
    let parts = request.parts().unwrap();
    parts.iter().find(|part| media::is(part.content_type, kind)).map(|part| part.content)
}

#[test]
fn figures_4_and_8_forward_the_payload_octet_for_octet() {
    let large = [ODD_PAYLOAD, &b"<!-- 0123456789 -->\r\n".repeat(400), b"\0end"].concat();
    for (figure, between, payload) in
        [(4, "udp", ODD_PAYLOAD), (4, "tcp", &large), (8, "udp", ODD_PAYLOAD), (8, "tcp", &large)]
    {
        let (request, _) = forwarded(figure, between, payload);
        let arrived = part(&request, media::PROVISIONING).expect("the payload's part");
        assert_eq!(arrived, payload, "figure {figure} over {between}");
        assert_eq!(part(&request, media::NAF_KEY), None, "no key rides along in pull");
    }
}

#[test]
fn figures_3_and_7_push_the_terminals_own_key() {
    for (figure, between) in [(3, "udp"), (3, "tcp"), (7, "udp"), (7, "tcp")] {
        let (request, result) = forwarded(figure, between, b"");
        let document = KeyDocument::parse(part(&request, media::NAF_KEY).expect("the key's part")).unwrap();
        assert_eq!(Value::from(hex(&document.key.0)), result["ks_naf"], "figure {figure} over {between}");
        assert_eq!(Value::from(document.btid.text()), result["btid"]);
        assert_eq!(document.naf.fqdn(), NAF);
    }
}

/// `imscript load` of so many terminals as this figure has them; its exit code and result.
fn load(figure: u8, naf: &str, users: u8) -> (Bed, Option<i32>, Value) {
    let bed = Bed::start(&Plan { policy: Some(figure_policy(figure)), ..Plan::default() });
    let users = users.to_string();
    bed.imscript_ok(&["load", "--users", &users, "--domain", "home1.net", "--write-subscribers", "load.csv"]);
    bed.imscript_ok(&["subscriber", "import", "load.csv", "--data-dir", "ims-data"]);
    let (server, http) = (format!("udp:{}", bed.ims), format!("http://{}/", bed.bsm_http));
    let figure = figure.to_string();
    let mut args = vec!["load", "--server", &server, "--from", "load.csv", "--json", "--timeout", "60"];
    args.extend(["--figure", &figure, "--naf-id", naf]);
    if matches!(&*figure, "5" | "6") {
        args.extend(["--bsm-http", &http]);
    }
    let output = bed.imscript(&args).unwrap();
    let result = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (bed, output.status.code(), result)
}

#[test]
fn load_does_what_the_terminal_of_each_figure_does() {
    for figure in 3..=8 {
        let (bed, code, result) = load(figure, NAF, 20);
        assert_eq!((code, &result["registrations"]), (Some(0), &20.into()), "figure {figure}: {result}");
        let told = if matches!(figure, 3 | 4) { "pending" } else { "registered" };
        assert_eq!(result["broadcast"][told], 20, "figure {figure}: {result}");
        let list = std::fs::read_to_string(bed.path("load.csv")).unwrap();
        let last = list.lines().last().and_then(|line| line.split(',').next()).unwrap();
        bed.assert_states(last, "registered", "registered");
    }
}

#[test]
fn load_counts_as_failed_whom_the_broadcast_server_does_not_know() {
    let (_, code, result) = load(5, "other.home1.net", 3);
    assert_eq!((code, &result["registrations"], &result["errors"]), (Some(1), &0.into(), &3.into()), "{result}");
    assert_eq!(result["broadcast"]["failed"], 3, "{result}");
}
