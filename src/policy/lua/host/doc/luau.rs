//! Definition file for luau-lsp and luau-analyze.

use super::super::table::{Class, Function, MODULES, Param, Return, Role, Type, classes};
use super::{WRITTEN_BY, said};
use std::fmt::Write;

pub(super) fn text() -> String {
    let mut text = format!("-- {WRITTEN_BY}\n\n");
    for class in classes() {
        write_class(&mut text, class);
    }
    for module in MODULES {
        let _ = write!(text, "--- {}\ndeclare {}: {{\n", module.doc, module.name);
        for field in module.fields {
            write_field(&mut text, field, ",");
        }
        for function in module.functions {
            let _ = write!(text, "\t--- {}\n\t{}: {},\n", said(function), function.name, signature(function));
        }
        text.push_str("}\n\n");
    }
    text.push_str("--- Another file of the same plugin, by its name without `.lua`; run once in each VM.\n");
    text.push_str("declare function require(name: string): any\n\n");
    text.push_str("--- Declares a test; in `*_test.lua` only. docs/testing.md has what `t` can do.\n");
    text.push_str("declare function test(name: string, run: (t: any) -> ()): ()\n");
    text
}

fn signature(function: &Function) -> String {
    let one = |params: &[Param]| format!("({}) -> {}", parameters(params), returned(function.returns));
    match function.shorter() {
        Some(shorter) => format!("({}) & ({})", one(function.params), one(&shorter)),
        None => one(function.params),
    }
}

fn write_class(text: &mut String, class: &Class) {
    let _ = writeln!(text, "--- {}", class.doc);
    if matches!(class.role, Role::Record | Role::Answer) {
        let _ = writeln!(text, "export type {} = {{", class.name);
        class.fields.iter().for_each(|field| write_field(text, field, ","));
        text.push_str("}\n\n");
        return;
    }
    let _ = writeln!(text, "declare class {}", class.name);
    class.fields.iter().for_each(|field| write_field(text, field, ""));
    for method in class.methods {
        let _ = writeln!(text, "\t--- {}", said(method));
        let _ = writeln!(text, "\tfunction {}({}): {}", method.name, own(method), returned(method.returns));
    }
    if class.name == "ServerList" {
        text.push_str("\t[number]: Server\n\tfunction __len(self): number\n");
    }
    text.push_str("end\n\n");
}

fn own(method: &Function) -> String {
    let parameters = parameters(method.params);
    if parameters.is_empty() { "self".to_owned() } else { format!("self, {parameters}") }
}

fn write_field(text: &mut String, field: &Param, end: &str) {
    let _ = writeln!(text, "\t--- {}\n\t{}: {}{end}", field.doc, field.name, or_nil(&field.kind, field.optional));
}

fn parameters(params: &[Param]) -> String {
    let one = |param: &Param| format!("{}: {}", param.name, or_nil(&param.kind, param.optional));
    params.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn returned(returns: &[Return]) -> String {
    match returns {
        [one] => or_nil(&one.kind, one.optional),
        many => {
            let many: Vec<_> = many.iter().map(|one| or_nil(&one.kind, one.optional)).collect();
            format!("({})", many.join(", "))
        }
    }
}

fn or_nil(kind: &Type, optional: bool) -> String {
    match (kind, optional) {
        (_, false) => name(kind),
        (Type::Any, true) => "any".to_owned(),
        (Type::Function(..) | Type::Words(_) | Type::Either(_) | Type::Storable, true) => format!("({})?", name(kind)),
        (_, true) => format!("{}?", name(kind)),
    }
}

fn name(kind: &Type) -> String {
    match kind {
        Type::String => "string".to_owned(),
        Type::Number | Type::Integer => "number".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Any => "any".to_owned(),
        Type::Storable => "string | number | boolean | { [any]: any }".to_owned(),
        Type::Words(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" | "),
        Type::List(of) => format!("{{ {} }}", name(of)),
        Type::Map(of) => format!("{{ [any]: {} }}", name(of)),
        Type::Class(class) => (*class).to_owned(),
        Type::Function(params, returns) => format!("({}) -> {}", parameters(params), returned(returns)),
        Type::Either(kinds) => kinds.iter().map(name).collect::<Vec<_>>().join(" | "),
    }
}
