//! The BSF's store: Ks by B-TID, one per subscriber (TS 33.220 §4.5.2), and when one AKA run may serve both IMS and GBA.
//!
//! Shared by all workers. Filled by the S-CSCF (or by Ub), read by [`super::bsf`].

use super::btid::Btid;
use super::guss::Uss;
use super::kdf::{Ks, KsNaf, ks_int_naf, ks_naf};
use super::naf_id::NafId;
use crate::aka::vector::Rand;
use crate::broadcast::keys::KeyDocument;
use crate::clock::{Date, Now, Time};
use crate::few::Few;
use crate::hss::BroadcastSubscription;
use crate::identity::{Impi, Impus};
use crate::shelf::{Named, Shelf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a replaced bootstrapping is still found, for key requests that are on their way.
pub const GRACE: Duration = Duration::from_secs(30);

/// Whether the AKA run of an IMS registration is also the GBA bootstrapping.
///
/// With IPsec access security CK and IK go to the P-CSCF, which could then compute every Ks_NAF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShortCut {
    /// Where CK and IK stay at home: not sent at all, or sent to a P-CSCF of the home network.
    #[default]
    HomePcscfOnly,
    Always,
    Off,
}

/// What happens to CK and IK of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The 401 carries `ck` and `ik`.
    pub keys_sent: bool,
    /// The P-CSCF that it goes to is trusted by the home network.
    pub home_pcscf: bool,
}

impl ShortCut {
    pub fn allows(self, access: Access) -> bool {
        match self {
            ShortCut::HomePcscfOnly => !access.keys_sent || access.home_pcscf,
            ShortCut::Always => true,
            ShortCut::Off => false,
        }
    }
}

/// What made a bootstrapping, and so what ends it beside its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Made {
    /// The AKA run of an IMS registration: it ends with that.
    #[default]
    ByRegistration,
    /// Ub: it has nothing to do with a registration.
    OverUb,
}

/// Where Ks is at the terminal's end (TS 33.220 §4, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Holder {
    /// GBA_ME: the terminal itself.
    #[default]
    Me,
    /// GBA_U: the card, which gives the terminal Ks_ext_NAF only.
    Uicc,
}

/// One bootstrapping. Debug is redacted by the key's own type.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    pub impi: Impi,
    /// Default identity first.
    pub impus: Impus,
    pub ks: Ks,
    /// It says the RAND of the run.
    pub btid: Btid,
    /// End of Ks and of all that is derived from it, seconds since 1970.
    pub expires: u64,
    /// When Ks was made, if that is known.
    pub created: Option<Date>,
    pub made: Made,
    pub holder: Holder,
    /// What the user may receive, as known when Ks was made.
    pub subscription: BroadcastSubscription,
    /// The settings that came with a bootstrapping over Ub, by service.
    pub settings: Few<Uss>,
}

impl Bootstrap {
    pub fn rand(&self) -> Rand {
        self.btid.rand()
    }

    /// Ks_NAF; in GBA_U it is called Ks_ext_NAF.
    pub fn ks_naf(&self, naf: &NafId) -> KsNaf {
        ks_naf(&self.ks, &self.rand(), self.impi.as_str(), naf)
    }

    /// Ks_int_NAF, which stays on the card: there is one in GBA_U only.
    pub fn ks_int_naf(&self, naf: &NafId) -> Option<KsNaf> {
        (self.holder == Holder::Uicc).then(|| ks_int_naf(&self.ks, &self.rand(), self.impi.as_str(), naf))
    }

    /// The key for a NAF, ready to be sent.
    pub fn key_document(&self, naf: &NafId) -> KeyDocument {
        let key = self.ks_naf(naf);
        tracing::trace!(target: "ladder", at = "BSF", what = "Ks_NAF = KDF(Ks, gba-me, RAND, IMPI, NAF_Id)", naf = naf.fqdn());
        KeyDocument {
            key,
            expires: self.expires,
            btid: self.btid.clone(),
            naf: naf.clone(),
            impus: self.impus.to_vec(),
            services: Some(self.subscription.clone()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    #[error("the table of bootstrappings is full")]
    Full,
    #[error("this B-TID belongs to another subscriber")]
    Collision,
}

/// One bootstrapping, found by its B-TID.
struct Held {
    bootstrap: Arc<Bootstrap>,
    /// On the monotonic clock.
    until: Time,
}

impl Named for Held {
    type Name = Btid;

    fn name(&self) -> &Btid {
        &self.bootstrap.btid
    }
}

struct OfSubscriber {
    current: Arc<Bootstrap>,
    /// The one before, until its grace is over.
    previous: Option<Box<Btid>>,
}

impl Named for OfSubscriber {
    type Name = str;

    fn name(&self) -> &str {
        self.current.impi.as_str()
    }
}

/// All bootstrappings of this BSF.
pub struct Bootstraps {
    by_btid: Shelf<Held>,
    by_impi: Shelf<OfSubscriber>,
    count: AtomicUsize,
    limit: usize,
}

// Lock order: an entry of `by_impi` is held while `by_btid` is touched, never the other way round.
impl Bootstraps {
    /// `limit`: bootstrappings held at once.
    pub fn new(limit: usize) -> Self {
        Bootstraps { by_btid: Shelf::default(), by_impi: Shelf::default(), count: AtomicUsize::new(0), limit }
    }

    /// Stores the result of an AKA run for `lifetime`; what the subscriber had before stays readable for [`GRACE`].
    pub fn put(&self, mut new: Bootstrap, lifetime: Duration, now: Now) -> Result<Arc<Bootstrap>, BootstrapError> {
        if self.count.load(Ordering::Relaxed) >= self.limit {
            return Err(BootstrapError::Full);
        }
        new.created = Date::new(now.unix.as_secs());
        new.expires = now.unix.saturating_add(lifetime).as_secs();
        let until = Time::from(now.mono.saturating_add(lifetime));
        if let Some(of) = self.by_impi.get(new.impi.as_str()) {
            new.impi = of.current.impi.clone(); // one text for all that is held of him
        }
        let new = Arc::new(new);
        let mut of = self.by_impi.slot(new.impi.as_str());
        {
            let mut slot = self.by_btid.slot(&new.btid);
            match slot.get_mut() {
                // Two subscribers with one RAND: the second must not get at the first one's place.
                Some(held) if held.bootstrap.impi != new.impi => return Err(BootstrapError::Collision),
                Some(held) => *held = Held { bootstrap: Arc::clone(&new), until },
                None => {
                    slot.put(Held { bootstrap: Arc::clone(&new), until });
                    self.count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        let before = of.put(OfSubscriber { current: Arc::clone(&new), previous: None });
        let Some(OfSubscriber { current: replaced, previous }) = before else { return Ok(Arc::clone(&new)) };
        let older = if replaced.btid != new.btid {
            if let Some(mut held) = self.by_btid.get_mut(&replaced.btid) {
                held.until = held.until.min(now.mono.saturating_add(GRACE).into());
            }
            if let Some(of) = of.get_mut() {
                of.previous = Some(Box::new(replaced.btid.clone()));
            }
            previous
        } else {
            if let Some(of) = of.get_mut() {
                of.previous = previous;
            }
            None
        };
        if let Some(older) = older.filter(|older| **older != new.btid) {
            self.forget(&older);
        }
        Ok(Arc::clone(&new))
    }

    /// A bootstrapping that is alive.
    pub fn get(&self, btid: &Btid, now: Now) -> Option<Arc<Bootstrap>> {
        self.by_btid.get(btid).filter(|held| held.until > now.mono).map(|held| Arc::clone(&held.bootstrap))
    }

    /// The current bootstrapping of a subscriber, if it is alive.
    pub fn of_impi(&self, impi: &Impi, now: Now) -> Option<Arc<Bootstrap>> {
        let current = self.by_impi.get(impi.as_str()).map(|of| Arc::clone(&of.current))?;
        self.get(&current.btid, now)
    }

    /// A subscriber's bootstrappings with their ends, the current one first.
    pub fn held(&self, impi: &Impi) -> Vec<(Arc<Bootstrap>, Duration)> {
        let Some(of) = self.by_impi.get(impi.as_str()) else { return Vec::new() };
        let all = std::iter::once(&of.current.btid).chain(of.previous.as_deref());
        all.filter_map(|btid| self.by_btid.get(btid).map(|held| (Arc::clone(&held.bootstrap), held.until.get())))
            .collect()
    }

    /// Puts a subscriber's bootstrappings, as [`Bootstraps::held`] gives them, in place of those that are here. One
    /// whose B-TID is another subscriber's, or that there is no room for, is left out.
    pub fn put_back(&self, impi: &Impi, all: Vec<(Arc<Bootstrap>, Duration)>) {
        self.remove(impi);
        let mut kept = Vec::new();
        for (bootstrap, until) in all.into_iter().take(2) {
            if self.len() >= self.limit || bootstrap.impi != *impi {
                continue;
            }
            let mut slot = self.by_btid.slot(&bootstrap.btid);
            if slot.get().is_none() {
                slot.put(Held { bootstrap: Arc::clone(&bootstrap), until: until.into() });
                self.count.fetch_add(1, Ordering::Relaxed);
                kept.push(Arc::clone(&bootstrap));
            }
        }
        let mut kept = kept.into_iter();
        if let Some(current) = kept.next() {
            let previous = kept.next().map(|previous| Box::new(previous.btid.clone()));
            self.by_impi.insert(OfSubscriber { current, previous });
        }
    }

    /// The subscriber may receive something else from now on; whether that is so.
    pub fn resubscribe(&self, impi: &Impi, subscription: &BroadcastSubscription) -> bool {
        let Some(mut of) = self.by_impi.get_mut(impi.as_str()) else { return false };
        let Some(mut held) = self.by_btid.get_mut(&of.current.btid) else { return false };
        if held.bootstrap.subscription == *subscription {
            return false;
        }
        let new = Bootstrap { subscription: subscription.clone(), ..Bootstrap::clone(&held.bootstrap) };
        held.bootstrap = Arc::new(new);
        of.current = Arc::clone(&held.bootstrap);
        true
    }

    /// Deregistration: what the registration's AKA runs made goes, what came over Ub stays.
    pub fn end_registration(&self, impi: &Impi) {
        let mut all = self.held(impi);
        all.retain(|(bootstrap, _)| bootstrap.made == Made::OverUb);
        self.put_back(impi, all);
    }

    /// Ks goes, and the one before it.
    pub fn remove(&self, impi: &Impi) {
        if let Some(of) = self.by_impi.remove(impi.as_str()) {
            self.forget(&of.current.btid);
            if let Some(previous) = of.previous {
                self.forget(&previous);
            }
        }
    }

    /// Drops what has ended, and says of whom nothing is left. Called now and then.
    pub fn sweep(&self, now: Now) -> Vec<Impi> {
        let mut ended = Vec::new();
        let mut bare = Vec::new();
        self.by_btid.for_each(|held| {
            if held.until <= now.mono {
                ended.push(Arc::clone(&held.bootstrap));
            }
        });
        for Bootstrap { impi, btid, .. } in ended.iter().map(|ended| &**ended) {
            let gone = self.by_impi.remove_if(impi.as_str(), |of| {
                of.previous.take_if(|previous| **previous == *btid);
                of.current.btid == *btid
            });
            bare.extend(gone.map(|_| impi.clone()));
            if self.by_btid.remove_if(btid, |held| held.until <= now.mono).is_some() {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
        bare
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn forget(&self, btid: &Btid) {
        if self.by_btid.remove(btid).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Impu;

    const HOUR: Duration = Duration::from_secs(3600);

    fn bootstrap(impi: &str, rand: u8) -> Bootstrap {
        let rand = Rand([rand; 16]);
        Bootstrap {
            impi: Impi::from(impi),
            impus: [Impu::from("sip:u@home1.net")].into(),
            ks: Ks([rand.0[0]; 32]),
            btid: Btid::new(&rand, "bsf.home1.net"),
            expires: 0,
            created: None,
            made: Made::ByRegistration,
            holder: Holder::Me,
            subscription: BroadcastSubscription::All,
            settings: Few::default(),
        }
    }

    fn at(seconds: u64) -> Now {
        let mono = Duration::from_secs(seconds);
        Now { mono, unix: mono + Duration::from_secs(1_767_225_600) }
    }

    #[test]
    fn one_ks_per_subscriber_and_thirty_seconds_of_grace() {
        let all = Bootstraps::new(10);
        let first = all.put(bootstrap("u@home1.net", 1), HOUR, at(0)).unwrap();
        assert_eq!(first.expires, 1_767_225_600 + 3600);
        let second = all.put(bootstrap("u@home1.net", 2), HOUR, at(100)).unwrap();
        assert!(all.get(&first.btid, at(129)).is_some());
        assert!(all.get(&first.btid, at(130)).is_none());
        assert_eq!(all.of_impi(&Impi::from("u@home1.net"), at(130)).unwrap().btid, second.btid);
        all.put(bootstrap("u@home1.net", 3), HOUR, at(101)).unwrap();
        assert!(all.get(&first.btid, at(101)).is_none(), "only one is kept beside the current");
        assert_eq!(all.len(), 2);
        all.remove(&Impi::from("u@home1.net"));
        assert!(all.is_empty() && all.get(&second.btid, at(101)).is_none());
    }

    #[test]
    fn expiry_by_the_monotonic_clock() {
        let all = Bootstraps::new(10);
        let made = all.put(bootstrap("u@home1.net", 1), HOUR, at(0)).unwrap();
        assert!(all.get(&made.btid, at(3599)).is_some());
        assert!(all.get(&made.btid, at(3600)).is_none());
        all.sweep(at(3599));
        assert_eq!(all.len(), 1);
        assert_eq!(all.sweep(at(3600)), [Impi::from("u@home1.net")]);
        assert!(all.is_empty() && all.by_impi.is_empty());
    }

    #[test]
    fn a_registration_that_ends_takes_its_own_keys_only() {
        let all = Bootstraps::new(10);
        let user = Impi::from("u@home1.net");
        let first = all.put(bootstrap("u@home1.net", 1), HOUR, at(0)).unwrap();
        let over_ub = Bootstrap { made: Made::OverUb, ..bootstrap("u@home1.net", 2) };
        let second = all.put(over_ub, HOUR, at(1)).unwrap();
        all.end_registration(&user);
        assert_eq!(all.of_impi(&user, at(2)).unwrap().btid, second.btid);
        assert!(all.get(&first.btid, at(2)).is_none());
        all.put(bootstrap("u@home1.net", 3), HOUR, at(3)).unwrap();
        all.end_registration(&user);
        assert_eq!(all.len(), 1, "one over Ub that was replaced has its grace");
        assert!(all.get(&second.btid, at(4)).is_some() && all.get(&second.btid, at(40)).is_none());
    }

    #[test]
    fn sweep_spares_the_current_one() {
        let all = Bootstraps::new(10);
        all.put(bootstrap("u@home1.net", 1), HOUR, at(0)).unwrap();
        let current = all.put(bootstrap("u@home1.net", 2), HOUR, at(1)).unwrap();
        all.sweep(at(60));
        assert_eq!(all.len(), 1);
        assert!(all.of_impi(&Impi::from("u@home1.net"), at(60)).is_some_and(|held| held.btid == current.btid));
    }

    #[test]
    fn bounded_and_one_owner_per_btid() {
        let all = Bootstraps::new(2);
        let mine = all.put(bootstrap("a@home1.net", 1), HOUR, at(0)).unwrap();
        assert_eq!(all.put(bootstrap("b@home1.net", 1), HOUR, at(0)).unwrap_err(), BootstrapError::Collision);
        assert_eq!(all.get(&mine.btid, at(1)).unwrap().impi, Impi::from("a@home1.net"));
        all.put(bootstrap("b@home1.net", 2), HOUR, at(0)).unwrap();
        assert_eq!(all.put(bootstrap("c@home1.net", 3), HOUR, at(0)).unwrap_err(), BootstrapError::Full);
        all.put(bootstrap("a@home1.net", 1), HOUR, at(0)).unwrap_err();
    }

    #[test]
    fn short_cut_setting() {
        let access = |keys_sent, home_pcscf| Access { keys_sent, home_pcscf };
        assert!(ShortCut::HomePcscfOnly.allows(access(true, true)));
        assert!(ShortCut::HomePcscfOnly.allows(access(false, false)));
        assert!(!ShortCut::HomePcscfOnly.allows(access(true, false)));
        assert!(ShortCut::Always.allows(access(true, false)));
        assert!(!ShortCut::Off.allows(access(false, true)));
    }
}
