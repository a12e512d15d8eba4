//! Who registered last through which network. Bounded: the users longest unheard of are forgotten first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) network: Arc<str>,
    /// When, in seconds since 1970.
    pub(crate) unix: u64,
    /// The network that was refused since, and until when.
    pub(crate) refused: Option<(Arc<str>, u64)>,
}

pub(crate) struct Seen {
    most: usize,
    halves: Mutex<Halves>,
}

/// Two maps: once the young one is half of what is allowed, it takes the place of the old one, which goes.
#[derive(Default)]
struct Halves {
    young: HashMap<String, User>,
    old: HashMap<String, User>,
}

impl Seen {
    pub(crate) fn new(most: usize) -> Self {
        Seen { most, halves: Mutex::default() }
    }

    pub(crate) fn of(&self, impu: &str) -> Option<User> {
        let halves = self.halves();
        halves.young.get(impu).or_else(|| halves.old.get(impu)).cloned()
    }

    pub(crate) fn put(&self, impu: &str, user: User) {
        let mut halves = self.halves();
        halves.old.remove(impu);
        if halves.young.len() >= self.most / 2 && !halves.young.contains_key(impu) {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(impu.to_owned(), user);
    }

    /// Every change is a single insertion or removal, so what a panic elsewhere left behind is sound.
    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_the_longest_unheard_of() {
        let seen = Seen::new(4);
        let user = |unix| User { network: "a".into(), unix, refused: None };
        for unix in 0..5 {
            seen.put(&unix.to_string(), user(unix));
        }
        assert_eq!(seen.of("4"), Some(user(4)));
        assert_eq!(seen.of("2"), Some(user(2)));
        assert_eq!(seen.of("0"), None);
        seen.put("2", user(9));
        assert_eq!(seen.of("2"), Some(user(9)));
    }
}
