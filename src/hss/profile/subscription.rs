//! The user profile of Cx, `IMSSubscription` (TS 29.228 annexes B, D and E): read from what a foreign HSS gives, and
//! written for foreign CSCFs. Bounded and without DTD, as [`crate::xml`] reads.

use super::criteria::{Criterion, Part, number, put, truth};
use super::{BroadcastSubscription, Profile};
use crate::identity::{Impi, Impu};
use crate::sip::Uri;
use crate::xml::{self, Element, XmlError};
use std::fmt::Write;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImsSubscription {
    pub impi: Impi,
    pub profiles: Vec<ServiceProfile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceProfile {
    pub identities: Vec<PublicIdentity>,
    /// By priority.
    pub criteria: Vec<Criterion>,
    /// SubscribedMediaProfileId
    pub media_profile: Option<u32>,
    /// SharedIFCSetID
    pub shared_criteria: Vec<u32>,
}

/// A public identity as the HSS writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublicIdentity {
    pub identity: String,
    pub barred: bool,
    /// WildcardedIMPU or WildcardedPSI: `identity` stands for all that match.
    pub wildcard: Option<String>,
    pub display_name: Option<String>,
    /// AliasIdentityGroupID
    pub alias_group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAProfile {
    #[error("user profile: {0}")]
    Xml(#[from] XmlError),
    #[error("user profile: no {0}, or it cannot be read")]
    Element(&'static str),
}

impl ImsSubscription {
    pub fn parse(document: &[u8]) -> Result<Self, NotAProfile> {
        let root = xml::parse(document)?;
        if root.name != "IMSSubscription" {
            return Err(NotAProfile::Element("IMSSubscription"));
        }
        let impi =
            root.text_of("PrivateID").filter(|impi| !impi.is_empty()).ok_or(NotAProfile::Element("PrivateID"))?;
        let profiles = root.named("ServiceProfile").map(ServiceProfile::read).collect::<Result<Vec<_>, _>>()?;
        if profiles.is_empty() {
            return Err(NotAProfile::Element("ServiceProfile"));
        }
        Ok(ImsSubscription { impi: Impi::from(impi), profiles })
    }

    pub fn to_xml(&self) -> Vec<u8> {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><IMSSubscription>");
        put(&mut out, "PrivateID", self.impi.as_str());
        self.profiles.iter().for_each(|profile| profile.write(&mut out));
        out.push_str("</IMSSubscription>");
        out.into_bytes()
    }

    /// As the registrar sees it. Wildcards register nobody by themselves, so they are not in it; neither is what is no
    /// SIP or tel URI. `is_broadcast`: which application servers are broadcast servers.
    pub fn profile(&self, is_broadcast: impl Fn(&str) -> bool) -> Profile {
        let (mut impus, mut barred) = (Vec::new(), Vec::new());
        let known = self.profiles.iter().flat_map(|profile| &profile.identities);
        for identity in known.filter(|identity| identity.wildcard.is_none()) {
            let Some(impu) = identity.impu() else { continue };
            let list = if identity.barred { &mut barred } else { &mut impus };
            if !list.contains(&impu) {
                list.push(impu);
            }
        }
        Profile { impi: None, impus: impus.into(), barred: barred.into(), broadcast: self.broadcast(is_broadcast) }
    }

    /// A filter criterion with a broadcast server is a subscription: to the services that its ServiceInfo names, divided
    /// by blanks or commas, or to all where it names none.
    fn broadcast(&self, is_broadcast: impl Fn(&str) -> bool) -> BroadcastSubscription {
        let criteria = self.profiles.iter().flat_map(|profile| &profile.criteria);
        let mut services: Option<Vec<String>> = None;
        let of_registered = criteria.filter(|criterion| criterion.part != Some(Part::Unregistered));
        for criterion in of_registered.filter(|criterion| is_broadcast(&criterion.server.name)) {
            let info = criterion.server.service_info.as_deref().unwrap_or_default();
            let named = info.split(|c: char| c == ',' || c.is_whitespace()).filter(|id| !id.is_empty());
            let before = services.as_ref().map_or(0, Vec::len);
            let list = services.get_or_insert_default();
            list.extend(named.map(str::to_owned));
            if list.len() == before {
                return BroadcastSubscription::All;
            }
        }
        services.map_or(BroadcastSubscription::None, |services| BroadcastSubscription::Services(services.into()))
    }
}

impl ServiceProfile {
    fn read(element: &Element) -> Result<Self, NotAProfile> {
        let identities = element.named("PublicIdentity").map(PublicIdentity::read).collect::<Option<Vec<_>>>();
        let criteria = element.named("InitialFilterCriteria").map(Criterion::read).collect::<Option<Vec<_>>>();
        let mut criteria = criteria.ok_or(NotAProfile::Element("InitialFilterCriteria"))?;
        criteria.sort_by_key(|criterion| criterion.priority);
        let authorization = element.named("CoreNetworkServicesAuthorization").next();
        let shared = element.named("Extension").flat_map(|extension| extension.named("SharedIFCSetID"));
        Ok(ServiceProfile {
            identities: identities
                .filter(|identities| !identities.is_empty())
                .ok_or(NotAProfile::Element("PublicIdentity"))?,
            criteria,
            media_profile: authorization.and_then(|of| number(of, "SubscribedMediaProfileId")),
            shared_criteria: shared
                .map(|id| id.text.trim().parse().ok())
                .collect::<Option<_>>()
                .ok_or(NotAProfile::Element("SharedIFCSetID"))?,
        })
    }

    fn write(&self, out: &mut String) {
        out.push_str("<ServiceProfile>");
        self.identities.iter().for_each(|identity| identity.write(out));
        if let Some(id) = self.media_profile {
            let _ = write!(
                out,
                "<CoreNetworkServicesAuthorization><SubscribedMediaProfileId>{id}</SubscribedMediaProfileId>\
                 </CoreNetworkServicesAuthorization>"
            );
        }
        self.criteria.iter().for_each(|criterion| criterion.write(out));
        if !self.shared_criteria.is_empty() {
            out.push_str("<Extension>");
            for id in &self.shared_criteria {
                let _ = write!(out, "<SharedIFCSetID>{id}</SharedIFCSetID>");
            }
            out.push_str("</Extension>");
        }
        out.push_str("</ServiceProfile>");
    }
}

impl PublicIdentity {
    pub fn new(identity: impl Into<String>) -> Self {
        PublicIdentity { identity: identity.into(), ..Self::default() }
    }

    /// In canonical form; None: no SIP or tel URI.
    pub fn impu(&self) -> Option<Impu> {
        match Uri::parse(self.identity.as_bytes()) {
            Ok(uri @ (Uri::Sip(_) | Uri::Tel { .. })) => Some(Impu::new(uri.aor())),
            _ => None,
        }
    }

    fn read(element: &Element) -> Option<Self> {
        // Later releases put what they add into an Extension of the Extension (TS 29.228 annex E).
        fn within<'a>(element: &'a Element, name: &'a str) -> Option<&'a str> {
            let extension = element.named("Extension").next()?;
            extension.text_of(name).or_else(|| within(extension, name))
        }
        let text = |name| within(element, name).filter(|text| !text.is_empty()).map(str::to_owned);
        Some(PublicIdentity {
            identity: element.text_of("Identity").filter(|identity| !identity.is_empty())?.to_owned(),
            barred: truth(element, "BarringIndication")?,
            wildcard: text("WildcardedIMPU").or_else(|| text("WildcardedPSI")),
            display_name: text("DisplayName"),
            alias_group: text("AliasIdentityGroupID"),
        })
    }

    fn write(&self, out: &mut String) {
        let _ = write!(out, "<PublicIdentity><BarringIndication>{}</BarringIndication>", u8::from(self.barred));
        put(out, "Identity", &self.identity);
        let inner =
            [("DisplayName", self.display_name.as_deref()), ("AliasIdentityGroupID", self.alias_group.as_deref())];
        if self.wildcard.is_some() || inner.iter().any(|(_, text)| text.is_some()) {
            // IdentityType: 0 a distinct public user identity, 3 a wildcarded one.
            let kind = if self.wildcard.is_some() { 3 } else { 0 };
            let _ = write!(out, "<Extension><IdentityType>{kind}</IdentityType><Extension>");
            for (name, text) in inner {
                text.iter().for_each(|text| put(out, name, text));
            }
            if let Some(wildcard) = &self.wildcard {
                out.push_str("<Extension>");
                put(out, "WildcardedIMPU", wildcard);
                out.push_str("</Extension>");
            }
            out.push_str("</Extension></Extension>");
        }
        out.push_str("</PublicIdentity>");
    }
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
