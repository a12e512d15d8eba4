//! Sh, the HSS's side (TS 29.328 §6.1): what application servers read, leave here, and want to be told.

use super::{Answered, HssServer, origin_of, permitted};
use crate::diameter::dictionary::{SERVER_NAME, SERVICE_INDICATION};
use crate::diameter::fault::{base, tgpp};
use crate::diameter::sh::data::ShDataError;
use crate::diameter::sh::{
    Charging, DataReference, Identities, IdentitySet, ImsUserState, ProfileUpdateAnswer, ProfileUpdateRequest,
    Repository, ShData, SubscribeAnswer, SubscribeRequest, User, UserDataAnswer, UserDataRequest,
};
use crate::diameter::{Fault, Message, ResultCode};
use crate::hss::embedded::foreign::{Entry, Updated};
use crate::hss::embedded::{Registration, Watcher};
use crate::hss::repository::{self, SERVICE};
use crate::hss::{HssError, RegState};
use crate::identity::Impu;
use crate::xml::XmlError;

/// Octets of a Service-Indication.
const SERVICE_NAME: usize = 128;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub data: &'a [DataReference],
    pub services: &'a [String],
    pub sets: &'a [IdentitySet],
    /// Whose filter criteria.
    pub server: Option<&'a str>,
    /// What is gone is told by an empty element.
    pub changed: bool,
}

impl HssServer {
    async fn subscriber_of(&self, user: &User, impi: Option<&str>) -> Result<Entry, HssError> {
        let tel;
        let impu = match user {
            User::Public(impu) => impu.as_str(),
            User::Msisdn(digits) => {
                tel = format!("tel:+{digits}");
                &tel
            }
        };
        self.hss.entry(impi, Some(impu), self.clock.now()).await
    }

    /// UDR
    pub(super) async fn user_data(&self, message: &Message<'_>, peer: &str) -> Answered {
        permitted(&self.settings.clients.application_servers, peer, tgpp::USER_DATA_CANNOT_BE_READ)?;
        let udr = UserDataRequest::read(message)?;
        recognized(&udr.data)?;
        if udr.data.iter().any(|reference| matches!(reference, DataReference::Other(_))) {
            return Err(tgpp::USER_DATA_CANNOT_BE_READ.into());
        }
        are_named(&udr.data, udr.server.as_deref(), &udr.services)?;
        let entry = self.subscriber_of(&udr.user, udr.impi.as_ref().map(|impi| impi.as_str())).await?;
        let (data, services, sets) = (&udr.data, &udr.services, &udr.sets);
        let wanted = Wanted { data, services, sets, server: udr.server.as_deref(), changed: false };
        let data = self.sh_data(&entry, wanted).await?;
        let mut writer = self.answer(message, base::SUCCESS);
        UserDataAnswer { data: (!data.is_empty()).then(|| data.write().into_bytes()) }.write(&mut writer);
        Ok(writer)
    }

    /// PUR
    pub(super) async fn profile_update(&self, message: &Message<'_>, peer: &str) -> Answered {
        permitted(&self.settings.clients.application_servers, peer, tgpp::USER_DATA_CANNOT_BE_MODIFIED)?;
        let pur = ProfileUpdateRequest::read(message)?;
        recognized(&pur.data)?;
        if pur.data.iter().any(|reference| *reference != DataReference::RepositoryData) {
            return Err(tgpp::USER_DATA_CANNOT_BE_MODIFIED.into());
        }
        let data = ShData::parse(&pur.user_data).map_err(|why| match why {
            ShDataError::Xml(XmlError::TooLarge | XmlError::TooManyNodes) => tgpp::TOO_MUCH_DATA,
            _ => tgpp::USER_DATA_NOT_RECOGNIZED,
        })?;
        if data.repository.is_empty() {
            return Err(tgpp::USER_DATA_NOT_RECOGNIZED.into());
        }
        let entry = self.subscriber_of(&pur.user, None).await?;
        let several = data.repository.len() > 1;
        let (mut code, mut last) = (base::SUCCESS, None);
        for Repository { service, sequence, data } in data.repository {
            let done = self.update(&entry, &service, sequence, data).await?;
            last = several.then_some((service, sequence));
            code = match done {
                Ok(Updated::Done) => continue,
                Ok(Updated::OutOfSync) => tgpp::TRANSPARENT_DATA_OUT_OF_SYNC,
                Ok(Updated::TooMuch) => tgpp::TOO_MUCH_DATA,
                Ok(Updated::Nothing) => tgpp::OPERATION_NOT_ALLOWED,
                Err(code) => code,
            };
            break;
        }
        let mut writer = self.answer(message, code);
        ProfileUpdateAnswer { repository: last, data: None }.write(&mut writer);
        Ok(writer)
    }

    async fn update(
        &self,
        entry: &Entry,
        service: &str,
        sequence: u16,
        data: Option<String>,
    ) -> Result<Result<Updated, ResultCode>, HssError> {
        if service.is_empty() || service.len() > SERVICE_NAME {
            return Ok(Err(tgpp::USER_DATA_NOT_RECOGNIZED));
        }
        if service != SERVICE {
            return self.hss.update_repository(entry, service, sequence, data).await.map(Ok);
        }
        let new = match data.as_deref().map(repository::read) {
            Some(None) => return Ok(Err(tgpp::USER_DATA_NOT_RECOGNIZED)),
            new => new.flatten(),
        };
        Ok(Ok(self.hss.update_broadcast(entry, sequence, new, self.clock.now())))
    }

    /// SNR
    pub(super) async fn subscribe(&self, message: &Message<'_>, peer: &str) -> Answered {
        permitted(&self.settings.clients.application_servers, peer, tgpp::USER_DATA_CANNOT_BE_NOTIFIED)?;
        let snr = SubscribeRequest::read(message)?;
        recognized(&snr.data)?;
        if !snr.data.iter().all(can_change) {
            return Err(tgpp::USER_DATA_CANNOT_BE_NOTIFIED.into());
        }
        let (host, realm) = origin_of(message)?;
        let entry = self.subscriber_of(&snr.user, None).await?;
        let now = self.clock.now().unix.as_secs();
        let is = |watcher: &Watcher| watcher.host.eq_ignore_ascii_case(&host);
        let numbers: Vec<i32> = snr.data.iter().map(|reference| reference.number()).collect();
        if !snr.subscribes {
            let subscribed = |watcher: &Watcher| is(watcher) && numbers.iter().any(|one| watcher.data.contains(one));
            if !entry.watchers().iter().any(subscribed) {
                return Err(tgpp::NO_SUBSCRIPTION_TO_DATA.into());
            }
            let end = |watchers: &mut Vec<Watcher>| {
                for watcher in watchers.iter_mut().filter(|watcher| is(watcher)) {
                    end(watcher, &numbers, &snr.services);
                }
                watchers.retain(|watcher| is_alive(watcher, now));
            };
            self.hss.watch(&entry, end).await?;
            return Ok(self.answer(message, base::SUCCESS));
        }
        are_named(&snr.data, snr.server.as_deref(), &snr.services)?;
        let (data, services, sets) = (&snr.data, &snr.services, &snr.sets);
        let wanted = Wanted { data, services, sets, server: snr.server.as_deref(), changed: false };
        let held = self.sh_data(&entry, wanted).await?;
        if snr.data.contains(&DataReference::RepositoryData) && held.repository.len() < snr.services.len() {
            return Err(tgpp::SUBS_DATA_ABSENT.into());
        }
        let watcher = Watcher {
            host: host.clone(),
            realm,
            impu: named(&snr.user),
            data: numbers,
            services: snr.services.clone(),
            server: snr.server.clone(),
            until: snr.until.map(|until| until.as_secs()),
            once: snr.once,
        };
        let begin = |watchers: &mut Vec<Watcher>| {
            watchers.retain(|other| is_alive(other, now));
            // What it asked for before it goes on to be told of, under the new terms.
            let mut watcher = watcher.clone();
            for other in watchers.iter().filter(|other| is(other) && other.impu == watcher.impu) {
                watcher.data.extend(other.data.iter().filter(|one| !snr.data.iter().any(|new| new.number() == **one)));
                watcher.services.extend(other.services.iter().filter(|one| !snr.services.contains(one)).cloned());
                watcher.server = watcher.server.or_else(|| other.server.clone());
            }
            watchers.retain(|other| !(is(other) && other.impu == watcher.impu));
            watchers.push(watcher);
        };
        if !self.hss.watch(&entry, begin).await? {
            return Err(base::TOO_BUSY.into());
        }
        let data = (snr.wants_data && !held.is_empty()).then(|| held.write().into_bytes());
        let mut writer = self.answer(message, base::SUCCESS);
        SubscribeAnswer { data, until: snr.until }.write(&mut writer);
        Ok(writer)
    }

    /// What is asked for of a subscriber, as far as there is such.
    pub(super) async fn sh_data(&self, entry: &Entry, wanted: Wanted<'_>) -> Result<ShData, HssError> {
        let subscriber = entry.subscriber();
        let registration = entry.registration();
        let mut data = ShData::default();
        for reference in wanted.data {
            match reference {
                DataReference::RepositoryData => {
                    for service in wanted.services {
                        let held = self.hss.repository(entry, service).await?;
                        let gone = wanted.changed.then_some((0, None));
                        let held = held.map(|(sequence, data)| (sequence, Some(data))).or(gone);
                        let one = held.map(|(sequence, data)| Repository { service: service.clone(), sequence, data });
                        data.repository.extend(one);
                    }
                }
                DataReference::PublicIdentity => {
                    let impus = || Identities { impus: subscriber.impus.to_vec(), msisdns: Vec::new() };
                    if wanted.sets.is_empty() {
                        data.identities.get_or_insert_default().impus = subscriber.impus.to_vec();
                    }
                    for set in wanted.sets {
                        match set {
                            IdentitySet::All => data.all = Some(impus()),
                            IdentitySet::Implicit => data.implicit = Some(impus()),
                            // All are of one service profile and one implicit set.
                            IdentitySet::Alias => data.alias = Some(impus()),
                            IdentitySet::Registered if registration.ims == RegState::Registered => {
                                data.registered = Some(impus());
                            }
                            IdentitySet::Registered => data.registered = Some(Identities::default()),
                        }
                    }
                }
                DataReference::UserState => data.state = Some(user_state(&registration)),
                DataReference::ScscfName => {
                    let name = self.server_name(&registration);
                    data.scscf = name.or_else(|| wanted.changed.then(String::new));
                }
                DataReference::InitialFilterCriteria => {
                    let criteria = self.settings.criteria(subscriber);
                    let of_server = criteria
                        .iter()
                        .filter(|one| wanted.server.is_some_and(|server| one.server.name.eq_ignore_ascii_case(server)));
                    let texts: Vec<_> = of_server.map(|criterion| criterion.to_xml()).collect();
                    data.criteria = (wanted.changed || !texts.is_empty()).then_some(texts);
                }
                DataReference::ChargingInformation => {
                    let owned = |name: Option<&str>| name.map(str::to_owned);
                    data.charging = self.settings.charging(subscriber).map(|charging| Charging {
                        primary_event: owned(charging.event),
                        secondary_event: owned(charging.event_secondary),
                        primary_collection: owned(charging.collection),
                        secondary_collection: owned(charging.collection_secondary),
                    });
                }
                DataReference::Msisdn => {
                    let digits = |impu: &Impu| impu.as_str().strip_prefix("tel:+").map(str::to_owned);
                    let msisdns: Vec<_> = subscriber.impus.iter().filter_map(digits).collect();
                    if !msisdns.is_empty() {
                        data.identities.get_or_insert_default().msisdns = msisdns;
                    }
                }
                DataReference::PrivateIdentity => data.impis = vec![subscriber.impi.clone()],
                DataReference::Other(_) => {}
            }
        }
        Ok(data)
    }
}

/// What is no reference to anything is told from what is not here.
fn recognized(data: &[DataReference]) -> Result<(), ResultCode> {
    match data.iter().all(|reference| reference.is_defined()) {
        true => Ok(()),
        false => Err(tgpp::USER_DATA_NOT_RECOGNIZED),
    }
}

/// Filter criteria are told to whom they name, repository data are those of a service.
fn are_named(data: &[DataReference], server: Option<&str>, services: &[String]) -> Result<(), Fault> {
    if data.contains(&DataReference::InitialFilterCriteria) && server.is_none() {
        return Err(SERVER_NAME.missing());
    }
    if data.contains(&DataReference::RepositoryData) && services.is_empty() {
        return Err(SERVICE_INDICATION.missing());
    }
    Ok(())
}

fn user_state(registration: &Registration) -> ImsUserState {
    match (&registration.serving, registration.ims) {
        (_, RegState::Registered) => ImsUserState::Registered,
        (Some(serving), _) if serving.authenticating => ImsUserState::AuthenticationPending,
        (Some(_), _) => ImsUserState::RegisteredUnregServices,
        (None, _) => ImsUserState::NotRegistered,
    }
}

/// What may be subscribed to (TS 29.328 table 7.6.1).
fn can_change(reference: &DataReference) -> bool {
    use DataReference as Data;
    !matches!(reference, Data::Msisdn | Data::PrivateIdentity | Data::Other(_))
}

fn named(user: &User) -> String {
    match user {
        User::Public(impu) => impu.as_str().to_owned(),
        User::Msisdn(digits) => format!("tel:+{digits}"),
    }
}

/// Takes out of a subscription what it is ended for; without services, all repository data.
fn end(watcher: &mut Watcher, data: &[i32], services: &[String]) {
    let repository = DataReference::RepositoryData.number();
    if data.contains(&repository) && !services.is_empty() {
        watcher.services.retain(|service| !services.contains(service));
    } else if data.contains(&repository) {
        watcher.services.clear();
    }
    watcher.data.retain(|one| !data.contains(one) || *one == repository && !watcher.services.is_empty());
}

pub(super) fn is_alive(watcher: &Watcher, now: u64) -> bool {
    !watcher.data.is_empty() && watcher.until.is_none_or(|until| until > now)
}
