//! A received message (RFC 6733 §3): read where it lies, checked before anybody acts on it.

use super::avp::{Avp, Avps, Def, Kind};
use super::dictionary::{
    AUTH_SESSION_STATE, DEREGISTRATION_REASON, DESTINATION_HOST, DESTINATION_REALM, DISCONNECT_CAUSE,
    EXPERIMENTAL_RESULT, EXPERIMENTAL_RESULT_CODE, EXPIRY_TIME, GUSS_TIMESTAMP, NAF_ID, ORIGIN_HOST, ORIGIN_REALM,
    ORIGIN_STATE_ID, PRODUCT_NAME, RESULT_CODE, SERVER_ASSIGNMENT_TYPE, SERVER_NAME, SESSION_ID, SIP_NUMBER_AUTH_ITEMS,
    SUBS_REQ_TYPE, TRANSACTION_IDENTIFIER, USER_AUTHORIZATION_TYPE, USER_DATA_ALREADY_AVAILABLE, USER_IDENTITY,
    USER_NAME, VENDOR_ID, VENDOR_SPECIFIC_APPLICATION_ID, VISITED_NETWORK_IDENTIFIER,
};
use super::fault::{Fault, ResultCode};
use super::{MAX_AVPS, MAX_DEPTH, MAX_MESSAGE};

pub(super) const HEADER: usize = 20;
pub const REQUEST: u8 = 0x80;
pub const PROXIABLE: u8 = 0x40;
pub const ERROR: u8 = 0x20;
pub const RETRANSMITTED: u8 = 0x10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub flags: u8,
    pub command: u32,
    pub application: u32,
    pub hop_by_hop: u32,
    pub end_to_end: u32,
}

impl Header {
    pub fn is_request(&self) -> bool {
        self.flags & REQUEST != 0
    }

    pub fn is_retransmitted(&self) -> bool {
        self.flags & RETRANSMITTED != 0
    }
}

/// How many octets the message at the start of a stream's buffer has, as soon as it tells; None: more are needed.
/// Err: this is no message, or too large a one, and where the next begins is lost.
pub fn frame_len(buffer: &[u8]) -> Result<Option<usize>, Fault> {
    let Some(&[version, a, b, c]) = buffer.first_chunk::<4>() else {
        // What begins wrongly is not waited for.
        return match buffer.first() {
            Some(&version) if version != 1 => Err(Fault::Version(version)),
            _ => Ok(None),
        };
    };
    if version != 1 {
        return Err(Fault::Version(version));
    }
    match u32::from_be_bytes([0, a, b, c]) as usize {
        length if length < HEADER => Err(Fault::Unframed("shorter than its header")),
        length if length % 4 != 0 => Err(Fault::Unframed("its length is no multiple of 4")),
        length if length > MAX_MESSAGE => Err(Fault::Unframed("larger than is taken")),
        length => Ok(Some(length)),
    }
}

/// A message of exactly its octets.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    header: Header,
    octets: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the header. What the AVPs are like, [`Message::check`] tells: a fault in them can be answered.
    pub fn parse(octets: &'a [u8]) -> Result<Self, Fault> {
        match frame_len(octets)? {
            Some(length) if length == octets.len() => {}
            _ => return Err(Fault::MessageLength("other than its header says")),
        }
        let number = |at: usize| match octets.get(at..at + 4) {
            Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
            _ => 0,
        };
        let flags = octets.get(4).copied().unwrap_or_default();
        let header = Header {
            flags,
            command: number(4) & 0x00ff_ffff,
            application: number(8),
            hop_by_hop: number(12),
            end_to_end: number(16),
        };
        Ok(Message { header, octets })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    pub fn avps(&self) -> Avps<'a> {
        Avps::of(self.octets.get(HEADER..).unwrap_or_default())
    }

    /// Structure, counts, and the values of known AVPs; what must be known and is not, is a fault of a request.
    /// An answer's unknown AVPs are left alone: it cannot be refused to anybody.
    pub fn check(&self) -> Result<(), Fault> {
        if self.header.is_request() && self.header.flags & ERROR != 0 {
            return Err(Fault::HeaderBits(self.header.flags));
        }
        let mut budget = MAX_AVPS;
        let mut unsupported = None;
        check_all(self.avps(), 0, self.header.is_request(), &mut budget, &mut unsupported)?;
        // A broken structure is told before an AVP that is not known.
        if let Some(fault) = unsupported {
            return Err(fault);
        }
        let asked = if self.header.is_request() { &ONCE_ASKED[..] } else { &[] };
        let mut seen = [false; ONCE.len() + ONCE_ASKED.len()];
        for avp in self.avps() {
            let which = ONCE.iter().chain(asked).zip(&mut seen).find(|(def, _)| avp.is(def));
            if let Some((_, seen)) = which
                && std::mem::replace(seen, true)
            {
                return Err(avp.too_many());
            }
        }
        Ok(())
    }

    /// What an answer says: Result-Code, or Experimental-Result.
    pub fn result(&self) -> Result<ResultCode, Fault> {
        if let Some(code) = self.avps().number(&RESULT_CODE)? {
            return Ok(ResultCode::Base(code));
        }
        let group = self.avps().get(&EXPERIMENTAL_RESULT).ok_or_else(|| RESULT_CODE.missing())?.group();
        let code = group.require(&EXPERIMENTAL_RESULT_CODE)?.number()?;
        Ok(ResultCode::Experimental { vendor: group.number(&VENDOR_ID)?.unwrap_or_default(), code })
    }

    /// A text that must be there and not be empty.
    pub fn identity(&self, def: &Def) -> Result<&'a str, Fault> {
        let avp = self.avps().require(def)?;
        avp.text().and_then(|text| if text.is_empty() { Err(avp.bad_value()) } else { Ok(text) })
    }
}

/// What no message has twice.
const ONCE: [&Def; 9] = [
    &SESSION_ID,
    &ORIGIN_HOST,
    &ORIGIN_REALM,
    &DESTINATION_HOST,
    &DESTINATION_REALM,
    &RESULT_CODE,
    &EXPERIMENTAL_RESULT,
    &AUTH_SESSION_STATE,
    &USER_NAME,
];

/// What no request has twice: of two that differ nobody could say which is meant. Of an answer the first counts.
const ONCE_ASKED: [&Def; 16] = [
    &ORIGIN_STATE_ID,
    &PRODUCT_NAME,
    &DISCONNECT_CAUSE,
    &VISITED_NETWORK_IDENTIFIER,
    &SERVER_NAME,
    &USER_AUTHORIZATION_TYPE,
    &SIP_NUMBER_AUTH_ITEMS,
    &SERVER_ASSIGNMENT_TYPE,
    &USER_DATA_ALREADY_AVAILABLE,
    &DEREGISTRATION_REASON,
    &USER_IDENTITY,
    &SUBS_REQ_TYPE,
    &EXPIRY_TIME,
    &TRANSACTION_IDENTIFIER,
    &NAF_ID,
    &GUSS_TIMESTAMP,
];

fn check_all(
    mut avps: Avps<'_>,
    depth: usize,
    request: bool,
    budget: &mut usize,
    unsupported: &mut Option<Fault>,
) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::TooLarge);
    }
    while let Some(avp) = avps.step() {
        let avp = avp?;
        *budget = budget.checked_sub(1).ok_or(Fault::TooLarge)?;
        match avp.def() {
            // It quotes what is wrong (RFC 6733 §7.5).
            Some(def) if *def == super::dictionary::FAILED_AVP => {}
            Some(def) if def.kind == Kind::Grouped => {
                // Proxy-Info holds what others put there (RFC 6733 §6.7.2).
                let ours = request && *def != super::dictionary::PROXY_INFO;
                check_all(avp.group(), depth + 1, ours, budget, unsupported)?;
            }
            Some(def) => check_value(def, &avp)?,
            None if request && avp.is_mandatory() && unsupported.is_none() => {
                *unsupported = Some(Fault::AvpUnsupported { code: avp.code, octets: avp.quoted() });
            }
            None => {}
        }
    }
    Ok(())
}

fn check_value(def: &Def, avp: &Avp<'_>) -> Result<(), Fault> {
    match def.kind {
        Kind::Utf8 => avp.text().map(drop),
        Kind::Identity | Kind::Uri if avp.data.is_ascii() => Ok(()),
        Kind::Identity | Kind::Uri => Err(avp.bad_value()),
        Kind::Unsigned32 | Kind::Enumerated | Kind::Time => avp.number().map(drop),
        // Families of no interest here are allowed: the AVP is one of several.
        Kind::Address if avp.data.len() >= 2 => match avp.data {
            [0, 1 | 2, ..] => avp.address().map(drop),
            _ => Ok(()),
        },
        Kind::Address => Err(avp.bad_length()),
        Kind::OctetString | Kind::Grouped => Ok(()),
    }
}

/// The 3GPP application that a Vendor-Specific-Application-Id names.
pub fn vendor_specific(avp: &Avp<'_>) -> Option<u32> {
    avp.is(&VENDOR_SPECIFIC_APPLICATION_ID)
        .then(|| avp.group().number(&super::dictionary::AUTH_APPLICATION_ID).ok().flatten())
        .flatten()
}
