//! Every message is read back as it was written; Sh-Data is held against documents as other programs write them.

use super::data::{ShDataError, service_data};
use super::*;
use crate::diameter::dictionary::{application, command};
use crate::diameter::fault::base;
use crate::diameter::{Origin, answer_to, request};
use crate::xml::XmlError;

fn origin() -> Origin {
    Origin { host: "as.home1.net".into(), realm: "home1.net".into() }
}

fn impu() -> User {
    User::Public("sip:u@home1.net".into())
}

/// A request of this command, and what `read` makes of it.
fn sent<T>(command: u32, write: impl FnOnce(&mut Writer), read: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut writer = request(application::SH, command, "as.home1.net;1;1", &origin());
    write(&mut writer);
    let octets = writer.finish().unwrap();
    let message = Message::parse(&octets).unwrap();
    message.check().unwrap();
    read(&message)
}

fn answered<T>(write: impl FnOnce(&mut Writer), read: impl FnOnce(&Message<'_>) -> T) -> T {
    let answer = sent(
        command::USER_DATA,
        |_| {},
        |request| {
            let mut writer = answer_to(request, base::SUCCESS, &origin());
            write(&mut writer);
            writer.finish().unwrap()
        },
    );
    let message = Message::parse(&answer).unwrap();
    message.check().unwrap();
    read(&message)
}

#[test]
fn requests_are_read_as_written() {
    let udr = UserDataRequest {
        user: impu(),
        data: vec![DataReference::RepositoryData, DataReference::PrivateIdentity, DataReference::Other(14)],
        services: vec!["bcast-registration".into(), "other".into()],
        sets: vec![IdentitySet::Implicit, IdentitySet::Alias],
        server: Some("sip:as.home1.net".into()),
        impi: Some("u@home1.net".into()),
    };
    assert_eq!(sent(command::USER_DATA, |to| udr.write(to), UserDataRequest::read), Ok(udr));
    let pur = ProfileUpdateRequest {
        user: User::Msisdn("12015550123".into()),
        data: vec![DataReference::RepositoryData],
        user_data: b"<Sh-Data/>".to_vec(),
    };
    assert_eq!(sent(command::PROFILE_UPDATE, |to| pur.write(to), ProfileUpdateRequest::read), Ok(pur));
    let mut snr = SubscribeRequest {
        user: impu(),
        data: vec![DataReference::UserState],
        services: Vec::new(),
        sets: Vec::new(),
        server: None,
        subscribes: true,
        wants_data: true,
        once: true,
        until: Some(Duration::from_secs(1_800_000_000)),
    };
    for subscribes in [true, false] {
        (snr.subscribes, snr.once) = (subscribes, subscribes);
        let read = sent(command::SUBSCRIBE_NOTIFICATIONS, |to| snr.write(to), SubscribeRequest::read);
        assert_eq!(read, Ok(snr.clone()));
    }
    let pnr = PushNotificationRequest { user: impu(), data: b"<Sh-Data/>".to_vec(), impi: None };
    assert_eq!(sent(command::PUSH_NOTIFICATION, |to| pnr.write(to), PushNotificationRequest::read), Ok(pnr));
}

#[test]
fn answers_are_read_as_written() {
    let uda = UserDataAnswer { data: Some(b"<Sh-Data/>".to_vec()) };
    assert_eq!(answered(|to| uda.write(to), UserDataAnswer::read), uda);
    let pua = ProfileUpdateAnswer {
        repository: Some(("bcast-registration".into(), 65535)),
        data: Some(DataReference::RepositoryData),
    };
    assert_eq!(answered(|to| pua.write(to), ProfileUpdateAnswer::read), Ok(pua));
    let sna = SubscribeAnswer { data: None, until: Some(Duration::from_secs(1_800_000_000)) };
    assert_eq!(answered(|to| sna.write(to), SubscribeAnswer::read), Ok(sna));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let read = |write: &dyn Fn(&mut Writer)| {
        sent(command::USER_DATA, |to| write(to), |message| UserDataRequest::read(message).unwrap_err().code())
    };
    assert_eq!(read(&|_| {}), base::MISSING_AVP);
    assert_eq!(read(&|to| put_user(to, &impu())), base::MISSING_AVP);
    let nobody = |to: &mut Writer| _ = to.group(&USER_IDENTITY, |_| {}).enumerated(&DATA_REFERENCE, 0);
    assert_eq!(read(&nobody), base::INVALID_AVP_VALUE);
    let digits = |octets: &'static [u8]| {
        move |to: &mut Writer| {
            to.group(&USER_IDENTITY, |identity| _ = identity.octets(&MSISDN, octets)).enumerated(&DATA_REFERENCE, 0);
        }
    };
    for octets in [&[][..], &[0xff], &[0x21, 0xf4, 0x01], &[0x2a], &[0x11; 9]] {
        assert_eq!(read(&digits(octets)), base::INVALID_AVP_VALUE, "{octets:02x?}");
    }
    let many = |to: &mut Writer| {
        put_user(to, &impu());
        (0..=MOST).for_each(|_| _ = to.enumerated(&DATA_REFERENCE, 0));
    };
    assert_eq!(read(&many), base::UNABLE_TO_COMPLY);
}

#[test]
fn an_msisdn_is_a_tbcd_string() {
    assert_eq!(tbcd("12015550123"), [0x21, 0x10, 0x55, 0x05, 0x21, 0xf3]);
    assert_eq!(tbcd("4912"), [0x94, 0x21]);
}

/// As other programs write it: prefixes, white space, elements that are not known, extensions in one another.
const FOREIGN: &str = r#"<?xml version="1.0"?>
<sh:Sh-Data xmlns:sh="u" xmlns:b="uri:b">
  <sh:PublicIdentifiers>
    <IMSPublicIdentity> sip:u@home1.net </IMSPublicIdentity><MSISDN>12015550123</MSISDN><Extension><IdentityType>0</IdentityType></Extension>
  </sh:PublicIdentifiers>
  <sh:RepositoryData><sh:ServiceIndication>bcast-registration</sh:ServiceIndication><sh:SequenceNumber>7</sh:SequenceNumber>
    <sh:ServiceData version="1"><b:state x="&lt;">registered</b:state></sh:ServiceData></sh:RepositoryData>
  <Sh-IMS-Data><SCSCFName>sip:s.home1.net</SCSCFName>
    <IFCs><InitialFilterCriteria><Priority>0</Priority></InitialFilterCriteria></IFCs>
    <IMSUserState>1</IMSUserState>
    <ChargingInformation><PrimaryChargingCollectionFunctionName>aaa://ccf</PrimaryChargingCollectionFunctionName></ChargingInformation>
  </Sh-IMS-Data>
  <CSUserState>0</CSUserState>
  <Extension><AllIdentities><IMSPublicIdentity>sip:v@home1.net</IMSPublicIdentity></AllIdentities>
    <Extension><Extension><IMSPrivateUserIdentity>u@home1.net</IMSPrivateUserIdentity></Extension></Extension></Extension>
</sh:Sh-Data>"#;

#[test]
fn foreign_sh_data_is_read_and_written_again() {
    let data = ShData::parse(FOREIGN.as_bytes()).unwrap();
    assert_eq!(data.identities.as_ref().unwrap().impus, [Impu::from("sip:u@home1.net")]);
    assert_eq!(data.identities.as_ref().unwrap().msisdns, ["12015550123"]);
    let [repository] = &data.repository[..] else { panic!("{data:?}") };
    assert_eq!((&*repository.service, repository.sequence), ("bcast-registration", 7));
    let declared = r#"xmlns:sh="u" xmlns:b="uri:b""#;
    let whole = format!(r#"<ServiceData {declared}><b:state x="&lt;">registered</b:state></ServiceData>"#);
    assert_eq!(repository.data.as_ref(), Some(&whole));
    assert_eq!((data.scscf.as_deref(), data.state), (Some("sip:s.home1.net"), Some(ImsUserState::Registered)));
    let criterion = format!("<InitialFilterCriteria {declared}><Priority>0</Priority></InitialFilterCriteria>");
    assert_eq!(data.criteria.as_deref(), Some(&[criterion][..]));
    assert_eq!(data.charging.as_ref().unwrap().primary_collection.as_deref(), Some("aaa://ccf"));
    assert_eq!(data.all.as_ref().unwrap().impus, [Impu::from("sip:v@home1.net")]);
    assert_eq!(data.impis, [Impi::from("u@home1.net")]);
    assert_eq!(ShData::parse(data.write().as_bytes()), Ok(data));
}

#[test]
fn sh_data_is_written_where_the_schema_has_it() {
    let data = ShData {
        repository: vec![Repository { service: "a&b".into(), sequence: 0, data: Some(service_data("<x/>")) }],
        scscf: Some(String::new()),
        impis: vec!["u@home1.net".into()],
        ..ShData::default()
    };
    let written = data.write();
    let body = written.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").unwrap();
    let extension = format!(
        "{}<IMSPrivateUserIdentity>u@home1.net</IMSPrivateUserIdentity>{}",
        "<Extension>".repeat(5),
        "</Extension>".repeat(5)
    );
    assert_eq!(
        body,
        format!(
            "<Sh-Data><RepositoryData><ServiceIndication>a&amp;b</ServiceIndication><SequenceNumber>0</SequenceNumber>\
             <ServiceData><x/></ServiceData></RepositoryData><Sh-IMS-Data><SCSCFName></SCSCFName></Sh-IMS-Data>{extension}</Sh-Data>"
        )
    );
    assert!(ShData::default().is_empty() && !data.is_empty());
    assert_eq!(ShData::parse(ShData::default().write().as_bytes()), Ok(ShData::default()));
}

#[test]
fn sh_data_that_says_nothing_sound_is_refused() {
    let repository = |inner: &str| format!("<Sh-Data><RepositoryData>{inner}</RepositoryData></Sh-Data>");
    let state = "<Sh-Data><Sh-IMS-Data><IMSUserState>4</IMSUserState></Sh-IMS-Data></Sh-Data>";
    for (text, why) in [
        ("<IMSSubscription/>".to_owned(), ShDataError::Root),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><Sh-Data/>".into(), ShDataError::Xml(XmlError::Dtd)),
        (repository("<SequenceNumber>1</SequenceNumber>"), ShDataError::Missing("ServiceIndication")),
        (repository("<ServiceIndication>a</ServiceIndication>"), ShDataError::Missing("SequenceNumber")),
        (
            repository("<ServiceIndication>a</ServiceIndication><SequenceNumber>65536</SequenceNumber>"),
            ShDataError::Value("SequenceNumber"),
        ),
        (state.into(), ShDataError::Value("IMSUserState")),
    ] {
        assert_eq!(ShData::parse(text.as_bytes()).unwrap_err(), why, "{text}");
    }
}
