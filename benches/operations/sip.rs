//! What one IMS REGISTER costs in the message layer: parse it, read its header fields, answer it; and the checks that come before.

use super::Case;
use imscript::sip::{Contacts, HeaderName, Message, NameAddr, ResponseWriter};
use std::hint::black_box;
use std::net::SocketAddr;

/// A REGISTER with credentials as a P-CSCF passes it on (TS 24.229 §5.1.1.5, §5.2.2): feature tags in quotes,
/// AKAv1-MD5, security agreement, Path, access network.
pub(super) const REGISTER: &[u8] = b"REGISTER sip:ims.example SIP/2.0\r\n\
Via: SIP/2.0/UDP 10.1.2.3;branch=z9hG4bKa1b2c3d4;rport\r\n\
Max-Forwards: 69\r\n\
From: <sip:alice@ims.example>;tag=4fa3\r\n\
To: <sip:alice@ims.example>\r\n\
Call-ID: apb03a0s09dkj\r\n\
CSeq: 2 REGISTER\r\n\
Contact: <sip:alice@10.1.2.3>;+sip.instance=\"<urn:gsma:imei:90420156-025763-0>\";+g.3gpp.smsip\r\n\
Authorization: Digest username=\"alice@ims.example\",realm=\"ims.example\",\
nonce=\"dGhpcyBpcyBSQU5EIG9mIDE2b2FuZCBBVVROIG9mIDE=\",uri=\"sip:ims.example\",\
response=\"6629fae49393a05397450978507c4ef1\",algorithm=AKAv1-MD5\r\n\
Expires: 600000\r\n\
Require: sec-agree\r\n\
Supported: path, gruu\r\n\
Path: <sip:term@pcscf.example;lr>\r\n\
Security-Verify: ipsec-3gpp;alg=hmac-sha-1-96;spi-c=987;spi-s=654;port-c=8642;port-s=7531\r\n\
P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=234151D0FCE11\r\n\
Content-Length: 0\r\n\r\n";

const _: () = assert!(REGISTER.len() == 806);

pub(super) fn cases() -> Vec<Case> {
    let of = |name, operation: fn(&[u8], SocketAddr)| {
        let source = SocketAddr::from(([192, 0, 2, 7], 5060));
        Case::new(name, move || operation(black_box(REGISTER), black_box(source)))
    };
    let mut cases = vec![
        of("parse", |octets, _| drop(parsed(octets))),
        of("parse, check", |octets, _| {
            black_box(parsed(octets).check()).expect("a sound message");
        }),
        of("parse, read", |octets, _| {
            black_box(read(&parsed(octets)));
        }),
        of("parse, read, 200", |octets, source| {
            let message = parsed(octets);
            black_box(read(&message));
            black_box(ok(&message, source));
        }),
        of("parse, check, read, 200", |octets, source| {
            let message = parsed(octets);
            black_box(message.check()).expect("a sound message");
            black_box(read(&message));
            black_box(ok(&message, source));
        }),
    ];
    cases.extend(FIELDS.map(|(name, field)| {
        let message = parsed(REGISTER);
        Case::new(name, move || field(black_box(&message)))
    }));
    cases.extend(ANSWERS.map(|(name, answer)| {
        let (message, source) = (parsed(REGISTER), SocketAddr::from(([192, 0, 2, 7], 5060)));
        Case::new(name, move || answer(black_box(&message), source))
    }));
    cases
}

type Field = fn(&Message<'_>) -> usize;

/// One header field as a typed value, with the parameters that a registrar looks at.
const FIELDS: [(&str, Field); 8] = [
    ("header: Via", via),
    ("header: From", |message| {
        let from = message.from().expect("From");
        from.uri_raw.len() + from.tag().map_or(0, |tag| tag.len())
    }),
    ("header: To", |message| {
        let to = message.to().expect("To");
        to.uri_raw.len() + to.tag().map_or(0, |tag| tag.len())
    }),
    ("header: Call-ID", |message| message.call_id().expect("Call-ID").len()),
    ("header: CSeq", |message| {
        let cseq = message.cseq().expect("CSeq");
        cseq.method.len() + cseq.number as usize
    }),
    ("header: Contact", contact),
    ("header: Authorization", authorization),
    ("header: Expires, Require, Supported", |message| {
        message.expires().map_or(0, |s| s as usize)
            + [HeaderName::Require, HeaderName::Supported].map(|name| list(message, name)).iter().sum::<usize>()
    }),
];

type Writing = fn(&Message<'_>, SocketAddr) -> Vec<u8>;

const ANSWERS: [(&str, Writing); 2] = [("write: 401", challenge), ("write: 200", ok)];

fn parsed(octets: &[u8]) -> Message<'_> {
    black_box(Message::parse(octets).expect("a message"))
}

fn via(message: &Message<'_>) -> usize {
    let via = message.top_via().expect("Via");
    let seen = via.host.ip().map_or(0, |_| 1) + via.branch().map_or(0, <[u8]>::len);
    seen + usize::from(via.rport().is_some())
}

fn contact(message: &Message<'_>) -> usize {
    let Contacts::List(contacts) = message.contacts().expect("Contact") else { return 0 };
    let of = |contact: &NameAddr<'_>| {
        let instance = contact.params.get("+sip.instance").map_or(0, |i| i.len());
        contact.uri_raw.len()
            + contact.expires().map_or(0, |s| s as usize)
            + contact.q().map_or(0, usize::from)
            + instance
    };
    contacts.iter().map(of).sum()
}

fn authorization(message: &Message<'_>) -> usize {
    let mut seen = 0;
    for credentials in message.authorizations() {
        let credentials = credentials.expect("Authorization");
        for name in ["username", "realm", "nonce", "uri", "response", "algorithm"] {
            seen += credentials.get(name).expect("a Digest parameter").len();
        }
    }
    seen
}

fn list(message: &Message<'_>, name: HeaderName) -> usize {
    message.list(name).map(<[u8]>::len).sum()
}

/// All of them. The sum of what was read, so that nothing of it can be left out.
fn read(message: &Message<'_>) -> usize {
    FIELDS.iter().map(|(_, field)| field(message)).sum()
}

/// A challenge of one algorithm (RFC 3261 §22.4, RFC 3310).
fn challenge(message: &Message<'_>, source: SocketAddr) -> Vec<u8> {
    let mut response = ResponseWriter::new(message, 401, source, "a73kszlfl");
    response.header(
        HeaderName::WwwAuthenticate,
        format!(
            "Digest realm=\"{}\",nonce=\"{}\",algorithm=AKAv1-MD5,qop=\"auth\"",
            "ims.example", "dGhpcyBpcyBSQU5EIG9mIDE2b2FuZCBBVVROIG9mIDE="
        ),
    );
    response.finish()
}

/// The answer as a registrar gives it (RFC 3261 §10.3, RFC 3327, RFC 3608, TS 24.229 §5.4.1.2.2).
fn ok(message: &Message<'_>, source: SocketAddr) -> Vec<u8> {
    let mut response = ResponseWriter::new(message, 200, source, "a73kszlfl");
    response
        .header(HeaderName::Contact, "<sip:alice@10.1.2.3:5060>;expires=600000")
        .copy(message, HeaderName::Path)
        .header(HeaderName::ServiceRoute, "<sip:orig@scscf.ims.example;lr>")
        .header(HeaderName::PAssociatedUri, "<sip:alice@ims.example>, <tel:+15551234>");
    response.finish()
}
