//! `imscript diameter`: the peers of a running node, and messages in words.

mod decode;
mod words;

use super::control::Target;
use crate::server::control::protocol::Request;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::process::ExitCode;

#[derive(Args)]
pub struct DiameterArgs {
    #[command(subcommand)]
    command: DiameterCommand,
}

#[derive(Subcommand)]
enum DiameterCommand {
    Peers(PeersArgs),
    Decode(decode::DecodeArgs),
}

/// The Diameter peers of a running node: standing, connection, applications, counts
///
/// Standing: up; probation (it is back after a failure, for use where no other is); suspect (it does not answer the
/// watchdog); down.
#[derive(Args)]
#[command(after_help = "Example:\n  imscript diameter peers --config imscript.toml")]
struct PeersArgs {
    #[command(flatten)]
    target: Target,
}

pub fn run(args: DiameterArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        DiameterCommand::Peers(args) => args.target.ask(&Request::DiameterPeers {}, peers),
        DiameterCommand::Decode(args) => decode::run(&args),
    }
}

fn peers(outcome: &Value) -> String {
    let peers = outcome["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if peers.is_empty() {
        return "no peers\n".into();
    }
    peers.iter().map(peer).collect()
}

/// `hss.home1.net  up for 12 s, open, tcp:127.0.0.1:3868, Cx Zh`, and what was counted below it.
fn peer(peer: &Value) -> String {
    let text = |name: &str| peer[name].as_str().unwrap_or_default();
    let number = |name: &str| peer[name].as_u64().unwrap_or_default();
    let applications: Vec<_> =
        peer["applications"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let side = if peer["configured"] == true { "" } else { ", connected to us" };
    let mut shown = format!(
        "{}  {} for {} s, {}, {}{side}",
        text("name"),
        text("standing"),
        number("since_seconds"),
        text("state"),
        text("address"),
    );
    if !applications.is_empty() {
        shown.push_str(&format!(", {}", applications.join(" ")));
    }
    if let Some(product) = peer["product"].as_str() {
        shown.push_str(&format!(", {product:?}"));
    }
    shown.push_str(&format!(
        "\n    sent {}, answered {}, not in time {}, waiting {}; served {}; connections {}\n",
        number("sent"),
        number("answered"),
        number("timeouts"),
        number("waiting"),
        number("served"),
        number("connects"),
    ));
    if let Some(why) = peer["ended"].as_str() {
        shown.push_str(&format!("    the last connection ended: {why}\n"));
    }
    shown
}
