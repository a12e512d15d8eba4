//! RTR and PPR: what the HSS begins (TS 29.229 §6.1.9 to §6.1.12; TS 29.228 §6.1.3, §6.2). A PPA has a result and no
//! more.

use super::{AuthItem, Charging, associated, enumerated, name, put_associated, put_text, texts};
use crate::diameter::avp::Avps;
use crate::diameter::dictionary::{
    DEREGISTRATION_REASON, PUBLIC_IDENTITY, REASON_CODE, REASON_INFO, SIP_AUTH_DATA_ITEM, USER_DATA, USER_NAME,
};
use crate::diameter::fault::Fault;
use crate::diameter::write::Writer;

/// Reason-Code (TS 29.229 §6.3.17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    PermanentTermination,
    NewServerAssigned,
    ServerChange,
    RemoveScscf,
}

impl Reason {
    fn of(value: i32) -> Option<Self> {
        use Reason::{NewServerAssigned, PermanentTermination, RemoveScscf, ServerChange};
        let all = [PermanentTermination, NewServerAssigned, ServerChange, RemoveScscf];
        all.into_iter().find(|one| *one as i32 == value)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Reason::PermanentTermination => "permanent termination",
            Reason::NewServerAssigned => "new server assigned",
            Reason::ServerChange => "server change",
            Reason::RemoveScscf => "remove S-CSCF",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtr<'a> {
    pub impi: &'a str,
    /// Other private identities that end too.
    pub associated: Vec<&'a str>,
    /// Empty: all of the user's.
    pub impus: Vec<&'a str>,
    pub reason: Reason,
    /// For the user to read.
    pub info: Option<&'a str>,
}

impl<'a> Rtr<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        let group = avps.require(&DEREGISTRATION_REASON)?.group();
        Ok(Rtr {
            impi: name(avps, &USER_NAME)?,
            associated: associated(avps)?,
            impus: texts(avps, &PUBLIC_IDENTITY)?,
            reason: enumerated(group, &REASON_CODE, Reason::of)?.ok_or_else(|| REASON_CODE.missing())?,
            info: group.text(&REASON_INFO)?,
        })
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.text(&USER_NAME, self.impi);
        put_associated(writer, &self.associated);
        self.impus.iter().for_each(|impu| {
            writer.text(&PUBLIC_IDENTITY, impu);
        });
        writer.group(&DEREGISTRATION_REASON, |group| {
            group.enumerated(&REASON_CODE, self.reason as i32);
            put_text(group, &REASON_INFO, self.info);
        });
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rta<'a> {
    /// The private identities that have ended, where not only the one asked for.
    pub associated: Vec<&'a str>,
}

impl<'a> Rta<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        Ok(Rta { associated: associated(avps)? })
    }

    pub fn write(&self, writer: &mut Writer) {
        put_associated(writer, &self.associated);
    }
}

/// What has changed; what is not there stays as it is.
#[derive(Debug, Clone)]
pub struct Ppr<'a> {
    pub impi: &'a str,
    /// The user profile, an XML document (TS 29.228 annex B).
    pub user_data: Option<&'a [u8]>,
    pub charging: Option<Charging<'a>>,
    /// A new digest password.
    pub item: Option<AuthItem<'a>>,
}

impl<'a> Ppr<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        Ok(Ppr {
            impi: name(avps, &USER_NAME)?,
            user_data: avps.octets(&USER_DATA),
            charging: Charging::read(avps)?,
            item: avps.get(&SIP_AUTH_DATA_ITEM).map(|avp| AuthItem::read(avp.group())).transpose()?,
        })
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.text(&USER_NAME, self.impi);
        self.user_data.iter().for_each(|document| {
            writer.octets(&USER_DATA, document);
        });
        self.charging.iter().for_each(|charging| charging.write(writer));
        self.item.iter().for_each(|item| item.write(writer));
    }
}
