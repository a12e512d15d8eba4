use super::super::testbed::{Bed, IMS, ext_of};
use super::*;
use crate::broadcast::ext::{Ext, KeyWay, Mode};
use crate::broadcast::media;
use crate::broadcast::provisioning::Request;
use crate::sip::{HeaderName, Message};
use crate::store::seal::Seal;
use crate::store::{Health, Memory, Saved, Store};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn bed(nature: Nature) -> Bed {
    Bed::of_nature(nature, |_| {}, |_| {})
}

/// Registers with a key that comes along, for ten minutes.
fn push(bed: &Bed) -> Message<'static> {
    let ext = Ext { btid: Some(bed.boot.btid.clone()), key: Some(KeyWay::Included), ..Ext::default() };
    bed.ask(&bed.register(ext, 600, Some((media::NAF_KEY, &bed.boot.key_document(&bed.naf).to_xml()))), IMS)
}

fn refresh(bed: &Bed, expires: u32) -> Message<'static> {
    bed.ask(&bed.register(Ext { mode: Some(Mode::Status), ..Ext::default() }, expires, None), IMS)
}

/// Registers, the key to come after the answer.
fn pull(bed: &Bed) -> Message<'static> {
    let ext = Ext {
        btid: Some(bed.boot.btid.clone()),
        mode: Some(Mode::Subsequent),
        key: Some(KeyWay::Pull),
        ..Ext::default()
    };
    bed.ask(&bed.register(ext, 600, None), IMS)
}

/// Orders something as the terminal does it through the IMS.
fn order(bed: &Bed, item: &str) -> Message<'static> {
    let body = Request::service("1", None, &[item]).to_xml();
    let from = [(HeaderName::PAssertedIdentity, bed.impu.as_str().to_string())];
    let answer = bed.ask(&bed.message(&from, Some((media::PROVISIONING, &body))), IMS);
    bed.world.settle();
    answer
}

fn sweep(bed: &Bed) {
    bed.world.run(Rc::clone(&bed.bsm).sweep());
    bed.world.settle();
}

fn claim(bed: &Bed) -> Vec<Key> {
    bed.store.claim_due(Duration::from_secs(15), 10).wait().unwrap()
}

fn alerts(bed: &Bed) -> Vec<String> {
    let sent = bed.world.sent.borrow();
    sent.iter().filter(|(_, text)| text.contains(media::BCAST_REGISTRATION)).map(|(_, text)| text.clone()).collect()
}

fn entity(bed: &Bed) -> Entity {
    bed.store.load(vec![key_of(&bed.impu)]).wait().unwrap().remove(0)
}

fn refused_for_now(answer: &Message<'_>) -> bool {
    answer.status() == 503 && answer.header(HeaderName::RetryAfter).is_some()
}

/// A store whose answers take their time, and that may be full.
struct Slow {
    within: Arc<Memory>,
    full: AtomicBool,
}

impl Slow {
    fn on(bed: &Bed) -> Arc<Self> {
        Arc::new(Slow { within: bed.store.clone(), full: AtomicBool::new(false) })
    }
}

fn later<T: Unpin + 'static>(answer: Answer<'static, T>) -> Answer<'static, T> {
    let mut turns = 2;
    let pause = std::future::poll_fn(move |_| {
        turns -= 1;
        if turns > 0 { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    });
    Answer::later(async move {
        pause.await;
        answer.await
    })
}

impl Store for Slow {
    fn nature(&self) -> Nature {
        self.within.nature()
    }
    fn load(&self, keys: Vec<Key>) -> Answer<'static, Result<Vec<Entity>, StoreError>> {
        later(self.within.load(keys))
    }
    fn save(&self, save: Save) -> Answer<'static, Result<Saved, StoreError>> {
        match self.full.load(Ordering::Relaxed) {
            true => later(Answer::now(Err(StoreError::Unwritable("disk full".into())))),
            false => later(self.within.save(save)),
        }
    }
    fn take(&self, key: Key) -> Answer<'static, Result<Entity, StoreError>> {
        later(self.within.take(key))
    }
    fn claim_due(&self, hold: Duration, most: usize) -> Answer<'static, Result<Vec<Key>, StoreError>> {
        later(self.within.claim_due(hold, most))
    }
    fn changed(&self) -> Answer<'static, Result<Vec<Key>, StoreError>> {
        self.within.changed()
    }
    fn walk(&self, class: Class, each: &mut dyn FnMut(&Key, Entity) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.within.walk(class, each)
    }
    fn time(&self, now: Now) -> Duration {
        self.within.time(now)
    }
    fn health(&self) -> Vec<Health> {
        self.within.health()
    }
    fn close(&self) {
        self.within.close();
    }
}

#[test]
fn a_full_store_takes_nobody_new_and_loses_nobody() {
    for nature in [Nature::Durable, Nature::Shared] {
        let bed = bed(nature);
        let store = Slow::on(&bed);
        let bed = bed.on(store.clone(), Seal::none());
        bed.state.load();
        assert_eq!(push(&bed).status(), 200);
        bed.world.settle();
        let before = format!("{:?}", bed.state.record(&bed.impu));
        store.full.store(true, Ordering::Relaxed);
        for answer in [refresh(&bed, 700), refresh(&bed, 0), push(&bed), pull(&bed)] {
            assert!(refused_for_now(&answer), "{nature:?}");
            assert_eq!(format!("{:?}", bed.state.record(&bed.impu)), before);
        }
        assert_eq!(bed.state.keeper.unsaved(), 0);
        // What he orders is remembered, and saved when there is room.
        assert_eq!(order(&bed, "a").status(), 202);
        assert_eq!(bed.state.keeper.unsaved(), 1);
        store.full.store(false, Ordering::Relaxed);
        sweep(&bed);
        let text = String::from_utf8(entity(&bed).field(RECORD).unwrap().to_vec()).unwrap();
        assert!(text.contains("\"services\":[\"a\"]") && bed.state.keeper.unsaved() == 0, "{text}");
    }
}

#[test]
fn an_end_that_cannot_be_saved_is_told_and_saved_later() {
    let bed = bed(Nature::Durable);
    let store = Slow::on(&bed);
    let bed = bed.on(store.clone(), Seal::none());
    bed.state.load();
    assert_eq!(push(&bed).status(), 200);
    store.full.store(true, Ordering::Relaxed);
    bed.world.advance(601);
    sweep(&bed);
    assert!(alerts(&bed).len() == 1 && bed.state.is_empty() && entity(&bed).exists());
    store.full.store(false, Ordering::Relaxed);
    sweep(&bed);
    assert!(alerts(&bed).len() == 1 && !entity(&bed).exists());
}

#[test]
fn on_a_shared_store_an_end_that_cannot_be_saved_is_left_to_the_next_claim() {
    let bed = bed(Nature::Shared);
    let store = Slow::on(&bed);
    let bed = bed.on(store.clone(), Seal::none());
    assert_eq!(push(&bed).status(), 200);
    bed.world.advance(601);
    for (full, told) in [(true, 0), (false, 1)] {
        store.full.store(full, Ordering::Relaxed);
        for key in claim(&bed) {
            bed.world.run(Rc::clone(&bed.bsm).due(key));
        }
        bed.world.settle();
        assert_eq!(alerts(&bed).len(), told);
        bed.world.advance(16);
    }
    assert!(claim(&bed).is_empty());
}

#[test]
fn a_restart_forgets_nobody_and_ends_who_is_over() {
    let first = bed(Nature::Durable);
    first.state.load();
    assert_eq!(push(&first).status(), 200);
    order(&first, "a");
    let before = first.state.record(&first.impu).unwrap();
    first.world.advance(100);

    let again = first.again(Seal::none());
    assert!(again.state.is_empty());
    again.state.load();
    let after = again.state.record(&again.impu).unwrap();
    assert_eq!(format!("{after:?}"), format!("{before:?}"));
    assert!(again.has_smk());
    assert_eq!((&*after.services, after.ims_peer), (&["a".to_string()][..], 0));
    assert_eq!(again.state.owner(&again.boot.btid).as_ref(), Some(&again.impu));
    assert_eq!(refresh(&again, 600).status(), 200);

    again.world.advance(601);
    let later = again.again(Seal::none());
    later.state.load();
    sweep(&later);
    assert!(alerts(&later)[0].contains("cause=\"expired\"") && alerts(&later).len() == 1);
    assert!(later.state.is_empty() && !entity(&later).exists());
}

#[test]
fn users_are_found_before_all_are_read_and_who_ends_then_stays_out() {
    let first = bed(Nature::Durable);
    assert_eq!(push(&first).status(), 200);
    let old = entity(&first);
    let again = first.again(Seal::none());
    assert_eq!(ext_of(&refresh(&again, 700)).state, Some(RegState::Registered));
    assert!(again.has_smk());
    assert_eq!(refresh(&again, 0).status(), 200);
    // The reader comes by with what it had read before.
    again.state.reconcile(&key_of(&again.impu), &old).unwrap();
    assert!(again.state.is_empty());
    again.state.load();
    assert!(again.state.is_empty() && !entity(&again).exists());
    assert_eq!(push(&again).status(), 200);
    again.state.reconcile(&key_of(&again.impu), &old).unwrap();
    assert_eq!(again.registration_state(), RegState::Registered);
}

#[test]
fn a_key_that_was_waited_for_is_asked_for_again_after_a_restart() {
    let first = bed(Nature::Durable);
    assert_eq!(ext_of(&pull(&first)).state, Some(RegState::Pending));
    first.world.crash();
    let again = first.again(Seal::none());
    again.state.load();
    assert_eq!(again.registration_state(), RegState::Pending);
    sweep(&again);
    assert!(again.has_smk() && again.registration_state() == RegState::Registered);
    assert!(alerts(&again)[0].contains("state=\"active\"") && alerts(&again).len() == 1);
    sweep(&again);
    assert_eq!(alerts(&again).len(), 1);
}

#[test]
fn who_registers_anew_after_a_restart_is_not_waited_for() {
    for early in [true, false] {
        let first = bed(Nature::Durable);
        pull(&first);
        first.world.crash();
        let again = first.again(Seal::none());
        again.state.load();
        again.world.advance(1);
        if early {
            assert_eq!(push(&again).status(), 200);
            sweep(&again);
        } else {
            again.world.run(Rc::clone(&again.bsm).sweep());
            assert_eq!(push(&again).status(), 200);
            again.world.settle();
        }
        assert!(again.has_smk() && alerts(&again).is_empty(), "{early}");
    }
}

#[test]
fn only_the_last_change_is_undone() {
    let bed = bed(Nature::Durable);
    assert_eq!(push(&bed).status(), 200);
    let now = bed.world.now();
    let state = &bed.state;
    let [first, second] = [&["a"][..], &["b"]].map(|items| {
        let before = state.before(&bed.impu);
        let items: Vec<_> = items.iter().map(|item| item.to_string()).collect();
        state.set_services(&bed.impu, &items, &[], now);
        (before, state.changed_at(&bed.impu))
    });
    assert!(!state.undo(&bed.impu, first.0, first.1));
    assert_eq!(*state.record(&bed.impu).unwrap().services, ["a", "b"]);
    assert!(state.undo(&bed.impu, second.0, second.1));
    assert_eq!(*state.record(&bed.impu).unwrap().services, ["a"]);
    let before = state.before(&bed.impu);
    state.terminate(&bed.impu, now);
    let at = state.changed_at(&bed.impu);
    assert!(state.owner(&bed.boot.btid).is_none() && state.undo(&bed.impu, before, at));
    assert!(bed.has_smk() && state.owner(&bed.boot.btid).is_some() && state.ended.is_empty());
}

#[test]
fn what_cannot_be_saved_is_not_done() {
    let bed = bed(Nature::Durable);
    bed.state.load();
    assert_eq!(push(&bed).status(), 200);
    let before = format!("{:?}", bed.state.record(&bed.impu));
    bed.store.close();
    for answer in [refresh(&bed, 700), refresh(&bed, 0), push(&bed), pull(&bed)] {
        assert!(refused_for_now(&answer), "{}", answer.status());
        assert_eq!(format!("{:?}", bed.state.record(&bed.impu)), before);
    }
    assert!(bed.has_smk() && bed.state.owner(&bed.boot.btid).is_some());
    assert_eq!(bed.state.keeper.unsaved(), 0);
    assert_eq!(bed.hss.updates.lock().unwrap().len(), 1);

    let other = Bed { impu: Impu::from("sip:new@home1.net"), ..bed };
    let ext = Ext { btid: Some(other.boot.btid.clone()), key: Some(KeyWay::OnUse), ..Ext::default() };
    assert!(refused_for_now(&other.ask(&other.register(ext, 600, None), IMS)));
    assert_eq!(other.state.len(), 1);
}

#[test]
fn keys_lie_sealed_in_the_store() {
    let bed = bed(Nature::Durable);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let first = bed.again(Seal::create(&path).unwrap());
    assert_eq!(push(&first).status(), 200);
    let text = String::from_utf8(entity(&first).field(RECORD).unwrap().to_vec()).unwrap();
    let key = first.boot.ks_naf(&first.naf).0;
    let hex = crate::broadcast::hex(&key);
    assert!(!text.contains(&STANDARD.encode(key)) && !text.to_lowercase().contains(&hex), "{text}");
    assert!(text.contains("\"key\":\"s1."), "{text}");

    let again = first.again(Seal::from_file(&path).unwrap());
    again.state.load();
    assert!(again.has_smk());
    // Without the key file the user stays; his key is asked for when it is needed.
    let without = first.again(Seal::none());
    without.state.load();
    assert!(!without.has_smk() && without.registration_state() == RegState::Registered);
    order(&without, "a");
    assert!(without.has_smk());
}

#[test]
fn what_cannot_be_read_is_written_over() {
    let first = bed(Nature::Shared);
    let form = |text: &str| vec![(RECORD.into(), Some(text.as_bytes().into()))];
    for text in ["", "{", "{\"state\":\"x\",\"changed\":1,\"until\":1}", "[]"] {
        first.store.save(Save::whole(key_of(&first.impu), form(text))).wait().unwrap();
        let node = first.again(Seal::none());
        assert_eq!(push(&node).status(), 200, "{text}");
        assert!(first.again(Seal::none()).state.read(&key_of(&first.impu), &entity(&first)).is_ok());
    }
}

#[test]
fn two_nodes_have_one_user() {
    let one = bed(Nature::Shared);
    let key = Key::new(Class::Btid, one.boot.btid.text());
    let theirs = vec![("owner".into(), Some(b"u@home1.net"[..].into()))];
    one.store.save(Save::some(key.clone(), theirs)).wait().unwrap();
    assert_eq!(push(&one).status(), 200);
    one.world.settle();
    let two = one.again(Seal::none());
    assert_eq!(two.world.run(two.bsm.owner(&one.boot.btid)).unwrap().as_ref(), Some(&one.impu));
    assert!(one.store.load(vec![key]).wait().unwrap()[0].field("owner").is_some(), "the S-CSCF's stays");
    two.world.advance(10);
    assert_eq!(refresh(&two, 900).status(), 200);
    assert!(two.has_smk());
    two.world.run(one.bsm.fetch(&one.impu)).unwrap();
    assert_eq!(one.state.record(&one.impu).unwrap().until, two.state.record(&one.impu).unwrap().until);

    // One ends it; the other still has a copy, which does not bring it back.
    let stale = entity(&one);
    two.world.advance(10);
    assert_eq!(refresh(&two, 0).status(), 200);
    assert_eq!(one.registration_state(), RegState::Registered);
    one.bsm.keep_later(&one.impu);
    one.world.settle();
    assert_eq!(one.registration_state(), RegState::NotRegistered);
    assert!(one.state.owner(&one.boot.btid).is_none());
    two.state.reconcile(&key_of(&two.impu), &stale).unwrap();
    assert!(two.state.is_empty());
    let text = String::from_utf8(entity(&one).field(RECORD).unwrap().to_vec()).unwrap();
    assert!(text.contains("terminated") && !text.contains("smk"), "{text}");
    // It may register again at once, with any node.
    one.world.advance(1);
    assert_eq!(push(&one).status(), 200);
    two.world.run(two.bsm.fetch(&two.impu)).unwrap();
    assert!(two.has_smk());
}

#[test]
fn of_two_nodes_one_ends_who_is_over_and_tells_once() {
    let one = bed(Nature::Shared);
    assert_eq!(push(&one).status(), 200);
    let two = one.again(Seal::none());
    two.world.run(two.bsm.fetch(&two.impu)).unwrap();
    one.world.advance(599);
    assert!(claim(&one).is_empty());
    one.world.advance(2);
    for node in [&one, &two] {
        sweep(node);
    }
    assert!(alerts(&one).is_empty(), "copies end nothing");
    let keys = claim(&one);
    assert_eq!(keys, [key_of(&one.impu)]);
    assert!(claim(&two).is_empty());
    // Even if both have claimed it, because one was slow.
    for node in [&one, &two] {
        let due = Rc::clone(&node.bsm).due(keys[0].clone());
        (node.bsm.env.spawn)(Box::pin(due));
    }
    one.world.settle();
    assert_eq!(alerts(&one).len(), 1);
    assert!(one.state.is_empty() && two.state.is_empty());
    one.world.advance(3600);
    assert!(claim(&one).is_empty() && !entity(&one).exists());
    sweep(&one);
    assert!(one.state.ended.is_empty());
}

#[test]
fn who_was_refreshed_meanwhile_is_not_ended() {
    let one = bed(Nature::Shared);
    assert_eq!(push(&one).status(), 200);
    let two = one.again(Seal::none());
    one.world.advance(601);
    let keys = claim(&one);
    let due = Rc::clone(&one.bsm).due(keys[0].clone());
    assert_eq!(refresh(&two, 600).status(), 200);
    one.world.run(due);
    one.world.settle();
    assert!(alerts(&one).is_empty() && one.registration_state() == RegState::Registered);
    // Claiming has put off when it is due; that is set right again.
    one.world.advance(601);
    assert_eq!(claim(&two).len(), 1);
}

#[test]
fn a_key_that_a_dead_node_waited_for_is_asked_for_by_another() {
    let one = bed(Nature::Shared);
    assert_eq!(ext_of(&pull(&one)).state, Some(RegState::Pending));
    one.world.crash();
    let two = one.again(Seal::none());
    assert!(claim(&two).is_empty());
    two.world.advance(31);
    for key in claim(&two) {
        two.world.run(Rc::clone(&two.bsm).due(key));
    }
    two.world.settle();
    assert!(two.has_smk() && two.registration_state() == RegState::Registered);
    assert_eq!(alerts(&two).len(), 1);
    two.world.run(one.bsm.fetch(&one.impu)).unwrap();
    assert!(one.has_smk());
}

#[test]
fn without_the_shared_store_who_has_a_key_is_served_and_nobody_registers() {
    let bed = bed(Nature::Shared);
    assert_eq!(push(&bed).status(), 200);
    bed.world.settle();
    bed.store.close();
    for answer in [refresh(&bed, 700), refresh(&bed, 0), push(&bed), pull(&bed)] {
        assert!(refused_for_now(&answer));
    }
    assert_eq!(bed.registration_state(), RegState::Registered);
    assert_eq!(order(&bed, "a").status(), 202);
    assert!(bed.world.sent.borrow().last().unwrap().1.contains("globalStatusCode=\"0\""));
    let stranger = Bed { impu: Impu::from("sip:x@home1.net"), ..bed };
    let ext = Ext { naf: Some(stranger.naf.clone()), btid: Some(stranger.boot.btid.clone()), ..Ext::default() };
    let headers =
        [(HeaderName::PAssertedIdentity, stranger.impu.as_str().to_string()), (HeaderName::BcastExt, ext.to_string())];
    let body = Request::service("1", None, &["a"]).to_xml();
    let answer = stranger.ask(&stranger.message(&headers, Some((media::PROVISIONING, &body))), IMS);
    assert!(refused_for_now(&answer));
    stranger.world.advance(601);
    let late = Bed { impu: Impu::from("sip:u@home1.net"), ..stranger };
    assert!(refused_for_now(&order(&late, "a")), "his time is over");
}

#[test]
fn a_shared_store_that_has_lost_a_user_gets_him_again() {
    let bed = bed(Nature::Shared);
    assert_eq!(push(&bed).status(), 200);
    bed.store.save(Save::remove(key_of(&bed.impu))).wait().unwrap();
    assert_eq!(refresh(&bed, 600).status(), 200);
    assert!(bed.has_smk() && entity(&bed).exists());
}

#[test]
fn whatever_two_nodes_do_at_a_time_they_agree_in_the_end() {
    for seed in 1..=200u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut pick = |of: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % of
        };
        let bed = bed(Nature::Shared);
        let store = Slow::on(&bed);
        let nodes = [bed.on(store.clone(), Seal::none()), bed.on(store.clone(), Seal::none())];
        for _ in 0..10 {
            let node = &nodes[pick(2) as usize];
            let status = Ext { mode: Some(Mode::Status), btid: Some(bed.boot.btid.clone()), ..Ext::default() };
            let bytes = match pick(4) {
                0 => bed.register(status, 0, None),
                1 => bed.register(status, 600 + pick(100) as u32, None),
                _ => {
                    let ext = Ext { key: Some(KeyWay::Included), ..status };
                    bed.register(ext, 600, Some((media::NAF_KEY, &bed.boot.key_document(&bed.naf).to_xml())))
                }
            };
            let (bsm, now) = (Rc::clone(&node.bsm), bed.world.now());
            let job: Job = Box::pin(async move {
                let request = Message::parse(&bytes).unwrap();
                let from = crate::broadcast::peer::tests::source(crate::sip::transaction::Transport::Udp, IMS, &[]);
                bsm.handle(&request, &from, now).await;
            });
            (bed.bsm.env.spawn)(job);
            match pick(3) {
                0 => bed.world.settle(),
                1 => bed.world.advance(1),
                _ => {}
            }
        }
        bed.world.settle();
        let records = nodes.each_ref().map(|node| {
            bed.world.run(node.bsm.fetch(&bed.impu)).unwrap();
            format!("{:?}", node.state.record(&bed.impu))
        });
        assert_eq!(records[0], records[1], "seed {seed}");
        let stored = match bed.state.read(&key_of(&bed.impu), &entity(&bed)).unwrap() {
            Some(Stored::Registered(record)) => Some(*record),
            _ => None,
        };
        assert_eq!(records[0], format!("{stored:?}"), "seed {seed}");
        assert!(nodes.iter().all(|node| node.state.keeper.unsaved() == 0), "seed {seed}");
    }
}

#[test]
fn an_hss_that_ends_a_registration_is_obeyed_and_the_ims_hears_of_it() {
    for nature in [Nature::Volatile, Nature::Durable, Nature::Shared] {
        let bed = bed(nature);
        bed.state.load();
        assert_eq!(push(&bed).status(), 200);
        bed.world.settle();
        bed.world.run(Rc::clone(&bed.bsm).withdrawn(bed.impu.clone()));
        bed.world.settle();
        assert!(bed.registration_state() == RegState::NotRegistered && !bed.has_smk());
        assert!(alerts(&bed)[0].contains("cause=\"deactivated\"") && alerts(&bed).len() == 1);
        // Nobody who is registered: nothing to do.
        bed.world.run(Rc::clone(&bed.bsm).withdrawn(bed.impu.clone()));
        bed.world.settle();
        assert_eq!(alerts(&bed).len(), 1);
    }
}
