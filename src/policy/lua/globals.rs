//! Which globals a text reads and writes, and on which lines: for the checks at load (rank 3).
//!
//! The compiler knows scopes, types and comments better than any scan of the text could, so this reads what it has
//! made: the text is compiled once more without optimisation, where every global is named by an instruction of its
//! own. The format is that of one version of Luau; a test here fails when a newer one changes it.

use super::PolicyError;
use super::source::PolicySource;
use mlua::chunk::Compiler;
use std::collections::BTreeSet;

/// Luau's bytecode and type versions that are understood (LBC_VERSION_TARGET, LBC_TYPE_VERSION_TARGET).
const VERSION: u8 = 9;
const TYPE_VERSION: u8 = 3;

const GETGLOBAL: u8 = 7;
const SETGLOBAL: u8 = 8;
/// Instructions that are followed by a word of data.
const WITH_DATA: [u8; 30] = [
    7, 8, 12, 15, 16, 20, 27, 28, 29, 30, 31, 32, 53, 55, 58, 60, 66, 74, 75, 77, 78, 79, 80, 83, 84, 85, 86, 87, 88,
    90,
];

/// One place where a global is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlobalUse {
    pub line: usize,
    pub name: String,
    /// It is assigned to.
    pub written: bool,
    /// Within a function: not while the file is loaded, except for what loading calls.
    pub nested: bool,
}

/// The globals of a text in the order of its lines.
pub fn globals(source: &PolicySource) -> Result<Vec<GlobalUse>, PolicyError> {
    let compiler = Compiler::new().set_optimization_level(0).set_debug_level(1);
    let code = source.compile_with(&compiler)?;
    let uses = Reader { rest: &code }.uses();
    uses.map(|uses| uses.into_iter().collect()).ok_or_else(|| PolicyError::Load {
        why: format!("{}: compiled in a form that the check of globals does not know", source.name),
    })
}

/// What is left of the bytecode. Every read may fail; nothing is indexed.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// Seven bits an octet, the least significant first.
    fn count(&mut self) -> Option<usize> {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let octet = self.byte()?;
            value |= u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return usize::try_from(value).ok();
            }
        }
        None
    }

    fn uses(mut self) -> Option<BTreeSet<GlobalUse>> {
        if self.byte()? != VERSION || self.byte()? != TYPE_VERSION {
            return None;
        }
        let strings: Vec<&[u8]> = (0..self.count()?).map(|_| self.string()).collect::<Option<_>>()?;
        while self.byte()? != 0 {
            self.count()?; // a userdata type that has a name
        }
        let mut uses = BTreeSet::new();
        let functions = self.count()?;
        for number in 1..=functions {
            // The file itself is compiled last.
            self.function(&strings, number < functions, &mut uses)?;
        }
        Some(uses)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        self.take(length)
    }

    fn function(&mut self, strings: &[&[u8]], nested: bool, uses: &mut BTreeSet<GlobalUse>) -> Option<()> {
        self.take(5)?; // stack, parameters, upvalues, varargs, flags
        let types = self.count()?;
        self.take(types)?;
        let code: Vec<u32> = (0..self.count()?).map(|_| self.word()).collect::<Option<_>>()?;
        let constants: Vec<Option<usize>> = (0..self.count()?).map(|_| self.constant()).collect::<Option<_>>()?;
        for _ in 0..self.count()? {
            self.count()?; // functions within
        }
        self.count()?; // line of the definition
        self.count()?; // name
        let lines = if self.byte()? == 1 { self.lines(code.len())? } else { Vec::new() };
        if self.byte()? == 1 {
            self.names()?;
        }
        let mut at = 0;
        while let Some(instruction) = code.get(at) {
            let [operation, ..] = instruction.to_le_bytes();
            if matches!(operation, GETGLOBAL | SETGLOBAL) {
                let constant = usize::try_from(*code.get(at + 1)?).ok()?;
                // A string's number counts from 1.
                let name = strings.get((*constants.get(constant)?)?.checked_sub(1)?)?;
                uses.insert(GlobalUse {
                    line: lines.get(at).copied().unwrap_or_default(),
                    name: String::from_utf8_lossy(name).into_owned(),
                    written: operation == SETGLOBAL,
                    nested,
                });
            }
            at += if WITH_DATA.contains(&operation) { 2 } else { 1 };
        }
        Some(())
    }

    /// The number of the string, where a constant is one.
    fn constant(&mut self) -> Option<Option<usize>> {
        match self.byte()? {
            0 => {}
            1 => drop(self.take(1)?),
            2 => drop(self.take(8)?),
            3 => return self.count().map(Some),
            4 => drop(self.take(4)?),
            5 => {
                for _ in 0..self.count()? {
                    self.count()?;
                }
            }
            6 => drop(self.count()?),
            7 => drop(self.take(16)?),
            8 => {
                for _ in 0..self.count()? {
                    self.count()?;
                    self.take(4)?;
                }
            }
            9 => {
                self.take(1)?;
                self.count()?;
            }
            _ => return None,
        }
        Some(None)
    }

    /// The line of each instruction: offsets to a base that holds for some of them at a time.
    fn lines(&mut self, length: usize) -> Option<Vec<usize>> {
        let gap = u32::from(self.byte()?);
        let offsets = self.take(length)?;
        let mut bases = Vec::new();
        let mut base = 0i64;
        for _ in 0..length.checked_sub(1)?.checked_shr(gap)? + 1 {
            base += i64::from(self.word()?.cast_signed());
            bases.push(base);
        }
        let mut offset = 0u8;
        let mut lines = Vec::with_capacity(length);
        for (at, step) in offsets.iter().enumerate() {
            offset = offset.wrapping_add(*step);
            let base = bases.get(at.checked_shr(gap)?)?;
            lines.push(usize::try_from(base + i64::from(offset)).ok()?);
        }
        Some(lines)
    }

    /// Names of locals and upvalues: not there at this debug level.
    fn names(&mut self) -> Option<()> {
        for _ in 0..self.count()? {
            self.count()?;
            self.count()?;
            self.count()?;
            self.byte()?;
        }
        for _ in 0..self.count()? {
            self.count()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(text: &str) -> Vec<String> {
        let uses = globals(&PolicySource::new("x.lua", text)).unwrap();
        uses.iter().map(|u| format!("{}{}:{}", if u.written { "=" } else { "" }, u.name, u.line)).collect()
    }

    /// Fails when another version of Luau compiles to something else: see the versions above.
    #[test]
    fn globals_with_their_lines() {
        let text = "local http = 1\nlocal function f(store)\n  store = http\n  return shared.get('x'), { timer = hss }\nend\nx = f\n\n\nif y then z() end\nreturn f";
        assert_eq!(uses(text), ["hss:4", "shared:4", "=x:6", "y:9", "z:9"]);
    }

    #[test]
    fn neither_comments_nor_strings_nor_fields_nor_types_are_globals() {
        let text = "-- http.get\n--[[ shared ]]\nlocal t = { http = 'store' }\nlocal function f(a: Request, b: {timer: number}?): Answer\n  return t.http, t.store, (a :: any).hss, `metric {b}`\nend\ntype Request = { x: number }\nreturn f";
        assert_eq!(uses(text), Vec::<String>::new());
    }

    #[test]
    fn what_is_within_a_function_is_told_from_the_top_level() {
        let text = "a = 1\nlocal function f() return function() b = a end end\nc = f";
        let uses = globals(&PolicySource::new("x.lua", text)).unwrap();
        let nested: Vec<&str> = uses.iter().filter(|u| u.nested).map(|u| u.name.as_str()).collect();
        assert_eq!((nested, uses.len()), (vec!["a", "b"], 4));
    }

    #[test]
    fn a_local_hides_a_global_in_its_scope_only() {
        assert_eq!(uses("local http = http\nhttp.get()"), ["http:1"]);
        assert_eq!(uses("do local http = {} http.x = 1 end\nhttp.get()"), ["http:2"]);
        assert_eq!(uses("for store = 1, 2 do print(store) end\nreturn store"), ["print:1", "store:2"]);
    }

    #[test]
    fn every_kind_of_statement_is_stepped_over() {
        let text = r##"
local t, s, n = { 1, 2, a = 3, ["b"] = 4 }, "x", 1.5
for i = 1, 10 do t[i] = i * 2 ^ i // 3 % 7 - i / 2 end
for k, v in pairs(t) do if k == v or k ~= nil and v == "x" and v ~= 2 and v == true then n += 1 end end
while n < 3 and s <= "y" do n = n + 1 if n == nil then break end end
repeat n -= 1 until n <= 0 or not t[1]
local function g(...) local a, b = ... return select("#", ...), a, b, function() return n, t, s end end
t.method = function(self, x) return self:method(x), #t, -n, s .. n .. "z" end
t["long key"], t.a.b = t:method(1, 2, 3), g(1, 2)
local big = { 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20 }
local m = math.max(n, 2, 3), string.sub(s, 1, 2), bit32.band(1, 2)
n, s = if n then 1 else 2, `{n} and {s}`
marker()
return t, big, m
"##;
        let uses = uses(text);
        assert!(uses.contains(&"marker:13".to_owned()) && uses.contains(&"pairs:4".to_owned()), "{uses:?}");
        assert_eq!(uses.len(), 6, "{uses:?}");
    }

    #[test]
    fn many_lines_and_many_constants() {
        let mut text = String::new();
        for i in 0..3000 {
            text.push_str(&format!("local _ = g{i}, {i}.5, 'c{i}'\n\n"));
            if i % 100 == 0 {
                text.push_str("do end\n");
            }
        }
        let text = text.replace("local _", "_x");
        let uses = globals(&PolicySource::new("x.lua", text.as_str())).unwrap();
        let of = |name: &str| uses.iter().find(|u| u.name == name).unwrap().line;
        for i in [0, 1, 999, 2999] {
            let line = text.lines().position(|l| l.contains(&format!("= g{i},"))).unwrap() + 1;
            assert_eq!(of(&format!("g{i}")), line);
        }
    }

    #[test]
    fn cut_bytecode_is_no_answer_and_no_panic() {
        let source = PolicySource::new("x.lua", "local a = b\nreturn { c = d(1, 'x') }");
        let code = source.compile_with(&Compiler::new().set_optimization_level(0).set_debug_level(1)).unwrap();
        for length in 0..code.len().saturating_sub(1) {
            let _ = Reader { rest: &code[..length] }.uses();
        }
        assert_eq!(Reader { rest: &[9, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff] }.uses(), None);
    }
}
