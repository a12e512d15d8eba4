//! What the tests of the embedded HSS stand on: a store that can be away, go back and tell what others have changed.

use super::field::Fields;
use super::*;
use crate::aka::{KeySet, Sqn};
use crate::store::{Class, Due, Entity, Health, Key};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

pub(super) const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
pub(super) const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";

pub(super) fn at(mono: u64, unix: u64) -> Now {
    Now { mono: Duration::from_secs(mono), unix: Duration::from_secs(1_795_000_000 + unix) }
}

pub(super) fn subscriber(name: &str, sqn: &str) -> Subscriber {
    let (impi, impu) = (format!("{name}@home1.net"), format!("sip:{name}@home1.net"));
    let fields = Fields { impi: &impi, impu: &impu, algorithm: "milenage", k: K, opc: OPC, sqn, ..Fields::default() };
    fields.subscriber().unwrap()
}

pub(super) fn keys() -> KeySet {
    let Credentials::Aka(keys) = subscriber("u", "").credentials else { unreachable!() };
    keys
}

pub(super) fn ids() -> (Impi, Impu) {
    ("u@home1.net".into(), "sip:u@home1.net".into())
}

pub(super) fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(super) fn ask(hss: &EmbeddedHss, resync: Option<(Rand, Auts)>, now: Now) -> Result<AkaVector, HssError> {
    let (impi, impu) = ids();
    match block(hss.multimedia_auth(&impi, &impu, AuthScheme::DigestAka, resync, now))? {
        AuthItem::Aka(vector) => Ok(vector),
        AuthItem::Digest { .. } => panic!("a password for an AKA subscriber"),
    }
}

pub(super) fn sqn_of(vector: &AkaVector) -> Sqn {
    vector.autn.sqn(&keys().f2345(&vector.rand).ak)
}

/// The process dies: nothing is written any more, nothing given back.
pub(super) fn kill(hss: Arc<EmbeddedHss>) {
    std::mem::forget(Arc::into_inner(hss).unwrap());
}

/// A store and a data folder that outlive the nodes on them.
pub(super) struct Bed {
    pub store: Arc<Faulty>,
    pub dir: tempfile::TempDir,
}

impl Bed {
    pub(super) fn new(nature: Nature) -> Self {
        let (clock, hands) = Clock::by_hand();
        hands.advance(Duration::from_secs(365 * 86_400)); // past all that `at` gives
        let memory = Memory::of_nature(clock, nature);
        let store = Faulty {
            memory,
            away: AtomicBool::new(false),
            saves_left: AtomicUsize::new(usize::MAX),
            changed: Mutex::default(),
        };
        Bed { store: Arc::new(store), dir: tempfile::tempdir().unwrap() }
    }

    pub(super) fn open(&self, now: Now) -> Arc<EmbeddedHss> {
        self.open_in(self.dir.path(), None, now)
    }

    pub(super) fn open_in(&self, dir: &Path, ind: Option<u8>, now: Now) -> Arc<EmbeddedHss> {
        let settings = Settings { data_dir: Some(dir.into()), ind, ..Settings::default() };
        EmbeddedHss::open(self.store.clone(), Arc::new(Seal::none()), settings, now).unwrap()
    }

    /// A tool on the same store.
    pub(super) fn other(&self) -> Subscribers {
        Subscribers::new(Arc::new(Other(self.store.clone())), Arc::new(Seal::none()))
    }

    pub(super) fn entity(&self, key: &Key) -> Entity {
        self.store.memory.load(vec![key.clone()]).wait().unwrap().remove(0)
    }

    /// Puts an entity back to what it was, as after a restored backup or writes that a cluster has lost.
    pub(super) fn put_back(&self, key: &Key, old: &Entity) {
        let fields = old.fields.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        self.store.memory.take(key.clone()).wait().unwrap();
        self.store.memory.save(Save::whole(key.clone(), fields)).wait().unwrap();
    }

    /// All entities of the nodes and subscribers, to be put back.
    pub(super) fn backup(&self) -> Vec<(Key, Entity)> {
        let mut all = Vec::new();
        for class in [Class::Node, Class::Subscriber, Class::PublicIdentity] {
            let mut each = |key: &Key, entity| {
                all.push((key.clone(), entity));
                ControlFlow::Continue(())
            };
            self.store.memory.walk(class, &mut each).unwrap();
        }
        all
    }
}

pub(super) struct Faulty {
    memory: Memory,
    pub away: AtomicBool,
    /// Changes that it still makes.
    pub saves_left: AtomicUsize,
    changed: Mutex<Vec<Key>>,
}

impl Faulty {
    fn there<T: Unpin>(
        &self,
        answer: Answer<'static, Result<T, StoreError>>,
    ) -> Answer<'static, Result<T, StoreError>> {
        if self.away.load(Ordering::Acquire) { Answer::now(Err(StoreError::Away("test".into()))) } else { answer }
    }
}

macro_rules! delegate {
    ($name:ident: $($store:tt)+) => {
        impl Store for $name {
            fn nature(&self) -> Nature {
                self.$($store)+.nature()
            }
            fn take(&self, key: Key) -> Answer<'static, Result<Entity, StoreError>> {
                self.$($store)+.take(key)
            }
            fn claim_due(&self, hold: Duration, most: usize) -> Answer<'static, Result<Vec<Key>, StoreError>> {
                self.$($store)+.claim_due(hold, most)
            }
            fn walk(
                &self,
                class: Class,
                each: &mut dyn FnMut(&Key, Entity) -> ControlFlow<()>,
            ) -> Result<(), StoreError> {
                self.$($store)+.walk(class, each)
            }
            fn time(&self, now: Now) -> Duration {
                self.at(now)
            }
            fn health(&self) -> Vec<Health> {
                self.$($store)+.health()
            }
            fn close(&self) {}
            fn load(&self, keys: Vec<Key>) -> Answer<'static, Result<Vec<Entity>, StoreError>> {
                self.read(keys)
            }
            fn save(&self, save: Save) -> Answer<'static, Result<Saved, StoreError>> {
                self.write(save)
            }
            fn changed(&self) -> Answer<'static, Result<Vec<Key>, StoreError>> {
                self.others()
            }
        }
    };
}

delegate!(Faulty: memory);

impl Faulty {
    /// It steps as the clock of the test does, which is worse than any store's.
    fn at(&self, now: Now) -> Duration {
        now.unix
    }
    fn read(&self, keys: Vec<Key>) -> Answer<'static, Result<Vec<Entity>, StoreError>> {
        if self.away.load(Ordering::Acquire) {
            return self.there(Answer::now(Ok(Vec::new())));
        }
        self.memory.load(keys)
    }
    fn write(&self, save: Save) -> Answer<'static, Result<Saved, StoreError>> {
        let less = |left: usize| left.checked_sub(1);
        let full = self.saves_left.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_err();
        if full || self.away.load(Ordering::Acquire) {
            return Answer::now(Err(StoreError::Away("test".into())));
        }
        self.memory.save(save)
    }
    fn others(&self) -> Answer<'static, Result<Vec<Key>, StoreError>> {
        let changed = std::mem::take(&mut *self.changed.lock().unwrap());
        self.there(Answer::now(Ok(changed)))
    }
}

/// Another process's way to the same store.
struct Other(Arc<Faulty>);

delegate!(Other: 0);

impl Other {
    fn at(&self, now: Now) -> Duration {
        now.unix
    }
    fn read(&self, keys: Vec<Key>) -> Answer<'static, Result<Vec<Entity>, StoreError>> {
        self.0.read(keys)
    }
    fn write(&self, save: Save) -> Answer<'static, Result<Saved, StoreError>> {
        let key = save.key.clone();
        let saved = self.0.write(save);
        self.0.changed.lock().unwrap().push(key);
        saved
    }
    fn others(&self) -> Answer<'static, Result<Vec<Key>, StoreError>> {
        Answer::now(Ok(Vec::new()))
    }
}

/// Whether a tool has marked the user as due.
pub(super) fn is_due(bed: &Bed, impi: &Impi) -> bool {
    let user = Key::new(Class::User, impi.as_arc().clone());
    bed.store.memory.claim_due(Duration::ZERO, 100).wait().unwrap().contains(&user)
}

/// A user of the registrar, as a node keeps it.
pub(super) fn register_user(bed: &Bed, impi: &Impi) {
    let field = ("contacts".into(), Some(Box::from(&b"1"[..])));
    let save = Save::some(Key::new(Class::User, impi.as_arc().clone()), vec![field]);
    bed.store.memory.save(save.due(Due::At(Duration::MAX))).wait().unwrap();
}
