use super::*;

const BODY: &str = "<ServiceRequest requestID=\"1\">\r\n\u{e4}</ServiceRequest>\n";

fn message(headers: &str, body: &[u8]) -> Message<'static> {
    let mut bytes = format!(
        "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:u@home1.net>;tag=1\r\nTo: <sip:u@home1.net>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n\
         {headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    Message::parse_owned(bytes).unwrap()
}

fn portion(headers: &str) -> Result<Option<Portion>, IdentifyError> {
    identify(&message(headers, b""))
}

fn naf(headers: &str) -> NafId {
    portion(headers).unwrap().expect(headers).naf
}

#[test]
fn nothing_for_the_broadcast_server() {
    for headers in [
        "",
        "Supported: bcast-ext, path\r\n",
        "Require: path\r\n",
        "Contact: <sip:u@10.0.0.1>;+g.imscript.bcast\r\n",
        "Contact: *\r\n",
    ] {
        assert_eq!(portion(headers), Ok(None), "{headers}");
    }
}

#[test]
fn all_accepted_forms() {
    for headers in [
        "Bcast-Ext: profile=\"1.0\";naf-id=\"bsm.home1.net\";ua-id=0100000001\r\n",
        "bcast-ext: NAF-ID = bsm.home1.net ; Profile=1.0\r\n",
        "Bcast-Ext: profile=1.0\r\nBcast-Ext: naf-id=bsm.home1.net\r\n",
        "Require: bcast_ext_profile=1.0; bcast_ext_scard= \"bsm.home1.net\"\r\n",
        "Require: BCAST_EXT_PROFILE = \"1.0\" ;\r\n  Bcast_Ext_Scard = bsm.home1.net\r\n",
        "Require: path, bcast_ext_scard=bsm.home1.net, bcast_ext_profile=1.0\r\n",
        "Require: bcast_ext_profile=1.0\r\nRequire: bcast_ext_scard=bsm.home1.net, sec-agree\r\n",
        "Bcast-Ext: profile=1.0\r\nContact: <sip:u@10.0.0.1>;+g.imscript.bcast=\"bsm.home1.net\"\r\n",
    ] {
        let found = portion(headers).unwrap().expect(headers);
        assert_eq!(found.naf.fqdn(), "bsm.home1.net", "{headers}");
        assert_eq!(found.profile.as_deref(), Some("1.0"), "{headers}");
        assert!(!found.all_or_nothing);
    }
}

#[test]
fn ua_identifier_from_any_form() {
    assert_eq!(naf("Bcast-Ext: naf-id=\"bsm.home1.net;0100000004\"\r\n").ua.0, [1, 0, 0, 0, 4]);
    assert_eq!(naf("Bcast-Ext: naf-id=\"bsm.home1.net\";ua-id=0100000004\r\n").ua.0, [1, 0, 0, 0, 4]);
    assert_eq!(naf("Require: bcast_ext_scard=\"bsm.home1.net;0100000002\"\r\n").ua.0, [1, 0, 0, 0, 2]);
    let both = "Bcast-Ext: naf-id=bsm.home1.net;ua-id=0100000004\r\nRequire: bcast_ext_scard=bsm.home1.net\r\n";
    assert_eq!(naf(both).ua.0, [1, 0, 0, 0, 4]);
}

#[test]
fn all_or_nothing_only_by_require() {
    assert!(portion("Require: bcast-ext\r\nBcast-Ext: naf-id=a.net\r\n").unwrap().unwrap().all_or_nothing);
    assert!(!portion("Supported: bcast-ext\r\nBcast-Ext: naf-id=a.net\r\n").unwrap().unwrap().all_or_nothing);
}

#[test]
fn contradictions_and_faults_are_400() {
    let long = format!("Require: bcast_ext_scard=\"{}.net\"\r\n", "a.".repeat(130));
    for headers in [
        "Bcast-Ext: naf-id=a.net\r\nRequire: bcast_ext_scard=b.net\r\n",
        "Bcast-Ext: naf-id=a.net\r\nContact: <sip:u@10.0.0.1>;+g.imscript.bcast=\"b.net\"\r\n",
        "Bcast-Ext: naf-id=a.net, naf-id=b.net\r\n",
        "Require: bcast_ext_scard=a.net\r\nRequire: bcast_ext_scard=b.net\r\n",
        "Require: bcast_ext_scard=a.net;bcast_ext_profile=1;bcast_ext_profile=2\r\n",
        "Bcast-Ext: profile=1;naf-id=a.net\r\nRequire: bcast_ext_profile=2\r\n",
        "Bcast-Ext: naf-id=a.net;ua-id=0100000001\r\nRequire: bcast_ext_scard=\"a.net;0100000002\"\r\n",
        "Require: bcast_ext_profile=1.0; bcast_ext_scard=\r\n",
        "Require: bcast_ext_profile=1.0\r\n",
        "Require: bcast_ext_profile=1.0; bcast_ext_scard=\"a.net\r\n",
        "Require: bcast-ext\r\n",
        "Bcast-Ext: profile=1.0\r\n",
        "Bcast-Ext: naf-id=\"a.net b.net\"\r\n",
        "Bcast-Ext: naf-id=BSM.home1.net\r\n",
        "Contact: <sip:u@10.0.0.1>;+g.imscript.bcast=\"a.net\", <sip:u@10.0.0.2>;+g.imscript.bcast=\"b.net\"\r\n",
        &long,
    ] {
        assert_eq!(portion(headers).unwrap_err().status(), 400, "{headers}");
    }
}

#[test]
fn payload_is_kept_octet_for_octet() {
    let binary: Vec<u8> = (0..=255).chain(*b"\r\n--x--\r\n").collect();
    for kind in ["application/vnd.oma.bcast.sprov+xml", "\"application/vnd.oma.bcast.sprov + xml\""] {
        for octets in [BODY.as_bytes(), &binary] {
            let headers = format!("Bcast-Ext: naf-id=a.net\r\nContent-Type: {kind}\r\n");
            let found = identify(&message(&headers, octets)).unwrap().unwrap().payload.unwrap();
            assert_eq!(found.octets, octets);
            assert_eq!(found.content_type, media::PROVISIONING);
        }
    }
}

#[test]
fn payload_inside_multipart() {
    let part = format!("Content-Type: application/vnd.oma.bcast.sprov+xml;charset=utf-8\r\n\r\n{BODY}");
    let headers = "Bcast-Ext: naf-id=a.net\r\nContent-Type: multipart/mixed;boundary=xx\r\n";
    let one = format!("--xx\r\nContent-Type: text/plain\r\n\r\nhi\r\n--xx\r\n{part}\r\n--xx--\r\n");
    let found = identify(&message(headers, one.as_bytes())).unwrap().unwrap().payload.unwrap();
    assert_eq!(found.octets, BODY.as_bytes());
    assert_eq!(found.content_type, "application/vnd.oma.bcast.sprov+xml;charset=utf-8");
    let two = format!("--xx\r\n{part}\r\n--xx\r\n{part}\r\n--xx--\r\n");
    assert_eq!(identify(&message(headers, two.as_bytes())), Err(IdentifyError::SeveralPayloads));
}

#[test]
fn payload_without_naf_and_too_large() {
    let kind = "Content-Type: application/vnd.oma.bcast.sprov+xml\r\n";
    assert_eq!(identify(&message(kind, b"<x/>")), Err(IdentifyError::NafMissing));
    let large = vec![b' '; PAYLOAD_MAX + 1];
    assert_eq!(identify(&message(&format!("Bcast-Ext: naf-id=a.net\r\n{kind}"), &large)).unwrap_err().status(), 413);
}

#[test]
fn require_left_for_the_420_rule() {
    let request = message(
        "Require: path, foo, bcast_ext_profile=1;bcast_ext_scard=\"a,b\"\r\nRequire: bcast-ext, foo, bar;x=\"1\"\r\n",
        b"",
    );
    assert_eq!(unknown_require(&request, &["path"], true), ["foo", "bar"]);
    assert_eq!(unknown_require(&request, &["path"], false), ["foo", "bcast_ext_profile", "bcast-ext", "bar"]);
}

proptest::proptest! {
    #[test]
    fn no_require_or_extension_kills_the_parser(value in "[ -~]{0,80}", name in "(Require|Bcast-Ext|Contact)") {
        let request = message(&format!("{name}: {value}\r\n"), b"");
        let _ = identify(&request);
        let _ = unknown_require(&request, &["path"], false);
    }

    #[test]
    fn extension_like_text(value in "(bcast_ext_(profile|scard)|naf-id|ua-id|btid|[=;,\"\\\\ ]|a\\.net|01){0,12}") {
        let request = message(&format!("Require: {value}\r\nBcast-Ext: {value}\r\n"), b"");
        if let Err(why) = identify(&request) {
            proptest::prop_assert_eq!(why.status(), 400);
        }
        for tag in unknown_require(&request, &[], true) {
            proptest::prop_assert!(tag.bytes().all(is_token));
        }
    }
}
