//! Sequence numbers (TS 33.102 annex C): SQN = SEQ || IND, and the time-based generator of the HSS.
//!
//! SEQ follows the clock (0.1 s a step) plus an offset per subscriber, so that no write is needed per
//! vector: a node only persists, ahead of time, one mark that no SEQ may pass, and after a restart goes
//! on above it. Every node has its own IND, so two nodes cannot issue the same SQN for one card.
//! Nothing here reads a clock or a disk.
//!
//! Three scales must not be confused. A *tick* counts tenths of a second since 1970 and is common to all
//! subscribers; marks are ticks. A *SEQ* is what a card compares. `SEQ = tick + offset`.

use crate::clock::Now;
use std::time::Duration;

/// Bits of IND (annex C.3.2: an array of 32 entries on the card).
pub const IND_BITS: u32 = 5;
/// Number of IND values.
pub const IND_COUNT: u8 = 1 << IND_BITS;
/// Highest SEQ: 43 bits.
pub const SEQ_MAX: u64 = (1 << (48 - IND_BITS)) - 1;
/// Δ of annex C.2.1: a card refuses a SEQ that lies further above its highest one.
pub const DELTA: u64 = 1 << 28;
/// How far a subscriber's SEQ may run ahead of the clock: 10 s worth of ticks.
pub const MAX_LEAD: u64 = 100;
/// A jump of SEQ that every card accepts, far below [`DELTA`]: close to two hours of ticks.
pub const NEAR: u64 = 1 << 16;

/// A sequence number: 48 bits, the highest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sqn([u8; 6]);

impl Sqn {
    pub const ZERO: Sqn = Sqn([0; 6]);

    /// None above 48 bits.
    pub fn new(value: u64) -> Option<Self> {
        let [0, 0, octets @ ..] = value.to_be_bytes() else { return None };
        Some(Sqn(octets))
    }

    /// SEQ || IND; None if either is out of range.
    pub fn from_parts(seq: u64, ind: u8) -> Option<Self> {
        let value = (seq <= SEQ_MAX && ind < IND_COUNT).then(|| seq << IND_BITS | u64::from(ind))?;
        Self::new(value)
    }

    pub fn from_octets(octets: [u8; 6]) -> Self {
        Sqn(octets)
    }

    pub fn to_octets(self) -> [u8; 6] {
        self.0
    }

    pub fn value(self) -> u64 {
        self.0.iter().fold(0, |value, octet| value << 8 | u64::from(*octet))
    }

    pub fn seq(self) -> u64 {
        self.value() >> IND_BITS
    }

    pub fn ind(self) -> u8 {
        (self.value() & u64::from(IND_COUNT - 1)) as u8
    }
}

/// Twelve hexadecimal digits.
impl std::fmt::Display for Sqn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:012x}", self.value())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SqnError {
    #[error("IND {0} is out of range (0 to 31)")]
    Ind(u8),
    /// Too many vectors in a short time for this subscriber; time heals it.
    #[error("the subscriber's SEQ is more than 10 s ahead of the clock")]
    Lead,
    /// The persisted mark is reached: it could not be moved on in time.
    #[error("the persisted SQN mark is reached")]
    HighWater,
    /// The 43 bits of SEQ are used up, or an offset would overflow. Never wraps.
    #[error("the SEQ range is used up")]
    Exhausted,
}

/// Ticks of a point in time.
pub fn ticks(unix: Duration) -> u64 {
    unix.as_secs().saturating_mul(10).saturating_add(u64::from(unix.subsec_millis() / 100))
}

/// The node's time base for SQN: it starts at the wall clock or above the persisted mark, whichever is
/// later, and then follows the monotonic clock. A wall clock that steps, in either direction, before or
/// during the run, moves no SEQ backwards.
#[derive(Clone, Copy, Debug)]
pub struct SqnClock {
    base: Duration,
    started: Duration,
}

impl SqnClock {
    /// `high_water`: the mark found on disk, 0 on the very first start.
    pub fn start(now: Now, high_water: u64) -> Self {
        let mark = Duration::from_millis(high_water.saturating_mul(100));
        SqnClock { base: now.unix.max(mark), started: now.mono }
    }

    /// The time to hand to [`SqnState`].
    pub fn read(&self, now: Now) -> Duration {
        self.base.saturating_add(now.mono.saturating_sub(self.started))
    }

    /// The tick it started at: what [`SqnState::restored`] takes as `floor`.
    pub fn floor(&self) -> u64 {
        ticks(self.base)
    }

    /// The mark to persist now (every 5 s): 10 s ahead. Vectors are refused above the last one persisted.
    pub fn mark(&self, now: Now) -> u64 {
        ticks(self.read(now)).saturating_add(MAX_LEAD)
    }
}

/// One subscriber's generator. Only `offset` has to survive a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SqnState {
    /// The SEQ last issued, or the one that the next has to exceed.
    pub last_seq: u64,
    /// SEQ minus ticks.
    pub offset: i64,
}

impl SqnState {
    /// A subscriber whose card holds `sqn` (0 for a fresh card): the next SEQ is just above it. `now` is the
    /// issuing node's [`SqnClock`]; another process that imports subscribers stores the SQN and leaves this to
    /// the node, because an offset against a clock that runs ahead of the node's would have to wait for it.
    pub fn imported(sqn: Sqn, now: Duration) -> Result<Self, SqnError> {
        Ok(SqnState { last_seq: sqn.seq(), offset: offset_after(sqn, now)? })
    }

    /// After a restart: `floor` is the mark that the previous run cannot have passed.
    pub fn restored(offset: i64, floor: u64) -> Self {
        let last = i128::from(floor) + i128::from(offset);
        SqnState { last_seq: u64::try_from(last.max(0)).unwrap_or(u64::MAX), offset }
    }

    /// The next SQN: `SEQ = max(last + 1, ticks(now) + offset)`. Refused when this subscriber is more than
    /// [`MAX_LEAD`] ahead of the clock or `high_water` (in ticks) would be passed. `now` must not be earlier
    /// than at the last call by more than that lead: use [`SqnClock`].
    pub fn next(&mut self, now: Duration, ind: u8, high_water: u64) -> Result<Sqn, SqnError> {
        if ind >= IND_COUNT {
            return Err(SqnError::Ind(ind));
        }
        let due = i128::from(ticks(now)) + i128::from(self.offset);
        let seq = due.max(i128::from(self.last_seq) + 1);
        if seq - due > i128::from(MAX_LEAD) {
            return Err(SqnError::Lead);
        }
        if seq - i128::from(self.offset) > i128::from(high_water) {
            return Err(SqnError::HighWater);
        }
        let seq = u64::try_from(seq).map_err(|_| SqnError::Exhausted)?;
        let sqn = Sqn::from_parts(seq, ind).ok_or(SqnError::Exhausted)?;
        self.last_seq = seq;
        Ok(sqn)
    }

    /// SQN_HE = SQN_MS (TS 33.102 §6.3.5), after MAC-S was verified: the next SEQ is just above the card's, even when
    /// that means lower than before (the card was refusing a jump beyond Δ). What lies just below the SEQ last issued
    /// moves nothing back: the card accepts the next one anyway (the same clause: "in the correct range"), and an AUTS
    /// that was under way while vectors were issued shall not have one of them issued again. The new offset must be
    /// stored before the next vector leaves.
    pub fn resync(&mut self, sqn_ms: Sqn, now: Duration) -> Result<(), SqnError> {
        *self = SqnState::following(above(sqn_ms.seq(), self.last_seq), now)?;
        Ok(())
    }

    /// Goes over to the offset that another node has learnt, without going back behind the SEQ last issued here unless
    /// it was far too high.
    pub fn adopt(&mut self, other: SqnState) {
        *self = SqnState { last_seq: above(other.last_seq, self.last_seq), offset: other.offset };
    }

    /// The next SEQ is just above `seq`.
    fn following(seq: u64, now: Duration) -> Result<Self, SqnError> {
        SqnState::imported(Sqn::from_parts(seq, 0).ok_or(SqnError::Exhausted)?, now)
    }
}

/// What the next SEQ has to exceed when a card or another node names `seq` and `last` is the last one issued here.
fn above(seq: u64, last: u64) -> u64 {
    if last.saturating_sub(seq) <= NEAR { seq.max(last) } else { seq }
}

/// The offset that puts SEQ just above `sqn` at `now`; refused if there is no such SEQ.
fn offset_after(sqn: Sqn, now: Duration) -> Result<i64, SqnError> {
    if sqn.seq() >= SEQ_MAX {
        return Err(SqnError::Exhausted);
    }
    i64::try_from(i128::from(sqn.seq()) + 1 - i128::from(ticks(now))).map_err(|_| SqnError::Exhausted)
}

#[cfg(test)]
mod tests;
