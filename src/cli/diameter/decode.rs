//! `imscript diameter decode`: octets from an option, a file or standard input, told in words.

use super::words;
use crate::cli::field::unhex;
use crate::diameter::{Message, frame_len};
use crate::file;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Longest input: a long capture, many messages.
const MAX_INPUT: u64 = 64 << 20;

/// A Diameter message, or several, in words: flags, command, AVPs with names and values, and what is wrong with it
///
/// Keys are left out unless --keys is given. Exit code 1 if a message has a fault.
#[derive(Args)]
#[command(after_help = "Examples:
  imscript diameter decode 01000014800001180000000000000001 00000002
  imscript diameter decode capture.hex --json
  xxd -r -p capture.hex | imscript diameter decode -")]
pub(super) struct DecodeArgs {
    /// Hexadecimal digits (0x before them, blanks and colons between them), or a file of them or of the octets themselves;
    /// "-": standard input
    #[arg(required = true, value_name = "HEX|FILE")]
    input: Vec<String>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    /// Print keys too
    #[arg(long)]
    keys: bool,
}

pub(super) fn run(args: &DecodeArgs) -> Result<ExitCode> {
    let octets = octets(&args.input)?;
    let (shown, mut sound) = (messages(&octets, args.keys), true);
    let mut out = std::io::stdout().lock();
    for (number, message) in shown.iter().enumerate() {
        sound &= message["fault"].is_null();
        if !args.json {
            write!(out, "{}{}", if number > 0 { "\n" } else { "" }, words::lines(message))?;
        }
    }
    if args.json {
        writeln!(out, "{:#}", Value::Array(shown))?;
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Messages one after the other; the last is what cannot be told apart any more.
fn messages(octets: &[u8], keys: bool) -> Vec<Value> {
    let (mut rest, mut shown) = (octets, Vec::new());
    while !rest.is_empty() {
        let whole = match frame_len(rest) {
            Ok(Some(length)) => rest.split_at_checked(length),
            Ok(None) => None,
            Err(fault) => {
                shown.push(json!({ "fault": fault.to_string(), "octets_left": rest.len() }));
                break;
            }
        };
        let Some((one, after)) = whole else {
            shown.push(json!({ "fault": "the message is cut off", "octets_left": rest.len() }));
            break;
        };
        match Message::parse(one) {
            Ok(message) => shown.push(words::message(&message, keys)),
            Err(fault) => shown.push(json!({ "fault": fault.to_string(), "octets_left": one.len() })),
        }
        rest = after;
    }
    shown
}

fn octets(input: &[String]) -> Result<Vec<u8>> {
    let joined = input.concat();
    let path = Path::new(&joined);
    let octets = if joined == "-" {
        let mut octets = Vec::new();
        std::io::stdin().lock().take(MAX_INPUT).read_to_end(&mut octets)?;
        octets
    } else if is_hex(joined.as_bytes()) && !path.exists() {
        joined.into_bytes()
    } else {
        let mut octets = Vec::new();
        let file = file::open(path).with_context(|| format!("{joined}: neither hexadecimal digits nor a file"))?;
        file.take(MAX_INPUT).read_to_end(&mut octets)?;
        octets
    };
    let octets = if is_hex(&octets) {
        let digits: String =
            digits(&octets).iter().filter(|octet| !is_between(**octet)).map(|o| char::from(*o)).collect();
        unhex("the message", &digits)?
    } else {
        octets
    };
    if octets.is_empty() {
        bail!("there is no message");
    }
    Ok(octets)
}

fn is_hex(octets: &[u8]) -> bool {
    digits(octets).iter().all(|octet| octet.is_ascii_hexdigit() || is_between(*octet))
}

/// Without the `0x` that may stand before them.
fn digits(octets: &[u8]) -> &[u8] {
    let octets = octets.trim_ascii_start();
    octets.strip_prefix(b"0x").or_else(|| octets.strip_prefix(b"0X")).unwrap_or(octets)
}

/// As other programs write octets apart.
fn is_between(octet: u8) -> bool {
    octet.is_ascii_whitespace() || octet == b':'
}
