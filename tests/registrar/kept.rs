//! Users on a store: over a restart, on two nodes at once, and when the store fails.

use crate::broadcast::forward;
use crate::network::*;
use crate::phone::*;
use imscript::answer::Answer;
use imscript::clock::Now;
use imscript::hss::RegState;
use imscript::policy::FixedPolicy;
use imscript::policy::verdict::{KeyMovement, Order};
use imscript::sip::HeaderName;
use imscript::store::seal::Seal;
use imscript::store::{Class, Entity, Health, Key, Memory, Nature, Save, Saved, Store, StoreError};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const ALICE: &str = "alice@home1.net";

/// A store that can be made to fail, as disks and networks do.
pub(crate) struct Disk {
    memory: Memory,
    pub(crate) full: AtomicBool,
    pub(crate) away: AtomicBool,
    /// How often what was acknowledged may have been lost.
    epoch: AtomicU64,
}

impl Disk {
    fn of(network: &Network, nature: Nature) -> Arc<Disk> {
        let memory = Memory::of_nature(network.time.clock, nature);
        Arc::new(Disk { memory, full: AtomicBool::new(false), away: AtomicBool::new(false), epoch: AtomicU64::new(1) })
    }

    /// The user is lost although he was acknowledged.
    fn lose(&self, impi: &str) {
        self.memory.save(Save::remove(Key::new(Class::User, impi))).wait().unwrap();
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set(flag: &AtomicBool, value: bool) {
        flag.store(value, Ordering::Relaxed);
    }

    fn fault(&self, writing: bool) -> Option<StoreError> {
        if self.away.load(Ordering::Relaxed) {
            return Some(StoreError::Away("cut".into()));
        }
        (writing && self.full.load(Ordering::Relaxed)).then(|| StoreError::Unwritable("disk full".into()))
    }

    pub(crate) fn text(&self, class: Class, name: &str) -> String {
        let entity = self.memory.load(vec![Key::new(class, name)]).wait().unwrap().pop().unwrap();
        let field = |(name, value): &(Box<str>, Box<[u8]>)| format!("{name}={}\n", String::from_utf8_lossy(value));
        entity.fields.iter().map(field).collect()
    }
}

impl Store for Disk {
    fn nature(&self) -> Nature {
        self.memory.nature()
    }
    fn load(&self, keys: Vec<Key>) -> Answer<'static, Result<Vec<Entity>, StoreError>> {
        self.fault(false).map_or_else(|| self.memory.load(keys), |why| Answer::now(Err(why)))
    }
    fn save(&self, save: Save) -> Answer<'static, Result<Saved, StoreError>> {
        self.fault(true).map_or_else(|| self.memory.save(save), |why| Answer::now(Err(why)))
    }
    fn take(&self, key: Key) -> Answer<'static, Result<Entity, StoreError>> {
        self.fault(true).map_or_else(|| self.memory.take(key), |why| Answer::now(Err(why)))
    }
    fn claim_due(&self, hold: Duration, most: usize) -> Answer<'static, Result<Vec<Key>, StoreError>> {
        self.fault(true).map_or_else(|| self.memory.claim_due(hold, most), |why| Answer::now(Err(why)))
    }
    fn changed(&self) -> Answer<'static, Result<Vec<Key>, StoreError>> {
        self.memory.changed()
    }
    fn walk(&self, class: Class, each: &mut dyn FnMut(&Key, Entity) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.memory.walk(class, each)
    }
    fn time(&self, now: Now) -> Duration {
        self.memory.time(now)
    }
    fn epoch(&self, _key: &Key) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }
    fn health(&self) -> Vec<Health> {
        self.memory.health()
    }
    fn close(&self) {
        self.memory.close();
    }
}

fn seal() -> Arc<Seal> {
    let dir = tempfile::tempdir().unwrap();
    Arc::new(Seal::create(&dir.path().join("key")).unwrap())
}

/// A node on a store of the given nature, and what its fellow needs.
pub(crate) struct House {
    pub(crate) node: Network,
    pub(crate) disk: Arc<Disk>,
    pub(crate) seal: Arc<Seal>,
}

impl House {
    pub(crate) fn new(nature: Nature) -> Self {
        Self::with(nature, FixedPolicy::default())
    }

    fn with(nature: Nature, policy: FixedPolicy) -> Self {
        let first = Network::new();
        let (disk, seal) = (Disk::of(&first, nature), seal());
        let node = first.beside(policy, |shared| shared.keep_in(disk.clone(), seal.clone()));
        House { node, disk, seal }
    }

    /// Another node on the same store: the same one after a restart, or its neighbour.
    pub(crate) fn another(&self) -> Network {
        let node =
            self.node.beside(FixedPolicy::default(), |shared| shared.keep_in(self.disk.clone(), self.seal.clone()));
        if self.disk.nature() == Nature::Durable {
            node.scscf.shared.keeping.users.load();
        }
        node
    }
}

fn contacts(response: &imscript::sip::Message<'_>) -> Vec<String> {
    response.headers(HeaderName::Contact).map(|c| String::from_utf8_lossy(c).into_owned()).collect()
}

fn claim(node: &Network, disk: &Disk) -> usize {
    let due = disk.claim_due(seconds(30), 100).wait().unwrap();
    for key in &due {
        let impi = imscript::identity::Impi::new(key.name.clone());
        match key.class {
            Class::User => node.run(node.scscf.due(impi)),
            Class::Challenge => node.run(node.scscf.challenge_due(impi)),
            other => panic!("{other:?}"),
        }
    }
    node.settle();
    due.len()
}

#[test]
fn a_restart_loses_nothing_that_was_acknowledged() {
    let house = House::new(Nature::Durable);
    let mut phone = Phone::for_broadcast();
    assert_eq!(phone.register(&house.node, &["Expires: 600"]).status(), 200);
    house.node.settle();
    let before = house.node.scscf.shared.bootstraps.of_impi(&ALICE.into(), house.node.time.clock.now()).unwrap();
    house.node.pass(seconds(100));

    let node = house.another();
    assert!(node.is_registered(ALICE));
    assert_eq!(node.leg_state(ALICE), Some(RegState::Registered));
    let after = node.scscf.shared.bootstraps.of_impi(&ALICE.into(), node.time.clock.now()).unwrap();
    assert_eq!((&after.btid, after.ks.0, after.expires), (&before.btid, before.ks.0, before.expires));
    let asked = phone.register(&node, &[""]);
    assert_eq!(contacts(&asked).len(), 1);
    assert!(contacts(&asked)[0].ends_with("expires=500"), "{:?}", contacts(&asked));
    // The next third-party REGISTER goes on in CSeq.
    let cseq = |sent: &Sent| sent.request.cseq().unwrap().number;
    let last = house.node.forwarded().iter().map(cseq).max().unwrap();
    assert_eq!(phone.register(&node, &["Expires: 600"]).status(), 200);
    node.settle();
    let next = node.forwarded();
    assert!(next.iter().all(|sent| cseq(sent) > last) && !next.is_empty());
    // And it ends like any other.
    node.pass(seconds(601));
    node.sweep();
    assert!(!node.is_registered(ALICE));
    assert!(node.calls().iter().any(|call| call == "SAR TimeoutDeregistration"));
    assert_eq!(house.disk.text(Class::User, ALICE), "", "nothing is left of him");
}

#[test]
fn who_expired_while_the_node_was_down_is_ended_at_its_start() {
    let house = House::new(Nature::Durable);
    assert_eq!(Phone::for_broadcast().register(&house.node, &["Expires: 60"]).status(), 200);
    house.node.calls();
    house.node.time_passes_unseen(seconds(3600));
    let node = house.another();
    node.sweep();
    assert!(!node.is_registered(ALICE));
    assert!(node.calls().iter().any(|call| call == "SAR TimeoutDeregistration"));
    assert!(node.forwarded().iter().any(|sent| sent.expires() == 0), "the broadcast server hears of it");
}

#[test]
fn what_had_not_got_through_is_taken_up_after_a_restart() {
    let house = House::with(Nature::Durable, forward(KeyMovement::Push, Order::After200));
    house.node.answer(Reply::Nothing);
    assert_eq!(Phone::for_broadcast().register(&house.node, &[]).status(), 200);
    house.node.pass(seconds(10));
    let node = house.another();
    assert_eq!(node.leg_state(ALICE), Some(RegState::Pending));
    node.sweep();
    node.settle();
    let sent = node.forwarded();
    assert_eq!(sent.iter().filter(|sent| sent.has_key()).count(), 1);
    assert_eq!(node.leg_state(ALICE), Some(RegState::Registered));
    let again = house.another();
    again.sweep();
    assert!(again.forwarded().is_empty(), "what got through is not sent again");
}

#[test]
fn keys_lie_sealed() {
    for nature in [Nature::Durable, Nature::Shared] {
        let house = House::new(nature);
        let mut phone = Phone::for_broadcast();
        phone.first(&house.node, &[], None);
        let challenge = house.disk.text(Class::Challenge, ALICE);
        assert_eq!(challenge.is_empty(), nature == Nature::Durable);
        phone.register(&house.node, &[]);
        let user = house.disk.text(Class::User, ALICE);
        assert!(user.contains("s1."), "{user}");
        assert_no_secrets([challenge, user].concat().as_bytes(), &house.node.secrets());
    }
}

#[test]
fn a_full_disk_is_a_503_and_changes_nothing() {
    let house = House::new(Nature::Durable);
    let mut phone = Phone::for_broadcast();
    Disk::set(&house.disk.full, true);
    let refused = phone.register(&house.node, &[]);
    assert_eq!(refused.status(), 503);
    assert!(refused.header(HeaderName::RetryAfter).is_some());
    house.node.settle();
    assert!(!house.node.is_registered(ALICE));
    assert!(house.node.scscf.shared.bootstraps.is_empty());
    let sent = house.node.forwarded();
    assert_eq!(sent.last().map(Sent::expires), Some(0), "the broadcast server is told that it is off");
    // Space returns; the same phone gets in, and a refresh and an end that cannot be written change nothing either.
    Disk::set(&house.disk.full, false);
    assert_eq!(phone.register(&house.node, &["Expires: 600"]).status(), 200);
    let held = house.disk.text(Class::User, ALICE);
    Disk::set(&house.disk.full, true);
    house.node.pass(seconds(100));
    assert_eq!(phone.register(&house.node, &["Expires: 600"]).status(), 503);
    assert_eq!(phone.register(&house.node, &["Expires: 0"]).status(), 503);
    house.node.settle();
    assert!(house.node.is_registered(ALICE));
    assert_eq!(house.node.leg_state(ALICE), Some(RegState::Registered));
    Disk::set(&house.disk.full, false);
    house.node.sweep();
    let contacts_of = |text: &str| text.lines().find(|line| line.starts_with("contacts")).unwrap().to_owned();
    assert_eq!(contacts_of(&house.disk.text(Class::User, ALICE)), contacts_of(&held));
    assert_eq!(phone.register(&house.node, &["Expires: 0"]).status(), 200);
    assert_eq!(house.disk.text(Class::User, ALICE), "");
}

#[test]
fn a_register_to_one_node_and_its_answer_to_another() {
    let house = House::new(Nature::Shared);
    let other = house.another();
    let mut phone = Phone::for_broadcast();
    for (first, second) in [(&house.node, &other), (&other, &house.node)] {
        let challenge = phone.first(first, &["Expires: 600"], None);
        assert_eq!(challenge.status(), 401);
        let authorization = phone.authorization(&challenge, b"").unwrap();
        let request = phone.write(&["Expires: 600"], &authorization, None);
        assert_eq!(second.send(&request, &phone.source).status(), 200);
        // The nonce is spent everywhere.
        phone.cseq += 1;
        assert_eq!(first.send(&request, &phone.source).status(), 401);
        assert_eq!(second.send(&request, &phone.source).status(), 401);
        first.settle();
        second.settle();
    }
    // Either finds him by his public identity.
    for node in [&house.node, &other] {
        assert_eq!(contacts(&phone.register(node, &[""])).len(), 1);
    }
    assert_eq!(house.another().run(house.another().scscf.find("sip:alice@home1.net")), Some(ALICE.into()));
}

#[test]
fn a_deregistration_at_one_node_stands_against_what_another_remembers() {
    let house = House::new(Nature::Shared);
    let other = house.another();
    let mut phone = Phone::for_broadcast();
    assert_eq!(phone.register(&house.node, &["Expires: 600"]).status(), 200);
    house.node.settle();
    assert_eq!(phone.register(&other, &["Expires: 0"]).status(), 200);
    other.settle();
    // The store forgets what it acknowledged; both nodes bring back what they know.
    [&other, &house.node].iter().for_each(|node| node.sweep());
    house.disk.lose(ALICE);
    [&other, &house.node].iter().for_each(|node| node.sweep());
    assert!(!house.node.is_registered(ALICE) && !other.is_registered(ALICE));
    assert_eq!(phone.register(&other, &["Expires: 600"]).status(), 200);
}

#[test]
fn what_a_shared_store_has_lost_is_pushed_again() {
    let house = House::new(Nature::Shared);
    let other = house.another();
    let mut phone = Phone::for_broadcast();
    assert_eq!(phone.register(&house.node, &["Expires: 600"]).status(), 200);
    house.node.settle();
    let text = house.disk.text(Class::User, ALICE);
    house.node.sweep();
    house.disk.lose(ALICE);
    house.node.sweep();
    let contacts_of = |text: &str| text.lines().find(|line| line.starts_with("contacts")).unwrap().to_owned();
    assert_eq!(contacts_of(&house.disk.text(Class::User, ALICE)), contacts_of(&text));
    assert_eq!(contacts(&phone.register(&other, &[""])).len(), 1);
}

#[test]
fn timers_fire_once_although_every_node_can_fire_them() {
    let house = House::new(Nature::Shared);
    let other = house.another();
    let mut phone = Phone::for_broadcast();
    assert_eq!(phone.register(&house.node, &["Expires: 60"]).status(), 200);
    assert_eq!(contacts(&phone.register(&other, &[""])).len(), 1, "both have a copy");
    house.node.forwarded();
    house.node.pass(seconds(61));
    house.node.calls();
    let fired: usize = [&other, &house.node, &other]
        .iter()
        .map(|node| {
            node.sweep();
            claim(node, &house.disk)
        })
        .sum();
    assert_eq!(fired, 1);
    for node in [&house.node, &other] {
        assert!(!node.is_registered(ALICE));
    }
    let told = house.node.calls();
    assert_eq!(told.iter().filter(|call| *call == "SAR TimeoutDeregistration").count(), 1, "{told:?}");
    let ends = other.forwarded().iter().chain(&house.node.forwarded()).filter(|sent| sent.expires() == 0).count();
    assert_eq!(ends, 1);
}

#[test]
fn another_node_takes_up_what_a_dead_one_had_outstanding() {
    let house = House::with(Nature::Shared, forward(KeyMovement::Push, Order::After200));
    house.node.answer(Reply::Nothing);
    assert_eq!(Phone::for_broadcast().register(&house.node, &[]).status(), 200);
    house.node.settle();
    let other = house.another();
    assert_eq!(claim(&other, &house.disk), 0, "its node is at it");
    house.node.time_passes_unseen(seconds(120)); // and dies
    assert_eq!(claim(&other, &house.disk), 1);
    assert_eq!(other.forwarded().iter().filter(|sent| sent.has_key()).count(), 1);
    assert_eq!(other.leg_state(ALICE), Some(RegState::Registered));
}

#[test]
fn an_unanswered_challenge_is_told_once() {
    let house = House::new(Nature::Shared);
    let other = house.another();
    Phone::alice().first(&house.node, &[], None);
    house.node.pass(seconds(241));
    house.node.calls();
    assert_eq!(claim(&other, &house.disk) + claim(&house.node, &house.disk), 1);
    assert_eq!(house.node.calls(), ["SAR AuthenticationTimeout"]);
}

#[test]
fn a_store_that_is_away_is_a_503_at_once_and_who_is_registered_is_still_found() {
    let house = House::new(Nature::Shared);
    let mut phone = Phone::for_broadcast();
    assert_eq!(phone.register(&house.node, &["Expires: 600"]).status(), 200);
    house.node.settle();
    Disk::set(&house.disk.away, true);
    let began = house.node.now();
    let refused = phone.first(&house.node, &[], None);
    assert_eq!((refused.status(), house.node.now()), (503, began));
    assert!(refused.header(HeaderName::RetryAfter).is_some());
    assert_eq!(house.node.run(house.node.scscf.find("sip:alice@home1.net")), Some(ALICE.into()));
    Disk::set(&house.disk.away, false);
    assert_eq!(phone.register(&house.node, &["Expires: 600"]).status(), 200);
}

#[test]
fn the_later_register_counts_wherever_it_came() {
    // Node B is slow: what it saves was asked for before what node A saved, in the same dialog.
    let house = House::new(Nature::Shared);
    let other = house.another();
    let mut phone = Phone::alice();
    let requests: Vec<_> = (0..2)
        .map(|i| {
            let challenge = phone.first(&house.node, &[], None);
            let authorization = phone.authorization(&challenge, b"").unwrap();
            phone.write(&[if i == 0 { "Expires: 600" } else { "Expires: 1200" }], &authorization, None)
        })
        .collect();
    // Only the second challenge is outstanding: the first request must not win in any order.
    assert_eq!(other.send(&requests[1], &phone.source).status(), 200);
    assert_ne!(house.node.send(&requests[0], &phone.source).status(), 200);
    let told = contacts(&phone.register(&house.node, &[""]));
    assert!(told[0].ends_with("expires=1200"), "{told:?}");
}
