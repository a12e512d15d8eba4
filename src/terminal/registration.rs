//! What a 200 to a REGISTER gave the terminal: bindings, routes, the broadcast state, and the keys that the AKA run
//! left behind (TS 33.220 annex B; the single-run short cut: the IMS vector is the bootstrapping).

use super::TerminalError;
use super::register::PROVISIONING;
use crate::aka::vector::Rand;
use crate::auth::digest::Algorithm;
use crate::broadcast::ext;
use crate::gba::btid::Btid;
use crate::gba::kdf::{self, Ks, KsNaf};
use crate::gba::naf_id::NafId;
use crate::hss::RegState;
use crate::identity::{Impi, Impu};
use crate::sip::{Contacts, HeaderName, Message, NameAddr, Params, Uri};
use zeroize::Zeroizing;

/// State of the broadcast registration as the 200 tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BroadcastState {
    /// The 200 says nothing about it, or that there is none (`terminated`).
    #[default]
    None,
    Pending,
    Registered,
    Failed,
}

impl BroadcastState {
    pub fn as_str(self) -> &'static str {
        match self {
            BroadcastState::None => "none",
            BroadcastState::Pending => "pending",
            BroadcastState::Registered => "registered",
            BroadcastState::Failed => "failed",
        }
    }
}

/// The `Bcast-Ext` of a 200.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Broadcast {
    pub state: BroadcastState,
    pub cause: Option<String>,
}

/// Ks and the RAND that it came from.
#[derive(Debug, Clone)]
pub struct BootstrapKeys {
    pub rand: Rand,
    pub ks: Ks,
}

/// A binding as the registrar lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub uri: String,
    pub instance: Option<String>,
    pub expires: Option<u32>,
}

#[derive(Debug, Clone)]
pub struct Registration {
    pub status: u16,
    pub impu: Impu,
    /// Seconds that our contact is bound; 0 after a deregistration.
    pub expires: u32,
    /// Our contact is in the list, as it must be (RFC 3261 §10.3 item 8).
    pub contact_listed: bool,
    pub bindings: Vec<Binding>,
    pub service_route: Vec<String>,
    pub associated: Vec<String>,
    pub broadcast: Broadcast,
    pub btid: Option<Btid>,
    pub algorithm: Option<Algorithm>,
    pub resynchronised: bool,
    /// None when the registrar did not challenge, or not with AKA.
    pub keys: Option<BootstrapKeys>,
    /// The ServiceResponse in the 200's body, if asked for.
    pub service_response: Option<Vec<u8>>,
}

impl Registration {
    /// Reads a 2xx. `contact`: the URI that was to be bound; `asked`: for how long.
    pub(super) fn read(
        response: &Message<'_>,
        contact: Option<&str>,
        asked: u32,
    ) -> Result<Registration, TerminalError> {
        let bindings: Vec<Binding> = match response.contacts() {
            Ok(Contacts::List(list)) => list.iter().map(binding).collect(),
            Ok(_) => Vec::new(),
            Err(_) => return Err(TerminalError::BadAnswer("the Contact of the 200 is malformed")),
        };
        let ours = contact.and_then(|uri| bindings.iter().find(|binding| same_uri(&binding.uri, uri)));
        // Some registrars behind a NAT list the contact as they see it, others none at all.
        let shown = ours.or(match bindings.as_slice() {
            [one] if contact.is_some() => Some(one),
            _ => None,
        });
        let header = response.expires();
        let expires = match (contact, shown) {
            (None, _) => 0,
            (Some(_), Some(shown)) => shown.expires.or(header).unwrap_or(asked),
            (Some(_), None) => header.unwrap_or(asked),
        };
        let (broadcast, btid) = broadcast(response)?;
        Ok(Registration {
            status: response.status(),
            impu: Impu::from(""),
            expires,
            contact_listed: ours.is_some(),
            service_route: response.list(HeaderName::ServiceRoute).map(text).collect(),
            associated: response
                .list(HeaderName::PAssociatedUri)
                .filter_map(|value| Some(text(NameAddr::parse(value).ok()?.uri_raw)))
                .collect(),
            bindings,
            broadcast,
            btid,
            algorithm: None,
            resynchronised: false,
            keys: None,
            service_response: provisioning_part(response),
        })
    }

    /// Takes in the keys of the AKA run that this 200 confirms. A B-TID with another RAND names no key that we have.
    pub(super) fn bootstrapped(&mut self, keys: BootstrapKeys, bsf_domain: &str) {
        match &self.btid {
            Some(btid) if btid.rand() != keys.rand => {
                self.broadcast = Broadcast {
                    state: BroadcastState::Failed,
                    cause: Some("the B-TID names another RAND than the challenge did".to_owned()),
                };
            }
            Some(_) => {}
            None => self.btid = Some(Btid::new(&keys.rand, bsf_domain)),
        }
        self.keys = Some(keys);
    }

    /// Ks_NAF towards `naf`; None without an AKA run.
    pub fn ks_naf(&self, impi: &Impi, naf: &NafId) -> Option<KsNaf> {
        self.keys.as_ref().map(|keys| kdf::ks_naf(&keys.ks, &keys.rand, impi.as_str(), naf))
    }
}

/// The digest password on Ua: base64 of Ks_NAF (TS 24.109 §5.2).
pub(super) fn ua_password(key: &KsNaf) -> crate::auth::digest::Password {
    use base64::Engine;
    let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(key.0));
    crate::auth::digest::Password::new(text.as_bytes())
}

fn binding(contact: &NameAddr<'_>) -> Binding {
    let param = |name: &str| contact.params.get(name).map(|value| String::from_utf8_lossy(&value).into_owned());
    Binding {
        uri: text(contact.uri_raw),
        instance: param("+sip.instance").map(|urn| urn.trim_matches(['<', '>']).to_owned()),
        expires: param("expires").and_then(|seconds| seconds.trim().parse().ok()),
    }
}

fn same_uri(one: &str, other: &str) -> bool {
    one == other
        || match (Uri::parse(one.as_bytes()), Uri::parse(other.as_bytes())) {
            (Ok(one), Ok(other)) => one.equivalent(&other),
            _ => false,
        }
}

fn broadcast(response: &Message<'_>) -> Result<(Broadcast, Option<Btid>), TerminalError> {
    let Some(value) = response.header(HeaderName::BcastExt) else { return Ok((Broadcast::default(), None)) };
    // The value is a bare parameter list; with a ";" in front it reads like the parameters of any header.
    let line = [b";", value].concat();
    let params = Params(&line);
    let get = |name: &str| params.get(name).map(|value| String::from_utf8_lossy(&value).into_owned());
    let state = match get("state") {
        Some(word) => match ext::state_from_token(&word) {
            Some(RegState::NotRegistered) => BroadcastState::None,
            Some(RegState::Pending) => BroadcastState::Pending,
            Some(RegState::Registered) => BroadcastState::Registered,
            Some(RegState::Failed) => BroadcastState::Failed,
            None => return Err(TerminalError::BadAnswer("the state in Bcast-Ext is unknown")),
        },
        None => BroadcastState::None,
    };
    let btid = match get("btid") {
        Some(btid) => {
            Some(Btid::parse(&btid).map_err(|_| TerminalError::BadAnswer("the B-TID in Bcast-Ext is malformed"))?)
        }
        None => None,
    };
    let cause = get("cause").map(|cause| cause.chars().filter(|c| !c.is_control()).take(200).collect());
    Ok((Broadcast { state, cause }, btid))
}

/// The provisioning document in a body, alone or as one part of several.
pub(super) fn provisioning_part(message: &Message<'_>) -> Option<Vec<u8>> {
    if message.body().is_empty() {
        return None;
    }
    let parts = message.parts().ok()?;
    let part = parts.iter().find(|part| {
        let kind = part.content_type.split(|&octet| octet == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(PROVISIONING.as_bytes())
    })?;
    Some(part.content.to_vec())
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
