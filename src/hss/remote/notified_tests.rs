//! Sh subscriptions of this node and what an HSS tells upon them, against an HSS that answers by script.

use super::tests::{NOW, Registered, Script, alice, broadcast, hss, push, settings};
use super::watch::LASTS;
use super::*;
use crate::diameter::dictionary::command;
use crate::diameter::exchange::{Failure, Serve};
use crate::diameter::fault::{ResultCode, base, tgpp};
use crate::diameter::sh::data::{ImsUserState, Repository, ShData};
use crate::diameter::sh::{
    DataReference, PushNotificationRequest, SubscribeAnswer, SubscribeRequest, User, UserDataAnswer,
};
use crate::diameter::{Message, dictionary::application};
use crate::hss::repository::{self, SERVICE};

struct Bed {
    script: Arc<Script>,
    hss: Arc<RemoteHss>,
    pushed: Arc<Pushed>,
}

impl Bed {
    fn new() -> Self {
        let (script, hss) = hss(Settings { sh: true, ..settings() });
        let pushed = Arc::new(Pushed::new(hss.clone(), Registered(&["bob@home1.net"])));
        Bed { script, hss, pushed }
    }

    /// PUR.
    fn tell(&self, state: RegState) {
        self.script.says(base::SUCCESS, |_| ());
        self.hss.broadcast_update(&alice().1, broadcast(state), NOW).wait().unwrap();
        self.script.asked();
    }

    /// SNRs that are due then, each answered with this.
    fn subscribe(&self, after: Duration, code: ResultCode, answer: SubscribeAnswer) -> Vec<SubscribeRequest> {
        let jobs = self.pushed.due(NOW.after(after));
        for job in jobs {
            let answer = answer.clone();
            self.script.says(code, move |writer| answer.write(writer));
            Answer::Later(job).wait();
        }
        let read = |(_, octets): &(u32, Vec<u8>)| SubscribeRequest::read(&Message::parse(octets).unwrap()).unwrap();
        self.script.asked().iter().map(read).collect()
    }

    fn notify(&self, told: ShData) -> ResultCode {
        self.notify_octets(&alice().1, told.write().as_bytes())
    }

    fn notify_octets(&self, impu: &Impu, data: &[u8]) -> ResultCode {
        let pnr = PushNotificationRequest { user: User::Public(impu.clone()), data: data.to_vec(), impi: None };
        push(&self.pushed, command::PUSH_NOTIFICATION, |writer| pnr.write(writer)).unwrap().0
    }
}

fn written(sequence: u16, state: Option<RegState>) -> ShData {
    let data = state.map(|state| repository::write(&broadcast(state)));
    ShData { repository: vec![Repository { service: SERVICE.into(), sequence, data }], ..ShData::default() }
}

fn user_state(state: ImsUserState) -> ShData {
    ShData { state: Some(state), ..ShData::default() }
}

const NOTHING: SubscribeAnswer = SubscribeAnswer { data: None, until: None };

#[test]
fn changes_of_who_is_registered_for_broadcast_are_subscribed_to_for_as_long() {
    let bed = Bed::new();
    assert_eq!(bed.pushed.applications(), [application::CX, application::SH]);
    assert!(bed.subscribe(Duration::ZERO, base::SUCCESS, NOTHING).is_empty());
    bed.tell(RegState::Registered);
    // The HSS gives an hour, so half an hour later it is asked again.
    let hour = SubscribeAnswer { data: None, until: Some(NOW.unix + Duration::from_secs(3600)) };
    let asked = bed.subscribe(Duration::ZERO, base::SUCCESS, hour.clone());
    let expected = SubscribeRequest {
        user: User::Public(alice().1),
        data: vec![DataReference::RepositoryData, DataReference::UserState],
        services: vec![SERVICE.to_owned()],
        sets: vec![],
        server: None,
        subscribes: true,
        wants_data: true,
        once: false,
        until: Some(NOW.unix + LASTS),
    };
    assert_eq!(asked, std::slice::from_ref(&expected));
    bed.tell(RegState::Registered);
    assert!(bed.subscribe(Duration::from_secs(1799), base::SUCCESS, hour).is_empty());
    assert_eq!(bed.subscribe(Duration::from_secs(1800), base::SUCCESS, NOTHING).len(), 1);
    bed.tell(RegState::NotRegistered);
    let ends = SubscribeRequest { subscribes: false, wants_data: false, until: None, ..expected };
    assert_eq!(bed.subscribe(Duration::ZERO, base::SUCCESS, NOTHING), [ends]);
}

#[test]
fn an_hss_that_takes_no_subscription_is_not_asked_again_and_one_that_is_away_is() {
    let bed = Bed::new();
    bed.tell(RegState::Registered);
    assert_eq!(bed.subscribe(Duration::ZERO, tgpp::USER_DATA_CANNOT_BE_NOTIFIED, NOTHING).len(), 1);
    assert!(bed.subscribe(LASTS, base::SUCCESS, NOTHING).is_empty());
    bed.tell(RegState::Registered);
    let jobs = bed.pushed.due(NOW);
    assert_eq!(jobs.len(), 1);
    bed.script.fails(Failure::NoPeer);
    jobs.into_iter().for_each(|job| Answer::Later(job).wait());
    bed.script.asked();
    assert_eq!(bed.subscribe(Duration::from_secs(30), base::SUCCESS, NOTHING).len(), 1);
}

#[test]
fn a_broadcast_registration_that_somebody_else_ended_ends_here() {
    let bed = Bed::new();
    let (_, impu) = alice();
    let withdrawn = || vec![Push::Withdrawn { impu: impu.clone() }];
    assert_eq!(bed.notify(written(0, None)), tgpp::USER_UNKNOWN);
    bed.tell(RegState::Registered); // 0
    assert_eq!(bed.notify(written(0, Some(RegState::Registered))), base::SUCCESS);
    assert_eq!(bed.notify(written(1, Some(RegState::Registered))), base::SUCCESS);
    assert!(bed.pushed.take().is_empty(), "what this node wrote, and what changes nothing");
    assert_eq!(bed.notify(written(2, Some(RegState::NotRegistered))), base::SUCCESS);
    assert_eq!(bed.pushed.take(), withdrawn());
    // The number is known from what was told: the next change needs no question.
    bed.tell(RegState::NotRegistered); // 3
    bed.tell(RegState::Registered); // 4
    assert_eq!(bed.notify(written(3, Some(RegState::NotRegistered))), base::SUCCESS);
    assert!(bed.pushed.take().is_empty(), "told late of what this node wrote before");
    assert_eq!(bed.notify(written(5, None)), base::SUCCESS);
    assert_eq!(bed.pushed.take(), withdrawn());
    // What is changed before the subscription stands is in the answer to it.
    let data = written(7, Some(RegState::Failed)).write().into_bytes();
    bed.subscribe(Duration::ZERO, base::SUCCESS, SubscribeAnswer { data: Some(data), until: None });
    assert_eq!(bed.pushed.take(), withdrawn());
}

#[test]
fn a_user_who_is_no_longer_registered_is_asked_about_once_more() {
    let bed = Bed::new();
    let (_, impu) = alice();
    bed.tell(RegState::Registered);
    assert_eq!(bed.notify(user_state(ImsUserState::Registered)), base::SUCCESS);
    assert!(bed.pushed.take().is_empty());
    assert_eq!(bed.notify(user_state(ImsUserState::NotRegistered)), base::SUCCESS);
    assert_eq!(bed.pushed.take(), [Push::Unregistered { impu: impu.clone() }]);
    for (state, so) in [(ImsUserState::Registered, false), (ImsUserState::NotRegistered, true)] {
        bed.script.says(base::SUCCESS, move |writer| {
            UserDataAnswer { data: Some(user_state(state).write().into_bytes()) }.write(writer);
        });
        assert_eq!(Answer::later(bed.pushed.is_unregistered(&impu)).wait(), so);
    }
    bed.script.fails(Failure::Timeout);
    assert!(!Answer::later(bed.pushed.is_unregistered(&impu)).wait());
}

#[test]
fn what_an_hss_tells_and_cannot_be_read_is_refused() {
    let bed = Bed::new();
    let bob = Impu::from("sip:bob@home1.net");
    let notify = |data: &str| bed.notify_octets(&bob, data.as_bytes());
    assert_eq!(notify("<a/>"), tgpp::USER_DATA_NOT_RECOGNIZED);
    assert_eq!(notify(&" ".repeat(70_000)), tgpp::TOO_MUCH_DATA);
    assert_eq!(notify("<Sh-Data/>"), tgpp::NO_SUBSCRIPTION_TO_DATA);
    let unreadable = Repository { service: SERVICE.into(), sequence: 1, data: Some("<ServiceData/>".into()) };
    let told = ShData { repository: vec![unreadable], ..ShData::default() };
    assert_eq!(notify(&told.write()), tgpp::USER_DATA_NOT_RECOGNIZED);
    assert_eq!(notify(&user_state(ImsUserState::Registered).write()), base::SUCCESS, "a user of this node");
    assert_eq!(push(&bed.pushed, command::PUSH_NOTIFICATION, |_| ()).unwrap().0, base::MISSING_AVP);
    assert!(bed.pushed.take().is_empty());
}
