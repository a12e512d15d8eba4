//! Documents about keys and registrations between IMS server and broadcast server.
//!
//! * The key document: TS 26.237 annex I.2 XML with Ks_NAF as `muk`. Our own elements come after the standard ones,
//!   where the schema allows foreign ones: the Ua identifier, the user's public identities, the services.
//! * The refusal of a key request, and the state of a broadcast registration (module 150): one element each.

use super::datetime;
use super::ext::{parse_services, services_text, state_token};
use crate::gba::btid::{Btid, BtidError};
use crate::gba::kdf::KsNaf;
use crate::gba::naf_id::{NafId, NafIdError, UaId};
use crate::hss::{BroadcastSubscription, RegState};
use crate::identity::Impu;
use crate::sip::Uri;
use crate::xml::{self, Element, XmlError, escape};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const NAF_KEY_INFO: &str = "urn:3GPP:metadata:2005:MBMS:nafKeyInfo";
const OWN: &str = "urn:imscript:broadcast:1.0";
/// Public identities in one key document.
const IMPUS_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the root element is not {0}")]
    WrongRoot(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} stands more than once")]
    Repeated(&'static str),
    #[error("the key is not 32 octets in base64 or hexadecimal")]
    Key,
    #[error("{0} has no value that can be read")]
    Value(&'static str),
    #[error(transparent)]
    Btid(#[from] BtidError),
    #[error(transparent)]
    Naf(#[from] NafIdError),
}

/// Ks_NAF on its way to the NAF. Debug is redacted by the key's own type.
#[derive(Debug, Clone)]
pub struct KeyDocument {
    pub key: KsNaf,
    /// End of the key's life, seconds since 1970.
    pub expires: u64,
    pub btid: Btid,
    pub naf: NafId,
    /// The user's public identities, default first; empty if the BSF does not tell.
    pub impus: Vec<Impu>,
    /// What the HSS lets this user receive, if told.
    pub services: Option<BroadcastSubscription>,
}

impl KeyDocument {
    pub fn to_xml(&self) -> Zeroizing<Vec<u8>> {
        // With the identities and services of nearly all users it does not have to grow, and leave a copy of the key behind.
        let mut out = Zeroizing::new(String::with_capacity(1000 + self.impus.len() * 128));
        let own = |out: &mut String, name: &str, text: &str| {
            for piece in ["<i:", name, " xmlns:i=\"", OWN, "\">", text, "</i:", name, ">"] {
                out.push_str(piece);
            }
        };
        for piece in [
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<mbmsAuthorizedSecurityRegister xmlns=\"",
            NAF_KEY_INFO,
            "\"><muk>",
        ] {
            out.push_str(piece);
        }
        STANDARD.encode_string(self.key.0, &mut out);
        out.push_str("</muk><mukLifeTime>");
        out.push_str(&datetime::format(self.expires));
        out.push_str("</mukLifeTime><btid>");
        let _ = self.btid.write(&mut *out); // base64 and a host name: nothing to escape
        out.push_str("</btid><nafFqdn>");
        STANDARD.encode_string(self.naf.fqdn(), &mut out);
        out.push_str("</nafFqdn>");
        own(&mut out, "uaId", &self.naf.ua.to_string());
        for impu in self.impus.iter().take(IMPUS_MAX) {
            own(&mut out, "impu", &escape(impu.as_str()));
        }
        if let Some(services) = &self.services {
            own(&mut out, "services", &escape(&services_text(services)));
        }
        out.push_str("</mbmsAuthorizedSecurityRegister>\n");
        Zeroizing::new(std::mem::take(&mut *out).into_bytes())
    }

    pub fn parse(document: &[u8]) -> Result<Self, DocumentError> {
        let root = rooted(document, "mbmsAuthorizedSecurityRegister")?;
        let key = key_octets(single(&root, "muk")?)?;
        let expires = datetime::parse(single(&root, "mukLifeTime")?).ok_or(DocumentError::Value("mukLifeTime"))?;
        let btid = Btid::parse(single(&root, "btid")?)?;
        let fqdn = STANDARD
            .decode(without_blanks(single(&root, "nafFqdn")?))
            .ok()
            .and_then(|octets| String::from_utf8(octets).ok())
            .ok_or(DocumentError::Value("nafFqdn"))?;
        let ua = match root.text_of("uaId") {
            Some(text) => UaId::parse(text).ok_or(DocumentError::Value("uaId"))?,
            None => UaId::MBMS,
        };
        let impus = root.named("impu").take(IMPUS_MAX).map(|impu| canonical(impu.text.trim())).collect();
        let services = root.text_of("services").map(parse_services);
        Ok(KeyDocument { key, expires, btid, naf: NafId::new(&fqdn, ua)?, impus, services })
    }
}

/// The BSF's refusal of a key request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRefusal {
    pub btid: Btid,
    pub naf: NafId,
    /// Why, for a log: `unknown-btid`, `expired`, `naf-not-allowed`, `not-subscribed`, …
    pub cause: String,
}

impl KeyRefusal {
    pub fn to_xml(&self) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<naf-key-error xmlns=\"{OWN}\" btid=\"{}\" naf=\"{}\" \
             ua-id=\"{}\" cause=\"{}\"/>\n",
            escape(&self.btid.text()),
            escape(self.naf.fqdn()),
            self.naf.ua,
            escape(&self.cause),
        )
        .into_bytes()
    }

    pub fn parse(document: &[u8]) -> Result<Self, DocumentError> {
        let root = rooted(document, "naf-key-error")?;
        let ua = match root.attribute("ua-id") {
            Some(text) => UaId::parse(text).ok_or(DocumentError::Value("ua-id"))?,
            None => UaId::MBMS,
        };
        Ok(KeyRefusal {
            btid: Btid::parse(root.attribute("btid").ok_or(DocumentError::Missing("btid"))?)?,
            naf: NafId::new(root.attribute("naf").ok_or(DocumentError::Missing("naf"))?, ua)?,
            cause: root.attribute("cause").unwrap_or("unspecified").chars().take(255).collect(),
        })
    }
}

/// What the alert module tells the IMS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadcastRegistration {
    pub state: RegState,
    pub impu: Impu,
    pub btid: Option<Btid>,
    pub naf_fqdn: String,
    /// Seconds that the registration still lasts.
    pub expires: u32,
    pub cause: String,
}

impl BroadcastRegistration {
    pub fn to_xml(&self) -> Vec<u8> {
        // "active" is what a registration is called in reg-info; a pending one is not active yet.
        let state = if self.state == RegState::Registered { "active" } else { state_token(self.state) };
        let btid = match &self.btid {
            Some(btid) => format!(" btid=\"{}\"", escape(&btid.text())),
            None => String::new(),
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<bcast-registration xmlns=\"{OWN}\" state=\"{state}\"{btid} \
             naf=\"{}\" expires=\"{}\" cause=\"{}\" impu=\"{}\"/>\n",
            escape(&self.naf_fqdn),
            self.expires,
            escape(&self.cause),
            escape(self.impu.as_str()),
        )
        .into_bytes()
    }

    pub fn parse(document: &[u8]) -> Result<Self, DocumentError> {
        let root = rooted(document, "bcast-registration")?;
        let required = |name: &'static str| root.attribute(name).ok_or(DocumentError::Missing(name));
        let state = match required("state")? {
            "active" => RegState::Registered,
            "pending" => RegState::Pending,
            "failed" => RegState::Failed,
            "terminated" => RegState::NotRegistered,
            _ => return Err(DocumentError::Value("state")),
        };
        Ok(BroadcastRegistration {
            state,
            impu: canonical(required("impu")?),
            btid: root.attribute("btid").map(Btid::parse).transpose()?,
            naf_fqdn: required("naf")?.to_string(),
            expires: root
                .attribute("expires")
                .map_or(Ok(0), str::parse)
                .map_err(|_| DocumentError::Value("expires"))?,
            cause: root.attribute("cause").unwrap_or_default().to_string(),
        })
    }
}

fn rooted(document: &[u8], name: &'static str) -> Result<Element, DocumentError> {
    let root = xml::parse(document)?;
    if root.name == name { Ok(root) } else { Err(DocumentError::WrongRoot(name)) }
}

/// The text of a child that must stand exactly once: of two keys one cannot know which is meant.
fn single<'a>(root: &'a Element, name: &'static str) -> Result<&'a str, DocumentError> {
    let mut children = root.children.iter().filter(|child| child.name == name);
    let first = children.next().ok_or(DocumentError::Missing(name))?;
    if children.next().is_some() {
        return Err(DocumentError::Repeated(name));
    }
    Ok(first.text.trim())
}

/// 32 octets: 64 hexadecimal digits, or base64 (44 characters).
fn key_octets(text: &str) -> Result<KsNaf, DocumentError> {
    let text = Zeroizing::new(without_blanks(text));
    let mut key = KsNaf([0; 32]);
    if text.len() == 64 {
        for (octet, pair) in key.0.iter_mut().zip(text.chunks_exact(2)) {
            *octet = hex_octet(pair).ok_or(DocumentError::Key)?;
        }
        return Ok(key);
    }
    let octets = Zeroizing::new(STANDARD.decode(&*text).map_err(|_| DocumentError::Key)?);
    if octets.len() != key.0.len() {
        return Err(DocumentError::Key);
    }
    key.0.copy_from_slice(&octets);
    Ok(key)
}

fn hex_octet(pair: &[u8]) -> Option<u8> {
    match pair {
        [high, low] => u8::try_from(char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?).ok(),
        _ => None,
    }
}

/// As this node writes the identity; what is no URI stays as it is and matches nobody.
pub(super) fn canonical(identity: &str) -> Impu {
    match Uri::parse(identity.as_bytes()) {
        Ok(uri) => Impu::new(&*uri.aor()),
        Err(_) => Impu::from(identity),
    }
}

fn without_blanks(text: &str) -> Vec<u8> {
    text.bytes().filter(|octet| !octet.is_ascii_whitespace()).collect()
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
