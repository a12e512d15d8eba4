//! What an HSS begins (TS 29.228 §6.1.3, §6.2): RTR ends registrations, PPR changes profiles, and PNR tells of changes
//! (`notified`). Answered here at once; what follows from it at the S-CSCF or the broadcast server is handed to a worker
//! ([`Pushed::take`]).

use super::{RemoteHss, Settings};
use crate::answer::{Answer, Task};
use crate::clock::Now;
use crate::diameter::cx::{Features, Ppr, Rta, Rtr};
use crate::diameter::dictionary::{application, command};
use crate::diameter::exchange::{Request, Serve};
use crate::diameter::fault::{ResultCode, base, tgpp};
use crate::diameter::{Fault, Message, Writer, answer_to, refusal_of};
use crate::hss::profile::{ImsSubscription, NotAProfile, Profile};
use crate::identity::{Impi, Impu};
use crate::xml::XmlError;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What the S-CSCF is to do, or the broadcast server of a node that is nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// These users are not registered any more; none of `impus`: all of theirs, else those who have one of them.
    End { impis: Vec<Impi>, impus: Vec<Impu>, reason: &'static str },
    /// This user has a changed profile ([`Pushed::profile`]).
    Profile { impi: Impi },
    /// The broadcast registration of this identity is over, say the HSS's data.
    Withdrawn { impu: Impu },
    /// The HSS has said that this identity is not registered ([`Pushed::is_unregistered`]): the broadcast registration ends.
    Unregistered { impu: Impu },
}

/// Whom this node, or another one on its store, may have as a user.
pub trait Users: Send + Sync {
    fn has_private(&self, impi: &str) -> bool;

    fn has_public(&self, impu: &str) -> bool;
}

/// The clients' side of Cx and Sh.
pub struct Pushed {
    pub(super) hss: Arc<RemoteHss>,
    pub(super) users: Box<dyn Users>,
    queue: Mutex<VecDeque<Push>>,
    wake: OnceLock<Wake>,
}

type Wake = Box<dyn Fn() + Send + Sync>;

/// Pushes that wait for the S-CSCF; an HSS that sends more is told that this is too many.
const WAITING: usize = 10_000;

impl Pushed {
    pub fn new(hss: Arc<RemoteHss>, users: impl Users + 'static) -> Self {
        Pushed { hss, users: Box::new(users), queue: Mutex::default(), wake: OnceLock::new() }
    }

    /// `wake` is called whenever something has come; the first caller's counts. It must not wait.
    pub fn tell(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// What has come since, in order.
    pub fn take(&self) -> Vec<Push> {
        self.queue().drain(..).collect()
    }

    /// The user's profile as the HSS told it last, if he is registered.
    pub fn profile(&self, impi: &Impi) -> Option<Profile> {
        self.hss.profiles.get(impi.as_str()).map(|held| Profile::clone(&held))
    }

    /// What is due with the HSS, each a job of its own: subscriptions, users who are not registered and were not asked
    /// for any more, and vectors of those who have used their last one.
    pub fn due(self: &Arc<Self>, now: Now) -> Vec<Task> {
        let mut jobs = self.subscribe_due(now);
        for (impi, impu) in self.hss.vectors.wanted() {
            let hss = self.hss.clone();
            jobs.push(Box::pin(async move { hss.restock(impi, impu, now).await }));
        }
        for (impi, impu) in self.hss.unregistered.over(now.mono) {
            // Who is registered by now, or may be so at another node, is not to be ended.
            if !self.users.has_private(impi.as_str()) {
                let hss = self.hss.clone();
                jobs.push(Box::pin(async move { hss.give_back(&impi, &impu).await }));
            }
        }
        jobs
    }

    /// Gives back what is over.
    pub fn maintain(&self, now: Now) {
        self.hss.maintain(now);
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Push>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room.
    pub(super) fn put(&self, push: Push) -> bool {
        let mut queue = self.queue();
        let room = queue.len() < WAITING;
        if room {
            queue.push_back(push);
        }
        drop(queue);
        self.wake.get().filter(|_| room).into_iter().for_each(|wake| wake());
        room
    }

    fn is_known(&self, impi: &str) -> bool {
        self.hss.profiles.has(impi) || self.hss.unregistered.has(impi) || self.users.has_private(impi)
    }

    pub(super) fn answered(&self, message: &Message<'_>, code: ResultCode) -> Writer {
        answer_to(message, code, &self.hss.settings.origin)
    }

    fn refused(&self, message: &Message<'_>, fault: &Fault) -> Writer {
        refusal_of(message, fault, &self.hss.settings.origin)
    }

    fn answer(&self, message: &Message<'_>) -> Option<Writer> {
        let act = match (message.header().application, message.header().command) {
            (application::CX, command::REGISTRATION_TERMINATION) => Self::end,
            (application::CX, command::PUSH_PROFILE) => Self::change,
            (application::SH, command::PUSH_NOTIFICATION) => Self::notice,
            _ => return None,
        };
        let answer = match Features::of(message) {
            // None is needed here (TS 29.229 §7.2.1).
            Ok(features) if features.iter().any(|one| one.required) => {
                let mut answer = self.answered(message, tgpp::FEATURE_UNSUPPORTED);
                Features::offered(0).write(&mut answer);
                Ok(answer)
            }
            Ok(_) => act(self, message),
            Err(fault) => Err(fault),
        };
        Some(answer.unwrap_or_else(|fault| self.refused(message, &fault)))
    }

    fn end(&self, message: &Message<'_>) -> Result<Writer, Fault> {
        let rtr = Rtr::read(message.avps())?;
        let named = std::iter::once(rtr.impi).chain(rtr.associated.iter().copied());
        let impis: Vec<Impi> = named.filter(|impi| self.is_known(impi)).map(Impi::from).collect();
        if impis.is_empty() {
            return Ok(self.answered(message, tgpp::USER_UNKNOWN));
        }
        let push = Push::End {
            impis: impis.clone(),
            impus: rtr.impus.iter().map(|impu| Impu::from(*impu)).collect(),
            reason: rtr.reason.as_str(),
        };
        if !self.put(push) {
            return Ok(self.answered(message, base::TOO_BUSY));
        }
        let meant = |held: &Profile| rtr.impus.is_empty() || rtr.impus.iter().any(|impu| held.has(&Impu::from(*impu)));
        for impi in &impis {
            let ends = self.hss.profiles.get(impi.as_str()).is_none_or(|held| meant(&held));
            if ends {
                self.hss.forget(impi);
            }
        }
        tracing::info!(impi = rtr.impi, reason = rtr.reason.as_str(), info = rtr.info, "the HSS ends a registration");
        let mut answer = self.answered(message, base::SUCCESS);
        let associated = rtr.associated.into_iter().filter(|impi| impis.iter().any(|known| known.as_str() == *impi));
        Rta { associated: associated.collect() }.write(&mut answer);
        Ok(answer)
    }

    fn change(&self, message: &Message<'_>) -> Result<Writer, Fault> {
        let ppr = Ppr::read(message.avps())?;
        if !self.is_known(ppr.impi) {
            return Ok(self.answered(message, tgpp::USER_UNKNOWN));
        }
        let impi = Impi::from(ppr.impi);
        if ppr.item.is_some() {
            self.hss.vectors.forget(&impi);
        }
        let Some(document) = ppr.user_data else { return Ok(self.answered(message, base::SUCCESS)) };
        let profile = match ImsSubscription::parse(document) {
            Ok(read) => self.hss.as_profile(&read),
            Err(why) => {
                tracing::warn!(%impi, %why, "a changed profile cannot be read");
                let too_large = matches!(why, NotAProfile::Xml(XmlError::TooLarge | XmlError::TooManyNodes));
                let code = if too_large { tgpp::TOO_MUCH_DATA } else { tgpp::NOT_SUPPORTED_USER_DATA };
                return Ok(self.answered(message, code));
            }
        };
        if profile.impus.is_empty() {
            return Ok(self.answered(message, tgpp::NOT_SUPPORTED_USER_DATA));
        }
        let broadcast = profile.broadcast.is_subscribed();
        // One who is not registered has his profile kept elsewhere; he may be about to register.
        let unregistered = self.hss.unregistered.has(impi.as_str());
        if unregistered {
            self.hss.unregistered.change(&impi, &profile);
        }
        if !unregistered || self.hss.profiles.has(impi.as_str()) {
            self.hss.profiles.change(&impi, profile);
        }
        // Carried out with the profile that is held by then.
        if !self.put(Push::Profile { impi: impi.clone() }) {
            return Ok(self.answered(message, base::TOO_BUSY));
        }
        tracing::info!(%impi, broadcast, "the HSS changes a profile");
        Ok(self.answered(message, base::SUCCESS))
    }
}

impl Serve for Pushed {
    fn applications(&self) -> Vec<u32> {
        let Settings { cx, sh, .. } = &self.hss.settings;
        [(application::CX, *cx), (application::SH, *sh)].into_iter().filter(|one| one.1).map(|one| one.0).collect()
    }

    fn serve(self: Arc<Self>, request: Request) -> Answer<'static, Option<Writer>> {
        Answer::now(request.message().ok().and_then(|message| self.answer(&message)))
    }
}
