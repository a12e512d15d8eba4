use super::super::testbed::{BSM, Bed, IMS, OTHER, ext_of};
use super::*;
use crate::broadcast::ext::{KeyWay, Mode};
use crate::broadcast::forward::{Forward, KeyPart, ThirdParty};
use crate::broadcast::peer::tests::peer;
use crate::broadcast::provisioning::StatusCode;
use crate::gba::kdf::KsNaf;
use crate::gba::naf_id::NafId;
use crate::sip::transaction::Transport;

fn order(items: &[&str]) -> Vec<u8> {
    Request::service("7", None, items).to_xml()
}

fn pull(bed: &Bed, mode: Mode) -> Ext {
    Ext { btid: Some(bed.boot.btid.clone()), mode: Some(mode), key: Some(KeyWay::Pull), ..Ext::default() }
}

fn push(bed: &Bed, document: &KeyDocument) -> Message<'static> {
    let ext = Ext {
        btid: Some(bed.boot.btid.clone()),
        mode: Some(Mode::Simultaneous),
        key: Some(KeyWay::Included),
        ..Ext::default()
    };
    bed.ask(&bed.register(ext, 600, Some((media::NAF_KEY, &document.to_xml()))), IMS)
}

fn alerts(bed: &Bed) -> Vec<String> {
    let is_alert = |text: &&(std::net::SocketAddr, String)| text.1.contains(media::BCAST_REGISTRATION);
    bed.world.sent.borrow().iter().filter(is_alert).map(|(_, text)| text.clone()).collect()
}

#[test]
fn figure_7_push_through_the_forwarding_module() {
    let bed = Bed::new();
    let document = bed.boot.key_document(&bed.naf);
    let server = peer("bsm", Transport::Udp, BSM);
    let forward = Forward {
        peer: &server,
        scscf: "sip:scscf1.home1.net",
        impu: &bed.impu,
        naf: &bed.naf,
        btid: Some(&bed.boot.btid),
        mode: Mode::Simultaneous,
        key: KeyPart::Included(&document),
        profile: Some("1.0"),
        payload: None,
        expires: 600,
        services: None,
        trigger: None,
    };
    let sent = forward.request(&mut ThirdParty::new("scscf1.home1.net")).unwrap();
    let sent = crate::sip::print::insert_via(&sent, "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1");
    let answer = bed.ask(&sent, IMS);
    assert_eq!(answer.status(), 200);
    assert_eq!(ext_of(&answer).state, Some(RegState::Registered));
    assert!(bed.has_smk());
    assert_eq!(*bed.hss.updates.lock().unwrap(), [("sip:u@home1.net".to_string(), RegState::Registered)]);
    // The answer itself was the notification.
    bed.world.settle();
    assert!(alerts(&bed).is_empty());
}

#[test]
fn figure_8_nested_retrieval_does_not_deadlock() {
    let bed = Bed::new();
    let request = bed.register(pull(&bed, Mode::Simultaneous), 600, Some((media::PROVISIONING, &order(&["a", "b"]))));
    let answer = bed.ask(&request, IMS);
    assert_eq!(answer.status(), 200);
    assert_eq!(ext_of(&answer).state, Some(RegState::Registered));
    let response = Response::parse(answer.body()).unwrap();
    assert_eq!((response.status, response.request_id.as_deref()), (StatusCode::SUCCESS, Some("7")));
    assert_eq!(bed.world.ladder(), ["MESSAGE 5060", "MESSAGE 5070"]);
    assert!(bed.has_smk());
    assert_eq!(*bed.state.record(&bed.impu).unwrap().services, ["a", "b"]);
    // Again the same: the key is here, nothing is asked.
    assert_eq!(bed.ask(&request, IMS).status(), 200);
    assert_eq!(bed.world.ladder().len(), 2);
}

#[test]
fn figure_4_answer_first_key_later_then_the_alert() {
    let bed = Bed::new();
    let answer =
        bed.ask(&bed.register(pull(&bed, Mode::Subsequent), 600, Some((media::PROVISIONING, &order(&["a"])))), IMS);
    assert_eq!((answer.status(), ext_of(&answer).state), (200, Some(RegState::Pending)));
    assert!(!bed.has_smk());
    bed.world.settle();
    assert_eq!(bed.registration_state(), RegState::Registered);
    assert!(bed.has_smk());
    assert_eq!(bed.world.ladder(), ["MESSAGE 5060", "MESSAGE 5070", "MESSAGE 5060"]);
    assert!(alerts(&bed)[0].contains("state=\"active\""));
}

#[test]
fn figure_6_registered_without_key_and_key_at_first_use() {
    let bed = Bed::new();
    let ext = Ext { key: Some(KeyWay::OnUse), ..pull(&bed, Mode::Simultaneous) };
    let answer = bed.ask(&bed.register(ext, 600, None), IMS);
    assert_eq!((answer.status(), ext_of(&answer).state), (200, Some(RegState::Registered)));
    assert!(!bed.has_smk() && bed.world.ladder().is_empty());

    let from_user = bed.message(
        &[(HeaderName::PAssertedIdentity, "\"U\" <sip:u@home1.net>".into())],
        Some((media::PROVISIONING, &order(&["a"]))),
    );
    assert_eq!(bed.ask(&from_user, IMS).status(), 202);
    bed.world.settle();
    assert!(bed.has_smk());
    assert_eq!(bed.world.ladder(), ["MESSAGE 5060", "MESSAGE 5070", "MESSAGE 5060"]);
    let sent = bed.world.sent.borrow();
    let (_, response) = sent.last().unwrap();
    assert!(response.starts_with("MESSAGE sip:u@home1.net SIP/2.0"));
    assert!(response.contains("<ServiceResponse") && response.contains("globalStatusCode=\"0\""));
}

#[test]
fn figure_5_by_message_registers_and_alerts() {
    let bed = Bed::new();
    let ext = Ext { naf: Some(bed.naf.clone()), btid: Some(bed.boot.btid.clone()), ..Ext::default() };
    let headers =
        [(HeaderName::PAssertedIdentity, "<sip:u@home1.net>".to_string()), (HeaderName::BcastExt, ext.to_string())];
    let request = bed.message(&headers, Some((media::PROVISIONING, &order(&[]))));
    assert_eq!(bed.ask(&request, IMS).status(), 202);
    bed.world.settle();
    assert_eq!(bed.registration_state(), RegState::Registered);
    assert_eq!(alerts(&bed).len(), 1);
    // Only the IMS vouches for users, and only by an asserted identity.
    assert_eq!(bed.ask(&request, "127.0.0.9:5060").status(), 403);
    let anonymous = bed.message(&headers[1..], Some((media::PROVISIONING, &order(&[]))));
    assert_eq!(bed.ask(&anonymous, IMS).status(), 403);
}

#[test]
fn another_users_btid_is_of_no_use() {
    let bed = Bed::new();
    let ext = Ext { naf: Some(bed.naf.clone()), btid: Some(bed.boot.btid.clone()), ..Ext::default() };
    let headers = [
        (HeaderName::PAssertedIdentity, "<sip:mallory@home1.net>".to_string()),
        (HeaderName::BcastExt, ext.to_string()),
    ];
    assert_eq!(bed.ask(&bed.message(&headers, Some((media::PROVISIONING, &order(&["a"])))), IMS).status(), 202);
    bed.world.settle();
    assert_eq!(bed.state.registration_state(&Impu::from("sip:mallory@home1.net")), RegState::NotRegistered);
    let sent = bed.world.sent.borrow();
    assert!(sent.last().unwrap().1.contains("globalStatusCode=\"2\""));
}

#[test]
fn a_pushed_key_is_validated() {
    let bed = Bed::new();
    let good = bed.boot.key_document(&bed.naf);
    let wrong = |change: &dyn Fn(&mut KeyDocument)| {
        let mut document = good.clone();
        change(&mut document);
        push(&bed, &document)
    };
    let elsewhere = wrong(&|document| document.naf = NafId::parse("other.net").unwrap());
    assert_eq!((elsewhere.status(), ext_of(&elsewhere).cause.as_deref()), (400, Some("key-for-another-naf")));
    let expired = wrong(&|document| document.expires = 1);
    assert_eq!(ext_of(&expired).cause.as_deref(), Some("key-expired"));
    let stranger = wrong(&|document| document.impus = vec![Impu::from("sip:x@home1.net")]);
    assert_eq!(ext_of(&stranger).cause.as_deref(), Some("btid-of-another-user"));
    let other = wrong(&|document| document.btid = Btid::parse("AAAAAAAAAAAAAAAAAAAAAA==@bsf.home1.net").unwrap());
    assert_eq!(ext_of(&other).cause.as_deref(), Some("key-for-another-btid"));
    assert_ne!(bed.registration_state(), RegState::Registered);

    assert_eq!(push(&bed, &good).status(), 200);
    assert_eq!(push(&bed, &good).status(), 200, "a retry changes nothing");
    let conflict = wrong(&|document| document.key = KsNaf([1; 32]));
    assert_eq!(ext_of(&conflict).cause.as_deref(), Some("another-key-under-the-same-btid"));
    assert!(bed.has_smk() && bed.registration_state() == RegState::Registered);
}

#[test]
fn an_older_key_does_not_replace_a_newer() {
    let bed = Bed::new();
    let newer = bed.boot.key_document(&bed.naf);
    assert_eq!(push(&bed, &newer).status(), 200);
    let older = KeyDocument {
        btid: Btid::parse("AAAAAAAAAAAAAAAAAAAAAA==@bsf.home1.net").unwrap(),
        expires: newer.expires - 1,
        key: KsNaf([1; 32]),
        ..newer
    };
    let ext = Ext { btid: Some(older.btid.clone()), key: Some(KeyWay::Included), ..Ext::default() };
    let answer = bed.ask(&bed.register(ext, 600, Some((media::NAF_KEY, &older.to_xml()))), IMS);
    assert_eq!((answer.status(), ext_of(&answer).cause.as_deref()), (400, Some("older-key")));
    assert!(bed.has_smk());
}

#[test]
fn strangers_are_refused() {
    let bed = Bed::new();
    let document = bed.boot.key_document(&bed.naf);
    let register = bed.register(pull(&bed, Mode::Simultaneous), 600, Some((media::NAF_KEY, &document.to_xml())));
    assert_eq!(bed.ask(&register, "127.0.0.9:5060").status(), 403);
    let unsolicited = bed.message(&[], Some((media::NAF_KEY, &document.to_xml())));
    assert_eq!(bed.ask(&unsolicited, IMS).status(), 403);
    assert_eq!(bed.ask(&unsolicited, "127.0.0.9:5060").status(), 403);
    assert_eq!(bed.ask(&bed.message(&[], Some(("text/plain", b"hi"))), IMS).status(), 415);
    let ext = Ext { naf: Some(NafId::parse("other.net").unwrap()), ..pull(&bed, Mode::Simultaneous) };
    assert_eq!(bed.ask(&bed.register(ext, 600, None), IMS).status(), 403);
    assert!(bed.state.is_empty());
}

#[test]
fn a_key_in_the_clear_is_not_taken() {
    let bed = Bed::with(|config| config.ims = vec![peer("scscf", Transport::Udp, "192.0.2.1:5060")], |_| {});
    let document = bed.boot.key_document(&bed.naf);
    let ext = Ext { key: Some(KeyWay::Included), ..pull(&bed, Mode::Simultaneous) };
    let answer = bed.ask(&bed.register(ext, 600, Some((media::NAF_KEY, &document.to_xml()))), "192.0.2.1:5060");
    assert_eq!((answer.status(), ext_of(&answer).cause.as_deref()), (403, Some("unprotected")));
}

#[test]
fn refusal_and_silence_of_the_bsf() {
    let bed = Bed::new();
    *bed.hss.subscription.lock().unwrap() = BroadcastSubscription::None;
    let answer = bed.ask(&bed.register(pull(&bed, Mode::Simultaneous), 600, None), IMS);
    assert_eq!((answer.status(), ext_of(&answer).cause.as_deref()), (403, Some("not-subscribed")));

    let bed = Bed::with(|config| config.bsf = peer("bsf", Transport::Udp, "127.0.0.1:9"), |_| {});
    let answer = bed.ask(&bed.register(pull(&bed, Mode::Simultaneous), 600, None), IMS);
    assert_eq!(answer.status(), 504);
    assert_eq!(bed.world.now().mono, Duration::from_secs(4), "bounded by the setting");
    // Subsequent: the failure is told afterwards.
    let answer = bed.ask(&bed.register(pull(&bed, Mode::Subsequent), 600, None), IMS);
    assert_eq!(ext_of(&answer).state, Some(RegState::Pending));
    bed.world.settle();
    assert_eq!(bed.registration_state(), RegState::Failed);
    assert!(alerts(&bed)[0].contains("state=\"failed\""));
}

#[test]
fn refresh_deregistration_and_expiry() {
    let bed = Bed::new();
    assert_eq!(push(&bed, &bed.boot.key_document(&bed.naf)).status(), 200);
    let refresh = Ext { btid: Some(bed.boot.btid.clone()), mode: Some(Mode::Status), ..Ext::default() };
    bed.world.advance(500);
    assert_eq!(bed.ask(&bed.register(refresh.clone(), 600, None), IMS).status(), 200);
    bed.world.advance(500);
    bed.world.run(Rc::clone(&bed.bsm).sweep());
    assert!(bed.has_smk(), "refreshed");
    bed.world.advance(101);
    bed.world.run(Rc::clone(&bed.bsm).sweep());
    bed.world.settle();
    assert!(bed.state.is_empty());
    assert!(alerts(&bed)[0].contains("cause=\"expired\""));

    assert_eq!(push(&bed, &bed.boot.key_document(&bed.naf)).status(), 200);
    let answer = bed.ask(&bed.register(refresh, 0, None), IMS);
    assert_eq!((answer.status(), ext_of(&answer).state), (200, Some(RegState::NotRegistered)));
    assert!(bed.state.is_empty() && bed.state.owner(&bed.boot.btid).is_none());
}

#[test]
fn an_alert_is_repeated_and_given_up() {
    let bed = Bed::new();
    bed.world.node(IMS, Rc::new(|_, _| Box::pin(async { None })));
    assert_eq!(push(&bed, &bed.boot.key_document(&bed.naf)).status(), 200);
    bed.world.advance(601);
    bed.world.run(Rc::clone(&bed.bsm).sweep());
    bed.world.settle();
    assert_eq!(alerts(&bed).len(), 4);
}

#[test]
fn services_beyond_the_subscription_are_refused_item_by_item() {
    let bed = Bed::new();
    let services = BroadcastSubscription::Services(["a".to_string()].into());
    let ext = Ext { services: Some(services), key: Some(KeyWay::OnUse), ..pull(&bed, Mode::Simultaneous) };
    let answer = bed.ask(&bed.register(ext, 600, Some((media::PROVISIONING, &order(&["a", "b"])))), IMS);
    let response = Response::parse(answer.body()).unwrap();
    assert_eq!(response.granted().collect::<Vec<_>>(), ["a"]);
    let none = Ext { services: Some(BroadcastSubscription::None), ..pull(&bed, Mode::Simultaneous) };
    assert_eq!(bed.ask(&bed.register(none, 600, None), IMS).status(), 403);
    assert!(bed.state.is_empty(), "the subscription is gone, and so is the registration");
    let laughs = b"<!DOCTYPE l [<!ENTITY a \"ha\">]><ServiceRequest>&a;</ServiceRequest>";
    let ext = Ext { key: Some(KeyWay::OnUse), ..pull(&bed, Mode::Simultaneous) };
    let answer = bed.ask(&bed.register(ext, 600, Some((media::PROVISIONING, laughs))), IMS);
    assert_eq!(Response::parse(answer.body()).unwrap().status, StatusCode::MALFORMED);
}

/// Ports and hosts of the alerts so far.
fn alerted(bed: &Bed) -> Vec<String> {
    let sent = bed.world.sent.borrow();
    sent.iter().filter(|(_, text)| text.contains(media::BCAST_REGISTRATION)).map(|(to, _)| to.to_string()).collect()
}

/// A user who is registered when the key has come, which the IMS server did not hear of yet.
fn registered_later(bed: &Bed) {
    assert_eq!(bed.ask(&bed.register(pull(bed, Mode::Subsequent), 600, None), IMS).status(), 200);
    bed.world.settle();
    assert_eq!(bed.registration_state(), RegState::Registered);
}

fn sweep(bed: &Bed) {
    bed.world.run(Rc::clone(&bed.bsm).sweep());
    bed.world.settle();
}

#[test]
fn an_alert_that_a_policy_holds_back_goes_out_when_its_time_has_come_to_whom_it_names() {
    let bed = Bed::new();
    bed.tells.set(&["ims", "other", "nobody"], 30);
    bed.world.node(
        OTHER,
        Rc::new(|bytes, source| {
            let answer = ResponseWriter::new(&Message::parse(&bytes).unwrap(), 200, source.addr, "t").finish();
            Box::pin(async move { Some(answer) })
        }),
    );
    registered_later(&bed);
    bed.world.advance(29);
    sweep(&bed);
    assert!(alerted(&bed).is_empty());
    bed.world.advance(1);
    sweep(&bed);
    assert_eq!(alerted(&bed), [IMS, OTHER]);
    assert!(alerts(&bed)[1].contains("expires=\"570\""), "what is left of the time now: {}", alerts(&bed)[1]);
    // It ends before anybody heard of the next change.
    bed.world.advance(600);
    sweep(&bed);
    assert_eq!(bed.registration_state(), RegState::NotRegistered);
    bed.world.advance(30);
    sweep(&bed);
    assert_eq!(alerted(&bed), [IMS, OTHER, IMS, OTHER]);
}

#[test]
fn what_the_ims_server_ended_itself_meanwhile_it_is_not_told() {
    let bed = Bed::new();
    bed.tells.set(&["ims"], 30);
    registered_later(&bed);
    let ended = bed.register(Ext { mode: Some(Mode::Status), ..Ext::default() }, 0, None);
    assert_eq!(bed.ask(&ended, IMS).status(), 200);
    bed.world.advance(60);
    sweep(&bed);
    assert!(alerted(&bed).is_empty());
}

#[test]
fn word_of_a_registration_elsewhere_is_taken_from_the_ims_and_configured_servers_only() {
    let bed = Bed::new();
    registered_later(&bed);
    let word = BroadcastRegistration {
        state: RegState::NotRegistered,
        impu: bed.impu.clone(),
        btid: None,
        naf_fqdn: "other.home1.net".into(),
        expires: 0,
        cause: "expired".into(),
    };
    let message = |body: &[u8]| bed.message(&[], Some((media::BCAST_REGISTRATION, body)));
    for (from, status) in [(OTHER, 200), (IMS, 200), ("127.0.0.9:5070", 403)] {
        assert_eq!(bed.ask(&message(&word.to_xml()), from).status(), status, "{from}");
    }
    assert_eq!(bed.ask(&message(b"<x/>"), OTHER).status(), 400);
    assert_eq!(bed.registration_state(), RegState::Registered, "it changes nothing here");
}
