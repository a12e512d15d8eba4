//! The claims as far as the S-CSCF shows them, with what must not happen. That no response to a terminal holds a key is
//! asserted by [`Network::answered`] in every test of this file's neighbours; here it is shown to bite.

use crate::broadcast::{SPROV, forward};
use crate::network::*;
use crate::phone::*;
use imscript::auth::digest::{Algorithm, Password, QopKind};
use imscript::gba::bootstrap::ShortCut;
use imscript::hss::{BroadcastSubscription, RegState};
use imscript::policy::FixedPolicy;
use imscript::policy::verdict::{self, Broadcast, Forward, KeyMovement, OnFailure, Order, Subscription, When};
use imscript::registrar::Settings;
use imscript::sip::HeaderName;
use imscript::sip::transaction::Transport;

const ALICE: &str = "alice@home1.net";

#[test]
fn claim_1_one_request_one_aka_run_two_registrations() {
    let network = Network::new();
    let response = Phone::for_broadcast().register_with(&network, &[], Some((SPROV, b"<ServiceRequest/>")));
    assert_eq!(response.status(), 200);
    assert_eq!(network.calls().iter().filter(|call| call.starts_with("MAR")).count(), 1);
    assert!(network.is_registered(ALICE));
    assert_eq!(network.leg_state(ALICE), Some(RegState::Registered));
    assert!(network.forwarded()[0].has_key());
}

#[test]
fn claim_1_nothing_forwarded_before_authentication() {
    let network = Network::new();
    let body = Some((SPROV, &b"<ServiceRequest/>"[..]));
    let mut phone = Phone::for_broadcast();
    let challenge = phone.first(&network, &[], body);
    let nonce = challenge.challenges().next().unwrap().unwrap().get("nonce").unwrap().into_owned();
    let wrong = phone.digest(Algorithm::Akav1Md5, &nonce, &Password::new(*b"guess"), QopKind::Auth, b"");
    for line in [wrong.clone(), wrong.replace("AKAv1-MD5", "MD5"), String::new(), phone.empty_authorization()] {
        let request = phone.write(&[], &line, body);
        assert!(matches!(network.send(&request, &phone.source).status(), 401 | 403));
    }
    network.pass(seconds(1000));
    network.sweep();
    assert!(network.forwarded().is_empty());
    assert!(network.scscf.shared.bootstraps.is_empty(), "no Ks either");
    assert!(!network.calls().iter().any(|call| call.starts_with("SAR Reg") || call.starts_with("PUR")));
}

#[test]
fn claim_1_no_key_to_a_naf_that_is_not_configured() {
    for order in [Order::Before200, Order::After200] {
        for (naf, to) in [
            ("evil.example.net", None),
            ("evil.example.net", Some("bsm")),
            ("bsm2.home1.net", Some("bsm")),
            (NAF, Some("nowhere")),
        ] {
            let policy = to.map(|to| {
                let forward = Forward {
                    to: to.into(),
                    payload: true,
                    key: KeyMovement::Push,
                    order,
                    on_failure: OnFailure::Pending,
                };
                Broadcast::Forward(forward)
            });
            let network = Network::policy(FixedPolicy { broadcast: policy, ..FixedPolicy::default() });
            let mut phone = Phone::alice();
            phone.headers = vec![format!("Bcast-Ext: naf-id=\"{naf}\"")];
            let response = phone.register(&network, &[]);
            assert_eq!(response.status(), 200, "the IMS registration stands");
            assert!(text(&response, HeaderName::BcastExt).starts_with("state=failed"));
            network.settle();
            assert!(network.forwarded().is_empty(), "{naf} {to:?}");
            phone.headers.push("Require: bcast-ext".into());
            assert_eq!(phone.register(&network, &[]).status(), 403);
        }
    }
}

#[test]
fn claim_1_no_key_over_an_unprotected_way() {
    let network = Network::new();
    let mut phone = Phone::alice();
    phone.headers = vec!["Bcast-Ext: naf-id=\"far.home1.net\"".into()];
    let response = phone.register(&network, &[]);
    assert_eq!(response.status(), 200);
    assert!(text(&response, HeaderName::BcastExt).starts_with("state=failed"));
    network.settle();
    assert!(network.forwarded().is_empty());
}

#[test]
fn claim_1_the_short_cut_setting() {
    let ran = |short_cut, send_ck_ik, from: &str| {
        let network = Network::with(Settings { short_cut, send_ck_ik, ..settings() }, FixedPolicy::default());
        network.keys_may_go.set(true);
        let mut phone = Phone::for_broadcast();
        phone.source = source(Transport::Udp, from);
        let challenge = phone.first(&network, &[], None);
        let second = phone.second(&challenge, &[], None);
        // Through another door than the challenge: the keys have left all the same.
        network.send(&second, &source(Transport::Udp, "127.0.0.1:40000"));
        !network.scscf.shared.bootstraps.is_empty()
    };
    assert!(ran(ShortCut::HomePcscfOnly, false, "127.0.0.1:40000"));
    assert!(ran(ShortCut::HomePcscfOnly, false, "10.0.0.1:5060"));
    assert!(!ran(ShortCut::HomePcscfOnly, true, "10.0.0.1:5060"));
    assert!(ran(ShortCut::Always, true, "10.0.0.1:5060"));
    assert!(!ran(ShortCut::Off, false, "127.0.0.1:40000"));
}

#[test]
fn claim_2_the_server_is_told_of_registration_refresh_and_end() {
    let network = Network::new();
    let mut phone = Phone::for_broadcast();
    let mut told = Vec::new();
    for expires in [600, 700, 0] {
        phone.register(&network, &[&format!("Expires: {expires}")]);
        network.settle();
        told.extend(network.forwarded().iter().map(|sent| sent.expires()));
    }
    assert_eq!(told, [600, 700, 0]);
}

#[test]
fn claim_3_nothing_forwarded_without_subscription() {
    for at in [When::BeforeChallenge, When::AfterAuthentication] {
        for subscription in [Subscription::Always, Subscription::Cached(seconds(60)), Subscription::Never] {
            for order in [Order::Before200, Order::After200] {
                let verify = Some(verdict::Verify { subscription, at });
                let network = Network::policy(FixedPolicy { verify, ..forward(KeyMovement::Push, order) });
                let mut phone = Phone::new("bob");
                phone.headers = vec![format!("Bcast-Ext: naf-id=\"{NAF}\"")];
                let response = phone.register_with(&network, &[], Some((SPROV, b"<ServiceRequest/>")));
                assert_eq!(response.status(), 200);
                assert!(text(&response, HeaderName::BcastExt).starts_with("state=failed;cause=\"no broadcast"));
                phone.headers.push("Require: bcast-ext".into());
                assert_eq!(phone.register(&network, &[]).status(), 403);
                network.pass(seconds(100));
                assert!(network.forwarded().is_empty());
                assert!(network.is_registered("bob@home1.net"), "what was there before stays");
            }
        }
    }
}

#[test]
fn claim_3_the_hss_is_asked_as_often_as_the_policy_says() {
    let asked = |subscription| {
        let verify = Some(verdict::Verify { subscription, at: When::AfterAuthentication });
        let network = Network::policy(FixedPolicy { verify, ..FixedPolicy::default() });
        let mut phone = Phone::for_broadcast();
        for pause in [10, 10, 60] {
            phone.register(&network, &[]);
            network.pass(seconds(pause));
        }
        phone.register(&network, &[]);
        network.calls().iter().filter(|call| *call == "UDR").count()
    };
    assert_eq!(asked(Subscription::Always), 4);
    assert_eq!(asked(Subscription::Cached(seconds(60))), 2);
    assert_eq!(asked(Subscription::Never), 0);
}

#[test]
fn claim_3_a_subscription_withdrawn_gets_no_new_key() {
    let network = Network::new();
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &[]);
    network.settle();
    network.forwarded();
    network.hss.0.lock().unwrap().users.get_mut(ALICE).unwrap().broadcast = BroadcastSubscription::None;
    phone.register(&network, &[]);
    network.pass(seconds(100));
    let sent = network.forwarded();
    assert_eq!((sent.len(), sent[0].expires(), sent[0].has_key()), (1, 0, false), "and the old one is ended");
    assert_eq!(network.leg_state(ALICE), None);
    assert!(network.is_registered(ALICE));
}

#[test]
fn claim_7_the_hss_holds_both_states() {
    let network = Network::new();
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &[]);
    let held = |network: &Network| network.hss.0.lock().unwrap().broadcast["sip:alice@home1.net"].clone();
    assert_eq!((held(&network).state, held(&network).server.as_str()), (RegState::Registered, "bsm"));
    assert!(held(&network).btid.is_some());
    phone.register(&network, &["Expires: 0"]);
    network.settle();
    assert_eq!((held(&network).state, held(&network).btid), (RegState::NotRegistered, None));
}

#[test]
#[should_panic(expected = "a key in what the terminal gets")]
fn the_search_for_keys_in_answers_finds_one() {
    let network = Network::new();
    Phone::alice().register(&network, &[]);
    let ck = &network.secrets()[0];
    let hex: String = ck.iter().map(|octet| format!("{octet:02X}")).collect();
    assert_no_secrets(format!("SIP/2.0 200 OK\r\nX: {hex}\r\n\r\n").as_bytes(), &network.secrets());
}
