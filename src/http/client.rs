//! The client that goes over the network.

use super::{Fetch, HttpError, MAX_ANSWER, Request, Response};
use crate::answer::Answer;
use crate::policy::capability::Origin;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

/// Where systems keep the authorities that they believe, in one file.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Most octets of an answer's header.
const MAX_HEAD: usize = 64 * 1024;

/// Sends requests from the thread that asks; any worker may.
#[derive(Clone, Default)]
pub struct Client {
    /// The system's authorities are read when they are first needed.
    tls: Arc<OnceCell<Arc<ClientConfig>>>,
}

impl Client {
    /// Believes the certificate authorities in this PEM file, and none of the system's.
    pub fn believing(authorities: &Path) -> Result<Self, HttpError> {
        let tls = OnceCell::new_with(Some(configured(roots(authorities, Broken::Refused)?)?));
        Ok(Client { tls: Arc::new(tls) })
    }

    async fn send(self, request: Request) -> Result<Response, HttpError> {
        let (origin, within) = (request.url.origin().to_string(), request.within);
        match tokio::time::timeout(within, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::Timeout { origin, within }),
        }
    }

    async fn exchange(self, request: Request) -> Result<Response, HttpError> {
        let origin = request.url.origin().clone();
        let stream = TcpStream::connect((host(&origin), origin.port)).await.map_err(|why| broken(&origin, &why))?;
        if !origin.tls {
            return over(stream, request, &origin).await;
        }
        let config = self.tls.get_or_try_init(load).await?.clone();
        let name = ServerName::try_from(host(&origin).to_owned()).map_err(|why| broken(&origin, &why))?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|why| broken(&origin, &why))?;
        over(stream, request, &origin).await
    }
}

impl Fetch for Client {
    fn fetch(&self, request: Request) -> Answer<'static, Result<Response, HttpError>> {
        Answer::later(self.clone().send(request))
    }
}

/// Without the brackets of an IPv6 address.
fn host(origin: &Origin) -> &str {
    origin.host.trim_start_matches('[').trim_end_matches(']')
}

/// As it stands in a Host field (RFC 9112 §3.2).
fn authority(origin: &Origin) -> String {
    match (origin.tls, origin.port) {
        (true, 443) | (false, 80) => origin.host.clone(),
        (_, port) => format!("{}:{port}", origin.host),
    }
}

fn broken(origin: &Origin, why: &dyn std::error::Error) -> HttpError {
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(why) = cause {
        text = format!("{text}: {why}");
        cause = why.source();
    }
    HttpError::Connection { origin: origin.to_string(), why: text }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request,
    origin: &Origin,
) -> Result<Response, HttpError> {
    let broken = |why: hyper::Error| broken(origin, &why);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // The connection has to be driven while its answer is read; when it has ended the answer is complete or an error.
    let drive = async move {
        let _ = connection.await; // the exchange hears of the fault too
        std::future::pending::<()>().await;
    };
    let exchange = async {
        let answer = sender.send_request(prepare(request, origin)?).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|why| {
            if why.is::<LengthLimitError>() {
                HttpError::AnswerTooLarge { origin: origin.to_string() }
            } else {
                HttpError::Connection { origin: origin.to_string(), why: why.to_string() }
            }
        })?;
        let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned()));
        Ok(Response { status: head.status.as_u16(), headers: headers.collect(), body: body.to_bytes().to_vec() })
    };
    tokio::select! {
        biased;
        result = exchange => result,
        () = drive => Err(HttpError::Connection { origin: origin.to_string(), why: "closed".to_owned() }),
    }
}

fn prepare(request: Request, origin: &Origin) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
    let mut message = hyper::Request::builder()
        .method(request.method.as_str())
        .uri(request.url.target())
        .header("host", authority(origin))
        .header("connection", "close");
    if !request.headers().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
        message = message.header("user-agent", concat!("imscript/", env!("CARGO_PKG_VERSION")));
    }
    for (name, value) in request.headers() {
        message = message.header(name, value);
    }
    message.body(Full::new(Bytes::from(request.body))).map_err(|_| HttpError::Url)
}

async fn load() -> Result<Arc<ClientConfig>, HttpError> {
    tokio::task::spawn_blocking(system).await.map_err(|why| HttpError::Authorities(why.to_string()))?
}

fn system() -> Result<Arc<ClientConfig>, HttpError> {
    let path = SYSTEM.iter().map(Path::new).find(|path| path.is_file());
    let none = || HttpError::Authorities(format!("there is no file of them; looked for {}", SYSTEM.join(", ")));
    configured(roots(path.ok_or_else(none)?, Broken::LeftOut)?)
}

/// What becomes of a certificate that cannot be read: the system's collection may hold such, an operator's file not.
#[derive(Clone, Copy, PartialEq)]
enum Broken {
    LeftOut,
    Refused,
}

fn roots(path: &Path, broken: Broken) -> Result<RootCertStore, HttpError> {
    let failed = |why: &dyn std::fmt::Display| HttpError::Authorities(format!("{}: {why}", path.display()));
    let mut roots = RootCertStore::empty();
    for found in CertificateDer::pem_file_iter(path).map_err(|why| failed(&why))? {
        let added = found.map_err(|why| failed(&why)).and_then(|one| roots.add(one).map_err(|why| failed(&why)));
        if broken == Broken::Refused {
            added?;
        }
    }
    match roots.is_empty() {
        true => Err(failed(&"holds no certificate of an authority")),
        false => Ok(roots),
    }
}

fn configured(roots: RootCertStore) -> Result<Arc<ClientConfig>, HttpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|why| HttpError::Authorities(why.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
