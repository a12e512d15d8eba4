//! The client against an HSS that answers by script: what it asks, what it makes of answers, odd ones too.

use super::*;
use crate::aka::vector::{AkaVector, Autn, Key128, Res};
use crate::diameter::cx::{AuthItem as Item, Capabilities, Ppr, Reason, Rtr, Saa, Uaa, Uar};
use crate::diameter::dictionary::{SIP_AUTHENTICATION_SCHEME, USER_DATA_ALREADY_AVAILABLE, application};
use crate::diameter::exchange::{Failure, Request, Serve};
use crate::diameter::fault::{ResultCode, base, tgpp};
use crate::diameter::sh::data::{Identities, ImsUserState, Repository, ShData};
use crate::diameter::sh::{ProfileUpdateRequest, User, UserDataAnswer};
use crate::diameter::zh;
use crate::diameter::{Message, answer_to};
use std::collections::VecDeque;
use std::sync::Mutex;
use zeroize::Zeroizing;

type Reaction = Box<dyn FnOnce(&Message<'_>) -> Result<Writer, Failure> + Send>;

/// Answers in order, and takes down what it was asked.
#[derive(Default)]
pub(super) struct Script {
    cut_off: AtomicBool,
    reactions: Mutex<VecDeque<Reaction>>,
    asked: Mutex<Vec<Vec<u8>>>,
}

impl Exchange for Script {
    fn send(&self, _: Destination, request: Writer) -> Answer<'static, Result<Reply, Failure>> {
        let octets = request.finish().unwrap();
        let message = Message::parse(&octets).unwrap();
        message.check().unwrap();
        let reaction = self.reactions.lock().unwrap().pop_front().expect("an unexpected question");
        let answer = reaction(&message).map(|writer| Reply::new(writer.finish().unwrap()).unwrap());
        self.asked.lock().unwrap().push(octets);
        Answer::now(answer)
    }

    fn is_cut_off(&self, application: u32) -> bool {
        application == CX && self.cut_off.load(Ordering::Relaxed)
    }
}

impl Script {
    pub(super) fn next(
        &self,
        reaction: impl FnOnce(&Message<'_>) -> Result<Writer, Failure> + Send + 'static,
    ) -> &Self {
        self.reactions.lock().unwrap().push_back(Box::new(reaction));
        self
    }

    pub(super) fn fails(&self, failure: Failure) -> &Self {
        self.next(move |_| Err(failure))
    }

    pub(super) fn says(&self, code: ResultCode, fill: impl FnOnce(&mut Writer) + Send + 'static) -> &Self {
        self.next(move |request| {
            let mut writer = answer_to(request, code, &origin("hss"));
            fill(&mut writer);
            Ok(writer)
        })
    }

    fn gives_vectors(&self, firsts: std::ops::Range<u8>) -> &Self {
        self.says(base::SUCCESS, move |writer| {
            let items = firsts.map(|first| Item { number: Some(first.into()), given: Given::Aka(vector(first)) });
            Maa { items: items.collect(), ..Maa::default() }.write(writer);
        })
    }

    pub(super) fn gives_profile(&self, document: &'static str) -> &Self {
        self.says(base::SUCCESS, move |writer| {
            Saa { user_data: Some(document.as_bytes()), ..Saa::default() }.write(writer);
        })
    }

    /// Command and octets of what was asked since the last time.
    pub(super) fn asked(&self) -> Vec<(u32, Vec<u8>)> {
        assert!(self.reactions.lock().unwrap().is_empty(), "a question that did not come");
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.into_iter().map(|octets| (Message::parse(&octets).unwrap().header().command, octets)).collect()
    }
}

fn vector(first: u8) -> AkaVector {
    AkaVector {
        rand: Rand([first; 16]),
        autn: Autn([first; 16]),
        xres: Res::new(&[1; 8]),
        ck: Key128([2; 16]),
        ik: Key128([3; 16]),
    }
}

pub(super) fn origin(host: &str) -> Origin {
    Origin { host: host.into(), realm: "home1.net".into() }
}

pub(super) fn settings() -> Settings {
    Settings {
        origin: origin("scscf.home1.net"),
        server: "sip:scscf.home1.net".into(),
        domain: "home1.net".into(),
        visited_network: None,
        capabilities: vec![7],
        vectors: 3,
        vector_lifetime: Duration::from_secs(600),
        users: 100,
        broadcast_servers: vec!["sip:bsm.home1.net".into()],
        host: None,
        realm: None,
        cx: true,
        sh: false,
        zh: false,
    }
}

pub(super) const NOW: Now = Now { mono: Duration::from_secs(10), unix: Duration::from_secs(1_800_000_000) };

pub(super) fn hss(settings: Settings) -> (Arc<Script>, Arc<RemoteHss>) {
    let script = Arc::new(Script::default());
    (script.clone(), Arc::new(RemoteHss::new(script, settings, NOW)))
}

pub(super) fn alice() -> (Impi, Impu) {
    (Impi::from("alice@home1.net"), Impu::from("sip:alice@home1.net"))
}

pub(super) const PROFILE: &str = "<IMSSubscription><PrivateID>alice@home1.net</PrivateID><ServiceProfile>\
    <PublicIdentity><Identity>sip:alice@home1.net</Identity></PublicIdentity>\
    <PublicIdentity><Identity>tel:+1234</Identity></PublicIdentity>\
    <InitialFilterCriteria><Priority>0</Priority><ApplicationServer><ServerName>SIP:bsm.HOME1.net:5060</ServerName>\
    </ApplicationServer></InitialFilterCriteria></ServiceProfile></IMSSubscription>";

pub(super) const WITHOUT_BROADCAST: &str = "<IMSSubscription><PrivateID>alice@home1.net</PrivateID><ServiceProfile>\
    <PublicIdentity><Identity>sip:alice@home1.net</Identity></PublicIdentity></ServiceProfile></IMSSubscription>";

fn first_octet(item: Result<AuthItem, HssError>) -> u8 {
    match item.unwrap() {
        AuthItem::Aka(vector) => vector.rand.0[0],
        AuthItem::Digest { .. } => panic!("a password"),
    }
}

#[test]
fn vectors_are_fetched_several_at_once_and_used_in_order() {
    let (script, hss) = hss(settings());
    let (impi, impu) = alice();
    let auth = |resync, now| hss.multimedia_auth(&impi, &impu, AuthScheme::Unknown, resync, now).wait();
    script.gives_vectors(1..4);
    assert_eq!([1, 2, 3].map(|_| first_octet(auth(None, NOW))), [1, 2, 3]);
    let asked = script.asked();
    let mar = Mar::read(Message::parse(&asked[0].1).unwrap().avps()).unwrap();
    assert_eq!((asked.len(), mar.items, mar.scheme, mar.resync), (1, 3, Scheme::Unknown, None));
    // The next request asks again, and so does one after the vectors' time.
    script.gives_vectors(4..6).gives_vectors(7..8);
    assert_eq!(first_octet(auth(None, NOW)), 4);
    assert_eq!(first_octet(auth(None, NOW.after(Duration::from_secs(600)))), 7);
    // A card out of step: what was kept is of no use, and the HSS gets RAND and AUTS.
    script.gives_vectors(8..11).gives_vectors(20..22);
    assert_eq!(first_octet(auth(None, NOW)), 8);
    let resync = (Rand([8; 16]), Auts([9; 14]));
    assert_eq!([first_octet(auth(Some(resync), NOW)), first_octet(auth(None, NOW))], [20, 21]);
    let asked = script.asked();
    let mar = Mar::read(Message::parse(&asked[3].1).unwrap().avps()).unwrap();
    assert_eq!((mar.scheme, mar.resync), (Scheme::Aka, Some(resync)));
    assert!(hss.vectors.take(&impi, NOW.mono).is_none());
}

#[test]
fn sessions_are_never_the_same() {
    let (script, hss) = hss(settings());
    let (impi, impu) = alice();
    for _ in 0..2 {
        script.says(tgpp::USER_UNKNOWN, |_| ());
        assert_eq!(
            hss.server_assignment(&impi, &impu, Assignment::Registration, NOW).wait(),
            Err(HssError::UserUnknown)
        );
    }
    let sessions: Vec<String> = script
        .asked()
        .iter()
        .map(|(_, octets)| {
            let message = Message::parse(octets).unwrap();
            message.identity(&crate::diameter::dictionary::SESSION_ID).unwrap().to_owned()
        })
        .collect();
    assert!(sessions[0].starts_with("scscf.home1.net;") && sessions[0] != sessions[1]);
}

#[test]
fn an_hss_without_the_scheme_unknown_is_asked_for_aka_then_for_a_password() {
    let (script, hss) = hss(settings());
    let (impi, impu) = alice();
    script.says(tgpp::AUTH_SCHEME_NOT_SUPPORTED, |_| ()).gives_vectors(1..2).gives_vectors(2..3);
    for expected in [1, 2] {
        let item = hss.multimedia_auth(&impi, &impu, AuthScheme::Unknown, None, NOW).wait();
        assert_eq!(first_octet(item), expected);
    }
    // One who has a password.
    script.says(tgpp::AUTH_SCHEME_NOT_SUPPORTED, |_| ()).says(base::SUCCESS, |writer| {
        let ha1 = Zeroizing::new("a1".repeat(16));
        let digest = SipDigest { realm: "home1.net", algorithm: None, qop: None, ha1 };
        Maa { items: vec![Item { number: None, given: Given::Digest(digest) }], ..Maa::default() }.write(writer);
    });
    let item = hss.multimedia_auth(&impi, &impu, AuthScheme::Unknown, None, NOW).wait();
    assert!(matches!(item, Ok(AuthItem::Digest { .. })));
    // One who has something else.
    script.says(tgpp::AUTH_SCHEME_NOT_SUPPORTED, |_| ()).says(tgpp::AUTH_SCHEME_NOT_SUPPORTED, |_| ());
    let item = hss.multimedia_auth(&impi, &impu, AuthScheme::Unknown, None, NOW).wait();
    assert!(matches!(item, Err(HssError::SchemeNotSupported)));
    let schemes: Vec<String> = script
        .asked()
        .iter()
        .map(|(_, octets)| {
            let item = Message::parse(octets).unwrap().avps().get(&cx_item()).unwrap().group();
            item.text(&SIP_AUTHENTICATION_SCHEME).unwrap().unwrap().to_owned()
        })
        .collect();
    let aka_then_digest = ["Digest-AKAv1-MD5", "SIP Digest"];
    assert_eq!(schemes[..3], ["Unknown", "Digest-AKAv1-MD5", "Digest-AKAv1-MD5"]);
    assert_eq!(schemes[3..], [aka_then_digest, aka_then_digest].concat());
}

fn cx_item() -> crate::diameter::Def {
    crate::diameter::dictionary::SIP_AUTH_DATA_ITEM
}

#[test]
fn a_digest_subscriber_is_known_by_ha1() {
    let (script, hss) = hss(settings());
    let (impi, impu) = alice();
    let gives = |realm: &'static str, ha1: String, algorithm: Option<&'static str>| {
        script.says(base::SUCCESS, move |writer| {
            let digest = SipDigest { realm, algorithm, qop: Some("auth"), ha1: Zeroizing::new(ha1) };
            Maa { items: vec![Item { number: None, given: Given::Digest(digest) }], ..Maa::default() }.write(writer);
        });
        hss.multimedia_auth(&impi, &impu, AuthScheme::Unknown, None, NOW).wait()
    };
    let Ok(AuthItem::Digest { password }) = gives("home1.net", "A1".repeat(16), None) else { panic!("no password") };
    assert_eq!((password.as_bytes(), password.hashed()), ("a1".repeat(16).as_bytes(), Some(Algorithm::Md5)));
    assert!(gives("home1.net", "a1".repeat(32), Some("SHA-256")).is_ok());
    for wrong in [
        gives("other.net", "a1".repeat(16), None),
        gives("home1.net", "a1".repeat(15), None),
        gives("home1.net", "x1".repeat(16), None),
        gives("home1.net", "a1".repeat(16), Some("SHA-512")),
    ] {
        let why = wrong.unwrap_err();
        assert!(matches!(&why, HssError::Garbled(text) if !text.contains("a1a1")), "{why}");
    }
}

#[test]
fn a_profile_comes_once_and_is_held_while_the_user_is_registered() {
    let (script, hss) = hss(settings());
    let (impi, impu) = alice();
    let assign = |kind| hss.server_assignment(&impi, &impu, kind, NOW).wait();
    assert_eq!(hss.broadcast_subscription(&impi).wait(), Err(HssError::NotTold));
    script.gives_profile(PROFILE);
    let profile = assign(Assignment::Registration).unwrap();
    assert_eq!(profile, Profile::new([impu.clone(), Impu::from("tel:+1234")], BroadcastSubscription::All));
    assert_eq!(hss.broadcast_subscription(&impi).wait(), Ok(BroadcastSubscription::All));
    script.says(base::SUCCESS, |_| ());
    assert_eq!(assign(Assignment::ReRegistration), Ok(profile));
    script.says(tgpp::SUCCESS_SERVER_NAME_NOT_STORED, |_| ());
    assign(Assignment::UserDeregistration).unwrap();
    assert_eq!(hss.broadcast_subscription(&impi).wait(), Err(HssError::NotTold));
    let asked = script.asked();
    let available: Vec<i32> = asked
        .iter()
        .map(|(_, octets)| {
            let avps = Message::parse(octets).unwrap().avps();
            avps.enumerated(&USER_DATA_ALREADY_AVAILABLE).unwrap().unwrap()
        })
        .collect();
    assert_eq!(available, [0, 1, 0]);
    let kinds: Vec<_> =
        asked.iter().map(|(_, octets)| Sar::read(Message::parse(octets).unwrap().avps()).unwrap().kind).collect();
    let expected =
        [ServerAssignment::Registration, ServerAssignment::ReRegistration, ServerAssignment::UserDeregistration];
    assert_eq!(kinds, expected);
}

#[test]
fn a_criterion_names_a_broadcast_server_by_its_naf_or_its_address() {
    let servers = ["sip:bsm.home1.net", "sip:192.0.2.7:5070"].map(str::to_owned);
    let (_, hss) = hss(Settings { broadcast_servers: servers.into(), ..settings() });
    let is = |name: &str| hss.is_broadcast_server(&Uri::parse(name.as_bytes()).unwrap());
    let names =
        ["sip:BSM.home1.net", "sip:bsm.home1.net.:5070;transport=tcp", "sips:bsm.home1.net", "sip:b@bsm.home1.net"];
    let addresses =
        ["sip:192.0.2.7:5070;lr", "sip:127.0.0.1:4000;transport=tcp;naf=bsm.home1.net", "sip:[::1];naf=Bsm.home1.net"];
    names.iter().chain(&addresses).for_each(|name| assert!(is(name), "{name}"));
    let others =
        ["sip:home1.net", "sip:bsm.home1.net.evil.net", "sip:evil.net;naf=bsm.home1.net", "tel:+1;naf=bsm.home1.net"];
    let elsewhere = ["sip:192.0.2.7", "sip:192.0.2.7:5070@evil.net", "sip:192.0.2.8;naf=evil.net", "sip:192.0.2.8;naf"];
    others.iter().chain(&elsewhere).for_each(|name| assert!(!is(name), "{name}"));
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let (script, hss) = hss(settings());
    let (impi, impu) = alice();
    let assign = || hss.server_assignment(&impi, &impu, Assignment::Registration, NOW).wait();
    script.says(base::SUCCESS, |_| ());
    assert!(matches!(assign(), Err(HssError::Garbled(_))), "no profile");
    script.gives_profile("<!DOCTYPE a><IMSSubscription/>");
    assert!(matches!(assign(), Err(HssError::Garbled(_))));
    script.says(base::SUCCESS, |_| ());
    let none = hss.multimedia_auth(&impi, &impu, AuthScheme::Unknown, None, NOW).wait();
    assert!(matches!(none, Err(HssError::NoVector(_))));
    script.says(base::SUCCESS, |writer| {
        Maa { items: vec![Item { number: None, given: Given::Other("Early-IMS") }], ..Maa::default() }.write(writer);
    });
    let early = hss.multimedia_auth(&impi, &impu, AuthScheme::DigestAka, None, NOW).wait();
    assert!(matches!(early, Err(HssError::SchemeNotSupported)));
    // One who is not in the profile that is given for him can be registered, and is told to nobody.
    script.gives_profile(WITHOUT_BROADCAST);
    let other = Impu::from("sip:wild@home1.net");
    let profile = hss.server_assignment(&impi, &other, Assignment::Registration, NOW).wait().unwrap();
    assert_eq!((&*profile.impus, &*profile.barred), (&[impu][..], &[other][..]));
}

#[test]
fn who_comes_in_from_where_is_asked_where_this_is_the_i_cscf() {
    let (impi, impu) = alice();
    let (script, silent) = hss(settings());
    assert_eq!(silent.authorize(&impi, &impu, Some("v"), Entry::Registration, NOW).wait(), Ok(()));
    assert!(script.asked().is_empty(), "another one asks");
    let (script, hss) = hss(Settings { visited_network: Some("home1.net".into()), ..settings() });
    let authorize = |from, entry| hss.authorize(&impi, &impu, from, entry, NOW).wait();
    script.says(tgpp::FIRST_REGISTRATION, |writer| {
        let capabilities = Capabilities { mandatory: vec![7], ..Capabilities::default() };
        Uaa { server: None, capabilities: Some(capabilities) }.write(writer);
    });
    assert_eq!(authorize(None, Entry::Registration), Ok(()));
    script.says(tgpp::SUBSEQUENT_REGISTRATION, |writer| {
        Uaa { server: Some("sip:other.home1.net"), capabilities: None }.write(writer);
    });
    assert_eq!(authorize(Some("v.net"), Entry::Deregistration), Ok(()));
    script.says(tgpp::FIRST_REGISTRATION, |writer| {
        let capabilities = Capabilities { mandatory: vec![7, 8], ..Capabilities::default() };
        Uaa { server: None, capabilities: Some(capabilities) }.write(writer);
    });
    assert_eq!(authorize(None, Entry::Registration), Err(HssError::NoServer));
    script.says(tgpp::ROAMING_NOT_ALLOWED, |_| ());
    assert_eq!(authorize(None, Entry::Registration), Err(HssError::RoamingNotAllowed));
    let asked = script.asked();
    let uar = |at: usize| Uar::read(Message::parse(&asked[at].1).unwrap().avps()).unwrap();
    assert_eq!((uar(0).visited_network, uar(0).kind), (&b"home1.net"[..], cx::Authorization::Registration));
    assert_eq!((uar(1).visited_network, uar(1).kind), (&b"v.net"[..], cx::Authorization::Deregistration));
}

#[test]
fn while_the_hss_is_away_kept_vectors_serve() {
    let (script, hss) = hss(Settings { visited_network: Some("home1.net".into()), ..settings() });
    let (impi, impu) = alice();
    let auth = || hss.multimedia_auth(&impi, &impu, AuthScheme::Unknown, None, NOW).wait();
    let authorize = || hss.authorize(&impi, &impu, None, Entry::Registration, NOW).wait();
    script.gives_vectors(1..3);
    assert_eq!((first_octet(auth()), hss.is_away()), (1, false));
    script.fails(Failure::NoPeer);
    assert_eq!((authorize(), hss.is_away()), (Ok(()), true));
    assert_eq!(first_octet(auth()), 2);
    for failure in [Failure::NoPeer, Failure::Timeout, Failure::Lost] {
        script.fails(failure).fails(failure);
        assert!(matches!(authorize(), Err(HssError::Unavailable(_))));
        assert!(matches!(auth(), Err(HssError::Unavailable(_))));
        assert!(hss.is_away());
    }
    script.fails(Failure::Busy);
    assert!(matches!(auth(), Err(HssError::Busy)));
    assert!(!hss.is_away(), "it is there, but has much to do");
    script.fails(Failure::Timeout).says(tgpp::USER_UNKNOWN, |_| ());
    assert!(matches!(auth(), Err(HssError::Unavailable(_))));
    assert!(matches!(auth(), Err(HssError::UserUnknown)));
    assert!(!hss.is_away());
    script.cut_off.store(true, Ordering::Relaxed);
    assert!(hss.is_away(), "before anything is asked");
}

#[test]
fn while_the_hss_is_away_a_password_serves() {
    let (script, hss) = hss(Settings { visited_network: Some("home1.net".into()), ..settings() });
    let (impi, impu) = alice();
    let auth = |scheme| hss.multimedia_auth(&impi, &impu, scheme, None, NOW).wait();
    script.says(base::SUCCESS, |writer| {
        let ha1 = Zeroizing::new("a1".repeat(16));
        let digest = SipDigest { realm: "home1.net", algorithm: None, qop: Some("auth"), ha1 };
        Maa { items: vec![Item { number: None, given: Given::Digest(digest) }], ..Maa::default() }.write(writer);
    });
    assert!(auth(AuthScheme::Unknown).is_ok());
    script.fails(Failure::NoPeer).fails(Failure::Timeout).fails(Failure::NoPeer);
    assert_eq!(hss.authorize(&impi, &impu, None, Entry::Registration, NOW).wait(), Ok(()));
    assert!(matches!(auth(AuthScheme::Unknown), Ok(AuthItem::Digest { .. })));
    assert!(matches!(auth(AuthScheme::DigestAka), Err(HssError::Unavailable(_))), "a bootstrapping needs a card");
    script.says(tgpp::USER_UNKNOWN, |_| ()).fails(Failure::NoPeer);
    assert!(matches!(auth(AuthScheme::Unknown), Err(HssError::UserUnknown)), "what it says itself counts");
    assert!(matches!(auth(AuthScheme::Unknown), Err(HssError::Unavailable(_))), "and goes on counting");
}

#[test]
fn who_is_registered_has_vectors_before_the_hss_goes_away() {
    let (script, hss) = hss(settings());
    let (impi, impu) = alice();
    let pushed = Arc::new(Pushed::new(hss.clone(), Registered(&[])));
    let fetch = || pushed.due(NOW).into_iter().for_each(|job| Answer::later(job).wait());
    let register = |kind| {
        let used = first_octet(hss.multimedia_auth(&impi, &impu, AuthScheme::Unknown, None, NOW).wait());
        hss.server_assignment(&impi, &impu, kind, NOW).wait().unwrap();
        used
    };
    script.gives_vectors(1..3).gives_profile(PROFILE);
    assert_eq!(register(Assignment::Registration), 1);
    fetch();
    script.says(base::SUCCESS, |_| ());
    assert_eq!(register(Assignment::ReRegistration), 2);
    assert_eq!(script.asked().len(), 3, "while one is left nothing is fetched");
    script.gives_vectors(3..6);
    fetch();
    script.says(base::SUCCESS, |_| ()).says(base::SUCCESS, |_| ());
    assert_eq!((register(Assignment::ReRegistration), register(Assignment::ReRegistration)), (3, 4));
    fetch();
    assert_eq!(script.asked().len(), 3);
    // Who is not registered any more needs none, be it that he goes while the HSS is asked.
    script.says(base::SUCCESS, |_| ());
    assert_eq!(register(Assignment::ReRegistration), 5);
    let forgetful = hss.clone();
    script.next(move |mar| {
        forgetful.forget(&alice().0);
        let mut answer = answer_to(mar, base::SUCCESS, &origin("hss"));
        let items = vec![Item { number: None, given: Given::Aka(vector(9)) }];
        Maa { items, ..Maa::default() }.write(&mut answer);
        Ok(answer)
    });
    fetch();
    assert!(!hss.vectors.has(&impi, NOW.mono));
    script.gives_vectors(5..6).gives_profile(PROFILE);
    assert_eq!(register(Assignment::Registration), 5);
    hss.forget(&impi);
    fetch();
    assert_eq!(script.asked().len(), 4);
    // Who has come for one himself meanwhile needs none.
    script.gives_vectors(4..6).gives_profile(PROFILE);
    assert_eq!(register(Assignment::Registration), 4);
    script.asked();
    script.says(base::SUCCESS, |_| ()).gives_vectors(6..9);
    assert_eq!(register(Assignment::ReRegistration), 5);
    assert_eq!(first_octet(hss.multimedia_auth(&impi, &impu, AuthScheme::Unknown, None, NOW).wait()), 6);
    fetch();
    assert_eq!(script.asked().len(), 2);
}

pub(super) fn broadcast(state: RegState) -> BroadcastState {
    BroadcastState { state, server: "bsm".into(), naf_fqdn: "bsm.home1.net".into(), btid: None }
}

/// The repository data of a PUR.
fn written(octets: &[u8]) -> (u16, BroadcastState) {
    let update = ProfileUpdateRequest::read(&Message::parse(octets).unwrap()).unwrap();
    assert_eq!(update.user, User::Public(alice().1));
    let data = ShData::parse(&update.user_data).unwrap().repository.remove(0);
    assert_eq!(data.service, "bcast-registration");
    (data.sequence, crate::hss::repository::read(&data.data.unwrap()).unwrap())
}

#[test]
fn the_broadcast_registration_is_written_with_the_number_that_follows() {
    let (script, hss) = hss(Settings { sh: true, ..settings() });
    let (_, impu) = alice();
    let update = |state| hss.broadcast_update(&impu, broadcast(state), NOW).wait();
    script.says(base::SUCCESS, |_| ()).says(base::SUCCESS, |_| ());
    assert_eq!((update(RegState::Pending), update(RegState::Registered)), (Ok(()), Ok(())));
    let asked = script.asked();
    assert_eq!(written(&asked[0].1), (0, broadcast(RegState::Pending)));
    assert_eq!(written(&asked[1].1), (1, broadcast(RegState::Registered)));
    // Another node wrote meanwhile.
    script.says(tgpp::TRANSPARENT_DATA_OUT_OF_SYNC, |_| ()).says(base::SUCCESS, |writer| {
        let data = Some(crate::hss::repository::write(&broadcast(RegState::Failed)));
        let repository = vec![Repository { service: "bcast-registration".into(), sequence: u16::MAX, data }];
        let data = ShData { repository, ..ShData::default() }.write();
        UserDataAnswer { data: Some(data.into_bytes()) }.write(writer);
    });
    script.says(base::SUCCESS, |_| ()).says(base::SUCCESS, |_| ());
    assert_eq!((update(RegState::NotRegistered), update(RegState::Pending)), (Ok(()), Ok(())));
    let asked = script.asked();
    let numbers = [0, 2, 3].map(|at| written(&asked[at].1).0);
    assert_eq!(numbers, [2, 1, 2], "after 65535 comes 1");
    // The data were deleted: they are made anew.
    script.says(tgpp::TRANSPARENT_DATA_OUT_OF_SYNC, |_| ()).says(tgpp::SUBS_DATA_ABSENT, |_| ());
    script.says(base::SUCCESS, |_| ());
    assert_eq!(update(RegState::Registered), Ok(()));
    assert_eq!(written(&script.asked()[2].1).0, 0);
    (0..3).for_each(|_| {
        script.says(tgpp::PRIOR_UPDATE_IN_PROGRESS, |_| ()).says(base::SUCCESS, |_| ());
    });
    assert!(matches!(update(RegState::Registered), Err(HssError::Refused(_))));
    assert_eq!(script.asked().len(), 6);
    script.fails(Failure::NoPeer);
    assert!(matches!(update(RegState::Registered), Err(HssError::Unavailable(_))));
    assert!(!hss.is_away(), "registering does not need Sh");
}

#[test]
fn a_bootstrapping_takes_vector_and_settings_from_zh() {
    let (script, hss) = hss(Settings { zh: true, ..settings() });
    let (impi, impu) = alice();
    let resync = Some((Rand([8; 16]), Auts([9; 14])));
    script.says(base::SUCCESS, |writer| {
        let guss = b"<guss><bsfInfo><lifeTime>600</lifeTime></bsfInfo><ussList><uss id=\"1\" type=\"4\"><uids>\
            <uid>sip:alice@home1.net</uid></uids></uss></ussList></guss>";
        let guss = Some(guss.to_vec());
        zh::MultimediaAuthAnswer { impi: None, vector: vector(5), guss, guss_timestamp: None }.write(writer);
    });
    let told = hss.bootstrapping(&impi, resync, NOW).wait().unwrap();
    assert_eq!((told.vector.rand, &*told.impus), (Rand([5; 16]), &[impu][..]));
    assert_eq!((told.broadcast, told.settings.lifetime), (BroadcastSubscription::All, Some(Duration::from_secs(600))));
    let asked = script.asked();
    let message = Message::parse(&asked[0].1).unwrap();
    assert_eq!(message.header().application, application::ZH);
    assert_eq!(zh::MultimediaAuthRequest::read(&message).unwrap().resync, resync);
    // Settings that the HSS dates are not fetched again.
    let dated = |guss: Option<&'static [u8]>| {
        script.says(base::SUCCESS, move |writer| {
            let (guss, guss_timestamp) = (guss.map(<[u8]>::to_vec), guss.map(|_| Duration::from_secs(1_700_000_000)));
            zh::MultimediaAuthAnswer { impi: None, vector: vector(6), guss, guss_timestamp }.write(writer);
        });
        let settings = hss.bootstrapping(&impi, None, NOW).wait().unwrap().settings;
        let asked = script.asked();
        let asked = zh::MultimediaAuthRequest::read(&Message::parse(&asked[0].1).unwrap()).unwrap();
        (asked.guss_timestamp.map(|since| since.as_secs()), settings.lifetime.map(|lifetime| lifetime.as_secs()))
    };
    let guss: &[u8] = b"<guss><bsfInfo><lifeTime>700</lifeTime></bsfInfo></guss>";
    assert_eq!(dated(Some(guss)), (None, Some(700)));
    assert_eq!(dated(None), (Some(1_700_000_000), Some(700)));
    script.says(tgpp::IDENTITY_UNKNOWN, |_| ());
    assert!(matches!(hss.bootstrapping(&impi, None, NOW).wait(), Err(HssError::UserUnknown)));
}

#[test]
fn without_sh_the_hss_is_not_told() {
    let (script, hss) = hss(settings());
    let (_, impu) = alice();
    assert_eq!(hss.broadcast_update(&impu, broadcast(RegState::Registered), NOW).wait(), Ok(()));
    assert_eq!(hss.user_data("alice@home1.net").wait(), Err(HssError::UserUnknown));
    assert!(script.asked().is_empty());
}

#[test]
fn user_data_are_what_sh_tells() {
    let (script, hss) = hss(Settings { sh: true, ..settings() });
    script.says(base::SUCCESS, |writer| {
        let data = Some(crate::hss::repository::write(&broadcast(RegState::Registered)));
        let told = ShData {
            repository: vec![Repository { service: "bcast-registration".into(), sequence: 4, data }],
            identities: Some(Identities {
                impus: vec!["sip:alice@home1.net".into(), "tel:+1".into()],
                msisdns: vec![],
            }),
            state: Some(ImsUserState::Registered),
            ..ShData::default()
        };
        UserDataAnswer { data: Some(told.write().into_bytes()) }.write(writer);
    });
    let told = hss.user_data("alice@home1.net").wait().unwrap();
    assert_eq!((told.impi.as_str(), told.impus.len(), told.ims), ("alice@home1.net", 2, RegState::Registered));
    assert_eq!(told.registration, Some((broadcast(RegState::Registered), 0)));
    script.says(tgpp::USER_UNKNOWN, |_| ());
    assert_eq!(hss.user_data("tel:+1").wait(), Err(HssError::UserUnknown));
    script.says(base::SUCCESS, |writer| UserDataAnswer { data: Some(b"<a/>".to_vec()) }.write(writer));
    assert!(matches!(hss.user_data("tel:+1").wait(), Err(HssError::Garbled(_))));
}

/// What the S-CSCF's side answers to a request of the HSS.
pub(super) fn push(
    pushed: &Arc<Pushed>,
    command: u32,
    fill: impl FnOnce(&mut Writer),
) -> Option<(ResultCode, Vec<u8>)> {
    let application = if command == command::PUSH_NOTIFICATION { application::SH } else { application::CX };
    let mut writer = request(application, command, "hss;1;1", &origin("hss"));
    fill(&mut writer);
    let request = Request { octets: writer.finish().unwrap(), peer: "hss".into() };
    let octets = pushed.clone().serve(request).wait()?.finish().unwrap();
    let message = Message::parse(&octets).unwrap();
    message.check().unwrap();
    Some((message.result().unwrap(), octets))
}

/// Those who have one of these private identities, and a public one made of it.
pub(super) struct Registered(pub(super) &'static [&'static str]);

impl Users for Registered {
    fn has_private(&self, impi: &str) -> bool {
        self.0.contains(&impi)
    }

    fn has_public(&self, impu: &str) -> bool {
        impu.strip_prefix("sip:").is_some_and(|impi| self.has_private(impi))
    }
}

#[test]
fn rtr_ends_registrations_and_ppr_changes_profiles() {
    let (script, hss) = hss(settings());
    let (impi, impu) = alice();
    let pushed = Arc::new(Pushed::new(hss.clone(), Registered(&["bob@home1.net"])));
    assert_eq!(pushed.applications(), [application::CX]);
    let rtr = |impi, associated, impus| Rtr {
        impi,
        associated,
        impus,
        reason: Reason::PermanentTermination,
        info: Some("bye"),
    };
    let end = |rtr: Rtr<'_>| push(&pushed, command::REGISTRATION_TERMINATION, |writer| rtr.write(writer)).unwrap();
    assert_eq!(end(rtr("alice@home1.net", vec![], vec![])).0, tgpp::USER_UNKNOWN);
    script.gives_profile(PROFILE);
    hss.server_assignment(&impi, &impu, Assignment::Registration, NOW).wait().unwrap();
    let change = |document: Option<&[u8]>| {
        let ppr = Ppr { impi: "alice@home1.net", user_data: document, charging: None, item: None };
        push(&pushed, command::PUSH_PROFILE, |writer| ppr.write(writer)).unwrap().0
    };
    assert_eq!(change(Some(WITHOUT_BROADCAST.as_bytes())), base::SUCCESS);
    assert_eq!(hss.broadcast_subscription(&impi).wait(), Ok(BroadcastSubscription::None));
    assert_eq!(change(None), base::SUCCESS);
    assert_eq!(change(Some(b"<a/>")), tgpp::NOT_SUPPORTED_USER_DATA);
    assert_eq!(change(Some(&vec![b' '; 70_000])), tgpp::TOO_MUCH_DATA);
    let (code, octets) = end(rtr("alice@home1.net", vec!["bob@home1.net", "eve@home1.net"], vec!["tel:+1234"]));
    let rta = cx::Rta::read(Message::parse(&octets).unwrap().avps()).unwrap();
    assert_eq!((code, rta.associated), (base::SUCCESS, vec!["bob@home1.net"]));
    let expected = [
        Push::Profile { impi: impi.clone() },
        Push::End {
            impis: vec![impi, Impi::from("bob@home1.net")],
            impus: vec![Impu::from("tel:+1234")],
            reason: "permanent termination",
        },
    ];
    assert_eq!(pushed.take(), expected);
    assert!(pushed.take().is_empty());
}

#[test]
fn what_cannot_be_taken_from_an_hss_is_refused() {
    let (_, hss) = hss(settings());
    let pushed = Arc::new(Pushed::new(hss, Registered(&["a"])));
    assert_eq!(push(&pushed, command::PUSH_PROFILE, |_| ()).unwrap().0, base::MISSING_AVP);
    assert!(push(&pushed, command::LOCATION_INFO, |_| ()).is_none(), "3001");
    let required = cx::Features { required: true, ..cx::Features::offered(cx::Features::SHARED_IFC) };
    let (code, _) = push(&pushed, command::PUSH_PROFILE, |writer| required.write(writer)).unwrap();
    assert_eq!(code, tgpp::FEATURE_UNSUPPORTED);
    let rtr = Rtr { impi: "a", associated: vec![], impus: vec![], reason: Reason::ServerChange, info: None };
    let end = || push(&pushed, command::REGISTRATION_TERMINATION, |writer| rtr.write(writer)).unwrap().0;
    assert_eq!(end(), base::SUCCESS);
    (1..10_000).for_each(|_| assert_eq!(end(), base::SUCCESS));
    assert_eq!(end(), base::TOO_BUSY, "nobody takes them");
}
