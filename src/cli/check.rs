//! `imscript check`: everything that can be found wrong without a node: configuration, manifests, settings, order,
//! syntax, set-up, globals and fields that are not there, stages that nobody reaches.

mod names;
mod stages;

use super::target::{Target, default_servers, servers, targets};
use crate::config::{Config, ConfigError};
use crate::harness::scene::Scene;
use crate::harness::{self, Subject, files};
use crate::policy::chain::StepAnswer;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::finding::Findings;
use crate::policy::lua::{Env, Generation, Known, Plugins, PolicySource, Unit, package};
use crate::policy::manifest::POLICY;
use crate::policy::{ServerView, Stage};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Lists every fault with file, line and remedy. Exit code 0: nothing but warnings; 1: faults.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript check                     imscript.toml here, or lua/policy and plugins
  imscript check plugins/by-region
  imscript check lua/policy/home.lua
  imscript check --json")]
pub struct Args {
    /// A configuration, a policy, a plugin's folder, or a folder of either
    path: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Warnings count as faults
    #[arg(long)]
    strict: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut checked = Checked::default();
    for target in targets(args.path.as_deref())? {
        match target {
            Target::Config(path) => checked.config(&path),
            Target::Policy(path) => checked.policy(&path, &default_servers()),
            Target::Plugins(folder) => checked.plugins(&folder),
            Target::Plugin(folder) => checked.plugin(&folder),
            Target::Test(path) => checked.test(&path),
        }
    }
    checked.faults.sort_by(|a, b| (&a.file, a.line, &a.reason).cmp(&(&b.file, b.line, &b.reason)));
    checked.faults.dedup();
    let errors = checked.faults.iter().filter(|fault| fault.is_error() || args.strict).count();
    if args.json {
        let report = json!({ "ok": errors == 0, "checked": checked.what, "faults": checked.faults });
        println!("{report:#}");
    } else {
        checked.faults.iter().for_each(|fault| println!("{fault}"));
        let warnings = checked.faults.len().saturating_sub(errors);
        let warned = match warnings {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            more => format!(", {more} warnings"),
        };
        match errors {
            0 => println!("{}: no fault{warned}", checked.what.join(", ")),
            1 => println!("1 fault{warned}"),
            more => println!("{more} faults{warned}"),
        }
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Checked {
    what: Subjects,
    faults: Vec<Diagnostic>,
    /// A configuration says which servers there are.
    configured: bool,
}

/// What was looked at, each once, in order.
#[derive(Default, serde::Serialize)]
#[serde(transparent)]
struct Subjects(Vec<String>);

impl Subjects {
    fn add(&mut self, path: &Path) {
        let name = path.display().to_string();
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    fn join(&self, between: &str) -> String {
        self.0.join(between)
    }
}

impl Checked {
    /// Takes a fault in, with the line that it is about.
    fn fault(&mut self, fault: Diagnostic) {
        let text = std::fs::read_to_string(&fault.file).ok();
        self.faults.push(match text {
            Some(text) if fault.source.is_none() => fault.in_text(&text),
            _ => fault,
        });
    }

    fn found(&mut self, found: &Findings) {
        found.iter().map(Diagnostic::from).for_each(|fault| self.fault(fault));
    }

    fn config(&mut self, path: &Path) {
        self.what.add(path);
        let config = match Config::load(path) {
            Ok(config) => config,
            Err(ConfigError::All(found)) => return self.found(&found),
            Err(error) => return self.fault(Diagnostic::parse(&error.to_string(), &path.display().to_string())),
        };
        let servers = servers(&config);
        self.configured = true;
        let loaded = match package::read(config.policy.as_deref(), config.plugins.as_ref(), &[]) {
            Ok(loaded) => loaded,
            Err(found) => {
                self.found(&found);
                // The plugins' faults are told already; the policy may have more than its syntax against it.
                return config.policy.iter().for_each(|policy| self.policy(policy, &servers));
            }
        };
        for note in &loaded.notes {
            self.fault(Diagnostic::parse(note, &path.display().to_string()).warning());
        }
        self.units(&loaded.units, &servers);
        if !config.extension || servers.is_empty() {
            let why = if servers.is_empty() { "no broadcast_server is configured" } else { "extension = false" };
            self.unreached(&loaded.units, &[Stage::Broadcast, Stage::Failure], why, path);
        }
        if let Some(policy) = &config.policy {
            files::of_policy(policy).iter().for_each(|test| self.test(test));
        }
        if let Some(plugins) = &config.plugins {
            let names: Vec<&str> = loaded.units.iter().map(|unit| &*unit.name).collect();
            names.iter().flat_map(|name| files::find(&plugins.dir.join(name))).for_each(|test| self.test(&test));
        }
    }

    fn policy(&mut self, path: &Path, servers: &[ServerView]) {
        self.what.add(path);
        match package::read(Some(path), None, &[]) {
            Ok(loaded) => self.units(&loaded.units, servers),
            Err(found) => self.found(&found),
        }
        files::of_policy(path).iter().for_each(|test| self.test(test));
    }

    fn plugin(&mut self, folder: &Path) {
        self.what.add(folder);
        let subject = Subject::plugin(folder);
        match package::read(None, subject.plugins.as_ref(), &[]) {
            Ok(loaded) => {
                let own: Vec<_> =
                    loaded.units.into_iter().filter(|u| Some(&*u.name) == subject.tested.as_deref()).collect();
                self.units(&own, &default_servers());
            }
            Err(found) => self.without_config(&found, subject.plugins.as_ref()),
        }
        files::find(folder).iter().for_each(|test| self.test(test));
    }

    /// What only shows of all plugins together: their order.
    fn plugins(&mut self, folder: &Path) {
        let plugins = Plugins::of(folder);
        match package::read(None, Some(&plugins), &[]) {
            Ok(loaded) => loaded.notes.iter().for_each(|note| {
                self.fault(Diagnostic::parse(note, &folder.display().to_string()).warning());
            }),
            Err(found) => self.without_config(&found, Some(&plugins)),
        }
    }

    /// Settings that the operator owes are no fault of a plugin.
    fn without_config(&mut self, found: &Findings, plugins: Option<&Plugins>) {
        for finding in found.iter() {
            let owed = plugins.is_some_and(|plugins| plugins.file == finding.file);
            let fault = Diagnostic::from(finding);
            self.fault(if owed { fault.warning() } else { fault });
        }
    }

    fn test(&mut self, path: &Path) {
        let outcome = files::read(path).and_then(|file| harness::names(&file).map(drop));
        if let Err(fault) = outcome {
            self.fault(fault);
        }
    }

    /// Compiled units: names that are not there, set-up, and one REGISTER through every stage.
    fn units(&mut self, units: &[Arc<Unit>], servers: &[ServerView]) {
        for unit in units {
            let Ok(known) = Known::of(unit) else { continue };
            for program in std::iter::once(&unit.main).chain(unit.modules.values()) {
                if let Ok(source) = PolicySource::read(Path::new(program.name())) {
                    let faults: Vec<Diagnostic> = names::unknown(&source, &known, &*unit.name == POLICY);
                    self.faults.extend(faults);
                }
            }
        }
        let env = Env::detached(servers);
        let chains = units.iter().map(|unit| (unit, Generation::new(1, [unit.clone()]).chain(&env)));
        for (unit, chain) in chains {
            let chain = match chain {
                Ok(chain) => chain,
                Err(error) => {
                    self.found(&package::finding(&error, unit.main.name()));
                    continue;
                }
            };
            if let Ok(source) = PolicySource::read(Path::new(unit.main.name())) {
                let decides = Stage::ALL.into_iter().any(|stage| chain.order(stage).next().is_some());
                self.faults.extend(stages::misplaced(&source, decides));
            }
            let Ok(scene) = Scene::sample(servers, 1_767_225_600) else { continue };
            for stage in Stage::ALL {
                let (_, steps) = chain.recorded(|chain| scene.verdict(stage, chain));
                for step in steps {
                    if let StepAnswer::Fault(fault) = step.answer {
                        let why = Diagnostic::parse(&fault.message, unit.main.name());
                        // Without a configuration there are no servers that a policy could mean.
                        if !self.configured && why.reason.starts_with("no server ") {
                            continue;
                        }
                        // What is wrong there has been told already, and better.
                        if self.faults.iter().any(|known| (&known.file, known.line) == (&why.file, why.line)) {
                            continue;
                        }
                        let reason = format!("{} (stage {}, with a sample request)", why.reason, stage.as_str());
                        self.fault(Diagnostic::new(why.file, why.line, reason).warning());
                    }
                }
            }
        }
    }

    fn unreached(&mut self, units: &[Arc<Unit>], stages: &[Stage], why: &str, config: &Path) {
        let env = Env::detached(&[]);
        for unit in units {
            let Ok(chain) = Generation::new(1, [unit.clone()]).chain(&env) else { continue };
            for stage in stages.iter().filter(|stage| chain.order(**stage).next().is_some()) {
                let reason = format!("stage {} of {} is never asked: {why}", stage.as_str(), unit.name);
                self.fault(Diagnostic::new(config.display().to_string(), None, reason).warning());
            }
        }
    }
}
