//! `store.db` of imscript 0.1, where plugins kept what they stored: its entries go into the store once.

use super::{SpaceError, Value};
use crate::store::{Class, Key, Save, Store};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::collections::BTreeMap;
use std::path::Path;

const FILE_NAME: &str = "store.db";
const TAKEN_OVER: &str = "store.db.migrated";

type Fields = Vec<(Box<str>, Option<Box<[u8]>>)>;

/// What the store has already is not written over. If the process dies meanwhile, it is all done again. It blocks.
pub fn take_over(dir: &Path, store: &dyn Store) -> Result<(), SpaceError> {
    let path = dir.join(FILE_NAME);
    if !path.is_file() {
        return Ok(());
    }
    let spaces = read(&path).map_err(|cause| SpaceError::Legacy { path: path.clone(), cause })?;
    let entries: usize = spaces.values().map(Vec::len).sum();
    for (space, fields) in spaces {
        store.save(Save::some(Key::new(Class::Plugin, space), fields).upon(0)).wait()?;
    }
    std::fs::rename(&path, dir.join(TAKEN_OVER)).map_err(|cause| SpaceError::Rename { path, cause })?;
    tracing::info!(entries, "what plugins stored in an earlier version is taken over; {TAKEN_OVER} may be removed");
    Ok(())
}

fn read(path: &Path) -> rusqlite::Result<BTreeMap<String, Fields>> {
    // Not for reading only: what still stands in the log beside it comes into the file when the connection closes.
    let old = Connection::open(path)?;
    let mut statement = old.prepare("SELECT space, key, kind, value FROM entry")?;
    let mut rows = statement.query([])?;
    let mut spaces = BTreeMap::<String, Fields>::new();
    while let Some(row) = rows.next()? {
        let (space, key): (String, String) = (row.get(0)?, row.get(1)?);
        match value(row.get_ref(2)?.as_str()?, row.get_ref(3)?) {
            Some(value) => spaces.entry(space).or_default().push((key.into(), Some(value.written()))),
            None => tracing::warn!(space, key, "an entry of store.db cannot be read and is left out"),
        }
    }
    Ok(spaces)
}

fn value(kind: &str, value: ValueRef<'_>) -> Option<Value> {
    match kind {
        "text" => value.as_bytes().ok().map(|text| Value::Text(text.into())),
        "json" => value.as_str().ok().map(|text| Value::Json(text.into())),
        "number" => value.as_str().ok()?.parse().ok().map(Value::Number),
        "boolean" => value.as_i64().ok().map(|truth| Value::Boolean(truth != 0)),
        _ => None,
    }
}
