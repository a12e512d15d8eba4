//! How a subscriber is found who is not in memory, or has been there too long: on a store of the node's own the writer reads
//! it, on a shared one whoever asks.

use super::directory::{Record, Sought};
use super::{EmbeddedHss, entity};
use crate::answer::Answer;
use crate::hss::HssError;
use crate::identity::{Impi, Impu};
use crate::store::{Entity, Key, StoreError};
use std::sync::Arc;

impl EmbeddedHss {
    /// Answers from memory, or has the subscriber read first. `vector`: what lies in memory may not be used for it while
    /// the store is away.
    pub(super) fn look_up<'a, T: Unpin>(
        &'a self,
        sought: Sought,
        vector: bool,
        then: impl FnOnce(Arc<Record>) -> Answer<'a, Result<T, HssError>> + 'a,
    ) -> Answer<'a, Result<T, HssError>> {
        match self.directory.find(&sought) {
            Ok(record) if self.directory.is_fresh(&record) => then(record),
            held => {
                let Some(seat) = self.writer.seat() else {
                    // The many who ask for strangers shall not have known users taken for such.
                    return Answer::now(Err(match held {
                        Err(error) if self.directory.is_complete() => error,
                        _ => HssError::Unavailable("too many look-ups wait for the store".to_owned()),
                    }));
                };
                Answer::later(async move {
                    let found = match self.shared {
                        true => self.read(&sought, held, vector).await,
                        false => self.find_anew(sought).await,
                    };
                    drop(seat);
                    then(found?).await
                })
            }
        }
    }

    /// On a store of the node's own: the writer looks.
    async fn find_anew(&self, sought: Sought) -> Result<Arc<Record>, HssError> {
        match self.directory.is_complete() {
            true => drop(self.writer.refresh().await), // what is in memory counts while the store cannot be read
            false => self.writer.fetch(sought.clone()).await?,
        }
        self.directory.find(&sought)
    }

    /// On a shared store.
    async fn read(
        &self,
        sought: &Sought,
        held: Result<Arc<Record>, HssError>,
        vector: bool,
    ) -> Result<Arc<Record>, HssError> {
        match (self.read_now(sought).await, held) {
            (Ok(found), _) => found,
            (Err(_), Ok(record)) if !vector => Ok(record),
            (Err(_), Ok(_)) => Err(HssError::NoVector("the store of the subscribers is away")),
            (Err(error), Err(_)) => Err(HssError::Unavailable(error.to_string())),
        }
    }

    /// One entity after the other: they lie on different shards, of which one may be away.
    pub(super) async fn read_now(&self, sought: &Sought) -> Result<Result<Arc<Record>, HssError>, StoreError> {
        match sought {
            Sought::Impi(impi) => self.read_impi(impi).await,
            Sought::Impu(impu) => self.read_impu(impu).await,
            Sought::Either(impi, impu) => match self.read_impi(impi).await? {
                Err(HssError::UserUnknown) => self.read_impu(impu).await,
                found => Ok(found),
            },
            Sought::Both(impi, impu) => match self.read_impi(impi).await? {
                Ok(record) if !record.subscriber.impus.contains(impu) => Ok(Err(match self.read_impu(impu).await? {
                    Ok(_) => HssError::IdentitiesDontMatch,
                    Err(error) => error,
                })),
                found => Ok(found),
            },
        }
    }

    async fn read_impi(&self, impi: &Impi) -> Result<Result<Arc<Record>, HssError>, StoreError> {
        Ok(self.taken(impi, &self.read_one(entity::subscriber_key(impi)).await?))
    }

    async fn read_impu(&self, impu: &Impu) -> Result<Result<Arc<Record>, HssError>, StoreError> {
        let Some(owner) = entity::owner(&self.read_one(entity::identity_key(impu)).await?) else {
            return Ok(Err(HssError::UserUnknown));
        };
        // An identity whose owner does not name it is nobody's.
        let names = |record: &Arc<Record>| record.subscriber.impus.contains(impu);
        let record = self.read_impi(&owner).await?;
        Ok(record.and_then(|record| if names(&record) { Ok(record) } else { Err(HssError::UserUnknown) }))
    }

    pub(super) async fn read_one(&self, key: Key) -> Result<Entity, StoreError> {
        Ok(self.store.load(vec![key]).await?.pop().unwrap_or_default())
    }

    /// Puts what lies in the store into the directory.
    fn taken(&self, impi: &Impi, entity: &Entity) -> Result<Arc<Record>, HssError> {
        match entity::read(impi, entity, &self.seal) {
            Ok(Some(stored)) => Ok(self.directory.put(stored)),
            Ok(None) => {
                self.directory.remove(impi);
                Err(HssError::UserUnknown)
            }
            Err(error) => {
                tracing::error!(%error, "a subscriber cannot be served");
                Err(HssError::Unavailable("the subscriber's record cannot be read".to_owned()))
            }
        }
    }
}
