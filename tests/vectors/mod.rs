//! Reading of the vector files beside this one. The files name source and clause of every set.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use serde_json::Value;

pub(crate) fn load(file: &str) -> Value {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub(crate) fn text<'a>(set: &'a Value, name: &str) -> &'a str {
    set[name].as_str().unwrap_or_else(|| panic!("no text {name} in {set}"))
}

pub(crate) fn number(set: &Value, name: &str) -> usize {
    set[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {set}")) as usize
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub(crate) fn octets(set: &Value, name: &str) -> Vec<u8> {
    unhex(text(set, name))
}

pub(crate) fn array<const N: usize>(set: &Value, name: &str) -> [u8; N] {
    octets(set, name).try_into().unwrap_or_else(|_| panic!("{name} is not {N} octets in {set}"))
}
