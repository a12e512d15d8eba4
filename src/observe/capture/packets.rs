//! pcap and pcapng: from blocks to packets, from packets to datagrams and segments.

use super::fragments::Fragments;
use super::streams::Streams;
use super::{CaptureError, Sink};
use crate::sip::transaction::Transport;
use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TcpSlice, UdpSlice, ip_number};
use pcap_parser::pcapng::Block;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Linktype, PcapBlockOwned, PcapError};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What the reader starts with, and what it may grow to for one block.
const BUFFER: usize = 1 << 16;
const MAX_BUFFER: usize = 1 << 22;
/// Interfaces of one pcapng section that are remembered.
const MAX_INTERFACES: usize = 1024;

const LINUX_SLL: usize = 16;
const LINUX_SLL2: usize = 20;
const LOOPBACK: usize = 4;
/// Raw IP, under the numbers that BSDs gave it.
const RAW: [i32; 5] = [12, 14, 101, 228, 229];

/// pcap in either order of octets and either resolution, and pcapng's section header.
pub(super) fn is_magic(start: [u8; 4]) -> bool {
    let number = u32::from_be_bytes(start);
    [0xa1b2_c3d4, 0xd4c3_b2a1, 0xa1b2_3c4d, 0x4d3c_b2a1, 0xa1b2_cd34, 0x0a0d_0d0a].contains(&number)
}

pub(super) fn read(input: impl Read + Send, name: &str, sink: &mut Sink<'_>) -> Result<(), CaptureError> {
    let mut packets = Packets::default();
    let mut size = BUFFER;
    let damaged = |sink: &Sink<'_>, why: &str| CaptureError::Damaged {
        file: name.to_owned(),
        packets: sink.summary.packets,
        why: why.to_owned(),
    };
    let mut reader = pcap_parser::create_reader(size, input).map_err(|e| damaged(sink, &reason(&e)))?;
    loop {
        let step = match reader.next() {
            Ok((consumed, block)) => {
                packets.block(block, sink);
                Step::Consume(consumed)
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::UnexpectedEof) if sink.summary.packets > 0 => {
                sink.summary.cut = true;
                break;
            }
            Err(PcapError::Incomplete(_)) => Step::More,
            Err(PcapError::BufferTooSmall) => Step::Grow,
            Err(e) => Step::End(reason(&e)),
        };
        match step {
            Step::Consume(0) => return Err(damaged(sink, "an empty block")),
            Step::Consume(octets) => reader.consume(octets),
            Step::More if reader.reader_exhausted() && sink.summary.packets > 0 => {
                sink.summary.cut = true;
                break;
            }
            Step::More if reader.reader_exhausted() => return Err(damaged(sink, "the file ends within a packet")),
            Step::More => {
                let before = reader.data().len();
                reader.refill().map_err(|e| damaged(sink, &reason(&e)))?;
                // Nothing came and nothing ended: the block is larger than the buffer.
                if reader.data().len() == before && !reader.reader_exhausted() {
                    grow(&mut *reader, &mut size).map_err(|why| damaged(sink, why))?;
                }
            }
            Step::Grow => {
                grow(&mut *reader, &mut size).map_err(|why| damaged(sink, why))?;
                reader.refill().map_err(|e| damaged(sink, &reason(&e)))?;
            }
            Step::End(why) => return Err(damaged(sink, &why)),
        }
    }
    packets.end(sink);
    Ok(())
}

enum Step {
    Consume(usize),
    More,
    Grow,
    End(String),
}

fn grow(reader: &mut dyn PcapReaderIterator, size: &mut usize) -> Result<(), &'static str> {
    *size = size.saturating_mul(2);
    if *size <= MAX_BUFFER && reader.grow(*size) { Ok(()) } else { Err("a packet of more than 4 MB") }
}

/// The error without the octets that it carries.
fn reason<I>(error: &PcapError<I>) -> String {
    match error {
        PcapError::NomError(_, kind) | PcapError::OwnedNomError(_, kind) => {
            format!("unreadable ({})", kind.description())
        }
        PcapError::HeaderNotRecognized => "no header of pcap or pcapng".to_owned(),
        PcapError::Incomplete(_) | PcapError::UnexpectedEof | PcapError::Eof => "the file ends too soon".to_owned(),
        PcapError::BufferTooSmall => "a block is too large".to_owned(),
        PcapError::ReadError => "cannot be read".to_owned(),
    }
}

#[derive(Clone, Copy)]
struct Interface {
    link: i32,
    /// Time-stamp units in a second.
    units: u64,
    /// Seconds to add.
    offset: i64,
}

#[derive(Default)]
struct Packets {
    interfaces: Vec<Interface>,
    fragments: Fragments,
    streams: Streams,
}

impl Packets {
    fn block(&mut self, block: PcapBlockOwned<'_>, sink: &mut Sink<'_>) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let units = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                self.interfaces = vec![Interface { link: header.network.0, units, offset: 0 }];
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some(interface) = self.interfaces.first().copied() else { return };
                let nanos = u64::from(packet.ts_usec).saturating_mul(1_000_000_000 / interface.units);
                let at = Duration::from_secs(packet.ts_sec.into()).saturating_add(Duration::from_nanos(nanos));
                self.packet(interface.link, Some(at), packet.data, sink);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) if self.interfaces.len() < MAX_INTERFACES => {
                let exponent = u32::from(interface.if_tsresol & 0x7f);
                let base = if interface.if_tsresol & 0x80 == 0 { 10u64 } else { 2 };
                let units = base.checked_pow(exponent).unwrap_or(1_000_000);
                self.interfaces.push(Interface { link: interface.linktype.0, units, offset: interface.if_tsoffset });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let index = usize::try_from(packet.if_id).unwrap_or(usize::MAX);
                let Some(interface) = self.interfaces.get(index).copied() else { return };
                let stamp = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let at = time(stamp, interface);
                self.packet(interface.link, at, packet.packet_data(), sink);
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let Some(interface) = self.interfaces.first().copied() else { return };
                self.packet(interface.link, None, packet.packet_data(), sink);
            }
            PcapBlockOwned::NG(_) => {}
        }
    }

    fn packet(&mut self, link: i32, at: Option<Duration>, octets: &[u8], sink: &mut Sink<'_>) {
        sink.summary.packets = sink.summary.packets.saturating_add(1);
        let Some(packet) = network_layer(link, octets) else { return };
        let Some(net) = packet.net else { return };
        let (from, to): (IpAddr, IpAddr) = match &net {
            LaxNetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            LaxNetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            LaxNetSlice::Arp(_) => return,
        };
        let Some(payload) = net.ip_payload_ref() else { return };
        if payload.fragmented {
            if payload.incomplete {
                sink.summary.incomplete = sink.summary.incomplete.saturating_add(1);
                return;
            }
            if let Some((number, whole)) = self.fragments.add(&net, (from, to), payload) {
                self.transport(number, at, (from, to), &whole, false, sink);
            }
            return;
        }
        self.transport(payload.ip_number.0, at, (from, to), payload.payload, payload.incomplete, sink);
    }

    fn transport(
        &mut self,
        number: u8,
        at: Option<Duration>,
        (from, to): (IpAddr, IpAddr),
        octets: &[u8],
        cut: bool,
        sink: &mut Sink<'_>,
    ) {
        if number == ip_number::UDP.0 {
            let Ok(datagram) = UdpSlice::from_slice_lax(octets) else { return };
            if cut {
                sink.summary.incomplete = sink.summary.incomplete.saturating_add(1);
                return;
            }
            let path =
                (SocketAddr::new(from, datagram.source_port()), SocketAddr::new(to, datagram.destination_port()));
            sink.message(at, Transport::Udp, path, datagram.payload());
        } else if number == ip_number::TCP.0 {
            let Ok(segment) = TcpSlice::from_slice(octets) else { return };
            let path = (SocketAddr::new(from, segment.source_port()), SocketAddr::new(to, segment.destination_port()));
            self.streams.segment(at, path, &segment, sink);
        }
    }

    fn end(&mut self, sink: &mut Sink<'_>) {
        let left = self.fragments.unfinished().saturating_add(self.streams.unfinished());
        sink.summary.incomplete = sink.summary.incomplete.saturating_add(left);
    }
}

fn time(stamp: u64, interface: Interface) -> Option<Duration> {
    let seconds = i64::try_from(stamp.checked_div(interface.units)?).ok()?.checked_add(interface.offset)?;
    let rest = u128::from(stamp.checked_rem(interface.units)?);
    let nanos = rest.checked_mul(1_000_000_000)?.checked_div(u128::from(interface.units))?;
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?))
}

/// The packet without what the link puts in front.
fn network_layer(link: i32, octets: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    let ether_type = |at: usize| Some(EtherType(u16::from_be_bytes(octets.get(at..)?.first_chunk().copied()?)));
    match Linktype(link) {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(octets).ok(),
        Linktype::LINUX_SLL => {
            Some(LaxSlicedPacket::from_ether_type(ether_type(LINUX_SLL - 2)?, octets.get(LINUX_SLL..)?))
        }
        Linktype::LINUX_SLL2 => Some(LaxSlicedPacket::from_ether_type(ether_type(0)?, octets.get(LINUX_SLL2..)?)),
        Linktype::NULL | Linktype::LOOP => LaxSlicedPacket::from_ip(octets.get(LOOPBACK..)?).ok(),
        _ if RAW.contains(&link) => LaxSlicedPacket::from_ip(octets).ok(),
        _ => None,
    }
}
