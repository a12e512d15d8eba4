//! What every store does, written once against the trait; [`all`] runs it on one. Names are the tests' own, so that
//! stores which share a server do not meet in them.

use imscript::clock::Now;
use imscript::store::{Class, Due, Entity, Key, MAX_NAME, MAX_VALUE, Save, Saved, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// A store and its time.
pub(crate) trait Bed: Sync {
    /// A store with nothing in it.
    fn store(&self) -> Arc<dyn Store>;
    fn now(&self) -> Now;
    /// A length of time that is felt: long where time is moved by hand, short where it is waited for.
    fn while_(&self) -> Duration;
    /// Lets time pass on both clocks.
    fn pass(&self, by: Duration);
}

/// Tells the other threads that the test is over, also when it fails: a scope waits for them.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

type Test = (&'static str, fn(&dyn Bed));

/// The tests by name, so that a caller can run and name them one by one.
pub(crate) const TESTS: &[Test] = &[
    ("what_is_not_there_has_version_0", what_is_not_there_has_version_0),
    ("a_change_raises_the_version_by_one", a_change_raises_the_version_by_one),
    ("whole_replaces_and_some_leaves_the_rest", whole_replaces_and_some_leaves_the_rest),
    ("an_entity_without_fields_is_gone", an_entity_without_fields_is_gone),
    ("a_change_is_made_only_upon_its_version", a_change_is_made_only_upon_its_version),
    ("what_is_made_anew_is_above_all_that_was", what_is_made_anew_is_above_all_that_was),
    ("what_is_let_go_is_not_seen", what_is_let_go_is_not_seen),
    ("one_asker_takes", one_asker_takes),
    ("one_of_two_makes_it", one_of_two_makes_it),
    ("due_is_claimed_once_for_the_hold", due_is_claimed_once_for_the_hold),
    ("due_follows_the_last_save", due_follows_the_last_save),
    ("many_claim_and_each_is_given_once", many_claim_and_each_is_given_once),
    ("saves_are_made_in_the_order_of_their_calls", saves_are_made_in_the_order_of_their_calls),
    ("a_load_sees_what_was_saved_before_it", a_load_sees_what_was_saved_before_it),
    ("many_keys_come_in_their_order", many_keys_come_in_their_order),
    ("a_walk_gives_each_of_its_class_once", a_walk_gives_each_of_its_class_once),
    ("a_walk_goes_on_while_others_write", a_walk_goes_on_while_others_write),
    ("sizes_are_kept", sizes_are_kept),
    ("octets_come_back_as_they_were", octets_come_back_as_they_were),
    ("many_fields_and_large_ones", many_fields_and_large_ones),
    ("counters_of_many_threads_add_up", counters_of_many_threads_add_up),
    ("its_time_runs_with_ours", its_time_runs_with_ours),
    ("a_store_that_is_well_says_so", a_store_that_is_well_says_so),
    ("a_closed_store_says_so", a_closed_store_says_so),
];

pub(crate) fn all(bed: &dyn Bed) {
    for (name, test) in TESTS {
        eprintln!("  {name}");
        test(bed);
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(Class::User, name)
}

pub(crate) fn put(name: &str, value: impl AsRef<[u8]>) -> (Box<str>, Option<Box<[u8]>>) {
    (name.into(), Some(value.as_ref().into()))
}

pub(crate) fn out(name: &str) -> (Box<str>, Option<Box<[u8]>>) {
    (name.into(), None)
}

pub(crate) fn made(store: &dyn Store, save: Save) -> u64 {
    match store.save(save).wait().unwrap() {
        Saved::Done(version) => version,
        Saved::Conflict => panic!("a conflict"),
    }
}

pub(crate) fn load(store: &dyn Store, key: Key) -> Entity {
    let mut found = store.load(vec![key]).wait().unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn shown(entity: &Entity) -> Vec<(&str, &str)> {
    entity.fields.iter().map(|(name, value)| (&**name, std::str::from_utf8(value).unwrap())).collect()
}

fn due(store: &dyn Store, hold: Duration) -> BTreeSet<Key> {
    store.claim_due(hold, 100).wait().unwrap().into_iter().collect()
}

fn what_is_not_there_has_version_0(bed: &dyn Bed) {
    let store = bed.store();
    let found = load(&*store, key("nobody"));
    assert_eq!(found, Entity::default());
    assert!(!found.exists());
    assert_eq!(store.take(key("nobody")).wait().unwrap(), Entity::default());
    assert_eq!(store.save(Save::remove(key("nobody"))).wait().unwrap(), Saved::Done(0));
    assert_eq!(store.save(Save::some(key("nobody"), vec![out("a")])).wait().unwrap(), Saved::Done(0));
    assert!(store.load(Vec::new()).wait().unwrap().is_empty());
    assert!(due(&*store, bed.while_()).is_empty());
}

fn a_change_raises_the_version_by_one(bed: &dyn Bed) {
    let store = bed.store();
    let first = made(&*store, Save::whole(key("v"), vec![put("a", "1")]));
    assert!(first > 0);
    for n in 1..10 {
        let save = match n % 2 {
            0 => Save::whole(key("v"), vec![put("a", "1")]),
            _ => Save::some(key("v"), vec![put("a", "1")]),
        };
        assert_eq!(made(&*store, save), first + n);
        assert_eq!(load(&*store, key("v")).version, first + n);
    }
}

fn whole_replaces_and_some_leaves_the_rest(bed: &dyn Bed) {
    let store = bed.store();
    made(&*store, Save::whole(key("f"), vec![put("b", "2"), put("a", "1"), put("c", "3")]));
    assert_eq!(shown(&load(&*store, key("f"))), [("a", "1"), ("b", "2"), ("c", "3")]);
    made(&*store, Save::some(key("f"), vec![put("d", "4"), out("b"), put("a", "x"), out("none")]));
    let entity = load(&*store, key("f"));
    assert_eq!(shown(&entity), [("a", "x"), ("c", "3"), ("d", "4")]);
    assert_eq!((entity.field("c"), entity.field("b")), (Some(&b"3"[..]), None));
    made(&*store, Save::whole(key("f"), vec![put("e", "5")]));
    assert_eq!(shown(&load(&*store, key("f"))), [("e", "5")]);
    // The same name in another class is another entity.
    assert!(!load(&*store, Key::new(Class::Registered, "f")).exists());
}

fn an_entity_without_fields_is_gone(bed: &dyn Bed) {
    let store = bed.store();
    made(&*store, Save::whole(key("g"), vec![put("a", "1"), put("b", "2")]).due(Due::At(Duration::ZERO)));
    assert_ne!(made(&*store, Save::some(key("g"), vec![out("a")])), 0);
    assert_eq!(made(&*store, Save::some(key("g"), vec![out("b")])), 0);
    assert_eq!(load(&*store, key("g")), Entity::default());
    assert!(due(&*store, bed.while_()).is_empty(), "what is gone is not due");
    made(&*store, Save::whole(key("g"), vec![put("a", "1")]));
    assert_eq!(made(&*store, Save::remove(key("g"))), 0);
    assert!(!load(&*store, key("g")).exists());
}

fn a_change_is_made_only_upon_its_version(bed: &dyn Bed) {
    let store = bed.store();
    let save = |value: &str| Save::whole(key("u"), vec![put("a", value)]);
    assert_eq!(store.save(save("x").upon(7)).wait().unwrap(), Saved::Conflict);
    assert!(!load(&*store, key("u")).exists());
    let first = made(&*store, save("1").upon(0));
    assert_eq!(store.save(save("x").upon(0)).wait().unwrap(), Saved::Conflict);
    let second = made(&*store, save("2").upon(first));
    assert_eq!(store.save(save("x").upon(first)).wait().unwrap(), Saved::Conflict);
    assert_eq!(store.save(Save::some(key("u"), vec![put("b", "x")]).upon(first)).wait().unwrap(), Saved::Conflict);
    assert_eq!(store.save(Save::remove(key("u")).upon(first)).wait().unwrap(), Saved::Conflict);
    let entity = load(&*store, key("u"));
    assert_eq!((entity.version, shown(&entity)), (second, vec![("a", "2")]), "a conflict changes nothing");
    assert_eq!(made(&*store, Save::remove(key("u")).upon(second)), 0);
    assert_eq!(store.save(save("x").upon(second)).wait().unwrap(), Saved::Conflict);
}

fn what_is_made_anew_is_above_all_that_was(bed: &dyn Bed) {
    let store = bed.store();
    let mut highest = 0;
    for round in 0..20 {
        let mut version = made(&*store, Save::whole(key("n"), vec![put("a", "1")]).upon(0));
        assert!(version > highest, "round {round}: {version} after {highest}");
        for _ in 0..round {
            version = made(&*store, Save::some(key("n"), vec![put("a", "1")]));
        }
        highest = version;
        match round % 3 {
            0 => _ = made(&*store, Save::remove(key("n"))),
            1 => _ = store.take(key("n")).wait().unwrap(),
            _ => _ = made(&*store, Save::some(key("n"), vec![out("a")])),
        }
    }
    // One that was let go as well.
    let until = store.time(bed.now()) + bed.while_();
    let version = made(&*store, Save::whole(key("n"), vec![put("a", "1")]).until(until));
    bed.pass(bed.while_() * 2);
    assert!(made(&*store, Save::whole(key("n"), vec![put("a", "1")]).upon(0)) > version);
}

fn what_is_let_go_is_not_seen(bed: &dyn Bed) {
    let store = bed.store();
    let until = store.time(bed.now()) + bed.while_();
    for name in ["l1", "l2", "l3", "l4"] {
        made(&*store, Save::whole(key(name), vec![put("a", "1")]).until(until).due(Due::At(until)));
    }
    assert!(load(&*store, key("l1")).exists());
    // Without a time of its own a save takes the old one away.
    made(&*store, Save::some(key("l4"), vec![put("b", "2")]));
    bed.pass(bed.while_() * 2);
    assert_eq!(load(&*store, key("l1")), Entity::default());
    assert_eq!(store.take(key("l2")).wait().unwrap(), Entity::default());
    let version = made(&*store, Save::some(key("l3"), vec![put("c", "3")]).upon(0));
    let entity = load(&*store, key("l3"));
    assert_eq!((entity.version, shown(&entity)), (version, vec![("c", "3")]), "nothing is left of the old one");
    assert_eq!(shown(&load(&*store, key("l4"))), [("a", "1"), ("b", "2")]);
    let mut walked = BTreeSet::new();
    let mut each = |key: &Key, _: Entity| {
        walked.insert(key.name.to_string());
        ControlFlow::Continue(())
    };
    store.walk(Class::User, &mut each).unwrap();
    assert_eq!(walked, BTreeSet::from(["l3".into(), "l4".into()]));
}

fn one_asker_takes(bed: &dyn Bed) {
    let store = bed.store();
    for round in 0..20 {
        let name = format!("t{round}");
        made(&*store, Save::whole(key(&name), vec![put("a", "1")]));
        let winners = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let taken = store.take(key(&name)).wait().unwrap();
                    if taken.exists() {
                        assert_eq!(shown(&taken), [("a", "1")]);
                        winners.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
        assert!(!load(&*store, key(&name)).exists());
    }
}

fn one_of_two_makes_it(bed: &dyn Bed) {
    let store = bed.store();
    for round in 0..20 {
        let name = format!("m{round}");
        let winners = AtomicUsize::new(0);
        thread::scope(|scope| {
            for n in 0..4 {
                let (store, winners, name) = (&store, &winners, &name);
                scope.spawn(move || {
                    let save = Save::whole(key(name), vec![put("by", n.to_string())]).upon(0);
                    if matches!(store.save(save).wait().unwrap(), Saved::Done(_)) {
                        winners.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
    }
}

fn due_is_claimed_once_for_the_hold(bed: &dyn Bed) {
    let (store, while_) = (bed.store(), bed.while_());
    let at = store.time(bed.now()) + while_;
    made(&*store, Save::whole(key("d1"), vec![put("a", "1")]).due(Due::At(at)));
    made(&*store, Save::whole(Key::new(Class::BroadcastUser, "d2"), vec![put("a", "1")]).due(Due::At(at)));
    made(&*store, Save::whole(key("d3"), vec![put("a", "1")]).due(Due::At(at + while_ * 100)));
    made(&*store, Save::whole(key("d4"), vec![put("a", "1")]));
    let both = BTreeSet::from([key("d1"), Key::new(Class::BroadcastUser, "d2")]);
    assert!(due(&*store, while_).is_empty(), "not yet");
    bed.pass(while_ * 2);
    assert_eq!(due(&*store, while_ * 4), both);
    assert!(due(&*store, while_ * 4).is_empty(), "held");
    bed.pass(while_ * 5);
    let first = store.claim_due(while_ * 4, 1).wait().unwrap();
    let second = store.claim_due(while_ * 4, 1).wait().unwrap();
    assert_eq!((first.len(), second.len()), (1, 1), "at most so many");
    assert_eq!(BTreeSet::from_iter(first.into_iter().chain(second)), both, "due again after the hold");
    let entity = load(&*store, key("d1"));
    assert_eq!(shown(&entity), [("a", "1")], "a claim changes no field");
}

fn due_follows_the_last_save(bed: &dyn Bed) {
    let (store, while_) = (bed.store(), bed.while_());
    let now = store.time(bed.now());
    for name in ["s1", "s2", "s3", "s4", "s5"] {
        made(&*store, Save::whole(key(name), vec![put("a", "1")]).due(Due::At(now)));
    }
    made(&*store, Save::some(key("s1"), vec![put("a", "2")]));
    made(&*store, Save::whole(key("s2"), vec![put("a", "2")]).due(Due::Never));
    made(&*store, Save::some(key("s3"), vec![put("a", "2")]).due(Due::At(now + while_ * 10)));
    made(&*store, Save::remove(key("s4")));
    bed.pass(while_);
    assert_eq!(due(&*store, while_ * 100), BTreeSet::from([key("s1"), key("s5")]));
    made(&*store, Save::some(key("s1"), vec![put("a", "3")]).due(Due::Never));
    made(&*store, Save::some(key("s5"), vec![put("a", "3")]).due(Due::At(store.time(bed.now()))));
    bed.pass(while_);
    assert_eq!(due(&*store, while_ * 100), BTreeSet::from([key("s5")]), "a save ends the hold");
    // What is made anew is not due because an earlier one was.
    assert_eq!(made(&*store, Save::remove(key("s5"))), 0);
    made(&*store, Save::whole(key("s5"), vec![put("a", "4")]));
    bed.pass(while_ * 12);
    assert_eq!(due(&*store, while_), BTreeSet::from([key("s3")]));
}

fn many_claim_and_each_is_given_once(bed: &dyn Bed) {
    let store = bed.store();
    let now = store.time(bed.now());
    let saves = (0..200).map(|n| Save::whole(key(&format!("c{n}")), vec![put("a", "1")]).due(Due::At(now)));
    let answers: Vec<_> = saves.map(|save| store.save(save)).collect();
    answers.into_iter().for_each(|answer| _ = answer.wait().unwrap());
    bed.pass(bed.while_());
    let given = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let keys = store.claim_due(Duration::from_secs(3600), 7).wait().unwrap();
                    if keys.is_empty() {
                        return;
                    }
                    given.lock().unwrap().extend(keys);
                }
            });
        }
    });
    let mut given = given.into_inner().unwrap();
    given.sort();
    assert_eq!(given.len(), 200);
    given.dedup();
    assert_eq!(given.len(), 200);
}

fn saves_are_made_in_the_order_of_their_calls(bed: &dyn Bed) {
    let store = bed.store();
    let names = ["o1", "o2", "o3"];
    let mut answers = Vec::new();
    for n in 0..1000 {
        let save = Save::whole(key(names[n % 3]), vec![put("n", n.to_string())]);
        answers.push(store.save(save));
    }
    // Awaited backwards, and some not at all: that changes nothing.
    let mut versions: Vec<_> = answers.into_iter().rev().step_by(2).map(|answer| answer.wait().unwrap()).collect();
    versions.reverse();
    for (place, name) in names.iter().enumerate() {
        let last = (0..1000).rfind(|n| n % 3 == place).unwrap();
        assert_eq!(shown(&load(&*store, key(name))), [("n", &*last.to_string())]);
    }
    let first = |saved: &Saved| matches!(saved, Saved::Done(version) if *version > 0);
    assert!(versions.iter().all(first));
}

fn a_load_sees_what_was_saved_before_it(bed: &dyn Bed) {
    let store = bed.store();
    for n in 0..500 {
        let save = store.save(Save::whole(key("r"), vec![put("n", n.to_string())]));
        let found = store.load(vec![key("r0"), key("r")]);
        assert_eq!(shown(&found.wait().unwrap()[1]), [("n", &*n.to_string())]);
        drop(save);
        if n % 50 == 0 {
            let save = store.save(Save::remove(key("r")));
            assert!(!store.take(key("r")).wait().unwrap().exists());
            drop(save);
        }
    }
}

fn many_keys_come_in_their_order(bed: &dyn Bed) {
    let store = bed.store();
    for n in (0..100).step_by(2) {
        made(&*store, Save::whole(key(&format!("k{n}")), vec![put("n", n.to_string())]));
    }
    let keys: Vec<_> = (0..100).rev().map(|n| key(&format!("k{n}"))).chain([key("k4")]).collect();
    let found = store.load(keys).wait().unwrap();
    assert_eq!(found.len(), 101);
    for (n, entity) in (0..100).rev().chain([4]).zip(&found) {
        assert_eq!(entity.exists(), n % 2 == 0);
        assert_eq!(entity.field("n"), (n % 2 == 0).then(|| n.to_string()).as_deref().map(str::as_bytes));
    }
}

fn a_walk_gives_each_of_its_class_once(bed: &dyn Bed) {
    let store = bed.store();
    let answers: Vec<_> = (0..1500)
        .map(|n| {
            let class = if n % 3 == 0 { Class::Registered } else { Class::User };
            store.save(Save::whole(Key::new(class, format!("w{n}")), vec![put("n", n.to_string())]))
        })
        .collect();
    answers.into_iter().for_each(|answer| _ = answer.wait().unwrap());
    let mut seen = BTreeMap::new();
    let mut each = |key: &Key, entity: Entity| {
        assert_eq!(key.class, Class::User);
        assert_eq!(format!("w{}", std::str::from_utf8(entity.field("n").unwrap()).unwrap()), *key.name);
        assert!(entity.exists());
        *seen.entry(key.name.clone()).or_insert(0) += 1;
        ControlFlow::Continue(())
    };
    store.walk(Class::User, &mut each).unwrap();
    assert_eq!(seen.len(), 1000);
    assert!(seen.values().all(|times| *times == 1));
    let mut count = 0;
    let mut each = |_: &Key, _: Entity| {
        count += 1;
        if count == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.walk(Class::Registered, &mut each).unwrap();
    assert_eq!(count, 10);
    store.walk(Class::Plugin, &mut |_, _| panic!("there is none")).unwrap();
}

fn a_walk_goes_on_while_others_write(bed: &dyn Bed) {
    let store = bed.store();
    let stay: Vec<_> =
        (0..700).map(|n| store.save(Save::whole(key(&format!("stay{n}")), vec![put("a", "0")]))).collect();
    stay.into_iter().for_each(|answer| _ = answer.wait().unwrap());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                made(&*store, Save::whole(key(&format!("come{n}")), vec![put("a", "1")]));
                made(&*store, Save::some(key(&format!("stay{}", n % 700)), vec![put("a", n.to_string())]));
                made(&*store, Save::remove(key(&format!("come{}", n / 2))));
            }
        });
        for _ in 0..5 {
            let mut seen = BTreeMap::new();
            let mut each = |key: &Key, _: Entity| {
                // A walk may ask the store as well.
                if seen.is_empty() {
                    assert!(load(&*store, Key::new(Class::User, "stay0")).exists());
                }
                *seen.entry(key.name.clone()).or_insert(0) += 1;
                ControlFlow::Continue(())
            };
            store.walk(Class::User, &mut each).unwrap();
            for n in 0..700 {
                assert_eq!(seen.get(&*format!("stay{n}")), Some(&1), "what is there all the time is given once");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn sizes_are_kept(bed: &dyn Bed) {
    let store = bed.store();
    let refused = |save: Save| assert!(matches!(store.save(save).wait(), Err(StoreError::Refused(_))));
    refused(Save::whole(key(""), vec![put("a", "1")]));
    refused(Save::whole(key(&"n".repeat(MAX_NAME + 1)), vec![put("a", "1")]));
    refused(Save::whole(key("z"), vec![put("", "1")]));
    refused(Save::whole(key("z"), vec![put(&"f".repeat(MAX_NAME + 1), "1")]));
    refused(Save::whole(key("z"), vec![put("a", vec![b'x'; MAX_VALUE + 1])]));
    assert!(!load(&*store, key("z")).exists());
    let (name, field, value) = ("n".repeat(MAX_NAME), "f".repeat(MAX_NAME), vec![b'x'; MAX_VALUE]);
    made(&*store, Save::whole(key(&name), vec![put(&field, &value), put("empty", "")]));
    let entity = load(&*store, key(&name));
    assert_eq!((entity.field(&field), entity.field("empty")), (Some(&*value), Some(&b""[..])));
}

fn octets_come_back_as_they_were(bed: &dyn Bed) {
    let store = bed.store();
    let names = ["a b", "é", "\"quoted\"", "sip:+49@x;y=z", "{tag}", "a\r\nb", "nul\0", "%41", "*", "日本"];
    let all: Vec<u8> = (0..=255).collect();
    for name in names {
        made(&*store, Save::whole(key(name), vec![put(name, &all), put("z", name)]));
    }
    for name in names {
        let entity = load(&*store, key(name));
        assert_eq!((entity.field(name), entity.field("z")), (Some(&*all), Some(name.as_bytes())), "{name:?}");
    }
    let mut walked = BTreeSet::new();
    let mut each = |key: &Key, entity: Entity| {
        assert_eq!(entity.field(&key.name), Some(&*all));
        walked.insert(key.name.to_string());
        ControlFlow::Continue(())
    };
    store.walk(Class::User, &mut each).unwrap();
    assert_eq!(walked, names.iter().map(|name| name.to_string()).collect());
}

fn many_fields_and_large_ones(bed: &dyn Bed) {
    let store = bed.store();
    let plugin = || Key::new(Class::Plugin, "many");
    let mut model = BTreeMap::new();
    let mut version = 0;
    for round in 0..60_usize {
        let mut fields = Vec::new();
        for n in 0..8 {
            let name = format!("f{:02}", (round * 7 + n * 5) % 50);
            if (round + n) % 6 == 5 {
                model.remove(&*name);
                fields.push(out(&name));
            } else {
                let value = vec![round as u8; (round * 131 + n * 977) % 3000];
                model.insert(name.clone(), value.clone());
                fields.push(put(&name, value));
            }
        }
        let now = made(&*store, Save::some(plugin(), fields));
        assert!(version == 0 || now == version + 1);
        version = now;
        if round % 10 == 0 {
            let entity = load(&*store, plugin());
            let found: BTreeMap<_, _> = entity.fields.iter().map(|(n, v)| (n.to_string(), v.to_vec())).collect();
            assert!(entity.fields.is_sorted_by(|a, b| a.0 < b.0));
            assert_eq!((found == model, entity.version), (true, version), "round {round}");
        }
    }
    made(&*store, Save::whole(plugin(), vec![put("a", "small again")]));
    assert_eq!(shown(&load(&*store, plugin())), [("a", "small again")]);
    let large = || (0..50).map(|n| put(&format!("{n}"), vec![b'y'; 500]));
    made(&*store, Save::some(plugin(), large().collect()));
    assert_eq!(load(&*store, plugin()).fields.len(), 51);
    let all = (0..50).map(|n| out(&format!("{n}"))).chain([out("a")]);
    assert_eq!(made(&*store, Save::some(plugin(), all.collect())), 0);
    made(&*store, Save::whole(plugin(), large().collect()));
    assert_eq!(store.take(plugin()).wait().unwrap().fields.len(), 50);
    made(&*store, Save::some(plugin(), vec![put("b", "alone")]));
    assert_eq!(shown(&load(&*store, plugin())), [("b", "alone")], "nothing is left of the one before");
}

fn counters_of_many_threads_add_up(bed: &dyn Bed) {
    let store = bed.store();
    const THREADS: usize = 6;
    const EACH: usize = 50;
    thread::scope(|scope| {
        for n in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                let mine = key(&format!("own{n}"));
                for done in 0..EACH {
                    // One entity of all, changed upon what was read; one of its own beside it.
                    loop {
                        let entity = load(&**store, key("sum"));
                        let sum: usize =
                            entity.field("n").map_or(0, |n| std::str::from_utf8(n).unwrap().parse().unwrap());
                        let save = Save::some(key("sum"), vec![put("n", (sum + 1).to_string())]);
                        if store.save(save.upon(entity.version)).wait().unwrap() != Saved::Conflict {
                            break;
                        }
                    }
                    made(&**store, Save::whole(mine.clone(), vec![put("n", done.to_string())]));
                }
            });
        }
    });
    assert_eq!(shown(&load(&*store, key("sum"))), [("n", &*(THREADS * EACH).to_string())]);
    for n in 0..THREADS {
        assert_eq!(shown(&load(&*store, key(&format!("own{n}")))), [("n", &*(EACH - 1).to_string())]);
    }
}

fn its_time_runs_with_ours(bed: &dyn Bed) {
    let store = bed.store();
    // A server's clock is read again and again, and what is made of it may shift a little meanwhile.
    let about = Duration::from_millis(200);
    let ours = bed.now();
    let (now, later) = (store.time(ours), store.time(ours.after(Duration::from_secs(100))));
    assert!((now + Duration::from_secs(100)).abs_diff(later) <= about, "{now:?} {later:?}");
    // Its time between two looks at ours: the machine may be busy in between.
    let look = || (bed.now().mono, store.time(bed.now()), bed.now().mono);
    let first = look();
    bed.pass(bed.while_());
    let second = look();
    let (least, its, most) = (second.0 - first.2, second.1 - first.1, second.2 - first.0);
    assert!(its + about >= least && its <= most + about, "{its:?} is not {least:?} to {most:?}");
}

fn a_store_that_is_well_says_so(bed: &dyn Bed) {
    let store = bed.store();
    let health = store.health();
    assert!(!health.is_empty());
    assert!(health.iter().all(|part| part.reads && part.writes && part.why.is_empty()), "{health:?}");
    assert!(store.changed().wait().unwrap().is_empty(), "what this process changes is no news to it");
    made(&*store, Save::whole(key("own"), vec![put("a", "1")]));
    assert!(store.changed().wait().unwrap().is_empty());
}

fn a_closed_store_says_so(bed: &dyn Bed) {
    let store = bed.store();
    made(&*store, Save::whole(key("x"), vec![put("a", "1")]));
    // Under way when it closes: made.
    let waiting: Vec<_> =
        (0..50).map(|n| store.save(Save::whole(key(&format!("x{n}")), vec![put("a", "1")]))).collect();
    store.close();
    for answer in waiting {
        assert!(matches!(answer.wait(), Ok(Saved::Done(_))));
    }
    let closed = Some(StoreError::Closed);
    assert_eq!(store.save(Save::whole(key("x"), vec![put("a", "2")])).wait().err(), closed);
    assert_eq!(store.load(vec![key("x")]).wait().err(), closed);
    assert_eq!(store.take(key("x")).wait().err(), closed);
    assert_eq!(store.claim_due(Duration::from_secs(1), 1).wait().err(), closed);
    assert_eq!(store.walk(Class::User, &mut |_, _| ControlFlow::Continue(())).err(), closed);
    store.close();
}
