//! A server over subscribers in memory, asked without a network; what it sends by itself is caught.

use super::{Clients, HssServer, Service, Settings};
use crate::answer::Answer;
use crate::clock::{Clock, Hands};
use crate::diameter::exchange::{Destination, Exchange, Failure, Reply, Request, Serve};
use crate::diameter::fault::base;
use crate::diameter::{Message, Origin, Writer, answer_to, request};
use crate::hss::embedded::EmbeddedHss;
use crate::hss::embedded::field::Fields;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
pub(super) const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";
pub(super) const IMPI: &str = "u@home1.net";
pub(super) const IMPU: &str = "sip:u@home1.net";

/// Passes each request on and answers it with success, unless nobody is there.
struct Caught {
    sent: Mutex<Sender<(Destination, Vec<u8>)>>,
    away: Arc<AtomicBool>,
}

impl Exchange for Caught {
    fn send(&self, to: Destination, request: Writer) -> Answer<'static, Result<Reply, Failure>> {
        let octets = request.finish().unwrap();
        let origin = Origin { host: to.host.as_deref().unwrap_or("any").into(), realm: "home1.net".into() };
        let answer = answer_to(&Message::parse(&octets).unwrap(), base::SUCCESS, &origin).finish().unwrap();
        // Before the test hears of it and changes that.
        let away = self.away.load(Ordering::SeqCst);
        let _ = self.sent.lock().unwrap().send((to, octets));
        if away {
            return Answer::now(Err(Failure::NoPeer));
        }
        Answer::now(Reply::new(answer).ok_or(Failure::Garbled))
    }
}

pub(super) struct Bed {
    pub server: Arc<HssServer>,
    pub hss: Arc<EmbeddedHss>,
    pub clock: Clock,
    pub hands: &'static Hands,
    /// Whether nobody can be told anything.
    pub away: Arc<AtomicBool>,
    sent: Receiver<(Destination, Vec<u8>)>,
}

pub(super) fn settings() -> Settings {
    let service = Service {
        mandatory: vec![1],
        optional: vec![2],
        visited: vec!["home1.net".into(), "visited.net".into()],
        event_charging: vec!["aaa://ecf.home1.net".into()],
        charging_collection: vec!["aaa://ccf.home1.net".into()],
        key_lifetime: Some(Duration::from_secs(3600)),
        ..Service::default()
    };
    let unregistered = Service { unregistered: true, ..Service::default() };
    Settings {
        origin: Origin { host: "hss.home1.net".into(), realm: "home1.net".into() },
        digest_realm: "home1.net".into(),
        scscf: Some("sip:scscf.home1.net".into()),
        broadcast_server: Some("sip:bsm.home1.net".into()),
        services: HashMap::from([("default".into(), service), ("unregistered".into(), unregistered)]),
        clients: Clients::default(),
    }
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let (clock, hands) = Clock::by_hand();
        let hss = EmbeddedHss::in_memory(clock.now()).unwrap();
        let aka = Fields { algorithm: "milenage", k: K, opc: OPC, ..Fields::default() };
        let of = |fields: Fields<'_>| hss.add(fields.subscriber().unwrap()).unwrap();
        of(Fields { impi: IMPI, impu: "sip:u@home1.net tel:+12015550123", broadcast: "yes", ..aka });
        of(Fields { impi: "v@home1.net", impu: "sip:v@home1.net", service: "unregistered", ..aka });
        let digest = Fields { algorithm: "digest", password: "secret", ..Fields::default() };
        of(Fields { impi: "d@home1.net", impu: "sip:d@home1.net", ..digest });
        let (sender, sent) = channel();
        let away = Arc::<AtomicBool>::default();
        let exchange = Arc::new(Caught { sent: Mutex::new(sender), away: away.clone() });
        let server = HssServer::start(hss.clone(), settings, exchange, clock).unwrap();
        Bed { server, hss, clock, hands, away, sent }
    }

    /// What `read` makes of the answer to a request of `host` that `write` fills.
    pub(super) fn ask<T>(
        &self,
        host: &str,
        (application, command): (u32, u32),
        write: impl FnOnce(&mut Writer),
        read: impl FnOnce(&Message<'_>) -> T,
    ) -> T {
        let origin = Origin { host: host.into(), realm: "home1.net".into() };
        let mut writer = request(application, command, "x;1;1", &origin);
        write(&mut writer);
        let request = Request { octets: writer.finish().unwrap(), peer: host.into() };
        request.message().unwrap().check().unwrap();
        let answer = self.server.clone().serve(request).wait().unwrap().finish().unwrap();
        let message = Message::parse(&answer).unwrap();
        message.check().unwrap();
        read(&message)
    }

    /// The next request that the server sends by itself.
    pub(super) fn sent(&self) -> (Destination, Vec<u8>) {
        self.sent.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    /// The same, if it comes in this time.
    pub(super) fn sent_within(&self, time: Duration) -> Option<(Destination, Vec<u8>)> {
        self.sent.recv_timeout(time).ok()
    }

    /// The same of an attempt after one that failed, however long that takes by the clock.
    pub(super) fn sent_again(&self) -> (Destination, Vec<u8>) {
        loop {
            self.hands.advance(Duration::from_secs(1));
            if let Ok(sent) = self.sent.recv_timeout(Duration::from_millis(600)) {
                return sent;
            }
        }
    }

    pub(super) fn nothing_sent(&self) -> bool {
        self.sent.try_recv().is_err()
    }
}
