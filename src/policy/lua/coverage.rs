//! Which lines of policies and plugins have been run: for `imscript test --coverage`.
//!
//! The compiler puts counters into what [`PolicySource::compile_covered`] makes. A VM that ends on a thread that is
//! collecting hands over what its counters say; a worker never collects, and never runs such programs.

use super::source::{PolicySource, Program};
use super::{PolicyError, Unit};
use mlua::{Function, Lua};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// How often each line with something to run was run, by file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(pub BTreeMap<Arc<str>, BTreeMap<u32, u64>>);

thread_local! {
    static COLLECTED: RefCell<Option<Coverage>> = const { RefCell::new(None) };
}

impl Coverage {
    /// What VMs that end on this thread during `part` have run.
    pub fn during<T>(part: impl FnOnce() -> T) -> (T, Coverage) {
        COLLECTED.set(Some(Coverage::default()));
        let value = part();
        (value, COLLECTED.take().unwrap_or_default())
    }

    pub fn absorb(&mut self, other: Coverage) {
        for (file, lines) in other.0 {
            let known = self.0.entry(file).or_default();
            for (line, hits) in lines {
                let sum = known.entry(line).or_default();
                *sum = sum.saturating_add(hits);
            }
        }
    }
}

/// The top levels that a VM has run, kept in it while this thread collects.
struct Kept(Vec<(Arc<str>, Function)>);

/// Remembers a program's top level, if this thread collects.
pub(super) fn keep(lua: &Lua, program: &Program, main: &Function) {
    if COLLECTED.with_borrow(Option::is_none) {
        return;
    }
    if let Some(mut kept) = lua.app_data_mut::<Kept>() {
        kept.0.push((program.name.clone(), main.clone()));
        return;
    }
    lua.set_app_data(Kept(vec![(program.name.clone(), main.clone())]));
}

/// Adds what the programs of a VM, and the functions in them, have counted.
pub(super) fn hand_over(lua: &Lua) {
    let Some(Kept(kept)) = lua.remove_app_data::<Kept>() else { return };
    COLLECTED.with_borrow_mut(|collected| {
        let Some(Coverage(files)) = collected else { return };
        for (file, main) in kept {
            let lines = files.entry(file).or_default();
            main.coverage(|info| {
                for (line, hits) in (0u32..).zip(&info.hits) {
                    // -1: nothing to run there.
                    if let Ok(hits) = u64::try_from(*hits) {
                        let sum = lines.entry(line).or_default();
                        *sum = sum.saturating_add(hits);
                    }
                }
            });
        }
    });
}

impl Unit {
    /// The same unit with counters in it, its files read once more.
    pub fn covered(&self) -> Result<Unit, PolicyError> {
        let again = |program: &Program| match super::builtin_names()
            .filter_map(super::builtin)
            .find(|builtin| builtin.name == program.name())
        {
            Some(builtin) => builtin.compile_covered(),
            None => PolicySource::read(Path::new(program.name()))?.compile_covered(),
        };
        let mut covered = self.clone();
        covered.main = again(&self.main)?;
        for program in covered.modules.values_mut() {
            *program = again(program)?;
        }
        Ok(covered)
    }
}
