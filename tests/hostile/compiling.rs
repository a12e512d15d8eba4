//! Texts that a compiler may choke on. They are long and say nothing, so they are written here and not in files.

use imscript::policy::lua::{LuaPolicy, PolicySource};
use std::time::{Duration, Instant};

/// Name and text, each below the limit on a policy's length except where the name says otherwise.
fn texts() -> Vec<(&'static str, String)> {
    let nest = |open: &str, middle: &str, close: &str, n: usize| {
        format!("return {{ version = function() return {}{middle}{} end }}", open.repeat(n), close.repeat(n))
    };
    let rows = |n: usize, row: &dyn Fn(usize) -> String| (0..n).map(row).collect::<String>();
    vec![
        ("parentheses", nest("(", "1", ")", 100_000)),
        ("tables in tables", nest("{", "", "}", 100_000)),
        ("functions in functions", nest("(function() return ", "1", " end)", 9_000)),
        ("calls of calls", nest("f(", "1", ")", 80_000)),
        ("minus minus", nest("- ", "1", "", 100_000)),
        ("not not", nest("not ", "1", "", 50_000)),
        ("powers", nest("2 ^ ", "1", "", 60_000)),
        ("concatenations", nest("'x' .. ", "'x'", "", 36_000)),
        ("types", format!("local x: {}number{} = 1 return {{}}", "{".repeat(100_000), "}".repeat(100_000))),
        ("optional types", format!("local x: number{} = 1 return {{}}", "?".repeat(200_000))),
        ("interpolations", nest("`{", "1", "}`", 60_000)),
        ("blocks", format!("{} {} return {{}}", "do ".repeat(40_000), "end ".repeat(40_000))),
        ("elseif", format!("local x if x then {} end return {{}}", "elseif x then ".repeat(18_000))),
        ("if expressions", format!("local x return {{ {} 1 }}", "if x then 1 else ".repeat(15_000))),
        ("locals", format!("{} return {{}}", rows(300, &|n| format!("local a{n} = {n}\n")))),
        ("upvalues", format!("{} return {{}}", rows(20_000, &|n| format!("function f{n}() end ")))),
        ("constants", format!("local t = {{ {} }} return {{}}", rows(30_000, &|n| format!("'k{n}',")))),
        ("entries", format!("local t = {{ {} }} return {{}}", "1,".repeat(125_000))),
        ("arguments", format!("pcall({}1) return {{}}", "1,".repeat(125_000))),
        ("assignments", format!("{} return {{}}", "x = x ".repeat(40_000))),
        ("statements", format!("{} return {{}}", ";".repeat(250_000))),
        ("long string", format!("local s = [[{}]] return {{}}", "x".repeat(250_000))),
        ("long name", format!("local {} = 1 return {{}}", "x".repeat(250_000))),
        ("long comment", format!("--[==[{}\nreturn {{}}", "x".repeat(250_000))),
        ("escapes", format!("local s = '{}' return {{}}", "\\z \\u{10FFFF}".repeat(18_000))),
        ("number", format!("return {{ version = {} }}", "9".repeat(250_000))),
        ("bytecode", "\u{1b}LuaS\0\u{19}\r\n\u{1a}\n".to_owned()),
        ("bytecode of Luau", "\u{6}\u{3}\0\0\0\0\0".to_owned()),
        ("zeros", "\0".repeat(250_000)),
        ("too long", "-".repeat(300_000)),
    ]
}

/// The compiler cannot be stopped, so no text of the permitted length may keep it for long; and it ends with a
/// reason or a policy, not with the process. A debug build has ten times as long as a release build needs.
#[test]
fn no_text_keeps_the_compiler() {
    for (name, text) in texts() {
        let started = Instant::now();
        let outcome = LuaPolicy::load(&PolicySource::new("bomb.lua", text));
        let took = started.elapsed();
        let outcome = match outcome {
            Ok(_) => "loaded".to_owned(),
            Err(error) => error.to_string(),
        };
        println!("{name:24} {:>8.1} ms  {}", took.as_secs_f64() * 1e3, outcome.chars().take(90).collect::<String>());
        assert!(took < Duration::from_secs(5), "{name} took {took:?}");
        assert!(outcome == "loaded" || outcome.starts_with("bomb.lua:"), "{name}: {outcome}");
        assert!(!name.contains("bytecode") || outcome != "loaded", "{name} was loaded");
    }
}
