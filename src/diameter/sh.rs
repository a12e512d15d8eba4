//! Sh (TS 29.329): what an application server and an HSS say to each other, for both sides.
//!
//! Each message is read from a checked [`Message`] and written behind the head that [`super::request`] or
//! [`super::answer_to`] makes. User-Data is carried as octets here; [`data`] reads and writes it.

pub mod data;

pub use data::{Charging, Identities, ImsUserState, Repository, ShData};

use super::avp::{Avp, Avps};
use super::dictionary::{
    DATA_REFERENCE, EXPIRY_TIME, IDENTITY_SET, MSISDN, ONE_TIME_NOTIFICATION, PUBLIC_IDENTITY, REPOSITORY_DATA_ID,
    SEND_DATA_INDICATION, SEQUENCE_NUMBER, SERVER_NAME, SERVICE_INDICATION, SH_USER_DATA, SUBS_REQ_TYPE, USER_IDENTITY,
    USER_NAME,
};
use super::fault::Fault;
use super::{Message, Writer};
use crate::identity::{Impi, Impu};
use std::time::Duration;

/// Most Data-Reference, Service-Indication or Identity-Set AVPs of one request.
const MOST: usize = 32;

/// User-Identity (TS 29.329 §6.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    Public(Impu),
    /// Digits, country code first.
    Msisdn(String),
}

/// Data-Reference (TS 29.328 table 7.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataReference {
    RepositoryData,
    PublicIdentity,
    UserState,
    ScscfName,
    InitialFilterCriteria,
    ChargingInformation,
    Msisdn,
    PrivateIdentity,
    /// Of an access network that no IMS has, or not known.
    Other(i32),
}

impl DataReference {
    const KNOWN: [(DataReference, i32); 8] = [
        (DataReference::RepositoryData, 0),
        (DataReference::PublicIdentity, 10),
        (DataReference::UserState, 11),
        (DataReference::ScscfName, 12),
        (DataReference::InitialFilterCriteria, 13),
        (DataReference::ChargingInformation, 16),
        (DataReference::Msisdn, 17),
        (DataReference::PrivateIdentity, 33),
    ];

    pub fn from_number(number: i32) -> Self {
        let known = Self::KNOWN.iter().find(|(_, code)| *code == number);
        known.map_or(DataReference::Other(number), |(reference, _)| *reference)
    }

    /// Whether it is one that the specification has, in an IMS or not (TS 29.329 §6.3.4).
    pub fn is_defined(self) -> bool {
        matches!(self.number(), 0 | 10..=19 | 21..=34)
    }

    pub fn number(self) -> i32 {
        match self {
            DataReference::Other(number) => number,
            known => Self::KNOWN.iter().find(|(one, _)| *one == known).map_or(0, |(_, code)| *code),
        }
    }
}

/// Identity-Set (TS 29.329 §6.3.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentitySet {
    All,
    Registered,
    Implicit,
    Alias,
}

impl IdentitySet {
    const ALL: [IdentitySet; 4] =
        [IdentitySet::All, IdentitySet::Registered, IdentitySet::Implicit, IdentitySet::Alias];

    fn number(self) -> i32 {
        self as i32
    }
}

/// UDR
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDataRequest {
    pub user: User,
    pub data: Vec<DataReference>,
    /// Service-Indications of repository data.
    pub services: Vec<String>,
    pub sets: Vec<IdentitySet>,
    /// SIP URI of the application server, for its filter criteria.
    pub server: Option<String>,
    pub impi: Option<Impi>,
}

impl UserDataRequest {
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let avps = message.avps();
        Ok(UserDataRequest {
            user: user(avps)?,
            data: references(avps)?,
            services: services(avps)?,
            sets: sets(avps)?,
            server: avps.text(&SERVER_NAME)?.map(str::to_owned),
            impi: avps.text(&USER_NAME)?.map(Impi::from),
        })
    }

    pub fn write(&self, to: &mut Writer) {
        put_user(to, &self.user);
        put_asked(to, self.server.as_deref(), &self.services, &self.data, &self.sets);
        put_impi(to, self.impi.as_ref());
    }
}

/// UDA. None: there is no such data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserDataAnswer {
    pub data: Option<Vec<u8>>,
}

impl UserDataAnswer {
    pub fn read(message: &Message<'_>) -> Self {
        UserDataAnswer { data: message.avps().octets(&SH_USER_DATA).map(<[u8]>::to_vec) }
    }

    pub fn write(&self, to: &mut Writer) {
        put_data(to, self.data.as_deref());
    }
}

/// PUR
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileUpdateRequest {
    pub user: User,
    pub data: Vec<DataReference>,
    pub user_data: Vec<u8>,
}

impl ProfileUpdateRequest {
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let avps = message.avps();
        Ok(ProfileUpdateRequest {
            user: user(avps)?,
            data: references(avps)?,
            user_data: avps.require(&SH_USER_DATA)?.data.to_vec(),
        })
    }

    pub fn write(&self, to: &mut Writer) {
        put_user(to, &self.user);
        put_asked(to, None, &[], &self.data, &[]);
        put_data(to, Some(&self.user_data));
    }
}

/// PUA: what was stored, where there were several (TS 29.328 §6.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfileUpdateAnswer {
    /// Service-Indication and Sequence-Number.
    pub repository: Option<(String, u16)>,
    pub data: Option<DataReference>,
}

impl ProfileUpdateAnswer {
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let repository = match message.avps().get(&REPOSITORY_DATA_ID) {
            Some(id) => {
                let number = id.group().require(&SEQUENCE_NUMBER)?;
                let number = u16::try_from(number.number()?).map_err(|_| number.bad_value())?;
                Some((id.group().require(&SERVICE_INDICATION)?.text()?.to_owned(), number))
            }
            None => None,
        };
        let data = message.avps().enumerated(&DATA_REFERENCE)?.map(DataReference::from_number);
        Ok(ProfileUpdateAnswer { repository, data })
    }

    pub fn write(&self, to: &mut Writer) {
        if let Some((service, number)) = &self.repository {
            to.group(&REPOSITORY_DATA_ID, |id| {
                id.text(&SERVICE_INDICATION, service).number(&SEQUENCE_NUMBER, u32::from(*number));
            });
        }
        if let Some(data) = self.data {
            to.enumerated(&DATA_REFERENCE, data.number());
        }
    }
}

/// SNR
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeRequest {
    pub user: User,
    pub data: Vec<DataReference>,
    pub services: Vec<String>,
    pub sets: Vec<IdentitySet>,
    pub server: Option<String>,
    /// False: the subscription ends.
    pub subscribes: bool,
    /// Send-Data-Indication: the answer is to tell the data.
    pub wants_data: bool,
    /// One notification and no more.
    pub once: bool,
    /// Until when, since 1970; None: for good.
    pub until: Option<Duration>,
}

impl SubscribeRequest {
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let avps = message.avps();
        let kind = avps.require(&SUBS_REQ_TYPE)?;
        Ok(SubscribeRequest {
            user: user(avps)?,
            data: references(avps)?,
            services: services(avps)?,
            sets: sets(avps)?,
            server: avps.text(&SERVER_NAME)?.map(str::to_owned),
            subscribes: match kind.enumerated()? {
                0 => true,
                1 => false,
                _ => return Err(kind.bad_value()),
            },
            wants_data: avps.enumerated(&SEND_DATA_INDICATION)? == Some(1),
            once: avps.enumerated(&ONE_TIME_NOTIFICATION)? == Some(0),
            until: until(avps)?,
        })
    }

    pub fn write(&self, to: &mut Writer) {
        put_user(to, &self.user);
        put_asked(to, self.server.as_deref(), &self.services, &self.data, &self.sets);
        to.enumerated(&SUBS_REQ_TYPE, i32::from(!self.subscribes));
        if self.wants_data {
            to.enumerated(&SEND_DATA_INDICATION, 1);
        }
        if self.once {
            to.enumerated(&ONE_TIME_NOTIFICATION, 0);
        }
        if let Some(until) = self.until {
            to.time(&EXPIRY_TIME, until);
        }
    }
}

/// SNA
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscribeAnswer {
    pub data: Option<Vec<u8>>,
    /// Until when the subscription is good, since 1970; None: for good.
    pub until: Option<Duration>,
}

impl SubscribeAnswer {
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let data = message.avps().octets(&SH_USER_DATA).map(<[u8]>::to_vec);
        Ok(SubscribeAnswer { data, until: until(message.avps())? })
    }

    pub fn write(&self, to: &mut Writer) {
        put_data(to, self.data.as_deref());
        if let Some(until) = self.until {
            to.time(&EXPIRY_TIME, until);
        }
    }
}

/// PNR; its answer has a head only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushNotificationRequest {
    pub user: User,
    pub data: Vec<u8>,
    pub impi: Option<Impi>,
}

impl PushNotificationRequest {
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let avps = message.avps();
        Ok(PushNotificationRequest {
            user: user(avps)?,
            data: avps.require(&SH_USER_DATA)?.data.to_vec(),
            impi: avps.text(&USER_NAME)?.map(Impi::from),
        })
    }

    pub fn write(&self, to: &mut Writer) {
        put_user(to, &self.user);
        put_data(to, Some(&self.data));
        put_impi(to, self.impi.as_ref());
    }
}

fn user(avps: Avps<'_>) -> Result<User, Fault> {
    let identity = avps.require(&USER_IDENTITY)?;
    if let Some(public) = identity.group().get(&PUBLIC_IDENTITY) {
        return match public.text()? {
            "" => Err(public.bad_value()),
            text => Ok(User::Public(Impu::from(text))),
        };
    }
    let msisdn = identity.group().get(&MSISDN).ok_or_else(|| identity.bad_value())?;
    digits(&msisdn).map(User::Msisdn)
}

fn put_user(to: &mut Writer, user: &User) {
    to.group(&USER_IDENTITY, |identity| {
        match user {
            User::Public(impu) => identity.text(&PUBLIC_IDENTITY, impu.as_str()),
            User::Msisdn(digits) => identity.octets(&MSISDN, &tbcd(digits)),
        };
    });
}

/// A TBCD-string (TS 29.002): two digits an octet, the first in the lower half, 1111 where one is left over.
fn digits(avp: &Avp<'_>) -> Result<String, Fault> {
    let halves = avp.data.iter().flat_map(|octet| [octet & 0xf, octet >> 4]);
    let mut number = String::new();
    for (at, half) in halves.enumerate() {
        match half {
            0..=9 => number.push(char::from(b'0' + half)),
            0xf if at + 1 == avp.data.len() * 2 => {}
            _ => return Err(avp.bad_value()),
        }
    }
    // TS 23.003 §3.3: 15 digits.
    if (1..=15).contains(&number.len()) { Ok(number) } else { Err(avp.bad_value()) }
}

fn tbcd(digits: &str) -> Vec<u8> {
    let halves: Vec<u8> = digits.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    halves.chunks(2).map(|two| two.first().unwrap_or(&0) | two.get(1).unwrap_or(&0xf) << 4).collect()
}

fn references(avps: Avps<'_>) -> Result<Vec<DataReference>, Fault> {
    avps.require(&DATA_REFERENCE)?;
    some(avps.all(&DATA_REFERENCE), |avp| avp.enumerated().map(DataReference::from_number))
}

fn services(avps: Avps<'_>) -> Result<Vec<String>, Fault> {
    some(avps.all(&SERVICE_INDICATION), |avp| avp.text().map(str::to_owned))
}

fn sets(avps: Avps<'_>) -> Result<Vec<IdentitySet>, Fault> {
    some(avps.all(&IDENTITY_SET), |avp| {
        let number = avp.enumerated()?;
        IdentitySet::ALL.into_iter().find(|set| set.number() == number).ok_or_else(|| avp.bad_value())
    })
}

fn some<'a, T>(
    avps: impl Iterator<Item = Avp<'a>>,
    read: impl Fn(&Avp<'a>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut found = Vec::new();
    for avp in avps {
        if found.len() >= MOST {
            return Err(Fault::TooLarge);
        }
        found.push(read(&avp)?);
    }
    Ok(found)
}

fn until(avps: Avps<'_>) -> Result<Option<Duration>, Fault> {
    avps.get(&EXPIRY_TIME).map(|avp| avp.time()).transpose()
}

/// In the order of the commands' definitions.
fn put_asked(to: &mut Writer, server: Option<&str>, services: &[String], data: &[DataReference], sets: &[IdentitySet]) {
    if let Some(server) = server {
        to.text(&SERVER_NAME, server);
    }
    for service in services {
        to.text(&SERVICE_INDICATION, service);
    }
    for reference in data {
        to.enumerated(&DATA_REFERENCE, reference.number());
    }
    for set in sets {
        to.enumerated(&IDENTITY_SET, set.number());
    }
}

fn put_data(to: &mut Writer, data: Option<&[u8]>) {
    if let Some(data) = data {
        to.octets(&SH_USER_DATA, data);
    }
}

fn put_impi(to: &mut Writer, impi: Option<&Impi>) {
    if let Some(impi) = impi {
        to.text(&USER_NAME, impi.as_str());
    }
}

#[cfg(test)]
mod tests;
