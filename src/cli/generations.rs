//! `imscript generations` and `imscript rollback`: what a node has kept, and the way back.

use super::control::Target;
use crate::server::control::protocol::Request;
use serde_json::Value;
use std::fmt::Write;
use std::process::ExitCode;

/// List the generations of policy and plugins that a running node keeps.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  imscript generations --config imscript.toml")]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    args.target.ask(&Request::Generations {}, listed)
}

/// Put an earlier generation of policy and plugins in force again, whatever is in the files.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript rollback --config imscript.toml        to the one that served before
  imscript rollback 3 --data-dir /var/lib/imscript")]
pub struct RollbackArgs {
    /// Its number; see `imscript generations` [default: the one that served before]
    generation: Option<u64>,
    #[command(flatten)]
    target: Target,
}

pub fn rollback(args: RollbackArgs) -> anyhow::Result<ExitCode> {
    args.target.ask(&Request::Rollback { to: args.generation }, |outcome| {
        format!("generation {} serves again on {} workers\n", outcome["generation"], outcome["workers"])
    })
}

fn listed(outcome: &Value) -> String {
    let mut text = String::from("generation  state     age s  calls       faults  what\n");
    for kept in outcome["generations"].as_array().into_iter().flatten() {
        let number = |key: &str| kept[key].as_u64().unwrap_or_default();
        let units: Vec<&str> =
            kept["units"].as_array().into_iter().flatten().filter_map(|u| u["name"].as_str()).collect();
        let _ = writeln!(
            text,
            "{:<11} {:<9} {:<6} {:<11} {:<7} {}",
            number("generation"),
            kept["state"].as_str().unwrap_or_default(),
            number("age_s"),
            number("calls"),
            number("faults"),
            units.join(" ")
        );
    }
    text
}
