//! A user kept and found again: one entity of 600 octets among a thousand.

use super::{Case, measured};
use imscript::clock::Clock;
use imscript::store::sqlite::{Durability, Sqlite};
use imscript::store::{Class, Key, Memory, Save, Saved, Store};
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

const USERS: u64 = 1000;
const OCTETS: usize = 600;

pub(super) fn cases() -> Vec<Case> {
    let memory: Rc<dyn Store> = Rc::new(Memory::new(Clock::new()));
    (0..USERS).for_each(|user| put(&*memory, user));
    vec![
        of("memory store: put", memory.clone(), put),
        of("memory store: get", memory, get),
        on_disk("SQLite store: put", put),
        on_disk("SQLite store: get", get),
    ]
}

fn of(name: &'static str, store: Rc<dyn Store>, operation: fn(&dyn Store, u64)) -> Case {
    let mut user = 0;
    let run = move |count| {
        measured(&mut || {
            for _ in 0..count {
                user = (user + 1) % USERS;
                operation(&*store, user);
            }
        });
    };
    Case { name, run: Box::new(run) }
}

/// The file is made when it is first asked for, so that the other cases are alone. Each put is a commit of its own.
fn on_disk(name: &'static str, operation: fn(&dyn Store, u64)) -> Case {
    let mut made: Option<(tempfile::TempDir, Case)> = None;
    let run = move |count| {
        let (_, case) = made.get_or_insert_with(|| {
            let dir = tempfile::tempdir().expect("a folder");
            let store = Sqlite::open_node(dir.path(), Durability::Commit, Clock::new()).expect("a store");
            let answers: Vec<_> = (0..USERS).map(|user| store.save(save(user))).collect();
            answers.into_iter().for_each(|answer| assert!(matches!(answer.wait(), Ok(Saved::Done(_)))));
            (dir, of(name, Rc::new(store), operation))
        });
        (case.run)(count);
    };
    Case { name, run: Box::new(run) }
}

fn key(user: u64) -> Key {
    Key::new(Class::User, format!("user{user:04}_private@ims.mnc001.mcc001.3gppnetwork.org"))
}

fn save(user: u64) -> Save {
    let text = format!("{{\"contacts\":[{{\"uri\":\"sip:{user:04}@192.0.2.1\",\"q\":1.0}}],\"fill\":\"");
    let fill = "x".repeat(OCTETS - text.len() - 2);
    let value: Box<[u8]> = format!("{text}{fill}\"}}").into_bytes().into();
    Save::whole(key(user), vec![("state".into(), Some(value))]).until(Duration::from_secs(4_000_000_000))
}

fn put(store: &dyn Store, user: u64) {
    assert!(matches!(store.save(save(user)).wait(), Ok(Saved::Done(_))));
}

fn get(store: &dyn Store, user: u64) {
    let found = store.load(vec![key(user)]).wait().expect("a store that reads");
    assert!(black_box(found).iter().all(|entity| entity.exists()));
}
