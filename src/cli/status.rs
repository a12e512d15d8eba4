//! `imscript status`: whether a running node takes registrations.

use super::control::Target;
use crate::server::control::protocol::Request;
use serde_json::Value;
use std::cell::Cell;
use std::process::ExitCode;

/// Say how a running node is: ready, draining (it ends and takes nothing new) or degraded (a worker
/// does not answer, or a part of the store is away or cannot be written).
/// Exit code 0 only if it is ready.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  imscript status --config imscript.toml")]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ready = Cell::new(false);
    let done = args.target.ask(&Request::Status {}, |outcome| {
        ready.set(outcome["state"] == "ready");
        shown(outcome)
    })?;
    Ok(if ready.get() { done } else { ExitCode::FAILURE })
}

fn shown(outcome: &Value) -> String {
    let state = outcome["state"].as_str().unwrap_or("unknown");
    let mut text = format!("{state}, {} in flight", outcome["in_flight"]);
    if let Some(generation) = outcome["policy"]["generation"].as_u64() {
        text.push_str(&format!(", generation {generation}"));
    }
    for worker in outcome["silent_workers"].as_array().into_iter().flatten() {
        text.push_str(&format!(", worker {worker} does not answer"));
    }
    for part in outcome["store"].as_array().into_iter().flatten() {
        let what = if part["reads"] == true { "cannot be written" } else { "is away" };
        let text_of = |name: &str| part[name].as_str().unwrap_or_default().to_owned();
        text.push_str(&format!(", store {} {what}: {}", text_of("part"), text_of("why")));
    }
    text + "\n"
}
