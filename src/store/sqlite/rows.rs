//! Entities as rows: what each call of the store does, inside a transaction that somebody else begins and ends.

use super::fields;
use super::schema::table;
use super::time::integer;
use crate::store::{Class, Due, Entity, Key, Save, Saved, StoreError};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use std::ops::ControlFlow;
use std::sync::LazyLock;
use std::time::Duration;

/// Fields that take more octets than this get rows of their own, so that a change of one does not write the others.
const IN_ONE_PIECE: usize = 4000;
/// Rows that a walk reads at a time; it holds no transaction between them.
const WALKED_AT_ONCE: usize = 256;

/// Why a call was not done: its transaction cannot go on, or it alone is answered so.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Call(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sqlite(error)
    }
}

/// The statements on a class's table.
struct Sql {
    find: String,
    find_whole: String,
    insert: String,
    update: String,
    update_due: String,
    delete: String,
    due: String,
    hold: String,
    walk: String,
    over: String,
    until: String,
}

static SQL: LazyLock<Vec<Sql>> = LazyLock::new(|| {
    let sql = |class: Class| {
        let table = table(class);
        Sql {
            find: format!("SELECT id, version, due, until, fields IS NULL FROM {table} WHERE name = ?1"),
            find_whole: format!("SELECT id, version, due, until, fields IS NULL, fields FROM {table} WHERE name = ?1"),
            insert: format!("INSERT INTO {table} (name, version, due, until, fields) VALUES (?1, ?2, ?3, ?4, ?5)"),
            update: format!("UPDATE {table} SET version = ?2, until = ?3, fields = ?4 WHERE id = ?1"),
            update_due: format!("UPDATE {table} SET version = ?2, until = ?3, fields = ?4, due = ?5 WHERE id = ?1"),
            delete: format!("DELETE FROM {table} WHERE id = ?1"),
            due: format!("SELECT id, name, due FROM {table} WHERE due IS NOT NULL AND due <= ?1 ORDER BY due LIMIT ?2"),
            hold: format!("UPDATE {table} SET due = ?2 WHERE id = ?1"),
            walk: format!("SELECT id, name, version, until, fields FROM {table} WHERE id > ?1 ORDER BY id LIMIT ?2"),
            over: format!("SELECT id, until FROM {table} WHERE id > ?1 ORDER BY id LIMIT ?2"),
            until: format!("SELECT until FROM {table} WHERE id = ?1"),
        }
    };
    Class::ALL.into_iter().map(sql).collect()
});

/// What is in the table of one entity's class.
#[derive(Clone, Copy)]
struct Table<'a> {
    connection: &'a Connection,
    class: Class,
    sql: &'static Sql,
}

struct Row {
    id: i64,
    version: u64,
    due: Option<i64>,
    until: Option<i64>,
    /// Whether the fields lie in rows of their own.
    apart: bool,
    /// In one piece; empty if they lie apart or were not asked for.
    fields: Vec<u8>,
}

impl<'a> Table<'a> {
    fn of(connection: &'a Connection, class: Class) -> Self {
        // `SQL` has one for each of `Class::ALL`, in its order, which is that of the discriminants.
        Table { connection, class, sql: &SQL[class as usize] }
    }

    fn statement(&self, sql: &'static str) -> rusqlite::Result<CachedStatement<'a>> {
        self.connection.prepare_cached(sql)
    }

    fn find(&self, name: &str, with_fields: bool) -> rusqlite::Result<Option<Row>> {
        let mut find = self.statement(if with_fields { &self.sql.find_whole } else { &self.sql.find })?;
        find.query_row([name], |row| {
            let fields = match with_fields {
                true => row.get_ref(5)?.as_blob_or_null()?.unwrap_or_default().to_vec(),
                false => Vec::new(),
            };
            Ok(Row {
                id: row.get(0)?,
                version: row.get::<_, i64>(1)?.try_into().unwrap_or(0),
                due: row.get(2)?,
                until: row.get(3)?,
                apart: row.get(4)?,
                fields,
            })
        })
        .optional()
    }

    fn delete(&self, row: &Row) -> rusqlite::Result<()> {
        if row.apart {
            self.clear(row.id)?;
        }
        self.statement(&self.sql.delete)?.execute([row.id]).map(drop)
    }

    fn clear(&self, entity: i64) -> rusqlite::Result<()> {
        let mut clear = self.statement("DELETE FROM field WHERE class = ?1 AND entity = ?2")?;
        clear.execute(params![self.class.as_str(), entity]).map(drop)
    }

    fn put_apart(&self, entity: i64, name: &str, value: Option<&[u8]>) -> rusqlite::Result<()> {
        let class = self.class.as_str();
        match value {
            Some(value) => self
                .statement("INSERT OR REPLACE INTO field (class, entity, name, value) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![class, entity, name, value]),
            None => self
                .statement("DELETE FROM field WHERE class = ?1 AND entity = ?2 AND name = ?3")?
                .execute(params![class, entity, name]),
        }
        .map(drop)
    }

    fn has_apart(&self, entity: i64) -> rusqlite::Result<bool> {
        self.statement("SELECT 1 FROM field WHERE class = ?1 AND entity = ?2 LIMIT 1")?
            .exists(params![self.class.as_str(), entity])
    }

    fn fields(&self, id: i64, name: &str, pieces: Option<&[u8]>) -> Result<fields::Fields, Fault> {
        let Some(octets) = pieces else {
            let mut all =
                self.statement("SELECT name, value FROM field WHERE class = ?1 AND entity = ?2 ORDER BY name")?;
            let rows = all.query_map(params![self.class.as_str(), id], |row| {
                let name: Box<str> = row.get_ref(0)?.as_str()?.into();
                Ok((name, row.get_ref(1)?.as_blob()?.into()))
            })?;
            return Ok(rows.collect::<Result<_, _>>()?);
        };
        fields::read(octets).ok_or_else(|| {
            Fault::Call(StoreError::Damaged { key: Key::new(self.class, name), why: "its fields have no shape".into() })
        })
    }

    fn entity(&self, row: &Row, name: &str) -> Result<Entity, Fault> {
        let fields = self.fields(row.id, name, (!row.apart).then_some(&*row.fields))?;
        Ok(Entity { version: row.version, fields })
    }
}

fn is_over(until: Option<i64>, now: Duration) -> bool {
    until.is_some_and(|until| until <= integer(now))
}

/// `anew`: the version that an entity gets which is not there yet.
pub(super) fn save(connection: &Connection, save: &Save, now: Duration, anew: u64) -> Result<Saved, Fault> {
    let table = Table::of(connection, save.key.class);
    let name = &*save.key.name;
    let mut found = table.find(name, !save.whole)?;
    let over = found.take_if(|row| is_over(row.until, now));
    let version = found.as_ref().map_or(0, |row| row.version);
    if save.upon.is_some_and(|upon| upon != version) {
        return Ok(Saved::Conflict);
    }
    if let Some(over) = over {
        table.delete(&over)?;
    }
    match found {
        Some(row) if row.apart && !save.whole => change_apart(&table, &row, save),
        Some(row) => {
            let old = if save.whole { Vec::new() } else { table.fields(row.id, name, Some(&row.fields))? };
            let pieces = fields::written(&old, &save.fields);
            if pieces.is_empty() {
                table.delete(&row)?;
                return Ok(Saved::Done(0));
            }
            if row.apart {
                table.clear(row.id)?;
            }
            let one_piece = pieces.len() <= IN_ONE_PIECE;
            if !one_piece {
                put_all_apart(&table, row.id, &old, save)?;
            }
            update(&table, &row, save, one_piece.then_some(&*pieces))
        }
        None => {
            let pieces = fields::written(&Vec::new(), &save.fields);
            if pieces.is_empty() {
                return Ok(Saved::Done(0));
            }
            let due = match save.due {
                Due::At(at) => Some(integer(at)),
                Due::Never | Due::Unchanged => None,
            };
            let one_piece = (pieces.len() <= IN_ONE_PIECE).then_some(&*pieces);
            let id = table.statement(&table.sql.insert)?.insert(params![
                name,
                signed(anew),
                due,
                save.until.map(integer),
                one_piece
            ])?;
            if one_piece.is_none() {
                put_all_apart(&table, id, &Vec::new(), save)?;
            }
            Ok(Saved::Done(anew))
        }
    }
}

fn put_all_apart(table: &Table<'_>, id: i64, old: &[(Box<str>, Box<[u8]>)], save: &Save) -> Result<(), Fault> {
    for (name, value) in old {
        table.put_apart(id, name, Some(value))?;
    }
    for (name, value) in &save.fields {
        table.put_apart(id, name, value.as_deref())?;
    }
    Ok(())
}

fn change_apart(table: &Table<'_>, row: &Row, save: &Save) -> Result<Saved, Fault> {
    for (name, value) in &save.fields {
        table.put_apart(row.id, name, value.as_deref())?;
    }
    if !table.has_apart(row.id)? {
        table.delete(row)?;
        return Ok(Saved::Done(0));
    }
    update(table, row, save, None)
}

fn update(table: &Table<'_>, row: &Row, save: &Save, pieces: Option<&[u8]>) -> Result<Saved, Fault> {
    let (version, until) = (row.version.saturating_add(1), save.until.map(integer));
    let due = match save.due {
        Due::Unchanged => row.due,
        Due::Never => None,
        Due::At(at) => Some(integer(at)),
    };
    // The index is left alone where it does not change.
    if due == row.due {
        table.statement(&table.sql.update)?.execute(params![row.id, signed(version), until, pieces])?;
    } else {
        table.statement(&table.sql.update_due)?.execute(params![row.id, signed(version), until, pieces, due])?;
    }
    Ok(Saved::Done(version))
}

pub(super) fn take(connection: &Connection, key: &Key, now: Duration) -> Result<Entity, Fault> {
    let table = Table::of(connection, key.class);
    let Some(row) = table.find(&key.name, true)? else { return Ok(Entity::default()) };
    let entity = match is_over(row.until, now) {
        true => Entity::default(),
        false => table.entity(&row, &key.name)?,
    };
    table.delete(&row)?;
    Ok(entity)
}

pub(super) fn load(connection: &Connection, keys: &[Key], now: Duration) -> Result<Vec<Entity>, Fault> {
    let one = |key: &Key| {
        let table = Table::of(connection, key.class);
        match table.find(&key.name, true)? {
            Some(row) if !is_over(row.until, now) => table.entity(&row, &key.name),
            _ => Ok(Entity::default()),
        }
    };
    keys.iter().map(one).collect()
}

/// Those longest due first, whatever their class.
pub(super) fn claim(connection: &Connection, now: Duration, hold: Duration, most: usize) -> Result<Vec<Key>, Fault> {
    let mut due = Vec::new();
    for class in Class::ALL {
        let table = Table::of(connection, class);
        let mut statement = table.statement(&table.sql.due)?;
        let mut rows = statement.query(params![integer(now), i64::try_from(most).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            let key = Key::new(class, row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?);
            due.push((row.get::<_, i64>(2)?, row.get::<_, i64>(0)?, key));
        }
    }
    due.sort_by_key(|(at, ..)| *at);
    due.truncate(most);
    let again = integer(now.saturating_add(hold));
    for (_, id, key) in &due {
        let table = Table::of(connection, key.class);
        table.statement(&table.sql.hold)?.execute(params![id, again])?;
    }
    Ok(due.into_iter().map(|(.., key)| key).collect())
}

/// Rows of a class after `after`, in the order in which they lie; the last of them. None: that was all.
pub(super) fn walk(
    connection: &Connection,
    class: Class,
    after: i64,
    now: Duration,
    each: &mut dyn FnMut(&Key, Entity) -> ControlFlow<()>,
) -> Result<Option<i64>, Fault> {
    let table = Table::of(connection, class);
    // The transaction ends before somebody else's code runs: it may take its time.
    let found = {
        let tx = connection.unchecked_transaction()?;
        let mut statement = table.statement(&table.sql.walk)?;
        let mut rows = statement.query(params![after, WALKED_AT_ONCE as i64])?;
        let mut found = Vec::with_capacity(WALKED_AT_ONCE);
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if is_over(row.get(3)?, now) {
                found.push((id, None));
                continue;
            }
            let name = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            let pieces = row.get_ref(4)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
            let version = row.get::<_, i64>(2)?.try_into().unwrap_or(0);
            let entity = Entity { version, fields: table.fields(id, name, pieces)? };
            found.push((id, Some((Key::new(class, name), entity))));
        }
        drop(rows);
        drop(statement);
        tx.commit()?;
        found
    };
    let last = found.last().map(|(id, _)| *id);
    for (_, entity) in found {
        if let Some((key, entity)) = entity
            && each(&key, entity).is_break()
        {
            return Ok(None);
        }
    }
    Ok(last)
}

/// Looks at `most` rows after `after` for those that may go; the place to go on from, 0 after the last.
pub(super) fn over(
    connection: &Connection,
    class: Class,
    after: i64,
    most: usize,
    now: Duration,
    found: &mut Vec<(Class, i64)>,
) -> rusqlite::Result<i64> {
    let table = Table::of(connection, class);
    let mut statement = table.statement(&table.sql.over)?;
    let mut rows = statement.query(params![after, i64::try_from(most).unwrap_or(i64::MAX)])?;
    let (mut seen, mut last) = (0, 0);
    while let Some(row) = rows.next()? {
        (seen, last) = (seen + 1, row.get(0)?);
        if is_over(row.get(1)?, now) {
            found.push((class, last));
        }
    }
    Ok(if seen < most { 0 } else { last })
}

/// Lets go of one that may go, if it still may.
pub(super) fn let_go(connection: &Connection, class: Class, id: i64, now: Duration) -> Result<(), Fault> {
    let table = Table::of(connection, class);
    let until: Option<Option<i64>> = table.statement(&table.sql.until)?.query_row([id], |row| row.get(0)).optional()?;
    if is_over(until.flatten(), now) {
        table.clear(id)?;
        table.statement(&table.sql.delete)?.execute([id])?;
    }
    Ok(())
}

/// Leaves word for the node of what a tool has changed.
pub(super) fn note(connection: &Connection, key: &Key) -> rusqlite::Result<()> {
    let mut note = connection.prepare_cached("INSERT INTO change (class, name) VALUES (?1, ?2)")?;
    note.execute([key.class.as_str(), &*key.name]).map(drop)
}

/// What tools have left word of; it is forgotten here, since there is one node.
pub(super) fn noted(connection: &Connection) -> rusqlite::Result<Vec<Key>> {
    let mut keys = connection.prepare_cached("SELECT DISTINCT class, name FROM change")?;
    let mut rows = keys.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(class) = Class::parse(row.get_ref(0)?.as_str()?) else { continue };
        found.push(Key { class, name: row.get_ref(1)?.as_str()?.into() });
    }
    connection.prepare_cached("DELETE FROM change")?.execute([])?;
    Ok(found)
}

/// Fields of entities that are not there, a line for each entity.
pub(super) fn orphans(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut lines = Vec::new();
    for class in Class::ALL {
        let sql = format!(
            "SELECT DISTINCT entity FROM field WHERE class = ?1 AND entity NOT IN (SELECT id FROM {} WHERE fields IS NULL)",
            table(class)
        );
        let mut find = connection.prepare(&sql)?;
        let mut rows = find.query([class.as_str()])?;
        while let Some(row) = rows.next()? {
            lines.push(format!("{} number {} has fields and is not there", class.as_str(), row.get::<_, i64>(0)?));
        }
    }
    Ok(lines)
}

/// SQLite's integers are signed.
fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
