//! Parameters behind a value: `;name=value`, `;name="quoted"`, `;name` (RFC 3261 §25.1 generic-param).
use super::HeaderError;
use crate::sip::scan::{find_unquoted, is_blank, is_token, quoted_len, split_once, trim, trim_end, unquote};
use std::borrow::Cow;

/// More parameters than this on one value are refused; it also bounds every search for duplicates.
pub(crate) const MAX: usize = 64;

/// `;name=value` parameters, raw until asked. [`Params::raw`] begins with the `;` (or is empty).
#[derive(Debug, Clone, Copy, Default)]
pub struct Params<'a>(pub(crate) &'a [u8]);

impl<'a> Params<'a> {
    /// Value of a parameter, unquoted; Some("") for one without value.
    pub fn get(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.find(name).map(|value| value.map_or(Cow::Borrowed(&b""[..]), unquote))
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// (name, raw value with quotes kept; None if no "=")
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.pieces().filter(|piece| !piece.is_empty()).map(|piece| {
            let (name, value) = split_once(piece, b'=');
            (trim_end(name), value.map(trim))
        })
    }

    pub fn raw(&self) -> &'a [u8] {
        self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Trimmed text between semicolons, empty pieces too.
    fn pieces(&self) -> Pieces<'a> {
        let raw = trim(self.0);
        Pieces(match raw {
            [] => None,
            [b';', rest @ ..] => Some(rest),
            _ => Some(raw),
        })
    }

    /// The grammar: a token for a name, a token, host or quoted string for a value, no name twice (RFC 3261 §7.3.1).
    pub(crate) fn check(&self, header: &'static str) -> Result<(), HeaderError> {
        let bad = |why| Err(HeaderError::new(header, why));
        for (i, piece) in self.pieces().enumerate() {
            let (name, value) = split_once(piece, b'=');
            let name = trim_end(name);
            if i == MAX {
                return bad("too many parameters");
            }
            if !is_token(name) {
                return bad("a parameter has no proper name");
            }
            match value.map(trim) {
                None => {}
                Some(quoted @ [b'"', ..]) => {
                    if quoted_len(quoted) != Some(quoted.len()) {
                        return bad("a quoted parameter value does not end");
                    }
                }
                // Wider than token and host: IPv6 without brackets, base64 and URIs are seen in the wild.
                Some(plain) => {
                    if plain.is_empty()
                        || plain.iter().any(|&b| is_blank(b) || matches!(b, b'"' | b',' | b'<' | b'>' | b'?'))
                    {
                        return bad("a parameter has no proper value");
                    }
                }
            }
            if self.pieces().take(i).any(|p| trim_end(split_once(p, b'=').0).eq_ignore_ascii_case(name)) {
                return bad("a parameter is there twice");
            }
        }
        Ok(())
    }
}

struct Pieces<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let s = self.0?;
        match find_unquoted(s, |b| b == b';') {
            Some(i) => {
                self.0 = s.get(i + 1..);
                Some(trim(&s[..i]))
            }
            None => {
                self.0 = None;
                Some(trim(s))
            }
        }
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
