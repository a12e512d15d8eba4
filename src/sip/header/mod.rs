//! Typed header values, borrowed from the message (RFC 3261 §20, §25.1). Made by the accessors of
//! [`crate::sip::Message`]; each type also parses a value that comes from elsewhere.
mod address;
mod auth;
mod date;
mod media;
mod name;
mod params;
mod via;

use super::scan::{decimal, is_blank, is_token, trim, trim_start};

pub use address::{Contacts, NameAddr};
pub use auth::AuthParams;
pub(crate) use date::is_date;
pub use media::MediaType;
pub use name::HeaderName;
pub(crate) use name::{long_form, same_name};
pub use params::Params;
pub use via::Via;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{header}: {why}")]
pub struct HeaderError {
    pub header: &'static str,
    pub why: &'static str,
}

impl HeaderError {
    pub(crate) fn new(header: &'static str, why: &'static str) -> HeaderError {
        HeaderError { header, why }
    }
}

/// An error told of the field that holds the value; what was read stays where it is.
#[inline(always)]
pub(super) fn in_header<T>(mut read: Result<T, HeaderError>, name: HeaderName) -> Result<T, HeaderError> {
    if let Err(error) = &mut read {
        error.header = name.as_str();
    }
    read
}

/// RFC 3261 §20.16: a number below 2^31 and the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    pub number: u32,
    pub method: &'a [u8],
}

impl<'a> CSeq<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let bad = |why| HeaderError::new("CSeq", why);
        let value = trim(value);
        let end = value.iter().position(|&b| is_blank(b)).ok_or(bad("no method"))?;
        let (digits, rest) = value.split_at(end);
        let method = trim_start(rest);
        if !is_token(method) {
            return Err(bad("the method is not a token"));
        }
        let number = decimal(digits).filter(|&n| n < 1 << 31).ok_or(bad("no number below 2^31"))?;
        let number = u32::try_from(number).map_err(|_| bad("no number below 2^31"))?;
        Ok(CSeq { number, method })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cseq() {
        assert_eq!(CSeq::parse(b"0009\r\n  INVITE"), Ok(CSeq { number: 9, method: b"INVITE" }));
        assert_eq!(CSeq::parse(b"2147483647 X").map(|c| c.number), Ok(2_147_483_647));
        for bad in [&b"2147483648 X"[..], b"36893488147419103232 REGISTER", b"-1 X", b"1", b"X", b"", b"1 A B", b"1X A"]
        {
            assert!(CSeq::parse(bad).is_err(), "{bad:?}");
        }
    }
}
