//! `base64`, `hex`, `hash`, `hmac`: what a webhook needs to sign and to carry octets.

use super::call::{Call, refused};
use super::table::{Module, Param, Type, function, gives, may_give, param};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use mlua::Value;
use sha2::{Digest, Sha256};

/// Octets that one call takes: nothing interrupts it.
const MAX: usize = 64 * 1024;

const OCTETS: Param = param("octets", Type::String, "At most 64 KiB.");

pub(super) static BASE64: Module = Module {
    name: "base64",
    doc: "Base64 (RFC 4648).",
    capability: None,
    fields: &[],
    functions: &[
        function(
            "encode",
            &[OCTETS],
            &[gives(Type::String, "With padding.")],
            "Writes octets as Base64.",
            base64_encode,
        ),
        function(
            "encode_url",
            &[OCTETS],
            &[gives(Type::String, "For URLs and file names, without padding.")],
            "Writes octets as Base64 for URLs.",
            base64_encode_url,
        ),
        function(
            "decode",
            &[param("text", Type::String, "Of either alphabet; the padding may be left out in that for URLs.")],
            &[may_give(Type::String, "The octets; nil if it is no Base64.")],
            "Reads Base64.",
            base64_decode,
        ),
    ],
};

pub(super) static HEX: Module = Module {
    name: "hex",
    doc: "Two digits an octet.",
    capability: None,
    fields: &[],
    functions: &[
        function("encode", &[OCTETS], &[gives(Type::String, "In lower case.")], "Writes octets as digits.", hex_encode),
        function(
            "decode",
            &[param("text", Type::String, "In either case, without blanks.")],
            &[may_give(Type::String, "The octets; nil if it is no such text.")],
            "Reads digits.",
            hex_decode,
        ),
    ],
};

pub(super) static HASH: Module = Module {
    name: "hash",
    doc: "Digests (FIPS 180-4).",
    capability: None,
    fields: &[],
    functions: &[function(
        "sha256",
        &[OCTETS],
        &[gives(Type::String, "32 octets; see `hex.encode`.")],
        "SHA-256.",
        sha256,
    )],
};

pub(super) static HMAC: Module = Module {
    name: "hmac",
    doc: "Signatures with a shared secret (RFC 2104).",
    capability: None,
    fields: &[],
    functions: &[
        function(
            "sha256",
            &[param("key", Type::String, "The secret."), OCTETS],
            &[gives(Type::String, "32 octets; see `hex.encode`.")],
            "HMAC-SHA-256.",
            hmac_sha256,
        ),
        function(
            "equal",
            &[param("a", Type::String, "One signature."), param("b", Type::String, "The other.")],
            &[gives(Type::Boolean, "Whether they are the same.")],
            "Compares without telling by its time where they differ.",
            equal,
        ),
    ],
};

fn base64_encode(call: &Call<'_>) -> mlua::Result<Value> {
    call.create_string(STANDARD.encode(&*call.octets(0, MAX)?))
}

fn base64_encode_url(call: &Call<'_>) -> mlua::Result<Value> {
    call.create_string(URL_SAFE_NO_PAD.encode(&*call.octets(0, MAX)?))
}

fn base64_decode(call: &Call<'_>) -> mlua::Result<Value> {
    let text = call.octets(0, MAX)?;
    let unpadded = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(&text);
    let decoded = STANDARD.decode(&*text).or_else(|_| URL_SAFE_NO_PAD.decode(unpadded));
    decoded.map_or(Ok(Value::Nil), |octets| call.create_string(octets))
}

fn hex_encode(call: &Call<'_>) -> mlua::Result<Value> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    let octets = call.octets(0, MAX)?;
    call.create_string(octets.iter().flat_map(|octet| [digit(octet >> 4), digit(octet & 15)]).collect::<Vec<_>>())
}

fn hex_decode(call: &Call<'_>) -> mlua::Result<Value> {
    let text = call.octets(0, MAX)?;
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let octet = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let octets: Option<Vec<u8>> = text.chunks(2).map(octet).collect();
    octets.map_or(Ok(Value::Nil), |octets| call.create_string(octets))
}

fn sha256(call: &Call<'_>) -> mlua::Result<Value> {
    call.create_string(Sha256::digest(&*call.octets(0, MAX)?))
}

fn hmac_sha256(call: &Call<'_>) -> mlua::Result<Value> {
    let (key, octets) = (call.octets(0, MAX)?, call.octets(1, MAX)?);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|why| refused(why.to_string()))?;
    mac.update(&octets);
    call.create_string(mac.finalize().into_bytes())
}

fn equal(call: &Call<'_>) -> mlua::Result<Value> {
    use subtle::ConstantTimeEq;
    let (a, b) = (call.octets(0, MAX)?, call.octets(1, MAX)?);
    Ok(Value::Boolean(a.ct_eq(&b).into()))
}
