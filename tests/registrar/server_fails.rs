//! The broadcast leg when something is wrong: the IMS registration stands, unless all or nothing was asked for.

use crate::broadcast::{SPROV, forward};
use crate::network::*;
use crate::phone::*;
use imscript::auth::challenge::Challenges;
use imscript::gba::bootstrap::ShortCut;
use imscript::hss::RegState;
use imscript::policy::FixedPolicy;
use imscript::policy::verdict::{Broadcast, KeyMovement, Order};
use imscript::registrar::Settings;
use imscript::sip::HeaderName;

const ALICE: &str = "alice@home1.net";

fn all_or_nothing() -> Phone {
    let mut phone = Phone::for_broadcast();
    phone.headers.push("Require: bcast-ext".into());
    phone
}

#[test]
fn a_dead_server_costs_its_time_and_no_more_and_is_tried_again() {
    let network = Network::new();
    network.answer(Reply::Nothing);
    let began = network.now();
    let response = Phone::for_broadcast().register(&network, &[]);
    assert_eq!(response.status(), 200);
    assert_eq!(network.now() - began, seconds(5));
    assert!(text(&response, HeaderName::BcastExt).starts_with("state=pending"));
    assert_eq!(network.leg_state(ALICE), Some(RegState::Pending));
    network.pass(seconds(60));
    let times: Vec<u64> = network.forwarded().iter().map(|s| (s.at - began).as_secs()).collect();
    assert_eq!(times, [0, 6, 13, 22, 35, 56], "pauses of 1, 2, 4, 8, 16 s after 5 s of waiting");
    let told = network.calls().iter().filter(|call| *call == "PUR pending").count();
    assert_eq!(told, 1, "the HSS hears once");
    network.answer(Reply::ok());
    network.pass(seconds(60));
    let sent = network.forwarded();
    assert_eq!((sent.len(), sent[0].has_key()), (1, true));
    assert_eq!(network.leg_state(ALICE), Some(RegState::Registered));
    network.pass(seconds(600));
    assert!(network.forwarded().is_empty());
}

#[test]
fn what_a_server_says_that_may_go_better_later_and_what_is_its_last_word() {
    for (status, tried_again) in [(503, true), (480, true), (500, true), (403, false), (400, false), (603, false)] {
        let network = Network::new();
        network.answer(Reply::status(status));
        let response = Phone::for_broadcast().register(&network, &[]);
        assert_eq!(response.status(), 200);
        let state = if tried_again { RegState::Pending } else { RegState::Failed };
        assert!(text(&response, HeaderName::BcastExt).starts_with(&format!("state={}", state.as_str())));
        assert_eq!(network.leg_state(ALICE), Some(state), "{status}");
        network.pass(seconds(3));
        assert_eq!(network.forwarded().len() > 1, tried_again, "{status}");
    }
}

#[test]
fn the_attempts_end_with_ks() {
    let network = Network::with(Settings { key_lifetime: seconds(60), ..settings() }, FixedPolicy::default());
    network.answer(Reply::Nothing);
    Phone::for_broadcast().register(&network, &[]);
    network.pass(seconds(200));
    assert_eq!(network.leg_state(ALICE), Some(RegState::Failed));
    network.forwarded();
    network.pass(seconds(1000));
    assert!(network.forwarded().is_empty());
    assert!(network.is_registered(ALICE));
}

#[test]
fn an_attempt_of_an_earlier_registration_does_not_touch_the_next() {
    let network = Network::new();
    network.answer(Reply::Nothing);
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &[]);
    phone.register(&network, &["Expires: 0"]);
    network.answer(Reply::ok());
    phone.register(&network, &[]);
    network.pass(seconds(600));
    assert_eq!(network.leg_state(ALICE), Some(RegState::Registered));
    let last = network.forwarded();
    assert!(last.last().unwrap().expires() > 0, "the end of the first did not overtake the second");
}

#[test]
fn all_or_nothing_and_a_dead_server() {
    let network = Network::new();
    network.answer(Reply::Nothing);
    let response = all_or_nothing().register(&network, &[]);
    assert_eq!(response.status(), 504);
    assert!(!network.is_registered(ALICE));
    assert!(network.scscf.shared.bootstraps.is_empty());
    assert!(network.scscf.shared.busy.is_empty());
    let calls = network.calls();
    assert!(calls.contains(&"SAR UserDeregistration".to_string()) && calls.contains(&"PUR not_registered".to_string()));
    network.answer(Reply::ok());
    network.pass(seconds(10));
    let sent = network.forwarded();
    assert_eq!(sent.last().unwrap().expires(), 0, "it may have registered the user all the same");
    assert_eq!(sent.last().unwrap().text(HeaderName::CallId), sent[0].text(HeaderName::CallId));
}

#[test]
fn all_or_nothing_refused_by_anybody_is_403_and_undone() {
    let skip = FixedPolicy { broadcast: Some(Broadcast::Skip { reason: "no".into() }), ..FixedPolicy::default() };
    let off = Settings { short_cut: ShortCut::Off, ..settings() };
    let says = |network: Network, reply| {
        network.answer(reply);
        network
    };
    let failed = Reply::Says(200, "state=failed;cause=\"no room\"", None);
    for network in [
        says(Network::new(), Reply::status(403)),
        says(Network::new(), failed),
        says(Network::new(), Reply::Says(200, "state=terminated", None)),
        Network::policy(skip),
        Network::with(off, FixedPolicy::default()),
    ] {
        let response = all_or_nothing().register(&network, &[]);
        assert_eq!(response.status(), 403);
        assert!(!network.is_registered(ALICE) && network.scscf.shared.bootstraps.is_empty());
        assert_eq!(network.leg_state(ALICE), None);
    }
}

#[test]
fn all_or_nothing_waits_for_the_server_whatever_the_policy_says() {
    let network = Network::policy(forward(KeyMovement::Push, Order::After200));
    network.answer(Reply::status(403));
    assert_eq!(all_or_nothing().register(&network, &[]).status(), 403);
    assert!(!network.is_registered(ALICE));
}

#[test]
fn all_or_nothing_at_a_refresh_keeps_the_ims_registration_that_was_there() {
    let network = Network::new();
    let mut phone = all_or_nothing();
    assert_eq!(phone.register(&network, &["Expires: 1000"]).status(), 200);
    network.answer(Reply::status(403));
    assert_eq!(phone.register(&network, &["Expires: 2000"]).status(), 403);
    let bindings = network.scscf.shared.table.get(ALICE).unwrap().bindings;
    assert!(bindings[0].until <= network.now() + seconds(1000));
    assert!(!network.calls().contains(&"SAR UserDeregistration".to_string()));
}

#[test]
fn no_key_without_ks() {
    for mut phone in [Phone::new("carol"), Phone::alice()] {
        let network = Network::with(Settings { short_cut: ShortCut::Off, ..settings() }, FixedPolicy::default());
        phone.headers = vec![format!("Bcast-Ext: naf-id=\"{NAF}\"")];
        let response = phone.register(&network, &[]);
        assert_eq!(response.status(), 200);
        assert!(text(&response, HeaderName::BcastExt).starts_with("state=failed;cause=\"no bootstrapping\""));
        network.settle();
        assert!(network.forwarded().is_empty());
    }
}

#[test]
fn an_hss_that_cannot_tell_of_the_subscription_fails_the_leg_only() {
    let network = Network::new();
    network.hss.0.lock().unwrap().down.insert("UDR");
    let response = Phone::for_broadcast().register(&network, &[]);
    assert_eq!(response.status(), 200);
    assert!(text(&response, HeaderName::BcastExt).starts_with("state=failed"));
    assert!(network.forwarded().is_empty());
    let mut phone = all_or_nothing().ahead(network.hss.0.lock().unwrap().seq);
    phone.call_id = "2".into();
    assert_eq!(phone.register(&network, &[]).status(), 504);
}

#[test]
fn another_register_meanwhile_is_told_to_wait() {
    let network = Network::new();
    network.answer(Reply::After(seconds(3), Box::new(Reply::ok())));
    let mut phone = Phone::for_broadcast();
    let challenge = phone.first(&network, &[], None);
    let second = phone.second(&challenge, &[], None);
    let answer = network.begin(&second, &phone.source);
    let refused = phone.first(&network, &[], None);
    assert_eq!((refused.status(), text(&refused, HeaderName::RetryAfter)), (500, "5"));
    network.pass(seconds(3));
    assert_eq!(network.answered(answer.borrow_mut().take().unwrap()).status(), 200);
    assert_eq!(network.forwarded().len(), 1);
    assert!(network.scscf.shared.busy.is_empty());
}

#[test]
fn refresh_and_end_are_repeated_until_heard() {
    let network = Network::new();
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &[]);
    network.forwarded();
    network.answer(Reply::status(503));
    phone.register(&network, &["Expires: 0"]);
    network.pass(seconds(7));
    assert_eq!(network.forwarded().len(), 3, "at once, after 2 s, after 4 s more");
    network.answer(Reply::ok());
    network.pass(seconds(3600));
    let sent = network.forwarded();
    assert_eq!((sent.len(), sent[0].expires(), sent[0].text(HeaderName::CSeq)), (1, 0, "5 REGISTER"));

    network.answer(Reply::Nothing);
    phone.register(&network, &["Expires: 60"]);
    phone.register(&network, &["Expires: 0"]);
    network.pass(seconds(100_000));
    assert!(network.forwarded().len() < 20, "and not for ever");
}

#[test]
fn portions_that_had_to_be_let_go() {
    let body = vec![b' '; 2000];
    for (phone, status) in [(Phone::for_broadcast(), 200), (all_or_nothing(), 503)] {
        let network = Network::tuned(settings(), FixedPolicy::default(), |shared| {
            shared.challenges = Challenges::new(100, seconds(240)).with_budget(1000);
        });
        let mut phone = phone;
        let response = phone.register_with(&network, &[], Some((SPROV, &body)));
        // Its headers stand in the second request as well, so that counts and nothing is lost.
        assert_eq!(response.status(), 200);
        let mut phone = Phone { headers: phone.headers.clone(), ..phone };
        let challenge = phone.first(&network, &[], Some((SPROV, &body)));
        assert_eq!(network.scscf.shared.challenges.octets(), 0);
        phone.headers.clear();
        network.forwarded();
        let second = phone.second(&challenge, &[], None);
        let response = network.send(&second, &phone.source);
        assert_eq!(response.status(), status);
        if status == 200 {
            assert!(text(&response, HeaderName::BcastExt).starts_with("state=failed;cause=\"let go under load\""));
        }
        assert!(network.forwarded().iter().all(|s| !s.has_key()));
    }
}

#[test]
fn a_flood_of_payloads_stays_within_the_budget_and_logs_nobody_out() {
    let network = Network::tuned(settings(), FixedPolicy::default(), |shared| {
        shared.challenges = Challenges::new(100, seconds(240)).with_budget(100_000);
    });
    let body = vec![b' '; 40_000];
    let mut victim = Phone::alice();
    let challenge = victim.first(&network, &[], None);
    for i in 0..90 {
        let impu = imscript::identity::Impu::new(format!("sip:u{i}@home1.net"));
        let user = User { impus: vec![impu], broadcast: Default::default(), password: None };
        network.hss.0.lock().unwrap().users.insert(format!("u{i}@home1.net"), user);
        let mut flood = Phone::new(&format!("u{i}"));
        flood.headers = Phone::for_broadcast().headers;
        assert_eq!(flood.first(&network, &[], Some((SPROV, &body))).status(), 401);
        assert!(network.scscf.shared.challenges.octets() <= 100_000);
    }
    let second = victim.second(&challenge, &[], None);
    assert_eq!(network.send(&second, &victim.source).status(), 200);
}
