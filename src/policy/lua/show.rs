//! Lua values as text: what a test expected and got, what the prompt prints.

use mlua::Value;
use std::collections::BTreeMap;

/// How deep tables are followed: one may hold itself.
const DEPTH: usize = 16;
const MAX_SHOWN: usize = 400;

/// A value in one line, as Lua would write it.
pub fn show(value: &Value) -> String {
    let mut text = String::new();
    show_in(value, DEPTH, &mut text);
    if let Some((cut, _)) = text.char_indices().nth(MAX_SHOWN) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

fn show_in(value: &Value, depth: usize, text: &mut String) {
    if text.len() > 4 * MAX_SHOWN {
        return;
    }
    match value {
        Value::Nil => text.push_str("nil"),
        Value::String(string) => text.push_str(&format!("{:?}", String::from_utf8_lossy(&string.as_bytes()))),
        Value::Table(table) => {
            let Some(deeper) = depth.checked_sub(1) else { return text.push('…') };
            let length = table.raw_len();
            let mut named: BTreeMap<String, Value> = BTreeMap::new();
            let mut listed: Vec<Value> = Vec::new();
            let _ = table.for_each(|key: Value, value: Value| {
                match &key {
                    Value::Integer(at) if usize::try_from(*at).is_ok_and(|at| (1..=length).contains(&at)) => {
                        listed.push(value);
                    }
                    Value::Number(at) if at.fract() == 0.0 && (1.0..=length as f64).contains(at) => listed.push(value),
                    Value::String(name) => {
                        named.insert(String::from_utf8_lossy(&name.as_bytes()).into_owned(), value);
                    }
                    other => {
                        named.insert(format!("[{}]", show(other)), value);
                    }
                }
                Ok(())
            });
            text.push('{');
            let mut between = " ";
            for value in &listed {
                text.push_str(between);
                show_in(value, deeper, text);
                between = ", ";
            }
            for (name, value) in &named {
                text.push_str(between);
                text.push_str(name);
                text.push_str(" = ");
                show_in(value, deeper, text);
                between = ", ";
            }
            text.push_str(if between == " " { "}" } else { " }" });
        }
        other => text.push_str(&other.to_string().unwrap_or_else(|_| other.type_name().to_owned())),
    }
}
