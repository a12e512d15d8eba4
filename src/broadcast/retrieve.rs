//! The retrieval module (145 of the patent): gets Ks_NAF from the BSF, in two SIP messages or over Zn.
//!
//! In SIP the question is a MESSAGE with NAF_ID and B-TID, answered 202; the key comes in a MESSAGE of the BSF, perhaps on
//! another worker, perhaps before the 202. Who waits for it is found by (B-TID, NAF_ID). However many wait for one
//! key, the question is asked once.

use super::ext::Ext;
use super::keys::{KeyDocument, KeyRefusal};
use super::outgoing::Outgoing;
use super::server::{Bsm, Retrieval};
use super::zn::Zn;
use crate::gba::btid::Btid;
use crate::gba::naf_id::NafId;
use crate::shelf::Map;
use dashmap::Entry;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use tokio::sync::oneshot;

/// Keys waited for at once.
const WAITING_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetrieveError {
    /// The BSF said no.
    #[error("{0}")]
    Refused(String),
    #[error("no-key-in-time")]
    Timeout,
    #[error("bsf-unreachable")]
    Unreachable,
    #[error("too-many-retrievals")]
    TooMany,
}

impl RetrieveError {
    /// SIP status for a request that could not be served for this cause.
    pub fn status(&self) -> u16 {
        match self {
            RetrieveError::Refused(_) => 403,
            RetrieveError::Timeout | RetrieveError::Unreachable => 504,
            RetrieveError::TooMany => 503,
        }
    }
}

type Outcome = Result<KeyDocument, RetrieveError>;
type Key = (Btid, NafId);

/// Who waits for which key; shared by all workers.
#[derive(Default)]
pub struct Waiting {
    waiting: Map<Key, Vec<(u64, oneshot::Sender<Outcome>)>>,
    next: AtomicU64,
}

impl Waiting {
    fn join(&self, key: &Key) -> Result<(Place<'_>, oneshot::Receiver<Outcome>, bool), RetrieveError> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(RetrieveError::TooMany);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let first = match self.waiting.entry(key.clone()) {
            Entry::Occupied(mut others) => {
                others.get_mut().push((id, sender));
                false
            }
            Entry::Vacant(free) => {
                free.insert(vec![(id, sender)]);
                true
            }
        };
        Ok((Place { waiting: self, key: key.clone(), id }, receiver, first))
    }

    /// Hands the outcome to all who wait for it; false: nobody does.
    fn deliver(&self, btid: &Btid, naf: &NafId, outcome: Outcome) -> bool {
        let Some((_, waiters)) = self.waiting.remove(&(btid.clone(), naf.clone())) else { return false };
        waiters.into_iter().fold(false, |heard, (_, sender)| sender.send(outcome.clone()).is_ok() || heard)
    }

    /// Whether somebody waits for this key.
    pub(super) fn expects(&self, btid: &Btid, naf: &NafId) -> bool {
        self.waiting.contains_key(&(btid.clone(), naf.clone()))
    }

    pub(super) fn key(&self, document: KeyDocument) -> bool {
        let (btid, naf) = (document.btid.clone(), document.naf.clone());
        self.deliver(&btid, &naf, Ok(document))
    }

    pub(super) fn refusal(&self, refusal: KeyRefusal) -> bool {
        self.deliver(&refusal.btid, &refusal.naf, Err(RetrieveError::Refused(refusal.cause)))
    }
}

/// A place in the queue, given up when dropped, in whatever way the waiting ends.
struct Place<'a> {
    waiting: &'a Waiting,
    key: Key,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.waiting.remove_if_mut(&self.key, |_, waiters| {
            waiters.retain(|(id, _)| *id != self.id);
            waiters.is_empty()
        });
    }
}

impl Bsm {
    /// Asks the BSF for the key of `btid` and waits for it, for as long as the configuration allows. `wanted`: how the IMS
    /// says that it be asked for; without Zn that is in SIP.
    pub(super) async fn fetch_key(self: &Rc<Self>, btid: &Btid, naf: &NafId, wanted: Option<Retrieval>) -> Outcome {
        let can = |way: &Retrieval| *way == Retrieval::Sip || self.zn.is_some();
        let retrieval = wanted.filter(can).unwrap_or(self.config.retrieval);
        let (_place, mut receiver, first) = self.state.waiting.join(&(btid.clone(), naf.clone()))?;
        let within = self.config.retrieval_within;
        let mut question = pin!(async {
            match (first, retrieval, &self.zn) {
                (false, ..) => None,
                (true, Retrieval::Sip, _) => self.ask_in_sip(btid, naf).await,
                (true, Retrieval::Zn, Some(zn)) => Some(zn.ask(btid, naf, &*self.env.now).await),
                (true, Retrieval::ZnElseSip, Some(zn)) => self.ask_either(zn, btid, naf).await,
                (true, Retrieval::Zn | Retrieval::ZnElseSip, None) => Some(Err(RetrieveError::Unreachable)),
            }
        });
        let mut sleep = (self.env.sleep)(within);
        let mut asked = false;
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = std::pin::Pin::new(&mut receiver).poll(cx) {
                return Poll::Ready(outcome.unwrap_or(Err(RetrieveError::Timeout)));
            }
            if !asked && let Poll::Ready(answered) = question.as_mut().poll(cx) {
                asked = true;
                if let Some(outcome) = answered {
                    return Poll::Ready(outcome);
                }
            }
            sleep.as_mut().poll(cx).map(|()| Err(RetrieveError::Timeout))
        })
        .await;
        if first {
            // Nobody asks for the others any more. A key that came in SIP they have already.
            self.state.waiting.deliver(btid, naf, outcome.clone());
        }
        outcome
    }

    /// None: it has been asked for, and comes in a request of its own.
    async fn ask_in_sip(&self, btid: &Btid, naf: &NafId) -> Option<Outcome> {
        let bsf = &self.config.bsf;
        let ext =
            Ext { asks_key: true, naf: Some(naf.clone()), ua_given: true, btid: Some(btid.clone()), ..Ext::default() };
        let message = Outgoing { to: &bsf.uri, from: &self.config.uri, ext: Some(ext), body: None }.request();
        match self.outbound.request(&bsf.hop, message, self.config.retrieval_within).await {
            Ok(answer) if (200..300).contains(&answer.status()) => None,
            Ok(answer) => Some(Err(RetrieveError::Refused(format!("bsf-said-{}", answer.status())))),
            Err(_) => Some(Err(RetrieveError::Unreachable)),
        }
    }

    /// Zn has half of the time, so that enough is left for SIP.
    async fn ask_either(&self, zn: &Zn, btid: &Btid, naf: &NafId) -> Option<Outcome> {
        let mut over_zn = pin!(zn.ask(btid, naf, &*self.env.now));
        let mut sleep = (self.env.sleep)(self.config.retrieval_within / 2);
        let outcome = poll_fn(|cx| match over_zn.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| Err(RetrieveError::Timeout)),
        });
        match outcome.await {
            Err(RetrieveError::Timeout | RetrieveError::Unreachable | RetrieveError::TooMany) => {
                tracing::info!(naf = naf.fqdn(), "no BSF answers on Zn: asked in SIP");
                self.ask_in_sip(btid, naf).await
            }
            outcome => Some(outcome),
        }
    }
}
