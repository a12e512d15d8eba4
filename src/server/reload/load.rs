//! Where generations come from: the files, compiled, set up once in VMs that nobody depends on, and tested.

use super::report::{Natives, names};
use super::shadow::silently;
use crate::config::Config;
use crate::observe::lines::Serving;
use crate::policy::ServerView;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::finding::Findings;
use crate::policy::lua::package::{self, Loaded};
use crate::policy::lua::watch::{self, Digest};
use crate::policy::lua::{Env, Generation, PolicySource};
use crate::policy::native::{self, Maker};
use crate::server::StartError;
use crate::server::control::protocol::Problem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A setting-up that holds each worker up for longer than this is worth a warning.
const SLOW: Duration = Duration::from_millis(20);

/// Runs the tests that come with a generation's plugins and policy; what they came to, or which failed. It ends by itself.
pub type Tests = Arc<dyn Fn(&Generation) -> Result<String, String> + Send + Sync>;

type Load = Box<dyn Fn() -> Result<Loaded, Problem> + Send + Sync>;

/// What the files held, and the generation made of them with what its tests came to; None: not run.
pub(super) struct Prepared {
    pub(super) digest: Digest,
    pub(super) outcome: Result<(Arc<Generation>, Option<String>), Problem>,
}

/// The configuration, to be read again.
pub(in crate::server) struct Following {
    pub(in crate::server) file: PathBuf,
    pub(in crate::server) read: Box<dyn Fn() -> Result<Config, String> + Send + Sync>,
}

pub(in crate::server) struct Origin {
    load: Load,
    tests: Option<Tests>,
    /// What the files hold stands in these.
    pub(in crate::server) roots: Vec<PathBuf>,
    /// What they held before the first generation was read.
    pub(super) known: Digest,
    pub(in crate::server) first: Arc<Generation>,
    /// What the ready line calls the policy.
    pub(in crate::server) name: String,
    /// Members in Rust, which are asked among the units.
    pub(super) natives: Natives,
    /// Hears which generation serves.
    pub(super) serving: Serving,
}

impl Origin {
    /// Loads the first generation.
    pub(in crate::server) fn open(
        config: &Config,
        natives: &[Maker],
        tests: Option<Tests>,
        following: Option<Following>,
        serving: Serving,
    ) -> Result<Self, StartError> {
        native::check_names(natives.iter().map(|plugin| &**plugin.name()))?;
        let counted = natives.iter().map(|plugin| (plugin.name().clone(), plugin.counters().clone())).collect();
        let places: Vec<_> = natives.iter().map(|plugin| plugin.place().clone()).collect();
        let (policy, plugins) = (config.policy.clone(), config.plugins.clone());
        let file = following.as_ref().map(|following| following.file.clone());
        let folder = plugins.as_ref().map(|plugins| plugins.dir.clone());
        let roots: Vec<PathBuf> = policy.iter().cloned().chain(folder).chain(file).collect();
        let known = watch::digest(&roots);
        let loaded = package::read(policy.as_deref(), plugins.as_ref(), &places)?;
        let load: Load = Box::new(move || {
            // Settings of plugins stand in the configuration. What else has changed in it waits for a restart.
            let anew = following.as_ref().map(|following| (following.read)()).transpose();
            let anew = anew.map_err(|why| problem("configuration", &why))?;
            let (policy, plugins) = match &anew {
                Some(config) => (&config.policy, &config.plugins),
                None => (&policy, &plugins),
            };
            let found = silently(|| package::read(policy.as_deref(), plugins.as_ref(), &places));
            found.map_err(|found: Findings| problem("load", &found))
        });
        let name = loaded.name();
        let first = Arc::new(generation(1, loaded));
        serving.set(first.id, None);
        Ok(Origin { load, tests, roots, known, first, name, natives: counted, serving })
    }

    pub(super) fn digest(&self) -> Digest {
        watch::digest(&self.roots)
    }

    /// Reads, sets up and tests what is there now; `say` hears how far it has come.
    pub(super) fn prepare(
        &self,
        id: u64,
        skip_tests: bool,
        servers: &[ServerView],
        say: &dyn Fn(String),
    ) -> Result<(Arc<Generation>, Option<String>), Problem> {
        let generation = Arc::new(self.load(id)?);
        say(format!("compiled generation {id}: {}", names(&generation)));
        let took = self.rehearse(&generation, servers)?;
        say(format!("set up in {:.1} ms", took.as_secs_f64() * 1000.0));
        let tests = if skip_tests { None } else { self.test(&generation)? };
        if let Some(tests) = &tests {
            say(format!("tests: {tests}"));
        }
        Ok((generation, tests))
    }

    /// Reads and compiles what is there now.
    fn load(&self, id: u64) -> Result<Generation, Problem> {
        (self.load)().map(|loaded| generation(id, loaded))
    }

    /// Sets it up where nothing depends on it; how long that took.
    fn rehearse(&self, generation: &Generation, servers: &[ServerView]) -> Result<Duration, Problem> {
        let began = Instant::now();
        let built = silently(|| generation.twin().chain(&Env::detached(servers)).map(drop));
        built.map_err(|error| problem("set-up", &error))?;
        let took = began.elapsed();
        if took > SLOW {
            tracing::warn!(
                target: "imscript::policy", generation = generation.id, ms = took.as_secs_f64() * 1000.0,
                "slow to set up: each worker will stand still for as long"
            );
        }
        Ok(took)
    }

    /// None: there is nothing that runs tests.
    fn test(&self, generation: &Generation) -> Result<Option<String>, Problem> {
        let Some(tests) = &self.tests else { return Ok(None) };
        tests(generation).map(Some).map_err(|message| Problem::new("tests", message))
    }
}

fn generation(id: u64, loaded: Loaded) -> Generation {
    loaded.notes.iter().for_each(|note| tracing::warn!(target: "imscript::policy", generation = id, "{note}"));
    Generation::new(id, loaded.units).in_order(loaded.order)
}

fn problem(step: &str, error: &dyn std::fmt::Display) -> Problem {
    let message = error.to_string();
    let detail = shown(&message);
    Problem { step: step.into(), message, detail }
}

/// A message of lines `file:line: reason`, each with the line that it is about.
fn shown(message: &str) -> Option<String> {
    let with_line = |line: &str| {
        let fault = Diagnostic::parse(line, "");
        fault.line?;
        let text = PolicySource::read(Path::new(&fault.file)).ok()?.text;
        Some(fault.in_text(&text).to_string())
    };
    let lines: Vec<_> = message.lines().map(|line| with_line(line).ok_or(line)).collect();
    let any = lines.iter().any(Result::is_ok);
    any.then(|| lines.iter().map(|line| line.as_deref().unwrap_or_else(|plain| plain)).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_shown_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.lua");
        std::fs::write(&path, "local a = 1\n  local b = = 2\n").unwrap();
        let error = package::read(Some(&path), None, &[]).unwrap_err();
        let problem = problem("load", &error);
        let detail = problem.detail.unwrap();
        assert!(problem.message.starts_with(&format!("{}:2: ", path.display())), "{}", problem.message);
        assert!(detail.ends_with("\n  2 |   local b = = 2\n    |           ^"), "{detail}");
        assert_eq!(shown("no place in it: 7"), None);
        assert_eq!(shown("absent.lua:3: why"), None);
    }
}
