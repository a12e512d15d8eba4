//! Golden messages both ways, and messages that are broken in every way that the RFC names.

use super::avp::Avp;
use super::dictionary::*;
use super::fault::base;
use super::message::{PROXIABLE, REQUEST};
use super::*;
use std::time::Duration;

fn golden(name: &str) -> Vec<u8> {
    let file: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/diameter.json")).unwrap();
    let hex = file["messages"][name].as_str().unwrap().as_bytes().to_vec();
    hex.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn header(application: u32, command: u32, flags: u8) -> Header {
    Header { flags, command, application, hop_by_hop: 0x1122_3344, end_to_end: 0x5566_7788 }
}

/// A request with one AVP as raw octets.
fn with_avps(octets: &[u8]) -> Vec<u8> {
    let mut message = Writer::new(header(application::CX, command::USER_AUTHORIZATION, REQUEST)).finish().unwrap();
    message.extend_from_slice(octets);
    let length = (message.len() as u32).to_be_bytes();
    message[1..4].copy_from_slice(&length[1..]);
    message
}

fn fault(octets: &[u8]) -> Fault {
    Message::parse(octets).unwrap().check().unwrap_err()
}

#[test]
fn golden_messages_are_read() {
    for name in ["CER", "DWR", "Cx-MAR", "Cx-MAA", "Zn-BIR", "Zn-BIA", "Zh-MAR"] {
        let octets = golden(name);
        assert_eq!(frame_len(&octets), Ok(Some(octets.len())));
        Message::parse(&octets).unwrap().check().unwrap();
    }
    let octets = golden("Cx-MAA");
    let maa = Message::parse(&octets).unwrap();
    assert_eq!(maa.result(), Ok(base::SUCCESS));
    let item = maa.avps().require(&SIP_AUTH_DATA_ITEM).unwrap().group();
    assert_eq!(item.text(&SIP_AUTHENTICATION_SCHEME), Ok(Some("Digest-AKAv1-MD5")));
    assert_eq!(item.octets(&SIP_AUTHENTICATE).unwrap().len(), 32);
    assert_eq!(item.octets(&SIP_AUTHORIZATION).unwrap(), [0xa5, 0x42, 0x11, 0xd5, 0xe3, 0xba, 0x50, 0xbf]);
    let octets = golden("Zn-BIA");
    let bia = Message::parse(&octets).unwrap();
    let expiry = bia.avps().require(&KEY_EXPIRYTIME).unwrap().time().unwrap();
    assert_eq!(expiry, Duration::from_secs(0xed00_3780 - 2_208_988_800));
    let octets = golden("CER");
    let cer = Message::parse(&octets).unwrap();
    assert_eq!(cer.avps().require(&HOST_IP_ADDRESS).unwrap().address(), Ok([127, 0, 0, 1].into()));
    let applications: Vec<_> = cer.avps().filter_map(|avp| message::vendor_specific(&avp)).collect();
    assert_eq!(applications, [application::CX, application::SH, application::ZN, application::ZH]);
}

#[test]
fn what_is_written_is_the_golden_message() {
    let impi = "001010000000001@ims.mnc001.mcc001.3gppnetwork.org";
    let mut mar = Writer::new(header(application::CX, command::MULTIMEDIA_AUTH, REQUEST | PROXIABLE));
    mar.text(&SESSION_ID, "scscf.home1.net;1;1")
        .application(application::CX)
        .enumerated(&AUTH_SESSION_STATE, 1)
        .text(&ORIGIN_HOST, "scscf.home1.net")
        .text(&ORIGIN_REALM, "home1.net")
        .text(&DESTINATION_REALM, "home1.net")
        .text(&USER_NAME, impi)
        .text(&PUBLIC_IDENTITY, &format!("sip:{impi}"))
        .number(&SIP_NUMBER_AUTH_ITEMS, 1)
        .group(&SIP_AUTH_DATA_ITEM, |item| {
            item.text(&SIP_AUTHENTICATION_SCHEME, "Digest-AKAv1-MD5");
        })
        .text(&SERVER_NAME, "sip:scscf.home1.net:5060");
    assert_eq!(mar.finish().unwrap(), golden("Cx-MAR"));
}

#[test]
fn an_answer_takes_identifiers_session_and_proxies_along() {
    let mut proxied = Writer::new(header(application::CX, command::MULTIMEDIA_AUTH, REQUEST | PROXIABLE | 0x10));
    proxied.text(&SESSION_ID, "s;1;1").text(&ORIGIN_HOST, "a").group(&PROXY_INFO, |proxy| {
        proxy.text(&PROXY_HOST, "relay").octets(&PROXY_STATE, b"state");
    });
    let octets = proxied.finish().unwrap();
    let request = Message::parse(&octets).unwrap();
    let origin = Origin { host: "hss".into(), realm: "home1.net".into() };
    let answer = answer_to(&request, fault::tgpp::USER_UNKNOWN, &origin).finish().unwrap();
    let answer = Message::parse(&answer).unwrap();
    answer.check().unwrap();
    assert_eq!(*answer.header(), header(application::CX, command::MULTIMEDIA_AUTH, PROXIABLE));
    assert_eq!(answer.result(), Ok(fault::tgpp::USER_UNKNOWN));
    assert_eq!(answer.identity(&SESSION_ID), Ok("s;1;1"));
    assert_eq!(answer.avps().get(&PROXY_INFO).unwrap().octets(), request.avps().get(&PROXY_INFO).unwrap().octets());
    let busy = answer_to(&request, base::TOO_BUSY, &origin).finish().unwrap();
    assert_eq!(Message::parse(&busy).unwrap().header().flags, PROXIABLE | 0x20, "a protocol error has its bit");
    let reserved = Writer::new(header(application::CX, command::MULTIMEDIA_AUTH, REQUEST | PROXIABLE | 0x0f));
    let reserved = reserved.finish().unwrap();
    let answer = answer_to(&Message::parse(&reserved).unwrap(), base::SUCCESS, &origin).finish().unwrap();
    assert_eq!(Message::parse(&answer).unwrap().header().flags, PROXIABLE, "bits without a meaning are not sent");
}

#[test]
fn unknown_avps_are_skipped_or_5001() {
    let optional = [0, 1, 0x86, 0xa0, 0x80, 0, 0, 13, 0, 0, 1, 2, 9, 0, 0, 0];
    Message::parse(&with_avps(&optional)).unwrap().check().unwrap();
    let mandatory = [0, 1, 0x86, 0xa0, 0xc0, 0, 0, 13, 0, 0, 1, 2, 9, 0, 0, 0];
    let octets = with_avps(&mandatory);
    let fault = fault(&octets);
    assert_eq!(fault.code(), base::AVP_UNSUPPORTED);
    let origin = Origin { host: "hss".into(), realm: "r".into() };
    let answer = refusal_of(&Message::parse(&octets).unwrap(), &fault, &origin).finish().unwrap();
    let answer = Message::parse(&answer).unwrap();
    answer.check().unwrap();
    let failed: Vec<Avp<'_>> = answer.avps().get(&FAILED_AVP).unwrap().group().collect();
    assert_eq!((failed.len(), failed[0].octets()), (1, &mandatory[..13]));
    // The same in a known group counts; in an answer it does not.
    let mut grouped = Writer::new(header(application::CX, command::USER_AUTHORIZATION, REQUEST));
    grouped.octets(&SERVER_CAPABILITIES, &mandatory);
    assert_eq!(self::fault(&grouped.finish().unwrap()).code(), base::AVP_UNSUPPORTED);
    let mut answered = Writer::new(header(application::CX, command::USER_AUTHORIZATION, 0));
    answered.octets(&SERVER_CAPABILITIES, &mandatory);
    Message::parse(&answered.finish().unwrap()).unwrap().check().unwrap();
}

#[test]
fn wrong_lengths_are_5014_and_quoted_with_a_right_one() {
    for (octets, why) in [
        (&[0, 0, 1, 7, 0x40, 0, 0, 40][..], "beyond the message"),
        (&[0, 0, 1, 7, 0x40, 0, 0, 7][..], "shorter than its header"),
        (&[0, 0, 2, 0x59, 0xc0, 0, 0, 8, 0, 0, 0, 0][..], "shorter than its header with a vendor"),
        (&[0, 0, 1, 7][..], "no header"),
        (&[0, 0, 1, 0x0a, 0x40, 0, 0, 10, 0, 0, 0, 0][..], "Unsigned32 of two octets"),
        (&[0, 0, 1, 1, 0x40, 0, 0, 13, 0, 1, 1, 2, 3, 0, 0, 0][..], "IPv4 address of three octets"),
        (&[0, 0, 2, 0x5b, 0xc0, 0, 0, 20, 0, 0, 0x28, 0xaf, 0, 0, 2, 0x5c, 0xc0, 0, 0, 99][..], "inside a group"),
    ] {
        let fault = fault(&with_avps(octets));
        assert_eq!(fault.code(), base::INVALID_AVP_LENGTH, "{why}");
        let quoted = fault.failed_avp().unwrap();
        assert!(super::avp::Avps::of(quoted).step().unwrap().is_ok(), "{why}: what is quoted can be read");
    }
    // The header and the fewest data that the kind has, zeros (RFC 6733 §7.1.5).
    for (octets, quoted) in [
        (&[0, 0, 1, 0x15, 0x40, 0, 1, 0xf4, 0, 0, 0, 1][..], &[0, 0, 1, 0x15, 0x40, 0, 0, 12, 0, 0, 0, 0][..]),
        (&[0, 0, 1, 7, 0x40, 0, 0, 7][..], &[0, 0, 1, 7, 0x40, 0, 0, 8][..]),
        (
            &[0, 0, 2, 0x6f, 0xc0, 0, 0, 99, 0, 0, 0x28, 0xaf, 0, 0, 0, 1][..],
            &[0, 0, 2, 0x6f, 0xc0, 0, 0, 16, 0, 0, 0x28, 0xaf, 0, 0, 0, 0][..],
        ),
        (&[0, 0, 1, 1][..], &[0, 0, 1, 1, 0, 0, 0, 8][..]),
    ] {
        assert_eq!(fault(&with_avps(octets)).failed_avp(), Some(quoted), "{octets:?}");
    }
}

#[test]
fn what_does_not_fit_into_an_answer_is_quoted_by_its_header() {
    let mut long = Writer::new(header(application::CX, command::USER_AUTHORIZATION, REQUEST));
    long.text(&SESSION_ID, "s;1;1").octets(&Def { code: 9999, ..USER_NAME }, &vec![7; MAX_MESSAGE - 60]);
    let octets = long.finish().unwrap();
    let origin = Origin { host: "hss".into(), realm: "r".into() };
    let answer = refusal_of(&Message::parse(&octets).unwrap(), &fault(&octets), &origin).finish().unwrap();
    let answer = Message::parse(&answer).unwrap();
    answer.check().unwrap();
    assert_eq!(answer.result(), Ok(base::AVP_UNSUPPORTED));
    let failed = answer.avps().get(&FAILED_AVP).unwrap().group().next().unwrap();
    assert_eq!((failed.code, failed.data), (9999, &[][..]));
}

#[test]
fn values_counts_and_depth_are_checked() {
    let mut twice = Writer::new(header(application::CX, command::USER_AUTHORIZATION, REQUEST));
    twice.text(&SESSION_ID, "a").text(&SESSION_ID, "b");
    assert_eq!(fault(&twice.finish().unwrap()).code(), base::AVP_OCCURS_TOO_MANY_TIMES);
    for (flags, sound) in [(REQUEST, false), (0, true)] {
        let mut twice = Writer::new(header(application::CX, command::SERVER_ASSIGNMENT, flags));
        twice.text(&SERVER_NAME, "sip:a").text(&SERVER_NAME, "sip:b");
        let twice = twice.finish().unwrap();
        assert_eq!(Message::parse(&twice).unwrap().check().is_ok(), sound, "an answer is taken as it is");
    }
    let mut latin = Writer::new(header(application::CX, command::USER_AUTHORIZATION, REQUEST));
    latin.octets(&USER_NAME, b"\xe9");
    assert_eq!(fault(&latin.finish().unwrap()).code(), base::INVALID_AVP_VALUE);
    let mut many = Writer::new(header(application::CX, command::USER_AUTHORIZATION, REQUEST));
    (0..=MAX_AVPS).for_each(|_| {
        many.text(&ROUTE_RECORD, "a");
    });
    assert_eq!(fault(&many.finish().unwrap()), Fault::TooLarge);
    let mut deep = Vec::new();
    for _ in 0..MAX_DEPTH + 2 {
        let mut next = Vec::new();
        super::write::put_avp(&mut next, &SERVER_CAPABILITIES, &deep);
        deep = next;
    }
    assert_eq!(fault(&with_avps(&deep)), Fault::TooLarge);
    let empty = Writer::new(header(application::CX, command::USER_AUTHORIZATION, REQUEST)).finish().unwrap();
    let missing = Message::parse(&empty).unwrap().identity(&SESSION_ID).unwrap_err();
    assert_eq!((missing.code(), missing.failed_avp().unwrap().len()), (base::MISSING_AVP, 8));
}

#[test]
fn streams_that_are_no_diameter_end_at_once() {
    assert_eq!(frame_len(b"G"), Err(Fault::Version(b'G')));
    assert_eq!(frame_len(&[1, 0]), Ok(None));
    assert!(frame_len(&[1, 0, 0, 19]).is_err() && frame_len(&[1, 0, 0, 22]).is_err());
    assert!(frame_len(&[1, 255, 255, 252]).is_err());
    assert_eq!(frame_len(&[1, 0, 0, 24]), Ok(Some(24)));
}

#[test]
fn too_large_a_message_is_not_written() {
    let mut writer = Writer::new(header(application::CX, command::USER_AUTHORIZATION, REQUEST));
    writer.octets(&USER_DATA, &vec![0; MAX_MESSAGE]);
    assert_eq!(writer.finish(), Err(TooLong));
}

#[test]
fn times_go_on_after_2036() {
    for since in [1_764_000_000, 2_085_978_495, 2_085_978_496, 4_000_000_000_u64] {
        let mut writer = Writer::new(header(application::ZN, command::BOOTSTRAPPING_INFO, 0));
        writer.time(&KEY_EXPIRYTIME, Duration::from_secs(since));
        let octets = writer.finish().unwrap();
        let avp = Message::parse(&octets).unwrap().avps().next().unwrap();
        assert_eq!(avp.time(), Ok(Duration::from_secs(since)));
    }
    // An expiry that no Time can say is the last that one can, and not long past.
    let last = 4_233_462_143;
    for since in [last, last + 1, 1 << 33, u64::MAX] {
        let mut writer = Writer::new(header(application::ZN, command::BOOTSTRAPPING_INFO, 0));
        writer.time(&KEY_EXPIRYTIME, Duration::from_secs(since));
        let octets = writer.finish().unwrap();
        assert_eq!(Message::parse(&octets).unwrap().avps().next().unwrap().time(), Ok(Duration::from_secs(last)));
    }
}

#[test]
fn no_key_is_printed() {
    let octets = golden("Cx-MAA");
    let maa = Message::parse(&octets).unwrap();
    let item = maa.avps().get(&SIP_AUTH_DATA_ITEM).unwrap();
    assert_eq!(format!("{item:?}"), "AVP 612 of vendor 10415, 164 octets");
    assert!(!format!("{:?}", item.bad_value()).contains("180"));
}

proptest::proptest! {
    #[test]
    fn any_octets_are_read_without_panic(octets: Vec<u8>) {
        let _ = frame_len(&octets);
        let message = with_avps(&octets);
        if let Ok(message) = Message::parse(&message) {
            let _ = message.check();
        }
    }

    #[test]
    fn a_changed_octet_is_read_without_panic(at: proptest::sample::Index, to: u8) {
        let mut octets = golden("Cx-MAA");
        let at = at.index(octets.len());
        octets[at] = to;
        if let Ok(message) = Message::parse(&octets) {
            let _ = (message.check(), message.result());
        }
    }
}
