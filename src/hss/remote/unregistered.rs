//! Users who are not registered and to whom requests come (TS 24.229 §5.4.3.3, TS 29.228 §6.1.2): taken up once with SAR
//! UNREGISTERED_USER, kept with their profile for a while after the last request, and given back to the HSS, which goes on
//! naming this S-CSCF as theirs.

use super::{RemoteHss, verdict};
use crate::clock::Now;
use crate::diameter::cx::{Saa, Sar, ServerAssignment};
use crate::diameter::dictionary::{application, command};
use crate::hss::HssError;
use crate::hss::profile::{ImsSubscription, Profile};
use crate::identity::{Impi, Impu};
use dashmap::DashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A user is kept for so long after the last request to him; one or two minutes more may pass.
const KEPT: Duration = Duration::from_secs(600);
/// Whom the HSS does not know it is not asked about again for so long.
const UNKNOWN: Duration = Duration::from_secs(30);
/// Identities of that kind remembered.
const MOST_UNKNOWN: usize = 10_000;

struct Taken {
    /// For whom the request came; may be missing in the profile.
    impu: Impu,
    profile: Arc<Profile>,
    /// On the monotonic clock.
    until: Duration,
}

impl Taken {
    fn impus(&self) -> impl Iterator<Item = &Impu> {
        self.profile.impus.iter().chain(self.profile.barred.iter()).chain([&self.impu])
    }
}

pub(super) struct Unregistered {
    taken: DashMap<Impi, Taken>,
    by_impu: DashMap<Impu, Impi>,
    unknown: DashMap<Impu, Duration>,
    most: usize,
    /// The minute in which those whose time is over were looked for.
    looked: AtomicU64,
}

impl Unregistered {
    pub(super) fn new(most: usize) -> Self {
        Unregistered {
            taken: DashMap::new(),
            by_impu: DashMap::new(),
            unknown: DashMap::new(),
            most,
            looked: AtomicU64::new(0),
        }
    }

    /// What the last answer of the HSS, if it is good yet, says of an identity.
    fn known(&self, impu: &Impu, mono: Duration) -> Option<Result<(), HssError>> {
        let impi = self.by_impu.get(impu.as_str()).map(|impi| impi.clone());
        if let Some(mut taken) = impi.and_then(|impi| self.taken.get_mut(impi.as_str())) {
            taken.until = mono + KEPT;
            return Some(Ok(()));
        }
        let unknown = self.unknown.get(impu.as_str()).is_some_and(|until| *until > mono);
        unknown.then_some(Err(HssError::UserUnknown))
    }

    fn take(&self, impi: &Impi, taken: Taken) {
        self.forget(impi);
        // Whom there is no place for, the HSS is asked about each time.
        if self.taken.len() < self.most {
            taken.impus().for_each(|impu| drop(self.by_impu.insert(impu.clone(), impi.clone())));
            self.taken.insert(impi.clone(), taken);
        }
    }

    fn is_nobody(&self, impu: &Impu, mono: Duration) {
        if self.unknown.len() >= MOST_UNKNOWN {
            self.unknown.retain(|_, until| *until > mono);
        }
        if self.unknown.len() < MOST_UNKNOWN {
            self.unknown.insert(impu.clone(), mono + UNKNOWN);
        }
    }

    /// The user is registered now, or the HSS has ended it. Answers for which identity he was taken up.
    pub(super) fn forget(&self, impi: &Impi) -> Option<Impu> {
        let (_, taken) = self.taken.remove(impi.as_str())?;
        taken.impus().for_each(|impu| drop(self.by_impu.remove_if(impu.as_str(), |_, owner| owner == impi)));
        Some(taken.impu)
    }

    pub(super) fn has(&self, impi: &str) -> bool {
        self.taken.contains_key(impi)
    }

    /// The HSS has changed the profile of somebody who may be one of these.
    pub(super) fn change(&self, impi: &Impi, profile: &Profile) {
        let Some((impu, until)) = self.taken.get(impi.as_str()).map(|taken| (taken.impu.clone(), taken.until)) else {
            return;
        };
        self.take(impi, Taken { impu, profile: Arc::new(profile.clone()), until });
    }

    pub(super) fn profile(&self, impi: &str) -> Option<Arc<Profile>> {
        self.taken.get(impi).map(|taken| taken.profile.clone())
    }

    /// Those whose time is over; they are not kept any more. Looked for once a minute.
    pub(super) fn over(&self, mono: Duration) -> Vec<(Impi, Impu)> {
        let minute = mono.as_secs() / 60;
        if self.looked.fetch_max(minute, Ordering::Relaxed) >= minute {
            return Vec::new();
        }
        let over = self.taken.iter().filter(|taken| taken.until <= mono);
        let over: Vec<Impi> = over.map(|taken| taken.key().clone()).collect();
        over.into_iter().filter_map(|impi| self.forget(&impi).map(|impu| (impi, impu))).collect()
    }
}

impl RemoteHss {
    /// Ok: the user is taken up, now or before.
    pub(super) async fn take_up(&self, impu: &Impu, now: Now) -> Result<(), HssError> {
        if let Some(known) = self.unregistered.known(impu, now.mono) {
            return known;
        }
        let read = self.assign_unregistered(None, impu, ServerAssignment::UnregisteredUser).await;
        match read {
            Ok(Some(read)) => {
                let profile = Arc::new(self.as_profile(&read));
                self.unregistered.take(&read.impi, Taken { impu: impu.clone(), profile, until: now.mono + KEPT });
                Ok(())
            }
            Ok(None) => Err(HssError::Garbled("no user profile".to_owned())),
            Err(why) => {
                if why == HssError::UserUnknown {
                    self.unregistered.is_nobody(impu, now.mono);
                }
                Err(why)
            }
        }
    }

    /// The user is not kept here any more. An HSS that does not know that it may keep the name is told the older way.
    pub(super) async fn give_back(&self, impi: &Impi, impu: &Impu) {
        use ServerAssignment::{TimeoutDeregistration, TimeoutDeregistrationStoreServerName};
        let mut done = self.assign_unregistered(Some(impi), impu, TimeoutDeregistrationStoreServerName).await;
        if let Err(HssError::Refused(_)) = done {
            done = self.assign_unregistered(Some(impi), impu, TimeoutDeregistration).await;
        }
        if let Err(why) = done {
            tracing::debug!(%impi, %why, "the HSS was not told that an unregistered user is not kept any more");
        }
    }

    /// SAR; the profile, if one comes.
    async fn assign_unregistered(
        &self,
        impi: Option<&Impi>,
        impu: &Impu,
        kind: ServerAssignment,
    ) -> Result<Option<ImsSubscription>, HssError> {
        let sar = Sar {
            impi: impi.map(Impi::as_str),
            impus: vec![impu.as_str()],
            wildcard: None,
            server: &self.settings.server,
            kind,
            has_profile: false,
            restoration: None,
            multiple: false,
        };
        let reply = self.ask(application::CX, command::SERVER_ASSIGNMENT, |writer| sar.write(writer)).await?;
        let answer = reply.message()?;
        verdict::of(&answer)?;
        let document = Saa::read(answer.avps())?.user_data;
        let read = document.map(ImsSubscription::parse).transpose();
        read.map_err(|why| HssError::Garbled(why.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, Registered, Script, alice, hss, settings};
    use super::super::{Pushed, Settings};
    use super::*;
    use crate::answer::Answer;
    use crate::diameter::Message;
    use crate::diameter::fault::{base, tgpp};
    use crate::hss::{Assignment, Hss};

    fn kinds(script: &Script) -> Vec<(ServerAssignment, Option<String>)> {
        let read = |(_, octets): &(u32, Vec<u8>)| {
            let message = Message::parse(octets).unwrap();
            let sar = Sar::read(message.avps()).unwrap();
            (sar.kind, sar.impi.map(str::to_owned))
        };
        script.asked().iter().map(read).collect()
    }

    #[test]
    fn a_user_is_taken_up_once_and_given_back_some_time_after_the_last_request() {
        let (script, hss) = hss(settings());
        let (impi, impu) = alice();
        let pushed = Arc::new(Pushed::new(hss.clone(), Registered(&[])));
        let comes = |impu: &Impu, at: u64| hss.serve_unregistered(impu, NOW.after(Duration::from_secs(at))).wait();
        let due = |at: u64| {
            let jobs = pushed.due(NOW.after(Duration::from_secs(at)));
            jobs.into_iter().map(|job| Answer::Later(job).wait()).count()
        };
        script.gives_profile(super::super::tests::PROFILE);
        assert_eq!(comes(&impu, 0), Some(Ok(())));
        assert_eq!(comes(&Impu::from("tel:+1234"), 500), Some(Ok(())), "of the same set");
        assert_eq!(kinds(&script), [(ServerAssignment::UnregisteredUser, None)]);
        assert_eq!(due(650), 0);
        script.says(tgpp::IN_ASSIGNMENT_TYPE, |_| ()).says(base::SUCCESS, |_| ());
        assert_eq!(due(1150), 1);
        let of_alice = || Some(impi.to_string());
        let expected = [
            (ServerAssignment::TimeoutDeregistrationStoreServerName, of_alice()),
            (ServerAssignment::TimeoutDeregistration, of_alice()),
        ];
        assert_eq!(kinds(&script), expected);
        // Anew, and registered before the time is over: nothing is given back.
        script.gives_profile(super::super::tests::PROFILE).gives_profile(super::super::tests::PROFILE);
        assert_eq!(comes(&impu, 1200), Some(Ok(())));
        hss.server_assignment(&impi, &impu, Assignment::Registration, NOW).wait().unwrap();
        assert_eq!(due(5000), 0);
        kinds(&script);
    }

    #[test]
    fn whom_the_hss_does_not_know_is_remembered_for_a_moment() {
        let (script, hss) = hss(settings());
        let (_, impu) = alice();
        let comes = |at: u64| hss.serve_unregistered(&impu, NOW.after(Duration::from_secs(at))).wait();
        script.says(tgpp::USER_UNKNOWN, |_| ()).says(tgpp::USER_UNKNOWN, |_| ());
        assert_eq!([comes(0), comes(29), comes(30)], [0; 3].map(|_| Some(Err(HssError::UserUnknown))));
        assert_eq!(kinds(&script).len(), 2);
        let (_, hss) = super::super::tests::hss(Settings { cx: false, ..settings() });
        assert_eq!(hss.serve_unregistered(&impu, NOW).wait(), None, "over Cx alone");
    }
}
