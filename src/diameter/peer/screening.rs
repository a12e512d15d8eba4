//! Requests for an application that no application is asked about: what they are and whom they are for comes before what
//! is in them (RFC 6733 §6.1.4, §7.1). [`super::Peer`] answers them itself.

use super::Local;
use crate::diameter::dictionary::{
    DESTINATION_HOST, DESTINATION_REALM, ORIGIN_HOST, ORIGIN_REALM, SESSION_ID, application, command,
};
use crate::diameter::fault::base;
use crate::diameter::{Fault, Message, ResultCode, Writer, answer_to, refusal_of};

/// None: it is one for the application.
pub(super) fn refusal(local: &Local, request: &Message<'_>, closing: bool) -> Option<Writer> {
    if let Some(code) = not_ours(local, request, closing) {
        return Some(answer_to(request, code, &local.origin));
    }
    let fault = request.check().and_then(|()| complete(request)).err()?;
    Some(refusal_of(request, &fault, &local.origin))
}

fn not_ours(local: &Local, request: &Message<'_>, closing: bool) -> Option<ResultCode> {
    let header = request.header();
    let other =
        |def, own: &str| request.avps().text(def).ok().flatten().is_some_and(|named| !named.eq_ignore_ascii_case(own));
    // An application that is not in the dictionary may have any commands.
    let known =
        application::name(header.application).is_none() || command::name(header.application, header.command).is_some();
    Some(if !local.served.contains(&header.application) {
        base::APPLICATION_UNSUPPORTED
    } else if closing {
        base::TOO_BUSY
    } else if !known {
        base::COMMAND_UNSUPPORTED
    } else if other(&DESTINATION_REALM, &local.origin.realm) {
        // We are no relay.
        base::REALM_NOT_SERVED
    } else if other(&DESTINATION_HOST, &local.origin.host) {
        base::UNABLE_TO_DELIVER
    } else {
        return None;
    })
}

/// What every such request must have, whatever it asks. The others of TS 29.229 §6.1 are not insisted on: one without
/// Destination-Realm is for whom it reaches (RFC 6733 §6.1.4), Vendor-Specific-Application-Id is said in the header too,
/// and nobody here keeps a session.
fn complete(request: &Message<'_>) -> Result<(), Fault> {
    request.identity(&SESSION_ID)?;
    introduced(request)
}

/// Who sent it, which requests of the base protocol say too.
pub(super) fn introduced(request: &Message<'_>) -> Result<(), Fault> {
    request.identity(&ORIGIN_HOST)?;
    request.identity(&ORIGIN_REALM).map(drop)
}
