use super::super::testbed::{Bed, IMS, ext_of};
use super::*;
use crate::broadcast::provisioning::{Request, Response, StatusCode};
use crate::hss::RegState;
use crate::sip::print::write_multipart;

/// The terminal's second REGISTER: these header lines, this body.
fn inner(more: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:50567;branch=z9hG4bKx\r\nMax-Forwards: 69\r\n\
         From: <sip:u@home1.net>;tag=3\r\nTo: <sip:u@home1.net>\r\nCall-ID: 28e3\r\nCSeq: 2 REGISTER\r\n\
         Authorization: Digest username=\"u@home1.net\", realm=\"home1.net\", nonce=\"Tc\", uri=\"sip:home1.net\", \
         response=\"42\"\r\nContact: <sip:u@127.0.0.1:50567>;expires=600\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A third-party REGISTER as Kamailio 5.6 writes it, with the P-Associated-URI that it garbles when there is more than one
/// identity.
fn kamailio(expires: u32, body: Option<(&str, &[u8])>) -> Vec<u8> {
    let (kind, body) =
        body.map_or((String::new(), &b""[..]), |(kind, body)| (format!("Content-Type: {kind}\r\n"), body));
    let head = format!(
        "REGISTER sip:127.0.0.1:5070 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK5ed6.66a518b2.0\r\n\
         To: <sip:u@home1.net>\r\nFrom: <sip:127.0.0.1:5060>;tag=6fa0-702a\r\nCSeq: 10 REGISTER\r\n\
         Call-ID: 57e7191210f1504c-19216@127.0.0.1\r\nContent-Length: {}\r\nUser-Agent: kamailio (5.6.3)\r\n\
         Event: registration\r\nMax-Forwards: 10\r\nExpires: {expires}\r\nContact: <sip:127.0.0.1:5060>\r\n\
         P-Associated-URI: <sip:u@home1.net>, <sip:v@home1.net, tel:+1234>\r\n{kind}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn ask(bed: &Bed, request: &[u8]) -> Message<'static> {
    Message::parse(request).unwrap().check().unwrap();
    bed.ask(request, IMS)
}

fn portion(bed: &Bed) -> String {
    format!("Bcast-Ext: profile=\"1.0\";naf-id=\"bsm.home1.net\";btid=\"{}\"\r\n", bed.boot.btid.text())
}

#[test]
fn the_portion_is_found_in_the_terminals_register_and_the_key_fetched() {
    let order = Request::service("7", None, &["a", "b"]).to_xml();
    let parts = |register: &[u8]| {
        let response = b"SIP/2.0 200 OK\r\nCSeq: 2 REGISTER\r\n\r\n";
        write_multipart(&[("application/3gpp-ims+xml", b"<x/>"), ("message/sip", response), ("message/sip", register)])
    };
    for multipart in [false, true] {
        let bed = Bed::new();
        let more = portion(&bed) + "Content-Type: application/vnd.oma.bcast.sprov+xml\r\n";
        let register = inner(&more, &order);
        let (kind, body) = if multipart { parts(&register) } else { ("message/sip".into(), register) };
        let answer = ask(&bed, &kamailio(720, Some((&kind, &body))));
        assert_eq!((answer.status(), ext_of(&answer).state), (200, Some(RegState::Registered)));
        assert!(bed.has_smk());
        assert_eq!(bed.world.ladder(), ["MESSAGE 5060", "MESSAGE 5070"]);
        assert_eq!(Response::parse(answer.body()).unwrap().status, StatusCode::SUCCESS);
        assert_eq!(*bed.state.record(&bed.impu).unwrap().services, ["a", "b"]);
    }
}

#[test]
fn the_patents_form_of_the_extension_counts_there_too() {
    let bed = Bed::new();
    ask(&bed, &kamailio(720, Some(("message/sip", &inner(&portion(&bed), b"")))));
    // The B-TID of before is meant where none is named.
    let require = "Require: bcast_ext_profile=1.0; bcast_ext_scard= \"bsm.home1.net\"\r\n";
    let answer = ask(&bed, &kamailio(720, Some(("message/sip", &inner(require, b"")))));
    assert_eq!((answer.status(), ext_of(&answer).state), (200, Some(RegState::Registered)));
}

#[test]
fn a_refresh_without_a_portion_goes_on_and_a_deregistration_without_a_body_ends() {
    let bed = Bed::new();
    ask(&bed, &kamailio(720, Some(("message/sip", &inner(&portion(&bed), b"")))));
    bed.world.advance(700);
    let answer = ask(&bed, &kamailio(720, Some(("message/sip", &inner("", b"")))));
    assert_eq!((answer.status(), ext_of(&answer).state), (200, Some(RegState::Registered)));
    bed.world.advance(700);
    assert_eq!(bed.registration_state(), RegState::Registered);
    let answer = ask(&bed, &kamailio(0, None));
    assert_eq!((answer.status(), ext_of(&answer).state), (200, Some(RegState::NotRegistered)));
    assert_eq!(bed.registration_state(), RegState::NotRegistered);
}

#[test]
fn who_asked_nothing_of_a_broadcast_server_is_left_alone() {
    let bed = Bed::new();
    for request in [kamailio(720, Some(("message/sip", &inner("", b"")))), kamailio(0, None)] {
        let answer = ask(&bed, &request);
        assert_eq!((answer.status(), ext_of(&answer).state), (200, Some(RegState::NotRegistered)));
    }
    assert!(bed.state.record(&bed.impu).is_none());
    assert_eq!(ask(&bed, &kamailio(720, None)).status(), 400);
}

#[test]
fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let bed = Bed::new();
    let register = inner(&portion(&bed), b"");
    let two = write_multipart(&[("message/sip", &register), ("message/sip", &register)]);
    let contradiction = inner(&(portion(&bed) + "Bcast-Ext: naf-id=\"other.home1.net\"\r\n"), b"");
    // Only one level is looked at: here the inner one is no REGISTER.
    let message = String::from_utf8(register.clone()).unwrap().replace("REGISTER", "MESSAGE").into_bytes();
    for (kind, body, status) in [
        ("message/sip", &b"no message at all"[..], 400),
        ("message/sip", &b"REGISTER"[..], 400),
        (&two.0, &two.1, 400),
        ("message/sip", &contradiction, 400),
        ("message/sip", &message, 400),
        ("message/sip", &inner("Bcast-Ext: naf-id=\"other.home1.net\"\r\n", b""), 403),
    ] {
        let answer = ask(&bed, &kamailio(720, Some((kind, body))));
        assert_eq!(answer.status(), status, "{}", String::from_utf8_lossy(body));
    }
    assert!(bed.state.record(&bed.impu).is_none());
    assert!(bed.world.ladder().is_empty());
}
