//! `imscript reload`: a running node takes what is in its policy and plugins now, or says why not.

use super::control::Target;
use crate::server::control::protocol::Request;
use serde_json::Value;
use std::fmt::Write;
use std::process::ExitCode;

/// Has a running node take its policy and plugins as they are in the files now. Whatever is wrong with them, what serves
/// goes on serving, and this exits with 1 and the reason.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript reload --config imscript.toml
  imscript reload --data-dir /var/lib/imscript --shadow 100 --dry-run
  imscript reload --data-dir /var/lib/imscript --canary 5")]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// First ask the new generation beside the old: the last N questions and the next N; list where they differ
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    shadow: Option<u32>,
    /// Give the new generation this percentage of the users until its probation is over
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    canary: Option<u8>,
    /// Do not run the plugins' tests
    #[arg(long)]
    skip_tests: bool,
    /// Do everything but put it in force
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { target, shadow, canary, skip_tests, dry_run } = args;
    target.ask(&Request::Reload { shadow, canary, skip_tests, dry_run }, shown)
}

fn shown(outcome: &Value) -> String {
    let mut text = String::new();
    if let Some(shadow) = outcome.get("shadow").filter(|shadow| !shadow.is_null()) {
        let number = |key: &str| shadow[key].as_u64().unwrap_or_default();
        let _ = writeln!(text, "shadow: {} questions, {} answers differ", number("asked"), number("different"));
        for difference in shadow["differences"].as_array().into_iter().flatten() {
            let word = |key: &str| difference[key].as_str().unwrap_or_default();
            let _ = writeln!(
                text,
                "  {} {}\n    now: {}\n    new: {}",
                word("stage"),
                word("impi"),
                word("old"),
                word("new")
            );
        }
        let listed = shadow["differences"].as_array().map_or(0, Vec::len) as u64;
        if number("different") > listed {
            let _ = writeln!(text, "  and {} more", number("different").saturating_sub(listed));
        }
    }
    let generation = &outcome["generation"];
    let took = outcome["ms"].as_f64().unwrap_or_default();
    let _ = match (outcome["dry_run"].as_bool(), outcome["canary"].as_u64()) {
        (Some(true), _) => {
            writeln!(text, "nothing is wrong with it; generation {} goes on serving", outcome["serving"])
        }
        (_, Some(percent)) => writeln!(
            text,
            "generation {generation} serves {percent} % of the users on {} workers ({took:.1} ms); all of them in {} s",
            outcome["workers"], outcome["probation_s"]
        ),
        (_, None) => writeln!(text, "generation {generation} serves on {} workers ({took:.1} ms)", outcome["workers"]),
    };
    text
}
