//! Notifications that a policy holds back, and those to servers that the user is not registered with.

use crate::messages::{ALICE, alert, bsm, btid};
use crate::network::*;
use crate::phone::*;
use crate::stages::Script;
use imscript::broadcast::keys::BroadcastRegistration;
use imscript::hss::RegState;
use imscript::policy::System;
use imscript::policy::verdict::{NotifyBy, Status};
use imscript::sip::HeaderName;
use imscript::sip::print::insert_via;

fn tell(to: &'static str, system: System, by: NotifyBy, after: u64) -> Script {
    let say = move |event: &imscript::policy::StatusEvent<'_>| match event.system == system {
        true => Status::Notify { to: vec![to.into()], by, after: seconds(after) },
        false => Status::Silent,
    };
    Script { status: Some(Box::new(say)), ..Script::default() }
}

fn ims_to(to: &'static str, after: u64) -> Script {
    tell(to, System::Ims, NotifyBy::ThirdPartyRegister, after)
}

/// Method, port and Expires of what went to `host` since the last time.
fn told(network: &Network, host: &str) -> Vec<(String, u32)> {
    let sent = network.forwarded();
    let to_host = sent.iter().filter(|sent| sent.to.addr.ip().to_string() == host);
    to_host
        .map(|sent| (String::from_utf8_lossy(sent.request.method()).into_owned(), sent.request.expires().unwrap_or(0)))
        .collect()
}

const OTHER: &str = "127.0.0.2";

#[test]
fn a_users_changes_within_the_time_are_told_once() {
    let network = Network::policy(ims_to("bsm2", 60));
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &["Expires: 600"]);
    network.pass(seconds(20));
    phone.register(&network, &["Expires: 700"]);
    network.pass(seconds(39));
    network.sweep();
    assert!(told(&network, OTHER).is_empty(), "59 s");
    network.pass(seconds(1));
    network.sweep();
    assert_eq!(told(&network, OTHER), [("REGISTER".to_string(), 660)], "once, with what is left of the time now");
    network.pass(seconds(300));
    network.sweep();
    assert!(told(&network, OTHER).is_empty());
    assert!(network.scscf.shared.held.is_empty());
}

#[test]
fn the_end_of_a_broadcast_registration_is_told_like_its_beginning() {
    for (by, method) in [(NotifyBy::Message, "MESSAGE"), (NotifyBy::ThirdPartyRegister, "REGISTER")] {
        for expiry in [false, true] {
            let network = Network::policy(tell("bsm2", System::Broadcast, by, 0));
            let mut phone = Phone::for_broadcast();
            phone.register(&network, &["Expires: 600"]);
            network.settle();
            assert_eq!(told(&network, OTHER), [(method.to_string(), if by == NotifyBy::Message { 0 } else { 600 })]);
            if expiry {
                network.pass(seconds(600));
                network.sweep();
            } else {
                phone.register(&network, &["Expires: 0"]);
                network.settle();
            }
            assert_eq!(told(&network, OTHER), [(method.to_string(), 0)], "{method} {expiry}");
        }
    }
}

#[test]
fn what_came_and_went_meanwhile_is_not_told() {
    let network = Network::policy(ims_to("bsm2", 60));
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &[]);
    network.pass(seconds(10));
    phone.register(&network, &["Expires: 0"]);
    network.settle();
    network.pass(seconds(120));
    network.sweep();
    assert!(told(&network, OTHER).is_empty());
    assert!(network.scscf.shared.held.is_empty());
}

#[test]
fn an_end_that_is_held_back_does_not_follow_a_new_registration() {
    let network = Network::policy(ims_to("bsm", 60));
    let mut phone = Phone::for_broadcast();
    phone.register(&network, &[]);
    network.settle();
    network.forwarded();
    phone.register(&network, &["Expires: 0"]);
    network.settle();
    assert!(network.forwarded().is_empty(), "held back");
    network.pass(seconds(30));
    phone.register(&network, &["Expires: 800"]);
    network.settle();
    network.pass(seconds(120));
    network.sweep();
    assert_eq!(told(&network, "127.0.0.1"), [("REGISTER".to_string(), 800)], "the new registration alone");
    // An end that lasts is told when its time has come.
    phone.register(&network, &["Expires: 0"]);
    network.settle();
    network.pass(seconds(60));
    network.sweep();
    assert_eq!(told(&network, "127.0.0.1"), [("REGISTER".to_string(), 0)]);
}

#[test]
fn a_broadcast_change_reaches_another_server_by_message_now_or_later() {
    for after in [0, 30] {
        let network = Network::policy(tell("bsm2", System::Broadcast, NotifyBy::Message, after));
        Phone::for_broadcast().register(&network, &["Expires: 600"]);
        network.settle();
        network.pass(seconds(after));
        network.sweep();
        let sent = network.forwarded();
        let word = sent.iter().find(|sent| sent.to.addr.ip().to_string() == OTHER).expect("the other server was told");
        assert_eq!(word.request.method(), b"MESSAGE");
        let on_the_wire = insert_via(word.request.bytes(), "SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK1");
        imscript::sip::Message::parse(&on_the_wire).unwrap().check().unwrap();
        let document = BroadcastRegistration::parse(word.request.body()).unwrap();
        assert_eq!((document.state, document.naf_fqdn.as_str()), (RegState::Registered, NAF));
        assert_eq!(document.impu.as_str(), "sip:alice@home1.net");
        assert_eq!(document.expires, 600 - u32::try_from(after).unwrap());
        assert!(word.text(HeaderName::BcastExt).contains("state=registered"));
        assert_no_secrets(word.request.bytes(), &network.secrets());
    }
}

#[test]
fn flapping_of_the_broadcast_registration_is_kept_from_others() {
    let network = Network::policy(tell("bsm2", System::Broadcast, NotifyBy::Message, 10));
    Phone::for_broadcast().register(&network, &[]);
    network.pass(seconds(10));
    network.sweep();
    assert_eq!(told(&network, OTHER).len(), 1);
    let key = Some(btid(&network));
    for state in [RegState::Failed, RegState::Registered, RegState::Failed, RegState::Registered] {
        assert_eq!(alert(&network, &bsm(), NAF, key.clone(), state), 200);
        network.pass(seconds(1));
    }
    network.pass(seconds(60));
    network.sweep();
    assert!(told(&network, OTHER).is_empty());
    assert_eq!(network.leg_state(ALICE), Some(RegState::Registered));
    alert(&network, &bsm(), NAF, key, RegState::Failed);
    network.pass(seconds(10));
    network.sweep();
    assert_eq!(told(&network, OTHER).len(), 1, "one that lasts is told");
}
