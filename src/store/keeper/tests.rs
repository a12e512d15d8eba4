use super::*;
use crate::clock::Clock;
use crate::store::{Class, Memory};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// A table of numbers, of which the larger is the newer.
#[derive(Default)]
struct Numbers(Map<Key, u64>);

impl Kept for Numbers {
    fn describe(&self, key: &Key) -> Option<Save> {
        let number = self.0.get(key)?;
        let octets = number.to_string().into_bytes().into_boxed_slice();
        Some(Save::whole(key.clone(), vec![("number".into(), Some(octets))]))
    }

    fn reconcile(&self, key: &Key, entity: &Entity) -> Result<(), StoreError> {
        let text = entity.field("number").and_then(|octets| std::str::from_utf8(octets).ok());
        let theirs: u64 = text.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut ours = self.0.entry(key.clone()).or_default();
        *ours = theirs.max(*ours);
        Ok(())
    }
}

/// Tasks run when the test says so.
#[derive(Clone, Default)]
struct Later(Rc<RefCell<VecDeque<Task>>>);

impl Later {
    fn spawn(&self) -> impl Fn(Task) + use<> {
        let me = self.clone();
        move |task| me.0.borrow_mut().push_back(task)
    }

    fn run(&self) {
        loop {
            let Some(task) = self.0.borrow_mut().pop_front() else { return };
            Answer::later(task).wait();
        }
    }
}

fn key() -> Key {
    Key::new(Class::User, "a@home1.net")
}

fn node(store: &Arc<Memory>) -> (Arc<Keeper>, Arc<Numbers>) {
    (Keeper::new(store.clone()), Arc::default())
}

fn lies_in(store: &Memory) -> String {
    let entity = store.load(vec![key()]).wait().unwrap().pop().unwrap();
    String::from_utf8(entity.field("number").unwrap_or_default().to_vec()).unwrap()
}

#[test]
fn two_nodes_meet_and_the_newer_stays() {
    let store = Arc::new(Memory::of_nature(Clock::new(), Nature::Shared));
    let ((one, mine), (two, theirs)) = (node(&store), node(&store));
    let later = Later::default();
    mine.0.insert(key(), 5);
    theirs.0.insert(key(), 7);
    let first = one.changed(&key(), &mine, &later.spawn());
    let second = two.changed(&key(), &theirs, &later.spawn());
    later.run();
    assert!(first.wait().is_ok() && second.wait().is_ok());
    assert_eq!(lies_in(&store), "7");
    assert!(one.fetch(&key(), &*mine, false).wait().is_ok());
    assert_eq!(*mine.0.get(&key()).unwrap(), 7);
}

#[test]
fn what_a_shared_store_has_lost_is_brought_back() {
    let store = Arc::new(Memory::of_nature(Clock::new(), Nature::Shared));
    let (keeper, mine) = node(&store);
    let later = Later::default();
    mine.0.insert(key(), 5);
    let saved = keeper.changed(&key(), &mine, &later.spawn());
    later.run();
    assert!(saved.wait().is_ok());
    store.save(Save::remove(key())).wait().unwrap();
    let again = keeper.changed(&key(), &mine, &later.spawn());
    later.run();
    assert!(again.wait().is_ok());
    assert_eq!(lies_in(&store), "5");
}

#[test]
fn changes_during_a_save_are_saved_after_it() {
    let store = Arc::new(Memory::of_nature(Clock::new(), Nature::Shared));
    let (keeper, mine) = node(&store);
    let later = Later::default();
    let answers: Vec<_> = (1..=20)
        .map(|number| {
            mine.0.insert(key(), number);
            keeper.changed(&key(), &mine, &later.spawn())
        })
        .collect();
    assert_eq!(later.0.borrow().len(), 1, "one save at a time");
    later.run();
    assert!(answers.into_iter().all(|answer| answer.wait().is_ok()));
    assert_eq!(lies_in(&store), "20");
}

#[test]
fn a_failed_save_is_told_and_made_again() {
    for nature in [Nature::Durable, Nature::Shared] {
        let store = Arc::new(Memory::of_nature(Clock::new(), nature));
        let (keeper, mine) = node(&store);
        let later = Later::default();
        store.close();
        mine.0.insert(key(), 1);
        let failed = keeper.changed(&key(), &mine, &later.spawn());
        later.run();
        assert_eq!(failed.wait(), Err(StoreError::Closed), "{nature:?}");
        assert_eq!(keeper.unsaved(), 1);
        keeper.tend(&mine, &later.spawn());
        later.run();
        assert_eq!(keeper.unsaved(), 1, "still closed");
        keeper.undone(&key());
        assert_eq!(keeper.unsaved(), 0);
    }
}

#[test]
fn nothing_is_written_where_nothing_outlives_the_process() {
    let store = Arc::new(Memory::new(Clock::new()));
    let (keeper, mine) = node(&store);
    mine.0.insert(key(), 1);
    assert!(keeper.changed(&key(), &mine, &|_| unreachable!()).wait().is_ok());
    assert_eq!(lies_in(&store), "");
}
