//! Header edits: what a policy may change in a message, applied all or not at all (RFC 3261 §7.3).
//!
//! The transport applies them to a request that stage `receive` lets through, the server to the answers of stage
//! `reply`. What transactions, routing, authentication, trust and the body's meaning hang on cannot be edited, whoever
//! asks; everything that is not edited stays octet for octet as it was.

use super::header::{HeaderName, long_form, same_name};
use super::index::Span;
use super::message::{Fault, Message, limits};
use super::scan::{is_token, trim};

/// One change of a header. Names count in any case and in their compact form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Edit {
    /// The field has this one value: where its first line stood, or at the end.
    Set { name: String, value: String },
    /// One more line of the field, after those that are there.
    Add { name: String, value: String },
    /// No line of the field.
    Remove { name: String },
}

/// Longest value.
pub const VALUE_MAX: usize = 4096;
/// Longest name.
const NAME_MAX: usize = 64;
/// Edits of one message.
pub const EDITS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("{0:?} is no header field name")]
    Name(String),
    #[error("{0} is not a policy's to change: transactions, routing, authentication or trust hang on it")]
    Protected(String),
    #[error("the value for {0} has a control character, or nothing in it")]
    Value(String),
    #[error("the value for {0} is longer than {VALUE_MAX} octets")]
    Long(String),
    #[error("more than {EDITS_MAX} edits")]
    Many,
    #[error("the message cannot be edited: {0}")]
    Faulty(&'static str),
    /// The message would not pass its checks any more.
    #[error("the edited message would be refused: {0}")]
    Spoilt(Fault),
}

/// Fields that decide where a message goes, to which transaction or dialog it belongs, who sent it and how long what it
/// asks for holds. An edit of one of these would make the server and its peer talk of different things.
const PROTECTED: [&str; 38] = [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Route",
    "Record-Route",
    "Contact",
    "Path",
    "Service-Route",
    "Require",
    "Expires",
    "Min-Expires",
    "Authorization",
    "WWW-Authenticate",
    "Authentication-Info",
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "P-Associated-URI",
    "P-Access-Network-Info",
    "P-Visited-Network-ID",
    "P-Charging-Vector",
    "P-Charging-Function-Addresses",
    "Privacy",
    "Identity",
    "Identity-Info",
    "Bcast-Ext",
    "MIME-Version",
    "Event",
    "Subscription-State",
    "RAck",
    "RSeq",
    "Refer-To",
    "Referred-By",
    "Replaces",
    "Session-Expires",
    "SIP-If-Match",
];

/// The same for whole families: `Content-` describes a body that an edit does not change.
const PROTECTED_FAMILIES: [&str; 3] = ["Content-", "Proxy-", "Security-"];

/// Whether no edit may touch the field of that name.
pub fn is_protected(name: &str) -> bool {
    // Compact letters with a variant of their own become its long form, the rest by table.
    let known = HeaderName::from_bytes(name.as_bytes());
    let long = if known == HeaderName::Other { long_form(name.as_bytes()) } else { known.as_str().as_bytes() };
    let in_family =
        |family: &str| long.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family.as_bytes()));
    PROTECTED.iter().any(|field| long.eq_ignore_ascii_case(field.as_bytes()))
        || PROTECTED_FAMILIES.iter().any(|family| in_family(family))
}

impl Edit {
    pub fn name(&self) -> &str {
        match self {
            Edit::Set { name, .. } | Edit::Add { name, .. } | Edit::Remove { name } => name,
        }
    }

    /// What can be said of an edit without a message to apply it to.
    pub fn check(&self) -> Result<(), EditError> {
        let name = self.name();
        if name.len() > NAME_MAX || !is_token(name.as_bytes()) {
            return Err(EditError::Name(name.chars().take(NAME_MAX).collect()));
        }
        if is_protected(name) {
            return Err(EditError::Protected(name.to_owned()));
        }
        if let Edit::Set { value, .. } | Edit::Add { value, .. } = self {
            if value.len() > VALUE_MAX {
                return Err(EditError::Long(name.to_owned()));
            }
            if value.chars().any(char::is_control) || trim(value.as_bytes()).is_empty() {
                return Err(EditError::Value(name.to_owned()));
            }
        }
        Ok(())
    }
}

/// A line of the message as it stands, or one that an edit wrote.
enum Line<'a> {
    Kept { name: &'a [u8], octets: &'a [u8] },
    Written { name: &'a str, value: &'a str },
}

impl Line<'_> {
    fn is_named(&self, wanted: &str) -> bool {
        let name = match self {
            Line::Kept { name, .. } => name,
            Line::Written { name, .. } => name.as_bytes(),
        };
        let id = HeaderName::from_bytes(wanted.as_bytes());
        id == HeaderName::from_bytes(name) && (id != HeaderName::Other || same_name(name, wanted.as_bytes()))
    }
}

/// The octets of `message` with the edits in it, in their order. An error: none of them holds.
pub fn apply(message: &Message<'_>, edits: &[Edit]) -> Result<Vec<u8>, EditError> {
    if edits.len() > EDITS_MAX {
        return Err(EditError::Many);
    }
    edits.iter().try_for_each(Edit::check)?;
    if let Some(flaw) = message.flaw() {
        return Err(EditError::Faulty(flaw.why));
    }
    let layout = message.layout();
    let line_end: &[u8] = if layout.start.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
    let mut lines: Vec<Line<'_>> = layout.lines.into_iter().map(|(name, octets)| Line::Kept { name, octets }).collect();
    for edit in edits {
        match edit {
            Edit::Set { name, value } => {
                let at = lines.iter().position(|line| line.is_named(name)).unwrap_or(lines.len());
                lines.retain(|line| !line.is_named(name));
                lines.insert(at.min(lines.len()), Line::Written { name, value });
            }
            Edit::Add { name, value } => {
                let at = lines.iter().rposition(|line| line.is_named(name)).map_or(lines.len(), |last| last + 1);
                lines.insert(at, Line::Written { name, value });
            }
            Edit::Remove { name } => lines.retain(|line| !line.is_named(name)),
        }
    }
    let mut out = Vec::with_capacity(message.bytes().len() + 256);
    out.extend_from_slice(layout.start);
    for line in lines {
        match line {
            Line::Kept { octets, .. } => out.extend_from_slice(octets),
            Line::Written { name, value } => {
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(trim(value.as_bytes()));
                out.extend_from_slice(line_end);
            }
        }
    }
    out.extend_from_slice(line_end);
    out.extend_from_slice(message.body());
    if out.len() > limits::MESSAGE {
        return Err(EditError::Faulty("it would be larger than a message may be"));
    }
    Message::parse(&out).and_then(|edited| edited.check()).map_err(EditError::Spoilt)?;
    Ok(out)
}

/// The octets of `message` without the fields of one name, for eyes that must not see them.
pub fn without(message: &Message<'_>, name: HeaderName) -> Vec<u8> {
    let layout = message.layout();
    let line_end: &[u8] = if layout.start.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
    let mut out = layout.start.to_vec();
    let kept = layout.lines.into_iter().filter(|(field, _)| HeaderName::from_bytes(field) != name);
    kept.for_each(|(_, octets)| out.extend_from_slice(octets));
    out.extend_from_slice(line_end);
    out.extend_from_slice(message.body());
    out
}

/// A head cut into its lines, each with its line end.
pub(super) struct Layout<'a> {
    pub(super) start: &'a [u8],
    /// Name and whole line, folds included.
    pub(super) lines: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Layout<'a> {
    /// `names`: where each field's name is, in order; `from`: of the message, `end`: behind the empty line.
    pub(super) fn cut(bytes: &'a [u8], from: usize, end: usize, names: impl Iterator<Item = Span>) -> Layout<'a> {
        let empty = if bytes.get(..end).is_some_and(|head| head.ends_with(b"\r\n")) { 2 } else { 1 };
        let last = end.saturating_sub(empty);
        let names: Vec<Span> = names.collect();
        let begin = |at: usize| names.get(at).map_or(last, |name| name.from as usize);
        let line =
            |(at, name): (usize, &Span)| (name.of(bytes), bytes.get(begin(at)..begin(at + 1)).unwrap_or_default());
        Layout {
            start: bytes.get(from..begin(0)).unwrap_or_default(),
            lines: names.iter().enumerate().map(line).collect(),
        }
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
