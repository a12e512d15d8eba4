//! One thing that happened in a node, as a JSON line: a SIP message, a call to the HSS, a change of key state.
//! No key, response or body is in it.

use crate::sip::{HeaderName, Message};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds since 1970.
    pub at: u64,
    /// The node that saw it.
    pub node: String,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A SIP message sent or received.
    Sip {
        sent: bool,
        transport: String,
        peer: SocketAddr,
        /// Start line without the version.
        start: String,
        /// Call-ID, CSeq and start line: the same on both sides.
        id: String,
        /// The headers that matter, secrets cut out.
        headers: Vec<String>,
        /// Media types of the body parts.
        body: Vec<String>,
    },
    /// A question or answer between two roles in one box.
    Call { from: String, to: String, what: String },
    /// A change of state in one role.
    State { role: String, what: String },
}

impl What {
    /// None if the octets are no message.
    pub fn of_message(sent: bool, transport: &str, peer: SocketAddr, bytes: &[u8]) -> Option<Self> {
        let message = Message::parse(bytes).ok()?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).replace(['\r', '\n'], " ");
        let start = if message.is_request() {
            format!("{} {}", text(message.method()), text(message.request_uri_raw()))
        } else {
            format!("{} {}", message.status(), text(message.reason()))
        };
        let call_id = text(message.call_id().unwrap_or_default());
        let cseq = message.header(HeaderName::CSeq).map(text).unwrap_or_default();
        let mut headers = Vec::new();
        for name in SHOWN {
            for value in message.headers(*name) {
                let value = text(value);
                let value = match name {
                    HeaderName::Authorization | HeaderName::WwwAuthenticate => without_secrets(&value),
                    _ => value,
                };
                headers.push(format!("{}: {value}", name.as_str()));
            }
        }
        let body = if message.body().is_empty() {
            Vec::new()
        } else {
            let parts = message.parts().unwrap_or_default();
            parts.iter().map(|p| text(p.content_type)).collect()
        };
        let id = format!("{call_id} {cseq} {start}");
        Some(What::Sip { sent, transport: transport.to_string(), peer, start, id, headers, body })
    }
}

const SHOWN: &[HeaderName] = &[
    HeaderName::Authorization,
    HeaderName::WwwAuthenticate,
    HeaderName::BcastExt,
    HeaderName::Expires,
    HeaderName::Contact,
    HeaderName::ServiceRoute,
    HeaderName::PAssociatedUri,
    HeaderName::PAssertedIdentity,
    HeaderName::Unsupported,
];

/// Credentials without what proves anything: scheme, username, algorithm, whether there is an answer or AUTS.
fn without_secrets(value: &str) -> String {
    let Ok(params) = crate::sip::AuthParams::parse(value.as_bytes()) else { return "(unreadable)".into() };
    let mut shown = vec![String::from_utf8_lossy(params.scheme).into_owned()];
    for (name, value) in params.iter() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let bare = String::from_utf8_lossy(value).into_owned();
        match name.as_str() {
            "username" | "algorithm" | "realm" | "qop" => shown.push(format!("{name}={bare}")),
            "response" | "nonce" | "auts" | "ck" | "ik" => {
                shown.push(format!("{name}={}", if bare.trim_matches('"').is_empty() { "\"\"" } else { "…" }));
            }
            _ => {}
        }
    }
    shown.join(" ")
}
