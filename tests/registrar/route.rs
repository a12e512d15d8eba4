//! Stage `route`: requests that are no REGISTER, relayed to a broadcast server, answered or refused by policy.

use crate::messages::{ALICE, alert, bsm, btid, message};
use crate::network::*;
use crate::phone::*;
use crate::stages::{Script, of};
use imscript::hss::RegState;
use imscript::policy::verdict;
use imscript::sip::HeaderName;
use imscript::sip::print::insert_via;
use imscript::sip::transaction::Transport;
use std::cell::RefCell;
use std::rc::Rc;

fn to(server: &str) -> Option<verdict::Route> {
    Some(verdict::Route::To { server: server.into() })
}

pub(crate) fn subscribe(lines: &[&str], kind: &str, body: &[u8]) -> Vec<u8> {
    let message = message("sip:home1.net", "sip:alice@home1.net", lines, kind, body);
    String::from_utf8(message).unwrap().replace("MESSAGE", "SUBSCRIBE").into_bytes()
}

#[test]
fn a_routed_request_is_passed_on_as_a_proxy_does() {
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    let network = Network::policy(Script { log: log.clone(), route: to("bsm2"), ..Script::default() });
    let mut phone = Phone::alice();
    phone.register(&network, &[]);
    network.answer(Reply::Says(202, "state=pending", Some(("text/plain", b"noted".to_vec()))));
    let lines = [
        "Event: reg",
        "Accept: application/reginfo+xml",
        "Authorization: Digest username=\"alice\"",
        "Proxy-Authorization: Digest username=\"alice\"",
        "P-Asserted-Identity: <sip:mallory@home1.net>",
        "P-Access-Network-Info: 3GPP-E-UTRAN-FDD",
        "Route: <sip:127.0.0.1:5060;lr>",
        "Contact: <sip:alice@127.0.0.1:40000>",
        "X-Own: kept",
    ];
    let answer = network.send(&subscribe(&lines, "text/plain", b"hello"), &phone.source);
    assert_eq!((answer.status(), answer.body()), (202, &b"noted"[..]));
    assert_eq!(text(&answer, HeaderName::BcastExt), "state=pending");
    assert_eq!(answer.vias().count(), 1, "the terminal's own");
    assert!(text(&answer, HeaderName::To).ends_with(";tag=bsm"), "the server's tag: {}", text(&answer, HeaderName::To));
    let sent = network.forwarded();
    assert_eq!((sent.len(), sent[0].to.addr.to_string().as_str()), (1, "127.0.0.2:5070"));
    let request = &sent[0].request;
    request.check().unwrap();
    assert_eq!(request.method(), b"SUBSCRIBE");
    assert_eq!(request.request_uri_raw(), b"sip:bsm2.home1.net");
    assert_eq!(sent[0].text(HeaderName::MaxForwards), "69");
    assert_eq!(sent[0].text(HeaderName::PAssertedIdentity), "<sip:alice@home1.net>");
    assert_eq!(request.headers(HeaderName::PAssertedIdentity).count(), 1);
    assert_eq!((request.header_named("X-Own"), request.body()), (Some(&b"kept"[..]), &b"hello"[..]));
    assert_eq!(text(request, HeaderName::Contact), "<sip:alice@127.0.0.1:40000>");
    for gone in ["Authorization", "Proxy-Authorization", "Route", "P-Access-Network-Info"] {
        assert_eq!(request.header_named(gone), None, "{gone}");
    }
    assert_eq!(of(&log, "route"), ["route SUBSCRIBE other alice@home1.net none"]);
    assert_eq!(of(&log, "finish").last().unwrap(), "finish SUBSCRIBE 202 - bsm2 0 other alice@home1.net none");

    // It comes round: the node knows its own mark, however many others were in between.
    let around = insert_via(request.bytes(), "SIP/2.0/TCP 127.0.0.9:1;branch=z9hG4bKother");
    assert_eq!(network.send(&around, &bsm()).status(), 482);
    assert!(network.forwarded().is_empty());
    let spent =
        String::from_utf8(subscribe(&[], "text/plain", b"")).unwrap().replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(network.send(spent.as_bytes(), &phone.source).status(), 483);
    let unknown = network.send(&subscribe(&["Proxy-Require: magic"], "text/plain", b""), &phone.source);
    assert_eq!((unknown.status(), text(&unknown, HeaderName::Unsupported)), (420, "magic"));
}

#[test]
fn a_stranger_is_not_vouched_for_and_nobody_speaks_for_the_ims() {
    let network = Network::policy(Script { route: to("bsm"), ..Script::default() });
    let mut phone = Phone::alice();
    phone.register(&network, &[]);
    let stranger = source(Transport::Udp, "203.0.113.5:5060");
    let lines = ["P-Asserted-Identity: <sip:alice@home1.net>", "Bcast-Ext: naf-id=\"bsm.home1.net\""];
    assert_eq!(network.send(&subscribe(&lines, "text/plain", b""), &stranger).status(), 200);
    let sent = network.forwarded();
    assert_eq!(sent[0].request.header(HeaderName::PAssertedIdentity), None);
    assert_eq!(sent[0].request.header(HeaderName::BcastExt), None);

    let multipart = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\nContent-Type: application/vnd.imscript.naf-key+xml\r\n\r\n<k/>\r\n--b--\r\n";
    let key = "application/vnd.imscript.naf-key+xml";
    for (lines, kind, body, status) in [
        (&[][..], key, &b"<k/>"[..], 403),
        (&[], "multipart/mixed;boundary=b", multipart, 403),
        (&["Content-Encoding: gzip"], "text/plain", b"x", 415),
        (&["Bcast-Ext: btid=\"AAAAAAAAAAAAAAAAAAAAAA==@bsf.home1.net\""], "text/plain", b"x", 403),
    ] {
        let request = subscribe(lines, kind, body);
        let status = if kind == key { 405 } else { status };
        assert_eq!(network.send(&request, &phone.source).status(), status, "{kind} {lines:?}");
    }
    assert!(network.forwarded().is_empty());
    let own = format!("Bcast-Ext: btid=\"{}\"", btid(&network).text());
    assert_eq!(network.send(&subscribe(&[&own], "text/plain", b"x"), &phone.source).status(), 200);
    assert!(network.forwarded()[0].text(HeaderName::BcastExt).contains("btid"));
    // A challenge of the server's would have the terminal prove itself to somebody else.
    network.answer(Reply::status(401));
    assert_eq!(network.send(&subscribe(&[], "text/plain", b""), &phone.source).status(), 403);
    network.answer(Reply::Nothing);
    assert_eq!(network.send(&subscribe(&[], "text/plain", b""), &phone.source).status(), 408);
}

#[test]
fn what_no_route_is_asked_about_or_can_do() {
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    let network = Network::policy(Script { log: log.clone(), route: to("bsm2"), ..Script::default() });
    Phone::for_broadcast().register(&network, &[]);
    network.settle();
    network.forwarded();
    let asked = || std::mem::take(&mut *log.borrow_mut()).iter().filter(|line| line.starts_with("route")).count();
    asked();
    // Key requests and alerts: a policy must not come between.
    let ask = format!("Bcast-Ext: request=key;naf-id=\"{NAF}\";btid=\"{}\"", btid(&network).text());
    let request = message("sip:bsf.home1.net", "sip:bsm.home1.net", &[&ask], "text/plain", b"");
    assert_eq!(network.send(&request, &bsm()).status(), 202);
    assert_eq!(alert(&network, &bsm(), NAF, Some(btid(&network)), RegState::NotRegistered), 200);
    assert_eq!(network.leg_state(ALICE), Some(RegState::NotRegistered));
    let other = |method: &str| {
        let text = String::from_utf8(message("sip:home1.net", "sip:a@b", &[], "text/plain", b"")).unwrap();
        text.replace("MESSAGE", method).into_bytes()
    };
    assert_eq!(network.send(&other("CANCEL"), &bsm()).status(), 481);
    assert_eq!(asked(), 0);
    network.forwarded();
    assert_eq!(network.send(&other("INVITE"), &bsm()).status(), 405, "asked, but not relayed");
    assert_eq!(asked(), 1);
    assert!(network.forwarded().is_empty());
    let network = Network::policy(Script { route: to("nobody"), ..Script::default() });
    assert_eq!(network.send(&other("OPTIONS"), &bsm()).status(), 200, "the server's own handling");
}

#[test]
fn a_policy_answers_or_rejects() {
    let answer = verdict::Answer {
        status: 200,
        reason: Some("Fine".into()),
        headers: [("Allow", "OPTIONS"), ("X-Load", "3"), ("Contact", "<sip:evil@h>"), ("Via", "x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        body: Some(("text/plain".into(), b"up".to_vec())),
    };
    let options = String::from_utf8(message("sip:home1.net", "sip:a@b", &[], "text/plain", b"")).unwrap();
    let options = options.replace("MESSAGE", "OPTIONS").into_bytes();
    let network = Network::policy(Script { route: Some(verdict::Route::Answer(answer)), ..Script::default() });
    let got = network.send(&options, &bsm());
    assert_eq!((got.status(), got.reason(), got.body()), (200, &b"Fine"[..], &b"up"[..]));
    assert_eq!(got.header_named("X-Load"), Some(&b"3"[..]));
    assert_eq!((got.header(HeaderName::Contact), got.vias().count()), (None, 1));
    let reject = verdict::Reject { retry_after: Some(9), ..verdict::Reject::new(480, "Not now") };
    let network = Network::policy(Script { route: Some(verdict::Route::Reject(reject)), ..Script::default() });
    let got = network.send(&options, &bsm());
    assert_eq!((got.status(), got.reason(), text(&got, HeaderName::RetryAfter)), (480, &b"Not now"[..], "9"));
}
