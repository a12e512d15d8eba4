use super::*;
use crate::broadcast::peer::KeyTransport;
use crate::broadcast::peer::tests::peer;
use crate::gba::kdf::KsNaf;
use crate::sip::transaction::Transport;

const REGISTER: &str = "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\nFrom: <sip:u@home1.net>;tag=1\r\nTo: <sip:u@home1.net>\r\nCall-ID: 1\r\nCSeq: 2 REGISTER\r\n\
    Contact: <sip:u@10.0.0.1>\r\nAuthorization: Digest username=\"u@home1.net\", response=\"00\"\r\n\
    P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=1\r\nP-Visited-Network-ID: \"v.net\"\r\n\
    P-Charging-Vector: icid-value=\"ab,;c\";icid-generated-at=10.0.0.9;orig-ioi=x\r\nContent-Length: 0\r\n\r\n";

fn document(btid: &Btid, naf: &NafId) -> KeyDocument {
    KeyDocument {
        key: KsNaf([7; 32]),
        expires: 1_767_225_600,
        btid: btid.clone(),
        naf: naf.clone(),
        impus: vec![],
        services: None,
    }
}

struct Case {
    peer: Peer,
    impu: Impu,
    naf: NafId,
    btid: Btid,
    payload: Payload,
}

fn case() -> Case {
    let mut octets = b"<ServiceRequest>\r\n--x\r\n".to_vec();
    octets.extend([0, 255, 13, 10, 13, 10]);
    Case {
        peer: peer("bsm", Transport::Udp, "127.0.0.1:5070"),
        impu: Impu::from("sip:u@home1.net"),
        naf: NafId::parse("bsm.home1.net").unwrap(),
        btid: Btid::parse("I1U8vpY3qJ0hiuZNrke/NQ==@bsf.home1.net").unwrap(),
        payload: Payload { content_type: media::PROVISIONING.into(), octets },
    }
}

fn forward<'a>(case: &'a Case, key: KeyPart<'a>, payload: bool, expires: u32, trigger: &'a Message<'a>) -> Forward<'a> {
    Forward {
        peer: &case.peer,
        scscf: "sip:scscf1.home1.net",
        impu: &case.impu,
        naf: &case.naf,
        btid: Some(&case.btid),
        mode: Mode::Simultaneous,
        key,
        profile: None,
        payload: payload.then_some(&case.payload),
        expires,
        services: Some(&BroadcastSubscription::All),
        trigger: Some(trigger),
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn figure_7_key_and_payload_in_one_request() {
    let case = case();
    let trigger = Message::parse(REGISTER.as_bytes()).unwrap();
    let key = document(&case.btid, &case.naf);
    let mut dialog = ThirdParty::new("scscf1.home1.net");
    let sent = forward(&case, KeyPart::Included(&key), true, 600, &trigger).request(&mut dialog).unwrap();
    let sent = Message::parse(&sent).unwrap();
    assert_eq!(sent.request_uri_raw(), b"sip:bsm.home1.net");
    assert_eq!(sent.to().unwrap().uri_raw, b"sip:u@home1.net");
    assert_eq!(sent.from().unwrap().uri_raw, b"sip:scscf1.home1.net");
    assert_eq!(sent.expires(), Some(600));
    assert_eq!(sent.header(HeaderName::Authorization), None);
    assert_eq!(sent.header(HeaderName::PChargingVector), Some(&b"icid-value=\"ab,;c\""[..]));
    assert!(sent.header(HeaderName::PAccessNetworkInfo).is_some());
    let ext = Ext::of(&sent).unwrap().unwrap();
    assert_eq!(
        (ext.key, ext.mode, ext.btid.as_ref()),
        (Some(KeyWay::Included), Some(Mode::Simultaneous), Some(&case.btid))
    );
    let parts = sent.parts().unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0].content, case.payload.octets);
    assert!(media::is(parts[1].content_type, media::NAF_KEY));
    assert_eq!(KeyDocument::parse(parts[1].content).unwrap().key.0, [7; 32]);
}

#[test]
fn figure_8_payload_without_key() {
    let case = case();
    let trigger = Message::parse(REGISTER.as_bytes()).unwrap();
    let sent = forward(&case, KeyPart::Pull(None), true, 600, &trigger).request(&mut ThirdParty::new("s")).unwrap();
    let sent = Message::parse(&sent).unwrap();
    assert_eq!(sent.body(), case.payload.octets);
    assert!(media::is(sent.header(HeaderName::ContentType).unwrap(), media::PROVISIONING));
    assert_eq!(Ext::of(&sent).unwrap().unwrap().key, Some(KeyWay::Pull));
}

#[test]
fn deregistration_carries_neither_key_nor_payload() {
    let case = case();
    let trigger = Message::parse(REGISTER.as_bytes()).unwrap();
    let key = document(&case.btid, &case.naf);
    let mut dialog = ThirdParty::new("s");
    let first = forward(&case, KeyPart::Unchanged, false, 600, &trigger).request(&mut dialog).unwrap();
    let last = forward(&case, KeyPart::Included(&key), true, 0, &trigger).request(&mut dialog).unwrap();
    let (first, last) = (Message::parse(&first).unwrap(), Message::parse(&last).unwrap());
    assert!(last.body().is_empty());
    assert_eq!(last.expires(), Some(0));
    assert_eq!(first.call_id().unwrap(), last.call_id().unwrap());
    assert_eq!((first.cseq().unwrap().number, last.cseq().unwrap().number), (1, 2));
}

#[test]
fn claim_1_negative_no_key_over_plaintext() {
    let mut case = case();
    case.peer = peer("bsm", Transport::Udp, "192.0.2.1:5060");
    case.peer.trusted = false;
    let trigger = Message::parse(REGISTER.as_bytes()).unwrap();
    let key = document(&case.btid, &case.naf);
    let mut dialog = ThirdParty::new("s");
    assert!(forward(&case, KeyPart::Included(&key), true, 600, &trigger).request(&mut dialog).is_err());
    let pull = forward(&case, KeyPart::Pull(None), true, 600, &trigger).request(&mut dialog).unwrap();
    assert!(!text(&pull).contains("P-Access-Network-Info") && !text(&pull).contains("P-Visited-Network-ID"));
    case.peer.key_transport = KeyTransport::PlaintextAllowed;
    assert!(forward(&case, KeyPart::Included(&key), true, 600, &trigger).request(&mut dialog).is_ok());
}
