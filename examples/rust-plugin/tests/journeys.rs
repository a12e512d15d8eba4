//! The guard in a chain, asked about real messages in the order in which a registration asks it.

use fraud_guard::{FraudGuard, Settings, device};
use imscript::clock::Clock;
use imscript::policy::verdict::{Authorized, Register};
use imscript::policy::{Chain, Context, Decide, Kind, Native, Outcome};
use imscript::sip::Message;
use imscript::sip::transaction::{Source, Transport};
use std::sync::Arc;
use std::time::Duration;

const REGISTER: &str = "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\nFrom: <sip:alice@home1.net>;tag=a\r\nTo: <sip:alice@home1.net>\r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\n\
    User-Agent: Card 1.0\r\nContact: <sip:alice@192.0.2.7>\r\nContent-Length: 0\r\n\r\n";

fn chain(guard: &FraudGuard) -> Chain {
    let native = Native::new(guard.clone());
    let counters = native.counters().clone();
    Chain::new(1, vec![(Box::new(native), counters)], Clock::new())
}

fn guard() -> FraudGuard {
    FraudGuard::new(Settings { neighbours: vec![("b.net".into(), "c.net".into())], ..Settings::default() })
}

/// A registration through a network at a time: the stage that refuses it, if one does.
fn register(chain: &Chain, impu: &str, network: Option<&str>, unix: u64) -> Option<&'static str> {
    attempt(chain, impu, network, unix, 200)
}

fn attempt(chain: &Chain, impu: &str, network: Option<&str>, unix: u64, status: u16) -> Option<&'static str> {
    let message = Message::parse(REGISTER.as_bytes()).unwrap();
    let source = Source {
        transport: Transport::Udp,
        addr: "192.0.2.7:5060".parse().unwrap(),
        local: "192.0.2.1:5060".parse().unwrap(),
        peer_names: Arc::new([]),
    };
    let ctx = Context { kind: Kind::Initial, impu, visited_network: network, ..Context::arrival(&source, &[], unix) };
    let ended = |status| {
        let outcome = Outcome { method: "REGISTER", status, broadcast: None, server: None, micros: 0 };
        chain.finish(&outcome, &ctx);
    };
    if let Register::Reject(reject) = chain.register(&message, &ctx) {
        ended(reject.status);
        return Some("register");
    }
    if status == 200
        && let Authorized::Reject(reject) = chain.authorized(&message, &ctx)
    {
        ended(reject.status);
        return Some("authorized");
    }
    ended(status);
    None
}

const ALICE: &str = "sip:alice@home1.net";

#[test]
fn a_journey_takes_its_time() {
    let chain = chain(&guard());
    assert_eq!(register(&chain, ALICE, Some("a.net"), 1000), None);
    assert_eq!(register(&chain, ALICE, Some("a.net"), 1010), None, "staying is no journey");
    assert_eq!(register(&chain, ALICE, Some("b.net"), 1600), Some("authorized"));
    assert_eq!(register(&chain, "sip:bob@home1.net", Some("b.net"), 1600), None, "nobody else is concerned");
    assert_eq!(register(&chain, ALICE, Some("b.net"), 1010 + 3600), None);
    assert_eq!(register(&chain, ALICE, None, 1010 + 3700), Some("authorized"), "home is a network too");
}

#[test]
fn a_refused_network_is_refused_before_the_challenge_for_a_while() {
    let chain = chain(&guard());
    register(&chain, ALICE, Some("a.net"), 1000);
    assert_eq!(register(&chain, ALICE, Some("b.net"), 1100), Some("authorized"));
    assert_eq!(register(&chain, ALICE, Some("b.net"), 1399), Some("register"));
    assert_eq!(register(&chain, ALICE, Some("a.net"), 1399), None, "the original goes on");
    assert_eq!(register(&chain, ALICE, Some("b.net"), 1400), Some("authorized"), "and the copy is asked again");
}

#[test]
fn borders_are_open_and_failures_teach_nothing() {
    let chain = chain(&guard());
    register(&chain, ALICE, Some("b.net"), 1000);
    assert_eq!(register(&chain, ALICE, Some("c.net"), 1001), None);
    assert_eq!(attempt(&chain, ALICE, Some("a.net"), 1002, 403), None, "refused by somebody else");
    assert_eq!(register(&chain, ALICE, Some("b.net"), 1003), None, "so c.net is still where it was");
}

#[test]
fn workers_share_what_they_saw() {
    let guard = guard();
    let (one, other) = (chain(&guard), chain(&guard));
    register(&one, ALICE, Some("a.net"), 1000);
    assert_eq!(register(&other, ALICE, Some("b.net"), 1001), Some("authorized"));
}

#[test]
fn the_refusal_says_when_to_come_back() {
    let settings = Settings { travel: Duration::from_secs(100), ..Settings::default() };
    let chain = chain(&FraudGuard::new(settings));
    register(&chain, ALICE, Some("a.net"), 1000);
    let message = Message::parse(REGISTER.as_bytes()).unwrap();
    let source = Source {
        transport: Transport::Udp,
        addr: "192.0.2.7:5060".parse().unwrap(),
        local: "192.0.2.1:5060".parse().unwrap(),
        peer_names: Arc::new([]),
    };
    let ctx = Context { impu: ALICE, visited_network: Some("b.net"), ..Context::arrival(&source, &[], 1040) };
    let Authorized::Reject(reject) = chain.authorized(&message, &ctx) else { panic!("it passed") };
    assert_eq!((reject.status, reject.retry_after), (403, Some(60)));
}

#[test]
fn the_device_is_read_from_the_request() {
    assert_eq!(device(&Message::parse(REGISTER.as_bytes()).unwrap()).as_deref(), Some("Card 1.0"));
}
