//! Every command there and back, the golden messages, and what is missing or wrong in them.

use super::*;
use crate::aka::vector::{AkaVector, Autn, Auts, Key128, Rand, Res};
use crate::diameter::dictionary::{
    CONFIDENTIALITY_KEY, PUBLIC_IDENTITY, SERVER_ASSIGNMENT_TYPE, SIP_AUTH_DATA_ITEM, SIP_AUTHORIZATION,
    USER_DATA_ALREADY_AVAILABLE, application, command,
};
use crate::diameter::fault::base;
use crate::diameter::message::{PROXIABLE, REQUEST};
use crate::diameter::{Header, Origin, answer_to};
use zeroize::Zeroizing;

const IMPI: &str = "001010000000001@ims.mnc001.mcc001.3gppnetwork.org";
const IMPU: &str = "sip:001010000000001@ims.mnc001.mcc001.3gppnetwork.org";
const SCSCF: &str = "sip:scscf.home1.net:5060";

fn golden(name: &str) -> Vec<u8> {
    let file: serde_json::Value = serde_json::from_str(include_str!("../../../tests/vectors/diameter.json")).unwrap();
    let hex = file["messages"][name].as_str().unwrap().as_bytes().to_vec();
    hex.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// A message of what `fill` writes.
fn message(code: u32, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let header = Header { flags: REQUEST | PROXIABLE, command: code, application: application::CX, ..EMPTY };
    let mut writer = Writer::new(header);
    fill(&mut writer);
    let octets = writer.finish().unwrap();
    Message::parse(&octets).unwrap().check().unwrap();
    octets
}

const EMPTY: Header = Header { flags: 0, command: 0, application: 0, hop_by_hop: 0, end_to_end: 0 };

fn avps(octets: &[u8]) -> Avps<'_> {
    Message::parse(octets).unwrap().avps()
}

fn vector() -> AkaVector {
    AkaVector {
        rand: Rand([1; 16]),
        autn: Autn([2; 16]),
        xres: Res::new(&[3; 8]),
        ck: Key128([4; 16]),
        ik: Key128([5; 16]),
    }
}

#[test]
fn golden_mar_and_maa_are_read_and_written() {
    let mar = golden("Cx-MAR");
    let read = Mar::read(avps(&mar)).unwrap();
    let expected = Mar { impi: IMPI, impu: IMPU, items: 1, scheme: Scheme::Aka, resync: None, server: SCSCF };
    assert_eq!(read, expected);
    let maa = golden("Cx-MAA");
    let read = Maa::read(avps(&maa)).unwrap();
    assert_eq!((read.impi, read.impu, read.items.len()), (Some(IMPI), Some(IMPU), 1));
    let Given::Aka(vector) = &read.items[0].given else { panic!("no AKA vector") };
    assert_eq!(vector.rand.0[..4], [0x23, 0x55, 0x3c, 0xbe]);
    assert_eq!(vector.autn.0[..4], [0xaa, 0x68, 0x9c, 0x64]);
    assert_eq!(vector.xres.as_bytes(), [0xa5, 0x42, 0x11, 0xd5, 0xe3, 0xba, 0x50, 0xbf]);
    assert_eq!((vector.ck.0[0], vector.ik.0[0]), (0xb4, 0xf7));
    // The same, octet by octet, as an answer to the golden request.
    let request = Message::parse(&mar).unwrap();
    let origin = Origin { host: "hss.home1.net".into(), realm: "home1.net".into() };
    let mut answer = answer_to(&request, base::SUCCESS, &origin);
    read.write(&mut answer);
    let written = answer.finish().unwrap();
    let of_body = |octets: &[u8]| avps(octets).skip(6).map(|avp| avp.octets().to_vec()).collect::<Vec<_>>();
    assert_eq!(of_body(&written), of_body(&maa));
}

#[test]
fn requests_come_back_as_they_were() {
    for kind in [Authorization::Registration, Authorization::Deregistration, Authorization::RegistrationAndCapabilities]
    {
        let uar = Uar { impi: IMPI, impu: IMPU, visited_network: b"visited.net", kind, emergency: true };
        let octets = message(command::USER_AUTHORIZATION, |writer| uar.write(writer));
        assert_eq!(Uar::read(avps(&octets)), Ok(uar));
        let lir = Lir { impu: IMPU, originating: true, kind: Some(kind) };
        let octets = message(command::LOCATION_INFO, |writer| lir.write(writer));
        assert_eq!(Lir::read(avps(&octets)), Ok(lir));
    }
    let resync = Some((Rand([7; 16]), Auts([8; 14])));
    for scheme in [Scheme::Aka, Scheme::SipDigest, Scheme::Unknown, Scheme::Other("NASS-Bundled")] {
        let mar = Mar { impi: IMPI, impu: IMPU, items: 3, scheme, resync, server: SCSCF };
        let octets = message(command::MULTIMEDIA_AUTH, |writer| mar.write(writer));
        assert_eq!(Mar::read(avps(&octets)), Ok(mar));
    }
    for value in 0..15 {
        let kind = ServerAssignment::of(value).unwrap();
        assert_eq!(kind.value(), value);
        let sar = Sar {
            impi: Some(IMPI),
            impus: vec![IMPU, "tel:+49123"],
            wildcard: Some("sip:chat-!.*!@home1.net"),
            server: SCSCF,
            kind,
            has_profile: true,
            restoration: Some(&[]),
            multiple: true,
        };
        let octets = message(command::SERVER_ASSIGNMENT, |writer| sar.write(writer));
        assert_eq!(Sar::read(avps(&octets)), Ok(sar));
    }
    assert_eq!(ServerAssignment::of(15), None);
    for reason in [Reason::PermanentTermination, Reason::NewServerAssigned, Reason::ServerChange, Reason::RemoveScscf] {
        let rtr = Rtr { impi: IMPI, associated: vec!["b@home1.net"], impus: vec![IMPU], reason, info: Some("bye") };
        let octets = message(command::REGISTRATION_TERMINATION, |writer| rtr.write(writer));
        assert_eq!(Rtr::read(avps(&octets)), Ok(rtr));
    }
}

#[test]
fn answers_come_back_as_they_were() {
    let capabilities = Capabilities { mandatory: vec![1, 2], optional: vec![3], servers: vec![SCSCF] };
    let uaa = Uaa { server: Some(SCSCF), capabilities: Some(capabilities.clone()) };
    let octets = message(command::USER_AUTHORIZATION, |writer| uaa.write(writer));
    assert_eq!(Uaa::read(avps(&octets)), Ok(uaa));
    let lia = Lia { server: None, capabilities: Some(capabilities), wildcard: Some("sip:!.*!@a") };
    let octets = message(command::LOCATION_INFO, |writer| lia.write(writer));
    assert_eq!(Lia::read(avps(&octets)), Ok(lia));
    let charging =
        Charging { event: Some("aaa://ecf.home1.net"), collection: Some("aaa://ccf.home1.net"), ..Default::default() };
    let saa = Saa {
        impi: Some(IMPI),
        user_data: Some(b"<IMSSubscription/>"),
        charging: Some(charging),
        associated: vec!["b@home1.net", "c@home1.net"],
        associated_registered: vec!["c@home1.net"],
        loose_route: Some(true),
        restoration: vec![&[], &[]],
    };
    let octets = message(command::SERVER_ASSIGNMENT, |writer| saa.write(writer));
    assert_eq!(Saa::read(avps(&octets)), Ok(saa));
    let rta = Rta { associated: vec!["b@home1.net"] };
    let octets = message(command::REGISTRATION_TERMINATION, |writer| rta.write(writer));
    assert_eq!(Rta::read(avps(&octets)), Ok(rta));
    assert_eq!(Rta::read(avps(&message(command::REGISTRATION_TERMINATION, |_| ()))), Ok(Rta::default()));
}

#[test]
fn digest_items_and_changed_profiles_come_back() {
    let digest = SipDigest {
        realm: "home1.net",
        algorithm: Some("MD5"),
        qop: Some("auth"),
        ha1: Zeroizing::new("ab".repeat(16)),
    };
    let item = AuthItem { number: None, given: Given::Digest(digest) };
    let ppr = Ppr { impi: IMPI, user_data: Some(b"<a/>"), charging: None, item: Some(item) };
    let octets = message(command::PUSH_PROFILE, |writer| ppr.write(writer));
    let read = Ppr::read(avps(&octets)).unwrap();
    assert_eq!((read.impi, read.user_data, read.charging), (IMPI, Some(&b"<a/>"[..]), None));
    let Given::Digest(digest) = read.item.unwrap().given else { panic!("no digest") };
    assert_eq!((digest.realm, digest.algorithm, digest.qop), ("home1.net", Some("MD5"), Some("auth")));
    assert_eq!(*digest.ha1, "ab".repeat(16));
    assert!(!format!("{digest:?}").contains("abab"), "HA1 is not printed");
}

#[test]
fn vectors_are_taken_in_the_order_of_their_numbers() {
    let item = |number: Option<u32>, first: u8| {
        let vector = AkaVector { rand: Rand([first; 16]), ..vector() };
        AuthItem { number, given: Given::Aka(vector) }
    };
    let maa = Maa { items: vec![item(None, 9), item(Some(2), 2), item(Some(1), 1), item(None, 10)], ..Maa::default() };
    let octets = message(command::MULTIMEDIA_AUTH, |writer| maa.write(writer));
    let read = Maa::read(avps(&octets)).unwrap();
    let firsts = read.items.iter().map(|item| match &item.given {
        Given::Aka(vector) => vector.rand.0[0],
        _ => 0,
    });
    assert_eq!(firsts.collect::<Vec<_>>(), [1, 2, 9, 10]);
    assert!(!format!("{read:?}").contains("[4, 4"), "keys are not printed");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let empty = message(command::MULTIMEDIA_AUTH, |_| ());
    let missing = [
        Uar::read(avps(&empty)).map(drop),
        Lir::read(avps(&empty)).map(drop),
        Mar::read(avps(&empty)).map(drop),
        Sar::read(avps(&empty)).map(drop),
        Rtr::read(avps(&empty)).map(drop),
        Ppr::read(avps(&empty)).map(drop),
    ];
    for fault in missing {
        let fault = fault.unwrap_err();
        assert_eq!(fault.code(), base::MISSING_AVP, "{fault}");
        assert!(fault.failed_avp().is_some());
    }
    let unknown = message(command::SERVER_ASSIGNMENT, |writer| {
        writer.text(&PUBLIC_IDENTITY, IMPU).text(&SERVER_NAME, SCSCF).enumerated(&SERVER_ASSIGNMENT_TYPE, 15);
        writer.enumerated(&USER_DATA_ALREADY_AVAILABLE, 0);
    });
    assert_eq!(Sar::read(avps(&unknown)).unwrap_err().code(), base::INVALID_AVP_VALUE);
    let nameless = message(command::LOCATION_INFO, |writer| {
        writer.text(&PUBLIC_IDENTITY, "");
    });
    assert_eq!(Lir::read(avps(&nameless)).unwrap_err().code(), base::INVALID_AVP_VALUE);
    // Hexadecimal text in place of octets, as some write it.
    let mut short = golden("Cx-MAA");
    let at = short.windows(4).position(|four| four == 610_u32.to_be_bytes()).unwrap();
    short[at + 7] = 12 + 3;
    assert!(Maa::read(avps(&short)).is_err(), "XRES of three octets");
    let no_key = message(command::MULTIMEDIA_AUTH, |writer| {
        writer.group(&SIP_AUTH_DATA_ITEM, |item| {
            item.text(&crate::diameter::dictionary::SIP_AUTHENTICATION_SCHEME, "digest-akav1-md5")
                .octets(&crate::diameter::dictionary::SIP_AUTHENTICATE, &[0; 32])
                .octets(&SIP_AUTHORIZATION, &[0; 8]);
        });
    });
    let fault = Maa::read(avps(&no_key)).unwrap_err();
    assert_eq!(fault, CONFIDENTIALITY_KEY.missing());
}

#[test]
fn features_are_told_and_whether_they_are_required() {
    let offered = Features::offered(Features::ALIAS | Features::SHARED_IFC);
    let required = Features { required: true, list: 2, ..offered };
    let octets = message(command::SERVER_ASSIGNMENT, |writer| {
        offered.write(writer);
        required.write(writer);
    });
    assert_eq!(Features::of(&Message::parse(&octets).unwrap()), Ok(vec![offered, required]));
}
