//! The identification module (130 of the patent): finds the part of a REGISTER that is for a broadcast server.
//!
//! The extension parameters are accepted in three forms, in this order of trust, and must not contradict each other:
//!
//! 1. `Bcast-Ext: profile="1.0";naf-id="bsm.home1.net";ua-id=0100000001`
//! 2. `Require: bcast_ext_profile=1.0; bcast_ext_scard="bsm.home1.net"`, the patent's: no legal Require, so it is taken
//!    out before the option tags are looked at
//! 3. `Contact: <sip:…>;+g.imscript.bcast="bsm.home1.net"` (RFC 3840 feature tag)
//!
//! Called by the S-CSCF for the first and the second REGISTER of a registration.

use super::ext::{self, Ext, ExtError, bounded};
use super::media;
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::sip::{Fault, HeaderName, Message};

/// Option tag by which a terminal asks for both registrations or none (in Require), or says that it knows the
/// extension (in Supported).
pub const OPTION_TAG: &str = "bcast-ext";
/// Name of the patent's extension, as it stands in Unsupported when the extension is off.
pub const PATENT_TAG: &str = "bcast_ext_profile";
const PATENT_NAF: &str = "bcast_ext_scard";
/// Feature tag of a Contact.
pub const FEATURE_TAG: &str = "+g.imscript.bcast";
/// Largest provisioning body: the forwarded request must hold it beside a key part.
pub const PAYLOAD_MAX: usize = 48 * 1024;

/// The provisioning body, octet for octet as the terminal sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// In the registered form, with the parameters that the terminal gave.
    pub content_type: String,
    pub octets: Vec<u8>,
}

/// What of a REGISTER is for the broadcast server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    pub naf: NafId,
    pub profile: Option<String>,
    pub payload: Option<Payload>,
    /// Of a bootstrapping that the terminal ran before, over Ub.
    pub btid: Option<Btid>,
    /// The terminal wants both registrations or none.
    pub all_or_nothing: bool,
}

impl Portion {
    /// Octets that keeping this costs, for bounding what is kept with a challenge.
    pub fn size(&self) -> usize {
        let payload = self.payload.as_ref().map_or(0, |payload| payload.octets.len() + payload.content_type.len());
        size_of::<Self>() + self.profile.as_ref().map_or(0, String::len) + self.naf.fqdn().len() + payload
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyError {
    #[error("broadcast extension: {0}")]
    Extension(#[from] ExtError),
    #[error("broadcast extension: no NAF_ID")]
    NafMissing,
    #[error("more than one service provisioning body")]
    SeveralPayloads,
    #[error("the service provisioning body is larger than {PAYLOAD_MAX} octets")]
    PayloadTooLarge,
    #[error("the multipart body cannot be read")]
    Multipart,
}

impl IdentifyError {
    pub fn status(&self) -> u16 {
        if *self == IdentifyError::PayloadTooLarge { 413 } else { 400 }
    }

    /// As an answer.
    pub fn fault(&self) -> Fault {
        Fault::new(self.status(), self)
    }
}

/// Takes out the portion. None: this REGISTER is for the IMS alone.
pub fn identify(request: &Message<'_>) -> Result<Option<Portion>, IdentifyError> {
    let payload = payload(request)?;
    let all_or_nothing = is_required(request);
    let mut asked = all_or_nothing || payload.is_some();

    let mut found = Ext::default();
    if let Some(header) = Ext::of(request)? {
        asked = true;
        found = header;
    }
    for (name, value) in patent_params(request)? {
        asked = true;
        match &*name {
            PATENT_TAG => {
                let profile = bounded(&value, PATENT_TAG)?;
                match &found.profile {
                    // The tag alone says no more than that the terminal knows the extension.
                    _ if profile.is_empty() => {}
                    Some(have) if have != profile => return Err(ExtError::Contradiction(PATENT_TAG).into()),
                    _ => found.profile = Some(profile.to_string()),
                }
            }
            _ if value.trim().is_empty() => return Err(IdentifyError::NafMissing),
            _ => found.take_naf(bounded(&value, PATENT_NAF)?)?,
        }
    }
    for (_, params) in request.raw_addresses(HeaderName::Contact).map_while(Result::ok) {
        for (name, value) in params.iter() {
            if !name.eq_ignore_ascii_case(FEATURE_TAG.as_bytes()) {
                continue;
            }
            let value = ext::unfold(value.unwrap_or_default());
            let value = ext::unquote(value.trim_ascii())?;
            // Without a value the tag only says what the terminal can do.
            if !value.trim().is_empty() {
                asked = true;
                found.take_naf(bounded(&value, FEATURE_TAG)?)?;
            }
        }
    }
    match found.naf {
        Some(naf) => Ok(Some(Portion { naf, profile: found.profile, payload, btid: found.btid, all_or_nothing })),
        None if asked => Err(IdentifyError::NafMissing),
        None => Ok(None),
    }
}

/// The option tags in Require that this server cannot meet, for 420 and Unsupported (RFC 3261 §8.2.2.3).
/// `supported`: tags that it can; with `extension_enabled` the broadcast extension is one, in both of its forms.
pub fn unknown_require(request: &Message<'_>, supported: &[&str], extension_enabled: bool) -> Vec<String> {
    let mut unknown: Vec<String> = Vec::new();
    let mut add = |tag: String| {
        if !tag.is_empty() && !unknown.contains(&tag) {
            unknown.push(tag);
        }
    };
    for field in request.headers(HeaderName::Require) {
        for element in ext::split(&ext::unfold(field), b',') {
            if is_patent_element(element) {
                if !extension_enabled {
                    add(PATENT_TAG.to_string());
                }
            } else if !(extension_enabled && element.eq_ignore_ascii_case(OPTION_TAG.as_bytes())
                || supported.iter().any(|tag| element.eq_ignore_ascii_case(tag.as_bytes())))
            {
                // Only what is a token goes back into the answer.
                let token = element.iter().take_while(|octet| is_token(**octet)).map(|&octet| char::from(octet));
                add(token.take(64).collect());
            }
        }
    }
    unknown
}

/// RFC 3261 §25.1
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&octet)
}

/// Whether an element of Require is the patent's extension: by what stands before the first "=" or ";".
fn is_patent_element(element: &[u8]) -> bool {
    let name = element.split(|octet| matches!(octet, b'=' | b';')).next().unwrap_or_default().trim_ascii();
    name.eq_ignore_ascii_case(PATENT_TAG.as_bytes()) || name.eq_ignore_ascii_case(PATENT_NAF.as_bytes())
}

/// The parameters of the patent's extension, from any number of elements and lines.
fn patent_params(request: &Message<'_>) -> Result<Vec<(String, String)>, ExtError> {
    let mut found = Vec::new();
    for field in request.headers(HeaderName::Require) {
        for element in ext::split(&ext::unfold(field), b',') {
            if is_patent_element(element) {
                for param in ext::params(element) {
                    let (name, value) = param?;
                    if name == PATENT_TAG || name == PATENT_NAF {
                        found.push((name.into_owned(), value.into_owned()));
                    }
                }
            }
        }
    }
    // Two profiles are compared here, against each other; two NAF_IDs when they are read.
    let mut profiles = found.iter().filter(|(name, _)| name == PATENT_TAG).map(|(_, value)| value);
    match profiles.next() {
        Some(first) if profiles.any(|other| other != first) => Err(ExtError::Contradiction(PATENT_TAG)),
        _ => Ok(found),
    }
}

/// Whether the option tag of the extension is in Require.
fn is_required(request: &Message<'_>) -> bool {
    request
        .headers(HeaderName::Require)
        .any(|field| ext::split(&ext::unfold(field), b',').any(|tag| tag.eq_ignore_ascii_case(OPTION_TAG.as_bytes())))
}

/// The provisioning body: the whole body, or one part of a multipart.
fn payload(request: &Message<'_>) -> Result<Option<Payload>, IdentifyError> {
    let Some(whole) = request.header(HeaderName::ContentType) else { return Ok(None) };
    let found = if media::is(whole, media::PROVISIONING) {
        Some((whole, request.body()))
    } else if whole.trim_ascii_start().get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/")) {
        let parts = request.parts().map_err(|_| IdentifyError::Multipart)?;
        let mut sprov = parts.iter().filter(|part| media::is(part.content_type, media::PROVISIONING));
        let first = sprov.next().map(|part| (part.content_type, part.content));
        if sprov.next().is_some() {
            return Err(IdentifyError::SeveralPayloads);
        }
        first
    } else {
        None
    };
    match found {
        Some((_, octets)) if octets.len() > PAYLOAD_MAX => Err(IdentifyError::PayloadTooLarge),
        Some((content_type, octets)) if !octets.is_empty() => {
            Ok(Some(Payload { content_type: content_type_of(content_type), octets: octets.to_vec() }))
        }
        _ => Ok(None),
    }
}

/// The registered media type, with the parameters of `raw` if they can stand in a header as they are.
fn content_type_of(raw: &[u8]) -> String {
    let raw = ext::unfold(raw);
    let params = raw.iter().position(|&octet| octet == b';').and_then(|at| raw.get(at..)).unwrap_or_default();
    // The patent's form has quotes around the whole: then the last quote is not a parameter's.
    let params = if raw.starts_with(b"\"") { params.strip_suffix(b"\"").unwrap_or(params) } else { params };
    match std::str::from_utf8(params) {
        Ok(params)
            if params.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic())
                && ext::params(params.as_bytes()).all(|param| param.is_ok()) =>
        {
            format!("{}{params}", media::PROVISIONING)
        }
        _ => media::PROVISIONING.to_string(),
    }
}

#[cfg(test)]
#[path = "identify_tests.rs"]
mod tests;
