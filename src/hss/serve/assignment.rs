//! Who serves a user (TS 29.228 §6.1.2): the rules alone.

use crate::auth::challenge::REG_AWAIT_AUTH;
use crate::clock::{Date, Now};
use crate::diameter::ResultCode;
use crate::diameter::cx::ServerAssignment;
use crate::diameter::fault::{base, tgpp};
use crate::hss::RegState;
use crate::hss::embedded::{Next, Registration, Serving};

/// The S-CSCF that asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub scscf: &'a str,
    pub host: &'a str,
    pub realm: &'a str,
}

/// What an assignment makes necessary.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The profile goes to the S-CSCF.
    pub profile: bool,
    /// What the S-CSCF kept here before, to go on with.
    pub restoration: Option<Vec<u8>>,
    /// Who served the user before, and is told.
    pub moved: Option<Box<Serving>>,
}

impl Asking<'_> {
    fn serves(&self, serving: &Serving) -> bool {
        serving.scscf.eq_ignore_ascii_case(self.scscf)
    }

    fn is_next(&self, serving: &Serving, now: Now) -> bool {
        next(serving, now).is_some_and(|next| next.eq_ignore_ascii_case(self.scscf))
    }

    fn serving(&self, authenticating: bool, restoration: Option<Vec<u8>>) -> Option<Box<Serving>> {
        Some(Box::new(Serving {
            scscf: self.scscf.to_owned(),
            host: self.host.to_owned(),
            realm: self.realm.to_owned(),
            authenticating,
            reassign: false,
            next: None,
            restoration,
        }))
    }
}

/// The S-CSCF that authenticates the user now, in the place of the one that serves him.
pub(super) fn next(serving: &Serving, now: Now) -> Option<&str> {
    serving.next.as_ref().filter(|next| next.until > now.unix.as_secs()).map(|next| next.scscf.as_str())
}

/// A user is being authenticated: the S-CSCF that does so is remembered, so that the next REGISTER finds it (TS 29.228 §8.1).
/// Whoever serves the user meanwhile goes on: only who registers him takes his place.
pub(super) fn authenticate(registration: &mut Registration, asking: Asking<'_>, now: Now) {
    match &mut registration.serving {
        Some(serving) if !serving.authenticating => {
            let until = (now.unix + REG_AWAIT_AUTH).as_secs();
            serving.next = (!asking.serves(serving)).then(|| Next { scscf: asking.scscf.to_owned(), until });
        }
        Some(serving) if asking.serves(serving) => {}
        _ if registration.ims == RegState::Registered => {} // this node's own S-CSCF has him
        _ => registration.serving = asking.serving(true, None),
    }
}

/// `restoration`: what the S-CSCF wants kept.
pub(super) fn assign(
    registration: &mut Registration,
    kind: ServerAssignment,
    asking: Asking<'_>,
    restoration: Option<&[u8]>,
    now: Now,
) -> Result<Outcome, ResultCode> {
    use ServerAssignment as Kind;
    let registered = registration.ims == RegState::Registered;
    let same = registration.serving.as_ref().is_some_and(|serving| asking.serves(serving));
    match kind {
        Kind::Registration | Kind::ReRegistration | Kind::UnregisteredUser => {
            if kind == Kind::UnregisteredUser && registered && same {
                return Err(tgpp::IN_ASSIGNMENT_TYPE);
            }
            let held = match &registration.serving {
                None => registered, // this node's own S-CSCF has him
                Some(serving) => !same && !serving.authenticating && !serving.reassign && !asking.is_next(serving, now),
            };
            if held {
                return Err(tgpp::IDENTITY_ALREADY_REGISTERED);
            }
            let old = registration.serving.take();
            let kept = old.as_ref().and_then(|old| old.restoration.clone());
            let new = restoration.map(<[u8]>::to_vec);
            registration.serving = asking.serving(false, new.clone().or_else(|| kept.clone()));
            let state = match kind {
                Kind::UnregisteredUser => RegState::NotRegistered,
                _ => RegState::Registered,
            };
            set(registration, state, now);
            // The same node by another name has not lost him (TS 29.228 §8.1.1).
            let moved = old.filter(|old| !same && !old.authenticating && !old.host.eq_ignore_ascii_case(asking.host));
            Ok(Outcome { profile: true, restoration: kept.filter(|_| new.is_none()), moved })
        }
        Kind::TimeoutDeregistration
        | Kind::UserDeregistration
        | Kind::AdministrativeDeregistration
        | Kind::DeregistrationTooMuchData
        | Kind::TimeoutDeregistrationStoreServerName
        | Kind::UserDeregistrationStoreServerName => {
            let stores =
                matches!(kind, Kind::TimeoutDeregistrationStoreServerName | Kind::UserDeregistrationStoreServerName);
            if !same {
                // Who has nobody here has ended him already.
                let nobody = registration.serving.is_none() && !registered;
                return if nobody { Ok(Outcome::default()) } else { Err(base::UNABLE_TO_COMPLY) };
            }
            registration.serving = if stores { asking.serving(false, None) } else { None };
            set(registration, RegState::NotRegistered, now);
            Ok(Outcome::default())
        }
        Kind::NoAssignment | Kind::Restoration => {
            let reassigned = registration.serving.as_ref().is_some_and(|serving| serving.reassign);
            if !(same || kind == Kind::Restoration && reassigned) {
                return Err(base::UNABLE_TO_COMPLY);
            }
            let mut held = registration.serving.as_mut();
            if let (Some(held), Some(new)) = (&mut held, restoration.filter(|_| same)) {
                held.restoration = Some(new.to_vec());
            }
            let kept = held.and_then(|held| held.restoration.clone());
            Ok(Outcome { profile: true, restoration: kept.filter(|_| restoration.is_none()), moved: None })
        }
        // Whom a stranger fails to be stays as he is.
        Kind::AuthenticationFailure | Kind::AuthenticationTimeout => {
            match &mut registration.serving {
                Some(serving) if same && serving.authenticating => registration.serving = None,
                Some(serving) if asking.is_next(serving, now) => serving.next = None,
                _ => {}
            }
            Ok(Outcome::default())
        }
        // Of an AAA server's interface (SWx).
        Kind::AaaUserDataRequest | Kind::PgwUpdate => Err(tgpp::IN_ASSIGNMENT_TYPE),
    }
}

fn set(registration: &mut Registration, state: RegState, now: Now) {
    if registration.ims != state {
        registration.ims = state;
        registration.ims_since = Date::new(now.unix.as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServerAssignment as Kind;
    use std::time::Duration;

    const NOW: Now = Now { mono: Duration::from_secs(1), unix: Duration::from_secs(1_795_000_000) };
    const A: Asking<'_> = Asking { scscf: "sip:a.home1.net", host: "a", realm: "home1.net" };
    const B: Asking<'_> = Asking { scscf: "sip:b.home1.net", host: "b", realm: "home1.net" };

    fn registered(by: Asking<'_>) -> Registration {
        let mut registration = Registration::default();
        authenticate(&mut registration, by, NOW);
        assign(&mut registration, Kind::Registration, by, Some(b"kept"), NOW).unwrap();
        registration
    }

    fn code(registration: &mut Registration, kind: Kind, by: Asking<'_>) -> Option<ResultCode> {
        assign(registration, kind, by, None, NOW).err()
    }

    #[test]
    fn who_authenticates_serves_and_who_fails_does_not() {
        for (kind, serves) in [(Kind::AuthenticationTimeout, false), (Kind::AuthenticationFailure, false)] {
            let mut registration = Registration::default();
            authenticate(&mut registration, A, NOW);
            assert!(registration.serving.as_ref().is_some_and(|serving| serving.authenticating));
            assert_eq!(code(&mut registration, kind, B), None, "of another it says nothing");
            assert!(registration.serving.is_some());
            assert_eq!(code(&mut registration, kind, A), None);
            assert_eq!(registration.serving.is_some(), serves);
        }
        let mut registration = registered(A);
        authenticate(&mut registration, B, NOW);
        assert_eq!(registration.ims, RegState::Registered);
        assert_eq!(code(&mut registration, Kind::AuthenticationFailure, B), None);
        assert_eq!(registration, registered(A), "a stranger changes nothing of who is registered");
    }

    #[test]
    fn a_served_user_is_nobody_elses() {
        let mut registration = registered(A);
        let already = Some(tgpp::IDENTITY_ALREADY_REGISTERED);
        for kind in [Kind::Registration, Kind::ReRegistration, Kind::UnregisteredUser] {
            assert_eq!(code(&mut registration, kind, B), already);
        }
        for kind in [Kind::UserDeregistration, Kind::AdministrativeDeregistration, Kind::NoAssignment] {
            assert_eq!(code(&mut registration, kind, B), Some(base::UNABLE_TO_COMPLY));
        }
        assert_eq!(code(&mut registration, Kind::UnregisteredUser, A), Some(tgpp::IN_ASSIGNMENT_TYPE));
        assert_eq!(code(&mut registration, Kind::PgwUpdate, A), Some(tgpp::IN_ASSIGNMENT_TYPE));
        assert_eq!(registration, registered(A));
        let mut own = Registration { ims: RegState::Registered, ..Registration::default() };
        assert_eq!(code(&mut own, Kind::Registration, B), already, "this node's own S-CSCF has him");
        assert_eq!(code(&mut own, Kind::UserDeregistration, B), Some(base::UNABLE_TO_COMPLY));
    }

    #[test]
    fn who_does_not_answer_is_replaced_and_told() {
        let mut registration = registered(A);
        registration.serving.as_mut().unwrap().reassign = true;
        let restored = assign(&mut registration, Kind::Restoration, B, None, NOW).unwrap();
        assert_eq!(restored.restoration.as_deref(), Some(&b"kept"[..]));
        let outcome = assign(&mut registration, Kind::Registration, B, None, NOW).unwrap();
        assert_eq!(outcome.moved.unwrap().host, "a");
        assert_eq!(outcome.restoration.as_deref(), Some(&b"kept"[..]));
        assert_eq!(registration.serving.as_ref().unwrap().host, "b");
        assert_eq!(registration.ims, RegState::Registered);
    }

    #[test]
    fn who_has_authenticated_a_user_may_register_him() {
        let mut registration = registered(A);
        authenticate(&mut registration, B, NOW);
        let c = Asking { scscf: "sip:c.home1.net", host: "c", realm: "home1.net" };
        assert_eq!(code(&mut registration, Kind::Registration, c), Some(tgpp::IDENTITY_ALREADY_REGISTERED));
        let outcome = assign(&mut registration, Kind::Registration, B, None, NOW).unwrap();
        assert_eq!(outcome.moved.unwrap().host, "a");
        assert_eq!(registration.serving.as_ref().unwrap().scscf, B.scscf);
        // In time: who only bootstraps at B stays with A.
        let mut registration = registered(A);
        authenticate(&mut registration, B, NOW);
        let later = Now { unix: NOW.unix + REG_AWAIT_AUTH, ..NOW };
        let late = assign(&mut registration, Kind::Registration, B, None, later);
        assert_eq!(late.err(), Some(tgpp::IDENTITY_ALREADY_REGISTERED));
        assert_eq!(next(registration.serving.as_ref().unwrap(), later), None);
        // Whom the old one serves on is his again.
        let mut registration = registered(A);
        authenticate(&mut registration, B, NOW);
        assert_eq!(code(&mut registration, Kind::ReRegistration, A), None);
        assert_eq!(code(&mut registration, Kind::Registration, B), Some(tgpp::IDENTITY_ALREADY_REGISTERED));
        // One that has begun anew by another name is not told that he is gone.
        let renamed = Asking { scscf: "sip:a.home1.net:6061", ..A };
        authenticate(&mut registration, renamed, NOW);
        assert_eq!(assign(&mut registration, Kind::Registration, renamed, None, NOW).unwrap().moved, None);
    }

    #[test]
    fn deregistration_ends_or_leaves_the_name() {
        let mut registration = registered(A);
        assert_eq!(code(&mut registration, Kind::UserDeregistrationStoreServerName, A), None);
        assert_eq!(registration.ims, RegState::NotRegistered);
        assert!(registration.serving.as_ref().is_some_and(|serving| serving.restoration.is_none()));
        assert_eq!(code(&mut registration, Kind::TimeoutDeregistration, A), None);
        assert!(registration.serving.is_none());
        assert_eq!(code(&mut registration, Kind::TimeoutDeregistration, A), None, "once more does no harm");
        assert_eq!(code(&mut registration, Kind::UnregisteredUser, B), None);
        assert_eq!((registration.ims, registration.serving.unwrap().host), (RegState::NotRegistered, "b".to_owned()));
    }

    #[test]
    fn what_is_kept_for_an_scscf_comes_back_to_it() {
        let mut registration = registered(A);
        let kept = |outcome: Outcome| outcome.restoration;
        let asked = assign(&mut registration, Kind::NoAssignment, A, None, NOW).unwrap();
        assert!(asked.profile);
        assert_eq!(kept(asked).as_deref(), Some(&b"kept"[..]));
        assert_eq!(kept(assign(&mut registration, Kind::ReRegistration, A, Some(b"new"), NOW).unwrap()), None);
        let asked = assign(&mut registration, Kind::ReRegistration, A, None, NOW).unwrap();
        assert_eq!(kept(asked).as_deref(), Some(&b"new"[..]));
    }
}
