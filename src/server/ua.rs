//! The HTTP listener of the broadcast role (Ua), on the worker that holds it.

use crate::broadcast::server::Bsm;
use crate::broadcast::ua;
use std::net::TcpListener;
use std::rc::Rc;
use tokio::sync::mpsc;

/// Requests that may wait for the worker.
const WAITING: usize = 1024;

/// Starts to serve on this thread's `LocalSet`.
pub(super) fn serve(listener: TcpListener, bsm: Rc<Bsm>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (calls, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_local(ua::serve(bsm, receiver));
    tokio::task::spawn_local(async move {
        if let Err(why) = axum::serve(listener, ua::router(calls)).await {
            tracing::error!(%why, "the HTTP side of the broadcast role has ended");
        }
    });
    Ok(())
}
