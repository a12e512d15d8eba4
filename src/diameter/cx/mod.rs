//! Cx (TS 29.228, TS 29.229): the commands between CSCFs and an HSS, typed, for both sides.
//!
//! Each request and answer has a type that is read from the AVPs of a checked [`Message`] where they lie, and writes
//! itself after the head that [`super::request`] or [`super::answer_to`] began. What an answer says of success is
//! [`Message::result`]; its type is read where that is a success. AVPs that are of no use to either side are skipped.

mod assignment;
mod authentication;
mod authorization;
mod pushed;

pub use assignment::{Saa, Sar, ServerAssignment};
pub use authentication::{AuthItem, Given, Maa, Mar, Scheme, SipDigest};
pub use authorization::{Authorization, Lia, Lir, Uaa, Uar};
pub use pushed::{Ppr, Reason, Rta, Rtr};

use super::avp::{Avps, Def};
use super::dictionary::{
    ASSOCIATED_IDENTITIES, CHARGING_INFORMATION, FEATURE_LIST, FEATURE_LIST_ID, MANDATORY_CAPABILITY,
    OPTIONAL_CAPABILITY, PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME, PRIMARY_EVENT_CHARGING_FUNCTION_NAME,
    SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME, SECONDARY_EVENT_CHARGING_FUNCTION_NAME, SERVER_CAPABILITIES,
    SERVER_NAME, SUPPORTED_FEATURES, TGPP, USER_NAME, VENDOR_ID,
};
use super::fault::Fault;
use super::message::Message;
use super::write::Writer;

/// Server-Capabilities: what an S-CSCF must and should be able to do to serve the user (TS 29.229 §6.3.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities<'a> {
    pub mandatory: Vec<u32>,
    pub optional: Vec<u32>,
    /// S-CSCFs to be taken first.
    pub servers: Vec<&'a str>,
}

impl<'a> Capabilities<'a> {
    fn read(avps: Avps<'a>) -> Result<Option<Self>, Fault> {
        let Some(group) = avps.get(&SERVER_CAPABILITIES).map(|avp| avp.group()) else { return Ok(None) };
        let numbers = |def: &Def| -> Result<Vec<u32>, Fault> {
            group.filter(|avp| avp.is(def)).map(|avp| avp.number()).collect()
        };
        Ok(Some(Capabilities {
            mandatory: numbers(&MANDATORY_CAPABILITY)?,
            optional: numbers(&OPTIONAL_CAPABILITY)?,
            servers: texts(group, &SERVER_NAME)?,
        }))
    }

    fn write(&self, writer: &mut Writer) {
        writer.group(&SERVER_CAPABILITIES, |group| {
            self.mandatory.iter().for_each(|number| {
                group.number(&MANDATORY_CAPABILITY, *number);
            });
            self.optional.iter().for_each(|number| {
                group.number(&OPTIONAL_CAPABILITY, *number);
            });
            self.servers.iter().for_each(|name| {
                group.text(&SERVER_NAME, name);
            });
        });
    }
}

/// Charging-Information (TS 29.229 §6.3.19): DiameterURIs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charging<'a> {
    pub event: Option<&'a str>,
    pub event_secondary: Option<&'a str>,
    pub collection: Option<&'a str>,
    pub collection_secondary: Option<&'a str>,
}

impl<'a> Charging<'a> {
    fn read(avps: Avps<'a>) -> Result<Option<Self>, Fault> {
        let Some(group) = avps.get(&CHARGING_INFORMATION).map(|avp| avp.group()) else { return Ok(None) };
        Ok(Some(Charging {
            event: group.text(&PRIMARY_EVENT_CHARGING_FUNCTION_NAME)?,
            event_secondary: group.text(&SECONDARY_EVENT_CHARGING_FUNCTION_NAME)?,
            collection: group.text(&PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME)?,
            collection_secondary: group.text(&SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME)?,
        }))
    }

    fn write(&self, writer: &mut Writer) {
        writer.group(&CHARGING_INFORMATION, |group| {
            for (def, name) in [
                (&PRIMARY_EVENT_CHARGING_FUNCTION_NAME, self.event),
                (&SECONDARY_EVENT_CHARGING_FUNCTION_NAME, self.event_secondary),
                (&PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME, self.collection),
                (&SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME, self.collection_secondary),
            ] {
                put_text(group, def, name);
            }
        });
    }
}

/// Supported-Features (TS 29.229 §6.3.29): one list of features of one vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    pub vendor: u32,
    pub list: u32,
    pub bits: u32,
    /// Sent with the M bit: who does not have them all refuses with FEATURE_UNSUPPORTED (TS 29.229 §7.2.1).
    pub required: bool,
}

impl Features {
    /// Feature-List 1 of 3GPP (TS 29.229 §7.1.1).
    pub const SHARED_IFC: u32 = 1;
    pub const ALIAS: u32 = 1 << 1;
    pub const RESTORATION: u32 = 1 << 2;
    pub const PCSCF_RESTORATION: u32 = 1 << 3;

    /// Features of 3GPP that are of use and not required.
    pub fn offered(bits: u32) -> Self {
        Features { vendor: TGPP, list: 1, bits, required: false }
    }

    /// All that a message names.
    pub fn of(message: &Message<'_>) -> Result<Vec<Self>, Fault> {
        let groups = message.avps().filter(|avp| avp.is(&SUPPORTED_FEATURES));
        groups
            .map(|avp| {
                let group = avp.group();
                Ok(Features {
                    vendor: group.require(&VENDOR_ID)?.number()?,
                    list: group.require(&FEATURE_LIST_ID)?.number()?,
                    bits: group.require(&FEATURE_LIST)?.number()?,
                    required: avp.is_mandatory(),
                })
            })
            .collect()
    }

    pub fn write(&self, writer: &mut Writer) {
        let def = Def { mandatory: self.required, ..SUPPORTED_FEATURES };
        writer.group(&def, |group| {
            group.number(&VENDOR_ID, self.vendor).number(&FEATURE_LIST_ID, self.list).number(&FEATURE_LIST, self.bits);
        });
    }
}

/// Associated-Identities: other private identities of the subscription (TS 29.229 §6.3.33).
fn associated(avps: Avps<'_>) -> Result<Vec<&str>, Fault> {
    match avps.get(&ASSOCIATED_IDENTITIES) {
        Some(avp) => texts(avp.group(), &USER_NAME),
        None => Ok(Vec::new()),
    }
}

fn put_associated(writer: &mut Writer, impis: &[&str]) {
    if !impis.is_empty() {
        writer.group(&ASSOCIATED_IDENTITIES, |group| {
            impis.iter().for_each(|impi| {
                group.text(&USER_NAME, impi);
            });
        });
    }
}

fn texts<'a>(avps: Avps<'a>, def: &Def) -> Result<Vec<&'a str>, Fault> {
    { avps }.filter(|avp| avp.is(def)).map(|avp| avp.text()).collect()
}

/// An identity or a name, which is not empty.
fn name<'a>(avps: Avps<'a>, def: &Def) -> Result<&'a str, Fault> {
    let avp = avps.require(def)?;
    avp.text().and_then(|text| if text.is_empty() { Err(avp.bad_value()) } else { Ok(text) })
}

fn put_text(writer: &mut Writer, def: &Def, text: Option<&str>) {
    text.into_iter().for_each(|text| {
        writer.text(def, text);
    });
}

/// An enumerated value of those that `from` knows.
fn enumerated<T>(avps: Avps<'_>, def: &Def, from: impl Fn(i32) -> Option<T>) -> Result<Option<T>, Fault> {
    let Some(avp) = avps.get(def) else { return Ok(None) };
    from(avp.enumerated()?).map(Some).ok_or_else(|| avp.bad_value())
}

/// One whose values are 0 and 1.
fn flag(avps: Avps<'_>, def: &Def) -> Result<Option<bool>, Fault> {
    enumerated(avps, def, |value| match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
