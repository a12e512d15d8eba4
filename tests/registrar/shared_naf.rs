//! Several broadcast servers behind one NAF (fail-over, splits): whoever speaks or is spoken to, it is the user's own.

use crate::messages::{ALICE, alert, application, bsm, btid, message};
use crate::network::*;
use crate::phone::*;
use imscript::broadcast::peer::Peer;
use imscript::hss::RegState;
use imscript::policy::FixedPolicy;
use imscript::policy::verdict::{Broadcast, Forward, KeyMovement, OnFailure, Order};
use imscript::registrar::Settings;
use imscript::sip::HeaderName;
use std::sync::Arc;

/// Three servers on one address, so that only the user's registration tells them apart; the last has another NAF.
pub(crate) fn three() -> Settings {
    let base = settings();
    let server = |name: &str, port: u16, naf: &str| {
        let mut peer: Peer = Peer::clone(&base.servers[0]);
        peer.name = name.into();
        peer.hop.addr.set_port(port);
        peer.naf_fqdns = vec![naf.into()];
        peer
    };
    let servers = [server("north", 5071, NAF), server("south", 5072, NAF), server("east", 5073, "east.home1.net")];
    Settings { servers: servers.map(Arc::new).into(), ..base }
}

pub(crate) fn forward_to(name: &str, key: KeyMovement) -> FixedPolicy {
    let to = name.into();
    let forward = Forward { to, payload: true, key, order: Order::Before200, on_failure: OnFailure::Pending };
    FixedPolicy { broadcast: Some(Broadcast::Forward(forward)), ..FixedPolicy::default() }
}

fn ports(network: &Network) -> Vec<u16> {
    network.forwarded().iter().map(|sent| sent.to.addr.port()).collect()
}

#[test]
fn the_first_is_the_default_and_a_policy_may_name_another_that_has_the_naf() {
    for (policy, port, state) in [
        (FixedPolicy::default(), Some(5071), "state=registered"),
        (forward_to("south", KeyMovement::Push), Some(5072), "state=registered"),
        (forward_to("east", KeyMovement::Push), None, "state=failed;cause=\"unknown NAF\""),
        (forward_to("nobody", KeyMovement::Push), None, "state=failed;cause=\"unknown NAF\""),
    ] {
        let network = Network::with(three(), policy);
        let response = Phone::for_broadcast().register(&network, &[]);
        assert!(text(&response, HeaderName::BcastExt).starts_with(state), "{}", text(&response, HeaderName::BcastExt));
        network.settle();
        assert_eq!(ports(&network), port.into_iter().collect::<Vec<u16>>());
    }
}

#[test]
fn a_key_request_is_answered_at_the_users_own_server() {
    for (policy, port) in [(FixedPolicy::default(), 5071), (forward_to("south", KeyMovement::Pull), 5072)] {
        let network = Network::with(three(), policy);
        Phone::for_broadcast().register(&network, &[]);
        network.forwarded();
        let ask = |naf: &str| {
            let line = format!("Bcast-Ext: request=key;naf-id=\"{naf}\";btid=\"{}\"", btid(&network).text());
            let request = message("sip:bsf.home1.net", "sip:bsm.home1.net", &[&line], "text/plain", b"");
            assert_eq!(network.send(&request, &bsm()).status(), 202);
            network.settle();
        };
        ask(NAF);
        let sent = network.forwarded();
        assert_eq!((sent.len(), sent[0].to.addr.port(), sent[0].has_key()), (1, port, true));
        // A NAF that neither of them is: no key, whoever of them asks.
        ask("far.home1.net");
        assert!(network.forwarded().iter().all(|sent| !sent.has_key()));
    }
}

#[test]
fn an_alert_from_a_shared_address_is_the_users_own_servers() {
    let network = Network::with(three(), forward_to("south", KeyMovement::Push));
    Phone::for_broadcast().register(&network, &[]);
    let of = Some(btid(&network));
    assert_eq!(alert(&network, &bsm(), NAF, of.clone(), RegState::NotRegistered), 200);
    assert_eq!(network.leg_state(ALICE), Some(RegState::NotRegistered));
    let leg = network.scscf.shared.table.leg(ALICE).unwrap();
    assert_eq!(&*leg.server, "south");
    assert_eq!(alert(&network, &bsm(), "far.home1.net", of, RegState::Failed), 403);
}

#[test]
fn figure_5_b_goes_to_the_users_own_server_and_to_the_first_without_one() {
    for (policy, headers, port) in
        [(forward_to("south", KeyMovement::Push), true, 5072), (forward_to("south", KeyMovement::Push), false, 5071)]
    {
        let network = Network::with(three(), policy);
        let mut phone = if headers { Phone::for_broadcast() } else { Phone::alice() };
        phone.register(&network, &[]);
        network.forwarded();
        let response = application(&network, "sip:alice@home1.net", &[], &phone.source);
        assert_eq!(response.status(), 200);
        assert_eq!(ports(&network), [port]);
    }
}
