//! What a foreign S-CSCF lets a broadcast server know. It writes no `Bcast-Ext`, but where the user's filter criterion says
//! IncludeRegisterRequest, its third-party REGISTER holds the terminal's own as `message/sip`, alone or as a part of a
//! multipart (TS 24.229 §5.4.1.7A), and in it the broadcast portion is found as an IMS server of ours would find it.
//!
//! Called by the broadcast server for a REGISTER without `Bcast-Ext`.

use super::ext::{Ext, KeyWay, Mode};
use super::identify::{IdentifyError, identify};
use super::media;
use crate::sip::{Message, Part};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EmbeddedError {
    #[error("the embedded message cannot be read")]
    Unreadable,
    #[error("more than one embedded REGISTER")]
    Several,
    #[error(transparent)]
    Portion(#[from] IdentifyError),
}

/// The embedded REGISTER as far as it is for this server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Embedded {
    /// What an IMS server of ours would have written; None: the terminal asked nothing of a broadcast server.
    pub(super) ext: Option<Ext>,
    /// The provisioning body.
    pub(super) payload: Option<Vec<u8>>,
}

/// Reads the embedded REGISTER. An embedded answer (IncludeRegisterResponse) says nothing; what is embedded in the embedded
/// one is not looked at.
pub(super) fn embedded(parts: &[Part<'_>]) -> Result<Option<Embedded>, EmbeddedError> {
    let mut found = None;
    for part in parts.iter().filter(|part| media::is(part.content_type, media::SIP)) {
        let message = Message::parse(part.content).map_err(|_| EmbeddedError::Unreadable)?;
        if message.is_request() && message.method() == b"REGISTER" && found.replace(message).is_some() {
            return Err(EmbeddedError::Several);
        }
    }
    let Some(register) = found else { return Ok(None) };
    Ok(Some(match identify(&register)? {
        None => Embedded { ext: None, payload: None },
        Some(portion) => {
            let ext = Ext {
                profile: portion.profile,
                naf: Some(portion.naf),
                ua_given: true,
                btid: portion.btid,
                // The key is fetched while the S-CSCF waits: so its answer says all, and nothing has to be told later to
                // a node that would not understand it.
                mode: Some(Mode::Simultaneous),
                key: Some(KeyWay::Pull),
                ..Ext::default()
            };
            Embedded { ext: Some(ext), payload: portion.payload.map(|payload| payload.octets) }
        }
    }))
}

#[cfg(test)]
#[path = "embedded_tests.rs"]
mod tests;
