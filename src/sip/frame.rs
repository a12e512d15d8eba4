//! Finding where a message ends on a stream (RFC 3261 §18.3), by the same Content-Length rule as for datagrams.
use super::message::Fault;

#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// More octets are needed.
    Incomplete,
    /// `skip` octets of CRLF keep-alive or leading blank lines come first; a CRLFCRLF ping is answered with CRLF (RFC 5626 §4.4.1).
    KeepAlive { skip: usize, ping: bool },
    /// The first `len` octets are one message.
    Message { len: usize },
}

/// Looks at the start of a stream's buffer. `Err`: framing is lost (conflicting or bad Content-Length, over a limit):
/// `head` octets hold the request's head as far as it is known, to answer with the fault's status, then close.
pub fn next(buffer: &[u8]) -> Result<Frame, (Fault, usize)> {
    let _ = buffer;
    todo!()
}
