//! Requests of peers: whether they came before, who answers them, and that one of them that takes long holds up no other.

use super::core::Core;
use super::duplicates::{Found, Key};
use super::link::Link;
use super::waiting::identify;
use crate::answer::Answer;
use crate::diameter::exchange::{Request, Serve};
use crate::diameter::fault::base;
use crate::diameter::{Header, Message, TooLong, Writer, answer_to};
use std::rc::Rc;
use tokio::task::spawn_local;

/// A request that is being served, to its end.
struct Served {
    core: Rc<Core>,
    peer: u64,
    link: Rc<Link>,
    header: Header,
    /// None: it cannot be told from others, so it is not remembered.
    key: Option<Key>,
    /// For an answer that the application does not give.
    octets: Vec<u8>,
}

impl Core {
    /// `octets`: a request, checked, of an application that is served, and for this node.
    pub(super) fn serve(self: &Rc<Self>, peer: u64, link: &Rc<Link>, octets: Vec<u8>) {
        let Ok(request) = Message::parse(&octets) else { return };
        let (header, key) = (*request.header(), Key::of(&request));
        let Some((host, serving)) =
            self.peers.borrow().get(&peer).map(|entry| (entry.host().unwrap_or_default(), entry.serving))
        else {
            return;
        };
        if serving >= self.settings.max_serving {
            let busy = answer_to(&request, base::TOO_BUSY, &self.local.origin);
            return self.reply(peer, link, &header, busy.finish());
        }
        if let Some(key) = &key {
            let asker = (peer, header.hop_by_hop);
            let found = self.duplicates.borrow_mut().look(key, header.is_retransmitted(), asker, self.now());
            match found {
                Found::New => {}
                Found::Joined => return,
                Found::Answer(octets) => return self.reply(peer, link, &header, Ok(octets)),
            }
        }
        if let Some(entry) = self.peers.borrow_mut().get_mut(&peer) {
            entry.serving += 1;
        }
        let served = Served { core: self.clone(), peer, link: link.clone(), header, key, octets: octets.clone() };
        match self.applications.clone().serve(Request { octets, peer: host }) {
            Answer::Now(Some(answer)) => served.finish(answer),
            later => drop(spawn_local(async move { served.finish(later.await) })),
        }
    }

    /// An answer to the request with this header.
    fn reply(&self, peer: u64, link: &Link, header: &Header, answer: Result<Vec<u8>, TooLong>) {
        // Only an answer of ours is too long, and for that there is a short one.
        let Ok(mut octets) = answer else { return };
        identify(&mut octets, header.hop_by_hop, header.end_to_end);
        let result = Message::parse(&octets).and_then(|answer| answer.result()).ok();
        if let Some(entry) = self.peers.borrow_mut().get_mut(&peer) {
            entry.meters.served((header.application, header.command), result);
        }
        link.send(&octets, self.settings.unsent);
    }
}

impl Served {
    fn finish(mut self, answer: Option<Writer>) {
        let refusal = |code| {
            let origin = &self.core.local.origin;
            Message::parse(&self.octets).map_err(|_| TooLong).and_then(|it| answer_to(&it, code, origin).finish())
        };
        let answer = match answer.map(Writer::finish) {
            Some(Ok(octets)) => Ok(octets),
            Some(Err(TooLong)) => {
                tracing::warn!(command = self.header.command, "Diameter answer is too long");
                refusal(base::UNABLE_TO_COMPLY)
            }
            None => refusal(base::COMMAND_UNSUPPORTED),
        };
        if let (Some(key), Ok(octets)) = (self.key.take(), &answer) {
            let askers = self.core.duplicates.borrow_mut().answered(&key, octets);
            for (peer, hop_by_hop) in askers {
                let link = self.core.peers.borrow_mut().get_mut(&peer).and_then(|entry| entry.active());
                if let Some(link) = link {
                    self.core.reply(peer, &link, &Header { hop_by_hop, ..self.header }, Ok(octets.clone()));
                }
            }
        }
        self.core.reply(self.peer, &self.link, &self.header, answer);
    }
}

/// However it ends, its place is free again.
impl Drop for Served {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.core.duplicates.borrow_mut().dropped(&key);
        }
        if let Some(entry) = self.core.peers.borrow_mut().get_mut(&self.peer) {
            entry.serving = entry.serving.saturating_sub(1);
        }
        self.core.changed.notify_one();
    }
}
