//! Captures made here with etherparse's writer, and the same ones damaged at random.

use super::*;
use crate::observe::event::{Event, What};
use etherparse::PacketBuilder;

const A: [u8; 4] = [192, 0, 2, 1];
const B: [u8; 4] = [192, 0, 2, 9];

fn register(number: u32, body: usize) -> Vec<u8> {
    let head = format!(
        "REGISTER sip:home1.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:a@home1.net>;tag=1\r\nTo: <sip:a@home1.net>\r\nCall-ID: {number}\r\nCSeq: {number} REGISTER\r\n\
         Content-Length: {body}\r\n\r\n"
    );
    [head.as_bytes(), &vec![b'x'; body]].concat()
}

/// A pcap of packets that came a second apart.
fn pcap(link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(65_535u32.to_le_bytes());
    file.extend(link.to_le_bytes());
    for (second, packet) in (1_000u32..).zip(packets) {
        let length = (packet.len() as u32).to_le_bytes();
        file.extend([second.to_le_bytes(), 500_000u32.to_le_bytes(), length, length].concat());
        file.extend(packet);
    }
    file
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 12).to_be_bytes();
    [&kind.to_be_bytes()[..], &length, body, &length].concat()
}

/// A big-endian pcapng with nanosecond stamps.
fn pcapng(link: u16, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = block(0x0a0d_0d0a, &[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    let [high, low] = link.to_be_bytes();
    file.extend(block(1, &[high, low, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0]));
    for packet in packets {
        let stamp = 1_700_000_000_000_000_001u64;
        let mut body = vec![0; 4];
        body.extend(stamp.to_be_bytes());
        body.extend([(packet.len() as u32).to_be_bytes(), (packet.len() as u32).to_be_bytes()].concat());
        body.extend(packet);
        body.resize(body.len().next_multiple_of(4), 0);
        file.extend(block(6, &body));
    }
    file
}

fn ip_udp(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(A, B, 64).udp(5060, 5062).write(&mut packet, payload).unwrap();
    packet
}

fn tcp(sequence: u32, syn: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(A, B, 64).tcp(5060, 5062, sequence, 1000);
    let builder = if syn { builder.syn() } else { builder };
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn found(file: &[u8]) -> (Vec<Captured>, Summary) {
    let mut all = Vec::new();
    let summary = read(file, "test", &mut |captured| all.push(captured)).unwrap();
    (all, summary)
}

fn call_ids(all: &[Captured]) -> Vec<String> {
    all.iter().map(|c| String::from_utf8_lossy(c.message.call_id().unwrap()).into_owned()).collect()
}

#[test]
fn every_link_layer_in_both_formats() {
    let ip = ip_udp(&register(1, 5));
    let mut ethernet = Vec::new();
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).single_vlan(7u16.try_into().unwrap()).ipv4(A, B, 64);
    builder.udp(5060, 5062).write(&mut ethernet, &register(1, 5)).unwrap();
    let mut v6 = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(5060, 5062).write(&mut v6, &register(1, 5)).unwrap();
    let before = |front: &[u8], packet: &[u8]| [front, packet].concat();
    let sll = before(&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0], &ip);
    let mut sll2 = vec![0x86, 0xdd];
    sll2.resize(20, 0);
    sll2.extend(&v6);
    for (link, packet) in
        [(1, ethernet), (101, ip.clone()), (229, v6), (113, sll), (276, sll2), (0, before(&[2, 0, 0, 0], &ip))]
    {
        let (all, summary) = found(&pcap(link, std::slice::from_ref(&packet)));
        assert_eq!((all.len(), summary.packets, summary.incomplete), (1, 1, 0), "link {link}");
        assert_eq!(all[0].message.body(), b"xxxxx");
        assert_eq!(all[0].at, Some(Duration::new(1000, 500_000_000)));
        assert_eq!((all[0].from.port(), all[0].to.port(), all[0].transport), (5060, 5062, Transport::Udp));
        let (all, _) = found(&pcapng(link as u16, &[packet]));
        assert_eq!(all[0].at, Some(Duration::new(1_700_000_000, 1)), "link {link}");
    }
}

#[test]
fn fragments_of_a_datagram_in_any_order() {
    let message = register(1, 3000);
    let whole = ip_udp(&message);
    let payload = &whole[20..];
    let fragment = |from: usize, to: usize| {
        let part = &payload[from..to.min(payload.len())];
        let mut header = etherparse::Ipv4Header::from_slice(&whole).unwrap().0;
        header.identification = 77;
        header.dont_fragment = false;
        header.more_fragments = to < payload.len();
        header.fragment_offset = ((from / 8) as u16).try_into().unwrap();
        header.set_payload_len(part.len()).unwrap();
        let mut packet = Vec::new();
        header.write(&mut packet).unwrap();
        packet.extend(part);
        packet
    };
    let parts = [fragment(1480, 2960), fragment(0, 1480), fragment(2960, 9999)];
    let (all, summary) = found(&pcap(101, &parts));
    assert_eq!(all[0].message.bytes(), message);
    assert_eq!(summary.incomplete, 0);
    let (all, summary) = found(&pcap(101, &parts[..2]));
    assert_eq!((all.len(), summary.incomplete), (0, 1));
}

#[test]
fn a_stream_out_of_order_repeated_and_cut_anywhere() {
    let octets = [register(1, 10), b"\r\n\r\n".to_vec(), register(2, 0), register(3, 700)].concat();
    let start = u32::MAX - 100; // the sequence numbers wrap
    let piece = |from: usize, to: usize| tcp(start.wrapping_add(1 + from as u32), false, &octets[from..to]);
    let end = octets.len();
    let packets = [
        tcp(start, true, b""),
        piece(0, 40),
        piece(300, 500),
        piece(20, 300),
        piece(20, 60),
        piece(500, end),
        piece(700, end),
    ];
    let (all, summary) = found(&pcap(1, &packets));
    assert_eq!(call_ids(&all), ["1", "2", "3"]);
    assert_eq!((summary.incomplete, all[2].message.body().len()), (0, 700));
}

#[test]
fn a_stream_seen_from_its_middle() {
    let (one, two) = (register(1, 4), register(2, 4));
    let packets = [tcp(5000, false, &one[100..]), tcp(9000, false, &two)];
    let (all, _) = found(&pcap(1, &packets));
    assert_eq!(call_ids(&all), ["2"]);
}

#[test]
fn a_hole_that_is_never_filled_costs_bounded_memory_and_ends() {
    let mut packets = vec![tcp(0, true, b""), tcp(1, false, &register(1, 4000)[..500])];
    packets.extend((0..300u32).map(|n| tcp(10_000 + n * 1400, false, &[b'x'; 1400])));
    let later = register(2, 0);
    packets.push(tcp(900_000, false, &later));
    let (all, summary) = found(&pcap(1, &packets));
    assert_eq!(call_ids(&all), ["2"]);
    assert!(summary.incomplete > 0);
}

#[test]
fn text_written_by_hand() {
    let text = "# a note\n\nREGISTER sip:home1.net SIP/2.0\nTo: <sip:a@home1.net>\nCall-ID: 1\nContent-Length: 99\n\nbody\nof two\n\
                ---\nSIP/2.0 401 Unauthorized\nCall-ID: 2\n\n\nMESSAGE sip:a SIP/2.0\r\nCall-ID: 3\r\nl: 5\r\n\r\na\r\nb\r\nc\r\n";
    let (all, summary) = found(text.as_bytes());
    assert_eq!(call_ids(&all), ["1", "2", "3"]);
    assert_eq!(all[0].message.body(), b"body\nof two");
    assert_eq!(all[2].message.body(), b"a\r\nb\r");
    assert_eq!((summary.unreadable, all[1].message.status()), (0, 401));
}

#[test]
fn a_trace_of_our_own() {
    let message = String::from_utf8(register(7, 0)).unwrap().replace(
        "Content-Length",
        "Authorization: Digest username=\"a@home1.net\", realm=\"home1.net\", nonce=\"n\", uri=\"sip:x\", response=\"r\"\r\n\
         Expires: 600\r\nContent-Length",
    );
    let what = What::of_message(false, "TCP", "192.0.2.1:5060".parse().unwrap(), message.as_bytes()).unwrap();
    let event = serde_json::to_string(&Event { at: 5, node: "IMS".into(), what }).unwrap();
    let state = r#"{"at":1,"node":"IMS","kind":"state","role":"scscf","what":"x"}"#;
    let (all, summary) = found(format!("{state}\n{event}\nnot json\n").as_bytes());
    assert_eq!((call_ids(&all), summary.unreadable), (vec!["7".to_owned()], 1));
    let read = &all[0].message;
    assert_eq!((read.expires(), all[0].transport), (Some(600), Transport::Tcp));
    let credentials = read.authorizations().next().unwrap().unwrap();
    assert_eq!(credentials.get("username").unwrap(), &b"a@home1.net"[..]);
}

#[test]
fn damaged_captures_end_in_an_error_or_in_fewer_messages() {
    let octets = [register(1, 10), register(2, 0)].concat();
    let packets = [tcp(0, true, b""), tcp(1, false, &octets), tcp(3000, false, &octets)];
    let files = [pcap(1, &packets), pcapng(1, &packets), pcap(101, &[ip_udp(&octets)])];
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 8).unwrap()
    };
    let mut refused = 0;
    for round in 0..6000 {
        let mut file = files[round % files.len()].clone();
        for _ in 0..=random() % 4 {
            let at = random() % file.len();
            file[at] = random() as u8;
        }
        file.truncate(file.len() - random() % 30);
        let mut messages = 0;
        let outcome = read(&*file, "hostile", &mut |_| messages += 1);
        refused += usize::from(outcome.is_err());
        assert!(messages <= 8);
    }
    assert!(refused > 100, "{refused}");
    // A block that says it has 4 GB.
    let mut huge = pcap(1, &packets);
    huge[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read(&*huge, "huge", &mut |_| {}), Err(CaptureError::Damaged { .. })));
}

#[test]
fn something_else_has_no_messages() {
    for file in [&b""[..], b"\0\x01\x02", b"PK\x03\x04 zip", "ünïcode\n\nREGISTER x\n".as_bytes()] {
        assert_eq!(found(file).1.messages, 0);
    }
}
