//! Authentication centre: the live part of a subscriber's AKA state (TS 33.102 §6.3, annex C).
//!
//! What makes an SQN safe to issue is in the store before it is issued: the node's mark, which bounds every
//! SEQ, and an offset that a resynchronisation has changed. What is missing is told to the caller as
//! [`Wanted`], who has it written and asks again.

use super::issuer::Moment;
use super::subscriber::{Credentials, PROVISIONING, StoredSqn, Subscriber};
use crate::aka::resync;
use crate::aka::{AkaVector, Auts, KeySet, Rand, Sqn, SqnError, SqnState, sqn};
use crate::hss::HssError;
use std::cell::RefCell;
use std::num::NonZero;
use std::time::Duration;

/// Resynchronisations in [`RESYNC_WINDOW`]; a card that needs more is broken or a copy.
const RESYNCS: usize = 2;
/// In seconds.
const RESYNC_WINDOW: u32 = 60;
/// RANDs of a subscriber that may still come back with an AUTS.
const OUTSTANDING: usize = 4;

/// What keeps a vector from being issued.
#[derive(Debug)]
pub(super) enum Wanted {
    /// This offset has to be written first.
    Offset(StoredSqn),
    /// A higher mark has to be written first.
    Mark,
    /// Nothing helps.
    Refused(HssError),
}

/// The live AKA state of one subscriber.
#[derive(Debug)]
pub(super) struct Auc {
    /// The newest that the store has said or this node has learnt.
    sqn: StoredSqn,
    /// Whether the store has it.
    written: bool,
    /// The least SEQ that may follow, as the generator says: with the offset of `sqn` that is all of it. It is made when
    /// first needed, because only then it is known what time it is.
    next: Option<NonZero<u64>>,
    /// The store has said something newer since the generator was made.
    reread: bool,
    /// The first octets of the last RANDs, 0: none.
    outstanding: [u32; OUTSTANDING],
    /// Most never have any.
    resyncs: Option<Box<Resyncs>>,
}

/// The last resynchronisations.
#[derive(Debug, Default)]
struct Resyncs {
    /// Of the last AUTS that counted, as `outstanding`.
    answered: [u32; OUTSTANDING],
    /// When they did: seconds of the monotonic clock plus 1, 0: never.
    times: [u32; RESYNCS],
}

impl Auc {
    /// `sqn`: what the store says. `learnt`: what this node remembers to have learnt.
    pub(super) fn new(sqn: StoredSqn, learnt: Option<StoredSqn>) -> Self {
        let newest = learnt.map_or(sqn, |learnt| learnt.max(sqn));
        Auc {
            sqn: newest,
            written: newest == sqn,
            next: None,
            reread: false,
            outstanding: [0; OUTSTANDING],
            resyncs: None,
        }
    }

    /// The store says `row`. An older one than known here is the leaving of a store that lost a write: what is known is
    /// written again before the next vector.
    pub(super) fn reload(&mut self, row: StoredSqn) {
        self.written = row >= self.sqn;
        if row > self.sqn {
            if row.step - self.sqn.step >= PROVISIONING {
                self.next = None; // another card, perhaps
            }
            self.reread = true;
            self.sqn = row;
        }
    }

    /// `row` has been written. It counts only if nothing newer has come in meanwhile.
    pub(super) fn written(&mut self, row: StoredSqn) {
        self.written |= self.sqn == row;
    }

    fn generator(&mut self, at: &Moment) -> Result<SqnState, SqnError> {
        let live = self.next.map(|next| SqnState { last_seq: next.get() - 1, offset: self.sqn.offset });
        if let Some(live) = live.filter(|_| !self.reread) {
            return Ok(live);
        }
        let resumed = self.sqn.resume(at.time, at.floor)?;
        let mut state = live.unwrap_or(resumed);
        if live.is_some() {
            state.adopt(resumed);
        }
        self.reread = false;
        match state.offset == self.sqn.offset {
            true => self.goes_on(state),
            false => self.learn(state, at),
        }
        Ok(state)
    }

    /// With the offset of `sqn`.
    fn goes_on(&mut self, state: SqnState) {
        self.next = Some(NonZero::<u64>::MIN.saturating_add(state.last_seq));
    }

    fn learn(&mut self, state: SqnState, at: &Moment) {
        self.sqn = self.sqn.learnt(state.offset, sqn::ticks(at.time));
        self.goes_on(state);
        self.written = false;
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
        if !self.written {
            return Err(Wanted::Offset(self.sqn));
        }
        let rand = random().map_err(Wanted::Refused)?;
        let mut state = self.generator(&at).map_err(refused)?;
        let sqn = match state.next(at.time, at.ind, at.mark) {
            Err(SqnError::Lead) => return Err(self.rebase(at).map_or_else(refused, Wanted::Offset)),
            next => next.map_err(refused)?,
        };
        self.goes_on(state);
        push(&mut self.outstanding, &rand);
        Ok(keys.generate(rand, sqn, subscriber.amf))
    }

    /// More vectors were asked for than the clock has ticks: anybody can do that in a subscriber's name, so it must not
    /// cost the subscriber his service. The offset moves up to the last SEQ; one write in [`sqn::MAX_LEAD`] vectors.
    fn rebase(&mut self, at: Moment) -> Result<StoredSqn, SqnError> {
        let last = Sqn::from_parts(self.generator(&at)?.last_seq, at.ind).ok_or(SqnError::Exhausted)?;
        self.learn(SqnState::imported(last, at.time)?, &at);
        Ok(self.sqn)
    }

    /// Takes over the SQN of the card, if this is its AUTS for a RAND of ours. `mono` for the rate limit. `foreign`:
    /// the RAND may be another node's; who asks has made sure that it was given to this subscriber.
    pub(super) fn resync(
        &mut self,
        keys: &KeySet,
        (rand, auts): (Rand, Auts),
        at: Moment,
        mono: Duration,
        foreign: bool,
    ) -> Result<(), HssError> {
        let sqn_ms = resync::sqn_ms(keys, &rand, &auts).map_err(|_| HssError::ResyncRefused)?;
        let seen = first_octets(&rand);
        let answered = self.resyncs.as_ref().is_some_and(|resyncs| resyncs.answered.contains(&seen));
        if !(self.outstanding.contains(&seen) || foreign) || answered {
            return Err(HssError::ResyncRefused);
        }
        let present = u32::try_from(mono.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let oldest = self.resyncs.as_ref().and_then(|resyncs| resyncs.times.iter().min().copied()).unwrap_or_default();
        if oldest != 0 && present - oldest < RESYNC_WINDOW {
            return Err(HssError::NoVector("too many resynchronisations of this subscriber"));
        }
        let exhausted = |_| HssError::NoVector("the SQN range of this subscriber is used up");
        let mut state = self.generator(&at).map_err(exhausted)?;
        state.resync(sqn_ms, at.time).map_err(exhausted)?;
        self.learn(state, &at);
        let resyncs = self.resyncs.get_or_insert_default();
        if let Some(slot) = resyncs.times.iter_mut().min() {
            *slot = present;
        }
        push(&mut resyncs.answered, &rand); // an AUTS counts once
        self.outstanding = [0; OUTSTANDING];
        Ok(())
    }
}

/// Puts a RAND in place of the oldest.
fn push(rands: &mut [u32; OUTSTANDING], rand: &Rand) {
    rands.rotate_right(1);
    if let Some(newest) = rands.first_mut() {
        *newest = first_octets(rand);
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
