//! Any octets through parser, check, accessors, parts, framing and writers; the assertions are in `exercise`.
//! Run: `cargo +nightly fuzz run sip_message -- -dict=fuzz/sip.dict`, with tests/torture as a seed corpus.
#![no_main]

#[path = "../../tests/exercise/mod.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::everything(bytes));
