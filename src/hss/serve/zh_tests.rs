//! Zh as a BSF sees it.

use super::testbed::{Bed, IMPI, IMPU, K, OPC};
use super::*;
use crate::aka::{Algorithm, KeySet, Sqn, resync};
use crate::diameter::dictionary::{SIP_AUTH_DATA_ITEM, SIP_AUTHENTICATION_SCHEME, USER_NAME};
use crate::diameter::zh::{MultimediaAuthAnswer, MultimediaAuthRequest};
use crate::gba::guss::Guss;
use std::time::Duration;

fn mar(bed: &Bed, mar: &MultimediaAuthRequest) -> Result<MultimediaAuthAnswer, ResultCode> {
    let command = (application::ZH, command::MULTIMEDIA_AUTH);
    bed.ask(
        "bsf.home1.net",
        command,
        |to| mar.write(to),
        |answer| match answer.result().unwrap() {
            base::SUCCESS => Ok(MultimediaAuthAnswer::read(answer).unwrap()),
            code => Err(code),
        },
    )
}

fn of(impi: &str) -> MultimediaAuthRequest {
    MultimediaAuthRequest { impi: impi.into(), impu: None, resync: None, guss_timestamp: None }
}

#[test]
fn a_bsf_gets_a_vector_and_the_settings_that_it_has_not() {
    let bed = Bed::new();
    let answer = mar(&bed, &of(IMPI)).unwrap();
    let guss = Guss::parse(answer.guss.as_deref().unwrap()).unwrap();
    assert_eq!((guss.id.as_deref(), guss.lifetime), (Some(IMPI), Some(Duration::from_secs(3600))));
    let [mbms] = &guss.settings[..] else { panic!("{guss:?}") };
    assert_eq!((mbms.kind, &mbms.uids[..2]), (4, &[IMPI.to_owned(), IMPU.to_owned()][..]));
    let since = answer.guss_timestamp.unwrap();
    let newest = MultimediaAuthRequest { guss_timestamp: Some(since), ..of(IMPI) };
    let known = mar(&bed, &newest).unwrap();
    assert_eq!((known.guss, known.guss_timestamp), (None, None));
    let older = MultimediaAuthRequest { guss_timestamp: Some(since - Duration::from_secs(1)), ..newest };
    assert!(mar(&bed, &older).unwrap().guss.is_some());
    let unsubscribed = Guss::parse(&mar(&bed, &of("v@home1.net")).unwrap().guss.unwrap()).unwrap();
    assert!(unsubscribed.settings.is_empty());
}

#[test]
fn strangers_passwords_and_other_peoples_identities_are_refused() {
    let bed = Bed::new();
    let refused = |request: MultimediaAuthRequest| mar(&bed, &request).unwrap_err();
    assert_eq!(refused(of("x@home1.net")), tgpp::IDENTITY_UNKNOWN);
    assert_eq!(refused(of("d@home1.net")), tgpp::AUTH_SCHEME_NOT_SUPPORTED);
    let password = bed.ask(
        "bsf.home1.net",
        (application::ZH, command::MULTIMEDIA_AUTH),
        |to| {
            to.text(&USER_NAME, IMPI);
            to.group(&SIP_AUTH_DATA_ITEM, |item| _ = item.text(&SIP_AUTHENTICATION_SCHEME, "SIP Digest"));
        },
        |answer| answer.result().unwrap(),
    );
    assert_eq!(password, tgpp::AUTH_SCHEME_NOT_SUPPORTED, "a card gives no password");
    let impu = Some("sip:v@home1.net".into());
    assert_eq!(refused(MultimediaAuthRequest { impu, ..of(IMPI) }), tgpp::IDENTITIES_DONT_MATCH);
}

#[test]
fn a_card_that_is_ahead_is_followed() {
    let bed = Bed::new();
    let octets = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let keys = KeySet::from_opc(Algorithm::Milenage, &octets(K), &octets(OPC)).unwrap();
    let vector = mar(&bed, &of(IMPI)).unwrap().vector;
    let far = Sqn::from_parts(vector.autn.sqn(&keys.f2345(&vector.rand).ak).seq() + 9_000_000, 0).unwrap();
    let auts = resync::make_auts(&keys, &vector.rand, far);
    let again = mar(&bed, &MultimediaAuthRequest { resync: Some((vector.rand, auts)), ..of(IMPI) }).unwrap().vector;
    assert!(again.autn.sqn(&keys.f2345(&again.rand).ak) > far);
}
