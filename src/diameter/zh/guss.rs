//! GBA user security settings: the XML in GBA-UserSecSettings (TS 29.109 annex A).
//!
//! Documents without the namespace are taken too.

use crate::xml::{self, Element, XmlError, escape};
use std::fmt::Write;

const NAMESPACE: &str = "guss-schema-of-3gpp-gaa";
/// Most settings of a user, and most identities and flags of one.
const MOST: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GussError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the document is no guss")]
    Root,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} cannot be read")]
    Value(&'static str),
    #[error("more than {MOST} {0}")]
    TooMany(&'static str),
}

/// Whether the card itself takes part in GBA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UiccType {
    #[default]
    Gba,
    GbaU,
}

/// Security settings for one application (USS).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uss {
    /// What a NAF names in GAA-Service-Identifier.
    pub id: String,
    /// GAA service type (annex B), 4: MBMS.
    pub kind: u32,
    pub naf_group: Option<String>,
    pub uids: Vec<String>,
    pub flags: Vec<u32>,
}

impl Uss {
    /// GAA service type of MBMS.
    pub const MBMS: u32 = 4;
}

/// All settings of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guss {
    /// The private identity.
    pub id: String,
    pub uicc: Option<UiccType>,
    /// How long a bootstrapping lasts, in seconds.
    pub lifetime: Option<u32>,
    pub settings: Vec<Uss>,
}

impl Guss {
    pub fn parse(document: &[u8]) -> Result<Self, GussError> {
        let root = xml::parse(document)?;
        if root.name != "guss" {
            return Err(GussError::Root);
        }
        let mut guss = Guss { id: root.attribute("id").unwrap_or_default().to_owned(), ..Guss::default() };
        if let Some(bsf) = root.child("bsfInfo") {
            guss.uicc = match bsf.text_of("uiccType") {
                None => None,
                Some("GBA") => Some(UiccType::Gba),
                Some("GBA_U") => Some(UiccType::GbaU),
                Some(_) => return Err(GussError::Value("uiccType")),
            };
            guss.lifetime = bsf.text_of("lifeTime").map(|text| number(text, "lifeTime")).transpose()?;
        }
        for list in root.named("ussList") {
            for one in list.named("uss") {
                if guss.settings.len() >= MOST {
                    return Err(GussError::TooMany("settings"));
                }
                guss.settings.push(uss(one)?);
            }
        }
        Ok(guss)
    }

    pub fn write(&self) -> String {
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><guss xmlns=\"{NAMESPACE}\" id=\"{}\">",
            escape(&self.id)
        );
        if self.uicc.is_some() || self.lifetime.is_some() {
            out.push_str("<bsfInfo>");
            if let Some(uicc) = self.uicc {
                put(&mut out, "uiccType", if uicc == UiccType::GbaU { "GBA_U" } else { "GBA" });
            }
            if let Some(lifetime) = self.lifetime {
                put(&mut out, "lifeTime", &lifetime.to_string());
            }
            out.push_str("</bsfInfo>");
        }
        out.push_str("<ussList>");
        for uss in &self.settings {
            uss.write(&mut out);
        }
        out.push_str("</ussList></guss>");
        out
    }
}

impl Uss {
    fn write(&self, out: &mut String) {
        // Writing into a String does not fail.
        let _ = write!(out, "<uss id=\"{}\" type=\"{}\"", escape(&self.id), self.kind);
        if let Some(group) = &self.naf_group {
            let _ = write!(out, " nafGroup=\"{}\"", escape(group));
        }
        out.push_str("><uids>");
        self.uids.iter().for_each(|uid| put(out, "uid", uid));
        out.push_str("</uids><flags>");
        self.flags.iter().for_each(|flag| put(out, "flag", &flag.to_string()));
        out.push_str("</flags></uss>");
    }
}

fn uss(element: &Element) -> Result<Uss, GussError> {
    let all = |list: &'static str, item: &'static str| -> Result<Vec<&str>, GussError> {
        let found: Vec<_> = element.named(list).flat_map(|list| list.named(item)).map(|one| one.text.trim()).collect();
        if found.len() > MOST { Err(GussError::TooMany(list)) } else { Ok(found) }
    };
    let kind = element.attribute("type").ok_or(GussError::Missing("type of a uss"))?;
    Ok(Uss {
        id: element.attribute("id").ok_or(GussError::Missing("id of a uss"))?.to_owned(),
        kind: number(kind, "type of a uss")?,
        naf_group: element.attribute("nafGroup").map(str::to_owned),
        uids: all("uids", "uid")?.into_iter().map(str::to_owned).collect(),
        flags: all("flags", "flag")?.into_iter().map(|flag| number(flag, "flag")).collect::<Result<_, _>>()?,
    })
}

fn number(text: &str, what: &'static str) -> Result<u32, GussError> {
    text.trim().parse().map_err(|_| GussError::Value(what))
}

fn put(out: &mut String, name: &str, text: &str) {
    let _ = write!(out, "<{name}>{}</{name}>", escape(text));
}
