//! What the store in SQLite has of its own beside the common behaviour.

use crate::behaviour::{self, Bed, Over, key, load, made, put};
use imscript::clock::{Clock, Hands, Now};
use imscript::store::sqlite::{Boot, Boots, Durability, FILE_NAME, Options, Sqlite, SqliteError};
use imscript::store::{Class, Due, Entity, Key, Save, Saved, Store};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Bench {
    durability: Durability,
    clock: Clock,
    hands: &'static Hands,
    dirs: Mutex<Vec<TempDir>>,
}

impl Bench {
    fn new(durability: Durability) -> Self {
        let (clock, hands) = Clock::by_hand();
        Bench { durability, clock, hands, dirs: Mutex::default() }
    }
}

impl Bed for Bench {
    fn store(&self) -> Arc<dyn Store> {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open_node(dir.path(), self.durability, self.clock).unwrap();
        self.dirs.lock().unwrap().push(dir);
        Arc::new(store)
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn while_(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn pass(&self, by: Duration) {
        self.hands.advance(by);
    }
}

#[test]
fn sqlite_does_what_a_store_does() {
    behaviour::all(&Bench::new(Durability::Commit));
}

#[test]
fn sqlite_does_it_behind_as_well() {
    behaviour::all(&Bench::new(Durability::WriteBehind));
}

fn node(dir: &Path) -> Sqlite {
    Sqlite::open_node(dir, Durability::Commit, Clock::new()).unwrap()
}

fn names(store: &dyn Store, class: Class) -> Vec<String> {
    let mut names = Vec::new();
    let mut each = |key: &Key, _: Entity| {
        names.push(key.name.to_string());
        ControlFlow::Continue(())
    };
    store.walk(class, &mut each).unwrap();
    names.sort();
    names
}

#[test]
fn what_is_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (version, at) = {
        let store = node(dir.path());
        let at = store.time(Clock::new().now());
        made(&store, Save::whole(key("gone"), vec![put("a", "1")]));
        made(&store, Save::remove(key("gone")));
        made(&store, Save::whole(key("due"), vec![put("a", "1")]).due(Due::At(at)));
        made(&store, Save::whole(Key::new(Class::Plugin, "p"), vec![put("large", vec![7; 100_000])]));
        (made(&store, Save::whole(key("k"), vec![put("a", "1"), put("b", "2")])), at)
    };
    let store = node(dir.path());
    let entity = load(&store, key("k"));
    assert_eq!((entity.version, entity.field("b")), (version, Some(&b"2"[..])));
    assert_eq!(names(&store, Class::User), ["due", "k"]);
    assert_eq!(load(&store, Key::new(Class::Plugin, "p")).field("large").map(<[u8]>::len), Some(100_000));
    assert_eq!(store.claim_due(Duration::from_secs(9), 9).wait().unwrap(), [key("due")]);
    assert!(store.time(Clock::new().now()) >= at);
    assert!(made(&store, Save::whole(key("gone"), vec![put("a", "1")])) > version, "above all that there were");
}

#[test]
fn the_file_is_the_owners_only_and_of_one_node() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b");
    let store = node(&data);
    made(&store, Save::whole(key("k"), vec![put("a", "1")]));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for name in [FILE_NAME, "imscript.db-wal", "imscript.db-shm", "node.lock"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    let second = Sqlite::open_node(&data, Durability::Commit, Clock::new());
    assert!(matches!(second, Err(SqliteError::InUse(_))));
    store.close();
    node(&data);
}

#[test]
fn a_newer_file_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    node(dir.path()).close();
    let file = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let refused = Sqlite::open_tool(dir.path()).err().unwrap().to_string();
    assert!(refused.contains("imscript.db is of version 99") && refused.contains("use a newer imscript"), "{refused}");
}

#[test]
fn a_tool_beside_the_node_is_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    let early = Sqlite::open_tool(dir.path()).unwrap();
    made(&early, Save::whole(key("early"), vec![put("a", "1")]));
    let node = node(dir.path());
    assert!(node.changed().wait().unwrap().is_empty(), "the node reads at its start what was before");
    made(&node, Save::whole(key("k"), vec![put("a", "1")]));
    let tool = Sqlite::open_tool(dir.path()).unwrap();
    assert_eq!(load(&tool, key("k")).field("a"), Some(&b"1"[..]));
    let entity = load(&tool, key("k"));
    made(&tool, Save::some(key("k"), vec![put("b", "2")]).upon(entity.version));
    made(&tool, Save::whole(key("new"), vec![put("b", "2")]));
    tool.take(key("early")).wait().unwrap();
    let mut changed = node.changed().wait().unwrap();
    changed.sort();
    assert_eq!(changed, [key("early"), key("k"), key("new")]);
    assert!(node.changed().wait().unwrap().is_empty());
    assert_eq!(load(&node, key("k")).field("b"), Some(&b"2"[..]));
    assert!(tool.changed().wait().unwrap().is_empty());
    let stale = node.save(Save::whole(key("k"), vec![put("a", "1")]).upon(entity.version)).wait().unwrap();
    assert_eq!(stale, Saved::Conflict);
}

#[test]
fn a_tool_gets_its_turn_beside_a_busy_node() {
    let dir = tempfile::tempdir().unwrap();
    for durability in [Durability::Commit, Durability::WriteBehind] {
        let node = Sqlite::open_node(dir.path(), durability, Clock::new()).unwrap();
        let tool = Sqlite::open_tool(dir.path()).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let over = Over(&stop);
            scope.spawn(|| {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    let saves: Vec<_> = (0..64)
                        .map(|m| node.save(Save::whole(key(&format!("n{}", (n + m) % 500)), vec![put("a", "1")])))
                        .collect();
                    n += 64;
                    saves.into_iter().for_each(|answer| _ = answer.wait().unwrap());
                }
            });
            let began = Instant::now();
            for n in 0..5 {
                made(&tool, Save::whole(key(&format!("t{n}")), vec![put("a", "1")]));
            }
            drop(over);
            assert!(began.elapsed() < Duration::from_secs(30), "{durability:?}: {:?}", began.elapsed());
        });
    }
}

#[test]
fn the_log_of_a_store_that_is_never_idle_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let (mut under_way, page) = (VecDeque::new(), [7; 3900]);
    for user in 0..60_000 {
        let fields = vec![("state".into(), Some(page.into()))];
        under_way.push_back(store.save(Save::whole(Key::new(Class::User, format!("user{}", user % 2000)), fields)));
        if under_way.len() > 600 {
            let answer = under_way.pop_front().unwrap().wait();
            assert!(matches!(answer, Ok(Saved::Done(_))), "{answer:?}");
        }
    }
    let log = store.files().iter().find(|(path, _)| path.to_string_lossy().ends_with("-wal")).unwrap().1;
    assert!(log < 160 << 20, "{log} octets, of 250 million that were written");
}

#[test]
fn write_behind_is_on_disk_soon() {
    let dir = tempfile::tempdir().unwrap();
    let node = Sqlite::open_node(dir.path(), Durability::WriteBehind, Clock::new()).unwrap();
    let other = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    let count = || -> i64 { other.query_row("SELECT count(*) FROM store_user", [], |row| row.get(0)).unwrap() };
    let began = Instant::now();
    made(&node, Save::whole(key("k"), vec![put("a", "1")]));
    while count() == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "not committed by itself");
        std::thread::sleep(Duration::from_millis(2));
    }
    // What is asked for sees what was told to be done.
    made(&node, Save::whole(key("k"), vec![put("a", "2")]));
    assert_eq!(load(&node, key("k")).field("a"), Some(&b"2"[..]));
    made(&node, Save::whole(key("l"), vec![put("a", "1")]));
    node.close();
    assert_eq!(count(), 2, "the end writes what is left");
}

/// The wall clock and the time since the machine's start, in milliseconds, and the boot's number.
static UP: AtomicU64 = AtomicU64::new(1_000_000);
static BOOT: AtomicU64 = AtomicU64::new(1);

fn boots() -> Option<Boot> {
    let id = BOOT.load(Ordering::Relaxed).to_string();
    Some(Boot { id, up: Duration::from_millis(UP.load(Ordering::Relaxed)) })
}

#[test]
fn its_time_does_not_step() {
    const DAY: Duration = Duration::from_secs(86_400);
    let dir = tempfile::tempdir().unwrap();
    let open = |boots: Boots, unix: Duration| {
        let (clock, hands) = Clock::by_hand();
        hands.advance(unix - clock.now().unix);
        let options = Options { clock, boots: Some(boots), ..Options::default() };
        (Sqlite::open_node_with(dir.path(), options).unwrap(), clock, hands)
    };
    let noon = Clock::by_hand().0.now().unix + DAY * 100;
    let (store, clock, hands) = open(boots, noon);
    assert_eq!(store.time(clock.now()), noon);
    hands.advance(Duration::from_secs(10));
    UP.fetch_add(10_000, Ordering::Relaxed);
    let now = clock.now();
    assert_eq!(store.time(Now { unix: now.unix + DAY, ..now }), noon + Duration::from_secs(10), "a step while it runs");
    let until = store.time(now) + Duration::from_secs(600);
    made(&store, Save::whole(key("u"), vec![put("a", "1")]).until(until));
    drop(store);
    // The same boot: the wall clock may say what it likes.
    let mut passed = Duration::from_secs(10);
    for wall in [noon + DAY, noon - DAY, noon] {
        UP.fetch_add(60_000, Ordering::Relaxed);
        passed += Duration::from_secs(60);
        let (store, clock, _) = open(boots, wall);
        let time = store.time(clock.now());
        assert!((noon + passed..noon + passed + Duration::from_secs(10)).contains(&time), "{:?}", time - noon);
        assert!(load(&store, key("u")).exists());
    }
    // Another boot: the wall clock is believed, but time does not go back.
    BOOT.fetch_add(1, Ordering::Relaxed);
    UP.store(5_000, Ordering::Relaxed);
    let (store, clock, _) = open(boots, noon - DAY);
    let time = store.time(clock.now());
    assert!((noon + passed..noon + passed + Duration::from_secs(10)).contains(&time), "{:?}", time - noon);
    assert!(load(&store, key("u")).exists());
    drop(store);
    BOOT.fetch_add(1, Ordering::Relaxed);
    let (store, clock, _) = open(boots, noon + DAY);
    assert_eq!(store.time(clock.now()), noon + DAY);
    assert!(!load(&store, key("u")).exists());
}
