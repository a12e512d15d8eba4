//! What the terminal's TLS needs: whom to believe, and a certificate of its own if the server asks for one.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Authorities that the server's certificate must come from.
    pub ca: PathBuf,
    /// Certificate chain and key of the terminal.
    pub identity: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {why}")]
    File { path: PathBuf, why: String },
    #[error("{0}")]
    Setup(String),
}

/// TLS 1.2 and 1.3 with the `ring` provider.
pub fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|error| file(&files.ca, error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .with_root_certificates(roots);
    let config = match &files.identity {
        Some((chain, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, error))?;
            builder.with_client_auth_cert(certificates(chain)?, private).map_err(setup)?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| file(path, error))?.collect();
    match found {
        Ok(found) if found.is_empty() => Err(file(path, "holds no certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(file(path, error)),
    }
}

fn file(path: &Path, why: impl ToString) -> TlsError {
    TlsError::File { path: path.to_owned(), why: why.to_string() }
}
