//! Any octets through parser, check, accessors, parts, framing and writers; the assertions are in `exercise`.
//! Run: `cargo +nightly fuzz run sip_message fuzz/corpus/sip_message tests/torture -- -dict=fuzz/sip.dict`; on a stable
//! toolchain with `RUSTC_BOOTSTRAP=1 cargo fuzz run -s none …`.
#![no_main]
#![allow(dead_code, unreachable_pub)] // of the sources, what the exercise uses

// The exercise and the sources find each other as they do in the program.
extern crate self as imscript;

#[path = "../../src/sip/mod.rs"]
pub mod sip;

#[path = "../../tests/exercise/mod.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::everything(bytes));
