//! A subscriber out of text fields: the columns of the import file and the options of `subscriber add`.
//!
//! Errors name the column and the reason, never the value of a secret.

use super::subscriber::{Credentials, Subscriber};
use crate::aka::{Algorithm, Amf, KeySet, Sqn, sqn};
use crate::auth::digest::Password;
use crate::hss::BroadcastSubscription;
use crate::identity::{Impi, Impu, Impus};
use crate::sip::Uri;
use arcstr::ArcStr;
use zeroize::Zeroizing;

/// Longest identity taken, in octets.
const IDENTITY_MAX: usize = 255;
/// Most public identities in one implicit set.
const IMPUS_MAX: usize = 32;

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{column}: {why}")]
pub struct FieldError {
    pub column: &'static str,
    pub why: String,
}

fn wrong(column: &'static str, why: impl Into<String>) -> FieldError {
    FieldError { column, why: why.into() }
}

/// The fields as text; an empty one is absent.
#[derive(Clone, Copy, Default)]
pub struct Fields<'a> {
    pub impi: &'a str,
    pub impu: &'a str,
    pub algorithm: &'a str,
    pub k: &'a str,
    pub opc: &'a str,
    pub op: &'a str,
    pub sqn: &'a str,
    pub amf: &'a str,
    pub password: &'a str,
    pub broadcast: &'a str,
    pub service: &'a str,
}

impl Fields<'_> {
    pub fn subscriber(&self) -> Result<Subscriber, FieldError> {
        Ok(Subscriber {
            impi: impi(self.impi)?,
            impus: impus(self.impu)?,
            credentials: self.credentials()?,
            amf: amf(self.amf)?,
            sqn: sequence_number(self.sqn)?,
            broadcast: broadcast(self.broadcast)?,
            service: service(self.service)?,
        })
    }

    fn credentials(&self) -> Result<Credentials, FieldError> {
        let algorithm = match self.algorithm.to_ascii_lowercase().as_str() {
            "milenage" => Algorithm::Milenage,
            "tuak" => Algorithm::Tuak,
            "digest" => return self.digest(),
            "" => return Err(wrong("algorithm", "missing: milenage, tuak or digest")),
            _ => return Err(wrong("algorithm", "not milenage, tuak or digest")),
        };
        if !self.password.is_empty() {
            return Err(wrong("password", "only algorithm digest has one"));
        }
        let k_octets: &[usize] = if algorithm == Algorithm::Tuak { &[16, 32] } else { &[16] };
        let op_octets: &[usize] = if algorithm == Algorithm::Tuak { &[32] } else { &[16] };
        let k = secret_hex("k", self.k, k_octets)?;
        let keys = match (self.opc.is_empty(), self.op.is_empty()) {
            (false, true) => KeySet::from_opc(algorithm, &k, &secret_hex("opc", self.opc, op_octets)?),
            (true, false) => KeySet::from_op(algorithm, &k, &secret_hex("op", self.op, op_octets)?),
            (true, true) => return Err(wrong("opc", "missing, and op as well: one of them is needed")),
            (false, false) => return Err(wrong("op", "opc is given as well: one of them, not both")),
        };
        keys.map(Credentials::Aka).map_err(|error| wrong("k", error.to_string()))
    }

    fn digest(&self) -> Result<Credentials, FieldError> {
        for (column, value) in [("k", self.k), ("opc", self.opc), ("op", self.op), ("sqn", self.sqn), ("amf", self.amf)]
        {
            if !value.is_empty() {
                return Err(wrong(column, "algorithm digest has none, only a password"));
            }
        }
        if self.password.is_empty() {
            return Err(wrong("password", "missing: algorithm digest needs one"));
        }
        Ok(Credentials::Digest(Password::new(self.password.as_bytes())))
    }
}

/// A private identity: a network access identifier `user@realm` (TS 23.003 §13.3).
pub fn impi(text: &str) -> Result<Impi, FieldError> {
    let wrong = |why: &str| Err(wrong("impi", why));
    if text.is_empty() {
        return wrong("missing");
    }
    if text.len() > IDENTITY_MAX {
        return wrong("longer than 255 octets");
    }
    match text.split_once('@') {
        Some((user, realm)) if !user.is_empty() && !realm.is_empty() && !realm.contains('@') => {
            if !text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b':' | b'<' | b'>' | b',' | b';'))
            {
                return wrong("holds a character that a private identity cannot have");
            }
            Ok(Impi::new(text))
        }
        _ => wrong("not of the form user@realm"),
    }
}

/// A public identity in canonical form: a sip: or sips: URI with a user, or a tel: URI.
pub fn impu(text: &str) -> Result<Impu, FieldError> {
    if text.len() > IDENTITY_MAX {
        return Err(wrong("impu", "longer than 255 octets"));
    }
    let uri =
        Uri::parse(text.as_bytes()).map_err(|error| wrong("impu", format!("{text:?} is no URI: {}", error.why)))?;
    match &uri {
        Uri::Sip(sip) if sip.user.is_none_or(<[u8]>::is_empty) => {
            Err(wrong("impu", format!("{text:?} has no user part")))
        }
        Uri::Sip(_) | Uri::Tel { .. } => Ok(Impu::new(&*uri.aor())),
        Uri::Other { .. } => Err(wrong("impu", format!("{text:?} is not a sip:, sips: or tel: URI"))),
    }
}

fn impus(text: &str) -> Result<Impus, FieldError> {
    let set = text.split_whitespace().map(impu).collect::<Result<Vec<_>, _>>()?;
    if set.is_empty() {
        return Err(wrong("impu", "missing"));
    }
    if set.len() > IMPUS_MAX {
        return Err(wrong("impu", format!("{} public identities, at most {IMPUS_MAX} are possible", set.len())));
    }
    match set.iter().enumerate().find(|(i, impu)| set.iter().take(*i).any(|earlier| earlier == *impu)) {
        Some((_, twice)) => Err(wrong("impu", format!("{twice} is there twice"))),
        None => Ok(set.into()),
    }
}

fn amf(text: &str) -> Result<Amf, FieldError> {
    if text.is_empty() {
        return Ok(Amf::IMS);
    }
    let octets = secret_hex("amf", text, &[2])?;
    octets.as_slice().try_into().map(Amf).map_err(|_| wrong("amf", "4 hex digits needed"))
}

fn sequence_number(text: &str) -> Result<Option<Sqn>, FieldError> {
    if text.is_empty() {
        return Ok(None);
    }
    let octets = secret_hex("sqn", text, &[6])?;
    let sqn = octets.as_slice().try_into().map(Sqn::from_octets).map_err(|_| wrong("sqn", "12 hex digits needed"))?;
    if sqn.seq() >= sqn::SEQ_MAX {
        return Err(wrong("sqn", "the range is used up: no SQN follows this one"));
    }
    Ok(Some(sqn))
}

/// `yes`, `no`, or service ids separated by spaces, `;` or `,`.
pub fn broadcast(text: &str) -> Result<BroadcastSubscription, FieldError> {
    let mut ids: Vec<String> = Vec::new();
    for id in text.split(|c: char| c.is_whitespace() || c == ';' || c == ',').filter(|id| !id.is_empty()) {
        if id.len() > IDENTITY_MAX || id.chars().any(char::is_control) {
            return Err(wrong("broadcast", "a service id longer than 255 octets or with a control character"));
        }
        if !ids.iter().any(|known| known == id) {
            ids.push(id.into());
        }
    }
    let is = |word: &str| ids.len() == 1 && ids.iter().all(|id| id.eq_ignore_ascii_case(word));
    if ids.is_empty() || is("no") {
        return Ok(BroadcastSubscription::None);
    }
    if is("yes") {
        return Ok(BroadcastSubscription::All);
    }
    if ids.iter().any(|id| id.eq_ignore_ascii_case("yes") || id.eq_ignore_ascii_case("no")) {
        return Err(wrong("broadcast", "yes or no and service ids as well"));
    }
    Ok(BroadcastSubscription::Services(ids.into()))
}

/// Name of a service profile.
pub fn service(text: &str) -> Result<ArcStr, FieldError> {
    if text.len() > 64 || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(wrong("service", "a name of at most 64 letters, digits, \"-\", \"_\" and \".\" needed"));
    }
    Ok(text.into())
}

/// Octets of a hexadecimal field that may have one of the lengths in `octets`.
fn secret_hex(column: &'static str, text: &str, octets: &[usize]) -> Result<Zeroizing<Vec<u8>>, FieldError> {
    if text.is_empty() {
        return Err(wrong(column, "missing"));
    }
    let needed = || octets.iter().map(|n| (n * 2).to_string()).collect::<Vec<_>>().join(" or ");
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let mut high = None;
    for (i, c) in text.chars().enumerate() {
        let Some(digit) = c.to_digit(16).and_then(|d| u8::try_from(d).ok()) else {
            return Err(wrong(
                column,
                format!("character {} is not a hex digit, {} hex digits needed", i + 1, needed()),
            ));
        };
        match high.take() {
            None => high = Some(digit << 4),
            Some(high) => out.push(high | digit),
        }
    }
    if high.is_some() || !octets.contains(&out.len()) {
        return Err(wrong(column, format!("{} hex digits, {} needed", text.len(), needed())));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
    const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";

    fn fields() -> Fields<'static> {
        Fields {
            impi: "u@home1.net",
            impu: "sip:u@home1.net",
            algorithm: "milenage",
            k: K,
            opc: OPC,
            ..Fields::default()
        }
    }

    #[test]
    fn a_good_line_is_taken_and_identities_are_made_canonical() {
        let subscriber =
            Fields { impu: " SIP:u@HOME1.net:5060  tel:+1-201-555-0123", ..fields() }.subscriber().unwrap();
        let impus: Vec<_> = subscriber.impus.iter().map(Impu::as_str).collect();
        assert_eq!(impus, ["sip:u@home1.net", "tel:+12015550123"]);
        assert_eq!((subscriber.sqn, subscriber.amf), (None, Amf::IMS));
    }

    #[test]
    fn op_gives_the_opc_of_ts_35_208_set_1() {
        let subscriber = Fields { opc: "", op: "cdc202d5123e20f62b6d676ac72cb318", ..fields() }.subscriber().unwrap();
        let Credentials::Aka(keys) = &subscriber.credentials else { panic!("not AKA") };
        let opc: String = keys.opc().iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(opc, OPC);
    }

    #[test]
    fn a_bad_field_is_named_with_its_reason() {
        let long = "1".repeat(64);
        let cases = [
            (Fields { k: &K[1..], ..fields() }, "k: 31 hex digits, 32 needed"),
            (Fields { k: "", ..fields() }, "k: missing"),
            (Fields { k: &long, ..fields() }, "k: 64 hex digits, 32 needed"),
            (Fields { k: &long[..48], opc: &long, algorithm: "TUAK", ..fields() }, "k: 48 hex digits, 32 or 64 needed"),
            (Fields { algorithm: "tuak", ..fields() }, "opc: 32 hex digits, 64 needed"),
            (Fields { opc: "", ..fields() }, "opc: missing, and op as well: one of them is needed"),
            (Fields { op: OPC, ..fields() }, "op: opc is given as well: one of them, not both"),
            (Fields { algorithm: "comp128", ..fields() }, "algorithm: not milenage, tuak or digest"),
            (Fields { sqn: "21", ..fields() }, "sqn: 2 hex digits, 12 needed"),
            (Fields { sqn: "ffffffffffe0", ..fields() }, "sqn: the range is used up: no SQN follows this one"),
            (Fields { amf: "80", ..fields() }, "amf: 2 hex digits, 4 needed"),
            (Fields { impi: "u", ..fields() }, "impi: not of the form user@realm"),
            (Fields { impi: "u:x@r", ..fields() }, "impi: holds a character that a private identity cannot have"),
            (Fields { impu: "", ..fields() }, "impu: missing"),
            (Fields { impu: "sip:home1.net", ..fields() }, "impu: \"sip:home1.net\" has no user part"),
            (Fields { impu: "urn:x:y", ..fields() }, "impu: \"urn:x:y\" is not a sip:, sips: or tel: URI"),
            (Fields { impu: "sip:u@h SIP:u@H", ..fields() }, "impu: sip:u@h is there twice"),
            (Fields { broadcast: "yes svc1", ..fields() }, "broadcast: yes or no and service ids as well"),
            (
                Fields { service: "a b", ..fields() },
                "service: a name of at most 64 letters, digits, \"-\", \"_\" and \".\" needed",
            ),
            (Fields { password: "x", ..fields() }, "password: only algorithm digest has one"),
            (
                Fields { algorithm: "digest", password: "x", ..fields() },
                "k: algorithm digest has none, only a password",
            ),
        ];
        for (fields, message) in cases {
            assert_eq!(fields.subscriber().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn broadcast_subscriptions_read_back_as_written() {
        for (text, written) in
            [("", "no"), ("No", "no"), ("YES", "yes"), ("b;a  b", "b a"), ("urn:oma:x,y", "urn:oma:x y")]
        {
            let read = broadcast(text).unwrap();
            assert_eq!(super::super::subscriber::broadcast_text(&read), written);
            assert_eq!(broadcast(written).unwrap(), read);
        }
    }
}
