//! Documents as foreign HSSs write them, and what is no profile.

use super::*;
use crate::hss::profile::criteria::{ApplicationServer, Match, Trigger, TriggerPoint};

const DOCUMENT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<IMSSubscription xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <PrivateID>alice@home1.net</PrivateID>
  <ServiceProfile>
    <PublicIdentity><BarringIndication>1</BarringIndication><Identity>sip:001010000000001@home1.net</Identity></PublicIdentity>
    <PublicIdentity><Identity>sip:Alice@HOME1.net</Identity>
      <Extension><IdentityType>0</IdentityType><Extension><DisplayName>Alice &amp; co</DisplayName></Extension></Extension>
    </PublicIdentity>
    <PublicIdentity><Identity>tel:+49-123</Identity></PublicIdentity>
    <PublicIdentity><Identity>sip:chat-list@home1.net</Identity>
      <Extension><IdentityType>3</IdentityType><Extension><Extension>
        <WildcardedIMPU>sip:chat-!.*!@home1.net</WildcardedIMPU></Extension></Extension></Extension>
    </PublicIdentity>
    <InitialFilterCriteria>
      <Priority>10</Priority>
      <TriggerPoint><ConditionTypeCNF>1</ConditionTypeCNF>
        <SPT><ConditionNegated>0</ConditionNegated><Group>0</Group><Group>1</Group><SessionCase>1</SessionCase></SPT>
        <SPT><ConditionNegated>1</ConditionNegated><Group>1</Group>
          <SIPHeader><Header>Event</Header><Content>reg</Content></SIPHeader></SPT>
        <SPT><Group>2</Group><SessionDescription><Line>m</Line><Content>video</Content></SessionDescription></SPT>
        <SPT><Group>2</Group><RequestURI>sip:x</RequestURI></SPT>
      </TriggerPoint>
      <ApplicationServer><ServerName>sip:tas.home1.net</ServerName><DefaultHandling>1</DefaultHandling></ApplicationServer>
      <ProfilePartIndicator>1</ProfilePartIndicator>
    </InitialFilterCriteria>
    <InitialFilterCriteria>
      <Priority>0</Priority>
      <TriggerPoint><ConditionTypeCNF>0</ConditionTypeCNF>
        <SPT><ConditionNegated>0</ConditionNegated><Group>0</Group><Method>REGISTER</Method>
          <Extension><RegistrationType>0</RegistrationType><RegistrationType>2</RegistrationType></Extension></SPT>
      </TriggerPoint>
      <ApplicationServer><ServerName>sip:bsm.home1.net</ServerName><DefaultHandling>0</DefaultHandling>
        <ServiceInfo>urn:a, urn:b</ServiceInfo>
        <Extension><IncludeRegisterRequest/><IncludeRegisterResponse/></Extension></ApplicationServer>
    </InitialFilterCriteria>
    <CoreNetworkServicesAuthorization><SubscribedMediaProfileId>7</SubscribedMediaProfileId></CoreNetworkServicesAuthorization>
    <Extension><SharedIFCSetID>1</SharedIFCSetID><SharedIFCSetID>2</SharedIFCSetID></Extension>
    <Unknown/>
  </ServiceProfile>
</IMSSubscription>"#;

fn is_bsm(name: &str) -> bool {
    name == "sip:bsm.home1.net"
}

#[test]
fn a_profile_is_read_with_its_criteria_by_priority() {
    let read = ImsSubscription::parse(DOCUMENT.as_bytes()).unwrap();
    assert_eq!(read.impi.as_str(), "alice@home1.net");
    let [profile] = &read.profiles[..] else { panic!("one service profile") };
    assert_eq!((profile.media_profile, &profile.shared_criteria[..]), (Some(7), &[1, 2][..]));
    assert_eq!(profile.identities[1].display_name.as_deref(), Some("Alice & co"));
    assert_eq!(profile.identities[3].wildcard.as_deref(), Some("sip:chat-!.*!@home1.net"));
    let [first, second] = &profile.criteria[..] else { panic!("two criteria") };
    let register = Trigger {
        negated: false,
        groups: vec![0],
        matches: Match::Method("REGISTER".into()),
        registration: vec![0, 2],
    };
    assert_eq!(first.trigger, Some(TriggerPoint { conjunctive: false, triggers: vec![register] }));
    let expected = ApplicationServer {
        name: "sip:bsm.home1.net".into(),
        ends_session: false,
        service_info: Some("urn:a, urn:b".into()),
        include_request: true,
        include_response: true,
    };
    assert_eq!(first.server, expected);
    assert_eq!((second.part, second.server.ends_session), (Some(Part::Unregistered), true));
    let point = second.trigger.as_ref().unwrap();
    assert!(point.conjunctive && point.triggers[1].negated);
    assert_eq!(point.triggers[0].groups, [0, 1]);
    assert_eq!(
        point.triggers[2].matches,
        Match::SessionDescription { line: "m".into(), content: Some("video".into()) }
    );
}

#[test]
fn what_is_written_is_read_again() {
    let read = ImsSubscription::parse(DOCUMENT.as_bytes()).unwrap();
    assert_eq!(ImsSubscription::parse(&read.to_xml()), Ok(read));
}

#[test]
fn the_implicit_set_keeps_its_order_without_the_barred_and_wildcards() {
    let profile = ImsSubscription::parse(DOCUMENT.as_bytes()).unwrap().profile(is_bsm);
    assert_eq!(*profile.impus, [Impu::from("sip:Alice@home1.net"), Impu::from("tel:+49123")]);
    assert_eq!(*profile.barred, [Impu::from("sip:001010000000001@home1.net")]);
    let services = ["urn:a".to_string(), "urn:b".to_string()];
    assert_eq!(profile.broadcast, BroadcastSubscription::Services(services.into()));
}

#[test]
fn a_criterion_with_a_broadcast_server_is_a_subscription() {
    let of = |text: &str| ImsSubscription::parse(text.as_bytes()).unwrap().profile(is_bsm).broadcast;
    assert_eq!(of(&DOCUMENT.replace("sip:bsm.", "sip:other.")), BroadcastSubscription::None);
    assert_eq!(of(&DOCUMENT.replace("<ServiceInfo>urn:a, urn:b</ServiceInfo>", "")), BroadcastSubscription::All);
    let unregistered = "</ApplicationServer><ProfilePartIndicator>1</ProfilePartIndicator>";
    assert_eq!(
        of(&DOCUMENT.replace("</ApplicationServer>\n    </Init", &format!("{unregistered}</Init"))),
        BroadcastSubscription::None
    );
}

#[test]
fn what_is_no_profile_is_refused() {
    let refused = |text: &str| ImsSubscription::parse(text.as_bytes()).unwrap_err();
    assert_eq!(refused("<!DOCTYPE a [<!ENTITY b 'c'>]><IMSSubscription/>"), NotAProfile::Xml(XmlError::Dtd));
    assert_eq!(refused("<a/>"), NotAProfile::Element("IMSSubscription"));
    assert_eq!(refused("<IMSSubscription/>"), NotAProfile::Element("PrivateID"));
    for (part, replaced, element) in [
        ("<Priority>0</Priority>", "<Priority>first</Priority>", "InitialFilterCriteria"),
        ("<ServerName>sip:tas.home1.net</ServerName>", "", "InitialFilterCriteria"),
        ("<Identity>tel:+49-123</Identity>", "", "PublicIdentity"),
        ("<BarringIndication>1<", "<BarringIndication>maybe<", "PublicIdentity"),
        ("<SharedIFCSetID>2<", "<SharedIFCSetID>b<", "SharedIFCSetID"),
    ] {
        assert_eq!(refused(&DOCUMENT.replace(part, replaced)), NotAProfile::Element(element), "{part}");
    }
    let no_identity = "<IMSSubscription><PrivateID>a</PrivateID><ServiceProfile/></IMSSubscription>";
    assert_eq!(refused(no_identity), NotAProfile::Element("PublicIdentity"));
    assert_eq!(
        refused("<IMSSubscription><PrivateID>a</PrivateID></IMSSubscription>"),
        NotAProfile::Element("ServiceProfile")
    );
}
