//! `imscript metrics`: the counts of a running node, as Prometheus reads them.

use super::control::Target;
use crate::server::control::protocol::Request;
use std::process::ExitCode;

/// Print the metrics of a running node in the Prometheus text format.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  imscript metrics --config imscript.toml")]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    args.target.ask(&Request::Metrics {}, |outcome| outcome["text"].as_str().unwrap_or_default().to_owned())
}
