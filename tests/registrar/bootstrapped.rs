//! Bootstrappings that came over Ub: kept in the store as those of a REGISTER are, found by B-TID from any node, ended by
//! their own time.

use crate::kept::{ALICE, Disk, House};
use crate::network::*;
use imscript::aka::vector::Rand;
use imscript::gba::bootstrap::{Bootstrap, Holder, Made};
use imscript::gba::btid::Btid;
use imscript::gba::guss::Uss;
use imscript::gba::kdf::Ks;
use imscript::gba::zn::{Away, Find};
use imscript::hss::BroadcastSubscription;
use imscript::identity::{Impi, Impu};
use imscript::policy::FixedPolicy;
use imscript::registrar::bootstrapping::NotKept;
use imscript::store::{Class, Nature};
use std::sync::Arc;

fn over_ub(number: u8) -> Bootstrap {
    let rand = Rand([number; 16]);
    let uids = vec!["u".to_owned()];
    Bootstrap {
        impi: Impi::from(ALICE),
        impus: [Impu::from("sip:alice@home1.net")].into(),
        ks: Ks([number; 32]),
        btid: Btid::new(&rand, "bsf.home1.net"),
        expires: 0,
        created: Default::default(),
        made: Made::OverUb,
        holder: Holder::Uicc,
        subscription: BroadcastSubscription::All,
        settings: [Uss { id: "2".into(), kind: 2, naf_group: None, uids, flags: vec![1], services: None }].into(),
    }
}

fn bootstrap(node: &Network, number: u8) -> Result<Arc<Bootstrap>, NotKept> {
    node.run(node.scscf.bootstrapped(over_ub(number), seconds(3600)))
}

fn find(node: &Network, btid: &Btid) -> Result<Option<Arc<Bootstrap>>, Away> {
    let shared = node.scscf.shared.clone();
    node.run(async { shared.find(btid, node.scscf.now()).await })
}

#[test]
fn kept_sealed_and_found_by_its_btid_at_another_node() {
    for nature in [Nature::Durable, Nature::Shared] {
        let house = House::new(nature);
        let made = bootstrap(&house.node, 1).unwrap();
        house.node.settle();
        assert_no_secrets(house.disk.text(Class::User, ALICE).as_bytes(), &[made.ks.0.to_vec()]);
        let node = house.another();
        let found = find(&node, &made.btid).unwrap().unwrap();
        assert_eq!((found.ks.0, found.rand(), &found.impi), (made.ks.0, made.rand(), &made.impi));
        assert_eq!((found.made, found.holder, &found.settings), (made.made, made.holder, &made.settings));
        assert_eq!((found.created, found.expires), (made.created, made.expires));
        let unknown = Btid::new(&Rand([9; 16]), "bsf.home1.net");
        assert!(matches!(find(&node, &unknown), Ok(None)));
    }
}

#[test]
fn a_store_that_fails_is_no_bootstrapping_and_no_unknown_btid() {
    for nature in [Nature::Durable, Nature::Shared] {
        let house = House::new(nature);
        let first = bootstrap(&house.node, 1).unwrap();
        Disk::set(&house.disk.full, true);
        assert_eq!(bootstrap(&house.node, 2).unwrap_err(), NotKept::Store);
        let current = house.node.scscf.shared.bootstraps.of_impi(&ALICE.into(), house.node.time.clock.now());
        assert_eq!(current.unwrap().btid, first.btid, "the one before stands");
    }
    let house = House::new(Nature::Shared);
    let made = bootstrap(&house.node, 1).unwrap();
    house.node.settle();
    let node = house.another();
    Disk::set(&house.disk.away, true);
    assert!(matches!(find(&node, &made.btid), Err(Away)));
}

#[test]
fn a_node_that_still_reads_its_store_cannot_say_that_there_is_none() {
    let house = House::new(Nature::Durable);
    let made = bootstrap(&house.node, 1).unwrap();
    let (disk, seal) = (house.disk.clone(), house.seal.clone());
    let node = house.node.beside(FixedPolicy::default(), |shared| shared.keep_in(disk, seal));
    assert!(matches!(find(&node, &made.btid), Err(Away)));
    node.scscf.shared.keeping.users.load();
    assert!(matches!(find(&node, &made.btid), Ok(Some(_))));
}

#[test]
fn one_who_is_not_registered_leaves_the_store_with_his_key() {
    let house = House::new(Nature::Durable);
    bootstrap(&house.node, 1).unwrap();
    assert_ne!(house.disk.text(Class::User, ALICE), "");
    house.node.pass(seconds(3661));
    house.node.sweep();
    house.node.settle();
    assert_eq!(house.disk.text(Class::User, ALICE), "");
}
