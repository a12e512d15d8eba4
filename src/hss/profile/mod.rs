//! What the HSS says of a subscriber: implicit set, broadcast subscription, states. [`subscription`] has the document
//! in which a foreign HSS says it.

pub mod criteria;
pub mod subscription;

pub use criteria::{ApplicationServer, Criterion, Match, NAF, Part, Trigger, TriggerPoint};
pub use subscription::{ImsSubscription, NotAProfile, PublicIdentity, ServiceProfile};

use crate::few::Few;
use crate::identity::{Impi, Impu, Impus};

/// Cx user profile (TS 29.228 annex B), as far as the registrar needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The private identity as the HSS keeps it, if it is here: one text serves all.
    pub impi: Option<Impi>,
    /// The implicit registration set, default identity first (goes into P-Associated-URI).
    pub impus: Impus,
    /// Those of the set that can be registered and not told: barred from all else (TS 23.228 §5.2.1a).
    pub barred: Few<Impu>,
    pub broadcast: BroadcastSubscription,
}

impl Profile {
    /// With no barred identity, and of an HSS elsewhere.
    pub fn new(impus: impl Into<Impus>, broadcast: BroadcastSubscription) -> Self {
        Profile { impi: None, impus: impus.into(), barred: Few::default(), broadcast }
    }

    /// Whether this public identity is of the set.
    pub fn has(&self, impu: &Impu) -> bool {
        self.impus.contains(impu) || self.barred.contains(impu)
    }
}

/// What the subscriber may receive: `broadcast` in the import file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BroadcastSubscription {
    #[default]
    None,
    /// Every service.
    All,
    /// These service ids (`globalIDRef` of purchase items).
    Services(Few<String>),
}

impl BroadcastSubscription {
    pub fn is_subscribed(&self) -> bool {
        !matches!(self, BroadcastSubscription::None)
    }
}

/// State of a registration in one of the two systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegState {
    #[default]
    NotRegistered,
    /// Asked for, not there yet (key or answer outstanding).
    Pending,
    Registered,
    Failed,
}

impl RegState {
    /// What [`RegState::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [RegState::NotRegistered, RegState::Pending, RegState::Registered, RegState::Failed];
        all.into_iter().find(|state| state.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            RegState::NotRegistered => "not_registered",
            RegState::Pending => "pending",
            RegState::Registered => "registered",
            RegState::Failed => "failed",
        }
    }
}
