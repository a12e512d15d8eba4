//! The embedded HSS by behaviour: SQN over restarts and clock steps, resynchronisation, states, other processes.

use super::testbed::*;
use super::*;
use crate::aka::Sqn;
use crate::aka::resync::make_auts;
use crate::hss::embedded::field::Fields;
use crate::store::{Class, Key};
use crate::terminal::usim::{SqnArray, Usim};
use std::time::{Duration, Instant};

#[test]
fn an_imported_sqn_is_followed_and_the_card_accepts() {
    for sqn in ["000000000000", "00000000a0e3", "ff9bb4d0b607"] {
        let hss = EmbeddedHss::in_memory(at(0, 0)).unwrap();
        hss.add(subscriber("u", sqn)).unwrap();
        let card = Sqn::new(u64::from_str_radix(sqn, 16).unwrap()).unwrap();
        let mut usim = Usim::new(keys(), SqnArray::at(card));
        let mut last = card;
        for second in [0, 0, 1, 1, 5] {
            let vector = ask(&hss, None, at(second, second)).unwrap();
            let success = usim.authenticate(&vector.rand, &vector.autn).unwrap();
            assert_eq!(success.res.as_bytes(), vector.xres.as_bytes());
            assert!(sqn_of(&vector).seq() > last.seq());
            last = sqn_of(&vector);
        }
    }
}

#[test]
fn an_import_under_a_clock_that_runs_ahead_is_followed_all_the_same() {
    let bed = Bed::new(Nature::Durable);
    let open = |now| bed.open(now);
    let hss = open(at(0, 0));
    let imported = [subscriber("u", "0000000a0000")];
    assert!(bed.other().provision(&imported, at(0, 3600), false, &mut |_| {}).unwrap().is_empty());
    let first = sqn_of(&ask(&hss, None, at(1, 1)).unwrap());
    assert_eq!(first.seq(), (0xa0000 >> 5) + 1);
    kill(hss);
    let hss = open(at(0, 2));
    assert!(sqn_of(&ask(&hss, None, at(0, 2)).unwrap()) > first);
}

#[test]
fn sqn_never_goes_back_over_a_kill_or_a_clock_set_back() {
    let bed = Bed::new(Nature::Durable);
    let open = |now| bed.open(now);
    let hss = open(at(0, 0));
    hss.add(subscriber("u", "")).unwrap();
    let mut usim = Usim::new(keys(), SqnArray::fresh());
    let mut next = |hss: &EmbeddedHss, now| {
        let vector = ask(hss, None, now).unwrap();
        usim.authenticate(&vector.rand, &vector.autn).unwrap();
    };
    for second in [0, 0, 3, 9, 60, 61] {
        next(&hss, at(second, second));
    }
    // A burst runs ahead of the clock, and then the process dies.
    (0..40).for_each(|_| next(&hss, at(61, 61)));
    kill(hss);
    let hss = open(at(0, 61));
    next(&hss, at(0, 61));
    // The wall clock is a day behind after the next start, and steps while the node runs.
    kill(hss);
    let hss = open(Now { mono: Duration::ZERO, unix: at(0, 0).unix - Duration::from_secs(86_400) });
    next(&hss, at(1, 0));
    next(&hss, Now { mono: Duration::from_secs(2), unix: Duration::ZERO });
    next(&hss, at(3, 1_000_000));
    next(&hss, at(3, 0));
}

#[test]
fn auts_with_a_wrong_mac_or_a_foreign_rand_changes_nothing() {
    let hss = EmbeddedHss::in_memory(at(0, 0)).unwrap();
    hss.add(subscriber("u", "000000010000")).unwrap();
    let first = ask(&hss, None, at(0, 0)).unwrap();
    let mut auts = make_auts(&keys(), &first.rand, Sqn::new(0x20).unwrap());
    auts.0[13] ^= 1;
    assert_eq!(ask(&hss, Some((first.rand, auts)), at(0, 0)).unwrap_err(), HssError::ResyncRefused);
    let foreign = Rand([7; 16]);
    let auts = make_auts(&keys(), &foreign, Sqn::new(0x20).unwrap());
    assert_eq!(ask(&hss, Some((foreign, auts)), at(0, 0)).unwrap_err(), HssError::ResyncRefused);
    assert_eq!(sqn_of(&ask(&hss, None, at(0, 0)).unwrap()).seq(), sqn_of(&first).seq() + 1);
}

#[test]
fn resync_follows_the_card_and_outlives_a_kill() {
    let bed = Bed::new(Nature::Durable);
    let open = |now| bed.open(now);
    let hss = open(at(0, 0));
    hss.add(subscriber("u", "")).unwrap();
    let mut usim = Usim::new(keys(), SqnArray::at(Sqn::new(0x1234_5678_0000).unwrap()));
    let stale = ask(&hss, None, at(0, 0)).unwrap();
    let auts = make_auts(&keys(), &stale.rand, usim.sqn().highest());
    assert!(usim.authenticate(&stale.rand, &stale.autn).is_err());
    let vector = ask(&hss, Some((stale.rand, auts)), at(0, 0)).unwrap();
    usim.authenticate(&vector.rand, &vector.autn).unwrap();
    assert_eq!(ask(&hss, Some((stale.rand, auts)), at(0, 0)).unwrap_err(), HssError::ResyncRefused, "replayed");
    kill(hss);
    let hss = open(at(0, 1));
    let vector = ask(&hss, None, at(0, 1)).unwrap();
    usim.authenticate(&vector.rand, &vector.autn).unwrap();
}

#[test]
fn a_third_resync_within_a_minute_is_refused() {
    let hss = EmbeddedHss::in_memory(at(0, 0)).unwrap();
    hss.add(subscriber("u", "")).unwrap();
    let resync = |second| {
        let vector = ask(&hss, None, at(second, second)).unwrap();
        let auts = make_auts(&keys(), &vector.rand, Sqn::new(0x4_0000).unwrap());
        ask(&hss, Some((vector.rand, auts)), at(second, second)).map(|vector| sqn_of(&vector).seq())
    };
    assert_eq!(resync(0), Ok((0x4_0000 >> 5) + 1));
    assert!(resync(1).is_ok());
    assert!(matches!(resync(2), Err(HssError::NoVector(_))));
    assert!(resync(62).is_ok());
}

#[test]
fn a_flood_of_challenges_does_not_end_a_subscribers_service() {
    let bed = Bed::new(Nature::Durable);
    let mut last = 0;
    for run in 0..2 {
        let hss = bed.open(at(0, run));
        if run == 0 {
            hss.add(subscriber("u", "")).unwrap();
        }
        for _ in 0..500 {
            let seq = sqn_of(&ask(&hss, None, at(0, run)).unwrap()).seq();
            assert!(seq > last, "{seq} after {last}");
            last = seq;
        }
        hss.close();
    }
}

#[test]
fn no_vector_above_a_mark_that_cannot_be_written() {
    let hss = EmbeddedHss::in_memory(at(0, 0)).unwrap();
    hss.add(subscriber("u", "")).unwrap();
    hss.close();
    assert!(ask(&hss, None, at(9, 9)).is_ok());
    assert!(matches!(ask(&hss, None, at(11, 11)), Err(HssError::NoVector(_))));
}

#[test]
fn identities_and_schemes_are_answered_as_on_cx() {
    let hss = EmbeddedHss::in_memory(at(0, 0)).unwrap();
    hss.add(subscriber("u", "")).unwrap();
    let digest =
        Fields { impi: "d@h", impu: "sip:d@h tel:+1", algorithm: "digest", password: "pw", ..Fields::default() };
    hss.add(digest.subscriber().unwrap()).unwrap();
    assert!(matches!(hss.add(subscriber("u", "")), Err(EmbeddedError::Conflict(Conflict::Exists(_)))));
    let ask = |impi: &str, impu: &str, scheme| {
        block(hss.multimedia_auth(&impi.into(), &impu.into(), scheme, None, at(0, 0))).map(|_| ())
    };
    assert_eq!(ask("x@h", "sip:d@h", AuthScheme::Unknown), Err(HssError::UserUnknown));
    assert_eq!(ask("d@h", "sip:x@h", AuthScheme::Unknown), Err(HssError::UserUnknown));
    assert_eq!(ask("d@h", "sip:u@home1.net", AuthScheme::Unknown), Err(HssError::IdentitiesDontMatch));
    assert_eq!(ask("d@h", "tel:+1", AuthScheme::DigestAka), Err(HssError::SchemeNotSupported));
    assert_eq!(ask("d@h", "tel:+1", AuthScheme::SipDigest), Ok(()));
    assert_eq!(ask("u@home1.net", "sip:u@home1.net", AuthScheme::SipDigest), Err(HssError::SchemeNotSupported));
    assert_eq!(block(hss.private_identity(&"tel:+1".into())), Ok("d@h".into()));
}

#[test]
fn states_are_kept_and_a_failed_authentication_leaves_them() {
    let bed = Bed::new(Nature::Durable);
    let open = |now| bed.open(now);
    let hss = open(at(0, 0));
    hss.add(subscriber("u", "")).unwrap();
    let (impi, impu) = ids();
    let assign = |kind, second| block(hss.server_assignment(&impi, &impu, kind, at(second, second))).unwrap();
    assert_eq!(assign(Assignment::Registration, 1).impus.first(), Some(&impu));
    for kind in [Assignment::AuthenticationFailure, Assignment::AuthenticationTimeout, Assignment::ReRegistration] {
        assign(kind, 2);
    }
    let state = BroadcastState {
        state: RegState::Registered,
        server: "bsm1".into(),
        naf_fqdn: "bsm.home1.net".into(),
        btid: Some("x@bsf".into()),
    };
    block(hss.broadcast_update(&impu, state, at(3, 3))).unwrap();
    let live = hss.registration(&impi).unwrap();
    assert_eq!((live.ims, live.ims_since), (RegState::Registered, Date::new(at(0, 1).unix.as_secs())));
    hss.flush();
    assert_eq!(bed.other().find("SIP:u@HOME1.NET").unwrap().unwrap().registration, live);
    kill(hss);
    let hss = open(at(0, 9));
    assert_eq!(block(hss.user_data(impi.as_str())).unwrap().ims, live.ims);
    assert_eq!(hss.registration(&impi), Some(live));
    block(hss.server_assignment(&impi, &impu, Assignment::TimeoutDeregistration, at(0, 9))).unwrap();
    drop(hss); // written on drop, too
    let found = bed.other().find(impi.as_str()).unwrap().unwrap().registration;
    assert_eq!(
        (found.ims, found.broadcast.unwrap().since.map(Date::seconds)),
        (RegState::NotRegistered, Some(at(0, 3).unix.as_secs()))
    );
}

#[test]
fn who_is_read_again_is_the_same_and_who_is_provisioned_anew_keeps_what_is_so() {
    let bed = Bed::new(Nature::Durable);
    let hss = bed.open(at(0, 0));
    hss.add(subscriber("u", "")).unwrap();
    let (impi, _) = ids();
    let find = || hss.directory.find(&Sought::Impi(impi.clone())).unwrap();
    let first = find();
    hss.fetch(&impi);
    assert!(Arc::ptr_eq(&first, &find()));
    for (service, state) in [("gold", RegState::Registered), ("silver", RegState::NotRegistered)] {
        let anew = Subscriber { service: service.into(), sqn: None, ..subscriber("u", "") };
        assert!(bed.other().provision(&[anew], at(0, 1), true, &mut |_| {}).unwrap().is_empty());
        hss.fetch(&impi);
        let record = find();
        assert_eq!(record.subscriber.service, service);
        // Who has the one that was there before changes what is so of the user all the same.
        first.registration().ims = state;
        assert_eq!(record.registration().ims, state);
        assert!(hss.directory.has(&first) && hss.directory.has(&record));
    }
}

#[test]
fn what_another_process_provisions_is_seen() {
    let bed = Bed::new(Nature::Durable);
    let open = |now| bed.open(now);
    let hss = open(at(0, 0));
    let (impi, impu) = ids();
    let other = bed.other();
    assert_eq!(block(hss.private_identity(&impu)), Err(HssError::UserUnknown));
    other.provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
    assert_eq!(block(hss.private_identity(&impu)), Ok(impi.clone()), "found on a miss");
    block(hss.server_assignment(&impi, &impu, Assignment::Registration, at(0, 0))).unwrap();
    let first = sqn_of(&ask(&hss, None, at(0, 0)).unwrap());

    let mut changed = subscriber("u", "");
    changed.impus = ["sip:u2@home1.net".into(), impu.clone()].into();
    changed.broadcast = BroadcastSubscription::All;
    assert!(other.provision(&[changed], at(0, 5), true, &mut |_| {}).unwrap().is_empty());
    assert_eq!(block(hss.private_identity(&"sip:u2@home1.net".into())), Ok(impi.clone()));
    assert_eq!(block(hss.broadcast_subscription(&impi)), Ok(BroadcastSubscription::All));
    assert_eq!(hss.registration(&impi).unwrap().ims, RegState::Registered, "states stay");
    assert_eq!(sqn_of(&ask(&hss, None, at(0, 0)).unwrap()).seq(), first.seq() + 1, "the SQN goes on");

    assert!(other.remove(&impi, at(0, 5)).unwrap());
    hss.flush();
    // Without being asked.
    let begun = Instant::now();
    while !hss.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not noticed");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(hss.take_removed(), std::slice::from_ref(&impi));
    assert_eq!(block(hss.private_identity(&impu)), Err(HssError::UserUnknown));
    assert!(!other.remove(&impi, at(0, 5)).unwrap());
}

#[test]
fn an_identity_of_somebody_else_is_refused_and_a_file_may_exchange_two() {
    let bed = Bed::new(Nature::Durable);
    let db = bed.other();
    let now = at(0, 0);
    let (a, b) = (subscriber("a", ""), subscriber("b", ""));
    assert!(db.provision(&[a.clone(), b.clone()], now, false, &mut |_| {}).unwrap().is_empty());
    let thief = Subscriber { impus: b.impus.clone(), ..subscriber("c", "") };
    let taken = Conflict::ImpuTaken { impu: b.impus[0].clone(), owner: b.impi.clone() };
    assert_eq!(db.provision(&[subscriber("d", ""), thief], now, true, &mut |_| {}).unwrap(), [(1, taken)]);
    assert!(db.find("d@home1.net").unwrap().is_none(), "nothing of it is taken");
    let exchanged = [Subscriber { impus: b.impus.clone(), ..a.clone() }, Subscriber { impus: a.impus, ..b.clone() }];
    assert!(db.provision(&exchanged, now, true, &mut |_| {}).unwrap().is_empty());
    assert_eq!(db.find("sip:b@home1.net").unwrap().unwrap().subscriber.impi, a.impi);
}

#[test]
fn a_damaged_row_keeps_nobody_else_from_service() {
    let bed = Bed::new(Nature::Durable);
    let open = |now| bed.open(now);
    let hss = open(at(0, 0));
    for name in ["a", "u", "z"] {
        hss.add(subscriber(name, "")).unwrap();
    }
    drop(hss);
    let damaged = Some(Box::from(&b"{}"[..]));
    let save = Save::some(Key::new(Class::Subscriber, "a@home1.net"), vec![("profile".into(), damaged)]);
    bed.store.save(save).wait().unwrap();
    let hss = open(at(0, 0));
    hss.filled();
    assert_eq!(hss.len(), 2);
    assert!(ask(&hss, None, at(0, 0)).is_ok());
}

#[test]
fn tuak_subscribers_get_vectors() {
    let hss = EmbeddedHss::in_memory(at(0, 0)).unwrap();
    let (k, top) = ("ab".repeat(32), "55".repeat(32));
    let fields = Fields {
        impi: "u@home1.net",
        impu: "sip:u@home1.net",
        algorithm: "tuak",
        k: &k,
        op: &top,
        ..Fields::default()
    };
    let subscriber = fields.subscriber().unwrap();
    let Credentials::Aka(keys) = subscriber.credentials.clone() else { unreachable!() };
    hss.add(subscriber).unwrap();
    let vector = ask(&hss, None, at(0, 0)).unwrap();
    assert!(Usim::new(keys, SqnArray::fresh()).authenticate(&vector.rand, &vector.autn).is_ok());
}
