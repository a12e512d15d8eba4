//! URLs: where a request goes.

use super::HttpError;
use crate::policy::capability::Origin;

/// Where one request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    origin: Origin,
    /// Path and query.
    target: String,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        let uri: hyper::Uri = text.parse().map_err(|_| HttpError::Url)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HttpError::Url),
        };
        let authority = uri.authority().ok_or(HttpError::Url)?;
        if authority.as_str().contains('@') {
            return Err(HttpError::Credentials);
        }
        let host = authority.host().to_ascii_lowercase();
        // A port that is no number must not become the scheme's.
        let port = match authority.as_str().get(authority.host().len()..) {
            None | Some("") => Some(if tls { 443 } else { 80 }),
            Some(_) => authority.port_u16(),
        };
        match port {
            Some(port) if port != 0 && !host.is_empty() => {
                let target = uri.path_and_query().map_or("/", |target| target.as_str());
                let target = if target.is_empty() { "/" } else { target };
                Ok(Url { origin: Origin { tls, host, port }, target: target.to_owned() })
            }
            _ => Err(HttpError::Url),
        }
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub fn target(&self) -> &str {
        &self.target
    }
}
