//! What one IMS REGISTER costs in the message layer: parse it, read nine header fields, answer 200; the checks that
//! come before; and what the server really asks of it on its way (`register`). `cargo bench --bench sip_register` prints time and allocations; `benches/instructions` counts
//! instructions, which unlike time are the same on every run.
//!
//! `sip_register STAGE COUNT` runs one stage COUNT times and prints nothing.
#![allow(unsafe_code)] // one trait whose methods are unsafe to call, below

use imscript::registrar::Limits;
use imscript::registrar::registration::Plan;
use imscript::sip::transaction::key::Keying;
use imscript::sip::{Contacts, HeaderName, Message, ResponseWriter};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A REGISTER with credentials as a P-CSCF passes it on (TS 24.229 §5.1.1.5, §5.2.2): feature tags in quotes,
/// AKAv1-MD5, security agreement, Path, access network.
const REGISTER: &[u8] = b"REGISTER sip:ims.example SIP/2.0\r\n\
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

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every method hands its arguments unchanged to `System`, which keeps the contract of `GlobalAlloc`, and gives
// back what `System` gave; the counter touches no memory but its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System.alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for `dealloc`; the caller vouches for `size`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

type Stage = fn(&[u8], SocketAddr, &Keying);

const STAGES: [(&str, Stage); 8] = [
    ("parse", |octets, _, _| drop(parsed(octets))),
    ("parse+key", |octets, source, keying| {
        black_box(keying.key(&parsed(octets), source.ip())).expect("a key");
    }),
    ("parse+plan", |octets, _, _| {
        black_box(Plan::read(&parsed(octets), &LIMITS, None)).expect("contacts");
    }),
    ("parse+check", |octets, _, _| {
        black_box(parsed(octets).check()).expect("a sound message");
    }),
    ("parse+read", |octets, _, _| {
        black_box(read(&parsed(octets)));
    }),
    ("parse+read+200", |octets, source, _| {
        let message = parsed(octets);
        black_box(read(&message));
        black_box(ok(&message, source));
    }),
    ("parse+check+read+200", |octets, source, _| {
        let message = parsed(octets);
        black_box(message.check()).expect("a sound message");
        black_box(read(&message));
        black_box(ok(&message, source));
    }),
    ("register", |octets, source, keying| {
        let message = parsed(octets);
        black_box(keying.key(&message, source.ip())).expect("a key");
        black_box(message.top_via().expect("Via").params.has("rport"));
        black_box(message.check()).expect("a sound message");
        black_box(register(&message));
        black_box(ok(&message, source));
    }),
];

const LIMITS: Limits = Limits { min_expires: 60, default_expires: 3600, max_expires: 600_000, max_contacts: 10 };

fn parsed(octets: &[u8]) -> Message<'_> {
    black_box(Message::parse(octets).expect("a message"))
}

/// The nine header fields as typed values, and every parameter that a registrar looks at. The sum of what was read, so
/// that nothing of it can be left out.
fn read(message: &Message<'_>) -> usize {
    let via = message.top_via().expect("Via");
    let mut seen = via.host.ip().map_or(0, |_| 1) + via.branch().map_or(0, <[u8]>::len);
    seen += usize::from(via.rport().is_some());
    let (from, to) = (message.from().expect("From"), message.to().expect("To"));
    seen += from.uri_raw.len() + from.tag().map_or(0, |tag| tag.len());
    seen += to.uri_raw.len() + to.tag().map_or(0, |tag| tag.len());
    seen += message.call_id().expect("Call-ID").len();
    let cseq = message.cseq().expect("CSeq");
    seen += cseq.method.len() + cseq.number as usize;
    if let Contacts::List(contacts) = message.contacts().expect("Contact") {
        for contact in contacts {
            seen += contact.uri_raw.len() + contact.expires().map_or(0, |s| s as usize);
            seen += contact.q().map_or(0, usize::from) + contact.params.get("+sip.instance").map_or(0, |i| i.len());
        }
    }
    for credentials in message.authorizations() {
        let credentials = credentials.expect("Authorization");
        for name in ["username", "realm", "nonce", "uri", "response", "algorithm"] {
            seen += credentials.get(name).expect("a Digest parameter").len();
        }
    }
    seen += message.expires().map_or(0, |s| s as usize);
    for name in [HeaderName::Require, HeaderName::Supported] {
        seen += message.list(name).map(<[u8]>::len).sum::<usize>();
    }
    seen
}

/// What transport and registrar ask of a REGISTER between its check and its answer, as often as they do.
fn register(message: &Message<'_>) -> usize {
    let lists = [HeaderName::Require, HeaderName::Supported];
    let mut seen: usize = lists.into_iter().flat_map(|name| message.list(name)).map(<[u8]>::len).sum();
    seen += usize::from(message.max_forwards().expect("Max-Forwards").unwrap_or_default());
    seen += usize::from(message.request_uri().expect("Request-URI").as_sip().is_some());
    seen += message.to().expect("To").uri.aor().len();
    let credentials = message.authorizations().next().expect("Authorization").expect("Authorization");
    for name in ["realm", "username", "nonce", "response", "auts", "algorithm", "qop", "username", "realm", "uri"] {
        seen += credentials.get(name).map_or(0, |value| value.len());
    }
    for _first_and_final in 0..2 {
        if let Plan::Change(asked) = Plan::read(message, &LIMITS, None).expect("contacts") {
            seen += asked.iter().map(|(contact, granted)| contact.params.len() + *granted as usize).sum::<usize>();
        }
    }
    seen +=
        message.raw_addresses(HeaderName::Contact).flatten().map(|(_, params)| params.iter().count()).sum::<usize>();
    seen += message.from().expect("From").uri_raw.len() + message.to().expect("To").uri_raw.len();
    seen += message.call_id().expect("Call-ID").len() + message.cseq().expect("CSeq").number as usize;
    seen + message.list(HeaderName::Path).count()
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

fn run(stage: Stage, count: u64) {
    let source = SocketAddr::from(([192, 0, 2, 7], 5060));
    let keying = Keying::default();
    for _ in 0..count {
        stage(black_box(REGISTER), black_box(source), &keying);
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [name, count] = words.as_slice() {
        let (_, stage) = STAGES.iter().find(|(n, _)| n == name).expect("a stage's name");
        return run(*stage, count.parse().expect("a count"));
    }
    const COUNT: u64 = 200_000;
    println!("{:22} {:>12} {:>12}", "stage", "ns", "allocations");
    for (name, stage) in STAGES {
        run(stage, COUNT / 10);
        let (before, start) = (ALLOCATIONS.load(Ordering::Relaxed), Instant::now());
        run(stage, COUNT);
        let nanos = start.elapsed().as_nanos() / u128::from(COUNT);
        let allocations = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / COUNT as f64;
        println!("{name:22} {nanos:>12} {allocations:>12}");
    }
}
