//! The store on a disk that fails, and after power cuts: what was answered is there, the rest is sane.
//!
//! `IMSCRIPT_DISK_SEEDS=5000` runs more of them, `IMSCRIPT_DISK_SEED=17` one. A seed does the same every time, but for
//! those that are multiples of 4: there changes are asked for together, and the store gathers them as time has it.

use crate::behaviour::{key, load, out, put};
use crate::disk::{self, FAULTS, Fault, Random, World};
use imscript::clock::Clock;
use imscript::store::sqlite::{Durability, FILE_NAME, Options, Sqlite};
use imscript::store::{Class, Entity, Key, Save, Saved, Store, StoreError};
use rusqlite::{Connection, OpenFlags};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

const SEEDS: u64 = 150;
const LIVES: usize = 3;
const KEYS: u64 = 12;

/// What is known of an entity: what was last answered, and what was tried since without an answer that it was done.
#[derive(Default, Clone)]
struct Known {
    answered: Option<Entity>,
    tried: Vec<Option<Vec<u8>>>,
}

fn number(name: &str, fallback: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(fallback)
}

#[test]
fn nothing_that_was_answered_is_lost() {
    let seeds = match std::env::var("IMSCRIPT_DISK_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (1..=number("IMSCRIPT_DISK_SEEDS", SEEDS)).collect(),
    };
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    if std::panic::catch_unwind(|| run(*seed)).is_err() {
                        let story = STORY.with_borrow(|story| story.join("\n  "));
                        eprintln!("IMSCRIPT_DISK_SEED={seed} fails:\n  {story}");
                        failed.lock().unwrap().push(*seed);
                    }
                }
            });
        }
    });
    assert!(failed.lock().unwrap().is_empty(), "seeds that fail: {failed:?}");
}

thread_local! {
    /// What this thread's seed did, told if it fails.
    static STORY: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn tell(what: impl FnOnce() -> String) {
    STORY.with_borrow_mut(|story| story.push(what()));
}

fn open(dir: &Path) -> Result<Sqlite, imscript::store::sqlite::SqliteError> {
    let options = Options { vfs: Some(disk::NAME.into()), clock: Clock::new(), ..Options::default() };
    assert_eq!(options.durability, Durability::Commit);
    Sqlite::open_node_with(dir, options)
}

fn run(seed: u64) {
    STORY.take();
    let mut random = Random(seed);
    let mut known = HashMap::<u64, Known>::new();
    let mut highest = HashMap::<u64, u64>::new();
    let mut dir = tempfile::tempdir().unwrap();
    for life in 0..LIVES {
        let world = World::of(dir.path(), random.next());
        if random.below(4) == 0 {
            fail(&world, Some(FAULTS[random.below(6) as usize]));
        }
        let store = open(dir.path()).or_else(|error| {
            tell(|| error.to_string());
            world.fail(None);
            open(dir.path())
        });
        world.fail(None);
        let store = store.unwrap_or_else(|error| panic!("life {life}: {error}"));
        look(&store, &mut known, &mut highest, &format!("life {life}"));
        for phase in 0..random.below(4) + 1 {
            let fault = (phase % 2 == 1).then(|| FAULTS[random.below(6) as usize]);
            fail(&world, fault);
            for _ in 0..random.below(12) + 1 {
                change(&store, &mut random, &mut known, seed.is_multiple_of(4));
                if random.below(8) == 0 {
                    carry_over(dir.path());
                }
            }
            world.fail(None);
            recover(&store);
            if fault != Some(Fault::ReadError) || phase == 0 {
                look_now(&store, &mut known, &mut highest);
            }
        }
        if random.below(3) == 0 {
            // Some end in the middle of a fault.
            fail(&world, Some(FAULTS[random.below(6) as usize]));
            change(&store, &mut random, &mut known, false);
        }
        let after = tempfile::tempdir().unwrap();
        if random.below(3) == 0 {
            tell(|| "closed".into());
            store.close();
        }
        let power = random.below(3) != 0;
        tell(|| format!("crash of the {}", if power { "machine" } else { "process" }));
        world.crash(power, after.path());
        drop(store);
        dir = after;
    }
    let store = Sqlite::open_node(dir.path(), Durability::Commit, Clock::new()).unwrap();
    look(&store, &mut known, &mut highest, "the end");
    assert_eq!(store.faults().unwrap(), Vec::<String>::new());
}

fn fail(world: &World, fault: Option<Fault>) {
    tell(|| format!("fault {fault:?}"));
    world.fail(fault);
}

#[test]
fn what_was_told_behind_is_written_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::of(dir.path(), 1);
    let options = Options { vfs: Some(disk::NAME.into()), durability: Durability::WriteBehind, ..Options::default() };
    let store = Sqlite::open_node_with(dir.path(), options).unwrap();
    let until = |what: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let save = |value: &str| store.save(Save::whole(key("k"), vec![put("v", value)])).wait();
    world.fail(Some(Fault::Full));
    let Ok(Saved::Done(version)) = save("told") else { panic!("told at once") };
    until(&|| !store.health()[0].writes);
    assert!(matches!(save("refused"), Err(StoreError::Unwritable(_))));
    world.fail(None);
    until(&|| store.health()[0].writes);
    let entity = load(&store, key("k"));
    assert_eq!((entity.version, value(&entity)), (version, Some(b"told".to_vec())));
    let after = tempfile::tempdir().unwrap();
    world.crash(true, after.path());
    drop(store);
    let store = Sqlite::open_node(after.path(), Durability::Commit, Clock::new()).unwrap();
    assert_eq!(load(&store, key("k")), entity);
}

/// Some changes, each of an entity of its own.
fn change(store: &Sqlite, random: &mut Random, known: &mut HashMap<u64, Known>, together: bool) {
    let count = if together { random.below(8) + 1 } else { 1 };
    let first = random.below(KEYS);
    let asked: Vec<_> = (0..count)
        .map(|n| {
            let which = (first + n) % KEYS;
            let size = [10, 600, 3000, 9000][random.below(4) as usize];
            let value = (random.below(8) != 0).then(|| {
                let mut value = random.next().to_be_bytes().to_vec();
                value.resize(size, b'.');
                value
            });
            let name = name(which);
            let save = match &value {
                None => Save::remove(name),
                Some(value) if random.below(2) == 0 => Save::whole(name, vec![put("v", value)]),
                Some(value) => Save::some(name, vec![put("v", value), out("w")]),
            };
            (which, value, store.save(save))
        })
        .collect();
    for (which, value, answer) in asked {
        let known = known.entry(which).or_default();
        let answer = answer.wait();
        tell(|| format!("k{which} {:?} of {}: {answer:?}", shown(&value), value.as_ref().map_or(0, Vec::len)));
        match answer {
            Ok(Saved::Done(version)) => {
                assert_eq!(version == 0, value.is_none());
                let fields = value.map(|value| ("v".into(), value.into())).into_iter().collect();
                *known = Known { answered: Some(Entity { version, fields }), tried: Vec::new() };
            }
            Ok(Saved::Conflict) => panic!("a conflict"),
            Err(StoreError::Unwritable(_)) => known.tried.push(value),
            Err(other) => panic!("{other}"),
        }
    }
}

fn name(which: u64) -> Key {
    match which % 3 {
        0 => Key::new(Class::Plugin, format!("k{which}")),
        _ => key(&format!("k{which}")),
    }
}

/// The disk is well again: so is the store, soon.
fn recover(store: &Sqlite) {
    let began = Instant::now();
    while store.save(Save::whole(key("probe"), vec![put("v", "1")])).wait().is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not recover");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(store.health()[0].writes, "{:?}", store.health());
}

fn carry_over(dir: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // It may fail, that is what the disk is for.
    let other = Connection::open_with_flags_and_vfs(dir.join(FILE_NAME), flags, disk::NAME);
    let carried = other.and_then(|other| {
        other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })
    });
    tell(|| format!("carried over: {carried:?}"));
}

/// The part that tells values apart.
fn shown(value: &Option<Vec<u8>>) -> Option<u64> {
    value.as_ref().and_then(|value| value.first_chunk()).map(|head| u64::from_be_bytes(*head))
}

fn value(entity: &Entity) -> Option<Vec<u8>> {
    entity.field("v").map(<[u8]>::to_vec)
}

/// Without a crash between: what was not made is not there.
fn look_now(store: &Sqlite, known: &mut HashMap<u64, Known>, highest: &mut HashMap<u64, u64>) {
    for (which, known) in &*known {
        let found = load(store, name(*which));
        let answered = known.answered.clone().unwrap_or_default();
        assert_eq!(value(&found), value(&answered), "{} while it runs", name(*which));
        assert_eq!(found.version, answered.version);
        let highest = highest.entry(*which).or_default();
        *highest = found.version.max(*highest);
    }
}

/// After a crash: what was answered last, or what was tried since.
fn look(store: &Sqlite, known: &mut HashMap<u64, Known>, highest: &mut HashMap<u64, u64>, when: &str) {
    let mut walked = HashMap::new();
    for class in [Class::User, Class::Plugin] {
        let mut each = |key: &Key, entity: Entity| {
            walked.insert(key.clone(), entity);
            ControlFlow::Continue(())
        };
        store.walk(class, &mut each).unwrap();
    }
    for (which, known) in known {
        let found = load(store, name(*which));
        assert_eq!(walked.get(&name(*which)).cloned().unwrap_or_default(), found, "{when}");
        let answered = known.answered.clone().unwrap_or_default();
        let is_answered = found == answered;
        let is_tried = known.tried.contains(&value(&found));
        assert!(
            is_answered || is_tried,
            "{when}: {} is neither what was answered nor what was tried: {:?} of version {}, not of {}",
            name(*which),
            shown(&value(&found)),
            found.version,
            answered.version,
        );
        assert!(!found.exists() || is_answered || found.version > answered.version, "{when}: a version went back");
        let highest = highest.entry(*which).or_default();
        assert!(!found.exists() || found.version >= *highest || is_answered, "{when}: a version was used again");
        *highest = found.version.max(*highest);
        *known = Known { answered: Some(found), tried: Vec::new() };
    }
}
