//! A header line whose value is written piece by piece straight into the message (RFC 3261 §7.3.1). What is written
//! cannot break out of its line: folds, CR and LF become blanks.
use crate::sip::HeaderName;
use crate::sip::scan::{find_line_end, is_blank, trim};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// An open header line, see [`super::ResponseWriter::line`]; it ends where this is dropped.
///
/// `write!` works on it too; the methods are many times cheaper.
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    /// Where the line begins, and its value.
    line: usize,
    value: usize,
    is_kept: bool,
}

impl<'a> Line<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>, name: HeaderName) -> Line<'a> {
        let line = out.len();
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        let value = out.len();
        Line { out, line, value, is_kept: !matches!(name, HeaderName::ContentLength | HeaderName::Other) }
    }

    pub fn text(&mut self, piece: impl AsRef<[u8]>) -> &mut Self {
        self.out.extend_from_slice(piece.as_ref());
        self
    }

    /// In decimal.
    pub fn number(&mut self, number: u64) -> &mut Self {
        push_decimal(self.out, number);
        self
    }

    /// Two small hexadecimal digits an octet.
    pub fn hex(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = |octet: &u8| [DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]];
        self.out.extend(octets.as_ref().iter().flat_map(digits));
        self
    }

    /// `192.0.2.1:5060`, `[2001:db8::1]:5060`.
    pub fn socket(&mut self, address: SocketAddr) -> &mut Self {
        match address.ip() {
            IpAddr::V4(_) => push_ip(self.out, address.ip()),
            IpAddr::V6(_) => {
                self.out.push(b'[');
                push_ip(self.out, address.ip());
                self.out.push(b']');
            }
        }
        self.out.push(b':');
        self.number(address.port().into())
    }
}

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.text(piece);
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let written = self.out.get(self.value..).unwrap_or_default();
        let blank = |b: Option<&u8>| b.is_some_and(|&b| is_blank(b));
        if blank(written.first()) || blank(written.last()) || find_line_end(written, 0).is_some() {
            let written = self.out.split_off(self.value);
            push_value(self.out, &written);
        }
        self.out.extend_from_slice(b"\r\n");
        if !self.is_kept {
            self.out.truncate(self.line);
        }
    }
}

/// Appends a value: folds become one blank, as does any other CR or LF.
pub(super) fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    let value = trim(value);
    if find_line_end(value, 0).is_none() {
        return out.extend_from_slice(value);
    }
    let mut octets = value.iter().copied().peekable();
    while let Some(b) = octets.next() {
        if matches!(b, b'\r' | b'\n') {
            while octets.next_if(|&b| is_blank(b)).is_some() {}
            out.push(b' ');
        } else {
            out.push(b);
        }
    }
}

pub(super) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    let (mut digits, mut first, mut rest) = ([b'0'; 20], 19, number);
    while rest > 9 && first > 0 {
        digits[first] += (rest % 10) as u8;
        (first, rest) = (first - 1, rest / 10);
    }
    digits[first] += (rest % 10) as u8;
    out.extend_from_slice(&digits[first..]);
}

pub(super) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    let IpAddr::V4(ip) = ip else { return super::push_fmt(out, format_args!("{ip}")) };
    for (i, octet) in ip.octets().into_iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        push_decimal(out, octet.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn written(name: HeaderName, write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Line::begin(&mut out, name));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pieces_stand_as_they_would_in_a_format() {
        let (v4, v6): (SocketAddr, SocketAddr) =
            ("192.0.2.7:5060".parse().unwrap(), "[2001:db8::1]:65535".parse().unwrap());
        let mixed = written(HeaderName::Path, |line| {
            line.text("<sip:").socket(v4).text(b">;expires=").number(600_000).text(";ck=").hex([0, 0x0f, 0xa0, 0xff]);
            line.text(",").socket(v6).text(",").number(u64::MAX).text(",").number(0);
            write!(line, ",{:03}", 7).unwrap();
        });
        let expected = format!("Path: <sip:{v4}>;expires=600000;ck=000fa0ff,{v6},{},0,007\r\n", u64::MAX);
        assert_eq!(mixed, expected);
        assert_eq!(written(HeaderName::Path, |_| ()), "Path: \r\n");
    }

    #[test]
    fn no_piece_breaks_out_of_its_line() {
        for (piece, line) in [
            ("a\r\nVia: x", "To: a Via: x\r\n"),
            ("a\nb", "To: a b\r\n"),
            ("a\rb", "To: a b\r\n"),
            ("a \r\n  b", "To: a  b\r\n"),
            ("\r\n a \r\n", "To: a\r\n"),
        ] {
            let write = |line: &mut Line<'_>| {
                line.text(piece);
            };
            assert_eq!(written(HeaderName::To, write), line, "{piece:?}");
            assert_eq!(written(HeaderName::ContentLength, write), "");
        }
    }
}
