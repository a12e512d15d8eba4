//! name-addr and addr-spec: From, To, Contact, Route, P-Asserted-Identity and their like (RFC 3261 §20.10, §25.1).
use super::{HeaderError, Params};
use crate::sip::scan::{
    decimal, find, find_any, find_line_end, is_blank, is_token_octet, quoted_len, trim, trim_end, trim_start, unquote,
};
use crate::sip::uri::Uri;
use std::borrow::Cow;

#[derive(Debug, Clone)]
pub struct NameAddr<'a> {
    /// Unquoted display name
    pub display: Option<Cow<'a, [u8]>>,
    pub uri: Uri<'a>,
    /// The URI's octets as sent, without < >
    pub uri_raw: &'a [u8],
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    #[inline]
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let (display, uri_raw, params) = Self::cut(value)?;
        Ok(NameAddr { display, uri: Uri::parse(uri_raw)?, uri_raw, params })
    }

    /// URI and parameters, without a look at what the URI is.
    pub(in crate::sip) fn halves(value: &'a [u8]) -> Result<(&'a [u8], Params<'a>), HeaderError> {
        Self::cut(value).map(|(_, uri_raw, params)| (uri_raw, params))
    }

    /// Display name, URI and parameters.
    #[inline]
    #[expect(clippy::type_complexity)]
    fn cut(value: &'a [u8]) -> Result<(Option<Cow<'a, [u8]>>, &'a [u8], Params<'a>), HeaderError> {
        let bad = |why| HeaderError::new("address", why);
        let value = trim(value);
        let (display, bracketed) = if let [b'<', rest @ ..] = value {
            (None, Some(rest))
        } else if value.first() == Some(&b'"') {
            let len = quoted_len(value).ok_or(bad("the display name's quotes do not end"))?;
            let (name, rest) = value.split_at(len);
            match trim_start(rest) {
                [b'<', rest @ ..] => (Some(unquote(name)), Some(rest)),
                _ => return Err(bad("no < behind the display name")),
            }
        } else {
            // Only tokens and blanks may stand before a "<": the colon of a bare URI ends the search.
            let end = value.iter().position(|&b| !is_token_octet(b) && !is_blank(b)).unwrap_or(value.len());
            match value.get(end..) {
                Some([b'<', rest @ ..]) => (Some(unfolded(trim_end(&value[..end]))), Some(rest)),
                _ => (None, None),
            }
        };
        let (uri_raw, rest) = match bracketed {
            Some(rest) => {
                let end = find(rest, b'>').ok_or(bad("no > behind the URI"))?;
                (&rest[..end], &rest[end + 1..])
            }
            None => value.split_at(find_any(value, 0, [b';', b' ', b'\t', b'\r', b'\n']).unwrap_or(value.len())),
        };
        let params = trim_start(rest);
        if !matches!(params, [] | [b';', ..]) {
            return Err(bad("text behind the URI"));
        }
        if bracketed.is_none() && find_any(uri_raw, 0, [b'?', b',']).is_some() {
            return Err(bad("a URI with ? or , must stand in <>"));
        }
        Ok((display, uri_raw, Params(params)))
    }

    pub fn tag(&self) -> Option<Cow<'a, [u8]>> {
        self.params.get("tag")
    }

    /// A Contact's own expiry in seconds; None if absent, junk or out of range (each means the default).
    pub fn expires(&self) -> Option<u32> {
        let value = self.params.get("expires")?;
        decimal(&value).and_then(|n| u32::try_from(n).ok())
    }

    /// A Contact's preference in thousandths; None if absent or not a qvalue.
    pub fn q(&self) -> Option<u16> {
        let value = self.params.get("q")?;
        let (whole, fraction) = match &*value {
            [whole] => (whole, &b""[..]),
            [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
            _ => return None,
        };
        let mut thousandths = 0;
        for i in 0..3 {
            let digit = fraction.get(i).unwrap_or(&b'0');
            thousandths = thousandths * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        match whole {
            b'0' => Some(thousandths),
            b'1' if thousandths == 0 => Some(1000),
            _ => None,
        }
    }
}

/// A display name of tokens, blanks between them as sent but for folds.
fn unfolded(name: &[u8]) -> Cow<'_, [u8]> {
    if find_line_end(name, 0).is_none() {
        return Cow::Borrowed(name);
    }
    let words: Vec<&[u8]> = name.split(|&b| is_blank(b)).filter(|w| !w.is_empty()).collect();
    Cow::Owned(words.join(&b' '))
}

#[derive(Debug, Clone)]
pub enum Contacts<'a> {
    None,
    Star,
    List(Vec<NameAddr<'a>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let a = NameAddr::parse(br#""J Rosenberg \\\""       <sip:jdrosen@example.com>;tag=1"#).unwrap();
        assert_eq!(a.display.as_deref(), Some(&br#"J Rosenberg \""#[..]));
        assert_eq!(a.uri_raw, b"sip:jdrosen@example.com");
        assert_eq!(a.tag().as_deref(), Some(&b"1"[..]));
        let a = NameAddr::parse(b"caller<sip:caller@example.com>;tag=323").unwrap();
        assert_eq!(a.display.as_deref(), Some(&b"caller"[..]));
        let a = NameAddr::parse(b"A. Bell\r\n  Jr <tel:+1-555>").unwrap();
        assert_eq!(a.display.as_deref(), Some(&b"A. Bell Jr"[..]));
        let a = NameAddr::parse(b"sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n").unwrap();
        assert!(a.display.is_none());
        assert_eq!(a.tag().as_deref(), Some(&b"1918181833n"[..]));
        let a = NameAddr::parse(b"<sip:a@b;lr>").unwrap();
        assert!(a.params.is_empty());
        assert_eq!(a.uri_raw, b"sip:a@b;lr");
        let a = NameAddr::parse(b"\"\" <sip:[2001:db8::1]:5060>").unwrap();
        assert_eq!(a.display.as_deref(), Some(&b""[..]));
    }

    #[test]
    fn refused() {
        for bad in [
            &b"\"Mr. J. User <sip:j.user@example.com>"[..],
            b"Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
            b"<sip:a@b",
            b"\"W\" < sip:t.watson@example.org >",
            b"sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            b"",
            b"*",
            b"sip:a@b x",
            b"<sip:a@b> x",
            b"\"x\" sip:a@b",
            b"\xff <sip:a@b>",
            b"<sip:a@b><sip:c@d>",
            b"sip:a@b,sip:c@d",
            b"<>",
        ] {
            assert!(NameAddr::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn expires_and_q() {
        let q = |s: &str| NameAddr::parse(format!("<sip:a@b>;q={s}").as_bytes()).unwrap().q();
        assert_eq!(
            (q("0.33"), q("1"), q("1.000"), q("0.5"), q("0")),
            (Some(330), Some(1000), Some(1000), Some(500), Some(0))
        );
        assert_eq!((q("1.1"), q("2"), q("0.3333"), q("x"), q("0.x")), (None, None, None, None, None));
        let e = |s: &str| NameAddr::parse(format!("<sip:a@b>;expires={s}").as_bytes()).unwrap().expires();
        assert_eq!((e("0"), e("\"60\""), e("280297596632815"), e("x")), (Some(0), Some(60), None, None));
    }
}
