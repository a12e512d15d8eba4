//! Applications that peers are configured for of whom none is there: the node's thread tells, and who sends may look.

use std::sync::{PoisonError, RwLock};

#[derive(Default)]
pub(super) struct Missing(RwLock<Vec<u32>>);

impl Missing {
    pub(super) fn has(&self, application: u32) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&application)
    }

    pub(super) fn set(&self, applications: impl Iterator<Item = u32>) {
        let mut missing = self.0.write().unwrap_or_else(PoisonError::into_inner);
        missing.clear();
        missing.extend(applications);
    }
}
