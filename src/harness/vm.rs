//! The VM of a test file: the language without files and processes, more time and memory than a policy has, and `test`.
//!
//! A file is run anew for every test in it, so that no test sees what another left behind.

use super::bind::T;
use super::case::Case;
use super::report::TestReport;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::lua::narrow;
use mlua::{Error, Function, Lua, Value, VmState};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

const MEMORY: usize = 64 << 20;
/// Time that the top level of a test file has.
const LOAD: Duration = Duration::from_secs(1);
const MAX_TESTS: usize = 10_000;
/// Lines that one test may print.
const MAX_OUTPUT: usize = 200;

/// A test file in memory.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// As it stands in messages.
    pub name: String,
    pub text: String,
}

/// A test that a file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) line: u32,
}

/// When the time is up, and where it was.
struct Deadline {
    until: Cell<Instant>,
    place: RefCell<Option<String>>,
}

struct Loaded {
    tests: Vec<(Declared, Function)>,
    lua: Lua,
    deadline: Rc<Deadline>,
    output: Rc<RefCell<Vec<String>>>,
}

/// The tests of a file, in order.
pub(super) fn declared(file: &TestFile) -> Result<Vec<Declared>, Diagnostic> {
    load(file).map(|loaded| loaded.tests.into_iter().map(|(test, _)| test).collect())
}

/// Runs the test at `index` of the file.
pub(super) fn run(file: &TestFile, index: usize, case: Rc<Case>, limit: Duration) -> TestReport {
    let start = Instant::now();
    let until = start.checked_add(limit).unwrap_or(start);
    let (test, failure, output) = match load(file) {
        Err(fault) => (None, Some(fault), Vec::new()),
        Ok(Loaded { mut tests, lua, deadline, output }) => {
            if index >= tests.len() {
                let fault = Diagnostic::new(&file.name, None, "the file does not declare the same tests every time");
                (None, Some(fault), Vec::new())
            } else {
                let (test, function) = tests.swap_remove(index);
                deadline.until.set(until);
                case.begin(until);
                let outcome = function.call::<()>(T::new(case));
                let late = Instant::now() >= until;
                let late = late.then(|| (limit, deadline.place.take()));
                let failure = outcome.err().map(|error| fault_of(file, &lua, &error, late, test.line));
                (Some(test), failure, output.take())
            }
        }
    };
    let (name, line) = test.map_or_else(|| (format!("test {}", index + 1), 1), |test| (test.name, test.line));
    TestReport { name, line, time: start.elapsed(), failure, output }
}

fn load(file: &TestFile) -> Result<Loaded, Diagnostic> {
    let deadline = Rc::new(Deadline { until: Cell::new(Instant::now() + LOAD), place: RefCell::default() });
    let output: Rc<RefCell<Vec<String>>> = Rc::default();
    let tests: Rc<RefCell<Vec<(Declared, Function)>>> = Rc::default();
    let lua = bare(&deadline, &output, &tests).map_err(|error| Diagnostic::new(&file.name, None, describe(&error)))?;
    let chunk = lua.load(&file.text).set_name(format!("@{}", file.name)).set_mode(mlua::chunk::ChunkMode::Text);
    let outcome = chunk.exec();
    let late = (Instant::now() >= deadline.until.get()).then(|| (LOAD, deadline.place.take()));
    outcome.map_err(|error| fault_of(file, &lua, &error, late, 1))?;
    let tests = tests.take();
    if tests.is_empty() {
        let fault = Diagnostic::new(&file.name, None, "no test in this file");
        return Err(fault.hint("declare one: test(\"name\", function(t) … end)"));
    }
    Ok(Loaded { tests, lua, deadline, output })
}

fn bare(
    deadline: &Rc<Deadline>,
    output: &Rc<RefCell<Vec<String>>>,
    tests: &Rc<RefCell<Vec<(Declared, Function)>>>,
) -> mlua::Result<Lua> {
    let lua = narrow()?;
    let globals = lua.globals();
    let lines = output.clone();
    let print = lua.create_function(move |_, values: mlua::Variadic<Value>| {
        let words: Vec<String> = values
            .iter()
            .map(|value| match value {
                Value::String(text) => String::from_utf8_lossy(&text.as_bytes()).into_owned(),
                other => crate::policy::lua::show(other),
            })
            .collect();
        let mut lines = lines.borrow_mut();
        if lines.len() < MAX_OUTPUT {
            lines.push(words.join("\t").chars().filter(|c| !c.is_control() || *c == '\t').take(1000).collect());
        }
        Ok(())
    })?;
    globals.set("print", print)?;
    let declared = tests.clone();
    let test = lua.create_function(move |lua, (name, function): (String, Function)| {
        let mut declared = declared.borrow_mut();
        if declared.len() >= MAX_TESTS {
            return Err(located(lua, "too many tests in one file"));
        }
        if declared.iter().any(|(test, _)| test.name == name) {
            return Err(located(lua, &format!("there is a test {name:?} already")));
        }
        let line = place(lua).and_then(|place| place.rsplit(':').next()?.parse().ok()).unwrap_or(1);
        declared.push((Declared { name, line }, function));
        Ok(())
    })?;
    globals.set("test", test)?;
    lua.set_memory_limit(MEMORY)?;
    lua.sandbox(true)?;
    let deadline = deadline.clone();
    lua.set_interrupt(move |lua| {
        if Instant::now() < deadline.until.get() {
            return Ok(VmState::Continue);
        }
        let mut known = deadline.place.borrow_mut();
        if known.is_none() {
            *known = place(lua);
        }
        Err(Error::runtime("the time is up"))
    });
    Ok(lua)
}

/// The error as something to show: where, why, and the line.
fn fault_of(
    file: &TestFile,
    lua: &Lua,
    error: &Error,
    late: Option<(Duration, Option<String>)>,
    otherwise: u32,
) -> Diagnostic {
    let why = describe(error);
    let fault = match late {
        Some((limit, place)) => {
            let line = place.and_then(|place| place.rsplit(':').next()?.parse().ok()).unwrap_or(otherwise);
            Diagnostic::new(&file.name, Some(line), format!("not done within {} ms", limit.as_millis()))
                .hint("--timeout gives a test more")
        }
        None => Diagnostic::parse(&why, &file.name),
    };
    let fault = if fault.line.is_none() { Diagnostic { line: line_in(error, &file.name), ..fault } } else { fault };
    let fault = if fault.line.is_none() { Diagnostic { line: Some(otherwise), ..fault } } else { fault };
    let fault = if fault.file == file.name { fault.in_text(&file.text) } else { fault };
    missing_global(lua, fault)
}

/// "attempt to call a nil value" in a line with a name that is nearly a global.
fn missing_global(lua: &Lua, fault: Diagnostic) -> Diagnostic {
    let is_nil_call = fault.reason.starts_with("attempt to call a nil value");
    let Some(line) = fault.source.clone().filter(|_| is_nil_call && fault.hint.is_none()) else { return fault };
    let globals = lua.globals();
    let mut names: Vec<String> = vec!["test".to_owned(), "print".to_owned()];
    names.extend(T::METHODS.iter().map(|name| (*name).to_owned()));
    for word in line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| word.len() > 2) {
        let known = names.iter().any(|name| name == word) || globals.contains_key(word).unwrap_or(true);
        if let (false, Some(near)) = (known, crate::policy::diagnostic::nearest(word, names.iter().map(String::as_str)))
        {
            return fault.about(word).hint(format!("did you mean {near}?"));
        }
    }
    fault
}

/// The line of `file` that the error's backtrace has first.
fn line_in(error: &Error, file: &str) -> Option<u32> {
    let trace = match error {
        Error::CallbackError { traceback, .. } => traceback.as_str(),
        Error::RuntimeError(message) => message.as_str(),
        _ => return None,
    };
    trace.lines().find_map(|frame| {
        let rest = frame.trim().strip_prefix(file)?.strip_prefix(':')?;
        rest.get(..rest.bytes().take_while(u8::is_ascii_digit).count())?.parse().ok()
    })
}

/// The reason of an error without the runtime's wrapping and backtrace.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::CallbackError { cause, .. } | Error::WithContext { cause, .. } => describe(cause),
        Error::BadArgument { cause, .. } => describe(cause),
        Error::RuntimeError(message) | Error::SyntaxError { message, .. } => {
            message.split("\nstack traceback").next().unwrap_or_default().to_owned()
        }
        Error::MemoryError(_) => format!("more than {} MB of memory", MEMORY >> 20),
        other => other.to_string(),
    }
}

/// `file:line` of the innermost Lua function that runs.
fn place(lua: &Lua) -> Option<String> {
    (0..8).find_map(|level| {
        lua.inspect_stack(level, |frame| {
            let line = frame.current_line()?;
            let source = frame.source();
            // Not mlua's own helpers, only what came from a file.
            let file = source.source.as_deref()?.strip_prefix('@')?;
            Some(format!("{file}:{line}"))
        })
        .flatten()
    })
}

/// An error of one of our functions, at the place in the test that called it.
pub(super) fn located(lua: &Lua, why: &str) -> Error {
    match place(lua) {
        Some(place) => Error::runtime(format!("{place}: {why}")),
        None => Error::runtime(why),
    }
}
