//! `imscript replay`: the requests of a capture before two sets of policies, and where they differ.

use super::explain::stage;
use super::target::Set;
use crate::harness::scene::Scene;
use crate::harness::words;
use crate::observe::capture::{self, Captured};
use crate::policy::chain::StepAnswer;
use crate::policy::lua::{Env, Generation, package};
use crate::policy::{Chain, Stage};
use anyhow::Context;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Differences that are printed one by one.
const MAX_SHOWN: usize = 1000;
const SAME: u8 = 0;
const DIFFERENT: u8 = 1;
const TROUBLE: u8 = 2;

/// Puts every request of a capture (pcap, pcapng, SIP as text, or a --trace) before two sets of policies and lists the
/// verdicts that differ. Exit code 0: none; 1: some; 2: the capture or a set cannot be read.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript replay monday.pcap --old lua/policy/home.lua --new lua/policy/next.lua
  imscript replay monday.pcapng --old imscript.toml --new plugins --stage broadcast
  imscript replay trace.jsonl --old a.lua --new b.lua --json

Requests are put before both as they stand in the capture: what a node knew besides (who was registered, what
broadcast servers answered) is taken as for a new terminal.")]
pub struct Args {
    /// pcap, pcapng, SIP as text, or the JSON lines of --trace
    capture: PathBuf,
    /// What decides now: a configuration, a policy, a plugin or a folder of plugins
    #[arg(long, value_name = "PATH")]
    old: PathBuf,
    /// What is to decide
    #[arg(long, value_name = "PATH")]
    new: PathBuf,
    /// Only this stage; may be repeated
    #[arg(long, value_name = "STAGE", value_parser = stage)]
    stage: Vec<Stage>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let done = compare(&args).and_then(|(found, summary)| {
        let shown = if args.json { print_json(&found, summary) } else { print(&found, summary) };
        shown.map(|()| if found.different == 0 { SAME } else { DIFFERENT })
    });
    match done {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => {
            if args.json {
                super::fault::print_json(&error);
            } else {
                eprintln!("imscript: {}", super::fault::shown(&error));
            }
            Ok(ExitCode::from(TROUBLE))
        }
    }
}

struct Difference {
    message: u64,
    at: Option<Duration>,
    line: String,
    impu: String,
    stage: Stage,
    old: Said,
    new: Said,
}

/// What a set says at a stage, and what went wrong on the way.
#[derive(PartialEq)]
struct Said {
    verdict: Option<Value>,
    faults: Vec<String>,
}

#[derive(Default)]
struct Found {
    requests: u64,
    questions: u64,
    different: u64,
    shown: Vec<Difference>,
}

fn compare(args: &Args) -> anyhow::Result<(Found, capture::Summary)> {
    let (old, new) = (side(&args.old)?, side(&args.new)?);
    let mut found = Found::default();
    let summary = capture::read_file(&args.capture, &mut |captured| found.take(captured, &old, &new, &args.stage))?;
    if summary.messages == 0 {
        anyhow::bail!("{}: no SIP message in it", args.capture.display());
    }
    if summary.cut {
        let file = args.capture.display();
        eprintln!("imscript: warning: {file} ends within packet {}: what is whole is compared", summary.packets + 1);
    }
    Ok((found, summary))
}

struct Side {
    generation: Generation,
    env: Env,
    chain: RefCell<Chain>,
}

fn side(path: &Path) -> anyhow::Result<Side> {
    let set = Set::of(path)?;
    let loaded = package::read(set.policy.as_deref(), set.plugins.as_ref(), &[])?;
    let (generation, env) = (Generation::new(1, loaded.units), Env::detached(&set.servers));
    let chain = generation.chain(&env).with_context(|| path.display().to_string())?;
    Ok(Side { generation, env, chain: RefCell::new(chain) })
}

impl Side {
    fn say(&self, captured: &Captured, stage: Stage) -> Option<Said> {
        let unix = captured.at.unwrap_or_default().as_secs();
        let mut source = Scene::somewhere();
        source.transport = captured.transport;
        (source.addr, source.local) = (captured.from, captured.to);
        let scene = Scene::of(captured.message.clone(), source, &self.env.servers, unix).ok()?;
        if !scene.stages().contains(&stage) {
            return None;
        }
        let ask = || self.chain.borrow().recorded(|chain| scene.verdict(stage, chain));
        let (mut opinion, mut steps) = ask();
        // A member that failed often was left out. That is of use in a node; here it would hide what it says.
        if steps.iter().any(|step| step.answer == StepAnswer::Bypassed)
            && let Ok(fresh) = self.generation.chain(&self.env)
        {
            self.chain.replace(fresh);
            (opinion, steps) = ask();
        }
        let faults = steps.into_iter().filter_map(|step| match step.answer {
            StepAnswer::Fault(fault) => Some(format!("{}: {}", fault.unit, fault.message)),
            _ => None,
        });
        Some(Said { verdict: opinion.as_ref().map(words::json), faults: faults.collect() })
    }
}

impl Found {
    fn take(&mut self, captured: Captured, old: &Side, new: &Side, stages: &[Stage]) {
        if !captured.message.is_request() {
            return;
        }
        self.requests = self.requests.saturating_add(1);
        for stage in Stage::ALL.into_iter().filter(|stage| stages.is_empty() || stages.contains(stage)) {
            let (Some(before), Some(after)) = (old.say(&captured, stage), new.say(&captured, stage)) else { continue };
            self.questions = self.questions.saturating_add(1);
            if before == after {
                continue;
            }
            self.different = self.different.saturating_add(1);
            if self.shown.len() < MAX_SHOWN {
                let text =
                    |octets: &[u8]| String::from_utf8_lossy(octets).chars().filter(|c| !c.is_control()).collect();
                let (method, uri): (String, String) =
                    (text(captured.message.method()), text(captured.message.request_uri_raw()));
                self.shown.push(Difference {
                    message: captured.number,
                    at: captured.at,
                    line: format!("{method} {uri}"),
                    impu: captured.message.to().map(|to| to.uri.aor().into_owned()).unwrap_or_default(),
                    stage,
                    old: before,
                    new: after,
                });
            }
        }
    }
}

impl Said {
    fn line(&self) -> String {
        let verdict = self.verdict.as_ref().map_or_else(|| "nothing to decide".to_owned(), words::line_of);
        match self.faults.as_slice() {
            [] => verdict,
            faults => format!("{verdict} (failed: {})", faults.join("; ")),
        }
    }
}

fn print(found: &Found, summary: capture::Summary) -> anyhow::Result<()> {
    for difference in &found.shown {
        let at = difference.at.map(|at| format!(", {}", crate::broadcast::datetime::format(at.as_secs())));
        println!(
            "message {}{}, stage {}: {} for {}",
            difference.message,
            at.unwrap_or_default(),
            difference.stage.as_str(),
            difference.line,
            difference.impu
        );
        println!("  - {}", difference.old.line());
        println!("  + {}", difference.new.line());
    }
    if found.different > found.shown.len() as u64 {
        println!("… and {} more", found.different.saturating_sub(found.shown.len() as u64));
    }
    println!(
        "{} requests among {} messages, {} verdicts compared, {} differ",
        found.requests, summary.messages, found.questions, found.different
    );
    if summary.unreadable > 0 || summary.incomplete > 0 {
        println!("passed over: {} that cannot be read, {} incomplete", summary.unreadable, summary.incomplete);
    }
    Ok(())
}

fn print_json(found: &Found, summary: capture::Summary) -> anyhow::Result<()> {
    let said = |said: &Said| json!({ "verdict": said.verdict, "faults": said.faults });
    let differences: Vec<Value> = found
        .shown
        .iter()
        .map(|d| {
            json!({
                "message": d.message, "stage": d.stage.as_str(), "request": d.line, "impu": d.impu,
                "at": d.at.map(|at| at.as_secs_f64()), "old": said(&d.old), "new": said(&d.new),
            })
        })
        .collect();
    println!(
        "{:#}",
        json!({
            "messages": summary.messages, "requests": found.requests, "compared": found.questions,
            "different": found.different, "unreadable": summary.unreadable, "incomplete": summary.incomplete,
            "cut": summary.cut,
            "differences": differences,
        })
    );
    Ok(())
}
