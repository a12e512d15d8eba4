//! The golden request, and both messages read back as written.

use super::*;
use crate::aka::vector::{Autn, Key128, Res};
use crate::diameter::dictionary::{
    CONFIDENTIALITY_KEY, DESTINATION_REALM, INTEGRITY_KEY, SIP_AUTHENTICATE, application, command,
};
use crate::diameter::fault::base;
use crate::diameter::{Header, Origin, answer_to, request};

fn golden() -> Vec<u8> {
    let file: serde_json::Value = serde_json::from_str(include_str!("../../../tests/vectors/diameter.json")).unwrap();
    let hex = file["messages"]["Zh-MAR"].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn origin(host: &str) -> Origin {
    Origin { host: host.into(), realm: "home1.net".into() }
}

#[test]
fn the_golden_request_is_read_and_written() {
    let octets = golden();
    let message = Message::parse(&octets).unwrap();
    message.check().unwrap();
    let mar = MultimediaAuthRequest::read(&message).unwrap();
    assert_eq!(mar.impi.as_str(), "001010000000001@ims.mnc001.mcc001.3gppnetwork.org");
    assert_eq!((&mar.resync, mar.guss_timestamp), (&None, Some(Duration::from_secs(1_767_139_200))));
    let mut writer = Writer::new(*message.header());
    message.avps().take_while(|avp| !avp.is(&USER_NAME)).for_each(|avp| _ = writer.copy(&avp));
    mar.write(&mut writer);
    assert_eq!(writer.finish().unwrap(), octets);
}

#[test]
fn messages_are_read_as_written() {
    let mar = MultimediaAuthRequest {
        impi: "u@home1.net".into(),
        impu: Some("sip:u@home1.net".into()),
        resync: Some((Rand([1; 16]), Auts([2; 14]))),
        guss_timestamp: Some(Duration::from_secs(1_795_000_000)),
    };
    let mut writer = request(application::ZH, command::MULTIMEDIA_AUTH, "bsf;1;1", &origin("bsf.home1.net"));
    mar.write(&mut writer);
    let octets = writer.finish().unwrap();
    let message = Message::parse(&octets).unwrap();
    message.check().unwrap();
    assert_eq!(MultimediaAuthRequest::read(&message), Ok(mar));

    let maa = MultimediaAuthAnswer {
        impi: Some("u@home1.net".into()),
        vector: AkaVector {
            rand: Rand([1; 16]),
            autn: Autn([2; 16]),
            xres: Res::new(&[3; 8]),
            ck: Key128([4; 16]),
            ik: Key128([5; 16]),
        },
        guss: Some(b"<guss/>".to_vec()),
        guss_timestamp: None,
    };
    let mut writer = answer_to(&message, base::SUCCESS, &origin("hss.home1.net"));
    maa.write(&mut writer);
    let octets = writer.finish().unwrap();
    let message = Message::parse(&octets).unwrap();
    message.check().unwrap();
    let read = MultimediaAuthAnswer::read(&message).unwrap();
    assert_eq!((read.vector.rand, read.vector.autn), (Rand([1; 16]), Autn([2; 16])));
    assert_eq!((read.vector.xres.as_bytes(), read.vector.ck.0, read.vector.ik.0), (&[3; 8][..], [4; 16], [5; 16]));
    assert_eq!((read.guss.as_deref(), read.guss_timestamp), (Some(&b"<guss/>"[..]), None));
}

#[test]
fn vectors_of_wrong_lengths_are_refused() {
    let header = Header {
        flags: 0,
        command: command::MULTIMEDIA_AUTH,
        application: application::ZH,
        hop_by_hop: 1,
        end_to_end: 1,
    };
    let lengths = |authenticate: usize, authorization: usize, ck: usize| {
        let mut writer = Writer::new(header);
        writer.group(&SIP_AUTH_DATA_ITEM, |item| {
            item.text(&SIP_AUTHENTICATION_SCHEME, Scheme::Aka.as_str())
                .octets(&SIP_AUTHENTICATE, &vec![0; authenticate])
                .octets(&SIP_AUTHORIZATION, &vec![0; authorization])
                .octets(&CONFIDENTIALITY_KEY, &vec![0; ck])
                .octets(&INTEGRITY_KEY, &[0; 16]);
        });
        let octets = writer.finish().unwrap();
        MultimediaAuthAnswer::read(&Message::parse(&octets).unwrap()).is_ok()
    };
    assert!(lengths(32, 8, 16));
    assert!(
        !lengths(31, 8, 16) && !lengths(33, 8, 16) && !lengths(8, 8, 16) && !lengths(32, 3, 16) && !lengths(32, 8, 15)
    );
    let mut writer = Writer::new(Header { flags: 0x80, ..header });
    writer.text(&USER_NAME, "u@h").text(&DESTINATION_REALM, "h").group(&SIP_AUTH_DATA_ITEM, |item| {
        item.octets(&SIP_AUTHORIZATION, &[0; 29]);
    });
    let octets = writer.finish().unwrap();
    let fault = MultimediaAuthRequest::read(&Message::parse(&octets).unwrap()).unwrap_err();
    assert_eq!(fault.code(), base::INVALID_AVP_VALUE);
}
