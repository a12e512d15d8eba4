//! The patent's claims 1 to 14 over real sockets, each with what must hold. What must never happen is in `negative.rs`.

mod support;

use imscript::broadcast::{ext::Ext, keys::KeyDocument, media};
use imscript::cli::network::{Card, NAF, Plan};
use imscript::sip::{HeaderName, Message};
use serde_json::Value;
use support::fake_bsm::{Conduct, FakeBsm};
use support::flow::Flow;
use support::hand::{Hand, NAMES_NAF};
use support::{Bed, figure_policy, hex};

const NAMING: [&str; 2] = ["--naf-id", NAF];

fn bed() -> (Bed, Card) {
    let bed = Bed::start(&Plan::default());
    let card = bed.subscriber_with("yes");
    (bed, card)
}

/// The IMS node with a broadcast server that only records.
fn recorded(plan: Plan, conduct: Conduct) -> (Bed, FakeBsm, Card) {
    let bed = Bed::start(&Plan { with_bsm: false, ..plan });
    let bsm = FakeBsm::bind(bed.bsm, conduct);
    let card = bed.subscriber_with("yes");
    (bed, bsm, card)
}

fn registered(bed: &Bed, card: &Card, more: &[&str]) -> Value {
    let result = bed.terminal("register", card, more).unwrap();
    assert_eq!((&result["result"], &result["error"]), (&"registered".into(), &Value::Null), "{result}");
    result
}

fn is_register(request: &Message<'_>) -> bool {
    request.method() == b"REGISTER"
}

fn parts(request: &Message<'_>) -> Vec<String> {
    let parts = request.parts().unwrap();
    parts.iter().map(|part| String::from_utf8_lossy(part.content_type).into_owned()).collect()
}

#[test]
fn claim_1_one_request_registers_with_the_ims_and_the_broadcast_server() {
    let (bed, card) = bed();
    let result = registered(&bed, &card, &NAMING);
    assert_eq!(result["broadcast"], "registered", "{result}");
    bed.assert_states(&card.impi, "registered", "registered");
    let flow = Flow::of(&bed).unwrap();
    // One registration: the request, and its repetition that answers the challenge. Nothing else from the terminal.
    let from_terminal: Vec<_> = flow.messages().filter(|line| line.starts_with("UE >")).collect();
    assert_eq!(from_terminal, ["UE > IMS  REGISTER", "UE > IMS  REGISTER response"]);
    flow.assert_order(&["UE > IMS  REGISTER response", "BSF > BSF  Ks_NAF", "IMS > BSM  REGISTER key=included"]);
}

#[test]
fn claim_1_the_forwarded_portion_comprises_ks_naf_and_the_payload() {
    let (bed, bsm, card) = recorded(Plan::default(), Conduct::Registers);
    std::fs::write(bed.path("order.xml"), b"<ServiceRequest requestID=\"1\"/>").unwrap();
    let result = registered(&bed, &card, &["--naf-id", NAF, "--payload", "order.xml", "--secrets"]);
    let request = bsm.request(0, is_register);
    assert_eq!(parts(&request), [media::PROVISIONING, media::NAF_KEY]);
    let found = request.parts().unwrap();
    assert_eq!(found[0].content, b"<ServiceRequest requestID=\"1\"/>");
    let document = KeyDocument::parse(found[1].content).unwrap();
    assert_eq!(Value::from(hex(&document.key.0)), result["ks_naf"]);
    assert_eq!(document.impus[0].as_str(), card.impu);
    // A third-party REGISTER (TS 24.229 §5.4.1.7): To is the user, From the S-CSCF, no credentials go along.
    assert_eq!(request.to().unwrap().uri.aor(), card.impu);
    assert_ne!(request.from().unwrap().uri.aor(), card.impu);
    assert_eq!(request.header(HeaderName::Authorization), None);
    assert!(request.expires().unwrap() > 0);
}

#[test]
fn claim_1_the_patents_own_require_header_is_understood() {
    let (bed, card) = bed();
    let result = registered(&bed, &card, &["--naf-id", NAF, "--legacy-require"]);
    assert_eq!(result["broadcast"], "registered", "{result}");
    bed.assert_states(&card.impi, "registered", "registered");
}

#[test]
fn claim_1_the_second_request_may_come_without_the_portion_as_printed() {
    let (bed, card) = bed();
    let mut hand = Hand::new(&card, bed.ims);
    let accepted = hand.run(NAMES_NAF);
    assert_eq!(accepted.status(), 200);
    let ext = Ext::of(&accepted).unwrap().unwrap();
    assert_eq!(ext.state.unwrap().as_str(), "registered");
    assert!(accepted.body().is_empty(), "without Accept no body");
    bed.assert_states(&card.impi, "registered", "registered");
}

#[test]
fn claims_2_and_9_the_broadcast_server_is_told_of_refresh_and_deregistration() {
    let (bed, bsm, card) = recorded(Plan::default(), Conduct::Registers);
    let first = registered(&bed, &card, &["--naf-id", NAF, "--call-id", "c1", "--contact", "sip:user1@192.0.2.7:5060"]);
    let request = bsm.request(0, is_register);
    assert_eq!(parts(&request), [media::NAF_KEY]);

    // A registration with a new AKA run has a new Ks: the server gets the key that follows from it.
    let again = registered(&bed, &card, &["--call-id", "c2", "--contact", "sip:user1@192.0.2.7:5060"]);
    assert_ne!(first["btid"], again["btid"]);
    let request = bsm.request(1, is_register);
    let document = KeyDocument::parse(request.parts().unwrap()[0].content).unwrap();
    assert_eq!(Value::from(document.btid.text()), again["btid"]);

    let result = bed.terminal("deregister", &card, &["--all"]).unwrap();
    assert_eq!(result["result"], "deregistered", "{result}");
    let request = bsm.request(2, is_register);
    assert_eq!(request.expires(), Some(0));
    assert_eq!(parts(&request), Vec::<String>::new(), "no key goes with a deregistration");
    bed.wait_for_states(&card.impi, "not_registered", "not_registered").unwrap();
}

#[test]
fn claims_2_and_9_expiry_ends_both_registrations() {
    let plan = Plan { ims_tables: "[registrar]\nmin_expires = 1\n".into(), ..Plan::default() };
    let (bed, bsm, card) = recorded(plan, Conduct::Registers);
    registered(&bed, &card, &["--naf-id", NAF, "--expires", "1"]);
    assert_eq!(bsm.request(0, is_register).expires(), Some(1));
    assert_eq!(bsm.request(1, is_register).expires(), Some(0));
    bed.wait_for_states(&card.impi, "not_registered", "not_registered").unwrap();
}

#[test]
fn claims_2_and_9_deregistration_ends_the_registration_at_the_broadcast_node() {
    let (bed, card) = bed();
    registered(&bed, &card, &NAMING);
    bed.terminal("deregister", &card, &["--all"]).unwrap();
    let flow = Flow::with(&bed, "BSM > IMS  200 (REGISTER expires=0)");
    flow.assert_order(&[
        "S-CSCF > HSS  SAR USER_DEREGISTRATION",
        "IMS > BSM  REGISTER expires=0",
        "BSM > IMS  200 (REGISTER expires=0)",
    ]);
    bed.wait_for_states(&card.impi, "not_registered", "not_registered").unwrap();
}

#[test]
fn claims_3_and_10_forwarding_follows_a_check_of_the_subscription() {
    let (bed, card) = bed();
    registered(&bed, &card, &NAMING);
    Flow::of(&bed).unwrap().assert_order(&[
        "S-CSCF > HSS  UDR broadcast subscription",
        "HSS > S-CSCF  UDA subscribed=true",
        "IMS > BSM  REGISTER key=included",
    ]);
}

#[test]
fn claims_4_and_11_everything_is_sip() {
    for (between, transport) in [("udp", "(UDP)"), ("tcp", "(TCP)")] {
        let bed = Bed::start(&Plan { policy: Some(figure_policy(8)), between, ..Plan::default() });
        let card = bed.subscriber_with("yes");
        registered(&bed, &card, &["--figure", "8", "--naf-id", NAF]);
        bed.assert_states(&card.impi, "registered", "registered");
        let flow = Flow::of(&bed).unwrap();
        // All that passes between processes is SIP: the rest of the trace is inside the IMS node.
        let outside = flow.steps().iter().filter(|step| step.id.is_empty()).map(|step| (&*step.from, &*step.to));
        let inside = ["S-CSCF", "BSF", "HSS"];
        for (from, to) in outside.filter(|(from, to)| from != to) {
            assert!(inside.contains(&from) && inside.contains(&to), "{from} > {to}");
        }
        for step in flow.steps().iter().filter(|step| step.from == "BSM" && !step.id.is_empty()) {
            assert!(step.what.ends_with(transport), "{step:?}");
        }
    }
}

#[test]
fn claims_5_and_12_the_payload_subscribes_to_a_service() {
    let bed = Bed::start(&Plan::default());
    let card = bed.subscriber_with("urn:imscript:service:news");
    let order = "<ServiceRequest requestID=\"42\"><PurchaseItem globalIDRef=\"urn:imscript:service:news\"/>\
                 <PurchaseItem globalIDRef=\"urn:imscript:service:film\"/></ServiceRequest>";
    std::fs::write(bed.path("order.xml"), order).unwrap();
    let result = registered(&bed, &card, &["--naf-id", NAF, "--payload", "order.xml", "--accept-body"]);
    assert_eq!(result["broadcast"], "registered", "{result}");
    let response = result["service_response"].as_str().unwrap();
    assert!(response.contains("ServiceResponse") && response.contains("requestID=\"42\""), "{response}");
    // What the HSS grants is granted, what it does not is refused item by item.
    let code = |name: &str| {
        let item = response.split("<PurchaseItem").find(|item| item.contains(name)).expect(response);
        item.split("itemwiseStatusCode=\"").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned())
    };
    assert!(code("service:news").is_none_or(|code| code.bytes().all(|digit| digit == b'0')), "{response}");
    assert!(code("service:film").expect(response).bytes().any(|digit| digit != b'0'), "{response}");
}

#[test]
fn claims_6_and_13_ks_naf_manages_further_traffic() {
    let (bed, card) = bed();
    let url = format!("http://{}/", bed.bsm_http);
    // Figure 7 has brought the key; what the terminal asks for afterwards is protected with it, and no key is fetched.
    let result = registered(&bed, &card, &["--naf-id", NAF, "--bsm-http", &url]);
    assert_eq!(result["application"]["status"], 200, "{result}");
    let flow = Flow::of(&bed).unwrap();
    assert_eq!(flow.count("BSM > IMS  MESSAGE key-request"), 0, "\n{flow}");
    flow.assert_order(&["BSM > BSM  SMK = Ks_NAF", "IMS > UE  200 (REGISTER response)"]);
}

#[test]
fn claims_6_and_13_over_http_nobody_gets_in_without_the_key() {
    let (bed, card) = bed();
    let result = bed.terminal("register", &card, &["--naf-id", NAF]).unwrap();
    bed.add_subscriber(&Card::number(2), "yes").unwrap();
    let (btid, thief) = (result["btid"].as_str().unwrap().to_owned(), Card::number(2));
    // The thief knows the B-TID: it answers the challenge, but with a key of its own.
    let post = |authorization: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(bed.bsm_http).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        let body = format!("<ServiceRequest requestID=\"1\"><UserID>{}</UserID></ServiceRequest>", thief.impu);
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {NAF}\r\nContent-Type: {}\r\nConnection: close\r\n{authorization}\
             Content-Length: {}\r\n\r\n{body}",
            media::PROVISIONING,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let challenged = post("");
    assert!(challenged.starts_with("HTTP/1.1 401"), "{challenged}");
    let nonce = challenged.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let answer = post(&format!(
        "Authorization: Digest username=\"{btid}\",realm=\"3GPP-bootstrapping@{NAF}\",nonce=\"{nonce}\",uri=\"/\",\
         qop=auth-int,nc=00000001,cnonce=\"1\",response=\"00000000000000000000000000000000\"\r\n"
    ));
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    bed.assert_states(&thief.impi, "not_registered", "not_registered");
    assert_eq!(bed.subscriber(&card.impi).unwrap()["broadcast_registration"]["btid"], Value::from(btid));
}

#[test]
fn claims_7_and_14_the_hss_has_both_states() {
    let (bed, card) = bed();
    bed.assert_states(&card.impi, "not_registered", "not_registered");
    registered(&bed, &card, &[]);
    bed.assert_states(&card.impi, "registered", "not_registered");
    let result = registered(&bed, &card, &NAMING);
    let shown = bed.wait_for_states(&card.impi, "registered", "registered").unwrap();
    assert_eq!(shown["broadcast_registration"]["btid"], result["btid"]);
    assert_eq!(shown["broadcast_registration"]["server"], "bsm");
    bed.terminal("deregister", &card, &["--all"]).unwrap();
    let shown = bed.wait_for_states(&card.impi, "not_registered", "not_registered").unwrap();
    assert_eq!(shown["broadcast_registration"]["btid"], Value::Null, "a key that is no more: {shown}");
}

#[test]
fn claim_8_the_ims_server_does_it_with_a_broadcast_server_of_another_make() {
    let (bed, bsm, card) = recorded(Plan::default(), Conduct::Registers);
    registered(&bed, &card, &NAMING);
    assert_eq!(parts(&bsm.request(0, is_register)), [media::NAF_KEY]);
    bed.assert_states(&card.impi, "registered", "registered");
}
