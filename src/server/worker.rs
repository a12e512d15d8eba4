//! One worker: a thread, a runtime, the sockets, and the roles on them.

use super::Parts;
use crate::answer::{Answer, Task};
use crate::broadcast::server::{Bsm, BsmState};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::hss::Hss;
use crate::observe::trace::Tracer;
use crate::registrar::Scscf;
use crate::server::StartError;
use crate::sip::transaction::{NextHop, Outbound, Source};
use crate::sip::transport::{Direction, Transports};
use crate::sip::{HeaderName, Message, ResponseWriter};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::LocalSet;

/// State of the node's broadcast role, shared by its workers.
pub(super) struct BsmShared {
    pub(super) state: Arc<BsmState>,
}

impl BsmShared {
    pub(super) fn new(config: &Config, bsm: &config::Bsm, ims: NextHop, hss: Option<Arc<dyn Hss>>, clock: Clock) -> Self {
        let _ = (config, bsm, ims, hss, clock);
        unimplemented!()
    }
}

/// The roles of one worker.
struct Roles {
    scscf: Option<Rc<Scscf>>,
    bsm: Option<Rc<Bsm>>,
    bsm_addresses: Arc<[SocketAddr]>,
    clock: Clock,
}

impl Roles {
    /// By where a request came in: the broadcast role has listeners of its own.
    fn handle(self: Rc<Self>, request: Message<'_>, source: &Source) -> Answer<'static, Option<Vec<u8>>> {
        let for_bsm = self.scscf.is_none() || self.bsm_addresses.contains(&source.local);
        let request = request.into_owned();
        let source = source.clone();
        match (&self.scscf, &self.bsm) {
            (_, Some(bsm)) if for_bsm => {
                let bsm = bsm.clone();
                let now = self.clock.now();
                Answer::later(async move { bsm.handle(&request, &source, now).await })
            }
            (Some(scscf), _) => {
                let scscf = scscf.clone();
                Answer::later(async move { scscf.handle(&request, &source).await })
            }
            (None, _) => {
                let mut response = ResponseWriter::new(&request, 503, source.addr, "none");
                response.header(HeaderName::RetryAfter, "5");
                Answer::now(Some(response.finish()))
            }
        }
    }
}

/// The thread's main function. `ready` hears whether it could start.
pub(super) fn run(parts: Parts, ready: Sender<Result<(), StartError>>, stopped: watch::Receiver<Option<Duration>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return drop(ready.send(Err(StartError::Worker(why.to_string())))),
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        match start(parts).await {
            Ok(transports) => {
                let _ = ready.send(Ok(()));
                let within = wait(stopped).await;
                transports.stop(within).await;
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

async fn wait(mut stopped: watch::Receiver<Option<Duration>>) -> Duration {
    match stopped.wait_for(Option::is_some).await {
        Ok(within) => within.unwrap_or_default(),
        Err(_) => Duration::ZERO,
    }
}

async fn start(parts: Parts) -> Result<Transports, StartError> {
    let transports = Transports::new(parts.sockets, parts.tls, Default::default(), parts.clock)
        .map_err(|e| StartError::Worker(e.to_string()))?;
    if let Some(tracer) = parts.tracer {
        transports.observe(observer(tracer));
    }
    let policy = (parts.policy)(&parts.views)?;
    let outbound: Rc<dyn Outbound> = Rc::new(transports.clone());
    let spawn: Rc<dyn Fn(Task)> = Rc::new(|task| drop(tokio::task::spawn_local(task)));
    let sleep: Rc<dyn Fn(Duration) -> Task> = Rc::new(|time| Box::pin(tokio::time::sleep(time)));
    let scscf = parts.ims.map(|shared| {
        Rc::new(Scscf::new(shared, policy.clone(), outbound.clone(), spawn.clone(), sleep.clone()))
    });
    let bsm: Option<Rc<Bsm>> = None;
    if parts.first {
        if let Some(scscf) = scscf.clone() {
            let embedded = parts.embedded.clone();
            tokio::task::spawn_local(async move {
                let mut tick = tokio::time::interval(Duration::from_millis(500));
                loop {
                    tick.tick().await;
                    scscf.sweep().await;
                    if let Some(hss) = &embedded {
                        hss.refresh_if_changed();
                    }
                }
            });
        }
    }
    let roles = Rc::new(Roles { scscf, bsm, bsm_addresses: parts.bsm_addresses, clock: parts.clock });
    transports.serve(Rc::new(move |request: Message<'_>, source: &Source| roles.clone().handle(request, source)));
    Ok(transports)
}

fn observer(tracer: Tracer) -> crate::sip::transport::Observer {
    Rc::new(move |direction, bytes, peer| {
        tracer.message(direction == Direction::Out, peer.transport.via(), peer.addr, bytes);
    })
}
