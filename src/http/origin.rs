//! URLs and origins (RFC 6454): where a request goes, and whether it may.

use super::HttpError;
use std::fmt;

/// Scheme, host and port. Hosts are compared in lower case, a port left out is the scheme's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    tls: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// `https://example.net`, `http://[::1]:8080`: no path, no query.
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        match Url::parse(text) {
            Ok(url) if url.target == "/" && !text.ends_with(['?', '#']) => Ok(url.origin),
            _ => Err(HttpError::Origin(text.chars().take(80).collect())),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// As it stands in a Host field (RFC 9112 §3.2).
    pub(super) fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

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
