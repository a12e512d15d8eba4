//! Credentials and challenges: `Digest a="b", c=d` (RFC 3261 §20.7, §20.44, RFC 2617 §3.2). Values are kept whatever
//! they are: AKAv1-MD5, auts, integrity-protected and names nobody knows yet all come through.
use super::HeaderError;
use crate::sip::scan::{Elements, Pair, is_blank, is_token, quoted_len, trim, trim_start};
use std::borrow::Cow;

/// More parameters than this are refused.
const MAX: usize = 64;

const FIRST: usize = 12;

/// `Digest a="b", c=d`: Authorization and WWW-Authenticate alike.
#[derive(Clone, Copy)]
pub struct AuthParams<'a> {
    pub scheme: &'a [u8],
    /// The first parameters, as whoever verifies credentials asks for a dozen of them.
    first: [Pair<'a>; FIRST],
    count: usize,
    /// What is behind those.
    rest: Option<&'a [u8]>,
}

/// Names only: a response or a nonce with a key in it is nothing for a log.
impl std::fmt::Debug for AuthParams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(self.scheme))?;
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

impl<'a> AuthParams<'a> {
    /// Digest parameters must follow the grammar; those of other schemes are not looked at.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let value = trim(value);
        let (scheme, rest) = value.split_at(value.iter().position(|&b| is_blank(b)).unwrap_or(value.len()));
        if !is_token(scheme) {
            return Err(HeaderError::new("credentials", "no scheme"));
        }
        let rest = trim_start(rest);
        if scheme.eq_ignore_ascii_case(b"Digest") {
            Self::checked(scheme, rest)
        } else {
            Ok(AuthParams { scheme, first: [Pair::default(); FIRST], count: 0, rest: Some(rest) })
        }
    }

    /// A list without a scheme in front, as in Authentication-Info.
    pub fn parse_bare(value: &'a [u8]) -> Result<Self, HeaderError> {
        Self::checked(b"", trim(value))
    }

    fn checked(scheme: &'a [u8], rest: &'a [u8]) -> Result<Self, HeaderError> {
        let bad = |why| Err(HeaderError::new("credentials", why));
        let (mut first, mut count, mut behind) = ([Pair::default(); FIRST], 0, Some(rest));
        // What nearly all look like needs no closer look.
        while let Some(slot) = first.get_mut(count)
            && let Some((pair, next)) = behind.and_then(|rest| Pair::plain(rest, b','))
            && pair.value.is_some()
        {
            *slot = pair;
            count += 1;
            behind = next;
        }
        for (i, Pair { name, value, plain }) in Pairs(behind).enumerate() {
            let Some(value) = value else { return bad("a parameter has no =") };
            if !plain && !is_token(name) {
                return bad("a parameter has no proper name");
            }
            let sound = match value {
                _ if plain => true,
                [b'"', ..] => quoted_len(value) == Some(value.len()),
                _ => !value.is_empty() && !value.iter().any(|&b| is_blank(b) || b == b'"'),
            };
            if !sound {
                return bad("a parameter has no proper value");
            }
            if count + i == MAX {
                return bad("too many parameters");
            }
        }
        Ok(AuthParams { scheme, first, count, rest: behind })
    }

    /// Unquoted value of a parameter, any case of the name; the first if it is there more than once.
    pub fn get(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let first = self.first.iter().take(self.count).find(|pair| pair.is_named(name.as_bytes())).copied();
        first.or_else(|| Pairs(self.rest).find(|pair| pair.is_named(name.as_bytes()))).map(|pair| pair.unquoted())
    }

    /// (name, raw value with quotes kept)
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.pairs().map(|pair| (pair.name, pair.value.unwrap_or_default()))
    }

    /// A parameter name that is there more than once, if any.
    pub fn duplicate(&self) -> Option<&'a [u8]> {
        let names = || self.iter().take(MAX).map(|(name, _)| name);
        names()
            .enumerate()
            .find(|(i, name)| names().take(*i).any(|n| n.eq_ignore_ascii_case(name)))
            .map(|(_, name)| name)
    }

    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"Digest")
    }

    fn pairs(&self) -> impl Iterator<Item = Pair<'a>> + use<'a> {
        self.first.into_iter().take(self.count).chain(Pairs(self.rest))
    }
}

/// What is between commas, empty elements left out.
struct Pairs<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;
    fn next(&mut self) -> Option<Pair<'a>> {
        loop {
            if let Some((pair, rest)) = Pair::plain(self.0?, b',') {
                self.0 = rest;
                return Some(pair);
            }
            let mut elements = Elements(self.0);
            let piece = elements.next()?;
            self.0 = elements.0;
            if !piece.is_empty() {
                return Some(Pair::of(piece));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ims_first_register() {
        let a = AuthParams::parse(
            b"Digest username=\"u@ims.example\", realm = \"ims.example\" ,nonce=\"\",\r\n uri=\"sip:ims.example\", response=\"\",\
              algorithm=AKAv1-MD5, integrity-protected=yes, nc=0000000a,auts=\"abc==\", new-thing=\"a, \\\"b\\\"\"",
        )
        .unwrap();
        assert!(a.is_digest());
        let get = |n| a.get(n).map(|v| String::from_utf8(v.into_owned()).unwrap());
        assert_eq!(get("USERNAME").as_deref(), Some("u@ims.example"));
        assert_eq!(get("realm").as_deref(), Some("ims.example"));
        assert_eq!(get("nonce").as_deref(), Some(""));
        assert_eq!(get("algorithm").as_deref(), Some("AKAv1-MD5"));
        assert_eq!(get("integrity-protected").as_deref(), Some("yes"));
        assert_eq!(get("nc").as_deref(), Some("0000000a"));
        assert_eq!(get("auts").as_deref(), Some("abc=="));
        assert_eq!(get("new-thing").as_deref(), Some("a, \"b\""));
        assert_eq!(get("opaque"), None);
        assert_eq!((a.iter().count(), a.duplicate()), (10, None));
    }

    #[test]
    fn duplicates_first_wins() {
        let a = AuthParams::parse(b"digest nonce=\"1\",Nonce=\"2\"").unwrap();
        assert_eq!(a.get("nonce").as_deref(), Some(&b"1"[..]));
        assert_eq!(a.duplicate(), Some(&b"Nonce"[..]));
    }

    #[test]
    fn other_schemes_pass_and_bad_digests_do_not() {
        assert_eq!(
            AuthParams::parse(b"NoOneKnowsThisScheme opaque-data=here").unwrap().scheme,
            b"NoOneKnowsThisScheme"
        );
        assert!(AuthParams::parse(b"Basic QWxhZGRpbg==").is_ok());
        let info = AuthParams::parse_bare(b"nextnonce=\"n\", rspauth=\"r\"").unwrap();
        assert_eq!(info.get("rspauth").as_deref(), Some(&b"r"[..]));
        for bad in [
            &b""[..],
            b"Digest nonce=\"x",
            b"Digest nonce",
            b"Digest =x",
            b"Digest a=b c=d",
            b"Digest a=",
            b"Dig\"est a=b",
        ] {
            assert!(AuthParams::parse(bad).is_err(), "{bad:?}");
        }
        assert!(AuthParams::parse(format!("Digest {}", "a=b,".repeat(100)).as_bytes()).is_err());
        assert!(!format!("{:?}", AuthParams::parse(b"Digest response=\"s3cret\"").unwrap()).contains("s3cret"));
    }
}
