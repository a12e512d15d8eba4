//! Registering without a challenge, where the policy takes the terminal's word.

use crate::network::*;
use crate::phone::*;
use imscript::hss::RegState;
use imscript::policy::{Context, Decide, Defaults, FixedPolicy, verdict};
use imscript::sip::{HeaderName, Message};
use std::cell::Cell;
use std::rc::Rc;

const ALICE: &str = "alice@home1.net";

fn trusting() -> FixedPolicy {
    FixedPolicy { register: Some(verdict::Register::Trust), ..FixedPolicy::default() }
}

fn network() -> Network {
    Network::policy(trusting())
}

/// A REGISTER as a terminal writes it that has nothing to show.
fn plain(network: &Network, phone: &mut Phone, more: &[&str]) -> Message<'static> {
    let request = phone.write(more, "", None);
    network.send(&request, &phone.source)
}

#[test]
fn one_register_is_enough_and_the_hss_is_told() {
    let network = network();
    let mut phone = Phone::alice();
    let response = plain(&network, &mut phone, &["Expires: 600"]);
    assert_eq!(response.status(), 200);
    assert_eq!(contacts(&response), ["<sip:alice@127.0.0.1:40000>;expires=600"]);
    assert_eq!(text(&response, HeaderName::PAssociatedUri), "<sip:alice@home1.net>, <tel:+1234>");
    assert!(response.header(HeaderName::BcastExt).is_none());
    assert_eq!(network.calls(), ["LIR", "SAR Registration"], "no vector is asked for");
    assert!(
        network.scscf.shared.bootstraps.of_impi(&ALICE.into(), network.time.clock.now()).is_none(),
        "no AKA, no Ks"
    );
    // A refresh, with a username this time.
    assert_eq!(phone.first(&network, &["Expires: 600"], None).status(), 200);
    assert_eq!(network.calls(), ["SAR ReRegistration"]);
}

#[test]
fn it_ends_with_expires_0() {
    let network = network();
    let mut phone = Phone::alice();
    assert_eq!(plain(&network, &mut phone, &["Expires: 0"]).status(), 200, "who is not registered");
    plain(&network, &mut phone, &[]);
    network.calls();
    let response = plain(&network, &mut phone, &["Expires: 0"]);
    assert_eq!((response.status(), contacts(&response).len()), (200, 0));
    assert!(!network.is_registered(ALICE));
    assert_eq!(network.calls(), ["LIR", "SAR UserDeregistration"]);
}

#[test]
fn only_for_users_that_the_hss_knows() {
    let network = network();
    for more in [&["Expires: 600"][..], &["Expires: 0"], &[""]] {
        let mut nobody = Phone::new("mallory");
        assert_eq!(plain(&network, &mut nobody, more).status(), 403, "{more:?}");
        let query = if *more == [""] { 404 } else { 403 };
        assert_eq!(nobody.first(&network, more, None).status(), query, "with a username, {more:?}");
        // A public identity of somebody else's.
        let mut bob = Phone::new("bob");
        bob.impu = "sip:alice@home1.net".into();
        assert_eq!(bob.first(&network, more, None).status(), query, "{more:?}");
        for impi in ["mallory@home1.net", "bob@home1.net", ALICE] {
            assert!(!network.is_registered(impi));
        }
    }
    network.hss.0.lock().unwrap().down.insert("SAR");
    assert_eq!(plain(&network, &mut Phone::alice(), &[]).status(), 504);
    assert!(!network.is_registered(ALICE));
}

#[test]
fn a_question_is_answered_about_who_is_registered() {
    let network = network();
    let mut phone = Phone::alice();
    assert_eq!(plain(&network, &mut phone, &[""]).status(), 404);
    plain(&network, &mut phone, &["Expires: 600"]);
    let told = plain(&network, &mut phone, &[""]);
    assert_eq!((told.status(), contacts(&told).len()), (200, 1));
}

#[test]
fn a_broadcast_portion_goes_nowhere_without_a_key() {
    let network = network();
    let mut phone = Phone::for_broadcast();
    let response = phone.first(&network, &[], None);
    assert_eq!(response.status(), 200);
    assert_eq!(text(&response, HeaderName::BcastExt), "state=failed;cause=\"not authenticated\"");
    network.settle();
    assert!(network.forwarded().is_empty());
    assert_eq!(network.leg_state(ALICE), None);

    let response = phone.first(&network, &["Require: bcast-ext"], None);
    assert_eq!(response.status(), 403, "all or nothing");
    let mut fresh = Phone::for_broadcast();
    fresh.call_id = "other".into();
    let network = self::network();
    assert_eq!(fresh.first(&network, &["Require: bcast-ext"], None).status(), 403);
    assert!(!network.is_registered(ALICE) && network.forwarded().is_empty());
}

/// Trusts or challenges as it is told.
struct Changing(Rc<Cell<bool>>);

impl Decide for Changing {
    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        if self.0.get() { verdict::Register::Trust } else { Defaults.register(request, ctx) }
    }
}

#[test]
fn a_key_of_an_earlier_registration_is_not_given_away() {
    let trusts = Rc::new(Cell::new(false));
    let network = Network::policy(Changing(trusts.clone()));
    let mut phone = Phone::for_broadcast();
    assert_eq!(phone.register(&network, &[]).status(), 200);
    network.settle();
    assert_eq!(network.forwarded().iter().filter(|sent| sent.has_key()).count(), 1);
    trusts.set(true);
    let response = phone.first(&network, &[], None);
    assert_eq!(text(&response, HeaderName::BcastExt), "state=failed;cause=\"not authenticated\"");
    network.settle();
    assert!(network.forwarded().iter().all(|sent| !sent.has_key()));
    assert_eq!(network.leg_state(ALICE), Some(RegState::Registered), "what stands is left alone");
    trusts.set(false);
    assert_eq!(phone.first(&network, &[], None).status(), 401, "who is trusted once is not trusted for ever");
}
