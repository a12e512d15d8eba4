//! Call-ID and CSeq of the third-party registrations, kept small: for as long as a user is registered with a broadcast
//! server. Made by the S-CSCF, counted on by [`super::forward`]; the store has the Call-ID as text.

use super::{drawn, hex};
use crate::identity::common;
use arcstr::ArcStr;

/// Call-ID and CSeq of the third-party registrations of one public identity with one broadcast server:
/// kept from one to the next, so that the receiver can tell their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThirdParty {
    /// What was drawn for a Call-ID of ours.
    token: Option<[u8; 10]>,
    /// What follows after it and an "@", which many have; else all of the Call-ID.
    rest: ArcStr,
    cseq: u32,
}

impl ThirdParty {
    /// `host`: of the S-CSCF.
    pub fn new(host: &str) -> Self {
        ThirdParty { token: Some(drawn()), rest: common(host), cseq: 0 }
    }

    /// One that was begun before, by this process or another.
    pub fn resumed(call_id: &str, cseq: u32) -> Self {
        match call_id.split_once('@').and_then(|(token, host)| Some((octets(token)?, host))) {
            Some((token, host)) => ThirdParty { token: Some(token), rest: common(host), cseq },
            None => ThirdParty { token: None, rest: call_id.into(), cseq },
        }
    }

    pub fn call_id(&self) -> String {
        match &self.token {
            Some(token) => hex(token) + "@" + &self.rest,
            None => self.rest.to_string(),
        }
    }

    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    /// The CSeq of the next request.
    pub(super) fn next(&mut self) -> u32 {
        self.cseq = self.cseq.wrapping_add(1) & 0x7fff_ffff;
        self.cseq
    }
}

/// Of what [`hex`] writes, and of nothing else.
fn octets(token: &str) -> Option<[u8; 10]> {
    let mut octets = [0; 10];
    for (n, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(token.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    (hex(&octets) == token).then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_is_the_text_that_it_was_read_from() {
        let ours = ThirdParty::new("home1.net");
        assert!(ours.token.is_some() && ours.rest == "home1.net");
        assert_eq!(ThirdParty::resumed(&ours.call_id(), 0), ours);
        let token = "00112233445566778899";
        for text in [
            format!("{token}@home1.net"),
            format!("{token}@a@b"),
            format!("{token}@"),
            format!("{token}00@h"),
            format!("{}@h", &token[1..]),
            "0011223344556677889A@h".to_owned(),
            "+1+1+1+1+1+1+1+1+1+1@h".to_owned(),
            "\u{fc}0112233445566778899@h".to_owned(),
            token.to_owned(),
            String::new(),
        ] {
            assert_eq!(ThirdParty::resumed(&text, 0).call_id(), text);
        }
    }

    #[test]
    fn a_cseq_stays_below_the_most_that_there_may_be() {
        let mut dialog = ThirdParty::resumed("c", 0x7fff_fffe);
        assert_eq!((dialog.next(), dialog.next(), dialog.next()), (0x7fff_ffff, 0, 1));
    }
}
