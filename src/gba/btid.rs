//! B-TID = base64(RAND) "@" BSF domain (TS 33.220 §4.5.2).

use super::naf_id::is_host_name;
use crate::aka::vector::Rand;
use crate::identity::common;
use arcstr::ArcStr;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Compared as the exact string, of which it keeps what cannot be had from elsewhere: a RAND has one text in base64. That
/// may hold `+`, `/` and `=`: percent-encode it in a URI.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Btid {
    rand: Rand,
    domain: ArcStr,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("B-TID: {0}")]
pub struct BtidError(pub &'static str);

impl Btid {
    /// `bsf_domain` is the configured name of the BSF.
    pub fn new(rand: &Rand, bsf_domain: &str) -> Self {
        Btid { rand: *rand, domain: common(bsf_domain) }
    }

    /// Splits at the last "@", checks that the left side is base64 of 16 octets.
    pub fn parse(text: &str) -> Result<Self, BtidError> {
        let (rand, domain) = text.rsplit_once('@').ok_or(BtidError("no \"@\""))?;
        if !is_host_name(domain) {
            return Err(BtidError("no domain name after the \"@\""));
        }
        if rand.len() != 24 {
            return Err(BtidError("not 24 characters before the \"@\""));
        }
        let octets = STANDARD.decode(rand).map_err(|_| BtidError("not base64 before the \"@\""))?;
        let rand = octets.try_into().map_err(|_| BtidError("not 16 octets before the \"@\""))?;
        Ok(Btid { rand: Rand(rand), domain: common(domain) })
    }

    pub fn text(&self) -> String {
        let mut text = String::with_capacity(25 + self.domain.len());
        let _ = self.write(&mut text);
        text
    }

    /// Writes the text where it is to stand.
    pub fn write(&self, out: &mut impl std::fmt::Write) -> std::fmt::Result {
        let mut octets = [0; 24];
        let rand = STANDARD.encode_slice(self.rand.0, &mut octets).ok().and_then(|length| octets.get(..length));
        out.write_str(rand.and_then(|rand| std::str::from_utf8(rand).ok()).unwrap_or_default())?;
        out.write_str("@")?;
        out.write_str(&self.domain)
    }

    pub fn rand(&self) -> Rand {
        self.rand
    }

    pub fn bsf_domain(&self) -> &str {
        &self.domain
    }
}

impl std::fmt::Display for Btid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.write(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let btid = Btid::new(&Rand([0xfb; 16]), "bsf.home1.net");
        assert_eq!(btid.text(), "+/v7+/v7+/v7+/v7+/v7+w==@bsf.home1.net");
        let parsed = Btid::parse(&btid.text()).unwrap();
        assert_eq!(parsed, btid);
        assert_eq!((parsed.rand(), parsed.bsf_domain()), (Rand([0xfb; 16]), "bsf.home1.net"));
        for text in [
            "",
            "@",
            "+/v7+/v7+/v7+/v7+/v7+w==",
            "+/v7+/v7+/v7+/v7+/v7+w==@",
            "+/v7+/v7+/v7+/v7+/v7+w@bsf.home1.net",
            "+/v7+/v7+/v7+/v7+/v7+x==@bsf.home1.net",
            "a@+/v7+/v7+/v7+/v7+/v7+w==@bsf.home1.net",
            "+/v7+/v7+/v7+/v7+/v7+w==@bsf home",
            "-_v7-_v7-_v7-_v7-_v7-w==@bsf.home1.net",
        ] {
            assert!(Btid::parse(text).is_err(), "{text:?}");
        }
    }
}
