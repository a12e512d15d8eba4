//! What a foreign HSS tells of users who are registered for broadcast (Sh, TS 29.328 §6.1.3, §6.1.4): SNR asks to be told
//! when the broadcast registration in the repository data or the IMS user state changes, PNR tells.
//!
//! A subscription begins when the HSS has been told of a broadcast registration and ends with it. What this node wrote
//! itself comes back too, and is known by its number.

use super::watch::{LASTS, Said, Step};
use super::{Push, Pushed, RemoteHss, verdict};
use crate::answer::Task;
use crate::clock::Now;
use crate::diameter::dictionary::{application, command};
use crate::diameter::fault::{base, tgpp};
use crate::diameter::sh::data::{ShData, ShDataError};
use crate::diameter::sh::{
    DataReference, ImsUserState, PushNotificationRequest, SubscribeAnswer, SubscribeRequest, User,
};
use crate::diameter::{Fault, Message, ResultCode, Writer};
use crate::hss::repository::{self, SERVICE};
use crate::hss::{HssError, RegState};
use crate::identity::Impu;
use crate::xml::XmlError;
use std::sync::Arc;

/// What a change means for a broadcast registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// Somebody else has written that it is over, or deleted it.
    Withdrawn,
    /// The user is not registered with the IMS, as the HSS had it when it wrote this.
    Unregistered,
}

impl RemoteHss {
    /// After the HSS was told of a broadcast registration: whether its changes are to be heard of.
    pub(super) fn attend(&self, impu: &Impu, state: RegState, now: Now) {
        match state {
            RegState::Registered | RegState::Pending => self.watches.want(impu, now.mono),
            RegState::NotRegistered | RegState::Failed => self.watches.end(impu, now.mono),
        }
    }

    /// SNR. What the answer says of the data is news like that of a PNR.
    pub(super) async fn subscribe(&self, impu: &Impu, step: Step, now: Now) -> Option<News> {
        let asked = SubscribeRequest {
            user: User::Public(impu.clone()),
            data: vec![DataReference::RepositoryData, DataReference::UserState],
            services: vec![SERVICE.to_owned()],
            sets: Vec::new(),
            server: None,
            subscribes: step == Step::Subscribe,
            wants_data: step == Step::Subscribe,
            once: false,
            until: (step == Step::Subscribe).then(|| now.unix + LASTS),
        };
        let (said, news) = match self.ask_to_be_told(&asked).await {
            Ok(answer) => {
                let lasts = answer.until.map_or(LASTS, |until| until.saturating_sub(now.unix));
                let told = answer.data.and_then(|document| ShData::parse(&document).ok());
                (Said::Yes(lasts), told.and_then(|told| self.news(impu, &told).ok()))
            }
            Err(HssError::Unavailable(_) | HssError::Busy) => (Said::Away, None),
            Err(why) => {
                tracing::debug!(%impu, %why, "the HSS does not take a subscription to changes");
                (Said::No, None)
            }
        };
        self.watches.answered(impu, step, said, now.mono);
        news.filter(|_| step == Step::Subscribe)
    }

    async fn ask_to_be_told(&self, asked: &SubscribeRequest) -> Result<SubscribeAnswer, HssError> {
        let reply = self.ask(application::SH, command::SUBSCRIBE_NOTIFICATIONS, |writer| asked.write(writer)).await?;
        let answer = reply.message()?;
        verdict::of(&answer)?;
        Ok(SubscribeAnswer::read(&answer)?)
    }

    /// What data mean that the HSS gives. Err: they cannot be read.
    fn news(&self, impu: &Impu, told: &ShData) -> Result<News, ResultCode> {
        let written = told.repository.iter().find(|data| data.service == SERVICE);
        if let Some(written) = written {
            let state = match &written.data {
                Some(data) => Some(repository::read(data).ok_or(tgpp::USER_DATA_NOT_RECOGNIZED)?.state),
                None => None,
            };
            let news = self.repositories.hears(impu, state.map(|_| written.sequence));
            if news && !matches!(state, Some(RegState::Registered | RegState::Pending)) {
                return Ok(News::Withdrawn);
            }
        }
        match told.state {
            Some(ImsUserState::NotRegistered | ImsUserState::RegisteredUnregServices) => Ok(News::Unregistered),
            None if written.is_none() => Err(tgpp::NO_SUBSCRIPTION_TO_DATA),
            _ => Ok(News::None),
        }
    }

    /// Whether the HSS has the user as not registered now: word of that may have been overtaken by a REGISTER.
    async fn has_as_unregistered(&self, impu: &Impu) -> bool {
        match self.sh_data(impu, vec![DataReference::UserState]).await {
            Ok(told) => {
                matches!(told.state, Some(ImsUserState::NotRegistered | ImsUserState::RegisteredUnregServices))
            }
            Err(why) => {
                tracing::warn!(%impu, %why, "whether the user is still registered is not known");
                false
            }
        }
    }
}

impl Pushed {
    /// PNR
    pub(super) fn notice(&self, message: &Message<'_>) -> Result<Writer, Fault> {
        let pnr = PushNotificationRequest::read(message)?;
        let impu = match pnr.user {
            User::Public(impu) => impu,
            User::Msisdn(digits) => Impu::new(format!("tel:+{digits}")),
        };
        if !self.hss.watches.has(&impu) && !self.users.has_public(impu.as_str()) {
            return Ok(self.answered(message, tgpp::USER_UNKNOWN));
        }
        let news = match ShData::parse(&pnr.data) {
            Ok(told) => self.hss.news(&impu, &told),
            Err(ShDataError::Xml(XmlError::TooLarge | XmlError::TooManyNodes)) => Err(tgpp::TOO_MUCH_DATA),
            Err(_) => Err(tgpp::USER_DATA_NOT_RECOGNIZED),
        };
        let code = match news {
            Ok(news) if self.pass_on(impu.clone(), news) => base::SUCCESS,
            Ok(_) => base::TOO_BUSY,
            Err(code) => code,
        };
        tracing::debug!(%impu, ?news, %code, "the HSS tells of a change");
        Ok(self.answered(message, code))
    }

    /// Whether there was room.
    fn pass_on(&self, impu: Impu, news: News) -> bool {
        match news {
            News::None => true,
            News::Withdrawn => self.put(Push::Withdrawn { impu }),
            News::Unregistered => self.put(Push::Unregistered { impu }),
        }
    }

    /// Subscriptions that are due, each a job of its own.
    pub(super) fn subscribe_due(self: &Arc<Self>, now: Now) -> Vec<Task> {
        let job = |(impu, step): (Impu, Step)| -> Task {
            let me = self.clone();
            Box::pin(async move {
                if let Some(news) = me.hss.subscribe(&impu, step, now).await {
                    me.pass_on(impu, news);
                }
            })
        };
        self.hss.watches.due(now.mono).into_iter().map(job).collect()
    }

    /// Whether the HSS still says what [`Push::Unregistered`] was made of.
    pub async fn is_unregistered(&self, impu: &Impu) -> bool {
        self.hss.has_as_unregistered(impu).await
    }
}
