//! What came of the broadcast leg, as the 200 tells it.

use super::table::Leg;
use crate::broadcast::ext::Ext;
use crate::broadcast::media;
use crate::hss::RegState;
use crate::sip::{HeaderName, Message};

/// What the 200 says of the broadcast registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LegOutcome {
    pub(super) state: RegState,
    /// Whether the request had anything to do with broadcast.
    pub(super) asked: bool,
    pub(super) cause: Option<String>,
    pub(super) btid: Option<crate::gba::btid::Btid>,
    /// Content-Type and body of the broadcast server's answer.
    pub(super) body: Option<(String, Vec<u8>)>,
    /// The server that has just been told of the IMS registration by the forwarded request itself.
    pub(super) told: Option<String>,
}

impl LegOutcome {
    pub(super) fn none() -> Self {
        LegOutcome { state: RegState::NotRegistered, asked: false, cause: None, btid: None, body: None, told: None }
    }

    /// What is so already.
    pub(super) fn standing(leg: &Leg) -> Self {
        LegOutcome { state: leg.state, asked: true, btid: leg.btid.clone(), ..Self::none() }
    }

    pub(super) fn failed(cause: impl Into<String>) -> Self {
        LegOutcome { state: RegState::Failed, asked: true, cause: Some(cause.into()), ..Self::none() }
    }

    /// `Bcast-Ext` of the 200.
    pub(super) fn header(&self) -> Option<String> {
        self.asked.then(|| {
            let ext =
                Ext { state: Some(self.state), cause: self.cause.clone(), btid: self.btid.clone(), ..Ext::default() };
            ext.to_string()
        })
    }

    /// The ServiceResponse, where the terminal's Accept lists it; nothing else that a server answers goes on.
    pub(super) fn body_for(&self, request: &Message<'_>) -> Option<(String, Vec<u8>)> {
        let wanted = request.list(HeaderName::Accept).any(|value| media::is(value, media::PROVISIONING));
        self.body.clone().filter(|(kind, _)| wanted && media::is(kind.as_bytes(), media::PROVISIONING))
    }
}
