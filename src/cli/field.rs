//! Octets as the key tools take and print them: hexadecimal options in, named fields out.

use anyhow::{Context, Result, bail};
use std::io::Write;

/// The octets of a hexadecimal option. The value itself never gets into the message: it may be a key.
pub(super) fn unhex(option: &str, text: &str) -> Result<Vec<u8>> {
    if let Some(at) = text.chars().position(|c| !c.is_ascii_hexdigit()) {
        bail!("{option}: character {} is not a hexadecimal digit", at + 1);
    }
    if !text.len().is_multiple_of(2) {
        bail!("{option}: {} hexadecimal digits, an odd number", text.len());
    }
    let digit = |octet: u8| char::from(octet).to_digit(16).unwrap_or_default() as u8;
    Ok(text.as_bytes().chunks_exact(2).map(|pair| pair.iter().fold(0, |value, c| value << 4 | digit(*c))).collect())
}

/// As [`unhex`], of exactly `N` octets.
pub(super) fn unhex_array<const N: usize>(option: &str, text: &str) -> Result<[u8; N]> {
    let octets = unhex(option, text)?;
    let digits = text.len();
    octets.try_into().ok().with_context(|| format!("{option}: {digits} hexadecimal digits, {} are needed", 2 * N))
}

pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What a verb found out, in order.
#[derive(Default)]
pub(super) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    pub(super) fn text(&mut self, name: &'static str, value: impl Into<String>) -> &mut Self {
        self.0.push((name, value.into()));
        self
    }

    pub(super) fn octets(&mut self, name: &'static str, octets: &[u8]) -> &mut Self {
        self.text(name, hex(octets))
    }

    /// One JSON object, or a line per field.
    pub(super) fn print(&self, json: bool) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            let object: serde_json::Map<_, _> =
                self.0.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
            writeln!(out, "{:#}", serde_json::Value::Object(object))?;
        } else {
            let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
            for (name, value) in &self.0 {
                writeln!(out, "{name:width$}  {value}")?;
            }
        }
        Ok(())
    }
}
