//! A bootstrapping that was not made by a REGISTER (Ub): it takes its place among the user's keys and is stored with him.

use super::scscf::Scscf;
use crate::gba::bootstrap::{Bootstrap, BootstrapError};
use std::sync::Arc;
use std::time::Duration;

/// Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    #[error(transparent)]
    Table(#[from] BootstrapError),
    #[error("the store is away")]
    Store,
}

impl Scscf {
    /// Takes it up for `lifetime`, and answers when it is stored.
    pub async fn bootstrapped(&self, new: Bootstrap, lifetime: Duration) -> Result<Arc<Bootstrap>, NotKept> {
        let impi = new.impi.clone();
        self.fetch(&impi).await.map_err(|_| NotKept::Store)?;
        let bootstraps = &self.shared.bootstraps;
        let before = bootstraps.held(&impi);
        let kept = bootstraps.put(new, lifetime, self.now())?;
        tracing::trace!(target: "ladder", at = "BSF", what = "Ks = CK || IK stored", btid = kept.btid.text());
        if self.kept(&impi).await.is_err() {
            // Unless another has taken its place meanwhile.
            if bootstraps.of_impi(&impi, self.now()).is_some_and(|current| current.btid == kept.btid) {
                bootstraps.put_back(&impi, before);
            }
            self.not_kept_is_undone(&impi);
            return Err(NotKept::Store);
        }
        Ok(kept)
    }
}
