//! Contacts and their times (RFC 3261 §10.3, RFC 5626 §6).

use crate::network::*;
use crate::phone::*;
use imscript::policy::{FixedPolicy, verdict};
use imscript::sip::HeaderName;

#[test]
fn times_granted_cut_and_refused() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let granted =
        |response: &imscript::sip::Message<'_>| contacts(response)[0].split("expires=").nth(1).unwrap().to_string();
    assert_eq!(granted(&phone.register(&network, &[])), "3600");
    assert_eq!(granted(&phone.register(&network, &["Expires: 900000"])), "600000");
    assert_eq!(
        granted(&phone.register(&network, &["Contact: <sip:alice@127.0.0.1:40000>;expires=60", "Expires: 9"])),
        "60"
    );
    let response = phone.register(&network, &["Expires: 59"]);
    assert_eq!((response.status(), text(&response, HeaderName::MinExpires)), (423, "60"));
    assert_eq!(granted(&phone.register(&network, &[""])), "60", "as it was before the refusal");
}

#[test]
fn a_policy_shortens_but_never_removes() {
    for (ceiling, granted) in [(600, 600), (1, 60), (0, 60)] {
        let network = Network::policy(FixedPolicy {
            authorized: Some(verdict::Authorized::Accept { expires: Some(ceiling) }),
            ..FixedPolicy::default()
        });
        let response = Phone::alice().register(&network, &[]);
        assert_eq!(contacts(&response), [format!("<sip:alice@127.0.0.1:40000>;expires={granted}")]);
    }
}

#[test]
fn star_stands_alone_and_removes_everything() {
    let network = Network::new();
    let mut phone = Phone::alice();
    phone.register(&network, &["Contact: <sip:alice@127.0.0.1:40000>, <sip:alice@127.0.0.2>"]);
    for bad in [&["Contact: *", "Expires: 10"][..], &["Contact: *"], &["Contact: *, <sip:a@b>", "Expires: 0"]] {
        assert_eq!(phone.first(&network, bad, None).status(), 400, "{bad:?}");
    }
    assert_eq!(network.scscf.shared.table.get("alice@home1.net").unwrap().bindings.len(), 2);
    network.calls();
    let response = phone.register(&network, &["Contact: *", "Expires: 0"]);
    assert_eq!((response.status(), contacts(&response).len()), (200, 0));
    assert_eq!(network.calls(), ["MAR", "SAR UserDeregistration"]);
    assert!(!network.is_registered("alice@home1.net"));
    assert!(network.scscf.shared.table.private_identity("tel:+1234").is_none());
    assert_eq!(phone.register(&network, &["Expires: 0"]).status(), 200, "nothing there: as it is wanted");
}

#[test]
fn several_contacts_best_first_and_one_by_one_out() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let response =
        phone.register(&network, &["Contact: <sip:a@h1>;q=0.2", "Contact: <sip:b@h2>;q=0.75;expires=100, <sip:c@h3>"]);
    assert_eq!(
        contacts(&response),
        ["<sip:c@h3>;expires=3600", "<sip:b@h2>;q=0.750;expires=100", "<sip:a@h1>;q=0.200;expires=3600"]
    );
    network.calls();
    let response = phone.register(&network, &["Contact: <sip:c@h3>;expires=0"]);
    assert_eq!(contacts(&response).len(), 2);
    assert_eq!(network.calls(), ["MAR"], "the user is still registered");
    network.pass(seconds(100));
    network.sweep();
    let response = phone.register(&network, &["Contact: <sip:a@h1>;expires=0"]);
    assert_eq!((response.status(), contacts(&response).len()), (200, 0));
    assert_eq!(network.calls(), ["MAR", "SAR UserDeregistration"]);
}

#[test]
fn an_instance_keeps_its_binding_at_a_new_address() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let at = |address: &str| format!("Contact: <sip:alice@{address}>;+sip.instance=\"<urn:gsma:imei:1>\";reg-id=1");
    phone.register(&network, &[&at("10.1.1.1")]);
    phone.call_id = "after a restart".replace(' ', "-");
    let response = phone.register(&network, &[&at("10.1.1.2")]);
    assert_eq!(contacts(&response).len(), 1);
    assert!(contacts(&response)[0].starts_with("<sip:alice@10.1.1.2>;+sip.instance=\"<urn:gsma:imei:1>\";reg-id=1;"));
}

#[test]
fn an_older_request_overtaken_is_refused() {
    let network = Network::new();
    let mut phone = Phone::alice();
    phone.cseq = 100;
    phone.register(&network, &["Expires: 1000"]);
    for more in [&["Expires: 0"][..], &["Contact: *", "Expires: 0"], &["Expires: 2000"]] {
        phone.cseq = 50;
        assert_eq!(phone.register(&network, more).status(), 500, "{more:?}");
    }
    assert_eq!(contacts(&phone.register(&network, &[""])), ["<sip:alice@127.0.0.1:40000>;expires=1000"]);
    phone.call_id = "new".into();
    phone.cseq = 0;
    assert_eq!(contacts(&phone.register(&network, &["Expires: 2000"])), ["<sip:alice@127.0.0.1:40000>;expires=2000"]);
}

#[test]
fn one_contact_twice_in_a_request() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let twice = "Contact: <sip:a@h>;expires=100, <sip:a@h>;expires=200";
    assert_eq!(contacts(&phone.register(&network, &[twice])), ["<sip:a@h>;expires=200"]);
    phone.register(&network, &["Contact: <sip:a@h>;expires=0"]);
    network.calls();
    let response = phone.register(&network, &["Contact: <sip:a@h>;expires=100, <sip:a@h>;expires=0"]);
    assert_eq!((response.status(), contacts(&response).len()), (200, 0));
    assert_eq!(network.calls().last().unwrap(), "SAR UserDeregistration");
    assert!(!network.is_registered("alice@home1.net"));
}

#[test]
fn no_more_contacts_than_allowed() {
    let network = Network::new();
    let mut phone = Phone::alice();
    assert_eq!(phone.register(&network, &["Contact: <sip:1@h>,<sip:2@h>,<sip:3@h>,<sip:4@h>"]).status(), 200);
    assert_eq!(phone.register(&network, &["Contact: <sip:5@h>"]).status(), 403);
    assert_eq!(contacts(&phone.register(&network, &[""])).len(), 4, "all or none of a request");
    network.calls();
    let mut fresh = Phone::new("bob");
    let five = "Contact: <sip:1@h>,<sip:2@h>,<sip:3@h>,<sip:4@h>,<sip:5@h>";
    assert_eq!(fresh.register(&network, &[five]).status(), 403);
    assert!(!network.is_registered("bob@home1.net"));
}

#[test]
fn a_query_changes_nothing() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let response = phone.register(&network, &[""]);
    assert_eq!((response.status(), contacts(&response).len()), (200, 0));
    assert_eq!(network.calls(), ["MAR"]);
    phone.register(&network, &["Expires: 100"]);
    network.calls();
    network.pass(seconds(40));
    assert_eq!(contacts(&phone.register(&network, &[""])), ["<sip:alice@127.0.0.1:40000>;expires=60"]);
    assert_eq!(network.calls(), ["MAR"]);
}

#[test]
fn one_registration_for_the_whole_implicit_set() {
    let network = Network::new();
    let mut phone = Phone::alice();
    phone.register(&network, &[]);
    network.calls();
    phone.impu = "tel:+1234".into();
    phone.call_id = "other".into();
    let response = phone.register(&network, &["Contact: <sip:alice@127.0.0.1:40000>;expires=100"]);
    assert_eq!(contacts(&response), ["<sip:alice@127.0.0.1:40000>;expires=100"]);
    assert_eq!(text(&response, HeaderName::PAssociatedUri), "<sip:alice@home1.net>, <tel:+1234>");
    assert_eq!(network.calls(), ["MAR", "SAR ReRegistration"]);
    phone.register(&network, &["Expires: 0"]);
    assert!(!network.is_registered("alice@home1.net"));
}

#[test]
fn expiry_by_timer() {
    let network = Network::new();
    let mut phone = Phone::alice();
    phone.register(&network, &["Contact: <sip:a@h>;expires=100, <sip:b@h>;expires=200"]);
    network.calls();
    network.pass(seconds(99));
    network.sweep();
    assert_eq!(network.scscf.shared.table.get("alice@home1.net").unwrap().bindings.len(), 2);
    network.pass(seconds(1));
    network.sweep();
    assert_eq!(network.scscf.shared.table.get("alice@home1.net").unwrap().bindings.len(), 1);
    phone.register(&network, &["Contact: <sip:b@h>;expires=200"]);
    network.calls();
    network.pass(seconds(150));
    network.sweep();
    assert!(network.is_registered("alice@home1.net"), "refreshed");
    network.pass(seconds(50));
    network.sweep();
    assert!(network.scscf.shared.table.is_empty());
    assert_eq!(network.calls(), ["SAR TimeoutDeregistration"]);
    assert!(network.scscf.shared.bootstraps.is_empty());
    assert!(network.scscf.shared.busy.is_empty());
}

#[test]
fn what_is_being_worked_on_does_not_expire_meanwhile() {
    let network = Network::new();
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &["Expires: 100"]);
    network.answer(Reply::Nothing);
    network.pass(seconds(98));
    let challenge = phone.first(&network, &[], None);
    let second = phone.second(&challenge, &["Expires: 100"], None);
    let answer = network.begin(&second, &phone.source);
    network.pass(seconds(3));
    network.sweep();
    network.pass(seconds(3));
    let response = network.answered(answer.borrow_mut().take().unwrap());
    assert_eq!(response.status(), 200);
    network.sweep();
    assert!(network.is_registered("alice@home1.net"));
}
