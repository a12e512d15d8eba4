//! Where a policy's text comes from, and its compiled form.
//!
//! Compiling is the one step that no deadline can stop, so it is bounded by size and done once,
//! not by the workers. Only bytecode that was compiled here is ever loaded: Luau does not check it.

use super::PolicyError;
use super::failure::first_line;
use crate::file;
use mlua::chunk::Compiler;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// Longest policy text.
pub const MAX_TEXT: usize = 256 * 1024;

/// A policy as text. `name` stands in errors as `name:line`, so it is the file's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySource {
    pub name: String,
    pub text: Arc<str>,
}

impl PolicySource {
    pub fn new(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        PolicySource { name: name.into(), text: text.into() }
    }

    /// Reads a policy file; a regular file, bounded before it is read.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let name = path.display().to_string();
        match file::text(path, MAX_TEXT) {
            Ok(text) => Ok(PolicySource::new(name, text)),
            Err(why) if why.kind() == ErrorKind::FileTooLarge => Err(PolicyError::TooLarge { name }),
            Err(why) => Err(PolicyError::Unreadable { name, why: why.to_string() }),
        }
    }

    /// Compiles the text. The result can be given to every worker.
    pub fn compile(&self) -> Result<Program, PolicyError> {
        let compiler = Compiler::new().set_optimization_level(2).set_debug_level(1);
        let bytecode = self.compile_with(&compiler)?.into();
        Ok(Program { name: self.name.as_str().into(), bytecode })
    }

    /// As [`PolicySource::compile`], with a counter on every line, and nothing moved from where it was written.
    pub(super) fn compile_covered(&self) -> Result<Program, PolicyError> {
        let compiler = Compiler::new().set_optimization_level(0).set_debug_level(1).set_coverage_level(2);
        let bytecode = self.compile_with(&compiler)?.into();
        Ok(Program { name: self.name.as_str().into(), bytecode })
    }

    pub(super) fn compile_with(&self, compiler: &Compiler) -> Result<Vec<u8>, PolicyError> {
        if self.text.len() > MAX_TEXT {
            return Err(PolicyError::TooLarge { name: self.name.clone() });
        }
        match compiler.compile(self.text.as_bytes()) {
            Ok(bytecode) => Ok(bytecode),
            Err(mlua::Error::SyntaxError { message, .. }) => {
                // The compiler does not know the name and begins with ":line: ".
                let message = first_line(&message);
                let message = message.strip_prefix(':').unwrap_or(&message);
                Err(PolicyError::Syntax { place: format!("{}:{message}", self.name) })
            }
            Err(other) => Err(PolicyError::Load { why: format!("{}: {}", self.name, first_line(&other.to_string())) }),
        }
    }
}

/// A compiled policy.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) name: Arc<str>,
    pub(super) bytecode: Arc<[u8]>,
}

impl Program {
    pub fn name(&self) -> &str {
        &self.name
    }
}

const BUILTIN: [(&str, &str, &str); 7] = [
    ("default", "lua/policy/default.lua", include_str!("../../../lua/policy/default.lua")),
    ("figure_3", "lua/policy/figures/figure_3.lua", include_str!("../../../lua/policy/figures/figure_3.lua")),
    ("figure_4", "lua/policy/figures/figure_4.lua", include_str!("../../../lua/policy/figures/figure_4.lua")),
    ("figure_5", "lua/policy/figures/figure_5.lua", include_str!("../../../lua/policy/figures/figure_5.lua")),
    ("figure_6", "lua/policy/figures/figure_6.lua", include_str!("../../../lua/policy/figures/figure_6.lua")),
    ("figure_7", "lua/policy/figures/figure_7.lua", include_str!("../../../lua/policy/figures/figure_7.lua")),
    ("figure_8", "lua/policy/figures/figure_8.lua", include_str!("../../../lua/policy/figures/figure_8.lua")),
];

/// A policy that comes with the binary: `default`, or `figure_3` … `figure_8`.
pub fn builtin(name: &str) -> Option<PolicySource> {
    BUILTIN.iter().find(|(known, ..)| *known == name).map(|(_, path, text)| PolicySource::new(*path, *text))
}

/// The names that [`builtin`] knows.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, ..)| *name)
}
