use super::*;
use crate::clock::Clock;
use crate::store::Memory;
use crate::store::sqlite::{Durability, Sqlite};
use std::path::Path;

const QUOTA: usize = 4096;

fn text(value: &str) -> Option<Value> {
    Some(Value::Text(value.as_bytes().into()))
}

async fn put(space: &Space, key: &str, value: Option<Value>) {
    space.put_acknowledged(key, value, QUOTA).unwrap().await.unwrap();
}

fn file(dir: &Path) -> Arc<dyn Store> {
    Arc::new(Sqlite::open_node(dir, Durability::Commit, Clock::new()).unwrap())
}

fn values() -> [(&'static str, Value); 6] {
    [
        ("text", Value::Text(b"a \"quoted\" \xc3\xa9".as_slice().into())),
        ("octets", Value::Text(b"\0\xff\r\n".as_slice().into())),
        ("number", Value::Number(-0.1)),
        ("infinity", Value::Number(f64::INFINITY)),
        ("boolean", Value::Boolean(true)),
        ("json", Value::Json("{\"a\":[1]}".into())),
    ]
}

#[tokio::test]
async fn what_is_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = Spaces::open(file(dir.path())).unwrap();
        for (key, value) in values() {
            put(&store.space("one"), key, Some(value)).await;
        }
        put(&store.space("one"), "gone", text("x")).await;
        put(&store.space("one"), "gone", None).await;
        put(&store.space("two"), "text", text("of two")).await;
        store.space("two").put("soon", text("written at the close"), QUOTA).unwrap();
        store.close();
        assert!(store.space("a").put_acknowledged("k", None, QUOTA).unwrap().await.is_err());
    }
    let store = Spaces::open(file(dir.path())).unwrap();
    for (key, value) in values() {
        assert_eq!(store.space("one").get(key), Some(value));
    }
    assert_eq!(store.space("one").get("gone"), None);
    assert_eq!(store.space("two").keys("", 10), ["soon", "text"].map(Box::<str>::from));
    assert_eq!(store.space("two").get("soon"), text("written at the close"));
}

#[tokio::test]
async fn another_node_sees_a_change_soon() {
    let shared: Arc<dyn Store> = Arc::new(Memory::of_nature(Clock::new(), Nature::Shared));
    let [one, two] = [0, 1].map(|_| Spaces::open(shared.clone()).unwrap());
    let soon = |what: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !what() {
            assert!(began.elapsed() < std::time::Duration::from_secs(60));
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    put(&one.space("s"), "a", text("1")).await;
    put(&one.space("s"), "b", text("1")).await;
    soon(&|| two.space("s").get("a") == text("1"));
    put(&two.space("s"), "c", text("2")).await;
    put(&two.space("s"), "b", None).await;
    soon(&|| one.space("s").get("c") == text("2") && one.space("s").get("b").is_none());
    assert_eq!(one.space("s").get("a"), text("1"), "keys that nobody has touched stay");
    let three = Spaces::open(shared).unwrap();
    assert_eq!(three.space("s").keys("", 9), ["a", "c"].map(Box::<str>::from));
}

#[test]
fn the_file_of_0_1_is_taken_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let old = rusqlite::Connection::open(dir.path().join("store.db")).unwrap();
    old.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE entry (
             space TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, value ANY NOT NULL, PRIMARY KEY (space, key)
         ) STRICT, WITHOUT ROWID;
         INSERT INTO entry VALUES ('one', 'text', 'text', x'00ff'), ('one', 'number', 'number', '-0.1'),
             ('one', 'json', 'json', '{}'), ('two', 'boolean', 'boolean', 1), ('two', 'odd', 'odd', 1);",
    )
    .unwrap();
    drop(old);
    let store = file(dir.path());
    take_over(dir.path(), &*store).unwrap();
    take_over(dir.path(), &*store).unwrap();
    assert!(!dir.path().join("store.db").exists() && dir.path().join("store.db.migrated").is_file());
    let spaces = Spaces::open(store).unwrap();
    assert_eq!(spaces.space("one").get("text"), Some(Value::Text(b"\0\xff".as_slice().into())));
    assert_eq!(spaces.space("one").get("number"), Some(Value::Number(-0.1)));
    assert_eq!(spaces.space("one").get("json"), Some(Value::Json("{}".into())));
    assert_eq!(spaces.space("two").get("boolean"), Some(Value::Boolean(true)));
}

#[test]
fn a_quota_is_kept_and_given_back() {
    let space = Spaces::in_memory().space("a");
    let fill = |key: &str| space.put(key, text(&"x".repeat(1000)), QUOTA);
    ["a", "b", "c"].into_iter().for_each(|key| fill(key).unwrap());
    let error = fill("d").unwrap_err();
    assert!(matches!(error, SpaceError::Quota { quota: QUOTA, used: 3195, wanted: 1065 }), "{error}");
    fill("a").unwrap();
    space.put("b", None, QUOTA).unwrap();
    fill("d").unwrap();
    assert!(matches!(space.put("", text(""), QUOTA), Err(SpaceError::Key(0))));
    assert!(matches!(space.put("k", text(&"x".repeat(MAX_VALUE + 1)), 1 << 20), Err(SpaceError::Value(_))));
}

#[test]
fn keys_come_in_order_by_prefix_and_limit() {
    let space = Spaces::in_memory().space("a");
    for key in ["b/2", "a/1", "b/1", "c", "b/3"] {
        space.put(key, text(""), QUOTA).unwrap();
    }
    assert_eq!(space.keys("b/", 2), ["b/1", "b/2"].map(Box::<str>::from));
    assert_eq!(space.keys("", 100).len(), 5);
    assert!(space.keys("x", 100).is_empty());
}
