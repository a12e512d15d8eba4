//! Standard library file for selene.

use super::super::table::{Class, Function, MODULES, Param, Role, Type, When, classes};
use super::WRITTEN_BY;
use std::fmt::Write;

pub(super) fn text() -> String {
    let mut text = format!("# {WRITTEN_BY}\n---\nbase: luau\nname: imscript\nglobals:\n");
    // The sandbox has none of these.
    for name in [
        "collectgarbage",
        "debug",
        "dofile",
        "getfenv",
        "load",
        "loadfile",
        "loadstring",
        "newproxy",
        "os",
        "print",
        "setfenv",
    ] {
        let _ = writeln!(text, "  {name}:\n    removed: true");
    }
    for module in MODULES {
        for field in module.fields {
            let _ = writeln!(text, "  {}.{}:\n    property: read-only", module.name, field.name);
        }
        for function in module.functions {
            let _ = writeln!(text, "  {}.{}:", module.name, function.name);
            write_arguments(&mut text, function);
        }
    }
    // In test files only, but it knows one kind of file.
    text.push_str("  test:\n    args:\n      - type: string\n      - type: function\n");
    text.push_str("structs:\n");
    for class in classes().filter(|class| matches!(class.role, Role::View | Role::Handle)) {
        write_class(&mut text, class);
    }
    text
}

fn write_arguments(text: &mut String, function: &Function) {
    if function.params.is_empty() {
        text.push_str("    args: []\n");
        return;
    }
    text.push_str("    args:\n");
    let left_out = function.left_out();
    for (at, Param { kind, optional, .. }) in function.params.iter().enumerate() {
        // It knows no two forms of a function: what may stand in the other's place is anything, and the last may be missing.
        if left_out == Some(at) {
            text.push_str("      - type: any\n        required: false\n");
            continue;
        }
        match kind {
            Type::Words(words) => {
                text.push_str("      - type:\n");
                words.iter().for_each(|word| {
                    let _ = writeln!(text, "          - {word}");
                });
            }
            kind => {
                let _ = writeln!(text, "      - type: {}", name(kind));
            }
        }
        if *optional || left_out.is_some_and(|left_out| left_out + 1 == at) {
            text.push_str("        required: false\n");
        }
    }
    if function.when == When::Anywhere && !function.returns.is_empty() {
        text.push_str("    must_use: true\n");
    }
}

fn write_class(text: &mut String, class: &Class) {
    if class.fields.is_empty() && class.methods.is_empty() {
        return;
    }
    let _ = writeln!(text, "  {}:", class.name);
    for field in class.fields {
        let _ = writeln!(text, "    {}:\n      property: read-only", field.name);
    }
    for method in class.methods {
        let _ = writeln!(text, "    {}:\n      method: true", method.name);
        let mut arguments = String::new();
        write_arguments(&mut arguments, method);
        for line in arguments.lines().filter(|line| !line.contains("must_use")) {
            let _ = writeln!(text, "  {line}");
        }
    }
}

fn name(kind: &Type) -> &'static str {
    match kind {
        Type::String => "string",
        Type::Number | Type::Integer => "number",
        Type::Boolean => "bool",
        Type::List(_) | Type::Map(_) | Type::Class(_) => "table",
        Type::Function(..) => "function",
        Type::Any | Type::Storable | Type::Words(_) | Type::Either(_) => "any",
    }
}
