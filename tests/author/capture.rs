//! `imscript replay` of captures that these tests write.

use super::*;
use etherparse::PacketBuilder;

fn register(user: &str) -> String {
    REGISTER.replace("bob", user).replace('\n', "\r\n").replace("Call-ID: 1", &format!("Call-ID: {user}"))
}

/// A pcap of Ethernet frames: users by UDP, and one TCP stream of two users in small segments, backwards.
fn pcap() -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 1, 0, 0, 0]);
    let mut second = 1_767_225_600u32;
    let mut add = |packet: Vec<u8>| {
        let length = (packet.len() as u32).to_le_bytes();
        file.extend([second.to_le_bytes(), 0u32.to_le_bytes(), length, length].concat());
        file.extend(packet);
        second += 1;
    };
    let ethernet = || PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
    for user in ["ann", "bob"] {
        let mut packet = Vec::new();
        ethernet().udp(5060, 5060).write(&mut packet, register(user).as_bytes()).unwrap();
        add(packet);
    }
    let stream =
        [register("tom"), register("tim")].map(|text| text.replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"));
    let stream = stream.concat();
    let mut syn = Vec::new();
    ethernet().tcp(40_000, 5060, 99, 1000).syn().write(&mut syn, b"").unwrap();
    add(syn);
    let pieces: Vec<(usize, &[u8])> = stream.as_bytes().chunks(100).enumerate().collect();
    for (index, piece) in pieces.into_iter().rev() {
        let mut packet = Vec::new();
        ethernet().tcp(40_000, 5060, 100 + 100 * index as u32, 1000).write(&mut packet, piece).unwrap();
        add(packet);
    }
    file
}

const OLD: &str = "return { verify = function() return ims.verify { subscription = 'always' } end }\n";
const NEW: &str = "return { verify = function(req)\n  local often = req.impu:find('t') and 'never' or 'always'\n  \
                   return ims.verify { subscription = often }\nend }\n";

#[test]
fn differences_between_two_policies() {
    let desk = Desk::new();
    desk.write("a.lua", OLD).write("b.lua", NEW.replace("'t'", "'sip:t'")).write("monday.pcap", pcap());
    let said = desk.run("replay monday.pcap --old a.lua --new b.lua").fails(1);
    has(
        &said,
        &[
            "message 3, 2026-01-01T",
            "stage verify: REGISTER sip:home1.net for sip:tom@home1.net\n  - verify",
            "subscription=\"always\"\n  + verify",
            "4 requests among 4 messages",
            "2 differ",
        ],
    );
    let json = desk.run("replay monday.pcap --old a.lua --new b.lua --json").json();
    assert_eq!((json["different"].as_u64(), json["requests"].as_u64()), (Some(2), Some(4)));
    assert_eq!(json["differences"][1]["message"], 4);
    assert_eq!(json["differences"][1]["new"]["verdict"]["subscription"], "never");
    has(&desk.run("replay monday.pcap --old a.lua --new a.lua").ok(), &["0 differ"]);
    has(
        &desk.run("replay monday.pcap --old a.lua --new b.lua --stage broadcast").ok(),
        &["4 verdicts compared, 0 differ"],
    );
}

#[test]
fn a_set_that_fails_differs_and_keeps_being_asked() {
    let desk = Desk::new();
    let text: String = (0..30).map(|n| register(&format!("user{n}")).replace("\r\n", "\n")).collect();
    desk.write("a.lua", OLD).write("b.lua", "return { verify = function() error('broken') end }").write("m.sip", text);
    let said = desk.run("replay m.sip --old a.lua --new b.lua").fails(1);
    has(&said, &["message 30, ", "(failed: policy: b.lua:1: broken)", "30 differ"]);
}

#[test]
fn trouble_is_told_from_difference() {
    let desk = Desk::new();
    desk.write("a.lua", OLD).write("empty", "").write("bad.lua", "return {").write("m.sip", REGISTER);
    has(&desk.run("replay empty --old a.lua --new a.lua").fails(2), &["no SIP message in it"]);
    has(&desk.run("replay nowhere --old a.lua --new a.lua").fails(2), &["nowhere: "]);
    has(&desk.run("replay m.sip --old a.lua --new bad.lua").fails(2), &["bad.lua:1:"]);
}

#[test]
fn a_capture_that_is_cut_off_counts_as_far_as_it_goes() {
    let desk = Desk::new();
    let mut cut = pcap();
    cut.truncate(cut.len() - 10);
    desk.write("a.lua", OLD).write("cut.pcap", &cut);
    let said = desk.run("replay cut.pcap --old a.lua --new a.lua");
    has(&said.err, &["warning: cut.pcap ends within packet "]);
    has(&said.ok(), &["2 requests among 2 messages"]);
    assert_eq!(desk.run("replay cut.pcap --old a.lua --new a.lua --json").json()["cut"], true);
    desk.write("cut.pcap", &cut[..30]);
    has(&desk.run("replay cut.pcap --old a.lua --new a.lua").fails(2), &["cut.pcap: "]);
}

#[test]
fn a_trace_counts_by_what_came_from_others() {
    let desk = Desk::new();
    let line = |sent: bool, id: &str| {
        format!(
            "{{\"at\":1,\"node\":\"IMS\",\"kind\":\"sip\",\"sent\":{sent},\"transport\":\"UDP\",\"peer\":\"192.0.2.1:5060\",\
             \"start\":\"REGISTER sip:home1.net\",\"id\":\"{id} 1 REGISTER REGISTER sip:home1.net\",\"headers\":[],\"body\":[]}}\n"
        )
    };
    desk.write("a.lua", OLD).write("t.jsonl", [line(false, "ue"), line(false, "own"), line(true, "own")].concat());
    has(&desk.run("replay t.jsonl --old a.lua --new a.lua").ok(), &["1 requests among 1 messages"]);
}

#[test]
fn a_message_that_the_server_refuses_is_not_explained() {
    let desk = Desk::new();
    desk.write("a.lua", OLD);
    for (from, to, why) in [
        ("Call-ID: 1\n", "", "the server answers 400 Bad Request: Call-ID"),
        ("To: <sip:bob@home1.net>", "To: <sip:bob@home1.net", "the server answers 400 Bad Request: To"),
    ] {
        desk.write("r.sip", REGISTER.replace(from, to));
        has(&desk.run("explain r.sip --policy a.lua").fails(1), &["r.sip: ", why, "before any stage"]);
        let said = desk.run("explain r.sip --policy a.lua --json");
        assert_eq!((said.code, said.json()["refused"]["status"].as_u64()), (1, Some(400)));
    }
}
