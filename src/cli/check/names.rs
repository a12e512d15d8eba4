//! Names that a Lua file uses and nobody defines: globals, fields of the host's tables, fields of a stage's arguments.
//! And globals that it writes.

use crate::policy::Stage;
use crate::policy::diagnostic::{Diagnostic, nearest};
use crate::policy::lua::{Known, PolicySource, argument_fields, globals};
use std::collections::{BTreeMap, BTreeSet};

/// What is unknown in a file that compiles, and the globals that it writes. `is_policy`: it is an operator's file.
pub(super) fn unknown(source: &PolicySource, known: &Known, is_policy: bool) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let Ok(used) = globals(source) else { return faults };
    let assigned: BTreeSet<&str> = used.iter().filter(|use_| use_.written).map(|use_| use_.name.as_str()).collect();
    let mut at: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for global in used.iter().filter(|global| !global.written) {
        at.entry(global.line).or_default().insert(&global.name);
        if !known.0.contains_key(&global.name) && !assigned.contains(global.name.as_str()) {
            let fault = at_line(source, global.line, format!("{} is not defined: it is nil", global.name));
            let fault = hinted(fault, &global.name, known.names());
            faults.push(fault.about(&global.name));
        }
    }
    for global in used.iter().filter(|global| global.written) {
        let name = &global.name;
        let fault = if global.nested {
            at_line(source, global.line, format!("{name} is assigned: globals are read-only after loading; use local"))
        } else if Stage::named(name).is_some() {
            // Told with the stages.
            continue;
        } else {
            at_line(source, global.line, format!("{name} is a global, read-only after loading; use local")).warning()
        };
        faults.push(fault.about(name));
    }
    for field in fields(&source.text) {
        let is_global = at.get(&field.line).is_some_and(|names| names.contains(field.table));
        if is_global {
            let Some(names) = known.fields(field.table).filter(|names| !names.contains(field.name)) else { continue };
            let reason = format!("{}.{} is not defined", field.table, field.name);
            let fault = if is_policy && field.table == "http" {
                at_line(source, field.line, format!("{reason}: policies have no http, plugins have"))
                    .hint("make it a plugin whose manifest asks for the capability http")
            } else {
                hinted(at_line(source, field.line, reason), field.name, names.iter().map(String::as_str))
            };
            faults.push(fault.about(field.name));
        } else if let Some(names) = argument_fields(field.table).filter(|names| !names.contains(&field.name)) {
            // The name is only a convention; somebody may call a table of their own so.
            let reason = format!("{} has no field {}; it has {}", field.table, field.name, names.join(", "));
            let fault = at_line(source, field.line, reason);
            faults.push(hinted(fault, field.name, names.iter().copied()).about(field.name).warning());
        }
    }
    faults
}

pub(super) fn at_line(source: &PolicySource, line: usize, reason: String) -> Diagnostic {
    Diagnostic::new(&source.name, u32::try_from(line).ok(), reason).in_text(&source.text)
}

fn hinted<'a>(fault: Diagnostic, word: &str, names: impl Iterator<Item = &'a str>) -> Diagnostic {
    match nearest(word, names) {
        Some(near) => fault.hint(format!("did you mean {near}?")),
        None => fault,
    }
}

/// `table.name` in the text, or `table:name`.
struct Field<'a> {
    line: usize,
    table: &'a str,
    name: &'a str,
}

pub(super) enum Token<'a> {
    Name(&'a str),
    Dot,
    Colon,
    Other,
}

/// Names joined by a dot or colon whose first is not itself a field. Assignments to a field count too: a table of the
/// host cannot be written to.
fn fields(text: &str) -> Vec<Field<'_>> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for (index, window) in tokens.windows(3).enumerate() {
        let [(line, Token::Name(table)), (_, Token::Dot | Token::Colon), (_, Token::Name(name))] = window else {
            continue;
        };
        let before = index.checked_sub(1).and_then(|before| tokens.get(before));
        if !matches!(before, Some((_, Token::Dot | Token::Colon))) {
            found.push(Field { line: *line, table, name });
        }
    }
    found
}

/// The text in tokens, with their lines; comments and blanks left out, strings and numbers as anything else.
pub(super) fn tokens(text: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    let (mut line, mut rest) = (1usize, text);
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push((line, Token::Name(rest.get(..length).unwrap_or_default())));
            length
        } else if rest.starts_with("--") {
            let comment = rest.get(2..).unwrap_or_default();
            match long_bracket(comment) {
                Some(length) => length.saturating_add(2),
                None => rest.find('\n').unwrap_or(rest.len()),
            }
        } else if let Some(length) = long_bracket(rest) {
            tokens.push((line, Token::Other));
            length
        } else if matches!(first, '"' | '\'' | '`') {
            tokens.push((line, Token::Other));
            string(rest, first)
        } else if first.is_ascii_digit() {
            tokens.push((line, Token::Other));
            rest.find(|c: char| !c.is_alphanumeric() && c != '.' && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("..") || rest.starts_with("::") {
            tokens.push((line, Token::Other));
            2
        } else {
            match first {
                '.' => tokens.push((line, Token::Dot)),
                ':' => tokens.push((line, Token::Colon)),
                c if c.is_whitespace() => {}
                _ => tokens.push((line, Token::Other)),
            }
            first.len_utf8()
        };
        let (taken, left) = rest.split_at_checked(length.max(1)).unwrap_or((rest, ""));
        line = line.saturating_add(taken.matches('\n').count());
        rest = left;
    }
    tokens
}

/// Length of `[[ … ]]` or `[==[ … ]==]` at the start.
fn long_bracket(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('[')?;
    let level = inner.bytes().take_while(|octet| *octet == b'=').count();
    inner.get(level..)?.strip_prefix('[')?;
    let end = format!("]{}]", "=".repeat(level));
    Some(text.find(&end).map_or(text.len(), |at| at.saturating_add(end.len())))
}

/// Length of a quoted string at the start.
fn string(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' if quote != '`' => return at,
            c if c == quote => return at.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        fields(text).iter().map(|field| format!("{}:{}.{}", field.line, field.table, field.name)).collect()
    }

    #[test]
    fn fields_are_found_by_line_and_not_in_strings_or_comments() {
        let text =
            "local a = ims.forward -- ims.no\n--[[ x.y\n]] b = \"c.d\" .. e.f.g\nlog:info([[h.i]]) 1.5.x `j.k`\nl\n.m";
        assert_eq!(shown(text), ["1:ims.forward", "3:e.f", "4:log.info", "5:l.m"]);
    }

    #[test]
    fn texts_that_end_anywhere() {
        let whole = "x = \"a\\\"b\" --[==[ z ]==] y.z('\\'', [=[ ]=]) é.ü";
        for end in (0..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            tokens(&whole[..end]);
        }
        assert_eq!(shown(whole), ["1:y.z", "1:é.ü"]);
    }
}
