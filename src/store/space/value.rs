//! A value as the text of a field.

use super::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One key says what it is. Numbers are text: JSON has no infinity.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept<'a> {
    Text(Cow<'a, str>),
    /// Text that is not UTF-8, in base64.
    Octets(String),
    Number(String),
    Boolean(bool),
    Json(Cow<'a, str>),
}

impl Value {
    pub(super) fn written(&self) -> Box<[u8]> {
        let text = match self {
            Value::Text(octets) => match std::str::from_utf8(octets) {
                Ok(text) => Kept::Text(text.into()),
                Err(_) => Kept::Octets(STANDARD.encode(octets)),
            },
            Value::Number(number) => Kept::Number(number.to_string()),
            Value::Boolean(truth) => Kept::Boolean(*truth),
            Value::Json(json) => Kept::Json((&**json).into()),
        };
        // Strings and a boolean cannot fail to be written.
        serde_json::to_vec(&text).unwrap_or_default().into()
    }

    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        Some(match serde_json::from_slice(octets).ok()? {
            Kept::Text(text) => Value::Text(text.as_bytes().into()),
            Kept::Octets(text) => Value::Text(STANDARD.decode(text).ok()?.into()),
            Kept::Number(text) => Value::Number(text.parse().ok()?),
            Kept::Boolean(truth) => Value::Boolean(truth),
            Kept::Json(text) => Value::Json(text.as_ref().into()),
        })
    }
}
