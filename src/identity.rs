//! Who is who (rank 0): private and public user identities (TS 23.003 clause 13).

use arcstr::ArcStr;
use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// What was made lately, so that equal things that many users have are kept once: handles of what is shared.
pub(crate) struct Recent<T>(RefCell<Vec<T>>);

/// So many domains, servers and addresses a node has commonly to do with at a time.
const RECENT: usize = 16;

impl<T: Clone> Recent<T> {
    pub(crate) const fn new() -> Self {
        Recent(RefCell::new(Vec::new()))
    }

    /// One of the last that `is` it, or a new one.
    pub(crate) fn same(&self, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> T {
        let mut held = self.0.borrow_mut();
        let at = held.iter().position(is).unwrap_or_else(|| {
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
    static TEXTS: Recent<ArcStr> = const { Recent::new() };
}

/// A text that many users have, like a domain or the name of a server.
pub(crate) fn common(text: &str) -> ArcStr {
    TEXTS.with(|texts| texts.same(|one| one == text, || text.into()))
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(ArcStr);

        impl $name {
            pub fn new(text: impl Into<ArcStr>) -> Self {
                $name(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text itself, to share.
            pub fn as_arc(&self) -> &ArcStr {
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

/// A user's public identities in order, shared; one alone, as most have, without a list of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impus(Set);

/// A list has not exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Set {
    One(Impu),
    List(Arc<[Impu]>),
}

impl std::ops::Deref for Impus {
    type Target = [Impu];

    fn deref(&self) -> &[Impu] {
        match &self.0 {
            Set::One(impu) => std::slice::from_ref(impu),
            Set::List(all) => all,
        }
    }
}

impl Default for Impus {
    /// None, which has no allocation of its own either.
    fn default() -> Self {
        Impus(Set::List(Arc::default()))
    }
}

impl From<Vec<Impu>> for Impus {
    fn from(all: Vec<Impu>) -> Self {
        match <[Impu; 1]>::try_from(all) {
            Ok([one]) => Impus(Set::One(one)),
            Err(none) if none.is_empty() => Impus::default(),
            Err(all) => Impus(Set::List(all.into())),
        }
    }
}

impl<const N: usize> From<[Impu; N]> for Impus {
    fn from(all: [Impu; N]) -> Self {
        Vec::from(all).into()
    }
}

impl FromIterator<Impu> for Impus {
    fn from_iter<I: IntoIterator<Item = Impu>>(all: I) -> Self {
        all.into_iter().collect::<Vec<_>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_texts_are_kept_once_and_what_is_used_outlives_what_is_made_up() {
        let home = common("home1.net");
        for n in 0..100 {
            let made_up = common(&n.to_string());
            assert_eq!(*made_up, *n.to_string());
            assert!(ArcStr::ptr_eq(&home, &common("home1.net")));
        }
        TEXTS.with(|texts| assert_eq!(texts.0.borrow().len(), RECENT));
    }

    #[test]
    fn a_set_is_what_it_was_made_of() {
        let impus = |number: u8| (0..number).map(|n| Impu::new(format!("sip:{n}@h")));
        for number in 0..4 {
            let set: Impus = impus(number).collect();
            assert!(set.iter().cloned().eq(impus(number)));
            assert_eq!(set, impus(number).collect::<Vec<_>>().into());
            assert_eq!(set.first(), impus(number).next().as_ref());
        }
        assert_eq!(size_of::<Impus>(), size_of::<Arc<[Impu]>>());
    }
}
