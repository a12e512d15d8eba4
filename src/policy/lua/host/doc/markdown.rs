//! The reference page.

use super::super::table::{Class, Function, MODULES, Module, Param, Role, Type, When, classes};
use super::WRITTEN_BY;
use std::fmt::Write;

const INTRODUCTION: &str = "\
What a policy or plugin can call, and what its stages are given. `ims`, `log`, `plugin`, `time`, `random`, `re`, `json`, \
`base64`, `hex`, `hash` and `hmac` are always there; the others need a line under `[capabilities]` in `plugin.toml` (the \
operator's own policy file has all but `http`), and using one without it raises an error that names the line.

Arguments are checked: what is of another type raises an error with the file, the line, what was found and what is \
expected. Stages are synchronous. What has to wait (`http`, `hss`, an acknowledged write) takes a function that is called \
later, on the same worker and under the same deadline as a stage; it may be asked for where nobody waits for a verdict \
(`setup`, `status`, `finish`, timers, callbacks), is begun only if that call returns without an error, and ends with the \
generation. Results reach the stages through `shared` or through locals of the file. Each worker has a VM of its own: \
locals are a worker's, `shared` and `store` are the node's.
";

pub(super) fn text() -> String {
    let mut text = format!("<!-- {WRITTEN_BY} -->\n# Host API\n\n{INTRODUCTION}\n");
    text.push_str("| global | capability | |\n|---|---|---|\n");
    for module in MODULES {
        let line = module.capability.map_or_else(|| "always".to_owned(), |name| format!("`{}`", line(name)));
        let first = module.doc.split_inclusive('.').next().unwrap_or_default().trim_end_matches(':');
        let _ = writeln!(text, "| [`{0}`](#{0}) | {line} | {first} |", module.name);
    }
    text.push_str("\n# Modules\n");
    MODULES.iter().for_each(|module| write_module(&mut text, module));
    text.push_str("\n# Types\n");
    classes().for_each(|class| write_class(&mut text, class));
    text
}

/// The line of a manifest.
fn line(capability: &str) -> String {
    match capability {
        "http" => "http = [\"https://host\"]".to_owned(),
        capability => format!("{capability} = true"),
    }
}

fn write_module(text: &mut String, module: &Module) {
    let _ = write!(text, "\n## {}\n\n{}\n", module.name, module.doc);
    if let Some(capability) = module.capability {
        let _ = write!(text, "\nCapability: `{}`.\n", line(capability));
    }
    write_fields(text, module.fields);
    for function in module.functions {
        write_function(text, &format!("{}.", module.name), function);
    }
}

fn write_class(text: &mut String, class: &Class) {
    let _ = write!(text, "\n## {}\n\n{}\n", class.name, class.doc);
    if class.role == Role::View {
        text.push_str("\nReadable until the stage returns.\n");
    }
    write_fields(text, class.fields);
    for method in class.methods {
        write_function(text, ":", method);
    }
}

fn write_fields(text: &mut String, fields: &[Param]) {
    if fields.is_empty() {
        return;
    }
    text.push_str("\n| field | type | |\n|---|---|---|\n");
    for field in fields {
        let _ = writeln!(text, "| `{}` | {} | {} |", field.name, cell(&field.kind, field.optional), field.doc);
    }
}

fn write_function(text: &mut String, owner: &str, function: &Function) {
    let names: Vec<_> = function
        .params
        .iter()
        .map(|param| if param.optional { format!("{}?", param.name) } else { param.name.to_owned() })
        .collect();
    let _ = write!(text, "\n### `{owner}{}({})`\n\n{}\n", function.name, names.join(", "), function.doc);
    if !function.params.is_empty() {
        text.push_str("\n| parameter | type | |\n|---|---|---|\n");
        for param in function.params {
            let _ = writeln!(text, "| `{}` | {} | {} |", param.name, cell(&param.kind, param.optional), param.doc);
        }
    }
    text.push('\n');
    for returned in function.returns {
        let _ = writeln!(text, "* Returns {}: {}", cell(&returned.kind, returned.optional), returned.doc);
    }
    if function.when != When::Anywhere {
        let _ = writeln!(text, "* Only in {}.", function.when.as_str());
    }
    if !function.errors.is_empty() {
        let _ = writeln!(text, "* Errors: {}", function.errors);
    }
    let _ = writeln!(text, "* Since api {}.", function.since);
}

/// A type in a cell of a table.
fn cell(kind: &Type, optional: bool) -> String {
    let or_nil = if optional { " or nil" } else { "" };
    format!("{}{or_nil}", name(kind))
}

fn name(kind: &Type) -> String {
    match kind {
        Type::String => "string".to_owned(),
        Type::Number => "number".to_owned(),
        Type::Integer => "integer".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Any => "any".to_owned(),
        Type::Storable => "string, number, boolean or table".to_owned(),
        Type::Words(words) => words.iter().map(|word| format!("`{word:?}`")).collect::<Vec<_>>().join(", "),
        Type::List(of) => format!("list of {}", name(of)),
        Type::Map(of) => format!("table of {}", name(of)),
        Type::Class(class) => format!("[{class}](#{})", class.to_ascii_lowercase()),
        Type::Function(params, returns) => {
            let params: Vec<_> = params.iter().map(|param| param.name).collect();
            let returns: Vec<_> = returns.iter().map(|returned| cell(&returned.kind, returned.optional)).collect();
            let arrow = if returns.is_empty() { String::new() } else { format!(" giving {}", returns.join(", ")) };
            format!("`function({})`{arrow}", params.join(", "))
        }
        Type::Either(kinds) => kinds.iter().map(name).collect::<Vec<_>>().join(" or "),
    }
}
