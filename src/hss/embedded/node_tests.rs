//! Several nodes on one store, and a store that goes back: no SQN twice, none backwards, whatever is lost.

use super::directory::Which;
use super::issuer::{GRACE, LEASE};
use super::testbed::*;
use super::*;
use crate::aka::resync::make_auts;
use crate::aka::{Sqn, sqn};
use crate::store::{Class, Key};
use crate::terminal::usim::{SqnArray, Usim};
use std::collections::{HashMap, HashSet};

const DAY: u64 = 86_400;

/// What was issued so far, checked as it comes: distinct, growing for each IND, taken by the card.
struct Witness {
    usim: Usim,
    issued: HashSet<u64>,
    last: HashMap<u8, u64>,
}

impl Witness {
    fn new(card: Sqn) -> Self {
        Witness { usim: Usim::new(keys(), SqnArray::at(card)), issued: HashSet::new(), last: HashMap::new() }
    }

    fn issued(&mut self, vector: &AkaVector) -> Sqn {
        let sqn = sqn_of(vector);
        assert!(self.issued.insert(sqn.value()), "{sqn} a second time");
        let last = self.last.insert(sqn.ind(), sqn.seq()).unwrap_or(0);
        assert!(sqn.seq() > last, "SEQ {} after {last} under IND {}", sqn.seq(), sqn.ind());
        sqn
    }

    fn accepts(&mut self, vector: &AkaVector) -> Sqn {
        let sqn = self.issued(vector);
        self.usim.authenticate(&vector.rand, &vector.autn).unwrap();
        sqn
    }

    fn next(&mut self, hss: &EmbeddedHss, now: Now) -> Sqn {
        self.accepts(&ask(hss, None, now).unwrap())
    }

    /// As a terminal does: what the card refuses it answers with AUTS.
    fn next_or_resync(&mut self, hss: &EmbeddedHss, now: Now) -> Sqn {
        let vector = ask(hss, None, now).unwrap();
        self.issued(&vector);
        if self.usim.authenticate(&vector.rand, &vector.autn).is_ok() {
            return sqn_of(&vector);
        }
        let auts = make_auts(&keys(), &vector.rand, self.usim.sqn().highest());
        self.accepts(&ask(hss, Some((vector.rand, auts)), now).unwrap())
    }
}

fn tick(hss: &EmbeddedHss, now: Now) {
    hss.maintain(now);
    hss.flush();
}

fn subscriber_key() -> Key {
    Key::new(Class::Subscriber, ids().0.as_arc().clone())
}

#[test]
fn two_nodes_serve_one_subscriber_and_no_sqn_is_used_twice() {
    let bed = Bed::new(Nature::Shared);
    let other = tempfile::tempdir().unwrap();
    bed.other().provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
    // The second node's monotonic clock is another, and its wall clock is an hour ahead.
    let nodes = [(bed.open(at(0, 0)), 0, 0), (bed.open_in(other.path(), None, at(500, 3600)), 500, 3600)];
    let mut witness = Witness::new(Sqn::ZERO);
    let mut random = 7_u64;
    for second in 0..120 {
        for (hss, mono, unix) in &nodes {
            tick(hss, at(mono + second, unix + second));
        }
        // Now and then a flood, far above what the clock has ticks for.
        let count = if second % 40 == 7 { 400 } else { 20 };
        for _ in 0..count {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (hss, mono, unix) = &nodes[usize::from(random >> 40 & 1 == 1)];
            witness.next(hss, at(mono + second, unix + second));
        }
    }
    assert_eq!(witness.last.len(), 2, "an IND for each node");
    assert!(witness.issued.len() > 3000);
}

#[test]
fn a_card_that_resynchronises_with_one_node_is_served_by_the_other() {
    let bed = Bed::new(Nature::Shared);
    let other = tempfile::tempdir().unwrap();
    bed.other().provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
    let (a, b) = (bed.open(at(0, 0)), bed.open_in(other.path(), None, at(0, 0)));
    let mut witness = Witness::new(Sqn::new(0x1234_5678_0000).unwrap());
    // Challenged by one node, the AUTS comes to the other, which does not know the RAND.
    let stale = ask(&a, None, at(0, 0)).unwrap();
    witness.issued(&stale);
    assert!(ask(&b, None, at(0, 0)).is_ok());
    let auts = make_auts(&keys(), &stale.rand, witness.usim.sqn().highest());
    witness.accepts(&ask(&b, Some((stale.rand, auts)), at(0, 0)).unwrap());
    let again = ask(&b, Some((stale.rand, auts)), at(0, 0)).unwrap_err();
    assert_eq!(again, HssError::ResyncRefused, "an AUTS counts once");
    // Some seconds later the first one has read it.
    for second in [4, 5, 6] {
        tick(&a, at(second, second));
        tick(&b, at(second, second));
        witness.next(&a, at(second, second));
        witness.next(&b, at(second, second));
    }
}

#[test]
fn a_wrong_mac_moves_nothing_here_or_in_the_store() {
    let bed = Bed::new(Nature::Shared);
    bed.other().provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
    let hss = bed.open(at(0, 0));
    let first = ask(&hss, None, at(0, 0)).unwrap();
    let before = bed.entity(&subscriber_key());
    let mut auts = make_auts(&keys(), &first.rand, Sqn::new(0x4_0000).unwrap());
    for at_octet in 0..14 {
        auts.0[at_octet] ^= 1;
        assert_eq!(ask(&hss, Some((first.rand, auts)), at(0, 0)).unwrap_err(), HssError::ResyncRefused);
        auts.0[at_octet] ^= 1;
    }
    assert_eq!(bed.entity(&subscriber_key()), before);
    assert_eq!(sqn_of(&ask(&hss, None, at(0, 0)).unwrap()).seq(), sqn_of(&first).seq() + 1);
}

#[test]
fn clocks_may_step_and_nodes_be_killed() {
    for nature in [Nature::Durable, Nature::Shared] {
        let bed = Bed::new(nature);
        bed.other().provision(&[subscriber("u", "")], at(0, 10 * DAY), false, &mut |_| {}).unwrap();
        let mut witness = Witness::new(Sqn::ZERO);
        let day = DAY as i64;
        for step in [0, -3600, 3600, -day, day, -1, 5 * day, -4 * day] {
            let unix = (10 * DAY).checked_add_signed(step).unwrap();
            let mut hss = bed.open(at(0, unix));
            for second in 0..20 {
                // And once more while it runs.
                let now = at(second, if second < 10 { unix + second } else { 10 * DAY - 7000 });
                tick(&hss, now);
                for _ in 0..30 {
                    witness.next(&hss, now);
                }
                if second == 15 {
                    kill(hss);
                    hss = bed.open(now);
                }
            }
            kill(hss);
        }
    }
}

#[test]
fn an_offset_that_the_store_loses_is_not_forgotten() {
    for nature in [Nature::Durable, Nature::Shared] {
        let bed = Bed::new(nature);
        bed.other().provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
        let old = bed.entity(&subscriber_key());
        let hss = bed.open(at(0, 0));
        let mut witness = Witness::new(Sqn::new(0x1234_5678_0000).unwrap());
        witness.next_or_resync(&hss, at(0, 0));
        let learnt = bed.entity(&subscriber_key());
        assert_ne!(old.field("sqn"), learnt.field("sqn"));
        // While the node runs: it reads the old one, and writes what it knows.
        bed.put_back(&subscriber_key(), &old);
        for second in [1, 5, 9] {
            tick(&hss, at(second, second));
            witness.next(&hss, at(second, second));
        }
        if nature == Nature::Shared {
            assert_eq!(bed.entity(&subscriber_key()).field("sqn"), learnt.field("sqn"));
        }
        // And over a kill.
        bed.put_back(&subscriber_key(), &old);
        kill(hss);
        let hss = bed.open(at(0, 40));
        witness.next(&hss, at(0, 40));
        assert_eq!(bed.entity(&subscriber_key()).field("sqn"), learnt.field("sqn"));
        // A card that is provisioned anew begins anew.
        let fresh = subscriber("u", "000000000100");
        bed.other().provision(&[fresh], at(0, 40), true, &mut |_| {}).unwrap();
        kill(hss);
        let hss = bed.open(at(0, 41));
        let mut usim = Usim::new(keys(), SqnArray::at(Sqn::new(0x100).unwrap()));
        let vector = ask(&hss, None, at(0, 41)).unwrap();
        usim.authenticate(&vector.rand, &vector.autn).unwrap();
        assert!(sqn_of(&vector).seq() < 2000);
    }
}

#[test]
fn a_backup_that_is_restored_sends_no_sqn_back() {
    for nature in [Nature::Durable, Nature::Shared] {
        let bed = Bed::new(nature);
        bed.other().provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
        let mut witness = Witness::new(Sqn::new(0x0234_5678_0000).unwrap());
        let hss = bed.open(at(0, 0));
        let backup = bed.backup();
        for second in 0..60 {
            tick(&hss, at(second, second));
            witness.next_or_resync(&hss, at(second, second));
            for _ in 0..30 {
                witness.next(&hss, at(second, second)); // ahead of the clock
            }
        }
        kill(hss);
        backup.iter().for_each(|(key, old)| bed.put_back(key, old));
        // The clock is set back as well. What comes under the IND of the run before lies above it all the same.
        let ind = *witness.last.keys().next().unwrap();
        let mut settle = |hss: Arc<EmbeddedHss>, from: u64| {
            for second in from..from + 3 {
                tick(&hss, at(second, second));
                witness.next(&hss, at(second, second));
            }
            kill(hss);
        };
        settle(bed.open_in(bed.dir.path(), Some(ind), at(0, 0)), 0);
        // Everything is gone but the files of the node, and the subscriber is provisioned once more.
        for (key, _) in &backup {
            bed.store.take(key.clone()).wait().unwrap();
        }
        let known = Subscriber { sqn: Some(witness.usim.sqn().highest()), ..subscriber("u", "") };
        bed.other().provision(&[known], at(0, 1), false, &mut |_| {}).unwrap();
        let hss = bed.open_in(bed.dir.path(), Some(ind), at(0, 1));
        witness.next_or_resync(&hss, at(0, 1));
    }
}

#[test]
fn a_node_that_cannot_renew_stops_before_its_lease_ends_and_comes_back() {
    let bed = Bed::new(Nature::Shared);
    bed.other().provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
    let hss = bed.open(at(0, 0));
    let mut witness = Witness::new(Sqn::ZERO);
    witness.next(&hss, at(0, 0));
    bed.store.away.store(true, Ordering::Release);
    let (impi, impu) = ids();
    let mut refused = None;
    for second in 1..30 {
        tick(&hss, at(second, second));
        let moment = hss.issuer.moment(at(second, second));
        if moment.is_err() {
            refused.get_or_insert(second);
        }
        assert_eq!(block(hss.private_identity(&impu)), Ok(impi.clone()), "look-ups go on");
        if second > 3 {
            assert!(
                matches!(ask(&hss, None, at(second, second)), Err(HssError::NoVector(_))),
                "old, and not read anew"
            );
        }
    }
    assert!(refused.unwrap() < LEASE.as_secs());
    assert_eq!(
        block(hss.private_identity(&"sip:x@h".into())).map_err(|e| matches!(e, HssError::Unavailable(_))),
        Err(true)
    );
    bed.store.away.store(false, Ordering::Release);
    tick(&hss, at(30, 30));
    witness.next(&hss, at(30, 30));
}

/// All INDs but these are leased by nodes that live for ever.
fn occupy(bed: &Bed, but: &[u8]) {
    for ind in (0..sqn::IND_COUNT).filter(|ind| !but.contains(ind)) {
        let fields = [("holder", "5".to_owned()), ("mark", "1".to_owned()), ("until", "9000000000000".to_owned())];
        let fields = fields.into_iter().map(|(name, value)| (name.into(), Some(value.into_bytes().into())));
        bed.store.save(Save::whole(Key::new(Class::Node, ind.to_string()), fields.collect())).wait().unwrap();
    }
}

#[test]
fn an_ind_is_another_nodes_only_long_after_the_lease() {
    let bed = Bed::new(Nature::Shared);
    bed.other().provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
    occupy(&bed, &[9]);
    let hss = bed.open(at(0, 0));
    let mut witness = Witness::new(Sqn::ZERO);
    (0..90).for_each(|_| assert_eq!(witness.next(&hss, at(0, 0)).ind(), 9));
    kill(hss);
    let elsewhere = tempfile::tempdir().unwrap();
    let hss = bed.open_in(elsewhere.path(), None, at(0, 1));
    let free = (LEASE + GRACE).as_secs();
    for second in 1..free {
        tick(&hss, at(second, second));
        assert!(matches!(ask(&hss, None, at(second, second)), Err(HssError::NoVector(_))), "second {second}");
    }
    tick(&hss, at(free, free));
    assert_eq!(witness.next(&hss, at(free, free)).ind(), 9);
    // Given back, it is free at once.
    hss.close();
    let hss = bed.open_in(elsewhere.path(), None, at(0, free));
    assert_eq!(witness.next(&hss, at(0, free)).ind(), 9);
}

#[test]
fn a_node_whose_lease_was_given_away_takes_another_at_once() {
    let bed = Bed::new(Nature::Shared);
    bed.other().provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
    occupy(&bed, &[4, 9]);
    let (data_dir, metrics) = (Some(bed.dir.path().into()), Arc::new(Metrics::default()));
    let settings = Settings { data_dir, metrics: metrics.clone(), ..Settings::default() };
    let a = EmbeddedHss::open(bed.store.clone(), Arc::new(Seal::none()), settings, at(0, 0)).unwrap();
    let mut witness = Witness::new(Sqn::ZERO);
    let first = witness.next(&a, at(0, 0)).ind();
    // The cluster loses the lease, and another node takes the same IND: what both issue meanwhile is distinct.
    bed.store.take(Key::new(Class::Node, first.to_string())).wait().unwrap();
    let fields = vec![("mark".into(), Some(Box::from(&b"7"[..])))];
    bed.store.save(Save::whole(Key::new(Class::Node, first.to_string()), fields)).wait().unwrap();
    occupy(&bed, &[first]);
    let elsewhere = tempfile::tempdir().unwrap();
    let b = bed.open_in(elsewhere.path(), None, at(0, 1));
    let mut issued = HashSet::new();
    for _ in 0..50 {
        for hss in [&a, &b] {
            let sqn = sqn_of(&ask(hss, None, at(1, 1)).unwrap());
            assert!(sqn.ind() == first && issued.insert(sqn.value()));
        }
    }
    let second = if first == 4 { 9 } else { 4 };
    bed.store.take(Key::new(Class::Node, second.to_string())).wait().unwrap();
    tick(&a, at(2, 2));
    assert_eq!(sqn_of(&ask(&a, None, at(2, 2)).unwrap()).ind(), second);
    assert!(metrics.exposition().contains("imscript_hss_ind_leases_lost_total 1"));
    // A store that has forgotten the lease, and gave it to nobody, is told again.
    bed.store.take(Key::new(Class::Node, second.to_string())).wait().unwrap();
    tick(&a, at(5, 5));
    assert!(bed.entity(&Key::new(Class::Node, second.to_string())).field("holder").is_some());
    assert_eq!(sqn_of(&ask(&a, None, at(5, 5)).unwrap()).ind(), second);
}

#[test]
fn a_pinned_ind_needs_no_lease_but_is_not_two_nodes() {
    let bed = Bed::new(Nature::Shared);
    bed.other().provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
    occupy(&bed, &[]);
    let a = bed.open_in(bed.dir.path(), Some(3), at(0, 0));
    let mut witness = Witness::new(Sqn::ZERO);
    assert_eq!(witness.next(&a, at(0, 0)).ind(), 3);
    let elsewhere = tempfile::tempdir().unwrap();
    let b = bed.open_in(elsewhere.path(), Some(3), at(0, 1));
    for second in [3, 6, 9] {
        tick(&a, at(second, second));
        tick(&b, at(second, second));
        assert!(ask(&a, None, at(second, second)).is_err(), "the one that was there first sees that it is not alone");
        witness.next(&b, at(second, second));
    }
}

#[test]
fn a_shared_store_is_read_again_after_a_few_seconds() {
    let bed = Bed::new(Nature::Shared);
    let (impi, impu) = ids();
    let other = bed.other();
    let hss = bed.open(at(0, 0));
    assert_eq!(block(hss.private_identity(&impu)), Err(HssError::UserUnknown));
    other.provision(&[subscriber("u", ""), subscriber("v", "")], at(0, 0), false, &mut |_| {}).unwrap();
    assert_eq!(block(hss.private_identity(&impu)), Ok(impi.clone()), "what is unknown is asked for");
    let ask_as =
        |impu: &str| block(hss.multimedia_auth(&impi, &impu.into(), AuthScheme::Unknown, None, at(0, 0))).map(|_| ());
    assert_eq!(ask_as("sip:v@home1.net"), Err(HssError::IdentitiesDontMatch));
    assert_eq!(ask_as("sip:x@home1.net"), Err(HssError::UserUnknown));
    assert_eq!(block(hss.user_data("sip:v@home1.net")).unwrap().impi.as_str(), "v@home1.net");
    block(hss.server_assignment(&impi, &impu, Assignment::Registration, at(0, 0))).unwrap();
    hss.flush();
    let elsewhere = tempfile::tempdir().unwrap();
    let second = bed.open_in(elsewhere.path(), None, at(0, 0));
    assert_eq!(block(second.user_data(impi.as_str())).unwrap().ims, RegState::Registered);
    block(second.server_assignment(&impi, &impu, Assignment::UserDeregistration, at(1, 1))).unwrap();
    second.flush();
    hss.maintain(at(4, 4));
    assert_eq!(block(hss.user_data(impi.as_str())).unwrap().ims, RegState::NotRegistered);

    register_user(&bed, &impi);
    assert!(!is_due(&bed, &impi));
    assert!(other.remove(&impi, at(0, 5)).unwrap());
    assert!(is_due(&bed, &impi), "a node looks at the user");
    hss.maintain(at(8, 8));
    assert_eq!(block(hss.private_identity(&impu)), Err(HssError::UserUnknown));
    assert!(!bed.entity(&Key::new(Class::PublicIdentity, impu.as_arc().clone())).exists());
}

#[test]
fn states_that_cannot_be_written_are_written_later_and_bring_nobody_back() {
    let bed = Bed::new(Nature::Durable);
    let (impi, impu) = ids();
    let hss = bed.open(at(0, 0));
    hss.add(subscriber("u", "")).unwrap();
    hss.filled();
    bed.store.away.store(true, Ordering::Release);
    block(hss.server_assignment(&impi, &impu, Assignment::Registration, at(0, 0))).unwrap();
    hss.flush();
    bed.store.away.store(false, Ordering::Release);
    let registered = || entity::registration(&bed.entity(&subscriber_key())).ims;
    assert_eq!(registered(), RegState::NotRegistered);
    hss.close();
    assert_eq!(registered(), RegState::Registered);
    // A state that comes after the subscriber was removed makes none.
    let hss = bed.open(at(0, 1));
    assert!(bed.other().remove(&impi, at(0, 1)).unwrap());
    let ghost = entity::save_state(&impi, &Registration::default(), Which::IMS);
    bed.store.save(ghost).wait().unwrap();
    assert!(bed.other().find(impi.as_str()).unwrap().is_none());
    hss.refresh_if_changed();
    hss.flush();
    assert_eq!(block(hss.private_identity(&impu)), Err(HssError::UserUnknown));
    assert!(bed.other().provision(&[subscriber("u", "")], at(0, 2), false, &mut |_| {}).unwrap().is_empty());
    assert_eq!(block(hss.private_identity(&impu)), Ok(impi.clone()));
}

#[test]
fn a_wrong_key_is_found_at_the_start_and_a_key_can_be_changed() {
    let bed = Bed::new(Nature::Durable);
    let seal = |name: &str| Seal::create(&bed.dir.path().join(name)).unwrap();
    let with = |seal| Subscribers::new(bed.store.clone(), Arc::new(seal));
    with(Seal::none()).provision(&[subscriber("a", "")], at(0, 0), false, &mut |_| {}).unwrap();
    with(seal("old")).provision(&[subscriber("u", ""), subscriber("v", "")], at(0, 0), false, &mut |_| {}).unwrap();
    let profile = bed.entity(&subscriber_key());
    assert!(!String::from_utf8_lossy(profile.field("profile").unwrap()).contains("p1."));
    let open = |seal| EmbeddedHss::open(bed.store.clone(), Arc::new(seal), Settings::default(), at(0, 0)).map(drop);
    assert_eq!(with(seal("new").with_old(seal("old"))).reseal().unwrap(), 3);
    assert_eq!(with(seal("new").with_old(seal("old"))).reseal().unwrap(), 0);
    for wrong in [seal("old"), Seal::none()] {
        assert!(matches!(open(wrong), Err(EmbeddedError::Seal(_))));
    }
    open(seal("new")).unwrap();
}

#[test]
fn a_file_that_was_stored_in_part_is_completed_by_the_same_file() {
    let bed = Bed::new(Nature::Durable);
    let all: Vec<_> = (0..50).map(|n| subscriber(&format!("u{n}"), "")).collect();
    bed.store.saves_left.store(61, Ordering::Release);
    assert!(bed.other().provision(&all, at(0, 0), false, &mut |_| {}).is_err());
    bed.store.saves_left.store(usize::MAX, Ordering::Release);
    let found = || all.iter().filter(|one| bed.other().find(one.impus[0].as_str()).unwrap().is_some()).count();
    assert_eq!(found(), 30, "each of them whole");
    assert_eq!(bed.other().provision(&all, at(0, 0), false, &mut |_| {}).unwrap().len(), 30);
    assert!(bed.other().provision(&all, at(0, 0), true, &mut |_| {}).unwrap().is_empty());
    assert_eq!(found(), 50);
}

#[test]
fn workers_that_read_one_subscriber_at_once_share_one_generator() {
    for nature in [Nature::Durable, Nature::Shared] {
        let bed = Bed::new(nature);
        bed.other().provision(&[subscriber("u", "")], at(0, 0), false, &mut |_| {}).unwrap();
        for round in 0..20 {
            let hss = bed.open(at(0, round * 100));
            let start = std::sync::Barrier::new(4);
            let one = || {
                start.wait();
                (0..20).map(|_| sqn_of(&ask(&hss, None, at(0, round * 100)).unwrap()).value()).collect::<Vec<_>>()
            };
            let all: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
            hss.close();
        }
    }
}
