//! A request of ours on its way: to one peer, then to another, until it is answered or its time is up.

use crate::diameter::exchange::{Destination, Failure, Reply};
use crate::diameter::{TooLong, Writer, dictionary, message};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// One of the places that there are for waiting requests; given back when it is dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    pub(super) fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let place = Place(taken.clone());
        // Above the limit the new place is dropped, and with that given back.
        (taken.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct Sending {
    pub(super) to: Destination,
    pub(super) request: Writer,
    pub(super) reply: oneshot::Sender<Result<Reply, Failure>>,
    /// Held as long as it waits.
    pub(super) place: Place,
}

pub(super) struct Pending {
    pub(super) to: Destination,
    request: Writer,
    reply: oneshot::Sender<Result<Reply, Failure>>,
    _place: Place,
    pub(super) end_to_end: u32,
    /// Peers that have had it.
    pub(super) tried: Vec<u64>,
    /// One of them may have acted on it, and was not heard of: from then on it has the T flag, which it must not have after
    /// nothing but refusals (RFC 6733 §3).
    pub(super) unanswered: bool,
    /// Of the try that is on.
    pub(super) command: (u32, u32),
    pub(super) sent: Duration,
    pub(super) try_until: Duration,
    /// When it fails for good.
    pub(super) until: Duration,
}

impl Pending {
    pub(super) fn new(sending: Sending, end_to_end: u32, now: Duration, until: Duration) -> Self {
        Pending {
            to: sending.to,
            request: sending.request,
            reply: sending.reply,
            _place: sending.place,
            end_to_end,
            tried: Vec::new(),
            unanswered: false,
            command: (0, 0),
            sent: now,
            try_until: until,
            until,
        }
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.reply.is_closed()
    }

    /// The octets for one peer, which is in `realm`.
    pub(super) fn octets_for(&mut self, realm: &str, hop_by_hop: u32) -> Result<Vec<u8>, TooLong> {
        let mut writer = self.request.clone();
        if let Some(host) = &self.to.host {
            writer.text(&dictionary::DESTINATION_HOST, host);
        }
        writer.text(&dictionary::DESTINATION_REALM, self.to.realm.as_deref().unwrap_or(realm));
        let mut octets = writer.finish()?;
        identify(&mut octets, hop_by_hop, self.end_to_end);
        if let (true, Some(flags)) = (self.unanswered, octets.get_mut(4)) {
            *flags |= message::RETRANSMITTED;
        }
        let number = |at: usize| octets.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes);
        self.command = (number(8).unwrap_or_default(), number(4).unwrap_or_default() & 0x00ff_ffff);
        Ok(octets)
    }

    pub(super) fn settle(self, outcome: Result<Reply, Failure>) {
        let outcome = outcome.map(|reply| reply.in_place_of(self.request));
        // Who asked may have gone.
        let _ = self.reply.send(outcome);
    }
}

/// Writes the identifiers into a finished message.
pub(super) fn identify(octets: &mut [u8], hop_by_hop: u32, end_to_end: u32) {
    if let Some(field) = octets.get_mut(12..16) {
        field.copy_from_slice(&hop_by_hop.to_be_bytes());
    }
    if let Some(field) = octets.get_mut(16..20) {
        field.copy_from_slice(&end_to_end.to_be_bytes());
    }
}
