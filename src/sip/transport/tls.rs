//! TLS 1.2 and 1.3 by rustls: what a node shows, whom it believes, and the names of a verified peer.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A certificate chain and its key, PEM files.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The files that TLS is made from.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Shown to those who connect; needed to listen on `tls:`.
    pub server: Option<Identity>,
    /// Authorities of client certificates. With it a client is asked for one, and its names are known if it shows one.
    pub client_ca: Option<PathBuf>,
    /// Refuse clients without a certificate.
    pub require_client_certificate: bool,
    /// Shown to peers that we connect to, if they ask.
    pub client: Option<Identity>,
    /// Authorities of the peers that we connect to; without it no TLS connection is made.
    pub roots: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {why}")]
    File { path: PathBuf, why: String },
    #[error("{path}: holds no certificate")]
    Empty { path: PathBuf },
    #[error("certificate {certificate} with key {key}: {source}")]
    Identity { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("client certificates are required, but no authority is given that could have issued them")]
    NoClientAuthority,
    #[error("{0}")]
    Setup(String),
}

/// Ready TLS configurations, shared by all workers. The default can neither serve nor connect.
#[derive(Clone, Default)]
pub struct Tls {
    pub(super) server: Option<Arc<ServerConfig>>,
    pub(super) client: Option<Arc<ClientConfig>>,
}

impl Tls {
    pub fn load(files: &TlsFiles) -> Result<Tls, TlsError> {
        let setup = |e: rustls::Error| TlsError::Setup(e.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        if files.require_client_certificate && files.client_ca.is_none() {
            return Err(TlsError::NoClientAuthority);
        }
        let server = match &files.server {
            Some(identity) => {
                let builder = ServerConfig::builder_with_provider(provider.clone())
                    .with_safe_default_protocol_versions()
                    .map_err(setup)?;
                let builder = match &files.client_ca {
                    Some(path) => {
                        let verifier =
                            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider.clone());
                        let verifier = match files.require_client_certificate {
                            true => verifier,
                            false => verifier.allow_unauthenticated(),
                        };
                        builder.with_client_cert_verifier(verifier.build().map_err(|e| TlsError::Setup(e.to_string()))?)
                    }
                    None => builder.with_no_client_auth(),
                };
                let (chain, key) = load(identity)?;
                Some(Arc::new(builder.with_single_cert(chain, key).map_err(|e| mismatch(identity, e))?))
            }
            None => None,
        };
        let client = match &files.roots {
            Some(path) => {
                let builder = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(setup)?
                    .with_root_certificates(roots(path)?);
                Some(Arc::new(match &files.client {
                    Some(identity) => {
                        let (chain, key) = load(identity)?;
                        builder.with_client_auth_cert(chain, key).map_err(|e| mismatch(identity, e))?
                    }
                    None => builder.with_no_client_auth(),
                }))
            }
            None => None,
        };
        Ok(Tls { server, client })
    }

    /// True if there is a certificate to listen with.
    pub fn can_serve(&self) -> bool {
        self.server.is_some()
    }

    /// For those who accept connections that are not SIP's.
    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.server.clone()
    }

    /// For those who open connections that are not SIP's.
    pub(crate) fn client(&self) -> Option<Arc<ClientConfig>> {
        self.client.clone()
    }

    /// True if there are authorities to verify a peer with.
    pub fn can_connect(&self) -> bool {
        self.client.is_some()
    }
}

fn mismatch(identity: &Identity, source: rustls::Error) -> TlsError {
    TlsError::Identity { certificate: identity.certificate.clone(), key: identity.key.clone(), source }
}

fn load(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|e| TlsError::File { path: identity.key.clone(), why: e.to_string() })?;
    Ok((certificates(&identity.certificate)?, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |e: rustls::pki_types::pem::Error| TlsError::File { path: path.into(), why: e.to_string() };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    let chain = chain.map_err(unreadable)?;
    if chain.is_empty() { Err(TlsError::Empty { path: path.into() }) } else { Ok(chain) }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|e| TlsError::File { path: path.into(), why: e.to_string() })?;
    }
    Ok(store)
}

/// DNS and URI names of the peer's certificate, which the handshake has verified; none if it showed none.
pub(crate) fn subject_names(chain: Option<&[CertificateDer<'_>]>) -> Arc<[String]> {
    let Some(Ok(certificate)) = chain.and_then(|chain| chain.first()).map(webpki::EndEntityCert::try_from) else {
        return Arc::from([]);
    };
    certificate.valid_dns_names().chain(certificate.valid_uri_names()).map(str::to_owned).collect()
}
