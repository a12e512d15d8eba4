//! The subscribers of imscript 0.1, which lay in tables of their own in `imscript.db`: they are taken over into the store
//! once, at the first start of a node or the first `imscript subscriber`, and the old tables removed, their keys
//! overwritten. Who was registered then registers anew, as after every restart of 0.1.
//!
//! If the process dies meanwhile, the old tables are still there and it is done again: what the store has is left alone.

use super::EmbeddedError;
use super::entity;
use super::subscriber::{StoredSqn, Subscriber};
use super::subscribers::Subscribers;
use crate::aka::Amf;
use crate::identity::{Impi, Impu};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

const FILE_NAME: &str = "imscript.db";
const BUSY: Duration = Duration::from_secs(10);
/// The tables of 0.1; those of the store have other names.
const TABLES: [&str; 6] = ["registration", "public_identity", "subscriber", "removed", "node", "revision"];
const QUERY: &str = "
    SELECT s.impi, s.algorithm, s.k, s.opc, s.password, s.sqn_offset, s.sqn_tick, s.amf, s.broadcast, p.impu
    FROM subscriber s JOIN public_identity p ON p.impi = s.impi ORDER BY s.impi, p.position";

/// How many subscribers there were.
pub fn take_over(data_dir: &Path, subscribers: &Subscribers) -> Result<usize, EmbeddedError> {
    let path = data_dir.join(FILE_NAME);
    if !path.is_file() {
        return Ok(0);
    }
    let failed = |cause| EmbeddedError::Legacy { path: path.clone(), cause };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut old = Connection::open_with_flags(&path, flags).map_err(failed)?;
    old.busy_timeout(BUSY).map_err(failed)?;
    let is_old = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'public_identity'";
    if old.query_row(is_old, [], |_| Ok(())).optional().map_err(failed)?.is_none() {
        return Ok(0);
    }
    let (all, marks) = read(&old).map_err(failed)?;
    subscribers.adopt(&all, &marks)?;
    remove(&mut old).map_err(failed)?;
    tracing::info!(subscribers = all.len(), "subscribers of an earlier version are taken over");
    Ok(all.len())
}

type Adopted = (Subscriber, Option<StoredSqn>);
type Marks = Vec<(u8, u64)>;

/// Subscribers, and marks by IND.
fn read(old: &Connection) -> rusqlite::Result<(Vec<Adopted>, Marks)> {
    let mut statement = old.prepare(QUERY)?;
    let mut rows = statement.query([])?;
    let mut all: Vec<Adopted> = Vec::new();
    let mut impus: Vec<Impu> = Vec::new();
    while let Some(row) = rows.next()? {
        let impi = row.get_ref(0)?.as_str().unwrap_or_default();
        if all.last().is_none_or(|(last, _)| last.impi.as_str() != impi) {
            let Some(subscriber) = subscriber(row, impi)? else {
                tracing::error!(impi, "a subscriber of an earlier version is damaged and left out");
                continue;
            };
            finish(&mut all, &mut impus);
            all.push(subscriber);
        }
        impus.push(Impu::new(row.get::<_, String>(9)?));
    }
    finish(&mut all, &mut impus);
    let mut statement = old.prepare("SELECT ind, sqn_mark FROM node")?;
    let mark = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()));
    let marks = statement.query_map([], mark)?.collect::<rusqlite::Result<_>>()?;
    Ok((all, marks))
}

fn finish(all: &mut [Adopted], impus: &mut Vec<Impu>) {
    if let Some((last, _)) = all.last_mut() {
        last.impus = impus.drain(..).collect();
    }
}

/// None: damaged.
fn subscriber(row: &Row<'_>, impi: &str) -> rusqlite::Result<Option<Adopted>> {
    let octets = |column| row.get_ref(column).map(|value| value.as_blob().unwrap_or_default());
    let algorithm: String = row.get(1)?;
    let secret = match algorithm.as_str() {
        "digest" => Zeroizing::new(octets(4)?.to_vec()),
        _ => Zeroizing::new([octets(2)?, octets(3)?].concat()),
    };
    let Some(credentials) = entity::credentials(&algorithm, &secret) else { return Ok(None) };
    let sqn = match (row.get::<_, Option<i64>>(5)?, row.get::<_, Option<i64>>(6)?) {
        (Some(offset), Some(tick)) => Some(StoredSqn { step: 0, tick: tick.unsigned_abs(), offset }),
        _ if algorithm == "digest" => None,
        _ => return Ok(None),
    };
    let amf = Amf(octets(7)?.try_into().unwrap_or(Amf::IMS.0));
    let Some(broadcast) = entity::broadcast(row.get_ref(8)?.as_str().unwrap_or_default()) else { return Ok(None) };
    let (impi, impus, service) = (Impi::new(impi), [].into(), "".into());
    let subscriber = Subscriber { impi, impus, credentials, amf, sqn: None, broadcast, service };
    Ok(Some((subscriber, sqn)))
}

fn remove(old: &mut Connection) -> rusqlite::Result<()> {
    old.pragma_update(None, "foreign_keys", false)?;
    old.pragma_update(None, "secure_delete", true)?;
    let tx = old.transaction()?;
    for table in TABLES {
        tx.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    tx.commit()?;
    // Out of the log as well; somebody who reads puts it off, no more.
    let _ = old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::hss::embedded::Credentials;
    use crate::store::{Memory, Seal};
    use std::sync::Arc;

    /// The schema of 0.1.
    const SCHEMA: &str = "
        CREATE TABLE subscriber (impi TEXT PRIMARY KEY NOT NULL, algorithm TEXT NOT NULL, k BLOB, opc BLOB,
            amf BLOB NOT NULL, sqn_offset INTEGER, sqn_tick INTEGER, password BLOB, broadcast TEXT NOT NULL,
            revision INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX subscriber_by_revision ON subscriber (revision);
        CREATE TABLE public_identity (impu TEXT PRIMARY KEY NOT NULL,
            impi TEXT NOT NULL REFERENCES subscriber (impi) ON DELETE CASCADE, position INTEGER NOT NULL) WITHOUT ROWID;
        CREATE INDEX implicit_set ON public_identity (impi, position);
        CREATE TABLE registration (impi TEXT PRIMARY KEY NOT NULL REFERENCES subscriber (impi) ON DELETE CASCADE,
            ims_state TEXT NOT NULL, ims_since INTEGER, broadcast_state TEXT, server TEXT, naf TEXT, btid TEXT,
            broadcast_since INTEGER) WITHOUT ROWID;
        CREATE TABLE removed (impi TEXT PRIMARY KEY NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE node (ind INTEGER PRIMARY KEY, sqn_mark INTEGER NOT NULL);
        CREATE TABLE revision (latest INTEGER NOT NULL);
        INSERT INTO revision VALUES (1);
        PRAGMA user_version = 1;
        INSERT INTO subscriber VALUES
            ('a@h', 'milenage', x'465b5ce8b199b49faa5f0a2ee238a6bc', x'cd63cb71954a9f4e48a5994e37a02baf', x'8000',
             -17949999000, 17950000000, NULL, 'svc2 svc1', 1),
            ('b@h', 'digest', NULL, NULL, x'0000', NULL, NULL, x'736573616d65', 'no', 1),
            ('c@h', 'milenage', x'00', x'00', x'0000', 1, 1, NULL, 'no', 1);
        INSERT INTO public_identity VALUES ('sip:a@h', 'a@h', 1), ('tel:+1', 'a@h', 0), ('sip:b@h', 'b@h', 0),
            ('sip:c@h', 'c@h', 0);
        INSERT INTO registration VALUES ('a@h', 'registered', 9, NULL, NULL, NULL, NULL, NULL);
        INSERT INTO node VALUES (0, 17950000100);";

    #[test]
    fn subscribers_of_the_first_version_are_taken_over_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let old = Connection::open(&path).unwrap();
        old.pragma_update(None, "journal_mode", "WAL").unwrap();
        old.execute_batch(SCHEMA).unwrap();
        drop(old);
        let store = Arc::new(Memory::new(Clock::new()));
        let subscribers = Subscribers::new(store.clone(), Arc::new(Seal::none()));
        assert_eq!(take_over(dir.path(), &subscribers).unwrap(), 2);
        assert_eq!(take_over(dir.path(), &subscribers).unwrap(), 0);
        let a = subscribers.find("sip:a@h").unwrap().unwrap();
        assert_eq!(a.subscriber.impus.as_ref(), [Impu::from("tel:+1"), Impu::from("sip:a@h")]);
        assert_eq!(a.sqn, Some(StoredSqn { step: 0, tick: 17_950_000_000, offset: -17_949_999_000 }));
        assert_eq!((a.subscriber.amf, a.registration), (Amf([0x80, 0]), Default::default()));
        let Credentials::Digest(password) = subscribers.find("b@h").unwrap().unwrap().subscriber.credentials else {
            panic!("not digest")
        };
        assert_eq!(password.as_bytes(), b"sesame");
        assert!(subscribers.find("c@h").unwrap().is_none());
        assert_eq!(super::super::issuer::mark(&*store, 0).unwrap(), 17_950_000_100);
        let octets = std::fs::read(&path).unwrap();
        for secret in [&b"sesame"[..], &[0x46, 0x5b, 0x5c, 0xe8, 0xb1, 0x99]] {
            assert!(!octets.windows(secret.len()).any(|window| window == secret), "a key is left in the file");
        }
    }
}
