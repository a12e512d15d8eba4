//! `imscript demo`: the main job. Server, HSS, broadcast server and terminal as processes over
//! loopback, all six figures one after the other, each drawn as a ladder.

use super::network::{Card, NAF, Network, Plan};
use crate::observe::ladder::{self, Step};
use crate::policy::lua;
use anyhow::Context;
use serde::Serialize;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the patent's six message flows on loopback, draws each, checks that both registrations
/// stand and that terminal and broadcast server hold the same key. Exit code 0 only if all passed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript demo
  imscript demo --figure 7
  imscript demo --json")]
pub struct Args {
    /// Only this figure, 3 to 8
    #[arg(long, value_parser = clap::value_parser!(u8).range(3..=8))]
    figure: Option<u8>,
    /// Machine-readable result
    #[arg(long)]
    json: bool,
    /// Leave the headers out of the drawing
    #[arg(long)]
    brief: bool,
}

/// Figure, what it shows, and what the terminal does beyond its REGISTER.
const FIGURES: [(u8, &str); 6] = [
    (3, "subsequent, push: the key goes to the broadcast server after the 200"),
    (4, "subsequent, pull: payload after the 200, the broadcast server asks for the key"),
    (5, "subsequent, pull: the terminal goes to the broadcast server itself, over HTTP"),
    (6, "simultaneous, pull: authorised before the 200, key at first use"),
    (7, "simultaneous, push: the key goes to the broadcast server before the 200"),
    (8, "simultaneous, pull: payload before the 200, key asked for in between"),
];

#[derive(Serialize)]
struct Outcome {
    figure: u8,
    title: &'static str,
    ok: bool,
    ims: String,
    broadcast: String,
    same_key: bool,
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    messages: Vec<Step>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let binary = std::env::current_exe().context("cannot find this program's own file")?;
    let colour = std::io::stdout().is_terminal() && !args.json;
    let mut outcomes = Vec::new();
    for (figure, title) in FIGURES {
        if args.figure.is_some_and(|only| only != figure) {
            continue;
        }
        let outcome = play(&binary, figure, title);
        if !args.json {
            print(&outcome, args.brief, colour);
        }
        outcomes.push(outcome);
    }
    let passed = outcomes.iter().filter(|o| o.ok).count();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    } else {
        println!("{passed} of {} flows passed", outcomes.len());
    }
    Ok(if passed == outcomes.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(outcome: &Outcome, brief: bool, colour: bool) {
    let (bold, plain) = if colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    println!("{bold}Figure {}: {}{plain}\n", outcome.figure, outcome.title);
    print!("{}", ladder::draw(&outcome.messages, !brief));
    let verdict = if outcome.ok { "passed" } else { "FAILED" };
    println!(
        "\n{bold}figure {} {verdict}{plain}: ims {}, broadcast {}, same key on both sides: {}, {:.1} ms\n",
        outcome.figure,
        outcome.ims,
        outcome.broadcast,
        if outcome.same_key { "yes" } else { "no" },
        outcome.ms
    );
    if let Some(error) = &outcome.error {
        println!("  {error}\n");
    }
}

fn play(binary: &Path, figure: u8, title: &'static str) -> Outcome {
    let mut outcome = Outcome {
        figure,
        title,
        ok: false,
        ims: "unknown".into(),
        broadcast: "unknown".into(),
        same_key: false,
        ms: 0.0,
        error: None,
        messages: Vec::new(),
    };
    if let Err(error) = act(binary, &mut outcome) {
        outcome.error = Some(format!("{error:#}"));
        outcome.ok = false;
    }
    outcome
}

fn act(binary: &Path, outcome: &mut Outcome) -> anyhow::Result<()> {
    let dir = Scratch::new(outcome.figure)?;
    let policy = dir.0.join("policy.lua");
    let name = format!("figure_{}", outcome.figure);
    let source = lua::builtin(&name).with_context(|| format!("no policy {name}"))?;
    std::fs::write(&policy, source.text.as_bytes())?;
    let network = Network::start(binary, &dir.0, &Plan { policy: Some(policy), ..Plan::default() })?;
    let card = Card::number(1);
    network.add_subscriber(&card, "yes")?;
    let http = format!("http://{}/", network.bsm_http);
    let figure = outcome.figure.to_string();
    let started = Instant::now();
    let mut options = vec!["--figure", &figure, "--naf-id", NAF];
    if matches!(outcome.figure, 5 | 6) {
        options.extend(["--bsm-http", &http]); // the terminal's own way to the broadcast server
    }
    let result = network.terminal("register", &card, &options)?;
    outcome.ms = started.elapsed().as_secs_f64() * 1000.0;
    let states = network.wait_for_states(&card.impi, "registered", "registered");
    let shown = network.subscriber(&card.impi)?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("unknown").to_string();
    outcome.ims = text(&shown["ims"]["state"]);
    outcome.broadcast = text(&shown["broadcast_registration"]["state"]);
    let events = network.events()?;
    outcome.messages = ladder::steps(events);
    // The broadcast server shows a check value of its key in the trace, the terminal in its result.
    let check = text(&result["key_check"]);
    outcome.same_key =
        outcome.messages.iter().any(|step| step.from == "BSM" && step.what.contains(&format!("check={check}")));
    states?;
    if result["result"] != "registered" {
        anyhow::bail!("the terminal says: {result}");
    }
    outcome.ok = outcome.same_key;
    Ok(())
}

/// A folder that goes with its value.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(figure: u8) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("imscript-demo-{}-{figure}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
