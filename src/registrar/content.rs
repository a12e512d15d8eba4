//! Which bodies are taken (RFC 3261 §8.2.3): 415 with what would have been, unless the sender marks his as optional.
//! Called for a REGISTER, and for what a terminal sends to a broadcast server.

use super::scscf::Refusal;
use crate::broadcast::media;
use crate::sip::{HeaderName, Message};

/// Refuses a body whose type is none of `kinds` (full names, or `multipart/`), or that is encoded. An optional one
/// passes whatever it is, to be ignored.
pub(super) fn check(request: &Message<'_>, kinds: &[&str]) -> Result<(), Refusal> {
    if request.body().is_empty() || is_optional(request) { Ok(()) } else { only(request, kinds) }
}

/// The same for a body that is sent on: optional or not, empty or not.
pub(super) fn only(request: &Message<'_>, kinds: &[&str]) -> Result<(), Refusal> {
    not_encoded(request)?;
    let kind = request.header(HeaderName::ContentType).unwrap_or_default();
    let fits = |wanted: &&str| match wanted.strip_suffix('/') {
        Some(family) => kind.trim_ascii_start().get(..wanted.len()).is_some_and(|start| {
            start.ends_with(b"/")
                && start.get(..family.len()).is_some_and(|f| f.eq_ignore_ascii_case(family.as_bytes()))
        }),
        None => media::is(kind, wanted),
    };
    if kinds.iter().any(fits) {
        return Ok(());
    }
    let accept: Vec<String> =
        kinds.iter().map(|kind| if kind.ends_with('/') { format!("{kind}*") } else { kind.to_string() }).collect();
    Err(Refusal::new(415).with(HeaderName::Accept, accept.join(", ")))
}

/// A body whose octets mean what they are.
pub(super) fn not_encoded(request: &Message<'_>) -> Result<(), Refusal> {
    let identity = |coding: &[u8]| coding.eq_ignore_ascii_case(b"identity");
    if request.list(HeaderName::ContentEncoding).all(identity) {
        return Ok(());
    }
    Err(Refusal::new(415).with(HeaderName::AcceptEncoding, "identity"))
}

/// `Content-Disposition: …;handling=optional`
fn is_optional(request: &Message<'_>) -> bool {
    let value = request.header(HeaderName::ContentDisposition).unwrap_or_default();
    value.split(|&octet| octet == b';').skip(1).any(|param| {
        let bare: Vec<u8> = param.iter().filter(|octet| !octet.is_ascii_whitespace()).copied().collect();
        bare.eq_ignore_ascii_case(b"handling=optional")
    })
}
