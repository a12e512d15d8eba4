//! Any octets through framing, parser, check, every AVP and its values, and the answers that are made of a request.
//! Run: `fuzz/run 600 diameter_message`, seeded with the messages of `tests/vectors/diameter.json`.
#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub)] // of the sources, what is exercised here

/// The codec's own sources, without those who have connections.
#[path = "../../src/diameter"]
pub mod diameter {
    pub mod avp;
    pub mod dictionary;
    pub mod fault;
    mod limits;
    pub mod message;
    mod write;

    pub use avp::{Avp, Avps, Def, Kind};
    pub use fault::{Fault, ResultCode};
    pub use limits::{MAX_AVPS, MAX_DEPTH, MAX_MESSAGE};
    pub use message::{Header, Message, frame_len};
    pub use write::{Origin, TooLong, Writer, answer_to, refusal_of, request};
}

use diameter::fault::base;
use diameter::{Avps, Kind, MAX_DEPTH, Message, Origin, Writer, answer_to, frame_len, refusal_of};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| everything(bytes));

fn everything(bytes: &[u8]) {
    let whole = match frame_len(bytes) {
        Ok(Some(length)) => bytes.get(..length),
        Ok(None) => return assert!(bytes.len() < 4),
        Err(fault) => return assert!(fault.code().number() >= 5000),
    };
    assert!(Message::parse(bytes).is_err() || whole == Some(bytes));
    let Some(Ok(message)) = whole.map(Message::parse) else { return };
    values(message.avps(), 0);
    let _ = message.result();
    let checked = message.check();
    let origin = Origin { host: "hss.home1.net".into(), realm: "home1.net".into() };
    let header = message.header();
    if checked.is_ok() {
        // What is sound is written again as it was, padding aside.
        let mut writer = Writer::new(*header);
        message.avps().for_each(|avp| drop(writer.copy(&avp)));
        let again = writer.finish().expect("it is no longer than it was");
        let again = Message::parse(&again).expect("it can be read");
        assert_eq!(again.check(), Ok(()));
        assert!(again.avps().map(|avp| avp.octets()).eq(message.avps().map(|avp| avp.octets())));
    }
    if !header.is_request() {
        return;
    }
    let (answer, code) = match &checked {
        Ok(()) => (answer_to(&message, base::SUCCESS, &origin), base::SUCCESS),
        Err(fault) => (refusal_of(&message, fault, &origin), fault.code()),
    };
    // Proxy-Info of a large request may leave no room.
    let Ok(answer) = answer.finish() else { return };
    let answer = Message::parse(&answer).expect("an answer can be read");
    assert_eq!(answer.result(), Ok(code));
    assert!(!answer.header().is_request());
    let of = |header: &diameter::Header| (header.hop_by_hop, header.end_to_end, header.command, header.application);
    assert_eq!(of(answer.header()), of(header));
    if checked.is_ok() {
        assert_eq!(answer.check(), Ok(()));
    }
}

fn values(mut avps: Avps<'_>, depth: usize) {
    while let Some(avp) = avps.step() {
        let Ok(avp) = avp else {
            assert!(avps.step().is_none(), "a fault ends it");
            return;
        };
        let _ = (avp.text().is_ok(), avp.number(), avp.enumerated(), avp.time(), avp.address());
        assert!(avp.octets().len() >= avp.data.len() + 8);
        match avp.def() {
            Some(def) if def.kind == Kind::Grouped && depth <= MAX_DEPTH => values(avp.group(), depth + 1),
            _ => {}
        }
    }
}
