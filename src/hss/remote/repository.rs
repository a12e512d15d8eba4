//! The broadcast registration in a foreign HSS (Sh, TS 29.328 §6.1): repository data written with PUR, read with UDR.
//!
//! A change carries the number after the one that the HSS has. It is remembered; where it is not right, because another
//! node wrote or this one has restarted, it is read from the HSS and the change sent again.

use super::{RemoteHss, verdict};
use crate::clock::Now;
use crate::diameter::dictionary::{application, command};
use crate::diameter::fault::tgpp;
use crate::diameter::sh::data::{Repository, ShData};
use crate::diameter::sh::{DataReference, ImsUserState, ProfileUpdateRequest, User, UserDataAnswer, UserDataRequest};
use crate::hss::repository::{self, SERVICE};
use crate::hss::{BroadcastState, BroadcastSubscription, HssError, RegState, UserData};
use crate::identity::{Impi, Impu};
use crate::shelf::Map;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a change is sent with another number before somebody else is left the field.
const TRIES: usize = 3;

#[derive(Clone, Copy)]
struct Known {
    /// The number that the HSS has; None: it has no data yet.
    sequence: Option<u16>,
    /// The number of a change that the HSS has not answered.
    writing: Option<u16>,
    /// Of the latest change that this node began.
    change: u64,
}

/// Whether a number is a later one: they go round (TS 29.328 §6.1.2.1), and 0 is that of data made anew.
fn is_after(sequence: u16, held: u16) -> bool {
    sequence != held && (sequence == 0 || sequence.wrapping_sub(held) < 1 << 15)
}

/// What is known of the repository data of public identities.
pub(super) struct Repositories {
    known: Map<Impu, Known>,
    most: usize,
    changes: AtomicU64,
}

impl Repositories {
    pub(super) fn new(most: usize) -> Self {
        Repositories { known: Map::default(), most, changes: AtomicU64::new(0) }
    }

    /// A change begins; with its number the sequence that the HSS had, if that is known.
    fn begin(&self, impu: &Impu) -> (u64, Option<u16>) {
        let change = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
        if self.known.len() >= self.most && !self.known.contains_key(impu.as_str()) {
            // What is forgotten is read again.
            self.known.clear();
        }
        let mut known = self.known.entry(impu.clone()).or_insert(Known { sequence: None, writing: None, change });
        known.change = change;
        (change, known.sequence)
    }

    fn writes(&self, impu: &Impu, sequence: u16) {
        if let Some(mut known) = self.known.get_mut(impu.as_str()) {
            known.writing = Some(sequence);
        }
    }

    fn learn(&self, impu: &Impu, sequence: Option<u16>) {
        if let Some(mut known) = self.known.get_mut(impu.as_str()) {
            known.sequence = sequence;
            known.writing = None;
        }
    }

    /// The HSS tells of data with this number, or that there are none any more. False: this node wrote them, or knows
    /// newer ones.
    pub(super) fn hears(&self, impu: &Impu, sequence: Option<u16>) -> bool {
        let Some(mut known) = self.known.get_mut(impu.as_str()) else { return true };
        let news = match sequence {
            Some(_) if known.writing == sequence => false,
            Some(sequence) => known.sequence.is_none_or(|held| is_after(sequence, held)),
            // This node deletes nothing; but it may be making them anew.
            None => known.writing.is_none(),
        };
        if news {
            known.sequence = sequence;
        }
        news
    }

    /// A later change has begun: this one is not to overwrite it.
    fn is_overtaken(&self, impu: &Impu, change: u64) -> bool {
        self.known.get(impu.as_str()).is_some_and(|known| known.change != change)
    }
}

impl RemoteHss {
    pub(super) async fn write_registration(
        &self,
        impu: &Impu,
        state: BroadcastState,
        now: Now,
    ) -> Result<(), HssError> {
        let (change, sequence) = self.repositories.begin(impu);
        let told = self.update_repository(impu, &state, change, sequence).await;
        // Also where it could not be told: what comes of the registration is the HSS's to say all the same.
        if !self.repositories.is_overtaken(impu, change) {
            self.attend(impu, state.state, now);
        }
        told
    }

    async fn update_repository(
        &self,
        impu: &Impu,
        state: &BroadcastState,
        change: u64,
        mut sequence: Option<u16>,
    ) -> Result<(), HssError> {
        for attempt in 0..TRIES {
            if attempt > 0 && self.repositories.is_overtaken(impu, change) {
                return Ok(());
            }
            let next = sequence.map_or(0, repository::next);
            self.repositories.writes(impu, next);
            let data = Repository { service: SERVICE.into(), sequence: next, data: Some(repository::write(state)) };
            let document = ShData { repository: vec![data], ..ShData::default() }.write();
            let update = ProfileUpdateRequest {
                user: User::Public(impu.clone()),
                data: vec![DataReference::RepositoryData],
                user_data: document.into_bytes(),
            };
            let reply = self.ask(application::SH, command::PROFILE_UPDATE, |writer| update.write(writer)).await?;
            let answer = reply.message()?;
            if !matches!(answer.result()?, tgpp::TRANSPARENT_DATA_OUT_OF_SYNC | tgpp::PRIOR_UPDATE_IN_PROGRESS) {
                verdict::of(&answer)?;
                self.repositories.learn(impu, Some(next));
                return Ok(());
            }
            let held = self.sh_data(impu, vec![DataReference::RepositoryData]).await?;
            sequence = held.repository.iter().find(|data| data.service == SERVICE).map(|data| data.sequence);
            self.repositories.learn(impu, sequence);
        }
        Err(HssError::Refused("the repository data change all the time".to_owned()))
    }

    pub(super) async fn sh_data(&self, impu: &Impu, data: Vec<DataReference>) -> Result<ShData, HssError> {
        let asked = UserDataRequest {
            user: User::Public(impu.clone()),
            data,
            services: vec![SERVICE.to_owned()],
            sets: Vec::new(),
            server: None,
            impi: None,
        };
        let reply = self.ask(application::SH, command::USER_DATA, |writer| asked.write(writer)).await?;
        let answer = reply.message()?;
        match answer.result()? {
            // Nothing is there yet.
            tgpp::SUBS_DATA_ABSENT | tgpp::USER_DATA_NOT_AVAILABLE => return Ok(ShData::default()),
            _ => verdict::of(&answer)?,
        };
        match UserDataAnswer::read(&answer).data {
            Some(document) => ShData::parse(&document).map_err(|why| HssError::Garbled(why.to_string())),
            None => Ok(ShData::default()),
        }
    }

    /// UDR by a public identity. What Sh does not tell comes from the profile, if the user is registered here.
    pub(super) async fn read_user(&self, impu: Impu) -> Result<UserData, HssError> {
        let wanted = vec![DataReference::RepositoryData, DataReference::PublicIdentity, DataReference::UserState];
        let told = self.sh_data(&impu, wanted).await?;
        let derived = || Impi::from(impu.as_str().strip_prefix("sip:").unwrap_or(impu.as_str()));
        let impi = told.impis.first().cloned().unwrap_or_else(derived);
        let held = self.profiles.get(impi.as_str());
        let impus = told.identities.map(|told| told.impus).filter(|impus| !impus.is_empty());
        let data = told.repository.iter().find(|data| data.service == SERVICE).and_then(|data| data.data.as_deref());
        Ok(UserData {
            impus: match (impus, &held) {
                (Some(impus), _) => impus.into(),
                (None, Some(held)) => held.impus.clone(),
                (None, None) => [impu.clone()].into(),
            },
            broadcast: held.map_or(BroadcastSubscription::None, |held| held.broadcast.clone()),
            ims: match told.state {
                Some(ImsUserState::Registered) => RegState::Registered,
                Some(ImsUserState::AuthenticationPending) => RegState::Pending,
                _ => RegState::NotRegistered,
            },
            ims_since: None,
            // Since when, repository data do not tell.
            registration: data.and_then(repository::read).map(|state| (state, 0)),
            impi,
        })
    }
}
