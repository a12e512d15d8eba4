//! The octets of messages on their way, in memory that is used again: a request that must outlive its datagram, an answer while
//! it is written, a request of our own. Each worker has a stock of such vectors; who takes none from it gives none back.

use std::cell::RefCell;
use std::ops::Deref;

/// Octets that an ordinary message has room in.
const ROOM: usize = 2048;
/// Vectors that a thread keeps, and the largest.
const KEPT: usize = 64;
const LARGEST: usize = 4 * ROOM;

thread_local! {
    static STOCK: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty vector with room for an ordinary message.
pub(super) fn take() -> Vec<u8> {
    // At the end of a thread there may be no stock any more.
    let used = STOCK.try_with(|stock| stock.borrow_mut().pop());
    used.ok().flatten().unwrap_or_else(|| Vec::with_capacity(ROOM))
}

/// Takes back a vector that is no longer needed; one that is too small or too large is let go.
pub(super) fn give(mut used: Vec<u8>) {
    if (ROOM..=LARGEST).contains(&used.capacity()) {
        used.clear();
        let _ = STOCK.try_with(|stock| {
            let mut stock = stock.borrow_mut();
            if stock.len() < KEPT {
                stock.push(used);
            }
        });
    }
}

/// What a message is made of.
#[derive(Clone)]
pub(super) enum Octets<'a> {
    Borrowed(&'a [u8]),
    Owned(Owned),
}

impl Octets<'_> {
    pub(super) fn into_owned(self) -> Octets<'static> {
        Octets::Owned(match self {
            Octets::Borrowed(octets) => {
                let mut copy = take();
                copy.extend_from_slice(octets);
                Owned(copy)
            }
            Octets::Owned(owned) => owned,
        })
    }
}

impl From<Vec<u8>> for Octets<'static> {
    fn from(octets: Vec<u8>) -> Self {
        Octets::Owned(Owned(octets))
    }
}

impl Deref for Octets<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Octets::Borrowed(octets) => octets,
            Octets::Owned(owned) => &owned.0,
        }
    }
}

/// Goes back into the stock with its message.
#[derive(Clone)]
pub(super) struct Owned(Vec<u8>);

impl Drop for Owned {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_used_again_and_is_empty() {
        let mut first = take();
        first.extend_from_slice(b"Ks");
        let at = first.as_ptr();
        give(first);
        let again = take();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        drop(Octets::from(again));
        assert_eq!(Octets::Borrowed(b"octets").into_owned().as_ptr(), at);
    }

    #[test]
    fn the_stock_is_bounded_in_number_and_size() {
        (0..KEPT * 2).for_each(|_| give(Vec::with_capacity(ROOM)));
        give(Vec::with_capacity(LARGEST + 1));
        give(Vec::new());
        let stock = STOCK.with_borrow(|stock| (stock.len(), stock.iter().all(|kept| kept.capacity() <= LARGEST)));
        assert_eq!(stock, (KEPT, true));
    }
}
