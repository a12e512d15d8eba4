//! UAR and LIR: where a user is served, asked by the I-CSCF (TS 29.229 §6.1.1, §6.1.2, §6.1.5, §6.1.6).

use super::{Capabilities, enumerated, name, put_text};
use crate::diameter::avp::Avps;
use crate::diameter::dictionary::{
    ORIGINATING_REQUEST, PUBLIC_IDENTITY, SERVER_NAME, UAR_FLAGS, USER_AUTHORIZATION_TYPE, USER_NAME,
    VISITED_NETWORK_IDENTIFIER, WILDCARDED_PUBLIC_IDENTITY,
};
use crate::diameter::fault::Fault;
use crate::diameter::write::Writer;

/// User-Authorization-Type (TS 29.229 §6.3.24).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    Registration,
    Deregistration,
    /// The capabilities are wanted though a server is assigned: it does not answer.
    RegistrationAndCapabilities,
}

impl Authorization {
    fn of(value: i32) -> Option<Self> {
        use Authorization::{Deregistration, Registration, RegistrationAndCapabilities};
        [Registration, Deregistration, RegistrationAndCapabilities].into_iter().find(|one| *one as i32 == value)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uar<'a> {
    pub impi: &'a str,
    pub impu: &'a str,
    pub visited_network: &'a [u8],
    /// Registration, where it is left out.
    pub kind: Authorization,
    /// Bit 0 of UAR-Flags.
    pub emergency: bool,
}

impl<'a> Uar<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        Ok(Uar {
            impi: name(avps, &USER_NAME)?,
            impu: name(avps, &PUBLIC_IDENTITY)?,
            visited_network: avps.require(&VISITED_NETWORK_IDENTIFIER)?.data,
            kind: enumerated(avps, &USER_AUTHORIZATION_TYPE, Authorization::of)?.unwrap_or(Authorization::Registration),
            emergency: avps.number(&UAR_FLAGS)?.is_some_and(|flags| flags & 1 != 0),
        })
    }

    pub fn write(&self, writer: &mut Writer) {
        writer
            .text(&USER_NAME, self.impi)
            .text(&PUBLIC_IDENTITY, self.impu)
            .octets(&VISITED_NETWORK_IDENTIFIER, self.visited_network)
            .enumerated(&USER_AUTHORIZATION_TYPE, self.kind as i32);
        if self.emergency {
            writer.number(&UAR_FLAGS, 1);
        }
    }
}

/// Who serves the user, or what one must be able to do to serve him.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uaa<'a> {
    pub server: Option<&'a str>,
    pub capabilities: Option<Capabilities<'a>>,
}

impl<'a> Uaa<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        Ok(Uaa { server: avps.text(&SERVER_NAME)?, capabilities: Capabilities::read(avps)? })
    }

    pub fn write(&self, writer: &mut Writer) {
        put_text(writer, &SERVER_NAME, self.server);
        self.capabilities.iter().for_each(|capabilities| capabilities.write(writer));
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lir<'a> {
    pub impu: &'a str,
    /// The request comes from an application server in the user's name.
    pub originating: bool,
    pub kind: Option<Authorization>,
}

impl<'a> Lir<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        let originating = enumerated(avps, &ORIGINATING_REQUEST, |value| (value == 0).then_some(()))?;
        Ok(Lir {
            impu: name(avps, &PUBLIC_IDENTITY)?,
            originating: originating.is_some(),
            kind: enumerated(avps, &USER_AUTHORIZATION_TYPE, Authorization::of)?,
        })
    }

    pub fn write(&self, writer: &mut Writer) {
        if self.originating {
            writer.enumerated(&ORIGINATING_REQUEST, 0);
        }
        writer.text(&PUBLIC_IDENTITY, self.impu);
        self.kind.iter().for_each(|kind| {
            writer.enumerated(&USER_AUTHORIZATION_TYPE, *kind as i32);
        });
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lia<'a> {
    pub server: Option<&'a str>,
    pub capabilities: Option<Capabilities<'a>>,
    /// The identity asked for is one of these.
    pub wildcard: Option<&'a str>,
}

impl<'a> Lia<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        Ok(Lia {
            server: avps.text(&SERVER_NAME)?,
            capabilities: Capabilities::read(avps)?,
            wildcard: avps.text(&WILDCARDED_PUBLIC_IDENTITY)?,
        })
    }

    pub fn write(&self, writer: &mut Writer) {
        put_text(writer, &SERVER_NAME, self.server);
        self.capabilities.iter().for_each(|capabilities| capabilities.write(writer));
        put_text(writer, &WILDCARDED_PUBLIC_IDENTITY, self.wildcard);
    }
}
