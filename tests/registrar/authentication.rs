//! Challenge and verdict (sip-digest: RFC 3310, RFC 7616, TS 24.229 §5.4.1.2).

use crate::network::*;
use crate::phone::*;
use imscript::auth::digest::{Algorithm, Password, QopKind};
use imscript::policy::verdict;
use imscript::policy::{FixedPolicy, verdict::Reject};
use imscript::sip::HeaderName;
use imscript::sip::transaction::Transport;

fn nonce_of(response: &imscript::sip::Message<'_>) -> Vec<u8> {
    response.challenges().next().unwrap().unwrap().get("nonce").unwrap().into_owned()
}

#[test]
fn aka_in_all_versions_and_what_the_200_says() {
    for algorithm in [Algorithm::Akav1Md5, Algorithm::Akav2Md5, Algorithm::Akav2Sha256] {
        let network = Network::with(
            imscript::registrar::Settings { aka_algorithms: vec![algorithm], ..settings() },
            FixedPolicy::default(),
        );
        let mut phone = Phone::alice();
        let path = ["Supported: path", "Path: <sip:pcscf.home1.net;lr>", "Expires: 600000"];
        let response = phone.register(&network, &path);
        assert_eq!(response.status(), 200);
        assert_eq!(contacts(&response), ["<sip:alice@127.0.0.1:40000>;expires=600000"]);
        assert_eq!(text(&response, HeaderName::Path), "<sip:pcscf.home1.net;lr>");
        // Where the request came in is where the terminal can send the next ones.
        assert_eq!(text(&response, HeaderName::ServiceRoute), "<sip:127.0.0.1:5060;lr>");
        assert_eq!(text(&response, HeaderName::PAssociatedUri), "<sip:alice@home1.net>, <tel:+1234>");
        assert!(response.header(HeaderName::BcastExt).is_none(), "not asked for");
        assert_eq!(network.calls(), ["MAR", "SAR Registration"]);
        assert_eq!(phone.register(&network, &[]).status(), 200);
        assert_eq!(network.calls(), ["MAR", "SAR ReRegistration"]);
        assert!(network.forwarded().is_empty());
    }
}

#[test]
fn private_identity_from_the_public_one_where_authorization_is_missing_or_for_another_realm() {
    let network = Network::new();
    for first in
        ["", "Authorization: Digest username=\"x\",realm=\"other.net\",nonce=\"n\",uri=\"sip:x\",response=\"0\""]
    {
        let mut phone = Phone::alice().ahead(network.hss.0.lock().unwrap().seq);
        phone.call_id = first.len().to_string();
        let request = phone.write(&[], first, None);
        let challenge = network.send(&request, &phone.source);
        assert_eq!(challenge.status(), 401);
        assert!(network.calls().contains(&"LIR".to_string()));
        let second = phone.second(&challenge, &[], None);
        assert_eq!(network.send(&second, &phone.source).status(), 200);
    }
}

#[test]
fn a_nonce_is_good_for_one_success() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let challenge = phone.first(&network, &[], None);
    let authorization = phone.authorization(&challenge, b"").unwrap();
    let good = phone.write(&[], &authorization, None);
    assert_eq!(network.send(&good, &phone.source).status(), 200);
    network.calls();
    let replay = phone.write(&["Expires: 0"], &authorization, None);
    let again = network.send(&replay, &phone.source);
    assert_eq!(again.status(), 401);
    assert_ne!(nonce_of(&again), nonce_of(&challenge));
    assert_eq!(network.calls(), ["MAR"]);
    assert!(network.is_registered("alice@home1.net"), "the replay asked to deregister");
}

#[test]
fn an_unknown_nonce_is_a_fresh_401_and_leaves_the_outstanding_one() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let challenge = phone.first(&network, &[], None);
    let unknown = phone.digest(Algorithm::Akav1Md5, b"AAAA", &Password::new(*b"x"), QopKind::Auth, b"");
    let mut stranger = Phone::new("bob");
    let request = stranger.write(&[], &unknown.replace("alice", "bob"), None);
    assert_eq!(network.send(&request, &stranger.source).status(), 401);
    let second = phone.second(&challenge, &[], None);
    assert_eq!(network.send(&second, &phone.source).status(), 200);
    let request = phone.write(&[], &unknown, None);
    assert_eq!(network.send(&request, &phone.source).status(), 401);
}

#[test]
fn a_wrong_key_is_403_and_leaves_an_existing_registration_untouched() {
    let network = Network::new();
    let mut phone = Phone::alice();
    assert_eq!(phone.register(&network, &["Expires: 1000"]).status(), 200);
    network.calls();
    let mut thief = Phone::alice();
    thief.call_id = "thief".into();
    let challenge = thief.first(&network, &[], None);
    for (wrong, status) in [(&b"guess"[..], 403), (b"again", 401)] {
        let line = thief.digest(Algorithm::Akav1Md5, &nonce_of(&challenge), &Password::new(wrong), QopKind::Auth, b"");
        let request = thief.write(&["Contact: *", "Expires: 0"], &line, None);
        assert_eq!(network.send(&request, &thief.source).status(), status, "the nonce is spent by one try");
    }
    assert_eq!(network.calls(), ["MAR", "SAR AuthenticationFailure", "MAR"]);
    let response = phone.register(&network, &["", "Expires: 0"]); // a query
    assert_eq!(contacts(&response), ["<sip:alice@127.0.0.1:40000>;expires=1000"]);
}

#[test]
fn a_card_that_refuses_the_network_ends_the_attempt() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let challenge = phone.first(&network, &[], None);
    let nonce = String::from_utf8(nonce_of(&challenge)).unwrap();
    let line = phone.empty_authorization().replace("nonce=\"\"", &format!("nonce=\"{nonce}\""));
    let request = phone.write(&[], &line, None);
    assert_eq!(network.send(&request, &phone.source).status(), 403);
    assert_eq!(network.calls(), ["MAR", "SAR AuthenticationFailure"]);
}

#[test]
fn resynchronisation_once() {
    let network = Network::new();
    let mut phone = Phone::alice().ahead(5000);
    let challenge = phone.first(&network, &[], None);
    let line = phone.auts(&challenge);
    let request = phone.write(&[], &line, None);
    let again = network.send(&request, &phone.source);
    let second = phone.second(&again, &[], None);
    assert_eq!(network.send(&second, &phone.source).status(), 200);
    assert_eq!(network.calls(), ["MAR", "MAR AUTS", "SAR Registration"]);

    let mut broken = Phone::alice().ahead(9000);
    let challenge = broken.first(&network, &[], None);
    let line = broken.auts(&challenge);
    let request = broken.write(&[], &line, None);
    let again = network.send(&request, &broken.source);
    broken = Phone { cseq: broken.cseq, ..Phone::alice().ahead(20_000) };
    let line = broken.auts(&again);
    let request = broken.write(&[], &line, None);
    assert_eq!(network.send(&request, &broken.source).status(), 403, "a broken card does not go on for ever");
    assert!(network.is_registered("alice@home1.net"));
}

#[test]
fn a_forged_or_garbled_auts_changes_nothing() {
    let network = Network::new();
    for (auts, status) in [("MPEZcUKEwbvsd+/9Ggc=", 403), ("AAAA", 400), ("!", 400)] {
        let mut phone = Phone::alice();
        let challenge = phone.first(&network, &[], None);
        let seq = network.hss.0.lock().unwrap().seq;
        let line = phone.digest(Algorithm::Akav1Md5, &nonce_of(&challenge), &Password::empty(), QopKind::Auth, b"");
        let request = phone.write(&[], &format!("{line},auts=\"{auts}\""), None);
        assert_eq!(network.send(&request, &phone.source).status(), status, "{auts}");
        assert_eq!(network.hss.0.lock().unwrap().seq, seq);
    }
    // Some terminals send the parameter always.
    let mut phone = Phone::alice();
    let challenge = phone.first(&network, &[], None);
    let line = phone.authorization(&challenge, b"").unwrap();
    let request = phone.write(&[], &format!("{line},auts=\"\""), None);
    assert_eq!(network.send(&request, &phone.source).status(), 200);
}

#[test]
fn an_algorithm_that_was_not_offered_is_refused() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let challenge = phone.first(&network, &[], None);
    let line = phone.authorization(&challenge, b"").unwrap().replace("AKAv1-MD5", "MD5");
    let request = phone.write(&[], &line, None);
    assert_eq!(network.send(&request, &phone.source).status(), 403);
}

#[test]
fn passwords_sha_256_first_and_the_server_proves_itself_too() {
    let network = Network::new();
    let mut phone = Phone::new("carol");
    let challenge = phone.first(&network, &[], None);
    let offered: Vec<_> = challenge.challenges().map(|c| c.unwrap().get("algorithm").unwrap().into_owned()).collect();
    assert_eq!(offered, [b"SHA-256".to_vec(), b"MD5".to_vec()]);
    let second = phone.second(&challenge, &[], None);
    let response = network.send(&second, &phone.source);
    assert_eq!(response.status(), 200);
    assert!(text(&response, HeaderName::AuthenticationInfo).contains("rspauth=\""));
}

#[test]
fn auth_int_covers_the_broadcast_portion() {
    let network = Network::new();
    let body = ("application/vnd.oma.bcast.sprov+xml", &b"<ServiceRequest/>"[..]);
    for (sent, status) in [(body.1, 200), (&b"<ServiceOther/>  "[..], 403)] {
        let mut phone = Phone::for_broadcast();
        phone.card = Phone::alice().ahead(network.hss.0.lock().unwrap().seq).card;
        let challenge = phone.first(&network, &[], Some(body));
        let line = phone.authorization(&challenge, body.1).unwrap();
        assert!(line.contains("qop=auth-int"));
        let request = phone.write(&[], &line, Some((body.0, sent)));
        assert_eq!(network.send(&request, &phone.source).status(), status);
    }
}

#[test]
fn digest_uri_must_name_us_and_parameters_must_be_whole() {
    let network = Network::new();
    for (good, bad) in
        [("uri=\"sip:home1.net\"", "uri=\"sip:evil.net\""), (",nc=00000001", ""), ("nc=00000001", "nc=00000000")]
    {
        let mut phone = Phone::alice();
        phone.card = Phone::alice().ahead(network.hss.0.lock().unwrap().seq).card;
        let challenge = phone.first(&network, &[], None);
        let line = phone.authorization(&challenge, b"").unwrap().replace(good, bad);
        let request = phone.write(&[], &line, None);
        assert_eq!(network.send(&request, &phone.source).status(), 400, "{bad}");
    }
}

#[test]
fn reg_await_auth() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let challenge = phone.first(&network, &[], None);
    network.pass(seconds(239));
    network.sweep();
    assert_eq!(network.calls(), ["MAR"]);
    network.pass(seconds(1));
    network.sweep();
    assert_eq!(network.calls(), ["SAR AuthenticationTimeout"]);
    let late = phone.second(&challenge, &[], None);
    assert_eq!(network.send(&late, &phone.source).status(), 401);
    assert!(!network.is_registered("alice@home1.net"));
}

#[test]
fn keys_and_protected_refreshes_only_with_a_trusted_p_cscf() {
    let network =
        Network::with(imscript::registrar::Settings { send_ck_ik: true, ..settings() }, FixedPolicy::default());
    let mut phone = Phone::alice();
    let challenge = phone.first(&network, &[], None);
    assert!(challenge.challenges().next().unwrap().unwrap().get("ck").is_none(), "straight from a terminal");
    phone.source = source(Transport::Udp, "10.0.0.1:5060");
    network.keys_may_go.set(true);
    let challenge = phone.first(&network, &[], None);
    let params = challenge.challenges().next().unwrap().unwrap();
    assert!(params.get("ck").is_some_and(|ck| ck.len() == 32) && params.get("ik").is_some());
    network.keys_may_go.set(false);
    let second = phone.second(&challenge, &[], None);
    assert_eq!(network.send(&second, &phone.source).status(), 200);
    network.calls();

    let vouched = format!("{},integrity-protected=\"yes\"", phone.empty_authorization());
    let refresh = phone.write(&[], &vouched, None);
    assert_eq!(network.send(&refresh, &phone.source).status(), 200);
    assert_eq!(network.calls(), ["SAR ReRegistration"]);
    let elsewhere = phone.write(&[], &vouched, None);
    assert_eq!(network.send(&elsewhere, &source(Transport::Udp, "127.0.0.1:40000")).status(), 401);
    let mut unknown = Phone::new("bob");
    let initial = unknown.write(&[], &vouched.replace("alice", "bob"), None);
    network.keys_may_go.set(true);
    assert_eq!(network.send(&initial, &phone.source).status(), 401, "nothing registered that it could refresh");
}

#[test]
fn who_may_not_register() {
    let network = Network::new();
    assert_eq!(Phone::new("mallory").register(&network, &[]).status(), 403);
    let mut phone = Phone::alice();
    phone.impu = "sip:bob@home1.net".into();
    assert_eq!(phone.register(&network, &[]).status(), 403, "another's public identity");
    phone.impu = "isbn:2983792873".into();
    assert_eq!(phone.register(&network, &[]).status(), 400, "RFC 4475 §3.3.4 unksm2");
    let mut phone = Phone::alice();
    let request = phone.write(&[], "", None);
    let request = String::from_utf8(request).unwrap().replace("REGISTER sip:home1.net", "REGISTER sip:other.net");
    assert_eq!(network.send(request.as_bytes(), &phone.source).status(), 404);
    assert!(network.calls().iter().all(|call| !call.starts_with("SAR")));
    let mut phone = Phone::alice();
    phone.impi = "alice@home1.net\\\u{1}".into();
    assert!(matches!(phone.first(&network, &[], None).status(), 400 | 403));
}

#[test]
fn extensions() {
    let network = Network::new();
    let mut phone = Phone::alice();
    let response = phone.first(&network, &["Require: foo, path, bar"], None);
    assert_eq!((response.status(), text(&response, HeaderName::Unsupported)), (420, "foo, bar"));
    let response = phone.first(&network, &["Path: <sip:pcscf.home1.net;lr>"], None);
    assert_eq!((response.status(), text(&response, HeaderName::Require)), (421, "path"));
    assert!(network.calls().is_empty());

    let off = Network::with(imscript::registrar::Settings { extension: false, ..settings() }, FixedPolicy::default());
    for (line, tag) in [
        ("Require: bcast-ext", "bcast-ext"),
        ("Require: bcast_ext_profile=1.0;bcast_ext_scard=\"bsm.home1.net\"", "bcast_ext_profile"),
    ] {
        let response = phone.first(&off, &[line], None);
        assert_eq!((response.status(), text(&response, HeaderName::Unsupported)), (420, tag));
    }
    assert_eq!(Phone::for_broadcast().register(&off, &[]).status(), 200, "a header that nobody knows");
    off.settle();
    assert!(off.forwarded().is_empty());
}

#[test]
fn the_hss_does_not_answer() {
    for (down, status) in [("MAR", 504), ("SAR", 504)] {
        let network = Network::new();
        network.hss.0.lock().unwrap().down.insert(down);
        let response = Phone::alice().register(&network, &[]);
        assert_eq!(response.status(), status);
        assert!(response.header(HeaderName::RetryAfter).is_some());
        assert!(!network.is_registered("alice@home1.net"));
        network.hss.0.lock().unwrap().down.clear();
        let mut phone = Phone::alice().ahead(network.hss.0.lock().unwrap().seq);
        assert_eq!(phone.register(&network, &[]).status(), 200);
    }
}

#[test]
fn a_policy_refuses_or_chooses() {
    let reject = Reject::new(480, "not today");
    let network = Network::policy(FixedPolicy {
        register: Some(verdict::Register::Reject(reject.clone())),
        ..FixedPolicy::default()
    });
    let response = Phone::alice().register(&network, &[]);
    assert_eq!((response.status(), response.reason()), (480, &b"not today"[..]));
    assert!(network.calls().is_empty());

    let network = Network::policy(FixedPolicy {
        authorized: Some(verdict::Authorized::Reject(reject)),
        ..FixedPolicy::default()
    });
    assert_eq!(Phone::alice().register(&network, &[]).status(), 480);
    assert_eq!(network.calls(), ["MAR"]);
    assert!(!network.is_registered("alice@home1.net"));

    let offer = Some(vec![Algorithm::Md5, Algorithm::Akav2Md5]);
    let network = Network::policy(FixedPolicy {
        register: Some(verdict::Register::Challenge { algorithms: offer }),
        ..FixedPolicy::default()
    });
    let challenge = Phone::alice().first(&network, &[], None);
    assert_eq!(challenge.challenges().count(), 1, "only what goes with the subscriber's secret");
}
