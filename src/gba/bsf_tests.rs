use super::*;
use crate::broadcast::ext::KeyWay;
use crate::broadcast::peer::tests::source;
use crate::broadcast::peer::{KeyTransport, PeerAddress};
use crate::broadcast::testbed::{BSM, Bed};
use crate::sip::transaction::Transport;

fn ask(bed: &Bed, ext: Ext, from: &str) -> u16 {
    let bytes = bed.message(&[(HeaderName::BcastExt, ext.to_string())], None);
    let request = Message::parse(&bytes).unwrap();
    assert_eq!(is_key_request(&request), ext.asks_key);
    let from = source(Transport::Udp, from, &[]);
    let (answer, job) = Rc::clone(&bed.bsf).answer(&request, &from, None, bed.world.now());
    if let Some(job) = job {
        bed.world.run(job);
    }
    Message::parse(&answer).unwrap().status()
}

fn request(bed: &Bed) -> Ext {
    Ext { asks_key: true, naf: Some(bed.naf.clone()), btid: Some(bed.boot.btid.clone()), ..Ext::default() }
}

fn sent(bed: &Bed) -> String {
    bed.world.sent.borrow().last().unwrap().1.clone()
}

#[test]
fn the_key_goes_to_the_configured_address_in_a_message_of_its_own() {
    let bed = Bed::new();
    assert_eq!(ask(&bed, request(&bed), "127.0.0.1:40000"), 202);
    assert_eq!(bed.world.ladder(), ["MESSAGE 5070"], "not to where the question came from");
    let sent = sent(&bed);
    let message = Message::parse(sent.as_bytes()).unwrap();
    let document = KeyDocument::parse(message.body()).unwrap();
    assert_eq!(document.key.0, bed.boot.ks_naf(&bed.naf).0);
    assert_eq!(document.impus.first(), Some(&bed.impu));
}

#[test]
fn claim_1_negative_no_key_to_an_unconfigured_peer() {
    let bed = Bed::new();
    assert_eq!(ask(&bed, request(&bed), "127.0.0.9:5070"), 403);
    let this_port = PeerAddress { ip: "127.0.0.1".parse().unwrap(), port: Some(5070) };
    let bed = Bed::with(|_| {}, |server| server.addresses = vec![this_port]);
    assert_eq!(ask(&bed, request(&bed), "127.0.0.1:5071"), 403, "another program on the same machine");
    assert!(bed.world.ladder().is_empty());
}

#[test]
fn refusals_carry_their_cause_and_no_key() {
    let cause = |bed: &Bed, ext: Ext| {
        assert_eq!(ask(bed, ext, BSM), 202);
        let sent = sent(bed);
        assert!(!sent.contains("<muk>"));
        KeyRefusal::parse(Message::parse(sent.as_bytes()).unwrap().body()).unwrap().cause
    };
    let bed = Bed::new();
    let other = NafId::parse("other.home1.net").unwrap();
    assert_eq!(cause(&bed, Ext { naf: Some(other), ..request(&bed) }), "naf-not-allowed");
    let unknown = Btid::parse("AAAAAAAAAAAAAAAAAAAAAA==@bsf.home1.net").unwrap();
    assert_eq!(cause(&bed, Ext { btid: Some(unknown), ..request(&bed) }), "unknown-btid");
    *bed.hss.subscription.lock().unwrap() = crate::hss::BroadcastSubscription::None;
    assert_eq!(cause(&bed, request(&bed)), "not-subscribed");
    bed.world.advance(3601);
    assert_eq!(cause(&bed, request(&bed)), "unknown-btid", "expired");
}

#[test]
fn no_key_over_plaintext() {
    for (allowed, key) in [(KeyTransport::MutualTls, false), (KeyTransport::PlaintextAllowed, true)] {
        let bed = Bed::with(
            |_| {},
            |server| {
                server.hop.addr = "192.0.2.7:5070".parse().unwrap();
                server.key_transport = allowed;
            },
        );
        assert_eq!(ask(&bed, request(&bed), "192.0.2.7:5070"), 202);
        assert_eq!(sent(&bed).contains("<muk>"), key);
    }
}

#[test]
fn incomplete_questions() {
    let bed = Bed::new();
    assert_eq!(ask(&bed, Ext { btid: None, ..request(&bed) }, BSM), 400);
    assert_eq!(ask(&bed, Ext { naf: None, ..request(&bed) }, BSM), 400);
    assert_eq!(ask(&bed, Ext { asks_key: false, key: Some(KeyWay::Pull), ..request(&bed) }, BSM), 400);
}
