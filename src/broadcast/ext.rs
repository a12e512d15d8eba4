//! `Bcast-Ext`: the header field that carries the broadcast parameters, and the reading of parameters in general.
//!
//! `Bcast-Ext: profile="1.0";naf-id="bsm.home1.net";ua-id=0100000001` from the terminal; between IMS server and
//! broadcast server `btid`, `mode`, `key`, `services` come with it; in answers `state` and `cause`; in a broadcast
//! server's question for a key `request=key`. Unknown parameters are ignored.

use crate::gba::btid::{Btid, BtidError};
use crate::gba::naf_id::{NafId, NafIdError, UaId};
use crate::hss::{BroadcastSubscription, RegState};
use crate::sip::{HeaderName, Message};
use std::borrow::Cow;
use std::fmt;

/// Longest value of a parameter, in octets.
pub const VALUE_MAX: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtError {
    #[error("cannot be read")]
    Malformed,
    #[error("{0} is longer than {VALUE_MAX} octets")]
    TooLong(&'static str),
    #[error("{0} is given twice with different values")]
    Contradiction(&'static str),
    #[error("more than one NAF_ID")]
    SeveralNafs,
    #[error("{0} has a value that is not known")]
    Unknown(&'static str),
    #[error(transparent)]
    Naf(#[from] NafIdError),
    #[error(transparent)]
    Btid(#[from] BtidError),
}

macro_rules! tokens {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
        impl $name {
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
            pub fn from_token(text: &str) -> Option<Self> {
                $(if text.eq_ignore_ascii_case($text) { return Some($name::$variant); })+
                None
            }
        }
    };
}

tokens!(
    /// What the IMS server does with the broadcast server's answer.
    Mode {
        /// The terminal's answer waits for it.
        Simultaneous = "simultaneous",
        /// The terminal has its answer already.
        Subsequent = "subsequent",
        /// Only the state of the IMS registration is told.
        Status = "status",
    }
);

tokens!(
    /// How the key comes to the broadcast server.
    KeyWay {
        /// In this request.
        Included = "included",
        /// Asked for at once.
        Pull = "pull",
        PullInSip = "pull-sip",
        PullOverZn = "pull-zn",
        /// Asked for when the terminal first turns to the broadcast server.
        OnUse = "on-use",
    }
);

/// `state` of a broadcast registration, as it stands in the header.
pub fn state_token(state: RegState) -> &'static str {
    match state {
        RegState::NotRegistered => "terminated",
        RegState::Pending => "pending",
        RegState::Registered => "registered",
        RegState::Failed => "failed",
    }
}

/// The state that a token names, in any case of letters.
pub fn state_from_token(text: &str) -> Option<RegState> {
    [RegState::NotRegistered, RegState::Pending, RegState::Registered, RegState::Failed]
        .into_iter()
        .find(|state| text.eq_ignore_ascii_case(state_token(*state)))
}

/// All that a `Bcast-Ext` can say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ext {
    pub profile: Option<String>,
    pub naf: Option<NafId>,
    /// Whether the Ua security protocol was named, or is the default.
    pub ua_given: bool,
    pub btid: Option<Btid>,
    pub mode: Option<Mode>,
    pub key: Option<KeyWay>,
    pub services: Option<BroadcastSubscription>,
    pub state: Option<RegState>,
    pub cause: Option<String>,
    /// `request=key`: a broadcast server asks for its key.
    pub asks_key: bool,
}

impl Ext {
    /// All `Bcast-Ext` fields of a message, taken together. None: there is none.
    pub fn of(message: &Message<'_>) -> Result<Option<Ext>, ExtError> {
        let mut ext = None;
        for field in message.headers(HeaderName::BcastExt) {
            let field = unfold(field);
            if !is_closed(&field) {
                return Err(ExtError::Malformed);
            }
            // A comma list is the same as several fields (RFC 3261 §7.3.1).
            for element in split(&field, b',') {
                ext.get_or_insert_with(Ext::default).take(element)?;
            }
        }
        Ok(ext)
    }

    /// Takes what an element says whose quotes are closed.
    fn take(&mut self, element: &[u8]) -> Result<(), ExtError> {
        let mut ua = None;
        for piece in split(element, b';') {
            let (name, value) = param(piece)?;
            let value = &*value;
            match &*name {
                "profile" => once(&mut self.profile, bounded(value, "profile")?.to_string(), "profile")?,
                "naf-id" => self.take_naf(bounded(value, "naf-id")?)?,
                "ua-id" => once(&mut ua, UaId::parse(value).ok_or(ExtError::Unknown("ua-id"))?, "ua-id")?,
                "btid" => once(&mut self.btid, Btid::parse(bounded(value, "btid")?)?, "btid")?,
                "mode" => once(&mut self.mode, Mode::from_token(value).ok_or(ExtError::Unknown("mode"))?, "mode")?,
                "key" => once(&mut self.key, KeyWay::from_token(value).ok_or(ExtError::Unknown("key"))?, "key")?,
                "services" => once(&mut self.services, parse_services(value), "services")?,
                "state" => once(&mut self.state, state_from_token(value).ok_or(ExtError::Unknown("state"))?, "state")?,
                "cause" => once(&mut self.cause, bounded(value, "cause")?.to_string(), "cause")?,
                "request" => self.asks_key |= value.eq_ignore_ascii_case("key"),
                _ => {}
            }
        }
        match (ua, &mut self.naf) {
            (Some(ua), Some(naf)) => {
                if self.ua_given && naf.ua != ua {
                    return Err(ExtError::Contradiction("ua-id"));
                }
                naf.ua = ua;
                self.ua_given = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Adds a NAF_ID in text form; another one than the one already there is refused.
    pub(super) fn take_naf(&mut self, text: &str) -> Result<(), ExtError> {
        let naf = NafId::parse(text.trim())?;
        // Every form but the bare FQDN names the Ua security protocol.
        let given = text.trim() != naf.fqdn();
        match &mut self.naf {
            None => self.naf = Some(naf),
            Some(have) if have.fqdn() != naf.fqdn() => return Err(ExtError::SeveralNafs),
            Some(have) if given && self.ua_given && have.ua != naf.ua => {
                return Err(ExtError::Contradiction("ua-id"));
            }
            Some(have) if given => have.ua = naf.ua,
            Some(_) => {}
        }
        self.ua_given |= given;
        Ok(())
    }
}

fn once<T: PartialEq>(slot: &mut Option<T>, value: T, name: &'static str) -> Result<(), ExtError> {
    match slot {
        Some(have) if *have != value => Err(ExtError::Contradiction(name)),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

pub(super) fn bounded<'a>(value: &'a str, name: &'static str) -> Result<&'a str, ExtError> {
    if value.len() > VALUE_MAX { Err(ExtError::TooLong(name)) } else { Ok(value) }
}

pub(crate) fn parse_services(text: &str) -> BroadcastSubscription {
    match text.trim() {
        "" => BroadcastSubscription::None,
        "*" => BroadcastSubscription::All,
        list => BroadcastSubscription::Services(list.split_ascii_whitespace().map(str::to_string).collect()),
    }
}

/// As the value of a `services` parameter.
pub(crate) fn services_text(subscription: &BroadcastSubscription) -> String {
    match subscription {
        BroadcastSubscription::None => String::new(),
        BroadcastSubscription::All => "*".to_string(),
        BroadcastSubscription::Services(ids) => ids.join(" "),
    }
}

impl Ext {
    /// Writes the field value.
    pub fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let mut gap = "";
        let mut begin = |out: &mut dyn fmt::Write, name: &str| {
            let begun = out.write_str(gap).and_then(|()| out.write_str(name));
            gap = ";";
            begun
        };
        if self.asks_key {
            begin(out, "request=key")?;
        }
        if let Some(state) = self.state {
            begin(out, "state=")?;
            out.write_str(state_token(state))?;
        }
        if let Some(cause) = &self.cause {
            begin(out, "cause=")?;
            write_quoted(out, cause)?;
        }
        if let Some(profile) = &self.profile {
            begin(out, "profile=")?;
            write_quoted(out, profile)?;
        }
        if let Some(naf) = &self.naf {
            begin(out, "naf-id=")?;
            write_quoted(out, naf.fqdn())?;
            begin(out, "ua-id=")?;
            naf.ua.write(out)?;
        }
        if let Some(btid) = &self.btid {
            // Base64 and a host name: nothing in it must be escaped.
            begin(out, "btid=\"")?;
            btid.write(out)?;
            out.write_str("\"")?;
        }
        if let Some(mode) = self.mode {
            begin(out, "mode=")?;
            out.write_str(mode.as_str())?;
        }
        if let Some(key) = self.key {
            begin(out, "key=")?;
            out.write_str(key.as_str())?;
        }
        if let Some(services) = &self.services {
            begin(out, "services=")?;
            write_quoted(out, &services_text(services))?;
        }
        Ok(())
    }
}

/// The field value.
impl fmt::Display for Ext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

/// Writes a quoted-string (RFC 3261 §25.1); control characters become blanks.
pub(super) fn write_quoted(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    out.write_str("\"")?;
    if text.bytes().all(|octet| matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\')) {
        out.write_str(text)?;
        return out.write_str("\"");
    }
    for piece in text.split_inclusive(|c: char| matches!(c, '"' | '\\') || c.is_control()) {
        match piece.chars().next_back() {
            Some(last) if matches!(last, '"' | '\\') || last.is_control() => {
                out.write_str(piece.strip_suffix(last).unwrap_or_default())?;
                if last.is_control() {
                    out.write_str(" ")?;
                } else {
                    out.write_str("\\")?;
                    out.write_char(last)?;
                }
            }
            _ => out.write_str(piece)?,
        }
    }
    out.write_str("\"")
}

/// The field value on one line (RFC 3261 §7.3.1: a fold is a blank).
pub(super) fn unfold(field: &[u8]) -> Cow<'_, [u8]> {
    if field.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
        field.iter().map(|&octet| if matches!(octet, b'\r' | b'\n') { b' ' } else { octet }).collect()
    } else {
        Cow::Borrowed(field)
    }
}

/// Where quotes are open in a text that is read octet by octet.
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    /// Whether the octet is a quote, or stands between two.
    fn hold(&mut self, octet: u8) -> bool {
        match octet {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.open => self.escaped = true,
            b'"' => self.open = !self.open,
            _ => return self.open,
        }
        true
    }
}

/// Whether no quote is left open.
pub(super) fn is_closed(text: &[u8]) -> bool {
    let mut quotes = Quotes::default();
    text.iter().for_each(|octet| {
        quotes.hold(*octet);
    });
    !quotes.open
}

/// Splits at `separator` outside quotes, empty elements left out.
pub(super) fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quotes = Quotes::default();
    text.split(move |&octet| !quotes.hold(octet) && octet == separator)
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// `name=value;name=value`: names in lower case, values without quotes; blanks around "=" and ";" do not matter.
pub(super) fn params(element: &[u8]) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), ExtError>> {
    let open = (!is_closed(element)).then_some(Err(ExtError::Malformed));
    open.into_iter().chain(split(element, b';').map(param))
}

fn param(piece: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), ExtError> {
    let (name, value) = match piece.iter().position(|&octet| octet == b'=') {
        Some(at) => (piece.get(..at).unwrap_or_default(), piece.get(at + 1..).unwrap_or_default()),
        None => (piece, &b""[..]),
    };
    let name = std::str::from_utf8(name.trim_ascii()).map_err(|_| ExtError::Malformed)?;
    if name.is_empty() {
        return Err(ExtError::Malformed);
    }
    let name = match name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    };
    Ok((name, unquote(value.trim_ascii())?))
}

/// The text of a token or quoted-string.
pub(super) fn unquote(value: &[u8]) -> Result<Cow<'_, str>, ExtError> {
    let text = std::str::from_utf8(value).map_err(|_| ExtError::Malformed)?;
    let is_plain = value.iter().all(|octet| matches!(octet, b' '..=b'~'));
    if !is_plain && text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(ExtError::Malformed);
    }
    let Some(inside) = text.strip_prefix('"') else {
        return if text.contains('"') { Err(ExtError::Malformed) } else { Ok(text.into()) };
    };
    match inside.find(['"', '\\']) {
        Some(end) if inside.len() == end + 1 && inside.ends_with('"') => return Ok(inside[..end].into()),
        _ => {}
    }
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return if chars.as_str().is_empty() { Ok(out.into()) } else { Err(ExtError::Malformed) },
            '\\' => out.push(chars.next().ok_or(ExtError::Malformed)?),
            c => out.push(c),
        }
    }
    Err(ExtError::Malformed)
}

#[cfg(test)]
#[path = "ext_tests.rs"]
mod tests;
