//! Finding where a message ends on a stream (RFC 3261 §18.3), by the same Content-Length rule as for datagrams.
//! The stream transports call it again with more octets until it says something; it keeps no state.
use super::header::HeaderName;
use super::index::{ContentLength, Flaw, scan};
use super::message::{Fault, limits};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
///
/// A lone CRLF at the end of the buffer is `Incomplete`, since it may be half of a ping.
pub fn next(buffer: &[u8]) -> Result<Frame, (Fault, usize)> {
    look(buffer).map(|(frame, _)| frame)
}

/// How many octets the message at the start of the buffer has, if its head is there; it may end beyond the buffer.
pub fn expected(buffer: &[u8]) -> Option<usize> {
    look(buffer).ok().and_then(|(_, len)| len)
}

/// The frame, and the length of the message as far as its head tells.
fn look(buffer: &[u8]) -> Result<(Frame, Option<usize>), (Fault, usize)> {
    let plain = |frame| Ok((frame, None));
    match buffer {
        [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return plain(Frame::Incomplete),
        [b'\r', b'\n', b'\r', b'\n', ..] => return plain(Frame::KeepAlive { skip: 4, ping: true }),
        [b'\r', b'\n', ..] => return plain(Frame::KeepAlive { skip: 2, ping: false }),
        [b'\n', ..] => return plain(Frame::KeepAlive { skip: 1, ping: false }),
        _ => {}
    }
    let mut length = ContentLength::default();
    // Octets beyond the largest message cannot be part of its head.
    let window = buffer.get(..limits::MESSAGE + 1).unwrap_or(buffer);
    let head = scan(window, 0, true, |field| {
        if field.id == HeaderName::ContentLength {
            length.see(field.value.of(window));
        }
    });
    let lost = |flaw: Flaw| Err((Fault::new(flaw.status, flaw.why), head.end.unwrap_or(window.len())));
    if let Some(flaw) = head.flaw.filter(|flaw| flaw.unframed) {
        return lost(flaw);
    }
    let too_large = Flaw { status: 513, why: "larger than 65536 octets", unframed: true };
    let Some(end) = head.end else {
        return if window.len() > limits::MESSAGE { lost(too_large) } else { plain(Frame::Incomplete) };
    };
    match length.result() {
        Err(flaw) => lost(flaw),
        Ok(None) => lost(Flaw::unframed("no Content-Length on a stream")),
        Ok(Some(body)) => match end.checked_add(body).filter(|len| *len <= limits::MESSAGE) {
            None => lost(too_large),
            Some(len) if len <= buffer.len() => Ok((Frame::Message { len }, Some(len))),
            Some(len) => Ok((Frame::Incomplete, Some(len))),
        },
    }
}

#[cfg(test)]
mod tests;
