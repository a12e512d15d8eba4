//! Octet scanning shared by the index, the typed views and the writers (RFC 3261 §7.3.1, §25.1): line ends,
//! blanks, tokens, quoted strings, lists. Every function walks its input once.
use std::borrow::Cow;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Position of the first octet at or after `from` that is one of `wanted`. Eight octets at a time, as most of a message
/// is text between the few octets that matter.
pub(super) fn find_any<const N: usize>(bytes: &[u8], from: usize, wanted: [u8; N]) -> Option<usize> {
    let mut at = from;
    let mut rest = bytes.get(from..)?;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // The lowest high bit set is that of the first octet equal to a wanted one.
        let hit = wanted.iter().fold(0, |hit, &b| {
            let x = word ^ (LOW * u64::from(b));
            hit | (x.wrapping_sub(LOW) & !x)
        }) & HIGH;
        if hit != 0 {
            return Some(at + (hit.trailing_zeros() / 8) as usize);
        }
        at += 8;
        rest = tail;
    }
    rest.iter().position(|b| wanted.contains(b)).map(|i| at + i)
}

/// Position of the first `wanted` octet.
pub(super) fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    find_any(bytes, 0, [wanted])
}

/// Position of the first CR or LF at or after `from`.
pub(super) fn find_line_end(bytes: &[u8], from: usize) -> Option<usize> {
    find_any(bytes, from, [b'\r', b'\n'])
}

/// Space, tab, or an octet of a fold.
pub(super) fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

pub(super) fn trim_start(mut s: &[u8]) -> &[u8] {
    while let [b, tail @ ..] = s
        && is_blank(*b)
    {
        s = tail;
    }
    s
}

pub(super) fn trim_end(mut s: &[u8]) -> &[u8] {
    while let [head @ .., b] = s
        && is_blank(*b)
    {
        s = head;
    }
    s
}

pub(super) fn trim(s: &[u8]) -> &[u8] {
    trim_end(trim_start(s))
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        table[i] = b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        i += 1;
    }
    table
};

pub(super) fn is_token_octet(b: u8) -> bool {
    TOKEN[usize::from(b)]
}

pub(super) fn is_token(s: &[u8]) -> bool {
    !s.is_empty() && s.iter().all(|&b| is_token_octet(b))
}

/// Splits at the first `separator`; the second half is None if there is none.
pub(super) fn split_once(s: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match find(s, separator) {
        Some(i) => (&s[..i], Some(&s[i + 1..])),
        None => (s, None),
    }
}

/// Where the quoted string that opens at `from` is over: behind its closing quote. None if it never ends.
fn quoted_end(s: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        at = find_any(s, at, [b'"', b'\\'])?;
        if s.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Length of the quoted string at the start of `s`, both quotes counted; None if it never ends.
pub(super) fn quoted_len(s: &[u8]) -> Option<usize> {
    quoted_end(s, 0)
}

/// Position of the first `wanted` octet that is not inside quotes.
pub(super) fn find_unquoted(s: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        at = find_any(s, at, [wanted, b'"'])?;
        if s.get(at) == Some(&wanted) {
            return Some(at);
        }
        at = quoted_end(s, at)?;
    }
}

/// The value of a token or quoted string: quotes off, escapes resolved, folds to one space.
/// Borrowed unless something had to change.
pub(super) fn unquote(s: &[u8]) -> Cow<'_, [u8]> {
    let s = trim(s);
    let inner = match s {
        [b'"', inner @ .., b'"'] => inner,
        _ => return Cow::Borrowed(s),
    };
    if find_any(inner, 0, [b'\\', b'\r', b'\n']).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut octets = inner.iter().copied().peekable();
    while let Some(b) = octets.next() {
        match b {
            b'\\' => out.extend(octets.next()),
            b'\r' | b'\n' => {
                while octets.next_if(|&b| is_blank(b)).is_some() {}
                out.push(b' ');
            }
            _ => out.push(b),
        }
    }
    Cow::Owned(out)
}

/// Elements of a comma list, trimmed, empty ones too; commas in quotes or in <> do not split (RFC 3261 §7.3.1).
#[derive(Clone)]
pub(super) struct Elements<'a>(Option<&'a [u8]>);

pub(super) fn elements(value: &[u8]) -> Elements<'_> {
    Elements(Some(value))
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let s = self.0?;
        let mut at = 0;
        // An unclosed quote or bracket takes all the rest with it.
        let comma = loop {
            let Some(i) = find_any(s, at, [b',', b'"', b'<']) else { break None };
            let end = match s.get(i) {
                Some(b'"') => quoted_end(s, i),
                Some(b'<') => find_any(s, i, [b'>']),
                _ => break Some(i),
            };
            let Some(end) = end else { break None };
            at = end;
        };
        let (element, rest) = match comma {
            Some(i) => (&s[..i], s.get(i + 1..)),
            None => (s, None),
        };
        self.0 = rest;
        Some(trim(element))
    }
}

/// A decimal number without sign; None if it is not one or does not fit.
pub(super) fn decimal(s: &[u8]) -> Option<u64> {
    if s.is_empty() {
        return None;
    }
    s.iter().try_fold(0u64, |n, &b| match b {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

pub(super) fn is_digits(s: &[u8]) -> bool {
    !s.is_empty() && s.iter().all(u8::is_ascii_digit)
}

/// Value of `%HH` at the start of `s`.
pub(super) fn escape_at(s: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = s else { return None };
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// `%HH` escapes resolved; borrowed if there are none.
pub(super) fn percent_decoded(s: &[u8]) -> Cow<'_, [u8]> {
    if find(s, b'%').is_none() {
        return Cow::Borrowed(s);
    }
    let mut out = Vec::with_capacity(s.len());
    let mut rest = s;
    while let [b, tail @ ..] = rest {
        match escape_at(rest) {
            Some(octet) => {
                out.push(octet);
                rest = rest.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*b);
                rest = tail;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_end_is_found_at_every_offset() {
        for len in 0..40usize {
            for at in 0..len {
                for end in [b'\r', b'\n'] {
                    let mut text = vec![b'x'; len];
                    text[at] = end;
                    assert_eq!(find_line_end(&text, 0), Some(at));
                    assert_eq!(find_line_end(&text, at + 1), None);
                }
            }
        }
        // Octets next to CR and LF in value, and with the high bit set, are not line ends.
        assert_eq!(find_line_end(b"\x0b\x0c\x0e\x09\x8a\x8d\x00\xff..", 0), None);
    }

    #[test]
    fn elements_split_outside_quotes_and_brackets() {
        let got: Vec<_> = elements(br#" "a, \" b" <sip:x,y>;p="1,2" ,, c , "d "#).collect();
        assert_eq!(got, [&br#""a, \" b" <sip:x,y>;p="1,2""#[..], b"", b"c", br#""d"#]);
        assert_eq!(elements(b"").collect::<Vec<_>>(), [b""]);
    }

    #[test]
    fn unquote_borrows_when_nothing_changes() {
        assert!(matches!(unquote(b"\"abc\""), Cow::Borrowed(b"abc")));
        assert_eq!(&*unquote(br#""a\"b\\""#), br#"a"b\"#);
        assert_eq!(&*unquote(b"\"a\r\n  b\""), b"a b");
        assert_eq!(&*unquote(b"\""), b"\"");
    }

    #[test]
    fn numbers_and_escapes() {
        assert_eq!(decimal(b"0068"), Some(68));
        assert_eq!(decimal(b"18446744073709551616"), None);
        assert_eq!(decimal(b"+1"), None);
        assert_eq!(decimal(b""), None);
        assert_eq!(&*percent_decoded(b"%41%4g%"), b"A%4g%");
    }
}
