//! An HSS in memory that writes down what it is asked. Vectors are real: Milenage through the crate's own functions.

use crate::network::keys;
use imscript::aka::resync;
use imscript::aka::sqn::Sqn;
use imscript::aka::vector::{AkaVector, Amf, Auts, Rand};
use imscript::answer::Answer;
use imscript::auth::digest::Password;
use imscript::clock::Now;
use imscript::hss::*;
use imscript::identity::{Impi, Impu};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

pub(crate) struct User {
    pub(crate) impus: Vec<Impu>,
    pub(crate) broadcast: BroadcastSubscription,
    pub(crate) password: Option<String>,
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) calls: Vec<String>,
    pub(crate) vectors: Vec<(String, AkaVector)>,
    /// The next SEQ of every user.
    pub(crate) seq: u64,
    /// What is not answered: the first word of a call.
    pub(crate) down: BTreeSet<&'static str>,
    pub(crate) broadcast: BTreeMap<String, BroadcastState>,
}

#[derive(Default)]
pub(crate) struct FakeHss(pub Mutex<Store>);

impl FakeHss {
    fn asked(&self, call: String) -> Result<std::sync::MutexGuard<'_, Store>, HssError> {
        let mut store = self.0.lock().unwrap();
        let down = store.down.contains(call.split(' ').next().unwrap());
        store.calls.push(call);
        if down { Err(HssError::Unavailable("down".into())) } else { Ok(store) }
    }

    fn checked(store: &Store, impi: &Impi, impu: &Impu) -> Result<Profile, HssError> {
        let user = store.users.get(impi.as_str()).ok_or(HssError::UserUnknown)?;
        if !user.impus.contains(impu) {
            return Err(HssError::IdentitiesDontMatch);
        }
        Ok(Profile::new(user.impus.clone(), user.broadcast.clone()))
    }
}

impl Hss for FakeHss {
    fn multimedia_auth<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        _: AuthScheme,
        resync: Option<(Rand, Auts)>,
        _: Now,
    ) -> Answer<'a, Result<AuthItem, HssError>> {
        Answer::now((|| {
            let mut store = self.asked(if resync.is_some() { "MAR AUTS".into() } else { "MAR".into() })?;
            FakeHss::checked(&store, impi, impu)?;
            if let Some(password) = &store.users[impi.as_str()].password {
                return Ok(AuthItem::Digest { password: Password::new(password.as_bytes()) });
            }
            if let Some((rand, auts)) = resync {
                let sqn = resync::sqn_ms(&keys(), &rand, &auts).map_err(|_| HssError::ResyncRefused)?;
                store.seq = sqn.seq();
            }
            store.seq += 1;
            let mut rand = [7; 16];
            rand[8..].copy_from_slice(&(store.vectors.len() as u64).to_be_bytes());
            let sqn = Sqn::from_parts(store.seq, 0).unwrap();
            let vector = keys().generate(Rand(rand), sqn, Amf([0, 0]));
            store.vectors.push((impi.to_string(), vector.clone()));
            Ok(AuthItem::Aka(vector))
        })())
    }

    fn server_assignment<'a>(
        &'a self,
        impi: &'a Impi,
        impu: &'a Impu,
        kind: Assignment,
        _: Now,
    ) -> Answer<'a, Result<Profile, HssError>> {
        Answer::now(self.asked(format!("SAR {kind:?}")).and_then(|store| FakeHss::checked(&store, impi, impu)))
    }

    fn broadcast_subscription<'a>(&'a self, impi: &'a Impi) -> Answer<'a, Result<BroadcastSubscription, HssError>> {
        Answer::now(
            self.asked("UDR".into()).and_then(|store| {
                store.users.get(impi.as_str()).map(|u| u.broadcast.clone()).ok_or(HssError::UserUnknown)
            }),
        )
    }

    fn broadcast_update<'a>(
        &'a self,
        impu: &'a Impu,
        state: BroadcastState,
        _: Now,
    ) -> Answer<'a, Result<(), HssError>> {
        Answer::now(self.asked(format!("PUR {}", state.state.as_str())).map(|mut store| {
            store.broadcast.insert(impu.to_string(), state);
        }))
    }

    fn private_identity<'a>(&'a self, impu: &'a Impu) -> Answer<'a, Result<Impi, HssError>> {
        Answer::now(self.asked("LIR".into()).and_then(|store| {
            let found = store.users.iter().find(|(_, user)| user.impus.contains(impu));
            found.map(|(impi, _)| Impi::from(impi.as_str())).ok_or(HssError::UserUnknown)
        }))
    }
}
