//! What goes wrong in a policy: the words for it.

use crate::policy::Cause;
use mlua::{Error, Lua};

/// Longest message of a policy that is kept or logged, in octets.
const MAX_MESSAGE: usize = 400;

/// Whether a VM may be in a state that nobody wrote, and is built anew.
pub(super) fn spoils(cause: Cause) -> bool {
    matches!(cause, Cause::Timeout | Cause::OutOfMemory)
}

/// `text` up to the end of its first line, cut to a bearable length, without control characters:
/// a policy's message may quote a header, and a header must not write lines into the log.
pub(super) fn first_line(text: &str) -> String {
    printable(text.lines().next().unwrap_or_default())
}

pub(super) fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(MAX_MESSAGE));
    for c in text.chars() {
        if clean.len() >= MAX_MESSAGE {
            clean.push('…');
            break;
        }
        clean.push(if c.is_control() { ' ' } else { c });
    }
    clean
}

/// The reason of a Lua error in one line, without the runtime's wrapping and backtrace.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::CallbackError { cause, .. } | Error::WithContext { cause, .. } => describe(cause),
        Error::RuntimeError(message) => first_line(message),
        Error::SyntaxError { message, .. } => first_line(message),
        Error::MemoryError(_) => "memory limit reached".to_owned(),
        other => first_line(&other.to_string()),
    }
}

/// `file:line: reason`. Where the message has no place in it, as with errors of library functions, the
/// backtrace has one; failing that, it is `otherwise`.
pub(super) fn describe_at(error: &Error, file: &str, otherwise: impl FnOnce() -> String) -> String {
    let reason = describe(error);
    if in_file(&reason, file).is_some() {
        return reason;
    }
    let place = backtrace(error).lines().find_map(|frame| in_file(frame.trim(), file));
    format!("{}: {reason}", place.map_or_else(otherwise, str::to_owned))
}

/// The `file:line` that `text` begins with.
fn in_file<'a>(text: &'a str, file: &str) -> Option<&'a str> {
    let line = text.strip_prefix(file)?.strip_prefix(':')?;
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 { None } else { text.get(..file.len() + 1 + digits) }
}

fn backtrace(error: &Error) -> &str {
    match error {
        Error::CallbackError { traceback, .. } => traceback,
        Error::WithContext { cause, .. } => backtrace(cause),
        Error::RuntimeError(message) | Error::MemoryError(message) => message,
        _ => "",
    }
}

pub(super) fn is_out_of_memory(error: &Error) -> bool {
    match error {
        Error::MemoryError(_) => true,
        Error::CallbackError { cause, .. } | Error::WithContext { cause, .. } => is_out_of_memory(cause),
        Error::BadArgument { cause, .. } => is_out_of_memory(cause),
        _ => false,
    }
}

/// `file:line` of the innermost Lua function that runs, from `level` outwards.
pub(super) fn place(lua: &Lua, level: usize) -> Option<String> {
    (level..level + 8).find_map(|level| {
        lua.inspect_stack(level, |frame| {
            let line = frame.current_line()?;
            let source = frame.source();
            Some(format!("{}:{line}", source.short_src.as_deref()?))
        })
        .flatten()
    })
}

/// An error raised by one of our functions, with the place in the policy that called it.
pub(super) fn located(lua: &Lua, why: &str) -> Error {
    match place(lua, 1) {
        Some(place) => Error::runtime(format!("{place}: {why}")),
        None => Error::runtime(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_from_the_message_or_the_backtrace() {
        let at = |error: &Error| describe_at(error, "a.lua", || "a.lua:1".to_owned());
        assert_eq!(at(&Error::runtime("a.lua:7: why")), "a.lua:7: why");
        assert_eq!(at(&Error::runtime("why\nstack traceback:\n[C] in x\na.lua:12 function f")), "a.lua:12: why");
        assert_eq!(at(&Error::runtime("why\na.lua: no line")), "a.lua:1: why");
    }

    #[test]
    fn a_message_is_one_bounded_line() {
        assert_eq!(first_line("a\tb\nsecond"), "a b");
        assert!(first_line(&"x".repeat(10_000)).len() < MAX_MESSAGE + 8);
    }
}
