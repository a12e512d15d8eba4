//! Requests of ours: to the best peer, then to the next, until one is answered or its time is up.

use super::PeerSettings;
use super::core::Core;
use super::entry::Entry;
use super::route::{self, Candidate, Choice};
use super::waiting::{Pending, Sending};
use crate::diameter::Message;
use crate::diameter::dictionary::{ORIGIN_HOST, REDIRECT_HOST};
use crate::diameter::exchange::{Destination, Failure, Reply};
use crate::diameter::fault::{ResultCode, base};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

impl Core {
    pub(super) fn send_new(self: &Rc<Self>, sending: Sending) {
        let now = self.now();
        let pending = Pending::new(sending, self.local.next_end_to_end(), now, now + self.settings.request_within);
        self.send(pending, Err(Failure::NoPeer));
    }

    /// To the best peer that has not had it; `otherwise` is what comes of it if there is none.
    pub(super) fn send(&self, mut pending: Pending, otherwise: Result<Reply, Failure>) {
        if pending.is_given_up() {
            return;
        }
        pending.unanswered |= matches!(otherwise, Err(Failure::Lost | Failure::Timeout));
        let mut peers = self.peers.borrow_mut();
        loop {
            let id = match self.choose(&peers, &pending, None) {
                Choice::Peer(id) => id,
                Choice::Full if pending.tried.is_empty() => return pending.settle(Err(Failure::Busy)),
                Choice::Full | Choice::None => return pending.settle(otherwise),
            };
            let now = self.now();
            let left = pending.until.saturating_sub(now);
            // With another peer at hand, this one has half of the time.
            let another = self.choose(&peers, &pending, Some(id));
            let try_for = if matches!(another, Choice::Peer(_)) { left / 2 } else { left };
            let Some(entry) = peers.get_mut(&id) else { return pending.settle(otherwise) };
            let (Some(link), Some(remote)) = (entry.active(), entry.machine.remote()) else {
                pending.tried.push(id);
                continue;
            };
            let realm = remote.realm.clone();
            let hop_by_hop = entry.machine.next_hop_by_hop();
            let octets = match pending.octets_for(&realm, hop_by_hop) {
                Ok(octets) => octets,
                Err(_) => return pending.settle(Err(Failure::TooLong)),
            };
            pending.tried.push(id);
            if !link.send(&octets, self.settings.unsent) {
                continue;
            }
            pending.sent = now;
            pending.try_until = now + try_for;
            entry.meters.sent(pending.command);
            self.timers.borrow_mut().push(Reverse((pending.try_until, id, hop_by_hop)));
            if pending.try_until < self.armed.get() {
                self.rearm.notify_one();
            }
            entry.pending.insert(hop_by_hop, pending);
            entry.meters.waiting(entry.pending.len());
            return;
        }
    }

    /// `but`: not this one either.
    fn choose(&self, peers: &BTreeMap<u64, Entry>, pending: &Pending, but: Option<u64>) -> Choice {
        let Destination { application, host, .. } = &pending.to;
        // Those who connect to us are mostly clients: they are asked by name, or where nobody is configured to be asked.
        let asks = |peer: &PeerSettings| peer.applications.is_empty() || peer.applications.contains(application);
        let any = host.is_some() || !self.settings.peers.iter().any(asks);
        let candidates = peers.iter().filter(|(id, _)| Some(**id) != but).filter_map(|(id, entry)| {
            let candidate = Candidate {
                id: *id,
                standing: entry.machine.standing(),
                doubtful: entry.doubtful,
                full: entry.pending.len() >= self.settings.max_waiting_peer,
                asked: &entry.asked,
                remote: entry.machine.remote()?,
            };
            (any || entry.endpoint.is_some()).then_some(candidate)
        });
        route::choose(&pending.to, &pending.tried, candidates)
    }

    pub(super) fn try_is_over(&self, id: u64, hop_by_hop: u32, now: Duration) {
        let mut peers = self.peers.borrow_mut();
        let Some(pending) = peers.get(&id).and_then(|entry| entry.pending.get(&hop_by_hop)) else { return };
        if pending.try_until > now {
            return;
        }
        let last = now >= pending.until;
        let another = self.choose(&peers, pending, None);
        let Some(entry) = peers.get_mut(&id) else { return };
        if !last && !matches!(another, Choice::Peer(_)) {
            // Whoever it was kept for has gone meanwhile.
            if let Some(pending) = entry.pending.get_mut(&hop_by_hop) {
                pending.try_until = pending.until;
                self.timers.borrow_mut().push(Reverse((pending.until, id, hop_by_hop)));
            }
            return;
        }
        let Some(pending) = entry.take(hop_by_hop) else { return };
        entry.meters.timed_out(pending.command);
        entry.doubtful |= entry.heard < pending.sent;
        drop(peers);
        if last {
            pending.settle(Err(Failure::Timeout));
        } else {
            self.send(pending, Err(Failure::Timeout));
        }
        self.changed.notify_one();
    }

    pub(super) fn answered(&self, id: u64, octets: Vec<u8>) {
        let Ok(message) = Message::parse(&octets) else { return };
        let (header, now) = (*message.header(), self.now());
        let mut peers = self.peers.borrow_mut();
        let Some(entry) = peers.get_mut(&id) else { return };
        let is_its = |pending: &Pending| {
            (pending.end_to_end, pending.command) == (header.end_to_end, (header.application, header.command))
        };
        if !entry.pending.get(&header.hop_by_hop).is_some_and(is_its) {
            let from = message.identity(&ORIGIN_HOST).unwrap_or_default();
            return tracing::debug!(from, command = header.command, "Diameter answer to nothing that waits");
        }
        let Some(mut pending) = entry.take(header.hop_by_hop) else { return };
        let result = message.result().ok();
        entry.meters.answered(pending.command, result, now.saturating_sub(pending.sent));
        let again = elsewhere(result) || self.redirected(&peers, &mut pending, &message);
        drop(peers);
        let reply = Reply::new(octets).ok_or(Failure::Garbled);
        if again {
            self.send(pending, reply);
        } else {
            pending.settle(reply);
        }
        self.changed.notify_one();
    }

    /// A redirect agent names those who have the answer, in TS 29.228 an SLF the HSS of a user (RFC 6733 §6.12): the first
    /// of them that is a peer of ours is asked.
    fn redirected(&self, peers: &BTreeMap<u64, Entry>, pending: &mut Pending, answer: &Message<'_>) -> bool {
        if answer.result() != Ok(base::REDIRECT_INDICATION) {
            return false;
        }
        let before = pending.to.host.take();
        for uri in answer.avps().all(&REDIRECT_HOST).filter_map(|avp| avp.text().ok()) {
            pending.to.host = host_of(uri).map(Arc::from);
            if pending.to.host.is_some() && matches!(self.choose(peers, pending, None), Choice::Peer(_)) {
                return true;
            }
        }
        pending.to.host = before;
        false
    }
}

/// Of a DiameterURI, `aaa://hss.home1.net:3868;transport=tcp` (RFC 6733 §4.3.1).
fn host_of(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once("://")?;
    let is_one = scheme.eq_ignore_ascii_case("aaa") || scheme.eq_ignore_ascii_case("aaas");
    rest.split([':', ';']).next().filter(|host| is_one && !host.is_empty())
}

/// Whether another peer may do better (RFC 6733 §7.1.3).
fn elsewhere(result: Option<ResultCode>) -> bool {
    matches!(result, Some(base::UNABLE_TO_DELIVER | base::TOO_BUSY))
}
