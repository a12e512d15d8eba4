//! Stubs with annotations for LuaLS and EmmyLua.

use super::super::table::{Class, Function, MODULES, Param, Return, Role, Type, classes};
use super::{WRITTEN_BY, said};
use std::fmt::Write;

pub(super) fn text() -> String {
    let mut text = format!("---@meta imscript\n-- {WRITTEN_BY}\n\n");
    for class in classes() {
        write_class(&mut text, class);
    }
    for module in MODULES {
        let _ = write!(text, "---{}\n---@class {}lib\n", module.doc, module.name);
        module.fields.iter().for_each(|field| write_field(&mut text, field));
        let _ = write!(text, "{} = {{}}\n\n", module.name);
        for function in module.functions {
            write_function(&mut text, module.name, '.', function);
        }
    }
    text.push_str("---Another file of the same plugin, by its name without `.lua`; run once in each VM.\n");
    text.push_str("---@param name string\n---@return any\nfunction require(name) end\n\n");
    text.push_str("---Declares a test; in `*_test.lua` only. docs/testing.md has what `t` can do.\n");
    text.push_str("---@param name string\n---@param run fun(t: any)\nfunction test(name, run) end\n\n");
    text.push_str(LUAU);
    text
}

/// What Luau's library has beyond Lua's, as far as plugins use it: these programs know Lua only.
const LUAU: &str = "\
---@param s string
---@param separator? string
---@return string[]
function string.split(s, separator) end

---@generic T
---@param t T
---@return T
function table.freeze(t) end

---@generic T
---@param t T
---@return T
function table.clone(t) end

---@param t table
---@param value any
---@param from? integer
---@return integer?
function table.find(t, value, from) end

---@param count integer
---@param value? any
---@return table
function table.create(count, value) end

---@param x number
---@param least number
---@param most number
---@return number
function math.clamp(x, least, most) end

---@param x number
---@return integer
function math.round(x) end
";

fn write_class(text: &mut String, class: &Class) {
    let _ = write!(text, "---{}\n---@class {}\n", class.doc, class.name);
    class.fields.iter().for_each(|field| write_field(text, field));
    if class.name == "ServerList" {
        text.push_str("---@field [integer] Server\n");
    }
    if class.methods.is_empty() {
        text.push('\n');
        return;
    }
    // A local of the class's name gives its methods a place; nobody sees it.
    debug_assert!(matches!(class.role, Role::View | Role::Handle));
    let _ = write!(text, "local {} = {{}}\n\n", class.name);
    for method in class.methods {
        write_function(text, class.name, ':', method);
    }
}

fn write_function(text: &mut String, owner: &str, dot: char, function: &Function) {
    let _ = writeln!(text, "---{}", said(function));
    for param in function.params {
        let _ = writeln!(
            text,
            "---@param {}{} {} {}",
            param.name,
            if param.optional { "?" } else { "" },
            name(&param.kind),
            param.doc
        );
    }
    for returned in function.returns {
        let _ = writeln!(text, "---@return {} # {}", or_nil(returned), returned.doc);
    }
    if let Some(params) = function.shorter() {
        let one = |param: &Param| format!("{}: {}", param.name, name(&param.kind));
        let _ = writeln!(text, "---@overload fun({})", params.iter().map(one).collect::<Vec<_>>().join(", "));
    }
    let names: Vec<_> = function.params.iter().map(|param| param.name).collect();
    let _ = write!(text, "function {owner}{dot}{}({}) end\n\n", function.name, names.join(", "));
}

fn write_field(text: &mut String, field: &Param) {
    let mark = if field.optional { "?" } else { "" };
    let _ = writeln!(text, "---@field {}{mark} {} {}", field.name, name(&field.kind), field.doc);
}

fn or_nil(returned: &Return) -> String {
    let name = name(&returned.kind);
    match returned.optional {
        true if name.contains('|') => format!("({name})?"),
        true => format!("{name}?"),
        false => name,
    }
}

fn name(kind: &Type) -> String {
    match kind {
        Type::String => "string".to_owned(),
        Type::Number => "number".to_owned(),
        Type::Integer => "integer".to_owned(),
        Type::Boolean => "boolean".to_owned(),
        Type::Any => "any".to_owned(),
        Type::Storable => "string|number|boolean|table".to_owned(),
        Type::Words(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join("|"),
        Type::List(of) => match name(of) {
            name if name.contains('|') => format!("({name})[]"),
            name => format!("{name}[]"),
        },
        Type::Map(of) => format!("table<any, {}>", name(of)),
        Type::Class(class) => (*class).to_owned(),
        Type::Function(params, returns) => {
            let one = |param: &Param| {
                format!("{}{}: {}", param.name, if param.optional { "?" } else { "" }, name(&param.kind))
            };
            let params: Vec<_> = params.iter().map(one).collect();
            let returns: Vec<_> = returns.iter().map(or_nil).collect();
            let arrow = if returns.is_empty() { String::new() } else { format!(": {}", returns.join(", ")) };
            format!("fun({}){arrow}", params.join(", "))
        }
        Type::Either(kinds) => kinds.iter().map(name).collect::<Vec<_>>().join("|"),
    }
}
