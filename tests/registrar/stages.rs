//! The stages around a registration, asked by a real S-CSCF: what each is told, and what its verdict does.

use crate::broadcast::SPROV;
use crate::messages::{ALICE, bsm};
use crate::network::*;
use crate::phone::*;
use crate::route::subscribe;
use crate::shared_naf::three;
use imscript::hss::RegState;
use imscript::policy::verdict::{self, Broadcast, Forward, Order};
use imscript::policy::{Context, Decide, Defaults, FailureView, Outcome, PortionView, Stage, StatusEvent};
use imscript::registrar::Settings;
use imscript::sip::transaction::Transport;
use imscript::sip::{Edit, HeaderName, Message};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) type OnStatus = Box<dyn Fn(&StatusEvent<'_>) -> verdict::Status>;

/// Answers as told and writes down what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) log: Rc<RefCell<Vec<String>>>,
    pub(crate) order: Option<Order>,
    pub(crate) verify: Option<verdict::Verify>,
    pub(crate) failure: Option<fn(&FailureView<'_>) -> verdict::Failure>,
    pub(crate) status: Option<OnStatus>,
    pub(crate) route: Option<verdict::Route>,
    pub(crate) reply: Vec<Edit>,
}

impl Script {
    fn note(&self, what: std::fmt::Arguments<'_>, ctx: &Context<'_>) {
        let portion = ctx.portion.map_or("none", |portion| portion.naf_fqdn);
        let line = format!("{}{what} {} {} {portion}", self.name, ctx.kind.as_str(), ctx.impi);
        self.log.borrow_mut().push(line);
    }
}

impl Decide for Script {
    fn register(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Register {
        self.note(format_args!("register"), ctx);
        Defaults.register(request, ctx)
    }
    fn verify(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Verify {
        self.note(format_args!("verify"), ctx);
        self.verify.unwrap_or_else(|| Defaults.verify(request, ctx))
    }
    fn authorized(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Authorized {
        self.note(format_args!("authorized"), ctx);
        Defaults.authorized(request, ctx)
    }
    fn broadcast(&self, request: &Message<'_>, portion: &PortionView<'_>, ctx: &Context<'_>) -> verdict::Broadcast {
        self.note(format_args!("broadcast"), ctx);
        match Defaults.broadcast(request, portion, ctx) {
            Broadcast::Forward(forward) => {
                let order = self.order.unwrap_or(Order::Before200);
                Broadcast::Forward(Forward { order, ..forward })
            }
            other => other,
        }
    }
    fn failure(
        &self,
        _: &Message<'_>,
        failure: &FailureView<'_>,
        portion: &PortionView<'_>,
        ctx: &Context<'_>,
    ) -> verdict::Failure {
        let FailureView { server, cause, status, attempt } = failure;
        self.note(format_args!("failure {attempt} {server} {status:?} {cause:?} {}", portion.naf_fqdn), ctx);
        self.failure.map_or(verdict::Failure::GiveUp, |say| say(failure))
    }
    fn status(&self, event: &StatusEvent<'_>) -> verdict::Status {
        let StatusEvent { system, state, impi, .. } = event;
        self.log.borrow_mut().push(format!("{}status {} {} {impi}", self.name, system.as_str(), state.as_str()));
        self.status.as_ref().map_or_else(|| Defaults.status(event), |say| say(event))
    }
    fn route(&self, request: &Message<'_>, ctx: &Context<'_>) -> verdict::Route {
        self.note(format_args!("route {}", String::from_utf8_lossy(request.method())), ctx);
        self.route.clone().unwrap_or(verdict::Route::Next)
    }
    fn reply(&self, response: &Message<'_>, ctx: &Context<'_>) -> verdict::Reply {
        let challenged = response.header(HeaderName::WwwAuthenticate).is_some();
        self.note(format_args!("reply {} {challenged}", response.status()), ctx);
        verdict::Reply { edits: self.reply.clone() }
    }
    fn finish(&self, outcome: &Outcome<'_>, ctx: &Context<'_>) {
        let Outcome { method, status, broadcast, server, micros } = outcome;
        let broadcast = broadcast.map_or("-", RegState::as_str);
        let server = server.unwrap_or("-");
        self.note(format_args!("finish {method} {status} {broadcast} {server} {}", micros / 1_000_000), ctx);
    }
    fn wants(&self, stage: Stage) -> bool {
        match stage {
            Stage::Failure => self.failure.is_some(),
            Stage::Route => self.route.is_some(),
            _ => true,
        }
    }
}

pub(crate) fn of(log: &Rc<RefCell<Vec<String>>>, stage: &str) -> Vec<String> {
    log.borrow().iter().filter(|line| line.starts_with(stage)).cloned().collect()
}

fn set(name: &str, value: &str) -> Edit {
    Edit::Set { name: name.into(), value: value.into() }
}

#[test]
fn every_stage_of_a_registration_is_told_of_the_portion_and_finish_comes_once() {
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    let network = Network::policy(Script { log: log.clone(), ..Script::default() });
    let mut phone = Phone::for_broadcast();
    assert_eq!(phone.register_with(&network, &[], Some((SPROV, b"<ServiceRequest/>"))).status(), 200);
    let expected = [
        "register initial alice@home1.net bsm.home1.net",
        "verify initial alice@home1.net bsm.home1.net",
        "reply 401 true initial alice@home1.net none",
        "finish REGISTER 401 - - 0 initial alice@home1.net none",
        "register initial alice@home1.net bsm.home1.net",
        "verify initial alice@home1.net bsm.home1.net",
        "authorized initial alice@home1.net bsm.home1.net",
        "broadcast initial alice@home1.net bsm.home1.net",
        "status broadcast registered alice@home1.net",
        "status ims registered alice@home1.net",
        "reply 200 false initial alice@home1.net none",
        "finish REGISTER 200 registered bsm 0 initial alice@home1.net none",
    ];
    assert_eq!(*log.borrow(), expected);
    // A refusal that comes before anything is known ends in the same two stages.
    log.borrow_mut().clear();
    phone.headers.push("Require: nonsense".into());
    assert_eq!(phone.first(&network, &[], None).status(), 420);
    assert_eq!(*log.borrow(), ["reply 420 false other  none", "finish REGISTER 420 - - 0 other  none"]);
}

#[test]
fn edits_of_a_reply_are_made_and_one_that_is_not_allowed_undoes_them_all() {
    let network = Network::policy(Script { reply: vec![set("X-Site", "north")], ..Script::default() });
    let mut phone = Phone::alice();
    let challenge = phone.first(&network, &[], None);
    assert_eq!(challenge.header_named("X-Site"), Some(&b"north"[..]));
    let second = phone.second(&challenge, &[], None);
    let answer = network.send(&second, &phone.source);
    assert_eq!((answer.status(), answer.header_named("X-Site")), (200, Some(&b"north"[..])));
    assert_eq!(contacts(&answer).len(), 1);

    for bad in
        [set("Contact", "<sip:evil@h>"), set("To", "<sip:b@h>"), set("Service-Route", "<sip:x>"), set("X A", "1")]
    {
        let network = Network::policy(Script { reply: vec![set("X-Site", "north"), bad], ..Script::default() });
        let answer = Phone::alice().register(&network, &[]);
        assert_eq!((answer.status(), answer.header_named("X-Site")), (200, None), "all or none");
        assert_eq!(contacts(&answer).len(), 1);
        assert!(!contacts(&answer)[0].contains("evil"));
    }
}

#[test]
fn keys_for_a_pcscf_are_in_the_challenge_and_not_in_what_reply_is_shown() {
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    let script = Script { log: log.clone(), reply: vec![set("X-Site", "north")], ..Script::default() };
    let network = Network::with(Settings { send_ck_ik: true, ..settings() }, script);
    network.keys_may_go.set(true);
    let mut phone = Phone::alice();
    phone.source = source(Transport::Udp, "10.0.0.1:5060");
    let challenge = phone.first(&network, &[], None);
    assert!(text(&challenge, HeaderName::WwwAuthenticate).contains(",ck=\""));
    assert_eq!(challenge.header_named("X-Site"), Some(&b"north"[..]));
    assert_eq!(of(&log, "reply"), ["reply 401 false initial alice@home1.net none"]);
}

fn over(say: fn(&FailureView<'_>) -> verdict::Failure) -> (Script, Rc<RefCell<Vec<String>>>) {
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    (Script { log: log.clone(), failure: Some(say), ..Script::default() }, log)
}

fn retry(to: &str) -> verdict::Failure {
    verdict::Failure::Retry { to: to.into() }
}

#[test]
fn a_leg_that_failed_goes_to_the_next_server_with_key_and_a_dialog_of_its_own() {
    for (reply, seen) in [
        (Reply::status(503), "Some(503)"),
        (Reply::status(404), "Some(404)"),
        (Reply::Says(200, "state=failed;cause=\"full\"", None), "Some(200)"),
        (Reply::Nothing, "None"),
    ] {
        let (script, log) = over(|_| retry("south"));
        let network = Network::with(three(), script);
        network.answer_at(5071, reply);
        let begun = network.now();
        let mut phone = Phone::for_broadcast();
        let answer = phone.register(&network, &[]);
        assert!(text(&answer, HeaderName::BcastExt).starts_with("state=registered"), "{seen}");
        assert!(network.now() - begun <= seconds(5), "within the leg's time");
        let failures = of(&log, "failure");
        assert_eq!(failures.len(), 1);
        assert!(failures[0].starts_with(&format!("failure 1 north {seen}")), "{failures:?}");
        assert!(failures[0].ends_with("bsm.home1.net initial alice@home1.net bsm.home1.net"), "{failures:?}");
        assert_eq!(of(&log, "finish").len(), 2);
        assert!(of(&log, "finish")[1].starts_with("finish REGISTER 200 registered south"));
        network.pass(seconds(1));
        let sent = network.forwarded();
        let to: Vec<_> = sent.iter().map(|s| (s.to.addr.port(), s.has_key(), s.expires())).collect();
        assert_eq!(to, [(5071, true, 3600), (5072, true, 3600), (5071, false, 0)], "the first is told of the end");
        assert_eq!(sent[0].muk(), sent[1].muk());
        assert_ne!(sent[0].text(HeaderName::CallId), sent[1].text(HeaderName::CallId));
        assert_eq!(sent[2].text(HeaderName::CallId), sent[0].text(HeaderName::CallId));
        let leg = network.scscf.shared.table.leg(ALICE).unwrap();
        assert_eq!((&*leg.server, leg.state), ("south", RegState::Registered));
        assert_eq!(network.hss.0.lock().unwrap().broadcast["sip:alice@home1.net"].server, "south");
        // The key for the next period goes to the server that the default names, not to the last one tried.
        network.answer_at(5071, Reply::ok());
        assert_eq!(phone.register(&network, &[]).status(), 200);
        assert_eq!(&*network.scscf.shared.table.leg(ALICE).unwrap().server, "north");
    }
}

#[test]
fn no_retry_where_the_key_may_not_go_nor_twice_to_one_server() {
    for say in [
        (|_| retry("east")) as fn(&FailureView<'_>) -> verdict::Failure,
        |_| retry("nobody"),
        |_| retry("north"),
        |_| verdict::Failure::GiveUp,
    ] {
        let (script, log) = over(say);
        let network = Network::with(three(), script);
        network.answer_at(5071, Reply::status(503));
        let answer = Phone::for_broadcast().register(&network, &[]);
        assert!(text(&answer, HeaderName::BcastExt).starts_with("state=pending"), "as without the stage");
        let sent = network.forwarded();
        assert_eq!(sent.iter().map(|s| s.to.addr.port()).collect::<Vec<_>>(), [5071]);
        assert_eq!(of(&log, "failure").len(), 1);
    }
    // To and fro: as often as there are servers with this NAF.
    let (script, log) = over(|failure| retry(if failure.server == "north" { "south" } else { "north" }));
    let network = Network::with(three(), script);
    network.answer(Reply::status(503));
    Phone::for_broadcast().register(&network, &[]);
    assert_eq!(of(&log, "failure").len(), 1);
    assert_eq!(network.forwarded().len(), 2);
}

#[test]
fn three_servers_at_most_share_the_legs_time() {
    let base = three();
    let mut servers: Vec<_> = (0..5u16).map(|n| (n, (*base.servers[0]).clone())).collect();
    for (n, server) in &mut servers {
        (server.name, server.hop.addr) = (format!("s{n}"), format!("127.0.0.1:{}", 6000 + *n).parse().unwrap());
    }
    let servers: Vec<_> = servers.into_iter().map(|(_, server)| Arc::new(server)).collect();
    let (script, log) = over(|failure| retry(&format!("s{}", failure.attempt)));
    let network = Network::with(Settings { servers: servers.into(), ..base }, script);
    network.answer(Reply::Nothing);
    let begun = network.now();
    let answer = Phone::for_broadcast().register(&network, &["Require: bcast-ext"]);
    assert_eq!(answer.status(), 504, "all or nothing, and nobody answered");
    assert!(network.now() - begun <= seconds(5));
    assert_eq!(network.forwarded().iter().filter(|sent| sent.has_key()).count(), 3);
    assert_eq!(of(&log, "failure").len(), 2);
    assert!(!network.is_registered(ALICE));
}

#[test]
fn a_subsequent_leg_fails_over_too() {
    let (script, log) = over(|_| retry("south"));
    let network = Network::with(three(), Script { order: Some(Order::After200), ..script });
    network.answer_at(5071, Reply::status(503));
    let answer = Phone::for_broadcast().register(&network, &[]);
    assert!(text(&answer, HeaderName::BcastExt).starts_with("state=pending"));
    network.settle();
    assert_eq!(of(&log, "failure").len(), 1);
    let leg = network.scscf.shared.table.leg(ALICE).unwrap();
    assert_eq!((&*leg.server, leg.state), ("south", RegState::Registered));
}

/// One generation after the other; a transaction keeps the one that it began with.
struct Seat(Rc<RefCell<Rc<Script>>>);

impl Decide for Seat {
    fn wants(&self, _: Stage) -> bool {
        true
    }
    fn pin(&self, _: &str) -> Option<Rc<dyn Decide>> {
        Some(self.0.borrow().clone())
    }
}

#[test]
fn one_transaction_is_decided_by_one_generation() {
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    let script = |name| Rc::new(Script { name, log: log.clone(), ..Script::default() });
    let seat = Rc::new(RefCell::new(script("old ")));
    let network = Network::policy(Seat(seat.clone()));
    network.answer(Reply::After(seconds(2), Box::new(Reply::ok())));
    let mut phone = Phone::for_broadcast();
    let challenge = phone.first(&network, &[], None);
    let second = phone.second(&challenge, &[], None);
    log.borrow_mut().clear();
    let answer = network.begin(&second, &phone.source);
    assert!(answer.borrow().is_none(), "the broadcast server has not answered yet");
    seat.replace(script("new "));
    network.pass(seconds(3));
    assert!(answer.borrow().is_some());
    assert!(log.borrow().iter().all(|line| line.starts_with("old ")), "{:#?}", log.borrow());
    assert!(log.borrow().iter().any(|line| line.starts_with("old finish")));
    log.borrow_mut().clear();
    phone.register(&network, &["Expires: 0"]);
    network.settle();
    assert!(!log.borrow().is_empty() && log.borrow().iter().all(|line| line.starts_with("new ")));
}

#[test]
fn new_services_asks_the_hss_only_about_what_is_new() {
    let subscription = verdict::Subscription::NewServices;
    let verify = Some(verdict::Verify { subscription, at: verdict::When::AfterAuthentication });
    let network = Network::policy(Script { verify, ..Script::default() });
    let mut phone = Phone::for_broadcast();
    let mut udr = |items: &[&str], broadcast: bool| {
        let order = imscript::broadcast::provisioning::Request::service("1", None, items).to_xml();
        let body: Body<'_> = if broadcast { Some((SPROV, &order)) } else { None };
        network.calls();
        let challenge = phone.first(&network, &[], body);
        let second = phone.second(&challenge, &[], body);
        assert_eq!(network.send(&second, &phone.source).status(), 200);
        network.settle();
        network.calls().iter().filter(|call| *call == "UDR").count()
    };
    assert_eq!(udr(&["sport"], true), 1);
    assert_eq!(udr(&["sport"], true), 0);
    assert_eq!(udr(&[], false), 0, "the same NAF, nothing ordered");
    assert_eq!(udr(&["sport", "film"], true), 1);
    assert_eq!(udr(&["film"], true), 0);
    network.pass(seconds(24 * 3600 + 1));
    assert_eq!(udr(&["film"], true), 1, "not held any more");
    phone.headers = vec!["Bcast-Ext: naf-id=\"bsm2.home1.net\"".into()];
    network.calls();
    phone.register(&network, &[]);
    assert!(network.calls().contains(&"UDR".to_owned()), "another NAF");
}

#[test]
fn a_stage_that_nobody_wants_costs_no_question() {
    struct Nothing(Rc<RefCell<Vec<String>>>);
    impl Decide for Nothing {
        fn wants(&self, stage: Stage) -> bool {
            Defaults.wants(stage)
        }
        fn route(&self, _: &Message<'_>, _: &Context<'_>) -> verdict::Route {
            self.0.borrow_mut().push("route".into());
            verdict::Route::Next
        }
        fn reply(&self, _: &Message<'_>, _: &Context<'_>) -> verdict::Reply {
            self.0.borrow_mut().push("reply".into());
            verdict::Reply::default()
        }
        fn finish(&self, _: &Outcome<'_>, _: &Context<'_>) {
            self.0.borrow_mut().push("finish".into());
        }
    }
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    let network = Network::policy(Nothing(log.clone()));
    network.answer(Reply::status(503));
    Phone::for_broadcast().register(&network, &[]);
    network.send(&subscribe(&[], "text/plain", b""), &bsm());
    assert!(log.borrow().is_empty(), "{:?}", log.borrow());
}
