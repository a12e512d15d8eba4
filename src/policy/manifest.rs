//! `plugin.toml` (rank 1): what a plugin is, at which stages it is asked, what it may do.
//!
//! Read by the Lua loader and by `imscript check`. Every fault is found in one go, each with its line.

use super::capability::Capabilities;
use super::document::{Entry, Fields, Node, Place, Value};
use super::finding::{Findings, did_you_mean, quoted};
use super::schema::Schema;
use super::stage::Stage;
use super::version::Version;
use super::{OnError, quantity};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// The plugin interface of this server.
pub const API: i64 = 1;
/// The operator's own policy among the members that an order may name.
pub const POLICY: &str = "policy";

/// A plugin that fails at one of these lets somebody in or through unasked: its author must say what then.
pub const SECURITY_STAGES: [Stage; 4] = [Stage::Receive, Stage::Register, Stage::Authorized, Stage::Route];

const MEMORY: RangeInclusive<u64> = 1 << 20..=64 << 20;
const WALL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(50);
const BREAKER_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const BREAKER_FAILURES: RangeInclusive<i64> = 1..=10_000;
const LONGEST_NAME: usize = 64;

#[derive(Debug, Clone)]
pub struct Manifest {
    /// Path of the manifest, for messages.
    pub file: Arc<str>,
    pub name: String,
    pub version: Version,
    pub license: Option<String>,
    pub description: Option<String>,
    pub stages: Vec<Declared>,
    pub before: Vec<Neighbour>,
    pub after: Vec<Neighbour>,
    pub on_error: OnError,
    pub capabilities: Capabilities,
    pub limits: Limits,
    pub config: Schema,
}

/// A stage and the line that declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    pub stage: Stage,
    pub line: usize,
}

/// A plugin (or the policy) that this one stands before or after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    pub name: String,
    pub line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one VM.
    pub memory: usize,
    /// Of one call.
    pub wall: Duration,
    pub breaker: Breaker,
}

/// So many failures in so long a time, and the plugin is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    pub failures: u32,
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { memory: 8 << 20, wall: Duration::from_millis(5), breaker: Breaker::default() }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker { failures: 10, window: Duration::from_secs(10) }
    }
}

impl Manifest {
    /// Reads the text of `file`, the manifest of the plugin in a folder of that name.
    pub fn parse(text: &str, file: &str, folder: &str) -> Result<Manifest, Findings> {
        let mut findings = Findings::of(file);
        let root = Node::parse(text, &mut findings);
        if !findings.is_empty() {
            // Half a file would only bring faults that are none.
            return findings.or(None);
        }
        let manifest = read(&root, folder, &mut findings);
        findings.or(manifest)
    }

    pub fn declares(&self, stage: Stage) -> bool {
        self.stages.iter().any(|declared| declared.stage == stage)
    }

    /// The line that declares a stage.
    pub fn place_of(&self, stage: Stage) -> Option<Place> {
        let declared = self.stages.iter().find(|declared| declared.stage == stage)?;
        Some(Place { file: self.file.clone(), line: declared.line })
    }
}

/// None where a key that everything hangs on is missing; `found` then says so.
fn read(root: &Node, folder: &str, found: &mut Findings) -> Option<Manifest> {
    let mut fields = Fields::root(root);
    let name = name(&mut fields, folder, found);
    let version = version(&mut fields, found);
    api(&mut fields, found);
    min_server(&mut fields, found);
    let license = text(&mut fields, "license", found);
    let description = text(&mut fields, "description", found);
    let stages = stages(&mut fields, found);
    let before = neighbours(&mut fields, "before", folder, found);
    let after = neighbours(&mut fields, "after", folder, found);
    for twice in before.iter().filter(|b| after.iter().any(|a| a.name == b.name)) {
        found.at(twice.line, format!("{:?} stands in both before and after", twice.name));
    }
    let on_error = on_error(&mut fields, &stages, found);
    let config = fields.get("config").map_or_else(Schema::empty, |entry| Schema::read(entry, found));
    let capabilities = fields.get("capabilities").map(|entry| Capabilities::read(entry, &config, found));
    let limits = fields.get("limits").and_then(|entry| limits(entry, found));
    fields.finish("key", found);
    Some(Manifest {
        file: found.file().clone(),
        name: name?,
        version: version?,
        license,
        description,
        stages,
        before,
        after,
        on_error,
        capabilities: capabilities.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        config,
    })
}

/// Lower-case words joined by single hyphens, the first beginning with a letter.
pub fn is_kebab_case(name: &str) -> bool {
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= LONGEST_NAME && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('-').all(word)
}

fn name(fields: &mut Fields<'_>, folder: &str, found: &mut Findings) -> Option<String> {
    if fields.get("name").is_none() {
        found.hinted(1, "name is missing", format!("name = {folder:?}"));
        return None;
    }
    let (name, line) = fields.string("name", found)?;
    if !is_kebab_case(name) {
        found.hinted(
            line,
            format!("name: {} is not in kebab-case", quoted(name)),
            "lower-case letters and digits, words joined by single hyphens, at most 64",
        );
    } else if name == POLICY {
        found.hinted(line, "name: \"policy\" is the operator's own policy file", "choose another");
    } else if name != folder {
        found.hinted(line, format!("name: {name:?} stands in a folder named {folder:?}"), "make them the same");
    }
    Some(name.to_owned())
}

fn version(fields: &mut Fields<'_>, found: &mut Findings) -> Option<Version> {
    if fields.get("version").is_none() {
        found.hinted(1, "version is missing", "version = \"0.1.0\"");
        return None;
    }
    let (text, line) = fields.string("version", found)?;
    text.parse().map_err(|why| found.at(line, format!("version: {}: {why}", quoted(text)))).ok()
}

fn api(fields: &mut Fields<'_>, found: &mut Findings) {
    match fields.get("api") {
        None => found.hinted(1, "api is missing", format!("api = {API}")),
        Some(Entry { line, node: Node { value: Value::Integer(n), .. }, .. }) => {
            if *n > API {
                let hint = "a newer imscript, or an older release of the plugin";
                found.hinted(*line, format!("api: {n} is newer than this server's, which is {API}"), hint);
            } else if *n < 1 {
                found.hinted(*line, format!("api: there is no interface {n}"), format!("api = {API}"));
            }
        }
        Some(entry) => {
            let found_type = entry.node.value.what();
            found.hinted(entry.line, format!("api: expected an integer, found {found_type}"), format!("api = {API}"));
        }
    }
}

fn min_server(fields: &mut Fields<'_>, found: &mut Findings) {
    let Some((text, line)) = fields.string("min_server", found) else { return };
    match text.parse::<Version>() {
        Ok(wanted) if wanted > Version::of_server() => {
            let own = Version::of_server();
            found.hinted(line, format!("min_server: {wanted} is newer than this server, {own}"), "a newer imscript");
        }
        Ok(_) => {}
        Err(why) => found.at(line, format!("min_server: {}: {why}", quoted(text))),
    }
}

fn text(fields: &mut Fields<'_>, key: &'static str, found: &mut Findings) -> Option<String> {
    let (text, line) = fields.string(key, found)?;
    if text.trim().is_empty() {
        found.hinted(line, format!("{key} is empty"), "leave it out");
    }
    Some(text.to_owned())
}

fn stages(fields: &mut Fields<'_>, found: &mut Findings) -> Vec<Declared> {
    if fields.get("stages").is_none() {
        found.hinted(1, "stages is missing", "stages = [\"broadcast\"], with the functions of main.lua");
    }
    let mut declared: Vec<Declared> = Vec::new();
    for (name, line) in fields.strings("stages", found) {
        match Stage::named(&name) {
            Some(stage) if declared.iter().any(|d| d.stage == stage) => {
                found.at(line, format!("stages: {name:?} stands here twice"));
            }
            Some(stage) => declared.push(Declared { stage, line }),
            None => {
                let hint = did_you_mean(&name, Stage::ALL.map(Stage::as_str));
                found.hinted(line, format!("stages: unknown stage {}", quoted(&name)), hint);
            }
        }
    }
    declared
}

fn neighbours(fields: &mut Fields<'_>, key: &'static str, own: &str, found: &mut Findings) -> Vec<Neighbour> {
    let mut list: Vec<Neighbour> = Vec::new();
    for (name, line) in fields.strings(key, found) {
        if name == own {
            found.at(line, format!("{key}: a plugin cannot stand {key} itself"));
        } else if !is_kebab_case(&name) {
            found.hinted(line, format!("{key}: {} is no plugin's name", quoted(&name)), "or \"policy\"");
        } else if !list.iter().any(|known| known.name == name) {
            list.push(Neighbour { name, line });
        }
    }
    list
}

fn on_error(fields: &mut Fields<'_>, stages: &[Declared], found: &mut Findings) -> OnError {
    const CHOICE: &str = "\"fail_closed\": the request is refused; \"skip\": the next in the chain is asked";
    if let Some((text, line)) = fields.string("on_error", found) {
        return match text {
            "skip" => OnError::Skip,
            "fail_closed" => OnError::FailClosed,
            _ => {
                found.hinted(line, format!("on_error: {} is no choice", quoted(text)), CHOICE);
                OnError::Skip
            }
        };
    }
    let security = stages.iter().find(|d| SECURITY_STAGES.contains(&d.stage));
    if let Some(declared) = security.filter(|_| fields.get("on_error").is_none()) {
        let stage = declared.stage.as_str();
        found.hinted(declared.line, format!("stage {stage} decides who gets in: on_error must be chosen"), CHOICE);
    }
    OnError::Skip
}

fn limits(table: &Entry, found: &mut Findings) -> Option<Limits> {
    let mut limits = Limits::default();
    let mut fields = Fields::of(table, found)?;
    if let Some((text, line)) = fields.string("memory", found) {
        match quantity::size(text) {
            Ok(octets) if MEMORY.contains(&octets) => limits.memory = usize::try_from(octets).unwrap_or(limits.memory),
            Ok(_) => found.at(line, format!("memory: {}: from 1 MiB to 64 MiB", quoted(text))),
            Err(why) => found.at(line, format!("memory: {why}")),
        }
    }
    if let Some(wall) = duration(&mut fields, "wall", WALL, "from 1 ms to 50 ms", found) {
        limits.wall = wall;
    }
    if let Some(entry) = fields.get("breaker")
        && let Some(mut breaker) = Fields::of(entry, found)
    {
        if let Some(entry) = breaker.get("failures") {
            match entry.node.value {
                Value::Integer(n) if BREAKER_FAILURES.contains(&n) => {
                    limits.breaker.failures = u32::try_from(n).unwrap_or(limits.breaker.failures);
                }
                _ => found.at(entry.line, "failures: expected an integer from 1 to 10000"),
            }
        }
        if let Some(window) = duration(&mut breaker, "window", BREAKER_WINDOW, "from 1 s to 1 h", found) {
            limits.breaker.window = window;
        }
        breaker.finish("key of breaker", found);
    }
    fields.finish("limit", found);
    Some(limits)
}

fn duration(
    fields: &mut Fields<'_>,
    key: &'static str,
    within: RangeInclusive<Duration>,
    bounds: &str,
    found: &mut Findings,
) -> Option<Duration> {
    let (text, line) = fields.string(key, found)?;
    match quantity::duration(text) {
        Ok(duration) if within.contains(&duration) => return Some(duration),
        Ok(_) => found.at(line, format!("{key}: {}: {bounds}", quoted(text))),
        Err(why) => found.at(line, format!("{key}: {why}")),
    }
    None
}

#[cfg(test)]
mod tests;
