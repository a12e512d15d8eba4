//! The terminal's HTTP: one request, one answer, a connection each. Ua and Ub go over it.

use super::TerminalError;
use super::connection::{Direction, Observer};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

const LARGEST_BODY: usize = 64 * 1024;
/// The product token says that the ME holds the key (TS 24.109 §4.2, §5.2).
const AGENT: &str = concat!("imscript-terminal/", env!("CARGO_PKG_VERSION"), " 3gpp-gba");

/// How it asks.
#[derive(Clone)]
pub struct Http {
    /// Longest wait for one answer.
    pub timeout: Duration,
    pub observer: Option<Observer>,
}

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) challenges: Vec<Vec<u8>>,
    pub(super) info: Option<Vec<u8>>,
    pub(super) body: Vec<u8>,
}

/// Where to.
pub(super) struct Target {
    /// `HOST:PORT` to connect to.
    address: String,
    pub(super) host: String,
    pub(super) path: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target, TerminalError> {
        let wrong = || TerminalError::Http(format!("{url:?} is no http://HOST:PORT/PATH"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(80);
        Ok(Target {
            address: format!("{}:{port}", authority.host()),
            host: authority.to_string(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// The host without its port.
    pub(super) fn name(&self) -> &str {
        self.address.rsplit_once(':').map_or(&*self.address, |(name, _)| name)
    }
}

impl Http {
    pub(super) async fn get(&self, target: &Target, authorization: &[u8]) -> Result<Reply, TerminalError> {
        let request = Request::get(target.path.as_str()).header(AUTHORIZATION, authorization);
        self.send(target, request, b"").await
    }

    /// POSTs a document of this media type.
    pub(super) async fn post(
        &self,
        target: &Target,
        kind: &str,
        payload: &[u8],
        authorization: Option<&[u8]>,
    ) -> Result<Reply, TerminalError> {
        let mut request = Request::post(target.path.as_str()).header(CONTENT_TYPE, kind);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        self.send(target, request, payload).await
    }

    async fn send(
        &self,
        target: &Target,
        request: hyper::http::request::Builder,
        body: &[u8],
    ) -> Result<Reply, TerminalError> {
        let request = request.header(HOST, &target.host).header(USER_AGENT, AGENT);
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).map_err(http)?;
        self.show(Direction::Sent, &request_head(&request), body);
        let exchange = async {
            let stream = TcpStream::connect(&target.address).await.map_err(http)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
            let exchange = async {
                let response = sender.send_request(request).await.map_err(http)?;
                let (head, body) = response.into_parts();
                let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(http)?.to_bytes();
                Ok::<_, TerminalError>((head, body))
            };
            // The connection does its work while the exchange is waited for, and ends with it.
            tokio::pin!(exchange, connection);
            tokio::select! {
                done = &mut exchange => done,
                ended = &mut connection => { ended.map_err(http)?; exchange.await }
            }
        };
        let (head, body) = timeout(self.timeout, exchange)
            .await
            .map_err(|_| TerminalError::Http(format!("no answer from {}", target.address)))??;
        let mut shown = format!("HTTP/1.1 {}\r\n", head.status);
        for (name, value) in &head.headers {
            shown.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
        }
        self.show(Direction::Received, &shown, &body);
        Ok(Reply {
            status: head.status.as_u16(),
            challenges: head.headers.get_all(WWW_AUTHENTICATE).iter().map(|value| value.as_bytes().to_vec()).collect(),
            info: head.headers.get("authentication-info").map(|value| value.as_bytes().to_vec()),
            body: body.to_vec(),
        })
    }

    fn show(&self, direction: Direction, head: &str, body: &[u8]) {
        if let Some(observer) = &self.observer {
            observer(direction, &[head.as_bytes(), b"\r\n", body].concat());
        }
    }
}

fn request_head(request: &Request<Full<Bytes>>) -> String {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        head.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
    }
    head
}

fn http(error: impl std::fmt::Display) -> TerminalError {
    TerminalError::Http(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let target = Target::parse("http://[::1]:8080/a?b=c").unwrap();
        assert_eq!(
            (target.address.as_str(), target.host.as_str(), target.path.as_str(), target.name()),
            ("[::1]:8080", "[::1]:8080", "/a?b=c", "[::1]")
        );
        assert_eq!(Target::parse("http://bsm.home1.net").unwrap().address, "bsm.home1.net:80");
        for wrong in ["https://bsm.home1.net/", "bsm.home1.net/a", "http://u:p@bsm.home1.net/", "http:///a"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
