//! SIP messages out of a file that somebody recorded: pcap, pcapng, or text. `imscript replay` and `explain` read it.
//!
//! A capture comes from anywhere, so nothing in it is believed: every table is bounded, what cannot be read is counted
//! and passed over, and a message is whatever [`Message::parse`] takes.

mod fragments;
mod packets;
mod streams;
mod text;

use crate::sip::Message;
use crate::sip::transaction::Transport;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Longest text capture: it is read whole, pcap is not.
const MAX_TEXT: u64 = 64 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    #[error("{file}: {why}")]
    Read { file: String, why: String },
    #[error("{file}: a text capture has {} MB at most", MAX_TEXT >> 20)]
    TooLong { file: String },
    #[error("{file}: {why} after packet {packets}: the capture is damaged")]
    Damaged { file: String, packets: u64, why: String },
}

/// One message as it was seen.
#[derive(Debug, Clone)]
pub struct Captured {
    /// From 1, in the order of the capture.
    pub number: u64,
    /// Time since 1970, if the capture says.
    pub at: Option<Duration>,
    pub transport: Transport,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub message: Message<'static>,
}

/// What was found beside the messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub packets: u64,
    pub messages: u64,
    /// Looked like SIP, and no element would have read it.
    pub unreadable: u64,
    /// Packets that the capture cut, streams with a hole in them, fragments that never met.
    pub incomplete: u64,
    /// The file ends within a packet: whoever wrote it was stopped.
    pub cut: bool,
}

/// Where messages go as they are found.
struct Sink<'a> {
    each: &'a mut dyn FnMut(Captured),
    summary: Summary,
}

impl Sink<'_> {
    fn message(&mut self, at: Option<Duration>, transport: Transport, path: (SocketAddr, SocketAddr), octets: &[u8]) {
        if !looks_like_sip(octets) {
            return;
        }
        match Message::parse_owned(octets.to_vec()) {
            Ok(message) => {
                self.summary.messages = self.summary.messages.saturating_add(1);
                let (from, to) = path;
                (self.each)(Captured { number: self.summary.messages, at, transport, from, to, message });
            }
            Err(_) => self.summary.unreadable = self.summary.unreadable.saturating_add(1),
        }
    }
}

/// Reads the file and hands out its messages one by one.
pub fn read_file(path: &Path, each: &mut dyn FnMut(Captured)) -> Result<Summary, CaptureError> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| CaptureError::Read { file: name.clone(), why: e.to_string() })?;
    read(file, &name, each)
}

/// As [`read_file`]; `name` stands in errors. What kind of capture it is, its first octets tell.
pub fn read(input: impl Read + Send, name: &str, each: &mut dyn FnMut(Captured)) -> Result<Summary, CaptureError> {
    let failed = |why: std::io::Error| CaptureError::Read { file: name.to_owned(), why: why.to_string() };
    let mut input = BufReader::new(input);
    let start = input.fill_buf().map_err(failed)?;
    let magic = start.first_chunk::<4>().copied();
    let mut sink = Sink { each, summary: Summary::default() };
    if magic.is_some_and(packets::is_magic) {
        packets::read(input, name, &mut sink)?;
    } else {
        let mut whole = Vec::new();
        input.take(MAX_TEXT + 1).read_to_end(&mut whole).map_err(failed)?;
        if whole.len() as u64 > MAX_TEXT {
            return Err(CaptureError::TooLong { file: name.to_owned() });
        }
        text::read(&whole, &mut sink);
    }
    Ok(sink.summary)
}

/// A first line that ends or begins with the version: cheap to say no to everything else on a port.
fn looks_like_sip(octets: &[u8]) -> bool {
    let line = octets.iter().position(|octet| *octet == b'\n').and_then(|end| octets.get(..end)).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = |part: &[u8]| part.eq_ignore_ascii_case(b"SIP/2.0");
    line.get(..7).is_some_and(version) || line.len().checked_sub(7).and_then(|at| line.get(at..)).is_some_and(version)
}

#[cfg(test)]
mod tests;
