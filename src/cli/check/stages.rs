//! Functions that look like stages and are none: outside of the table that the file returns, or defined with a colon.

use super::names::{Token, at_line, tokens};
use crate::policy::Stage;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::lua::PolicySource;

/// `function verify(`, `function policy.verify(` or `function policy:verify(`.
struct Declared<'a> {
    line: usize,
    table: Option<&'a str>,
    name: &'a str,
    colon: bool,
    local: bool,
}

/// What is wrong with the stages of a main file; `decides`: it has a function for one.
pub(super) fn misplaced(source: &PolicySource, decides: bool) -> Vec<Diagnostic> {
    let tokens = tokens(&source.text);
    let returned = match tokens.as_slice() {
        [.., (_, Token::Name("return")), (_, Token::Name(name))] => Some(*name),
        _ => None,
    };
    let table = returned.unwrap_or("policy");
    let declared = declared(&tokens);
    let shifted = declared.iter().filter(|function| function.colon && function.table == returned).map(|function| {
        let reason = format!("stage {} is defined with a colon: its arguments shift by one", function.name);
        at_line(source, function.line, reason).about(function.name).hint(format!("write {table}.{}", function.name))
    });
    let mut faults: Vec<Diagnostic> = shifted.collect();
    if decides {
        let global = declared.iter().filter(|function| function.table.is_none() && !function.local);
        faults.extend(global.map(|function| {
            let reason = format!("function {} is a global and no stage", function.name);
            let fault = at_line(source, function.line, reason).about(function.name);
            fault.hint(format!("write function {table}.{}(…)", function.name))
        }));
    }
    // Who has a setup may live by timers alone.
    let has_setup = tokens.iter().any(|(_, token)| matches!(token, Token::Name("setup")));
    if !decides && !has_setup {
        let before = faults.len();
        faults.extend(declared.iter().map(|function| {
            let reason = format!("no stage: function {} is not in the table that the file returns", function.name);
            let fault = at_line(source, function.line, reason).about(function.name);
            fault.hint(format!("write function {table}.{}(…)", function.name))
        }));
        if faults.len() == before {
            let reason = format!("no stage: it decides nothing; the stages are {}", Stage::names());
            faults.push(Diagnostic::new(&source.name, None, reason));
        }
    }
    faults.into_iter().map(Diagnostic::warning).collect()
}

fn declared<'a>(tokens: &[(usize, Token<'a>)]) -> Vec<Declared<'a>> {
    let mut found = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let Token::Name("function") = token else { continue };
        let (table, name, colon) = match tokens.get(at.saturating_add(1)..).unwrap_or_default() {
            [(_, Token::Name(table)), (_, Token::Dot), (_, Token::Name(name)), ..] => (Some(*table), *name, false),
            [(_, Token::Name(table)), (_, Token::Colon), (_, Token::Name(name)), ..] => (Some(*table), *name, true),
            [(_, Token::Name(name)), ..] => (None, *name, false),
            _ => continue,
        };
        if Stage::named(name).is_some() {
            let before = at.checked_sub(1).and_then(|before| tokens.get(before));
            let local = matches!(before, Some((_, Token::Name("local"))));
            found.push(Declared { line: *line, table, name, colon, local });
        }
    }
    found
}
