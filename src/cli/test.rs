//! `imscript test`: the tests of policies and plugins, in the real engine.

use super::target::{Target, targets};
use crate::harness::{self, Options, Report, Subject, files};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_millis(300);
/// Files that `--watch` looks at.
const MAX_WATCHED: usize = 20_000;

/// Runs tests/*_test.lua against a real S-CSCF with real AKA, in memory and in virtual time: no sockets, no waiting.
/// Exit code 0: all passed; 1: not.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript test                               what imscript.toml names, or lua/policy and plugins
  imscript test plugins/by-region --coverage
  imscript test lua/policy/home.lua --filter refresh
  imscript test --junit report.xml
  imscript test plugins/by-region --watch     again after every change")]
pub struct Args {
    /// A policy, a plugin's folder, a folder of either, a test file, or a configuration
    path: Option<PathBuf>,
    /// Only tests with this in their name
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// The results as one JSON object
    #[arg(long)]
    json: bool,
    /// Which lines were run
    #[arg(long)]
    coverage: bool,
    /// Run again whenever a file changes, until interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Most milliseconds that one test may take
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    timeout: u64,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !args.watch {
        let report = once(&args)?;
        return Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    loop {
        let seen = state(&args)?;
        if let Err(error) = once(&args) {
            eprintln!("imscript: {}", super::in_one_line(&error));
        }
        println!("watching; interrupt to end");
        while state(&args)? == seen {
            std::thread::sleep(LOOK);
        }
    }
}

fn once(args: &Args) -> anyhow::Result<Report> {
    let options = Options {
        filter: args.filter.clone(),
        test_time: Duration::from_millis(args.timeout.max(1)),
        coverage: args.coverage,
        ..Options::default()
    };
    let mut report = Report::default();
    for (subject, paths) in suites(args.path.as_deref())? {
        report.extend(harness::run_paths(&subject, &paths, &options));
    }
    if report.files.is_empty() {
        bail!("no tests: a plugin has them in tests/NAME_test.lua, a policy beside it in tests/POLICY_test.lua");
    }
    if report.passed() + report.failed() == 0 {
        bail!("no test has {:?} in its name", args.filter.as_deref().unwrap_or_default());
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, report.junit()?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        let mut json = serde_json::to_value(&report)?;
        json["passed"] = report.passed().into();
        json["failed"] = report.failed().into();
        println!("{json:#}");
    } else {
        println!("{report}");
    }
    Ok(report)
}

/// What is tested by which files.
fn suites(path: Option<&Path>) -> anyhow::Result<Vec<(Subject, Vec<PathBuf>)>> {
    let mut suites = Vec::new();
    for target in targets(path)? {
        match target {
            // Its plugins follow one by one.
            Target::Plugins(_) => {}
            Target::Plugin(folder) => suites.push((Subject::plugin(&folder), files::find(&folder))),
            Target::Policy(file) => suites.push((Subject::policy(&file), files::of_policy(&file))),
            Target::Test(file) => suites.push((subject_of(&file)?, vec![file])),
            Target::Config(file) => {
                let config = crate::config::Config::load(&file)?;
                if let Some(policy) = config.policy {
                    suites.push((Subject::policy(&policy), files::of_policy(&policy)));
                }
                for target in config.plugins.map_or(Ok(Vec::new()), |plugins| targets(Some(&plugins.dir)))? {
                    if let Target::Plugin(folder) = target {
                        suites.push((Subject::plugin(&folder), files::find(&folder)));
                    }
                }
            }
        }
    }
    suites.retain(|(_, files)| !files.is_empty());
    Ok(suites)
}

/// What one test file is about: the plugin around it, or the policy of the same name.
fn subject_of(test: &Path) -> anyhow::Result<Subject> {
    let name = test.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let policy = format!("{}.lua", name.trim_end_matches("_test.lua"));
    let folders: Vec<&Path> = test.ancestors().skip(1).take(2).collect();
    if let Some(plugin) = folders.iter().find(|folder| folder.join("plugin.toml").is_file()) {
        return Ok(Subject::plugin(if plugin.as_os_str().is_empty() { Path::new(".") } else { plugin }));
    }
    match folders.iter().map(|folder| folder.join(&policy)).find(|path| path.is_file()) {
        Some(path) => Ok(Subject::policy(&path)),
        None => bail!("{}: neither in a plugin's folder nor beside a policy named {policy}", test.display()),
    }
}

/// All files that a change of counts, with their length and time.
fn state(args: &Args) -> anyhow::Result<Vec<(PathBuf, u64, Option<SystemTime>)>> {
    let mut roots = Vec::new();
    for target in targets(args.path.as_deref())? {
        match target {
            Target::Plugin(folder) | Target::Plugins(folder) => roots.push(folder),
            Target::Policy(file) | Target::Test(file) | Target::Config(file) => {
                roots.push(file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf());
            }
        }
    }
    roots.sort();
    roots.dedup();
    let mut found = Vec::new();
    while let Some(folder) = roots.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name.to_string_lossy().starts_with('.') || found.len() >= MAX_WATCHED {
                continue;
            }
            match entry.metadata() {
                Ok(about) if about.is_dir() => roots.push(path),
                Ok(about) if path.extension().is_some_and(|e| e == "lua" || e == "toml") => {
                    found.push((path, about.len(), about.modified().ok()));
                }
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}
