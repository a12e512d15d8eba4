//! The HSS of a test: subscribers in memory, real vectors, and a list of what it was asked.

use crate::aka::resync;
use crate::aka::sqn::Sqn;
use crate::aka::vector::{Amf, Auts, Rand};
use crate::aka::{Algorithm, KeySet};
use crate::answer::Answer;
use crate::clock::Now;
use crate::hss::{Assignment, AuthItem, AuthScheme, BroadcastState, BroadcastSubscription, Hss, HssError, Profile};
use crate::identity::{Impi, Impu};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Test set 1 of TS 35.207: every card of a test has these.
const K: [u8; 16] = [0x46, 0x5b, 0x5c, 0xe8, 0xb1, 0x99, 0xb4, 0x9f, 0xaa, 0x5f, 0x0a, 0x2e, 0xe2, 0x38, 0xa6, 0xbc];
const OPC: [u8; 16] = [0xcd, 0x63, 0xcb, 0x71, 0x95, 0x4a, 0x9f, 0x4e, 0x48, 0xa5, 0x99, 0x4e, 0x37, 0xa0, 0x2b, 0xaf];

/// The keys of every card.
pub fn card_keys() -> Option<KeySet> {
    KeySet::from_opc(Algorithm::Milenage, &K, &OPC).ok()
}

#[derive(Debug, Clone)]
pub struct User {
    pub impus: Vec<Impu>,
    pub broadcast: BroadcastSubscription,
}

#[derive(Default)]
struct Store {
    users: BTreeMap<String, User>,
    asked: Vec<String>,
    seq: u64,
    random: u64,
    down: bool,
}

#[derive(Default)]
pub struct TestHss(Mutex<Store>);

impl TestHss {
    /// The RANDs follow from it.
    pub fn set_seed(&self, seed: u64) {
        self.store().random = seed;
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, impi: &str, user: User) {
        self.store().users.insert(impi.to_owned(), user);
    }

    pub fn set_down(&self, down: bool) {
        self.store().down = down;
    }

    /// Changes what a subscriber may receive; false if there is none.
    pub fn set_broadcast(&self, impi: &str, broadcast: BroadcastSubscription) -> bool {
        match self.store().users.get_mut(impi) {
            Some(user) => {
                user.broadcast = broadcast;
                true
            }
            None => false,
        }
    }

    /// What it was asked since the last time, by the names of Cx and Sh.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.store().asked)
    }

    fn question(&self, what: impl Into<String>) -> Result<MutexGuard<'_, Store>, HssError> {
        let mut store = self.store();
        store.asked.push(what.into());
        if store.down { Err(HssError::Unavailable("down".into())) } else { Ok(store) }
    }
}

impl Store {
    fn profile(&self, impi: &Impi, impu: &Impu) -> Result<Profile, HssError> {
        let user = self.users.get(impi.as_str()).ok_or(HssError::UserUnknown)?;
        if !user.impus.contains(impu) {
            return Err(HssError::IdentitiesDontMatch);
        }
        Ok(Profile::new(user.impus.clone(), user.broadcast.clone()))
    }

    /// splitmix64: the same seed, the same challenges.
    fn rand(&mut self) -> Rand {
        let mut octets = [0; 16];
        for half in octets.chunks_exact_mut(8) {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            half.copy_from_slice(&(mixed ^ (mixed >> 27)).to_be_bytes());
        }
        Rand(octets)
    }
}

impl Hss for TestHss {
    fn multimedia_auth<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        _: AuthScheme,
        resync: Option<(Rand, Auts)>,
        _: Now,
    ) -> Answer<'a, Result<AuthItem, HssError>> {
        Answer::now((|| {
            let mut store = self.question("MAR")?;
            store.profile(impi, impu)?;
            let keys = card_keys().ok_or(HssError::NoVector("the keys of the tests are no keys"))?;
            if let Some((rand, auts)) = resync {
                store.seq = resync::sqn_ms(&keys, &rand, &auts).map_err(|_| HssError::ResyncRefused)?.seq();
            }
            store.seq = store.seq.saturating_add(1);
            let sqn = Sqn::from_parts(store.seq, 0).ok_or(HssError::NoVector("the SQNs are used up"))?;
            let rand = store.rand();
            Ok(AuthItem::Aka(keys.generate(rand, sqn, Amf([0, 0]))))
        })())
    }

    fn server_assignment<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        kind: Assignment,
        _: Now,
    ) -> Answer<'a, Result<Profile, HssError>> {
        let what = match kind {
            Assignment::Registration => "SAR registration",
            Assignment::ReRegistration => "SAR re-registration",
            Assignment::UnregisteredUser => "SAR unregistered-user",
            Assignment::UserDeregistration => "SAR user-deregistration",
            Assignment::TimeoutDeregistration => "SAR timeout-deregistration",
            Assignment::AdministrativeDeregistration => "SAR administrative-deregistration",
            Assignment::AuthenticationFailure => "SAR authentication-failure",
            Assignment::AuthenticationTimeout => "SAR authentication-timeout",
        };
        Answer::now(self.question(what).and_then(|store| store.profile(impi, impu)))
    }

    fn broadcast_subscription<'a>(&'a self, impi: &'a Impi) -> Answer<'a, Result<BroadcastSubscription, HssError>> {
        Answer::now(self.question("UDR").and_then(|store| {
            store.users.get(impi.as_str()).map(|user| user.broadcast.clone()).ok_or(HssError::UserUnknown)
        }))
    }

    fn broadcast_update<'a>(&'a self, _: &'a Impu, state: BroadcastState, _: Now) -> Answer<'a, Result<(), HssError>> {
        Answer::now(self.question(format!("PUR {}", state.state.as_str())).map(|_| ()))
    }

    fn private_identity<'a>(&'a self, impu: &'a Impu) -> Answer<'a, Result<Impi, HssError>> {
        Answer::now(self.question("LIR").and_then(|store| {
            let found = store.users.iter().find(|(_, user)| user.impus.contains(impu));
            found.map(|(impi, _)| Impi::from(impi.as_str())).ok_or(HssError::UserUnknown)
        }))
    }
}
