//! Parameters behind a value: `;name=value`, `;name="quoted"`, `;name` (RFC 3261 §25.1 generic-param).
use super::HeaderError;
use crate::sip::scan::{Pair, find_unquoted, is_blank, is_same, is_token, quoted_len, trim, trim_start};
use std::borrow::Cow;

/// More parameters than this on one value are refused; it also bounds every search for duplicates.
pub(crate) const MAX: usize = 64;

/// `;name=value` parameters, raw until asked. [`Params::raw`] begins with the `;` (or is empty).
#[derive(Debug, Clone, Copy, Default)]
pub struct Params<'a>(pub(crate) &'a [u8]);

impl<'a> Params<'a> {
    /// Parameters that make up a whole value (`a=b;c="d"`), with or without a `;` in front.
    pub fn new(raw: &'a [u8]) -> Params<'a> {
        Params(trim(raw))
    }

    /// Cuts a value with parameters in two: `reg;id=7` is `reg` and its parameters.
    pub fn split(value: &'a [u8]) -> (&'a [u8], Params<'a>) {
        let (head, params) = value.split_at(find_unquoted(value, b';').unwrap_or(value.len()));
        (trim(head), Params(params))
    }

    /// Value of a parameter, unquoted; Some("") for one without value.
    pub fn get(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.find(name.as_bytes()).map(|pair| pair.unquoted())
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name.as_bytes()).is_some()
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<Pair<'a>> {
        let mut rest = self.pairs();
        loop {
            let s = trim_start(rest.0?);
            // Only what begins as the name does is read: the others are stepped over.
            if s.get(..name.len()).is_some_and(|start| is_same(start, name)) {
                rest.0 = Some(s);
                match rest.next() {
                    Some(pair) if pair.name.len() == name.len() => return Some(pair),
                    _ => {}
                }
            } else {
                rest.0 = find_unquoted(s, b';').and_then(|end| s.get(end + 1..));
            }
        }
    }

    /// (name, raw value with quotes kept; None if no "=")
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.pairs().filter(|pair| !pair.is_empty()).map(|pair| (pair.name, pair.value))
    }

    pub fn raw(&self) -> &'a [u8] {
        self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is between semicolons, empty pairs too.
    fn pairs(&self) -> Pairs<'a> {
        Pairs(match trim_start(self.0) {
            [] => None,
            [b';', rest @ ..] => Some(rest),
            all => Some(all),
        })
    }

    /// The grammar: a token for a name, a token, host or quoted string for a value, no name twice (RFC 3261 §7.3.1).
    pub(crate) fn check(&self, header: &'static str) -> Result<(), HeaderError> {
        if self.is_empty() {
            return Ok(());
        }
        let bad = |why| Err(HeaderError::new(header, why));
        // Few have more than a handful; room for all that may be would cost more than to read them.
        let (mut few, mut many): ([&[u8]; 8], _) = ([b""; 8], Vec::new());
        for (i, Pair { name, value, plain }) in self.pairs().enumerate() {
            if i == MAX {
                return bad("too many parameters");
            }
            if !plain && !is_token(name) {
                return bad("a parameter has no proper name");
            }
            if !plain && !value.is_none_or(is_value) {
                return bad("a parameter has no proper value");
            }
            if few.iter().take(i).chain(&many).any(|n| n.eq_ignore_ascii_case(name)) {
                return bad("a parameter is there twice");
            }
            match few.get_mut(i) {
                Some(slot) => *slot = name,
                None => many.push(name),
            }
        }
        Ok(())
    }
}

/// A whole quoted string, or something wider than token and host: IPv6 without brackets, base64 and URIs are seen in
/// the wild without quotes.
fn is_value(value: &[u8]) -> bool {
    match value {
        [] => false,
        [b'"', ..] => quoted_len(value) == Some(value.len()),
        plain => !plain.iter().any(|&b| is_blank(b) || matches!(b, b'"' | b',' | b'<' | b'>' | b'?')),
    }
}

struct Pairs<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;
    fn next(&mut self) -> Option<Pair<'a>> {
        let s = self.0?;
        if let Some((pair, rest)) = Pair::plain(s, b';') {
            self.0 = rest;
            return Some(pair);
        }
        let end = find_unquoted(s, b';').unwrap_or(s.len());
        let (piece, rest) = s.split_at(end);
        self.0 = rest.get(1..);
        Some(Pair::of(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted_and_borrowed() {
        let p = Params(b"; tag = 98asjd8 ;lr;+sip.instance=\"<urn:gsma:imei:1;2>\";e=\"a\\\"b\"; n=\r\n v");
        assert!(matches!(p.get("TAG"), Some(Cow::Borrowed(b"98asjd8"))));
        assert_eq!(p.get("lr").as_deref(), Some(&b""[..]));
        assert!(matches!(p.get("+sip.instance"), Some(Cow::Borrowed(b"<urn:gsma:imei:1;2>"))));
        assert_eq!(p.get("e").as_deref(), Some(&b"a\"b"[..]));
        assert_eq!(p.get("n").as_deref(), Some(&b"v"[..]));
        assert_eq!(p.get("x"), None);
        assert_eq!(p.iter().count(), 5);
        assert_eq!(p.check("X"), Ok(()));
    }

    #[test]
    fn made_from_other_values() {
        let (event, p) = Params::split(b" reg ;id=7");
        assert_eq!((event, p.get("id").as_deref()), (&b"reg"[..], Some(&b"7"[..])));
        let p = Params::new(b"profile=\"1.0\";naf-id=\"bsm.home1.net\"");
        assert_eq!(p.get("profile").as_deref(), Some(&b"1.0"[..]));
        assert_eq!(Params::split(b"active").1.iter().count(), 0);
    }

    #[test]
    fn bad_ones_are_told() {
        for bad in [
            &b";;"[..],
            b";a;",
            b";=1",
            b";a=\"x",
            b";a=",
            b";a=\"x\"y",
            b";a b",
            b";a=b c",
            b";tag=1;x;TAG=2",
            b";a=<b>",
        ] {
            assert!(Params(bad).check("X").is_err(), "{bad:?}");
            let _ = Params(bad).get("a");
        }
        let many = b";a".repeat(100);
        assert!(Params(&many).check("X").is_err());
        assert_eq!(Params(b"").check("X"), Ok(()));
    }
}
