//! Datagrams by the dozen: one system call receives what waits, one sends the answers to it (recvmmsg(2), sendmmsg(2)).
//!
//! Besides the calls that are saved, answers that leave together find their receiver awake: waking it costs the sender more
//! than the datagram. Used by [`super::udp`].

use crate::sip::message::limits;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Most datagrams of one call. Answers wait for as many requests at most, so it bounds what a batch adds to the delay.
pub(super) const BATCH: usize = 16;

/// One octet more than the limit tells a datagram that exceeds it.
const ROOM: usize = limits::MESSAGE + 1;

/// What one call received.
pub(super) struct Incoming {
    octets: Vec<u8>,
    headers: MultiHeaders<SockaddrStorage>,
    /// Length and sender of each; without a sender that can be answered it is left out.
    received: Vec<(usize, Option<SocketAddr>)>,
}

impl Incoming {
    pub(super) fn new() -> Self {
        // Pages that no datagram reaches are never touched.
        Incoming {
            octets: vec![0; BATCH * ROOM],
            headers: MultiHeaders::preallocate(BATCH, None),
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what waits, up to [`BATCH`].
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.received.clear();
        let Incoming { octets, headers, received } = self;
        let taken = socket.try_io(Interest::READABLE, || {
            let mut slices: Vec<_> = octets.chunks_exact_mut(ROOM).map(|room| [IoSliceMut::new(room)]).collect();
            let flags = MsgFlags::MSG_DONTWAIT;
            for one in recvmmsg(socket.as_raw_fd(), headers, &mut slices, flags, None)? {
                received.push((one.bytes, one.address.and_then(of_storage)));
            }
            // Fewer than asked for: nothing is left, and tokio may wait for news without another look.
            if received.len() < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match taken {
            Err(why) if self.received.is_empty() => Err(why),
            _ => Ok(()),
        }
    }

    /// More may be waiting.
    pub(super) fn is_full(&self) -> bool {
        self.received.len() == BATCH
    }

    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let rooms = self.octets.chunks_exact(ROOM);
        rooms.zip(&self.received).filter_map(|(room, (length, from))| Some((room.get(..*length)?, (*from)?)))
    }
}

fn of_storage(storage: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

/// Datagrams that are to leave together.
pub(super) struct Outgoing {
    octets: Vec<u8>,
    /// Where each ends, and whom it is for.
    ends: Vec<(usize, SocketAddr)>,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Outgoing { octets: Vec::new(), ends: Vec::new(), headers: MultiHeaders::preallocate(BATCH, None) }
    }

    pub(super) fn push(&mut self, bytes: &[u8], to: SocketAddr) {
        self.octets.extend_from_slice(bytes);
        self.ends.push((self.octets.len(), to));
    }

    /// Sends them in their order and tells what became of each. One that finds no room or no way is lost like any other
    /// datagram; those behind it are sent all the same.
    pub(super) fn send(&mut self, socket: RawFd, mut told: impl FnMut(SocketAddr, io::Result<()>)) {
        let Outgoing { octets, ends, headers } = self;
        let mut from = 0;
        let mut slices = Vec::with_capacity(ends.len());
        for (end, _) in ends.iter() {
            slices.push([IoSlice::new(octets.get(from..*end).unwrap_or_default())]);
            from = *end;
        }
        let to: Vec<_> = ends.iter().map(|(_, to)| Some(SockaddrStorage::from(*to))).collect();
        let mut done = 0;
        while let (Some(slices @ [_, ..]), Some(to)) = (slices.get(done..), to.get(done..)) {
            let sent = sendmmsg(socket, headers, slices, to, [], MsgFlags::MSG_DONTWAIT).map(Iterator::count);
            let told_of = ends.iter().skip(done);
            match sent {
                Ok(count) => {
                    told_of.take(count).for_each(|(_, to)| told(*to, Ok(())));
                    done += count.max(1);
                }
                Err(why) => {
                    told_of.take(1).for_each(|(_, to)| told(*to, Err(why.into())));
                    done += 1;
                }
            }
        }
        octets.clear();
        ends.clear();
    }
}
