//! Opening and accepting connections, TLS included.

use super::Endpoint;
use super::core::Core;
use super::link::{self, Link, Whose};
use super::places::{Door, Slot};
use crate::sip::transport::subject_names;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

impl Core {
    /// Connects, and carries the connection to its end. Err: it did not come about.
    pub(super) async fn dial(self: Rc<Self>, id: u64, endpoint: Endpoint) -> io::Result<()> {
        let within = self.settings.timing.connect_within;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
        let connecting = async {
            let stream = match &endpoint.name {
                Some(name) => TcpStream::connect((name.as_str(), endpoint.addr.port())).await?,
                None => TcpStream::connect(endpoint.addr).await?,
            };
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>((stream.local_addr()?.ip(), stream.peer_addr()?, stream))
        };
        match &endpoint.tls_name {
            None => {
                let (local, remote, stream) = timeout(within, connecting).await.map_err(late)??;
                let link = Link::new(remote, local, Arc::from([]));
                self.connected(id, &link);
                link::run(self, link, stream, Whose::Peer(id)).await;
            }
            Some(name) => {
                let config = self.tls.client().ok_or_else(|| io::Error::other("no authority to verify it with"))?;
                let server = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
                let connecting = async {
                    let (local, remote, stream) = connecting.await?;
                    Ok::<_, io::Error>((local, remote, TlsConnector::from(config).connect(server, stream).await?))
                };
                let (local, remote, stream) = timeout(within, connecting).await.map_err(late)??;
                let link = Link::new(remote, local, Arc::from([name.clone()]));
                self.connected(id, &link);
                link::run(self, link, stream, Whose::Peer(id)).await;
            }
        }
        Ok(())
    }

    /// Accepts for ever: no error of one connection, nor a lack of descriptors, ends it.
    pub(super) async fn accept(self: Rc<Self>, endpoint: Endpoint, listener: std::net::TcpListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(why) => return tracing::error!(%endpoint, %why, "cannot listen for Diameter"),
        };
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => {
                    let Some(slot) = Slot::take(&self) else {
                        tracing::warn!(%remote, "too many Diameter connections");
                        continue;
                    };
                    let (core, tls, door) = (self.clone(), endpoint.is_tls(), Door::reach(&self));
                    let number = door.number();
                    let task = spawn_local(async move {
                        if let Err(why) = core.accepted(tls, stream, remote, door).await {
                            tracing::debug!(%remote, %why, "Diameter connection");
                        }
                        drop(slot);
                    });
                    self.doorstep.borrow_mut().insert(number, task.abort_handle());
                }
                Err(why) => {
                    tracing::debug!(%endpoint, %why, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn accepted(self: Rc<Self>, tls: bool, stream: TcpStream, remote: SocketAddr, door: Door) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?.ip();
        if !tls {
            link::run(self, Link::new(remote, local, Arc::from([])), stream, Whose::Nobodys(door)).await;
            return Ok(());
        }
        let config = self.tls.server().ok_or_else(|| io::Error::other("no TLS certificate"))?;
        let handshake = TlsAcceptor::from(config).accept(stream);
        let stream = timeout(self.settings.timing.connect_within, handshake).await??;
        let names = subject_names(stream.get_ref().1.peer_certificates());
        link::run(self, Link::new(remote, local, names), stream, Whose::Nobodys(door)).await;
        Ok(())
    }
}
