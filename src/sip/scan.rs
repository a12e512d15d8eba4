//! Octet scanning shared by the index, the typed views and the writers (RFC 3261 §7.3.1, §25.1): line ends,
//! blanks, tokens, quoted strings, lists. Every function walks its input once.
use std::borrow::Cow;

/// Position of the first octet at or after `from` that is one of `wanted`. Sixteen octets at a time, as most of a
/// message is text between the few octets that matter; the compiler makes vector instructions of it.
#[inline(always)]
pub(super) fn find_any<const N: usize>(bytes: &[u8], from: usize, wanted: [u8; N]) -> Option<usize> {
    let mut at = from;
    let mut rest = bytes.get(from..)?;
    while let Some((chunk, tail)) = rest.split_first_chunk() {
        let hits = marks(chunk, wanted);
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += chunk.len();
        rest = tail;
    }
    match bytes.last_chunk() {
        // The last sixteen once more, without those that have been looked at.
        Some(chunk) if !rest.is_empty() => {
            let hits = marks(chunk, wanted) >> (8 * (chunk.len() - rest.len()));
            (hits != 0).then(|| at + (hits.trailing_zeros() / 8) as usize)
        }
        _ => rest.iter().position(|b| wanted.iter().any(|w| w == b)).map(|i| at + i),
    }
}

/// All bits of an octet set where the chunk has one of `wanted`.
#[inline(always)]
fn marks<const N: usize>(chunk: &[u8; 16], wanted: [u8; N]) -> u128 {
    let mut marks = [0; 16];
    for (mark, b) in marks.iter_mut().zip(chunk) {
        *mark = wanted.iter().fold(0, |mark, w| mark | if w == b { 0xff } else { 0 });
    }
    u128::from_le_bytes(marks)
}

/// Position of the first `wanted` octet.
pub(super) fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    find_any(bytes, 0, [wanted])
}

pub(super) const LINE_END: [u8; 2] = *b"\r\n";

/// Position of the first CR or LF at or after `from`.
pub(super) fn find_line_end(bytes: &[u8], from: usize) -> Option<usize> {
    find_any(bytes, from, LINE_END)
}

/// Space, tab, or an octet of a fold.
pub(super) fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

#[inline]
pub(super) fn trim_start(mut s: &[u8]) -> &[u8] {
    while let [b, tail @ ..] = s
        && is_blank(*b)
    {
        s = tail;
    }
    s
}

#[inline]
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

/// What a value without quotes is made of in any list: neither a separator nor an octet that asks for a closer look.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0x21_u8;
    while b <= 0x7e {
        table[b as usize] = !matches!(b, b'"' | b',' | b';' | b'<' | b'>' | b'?');
        b += 1;
    }
    table
};

/// Length of the run at the start of `s` of octets that the table has.
#[inline]
pub(super) fn run(s: &[u8], table: &[bool; 256]) -> usize {
    s.iter().position(|&b| !table[usize::from(b)]).unwrap_or(s.len())
}

/// Cuts off the token at the start of `s`; it is empty if there is none.
#[inline]
pub(super) fn split_token(s: &[u8]) -> (&[u8], &[u8]) {
    s.split_at(run(s, &TOKEN))
}

pub(super) fn is_token_octet(b: u8) -> bool {
    TOKEN[usize::from(b)]
}

pub(super) fn is_token(s: &[u8]) -> bool {
    !s.is_empty() && s.iter().all(|&b| is_token_octet(b))
}

/// Whether two names are the same in any case. As spelled alike is common, and cheaper to compare.
#[inline]
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    let begin_alike = || a.first().map(u8::to_ascii_lowercase) == b.first().map(u8::to_ascii_lowercase);
    a.len() == b.len() && begin_alike() && (a == b || a.eq_ignore_ascii_case(b))
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

/// One parameter: `name`, `name=value`, `name="value"`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pair<'a> {
    pub(super) name: &'a [u8],
    /// Quotes kept
    pub(super) value: Option<&'a [u8]>,
    /// Known to follow the grammar of every list, with neither escape nor fold in it. If not, a closer look is needed.
    pub(super) plain: bool,
}

impl<'a> Pair<'a> {
    /// The parameter at the start of `s`, and what is behind the separator that ends it. Reads what nearly all
    /// parameters look like, in one walk; None for any other, which [`Pair::of`] makes of its piece.
    #[inline]
    pub(super) fn plain(s: &'a [u8], separator: u8) -> Option<(Pair<'a>, Option<&'a [u8]>)> {
        let (name, rest) = split_token(trim_start(s));
        let (value, rest) = match trim_start(rest) {
            [b'=', rest @ ..] => {
                let rest = trim_start(rest);
                let len = match rest {
                    [b'"', ..] => find_any(rest, 1, [b'"', b'\\', b'\r', b'\n']).filter(|&i| rest[i] == b'"')? + 1,
                    _ => run(rest, &PLAIN),
                };
                let (value, rest) = rest.split_at(len);
                (Some(value), trim_start(rest))
            }
            rest => (None, rest),
        };
        let next = match rest {
            [] => None,
            [b, rest @ ..] if *b == separator => Some(rest),
            _ => return None,
        };
        let sound = !name.is_empty() && value.is_none_or(|value| !value.is_empty());
        sound.then_some((Pair { name, value, plain: true }, next))
    }

    /// Whatever is between two separators.
    pub(super) fn of(piece: &'a [u8]) -> Pair<'a> {
        let (name, value) = split_once(trim(piece), b'=');
        Pair { name: trim_end(name), value: value.map(trim), plain: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.name.is_empty() && self.value.is_none()
    }

    #[inline]
    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        is_same(self.name, name)
    }

    /// The value without quotes and escapes; empty if there is none.
    pub(super) fn unquoted(&self) -> Cow<'a, [u8]> {
        match self.value {
            None => Cow::Borrowed(b""),
            Some([b'"', inner @ .., b'"']) if self.plain => Cow::Borrowed(inner),
            Some(value) if self.plain => Cow::Borrowed(value),
            Some(value) => unquote(value),
        }
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
pub(super) struct Elements<'a>(pub(super) Option<&'a [u8]>);

pub(super) fn elements(value: &[u8]) -> Elements<'_> {
    Elements(Some(value))
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let s = self.0?;
        if find(s, b',').is_none() {
            self.0 = None;
            return Some(trim(s));
        }
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
