//! python-diameter as HSS (Cx, Sh): what it sends and how, and what goes wrong with it.

use super::capture::{Capture, assert_diameter_is_sound};
use super::foreign::{Script, avp, installed, options_for, python, wait_for_peer};
use super::support::hand::Hand;
use super::support::{Bed, wait_for};
use imscript::cli::network::{Card, NAF, Plan};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

fn card_argument(card: &Card) -> String {
    format!("{},{},{},{}", card.impi, card.impu, card.k, card.opc)
}

/// An HSS with these subscribers, for our node.
pub fn hss(python: &Path, cards: &[Card], more: &[&str]) -> Script {
    let cards: Vec<String> = cards.iter().map(card_argument).collect();
    let mut args = vec!["--client", OURS];
    cards.iter().for_each(|card| args.extend(["--card", card]));
    args.extend_from_slice(more);
    Script::start(python, "hss.py", &args)
}

/// Origin-Host of the node under test.
pub const OURS: &str = "scscf.home1.net";

/// A node whose HSS this is, once it has connected.
fn with_hss(hss: &Script) -> Bed {
    let at = format!("[\"tcp:127.0.0.1:{}\"]", hss.port);
    let ims_tables = format!("[diameter]\norigin_host = \"{OURS}\"\n\n[hss]\ncx = {at}\nsh = {at}\n");
    let bed = Bed::start(&Plan { ims_tables, ..Plan::default() });
    wait_for_peer(&bed, "ims-data", |peer| peer["state"] == "open");
    bed
}

fn terminal(bed: &Bed, verb: &str, card: &Card, more: &[&str]) -> Value {
    bed.terminal(verb, card, more).unwrap()
}

fn assert_registered(result: &Value) {
    assert_eq!(result["result"], "registered", "{result}");
}

/// A REGISTER that fails in time, and says when to come again; or, where the HSS has said what makes no sense, does not.
fn assert_fails(bed: &Bed, card: &Card, statuses: &[u16]) {
    let started = Instant::now();
    let mut hand = Hand::new(card, bed.ims);
    let response = hand.register(&hand.unanswered(), "", b"");
    assert!(statuses.contains(&response.status()), "{}", response.status());
    let comes_again = response.header(imscript::sip::HeaderName::RetryAfter).is_some();
    assert_eq!(comes_again, response.status() != 500);
    // Two seconds, and what a busy machine adds.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn a_foreign_hss_registers_our_terminals_from_beginning_to_end() {
    let Some(python) = python() else { return };
    let card = Card::number(1);
    let mut hss = hss(&python, std::slice::from_ref(&card), &["--application-server", &format!("sip:{NAF}")]);
    let folder = tempfile::tempdir().unwrap();
    let port = hss.port;
    let mut capture = installed("tshark", "-v")
        .then(|| Capture::start(folder.path().join("cx.pcapng"), &[(port, "diameter")]))
        .flatten();
    let bed = with_hss(&hss);
    assert_registered(&terminal(&bed, "register", &card, &["--naf-id", NAF, "--figure", "7"]));
    let asked = hss.wait_got("MAR", 1);
    assert_eq!(avp(&asked, &["User-Name"]), Some(&card.impi.clone().into()), "{asked}");
    let scheme = avp(&asked, &["3GPP-SIP-Auth-Data-Item", "3GPP-SIP-Authentication-Scheme"]);
    // Before the first vector it is not known what the subscriber has.
    assert_eq!(scheme, Some(&"Unknown".into()), "{asked}");
    let assigned = hss.wait_got("SAR", 1);
    assert_eq!(avp(&assigned, &["Server-Assignment-Type"]), Some(&1.into()), "{assigned}");
    assert_eq!(avp(&assigned, &["Server-Name"]), avp(&asked, &["Server-Name"]));
    // The HSS changes the profile, and then ends the registration.
    let answer = hss.ask(json!({"do": "ppr", "impi": card.impi, "to": OURS}));
    assert_eq!(avp(&answer, &["Result-Code"]), Some(&2001.into()), "{answer}");
    let answer = hss.ask(json!({"do": "rtr", "impi": card.impi, "to": OURS, "impus": [card.impu]}));
    assert_eq!(avp(&answer, &["Result-Code"]), Some(&2001.into()), "{answer}");
    // It is carried out at once; then a REGISTER is the first one again, and not a refresh.
    let kind = |sar: &Value| avp(sar, &["Server-Assignment-Type"]).and_then(Value::as_u64);
    wait_for(|| {
        let before = hss.got("SAR").len();
        assert_registered(&terminal(&bed, "register", &card, &[]));
        (kind(&hss.wait_got("SAR", before + 1)) == Some(1)).then_some(())
    });
    let result = terminal(&bed, "deregister", &card, &["--all"]);
    assert_eq!(result["result"], "deregistered", "{result}");
    wait_for(|| {
        hss.got("SAR").iter().any(|sar| avp(sar, &["Server-Assignment-Type"]) == Some(&5.into())).then_some(())
    });
    if let Some(capture) = &mut capture {
        // USER_DEREGISTRATION, as an AVP.
        let last = [0, 0, 2, 0x66, 0xc0, 0, 0, 16, 0, 0, 0x28, 0xaf, 0, 0, 0, 5];
        capture.wait_until(|octets| octets.windows(last.len()).any(|window| window == last));
        capture.stop();
        assert_diameter_is_sound(capture, &format!("tcp.dstport == {port}"), 8);
    }
}

#[test]
fn a_card_that_is_out_of_step_is_resynchronised_by_a_foreign_hss() {
    let Some(python) = python() else { return };
    let card = Card::number(1);
    let hss = hss(&python, std::slice::from_ref(&card), &[]);
    let bed = with_hss(&hss);
    // The card has seen SQNs that this HSS is far from issuing.
    let file = super::foreign::advanced_card(&bed, &card);
    let result = terminal(&bed, "register", &card, &["--card", &file]);
    assert_registered(&result);
    assert_eq!(result["resync"], true, "{result}");
    assert_eq!(hss.wait_for("resynchronised", |_| true)["resynchronised"], true);
}

#[test]
fn odd_answers_of_an_hss_are_understood_as_far_as_they_may_be() {
    let Some(python) = python() else { return };
    let card = Card::number(1);
    let mut hss = hss(&python, std::slice::from_ref(&card), &[]);
    let bed = with_hss(&hss);
    for fault in ["unknown_optional", "reversed"] {
        for command in ["MAR", "SAR"] {
            hss.order(json!({"do": "fault", "command": command, "fault": fault}));
        }
        assert_registered(&terminal(&bed, "register", &card, &[]));
        terminal(&bed, "deregister", &card, &["--all"]);
    }
    // One with the M flag that nobody knows is not refused to the HSS, which could do nothing with that.
    hss.order(json!({"do": "fault", "command": "MAR", "fault": "unknown_mandatory"}));
    assert_registered(&terminal(&bed, "register", &card, &[]));
}

#[test]
fn an_answer_that_is_cut_or_lies_about_its_length_costs_one_registration() {
    let Some(python) = python() else { return };
    let cards: Vec<Card> = (1..=4).map(Card::number).collect();
    let mut hss = hss(&python, &cards, &[]);
    let bed = with_hss(&hss);
    for (fault, card) in ["wrong_avp_length", "wrong_length", "garbage", "cut"].into_iter().zip(&cards) {
        hss.order(json!({"do": "fault", "command": "MAR", "fault": fault}));
        assert_fails(&bed, card, if fault == "wrong_avp_length" { &[500] } else { &[480, 504] });
        hss.wait_for("sent", |one| one["sent"] == fault);
        // The connection comes back by itself.
        wait_for(|| {
            let result = terminal(&bed, "register", card, &["--timeout", "3"]);
            (result["result"] == "registered").then_some(())
        });
    }
}

#[test]
fn a_slow_hss_does_not_hold_others_up() {
    let Some(python) = python() else { return };
    let cards = [Card::number(1), Card::number(2)];
    let mut hss = hss(&python, &cards, &[]);
    let bed = with_hss(&hss);
    assert_registered(&terminal(&bed, "register", &cards[0], &[]));
    hss.order(json!({"do": "fault", "command": "MAR", "fault": "slow", "seconds": 5}));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| assert_fails(&bed, &cards[1], &[480, 504]));
        hss.wait_got("MAR", 2);
        assert_eq!(Hand::new(&cards[0], bed.ims).run("").status(), 200);
        assert!(!slow.is_finished());
        slow.join().unwrap();
    });
    // The late answer is nobody's; the next is.
    hss.wait_for("late", |_| true);
    assert_registered(&terminal(&bed, "register", &cards[1], &[]));
}

#[test]
fn answers_in_another_order_than_the_questions_find_their_own() {
    let Some(python) = python() else { return };
    let cards: Vec<Card> = (1..=4).map(Card::number).collect();
    let mut hss = hss(&python, &cards, &[]);
    let bed = with_hss(&hss);
    for _ in 0..cards.len() {
        hss.order(json!({"do": "fault", "command": "MAR", "fault": "hold", "until": cards.len()}));
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = cards.iter().map(|card| scope.spawn(|| terminal(&bed, "register", card, &[]))).collect();
        running.into_iter().for_each(|one| assert_registered(&one.join().unwrap()));
    });
    assert_eq!(hss.wait_for("released", |_| true)["released"], 4);
}

#[test]
fn a_foreign_hss_says_who_is_not_registered_and_hears_of_the_operators_end() {
    let Some(python) = python() else { return };
    let card = Card::number(1);
    let hss = hss(&python, std::slice::from_ref(&card), &[]);
    let bed = with_hss(&hss);
    let port = bed.ims.port();
    assert_eq!([options_for(port, &card.impu), options_for(port, &card.impu)], [Some(480); 2]);
    assert_eq!(options_for(port, "sip:nobody@home1.net"), Some(404));
    let kind = |sar: &Value| avp(sar, &["Server-Assignment-Type"]).and_then(Value::as_u64);
    hss.wait_got("SAR", 2);
    let asked = hss.got("SAR");
    assert_eq!(asked.iter().map(kind).collect::<Vec<_>>(), [Some(3), Some(3)], "once each");
    assert_eq!(
        (avp(&asked[0], &["User-Name"]), avp(&asked[0], &["Public-Identity"])),
        (None, Some(&card.impu.clone().into()))
    );
    assert_registered(&terminal(&bed, "register", &card, &[]));
    assert_eq!(options_for(port, &card.impu), Some(200));
    bed.imscript_ok(&["registration", "end", &card.impu, "--data-dir", "ims-data"]);
    assert_eq!(kind(&hss.wait_got("SAR", 4)), Some(8));
}

/// Sh-Data with the broadcast registration as somebody else leaves it.
fn repository_data(sequence: u32, state: &str) -> String {
    format!(
        "<Sh-Data><RepositoryData><ServiceIndication>bcast-registration</ServiceIndication>\
         <SequenceNumber>{sequence}</SequenceNumber><ServiceData><BcastRegistration><State>{state}</State>\
         <Server>bsm</Server><NafFqdn>{NAF}</NafFqdn></BcastRegistration></ServiceData></RepositoryData></Sh-Data>"
    )
}

#[test]
fn the_broadcast_servers_registrations_stand_in_a_foreign_hss_which_may_end_them() {
    let Some(python) = python() else { return };
    let card = Card::number(1);
    let mut hss = hss(&python, std::slice::from_ref(&card), &["--application-server", &format!("sip:{NAF}")]);
    let folder = tempfile::tempdir().unwrap();
    let port = hss.port;
    let mut capture = installed("tshark", "-v")
        .then(|| Capture::start(folder.path().join("sh.pcapng"), &[(port, "diameter")]))
        .flatten();
    let bed = with_hss(&hss);
    let tells = |hss: &mut Script, impu: &str, data: &str| {
        hss.ask(json!({"do": "pnr", "impu": impu, "to": OURS, "data": data}))
    };
    let answer = tells(&mut hss, &card.impu, &repository_data(0, "not_registered"));
    assert_eq!(avp(&answer, &["Experimental-Result", "Experimental-Result-Code"]), Some(&5001.into()), "{answer}");
    let result = terminal(&bed, "register", &card, &["--naf-id", NAF, "--figure", "7"]);
    assert_registered(&result);
    let stored = hss.wait_got("PUR", 1);
    assert_eq!(avp(&stored, &["User-Identity", "Public-Identity"]), Some(&card.impu.clone().into()), "{stored}");
    let asked = hss.wait_got("SNR", 1);
    assert_eq!(avp(&asked, &["Subs-Req-Type"]), Some(&0.into()), "{asked}");
    assert_eq!(avp(&asked, &["Service-Indication"]), Some(&"bcast-registration".into()), "{asked}");
    assert_eq!(avp(&asked, &["Send-Data-Indication"]), Some(&1.into()), "{asked}");
    let answer = tells(&mut hss, &card.impu, "<Sh-Data><RepositoryData/></Sh-Data>");
    assert_eq!(avp(&answer, &["Experimental-Result", "Experimental-Result-Code"]), Some(&5100.into()), "{answer}");
    let told = hss.got("PUR").len();
    let answer = tells(&mut hss, &card.impu, &repository_data(9, "not_registered"));
    assert_eq!(avp(&answer, &["Result-Code"]), Some(&2001.into()), "{answer}");
    let ended = hss.wait_got("PUR", told + 1);
    assert!(ended.to_string().contains("<State>not_registered</State>"), "{ended}");
    let ends = hss.wait_got("SNR", 2);
    assert_eq!(avp(&ends, &["Subs-Req-Type"]), Some(&1.into()), "{ends}");
    if let Some(capture) = &mut capture {
        let last = [0, 0, 2, 0xc1, 0xc0, 0, 0, 16, 0, 0, 0x28, 0xaf, 0, 0, 0, 1];
        capture.wait_until(|octets| octets.windows(last.len()).any(|window| window == last));
        capture.stop();
        assert_diameter_is_sound(capture, &format!("tcp.dstport == {port}"), 8);
    }
}
