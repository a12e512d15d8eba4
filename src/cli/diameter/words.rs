//! A message as a JSON object, and that as lines for a person.

use crate::broadcast::datetime::civil_from_days;
use crate::cli::field::hex;
use crate::diameter::dictionary::{
    ACCT_APPLICATION_ID, AUTH_APPLICATION_ID, CONFIDENTIALITY_KEY, DIGEST_HA1, EXPERIMENTAL_RESULT_CODE, INTEGRITY_KEY,
    ME_KEY_MATERIAL, RESULT_CODE, SIP_AUTHORIZATION, SUPPORTED_VENDOR_ID, TGPP, UICC_KEY_MATERIAL, VENDOR_ID,
    application, command, value_name,
};
use crate::diameter::message::{ERROR, PROXIABLE, REQUEST, RETRANSMITTED};
use crate::diameter::{Avp, Avps, Def, Kind, MAX_DEPTH, Message, ResultCode};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// What is printed with --keys only.
static KEYS: &[&Def] =
    &[&CONFIDENTIALITY_KEY, &INTEGRITY_KEY, &SIP_AUTHORIZATION, &ME_KEY_MATERIAL, &UICC_KEY_MATERIAL, &DIGEST_HA1];

pub(super) fn message(message: &Message<'_>, keys: bool) -> Value {
    let header = message.header();
    let flags = [(REQUEST, "R"), (PROXIABLE, "P"), (ERROR, "E"), (RETRANSMITTED, "T")];
    let flags: String = flags.iter().filter(|(bit, _)| header.flags & bit != 0).map(|(_, letter)| *letter).collect();
    let letter = if header.is_request() { "R" } else { "A" };
    let named = command::name(header.application, header.command);
    let mut object = json!({
        "command": header.command,
        "command_name": named.map(|(long, short)| format!("{long} ({short}{letter})")),
        "application": header.application,
        "application_name": application::name(header.application),
        "flags": flags,
        "hop_by_hop": format!("{:08x}", header.hop_by_hop),
        "end_to_end": format!("{:08x}", header.end_to_end),
        "length": message.octets().len(),
        "avps": avps(message.avps(), keys, 0),
    });
    if let (Err(fault), Value::Object(fields)) = (message.check(), &mut object) {
        fields.insert("fault".into(), format!("{fault}: {}", fault.code()).into());
    }
    object
}

fn avps(avps: Avps<'_>, keys: bool, depth: usize) -> Vec<Value> {
    avps.map(|one| avp(&one, keys, depth)).collect()
}

fn avp(avp: &Avp<'_>, keys: bool, depth: usize) -> Value {
    let mut fields = Map::new();
    let def = avp.def();
    fields.insert("name".into(), def.map(|def| def.name).into());
    fields.insert("code".into(), avp.code.into());
    if avp.vendor != 0 {
        fields.insert("vendor".into(), avp.vendor.into());
    }
    let flags = [(0x80, "V"), (0x40, "M"), (0x20, "P")];
    let flags: String = flags.iter().filter(|(bit, _)| avp.flags & bit != 0).map(|(_, letter)| *letter).collect();
    fields.insert("flags".into(), flags.into());
    match def {
        // What lies too deep to be told AVP by AVP may hold a key.
        Some(def) if !keys && (KEYS.contains(&def) || def.kind == Kind::Grouped && depth >= MAX_DEPTH) => {
            fields.insert("hidden".into(), format!("{} octets", avp.data.len()).into());
        }
        Some(def) if def.kind == Kind::Grouped && depth < MAX_DEPTH => {
            fields.insert("avps".into(), avps(avp.group(), keys, depth + 1).into());
        }
        // What a Failed-AVP quotes may have no value that fits.
        def => {
            let value = def.and_then(|def| value(def, avp)).unwrap_or_else(|| octets(avp.data).into());
            fields.insert("value".into(), value);
            fields.extend(def.and_then(|def| meaning(def, avp)).map(|text| ("meaning".to_owned(), text.into())));
        }
    }
    Value::Object(fields)
}

fn value(def: &Def, avp: &Avp<'_>) -> Option<Value> {
    Some(match def.kind {
        Kind::Utf8 | Kind::Identity | Kind::Uri => avp.text().ok()?.into(),
        Kind::Unsigned32 => avp.number().ok()?.into(),
        Kind::Enumerated => avp.enumerated().ok()?.into(),
        Kind::Time => {
            let unix = avp.time().ok()?.as_secs();
            let ((year, month, day), second) = (civil_from_days(unix / 86_400), unix % 86_400);
            let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z").into()
        }
        Kind::Address => avp.address().ok()?.to_string().into(),
        Kind::OctetString | Kind::Grouped => return None,
    })
}

/// What a number stands for.
fn meaning(def: &Def, avp: &Avp<'_>) -> Option<String> {
    let number = avp.number().ok();
    let name = match *def {
        AUTH_APPLICATION_ID | ACCT_APPLICATION_ID => application::name(number?),
        VENDOR_ID | SUPPORTED_VENDOR_ID => (number? == TGPP).then_some("3GPP"),
        RESULT_CODE => ResultCode::Base(number?).name(),
        EXPERIMENTAL_RESULT_CODE => ResultCode::Experimental { vendor: TGPP, code: number? }.name(),
        _ if def.kind == Kind::Enumerated => value_name(def, number?.cast_signed()),
        _ => None,
    };
    name.map(str::to_owned)
}

/// Text where it is text, hexadecimal digits otherwise.
fn octets(data: &[u8]) -> String {
    let is_text = |text: &&str| !text.is_empty() && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    match std::str::from_utf8(data).ok().filter(is_text) {
        Some(text) => text.to_owned(),
        None => format!("0x{}", hex(data)),
    }
}

/// A line for the header, one for each AVP, groups indented.
pub(super) fn lines(message: &Value) -> String {
    let mut text = String::new();
    if let Some(avps) = message["avps"].as_array() {
        let or_number = |name: &str, number: &str| match message[name].as_str() {
            Some(known) => known.to_owned(),
            None => message[number].to_string(),
        };
        let word = |name: &str| message[name].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "{}, {}, flags {}, hop-by-hop {}, end-to-end {}, {} octets",
            or_number("command_name", "command"),
            or_number("application_name", "application"),
            if word("flags").is_empty() { "none" } else { word("flags") },
            word("hop_by_hop"),
            word("end_to_end"),
            message["length"],
        );
        avps.iter().for_each(|avp| line(&mut text, avp, 1));
    }
    if let Some(fault) = message["fault"].as_str() {
        let _ = match &message["octets_left"] {
            Value::Null => writeln!(text, "fault: {fault}"),
            left => writeln!(text, "fault: {fault} ({left} octets left)"),
        };
    }
    text
}

fn line(text: &mut String, avp: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let name = match avp["name"].as_str() {
        Some(name) => name.to_owned(),
        None if avp["vendor"].is_null() => format!("AVP {}", avp["code"]),
        None => format!("AVP {} of vendor {}", avp["code"], avp["vendor"]),
    };
    let _ = write!(text, "{indent}{name} [{}]", avp["flags"].as_str().unwrap_or_default());
    match (&avp["value"], avp["hidden"].as_str()) {
        (_, Some(hidden)) => text.push_str(&format!(" ({hidden}, shown with --keys)")),
        // Text of several lines stays under its name.
        (Value::String(value), None) => {
            text.push(' ');
            text.push_str(&value.replace('\n', &format!("\n{indent}    ")));
        }
        (Value::Null, None) => {}
        (value, None) => text.push_str(&format!(" {value}")),
    }
    if let Some(meaning) = avp["meaning"].as_str() {
        text.push_str(&format!(" {meaning}"));
    }
    text.push('\n');
    avp["avps"].as_array().into_iter().flatten().for_each(|inner| line(text, inner, depth + 1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diameter::dictionary::{KEY_EXPIRYTIME, PUBLIC_IDENTITY, SIP_AUTH_DATA_ITEM};
    use crate::diameter::{Header, Writer};

    fn answer(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let header = Header { flags: 0, command: 303, application: application::CX, hop_by_hop: 1, end_to_end: 2 };
        let mut writer = Writer::new(header);
        fill(&mut writer);
        writer.finish().unwrap()
    }

    fn shown(octets: &[u8], keys: bool) -> String {
        lines(&message(&Message::parse(octets).unwrap(), keys))
    }

    #[test]
    fn names_values_and_groups() {
        let octets = answer(|writer| {
            writer
                .number(&RESULT_CODE, 2001)
                .text(&PUBLIC_IDENTITY, "sip:a@home1.net")
                .time(&KEY_EXPIRYTIME, std::time::Duration::from_secs(1_700_000_000))
                .group(&SIP_AUTH_DATA_ITEM, |item| {
                    item.octets(&CONFIDENTIALITY_KEY, &[0xab; 16]);
                })
                .octets(
                    &Def { code: 9, vendor: 7, mandatory: false, kind: Kind::OctetString, name: "" },
                    &[1, 2, 0xff],
                );
        });
        let expected = "\
Multimedia-Auth (MAA), Cx, flags none, hop-by-hop 00000001, end-to-end 00000002, 132 octets
  Result-Code [M] 2001 SUCCESS
  Public-Identity [VM] sip:a@home1.net
  Key-ExpiryTime [VM] 2023-11-14T22:13:20Z
  SIP-Auth-Data-Item [VM]
    Confidentiality-Key [VM] (16 octets, shown with --keys)
  AVP 9 of vendor 7 [V] 0x0102ff
";
        assert_eq!(shown(&octets, false), expected);
        assert!(shown(&octets, true).contains("Confidentiality-Key [VM] 0xabababab"));
    }

    #[test]
    fn a_key_is_hidden_wherever_it_stands() {
        for def in KEYS {
            let octets = answer(|writer| {
                writer.octets(def, b"secret-key").group(&crate::diameter::dictionary::FAILED_AVP, |group| {
                    group.octets(def, b"secret-key");
                });
            });
            assert!(!shown(&octets, false).contains("secret-key"), "{}", def.name);
            assert_eq!(shown(&octets, true).matches("secret-key").count(), 2, "{}", def.name);
            assert!(!message(&Message::parse(&octets).unwrap(), false).to_string().contains("secret-key"));
        }
        let octets = answer(|writer| nested(writer, MAX_DEPTH + 1));
        assert!(!shown(&octets, false).contains("secret-key"));
    }

    fn nested(writer: &mut Writer, depth: usize) {
        match depth {
            0 => writer.octets(&CONFIDENTIALITY_KEY, b"secret-key"),
            _ => writer.group(&SIP_AUTH_DATA_ITEM, |group| nested(group, depth - 1)),
        };
    }

    #[test]
    fn what_is_wrong_is_told_with_its_code() {
        let octets = answer(|writer| {
            writer.octets(&RESULT_CODE, &[1]);
        });
        assert!(shown(&octets, false).ends_with("fault: length of AVP 268: 5014 INVALID_AVP_LENGTH\n"));
    }
}
