//! The terminal against a scripted registrar (RFC 3310, RFC 7616, TS 24.229 §5.1.1), over real sockets.

mod command_line;
mod registrar;

use imscript::aka::sqn::Sqn;
use imscript::aka::{Algorithm as Card, KeySet};
use imscript::auth::digest::{Algorithm, Password};
use imscript::gba::naf_id::NafId;
use imscript::sip::HeaderName;
use imscript::terminal::client::Settings;
use imscript::terminal::usim::{SqnArray, Usim};
use imscript::terminal::*;
use registrar::{IMPI, K, OPC, Registrar, Shared, own_address, tcp, tls, udp, udp_at, unhex};
use std::time::Duration;
use tokio::time::Instant;

fn card(opc: &str, sqn: SqnArray) -> Credentials {
    let keys = KeySet::from_opc(Card::Milenage, &unhex(K), &unhex(opc)).unwrap();
    Credentials::Card(Box::new(Usim::new(keys, sqn)))
}

async fn terminal(server: &str, credentials: Credentials) -> Terminal {
    let settings = Settings { timeout: Duration::from_secs(60), ..Settings::default() };
    terminal_with(server, credentials, settings).await
}

async fn terminal_with(server: &str, credentials: Credentials, settings: Settings) -> Terminal {
    Terminal::connect(Server::resolve(server).await.unwrap(), account(credentials), settings).await.unwrap()
}

fn account(credentials: Credentials) -> Account {
    Account {
        impi: IMPI.into(),
        impu: "sip:alice@home1.net".into(),
        domain: "home1.net".into(),
        realm: "home1.net".into(),
        bsf_domain: "bsf.home1.net".into(),
        credentials,
    }
}

fn naf() -> NafId {
    NafId::parse("bsm.home1.net").unwrap()
}

fn with_naf(payload: Option<&[u8]>) -> RegisterOptions {
    let portion = Portion { naf: Some(naf()), payload: payload.map(Into::into), ..Portion::default() };
    RegisterOptions { portion, ..RegisterOptions::default() }
}

fn header(shared: &Shared, index: usize, name: HeaderName) -> Option<String> {
    let request = shared.lock().unwrap().request(index);
    request.header(name).map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn requests(shared: &Shared) -> usize {
    shared.lock().unwrap().log.len()
}

#[tokio::test]
async fn registers_with_aka_and_shares_ks_naf_with_the_network() {
    for algorithm in [Algorithm::Akav1Md5, Algorithm::Akav2Md5, Algorithm::Akav2Sha256] {
        let network = Registrar { algorithm, naf: Some(naf()), broadcast: Some("registered"), ..Registrar::new() };
        let (server, network) = udp(network);
        let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
        let done = ue.register(&with_naf(None)).await.unwrap();
        assert_eq!((done.status, done.expires, done.contact_listed), (200, 600_000, true));
        assert_eq!(done.service_route, ["<sip:orig@scscf.home1.net;lr>", "<sip:second.home1.net;lr>"]);
        assert_eq!(done.associated, ["sip:alice@home1.net", "tel:+15551234"]);
        assert_eq!(done.broadcast.state, BroadcastState::Registered);
        assert_eq!(done.algorithm, Some(algorithm));
        assert!(done.btid.unwrap().text().ends_with("@bsf.home1.net"));
        let key: String = ue.ks_naf(&naf()).unwrap().0.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(network.lock().unwrap().ks_naf.as_ref(), Some(&key));
        let first = header(&network, 0, HeaderName::Authorization).unwrap();
        let expected = "Digest username=\"alice_private@home1.net\", realm=\"home1.net\", nonce=\"\", uri=\"sip:home1.net\", response=\"\"";
        assert_eq!(first, expected);
        let extension = header(&network, 0, HeaderName::BcastExt);
        assert_eq!(extension.as_deref(), Some("profile=\"1.0\";naf-id=\"bsm.home1.net\";ua-id=0100000001"));
        assert_eq!(header(&network, 0, HeaderName::CallId), header(&network, 1, HeaderName::CallId));
        assert_eq!(header(&network, 0, HeaderName::CSeq).as_deref(), Some("1 REGISTER"));
        assert_eq!(header(&network, 1, HeaderName::CSeq).as_deref(), Some("2 REGISTER"));
    }
}

#[tokio::test]
async fn second_register_repeats_body_and_extension_only_when_protected() {
    for (qop, repeated) in [(Some("auth,auth-int"), true), (Some("auth"), false), (None, false)] {
        let network = Registrar { qop, naf: Some(naf()), broadcast: Some("pending"), ..Registrar::new() };
        let (server, network) = udp(network);
        let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
        let done = ue.register(&with_naf(Some(b"<ServiceRequest/>"))).await.unwrap();
        assert_eq!(done.broadcast.state, BroadcastState::Pending);
        let disposition = header(&network, 0, HeaderName::ContentDisposition);
        assert_eq!(disposition.as_deref(), Some("render;handling=optional"));
        assert_eq!(header(&network, 1, HeaderName::BcastExt).is_some(), repeated, "{qop:?}");
        let body = network.lock().unwrap().request(1).body().to_vec();
        assert_eq!(body == b"<ServiceRequest/>", repeated);
    }
}

#[tokio::test]
async fn wrong_network_key_ends_with_an_empty_response() {
    let (server, network) = udp(Registrar::new());
    let mut ue = terminal(&server, card(K, SqnArray::fresh())).await;
    assert_eq!(ue.register(&RegisterOptions::default()).await.unwrap_err(), TerminalError::MacFailure);
    let last = header(&network, 1, HeaderName::Authorization).unwrap();
    assert!(last.contains("response=\"\"") && !last.contains("auts"), "{last}");
    assert!(!last.contains("nonce=\"\""), "the nonce is that of the challenge: {last}");
}

#[tokio::test]
async fn stale_network_sqn_is_resynchronised_once() {
    let (server, network) = udp(Registrar::new());
    let ahead = SqnArray::at(Sqn::new(0x0123_4500).unwrap());
    let mut ue = terminal(&server, card(OPC, ahead.clone())).await;
    let done = ue.register(&RegisterOptions::default()).await.unwrap();
    assert!(done.resynchronised && network.lock().unwrap().resynchronised);
    assert_eq!(requests(&network), 3);

    let (server, network) = udp(Registrar { ignores_auts: true, ..Registrar::new() });
    let mut ue = terminal(&server, card(OPC, ahead)).await;
    assert_eq!(ue.register(&RegisterOptions::default()).await.unwrap_err(), TerminalError::ResyncFailed);
    assert_eq!(requests(&network), 2, "one AUTS, not a stream of them");
}

#[tokio::test]
async fn interval_too_brief_is_lengthened_once() {
    let (server, network) = udp(Registrar { least_expires: 900, ..Registrar::new() });
    let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
    let options = RegisterOptions { expires: 60, ..RegisterOptions::default() };
    assert_eq!(ue.register(&options).await.unwrap().expires, 900);
    assert_eq!(requests(&network), 4);
}

#[tokio::test]
async fn passwords_md5_and_sha_256() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let decoys =
            vec!["Digest realm=\"home1.net\", nonce=\"a\", algorithm=SHA-512-256, qop=\"auth\"", "Basic realm=\"x\""];
        let password = Some(Password::new(*b"secret"));
        let (server, network) = udp(Registrar { password, algorithm, decoys, ..Registrar::new() });
        let mut ue = terminal(&server, Credentials::Password(Password::new(*b"secret"))).await;
        let done = ue.register(&RegisterOptions::default()).await.unwrap();
        assert_eq!(done.algorithm, Some(algorithm));
        assert!(done.btid.is_none() && ue.ks_naf(&naf()).is_none());

        let mut stranger = terminal(&server, Credentials::Password(Password::new(*b"guess"))).await;
        let refused = stranger.register(&RegisterOptions::default()).await.unwrap_err();
        assert!(matches!(refused, TerminalError::Rejected { status: 403, .. }), "{refused}");

        network.lock().unwrap().stale_once = true;
        assert_eq!(ue.register(&RegisterOptions::default()).await.unwrap().status, 200, "a stale nonce is renewed");
    }
}

#[tokio::test]
async fn a_card_answers_no_password_challenge() {
    let (server, _) =
        udp(Registrar { password: Some(Password::new(*b"x")), algorithm: Algorithm::Md5, ..Registrar::new() });
    let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
    let refused = ue.register(&RegisterOptions::default()).await.unwrap_err();
    assert_eq!(refused, TerminalError::NoUsableChallenge { offered: "MD5".to_owned() });
}

#[tokio::test]
async fn lost_requests_are_repeated_and_silence_ends_in_time() {
    let (server, network) = udp(Registrar { deaf: 1, ..Registrar::new() });
    let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
    ue.register(&RegisterOptions::default()).await.unwrap();
    let (first, second) = {
        let network = network.lock().unwrap();
        (network.log[0].clone(), network.log[1].clone())
    };
    assert_eq!(first, second, "Timer E repeats the same octets");

    network.lock().unwrap().deaf = 1000;
    let settings = Settings { timeout: Duration::from_millis(800), ..Settings::default() };
    let mut ue = terminal_with(&server, card(OPC, SqnArray::fresh()), settings).await;
    let refused = ue.register(&RegisterOptions::default()).await.unwrap_err();
    assert!(matches!(refused, TerminalError::Connection(ConnectionError::Timeout { .. })), "{refused}");
}

#[tokio::test]
async fn tcp_and_ipv6() {
    let (_, network) = udp(Registrar::new());
    let server = tcp("127.0.0.1:0", network.clone());
    let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
    ue.register(&with_naf(Some(b"<ServiceRequest/>"))).await.unwrap();
    assert!(header(&network, 0, HeaderName::Contact).unwrap().contains(";transport=tcp>"));
    assert!(header(&network, 1, HeaderName::BcastExt).is_some(), "a reliable transport repeats the extension");

    let (server, network) = udp_at("[::1]:0", Registrar::new());
    let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
    ue.register(&RegisterOptions::default()).await.unwrap();
    assert!(header(&network, 0, HeaderName::Via).unwrap().starts_with("SIP/2.0/UDP [::1]:"));
}

#[tokio::test]
async fn large_requests_go_over_tcp_or_fall_back_to_udp() {
    let payload = format!("<ServiceRequest>{}</ServiceRequest>", "x".repeat(1300));
    let (server, network) = udp_at(&own_address(), Registrar::new());
    let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
    ue.register(&with_naf(Some(payload.as_bytes()))).await.unwrap();
    assert!(header(&network, 0, HeaderName::Via).unwrap().starts_with("SIP/2.0/UDP"), "TCP is refused there");

    let address = own_address();
    let (server, network) = udp_at(&address, Registrar::new());
    tcp(&address, network.clone());
    let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
    ue.register(&with_naf(Some(payload.as_bytes()))).await.unwrap();
    for index in [0, 1] {
        assert!(header(&network, index, HeaderName::Via).unwrap().starts_with("SIP/2.0/TCP"));
        assert_eq!(network.lock().unwrap().request(index).body(), payload.as_bytes());
    }
}

#[tokio::test]
async fn deregisters_its_contact_or_all() {
    let (server, network) = udp(Registrar::new());
    let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
    ue.register(&RegisterOptions::default()).await.unwrap();
    let contact = ue.contact();
    assert_eq!(ue.deregister(Deregister::ThisContact).await.unwrap().expires, 0);
    let sent = header(&network, 3, HeaderName::Contact).unwrap();
    assert_eq!(sent, format!("<{contact}>;expires=0"));
    assert!(ue.ks_naf(&naf()).is_none(), "Ks ends with the registration");

    // Another run of the same terminal finds its binding by the instance.
    let mut later = terminal(&server, card(OPC, SqnArray::fresh())).await;
    later.deregister(Deregister::ThisContact).await.unwrap();
    assert_eq!(header(&network, 4, HeaderName::Contact), None);

    let mut all = terminal(&server, card(OPC, SqnArray::fresh())).await;
    all.deregister(Deregister::All).await.unwrap();
    let last = requests(&network) - 1;
    assert_eq!(header(&network, last, HeaderName::Contact).as_deref(), Some("*"));
    assert_eq!(header(&network, last, HeaderName::Expires).as_deref(), Some("0"));
}

#[tokio::test]
async fn figure_5_application_request_by_sip_message() {
    let (server, network) = udp(Registrar { naf: Some(naf()), ..Registrar::new() });
    let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
    ue.register(&RegisterOptions::default()).await.unwrap();
    let payload = application::sample_service_request("r1", "sip:alice@home1.net");
    let answer = ue.application_request_sip(&naf(), &payload).await.unwrap();
    assert_eq!((answer.status, answer.response.global_status.as_deref()), (202, Some("000")));
    let message = network.lock().unwrap().request(2);
    assert_eq!(message.request_uri_raw(), b"sip:bsm.home1.net");
    assert_eq!(message.list(HeaderName::Route).count(), 2);
    assert!(String::from_utf8_lossy(message.header(HeaderName::BcastExt).unwrap()).contains("btid=\""));
    assert_eq!(message.body(), payload);
}

#[tokio::test]
async fn tls_verifies_the_server() {
    let certified = rcgen::generate_simple_self_signed(["scscf.home1.net".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certified.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let (_, network) = udp(Registrar::new());
    let server = tls(config.into(), network.clone());
    let files = imscript::terminal::tls::TlsFiles { ca, identity: None };
    let config = imscript::terminal::tls::client_config(&files).unwrap();
    for (name, good) in [(Some("scscf.home1.net"), true), (Some("other.home1.net"), false), (None, false)] {
        let tls = connection::Tls { config: config.clone(), name: name.map(str::to_owned) };
        let settings = Settings { tls: Some(tls), ..Settings::default() };
        let server = Server::resolve(&server).await.unwrap();
        match Terminal::connect(server, account(card(OPC, SqnArray::fresh())), settings).await {
            Ok(mut ue) => assert!(ue.register(&RegisterOptions::default()).await.is_ok() && good),
            Err(error) => assert!(!good, "{name:?}: {error}"),
        }
    }
    assert!(header(&network, 1, HeaderName::Via).unwrap().starts_with("SIP/2.0/TLS"));
    assert!(header(&network, 1, HeaderName::Contact).unwrap().contains(";transport=tls>"));
}

#[tokio::test]
async fn a_terminal_that_stays_refreshes_in_time() {
    let (server, network) = udp(Registrar::new());
    let mut ue = terminal(&server, card(OPC, SqnArray::fresh())).await;
    let options = RegisterOptions { expires: 2, ..RegisterOptions::default() };
    let granted = ue.register(&options).await.unwrap().expires;
    let begun = Instant::now();
    ue.stay(&options, granted, begun + Duration::from_millis(10), |_| {}).await.unwrap();
    assert_eq!(requests(&network), 2, "not so soon");
    let refreshed = async {
        while requests(&network) < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = ue.stay(&options, granted, begun + Duration::from_secs(60), |_| {}) => panic!("{ended:?}"),
        () = refreshed => {}
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "half of a short registration");
    assert_eq!(header(&network, 0, HeaderName::CallId), header(&network, 3, HeaderName::CallId));
    assert_eq!(header(&network, 3, HeaderName::CSeq).as_deref(), Some("4 REGISTER"));
}
