//! Sh as application servers see it.

use super::testbed::{Bed, IMPI, IMPU, settings};
use super::*;
use crate::diameter::exchange::Destination;
use crate::diameter::sh::data::service_data;
use crate::diameter::sh::{
    DataReference as Data, IdentitySet, ImsUserState, ProfileUpdateRequest, PushNotificationRequest, Repository,
    ShData, SubscribeAnswer, SubscribeRequest, User, UserDataAnswer, UserDataRequest,
};
use crate::hss::embedded::Watcher;
use crate::hss::repository::{self, SERVICE};
use crate::hss::{Assignment, BroadcastState, Hss, RegState};
use crate::identity::{Impi, Impu};
use std::sync::atomic::Ordering;
use std::time::Duration;

const UDR: (u32, u32) = (application::SH, command::USER_DATA);
const PUR: (u32, u32) = (application::SH, command::PROFILE_UPDATE);
const SNR: (u32, u32) = (application::SH, command::SUBSCRIBE_NOTIFICATIONS);

fn of(data: &[Data]) -> UserDataRequest {
    UserDataRequest {
        user: User::Public(IMPU.into()),
        data: data.to_vec(),
        services: Vec::new(),
        sets: Vec::new(),
        server: None,
        impi: None,
    }
}

fn udr(bed: &Bed, udr: &UserDataRequest) -> Result<Option<ShData>, ResultCode> {
    bed.ask(
        "as.home1.net",
        UDR,
        |to| udr.write(to),
        |answer| match answer.result().unwrap() {
            base::SUCCESS => Ok(UserDataAnswer::read(answer).data.map(|data| ShData::parse(&data).unwrap())),
            code => Err(code),
        },
    )
}

fn repository(bed: &Bed, service: &str) -> Option<Repository> {
    let asked = UserDataRequest { services: vec![service.into()], ..of(&[Data::RepositoryData]) };
    udr(bed, &asked).unwrap().and_then(|data| data.repository.into_iter().next())
}

fn pur(bed: &Bed, service: &str, sequence: u16, data: Option<String>) -> ResultCode {
    let data = ShData { repository: vec![Repository { service: service.into(), sequence, data }], ..ShData::default() };
    update(bed, "as.home1.net", data.write().into_bytes())
}

fn update(bed: &Bed, host: &str, user_data: Vec<u8>) -> ResultCode {
    let pur = ProfileUpdateRequest { user: User::Public(IMPU.into()), data: vec![Data::RepositoryData], user_data };
    bed.ask(host, PUR, |to| pur.write(to), |answer| answer.result().unwrap())
}

fn subscription(data: &[Data], services: &[&str]) -> SubscribeRequest {
    SubscribeRequest {
        user: User::Public(IMPU.into()),
        data: data.to_vec(),
        services: services.iter().map(|service| (*service).to_owned()).collect(),
        sets: Vec::new(),
        server: None,
        subscribes: true,
        wants_data: false,
        once: false,
        until: None,
    }
}

fn snr(bed: &Bed, host: &str, snr: &SubscribeRequest) -> Result<SubscribeAnswer, ResultCode> {
    bed.ask(
        host,
        SNR,
        |to| snr.write(to),
        |answer| match answer.result().unwrap() {
            base::SUCCESS => Ok(SubscribeAnswer::read(answer).unwrap()),
            code => Err(code),
        },
    )
}

fn told(bed: &Bed) -> (String, ShData) {
    read(bed.sent())
}

fn read((to, octets): (Destination, Vec<u8>)) -> (String, ShData) {
    let pnr = PushNotificationRequest::read(&Message::parse(&octets).unwrap()).unwrap();
    assert_eq!((to.application, pnr.user), (application::SH, User::Public(IMPU.into())));
    (to.host.unwrap().to_string(), ShData::parse(&pnr.data).unwrap())
}

fn register(bed: &Bed, kind: Assignment) {
    let (impi, impu) = (Impi::from(IMPI), Impu::from(IMPU));
    bed.hss.server_assignment(&impi, &impu, kind, bed.clock.now()).wait().unwrap();
}

fn watchers(bed: &Bed) -> Vec<Watcher> {
    bed.hss.entry(Some(IMPI), None, bed.clock.now()).wait().unwrap().watchers().to_vec()
}

#[test]
fn what_is_known_of_a_user_is_told() {
    let bed = Bed::new();
    let all = [
        Data::PublicIdentity,
        Data::UserState,
        Data::ScscfName,
        Data::ChargingInformation,
        Data::Msisdn,
        Data::PrivateIdentity,
    ];
    let data = udr(&bed, &of(&all)).unwrap().unwrap();
    let identities = data.identities.unwrap();
    assert_eq!(identities.impus, [Impu::from(IMPU), Impu::from("tel:+12015550123")]);
    assert_eq!(identities.msisdns, ["12015550123"]);
    assert_eq!((data.state, data.scscf, data.impis), (Some(ImsUserState::NotRegistered), None, vec![Impi::from(IMPI)]));
    assert_eq!(data.charging.unwrap().primary_event.as_deref(), Some("aaa://ecf.home1.net"));
    register(&bed, Assignment::Registration);
    let by_number =
        UserDataRequest { user: User::Msisdn("12015550123".into()), ..of(&[Data::UserState, Data::ScscfName]) };
    let data = udr(&bed, &by_number).unwrap().unwrap();
    assert_eq!((data.state, data.scscf.as_deref()), (Some(ImsUserState::Registered), Some("sip:scscf.home1.net")));
    let sets =
        UserDataRequest { sets: vec![IdentitySet::Registered, IdentitySet::Implicit], ..of(&[Data::PublicIdentity]) };
    let data = udr(&bed, &sets).unwrap().unwrap();
    assert_eq!(
        (data.registered.unwrap().impus.len(), data.implicit.unwrap().impus.len(), data.identities),
        (2, 2, None)
    );
    let criteria = UserDataRequest { server: Some("sip:bsm.home1.net".into()), ..of(&[Data::InitialFilterCriteria]) };
    assert_eq!(udr(&bed, &criteria).unwrap().unwrap().criteria.unwrap().len(), 1);
    let others = UserDataRequest { server: Some("sip:as.home1.net".into()), ..criteria };
    assert_eq!(udr(&bed, &others), Ok(None), "of others nothing is told");
}

#[test]
fn what_cannot_be_told_is_refused() {
    let bed = Bed::new();
    assert_eq!(udr(&bed, &of(&[Data::UserState, Data::Other(14)])), Err(tgpp::USER_DATA_CANNOT_BE_READ));
    assert_eq!(udr(&bed, &of(&[Data::UserState, Data::Other(99)])), Err(tgpp::USER_DATA_NOT_RECOGNIZED));
    assert_eq!(udr(&bed, &of(&[Data::InitialFilterCriteria])), Err(base::MISSING_AVP));
    assert_eq!(udr(&bed, &of(&[Data::RepositoryData])), Err(base::MISSING_AVP), "of which service");
    assert_eq!(snr(&bed, "as", &subscription(&[Data::RepositoryData], &[])), Err(base::MISSING_AVP));
    assert_eq!(snr(&bed, "as", &subscription(&[Data::Other(-1)], &[])), Err(tgpp::USER_DATA_NOT_RECOGNIZED));
    let stranger = UserDataRequest { user: User::Public("sip:x@home1.net".into()), ..of(&[Data::UserState]) };
    assert_eq!(udr(&bed, &stranger), Err(tgpp::USER_UNKNOWN));
    let mismatch = UserDataRequest { impi: Some("v@home1.net".into()), ..of(&[Data::UserState]) };
    assert_eq!(udr(&bed, &mismatch), Err(tgpp::IDENTITIES_DONT_MATCH));
    let bed = Bed::with(Settings {
        clients: Clients { application_servers: vec!["other.home1.net".into()], ..Clients::default() },
        ..settings()
    });
    assert_eq!(udr(&bed, &of(&[Data::UserState])), Err(tgpp::USER_DATA_CANNOT_BE_READ));
    assert_eq!(pur(&bed, "s", 0, None), tgpp::USER_DATA_CANNOT_BE_MODIFIED);
    assert_eq!(snr(&bed, "as", &subscription(&[Data::UserState], &[])), Err(tgpp::USER_DATA_CANNOT_BE_NOTIFIED));
}

#[test]
fn repository_data_are_changed_in_order_only() {
    let bed = Bed::new();
    let data = |text: &str| Some(service_data(text));
    assert_eq!(repository(&bed, "s"), None);
    assert_eq!(pur(&bed, "s", 1, data("<a/>")), tgpp::TRANSPARENT_DATA_OUT_OF_SYNC);
    assert_eq!(pur(&bed, "s", 0, None), tgpp::OPERATION_NOT_ALLOWED, "nothing is there");
    assert_eq!(pur(&bed, SERVICE, 0, None), tgpp::OPERATION_NOT_ALLOWED);
    assert_eq!(pur(&bed, "s", 0, data("<a/>")), base::SUCCESS);
    assert_eq!(pur(&bed, "s", 0, data("<b/>")), tgpp::TRANSPARENT_DATA_OUT_OF_SYNC);
    assert_eq!(pur(&bed, "s", 1, data("<b x=\"1\">é</b>")), base::SUCCESS);
    let held = repository(&bed, "s").unwrap();
    assert_eq!((held.sequence, held.data), (1, data("<b x=\"1\">é</b>")));
    assert_eq!(repository(&bed, "t"), None, "each service has its own");
    assert_eq!(pur(&bed, "s", 2, None), base::SUCCESS);
    assert_eq!((repository(&bed, "s"), pur(&bed, "s", 0, data(""))), (None, base::SUCCESS));
    assert_eq!(pur(&bed, "", 0, data("")), tgpp::USER_DATA_NOT_RECOGNIZED);
    assert_eq!(update(&bed, "as", b"<Sh-Data/>".to_vec()), tgpp::USER_DATA_NOT_RECOGNIZED);
    assert_eq!(update(&bed, "as", b"<!DOCTYPE a><Sh-Data/>".to_vec()), tgpp::USER_DATA_NOT_RECOGNIZED);
    assert_eq!(pur(&bed, "large", 0, data(&"x".repeat(64 * 1024))), tgpp::TOO_MUCH_DATA);
    for number in 1..32 {
        assert_eq!(pur(&bed, &format!("s{number}"), 0, data("")), base::SUCCESS);
    }
    assert_eq!(pur(&bed, "one more", 0, data("")), tgpp::TOO_MUCH_DATA);
}

#[test]
fn the_broadcast_registration_is_repository_data() {
    let bed = Bed::new();
    let state = |state, btid: &str| BroadcastState {
        state,
        server: "bsm".into(),
        naf_fqdn: "bsm.home1.net".into(),
        btid: Some(btid.into()),
    };
    let registered = state(RegState::Registered, "a@bsf");
    assert_eq!(repository(&bed, SERVICE), None);
    assert_eq!(pur(&bed, SERVICE, 0, Some(service_data("<x/>"))), tgpp::USER_DATA_NOT_RECOGNIZED);
    assert_eq!(pur(&bed, SERVICE, 0, Some(repository::write(&registered))), base::SUCCESS);
    let held = bed.hss.registration(&Impi::from(IMPI)).unwrap().broadcast.unwrap();
    assert_eq!((held.state, held.state().btid.as_deref(), held.sequence), (RegState::Registered, Some("a@bsf"), 0));
    // This node's own broadcast server changes it too.
    let changed = state(RegState::Pending, "b@bsf");
    bed.hss.broadcast_update(&Impu::from(IMPU), changed.clone(), bed.clock.now()).wait().unwrap();
    let held = repository(&bed, SERVICE).unwrap();
    assert_eq!((held.sequence, repository::read(&held.data.unwrap())), (1, Some(changed)));
    assert_eq!(pur(&bed, SERVICE, 2, None), base::SUCCESS);
    assert_eq!(bed.hss.registration(&Impi::from(IMPI)).unwrap().broadcast, None);
}

#[test]
fn who_subscribes_is_told_of_changes_until_he_ends() {
    let bed = Bed::new();
    pur(&bed, "s", 0, Some(service_data("<a/>")));
    let absent = snr(&bed, "as1", &subscription(&[Data::RepositoryData], &["t"]));
    assert_eq!(absent, Err(tgpp::SUBS_DATA_ABSENT));
    let both = SubscribeRequest { wants_data: true, ..subscription(&[Data::RepositoryData, Data::UserState], &["s"]) };
    let data = snr(&bed, "as1", &both).unwrap().data.unwrap();
    let data = ShData::parse(&data).unwrap();
    assert_eq!((data.repository.len(), data.state), (1, Some(ImsUserState::NotRegistered)));
    assert!(snr(&bed, "as2", &subscription(&[Data::ScscfName], &[])).is_ok());
    register(&bed, Assignment::Registration);
    let mut changes = [told(&bed), told(&bed)];
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        (&*changes[0].0, changes[0].1.state, &changes[0].1.scscf),
        ("as1", Some(ImsUserState::Registered), &None)
    );
    assert_eq!((&*changes[1].0, changes[1].1.scscf.as_deref()), ("as2", Some("sip:scscf.home1.net")));
    pur(&bed, "s", 1, None);
    let (host, data) = told(&bed);
    assert_eq!((&*host, data.repository[0].service.as_str(), &data.repository[0].data), ("as1", "s", &None));
    let end = SubscribeRequest { subscribes: false, ..both.clone() };
    assert!(snr(&bed, "as1", &end).is_ok());
    assert_eq!(snr(&bed, "as1", &end), Err(tgpp::NO_SUBSCRIPTION_TO_DATA));
    register(&bed, Assignment::UserDeregistration);
    let (host, data) = told(&bed);
    assert_eq!((&*host, data.scscf.as_deref()), ("as2", Some("")));
    assert!(bed.nothing_sent());
}

#[test]
fn subscriptions_end_in_time_or_after_one_notification_and_are_bounded() {
    let bed = Bed::new();
    let now = bed.clock.now().unix;
    let over = SubscribeRequest { until: Some(now - Duration::from_secs(10)), ..subscription(&[Data::UserState], &[]) };
    assert!(snr(&bed, "as0", &over).is_ok());
    let once = SubscribeRequest { once: true, ..subscription(&[Data::UserState], &[]) };
    assert!(snr(&bed, "as1", &once).is_ok());
    assert_eq!(watchers(&bed).len(), 1, "what is over makes place");
    register(&bed, Assignment::Registration);
    assert_eq!(told(&bed).0, "as1");
    while !watchers(&bed).is_empty() {
        std::thread::yield_now();
    }
    register(&bed, Assignment::UserDeregistration);
    let until = Some(Duration::from_secs(now.as_secs() + 60));
    let granted = snr(&bed, "as2", &SubscribeRequest { until, ..subscription(&[Data::UserState], &[]) }).unwrap();
    assert_eq!(granted.until, until);
    assert!(snr(&bed, "as2", &subscription(&[Data::ScscfName], &[])).is_ok());
    assert_eq!(watchers(&bed).len(), 1, "one of a server is one, for all that it asked for");
    assert_eq!(watchers(&bed)[0].data, [12, 11]);
    for number in 3..18 {
        assert!(snr(&bed, &format!("as{number}"), &subscription(&[Data::UserState], &[])).is_ok());
    }
    assert_eq!(snr(&bed, "as18", &subscription(&[Data::UserState], &[])), Err(base::TOO_BUSY));
    let unable = snr(&bed, "as2", &subscription(&[Data::Msisdn], &[]));
    assert_eq!(unable, Err(tgpp::USER_DATA_CANNOT_BE_NOTIFIED));
}

#[test]
fn who_is_away_is_told_later_what_is_so_then() {
    let bed = Bed::new();
    assert!(snr(&bed, "as1", &subscription(&[Data::UserState], &[])).is_ok());
    bed.away.store(true, Ordering::SeqCst);
    register(&bed, Assignment::Registration);
    assert_eq!(told(&bed).1.state, Some(ImsUserState::Registered));
    assert_eq!(read(bed.sent_again()).1.state, Some(ImsUserState::Registered), "and it has failed again");
    // A change overtakes what waits, and is told when somebody is there.
    register(&bed, Assignment::UserDeregistration);
    assert_eq!(told(&bed).1.state, Some(ImsUserState::NotRegistered));
    bed.away.store(false, Ordering::SeqCst);
    assert_eq!(read(bed.sent_again()).1.state, Some(ImsUserState::NotRegistered));
    // Who has ended his subscription meanwhile is left alone.
    bed.away.store(true, Ordering::SeqCst);
    register(&bed, Assignment::Registration);
    told(&bed);
    let end = SubscribeRequest { subscribes: false, ..subscription(&[Data::UserState], &[]) };
    assert!(snr(&bed, "as1", &end).is_ok());
    assert!(snr(&bed, "as2", &subscription(&[Data::UserState], &[])).is_ok());
    register(&bed, Assignment::UserDeregistration);
    assert_eq!(told(&bed).0, "as2");
    assert_eq!(read(bed.sent_again()).0, "as2");
}

#[test]
fn who_was_away_is_told_though_others_change_all_the_time() {
    let bed = Bed::new();
    assert!(snr(&bed, "as1", &subscription(&[Data::UserState], &[])).is_ok());
    bed.away.store(true, Ordering::SeqCst);
    register(&bed, Assignment::Registration);
    told(&bed);
    bed.away.store(false, Ordering::SeqCst);
    let (impi, impu) = (Impi::from("v@home1.net"), Impu::from("sip:v@home1.net"));
    let again =
        [Assignment::Registration, Assignment::UserDeregistration].into_iter().cycle().take(100).find_map(|kind| {
            bed.hss.server_assignment(&impi, &impu, kind, bed.clock.now()).wait().unwrap();
            bed.hands.advance(Duration::from_secs(1));
            bed.sent_within(Duration::from_millis(50))
        });
    assert_eq!(read(again.unwrap()).0, "as1");
}
