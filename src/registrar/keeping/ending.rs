//! The end of a registration on a shared store, told by one node and told once.
//!
//! Several nodes may take out the last contacts of a user at the same time, and one may take out what it knows as the last
//! while another adds one. So who ends a user is not who finds nothing left of him, but whose save turns an entity with
//! contacts into one without. That entity says so until it has been told, and another node takes it up if this one dies.

use super::{Users, user_key};
use crate::hss::Assignment;
use crate::identity::{Impi, Impu, Impus};
use crate::registrar::Registration;
use crate::registrar::document::{CONTACTS, Contacts, LEG, LegDocument};
use crate::registrar::scscf::Scscf;
use crate::registrar::table::Leg;
use crate::store::Entity;
use std::time::Duration;

/// After so long another node tells it.
pub(super) const TOLD_WITHIN: Duration = Duration::from_secs(15);

/// An end that nobody has been told of.
pub(super) struct Ending {
    pub(super) impus: Impus,
    pub(super) leg: Option<Leg>,
    pub(super) cause: String,
    /// The save that is under way says it.
    pub(super) said: bool,
    /// It lies in the store: it is this node's to tell.
    pub(super) stored: bool,
}

pub(super) fn number() -> u64 {
    let mut octets = [0; 8];
    // Without entropy two nodes may be alike, and then an end that both make at once may be told twice.
    let _ = getrandom::fill(&mut octets);
    u64::from_ne_bytes(octets)
}

impl Users {
    fn end(&self, impi: &Impi, impus: Impus, leg: Option<Leg>, cause: &str) {
        let cause = cause.to_owned();
        self.endings.insert(impi.clone(), Ending { impus, leg, cause, said: false, stored: false });
    }

    /// What this node found to be over is over, is not, or was ended `by_another`, as the entity that it has met says.
    /// `stored`: it has contacts. `over`: the last of its contacts, if nothing is left of them.
    pub(super) fn end_is_met(
        &self,
        impi: &Impi,
        by_another: bool,
        stored: bool,
        registered: bool,
        over: Option<(Impus, Option<Leg>)>,
    ) {
        match over {
            _ if registered => {
                self.endings.remove(impi.as_str());
                if by_another && !stored {
                    self.revived.insert(impi.clone());
                }
            }
            Some((impus, leg)) => {
                let mut ending = self.endings.entry(impi.clone()).or_insert_with(|| Ending {
                    impus,
                    leg: None,
                    cause: "unregistered".to_owned(),
                    said: false,
                    stored: false,
                });
                ending.leg = leg.or_else(|| ending.leg.take());
            }
            None if by_another => drop(self.endings.remove_if(impi.as_str(), |_, ending| !ending.stored)),
            None => {}
        }
    }

    fn to_tell(&self, impi: &Impi) -> Option<Ending> {
        self.endings.remove_if(impi.as_str(), |_, ending| ending.stored).map(|(_, ending)| ending)
    }
}

impl Scscf {
    /// On a shared store, before contacts are taken out of the table: nothing may be left of the registration, and then
    /// the save that says so must say that it is to be told.
    pub(in crate::registrar) fn may_end(&self, impi: &Impi, cause: &str) {
        if self.keeping().is_shared() {
            let of = |held: &Registration, leg: Option<&Leg>, _| (held.impus.clone(), leg.cloned());
            if let Some((impus, leg)) = self.shared.table.with_whole(impi.as_str(), of) {
                self.keeping().users.end(impi, impus, leg, cause);
            }
        }
    }

    /// Nothing is left of a registration. On a shared store that is told when it is stored, by whoever has it stored.
    pub(in crate::registrar) fn ended(&self, impi: &Impi, impus: &Impus, leg: Option<Leg>, cause: &str) {
        if self.keeping().is_shared() {
            self.keeping().users.end(impi, impus.clone(), leg, cause);
        } else if let Some(leg) = leg {
            self.ims_ended(impi, leg, cause);
        }
    }

    /// Something is left, or what was taken out is back.
    pub(in crate::registrar) fn not_ended(&self, impi: &Impi) {
        self.keeping().users.endings.remove_if(impi.as_str(), |_, ending| !ending.stored);
    }

    /// Tells the end of a registration, if it is this node's to tell.
    pub(super) async fn tell_end(&self, impi: &Impi) {
        let Some(Ending { impus, leg, cause, .. }) = self.keeping().users.to_tell(impi) else { return };
        // He may be registered anew by now, at another node, and the HSS know it.
        let _ = self.fetch(impi).await;
        let again = || self.shared.table.with(impi.as_str(), |held| held.is_some());
        if let (false, Some(impu)) = (again(), impus.first()) {
            tracing::info!(%impi, %impu, cause, "registration ended");
            let kind = match &*cause {
                "expired" => Assignment::TimeoutDeregistration,
                "deactivated" => Assignment::AdministrativeDeregistration,
                _ => Assignment::UserDeregistration,
            };
            self.assign_or_warn(impi, impu, kind).await;
        }
        if let Some(leg) = leg {
            self.ims_ended(impi, leg, &cause);
        }
        let (me, impi) = (self.clone(), impi.clone());
        (self.spawn)(Box::pin(async move {
            let kept = me.saved(&impi).await;
            let impu = me.shared.table.with(impi.as_str(), |held| held.and_then(|held| held.impus.first().cloned()));
            if let (Ok(()), Some(impu)) = (kept, impu) {
                me.assign_or_warn(&impi, &impu, Assignment::Registration).await;
            }
        }));
    }

    /// Tells what lies in the store as an end that another node has not told.
    pub(super) async fn take_up_end(&self, impi: &Impi) {
        let (key, users) = (user_key(impi), &self.keeping().users);
        let Ok(Some(entity)) = users.store.load(vec![key]).await.map(|mut all| all.pop()) else { return };
        if let Some(ending) = untold(&entity) {
            users.endings.insert(impi.clone(), ending);
        }
        self.keep(impi);
    }

    /// Another node had ended him before his REGISTER was stored here: the HSS hears that he is registered all the same.
    pub(super) async fn revive(&self, impi: &Impi) {
        if self.keeping().users.revived.remove(impi.as_str()).is_none() {
            return;
        }
        let impu = self.shared.table.with(impi.as_str(), |held| held.and_then(|held| held.impus.first().cloned()));
        if let Some(impu) = impu {
            self.assign_or_warn(impi, &impu, Assignment::Registration).await;
        }
    }

    /// Ends that were stored without anybody waiting for it.
    pub(super) fn tell_ends(&self) {
        let endings = &self.keeping().users.endings;
        let stored: Vec<Impi> = endings.iter().filter(|e| e.stored).map(|e| e.key().clone()).collect();
        for impi in stored {
            let me = self.clone();
            (self.spawn)(Box::pin(async move { me.tell_end(&impi).await }));
        }
    }

    pub(in crate::registrar) async fn assign_or_warn(&self, impi: &Impi, impu: &Impu, kind: Assignment) {
        if let Err(why) = self.shared.hss.server_assignment(impi, impu, kind, self.now()).await {
            tracing::warn!(%impi, %why, "the HSS was not told of a registration's state");
        }
    }
}

fn untold(entity: &Entity) -> Option<Ending> {
    let contacts = Contacts::read(entity.field(CONTACTS)?).ok()?;
    let cause = contacts.ending.filter(|_| contacts.contacts.is_empty())?.cause;
    let leg = entity.field(LEG).and_then(|text| LegDocument::read(text).ok());
    let impus = contacts.impus.into_iter().map(Impu::new).collect();
    Some(Ending { impus, leg, cause, said: true, stored: true })
}
