//! Authentication centre: the live part of a subscriber's AKA state (TS 33.102 §6.3, annex C).
//!
//! What makes an SQN safe to issue is on disk before it is issued: the node's mark, which bounds every
//! SEQ, and an offset that a resynchronisation or a provisioning has changed. What is missing is told to
//! the caller as [`Wanted`], who has it written and asks again.

use super::subscriber::{Credentials, StoredSqn, Subscriber};
use crate::aka::resync;
use crate::aka::{AkaVector, Auts, KeySet, Rand, Sqn, SqnError, SqnState, sqn};
use crate::hss::HssError;
use std::cell::RefCell;
use std::time::Duration;

/// Resynchronisations in [`RESYNC_WINDOW`]; a card that needs more is broken or a copy.
const RESYNCS: usize = 2;
const RESYNC_WINDOW: Duration = Duration::from_secs(60);
/// RANDs of a subscriber that may still come back with an AUTS.
const OUTSTANDING: usize = 4;

/// Time and limits of the moment at which a vector is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The node's SQN clock.
    pub time: Duration,
    /// The tick at which that clock started.
    pub floor: u64,
    /// The mark that is on disk.
    pub mark: u64,
    pub ind: u8,
}

/// What keeps a vector from being issued.
#[derive(Debug)]
pub(super) enum Wanted {
    /// This offset has to be on disk first.
    Offset(StoredSqn),
    /// A higher mark has to be on disk first.
    Mark,
    /// Nothing helps.
    Refused(HssError),
}

/// The live AKA state of one subscriber.
#[derive(Debug)]
pub(super) struct Auc {
    /// What the database says.
    stored: StoredSqn,
    /// The generator with the tick at which its offset was learnt; made when first needed, because only then it is known
    /// what time it is.
    live: Option<(SqnState, u64)>,
    /// The first octets of the last RANDs, 0: none.
    outstanding: [u32; OUTSTANDING],
    resyncs: [Option<Duration>; RESYNCS],
}

impl Auc {
    pub(super) fn new(stored: StoredSqn) -> Self {
        Auc { stored, live: None, outstanding: [0; OUTSTANDING], resyncs: [None; RESYNCS] }
    }

    /// The database has a row that another process may have changed.
    pub(super) fn reload(&mut self, row: StoredSqn) {
        if row == self.stored {
            return;
        }
        if self.current() != Some(row) {
            self.live = None;
        }
        self.stored = row;
    }

    /// `row` has been written. It counts only if nothing newer has come in meanwhile.
    pub(super) fn written(&mut self, row: StoredSqn) {
        if self.current() == Some(row) {
            self.stored = row;
        }
    }

    fn current(&self) -> Option<StoredSqn> {
        self.live.map(|(state, tick)| StoredSqn { offset: state.offset, tick })
    }

    fn generator(&mut self, at: &Moment) -> Result<&mut (SqnState, u64), SqnError> {
        match self.live {
            Some(_) => {}
            None => {
                let state = self.stored.resume(at.time, at.floor)?;
                let now = sqn::ticks(at.time);
                let tick = if state.offset == self.stored.offset { self.stored.tick } else { now };
                self.live = Some((state, tick));
            }
        }
        self.live.as_mut().ok_or(SqnError::Exhausted)
    }

    /// The next vector.
    pub(super) fn vector(&mut self, keys: &KeySet, subscriber: &Subscriber, at: Moment) -> Result<AkaVector, Wanted> {
        let refused = |error| match error {
            SqnError::HighWater => Wanted::Mark,
            SqnError::Lead => Wanted::Refused(HssError::NoVector("too many vectors for this subscriber")),
            SqnError::Exhausted => Wanted::Refused(HssError::NoVector("the SQN range of this subscriber is used up")),
            SqnError::Ind(_) => Wanted::Refused(HssError::NoVector("the IND of this node is out of range")),
        };
        self.generator(&at).map_err(refused)?;
        if let Some(current) = self.current().filter(|current| *current != self.stored) {
            return Err(Wanted::Offset(current));
        }
        let rand = random().map_err(Wanted::Refused)?;
        let (state, _) = self.generator(&at).map_err(refused)?;
        let sqn = match state.next(at.time, at.ind, at.mark) {
            Err(SqnError::Lead) => return Err(self.rebase(at).map_or_else(refused, Wanted::Offset)),
            next => next.map_err(refused)?,
        };
        self.outstanding.rotate_right(1);
        if let Some(newest) = self.outstanding.first_mut() {
            *newest = first_octets(&rand);
        }
        Ok(keys.generate(rand, sqn, subscriber.amf))
    }

    /// More vectors were asked for than the clock has ticks: anybody can do that in a subscriber's name, so it must not
    /// cost the subscriber his service. The offset moves up to the last SEQ; one write in [`sqn::MAX_LEAD`] vectors.
    fn rebase(&mut self, at: Moment) -> Result<StoredSqn, SqnError> {
        let (state, _) = self.generator(&at)?;
        let last = Sqn::from_parts(state.last_seq, at.ind).ok_or(SqnError::Exhausted)?;
        let (offset, tick) = (SqnState::imported(last, at.time)?, sqn::ticks(at.time));
        self.live = Some((offset, tick));
        Ok(StoredSqn { offset: offset.offset, tick })
    }

    /// Takes over the SQN of the card, if this is its AUTS for a RAND of ours. `mono` for the rate limit.
    pub(super) fn resync(
        &mut self,
        keys: &KeySet,
        (rand, auts): (Rand, Auts),
        at: Moment,
        mono: Duration,
    ) -> Result<(), HssError> {
        let sqn_ms = resync::sqn_ms(keys, &rand, &auts).map_err(|_| HssError::ResyncRefused)?;
        if !self.outstanding.contains(&first_octets(&rand)) {
            return Err(HssError::ResyncRefused);
        }
        let oldest = self.resyncs.iter_mut().min().ok_or(HssError::ResyncRefused)?;
        if oldest.is_some_and(|oldest| mono.saturating_sub(oldest) < RESYNC_WINDOW) {
            return Err(HssError::NoVector("too many resynchronisations of this subscriber"));
        }
        let exhausted = |_| HssError::NoVector("the SQN range of this subscriber is used up");
        let state = SqnState::imported(sqn_ms, at.time).map_err(exhausted)?;
        *oldest = Some(mono);
        self.live = Some((state, sqn::ticks(at.time)));
        self.outstanding = [0; OUTSTANDING]; // an AUTS counts once
        Ok(())
    }
}

/// The keys of an AKA subscriber.
pub(super) fn keys(credentials: &Credentials) -> Option<&KeySet> {
    match credentials {
        Credentials::Aka(keys) => Some(keys),
        Credentials::Digest(_) => None,
    }
}

fn first_octets(Rand(rand): &Rand) -> u32 {
    rand.iter().take(4).fold(0, |value, octet| value << 8 | u32::from(*octet)).max(1)
}

/// RANDs drawn from the operating system in one call.
const POOL: usize = 32;

thread_local! {
    static RANDS: RefCell<([[u8; 16]; POOL], usize)> = const { RefCell::new(([[0; 16]; POOL], 0)) };
}

/// An unpredictable RAND; a system call only every 32nd time.
fn random() -> Result<Rand, HssError> {
    RANDS.with_borrow_mut(|(pool, left)| {
        if *left == 0 {
            getrandom::fill(pool.as_flattened_mut())
                .map_err(|_| HssError::NoVector("the operating system gives no random numbers"))?;
            *left = POOL;
        }
        *left -= 1;
        pool.get_mut(*left).map(|rand| Rand(std::mem::take(rand))).ok_or(HssError::NoVector("no random number"))
    })
}
