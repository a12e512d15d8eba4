use super::*;

const QUOTA: usize = 4096;

fn text(value: &str) -> Option<Value> {
    Some(Value::Text(value.as_bytes().into()))
}

async fn put(space: &Space, key: &str, value: Option<Value>) {
    space.put_acknowledged(key, value, QUOTA).unwrap().await.unwrap();
}

#[tokio::test]
async fn what_is_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let values = [
        ("text", Value::Text(b"\0\xff\r\n".as_slice().into())),
        ("number", Value::Number(-0.1)),
        ("nan", Value::Number(f64::INFINITY)),
        ("boolean", Value::Boolean(true)),
        ("json", Value::Json("{\"a\":[1]}".into())),
    ];
    {
        let store = Spaces::open(dir.path()).unwrap();
        for (key, value) in values.clone() {
            put(&store.space("one"), key, Some(value)).await;
        }
        put(&store.space("one"), "gone", text("x")).await;
        put(&store.space("one"), "gone", None).await;
        put(&store.space("two"), "text", text("of two")).await;
        store.space("two").put("soon", text("written at the close"), QUOTA).unwrap();
    }
    let store = Spaces::open(dir.path()).unwrap();
    for (key, value) in values {
        assert_eq!(store.space("one").get(key), Some(value));
    }
    assert_eq!(store.space("one").get("gone"), None);
    assert_eq!(store.space("two").keys("", 10), ["soon", "text"].map(Box::<str>::from));
    assert_eq!(store.space("two").get("soon"), text("written at the close"));
}

#[tokio::test]
async fn the_file_is_the_owners_only_and_of_one_node() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = Spaces::open(dir.path()).unwrap();
    put(&store.space("a"), "k", text("v")).await;
    for name in ["store.db", "store.db-wal"] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(matches!(Spaces::open(dir.path()), Err(SpaceError::InUse(_))));
    store.close();
    assert!(store.space("a").put_acknowledged("k", None, QUOTA).unwrap().await.is_err());
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
