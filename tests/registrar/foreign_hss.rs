//! Registration through a foreign HSS: the S-CSCF asks over Cx and Sh, and on the other side of the wire answers the
//! HSS of [`crate::hss`]. What the HSS begins, and what goes on while it is away.

use crate::network::*;
use crate::phone::*;
use imscript::answer::Answer;
use imscript::clock::Now;
use imscript::diameter::cx::{self, AuthItem as Item, Given, Maa, Mar, Ppr, Reason, Rtr, Saa, Sar, ServerAssignment};
use imscript::diameter::dictionary::{application, command};
use imscript::diameter::exchange::{Destination, Exchange, Failure, Reply as Replied, Request, Serve};
use imscript::diameter::fault::{ResultCode, base, tgpp};
use imscript::diameter::sh::data::{ImsUserState, Repository, ShData};
use imscript::diameter::sh::{
    ProfileUpdateRequest, PushNotificationRequest, SubscribeRequest, User, UserDataAnswer, UserDataRequest,
};
use imscript::diameter::{Message as Diameter, Origin, Writer, answer_to, request};
use imscript::hss::profile::{ApplicationServer, Criterion, ImsSubscription, PublicIdentity, ServiceProfile};
use imscript::hss::remote::{Push, Pushed, RemoteHss, Settings as Remote, Users};
use imscript::hss::*;
use imscript::identity::{Impi, Impu};
use imscript::policy::verdict::{self, Subscription, When};
use imscript::policy::{Context, Decide, FixedPolicy};
use imscript::registrar::table::Table;
use imscript::sip::transaction::Transport;
use imscript::sip::{HeaderName, Message};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The wire, and the HSS at its end.
struct Wire {
    hss: Arc<FakeHss>,
    down: AtomicBool,
    /// Requests by their commands, and what of them matters.
    asked: Mutex<Vec<String>>,
    /// The next number of repository data, by public identity.
    sequences: Mutex<BTreeMap<Impu, u16>>,
    /// Whether it has users as not registered.
    unregistered: AtomicBool,
}

impl Wire {
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn note(&self, text: impl Into<String>) {
        self.asked.lock().unwrap().push(text.into());
    }

    fn answer(&self, message: &Diameter<'_>) -> Writer {
        let avps = message.avps();
        let says = |code: ResultCode| answer_to(message, code, &origin("hss.home1.net"));
        let now = Now { mono: seconds(0), unix: seconds(0) };
        match (message.header().application, message.header().command) {
            (application::CX, command::MULTIMEDIA_AUTH) => {
                let mar = Mar::read(avps).unwrap();
                self.note(if mar.resync.is_some() { "MAR AUTS" } else { "MAR" });
                let (impi, impu) = (Impi::from(mar.impi), Impu::from(mar.impu));
                let mut items = Vec::new();
                let mut resync = mar.resync;
                for number in 1..=mar.items {
                    let given =
                        match self.hss.multimedia_auth(&impi, &impu, AuthScheme::Unknown, resync.take(), now).wait() {
                            Ok(AuthItem::Aka(vector)) => Given::Aka(vector),
                            Ok(AuthItem::Digest { .. }) => Given::Other("SIP Digest"),
                            Err(HssError::IdentitiesDontMatch) => return says(tgpp::IDENTITIES_DONT_MATCH),
                            Err(HssError::ResyncRefused) => return says(base::UNABLE_TO_COMPLY),
                            Err(_) => return says(tgpp::USER_UNKNOWN),
                        };
                    items.push(Item { number: Some(number), given });
                }
                let mut answer = says(base::SUCCESS);
                Maa { items, ..Maa::default() }.write(&mut answer);
                answer
            }
            (application::CX, command::SERVER_ASSIGNMENT) => {
                let sar = Sar::read(avps).unwrap();
                self.note(format!("SAR {:?}{}", sar.kind, if sar.has_profile { " (has profile)" } else { "" }));
                let impi = sar.impi.or_else(|| sar.impus[0].strip_prefix("sip:")).unwrap_or_default();
                let store = self.hss.0.lock().unwrap();
                let Some(user) = store.users.get(impi) else { return says(tgpp::USER_UNKNOWN) };
                let document = document(impi, &user.impus, &[], &user.broadcast);
                let mut answer = says(base::SUCCESS);
                let wanted = matches!(sar.kind, ServerAssignment::Registration | ServerAssignment::ReRegistration);
                let wanted = wanted || sar.kind == ServerAssignment::UnregisteredUser;
                let user_data = Some(&document[..]).filter(|_| wanted && !sar.has_profile);
                Saa { user_data, ..Saa::default() }.write(&mut answer);
                answer
            }
            (application::SH, command::PROFILE_UPDATE) => {
                let update = ProfileUpdateRequest::read(message).unwrap();
                let data = ShData::parse(&update.user_data).unwrap().repository.remove(0);
                let state = repository::read(&data.data.unwrap()).unwrap().state;
                self.note(format!("PUR {}", state.as_str()));
                let User::Public(impu) = update.user else { panic!("by a public identity") };
                let mut sequences = self.sequences.lock().unwrap();
                let next = sequences.entry(impu).or_default();
                if data.sequence != *next {
                    return says(tgpp::TRANSPARENT_DATA_OUT_OF_SYNC);
                }
                *next += 1;
                says(base::SUCCESS)
            }
            (application::SH, command::SUBSCRIBE_NOTIFICATIONS) => {
                let asked = SubscribeRequest::read(message).unwrap();
                self.note(if asked.subscribes { "SNR" } else { "SNR end" });
                says(base::SUCCESS)
            }
            (application::SH, command::USER_DATA) => {
                UserDataRequest::read(message).unwrap();
                self.note("UDR");
                let state = if self.unregistered.load(Ordering::Relaxed) {
                    ImsUserState::NotRegistered
                } else {
                    ImsUserState::Registered
                };
                let data = ShData { state: Some(state), ..ShData::default() };
                let mut answer = says(base::SUCCESS);
                UserDataAnswer { data: Some(data.write().into_bytes()) }.write(&mut answer);
                answer
            }
            other => panic!("{other:?} is not asked for"),
        }
    }
}

impl Exchange for Wire {
    fn send(&self, _: Destination, request: Writer) -> Answer<'static, Result<Replied, Failure>> {
        if self.down.load(Ordering::Relaxed) {
            self.note("nobody");
            return Answer::now(Err(Failure::NoPeer));
        }
        let octets = request.finish().unwrap();
        let message = Diameter::parse(&octets).unwrap();
        message.check().unwrap();
        Answer::now(Ok(Replied::new(self.answer(&message).finish().unwrap()).unwrap()))
    }
}

fn origin(host: &str) -> Origin {
    Origin { host: host.into(), realm: REALM.into() }
}

/// The user profile as an HSS writes it: a subscription is a filter criterion.
fn document(impi: &str, impus: &[Impu], barred: &[&str], broadcast: &BroadcastSubscription) -> Vec<u8> {
    let service_info = match broadcast {
        BroadcastSubscription::Services(services) => Some(services.join(" ")),
        _ => None,
    };
    let criterion = Criterion {
        priority: 0,
        trigger: None,
        server: ApplicationServer { name: "sip:bsm.home1.net".into(), service_info, ..ApplicationServer::default() },
        part: None,
    };
    let barred = barred.iter().map(|impu| PublicIdentity { barred: true, ..PublicIdentity::new(*impu) });
    let profile = ServiceProfile {
        identities: barred.chain(impus.iter().map(|impu| PublicIdentity::new(impu.as_str()))).collect(),
        criteria: broadcast.is_subscribed().then_some(criterion).into_iter().collect(),
        ..ServiceProfile::default()
    };
    ImsSubscription { impi: impi.into(), profiles: vec![profile] }.to_xml()
}

struct Known(Arc<Table>);

impl Users for Known {
    fn has_private(&self, impi: &str) -> bool {
        self.0.with(impi, |registered| registered.is_some())
    }

    fn has_public(&self, impu: &str) -> bool {
        self.0.private_identity(impu).is_some()
    }
}

struct Foreign {
    network: Network,
    wire: Arc<Wire>,
    pushed: Arc<Pushed>,
}

impl Foreign {
    fn new(policy: impl Decide + 'static) -> Self {
        let mut made = None;
        let network = Network::over(settings(), policy, |shared, hss| {
            let wire = Arc::new(Wire {
                hss,
                down: false.into(),
                asked: Mutex::default(),
                sequences: Mutex::default(),
                unregistered: false.into(),
            });
            let remote = Remote {
                origin: origin("scscf.home1.net"),
                server: shared.settings.uri.clone(),
                domain: REALM.into(),
                visited_network: None,
                capabilities: Vec::new(),
                vectors: 3,
                vector_lifetime: seconds(3600),
                users: 100,
                broadcast_servers: vec!["sip:bsm.home1.net".into()],
                host: None,
                realm: None,
                cx: true,
                sh: true,
                zh: false,
            };
            let remote = Arc::new(RemoteHss::new(wire.clone(), remote, shared.clock.now()));
            shared.hss = remote.clone();
            let pushed = Pushed::new(remote, Known(shared.table.clone()));
            made = Some((wire, Arc::new(pushed)));
        });
        let (wire, pushed) = made.unwrap();
        Foreign { network, wire, pushed }
    }

    fn goes_away(&self) {
        self.wire.down.store(true, Ordering::Relaxed);
    }

    /// What the S-CSCF answers to a request of the HSS; what follows is done when this returns.
    fn push(&self, code: u32, fill: impl FnOnce(&mut Writer)) -> ResultCode {
        let application = if code == command::PUSH_NOTIFICATION { application::SH } else { application::CX };
        let mut writer = request(application, code, "hss;1;1", &origin("hss.home1.net"));
        fill(&mut writer);
        let request = Request { octets: writer.finish().unwrap(), peer: "hss.home1.net".into() };
        let answer = self.pushed.clone().serve(request).wait().unwrap().finish().unwrap();
        for push in self.pushed.take() {
            match push {
                Push::End { impis, impus, reason } => {
                    for impi in impis {
                        self.network.run(self.network.scscf.end_by_network(impi, &impus, reason));
                    }
                }
                Push::Profile { impi } => {
                    let latest = || self.pushed.profile(&impi);
                    self.network.run(self.network.scscf.change_profile(impi.clone(), latest));
                }
                Push::Unregistered { impu } if !self.network.run(self.pushed.is_unregistered(&impu)) => {}
                Push::Withdrawn { impu } | Push::Unregistered { impu } => {
                    self.network.run(self.network.scscf.end_broadcast(&impu));
                }
            }
        }
        self.network.settle();
        Diameter::parse(&answer).unwrap().result().unwrap()
    }

    fn ends(&self, impi: &str, impus: Vec<&str>) -> ResultCode {
        let reason = Reason::PermanentTermination;
        let rtr = Rtr { impi, associated: Vec::new(), impus, reason, info: None };
        self.push(command::REGISTRATION_TERMINATION, |writer| rtr.write(writer))
    }

    /// PNR.
    fn tells(&self, told: &ShData) -> ResultCode {
        let [impu, _] = of_alice();
        let pnr = PushNotificationRequest { user: User::Public(impu), data: told.write().into_bytes(), impi: None };
        self.push(command::PUSH_NOTIFICATION, |writer| pnr.write(writer))
    }

    /// SNRs that are due.
    fn subscribes(&self) {
        for job in self.pushed.due(self.network.scscf.now()) {
            self.network.run(job);
        }
    }

    fn changes(&self, impi: &str, document: &[u8]) -> ResultCode {
        let ppr = Ppr { impi, user_data: Some(document), charging: None, item: None };
        self.push(command::PUSH_PROFILE, |writer| ppr.write(writer))
    }
}

const ALICE: &str = "alice@home1.net";

fn of_alice() -> [Impu; 2] {
    [Impu::from("sip:alice@home1.net"), Impu::from("tel:+1234")]
}

#[test]
fn both_registrations_come_about_through_a_foreign_hss() {
    let foreign = Foreign::new(FixedPolicy::default());
    let mut phone = Phone::for_broadcast();
    let response = phone.register(&foreign.network, &[]);
    assert_eq!(response.status(), 200);
    assert!(text(&response, HeaderName::BcastExt).starts_with("state=registered"));
    assert_eq!(text(&response, HeaderName::PAssociatedUri), "<sip:alice@home1.net>, <tel:+1234>");
    assert_eq!(foreign.wire.asked(), ["MAR", "SAR Registration", "PUR registered"]);
    assert!(foreign.network.forwarded()[0].has_key());
    // The next two runs use vectors that are here, and the profile is.
    for _ in 0..2 {
        assert_eq!(phone.register(&foreign.network, &[]).status(), 200);
        assert_eq!(foreign.wire.asked(), ["SAR ReRegistration (has profile)", "PUR registered"]);
    }
    assert_eq!(phone.register(&foreign.network, &["Expires: 0"]).status(), 200);
    foreign.network.settle();
    assert_eq!(foreign.wire.asked(), ["MAR", "SAR UserDeregistration", "PUR not_registered"]);
    assert!(!foreign.network.is_registered(ALICE));
}

#[test]
fn a_card_out_of_step_is_resynchronised_through_the_wire() {
    let foreign = Foreign::new(FixedPolicy::default());
    let mut phone = Phone::alice().ahead(500);
    let challenge = phone.first(&foreign.network, &[], None);
    let auts = phone.auts(&challenge);
    let resync = phone.write(&[], &auts, None);
    let challenge = foreign.network.send(&resync, &phone.source);
    let second = phone.second(&challenge, &[], None);
    assert_eq!(foreign.network.send(&second, &phone.source).status(), 200);
    assert_eq!(foreign.wire.asked(), ["MAR", "MAR AUTS", "SAR Registration"]);
    assert_eq!(phone.register(&foreign.network, &[]).status(), 200, "those that came along are in step too");
    assert_eq!(foreign.wire.asked(), ["SAR ReRegistration (has profile)"]);
}

#[test]
fn a_user_without_the_criterion_has_no_broadcast_subscription() {
    let foreign = Foreign::new(FixedPolicy::default());
    let mut phone = Phone::new("bob");
    phone.headers.push(format!("Bcast-Ext: naf-id=\"{NAF}\""));
    let response = phone.register(&foreign.network, &[]);
    assert_eq!(response.status(), 200);
    assert!(text(&response, HeaderName::BcastExt).contains("no broadcast subscription"));
    assert!(foreign.network.forwarded().is_empty());
    assert_eq!(Phone::new("nobody").first(&foreign.network, &[], None).status(), 403);
}

#[test]
fn before_the_challenge_nothing_is_known_so_it_is_asked_again() {
    let verify = verdict::Verify { subscription: Subscription::Always, at: When::BeforeChallenge };
    let foreign = Foreign::new(FixedPolicy { verify: Some(verify), ..FixedPolicy::default() });
    let response = Phone::for_broadcast().register(&foreign.network, &["Require: bcast-ext"]);
    assert_eq!(response.status(), 200);
    assert!(text(&response, HeaderName::BcastExt).starts_with("state=registered"));
}

#[test]
fn an_unanswered_challenge_is_told_once() {
    let foreign = Foreign::new(FixedPolicy::default());
    assert_eq!(Phone::alice().first(&foreign.network, &[], None).status(), 401);
    foreign.network.pass(seconds(241));
    (0..3).for_each(|_| foreign.network.sweep());
    assert_eq!(foreign.wire.asked(), ["MAR", "SAR AuthenticationTimeout"]);
}

#[test]
fn the_end_by_time_and_a_wrong_answer_are_told() {
    let foreign = Foreign::new(FixedPolicy::default());
    let mut phone = Phone::for_broadcast();
    phone.register(&foreign.network, &["Expires: 600"]);
    let challenge = phone.first(&foreign.network, &[], None);
    let authorization = phone.authorization(&challenge, b"").unwrap();
    let wrong = format!("{}0\"", &authorization[..authorization.len() - 2]);
    let request = phone.write(&[], &if wrong == authorization { wrong.replace("0\"", "1\"") } else { wrong }, None);
    assert_eq!(foreign.network.send(&request, &phone.source).status(), 403);
    foreign.wire.asked();
    foreign.network.pass(seconds(601));
    foreign.network.sweep();
    assert_eq!(foreign.wire.asked(), ["SAR TimeoutDeregistration", "PUR not_registered"]);
}

#[test]
fn rtr_ends_both_registrations() {
    let foreign = Foreign::new(FixedPolicy::default());
    let mut phone = Phone::for_broadcast();
    for impus in [vec![], vec!["tel:+1234"]] {
        phone.register(&foreign.network, &[]);
        let btid = foreign.network.scscf.shared.table.leg(ALICE).unwrap().btid.unwrap();
        foreign.network.forwarded();
        foreign.wire.asked();
        assert_eq!(foreign.ends(ALICE, vec!["sip:somebody.else@home1.net"]), base::SUCCESS);
        assert!(foreign.network.is_registered(ALICE), "that is not an identity of his");
        assert_eq!(foreign.ends(ALICE, impus), base::SUCCESS);
        assert!(!foreign.network.is_registered(ALICE));
        let now = foreign.network.scscf.now();
        assert!(foreign.network.scscf.shared.bootstraps.get(&btid, now).is_none(), "Ks is gone");
        let sent = foreign.network.forwarded();
        assert_eq!((sent.len(), sent[0].expires()), (1, 0), "the broadcast server hears of it");
        assert_eq!(foreign.wire.asked(), ["PUR not_registered"], "no SAR: the HSS knows");
    }
    assert_eq!(foreign.ends(ALICE, vec![]), tgpp::USER_UNKNOWN);
    assert_eq!(phone.register(&foreign.network, &[]).status(), 200);
    assert!(foreign.wire.asked().contains(&"SAR Registration".to_string()), "anew, with the profile");
}

#[test]
fn ppr_changes_what_the_user_may() {
    let foreign = Foreign::new(FixedPolicy::default());
    let mut phone = Phone::for_broadcast();
    phone.register(&foreign.network, &[]);
    foreign.network.forwarded();
    let news = BroadcastSubscription::Services(["news".to_string()].into());
    assert_eq!(foreign.changes(ALICE, &document(ALICE, &of_alice(), &[], &news)), base::SUCCESS);
    let sent = foreign.network.forwarded();
    assert_eq!((sent.len(), sent[0].has_key()), (1, false));
    assert!(sent[0].text(HeaderName::BcastExt).contains("services=\"news\""), "{}", sent[0].text(HeaderName::BcastExt));
    // The same once more changes nothing.
    assert_eq!(foreign.changes(ALICE, &document(ALICE, &of_alice(), &[], &news)), base::SUCCESS);
    assert!(foreign.network.forwarded().is_empty());
    // The default identity is another one now, and the subscription is over.
    let [sip, tel] = of_alice();
    let none = document(ALICE, &[tel.clone(), sip.clone()], &[], &BroadcastSubscription::None);
    assert_eq!(foreign.changes(ALICE, &none), base::SUCCESS);
    let held = foreign.network.scscf.shared.table.get(ALICE).unwrap();
    assert_eq!(*held.impus, [tel, sip]);
    assert_eq!(foreign.network.leg_state(ALICE), None);
    assert_eq!(foreign.network.forwarded()[0].expires(), 0);
    assert_eq!(foreign.changes("nobody@home1.net", &none), tgpp::USER_UNKNOWN);
}

#[test]
fn pnr_ends_the_broadcast_registration_alone() {
    let foreign = Foreign::new(FixedPolicy::default());
    let state = |state| ShData { state: Some(state), ..ShData::default() };
    let deleted = |sequence| {
        let data = Repository { service: repository::SERVICE.into(), sequence, data: None };
        ShData { repository: vec![data], ..ShData::default() }
    };
    assert_eq!(foreign.tells(&state(ImsUserState::Registered)), tgpp::USER_UNKNOWN);
    let mut phone = Phone::for_broadcast();
    phone.register(&foreign.network, &[]);
    foreign.subscribes();
    assert_eq!(foreign.wire.asked(), ["MAR", "SAR Registration", "PUR registered", "SNR"]);
    foreign.network.forwarded();
    // Another broadcast server, or the operator, takes the data out.
    foreign.wire.sequences.lock().unwrap().insert(of_alice()[0].clone(), 0);
    assert_eq!(foreign.tells(&deleted(1)), base::SUCCESS);
    assert!(foreign.network.is_registered(ALICE) && foreign.network.leg_state(ALICE).is_none());
    let sent = foreign.network.forwarded();
    assert_eq!((sent.len(), sent[0].expires()), (1, 0), "the broadcast server hears of it");
    foreign.subscribes();
    assert_eq!(foreign.wire.asked(), ["PUR not_registered", "SNR end"]);
    // The HSS has him as not registered; when he has registered again meanwhile, that was yesterday's news.
    phone.register(&foreign.network, &[]);
    foreign.network.forwarded();
    foreign.wire.asked();
    assert_eq!(foreign.tells(&state(ImsUserState::NotRegistered)), base::SUCCESS);
    assert_eq!(
        (foreign.network.leg_state(ALICE), foreign.wire.asked()),
        (Some(RegState::Registered), vec!["UDR".into()])
    );
    foreign.wire.unregistered.store(true, Ordering::Relaxed);
    assert_eq!(foreign.tells(&state(ImsUserState::NotRegistered)), base::SUCCESS);
    assert_eq!(foreign.network.leg_state(ALICE), None);
    assert_eq!(foreign.network.forwarded()[0].expires(), 0);
    assert_eq!(foreign.wire.asked(), ["UDR", "PUR not_registered"]);
}

#[test]
fn a_request_to_who_is_not_registered_has_the_hss_say_who_he_is_once() {
    let foreign = Foreign::new(FixedPolicy::default());
    let pcscf = source(Transport::Udp, "127.0.0.1:5555");
    let call = |method: &str, uri: &str, to_tag: &str| {
        let request = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5555;branch=z9hG4bKc\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@other.net>;tag=1\r\nTo: <{uri}>{to_tag}\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:bob@127.0.0.1:5555>\r\nContent-Length: 0\r\n\r\n"
        );
        foreign.network.send(request.as_bytes(), &pcscf)
    };
    let alice = "sip:alice@home1.net";
    for method in ["MESSAGE", "OPTIONS", "INVITE"] {
        let answer = call(method, alice, "");
        assert_eq!((answer.status(), text(&answer, HeaderName::RetryAfter)), (480, "60"), "{method}");
    }
    assert_eq!(foreign.wire.asked(), ["SAR UnregisteredUser"]);
    assert_eq!(call("INVITE", "sip:nobody@home1.net", "").status(), 404);
    assert_eq!(foreign.wire.asked(), ["SAR UnregisteredUser"]);
    // This server itself, one of another domain, an address, and what is within a dialog are asked about nowhere.
    for (uri, tag) in [("sip:home1.net", ""), ("sip:a@other.net", ""), ("sip:a@127.0.0.1", ""), (alice, ";tag=x")] {
        assert_eq!(call("OPTIONS", uri, tag).status(), 200);
    }
    foreign.goes_away();
    assert_eq!(call("MESSAGE", "tel:+999", "").status(), 504);
    foreign.wire.down.store(false, Ordering::Relaxed);
    foreign.wire.asked();
    // Who registers is not given back, and is found.
    Phone::for_broadcast().register(&foreign.network, &[]);
    assert_eq!(call("OPTIONS", alice, "").status(), 200);
    foreign.wire.asked();
    foreign.network.pass(seconds(700));
    foreign.subscribes();
    assert!(!foreign.wire.asked().iter().any(|asked| asked.starts_with("SAR")));
}

#[test]
fn the_operator_ends_a_registration_and_the_hss_is_told() {
    let foreign = Foreign::new(FixedPolicy::default());
    let mut phone = Phone::for_broadcast();
    for identity in ["tel:+1234", ALICE] {
        phone.register(&foreign.network, &[]);
        foreign.network.forwarded();
        foreign.wire.asked();
        let ended = foreign.network.run(foreign.network.scscf.end_by_operator(identity));
        foreign.network.settle();
        assert_eq!(ended, Some(Impi::from(ALICE)));
        assert!(!foreign.network.is_registered(ALICE));
        let sent = foreign.network.forwarded();
        assert_eq!((sent.len(), sent[0].expires()), (1, 0), "the broadcast server hears of it");
        let mut asked = foreign.wire.asked();
        asked.sort();
        assert_eq!(asked, ["PUR not_registered", "SAR AdministrativeDeregistration"]);
    }
    assert_eq!(foreign.network.run(foreign.network.scscf.end_by_operator("sip:alice@home1.net")), None);
}

#[test]
fn a_barred_identity_registers_and_is_told_to_nobody() {
    let foreign = Foreign::new(FixedPolicy::default());
    let mut phone = Phone::for_broadcast();
    phone.register(&foreign.network, &[]);
    foreign.network.forwarded();
    let [sip, tel] = of_alice();
    let document = document(ALICE, std::slice::from_ref(&tel), &[sip.as_str()], &BroadcastSubscription::All);
    assert_eq!(foreign.changes(ALICE, &document), base::SUCCESS);
    assert_eq!(foreign.network.forwarded()[0].expires(), 0, "the server knew the user by what is barred now");
    let response = phone.register(&foreign.network, &[]);
    assert_eq!(text(&response, HeaderName::PAssociatedUri), "<tel:+1234>");
    assert_eq!(foreign.network.forwarded()[0].text(HeaderName::To), "<tel:+1234>");
    assert_eq!(phone.register(&foreign.network, &["Expires: 0"]).status(), 200);
    assert!(!foreign.network.is_registered(ALICE));
}

#[test]
fn a_barred_identity_registers_without_a_challenge_and_is_told_to_nobody() {
    let foreign = Foreign::new(FixedPolicy { register: Some(verdict::Register::Trust), ..FixedPolicy::default() });
    let mut phone = Phone::alice();
    assert_eq!(phone.first(&foreign.network, &[], None).status(), 200);
    let [sip, tel] = of_alice();
    let document = document(ALICE, std::slice::from_ref(&tel), &[sip.as_str()], &BroadcastSubscription::All);
    assert_eq!(foreign.changes(ALICE, &document), base::SUCCESS);
    let response = phone.first(&foreign.network, &[], None);
    assert_eq!((response.status(), text(&response, HeaderName::PAssociatedUri)), (200, "<tel:+1234>"));
    assert_eq!(phone.first(&foreign.network, &["Expires: 0"], None).status(), 200);
    assert!(!foreign.network.is_registered(ALICE));
}

#[test]
fn while_the_hss_is_away_who_is_registered_stays_and_others_wait() {
    let foreign = Foreign::new(FixedPolicy::default());
    let mut phone = Phone::for_broadcast();
    phone.register(&foreign.network, &["Expires: 600"]);
    foreign.network.forwarded();
    foreign.goes_away();
    // Two vectors are left, so two refreshes go on, broadcast leg included.
    for _ in 0..2 {
        let response = phone.register(&foreign.network, &["Expires: 600"]);
        assert_eq!(response.status(), 200);
        assert!(text(&response, HeaderName::BcastExt).starts_with("state=registered"));
        assert!(foreign.network.forwarded()[0].has_key());
    }
    let refused = phone.first(&foreign.network, &[], None);
    assert_eq!((refused.status(), text(&refused, HeaderName::RetryAfter)), (504, "5"));
    assert!(foreign.network.is_registered(ALICE), "nothing is taken from him");
    let refused = Phone::new("bob").first(&foreign.network, &[], None);
    assert_eq!((refused.status(), text(&refused, HeaderName::RetryAfter)), (504, "5"));
    // A P-CSCF that vouches for the user needs no vector.
    phone.source = source(imscript::sip::transaction::Transport::Udp, "10.0.0.1:5060");
    let vouched = phone.empty_authorization() + ", integrity-protected=\"yes\"";
    for vouched in [vouched.clone(), vouched.replace("nonce=\"\"", "nonce=\"c3BlbnQ=\"")] {
        let request = phone.write(&["Expires: 600"], &vouched, None);
        assert_eq!(foreign.network.send(&request, &phone.source).status(), 200, "{vouched}");
    }
    // The end is told to nobody, and is one.
    foreign.network.pass(seconds(601));
    foreign.network.sweep();
    assert!(!foreign.network.is_registered(ALICE));
    foreign.wire.down.store(false, Ordering::Relaxed);
    let mut bob = Phone::new("bob");
    assert_eq!(bob.register(&foreign.network, &[]).status(), 200);
}

#[test]
fn policies_see_that_the_hss_is_away() {
    struct Watching(Rc<RefCell<Vec<bool>>>);
    impl Decide for Watching {
        fn verify(&self, _: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
            self.0.borrow_mut().push(ctx.hss_away);
            let subscription = if ctx.hss_away { Subscription::Never } else { Subscription::Always };
            verdict::Verify { subscription, at: When::AfterAuthentication }
        }
    }
    let seen: Rc<RefCell<Vec<bool>>> = Rc::default();
    let foreign = Foreign::new(Watching(seen.clone()));
    foreign.goes_away();
    Phone::alice().first(&foreign.network, &[], None);
    Phone::alice().first(&foreign.network, &[], None);
    foreign.wire.down.store(false, Ordering::Relaxed);
    Phone::alice().first(&foreign.network, &[], None);
    Phone::alice().first(&foreign.network, &[], None);
    assert_eq!(*seen.borrow(), [false, true, true, false]);
}

#[test]
fn the_document_of_these_tests_is_one() {
    let read = ImsSubscription::parse(&document(ALICE, &of_alice(), &["sip:x@home1.net"], &BroadcastSubscription::All));
    let profile = read.unwrap().profile(|server| server == "sip:bsm.home1.net");
    assert_eq!((profile.impus.len(), profile.barred.len(), profile.broadcast), (2, 1, BroadcastSubscription::All));
    assert_eq!(cx::Scheme::Aka.as_str(), "Digest-AKAv1-MD5");
}
