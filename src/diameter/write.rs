//! Building messages.

use super::MAX_MESSAGE;
use super::avp::{Avp, Def, M, V, quoted_head};
use super::dictionary::{
    AUTH_APPLICATION_ID, AUTH_SESSION_STATE, ERROR_MESSAGE, EXPERIMENTAL_RESULT, EXPERIMENTAL_RESULT_CODE, FAILED_AVP,
    ORIGIN_HOST, ORIGIN_REALM, PROXY_INFO, RESULT_CODE, SESSION_ID, TGPP, VENDOR_ID, VENDOR_SPECIFIC_APPLICATION_ID,
    application,
};
use super::fault::{Fault, ResultCode};
use super::message::{ERROR, Header, Message, PROXIABLE, REQUEST};
use std::net::IpAddr;
use std::time::Duration;

/// Seconds since 1900 of the last moment that a Time can say: values without their top bit are of the era after 2036.
const LAST_TIME: u64 = (1 << 32) + (1 << 31) - 1;

/// A message in the making. What would be longer than [`MAX_MESSAGE`] is refused at the end.
#[derive(Clone)]
pub struct Writer {
    octets: Vec<u8>,
}

/// More octets than a message may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message would have more than {MAX_MESSAGE} octets")]
pub struct TooLong;

impl Writer {
    pub fn new(header: Header) -> Self {
        let mut octets = Vec::with_capacity(1024);
        octets.extend_from_slice(&[1, 0, 0, 0, header.flags]);
        octets.extend_from_slice(&header.command.to_be_bytes()[1..]);
        octets.extend_from_slice(&header.application.to_be_bytes());
        octets.extend_from_slice(&header.hop_by_hop.to_be_bytes());
        octets.extend_from_slice(&header.end_to_end.to_be_bytes());
        Writer { octets }
    }

    pub fn octets(&mut self, def: &Def, data: &[u8]) -> &mut Self {
        put_avp(&mut self.octets, def, data);
        self
    }

    pub fn text(&mut self, def: &Def, text: &str) -> &mut Self {
        self.octets(def, text.as_bytes())
    }

    pub fn number(&mut self, def: &Def, number: u32) -> &mut Self {
        self.octets(def, &number.to_be_bytes())
    }

    pub fn enumerated(&mut self, def: &Def, value: i32) -> &mut Self {
        self.octets(def, &value.to_be_bytes())
    }

    /// `since`: since 1970.
    pub fn time(&mut self, def: &Def, since: Duration) -> &mut Self {
        // Of the seconds since 1900 the lower 32 bits (RFC 6733 §4.3.1). What is later than they can say shall not be the past.
        self.number(def, since.as_secs().saturating_add(2_208_988_800).min(LAST_TIME) as u32)
    }

    pub fn address(&mut self, def: &Def, address: IpAddr) -> &mut Self {
        match address {
            IpAddr::V4(v4) => self.octets(def, &[&[0, 1], &v4.octets()[..]].concat()),
            IpAddr::V6(v6) => self.octets(def, &[&[0, 2], &v6.octets()[..]].concat()),
        }
    }

    pub fn group(&mut self, def: &Def, fill: impl FnOnce(&mut Writer)) -> &mut Self {
        let mut inner = Writer { octets: Vec::new() };
        fill(&mut inner);
        self.octets(def, &inner.octets)
    }

    /// An AVP of another message as it is.
    pub fn copy(&mut self, avp: &Avp<'_>) -> &mut Self {
        self.raw(avp.octets())
    }

    fn raw(&mut self, whole: &[u8]) -> &mut Self {
        self.octets.extend_from_slice(whole);
        pad(&mut self.octets);
        self
    }

    /// Vendor-Specific-Application-Id of a 3GPP application.
    pub fn application(&mut self, id: u32) -> &mut Self {
        self.group(&VENDOR_SPECIFIC_APPLICATION_ID, |group| {
            group.number(&VENDOR_ID, TGPP).number(&AUTH_APPLICATION_ID, id);
        })
    }

    /// Result-Code or Experimental-Result.
    pub fn result(&mut self, code: ResultCode) -> &mut Self {
        match code {
            ResultCode::Base(code) => self.number(&RESULT_CODE, code),
            ResultCode::Experimental { vendor, code } => self.group(&EXPERIMENTAL_RESULT, |group| {
                group.number(&VENDOR_ID, vendor).number(&EXPERIMENTAL_RESULT_CODE, code);
            }),
        }
    }

    pub(super) fn into_octets(self) -> Vec<u8> {
        self.octets
    }

    pub fn finish(mut self) -> Result<Vec<u8>, TooLong> {
        let length = u32::try_from(self.octets.len()).ok().filter(|length| *length as usize <= MAX_MESSAGE);
        let length = length.ok_or(TooLong)?.to_be_bytes();
        if let Some(field) = self.octets.get_mut(1..4) {
            field.copy_from_slice(&length[1..]);
        }
        Ok(self.octets)
    }
}

/// Who speaks: Origin-Host and Origin-Realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub host: String,
    pub realm: String,
}

/// The head that all 3GPP requests have (TS 29.229 §6.1). Identifiers are set when it is sent; Destination-Host and
/// Destination-Realm follow where they are known.
pub fn request(application: u32, command: u32, session: &str, origin: &Origin) -> Writer {
    let mut writer =
        Writer::new(Header { flags: REQUEST | PROXIABLE, command, application, hop_by_hop: 0, end_to_end: 0 });
    writer
        .text(&SESSION_ID, session)
        .application(application)
        .enumerated(&AUTH_SESSION_STATE, 1)
        .text(&ORIGIN_HOST, &origin.host)
        .text(&ORIGIN_REALM, &origin.realm);
    writer
}

/// The head of an answer: identifiers, Session-Id and Proxy-Info of the request, result and origin.
pub fn answer_to(request: &Message<'_>, code: ResultCode, origin: &Origin) -> Writer {
    let header = request.header();
    let error = if code.is_protocol_error() { ERROR } else { 0 };
    let mut writer = Writer::new(Header { flags: header.flags & PROXIABLE | error, ..*header });
    if let Some(session) = request.avps().get(&SESSION_ID) {
        writer.copy(&session);
    }
    if header.application != application::BASE && !code.is_protocol_error() {
        writer.application(header.application).enumerated(&AUTH_SESSION_STATE, 1);
    }
    writer.result(code).text(&ORIGIN_HOST, &origin.host).text(&ORIGIN_REALM, &origin.realm);
    for proxy in request.avps().all(&PROXY_INFO) {
        writer.copy(&proxy);
    }
    writer
}

/// The answer to a request that cannot be taken.
pub fn refusal_of(request: &Message<'_>, fault: &Fault, origin: &Origin) -> Writer {
    let mut writer = answer_to(request, fault.code(), origin);
    writer.text(&ERROR_MESSAGE, &fault.to_string());
    if let Some(failed) = fault.failed_avp() {
        // One that would make the answer too long is quoted by its header.
        let fits = writer.octets.len() + padded(failed.len()) + 8 <= MAX_MESSAGE;
        let head = if fits { None } else { Some(quoted_head(failed)) };
        writer.group(&FAILED_AVP, |group| {
            group.raw(head.as_ref().map_or(failed, |head| &head.0));
        });
    }
    writer
}

pub(super) fn put_avp(octets: &mut Vec<u8>, def: &Def, data: &[u8]) {
    let (flag, head) = if def.vendor == 0 { (0, 8) } else { (V, 12) };
    // What does not fit into 24 bits is far beyond MAX_MESSAGE, so the message is refused at its end.
    let length = ((head + data.len()) as u32).to_be_bytes();
    octets.extend_from_slice(&def.code.to_be_bytes());
    octets.push(flag | if def.mandatory { M } else { 0 });
    octets.extend_from_slice(&length[1..]);
    if def.vendor != 0 {
        octets.extend_from_slice(&def.vendor.to_be_bytes());
    }
    octets.extend_from_slice(data);
    pad(octets);
}

fn pad(octets: &mut Vec<u8>) {
    octets.resize(padded(octets.len()), 0);
}

/// Up to the next multiple of four.
pub(super) fn padded(length: usize) -> usize {
    length.saturating_add(3) & !3
}
