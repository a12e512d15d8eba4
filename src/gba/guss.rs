//! GBA user security settings (TS 29.109 annex A): what the HSS tells the BSF of a subscriber (GUSS), and what of it the
//! BSF tells a NAF, a setting (USS) for each service.
//!
//! Read leniently: a common public HSS leaves the namespace out. Of our own is only `services`, after the standard
//! elements: which broadcast services the user may receive.

use crate::xml::{self, Element, XmlError, escape};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::time::Duration;

const NAMESPACE: &str = "guss-schema-of-3gpp-gaa";
const OWN: &str = "urn:imscript:broadcast:1.0";
/// Service type of MBMS (TS 29.109 annex B), which OMA BCAST shares; also the identifier of its setting.
pub const MBMS: &str = "4";
/// Settings, identities and flags in one document.
const ITEMS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GussError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the root element is not guss")]
    Root,
    #[error("{0} has no value that can be read")]
    Value(&'static str),
}

/// The settings of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uss {
    /// GAA-Service-Identifier.
    pub id: String,
    /// GAA service type.
    pub kind: u32,
    /// The NAFs that it is meant for, if not for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub naf_group: Option<String>,
    /// By what the user is known to the service.
    pub uids: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<u32>,
    /// Broadcast services, as `Bcast-Ext` writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<String>,
}

/// All that is set for one subscriber.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guss {
    /// The private identity; a NAF that may not know it gets none.
    pub id: Option<String>,
    /// The card knows GBA_U.
    pub gba_u: bool,
    /// How long a bootstrapping lasts, in place of the BSF's own setting.
    pub lifetime: Option<Duration>,
    pub settings: Vec<Uss>,
}

impl Guss {
    pub fn parse(document: &[u8]) -> Result<Self, GussError> {
        let root = xml::parse(document)?;
        if root.name != "guss" {
            return Err(GussError::Root);
        }
        let info = root.named("bsfInfo").next();
        let lifetime = match info.and_then(|info| info.text_of("lifeTime")) {
            Some(text) => Some(Duration::from_secs(text.parse().map_err(|_| GussError::Value("lifeTime"))?)),
            None => None,
        };
        let gba_u = match info.and_then(|info| info.text_of("uiccType")) {
            None | Some("GBA") => false,
            Some("GBA_U") => true,
            Some(_) => return Err(GussError::Value("uiccType")),
        };
        let list = root.named("ussList").next().map(|list| list.children.as_slice()).unwrap_or_default();
        let uss = list.iter().filter(|child| child.name == "uss").take(ITEMS_MAX).map(read_uss);
        let id = root.attribute("id").filter(|id| !id.is_empty()).map(str::to_owned);
        Ok(Guss { id, gba_u, lifetime, settings: uss.collect::<Result<_, _>>()? })
    }

    pub fn to_xml(&self) -> Vec<u8> {
        let mut out = String::with_capacity(512);
        let id = escape(self.id.as_deref().unwrap_or_default());
        let _ = write!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<guss xmlns=\"{NAMESPACE}\" id=\"{id}\">");
        if self.gba_u || self.lifetime.is_some() {
            let kind = if self.gba_u { "GBA_U" } else { "GBA" };
            let _ = write!(out, "<bsfInfo><uiccType>{kind}</uiccType>");
            if let Some(lifetime) = self.lifetime {
                let _ = write!(out, "<lifeTime>{}</lifeTime>", lifetime.as_secs());
            }
            out.push_str("</bsfInfo>");
        }
        out.push_str("<ussList>");
        self.settings.iter().for_each(|uss| write_uss(&mut out, uss));
        out.push_str("</ussList></guss>\n");
        out.into_bytes()
    }
}

fn read_uss(element: &Element) -> Result<Uss, GussError> {
    let texts = |list: &str, item: &str| -> Vec<String> {
        let all = element.named(list).flat_map(|list| list.named(item));
        all.take(ITEMS_MAX).map(|one| one.text.trim().to_owned()).collect()
    };
    let flags = texts("flags", "flag").iter().map(|flag| flag.parse()).collect::<Result<_, _>>();
    Ok(Uss {
        id: element.attribute("id").ok_or(GussError::Value("id"))?.to_owned(),
        kind: element.attribute("type").and_then(|kind| kind.parse().ok()).ok_or(GussError::Value("type"))?,
        naf_group: element.attribute("nafGroup").map(str::to_owned),
        uids: texts("uids", "uid"),
        flags: flags.map_err(|_| GussError::Value("flag"))?,
        services: element.text_of("services").map(str::to_owned),
    })
}

fn write_uss(out: &mut String, uss: &Uss) {
    let _ = write!(out, "<uss id=\"{}\" type=\"{}\"", escape(&uss.id), uss.kind);
    if let Some(group) = &uss.naf_group {
        let _ = write!(out, " nafGroup=\"{}\"", escape(group));
    }
    out.push_str("><uids>");
    for uid in &uss.uids {
        let _ = write!(out, "<uid>{}</uid>", escape(uid));
    }
    out.push_str("</uids>");
    if !uss.flags.is_empty() {
        out.push_str("<flags>");
        for flag in &uss.flags {
            let _ = write!(out, "<flag>{flag}</flag>");
        }
        out.push_str("</flags>");
    }
    if let Some(services) = &uss.services {
        let _ = write!(out, "<i:services xmlns:i=\"{OWN}\">{}</i:services>", escape(services));
    }
    out.push_str("</uss>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hss_document_with_and_without_namespace() {
        for namespace in ["", " xmlns=\"guss-schema-of-3gpp-gaa\""] {
            let document = format!(
                "<guss{namespace} id=\"u@home1.net\"><bsfInfo><uiccType>GBA_U</uiccType><lifeTime>86400</lifeTime></bsfInfo>\
                 <ussList><uss id=\"4\" type=\"4\" nafGroup=\"bcast\"><uids><uid>u@home1.net</uid><uid>sip:u@home1.net</uid>\
                 </uids><flags><flag>1</flag></flags></uss><uss id=\"7\" type=\"0\"><uids><uid>u</uid></uids></uss></ussList></guss>"
            );
            let guss = Guss::parse(document.as_bytes()).unwrap();
            assert_eq!((guss.id.as_deref(), guss.gba_u), (Some("u@home1.net"), true));
            assert_eq!(guss.lifetime, Some(Duration::from_secs(86400)));
            let [four, seven] = guss.settings.as_slice() else { panic!("{guss:?}") };
            assert_eq!((four.kind, four.naf_group.as_deref(), four.flags.as_slice()), (4, Some("bcast"), &[1][..]));
            assert_eq!((seven.id.as_str(), seven.uids.as_slice()), ("7", &["u".to_owned()][..]));
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let guss = Guss {
            id: None,
            gba_u: false,
            lifetime: None,
            settings: vec![Uss {
                id: "4".into(),
                kind: 4,
                naf_group: Some("a<b".into()),
                uids: vec!["sip:\"u\"@home1.net".into()],
                flags: vec![1, 2],
                services: Some("news,sport&co".into()),
            }],
        };
        assert_eq!(Guss::parse(&guss.to_xml()).unwrap(), guss);
        assert_eq!(Guss::parse(&Guss::default().to_xml()).unwrap(), Guss::default());
    }

    #[test]
    fn what_is_no_guss() {
        for document in [
            "<x/>",
            "<guss",
            "<guss><bsfInfo><uiccType>X</uiccType></bsfInfo></guss>",
            "<guss><bsfInfo><lifeTime>-1</lifeTime></bsfInfo></guss>",
            "<guss><ussList><uss id='1'/></ussList></guss>",
            "<guss><ussList><uss type='1'/></ussList></guss>",
            "<guss><ussList><uss id='1' type='1'><flags><flag>x</flag></flags></uss></ussList></guss>",
        ] {
            assert!(Guss::parse(document.as_bytes()).is_err(), "{document}");
        }
    }
}
