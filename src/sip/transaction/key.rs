//! Which request belongs to which server transaction (RFC 3261 §17.2.3). Used by [`super::server`].
//!
//! A key is a 128-bit digest under keys that only this process knows, so a table entry owns no text and nobody outside
//! can construct two requests with the same key.

use crate::sip::{HeaderError, HeaderName, Host, Message, Via};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::net::IpAddr;

use super::MAGIC_COOKIE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u64, u64);

impl Key {
    /// A To tag that is the same for every retransmission of this request, for answers that leave no transaction
    /// behind (RFC 3261 §8.2.7).
    pub fn tag(self) -> String {
        format!("{:016x}", self.0 ^ self.1)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// A [`Key`] is random already: maps of keys need not hash it again.
#[derive(Default)]
pub struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

pub type ByPrehashed = BuildHasherDefault<Prehashed>;

/// Makes keys; its secrets are drawn once per table.
#[derive(Default)]
pub struct Keying(RandomState, RandomState);

impl Keying {
    /// The key of `request`, which came from `from`. An error means that its top Via cannot be read, so that it could
    /// not be answered either.
    ///
    /// Besides what §17.2.3 asks for, Call-ID and CSeq number are part of every key: a true retransmission repeats
    /// them, while a client that uses one branch twice for different requests would otherwise be given an old answer.
    /// So is the peer's IP address: an answer kept for one host is never shown to another.
    pub fn key(&self, request: &Message<'_>, from: IpAddr) -> Result<Key, HeaderError> {
        Ok(self.key_with(request, &request.top_via()?, from))
    }

    /// The same for who has read the top Via already.
    pub fn key_with(&self, request: &Message<'_>, via: &Via<'_>, from: IpAddr) -> Key {
        let mut digest = Digest::new(self.0.build_hasher(), self.1.build_hasher());
        digest.address(from);
        digest.text(request.method());
        digest.optional(request.header(HeaderName::CallId));
        match request.cseq() {
            Ok(cseq) => {
                digest.number(cseq.number);
                digest.text(cseq.method);
            }
            Err(_) => digest.optional(request.header(HeaderName::CSeq)),
        }
        match via.branch().filter(|branch| has_cookie(branch)) {
            Some(branch) => {
                digest.octets(&[1]);
                digest.text(branch);
                match via.host {
                    Host::Name(name) => digest.lowered(name),
                    Host::V4(address) => digest.address(address.into()),
                    Host::V6(address) => digest.address(address.into()),
                }
                digest.number(via.port.map_or(u32::MAX, u32::from));
            }
            None => {
                digest.octets(&[0]);
                digest.optional(request.header(HeaderName::Via));
                digest.text(request.request_uri_raw());
                digest.optional(tag(request.header(HeaderName::From), request.from()).as_deref());
                digest.optional(tag(request.header(HeaderName::To), request.to()).as_deref());
            }
        }
        digest.key()
    }
}

/// True for a branch that is unique by RFC 3261's rules. The bare cookie is not: every client that sends it sends the same.
fn has_cookie(branch: &[u8]) -> bool {
    let cookie = MAGIC_COOKIE.as_bytes();
    branch.len() > cookie.len() && branch.iter().zip(cookie).all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// The tag; of a value that cannot be read, all of it.
fn tag(raw: Option<&[u8]>, parsed: Result<crate::sip::NameAddr<'_>, HeaderError>) -> Option<Vec<u8>> {
    match parsed {
        Ok(addr) => addr.tag().map(|tag| tag.into_owned()),
        Err(_) => raw.map(<[u8]>::to_vec),
    }
}

/// Two digests of one input, which is gathered first: a hasher takes one long piece far sooner than many short ones.
/// Every piece tells its length or has but one, so that no two inputs are alike when put together.
struct Digest<H> {
    hashers: (H, H),
    gathered: [u8; 128],
    len: usize,
}

impl<H: Hasher> Digest<H> {
    fn new(one: H, other: H) -> Self {
        Digest { hashers: (one, other), gathered: [0; 128], len: 0 }
    }

    fn octets(&mut self, octets: &[u8]) {
        if let Some(place) = self.gathered.get_mut(self.len..).and_then(|free| free.get_mut(..octets.len())) {
            place.copy_from_slice(octets);
            self.len += octets.len();
        } else {
            self.pass_on();
            self.hashers.0.write(octets);
            self.hashers.1.write(octets);
        }
    }

    /// The hashers get what is gathered.
    fn pass_on(&mut self) {
        let gathered = self.gathered.get(..self.len).unwrap_or_default();
        self.hashers.0.write(gathered);
        self.hashers.1.write(gathered);
        self.len = 0;
    }

    fn number(&mut self, number: u32) {
        self.octets(&number.to_ne_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.octets(text);
    }

    fn optional(&mut self, text: Option<&[u8]>) {
        self.octets(&[u8::from(text.is_some())]);
        self.text(text.unwrap_or_default());
    }

    /// A host name, which has no case.
    fn lowered(&mut self, name: &[u8]) {
        self.octets(&[0]);
        let mut lower = [0; 256];
        match lower.get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                self.text(lower);
            }
            // Longer than any name.
            None => self.text(name),
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.octets(&[4]);
                self.octets(&address.octets());
            }
            IpAddr::V6(address) => {
                self.octets(&[6]);
                self.octets(&address.octets());
            }
        }
    }

    fn key(mut self) -> Key {
        self.pass_on();
        Key(self.hashers.0.finish(), self.hashers.1.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn request(via: &str, call_id: &str, cseq: &str, from_tag: &str) -> String {
        let method = cseq.split(' ').nth(1).unwrap();
        format!(
            "{method} sip:ims.example SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@ims.example>;tag={from_tag}\r\nTo: <sip:a@ims.example>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq}\r\nContent-Length: 0\r\n\r\n"
        )
    }

    fn key(keying: &Keying, text: &str) -> Key {
        keying.key(&Message::parse(text.as_bytes()).unwrap(), HERE).unwrap()
    }

    #[test]
    fn branch_sent_by_and_method_make_the_transaction() {
        let keying = Keying::default();
        let base = request("h.example;branch=z9hG4bK1", "c", "1 REGISTER", "t");
        assert_eq!(key(&keying, &base), key(&keying, &base));
        assert_eq!(
            key(&keying, &base),
            key(&keying, &request("H.Example;rport;branch=z9hG4bK1", "c", "1 REGISTER", "t")),
            "host names have no case, other parameters do not count"
        );
        for other in [
            request("h.example;branch=z9hG4bK2", "c", "1 REGISTER", "t"),
            request("h.example:5062;branch=z9hG4bK1", "c", "1 REGISTER", "t"),
            request("i.example;branch=z9hG4bK1", "c", "1 REGISTER", "t"),
            request("h.example;branch=z9hG4bK1", "c", "1 MESSAGE", "t"),
            request("h.example;branch=z9hG4bK1", "c", "2 REGISTER", "t"),
        ] {
            assert_ne!(key(&keying, &base), key(&keying, &other), "{other}");
        }
        let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
        assert_ne!(key(&keying, &base), keying.key(&Message::parse(base.as_bytes()).unwrap(), elsewhere).unwrap());
    }

    #[test]
    fn without_a_unique_branch_the_rfc_2543_rules_hold() {
        for via in ["h.example", "h.example;branch=1", "h.example;branch=z9hG4bK"] {
            let keying = Keying::default();
            let base = request(via, "c", "1 REGISTER", "t");
            assert_eq!(key(&keying, &base), key(&keying, &base));
            for other in [
                request(via, "d", "1 REGISTER", "t"),
                request(via, "c", "2 REGISTER", "t"),
                request(via, "c", "1 REGISTER", "u"),
                base.replace("REGISTER sip:ims", "REGISTER sip:other"),
                base.replace("To: <sip:a@ims.example>", "To: <sip:a@ims.example>;tag=x"),
                base.replace("h.example", "h.example:5070"),
            ] {
                assert_ne!(key(&keying, &base), key(&keying, &other), "{other}");
            }
        }
    }
}
