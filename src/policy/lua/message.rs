//! What a stage may ask of a message: a header field as text, and the expiry that a REGISTER asks for.

use crate::sip::{HeaderName, Message, NameAddr};
use std::borrow::Cow;

/// First field of that name, any case, long or compact; folds become blanks (RFC 3261 §7.3.1).
pub(super) fn header<'m>(message: &'m Message<'_>, name: &[u8]) -> Option<Cow<'m, [u8]>> {
    let known = HeaderName::from_bytes(name);
    let value = match known {
        HeaderName::Other => message.all_headers().find(|(field, _)| field.eq_ignore_ascii_case(name))?.1,
        known => message.header(known)?,
    };
    Some(unfold(value))
}

/// Of the first contact of a REGISTER, else of its Expires field (RFC 3261 §10.2.1.1).
pub(super) fn requested_expiry(message: &Message<'_>) -> Option<u32> {
    let seconds = |octets: &[u8]| std::str::from_utf8(octets).ok()?.trim().parse().ok();
    let contact = message.header(HeaderName::Contact).map(unfold);
    let of_contact = contact
        .as_deref()
        .and_then(|value| NameAddr::parse(first_element(value)).ok())
        .and_then(|contact| seconds(&contact.params.get("expires")?));
    of_contact.or_else(|| seconds(message.header(HeaderName::Expires)?))
}

pub(super) fn ua_id_hex(ua_id: [u8; 5]) -> [u8; 10] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 10];
    for (pair, octet) in hex.chunks_exact_mut(2).zip(ua_id) {
        pair.copy_from_slice(&[DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
    }
    hex
}

fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
        return Cow::Borrowed(value);
    }
    let mut line = Vec::with_capacity(value.len());
    for part in value.split(|octet| matches!(octet, b'\r' | b'\n')).map(<[u8]>::trim_ascii).filter(|p| !p.is_empty()) {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(part);
    }
    Cow::Owned(line)
}

/// Up to the first comma outside quotes and angle brackets.
fn first_element(value: &[u8]) -> &[u8] {
    let (mut quoted, mut escaped, mut bracket) = (false, false, false);
    let end = value.iter().position(|octet| {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !bracket => quoted = !quoted,
            b'<' if !quoted => bracket = true,
            b'>' if !quoted => bracket = false,
            b',' => return !quoted && !bracket,
            _ => {}
        }
        false
    });
    end.and_then(|end| value.get(..end)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_become_single_blanks() {
        assert_eq!(&*unfold(b"a\r\n  b \r\n\tc"), b"a b c");
        assert_eq!(&*unfold(b"plain"), b"plain");
    }

    #[test]
    fn the_first_contact_ends_at_a_comma_outside_quotes_and_brackets() {
        let first: &[u8] = b"\"a, \\\" b\" <sip:u@h;x=1,2>;expires=5";
        assert_eq!(first_element(&[first, b", <sip:v@h>"].concat()), first);
        assert_eq!(first_element(b"<sip:u@h>"), b"<sip:u@h>");
    }

    #[test]
    fn a_ua_id_is_hex() {
        assert_eq!(&ua_id_hex([1, 0, 0, 0xab, 1]), b"010000ab01");
    }
}
