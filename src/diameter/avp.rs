//! AVPs (RFC 6733 §4): their definitions, and those of a received message, read where they lie.

use super::fault::{Fault, Quoted};
use super::write::padded;
use std::net::IpAddr;
use std::time::Duration;

pub(super) const V: u8 = 0x80;
pub(super) const M: u8 = 0x40;

/// Seconds between 1900 and 1970.
const ERA: u64 = 2_208_988_800;

/// Type of an AVP's data (RFC 6733 §4.2, §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    OctetString,
    Utf8,
    /// DiameterIdentity
    Identity,
    /// DiameterURI
    Uri,
    Unsigned32,
    Enumerated,
    Time,
    Address,
    Grouped,
}

impl Kind {
    /// Fewest octets of its data.
    fn least(self) -> usize {
        match self {
            Kind::Unsigned32 | Kind::Enumerated | Kind::Time => 4,
            Kind::Address => 6,
            _ => 0,
        }
    }
}

/// An AVP of the dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Def {
    pub code: u32,
    /// 0: none, the base protocol's.
    pub vendor: u32,
    /// Whether it is sent with the M bit.
    pub mandatory: bool,
    pub kind: Kind,
    pub name: &'static str,
}

impl Def {
    /// An AVP of this kind with nothing in it, for Failed-AVP (RFC 6733 §7.5).
    pub(super) fn example(&self) -> Quoted {
        let mut octets = Vec::new();
        super::write::put_avp(&mut octets, self, &[0; 6][..self.kind.least()]);
        Quoted(octets)
    }

    pub fn missing(&self) -> Fault {
        Fault::Missing { name: self.name, octets: self.example() }
    }
}

/// A received AVP.
#[derive(Clone, Copy)]
pub struct Avp<'a> {
    pub code: u32,
    /// 0: none.
    pub vendor: u32,
    pub flags: u8,
    pub data: &'a [u8],
    /// All of it, padding left out.
    whole: &'a [u8],
}

impl<'a> Avp<'a> {
    pub fn is(&self, def: &Def) -> bool {
        self.code == def.code && self.vendor == def.vendor
    }

    pub fn is_mandatory(&self) -> bool {
        self.flags & M != 0
    }

    pub fn def(&self) -> Option<&'static Def> {
        super::dictionary::find(self.code, self.vendor)
    }

    /// The AVP as it came, without padding.
    pub fn octets(&self) -> &'a [u8] {
        self.whole
    }

    pub fn text(&self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.data).map_err(|_| self.bad_value())
    }

    pub fn number(&self) -> Result<u32, Fault> {
        self.data.try_into().map(u32::from_be_bytes).map_err(|_| self.bad_length())
    }

    /// Enumerated is signed.
    pub fn enumerated(&self) -> Result<i32, Fault> {
        self.number().map(u32::cast_signed)
    }

    /// Since 1970. The 32 bits began in 1900 and begin anew in 2036; those without their top bit are of the later era.
    pub fn time(&self) -> Result<Duration, Fault> {
        let seconds = u64::from(self.number()?);
        let era = if seconds & 0x8000_0000 == 0 { 1 << 32 } else { 0 };
        Ok(Duration::from_secs((seconds + era).saturating_sub(ERA)))
    }

    pub fn address(&self) -> Result<IpAddr, Fault> {
        match self.data {
            [0, 1, rest @ ..] => <[u8; 4]>::try_from(rest).map(IpAddr::from).map_err(|_| self.bad_length()),
            [0, 2, rest @ ..] => <[u8; 16]>::try_from(rest).map(IpAddr::from).map_err(|_| self.bad_length()),
            [_, _, ..] => Err(self.bad_value()),
            _ => Err(self.bad_length()),
        }
    }

    /// The AVPs of a group.
    pub fn group(&self) -> Avps<'a> {
        Avps { rest: self.data }
    }

    pub(super) fn quoted(&self) -> Quoted {
        Quoted(self.whole.to_vec())
    }

    pub fn bad_value(&self) -> Fault {
        Fault::AvpValue { name: self.def().map_or("an AVP", |def| def.name), octets: self.quoted() }
    }

    /// This one, where another has come before it.
    pub fn too_many(&self) -> Fault {
        Fault::TooMany { name: self.def().map_or("an AVP", |def| def.name), octets: self.quoted() }
    }

    pub(super) fn bad_length(&self) -> Fault {
        Fault::AvpLength { code: self.code, octets: self.quoted() }
    }
}

/// No key of an AVP gets into a log by way of Debug.
impl std::fmt::Debug for Avp<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AVP {} of vendor {}, {} octets", self.code, self.vendor, self.data.len())
    }
}

/// AVPs one after the other; ends at the first fault, which [`Avps::step`] tells.
#[derive(Debug, Clone, Copy)]
pub struct Avps<'a> {
    rest: &'a [u8],
}

impl<'a> Avps<'a> {
    pub(super) fn of(octets: &'a [u8]) -> Self {
        Avps { rest: octets }
    }

    /// The next one, or what is wrong with it.
    pub fn step(&mut self) -> Option<Result<Avp<'a>, Fault>> {
        if self.rest.is_empty() {
            return None;
        }
        let one = self.read();
        if one.is_err() {
            self.rest = &[];
        }
        Some(one)
    }

    fn read(&mut self) -> Result<Avp<'a>, Fault> {
        let rest = self.rest;
        let Some((&[a, b, c, d, flags, x, y, z], _)) = rest.split_first_chunk::<8>() else {
            // Fewer octets than a header has: quoted as far as they go.
            return Err(Fault::AvpLength { code: 0, octets: quoted_head(rest) });
        };
        let code = u32::from_be_bytes([a, b, c, d]);
        let length = u32::from_be_bytes([0, x, y, z]) as usize;
        let head = if flags & V == 0 { 8 } else { 12 };
        let bad = || Fault::AvpLength { code, octets: quoted_head(rest) };
        let whole = rest.get(..length).filter(|_| length >= head).ok_or_else(bad)?;
        let data = whole.get(head..).ok_or_else(bad)?;
        let vendor = match whole.get(8..12) {
            Some(&[a, b, c, d]) if head == 12 => u32::from_be_bytes([a, b, c, d]),
            _ => 0,
        };
        // Some leave out the padding of the last AVP of a group.
        self.rest = rest.get(padded(length)..).unwrap_or_default();
        Ok(Avp { code, vendor, flags, data, whole })
    }

    pub fn get(self, def: &Def) -> Option<Avp<'a>> {
        { self }.find(|avp| avp.is(def))
    }

    pub fn all(self, def: &'a Def) -> impl Iterator<Item = Avp<'a>> {
        self.filter(move |avp| avp.is(def))
    }

    pub fn require(self, def: &Def) -> Result<Avp<'a>, Fault> {
        self.get(def).ok_or_else(|| def.missing())
    }

    /// The text of an AVP that may be missing.
    pub fn text(self, def: &Def) -> Result<Option<&'a str>, Fault> {
        self.get(def).map(|avp| avp.text()).transpose()
    }

    pub fn number(self, def: &Def) -> Result<Option<u32>, Fault> {
        self.get(def).map(|avp| avp.number()).transpose()
    }

    pub fn enumerated(self, def: &Def) -> Result<Option<i32>, Fault> {
        self.get(def).map(|avp| avp.enumerated()).transpose()
    }

    pub fn octets(self, def: &Def) -> Option<&'a [u8]> {
        self.get(def).map(|avp| avp.data)
    }
}

impl<'a> Iterator for Avps<'a> {
    type Item = Avp<'a>;

    fn next(&mut self) -> Option<Avp<'a>> {
        self.step()?.ok()
    }
}

/// The header of an AVP that cannot be quoted as it is, with a length that is right and the fewest data that its kind has,
/// all zeros (RFC 6733 §7.1.5, DIAMETER_INVALID_AVP_LENGTH).
pub(super) fn quoted_head(rest: &[u8]) -> Quoted {
    let mut head = rest.get(..rest.len().min(12)).unwrap_or_default().to_vec();
    let whole = if rest.get(4).is_some_and(|flags| flags & V != 0) { 12 } else { 8 };
    head.resize(whole, 0);
    let number = |at: usize| match head.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    };
    // Of what is no whole header nobody can tell the kind.
    let def = if rest.len() < whole { None } else { super::dictionary::find(number(0), number(8)) };
    let least = def.map_or(0, |def| def.kind.least());
    head[5..8].copy_from_slice(&[0, 0, (whole + least) as u8]);
    head.resize(whole + least, 0);
    Quoted(head)
}
