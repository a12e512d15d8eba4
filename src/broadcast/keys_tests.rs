use super::*;

fn document() -> KeyDocument {
    KeyDocument {
        key: KsNaf(std::array::from_fn(|n| n as u8)),
        expires: 1_767_225_600,
        btid: Btid::parse("I1U8vpY3qJ0hiuZNrke/NQ==@bsf.home1.net").unwrap(),
        naf: NafId::parse("bsm.home1.net;0100000004").unwrap(),
        impus: vec![Impu::from("sip:a&b@home1.net"), Impu::from("tel:+1")],
        services: Some(BroadcastSubscription::All),
    }
}

#[test]
fn key_document_round_trip() {
    let sent = document();
    let xml = sent.to_xml();
    let got = KeyDocument::parse(&xml).unwrap();
    assert_eq!(got.key.0, sent.key.0);
    assert_eq!((got.expires, &got.btid, &got.naf), (sent.expires, &sent.btid, &sent.naf));
    assert_eq!((got.impus, got.services), (sent.impus.clone(), sent.services.clone()));
    assert!(!format!("{sent:?}").contains("AAECAw"));
}

/// TS 26.237 annex I.2 as another implementation would write it.
fn foreign(muk: &str) -> String {
    format!(
        "<n:mbmsAuthorizedSecurityRegister xmlns:n='urn:3GPP:metadata:2005:MBMS:nafKeyInfo'>\
         <n:ueIPaddress>192.0.2.1</n:ueIPaddress><n:muk>{muk}</n:muk><n:mukLifeTime>2026-01-01T01:00:00+01:00\
         </n:mukLifeTime><n:btid>I1U8vpY3qJ0hiuZNrke/NQ==@bsf.home1.net</n:btid>\
         <n:nafFqdn>YnNtLmhvbWUxLm5ldA==</n:nafFqdn></n:mbmsAuthorizedSecurityRegister>"
    )
}

#[test]
fn foreign_key_documents() {
    for muk in [
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        " AAECAwQFBgcICQoLDA0ODxAREhMU\n FRYXGBkaGxwdHh8= ",
        "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F",
    ] {
        let got = KeyDocument::parse(foreign(muk).as_bytes()).unwrap();
        assert_eq!(got.key.0, document().key.0);
        assert_eq!((got.naf.fqdn(), got.naf.ua, got.expires), ("bsm.home1.net", UaId::MBMS, 1_767_225_600));
        assert!(got.impus.is_empty());
    }
}

#[test]
fn bad_key_documents_are_refused() {
    for muk in ["", "AAEC", "zz", &"0".repeat(62), &"g".repeat(64), &"é".repeat(32)] {
        assert_eq!(KeyDocument::parse(foreign(muk).as_bytes()).unwrap_err(), DocumentError::Key, "{muk}");
    }
    let good = foreign(&"0".repeat(64));
    let twice = good.replace("<n:btid>", "<n:muk>AA==</n:muk><n:btid>");
    assert_eq!(KeyDocument::parse(twice.as_bytes()).unwrap_err(), DocumentError::Repeated("muk"));
    let none = good.replace("n:btid>", "n:tid>");
    assert_eq!(KeyDocument::parse(none.as_bytes()).unwrap_err(), DocumentError::Missing("btid"));
    let dtd = format!("<!DOCTYPE x>{good}");
    assert_eq!(KeyDocument::parse(dtd.as_bytes()).unwrap_err(), DocumentError::Xml(XmlError::Dtd));
    assert!(KeyDocument::parse(good.replace("2026-01-01T", "soon").as_bytes()).is_err());
    assert!(KeyDocument::parse(good.replace("YnNt", "!!").as_bytes()).is_err());
}

#[test]
fn refusal_and_registration_round_trip() {
    let doc = document();
    let refusal = KeyRefusal { btid: doc.btid.clone(), naf: doc.naf.clone(), cause: "unknown <btid>".into() };
    assert_eq!(KeyRefusal::parse(&refusal.to_xml()).unwrap(), refusal);
    for state in [RegState::NotRegistered, RegState::Pending, RegState::Registered, RegState::Failed] {
        let registration = BroadcastRegistration {
            state,
            impu: Impu::from("sip:u@home1.net"),
            btid: (state != RegState::Failed).then(|| doc.btid.clone()),
            naf_fqdn: "bsm.home1.net".into(),
            expires: 600,
            cause: "expired".into(),
        };
        assert_eq!(BroadcastRegistration::parse(&registration.to_xml()).unwrap(), registration);
    }
    assert!(BroadcastRegistration::parse(b"<bcast-registration state='x' impu='a' naf='b'/>").is_err());
}
