//! Key material that need not stand on the command line: `@FILE`, or `-` for standard input.

use anyhow::{Context, bail};
use std::io::Read;
use zeroize::Zeroizing;

/// A secret is one line; a file that is longer is the wrong one.
const LIMIT: u64 = 4096;

/// Standard input can be read once.
#[derive(Default)]
pub(super) struct Stdin {
    read: bool,
}

/// The value of `option`; empty if it was not given. A line end after it is no part of it.
pub(super) fn read(option: &str, value: Option<&str>, stdin: &mut Stdin) -> anyhow::Result<Zeroizing<String>> {
    match value {
        None => Ok(Zeroizing::default()),
        Some("-") => {
            if std::mem::replace(&mut stdin.read, true) {
                bail!("{option}: only one value can come from standard input");
            }
            first_line(std::io::stdin().lock()).with_context(|| format!("{option}: standard input"))
        }
        Some(value) => match value.strip_prefix('@') {
            Some(path) => std::fs::File::open(path)
                .map_err(anyhow::Error::from)
                .and_then(first_line)
                .with_context(|| format!("{option}: {path}")),
            None => Ok(Zeroizing::new(value.to_owned())),
        },
    }
}

fn first_line(input: impl Read) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    input.take(LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        bail!("longer than {LIMIT} octets");
    }
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(['\r', '\n']) {
        bail!("one line is expected");
    }
    Ok(Zeroizing::new(line.to_owned()))
}
