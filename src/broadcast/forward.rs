//! The forwarding module (135 of the patent): the request that takes the broadcast portion of a REGISTER, the key, or
//! only the state of the registration to a broadcast server, as a third-party REGISTER (TS 24.229 §5.4.1.7).
//!
//! Called by the S-CSCF after its own success. What the terminal proved itself with never goes along.

use super::ext::{Ext, KeyWay, Mode, params, unfold, write_quoted};
use super::identify::Payload;
use super::keys::KeyDocument;
use super::peer::{KeyPathError, Peer, may_carry_key};
use super::server::Retrieval;
pub use super::third_party::ThirdParty;
use super::{media, token};
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::hss::BroadcastSubscription;
use crate::identity::Impu;
use crate::sip::{HeaderName, Message, RequestWriter};

/// The key's part in a forwarded request.
#[derive(Debug, Clone, Copy)]
pub enum KeyPart<'a> {
    /// Push: Ks_NAF travels here.
    Included(&'a KeyDocument),
    /// The broadcast server asks for it at once; in this way, if one is named.
    Pull(Option<Retrieval>),
    /// The broadcast server asks for it when it needs it.
    OnUse,
    /// Nothing new about keys: refresh, deregistration.
    Unchanged,
}

/// One request to a broadcast server.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    pub peer: &'a Peer,
    /// URI of the S-CSCF, for From and Contact.
    pub scscf: &'a str,
    pub impu: &'a Impu,
    pub naf: &'a NafId,
    pub btid: Option<&'a Btid>,
    pub mode: Mode,
    pub key: KeyPart<'a>,
    pub profile: Option<&'a str>,
    pub payload: Option<&'a Payload>,
    /// As granted to the terminal; 0: deregistration.
    pub expires: u32,
    /// What the HSS lets the user receive.
    pub services: Option<&'a BroadcastSubscription>,
    /// The terminal's REGISTER, for the charging and access headers.
    pub trigger: Option<&'a Message<'a>>,
}

impl Forward<'_> {
    /// Writes the request, without Via. `Err`: the key must not go to this peer.
    pub fn request(&self, dialog: &mut ThirdParty) -> Result<Vec<u8>, KeyPathError> {
        let key = match self.key {
            KeyPart::Included(document) if self.expires > 0 => {
                may_carry_key(self.peer, &self.peer.hop)?;
                Some(document)
            }
            _ => None,
        };
        let cseq = dialog.next();
        let mut out = RequestWriter::new("REGISTER", &self.peer.uri);
        out.header(HeaderName::MaxForwards, "70");
        out.line(HeaderName::From).text("<").text(self.scscf).text(">;tag=").text(token());
        out.line(HeaderName::To).text("<").text(self.impu.as_str()).text(">");
        out.header(HeaderName::CallId, dialog.call_id());
        out.line(HeaderName::CSeq).number(cseq.into()).text(" REGISTER");
        out.line(HeaderName::Contact).text("<").text(self.scscf).text(">");
        out.line(HeaderName::Expires).number(self.expires.into());
        let _ = self.ext().write(&mut out.line(HeaderName::BcastExt)); // a line takes whatever comes
        if let Some(trigger) = self.trigger {
            if let Some(icid) = icid(trigger) {
                let mut line = out.line(HeaderName::PChargingVector);
                let _ = write_quoted(line.text("icid-value="), &icid);
            }
            if self.peer.trusted {
                out.copy(trigger, HeaderName::PAccessNetworkInfo).copy(trigger, HeaderName::PVisitedNetworkId);
            }
        }
        let payload = self.payload.filter(|_| self.expires > 0).map(|p| (p.content_type.as_str(), p.octets.as_slice()));
        Ok(match (payload, key) {
            (None, None) => out.finish(),
            (Some((content_type, octets)), None) => {
                out.header(HeaderName::ContentDisposition, "render;handling=optional");
                out.body(content_type, octets)
            }
            (payload, Some(key)) => {
                let document = key.to_xml();
                let key = (media::NAF_KEY, document.as_slice());
                match payload {
                    Some(payload) => out.multipart(&[payload, key]),
                    None => out.multipart(&[key]),
                }
            }
        })
    }

    fn ext(&self) -> Ext {
        Ext {
            profile: self.profile.map(str::to_string),
            naf: Some(self.naf.clone()),
            ua_given: true,
            btid: self.btid.cloned(),
            mode: Some(self.mode),
            key: match self.key {
                _ if self.expires == 0 => None,
                KeyPart::Included(_) => Some(KeyWay::Included),
                KeyPart::Pull(Some(Retrieval::Sip)) => Some(KeyWay::PullInSip),
                KeyPart::Pull(Some(Retrieval::Zn)) => Some(KeyWay::PullOverZn),
                KeyPart::Pull(None | Some(Retrieval::ZnElseSip)) => Some(KeyWay::Pull),
                KeyPart::OnUse => Some(KeyWay::OnUse),
                KeyPart::Unchanged => None,
            },
            services: self.services.cloned(),
            ..Ext::default()
        }
    }
}

/// The terminal's icid, without anything else that stood beside it (TS 24.229 §5.4.1.7).
fn icid(trigger: &Message<'_>) -> Option<String> {
    let field = unfold(trigger.header(HeaderName::PChargingVector)?);
    let found = params(&field).collect::<Result<Vec<_>, _>>().ok()?.into_iter().find(|(name, _)| name == "icid-value");
    found.map(|(_, icid)| icid.into_owned())
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
