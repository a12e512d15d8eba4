//! Plugins out of their folders (rank 3): `DIR/NAME/{plugin.toml, main.lua, …}` becomes a [`Unit`] each, in the order in
//! which they are asked ([`load`]).
//!
//! Whatever is wrong is told in one go, with file and line: manifests, settings, the order, Lua syntax, functions that
//! the manifest does not declare, globals of capabilities that it does not have. Nothing is taken unless all of it is
//! sound. Reading and compiling are bounded and happen here, off the workers.

mod folder;

use super::PolicyError;
use super::env::Env;
use super::globals::globals;
use super::source::{PolicySource, Program, builtin};
use super::unit::{LuaLink, POLICY, Unit};
use crate::policy::Stage;
use crate::policy::capability::CAPABILITIES;
use crate::policy::conf::{Conf, SecretSource, Secrets};
use crate::policy::document::{Entry, Node, Value};
use crate::policy::finding::{Findings, did_you_mean};
use crate::policy::manifest::Manifest;
use crate::policy::order::{self, Member};
use folder::Folder;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest secret that is read from a file.
const MAX_SECRET: usize = 16 * 1024;

/// What the operator says of plugins: `plugins` in the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugins {
    pub dir: PathBuf,
    /// Names with their lines: who is asked first where no manifest says so.
    pub order: Vec<(String, usize)>,
    /// Folders that are left alone.
    pub disabled: Vec<(String, usize)>,
    /// Settings, one table per plugin.
    pub config: Vec<Entry>,
    /// PEM file of the authorities that `http` believes, and no others; None: the system's.
    pub ca: Option<PathBuf>,
    /// The configuration file, for messages; relative secret files are beside it.
    pub file: Arc<str>,
}

impl Plugins {
    /// All plugins of a folder, with their default settings.
    pub fn of(dir: impl Into<PathBuf>) -> Self {
        Plugins {
            dir: dir.into(),
            order: Vec::new(),
            disabled: Vec::new(),
            config: Vec::new(),
            ca: None,
            file: "imscript.toml".into(),
        }
    }

    /// Sets one plugin's settings, in the place of those of the file: what a test does.
    pub fn configure(&mut self, name: &str, settings: &serde_json::Value) {
        self.config.retain(|entry| entry.key != name);
        if let Some(node) = Node::from_json(settings) {
            self.config.push(Entry { key: name.to_owned(), line: 0, node });
        }
    }
}

/// What came of a folder of plugins.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The plugins and the policy, in the order in which they are asked.
    pub units: Vec<Arc<Unit>>,
    /// The names of all members in that order, plugins in Rust among them.
    pub order: Vec<String>,
    /// Worth saying, no reason to refuse.
    pub notes: Vec<String>,
}

impl Loaded {
    /// Of the policy's file, and how many plugins there are beside it.
    pub fn name(&self) -> String {
        let policy = self.units.iter().find(|unit| &*unit.name == POLICY).map_or("", |unit| unit.main.name());
        match self.units.len().saturating_sub(1) {
            0 => policy.to_owned(),
            1 => format!("{policy} and 1 plugin"),
            more => format!("{policy} and {more} plugins"),
        }
    }
}

/// Reads a policy (the one in the binary if none is named) and the plugins beside it.
/// `natives`: the places of plugins in Rust.
pub fn read(policy: Option<&Path>, plugins: Option<&Plugins>, natives: &[Member]) -> Result<Loaded, Findings> {
    let source = match policy {
        Some(path) => PolicySource::read(path).map_err(|error| finding(&error, &path.display().to_string()))?,
        None => builtin_default(),
    };
    let program = source.compile().map_err(|error| finding(&error, &source.name))?;
    let policy = Arc::new(Unit::policy(program));
    match plugins {
        Some(plugins) => load(policy, plugins, natives),
        None => {
            let members: Vec<_> = natives.iter().cloned().chain([Member::policy(policy.main.name())]).collect();
            let order = order::resolve(&members, &[], policy.main.name())?;
            Ok(Loaded { units: vec![policy], order: order.names, notes: order.notes })
        }
    }
}

fn builtin_default() -> PolicySource {
    match builtin("default") {
        Some(source) => source,
        None => unreachable!("the table of built-in policies has it"),
    }
}

/// Reads, checks and compiles the plugins, and puts `policy` where it belongs among them.
pub fn load(policy: Arc<Unit>, plugins: &Plugins, natives: &[Member]) -> Result<Loaded, Findings> {
    let mut found = Findings::of(plugins.file.clone());
    let folders = folder::list(&plugins.dir, &mut found);
    let names: Vec<&str> = folders.iter().map(|folder| folder.name.as_str()).collect();
    check_names("disabled", &plugins.disabled, &names, plugins, &mut found);
    let settings: Vec<_> = plugins.config.iter().map(|entry| (entry.key.clone(), entry.line)).collect();
    check_names("config", &settings, &names, plugins, &mut found);

    let mut units: BTreeMap<String, Arc<Unit>> = BTreeMap::new();
    let mut members: Vec<_> = natives.iter().cloned().chain([Member::policy(policy.main.name())]).collect();
    let disabled = |name: &str| plugins.disabled.iter().any(|(disabled, _)| disabled == name);
    let twice = |native: &&Member| names.contains(&native.name.as_str()) && !disabled(&native.name);
    for twice in natives.iter().filter(twice) {
        let reason = format!("{}: a plugin in Rust of this program has the same name", twice.name);
        found.hinted(0, reason, "rename the folder, or leave it alone with disabled");
    }
    for folder in folders.iter().filter(|folder| !disabled(&folder.name)) {
        if natives.iter().any(|native| native.name == folder.name) {
            let reason = format!("{:?} is the name of a plugin that is compiled in", folder.name);
            found.hinted(0, reason, format!("rename the folder in {}, or disable it", plugins.dir.display()));
        }
        match plugin(folder, plugins, &mut members) {
            Ok(unit) => drop(units.insert(unit.name.to_string(), Arc::new(unit))),
            Err(faults) => found.absorb(faults),
        }
    }
    units.insert(policy.name.to_string(), policy);
    // With a plugin missing, the list would be blamed for naming it; a ring of manifests is one all the same.
    let list = if found.is_empty() { plugins.order.as_slice() } else { &[] };
    let order = match order::resolve(&members, list, &plugins.file) {
        Ok(order) if found.is_empty() => order,
        Ok(_) => return found.or(None),
        Err(faults) => {
            found.absorb(faults);
            return found.or(None);
        }
    };
    let units = order.names.iter().filter_map(|name| units.remove(name)).collect();
    Ok(Loaded { units, order: order.names, notes: order.notes })
}

fn check_names(what: &str, list: &[(String, usize)], known: &[&str], plugins: &Plugins, found: &mut Findings) {
    for (name, line) in list.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        let reason = format!("{what}: there is no plugin {name:?} in {}", plugins.dir.display());
        found.hinted(*line, reason, did_you_mean(name, known.iter().copied()));
    }
}

/// One plugin, read and checked in all but its place among the others, which goes to `members` as soon as it is known.
fn plugin(folder: &Folder, plugins: &Plugins, members: &mut Vec<Member>) -> Result<Unit, Findings> {
    let files = folder.read()?;
    let manifest = Manifest::parse(&files.manifest, &files.manifest_name, &folder.name)?;
    members.push(Member::from(&manifest));
    let mut found = Findings::of(files.manifest_name.clone());
    let conf = settings(&manifest, plugins, &mut found);
    let main = compile(&files.main, &manifest, &mut found);
    let mut modules = BTreeMap::new();
    for (name, source) in &files.modules {
        if let Some(program) = compile(source, &manifest, &mut found) {
            modules.insert(name.clone(), program);
        }
    }
    let (Some(conf), Some(main), true) = (conf, main, found.is_empty()) else { return found.or(None) };
    let unit = Unit::plugin(&manifest, &files.manifest, main, modules, conf);
    rehearse(&unit, &manifest, &files, &mut found);
    found.or(Some(unit))
}

/// The operator's values under the author's schema.
fn settings(manifest: &Manifest, plugins: &Plugins, found: &mut Findings) -> Option<Conf> {
    let given = plugins.config.iter().find(|entry| entry.key == manifest.name);
    let beside = Path::new(&*plugins.file).parent().unwrap_or(Path::new("."));
    let secrets = Secrets::by(move |source| secret(source, beside));
    let mut own = Findings::of(plugins.file.clone());
    // A key that is missing is missing from the plugin's table, so that is the line.
    let table = given.map(|entry| match &entry.node.value {
        Value::Table(_) => Node { line: entry.line, ..entry.node.clone() },
        _ => entry.node.clone(),
    });
    let conf = Conf::check(&manifest.name, &manifest.config, table.as_ref(), &secrets, &mut own);
    found.absorb(own);
    conf
}

fn secret(source: SecretSource<'_>, beside: &Path) -> Result<String, String> {
    match source {
        SecretSource::Env(name) => std::env::var(name).map_err(|_| format!("environment variable {name} is not set")),
        SecretSource::File(path) => {
            let path = beside.join(path);
            let cannot = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", path.display());
            let text = crate::file::text(&path, MAX_SECRET).map_err(|e| cannot(&e))?;
            // What an editor or `echo` puts at the end is no part of a token.
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        }
    }
}

/// Compiles a file and looks for globals that its manifest does not grant.
fn compile(source: &PolicySource, manifest: &Manifest, found: &mut Findings) -> Option<Program> {
    let program = match source.compile() {
        Ok(program) => program,
        Err(error) => {
            found.absorb(finding(&error, &source.name));
            return None;
        }
    };
    let mut own = Findings::of(source.name.as_str());
    for used in globals(source).unwrap_or_default() {
        let name = used.name.as_str();
        if CAPABILITIES.contains(&name) && !used.written && !manifest.capabilities.grants(name) {
            let grant = if name == "http" { "http = [\"https://host\"]" } else { &format!("{name} = true") };
            let hint = format!("[capabilities] {grant} in {}", manifest.file);
            own.hinted(used.line, format!("{name} is used without the capability"), hint);
        }
        if used.written {
            let reason = format!("{name} is assigned to as a global");
            own.hinted(used.line, reason, "write local, or put it into the table that the file returns");
        }
    }
    found.absorb(own);
    Some(program)
}

/// Runs the plugin's top level and `setup` in a VM that is thrown away, and compares its functions with its manifest.
fn rehearse(unit: &Unit, manifest: &Manifest, files: &folder::Files, found: &mut Findings) {
    let link = match LuaLink::new(Arc::new(unit.clone()), &Env::detached(&[]), 0, Arc::default()) {
        Ok(link) => link,
        Err(error) => {
            let names = files.modules.values().map(|source| source.name.as_str());
            return found.absorb(finding_within(&error, &files.main.name, names));
        }
    };
    let mut in_main = Findings::of(files.main.name.as_str());
    for stage in Stage::ALL {
        let name = stage.as_str();
        match (manifest.place_of(stage), link.line_of(stage)) {
            (Some(place), None) => {
                let hint = format!("put one into the table that {} returns, or leave it out here", files.main.name);
                found.hinted(place.line, format!("stages: {name:?} is declared, but there is no such function"), hint);
            }
            (None, Some(line)) => {
                let hint = format!("add {name:?} to stages in {}", manifest.file);
                in_main.hinted(line, format!("stage {name} is not declared"), hint);
            }
            _ => {}
        }
    }
    found.absorb(in_main);
}

/// An error of the Lua side as a finding: taken apart where it begins with `file:line: `.
pub fn finding(error: &PolicyError, file: &str) -> Findings {
    finding_within(error, file, std::iter::empty())
}

/// As [`finding`]; where the fault lies in a module, its place counts, not the one of the `require`.
fn finding_within<'a>(error: &PolicyError, file: &'a str, modules: impl Iterator<Item = &'a str> + Clone) -> Findings {
    let text = error.to_string();
    let (mut name, mut line, mut reason) =
        (file, 0, text.strip_prefix(file).and_then(|r| r.strip_prefix(": ")).unwrap_or(&text));
    while let Some((at, number, rest)) = std::iter::once(file).chain(modules.clone()).find_map(|f| place(reason, f)) {
        (name, line, reason) = (at, number, rest);
    }
    let mut found = Findings::of(name);
    found.at(line, reason);
    found
}

/// `file:line: rest` taken apart.
fn place<'a, 't>(text: &'t str, file: &'a str) -> Option<(&'a str, usize, &'t str)> {
    let (line, rest) = text.strip_prefix(file)?.strip_prefix(':')?.split_once(':')?;
    Some((file, line.parse().ok()?, rest.trim_start()))
}
