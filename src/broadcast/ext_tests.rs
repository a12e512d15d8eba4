use super::*;

fn read(value: &str) -> Result<Ext, ExtError> {
    let mut ext = Ext::default();
    if !is_closed(value.as_bytes()) {
        return Err(ExtError::Malformed);
    }
    ext.take(value.as_bytes())?;
    Ok(ext)
}

#[test]
fn written_and_read_again() {
    let naf = NafId::parse("bsm.home1.net;0100000004").unwrap();
    let ext = Ext {
        profile: Some("1.0 \"x\\".into()),
        naf: Some(naf),
        ua_given: true,
        btid: Some(Btid::parse("I1U8vpY3qJ0hiuZNrke/NQ==@bsf.home1.net").unwrap()),
        mode: Some(Mode::Simultaneous),
        key: Some(KeyWay::OnUse),
        services: Some(BroadcastSubscription::Services(["a".to_string(), "b".to_string()].into())),
        state: Some(RegState::NotRegistered),
        cause: Some("key expired".into()),
        asks_key: true,
    };
    assert_eq!(read(&ext.to_string()).unwrap(), ext);
}

#[test]
fn lenient_about_blanks_and_case() {
    let ext = read(" Profile = 1.0 ; NAF-ID=\"bsm.home1.net\";;x;y=1").unwrap();
    assert_eq!(ext.profile.as_deref(), Some("1.0"));
    assert_eq!(ext.naf.unwrap().fqdn(), "bsm.home1.net");
    assert!(!ext.ua_given);
}

#[test]
fn refused() {
    assert_eq!(read("profile=1;profile=2"), Err(ExtError::Contradiction("profile")));
    assert_eq!(read("naf-id=a.net;naf-id=b.net"), Err(ExtError::SeveralNafs));
    assert_eq!(read("naf-id=\"a.net;0100000002\";ua-id=0100000001"), Err(ExtError::Contradiction("ua-id")));
    assert_eq!(read("ua-id=01000000"), Err(ExtError::Unknown("ua-id")));
    assert_eq!(read("mode=loud"), Err(ExtError::Unknown("mode")));
    assert_eq!(read(&format!("profile={}", "x".repeat(256))), Err(ExtError::TooLong("profile")));
    assert_eq!(read("profile=\"1.0"), Err(ExtError::Malformed));
    assert_eq!(read("profile=\"1\"0"), Err(ExtError::Malformed));
    assert_eq!(read("=1"), Err(ExtError::Malformed));
    assert!(matches!(read("btid=x"), Err(ExtError::Btid(_))));
    assert!(matches!(read("naf-id=\"NAF_ID of the NAF\""), Err(ExtError::Naf(_))));
}

#[test]
fn splitting_minds_quotes_and_escapes() {
    let halves = |text| (split(text, b',').collect::<Vec<_>>(), is_closed(text));
    assert_eq!(halves(b"a, \"b,\\\",c\" ,,d"), (vec![&b"a"[..], b"\"b,\\\",c\"", b"d"], true));
    assert_eq!(halves(b"a,\"b,c"), (vec![&b"a"[..], b"\"b,c"], false));
}
