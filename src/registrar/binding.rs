//! Bindings: where a registered identity can be reached (RFC 3261 §10.3, RFC 5626, RFC 3327).

use crate::clock::Time;
use crate::identity::Recent;
use crate::sip::transaction::{Source, Transport};
use crate::sip::{NameAddr, Uri};
use std::borrow::Cow;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

/// One contact of a registration.
#[derive(Debug, Clone)]
pub struct Binding {
    pub text: Text,
    pub reg_id: Option<u32>,
    /// Thousandths.
    pub q: u16,
    pub cseq: u32,
    /// Monotonic time of the end.
    pub until: Time,
    /// The latest end that it ever had: another node's copy may still say that.
    pub latest: Time,
    /// Of the REGISTER that made or refreshed it: the store's clock in milliseconds, but above that of any that was
    /// acknowledged before it, whatever another node's idea of that clock.
    pub since: u64,
    /// Where the REGISTER came from.
    pub origin: Origin,
}

/// What of a contact is text, in one piece: there are as many as users.
#[derive(Debug, Clone)]
pub struct Text {
    /// URI, parameters, Call-ID, and the Path values with line feeds between them.
    octets: Arc<[u8]>,
    uri: u32,
    params: u32,
    call_id: u32,
    /// Begin and end, commonly within the parameters; the URI is before it.
    instance: Option<(NonZero<u32>, u32)>,
}

/// The same in pieces.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The contact URI as the terminal sent it.
    pub uri: &'a str,
    /// Header parameters other than `expires` and `q`, raw, with their leading `;`.
    pub params: &'a str,
    /// `+sip.instance`, the key of a binding that survives a change of address (RFC 5626 §6).
    pub instance: Option<&'a str>,
    pub call_id: &'a [u8],
    /// Path values, in order (RFC 3327 §5.3).
    pub path: &'a [String],
}

impl Text {
    pub fn new(parts: &Parts<'_>) -> Self {
        let Parts { uri, params, instance, call_id, path } = *parts;
        let mut octets = [uri.as_bytes(), params.as_bytes(), call_id].concat();
        for (n, hop) in path.iter().enumerate() {
            octets.extend_from_slice(if n > 0 { b"\n" } else { b"" });
            octets.extend_from_slice(hop.as_bytes());
        }
        let instance = instance.and_then(|instance| {
            // It stands near the front; what finds a text anywhere takes longer to set up than this.
            let mut places = params.as_bytes().windows(instance.len().max(1));
            let begin = match places.position(|there| there == instance.as_bytes()) {
                Some(at) => uri.len() + at,
                None => {
                    // It was quoted in another way.
                    octets.extend_from_slice(b"\n\n");
                    octets.extend_from_slice(instance.as_bytes());
                    octets.len() - instance.len()
                }
            };
            Some((NonZero::new(place(begin))?, place(begin + instance.len())))
        });
        let (uri, params, call_id) = (uri.len(), uri.len() + params.len(), uri.len() + params.len() + call_id.len());
        Text { octets: octets.into(), uri: place(uri), params: place(params), call_id: place(call_id), instance }
    }

    fn octets(&self, begin: u32, end: u32) -> &[u8] {
        self.octets.get(begin as usize..end as usize).unwrap_or_default()
    }
}

/// No message is so long.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// What was put in as text.
fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap_or_default()
}

/// Where a REGISTER came from, with what many share kept once.
#[derive(Debug, Clone)]
pub struct Origin {
    addr: Address,
    way: Arc<Way>,
}

#[derive(Debug, Clone)]
enum Address {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

/// The local address that it came in on, how, and by whom.
#[derive(Debug, PartialEq, Eq)]
struct Way {
    transport: Transport,
    local: SocketAddr,
    peer_names: Arc<[String]>,
}

thread_local! {
    static WAYS: Recent<Arc<Way>> = const { Recent::new() };
}

impl Origin {
    pub fn new(source: &Source) -> Self {
        let Source { transport, addr, local, peer_names } = source;
        let is = |way: &Way| way.transport == *transport && way.local == *local && way.peer_names == *peer_names;
        let make = || Arc::new(Way { transport: *transport, local: *local, peer_names: peer_names.clone() });
        let addr = match addr {
            SocketAddr::V4(addr) => Address::V4(*addr),
            SocketAddr::V6(addr) => Address::V6(Box::new(*addr)),
        };
        Origin { addr, way: WAYS.with(|ways| ways.same(|way| is(way), make)) }
    }

    pub fn source(&self) -> Source {
        let Way { transport, local, peer_names } = &*self.way;
        Source { transport: *transport, addr: self.addr(), local: *local, peer_names: peer_names.clone() }
    }

    pub fn transport(&self) -> Transport {
        self.way.transport
    }

    pub fn local(&self) -> SocketAddr {
        self.way.local
    }

    pub fn peer_names(&self) -> &[String] {
        &self.way.peer_names
    }

    pub fn addr(&self) -> SocketAddr {
        match &self.addr {
            Address::V4(addr) => SocketAddr::V4(*addr),
            Address::V6(addr) => SocketAddr::V6(**addr),
        }
    }
}

impl Binding {
    /// As in [`Parts`].
    pub fn uri(&self) -> &str {
        text(self.text.octets(0, self.text.uri))
    }

    /// As in [`Parts`].
    pub fn params(&self) -> &str {
        text(self.text.octets(self.text.uri, self.text.params))
    }

    /// As in [`Parts`].
    pub fn instance(&self) -> Option<&str> {
        self.text.instance.map(|(begin, end)| text(self.text.octets(begin.get(), end)))
    }

    pub fn call_id(&self) -> &[u8] {
        self.text.octets(self.text.params, self.text.call_id)
    }

    /// As in [`Parts`].
    pub fn path(&self) -> impl Iterator<Item = &str> {
        let all = text(self.text.octets(self.text.call_id, place(self.text.octets.len())));
        let all = all.split_once("\n\n").map_or(all, |(path, _)| path);
        all.split('\n').filter(|hop| !hop.is_empty())
    }

    /// Whether `contact` names this binding: same instance and reg-id, or else an equivalent URI.
    pub fn is_named_by(&self, contact: &ContactAsked<'_>) -> bool {
        if let (Some(mine), Some(theirs)) = (self.instance(), &contact.instance) {
            return *mine == **theirs && self.reg_id == contact.reg_id;
        }
        match (Uri::parse(self.uri().as_bytes()), &contact.uri) {
            (Ok(mine), theirs) => mine.equivalent(theirs),
            (Err(_), _) => false,
        }
    }

    /// Whether this and that are the same contact, of one node and of another.
    pub(super) fn is(&self, other: &Binding) -> bool {
        match (self.instance(), other.instance()) {
            (Some(mine), Some(theirs)) => mine == theirs && self.reg_id == other.reg_id,
            _ => match (Uri::parse(self.uri().as_bytes()), Uri::parse(other.uri().as_bytes())) {
                (Ok(mine), Ok(theirs)) => mine.equivalent(&theirs),
                _ => self.uri() == other.uri(),
            },
        }
    }

    /// Whether this is of a later REGISTER than that one (RFC 3261 §10.3 step 7): the CSeq of one Call-ID says, else the
    /// time.
    pub(super) fn is_newer_than(&self, other: &Binding) -> bool {
        match self.call_id() == other.call_id() {
            true => self.cseq > other.cseq,
            false => self.since > other.since,
        }
    }

    /// Seconds left, rounded up so that a fresh binding shows what was granted.
    pub fn expires_in(&self, mono: Duration) -> u64 {
        self.until.get().saturating_sub(mono).as_millis().div_ceil(1000) as u64
    }
}

/// A contact as a REGISTER asks for it.
#[derive(Debug, Clone)]
pub struct ContactAsked<'a> {
    pub uri: Uri<'a>,
    pub uri_text: &'a str,
    pub params: String,
    pub instance: Option<Cow<'a, str>>,
    pub reg_id: Option<u32>,
    pub q: u16,
    /// `expires` of the contact itself.
    pub expires: Option<u32>,
}

impl<'a> ContactAsked<'a> {
    /// Reads one Contact value. None: it is not text, or its q or reg-id is no number.
    pub fn read(contact: NameAddr<'a>) -> Option<Self> {
        let uri_text = std::str::from_utf8(contact.uri_raw).ok()?;
        let mut params = Vec::with_capacity(contact.params.raw().len());
        let (mut expires, mut q, mut instance, mut reg_id) = (None, 1000, None, None);
        for (name, value) in contact.params.iter() {
            let text = |v: Option<&'a [u8]>| v.and_then(|v| std::str::from_utf8(v).ok());
            if name.eq_ignore_ascii_case(b"expires") {
                // Not a number, or too large for one: as if absent (RFC 4475 §3.1.2.4).
                expires = text(value).and_then(|v| v.parse::<u32>().ok());
            } else if name.eq_ignore_ascii_case(b"q") {
                q = text(value).and_then(parse_q)?;
            } else {
                if name.eq_ignore_ascii_case(b"+sip.instance") {
                    instance = Some(match contact.params.get("+sip.instance")? {
                        Cow::Borrowed(octets) => Cow::Borrowed(std::str::from_utf8(octets).ok()?),
                        Cow::Owned(octets) => Cow::Owned(String::from_utf8(octets).ok()?),
                    });
                } else if name.eq_ignore_ascii_case(b"reg-id") {
                    reg_id = Some(text(value).and_then(|v| v.parse().ok())?);
                }
                params.push(b';');
                params.extend_from_slice(name);
                if let Some(value) = value {
                    params.push(b'=');
                    params.extend_from_slice(value);
                }
            }
        }
        params.iter_mut().for_each(|b| *b = if matches!(b, b'\r' | b'\n') { b' ' } else { *b });
        // One look at all of them: what separates them is text.
        let params = String::from_utf8(params).ok()?;
        Some(ContactAsked { uri: contact.uri, uri_text, params, instance, reg_id, q, expires })
    }
}

/// `q` of RFC 3261 §25.1: 0 to 1 with up to three decimals.
fn parse_q(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = match whole {
        "0" | "" => 0,
        "1" => 1000,
        _ => return None,
    };
    let fraction: u16 = if decimals.is_empty() { 0 } else { format!("{decimals:0<3}").parse().ok()? };
    let q = whole + fraction;
    (q <= 1000).then_some(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_values() {
        for (text, q) in [("1", 1000), ("0", 0), ("0.5", 500), ("1.000", 1000), ("0.75", 750), (".3", 300), ("0.", 0)] {
            assert_eq!(parse_q(text), Some(q), "{text}");
        }
        for bad in ["1.1", "2", "0.1234", "-1", "a", "0.x", "1.001"] {
            assert_eq!(parse_q(bad), None, "{bad}");
        }
    }

    fn binding(parts: &Parts<'_>, addr: &str) -> Binding {
        let addr = addr.parse().unwrap();
        let source = Source { transport: Transport::Tcp, addr, local: addr, peer_names: ["p".to_owned()].into() };
        let (time, origin) = (Duration::ZERO.into(), Origin::new(&source));
        let text = Text::new(parts);
        Binding { text, reg_id: None, q: 1000, cseq: 1, until: time, latest: time, since: 0, origin }
    }

    #[test]
    fn what_a_contact_was_made_of() {
        let quoted = ";+sip.instance=\"<urn:x>\";a";
        let path = ["<sip:p1;lr>".to_owned(), "<sip:p2;lr>".to_owned()];
        for (params, instance) in [("", None), (quoted, Some("<urn:x>")), (";+sip.instance=\"\\<urn\"", Some("<urn"))] {
            for path in [&path[..], &path[..1], &[]] {
                let binding =
                    binding(&Parts { uri: "sip:a@b", params, instance, call_id: b"c\xff", path }, "192.0.2.1:5060");
                assert_eq!((binding.uri(), binding.params(), binding.instance()), ("sip:a@b", params, instance));
                assert_eq!(binding.call_id(), b"c\xff");
                assert!(binding.path().eq(path));
            }
        }
    }

    #[test]
    fn an_origin_is_what_it_was_and_shares_its_way() {
        let parts = Parts { uri: "sip:a@b", params: "", instance: None, call_id: b"", path: &[] };
        for addr in ["192.0.2.1:5060", "[2001:db8::1]:5060", "[fe80::1%3]:5060"] {
            let (one, two) = (binding(&parts, addr), binding(&parts, addr));
            let source = one.origin.source();
            assert_eq!((source.addr, source.transport), (addr.parse().unwrap(), Transport::Tcp));
            assert_eq!((source.local, &*source.peer_names[0]), (addr.parse().unwrap(), "p"));
            assert!(Arc::ptr_eq(&one.origin.way, &two.origin.way));
        }
    }
}
