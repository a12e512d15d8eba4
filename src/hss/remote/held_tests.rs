//! What an HSS begins while it is asked about the same user, and answers that belong to another question.

use super::tests::{NOW, PROFILE, Registered, Script, WITHOUT_BROADCAST, alice, hss, origin, push, settings};
use super::*;
use crate::diameter::cx::{Ppr, Reason, Rtr, Saa};
use crate::diameter::dictionary::USER_DATA_ALREADY_AVAILABLE;
use crate::diameter::exchange::Failure;
use crate::diameter::fault::{base, tgpp};
use crate::diameter::{Message, ResultCode, answer_to};

struct Bed {
    script: Arc<Script>,
    hss: Arc<RemoteHss>,
    pushed: Arc<Pushed>,
}

impl Bed {
    fn new() -> Self {
        let (script, hss) = hss(settings());
        let pushed = Arc::new(Pushed::new(hss.clone(), Registered(&[])));
        Bed { script, hss, pushed }
    }

    /// The HSS answers SAR with this document or none, and first does something else that is answered so.
    fn does_first(&self, first: fn(&Arc<Pushed>) -> ResultCode, expected: ResultCode, document: Option<&'static str>) {
        let pushed = self.pushed.clone();
        self.script.next(move |sar| {
            assert_eq!(first(&pushed), expected);
            let mut answer = answer_to(sar, base::SUCCESS, &origin("hss"));
            Saa { user_data: document.map(str::as_bytes), ..Saa::default() }.write(&mut answer);
            Ok(answer)
        });
    }

    fn assign(&self, kind: Assignment) -> Result<BroadcastSubscription, HssError> {
        let (impi, impu) = alice();
        self.hss.server_assignment(&impi, &impu, kind, NOW).wait().map(|profile| profile.broadcast)
    }

    fn held(&self) -> Result<BroadcastSubscription, HssError> {
        self.hss.broadcast_subscription(&alice().0).wait()
    }

    /// USER_DATA_ALREADY_AVAILABLE of what was asked.
    fn available(&self) -> Vec<i32> {
        let of = |(_, octets): &(u32, Vec<u8>)| {
            let avps = Message::parse(octets).unwrap().avps();
            avps.enumerated(&USER_DATA_ALREADY_AVAILABLE).unwrap().unwrap()
        };
        self.script.asked().iter().map(of).collect()
    }
}

fn changes(pushed: &Arc<Pushed>) -> ResultCode {
    let ppr =
        Ppr { impi: "alice@home1.net", user_data: Some(WITHOUT_BROADCAST.as_bytes()), charging: None, item: None };
    push(pushed, command::PUSH_PROFILE, |writer| ppr.write(writer)).unwrap().0
}

fn ends(pushed: &Arc<Pushed>) -> ResultCode {
    let rtr = Rtr {
        impi: "alice@home1.net",
        associated: vec![],
        impus: vec![],
        reason: Reason::PermanentTermination,
        info: None,
    };
    push(pushed, command::REGISTRATION_TERMINATION, |writer| rtr.write(writer)).unwrap().0
}

#[test]
fn a_profile_that_is_pushed_while_the_hss_is_asked_counts() {
    let (all, none) = (BroadcastSubscription::All, BroadcastSubscription::None);
    let bed = Bed::new();
    assert_eq!(changes(&bed.pushed), tgpp::USER_UNKNOWN);
    bed.does_first(changes, base::SUCCESS, Some(PROFILE));
    assert_eq!((bed.assign(Assignment::Registration), bed.held()), (Ok(none.clone()), Ok(none.clone())));
    assert_eq!(bed.pushed.take(), [Push::Profile { impi: alice().0 }]);
    // A refresh whose answer has no profile, and one whose answer has.
    bed.script.gives_profile(PROFILE);
    assert_eq!(bed.assign(Assignment::ReRegistration), Ok(all));
    bed.does_first(changes, base::SUCCESS, None);
    assert_eq!((bed.assign(Assignment::ReRegistration), bed.held()), (Ok(none.clone()), Ok(none.clone())));
    bed.does_first(changes, base::SUCCESS, Some(PROFILE));
    assert_eq!((bed.assign(Assignment::ReRegistration), bed.held()), (Ok(none.clone()), Ok(none)));
}

#[test]
fn what_is_pushed_after_the_answer_was_read_counts_too() {
    let bed = Bed::new();
    let (impi, impu) = alice();
    let old = || Profile::new([impu.clone()], BroadcastSubscription::All);
    for ended in [false, true] {
        let asking = bed.hss.profiles.ask(&impi, true);
        let latest = asking.latest(Some(old())).unwrap();
        match ended {
            false => bed.hss.profiles.change(&impi, Profile::new([impu.clone()], BroadcastSubscription::None)),
            true => bed.hss.profiles.end(&impi),
        }
        asking.settle(&latest);
        let held = bed.hss.profiles.get(impi.as_str()).map(|held| held.broadcast.clone());
        assert_eq!(held, (!ended).then_some(BroadcastSubscription::None));
    }
}

#[test]
fn a_registration_that_is_ended_while_the_hss_is_asked_leaves_no_profile() {
    let bed = Bed::new();
    assert_eq!(ends(&bed.pushed), tgpp::USER_UNKNOWN);
    bed.does_first(ends, base::SUCCESS, Some(PROFILE));
    // It ends once the REGISTER has been answered.
    assert_eq!(
        (bed.assign(Assignment::Registration), bed.held()),
        (Ok(BroadcastSubscription::All), Err(HssError::NotTold))
    );
    assert_eq!(bed.pushed.take().len(), 1);
    bed.script.gives_profile(PROFILE);
    bed.assign(Assignment::Registration).unwrap();
    bed.does_first(ends, base::SUCCESS, None);
    assert_eq!(
        (bed.assign(Assignment::ReRegistration), bed.held()),
        (Ok(BroadcastSubscription::All), Err(HssError::NotTold))
    );
    bed.script.gives_profile(PROFILE);
    bed.assign(Assignment::Registration).unwrap();
    assert_eq!(bed.available(), [0, 0, 1, 0]);
}

#[test]
fn a_profile_pushed_for_a_registration_that_is_refused_is_not_kept() {
    let bed = Bed::new();
    let pushed = bed.pushed.clone();
    bed.script.next(move |sar| {
        assert_eq!(changes(&pushed), base::SUCCESS);
        Ok(answer_to(sar, tgpp::USER_UNKNOWN, &origin("hss")))
    });
    assert_eq!(bed.assign(Assignment::Registration), Err(HssError::UserUnknown));
    assert_eq!((bed.held(), changes(&bed.pushed)), (Err(HssError::NotTold), tgpp::USER_UNKNOWN));
    // One who stays registered, because the HSS is away again, has it.
    let pushed = bed.pushed.clone();
    bed.script.next(move |_| {
        assert_eq!(changes(&pushed), base::SUCCESS);
        Err(Failure::Timeout)
    });
    assert!(matches!(bed.assign(Assignment::ReRegistration), Err(HssError::Unavailable(_))));
    assert_eq!(bed.held(), Ok(BroadcastSubscription::None));
}

#[test]
fn an_answer_of_another_session_is_not_taken() {
    let bed = Bed::new();
    bed.script.next(|sar| {
        let other =
            crate::diameter::request(CX, sar.header().command, "scscf.home1.net;7;7", &origin("scscf.home1.net"));
        let octets = other.finish().unwrap();
        let mut answer = answer_to(&Message::parse(&octets).unwrap(), base::SUCCESS, &origin("hss"));
        Saa { user_data: Some(PROFILE.as_bytes()), ..Saa::default() }.write(&mut answer);
        Ok(answer)
    });
    assert!(matches!(bed.assign(Assignment::Registration), Err(HssError::Garbled(_))));
}

#[test]
fn what_comes_is_told_at_once() {
    let bed = Bed::new();
    let told = Arc::new(AtomicU64::new(0));
    let counts = told.clone();
    bed.pushed.tell(move || {
        counts.fetch_add(1, Ordering::Relaxed);
    });
    bed.script.gives_profile(PROFILE);
    bed.assign(Assignment::Registration).unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 0);
    assert_eq!(ends(&bed.pushed), base::SUCCESS);
    assert_eq!((told.load(Ordering::Relaxed), bed.pushed.take().len()), (1, 1));
}
