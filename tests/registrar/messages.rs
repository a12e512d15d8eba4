//! MESSAGEs at the S-CSCF: alerts of broadcast servers (module 150), key requests, figure 5 b through the IMS.

use crate::broadcast::forward;
use crate::network::*;
use crate::phone::*;
use imscript::broadcast::keys::BroadcastRegistration;
use imscript::gba::btid::Btid;
use imscript::hss::RegState;
use imscript::identity::Impu;
use imscript::policy::verdict::{KeyMovement, Order};
use imscript::sip::transaction::{Source, Transport};
use imscript::sip::{HeaderName, Message};

pub(crate) const ALICE: &str = "alice@home1.net";

pub(crate) fn message(uri: &str, from: &str, lines: &[&str], kind: &str, body: &[u8]) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "MESSAGE {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:1;branch=z9hG4bKm\r\nMax-Forwards: 70\r\nFrom: <{from}>;tag=1\r\n\
         To: <{uri}>\r\nCall-ID: m\r\nCSeq: 1 MESSAGE\r\n{lines}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(crate) fn bsm() -> Source {
    source(Transport::Tcp, "127.0.0.1:33333")
}

pub(crate) fn btid(network: &Network) -> Btid {
    let store = network.hss.0.lock().unwrap();
    Btid::new(&store.vectors.last().unwrap().1.rand, "bsf.home1.net")
}

pub(crate) fn alert(network: &Network, from: &Source, naf: &str, btid: Option<Btid>, state: RegState) -> u16 {
    let word = BroadcastRegistration {
        state,
        impu: Impu::from("sip:alice@home1.net"),
        btid,
        naf_fqdn: naf.into(),
        expires: 100,
        cause: "word".into(),
    };
    let kind = "application/vnd.imscript.bcast-reg+xml";
    let request = message("sip:scscf.home1.net", &format!("sip:{naf}"), &[], kind, &word.to_xml());
    let status = network.send(&request, from).status();
    network.settle();
    status
}

#[test]
fn an_alert_changes_the_leg_and_the_hss() {
    let network = Network::new();
    Phone::for_broadcast().register(&network, &[]);
    network.settle();
    network.calls();
    let of = Some(btid(&network));
    assert_eq!(alert(&network, &bsm(), NAF, of.clone(), RegState::NotRegistered), 200);
    assert_eq!(network.leg_state(ALICE), Some(RegState::NotRegistered));
    assert_eq!(network.calls(), ["PUR not_registered"]);
    assert!(network.is_registered(ALICE), "the IMS registration is another matter");

    let mut phone = Phone::alice().ahead(network.hss.0.lock().unwrap().seq);
    phone.call_id = "2".into();
    network.forwarded();
    phone.register(&network, &[]);
    assert!(network.forwarded().iter().all(|s| !s.has_key()), "what the server ended is not begun anew unasked");
}

#[test]
fn alerts_from_strangers_and_about_others() {
    let network = Network::new();
    Phone::for_broadcast().register(&network, &[]);
    let of = Some(btid(&network));
    let stranger = source(Transport::Tcp, "203.0.113.5:5060");
    assert_eq!(alert(&network, &stranger, NAF, of.clone(), RegState::Failed), 403);
    let other = source(Transport::Tcp, "127.0.0.2:999");
    assert_eq!(alert(&network, &other, NAF, of.clone(), RegState::Failed), 403, "not its NAF");
    assert_eq!(alert(&network, &other, "bsm2.home1.net", of, RegState::Failed), 200);
    assert_eq!(network.leg_state(ALICE), Some(RegState::Registered), "the end of another server's says nothing");
    let old = Some(Btid::new(&imscript::aka::vector::Rand([1; 16]), "bsf.home1.net"));
    assert_eq!(alert(&network, &bsm(), NAF, old, RegState::Failed), 200);
    assert_eq!(network.leg_state(ALICE), Some(RegState::Registered), "nor that of an older key");
    let empty = Network::new();
    assert_eq!(alert(&empty, &bsm(), NAF, None, RegState::Registered), 404);
}

#[test]
fn figure_5_the_server_tells_of_the_user_and_is_told_of_the_ims_registration() {
    let network = Network::policy(forward(KeyMovement::OnUse, Order::ByTerminal));
    let mut phone = Phone::alice();
    phone.register(&network, &["Expires: 600"]);
    assert_eq!(alert(&network, &bsm(), NAF, Some(btid(&network)), RegState::Registered), 200);
    assert_eq!(network.leg_state(ALICE), Some(RegState::Registered));
    let sent = network.forwarded();
    assert_eq!((sent.len(), sent[0].expires(), sent[0].has_key()), (1, 600, false));
    assert_eq!(network.hss.0.lock().unwrap().broadcast["sip:alice@home1.net"].state, RegState::Registered);
    // The same again with a newer key: still one leg, one Call-ID.
    let call_id = sent[0].text(HeaderName::CallId).to_string();
    phone.register(&network, &["Expires: 600"]);
    network.settle();
    network.forwarded();
    assert_eq!(alert(&network, &bsm(), NAF, Some(btid(&network)), RegState::Registered), 200);
    phone.register(&network, &["Expires: 0"]);
    network.settle();
    let sent = network.forwarded();
    assert_eq!(sent.last().unwrap().expires(), 0);
    assert_eq!(sent.last().unwrap().text(HeaderName::CallId), call_id);
}

#[test]
fn a_key_request_is_answered_in_a_message_of_its_own() {
    let network = Network::new();
    Phone::alice().register(&network, &[]);
    let ask = format!("Bcast-Ext: request=key;naf-id=\"{NAF}\";btid=\"{}\"", btid(&network).text());
    let request = message("sip:bsf.home1.net", "sip:bsm.home1.net", &[&ask], "text/plain", b"");
    let stranger = source(Transport::Udp, "203.0.113.5:5060");
    assert_eq!(network.send(&request, &stranger).status(), 403);
    network.settle();
    assert!(network.forwarded().is_empty());
    let response = network.send(&request, &bsm());
    assert_eq!((response.status(), response.body().len()), (202, 0));
    network.settle();
    let sent = network.forwarded();
    assert_eq!((sent.len(), sent[0].has_key()), (1, true));
    assert_eq!(sent[0].to.addr.to_string(), "127.0.0.1:5070", "where it is configured, not where it came from");
}

pub(crate) fn application(network: &Network, from: &str, lines: &[&str], source: &Source) -> Message<'static> {
    let request =
        message("sip:bsm.home1.net", from, lines, "application/vnd.oma.bcast.sprov+xml", b"<ServiceRequest/>");
    network.send(&request, source)
}

#[test]
fn figure_5_b_the_ims_vouches_for_the_terminal() {
    let network = Network::new();
    let mut phone = Phone::alice();
    phone.register(&network, &["Supported: path", "Path: <sip:pcscf.home1.net;lr>"]);
    network.answer(Reply::Says(202, "state=pending", None));
    let ext = format!("Bcast-Ext: btid=\"{}\"", btid(&network).text());
    let spoof = "P-Asserted-Identity: <sip:bob@home1.net>";
    let response = application(&network, "sip:alice@home1.net", &[&ext, spoof], &phone.source);
    assert_eq!((response.status(), text(&response, HeaderName::BcastExt)), (202, "state=pending"));
    let sent = network.forwarded();
    assert_eq!(sent[0].text(HeaderName::PAssertedIdentity), "<sip:alice@home1.net>");
    assert_eq!(sent[0].text(HeaderName::MaxForwards), "69");
    assert_eq!(sent[0].request.body(), b"<ServiceRequest/>");

    // The server's answer goes to where the terminal registered from.
    let request = message("sip:alice@home1.net", "sip:bsm.home1.net", &[], "text/plain", b"<ServiceResponse/>");
    assert_eq!(network.send(&request, &bsm()).status(), 202);
    let sent = network.forwarded();
    assert_eq!(sent[0].to.addr, phone.source.addr);
    assert_eq!(sent[0].request.request_uri_raw(), b"sip:alice@127.0.0.1:40000");
    assert_eq!(sent[0].text(HeaderName::Route), "<sip:pcscf.home1.net;lr>");
    assert_eq!(network.send(&request, &source(Transport::Udp, "203.0.113.5:1")).status(), 404, "not for strangers");

    network.answer(Reply::Nothing);
    assert_eq!(application(&network, "sip:alice@home1.net", &[], &phone.source).status(), 408);
}

#[test]
fn figure_5_b_nobody_speaks_for_another() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let mut other = Phone::new("bob");
    other.source = source(Transport::Udp, "127.0.0.9:40000");
    phone.register(&network, &[]);
    let hers = btid(&network);
    other.card = Phone::alice().ahead(network.hss.0.lock().unwrap().seq).card;
    assert_eq!(other.register(&network, &[]).status(), 200);
    assert_eq!(application(&network, "sip:alice@home1.net", &[], &other.source).status(), 403, "from another place");
    assert_eq!(application(&network, "sip:mallory@home1.net", &[], &other.source).status(), 403);
    let ext = format!("Bcast-Ext: btid=\"{}\"", hers.text());
    assert_eq!(application(&network, "sip:bob@home1.net", &[&ext], &other.source).status(), 403, "another's B-TID");
    // Behind a P-CSCF everybody has the same address: whom it asserts counts, From does not.
    let pcscf = source(Transport::Udp, "10.0.0.1:5060");
    assert_eq!(application(&network, "sip:alice@home1.net", &[], &pcscf).status(), 403);
    assert!(network.forwarded().is_empty());
    let asserted = "P-Asserted-Identity: <sip:bob@home1.net>";
    assert_eq!(application(&network, "sip:alice@home1.net", &[asserted], &pcscf).status(), 200);
    assert_eq!(network.forwarded()[0].text(HeaderName::PAssertedIdentity), "<sip:bob@home1.net>");
}

#[test]
fn other_methods() {
    let network = Network::new();
    let request = |method: &str| {
        let text = String::from_utf8(message("sip:home1.net", "sip:a@b", &[], "text/plain", b"")).unwrap();
        text.replace("MESSAGE", method).into_bytes()
    };
    assert_eq!(network.send(&request("OPTIONS"), &bsm()).status(), 200);
    assert_eq!(network.send(&request("INVITE"), &bsm()).status(), 405);
    assert_eq!(network.send(&request("CANCEL"), &bsm()).status(), 481);
    let ack = Message::parse_owned(request("ACK")).unwrap();
    assert!(network.run(network.scscf.handle(&ack, &bsm())).is_none());
    assert_eq!(
        network
            .send(
                &message("sip:elsewhere.net", "sip:a@b", &[], "text/plain", b""),
                &source(Transport::Udp, "203.0.113.5:1")
            )
            .status(),
        404
    );
}
