//! The watchdog of a connection (RFC 3539 §3.4.1), and how long to wait before the next attempt to connect.

use std::time::Duration;

/// What is thought of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// Never failed yet.
    Initial,
    Okay,
    Suspect,
    /// The connection broke or was given up.
    Down,
    /// Connected again after a failure, with so many watchdogs answered; −1: one was not, and its late answer is none.
    Reopen(i8),
}

/// What is to be done when the time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ask,
    Wait,
    Close,
}

#[derive(Debug)]
pub(super) struct Watchdog {
    tw: Duration,
    health: Health,
    /// A DWR is unanswered.
    pending: bool,
    due: Option<Duration>,
    dice: Dice,
}

/// Watchdogs to be answered in order before a peer that had failed is trusted again.
const PROBATION: i8 = 3;

impl Watchdog {
    pub(super) fn new(tw: Duration, seed: u64) -> Self {
        Watchdog { tw, health: Health::Initial, pending: false, due: None, dice: Dice(seed) }
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.health == Health::Suspect
    }

    pub(super) fn is_reopening(&self) -> bool {
        matches!(self.health, Health::Reopen(_))
    }

    /// True: a DWR is to be sent at once.
    pub(super) fn connected(&mut self, now: Duration) -> bool {
        self.set(now);
        let failed = self.health == Health::Down;
        self.health = if failed { Health::Reopen(0) } else { Health::Okay };
        self.pending = failed;
        failed
    }

    pub(super) fn disconnected(&mut self, orderly: bool) {
        self.due = None;
        self.pending = false;
        self.health = if orderly { Health::Initial } else { Health::Down };
    }

    /// Any message is a sign of life; `watchdog`: it is a DWA.
    pub(super) fn heard(&mut self, now: Duration, watchdog: bool) {
        let awaited = watchdog && std::mem::take(&mut self.pending);
        match self.health {
            Health::Okay | Health::Initial => self.set(now),
            Health::Suspect => {
                self.health = Health::Okay;
                self.set(now);
            }
            Health::Reopen(answered) if awaited => {
                let answered = answered + 1;
                self.health = if answered >= PROBATION { Health::Okay } else { Health::Reopen(answered) };
            }
            Health::Reopen(_) | Health::Down => {}
        }
    }

    /// The time has come.
    pub(super) fn expired(&mut self, now: Duration) -> Verdict {
        self.set(now);
        match (self.health, self.pending) {
            (Health::Suspect, _) | (Health::Reopen(..0), true) => Verdict::Close,
            (Health::Reopen(_), true) => {
                self.health = Health::Reopen(-1);
                Verdict::Wait
            }
            (Health::Down, _) => Verdict::Wait,
            (_, true) => {
                self.health = Health::Suspect;
                Verdict::Wait
            }
            (_, false) => {
                self.pending = true;
                Verdict::Ask
            }
        }
    }

    /// Tw with its jitter: 30 s come out as 28 to 32.
    fn set(&mut self, now: Duration) {
        self.due = Some(now + self.dice.around(self.tw, 15));
    }
}

/// How long to wait before connecting again: longer and longer, but never for ever.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    dice: Dice,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Backoff { first, longest, next: first, dice: Dice(seed) }
    }

    pub(super) fn next(&mut self) -> Duration {
        let wait = self.dice.around(self.next, 4);
        self.next = (self.next * 2).min(self.longest);
        wait
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The peer does not want to be asked soon.
    pub(super) fn reluctant(&mut self) {
        self.next = self.longest;
    }
}

/// Spreads what many nodes would else do at the same moment. Nothing secret hangs on it.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    /// `time`, more or less by up to a `part`th of it.
    fn around(&mut self, time: Duration, part: u32) -> Duration {
        let spread = time / part;
        let share = f64::from((self.roll() >> 40) as u32) / f64::from(1u32 << 24);
        (time - spread) + (spread * 2).mul_f64(share)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TW: Duration = Duration::from_secs(30);

    #[test]
    fn tw_has_two_seconds_of_jitter_either_way() {
        let mut dice = Dice(7);
        let drawn: Vec<_> = (0..1000).map(|_| dice.around(TW, 15)).collect();
        let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(28) && *least < Duration::from_millis(28_100), "{least:?}");
        assert!(*most <= Duration::from_secs(32) && *most > Duration::from_millis(31_900), "{most:?}");
    }

    #[test]
    fn the_wait_grows_to_its_bound_and_stays_there() {
        let mut backoff = Backoff::new(Duration::from_millis(250), TW, 1);
        let waits: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits[0] < Duration::from_millis(320) && waits[3] >= Duration::from_millis(1500), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= TW * 5 / 4), "{waits:?}");
        backoff.reset();
        assert!(backoff.next() < Duration::from_millis(320));
        backoff.reluctant();
        assert!(backoff.next() >= TW * 3 / 4);
    }
}
