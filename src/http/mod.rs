//! A small HTTP client (rank 3): one request, one bounded answer, a deadline over all of it. Scripts call out with it.
//! [`server`] is the other side, for Ua and Ub.
//!
//! HTTP/1.1 over TCP or TLS 1.2 and 1.3, a connection each. Redirects are answers like others: following one would let
//! the server that answers choose where the next request goes. No error quotes more of a URL than its origin, since a
//! path or a query may hold a token.

mod client;
pub mod server;
mod url;

pub use client::Client;
pub use url::Url;

use crate::answer::Answer;
use std::time::Duration;

/// Longest body of a request in octets.
pub const MAX_REQUEST: usize = 64 * 1024;
/// Longest body of an answer in octets.
pub const MAX_ANSWER: usize = 256 * 1024;
/// Most header fields of a request, and octets of one with its name.
pub const MAX_HEADERS: usize = 32;
pub const MAX_HEADER: usize = 8 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("it is no URL of the form http://host:port/path or https://host:port/path")]
    Url,
    #[error("a URL does not carry a user or a password: use a header field")]
    Credentials,
    #[error("{0:?} is no method")]
    Method(String),
    #[error("{0:?} is no header field that a script may set")]
    HeaderName(String),
    #[error("the value of header field {0:?} has an octet in it that may not stand there")]
    HeaderValue(String),
    #[error("the request's {0}")]
    TooLarge(&'static str),
    #[error("{origin}: no answer within {} ms", within.as_millis())]
    Timeout { origin: String, within: Duration },
    #[error("{origin}: the answer has more than {MAX_ANSWER} octets")]
    AnswerTooLarge { origin: String },
    #[error("{origin}: {why}")]
    Connection { origin: String, why: String },
    #[error("authorities for TLS: {0}")]
    Authorities(String),
}

/// A request that has been checked.
#[derive(Clone)]
pub struct Request {
    pub(crate) method: String,
    pub url: Url,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    within: Duration,
}

/// Nothing that may be secret.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.url.origin())
    }
}

impl Request {
    pub fn new(method: &str, url: Url, within: Duration) -> Result<Self, HttpError> {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        if !known.contains(&method) {
            return Err(HttpError::Method(method.to_owned()));
        }
        Ok(Request { method: method.to_owned(), url, headers: Vec::new(), body: Vec::new(), within })
    }

    /// Host, length and connection are the client's own business.
    pub fn header(&mut self, name: &str, value: &[u8]) -> Result<(), HttpError> {
        const OWN: [&str; 8] =
            ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"];
        let refused = OWN.iter().any(|own| name.eq_ignore_ascii_case(own));
        if refused || hyper::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(HttpError::HeaderName(name.to_owned()));
        }
        if hyper::header::HeaderValue::from_bytes(value).is_err() {
            return Err(HttpError::HeaderValue(name.to_owned()));
        }
        if self.headers.len() >= MAX_HEADERS {
            return Err(HttpError::TooLarge("header has more than 32 fields"));
        }
        if name.len() + value.len() > MAX_HEADER {
            return Err(HttpError::TooLarge("header field has more than 8 KiB"));
        }
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    pub fn body(&mut self, body: &[u8]) -> Result<(), HttpError> {
        if body.len() > MAX_REQUEST {
            return Err(HttpError::TooLarge("body has more than 64 KiB"));
        }
        self.body = body.to_owned();
        Ok(())
    }

    pub fn method(&self) -> &str {
        &self.method
    }

    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    pub fn body_octets(&self) -> &[u8] {
        &self.body
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order of the answer.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Who sends requests: the client, or what a test puts in its place.
pub trait Fetch: Send + Sync {
    fn fetch(&self, request: Request) -> Answer<'static, Result<Response, HttpError>>;
}

#[cfg(test)]
mod tests;
