//! MAR: authentication vectors, and what a digest password is proved with (TS 29.229 §6.1.7, §6.1.8; TS 29.228 §6.3).

use super::{name, put_text};
use crate::aka::vector::{AkaVector, Autn, Auts, Key128, Rand, Res};
use crate::diameter::avp::{Avp, Avps, Def};
use crate::diameter::dictionary::{
    CONFIDENTIALITY_KEY, DIGEST_ALGORITHM, DIGEST_HA1, DIGEST_QOP, DIGEST_REALM, INTEGRITY_KEY, PUBLIC_IDENTITY,
    SERVER_NAME, SIP_AUTH_DATA_ITEM, SIP_AUTHENTICATE, SIP_AUTHENTICATION_SCHEME, SIP_AUTHORIZATION,
    SIP_DIGEST_AUTHENTICATE, SIP_ITEM_NUMBER, SIP_NUMBER_AUTH_ITEMS, USER_NAME,
};
use crate::diameter::fault::Fault;
use crate::diameter::write::Writer;
use std::fmt;
use zeroize::Zeroizing;

/// SIP-Authentication-Scheme (TS 29.229 §6.3.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme<'a> {
    Aka,
    SipDigest,
    /// The HSS knows.
    Unknown,
    /// One that this server has nothing for.
    Other(&'a str),
}

impl<'a> Scheme<'a> {
    pub fn as_str(self) -> &'a str {
        match self {
            Scheme::Aka => "Digest-AKAv1-MD5",
            Scheme::SipDigest => "SIP Digest",
            Scheme::Unknown => "Unknown",
            Scheme::Other(name) => name,
        }
    }

    pub fn of(name: &'a str) -> Self {
        let known = [Scheme::Aka, Scheme::SipDigest, Scheme::Unknown];
        known.into_iter().find(|scheme| scheme.as_str().eq_ignore_ascii_case(name)).unwrap_or(Scheme::Other(name))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mar<'a> {
    pub impi: &'a str,
    pub impu: &'a str,
    /// Vectors wanted.
    pub items: u32,
    pub scheme: Scheme<'a>,
    /// What the card answered to which challenge (SIP-Authorization is RAND || AUTS).
    pub resync: Option<(Rand, Auts)>,
    /// Of the S-CSCF.
    pub server: &'a str,
}

impl<'a> Mar<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        let item = avps.require(&SIP_AUTH_DATA_ITEM)?.group();
        let resync = match item.get(&SIP_AUTHORIZATION) {
            Some(avp) => Some(resync(&avp).ok_or_else(|| avp.bad_value())?),
            None => None,
        };
        Ok(Mar {
            impi: name(avps, &USER_NAME)?,
            impu: name(avps, &PUBLIC_IDENTITY)?,
            items: avps.require(&SIP_NUMBER_AUTH_ITEMS)?.number()?,
            scheme: Scheme::of(item.require(&SIP_AUTHENTICATION_SCHEME)?.text()?),
            resync,
            server: name(avps, &SERVER_NAME)?,
        })
    }

    pub fn write(&self, writer: &mut Writer) {
        writer
            .text(&USER_NAME, self.impi)
            .text(&PUBLIC_IDENTITY, self.impu)
            .number(&SIP_NUMBER_AUTH_ITEMS, self.items)
            .group(&SIP_AUTH_DATA_ITEM, |item| {
                item.text(&SIP_AUTHENTICATION_SCHEME, self.scheme.as_str());
                if let Some((rand, auts)) = &self.resync {
                    item.octets(&SIP_AUTHORIZATION, &[&rand.0[..], &auts.0[..]].concat());
                }
            })
            .text(&SERVER_NAME, self.server);
    }
}

fn resync(avp: &Avp<'_>) -> Option<(Rand, Auts)> {
    let (rand, auts) = avp.data.split_first_chunk::<16>()?;
    Some((Rand(*rand), Auts(auts.try_into().ok()?)))
}

/// The items in the order in which they are to be used.
#[derive(Debug, Clone, Default)]
pub struct Maa<'a> {
    pub impi: Option<&'a str>,
    pub impu: Option<&'a str>,
    pub items: Vec<AuthItem<'a>>,
}

/// SIP-Auth-Data-Item of an answer (TS 29.229 §6.3.13).
#[derive(Debug, Clone)]
pub struct AuthItem<'a> {
    pub number: Option<u32>,
    pub given: Given<'a>,
}

#[derive(Debug, Clone)]
pub enum Given<'a> {
    Aka(AkaVector),
    Digest(SipDigest<'a>),
    Other(&'a str),
}

/// SIP-Digest-Authenticate (TS 29.229 §6.3.36).
#[derive(Clone)]
pub struct SipDigest<'a> {
    pub realm: &'a str,
    /// MD5, where it is left out.
    pub algorithm: Option<&'a str>,
    pub qop: Option<&'a str>,
    /// Hexadecimal: it serves instead of the password.
    pub ha1: Zeroizing<String>,
}

impl fmt::Debug for SipDigest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SipDigest({}, {})", self.realm, self.algorithm.unwrap_or("MD5"))
    }
}

impl<'a> Maa<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        let items = { avps }.filter(|avp| avp.is(&SIP_AUTH_DATA_ITEM)).map(|avp| AuthItem::read(avp.group()));
        let mut items = items.collect::<Result<Vec<_>, _>>()?;
        // Those without a number are in the order in which they came (TS 29.229 §6.3.14).
        items.sort_by_key(|item| item.number.unwrap_or(u32::MAX));
        Ok(Maa { impi: avps.text(&USER_NAME)?, impu: avps.text(&PUBLIC_IDENTITY)?, items })
    }

    pub fn write(&self, writer: &mut Writer) {
        put_text(writer, &USER_NAME, self.impi);
        put_text(writer, &PUBLIC_IDENTITY, self.impu);
        writer.number(&SIP_NUMBER_AUTH_ITEMS, self.items.len() as u32);
        self.items.iter().for_each(|item| item.write(writer));
    }
}

impl<'a> AuthItem<'a> {
    /// `group`: of a SIP-Auth-Data-Item, as Zh has it too.
    pub fn read(group: Avps<'a>) -> Result<Self, Fault> {
        let scheme = Scheme::of(group.require(&SIP_AUTHENTICATION_SCHEME)?.text()?);
        let given = match scheme {
            Scheme::Aka => Given::Aka(vector(group)?),
            Scheme::SipDigest => Given::Digest(digest(group.require(&SIP_DIGEST_AUTHENTICATE)?.group())?),
            Scheme::Unknown => Given::Other(scheme.as_str()),
            Scheme::Other(name) => Given::Other(name),
        };
        Ok(AuthItem { number: group.number(&SIP_ITEM_NUMBER)?, given })
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.group(&SIP_AUTH_DATA_ITEM, |group| {
            self.number.iter().for_each(|number| {
                group.number(&SIP_ITEM_NUMBER, *number);
            });
            match &self.given {
                Given::Aka(vector) => {
                    group
                        .text(&SIP_AUTHENTICATION_SCHEME, Scheme::Aka.as_str())
                        .octets(&SIP_AUTHENTICATE, &[vector.rand.0, vector.autn.0].concat())
                        .octets(&SIP_AUTHORIZATION, vector.xres.as_bytes())
                        .octets(&CONFIDENTIALITY_KEY, &vector.ck.0)
                        .octets(&INTEGRITY_KEY, &vector.ik.0);
                }
                Given::Digest(digest) => {
                    group.text(&SIP_AUTHENTICATION_SCHEME, Scheme::SipDigest.as_str());
                    group.group(&SIP_DIGEST_AUTHENTICATE, |group| {
                        group.text(&DIGEST_REALM, digest.realm);
                        put_text(group, &DIGEST_ALGORITHM, digest.algorithm);
                        put_text(group, &DIGEST_QOP, digest.qop);
                        group.text(&DIGEST_HA1, &digest.ha1);
                    });
                }
                Given::Other(name) => {
                    group.text(&SIP_AUTHENTICATION_SCHEME, name);
                }
            }
        });
    }
}

/// SIP-Authenticate is RAND || AUTN, SIP-Authorization XRES, in octets (TS 29.228 §6.3.2).
fn vector(group: Avps<'_>) -> Result<AkaVector, Fault> {
    let authenticate = group.require(&SIP_AUTHENTICATE)?;
    let (rand, autn) = match authenticate.data.split_first_chunk::<16>() {
        Some((rand, autn)) => (Rand(*rand), autn.try_into().map(Autn).map_err(|_| authenticate.bad_value())?),
        None => return Err(authenticate.bad_value()),
    };
    let xres = group.require(&SIP_AUTHORIZATION)?;
    let xres = Res::try_from(xres.data).map_err(|_| xres.bad_value())?;
    let ck = key(group, &CONFIDENTIALITY_KEY)?;
    let ik = key(group, &INTEGRITY_KEY)?;
    Ok(AkaVector { rand, autn, xres, ck, ik })
}

fn key(group: Avps<'_>, def: &Def) -> Result<Key128, Fault> {
    let avp = group.require(def)?;
    avp.data.try_into().map(Key128).map_err(|_| avp.bad_value())
}

fn digest(group: Avps<'_>) -> Result<SipDigest<'_>, Fault> {
    Ok(SipDigest {
        realm: group.require(&DIGEST_REALM)?.text()?,
        algorithm: group.text(&DIGEST_ALGORITHM)?,
        qop: group.text(&DIGEST_QOP)?,
        ha1: Zeroizing::new(group.require(&DIGEST_HA1)?.text()?.to_owned()),
    })
}
