//! `imscript explain`: who decides about a message, and what.

use super::target::Chosen;
use crate::harness::scene::Scene;
use crate::harness::words;
use crate::observe::capture;
use crate::policy::chain::{Step, StepAnswer};
use crate::policy::lua::{Env, Generation, package};
use crate::policy::{Chain, Stage};
use crate::sip::message::Fault;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Puts a SIP request before the policy and the plugins, stage by stage, without a network: who is asked in which order,
/// what each says, how long it takes, who decides. What a message cannot tell is taken as for a new terminal; stage
/// failure is asked as if the broadcast server were down.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript explain register.sip
  imscript explain register.sip --config imscript.toml --stage broadcast
  imscript explain - --policy lua/policy/home.lua --plugins plugins < register.sip
  imscript explain register.sip --json")]
pub struct Args {
    /// File with a SIP request as text, or a capture whose first request counts; `-`: standard input
    message: PathBuf,
    #[command(flatten)]
    chosen: Chosen,
    /// Only this stage; may be repeated
    #[arg(long, value_name = "STAGE", value_parser = stage)]
    stage: Vec<Stage>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn stage(name: &str) -> Result<Stage, String> {
    Stage::named(name).ok_or_else(|| format!("the stages are {}", Stage::names()))
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let json = args.json;
    super::fault::in_json(put(args), json)
}

fn put(args: Args) -> anyhow::Result<ExitCode> {
    let set = args.chosen.set()?;
    let loaded = package::read(set.policy.as_deref(), set.plugins.as_ref(), &[])?;
    let scene = match scene(&args.message, &set.servers) {
        Ok(scene) => scene,
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) if args.json => {
                let why = json!({ "status": refused.fault.status, "reason": refused.fault.reason });
                println!("{:#}", json!({ "refused": why, "stages": [], "notes": loaded.notes }));
                return Ok(ExitCode::FAILURE);
            }
            _ => return Err(error),
        },
    };
    let env = Env::detached(&set.servers);
    let chain = Generation::new(1, loaded.units).chain(&env)?;
    let stages = if args.stage.is_empty() { scene.stages() } else { args.stage };
    let explained: Vec<Explained> = stages.into_iter().map(|stage| explain(&chain, &scene, stage)).collect();
    if args.json {
        let stages: Vec<Value> = explained.iter().map(Explained::json).collect();
        let request = json!({ "kind": scene.kind.as_str(), "impi": scene.impi, "impu": scene.impu });
        println!("{:#}", json!({ "request": request, "stages": stages, "notes": loaded.notes }));
    } else {
        let method = String::from_utf8_lossy(scene.message.method());
        println!("{method} of {} as {}, {}", scene.impu, scene.impi, scene.kind.as_str());
        explained.iter().for_each(Explained::print);
        loaded.notes.iter().for_each(|note| println!("note: {note}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// No stage is asked about such a message.
#[derive(Debug, thiserror::Error)]
#[error("{file}: the server answers {fault} before any stage is asked")]
struct Refused {
    file: String,
    fault: Fault,
}

/// The first request of a file as something to decide about.
pub(super) fn scene(path: &Path, servers: &[crate::policy::ServerView]) -> anyhow::Result<Scene> {
    let mut first = None;
    let mut take = |captured: capture::Captured| {
        if first.is_none() && captured.message.is_request() {
            first = Some(captured);
        }
    };
    let summary = if path.as_os_str() == "-" {
        capture::read(std::io::stdin(), "standard input", &mut take)?
    } else {
        capture::read_file(path, &mut take)?
    };
    let Some(captured) = first else {
        let why = match summary.unreadable {
            0 => "no SIP request in it",
            _ => "what looks like a SIP request in it cannot be read",
        };
        bail!("{}: {why}: a start line (METHOD URI SIP/2.0), headers, an empty line", path.display());
    };
    if let Err(fault) = captured.message.check() {
        return Err(Refused { file: path.display().to_string(), fault }.into());
    }
    let mut source = Scene::somewhere();
    source.transport = captured.transport;
    if captured.at.is_some() {
        (source.addr, source.local) = (captured.from, captured.to);
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix = captured.at.unwrap_or_else(now).as_secs();
    Scene::of(captured.message, source, servers, unix).with_context(|| path.display().to_string())
}

struct Explained {
    stage: Stage,
    order: Vec<String>,
    steps: Vec<Step>,
    /// None at `finish`, which decides nothing, and where there is nothing to ask about.
    verdict: Option<Value>,
}

fn explain(chain: &Chain, scene: &Scene, stage: Stage) -> Explained {
    let (opinion, steps) = chain.recorded(|chain| scene.verdict(stage, chain));
    Explained {
        stage,
        order: chain.order(stage).map(str::to_owned).collect(),
        steps,
        verdict: opinion.as_ref().map(words::json),
    }
}

impl Explained {
    /// Whose word counts. Edits of several add up at `receive` and `reply`.
    fn decided_by(&self) -> String {
        let said = self.steps.iter().filter(|step| matches!(step.answer, StepAnswer::Opinion(_)));
        let names: Vec<&str> = said.map(|step| &*step.unit).collect();
        match names.as_slice() {
            [] if self.steps.iter().any(|step| matches!(step.answer, StepAnswer::Fault(_))) => {
                "what holds on failure".to_owned()
            }
            [] => "the default".to_owned(),
            names => names.join(", "),
        }
    }

    fn json(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                let (said, more) = match &step.answer {
                    StepAnswer::Opinion(opinion) => ("opinion", words::json(opinion)),
                    StepAnswer::None => ("nothing", Value::Null),
                    StepAnswer::Fault(fault) => {
                        ("fault", json!({ "cause": fault.cause.as_str(), "message": fault.message }))
                    }
                    StepAnswer::Bypassed => ("left out", Value::Null),
                };
                json!({ "unit": *step.unit, "said": said, "what": more, "nanoseconds": step.took.as_nanos() as u64 })
            })
            .collect();
        json!({
            "stage": self.stage.as_str(), "order": self.order, "asked": steps,
            "verdict": self.verdict, "decided_by": self.decided_by(),
        })
    }

    fn print(&self) {
        let order = if self.order.is_empty() { "nobody is asked".to_owned() } else { self.order.join(", then ") };
        println!("\n{}: {order}", self.stage.as_str());
        for step in &self.steps {
            let said = match &step.answer {
                StepAnswer::Opinion(opinion) => words::line(opinion),
                StepAnswer::None => "no opinion".to_owned(),
                StepAnswer::Fault(fault) => format!("failed ({}): {}", fault.cause.as_str(), fault.message),
                StepAnswer::Bypassed => "left out: it fails too often".to_owned(),
            };
            println!("  {}: {said}  [{:.1} µs]", step.unit, step.took.as_nanos() as f64 / 1e3);
        }
        match &self.verdict {
            Some(verdict) => println!("  => {} by {}", words::line_of(verdict), self.decided_by()),
            None if self.stage == Stage::Finish => println!("  => told, nothing to decide"),
            None => println!("  => not asked: there is no broadcast portion in the request"),
        }
    }
}
