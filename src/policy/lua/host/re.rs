//! `re`: regular expressions that take time linear in the text, whatever the pattern.
//!
//! Linear still means pattern times text, and nothing interrupts a match: the larger a compiled pattern, the shorter the
//! text it is given.

use super::call::{Call, refused};
use super::table::{Class, Module, Param, Role, Type, function, gives, may_give, optional, param};
use mlua::{UserData, UserDataMethods, Value};
use regex::bytes::{Regex, RegexBuilder};
use std::collections::BTreeMap;
use std::rc::Rc;

const MAX_PATTERN: usize = 1024;
/// Patterns of one VM: they lie outside its memory limit.
const MAX_PATTERNS: usize = 64;
const MAX_RESULT: usize = 64 * 1024;
/// Octets of a compiled pattern, and of the longest text that such a one is given.
const SIZES: [(usize, usize); 3] = [(16 << 10, 64 << 10), (64 << 10, 16 << 10), (256 << 10, 4 << 10)];

const TEXT: Param = param("text", Type::String, "At most 64 KiB, with a large pattern 16 or 4.");

pub(super) const CLASSES: &[Class] = &[Class {
    name: "Pattern",
    doc: "A compiled regular expression.",
    role: Role::Handle,
    fields: &[],
    methods: &[
        function(
            "match",
            &[TEXT],
            &[may_give(
                Type::Map(&Type::String),
                "`[0]` is the match, `[1]` and on are the groups, named ones also by name; nil if there is no match.",
            )],
            "Finds the first match with its groups.",
            find_groups,
        ),
        function(
            "test",
            &[TEXT],
            &[gives(Type::Boolean, "Whether there is a match.")],
            "Whether the text has a match.",
            test,
        ),
        function(
            "find",
            &[TEXT, optional("from", Type::Integer, "Where to begin, 1 if left out.")],
            &[may_give(Type::List(&Type::Integer), "First and last place in octets; nil if there is no match.")],
            "Finds where the first match is.",
            find,
        ),
        function(
            "replace",
            &[
                TEXT,
                param("by", Type::String, "`$1` and `${name}` stand for groups, `$$` for a dollar."),
                optional("limit", Type::Integer, "Most replacements; all, if left out."),
            ],
            &[gives(Type::String, "The text with the matches replaced.")],
            "Replaces matches.",
            replace,
        ),
    ],
}];

pub(super) static RE: Module = Module {
    name: "re",
    doc: "Regular expressions of Rust's crate `regex`: the time of a match grows with the text and never explodes; there are \
          no look-around and no back-references. Texts are octets.",
    capability: None,
    fields: &[],
    functions: &[function(
        "compile",
        &[param("pattern", Type::String, "At most 1 KiB; `(?i)` at its beginning ignores case.")],
        &[gives(Type::Class("Pattern"), "The same pattern is compiled once.")],
        "Compiles a pattern. Do it at the top of the file.",
        compile,
    )
    .fails("A pattern that is none, or is too large; more than 64 patterns.")],
};

struct Sized {
    regex: Regex,
    longest: usize,
}

/// The patterns that one VM has compiled.
#[derive(Default)]
pub(super) struct Patterns(BTreeMap<String, Rc<Sized>>);

struct Pattern(Rc<Sized>);

impl UserData for Pattern {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        super::add_methods("Pattern", methods);
    }
}

fn compile(call: &Call<'_>) -> mlua::Result<Value> {
    let pattern = call.text(0)?;
    if pattern.len() > MAX_PATTERN {
        return Err(refused(format!("the pattern has more than {MAX_PATTERN} octets")));
    }
    let mut patterns = call.guest.patterns.borrow_mut();
    let compiled = match patterns.0.get(&pattern) {
        Some(compiled) => compiled.clone(),
        None if patterns.0.len() >= MAX_PATTERNS => {
            return Err(refused(format!("there are {MAX_PATTERNS} patterns already; compile at the top of the file")));
        }
        None => {
            let compiled = Rc::new(build(&pattern)?);
            patterns.0.insert(pattern, compiled.clone());
            compiled
        }
    };
    call.lua.create_userdata(Pattern(compiled)).map(Value::UserData)
}

fn build(pattern: &str) -> mlua::Result<Sized> {
    let mut last = None;
    for (size, longest) in SIZES {
        let mut builder = RegexBuilder::new(pattern);
        match builder.size_limit(size).dfa_size_limit(256 << 10).nest_limit(50).build() {
            Ok(regex) => return Ok(Sized { regex, longest }),
            Err(why @ regex::Error::CompiledTooBig(_)) => last = Some(why),
            // The library draws the pattern with an arrow; the last line is the reason.
            Err(why) => {
                let why = why.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                return Err(refused(format!("{pattern:?} is no pattern: {why}")));
            }
        }
    }
    let why = last.map(|why| why.to_string()).unwrap_or_default();
    Err(refused(format!("{pattern:?} is too large: {why}")))
}

/// The pattern and the text of a call.
fn with<T>(call: &Call<'_>, act: impl FnOnce(&Regex, &[u8]) -> mlua::Result<T>) -> mlua::Result<T> {
    let Value::UserData(object) = call.value(0) else { return Err(refused("call it with a colon")) };
    let pattern = object.borrow::<Pattern>().map_err(|_| refused("call it on a pattern, with a colon"))?;
    let text = call.octets(1, pattern.0.longest)?;
    act(&pattern.0.regex, &text)
}

fn find_groups(call: &Call<'_>) -> mlua::Result<Value> {
    with(call, |regex, text| {
        let Some(found) = regex.captures(text) else { return Ok(Value::Nil) };
        let groups = call.lua.create_table()?;
        for (index, group) in found.iter().enumerate() {
            if let Some(group) = group {
                groups.raw_set(index, call.lua.create_string(group.as_bytes())?)?;
            }
        }
        for name in regex.capture_names().flatten() {
            if let Some(group) = found.name(name) {
                groups.raw_set(name, call.lua.create_string(group.as_bytes())?)?;
            }
        }
        Ok(Value::Table(groups))
    })
}

fn test(call: &Call<'_>) -> mlua::Result<Value> {
    with(call, |regex, text| Ok(Value::Boolean(regex.is_match(text))))
}

fn find(call: &Call<'_>) -> mlua::Result<Value> {
    let from = match call.given(2) {
        None => 0,
        Some(value) => match value.as_usize() {
            Some(from) if from >= 1 => from - 1,
            _ => return Err(refused("from counts from 1")),
        },
    };
    with(call, |regex, text| {
        let found = if from <= text.len() { regex.find_at(text, from) } else { None };
        match found {
            Some(found) => call.lua.create_sequence_from([found.start() + 1, found.end()]).map(Value::Table),
            None => Ok(Value::Nil),
        }
    })
}

fn replace(call: &Call<'_>) -> mlua::Result<Value> {
    let by = call.octets(2, MAX_RESULT)?;
    let limit = match call.given(3) {
        None => usize::MAX,
        Some(value) => value.as_usize().ok_or_else(|| refused("limit is a whole number from 0"))?,
    };
    with(call, |regex, text| {
        let (mut result, mut end) = (Vec::new(), 0);
        for found in regex.captures_iter(text).take(limit) {
            let Some(whole) = found.get(0) else { continue };
            result.extend_from_slice(text.get(end..whole.start()).unwrap_or_default());
            found.expand(&by, &mut result);
            end = whole.end();
            if result.len() > MAX_RESULT {
                return Err(refused(format!("the result has more than {MAX_RESULT} octets")));
            }
        }
        result.extend_from_slice(text.get(end..).unwrap_or_default());
        call.create_string(result)
    })
}
