//! Zh (TS 29.109 clause 4): a BSF asks an HSS for an authentication vector and the user's security settings.
//!
//! Read from a checked [`Message`] and written behind the head that [`super::request`] or [`super::answer_to`] makes.

use super::cx::{AuthItem, Given, Scheme};
use super::dictionary::{
    GBA_USERSECSETTINGS, GUSS_TIMESTAMP, PUBLIC_IDENTITY, SIP_AUTH_DATA_ITEM, SIP_AUTHENTICATION_SCHEME,
    SIP_AUTHORIZATION, USER_NAME,
};
use super::fault::Fault;
use super::{Avps, Message, Writer};
use crate::aka::vector::{AkaVector, Auts, Rand};
use crate::identity::{Impi, Impu};
use std::time::Duration;

/// MAR
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultimediaAuthRequest {
    pub impi: Impi,
    pub impu: Option<Impu>,
    /// RAND and AUTS of a failed synchronisation.
    pub resync: Option<(Rand, Auts)>,
    /// Of the security settings that the BSF has, since 1970.
    pub guss_timestamp: Option<Duration>,
}

impl MultimediaAuthRequest {
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let avps = message.avps();
        let item = avps.get(&SIP_AUTH_DATA_ITEM);
        let resync = match item.and_then(|item| item.group().get(&SIP_AUTHORIZATION)) {
            Some(avp) => Some(split(avp.data).ok_or_else(|| avp.bad_value())?),
            None => None,
        };
        Ok(MultimediaAuthRequest {
            impi: Impi::from(message.identity(&USER_NAME)?),
            impu: avps.text(&PUBLIC_IDENTITY)?.map(Impu::from),
            resync,
            guss_timestamp: timestamp(avps)?,
        })
    }

    /// Whether AKA is asked for, or what the HSS has: there is no bootstrapping with a password here.
    pub fn is_for_aka(message: &Message<'_>) -> Result<bool, Fault> {
        let item = message.avps().get(&SIP_AUTH_DATA_ITEM).map(|item| item.group());
        let scheme = item.map(|item| item.text(&SIP_AUTHENTICATION_SCHEME)).transpose()?.flatten();
        Ok(scheme.is_none_or(|name| matches!(Scheme::of(name), Scheme::Aka | Scheme::Unknown)))
    }

    pub fn write(&self, to: &mut Writer) {
        to.text(&USER_NAME, self.impi.as_str());
        if let Some(impu) = &self.impu {
            to.text(&PUBLIC_IDENTITY, impu.as_str());
        }
        if let Some(since) = self.guss_timestamp {
            to.time(&GUSS_TIMESTAMP, since);
        }
        to.group(&SIP_AUTH_DATA_ITEM, |item| {
            item.text(&SIP_AUTHENTICATION_SCHEME, Scheme::Aka.as_str());
            if let Some((rand, auts)) = &self.resync {
                item.octets(&SIP_AUTHORIZATION, &[&rand.0[..], &auts.0].concat());
            }
        });
    }
}

/// MAA
#[derive(Debug, Clone)]
pub struct MultimediaAuthAnswer {
    pub impi: Option<Impi>,
    pub vector: AkaVector,
    /// GBA-UserSecSettings, which [`crate::gba::guss`] reads; None: none, or the BSF has them.
    pub guss: Option<Vec<u8>>,
    /// When the settings last changed, where the HSS tells it.
    pub guss_timestamp: Option<Duration>,
}

impl MultimediaAuthAnswer {
    /// Of a successful answer.
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let avps = message.avps();
        let item = avps.require(&SIP_AUTH_DATA_ITEM)?;
        let Given::Aka(vector) = AuthItem::read(item.group())?.given else { return Err(item.bad_value()) };
        Ok(MultimediaAuthAnswer {
            impi: avps.text(&USER_NAME)?.map(Impi::from),
            vector,
            guss: avps.octets(&GBA_USERSECSETTINGS).map(<[u8]>::to_vec),
            guss_timestamp: timestamp(avps)?,
        })
    }

    pub fn write(&self, to: &mut Writer) {
        if let Some(impi) = &self.impi {
            to.text(&USER_NAME, impi.as_str());
        }
        AuthItem { number: None, given: Given::Aka(self.vector.clone()) }.write(to);
        if let Some(guss) = &self.guss {
            to.octets(&GBA_USERSECSETTINGS, guss);
        }
        if let Some(since) = self.guss_timestamp {
            to.time(&GUSS_TIMESTAMP, since);
        }
    }
}

/// RAND || AUTS
fn split(octets: &[u8]) -> Option<(Rand, Auts)> {
    let (rand, auts) = octets.split_first_chunk::<16>()?;
    Some((Rand(*rand), Auts(auts.try_into().ok()?)))
}

fn timestamp(avps: Avps<'_>) -> Result<Option<Duration>, Fault> {
    avps.get(&GUSS_TIMESTAMP).map(|avp| avp.time()).transpose()
}

#[cfg(test)]
mod tests;
