//! HTTP listeners, each on the worker that holds it: Ua of the broadcast role, Ub of the BSF.

use crate::answer::Task;
use crate::auth::challenge::Challenges;
use crate::config::Config;
use crate::gba::ub::{self, Meters, Ub};
use crate::http::server::{self, Handler};
use crate::metrics::Metrics;
use crate::registrar::Scscf;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

/// Requests that may wait for the worker.
const WAITING: usize = 1024;
/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 512;
/// For the head of a request to arrive, and for a connection in all: who is slow or silent gives his place up.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const LIFE: Duration = Duration::from_secs(60);

/// What the configuration says of Ub.
pub(super) struct UbSettings {
    domain: String,
    lifetime: Duration,
    max_challenges: usize,
    await_answer: Duration,
    metrics: Arc<Metrics>,
}

impl UbSettings {
    pub(super) fn of(config: &Config, metrics: Arc<Metrics>) -> Self {
        UbSettings {
            domain: config.bsf_domain.clone(),
            lifetime: config.key_lifetime,
            max_challenges: config.max_challenges,
            await_answer: config.reg_await_auth,
            metrics,
        }
    }

    /// The BSF behind the listener, beside this worker's S-CSCF.
    pub(super) fn handler(self, scscf: &Rc<Scscf>) -> Handler {
        let (hss, keep, now) = (scscf.shared.hss.clone(), scscf.clone(), scscf.clone());
        ub::handler(Rc::new(Ub {
            domain: self.domain,
            lifetime: self.lifetime,
            hss,
            challenges: Challenges::new(self.max_challenges, self.await_answer),
            keep,
            now: Rc::new(move || now.now()),
            meters: Meters::new(&self.metrics),
        }))
    }
}

/// Starts to serve on this thread's `LocalSet`.
pub(super) fn serve(listener: TcpListener, handler: Handler, spawn: Rc<dyn Fn(Task)>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (calls, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_local(server::serve(handler, spawn, receiver));
    tokio::task::spawn_local(accept(listener, server::router(calls)));
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, router: axum::Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Nobody closes the semaphore, so this goes on for ever.
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(why) => {
                tracing::debug!(%why, "cannot accept HTTP");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::task::spawn_local(async move {
            let _place = place;
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_buf_size(64 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(why)) = timeout(LIFE, connection).await {
                tracing::debug!(%why, "HTTP connection ended");
            }
        });
    }
}
