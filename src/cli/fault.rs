//! How a verb that fails says so: with the line of the file that is at fault, or as JSON for a program.

use super::in_one_line;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::lua::PolicySource;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// For standard error: each line `file:line: reason` with the line that it is about.
pub(super) fn shown(error: &anyhow::Error) -> String {
    let message = in_one_line(error);
    let lines = message.lines().map(|line| in_file(line).map_or_else(|| line.to_owned(), |fault| fault.to_string()));
    lines.collect::<Vec<_>>().join("\n")
}

/// With `--json` a failure is JSON too, on standard output.
pub(super) fn in_json(done: anyhow::Result<ExitCode>, json: bool) -> anyhow::Result<ExitCode> {
    match done {
        Err(error) if json => {
            print_json(&error);
            Ok(ExitCode::FAILURE)
        }
        done => done,
    }
}

pub(super) fn print_json(error: &anyhow::Error) {
    let message = in_one_line(error);
    let faults: Vec<Diagnostic> = message.lines().filter_map(in_file).collect();
    println!("{:#}", json!({ "error": message, "faults": faults }));
}

/// A line of a message that begins with the name of a file that can be read, perhaps with a line of it.
fn in_file(line: &str) -> Option<Diagnostic> {
    let fault = Diagnostic::parse(line, "");
    let fault = match fault.line {
        Some(_) => fault,
        None => {
            let (file, reason) = line.split_once(": ")?;
            Diagnostic::new(file, None, reason)
        }
    };
    // What was being done may stand before the file.
    let names = [Some(fault.file.as_str()), fault.file.rsplit_once(": ").map(|(_, file)| file)];
    let source = names.into_iter().flatten().find_map(|name| PolicySource::read(Path::new(name)).ok())?;
    Some(Diagnostic { file: source.name, ..fault }.in_text(&source.text))
}
