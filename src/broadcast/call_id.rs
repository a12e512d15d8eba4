//! The Call-ID of our own requests to a broadcast server, which is kept as long as a user is registered there: as the
//! octets that were drawn and the name that many have.
//!
//! Made by [`super::forward`]; written into the store and read from it as text.

use super::{hex, token};
use crate::identity::common;
use arcstr::ArcStr;
use std::fmt;

/// It is the text that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallId {
    Token { token: [u8; 10], host: ArcStr },
    Other(Box<str>),
}

impl CallId {
    /// One that nobody has had.
    pub(super) fn new(host: &str) -> Self {
        Self::read(&format!("{}@{host}", token()))
    }

    pub(super) fn read(text: &str) -> Self {
        let parts = text.split_once('@').and_then(|(token, host)| Some((octets(token)?, host)));
        match parts {
            Some((token, host)) => CallId::Token { token, host: common(host) },
            None => CallId::Other(text.into()),
        }
    }
}

/// Of what [`hex`] writes, and of nothing else.
fn octets(token: &str) -> Option<[u8; 10]> {
    let mut octets = [0; 10];
    for (n, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(token.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    (hex(&octets) == token).then_some(octets)
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallId::Token { token, host } => write!(f, "{}@{host}", hex(token)),
            CallId::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_that_it_was_read_from() {
        let ours = CallId::new("home1.net");
        assert!(matches!(&ours, CallId::Token { host, .. } if host == "home1.net"));
        assert_eq!(CallId::read(&ours.to_string()), ours);
        let token = "00112233445566778899";
        for text in [
            format!("{token}@home1.net"),
            format!("{token}@a@b"),
            format!("{token}@"),
            format!("{token}00@h"),
            format!("{}@h", &token[1..]),
            "0011223344556677889A@h".to_owned(),
            "+1+1+1+1+1+1+1+1+1+1@h".to_owned(),
            "\u{fc}0112233445566778899@h".to_owned(),
            token.to_owned(),
            String::new(),
        ] {
            assert_eq!(CallId::read(&text).to_string(), text);
        }
    }
}
