//! Properties of the message layer on octets of any kind: nothing panics, what is written can be read back, a stream is
//! cut at the same places however it arrives.
mod exercise;

use exercise::{everything, rebuild, same};
use imscript::sip::frame::{self, Frame};
use imscript::sip::{HeaderName, Message};
use proptest::prelude::*;
use std::fs;
use std::path::Path;

const REGISTER: &[u8] = b"REGISTER sip:ims.mnc001.mcc001.3gppnetwork.org SIP/2.0\r\n\
Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKnashds7;rport, SIP/2.0/TCP 192.0.2.9;received=192.0.2.1\r\n\
Max-Forwards: 70\r\nP-Access-Network-Info: 3GPP-UTRAN-TDD;utran-cell-id-3gpp=234151D0FCE11\r\n\
From: \"A \\\"B\\\"\" <sip:user1_public1@home1.net>;tag=4fa3\r\nTo: <sip:user1_public1@home1.net>\r\n\
m: <sip:[2001:db8::1];comp=sigcomp>;expires=600000;+g.3gpp.icsi-ref=\"urn%3Aa,urn%3Ab\", \"x, y\" <tel:+1-555;x=y>;q=0.5\r\n\
Call-ID: apb03a0s09dkjdfglkj49111\r\nAuthorization: Digest username=\"u@home1.net\", realm=\"home1.net\",\r\n nonce=\"\", \
uri=\"sip:home1.net\", response=\"\", algorithm=AKAv1-MD5, auts=\"x==\"\r\nCSeq: 1 REGISTER\r\nExpires: 600000\r\n\
Require: sec-agree, bcast_ext_profile=\"1.0\"\r\nPath: <sip:p.example;lr>\r\nDate: Sat, 13 Nov 2010 23:29:00 GMT\r\n\
Content-Type: multipart/mixed;boundary=\"b1\"\r\nContent-Length: 60\r\n\r\n\
--b1\r\nContent-Type: \"application/x + y\"\r\n\r\n\0\xff\xfe\r\n\r\n--b1--..\r\n\n";

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "dat"));
    files.sort();
    assert_eq!(files.len(), 49);
    files.iter().map(|path| fs::read(path).unwrap()).chain([REGISTER.to_vec()]).collect()
}

#[test]
fn the_corpus_and_every_prefix_of_it() {
    for bytes in corpus() {
        everything(&bytes);
        for at in (0..bytes.len()).step_by(7) {
            everything(&bytes[..at]);
        }
    }
}

#[test]
fn print_of_parse_is_the_same_message() {
    for bytes in corpus() {
        let message = Message::parse(&bytes).unwrap();
        if message.check().is_ok() {
            let written = rebuild(&message);
            same(&message, &Message::parse(&written).unwrap());
        }
    }
    let owned = Message::parse_owned(REGISTER.to_vec()).unwrap();
    assert_eq!(owned.check(), Ok(()));
    same(&owned, &Message::parse(REGISTER).unwrap().into_owned());
}

/// Cuts a stream that arrives in pieces.
fn cut(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, u16> {
    let (mut buffer, mut messages) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match frame::next(&buffer).map_err(|(fault, _)| fault.status)? {
                Frame::Incomplete => break,
                Frame::KeepAlive { skip, .. } => drop(buffer.drain(..skip)),
                Frame::Message { len } => messages.push(buffer.drain(..len).collect()),
            }
        }
    }
    Ok(messages)
}

#[test]
fn every_split_of_every_corpus_message() {
    for bytes in corpus() {
        let stream = [REGISTER, b"\r\n\r\n", &bytes].concat();
        let whole = cut(&[&stream]);
        for at in REGISTER.len() - 2..=stream.len() {
            let (a, b) = stream.split_at(at);
            assert_eq!(cut(&[a, b]), whole);
        }
    }
}

/// A change to a message.
#[derive(Debug, Clone)]
enum Edit {
    Set(usize, u8),
    Cut(usize, usize),
    Insert(usize, Vec<u8>),
    Copy(usize, usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0usize..2000;
    let bits = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n ".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"<".to_vec()),
        Just(b">".to_vec()),
        Just(b";".to_vec()),
        Just(b",".to_vec()),
        Just(b"@".to_vec()),
        Just(b":".to_vec()),
        Just(b"=".to_vec()),
        Just(b"%00".to_vec()),
        Just(b"%".to_vec()),
        Just(b"?".to_vec()),
        Just(b"[".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"\r\nContent-Length: 3\r\n".to_vec()),
        Just(b"\r\nl : 99999999999999999999\r\n".to_vec()),
        Just(b"\xff\x80".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"--b1".to_vec()),
        Just(b"99999999999".to_vec()),
        Just(b"SIP/2.0 ".to_vec()),
    ];
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(a, b)| Edit::Set(a, b)),
        (at.clone(), 0usize..60).prop_map(|(a, n)| Edit::Cut(a, n)),
        (at.clone(), bits).prop_map(|(a, b)| Edit::Insert(a, b)),
        (at.clone(), at, 0usize..60).prop_map(|(a, b, n)| Edit::Copy(a, b, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    let len = bytes.len();
    if len == 0 {
        return;
    }
    match edit {
        Edit::Set(at, to) => bytes[at % len] = *to,
        Edit::Cut(at, n) => drop(bytes.drain(at % len..(at % len + n).min(len))),
        Edit::Insert(at, what) => drop(bytes.splice(at % len..at % len, what.iter().copied()).collect::<Vec<_>>()),
        Edit::Copy(from, to, n) => {
            let piece = bytes[from % len..(from % len + n).min(len)].to_vec();
            drop(bytes.splice(to % len..to % len, piece).collect::<Vec<_>>());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        everything(&bytes);
    }

    #[test]
    fn octets_of_the_grammar(text in "[A-Za-z:/.;=@<>\"\\\\,%?&\\[\\]{}* \t\r\n0-9+-]{0,200}") {
        everything(text.as_bytes());
    }

    #[test]
    fn one_odd_header(name in "(From|To|Via|Contact|CSeq|Authorization|Content-Type|Route|l|X)", value in "[a-z0-9:/.;=@<>\"\\\\,%?\\[\\] \r\n]{0,80}") {
        let at = REGISTER.windows(2).position(|w| w == b"\r\n").unwrap_or(0) + 2;
        let bytes = [&REGISTER[..at], format!("{name}: {value}\r\n").as_bytes(), &REGISTER[at..]].concat();
        everything(&bytes);
    }

    #[test]
    fn mutated_messages(which in 0usize..50, edits in proptest::collection::vec(edit(), 1..6)) {
        let mut bytes = corpus().swap_remove(which);
        for edit in &edits {
            apply(&mut bytes, edit);
        }
        everything(&bytes);
    }

    #[test]
    fn split_anywhere(which in 0usize..50, edits in proptest::collection::vec(edit(), 0..3), pieces in proptest::collection::vec(1usize..200, 1..12)) {
        let mut stream = REGISTER.to_vec();
        stream.extend(corpus().swap_remove(which));
        for edit in &edits {
            apply(&mut stream, edit);
        }
        let (mut rest, mut cuts) = (&stream[..], Vec::new());
        for size in pieces {
            let (piece, tail) = rest.split_at(size.min(rest.len()));
            cuts.push(piece);
            rest = tail;
        }
        cuts.push(rest);
        prop_assert_eq!(cut(&cuts), cut(&[&stream]));
    }

    #[test]
    fn bodies_of_any_octets(body in proptest::collection::vec(any::<u8>(), 0..300), compact: bool) {
        let name = if compact { "l" } else { "Content-Length" };
        let head = format!("MESSAGE sip:a SIP/2.0\r\n{name} : {}\r\n\r\n", body.len());
        let bytes = [head.as_bytes(), &body, b"trailing"].concat();
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.body(), &body[..]);
        prop_assert_eq!(frame::next(&bytes), Ok(Frame::Message { len: head.len() + body.len() }));
        let found = message.header(HeaderName::ContentLength).map(<[u8]>::to_vec);
        prop_assert_eq!(found, Some(body.len().to_string().into_bytes()));
    }
}
