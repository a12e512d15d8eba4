//! SAR: who serves a user, and his profile (TS 29.229 §6.1.3, §6.1.4; TS 29.228 §6.1.2).

use super::{Charging, associated, enumerated, flag, name, put_associated, put_text, texts};
use crate::diameter::avp::Avps;
use crate::diameter::dictionary::{
    ASSOCIATED_REGISTERED_IDENTITIES, LOOSE_ROUTE_INDICATION, MULTIPLE_REGISTRATION_INDICATION, PUBLIC_IDENTITY,
    SCSCF_RESTORATION_INFO, SERVER_ASSIGNMENT_TYPE, SERVER_NAME, USER_DATA, USER_DATA_ALREADY_AVAILABLE, USER_NAME,
    WILDCARDED_PUBLIC_IDENTITY,
};
use crate::diameter::fault::Fault;
use crate::diameter::write::Writer;

/// Server-Assignment-Type (TS 29.229 §6.3.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerAssignment {
    NoAssignment,
    Registration,
    ReRegistration,
    UnregisteredUser,
    TimeoutDeregistration,
    UserDeregistration,
    TimeoutDeregistrationStoreServerName,
    UserDeregistrationStoreServerName,
    AdministrativeDeregistration,
    AuthenticationFailure,
    AuthenticationTimeout,
    DeregistrationTooMuchData,
    AaaUserDataRequest,
    PgwUpdate,
    Restoration,
}

impl ServerAssignment {
    /// In the order of their numbers.
    const ALL: [ServerAssignment; 15] = [
        ServerAssignment::NoAssignment,
        ServerAssignment::Registration,
        ServerAssignment::ReRegistration,
        ServerAssignment::UnregisteredUser,
        ServerAssignment::TimeoutDeregistration,
        ServerAssignment::UserDeregistration,
        ServerAssignment::TimeoutDeregistrationStoreServerName,
        ServerAssignment::UserDeregistrationStoreServerName,
        ServerAssignment::AdministrativeDeregistration,
        ServerAssignment::AuthenticationFailure,
        ServerAssignment::AuthenticationTimeout,
        ServerAssignment::DeregistrationTooMuchData,
        ServerAssignment::AaaUserDataRequest,
        ServerAssignment::PgwUpdate,
        ServerAssignment::Restoration,
    ];

    pub fn of(value: i32) -> Option<Self> {
        usize::try_from(value).ok().and_then(|at| Self::ALL.get(at)).copied()
    }

    pub fn value(self) -> i32 {
        self as i32
    }

    /// Whether a registration ends with it, or a service without one.
    pub fn is_deregistration(self) -> bool {
        use ServerAssignment as Kind;
        matches!(
            self,
            Kind::TimeoutDeregistration
                | Kind::UserDeregistration
                | Kind::TimeoutDeregistrationStoreServerName
                | Kind::UserDeregistrationStoreServerName
                | Kind::AdministrativeDeregistration
                | Kind::DeregistrationTooMuchData
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sar<'a> {
    /// May be missing where a public identity is there.
    pub impi: Option<&'a str>,
    pub impus: Vec<&'a str>,
    pub wildcard: Option<&'a str>,
    /// Of the S-CSCF.
    pub server: &'a str,
    pub kind: ServerAssignment,
    /// The S-CSCF has the profile: it need not come.
    pub has_profile: bool,
    /// SCSCF-Restoration-Info as it is: the HSS keeps it and gives it back.
    pub restoration: Option<&'a [u8]>,
    pub multiple: bool,
}

impl<'a> Sar<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        let impi = avps.text(&USER_NAME)?;
        let impus = texts(avps, &PUBLIC_IDENTITY)?;
        if impi.is_none() && impus.is_empty() {
            return Err(PUBLIC_IDENTITY.missing());
        }
        Ok(Sar {
            impi,
            impus,
            wildcard: avps.text(&WILDCARDED_PUBLIC_IDENTITY)?,
            server: name(avps, &SERVER_NAME)?,
            kind: enumerated(avps, &SERVER_ASSIGNMENT_TYPE, ServerAssignment::of)?
                .ok_or_else(|| SERVER_ASSIGNMENT_TYPE.missing())?,
            has_profile: flag(avps, &USER_DATA_ALREADY_AVAILABLE)?
                .ok_or_else(|| USER_DATA_ALREADY_AVAILABLE.missing())?,
            restoration: avps.octets(&SCSCF_RESTORATION_INFO),
            multiple: flag(avps, &MULTIPLE_REGISTRATION_INDICATION)?.unwrap_or_default(),
        })
    }

    pub fn write(&self, writer: &mut Writer) {
        put_text(writer, &USER_NAME, self.impi);
        self.impus.iter().for_each(|impu| {
            writer.text(&PUBLIC_IDENTITY, impu);
        });
        put_text(writer, &WILDCARDED_PUBLIC_IDENTITY, self.wildcard);
        writer
            .text(&SERVER_NAME, self.server)
            .enumerated(&SERVER_ASSIGNMENT_TYPE, self.kind.value())
            .enumerated(&USER_DATA_ALREADY_AVAILABLE, i32::from(self.has_profile));
        self.restoration.iter().for_each(|info| {
            writer.octets(&SCSCF_RESTORATION_INFO, info);
        });
        if self.multiple {
            writer.enumerated(&MULTIPLE_REGISTRATION_INDICATION, 1);
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saa<'a> {
    pub impi: Option<&'a str>,
    /// The user profile, an XML document (TS 29.228 annex B).
    pub user_data: Option<&'a [u8]>,
    pub charging: Option<Charging<'a>>,
    /// Other private identities of the subscription.
    pub associated: Vec<&'a str>,
    /// Of those, the ones by which the user is registered.
    pub associated_registered: Vec<&'a str>,
    pub loose_route: Option<bool>,
    /// As S-CSCFs gave it, one a private identity.
    pub restoration: Vec<&'a [u8]>,
}

impl<'a> Saa<'a> {
    pub fn read(avps: Avps<'a>) -> Result<Self, Fault> {
        let registered = avps.get(&ASSOCIATED_REGISTERED_IDENTITIES).map(|avp| texts(avp.group(), &USER_NAME));
        Ok(Saa {
            impi: avps.text(&USER_NAME)?,
            user_data: avps.octets(&USER_DATA),
            charging: Charging::read(avps)?,
            associated: associated(avps)?,
            associated_registered: registered.transpose()?.unwrap_or_default(),
            loose_route: flag(avps, &LOOSE_ROUTE_INDICATION)?,
            restoration: { avps }.filter(|avp| avp.is(&SCSCF_RESTORATION_INFO)).map(|avp| avp.data).collect(),
        })
    }

    pub fn write(&self, writer: &mut Writer) {
        put_text(writer, &USER_NAME, self.impi);
        self.user_data.iter().for_each(|document| {
            writer.octets(&USER_DATA, document);
        });
        self.charging.iter().for_each(|charging| charging.write(writer));
        put_associated(writer, &self.associated);
        self.loose_route.iter().for_each(|wanted| {
            writer.enumerated(&LOOSE_ROUTE_INDICATION, i32::from(*wanted));
        });
        self.restoration.iter().for_each(|info| {
            writer.octets(&SCSCF_RESTORATION_INFO, info);
        });
        if !self.associated_registered.is_empty() {
            writer.group(&ASSOCIATED_REGISTERED_IDENTITIES, |group| {
                self.associated_registered.iter().for_each(|impi| {
                    group.text(&USER_NAME, impi);
                });
            });
        }
    }
}
