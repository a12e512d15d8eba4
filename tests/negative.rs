//! What must never happen, whatever a terminal, a stranger or a broadcast server does: forwarding without authentication
//! or subscription, keys to anyone but the configured server, harm to the IMS registration.

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use imscript::auth::digest::Password;
use imscript::broadcast::{keys::KeyRefusal, media};
use imscript::cli::network::{Card, DOMAIN, NAF, Network, Plan};
use imscript::sip::{HeaderName, Message};
use imscript::terminal::connection::Direction;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::fake_bsm::{Conduct, FakeBsm, exchange_from};
use support::flow::Flow;
use support::hand::{Hand, NAMES_NAF};
use support::{Bed, contains, figure_policy, hex};

/// The IMS node with a broadcast server that only records.
fn recorded(plan: Plan, conduct: Conduct) -> (Bed, FakeBsm) {
    let bed = Bed::start(&Plan { with_bsm: false, ..plan });
    let bsm = FakeBsm::bind(bed.bsm, conduct);
    (bed, bsm)
}

fn bed() -> (Bed, Card) {
    let bed = Bed::start(&Plan::default());
    let card = bed.subscriber_with("yes");
    (bed, card)
}

fn second_card(bed: &Bed) -> Card {
    let card = Card::number(2);
    bed.add_subscriber(&card, "yes").unwrap();
    card
}

fn is_register(request: &Message<'_>) -> bool {
    request.method() == b"REGISTER"
}

/// Whoever is second proves that nothing went to the broadcast server on account of the first: it is the first there.
fn assert_first_heard_of(bed: &Bed, bsm: &FakeBsm, card: &Card) {
    let result = bed.terminal("register", card, &["--naf-id", NAF]).unwrap();
    assert_eq!(result["broadcast"], "registered", "{result}");
    assert_eq!(bsm.received().len(), 1);
    assert_eq!(bsm.request(0, is_register).to().unwrap().uri.aor(), card.impu);
}

#[test]
fn nothing_is_forwarded_before_authentication() {
    let (bed, bsm) = recorded(Plan::default(), Conduct::Registers);
    let card = bed.subscriber_with("yes");
    let mut hand = Hand::new(&card, bed.ims);
    let first = hand.register(&hand.unanswered(), NAMES_NAF, b"");
    let challenge = Hand::challenge(&first);
    let wrong = hand.credentials(&challenge, &Password::new("guessed"), None);
    assert_eq!(hand.register(&wrong, NAMES_NAF, b"").status(), 403);
    bed.assert_states(&card.impi, "not_registered", "not_registered");
    assert_first_heard_of(&bed, &bsm, &second_card(&bed));
}

#[test]
fn nothing_is_forwarded_without_a_subscription() {
    let (bed, bsm) = recorded(Plan::default(), Conduct::Registers);
    let card = bed.subscriber_with("no");
    let result = bed.terminal("register", &card, &["--naf-id", NAF]).unwrap();
    assert_eq!((&result["result"], &result["broadcast"]), (&"registered".into(), &"failed".into()), "{result}");
    bed.assert_ims_state(&card.impi, "registered");
    bed.terminal("deregister", &card, &["--all"]).unwrap();
    // Both or none: then it is none.
    let result = bed.terminal("register", &card, &["--naf-id", NAF, "--all-or-nothing"]).unwrap();
    assert_eq!(result["result"], "failed", "{result}");
    assert!(result["error"].as_str().unwrap().contains("403"), "{result}");
    bed.assert_ims_state(&card.impi, "not_registered");
    assert_first_heard_of(&bed, &bsm, &second_card(&bed));
}

#[test]
fn an_unknown_naf_is_registered_with_the_ims_alone() {
    let (bed, bsm) = recorded(Plan::default(), Conduct::Registers);
    let card = bed.subscriber_with("yes");
    // A name that resolves: nobody looks it up.
    let result = bed.terminal("register", &card, &["--naf-id", "localhost.localdomain"]).unwrap();
    assert_eq!((&result["result"], &result["broadcast"]), (&"registered".into(), &"failed".into()), "{result}");
    let result = bed.terminal("register", &card, &["--naf-id", "evil.example", "--all-or-nothing"]).unwrap();
    assert!(result["error"].as_str().unwrap().contains("403"), "{result}");
    assert_first_heard_of(&bed, &bsm, &second_card(&bed));
}

fn key_request(to: &Network, from: std::net::SocketAddr, naf: &str, btid: &str) -> String {
    let id = format!("{}-{naf}", from.port());
    format!(
        "MESSAGE sip:bsf.{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
         From: <sip:{naf}>;tag=1\r\nTo: <sip:bsf.{DOMAIN}>\r\nCall-ID: {id}@{}\r\nCSeq: 1 MESSAGE\r\n\
         Bcast-Ext: request=key;naf-id=\"{naf}\";ua-id=0100000001;btid=\"{btid}\"\r\nContent-Length: 0\r\n\r\n",
        to.ims.ip()
    )
}

#[test]
fn no_key_for_an_unconfigured_peer() {
    let (bed, bsm) = recorded(Plan { between: "udp", ..Plan::default() }, Conduct::Registers);
    let card = bed.subscriber_with("yes");
    let result = bed.terminal("register", &card, &["--naf-id", NAF, "--secrets"]).unwrap();
    let (btid, key) = (result["btid"].as_str().unwrap(), octets(result["ks_naf"].as_str().unwrap()));
    bsm.request(0, is_register);

    // A stranger asks, with all that a server would know.
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    let asked = key_request(&bed, stranger.local_addr().unwrap(), NAF, btid);
    assert_eq!(exchange_from(&stranger, &asked, bed.ims).status(), 403);

    // The configured server asks for a key that is another's, and for one of nobody.
    let refused = |naf: &str, btid: &str, n: usize| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let asked = key_request(&bed, socket.local_addr().unwrap(), naf, btid);
        assert_eq!(exchange_from(&socket, &asked, bed.ims).status(), 202);
        let answer = bsm.request(n, |request| request.method() == b"MESSAGE");
        assert!(media::is(answer.header(HeaderName::ContentType).unwrap(), media::NAF_KEY_ERROR));
        KeyRefusal::parse(answer.body()).unwrap().cause
    };
    assert_eq!(refused("other.home1.net", btid, 0), "naf-not-allowed");
    assert_eq!(refused(NAF, "AAAAAAAAAAAAAAAAAAAAAA==@bsf.home1.net", 1), "unknown-btid");

    // Only the pushed one left the IMS; the stranger heard nothing further.
    let with_key = bsm.received().iter().filter(|octets| contains(octets, STANDARD.encode(&key).as_bytes())).count();
    assert_eq!(with_key, 1);
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv_from(&mut [0; 100]).is_err());
}

#[test]
fn no_status_is_taken_from_an_unconfigured_peer() {
    let (bed, card) = bed();
    bed.terminal("register", &card, &[]).unwrap();
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    let from = stranger.local_addr().unwrap();
    let body = format!("<broadcast-registration impu=\"{}\" state=\"registered\"/>", card.impu);
    let told = format!(
        "MESSAGE sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK77\r\nMax-Forwards: 70\r\n\
         From: <sip:{NAF}>;tag=1\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: 77\r\nCSeq: 1 MESSAGE\r\nContent-Type: {}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        media::BCAST_REGISTRATION,
        body.len()
    );
    assert_eq!(exchange_from(&stranger, &told, bed.ims).status(), 403);
    bed.assert_states(&card.impi, "registered", "not_registered");
}

#[test]
fn the_broadcast_server_takes_registrations_from_the_ims_alone() {
    let (bed, card) = bed();
    bed.terminal("register", &card, &["--naf-id", NAF]).unwrap();
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    let from = stranger.local_addr().unwrap();
    let ended = format!(
        "REGISTER sip:{NAF} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK78\r\nMax-Forwards: 70\r\n\
         From: <sip:{DOMAIN}>;tag=1\r\nTo: <{}>\r\nCall-ID: 78\r\nCSeq: 1 REGISTER\r\nExpires: 0\r\n\
         Bcast-Ext: naf-id=\"{NAF}\";mode=status\r\nContent-Length: 0\r\n\r\n",
        card.impu
    );
    assert_eq!(exchange_from(&stranger, &ended, bed.bsm).status(), 403);
    bed.assert_states(&card.impi, "registered", "registered");
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn assert_no_key(heard: &[u8], key: &[u8], figure: u8) {
    let lower: Vec<u8> = heard.to_ascii_lowercase();
    assert!(!contains(&lower, hex(key).as_bytes()), "figure {figure}: key in hexadecimal");
    let base64 = STANDARD.encode(key);
    // 42 of the 43 digits: whatever padding or alphabet the last ones have.
    for text in [base64.clone(), base64.replace('+', "-").replace('/', "_")] {
        assert!(!contains(heard, &text.as_bytes()[..42]), "figure {figure}: key in base64");
    }
    assert!(!contains(heard, key), "figure {figure}: key as it is");
}

#[test]
fn no_message_to_the_terminal_holds_the_key() {
    use imscript::gba::naf_id::NafId;
    use imscript::terminal::application::sample_service_request;
    use imscript::terminal::client::Settings;
    use imscript::terminal::{Account, Credentials, Portion, RegisterOptions, Server, Terminal};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for number in 3..=8u8 {
        let figure = imscript::terminal::Figure::new(number).unwrap();
        let bed = Bed::start(&Plan { policy: Some(figure_policy(number)), ..Plan::default() });
        let card = bed.subscriber_with("yes");
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let key = runtime.block_on(async {
            let account = Account {
                impi: imscript::identity::Impi::new(card.impi.as_str()),
                impu: imscript::identity::Impu::new(card.impu.as_str()),
                domain: DOMAIN.into(),
                realm: DOMAIN.into(),
                bsf_domain: format!("bsf.{DOMAIN}").into(),
                credentials: Credentials::Card(Box::new(Hand::new(&card, bed.ims).usim)),
            };
            let server = Server::resolve(&format!("udp:{}", bed.ims)).await.unwrap();
            let mut terminal = Terminal::connect(server, account, Settings::default()).await.unwrap();
            let ear = heard.clone();
            terminal.observe(Arc::new(move |direction, octets| {
                if direction == Direction::Received {
                    ear.lock().unwrap().extend_from_slice(octets);
                }
            }));
            let naf = NafId::parse(NAF).unwrap();
            let order = sample_service_request("1", &card.impu);
            let portion = Portion {
                naf: figure.names_naf().then(|| naf.clone()),
                payload: figure.has_payload().then(|| order.as_slice().into()),
                ..Portion::default()
            };
            let options = RegisterOptions { portion, accept_bodies: true, ..RegisterOptions::default() };
            terminal.register(&options).await.unwrap();
            if figure.asks_broadcast_server() {
                terminal.application_request_sip(&naf, &order).await.unwrap();
                let url = format!("http://{}/", bed.bsm_http);
                terminal.application_request_http(&url, &naf, &order).await.unwrap();
            }
            terminal.ks_naf(&naf).unwrap().0
        });
        bed.wait_for_states(&card.impi, "registered", "registered").unwrap();
        let heard = heard.lock().unwrap();
        assert!(contains(&heard, b"SIP/2.0 200"), "figure {number}");
        assert_no_key(&heard, &key, number);
    }
}

#[test]
fn no_trace_and_no_log_holds_a_key() {
    for figure in [4, 7] {
        let bed = Bed::start(&Plan { policy: Some(figure_policy(figure)), ..Plan::default() });
        let card = bed.subscriber_with("yes");
        let number = figure.to_string();
        let args = ["--figure", &number, "--naf-id", NAF, "--secrets"];
        let result = bed.terminal("register", &card, &args).unwrap();
        bed.wait_for_states(&card.impi, "registered", "registered").unwrap();
        let key = octets(result["ks_naf"].as_str().unwrap());
        for file in ["ims.log", "bsm.log", "ims.jsonl", "bsm.jsonl", "ue.jsonl"] {
            let written = std::fs::read(bed.path(file)).unwrap();
            assert_no_key(&written, &key, figure);
            assert!(!contains(&written.to_ascii_lowercase(), card.k.as_bytes()), "{file} holds K");
        }
    }
}

#[test]
fn without_the_short_cut_there_is_no_key_and_no_broadcast_registration() {
    let plan = Plan { ims_tables: "[bsf]\nshort_cut = \"off\"\n".into(), ..Plan::default() };
    let (bed, bsm) = recorded(plan, Conduct::Registers);
    let card = bed.subscriber_with("yes");
    let result = bed.terminal("register", &card, &["--naf-id", NAF]).unwrap();
    assert_eq!((&result["result"], &result["broadcast"]), (&"registered".into(), &"failed".into()), "{result}");
    bed.assert_ims_state(&card.impi, "registered");
    let result = bed.terminal("register", &card, &["--naf-id", NAF, "--all-or-nothing"]).unwrap();
    assert!(result["error"].as_str().unwrap().contains("403"), "{result}");
    assert_eq!(bsm.received(), Vec::<Vec<u8>>::new());
}

#[test]
fn all_or_nothing_undoes_both() {
    // Nobody is at the broadcast server's address.
    let bed = Bed::start(&Plan { with_bsm: false, ..Plan::default() });
    let card = bed.subscriber_with("yes");
    let result = bed.terminal("register", &card, &["--naf-id", NAF, "--all-or-nothing"]).unwrap();
    assert_eq!(result["result"], "failed", "{result}");
    assert!(result["error"].as_str().unwrap().contains("504"), "{result}");
    assert_ne!(bed.assert_ims_state(&card.impi, "not_registered"), "registered");
    // Neither is anything left in the registrar: no contact.
    let flow = Flow::of(&bed).unwrap();
    flow.assert_order(&["S-CSCF > HSS  SAR REGISTRATION", "S-CSCF > HSS  SAR USER_DEREGISTRATION"]);
}

#[test]
fn all_or_nothing_is_undone_when_the_broadcast_server_refuses() {
    let (bed, bsm) = recorded(Plan::default(), Conduct::Answers(403));
    let card = bed.subscriber_with("yes");
    let result = bed.terminal("register", &card, &["--naf-id", NAF, "--all-or-nothing"]).unwrap();
    assert!(result["error"].as_str().unwrap().contains("403"), "{result}");
    bed.assert_ims_state(&card.impi, "not_registered");
    // Without that wish the IMS registration stands.
    bsm.set(Conduct::Answers(403));
    let result = bed.terminal("register", &card, &["--naf-id", NAF]).unwrap();
    assert_eq!((&result["result"], &result["broadcast"]), (&"registered".into(), &"failed".into()), "{result}");
    bed.wait_for_states(&card.impi, "registered", "failed").unwrap();
}

const SHORT: &str = "[broadcast]\ntimeout = 0.5\n";

/// The IMS registration stands within the bound, the broadcast one is pending.
fn assert_pending_in_time(bed: &Bed, card: &Card) {
    let started = Instant::now();
    let result = bed.terminal("register", card, &["--naf-id", NAF]).unwrap();
    let took = started.elapsed();
    assert_eq!((&result["result"], &result["broadcast"]), (&"registered".into(), &"pending".into()), "{result}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    bed.assert_states(&card.impi, "registered", "pending");
}

#[test]
fn a_dead_broadcast_server_does_no_harm_and_is_tried_again() {
    for between in ["tcp", "udp"] {
        let mut bed = Bed::start(&Plan { with_bsm: false, between, ims_tables: SHORT.into(), ..Plan::default() });
        let card = bed.subscriber_with("yes");
        assert_pending_in_time(&bed, &card);
        bed.start_bsm().unwrap();
        bed.wait_for_states(&card.impi, "registered", "registered").unwrap();
        let flow = Flow::with(&bed, "BSM > IMS  200 (REGISTER key=included)");
        flow.assert_order(&["IMS > UE  200 (REGISTER response)", "BSM > BSM  SMK = Ks_NAF"]);
    }
}

#[test]
fn a_slow_broadcast_server_does_no_harm_and_is_tried_again() {
    for between in ["tcp", "udp"] {
        let plan = Plan { between, ims_tables: SHORT.into(), ..Plan::default() };
        let (bed, bsm) = recorded(plan, Conduct::Silent);
        let card = bed.subscriber_with("yes");
        assert_pending_in_time(&bed, &card);
        // Others are served meanwhile.
        let other = second_card(&bed);
        let result = bed.terminal("register", &other, &[]).unwrap();
        assert_eq!(result["result"], "registered", "{result}");
        bsm.set(Conduct::Registers);
        bed.wait_for_states(&card.impi, "registered", "registered").unwrap();
    }
}

#[test]
fn deregistration_while_the_broadcast_leg_is_pending_stays_a_deregistration() {
    let plan = Plan { ims_tables: SHORT.into(), ..Plan::default() };
    let (bed, bsm) = recorded(plan, Conduct::Silent);
    let card = bed.subscriber_with("yes");
    assert_pending_in_time(&bed, &card);
    bed.terminal("deregister", &card, &["--all"]).unwrap();
    bsm.set(Conduct::Registers);
    bed.wait_for_states(&card.impi, "not_registered", "not_registered").unwrap();
    bsm.request(0, |request| is_register(request) && request.expires() == Some(0));
    bed.assert_states(&card.impi, "not_registered", "not_registered");
}

#[test]
fn a_wrong_key_is_refused_and_harms_nothing() {
    let (bed, card) = bed();
    let before = bed.terminal("register", &card, &["--naf-id", NAF]).unwrap();
    let shown = bed.wait_for_states(&card.impi, "registered", "registered").unwrap();
    let mut hand = Hand::new(&card, bed.ims);
    let first = hand.register(&hand.unanswered(), "", b"");
    let challenge = Hand::challenge(&first);
    let wrong = hand.credentials(&challenge, &Password::new([1, 2, 3, 4, 5, 6, 7, 8]), None);
    assert_eq!(hand.register(&wrong, "", b"").status(), 403);
    // The same with the whole terminal, whose card has another K: there the card refuses the network.
    let other = Card { k: "000102030405060708090a0b0c0d0e0f".into(), ..card.clone() };
    let result = bed.terminal("register", &other, &["--naf-id", NAF]).unwrap();
    assert_eq!(result["result"], "failed", "{result}");
    assert_eq!(bed.subscriber(&card.impi).unwrap(), shown);
    let flow = Flow::of(&bed).unwrap();
    assert_eq!(flow.count("IMS > BSM  REGISTER expires=0"), 0, "\n{flow}");
    // The contact is there still.
    let mut hand = Hand::new(&card, bed.ims);
    let accepted = hand.run("");
    let contact = before["contacts"][0].as_str().unwrap();
    assert!(contains(accepted.bytes(), contact.as_bytes()), "{}", String::from_utf8_lossy(accepted.bytes()));
}

#[test]
fn a_replayed_authorization_is_challenged_afresh() {
    let (bed, card) = bed();
    let mut hand = Hand::new(&card, bed.ims);
    let first = hand.register(&hand.unanswered(), NAMES_NAF, b"");
    let challenge = Hand::challenge(&first);
    let answer = hand.answer(&challenge);
    assert_eq!(hand.register(&answer, "", b"").status(), 200);
    let replayed = hand.register(&answer, "Expires: 0\r\n", b"");
    let fresh = Hand::challenge(&replayed);
    assert_ne!(fresh.nonce, challenge.nonce);
    bed.assert_states(&card.impi, "registered", "registered");
}

#[test]
fn a_nonce_of_another_subscriber_is_of_no_use() {
    let (bed, card) = bed();
    let other = second_card(&bed);
    let mut mine = Hand::new(&card, bed.ims);
    let first = mine.register(&mine.unanswered(), "", b"");
    let challenge = Hand::challenge(&first);
    let answer = mine.answer(&challenge).replace(&card.impi, &other.impi);
    mine.card = other.clone();
    assert_eq!(mine.register(&answer, "", b"").status(), 401);
    bed.assert_ims_state(&other.impi, "not_registered");
}

#[test]
fn a_foreign_public_identity_is_refused() {
    let (bed, card) = bed();
    let other = second_card(&bed);
    let mut hand = Hand::new(&Card { impu: other.impu.clone(), ..card.clone() }, bed.ims);
    let first = hand.register(&hand.unanswered(), NAMES_NAF, b"");
    let status = match first.status() {
        401 => {
            let challenge = Hand::challenge(&first);
            let answer = hand.answer(&challenge);
            hand.register(&answer, "", b"").status()
        }
        status => status,
    };
    assert_eq!(status, 403);
    bed.assert_ims_state(&card.impi, "not_registered");
    bed.assert_ims_state(&other.impi, "not_registered");
}

#[test]
fn a_retransmission_is_answered_from_the_transaction() {
    let (bed, bsm) = recorded(Plan::default(), Conduct::Registers);
    let card = bed.subscriber_with("yes");
    let accepted = Hand::new(&card, bed.ims).run(NAMES_NAF);
    assert_eq!(accepted.status(), 200);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = socket.local_addr().unwrap();
    let request = format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKtwice\r\nMax-Forwards: 70\r\n\
         From: <{0}>;tag=1\r\nTo: <{0}>\r\nCall-ID: twice\r\nCSeq: 1 REGISTER\r\nContact: <sip:x@{local}>\r\n\
         Authorization: Digest username=\"{1}\",realm=\"{DOMAIN}\",nonce=\"\",uri=\"sip:{DOMAIN}\",response=\"\"\r\n\
         Content-Length: 0\r\n\r\n",
        card.impu, card.impi
    );
    let first = exchange_from(&socket, &request, bed.ims);
    let second = exchange_from(&socket, &request, bed.ims);
    assert_eq!(first.bytes(), second.bytes());
    assert_eq!(bsm.received().len(), 1);
}

#[test]
fn while_a_broadcast_server_is_waited_for_nothing_is_done_twice() {
    let plan = Plan { ims_tables: "[broadcast]\ntimeout = 1.5\n".into(), ..Plan::default() };
    let (bed, bsm) = recorded(plan, Conduct::Silent);
    let card = bed.subscriber_with("yes");
    let mut hand = Hand::new(&card, bed.ims);
    let first = hand.register(&hand.unanswered(), NAMES_NAF, b"");
    let challenge = Hand::challenge(&first);
    let answer = hand.answer(&challenge);
    hand.send(&answer, "", b"");
    bsm.request(0, is_register);
    // The terminal's Timer E sends the request again: no second leg, no second Ks.
    hand.repeat();
    hand.repeat();
    // Another REGISTER of the same user is told to wait.
    let mut impatient = Hand::new(&card, bed.ims);
    let refused = impatient.register(&impatient.unanswered(), NAMES_NAF, b"");
    assert_eq!(refused.status(), 500, "{}", String::from_utf8_lossy(refused.bytes()));
    assert!(refused.header(HeaderName::RetryAfter).is_some());
    assert_eq!(hand.receive().status(), 200);
    assert_eq!(bsm.received().len(), 1);
    let flow = Flow::of(&bed).unwrap();
    assert_eq!(flow.count("BSF > BSF  Ks = CK || IK"), 1, "\n{flow}");
}

#[test]
fn the_extension_can_be_switched_off() {
    let plan = Plan { ims_tables: "[broadcast]\nextension = false\n".into(), ..Plan::default() };
    let (bed, bsm) = recorded(plan, Conduct::Registers);
    let card = bed.subscriber_with("yes");
    let result = bed.terminal("register", &card, &["--naf-id", NAF, "--legacy-require"]).unwrap();
    assert!(result["error"].as_str().unwrap().contains("420"), "{result}");
    let result = bed.terminal("register", &card, &["--naf-id", NAF]).unwrap();
    assert_eq!((&result["result"], &result["broadcast"]), (&"registered".into(), &"none".into()), "{result}");
    assert_eq!(bsm.received(), Vec::<Vec<u8>>::new());
}
