//! Sh-Data: the XML in User-Data (TS 29.328 annexes C and D).
//!
//! Elements are looked for by name wherever an `Extension` may hold them, since each release of the schema added one more
//! level; they are written where the schema has them.

use crate::identity::{Impi, Impu};
use crate::xml::{self, Element, XmlError, escape};
use std::fmt::Write;

/// How deep `Extension` elements are searched.
const EXTENSIONS: usize = 8;
/// Where the schema has IMSPrivateUserIdentity.
const OF_PRIVATE: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShDataError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the document is no Sh-Data")]
    Root,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} cannot be read")]
    Value(&'static str),
}

/// IMSUserState (TS 29.328 §7.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImsUserState {
    NotRegistered,
    Registered,
    /// Not registered, but served by an S-CSCF.
    RegisteredUnregServices,
    AuthenticationPending,
}

impl ImsUserState {
    const ALL: [ImsUserState; 4] = [
        ImsUserState::NotRegistered,
        ImsUserState::Registered,
        ImsUserState::RegisteredUnregServices,
        ImsUserState::AuthenticationPending,
    ];
}

/// RepositoryData: what application servers keep in the HSS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub service: String,
    pub sequence: u16,
    /// The element `ServiceData` as it came, or as [`service_data`] makes it; None: it is deleted, or there is none.
    pub data: Option<String>,
}

/// A `ServiceData` element around XML of our own.
pub fn service_data(content: &str) -> String {
    format!("<ServiceData>{content}</ServiceData>")
}

/// tPublicIdentity
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identities {
    pub impus: Vec<Impu>,
    pub msisdns: Vec<String>,
}

/// Names of the charging functions, as DiameterURIs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Charging {
    pub primary_event: Option<String>,
    pub secondary_event: Option<String>,
    pub primary_collection: Option<String>,
    pub secondary_collection: Option<String>,
}

impl Charging {
    fn named(&self) -> [(&'static str, &Option<String>); 4] {
        [
            ("PrimaryEventChargingFunctionName", &self.primary_event),
            ("SecondaryEventChargingFunctionName", &self.secondary_event),
            ("PrimaryChargingCollectionFunctionName", &self.primary_collection),
            ("SecondaryChargingCollectionFunctionName", &self.secondary_collection),
        ]
    }
}

/// Sh-Data, as far as it is about the IMS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShData {
    /// PublicIdentifiers
    pub identities: Option<Identities>,
    pub repository: Vec<Repository>,
    /// Empty: none is assigned.
    pub scscf: Option<String>,
    /// InitialFilterCriteria elements as they came, or as the profile writes them.
    pub criteria: Option<Vec<String>>,
    pub state: Option<ImsUserState>,
    pub charging: Option<Charging>,
    /// Identity sets that were asked for by name.
    pub registered: Option<Identities>,
    pub implicit: Option<Identities>,
    pub all: Option<Identities>,
    pub alias: Option<Identities>,
    pub impis: Vec<Impi>,
}

impl ShData {
    pub fn is_empty(&self) -> bool {
        *self == ShData::default()
    }

    pub fn parse(document: &[u8]) -> Result<Self, ShDataError> {
        let root = xml::parse(document)?;
        if root.name != "Sh-Data" {
            return Err(ShDataError::Root);
        }
        let mut data = ShData {
            identities: root.child("PublicIdentifiers").map(identities),
            repository: root
                .named("RepositoryData")
                .map(|one| repository(document, &root, one))
                .collect::<Result<_, _>>()?,
            ..ShData::default()
        };
        if let Some(ims) = root.child("Sh-IMS-Data") {
            data.scscf = ims.text_of("SCSCFName").map(str::to_owned);
            data.state = ims.text_of("IMSUserState").map(state).transpose()?;
            data.charging = ims.child("ChargingInformation").map(charging);
            data.criteria = ims.child("IFCs").map(|list| {
                let copy = |one: &Element| one.copy(document, &[&root, ims, list]);
                list.named("InitialFilterCriteria").map(copy).collect()
            });
        }
        let mut level = Some(&root);
        for _ in 0..=EXTENSIONS {
            let Some(here) = level else { break };
            for (set, name) in [
                (&mut data.registered, "RegisteredIdentities"),
                (&mut data.implicit, "ImplicitIdentities"),
                (&mut data.all, "AllIdentities"),
                (&mut data.alias, "AliasIdentities"),
            ] {
                if let Some(found) = here.child(name) {
                    *set = Some(identities(found));
                }
            }
            data.impis.extend(here.named("IMSPrivateUserIdentity").map(|one| Impi::from(one.text.trim())));
            level = here.child("Extension");
        }
        Ok(data)
    }

    pub fn write(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Sh-Data>");
        put_identities(&mut out, "PublicIdentifiers", self.identities.as_ref());
        for Repository { service, sequence, data } in &self.repository {
            out.push_str("<RepositoryData>");
            put(&mut out, "ServiceIndication", service);
            put(&mut out, "SequenceNumber", &sequence.to_string());
            out.push_str(data.as_deref().unwrap_or_default());
            out.push_str("</RepositoryData>");
        }
        self.write_ims(&mut out);
        let sets = [
            ("RegisteredIdentities", &self.registered),
            ("ImplicitIdentities", &self.implicit),
            ("AllIdentities", &self.all),
            ("AliasIdentities", &self.alias),
        ];
        let levels = match (self.impis.is_empty(), sets.iter().any(|(_, set)| set.is_some())) {
            (false, _) => OF_PRIVATE,
            (true, true) => 1,
            (true, false) => 0,
        };
        for level in 1..=levels {
            out.push_str("<Extension>");
            if level == 1 {
                sets.iter().for_each(|(name, set)| put_identities(&mut out, name, set.as_ref()));
            }
        }
        self.impis.iter().for_each(|impi| put(&mut out, "IMSPrivateUserIdentity", impi.as_str()));
        out.push_str(&"</Extension>".repeat(levels));
        out.push_str("</Sh-Data>");
        out
    }

    fn write_ims(&self, out: &mut String) {
        if self.scscf.is_none() && self.criteria.is_none() && self.state.is_none() && self.charging.is_none() {
            return;
        }
        out.push_str("<Sh-IMS-Data>");
        if let Some(scscf) = &self.scscf {
            put(out, "SCSCFName", scscf);
        }
        if let Some(criteria) = &self.criteria {
            out.push_str("<IFCs>");
            criteria.iter().for_each(|one| out.push_str(one));
            out.push_str("</IFCs>");
        }
        if let Some(state) = self.state {
            put(out, "IMSUserState", &(state as u8).to_string());
        }
        if let Some(charging) = &self.charging {
            out.push_str("<ChargingInformation>");
            for (name, value) in charging.named() {
                if let Some(value) = value {
                    put(out, name, value);
                }
            }
            out.push_str("</ChargingInformation>");
        }
        out.push_str("</Sh-IMS-Data>");
    }
}

fn identities(element: &Element) -> Identities {
    let texts = |name| element.named(name).map(|one| one.text.trim());
    Identities {
        impus: texts("IMSPublicIdentity").map(Impu::from).collect(),
        msisdns: texts("MSISDN").map(str::to_owned).collect(),
    }
}

fn repository(document: &[u8], root: &Element, one: &Element) -> Result<Repository, ShDataError> {
    let service = one.text_of("ServiceIndication").ok_or(ShDataError::Missing("ServiceIndication"))?;
    let sequence = one.text_of("SequenceNumber").ok_or(ShDataError::Missing("SequenceNumber"))?;
    Ok(Repository {
        service: service.to_owned(),
        sequence: sequence.parse().map_err(|_| ShDataError::Value("SequenceNumber"))?,
        data: one.child("ServiceData").map(|data| data.copy(document, &[root, one])),
    })
}

fn state(text: &str) -> Result<ImsUserState, ShDataError> {
    let at = text.parse::<usize>().ok().and_then(|number| ImsUserState::ALL.get(number).copied());
    at.ok_or(ShDataError::Value("IMSUserState"))
}

fn charging(element: &Element) -> Charging {
    let named = |name| element.text_of(name).map(str::to_owned);
    let empty = Charging::default();
    let [primary_event, secondary_event, primary_collection, secondary_collection] =
        empty.named().map(|(name, _)| named(name));
    Charging { primary_event, secondary_event, primary_collection, secondary_collection }
}

fn put(out: &mut String, name: &str, text: &str) {
    // Writing into a String does not fail.
    let _ = write!(out, "<{name}>{}</{name}>", escape(text));
}

fn put_identities(out: &mut String, name: &str, identities: Option<&Identities>) {
    let Some(Identities { impus, msisdns }) = identities else { return };
    let _ = write!(out, "<{name}>");
    impus.iter().for_each(|impu| put(out, "IMSPublicIdentity", impu.as_str()));
    msisdns.iter().for_each(|msisdn| put(out, "MSISDN", msisdn));
    let _ = write!(out, "</{name}>");
}
