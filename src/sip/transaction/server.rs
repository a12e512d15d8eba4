//! Server transactions (RFC 3261 §17.2.2): a request is handled once and answered once; a retransmission is absorbed
//! while the answer is being worked out and gets the same octets afterwards. Driven by `sip::transport`.
//!
//! Entries leave in the order in which they were completed (timer J is the same for all), so expiry is a queue, and their
//! responses stand one behind the other in chunks that are given up whole. A full table gives up its oldest completed entries first: a flood
//! shortens the memory for retransmissions, it never grows it.

use super::TIMEOUT;
use super::key::{ByPrehashed, Key, Keying};
use crate::sip::{HeaderError, Message, Via};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// Handle it: [`ServerTable::answered`] or [`ServerTable::unanswered`] is owed.
    New,
    /// A retransmission of what is being handled, or of what will get no answer.
    Absorb,
    /// A retransmission of what was answered: send these octets again.
    Retransmit(&'a [u8]),
    /// As many requests as the table holds are being handled: refuse this one (503) and forget it.
    Full,
}

enum State {
    /// Trying or Proceeding: the handler has it.
    Open,
    /// Completed; empty when the handler chose not to answer.
    Completed(Place),
}

/// Where a response stands among those that are kept.
#[derive(Clone, Copy)]
struct Place {
    chunk: u64,
    at: usize,
    length: usize,
}

/// The responses that are kept, oldest first: many small ones in few allocations.
#[derive(Default)]
struct Responses {
    /// With the number of responses that are still wanted in each.
    chunks: VecDeque<(Vec<u8>, usize)>,
    /// Of the first chunk; they are numbered.
    first: u64,
    /// A chunk to be used again.
    spare: Vec<u8>,
    /// What the chunks take up.
    octets: usize,
}

/// A chunk's octets; a response that is larger has one of its own.
const CHUNK: usize = 64 * 1024;

impl Responses {
    fn push(&mut self, response: &[u8]) -> Place {
        let has_room = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() >= response.len();
        if !self.chunks.back().is_some_and(|(chunk, _)| has_room(chunk)) {
            let mut chunk = std::mem::take(&mut self.spare);
            chunk.reserve_exact(response.len().max(CHUNK));
            self.octets += chunk.capacity();
            self.chunks.push_back((chunk, 0));
        }
        let number = self.first + (self.chunks.len() as u64).saturating_sub(1);
        let at = match self.chunks.back_mut() {
            Some((chunk, wanted)) => {
                *wanted += 1;
                let at = chunk.len();
                chunk.extend_from_slice(response);
                at
            }
            None => 0, // there is one since above
        };
        Place { chunk: number, at, length: response.len() }
    }

    fn index(&self, place: Place) -> usize {
        usize::try_from(place.chunk.wrapping_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn get(&self, place: Place) -> &[u8] {
        let chunk = self.chunks.get(self.index(place)).and_then(|(chunk, _)| chunk.get(place.at..));
        chunk.and_then(|rest| rest.get(..place.length)).unwrap_or_default()
    }

    fn remove(&mut self, place: Place) {
        let index = self.index(place);
        if let Some((_, wanted)) = self.chunks.get_mut(index) {
            *wanted = wanted.saturating_sub(1);
        }
        while let Some((mut chunk, _)) = self.chunks.pop_front_if(|(_, wanted)| *wanted == 0) {
            self.first += 1;
            self.octets = self.octets.saturating_sub(chunk.capacity());
            chunk.clear();
            if chunk.capacity() <= CHUNK {
                self.spare = chunk;
            }
        }
    }
}

pub struct ServerTable {
    keying: Keying,
    entries: HashMap<Key, State, ByPrehashed>,
    /// Completed entries with the time that timer J ends, oldest first.
    completed: VecDeque<(Duration, Key)>,
    capacity: usize,
    responses: Responses,
}

/// Responses copy the request's Via and From: one a sender can make long, many cost what they please. Ordinary ones
/// stay far below this.
const OCTETS: usize = 64 * 1024 * 1024;

impl ServerTable {
    /// `capacity`: most transactions remembered, at least one.
    pub fn new(capacity: usize) -> Self {
        ServerTable {
            keying: Keying::default(),
            entries: HashMap::default(),
            completed: VecDeque::new(),
            capacity: capacity.max(1),
            responses: Responses::default(),
        }
    }

    /// The key of `request`, see [`Keying::key`].
    pub fn key(&self, request: &Message<'_>, from: IpAddr) -> Result<Key, HeaderError> {
        self.keying.key(request, from)
    }

    /// See [`Keying::key_with`].
    pub fn key_with(&self, request: &Message<'_>, via: &Via<'_>, from: IpAddr) -> Key {
        self.keying.key_with(request, via, from)
    }

    pub fn on_request(&mut self, key: Key, now: Duration) -> Arrival<'_> {
        self.expire(now);
        if self.entries.contains_key(&key) {
            return match self.entries.get(&key) {
                Some(State::Completed(place)) if place.length > 0 => Arrival::Retransmit(self.responses.get(*place)),
                _ => Arrival::Absorb,
            };
        }
        if self.entries.len() >= self.capacity && !self.forget_oldest() {
            return Arrival::Full;
        }
        self.entries.insert(key, State::Open);
        Arrival::New
    }

    /// The final response of an open transaction, which the caller has sent. Over a reliable transport timer J is zero:
    /// nothing is kept. False if the transaction was answered before or is not known: then this answer must not go out.
    pub fn answered(&mut self, key: Key, response: &[u8], reliable: bool, now: Duration) -> bool {
        if !self.is_open(key) {
            return false;
        }
        if reliable {
            self.entries.remove(&key);
        } else {
            self.complete(key, response, now);
        }
        true
    }

    /// The handler gives no answer: retransmissions stay absorbed as long as an answer would have been kept.
    pub fn unanswered(&mut self, key: Key, now: Duration) {
        if self.is_open(key) {
            self.complete(key, b"", now);
        }
    }

    /// Takes an open transaction back, as if its request had not come: nothing is remembered of it.
    pub fn forget(&mut self, key: Key) {
        if self.is_open(key) {
            self.entries.remove(&key);
        }
    }

    /// True while an answer is owed.
    pub fn is_open(&self, key: Key) -> bool {
        matches!(self.entries.get(&key), Some(State::Open))
    }

    /// Forgets what timer J has ended.
    pub fn expire(&mut self, now: Duration) {
        while self.completed.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
    }

    /// Gives up the oldest completed entry; false if there is none.
    fn forget_oldest(&mut self) -> bool {
        let Some((_, oldest)) = self.completed.pop_front() else { return false };
        if let Some(State::Completed(place)) = self.entries.remove(&oldest) {
            self.responses.remove(place);
        }
        true
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn complete(&mut self, key: Key, response: &[u8], now: Duration) {
        let place = self.responses.push(response);
        self.entries.insert(key, State::Completed(place));
        self.completed.push_back((now.saturating_add(TIMEOUT), key));
        while self.responses.octets > OCTETS && self.forget_oldest() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(table: &ServerTable, n: u32) -> Key {
        let text = format!(
            "REGISTER sip:ims.example SIP/2.0\r\nVia: SIP/2.0/UDP h.example;branch=z9hG4bK{n}\r\n\
             From: <sip:a@ims.example>;tag=t\r\nTo: <sip:a@ims.example>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n\r\n"
        );
        table.key(&Message::parse(text.as_bytes()).unwrap(), IpAddr::from([127, 0, 0, 1])).unwrap()
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn absorbs_until_answered_then_repeats_the_answer_until_timer_j() {
        let mut table = ServerTable::new(10);
        let one = key(&table, 1);
        assert_eq!(table.on_request(one, at(0)), Arrival::New);
        assert_eq!(table.on_request(one, at(500)), Arrival::Absorb);
        assert!(table.answered(one, b"200", false, at(1000)));
        assert!(!table.answered(one, b"500", false, at(1001)), "no second answer");
        assert_eq!(table.on_request(one, at(1500)), Arrival::Retransmit(b"200"));
        assert_eq!(table.on_request(one, at(32_999)), Arrival::Retransmit(b"200"));
        assert_eq!(table.on_request(one, at(33_000)), Arrival::New, "timer J is 64*T1 from the answer");
    }

    #[test]
    fn a_reliable_transport_keeps_nothing_after_the_answer() {
        let mut table = ServerTable::new(10);
        let one = key(&table, 1);
        assert_eq!(table.on_request(one, at(0)), Arrival::New);
        assert_eq!(table.on_request(one, at(0)), Arrival::Absorb);
        assert!(table.answered(one, b"200", true, at(1)));
        assert!(table.is_empty());
    }

    #[test]
    fn silence_stays_silent() {
        let mut table = ServerTable::new(10);
        let one = key(&table, 1);
        assert_eq!(table.on_request(one, at(0)), Arrival::New);
        table.unanswered(one, at(1));
        assert_eq!(table.on_request(one, at(2)), Arrival::Absorb);
        assert!(!table.answered(one, b"200", false, at(3)));
    }

    #[test]
    fn what_is_taken_back_leaves_nothing_and_costs_others_nothing() {
        let mut table = ServerTable::new(2);
        let [one, two, three] = [1, 2, 3].map(|n| key(&table, n));
        assert_eq!(table.on_request(one, at(0)), Arrival::New);
        assert!(table.answered(one, b"1", false, at(0)));
        for _ in 0..3 {
            assert_eq!(table.on_request(two, at(1)), Arrival::New);
            table.forget(two);
        }
        table.forget(one);
        assert_eq!(table.on_request(one, at(2)), Arrival::Retransmit(b"1"), "what was answered stays");
        assert_eq!(table.on_request(three, at(2)), Arrival::New);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn long_answers_are_forgotten_sooner() {
        let mut table = ServerTable::new(10_000);
        for n in 0..2_000 {
            let key = key(&table, n);
            assert_eq!(table.on_request(key, at(0)), Arrival::New);
            assert!(table.answered(key, &[b' '; 60_000], false, at(0)));
            assert!(table.responses.octets <= OCTETS + CHUNK);
        }
        assert_eq!(table.len(), OCTETS / CHUNK);
        table.expire(at(100_000));
        assert_eq!((table.responses.octets, table.len()), (0, 0));
    }

    #[test]
    fn each_answer_comes_back_from_among_many_of_all_lengths() {
        let mut table = ServerTable::new(10_000);
        let answer = |n: u32| vec![n as u8; 1 + (n as usize * 7919) % 9000];
        for n in 0..600 {
            let key = key(&table, n);
            assert_eq!(table.on_request(key, at(u64::from(n) * 100)), Arrival::New);
            assert!(table.answered(key, &answer(n), false, at(u64::from(n) * 100)));
            for earlier in [n, n - n.min(1), n - n.min(100), n - n.min(319)] {
                let key = self::key(&table, earlier);
                assert_eq!(table.on_request(key, at(u64::from(n) * 100)), Arrival::Retransmit(&answer(earlier)));
            }
        }
        assert!(table.responses.chunks.len() < 30, "what is over is given up");
    }

    #[test]
    fn a_full_table_forgets_the_oldest_completed_and_never_an_open_one() {
        let mut table = ServerTable::new(3);
        let [one, two, three, four, five] = [1, 2, 3, 4, 5].map(|n| key(&table, n));
        for key in [one, two, three] {
            assert_eq!(table.on_request(key, at(0)), Arrival::New);
        }
        assert_eq!(table.on_request(four, at(1)), Arrival::Full);
        assert!(table.answered(two, b"2", false, at(2)));
        assert!(table.answered(one, b"1", false, at(3)));
        assert_eq!(table.on_request(four, at(4)), Arrival::New);
        assert_eq!(table.on_request(one, at(5)), Arrival::Retransmit(b"1"));
        assert_eq!(table.on_request(five, at(6)), Arrival::New);
        assert_eq!(table.on_request(two, at(7)), Arrival::Full);
        assert_eq!(table.on_request(three, at(7)), Arrival::Absorb);
        assert_eq!(table.len(), 3);
    }
}
