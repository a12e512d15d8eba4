//! Reading the arguments of the constructors: what is not known by name is refused by name.
//!
//! An [`Arg`] is borrowed from the Lua stack: no copy, nothing to drop, and no call into the VM while it is read.

/// Longest name, reason or word in a verdict, and most entries in a list.
const MAX_TEXT: usize = 128;
pub(super) const MAX_LIST: usize = 16;

#[derive(Debug, Clone, Copy)]
pub(super) enum Arg<'a> {
    Nil,
    Truth(bool),
    Number(f64),
    Text(&'a [u8]),
    Table(Entries<'a>),
    /// The name of its type.
    Other(&'static str),
}

/// A table's keys and values, as many as a constructor may want.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries<'a> {
    pub(super) pairs: &'a [(Arg<'a>, Arg<'a>)],
    /// There are more.
    pub(super) more: bool,
}

/// Why an argument is not taken.
pub(super) type Refusal = String;

impl Arg<'_> {
    fn type_name(self) -> &'static str {
        match self {
            Arg::Nil => "nil",
            Arg::Truth(_) => "boolean",
            Arg::Number(_) => "number",
            Arg::Text(_) => "string",
            Arg::Table(_) => "table",
            Arg::Other(name) => name,
        }
    }

    pub(super) fn is_table(self) -> bool {
        matches!(self, Arg::Table(_))
    }
}

/// Calls `field` with each key and value of a table; nil is the empty table.
pub(super) fn each_field<'a>(
    argument: Arg<'a>,
    known: &[&str],
    mut field: impl FnMut(&str, Arg<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let entries = match argument {
        Arg::Nil => return Ok(()),
        Arg::Table(entries) => entries,
        other => return Err(format!("takes a table, not a {}", other.type_name())),
    };
    for (key, value) in entries.pairs {
        let name = match key {
            Arg::Text(text) => known.iter().find(|known| known.as_bytes() == *text),
            _ => None,
        };
        match name {
            Some(name) => field(name, *value)?,
            None => return Err(format!("unknown key {}; known: {}", quoted(*key), known.join(", "))),
        }
    }
    if entries.more { Err(format!("too many keys; known: {}", known.join(", "))) } else { Ok(()) }
}

/// One of a few words.
pub(super) fn word<T: Copy>(key: &str, value: Arg<'_>, known: &[(&str, T)]) -> Result<T, Refusal> {
    if let Arg::Text(text) = value
        && let Some((_, meaning)) = known.iter().find(|(word, _)| word.as_bytes() == text)
    {
        return Ok(*meaning);
    }
    let words: Vec<String> = known.iter().map(|(word, _)| format!("{word:?}")).collect();
    Err(format!("{key} is {}; it may be {}", quoted(value), words.join(", ")))
}

/// A whole number that fits a delta-seconds field (RFC 3261 §20.19).
pub(super) fn number(key: &str, value: Arg<'_>) -> Result<u32, Refusal> {
    match value {
        Arg::Number(number) if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) => {
            Ok(number as u32)
        }
        _ => Err(format!("{key} is {}; it must be a whole number from 0 to {}", quoted(value), u32::MAX)),
    }
}

/// A short text.
pub(super) fn text<'a>(key: &str, value: Arg<'a>) -> Result<&'a str, Refusal> {
    let Arg::Text(bytes) = value else {
        return Err(format!("{key} is {}; it must be a string", quoted(value)));
    };
    if bytes.is_empty() || bytes.len() > MAX_TEXT {
        return Err(format!("{key} must have 1 to {MAX_TEXT} octets"));
    }
    std::str::from_utf8(bytes).map_err(|_| format!("{key} is not UTF-8"))
}

/// Octets, bounded.
pub(super) fn octets(key: &str, value: Arg<'_>, most: usize) -> Result<Vec<u8>, Refusal> {
    match value {
        Arg::Text(found) if found.len() <= most => Ok(found.to_vec()),
        Arg::Text(_) => Err(format!("{key} has more than {most} octets")),
        _ => Err(format!("{key} is {}; it must be a string", quoted(value))),
    }
}

/// A short text that may stand in a status line: no line breaks or other control characters, which
/// would write header fields of the policy's caller's choosing into the answer.
pub(super) fn line<'a>(key: &str, value: Arg<'a>) -> Result<&'a str, Refusal> {
    let text = text(key, value)?;
    if text.chars().any(char::is_control) {
        return Err(format!("{key} has a control character in it"));
    }
    Ok(text)
}

/// A table of names with a line of text each.
pub(super) fn pairs(key: &str, value: Arg<'_>) -> Result<Vec<(String, String)>, Refusal> {
    let Arg::Table(entries) = value else {
        return Err(format!("{key} is {}; it must be a table", quoted(value)));
    };
    short(key, entries)?;
    let mut found = Vec::new();
    for (name, value) in entries.pairs {
        let name = line(key, *name)?;
        found.push((name.to_owned(), line(name, *value)?.to_owned()));
    }
    found.sort();
    Ok(found)
}

/// A short list, entry by entry.
pub(super) fn each_entry<'a>(
    key: &str,
    value: Arg<'a>,
    mut entry: impl FnMut(Arg<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let Arg::Table(entries) = value else {
        return Err(format!("{key} is {}; it must be a list", quoted(value)));
    };
    for (at, (index, value)) in entries.pairs.iter().enumerate() {
        if !matches!(index, Arg::Number(index) if *index == (at + 1) as f64) {
            return Err(format!("{key} is a list; entry {} is out of place", quoted(*index)));
        }
        if at < MAX_LIST {
            entry(*value)?;
        }
    }
    short(key, entries)
}

fn short(key: &str, entries: Entries<'_>) -> Result<(), Refusal> {
    match entries.more || entries.pairs.len() > MAX_LIST {
        true => Err(format!("{key} has more than {MAX_LIST} entries")),
        false => Ok(()),
    }
}

/// A short list of short texts.
pub(super) fn list(key: &str, value: Arg<'_>) -> Result<Vec<String>, Refusal> {
    let mut entries = Vec::new();
    each_entry(key, value, |entry| {
        entries.push(text(key, entry)?.to_owned());
        Ok(())
    })?;
    Ok(entries)
}

/// A value as it may stand in a message.
pub(super) fn quoted(value: Arg<'_>) -> String {
    match value {
        Arg::Text(text) => {
            let text = String::from_utf8_lossy(text.get(..160).unwrap_or(text));
            let short: String = text.chars().take(40).collect();
            format!("{short:?}")
        }
        Arg::Nil => "nil".to_owned(),
        Arg::Truth(truth) => truth.to_string(),
        Arg::Number(number) => number.to_string(),
        other => format!("a {}", other.type_name()),
    }
}
