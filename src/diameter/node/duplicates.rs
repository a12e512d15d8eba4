//! Requests that come a second time (RFC 6733 §5.5.4): one with the T flag whose Origin-Host, End-to-End Identifier and
//! Session-Id are known gets the answer of the first.

use crate::diameter::Message;
use crate::diameter::dictionary::{ORIGIN_HOST, SESSION_ID};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long an answer is remembered: an identifier is not used again for four minutes, and nobody asks again so late.
const KEPT: Duration = Duration::from_secs(60);
const MAX_ENTRIES: usize = 16_384;
const MAX_OCTETS: usize = 16 << 20;

/// What tells a request from all others. The session keeps one who guesses identifiers from another's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    end_to_end: u32,
    command: (u32, u32),
    origin: Box<str>,
    session: Box<str>,
}

impl Key {
    pub(super) fn of(request: &Message<'_>) -> Option<Self> {
        let header = request.header();
        Some(Key {
            end_to_end: header.end_to_end,
            command: (header.application, header.command),
            origin: request.identity(&ORIGIN_HOST).ok()?.to_ascii_lowercase().into(),
            session: request.identity(&SESSION_ID).ok()?.into(),
        })
    }
}

/// Where an answer is to go: peer and Hop-by-Hop Identifier.
pub(super) type Asker = (u64, u32);

#[derive(Debug)]
enum Entry {
    /// Being served; these asked again meanwhile.
    Served(Vec<Asker>),
    Answered(Vec<u8>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// To be served.
    New,
    /// The answer will go to this one too.
    Joined,
    Answer(Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct Duplicates {
    entries: HashMap<Key, Entry>,
    /// In the order of time.
    order: VecDeque<(Duration, Key)>,
    octets: usize,
}

impl Duplicates {
    /// `again`: it has the T flag. Another one without it begins anew.
    pub(super) fn look(&mut self, key: &Key, again: bool, asker: Asker, now: Duration) -> Found {
        self.forget(now);
        match self.entries.get_mut(key) {
            Some(Entry::Answered(octets)) if again => return Found::Answer(octets.clone()),
            Some(Entry::Served(askers)) if again && askers.len() < 4 => {
                askers.push(asker);
                return Found::Joined;
            }
            Some(_) => {}
            None => {
                self.entries.insert(key.clone(), Entry::Served(Vec::new()));
                self.order.push_back((now, key.clone()));
            }
        }
        Found::New
    }

    /// Remembers an answer, and tells who else waits for it.
    pub(super) fn answered(&mut self, key: &Key, octets: &[u8]) -> Vec<Asker> {
        let Some(entry) = self.entries.get_mut(key) else { return Vec::new() };
        self.octets += octets.len();
        match std::mem::replace(entry, Entry::Answered(octets.to_vec())) {
            Entry::Served(askers) => askers,
            Entry::Answered(before) => {
                self.octets = self.octets.saturating_sub(before.len());
                Vec::new()
            }
        }
    }

    /// It will not be answered.
    pub(super) fn dropped(&mut self, key: &Key) {
        if matches!(self.entries.get(key), Some(Entry::Served(_))) {
            self.entries.remove(key);
        }
    }

    fn forget(&mut self, now: Duration) {
        while let Some((since, _)) = self.order.front() {
            let full = self.order.len() >= MAX_ENTRIES || self.octets > MAX_OCTETS;
            if !full && now.saturating_sub(*since) < KEPT {
                break;
            }
            if let Some((_, key)) = self.order.pop_front()
                && let Some(Entry::Answered(octets)) = self.entries.remove(&key)
            {
                self.octets = self.octets.saturating_sub(octets.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diameter::dictionary::application::CX;
    use crate::diameter::{Origin, request};

    fn key(session: &str) -> Key {
        let origin = Origin { host: "Scscf.home1.net".into(), realm: "home1.net".into() };
        let octets = request(CX, 303, session, &origin).finish().unwrap();
        Key::of(&Message::parse(&octets).unwrap()).unwrap()
    }

    #[test]
    fn what_comes_again_gets_the_first_answer_and_is_served_once() {
        let mut seen = Duplicates::default();
        let at = Duration::from_secs;
        assert_eq!(seen.look(&key("a"), false, (1, 1), at(0)), Found::New);
        assert_eq!(seen.look(&key("a"), true, (2, 7), at(1)), Found::Joined);
        assert_eq!(seen.look(&key("b"), true, (2, 8), at(1)), Found::New, "another session");
        assert_eq!(seen.answered(&key("a"), b"answer"), [(2, 7)]);
        assert_eq!(seen.look(&key("a"), true, (1, 9), at(2)), Found::Answer(b"answer".to_vec()));
        assert_eq!(seen.look(&key("a"), false, (1, 9), at(2)), Found::New, "it does not say that it comes again");
        assert_eq!(seen.answered(&key("a"), b"other"), []);
        assert_eq!(seen.look(&key("a"), true, (1, 9), at(61)), Found::New, "too late");
        seen.dropped(&key("b"));
        assert_eq!(seen.look(&key("b"), true, (1, 9), at(62)), Found::New);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seen = Duplicates::default();
        for session in 0..MAX_ENTRIES + 100 {
            seen.look(&key(&session.to_string()), false, (1, 1), Duration::ZERO);
        }
        assert!(seen.entries.len() <= MAX_ENTRIES && seen.order.len() <= MAX_ENTRIES);
        let mut seen = Duplicates::default();
        for session in 0..200 {
            let key = key(&session.to_string());
            seen.look(&key, false, (1, 1), Duration::ZERO);
            seen.answered(&key, &vec![0; 200 * 1024]);
        }
        assert!(seen.octets <= MAX_OCTETS + 200 * 1024, "{}", seen.octets);
    }
}
