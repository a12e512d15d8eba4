//! A list that most of those who could have one have not (rank 0): a pointer, and nothing behind it where it is empty.

use std::ops::Deref;
use std::sync::Arc;

/// It is shared, and made anew to be changed.
#[derive(Clone, PartialEq, Eq)]
pub struct Few<T>(Option<Arc<Vec<T>>>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Few(None)
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(mut all: Vec<T>) -> Self {
        all.shrink_to_fit();
        Few((!all.is_empty()).then(|| Arc::new(all)))
    }
}

impl<T, const N: usize> From<[T; N]> for Few<T> {
    fn from(all: [T; N]) -> Self {
        Vec::from(all).into()
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        all.into_iter().collect::<Vec<_>>().into()
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Few<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&**self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_list_that_it_was_made_of() {
        for list in [vec![], vec![1], vec![1, 2]] {
            let few = Few::from(list.clone());
            assert_eq!((&*few, &few), (&*list, &list.iter().copied().collect()));
            assert_eq!(format!("{few:?}"), format!("{list:?}"));
        }
        assert_eq!(Few::from([]), Few::<u8>::default());
        assert_eq!(size_of::<Few<String>>(), 8);
    }
}
