//! Content-Type and Accept elements: `type/subtype;params` (RFC 3261 §20.15, RFC 2045 §5.1).
use super::{HeaderError, Params};
use crate::sip::scan::{find_unquoted, is_blank, is_token_octet, quoted_len, split_once, trim, trim_start};

#[derive(Debug, Clone)]
pub struct MediaType<'a> {
    pub kind: &'a [u8],
    pub subtype: &'a [u8],
    pub params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// Blanks inside and quotes around the type are let through: drafts of BCAST print them so.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let bad = |why| HeaderError::new("Content-Type", why);
        let value = trim(value);
        let (full, params) = if value.first() == Some(&b'"') {
            let len = quoted_len(value).ok_or(bad("the quotes do not end"))?;
            let (quoted, rest) = value.split_at(len);
            let rest = trim_start(rest);
            if !matches!(rest, [] | [b';', ..]) {
                return Err(bad("text behind the type"));
            }
            (&quoted[1..len - 1], rest)
        } else {
            value.split_at(find_unquoted(value, b';').unwrap_or(value.len()))
        };
        let (kind, subtype) = split_once(full, b'/');
        let (kind, subtype) = (trim(kind), trim(subtype.ok_or(bad("no /"))?));
        if !is_spaced_token(kind) || !is_spaced_token(subtype) {
            return Err(bad("type or subtype is not a token"));
        }
        Ok(MediaType { kind, subtype, params: Params(params) })
    }

    /// Compares "type/subtype" without regard to case; tolerates blanks around "/" and "+" and quotes around the whole.
    pub fn is(&self, full: &str) -> bool {
        let (kind, subtype) = full.split_once('/').unwrap_or((full, ""));
        same(self.kind, kind) && same(self.subtype, subtype)
    }

    /// `multipart/…` of any kind.
    pub fn is_multipart(&self) -> bool {
        same(self.kind, "multipart")
    }
}

/// A token, blanks around its plus signs allowed.
fn is_spaced_token(s: &[u8]) -> bool {
    !s.is_empty() && s.split(|&b| b == b'+').map(trim).all(|piece| piece.iter().all(|&b| is_token_octet(b)))
}

fn same(sent: &[u8], wanted: &str) -> bool {
    let sent = sent.iter().filter(|&&b| !is_blank(b)).map(u8::to_ascii_lowercase);
    sent.eq(wanted.bytes().filter(|b| *b != b' ').map(|b| b.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerant_comparison() {
        for text in [
            "application/vnd.oma.bcast.sprov+xml",
            "\"application/vnd.oma.bcast.sprov + xml\"",
            "Application / VND.oma.bcast.sprov+XML;v=1",
            "application/vnd.oma.bcast.sprov +xml ; charset=utf-8",
            "\"application/vnd.oma.bcast.sprov+xml\" ;a=b",
        ] {
            let m = MediaType::parse(text.as_bytes()).unwrap();
            assert!(m.is("application/vnd.oma.bcast.sprov+xml"), "{text}");
            assert!(!m.is("application/vnd.oma.bcast.sprov"), "{text}");
            assert!(!m.is("text/vnd.oma.bcast.sprov+xml"), "{text}");
        }
        let m = MediaType::parse(b"multipart/mixed;boundary=\"a;b c\"").unwrap();
        assert!(m.is_multipart());
        assert_eq!(m.params.get("boundary").as_deref(), Some(&b"a;b c"[..]));
        assert!(MediaType::parse(b"*/*").is_ok());
    }

    #[test]
    fn refused() {
        for bad in [
            &b""[..],
            b"text",
            b"/x",
            b"text/",
            b"te xt/plain",
            b"\"text/plain",
            b"\"text/plain\" x",
            b"text/a b",
            b"\"",
        ] {
            assert!(MediaType::parse(bad).is_err(), "{bad:?}");
        }
    }
}
