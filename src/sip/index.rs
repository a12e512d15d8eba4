//! Where things are in a message head: start line, header fields, the empty line (RFC 3261 §7). The one scanner for
//! datagrams ([`super::message`]) and streams ([`super::frame`]), and the one reading of Content-Length for both.
use super::header::HeaderName;
use super::message::limits;
use super::scan::{LINE_END, decimal, find_any, is_token, trim_end, trim_start};

/// Octets `from..to` of the buffer; the limits keep both far below 2^32.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Span {
    pub(super) fn new(from: usize, to: usize) -> Span {
        Span { from: u32::try_from(from).unwrap_or(u32::MAX), to: u32::try_from(to).unwrap_or(u32::MAX) }
    }
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.from as usize..self.to as usize).unwrap_or_default()
    }
}

/// One header field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name_at: u32,
    pub(super) value: Span,
    pub(super) name_len: u16,
    pub(super) id: HeaderName,
}

impl Field {
    pub(super) fn name<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let from = self.name_at as usize;
        bytes.get(from..from.saturating_add(usize::from(self.name_len))).unwrap_or_default()
    }
}

/// What is wrong with the octets themselves; the first one found counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) status: u16,
    pub(super) why: &'static str,
    /// Two readers could disagree about where the message ends: a stream cannot go on after it.
    pub(super) unframed: bool,
}

impl Flaw {
    pub(super) fn bad(why: &'static str) -> Flaw {
        Flaw { status: 400, why, unframed: false }
    }
    pub(super) fn unframed(why: &'static str) -> Flaw {
        Flaw { status: 400, why, unframed: true }
    }
}

#[derive(Debug)]
pub(super) struct Head {
    pub(super) start: Span,
    /// Offset behind the empty line; None if the buffer ends before it.
    pub(super) end: Option<usize>,
    pub(super) flaw: Option<Flaw>,
    /// Whether a value may have a CR or LF in it.
    pub(super) folded: bool,
}

/// Leading CRLF (or LF) octets, which are no part of a message (RFC 3261 §7.5).
pub(super) fn leading_blank_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match bytes.get(at..) {
            Some([b'\r', b'\n', ..]) => at += 2,
            Some([b'\n', ..]) => at += 1,
            _ => return at,
        }
    }
}

/// Scans a head that begins at `from`, handing out each header field. A field that is no field (no colon, bad name)
/// is left out and noted as the flaw. If the head does not end, `partial` says that more octets may come.
pub(super) fn scan(bytes: &[u8], from: usize, partial: bool, mut field: impl FnMut(Field)) -> Head {
    let mut head = Head { start: Span::new(from, from), end: None, flaw: None, folded: false };
    let mut scanner = Scanner { bytes, fields: 0, flaw: None, ends: None, folded: false };
    let mut at = from;
    let mut open: Option<(usize, usize)> = None;
    let mut first = true;
    while let Some((end, next)) = scanner.line(at, partial) {
        let continued = matches!(bytes.get(at), Some(b' ' | b'\t'));
        if first {
            head.start = Span::new(at, end);
            if end - at > limits::LINE {
                scanner.note(Flaw { status: 414, why: "start line too long", unframed: true });
            }
            first = false;
        } else if continued {
            scanner.folded = true;
            match &mut open {
                Some((_, to)) => *to = end,
                None => scanner.note(Flaw::bad("the start line is folded")),
            }
        } else {
            scanner.close(open.take(), &mut field);
            if end == at {
                head.end = Some(next);
                break;
            }
            open = Some((at, end));
        }
        at = next;
    }
    if head.end.is_none() {
        // What is left has no line end. In a datagram it is a field cut short; on a stream the rest may come.
        let rest = bytes.len().saturating_sub(at);
        if first && !partial {
            head.start = Span::new(at, bytes.len());
        }
        if rest > limits::LINE || open.is_some_and(|(from, _)| bytes.len() - from > limits::LINE) {
            let status = if first { 414 } else { 400 };
            scanner.note(Flaw { status, why: "line too long", unframed: true });
        }
        if !partial {
            scanner.close(open, &mut field);
            if rest > 0 && !first {
                scanner.folded = true;
                scanner.close(Some((at, bytes.len())), &mut field);
            }
            scanner.note(Flaw::unframed("no empty line after the header fields"));
        }
    }
    (head.flaw, head.folded) = (scanner.flaw, scanner.folded);
    head
}

struct Scanner<'b> {
    bytes: &'b [u8],
    fields: usize,
    flaw: Option<Flaw>,
    /// Whether lines end in CRLF (true) or in LF alone; both in one head is a way to smuggle lines.
    ends: Option<bool>,
    folded: bool,
}

impl Scanner<'_> {
    fn note(&mut self, flaw: Flaw) {
        self.flaw.get_or_insert(flaw);
    }

    /// End of the line's text, and start of the next line.
    #[inline(always)]
    fn line(&mut self, at: usize, partial: bool) -> Option<(usize, usize)> {
        let mut from = at;
        loop {
            let end = find_any(self.bytes, from, LINE_END)?;
            let (crlf, next) = match self.bytes.get(end..)? {
                [b'\r', b'\n', ..] => (true, end + 2),
                [b'\n', ..] => (false, end + 1),
                // A CR at the very end may be half of a CRLF.
                [_] if partial => return None,
                _ => {
                    self.folded = true;
                    self.note(Flaw::unframed("CR without LF"));
                    from = end + 1;
                    continue;
                }
            };
            if *self.ends.get_or_insert(crlf) != crlf {
                self.note(Flaw::unframed("line ends are mixed"));
            }
            return Some((end, next));
        }
    }

    /// Hands out a field whose last line has been seen.
    #[inline(always)]
    fn close(&mut self, open: Option<(usize, usize)>, field: &mut impl FnMut(Field)) {
        let Some((from, to)) = open else { return };
        if to - from > limits::LINE {
            self.note(Flaw { status: 400, why: "header field too long", unframed: true });
        }
        let text = &self.bytes[from..to];
        let Some(colon) = find_any(text, 0, [b':']) else {
            return self.note(Flaw::bad("a header line has no colon"));
        };
        let name = trim_end(&text[..colon]);
        let id = HeaderName::from_bytes(name);
        if id == HeaderName::Other && !is_token(name) {
            return self.note(Flaw::bad("a header field name is not a token"));
        }
        if self.fields == limits::HEADERS {
            return self.note(Flaw { status: 400, why: "too many header fields", unframed: true });
        }
        self.fields += 1;
        let value = trim_start(&text[colon + 1..]);
        let start = to - value.len();
        let end = start + trim_end(value).len();
        field(Field {
            name_at: u32::try_from(from).unwrap_or(u32::MAX),
            name_len: u16::try_from(name.len()).unwrap_or(u16::MAX),
            value: Span::new(start, end),
            id,
        });
    }
}

/// The one reading of Content-Length: the field values so far and what they say together.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ContentLength {
    value: Option<usize>,
    bad: Option<&'static str>,
}

impl ContentLength {
    pub(super) fn see(&mut self, value: &[u8]) {
        match decimal(value).and_then(|n| usize::try_from(n).ok()) {
            None => self.bad = Some("Content-Length is not a length"),
            Some(n) => match self.value {
                Some(before) if before != n => self.bad = Some("Content-Length values differ"),
                _ => self.value = Some(n),
            },
        }
    }
    /// Ok(None) if there was no such field.
    pub(super) fn result(self) -> Result<Option<usize>, Flaw> {
        match self.bad {
            Some(why) => Err(Flaw::unframed(why)),
            None => Ok(self.value),
        }
    }
}
