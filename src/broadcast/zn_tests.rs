use super::*;
use crate::broadcast::ext::{Ext, KeyWay, Mode};
use crate::broadcast::server::Retrieval;
use crate::broadcast::testbed::{Bed, IMS, ext_of};
use crate::hss::RegState;
use std::sync::atomic::Ordering;

fn bed(retrieval: Retrieval) -> Bed {
    Bed::with(|config| config.retrieval = retrieval, |_| {})
}

/// A third-party REGISTER of figure 8 or 4.
fn register(bed: &Bed, mode: Mode) -> (u16, Ext) {
    let (key, btid) = (Some(KeyWay::Pull), Some(bed.boot.btid.clone()));
    let ext = Ext { mode: Some(mode), key, btid, ..Ext::default() };
    let answer = bed.ask(&bed.register(ext, 600, None), IMS);
    (answer.status(), ext_of(&answer))
}

fn messages(bed: &Bed) -> usize {
    bed.world.ladder().iter().filter(|line| line.starts_with("MESSAGE 5060")).count()
}

#[test]
fn figures_8_and_4_with_the_key_over_zn() {
    for mode in [Mode::Simultaneous, Mode::Subsequent] {
        let bed = bed(Retrieval::Zn);
        let (status, ext) = register(&bed, mode);
        let meanwhile = if mode == Mode::Simultaneous { RegState::Registered } else { RegState::Pending };
        assert_eq!((status, ext.state), (200, Some(meanwhile)));
        bed.world.settle();
        assert_eq!(bed.registration_state(), RegState::Registered);
        assert!(bed.has_smk());
        assert_eq!(bed.zn.sent.load(Ordering::Relaxed), 1);
        let record = bed.state.record(&bed.impu).unwrap();
        assert_eq!((record.subscription, record.smk.unwrap().expires), (BroadcastSubscription::All, bed.boot.expires));
        // In SIP there is only the word of the subsequent mode that the user is registered.
        assert_eq!(messages(&bed), usize::from(mode == Mode::Subsequent));
    }
}

#[test]
fn the_ims_may_say_which_way() {
    for (retrieval, key, over_zn) in [
        (Retrieval::Sip, KeyWay::PullOverZn, 1),
        (Retrieval::Zn, KeyWay::PullInSip, 0),
        (Retrieval::Zn, KeyWay::Pull, 1),
    ] {
        let bed = bed(retrieval);
        let btid = Some(bed.boot.btid.clone());
        let ext = Ext { mode: Some(Mode::Simultaneous), key: Some(key), btid, ..Ext::default() };
        assert_eq!(bed.ask(&bed.register(ext, 600, None), IMS).status(), 200);
        assert!(bed.has_smk());
        assert_eq!(bed.zn.sent.load(Ordering::Relaxed), over_zn);
    }
}

#[test]
fn refusals_have_the_causes_of_sip() {
    let cause = |bed: &Bed| {
        let (status, ext) = register(bed, Mode::Simultaneous);
        assert_eq!((status, ext.state), (403, Some(RegState::Failed)));
        assert_eq!(messages(bed), 0, "what is refused is not asked for in SIP");
        ext.cause.unwrap()
    };
    for retrieval in [Retrieval::Zn, Retrieval::ZnElseSip] {
        let bed = bed(retrieval);
        *bed.hss.subscription.lock().unwrap() = BroadcastSubscription::None;
        assert_eq!(cause(&bed), "naf-not-allowed", "the setting that this NAF requires is missing");
        bed.world.advance(3601);
        assert_eq!(cause(&bed), "unknown-btid");
    }
}

#[test]
fn no_bsf_on_zn() {
    for (why, status, cause) in [
        (Failure::NoPeer, 504, "bsf-unreachable"),
        (Failure::Lost, 504, "bsf-unreachable"),
        (Failure::Timeout, 504, "no-key-in-time"),
        (Failure::Busy, 503, "too-many-retrievals"),
    ] {
        let bed = bed(Retrieval::Zn);
        *bed.zn.fails.lock().unwrap() = Some(why);
        let began = bed.world.now().mono;
        let (answered, ext) = register(&bed, Mode::Simultaneous);
        assert_eq!((answered, ext.cause.as_deref()), (status, Some(cause)));
        assert!(bed.world.now().mono - began <= bed.bsm.config.retrieval_within);
        assert_eq!(messages(&bed), 0);

        let bed = self::bed(Retrieval::ZnElseSip);
        *bed.zn.fails.lock().unwrap() = Some(why);
        assert_eq!(register(&bed, Mode::Simultaneous).0, 200, "{why}: the key comes in SIP");
        assert!(bed.has_smk());
        assert_eq!(messages(&bed), 1);
    }
}

#[test]
fn many_who_wait_for_one_key_ask_once() {
    let bed = bed(Retrieval::Zn);
    let fetch = || async { bed.bsm.fetch_key(&bed.boot.btid, &bed.naf, None).await.map(|document| document.key.0) };
    let (mut one, mut two) = (Box::pin(fetch()), Box::pin(fetch()));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    *bed.zn.fails.lock().unwrap() = Some(Failure::Timeout);
    assert!(one.as_mut().poll(&mut cx).is_pending() && two.as_mut().poll(&mut cx).is_pending());
    assert_eq!(bed.zn.sent.load(Ordering::Relaxed), 1);
    assert_eq!(bed.world.run(one), Err(RetrieveError::Timeout));
    assert_eq!(bed.world.run(two), Err(RetrieveError::Timeout));
    *bed.zn.fails.lock().unwrap() = None;
    assert_eq!(bed.world.run(fetch()), Ok(bed.boot.ks_naf(&bed.naf).0));
}

fn info() -> (InfoRequest, InfoAnswer) {
    let bed = Bed::new();
    let asked = InfoRequest {
        btid: bed.boot.btid.clone(),
        naf: bed.naf.clone(),
        services: Vec::new(),
        gba_u_aware: false,
        without_identity: false,
    };
    let me_key = bed.boot.ks_naf(&bed.naf);
    let expires = Some(u64::MAX);
    (asked, InfoAnswer { user: None, me_key, uicc_key: None, expires, created: None, settings: None })
}

#[test]
fn what_a_foreign_bsf_may_answer() {
    let now = Bed::new().world.now();
    let read = |change: &dyn Fn(&mut InfoAnswer)| {
        let (asked, mut info) = info();
        change(&mut info);
        document(asked, info, now)
    };
    let plain = read(&|_| {}).unwrap();
    assert_eq!((plain.services, plain.impus.len()), (None, 0), "nothing is told of the user");
    let uids = vec!["u@home1.net".into(), "sip:U@Home1.NET:5060".into(), "tel:+1-2".into()];
    let uss = Uss { id: "4".into(), kind: 4, naf_group: None, uids, flags: vec![1], services: None };
    let with = |settings: Vec<Uss>| Some(Guss { settings, ..Guss::default() });
    let told = read(&|info| info.settings = with(vec![uss.clone()])).unwrap();
    assert_eq!(told.services, Some(BroadcastSubscription::All));
    assert_eq!(told.impus.len(), 2, "the private identity is none of them: {:?}", told.impus);
    let other = Uss { id: "2".into(), ..uss.clone() };
    let refused = |cause: &str| Err(RetrieveError::Refused(cause.into()));
    let cause = |change: &dyn Fn(&mut InfoAnswer)| read(change).map(drop);
    assert_eq!(cause(&|info| info.settings = with(vec![other.clone()])), refused("not-subscribed"));
    assert_eq!(cause(&|info| info.expires = None), refused("no-expiry"));
    assert_eq!(cause(&|info| info.expires = Some(1)), refused("expired"));
}

#[test]
fn a_bsf_that_cannot_answer_now_has_refused_nothing() {
    for code in [base::TOO_BUSY, base::UNABLE_TO_COMPLY, ResultCode::Base(4002)] {
        assert_eq!(refusal(code), RetrieveError::Unreachable);
    }
    assert_eq!(refusal(base::AUTHORIZATION_REJECTED), RetrieveError::Refused("bsf-said-5003".into()));
}
