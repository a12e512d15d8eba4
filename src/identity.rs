//! Who is who (rank 0): private and public user identities (TS 23.003 clause 13).

use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// What was made lately, so that equal things that many users have are kept once.
pub(crate) struct Recent<T: ?Sized>(RefCell<Vec<Arc<T>>>);

/// So many domains, servers and addresses a node has commonly to do with at a time.
const RECENT: usize = 16;

impl<T: ?Sized> Recent<T> {
    pub(crate) const fn new() -> Self {
        Recent(RefCell::new(Vec::new()))
    }

    /// One of the last that `is` it, or a new one.
    pub(crate) fn same(&self, is: impl Fn(&T) -> bool, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut held = self.0.borrow_mut();
        let at = held.iter().position(|one| is(one)).unwrap_or_else(|| {
            held.truncate(RECENT - 1);
            held.push(make());
            held.len() - 1
        });
        // Who is used stays: what is made up and sent to us displaces the like.
        held[..=at].rotate_right(1);
        held[0].clone()
    }
}

thread_local! {
    static TEXTS: Recent<str> = const { Recent::new() };
}

/// A text that many users have, like a domain or the name of a server.
pub(crate) fn common(text: &str) -> Arc<str> {
    TEXTS.with(|texts| texts.same(|one| one == text, || text.into()))
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                $name(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text itself, to share.
            pub fn as_arc(&self) -> &Arc<str> {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(text.into())
            }
        }
    };
}

name_type!(
    /// IP multimedia private identity: the Digest `username`, `user@realm`.
    Impi
);
name_type!(
    /// IP multimedia public identity in canonical form (see [`crate::sip::Uri::aor`]): `sip:user@host` or `tel:+1…`.
    Impu
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_texts_are_kept_once_and_what_is_used_outlives_what_is_made_up() {
        let home = common("home1.net");
        for n in 0..100 {
            let made_up = common(&n.to_string());
            assert_eq!(*made_up, *n.to_string());
            assert!(Arc::ptr_eq(&home, &common("home1.net")));
        }
        TEXTS.with(|texts| assert_eq!(texts.0.borrow().len(), RECENT));
    }
}
