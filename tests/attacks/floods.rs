//! Very many requests that cost the sender little: what they cost the server is bounded. And what a request from a
//! forged address brings down on that address.

use crate::support::*;
use imscript::sip::Message;
use std::time::{Duration, Instant};

const SPROV: &str = "Content-Type: application/vnd.oma.bcast.sprov+xml\r\nBcast-Ext: naf-id=\"bsm.home1.net\"\r\n";

#[test]
fn challenges_that_nobody_answers() {
    let users = 4_000;
    let mut server = Server::start(users, "", "", &[]);
    let stranger = Stranger::new(server.udp);
    let before = server.memory();
    // Each with as much to keep until it is answered as a datagram holds: 190 MB.
    let payload = vec![b' '; 47 * 1024];
    for n in 0..users {
        let aor = format!("sip:u{n}@{DOMAIN}");
        stranger.send(&request("REGISTER", &format!("sip:{DOMAIN}"), &aor, SPROV, &payload));
        if n % 25 == 0 {
            stranger.settle();
        }
    }
    stranger.settle();
    println!("{before} MiB before");
    server.is_well(before + 130);
}

#[test]
fn strangers_and_one_user_again_and_again() {
    let mut server = Server::plain();
    let stranger = Stranger::new(server.udp);
    let before = server.memory();
    let started = Instant::now();
    for n in 0..15_000 {
        // No user of this domain; the third kind says who it is not.
        let credentials = format!(
            "Authorization: Digest username=\"nobody{n}@{DOMAIN}\",realm=\"{DOMAIN}\",nonce=\"\",uri=\"sip:{DOMAIN}\",response=\"\"\r\n"
        );
        stranger.send(&match n % 3 {
            0 => register(&format!("nobody{n}"), ""),
            1 => register("card", ""),
            _ => register("u1", &credentials),
        });
        if n % 50 == 49 {
            stranger.settle();
        }
    }
    println!("15 000 requests in {:?}", started.elapsed());
    // A challenge to the card that comes late would take the place of the one that is to be answered.
    while stranger.receive(Duration::from_millis(500)).is_some() {}
    server.is_well(before + 60);
    // The card's SQN has run far ahead; it is still accepted.
    let done = server.terminal("register", &[]);
    assert_eq!(done["result"], "registered", "{done}\n{}", server.log());
}

/// Answers are kept for retransmissions, and they copy what the sender wrote.
#[test]
fn long_answers_to_keep() {
    let mut server = Server::plain();
    let stranger = Stranger::new(server.udp);
    let before = server.memory();
    let via = format!("Via: SIP/2.0/UDP h.example;branch=z9hG4bK{}\r\n", "a".repeat(7_800));
    let vias = via.repeat(7);
    for n in 0..3_000 {
        stranger.send(&request("OPTIONS", &format!("sip:{DOMAIN}"), "sip:x@y.example", &vias, b""));
        if n % 25 == 0 {
            stranger.settle();
        }
    }
    println!("{before} MiB before");
    server.is_well(before + 140);
}

/// A datagram from a forged address: how much more than he sent comes down on whom he names.
#[test]
fn amplification() {
    let server = Server::plain();
    let stranger = Stranger::new(server.udp);
    let least = |method: &str, uri: &str, user: &str| {
        format!(
            "{method} {uri} SIP/2.0\r\nv:SIP/2.0/UDP a;rport;branch=z9hG4bK{}\r\nf:<sip:a@b>;tag=1\r\nt:<sip:{user}@{DOMAIN}>\r\n\
             i:1\r\nCSeq:{} {method}\r\nl:0\r\n\r\n",
            fresh(),
            fresh()
        )
    };
    for (what, text) in [
        ("challenge by password", least("REGISTER", "sip:home1.net", "u1")),
        ("challenge by AKA", least("REGISTER", "sip:home1.net", "card")),
        ("unknown user", least("REGISTER", "sip:home1.net", "nobody")),
        ("OPTIONS", least("OPTIONS", "sip:home1.net", "u1")),
        ("unknown method", least("X", "sip:home1.net", "u1")),
        ("faulty", least("REGISTER", "sip:home1.net", "<")),
        ("MESSAGE", least("MESSAGE", "sip:u1@home1.net", "u1")),
    ] {
        let answer = stranger.ask(text.as_bytes());
        let (sent, got) = (text.len(), answer.bytes().len());
        println!("{what}: {sent} octets bring {} with {got}, {:.2} times", answer.status(), got as f64 / sent as f64);
        assert!(got <= sent * 3 / 2 + 240, "{what}: {sent} octets bring {got}");
        // And once only.
        assert!(stranger.receive(Duration::from_millis(100)).is_none(), "{what}: a second answer");
    }
    // What is no request brings nothing.
    for text in ["SIP/2.0 200 OK\r\n\r\n", "\r\n\r\n", "\0\0\0\0", "x", "REGISTER sip:home1.net SIP/2.0\r\n\r\n"] {
        stranger.send(text.as_bytes());
        let answer = stranger.receive(Duration::from_millis(100));
        assert!(answer.is_none(), "{text}: {:?}", answer.map(Message::parse_owned));
    }
}
