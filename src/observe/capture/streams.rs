//! TCP streams put in order (RFC 9293 §3.4) and cut into SIP messages by Content-Length (RFC 3261 §18.3).
//!
//! A capture may begin in the middle of a stream and may have lost segments: then reading starts again at the next
//! segment that begins with a SIP start line.

use super::{Sink, looks_like_sip};
use crate::sip::frame::{self, Frame};
use crate::sip::transaction::Transport;
use etherparse::TcpSlice;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Directions of connections that are followed at once; the oldest gives way.
const MAX_STREAMS: usize = 1024;
/// Octets of one direction that wait for a missing segment, or for the end of a message.
const MAX_WAITING: usize = 1 << 18;
const MAX_EARLY: usize = 512;

type Path = (SocketAddr, SocketAddr);

#[derive(Default)]
pub(super) struct Streams {
    streams: HashMap<Path, Stream>,
    /// In the order of their first segment.
    ages: VecDeque<Path>,
    lost: u64,
}

#[derive(Default)]
struct Stream {
    /// Sequence number of the octet after `ready`; None: no start found yet.
    next: Option<u32>,
    /// Octets in order that are no whole message yet.
    ready: Vec<u8>,
    /// Segments beyond a hole, by sequence number.
    early: BTreeMap<u32, Vec<u8>>,
    waiting: usize,
}

impl Streams {
    pub(super) fn segment(&mut self, at: Option<Duration>, path: Path, segment: &TcpSlice<'_>, sink: &mut Sink<'_>) {
        let sequence = segment.sequence_number();
        if segment.rst() {
            self.remove(&path);
            return;
        }
        if segment.syn() {
            self.remove(&path);
            self.stream(path).next = Some(sequence.wrapping_add(1));
        }
        let payload = segment.payload();
        let sequence = if segment.syn() { sequence.wrapping_add(1) } else { sequence };
        let lost = if payload.is_empty() {
            0
        } else {
            let stream = self.stream(path);
            let lost = stream.take(sequence, payload);
            stream.cut(|message| sink.message(at, Transport::Tcp, path, message));
            lost
        };
        self.lost = self.lost.saturating_add(lost);
        if segment.fin() && self.streams.get(&path).is_some_and(|stream| stream.early.is_empty()) {
            self.remove(&path);
        }
    }

    fn stream(&mut self, path: Path) -> &mut Stream {
        if !self.streams.contains_key(&path) {
            while self.streams.len() >= MAX_STREAMS {
                let Some(oldest) = self.ages.pop_front() else { break };
                self.remove(&oldest);
            }
            self.ages.push_back(path);
        }
        self.streams.entry(path).or_default()
    }

    fn remove(&mut self, path: &Path) {
        if let Some(stream) = self.streams.remove(path) {
            self.ages.retain(|known| known != path);
            self.lost = self.lost.saturating_add(u64::from(stream.is_unfinished()));
        }
    }

    pub(super) fn unfinished(&self) -> u64 {
        self.lost.saturating_add(self.streams.values().filter(|stream| stream.is_unfinished()).count() as u64)
    }
}

impl Stream {
    fn is_unfinished(&self) -> bool {
        looks_like_sip(&self.ready) || !self.early.is_empty()
    }

    /// Takes one segment in; how often octets were given up for it.
    fn take(&mut self, sequence: u32, payload: &[u8]) -> u64 {
        let Some(next) = self.next else {
            if looks_like_sip(payload) {
                self.next = Some(sequence);
                return self.take(sequence, payload);
            }
            return 0;
        };
        let ahead = sequence.wrapping_sub(next);
        // The upper half of the circle is the past: seen before, in whole or in part.
        if ahead > u32::MAX / 2 {
            let seen = usize::try_from(next.wrapping_sub(sequence)).unwrap_or(usize::MAX);
            if let Some(fresh) = payload.get(seen..).filter(|fresh| !fresh.is_empty()) {
                self.append(fresh);
            }
        } else if ahead == 0 {
            self.append(payload);
        } else {
            self.waiting = self.waiting.saturating_add(payload.len());
            if let Some(before) = self.early.insert(sequence, payload.to_vec()) {
                self.waiting = self.waiting.saturating_sub(before.len());
            }
        }
        self.close_holes();
        if self.early.len() <= MAX_EARLY && self.waiting.saturating_add(self.ready.len()) <= MAX_WAITING {
            return 0;
        }
        // What is missing will not come any more: begin again where a message begins.
        *self = Stream::default();
        if looks_like_sip(payload) {
            self.next = Some(sequence.wrapping_add(payload.len() as u32));
            self.ready = payload.to_vec();
        }
        1
    }

    fn append(&mut self, octets: &[u8]) {
        self.ready.extend_from_slice(octets);
        self.next = self.next.map(|next| next.wrapping_add(octets.len() as u32));
    }

    fn close_holes(&mut self) {
        while let Some(next) = self.next {
            let reached = self.early.keys().copied().find(|sequence| next.wrapping_sub(*sequence) <= u32::MAX / 2);
            let Some(sequence) = reached else { return };
            let octets = self.early.remove(&sequence).unwrap_or_default();
            self.waiting = self.waiting.saturating_sub(octets.len());
            let seen = usize::try_from(next.wrapping_sub(sequence)).unwrap_or(usize::MAX);
            if let Some(fresh) = octets.get(seen..) {
                let fresh = fresh.to_vec();
                self.append(&fresh);
            }
        }
    }

    /// Hands out the whole messages at the front.
    fn cut(&mut self, mut each: impl FnMut(&[u8])) {
        let mut done = 0;
        while let Some(rest) = self.ready.get(done..).filter(|rest| !rest.is_empty()) {
            match frame::next(rest) {
                Ok(Frame::Message { len }) if len > 0 => {
                    each(rest.get(..len).unwrap_or_default());
                    done = done.saturating_add(len);
                }
                Ok(Frame::KeepAlive { skip, .. }) if skip > 0 => done = done.saturating_add(skip),
                Ok(_) => break,
                Err(_) => {
                    // Not SIP, or framing is lost.
                    *self = Stream::default();
                    return;
                }
            }
        }
        self.ready.drain(..done.min(self.ready.len()));
    }
}
