//! IP fragments put together again (RFC 791 §3.2, RFC 8200 §4.5): a REGISTER with a payload outgrows a frame.

use etherparse::defrag::IpDefragBuf;
use etherparse::{Ipv6ExtensionSlice, LaxIpPayloadSlice, LaxNetSlice};
use std::collections::VecDeque;
use std::net::IpAddr;

/// Packets in the making; each has 64 KiB at most, and the oldest gives way.
const MAX_PACKETS: usize = 256;

#[derive(Clone, PartialEq, Eq)]
struct Id {
    from: IpAddr,
    to: IpAddr,
    number: u8,
    identification: u32,
}

#[derive(Default)]
pub(super) struct Fragments {
    packets: VecDeque<(Id, IpDefragBuf)>,
    given_up: u64,
}

impl Fragments {
    /// Takes a fragment in; the whole payload with its protocol number once nothing is missing.
    pub(super) fn add(
        &mut self,
        net: &LaxNetSlice<'_>,
        (from, to): (IpAddr, IpAddr),
        payload: &LaxIpPayloadSlice<'_>,
    ) -> Option<(u8, Vec<u8>)> {
        let (identification, offset, more) = match net {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                (u32::from(header.identification()), header.fragments_offset(), header.more_fragments())
            }
            LaxNetSlice::Ipv6(ip) => {
                let fragment = ip.extensions().clone().into_iter().find_map(|extension| match extension {
                    Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment.to_header()),
                    _ => None,
                })?;
                (fragment.identification, fragment.fragment_offset, fragment.more_fragments)
            }
            LaxNetSlice::Arp(_) => return None,
        };
        let id = Id { from, to, number: payload.ip_number.0, identification };
        let at = match self.packets.iter().position(|(known, _)| *known == id) {
            Some(at) => at,
            None => {
                if self.packets.len() >= MAX_PACKETS {
                    self.packets.pop_front();
                    self.given_up = self.given_up.saturating_add(1);
                }
                self.packets.push_back((id, IpDefragBuf::new(payload.ip_number, Vec::new(), Vec::new())));
                self.packets.len().checked_sub(1)?
            }
        };
        let (_, packet) = self.packets.get_mut(at)?;
        let taken = packet.add(offset, more, payload.payload).is_ok();
        if taken && !packet.is_complete() {
            return None;
        }
        // Whole, or made of fragments that contradict each other.
        let (id, packet) = self.packets.remove(at)?;
        if !taken {
            self.given_up = self.given_up.saturating_add(1);
            return None;
        }
        Some((id.number, packet.take_bufs().0))
    }

    pub(super) fn unfinished(&self) -> u64 {
        self.given_up.saturating_add(self.packets.len() as u64)
    }
}
