//! The octets that a stage may ask for, copied once into buffers that are used again.
//!
//! A function given to Lua outlives the borrow of a request, so without `unsafe` it cannot look into
//! the receive buffer. Copying the header fields of a REGISTER costs about a tenth of a
//! microsecond and no allocation.

use crate::policy::{Context, FailureView, Outcome, PortionView, Question, StatusEvent};
use crate::sip::{HeaderName, Message, NameAddr};
use std::borrow::Cow;
use std::net::SocketAddr;

/// A range of [`Snapshot::octets`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

#[derive(Default)]
pub(super) struct Snapshot {
    octets: Vec<u8>,
    headers: Vec<(Span, Span)>,

    pub(super) method: Span,
    pub(super) uri: Span,
    pub(super) impi: Span,
    pub(super) impu: Span,
    pub(super) kind: &'static str,
    pub(super) source: Option<SocketAddr>,
    pub(super) transport: &'static str,

    pub(super) visited_network: Option<Span>,
    pub(super) all_or_nothing: bool,
    pub(super) unix: u64,

    pub(super) naf_id: Option<Span>,
    ua_id: [u8; 5],
    pub(super) profile: Option<Span>,
    pub(super) payload: Option<Span>,
    pub(super) payload_type: Option<Span>,

    pub(super) system: &'static str,
    pub(super) state: &'static str,
    pub(super) previous: &'static str,
    pub(super) cause: Span,
    pub(super) btid: Option<Span>,
    pub(super) expires: u32,

    pub(super) server: Option<Span>,
    pub(super) status: Option<u16>,
    pub(super) reason: Span,
    pub(super) attempt: u32,
    pub(super) broadcast: Option<&'static str>,
    pub(super) micros: u64,
}

impl Snapshot {
    /// Takes over what the question's arguments tell.
    pub(super) fn take(&mut self, question: &Question<'_>) {
        self.octets.clear();
        self.headers.clear();
        self.naf_id = None;
        if let Some(ctx) = question.ctx() {
            self.take_context(ctx);
        }
        match *question {
            Question::Receive { request, .. }
            | Question::Register { request, .. }
            | Question::Verify { request, .. }
            | Question::Authorized { request, .. }
            | Question::Route { request, .. } => self.take_request(request),
            Question::Broadcast { request, portion, .. } => {
                self.take_request(request);
                self.take_portion(portion);
            }
            Question::Failure { request, failure, portion, .. } => {
                self.take_request(request);
                self.take_portion(portion);
                self.take_failure(failure);
            }
            Question::Status { event } => self.take_event(event),
            Question::Reply { response, .. } => self.take_response(response),
            Question::Finish { outcome, .. } => self.take_outcome(outcome),
        }
    }

    fn take_request(&mut self, message: &Message<'_>) {
        self.method = self.keep(message.method());
        self.uri = self.keep(message.request_uri_raw());
        self.take_headers(message);
    }

    fn take_response(&mut self, message: &Message<'_>) {
        self.status = Some(message.status());
        self.reason = self.keep(message.reason());
        self.take_headers(message);
    }

    fn take_headers(&mut self, message: &Message<'_>) {
        for (name, value) in message.all_headers() {
            let header = (self.keep(name), self.keep(value));
            self.headers.push(header);
        }
    }

    fn take_context(&mut self, ctx: &Context<'_>) {
        self.impi = self.keep(ctx.impi.as_bytes());
        self.impu = self.keep(ctx.impu.as_bytes());
        self.kind = ctx.kind.as_str();
        self.source = Some(ctx.source.addr);
        self.transport = ctx.source.transport.param();
        self.visited_network = self.keep_text(ctx.visited_network);
        self.all_or_nothing = ctx.all_or_nothing;
        self.unix = ctx.unix;
        if let Some(portion) = ctx.portion {
            self.take_portion(portion);
        }
    }

    fn take_portion(&mut self, portion: &PortionView<'_>) {
        self.naf_id = self.keep_text(Some(portion.naf_fqdn));
        self.ua_id = portion.ua_id;
        self.profile = self.keep_text(portion.profile);
        self.payload = portion.payload.map(|payload| self.keep(payload));
        self.payload_type = self.keep_text(portion.payload_type);
    }

    fn take_failure(&mut self, failure: &FailureView<'_>) {
        self.server = self.keep_text(Some(failure.server));
        self.cause = self.keep(failure.cause.as_bytes());
        self.status = failure.status;
        self.attempt = failure.attempt;
    }

    fn take_outcome(&mut self, outcome: &Outcome<'_>) {
        self.method = self.keep(outcome.method.as_bytes());
        self.status = Some(outcome.status);
        self.broadcast = outcome.broadcast.map(|state| state.as_str());
        self.server = self.keep_text(outcome.server);
        self.micros = outcome.micros;
    }

    fn take_event(&mut self, event: &StatusEvent<'_>) {
        self.system = event.system.as_str();
        self.state = event.state.as_str();
        self.previous = event.previous.as_str();
        self.cause = self.keep(event.cause.as_bytes());
        self.impi = self.keep(event.impi.as_bytes());
        self.impu = self.keep(event.impu.as_bytes());
        self.btid = self.keep_text(event.btid);
        self.naf_id = self.keep_text(event.naf_fqdn);
        self.expires = event.expires;
        self.visited_network = None;
        self.all_or_nothing = false;
        self.unix = event.unix;
    }

    fn keep(&mut self, octets: &[u8]) -> Span {
        let start = self.octets.len();
        self.octets.extend_from_slice(octets);
        Span { start, end: self.octets.len() }
    }

    fn keep_text(&mut self, text: Option<&str>) -> Option<Span> {
        text.map(|text| self.keep(text.as_bytes()))
    }

    pub(super) fn get(&self, span: Span) -> &[u8] {
        self.octets.get(span.start..span.end).unwrap_or_default()
    }

    pub(super) fn maybe(&self, span: Option<Span>) -> Option<&[u8]> {
        span.map(|span| self.get(span))
    }

    /// First field of that name, any case, long or compact; folds become blanks (RFC 3261 §7.3.1).
    pub(super) fn header(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        let known = HeaderName::from_bytes(name);
        let found = self.headers.iter().find(|(field, _)| {
            let field = self.get(*field);
            field.eq_ignore_ascii_case(name) || (known != HeaderName::Other && HeaderName::from_bytes(field) == known)
        });
        found.map(|(_, value)| unfold(self.get(*value)))
    }

    /// The expiry that a REGISTER asks for: of its first contact, else of the Expires field (RFC 3261 §10.2.1.1).
    pub(super) fn requested_expiry(&self) -> Option<u32> {
        let seconds = |octets: &[u8]| std::str::from_utf8(octets).ok()?.trim().parse().ok();
        let contact = self.header(b"Contact");
        let of_contact = contact
            .as_deref()
            .and_then(|value| NameAddr::parse(first_element(value)).ok())
            .and_then(|contact| seconds(&contact.params.get("expires")?));
        of_contact.or_else(|| seconds(&self.header(b"Expires")?))
    }

    pub(super) fn ua_id_hex(&self) -> [u8; 10] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 10];
        for (pair, octet) in hex.chunks_exact_mut(2).zip(self.ua_id) {
            pair.copy_from_slice(&[DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
        }
        hex
    }
}

fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
        return Cow::Borrowed(value);
    }
    let mut line = Vec::with_capacity(value.len());
    for part in value.split(|octet| matches!(octet, b'\r' | b'\n')).map(<[u8]>::trim_ascii).filter(|p| !p.is_empty()) {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(part);
    }
    Cow::Owned(line)
}

/// Up to the first comma outside quotes and angle brackets.
fn first_element(value: &[u8]) -> &[u8] {
    let (mut quoted, mut escaped, mut bracket) = (false, false, false);
    let end = value.iter().position(|octet| {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !bracket => quoted = !quoted,
            b'<' if !quoted => bracket = true,
            b'>' if !quoted => bracket = false,
            b',' => return !quoted && !bracket,
            _ => {}
        }
        false
    });
    end.and_then(|end| value.get(..end)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_become_single_blanks() {
        assert_eq!(&*unfold(b"a\r\n  b \r\n\tc"), b"a b c");
        assert_eq!(&*unfold(b"plain"), b"plain");
    }

    #[test]
    fn the_first_contact_ends_at_a_comma_outside_quotes_and_brackets() {
        let first: &[u8] = b"\"a, \\\" b\" <sip:u@h;x=1,2>;expires=5";
        assert_eq!(first_element(&[first, b", <sip:v@h>"].concat()), first);
        assert_eq!(first_element(b"<sip:u@h>"), b"<sip:u@h>");
    }

    #[test]
    fn a_ua_id_is_hex() {
        let snapshot = Snapshot { ua_id: [1, 0, 0, 0xab, 1], ..Snapshot::default() };
        assert_eq!(&snapshot.ua_id_hex(), b"010000ab01");
    }
}
