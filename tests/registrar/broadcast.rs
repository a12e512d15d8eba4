//! The broadcast leg when all is well: what goes where, when, and what the terminal is told (flows of figures 3 to 8).

use crate::network::*;
use crate::phone::*;
use base64::Engine;
use imscript::gba::kdf::{Ks, ks_naf};
use imscript::gba::naf_id::NafId;
use imscript::hss::RegState;
use imscript::policy::FixedPolicy;
use imscript::policy::verdict::{Broadcast, Forward, KeyMovement, OnFailure, Order};
use imscript::sip::HeaderName;
use imscript::sip::transaction::Transport;

pub(crate) const SPROV: &str = "application/vnd.oma.bcast.sprov+xml";

pub(crate) fn forward(key: KeyMovement, order: Order) -> FixedPolicy {
    let forward = Forward { to: "bsm".into(), payload: true, key, order, on_failure: OnFailure::Pending };
    FixedPolicy { broadcast: Some(Broadcast::Forward(forward)), ..FixedPolicy::default() }
}

/// Ks_NAF of the last run, as the card has it.
fn expected_key(network: &Network) -> String {
    let store = network.hss.0.lock().unwrap();
    let (impi, v) = store.vectors.last().unwrap();
    let key = ks_naf(&Ks::new(&v.ck, &v.ik), &v.rand, impi, &NafId::parse(NAF).unwrap());
    base64::engine::general_purpose::STANDARD.encode(key.0)
}

#[test]
fn simultaneous_push() {
    let network = Network::new();
    let response = Phone::for_broadcast().register(&network, &["Expires: 600"]);
    assert_eq!(response.status(), 200);
    let ext = text(&response, HeaderName::BcastExt);
    assert!(ext.starts_with("state=registered;btid=\""), "{ext}");
    let sent = network.forwarded();
    assert_eq!(sent.len(), 1, "the forwarded request tells of the IMS registration too");
    assert_eq!(sent[0].to.addr.to_string(), "127.0.0.1:5070");
    assert_eq!(sent[0].muk(), expected_key(&network));
    assert_eq!(sent[0].expires(), 600);
    assert_eq!(sent[0].text(HeaderName::To), "<sip:alice@home1.net>");
    assert_eq!(network.calls(), ["MAR", "SAR Registration", "UDR", "PUR registered"]);
    assert_eq!(network.leg_state("alice@home1.net"), Some(RegState::Registered));
    assert!(sent[0].request.header(HeaderName::Authorization).is_none());
}

#[test]
fn subsequent_comes_after_the_200() {
    for (key, pushed) in [(KeyMovement::Push, true), (KeyMovement::Pull, false)] {
        let network = Network::policy(forward(key, Order::After200));
        let response = Phone::for_broadcast().register(&network, &["P-Charging-Vector: icid-value=\"i1\";orig-ioi=x"]);
        assert!(text(&response, HeaderName::BcastExt).starts_with("state=pending;btid="));
        assert!(network.forwarded().is_empty(), "not before the 200");
        network.settle();
        let sent = network.forwarded();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].has_key(), pushed);
        assert_eq!(sent[0].text(HeaderName::PChargingVector), "icid-value=\"i1\"");
        assert_eq!(network.leg_state("alice@home1.net"), Some(RegState::Registered));
        assert_eq!(network.hss.0.lock().unwrap().broadcast["sip:alice@home1.net"].state, RegState::Registered);
    }
}

#[test]
fn figure_5_forwards_nothing_by_itself() {
    let network = Network::policy(forward(KeyMovement::OnUse, Order::ByTerminal));
    let response = Phone::for_broadcast().register(&network, &[]);
    assert!(text(&response, HeaderName::BcastExt).contains("btid="));
    network.settle();
    assert!(network.forwarded().is_empty());
    assert_eq!(network.leg_state("alice@home1.net"), None);
    assert!(network.hss.0.lock().unwrap().broadcast.is_empty());
}

#[test]
fn figure_6_in_the_printed_order() {
    for (response_first, state) in [(true, "state=pending"), (false, "state=registered")] {
        let settings = imscript::registrar::Settings { fig6_response_first: response_first, ..settings() };
        let network = Network::with(settings, forward(KeyMovement::OnUse, Order::Before200));
        let response = Phone::for_broadcast().register(&network, &[]);
        assert!(text(&response, HeaderName::BcastExt).starts_with(state));
    }
}

#[test]
fn the_payload_of_the_first_request_counts_if_the_second_continues_it() {
    let body = Some((SPROV, &b"<ServiceRequest/>"[..]));
    type Change = fn(&mut Phone);
    let changes: [(Change, bool); 5] = [
        (|_| {}, true),
        (|p| p.call_id.push('2'), false),
        (|p| p.contact = "<sip:other@127.0.0.1>".into(), false),
        (|p| p.source = source(Transport::Udp, "127.0.0.1:40001"), false),
        (|p| p.impu = "tel:+1234".into(), false),
    ];
    for (change, counts) in changes {
        let network = Network::policy(forward(KeyMovement::Pull, Order::Before200));
        let mut phone = Phone::for_broadcast();
        let challenge = phone.first(&network, &[], body);
        phone.headers.clear();
        change(&mut phone);
        let second = phone.second(&challenge, &[], None);
        assert_eq!(network.send(&second, &phone.source).status(), 200);
        network.settle();
        let sent = network.forwarded();
        assert_eq!(sent.len(), usize::from(counts));
        assert!(sent.iter().all(|s| s.request.body() == b"<ServiceRequest/>"));
    }
}

#[test]
fn the_payload_of_the_second_request_counts_more_and_a_resynchronisation_loses_none() {
    let network = Network::policy(forward(KeyMovement::Pull, Order::Before200));
    let mut phone = Phone::for_broadcast();
    let challenge = phone.first(&network, &[], Some((SPROV, b"<A/>")));
    let second = phone.second(&challenge, &[], Some((SPROV, b"<B/>")));
    network.send(&second, &phone.source);
    assert_eq!(network.forwarded()[0].request.body(), b"<B/>");

    let network = Network::policy(forward(KeyMovement::Pull, Order::Before200));
    let mut phone = Phone::for_broadcast().ahead(5000);
    let challenge = phone.first(&network, &[], Some((SPROV, b"<A/>")));
    phone.headers.clear();
    let line = phone.auts(&challenge);
    let request = phone.write(&[], &line, None);
    let again = network.send(&request, &phone.source);
    let second = phone.second(&again, &[], None);
    assert_eq!(network.send(&second, &phone.source).status(), 200);
    assert_eq!(network.forwarded()[0].request.body(), b"<A/>");
}

#[test]
fn a_new_ks_is_pushed_and_a_refresh_without_one_tells_the_state_alone() {
    let network = Network::new();
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &["Expires: 600"]);
    let first = network.forwarded();
    phone.headers.clear();
    network.pass(seconds(300));
    let response = phone.register(&network, &["Expires: 700"]);
    assert!(text(&response, HeaderName::BcastExt).starts_with("state=registered"));
    network.settle();
    let sent = network.forwarded();
    assert_eq!((sent.len(), sent[0].muk(), sent[0].expires()), (1, expected_key(&network), 700));
    assert_eq!(sent[0].text(HeaderName::CallId), first[0].text(HeaderName::CallId));
    assert_eq!((first[0].text(HeaderName::CSeq), sent[0].text(HeaderName::CSeq)), ("1 REGISTER", "2 REGISTER"));

    phone.source = source(Transport::Udp, "10.0.0.1:5060");
    let vouched = format!("{},integrity-protected=\"yes\"", phone.empty_authorization());
    let refresh = phone.write(&["Expires: 800"], &vouched, None);
    assert_eq!(network.send(&refresh, &phone.source).status(), 200);
    network.settle();
    let sent = network.forwarded();
    assert_eq!((sent.len(), sent[0].has_key(), sent[0].expires()), (1, false, 800));
}

#[test]
fn deregistration_and_expiry_end_the_leg() {
    for by_timer in [false, true] {
        let network = Network::new();
        let mut phone = Phone::for_broadcast();
        phone.register(&network, &["Expires: 600"]);
        network.settle();
        network.forwarded();
        network.calls();
        if by_timer {
            network.pass(seconds(600));
            network.sweep();
        } else {
            assert_eq!(phone.register(&network, &["Expires: 0"]).status(), 200);
            network.settle();
        }
        let sent = network.forwarded();
        assert_eq!((sent.len(), sent[0].expires(), sent[0].has_key()), (1, 0, false));
        assert!(network.scscf.shared.bootstraps.is_empty(), "Ks goes too");
        assert!(network.calls().contains(&"PUR not_registered".to_string()));
        assert_eq!(network.leg_state("alice@home1.net"), None);
    }
}

#[test]
fn one_of_two_contacts_gone_leaves_the_leg_and_a_query_too() {
    let network = Network::new();
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &["Contact: <sip:a@h>, <sip:b@h>"]);
    network.settle();
    network.forwarded();
    phone.register(&network, &["Contact: <sip:a@h>;expires=0"]);
    let response = phone.register(&network, &[""]);
    assert!(text(&response, HeaderName::BcastExt).starts_with("state=registered;btid="));
    network.settle();
    assert!(network.forwarded().is_empty());
    assert_eq!(network.leg_state("alice@home1.net"), Some(RegState::Registered));
}

#[test]
fn the_server_knows_the_user_by_one_name_from_first_to_last() {
    let network = Network::new();
    let mut phone = Phone::for_broadcast();
    phone.impu = "tel:+1234".into();
    phone.register(&network, &[]);
    phone.impu = "sip:alice@home1.net".into();
    phone.register(&network, &[]);
    phone.register(&network, &["Expires: 0"]);
    network.settle();
    let sent = network.forwarded();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|s| s.text(HeaderName::To) == "<tel:+1234>"));
    assert!(sent.iter().all(|s| s.text(HeaderName::CallId) == sent[0].text(HeaderName::CallId)));
}

#[test]
fn a_server_that_the_user_leaves_is_told() {
    let network = Network::new();
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &[]);
    network.forwarded();
    phone.headers = vec!["Bcast-Ext: naf-id=\"bsm2.home1.net\"".into()];
    phone.register(&network, &[]);
    network.settle();
    let sent = network.forwarded();
    let told: Vec<_> = sent.iter().map(|s| (s.to.addr.to_string(), s.expires())).collect();
    assert_eq!(told, [("127.0.0.2:5070".to_string(), 3600), ("127.0.0.1:5070".to_string(), 0)]);
}

#[test]
fn a_service_response_goes_on_if_the_terminal_accepts_it_and_nothing_else_does() {
    for (accept, kind, comes) in [
        ("Accept: application/vnd.oma.bcast.sprov+xml", SPROV, true),
        ("Accept: application/sdp", SPROV, false),
        ("Accept: application/vnd.oma.bcast.sprov+xml", "application/vnd.imscript.naf-key+xml", false),
    ] {
        let network = Network::new();
        network.answer(Reply::Says(200, "state=registered", Some((kind, b"<ServiceResponse/>".to_vec()))));
        let response = Phone::for_broadcast().register(&network, &[accept]);
        assert_eq!(response.body() == b"<ServiceResponse/>", comes);
        assert_eq!(response.body().is_empty(), !comes);
    }
}

#[test]
fn extensions_that_contradict_or_name_no_naf() {
    let network = Network::new();
    for bad in ["Require: bcast-ext", "Bcast-Ext: naf-id=\"a.net\",naf-id=\"b.net\"", "Bcast-Ext: profile=\"1.0\""] {
        assert_eq!(Phone::alice().first(&network, &[bad], None).status(), 400, "{bad}");
    }
    assert!(network.calls().is_empty());
}
