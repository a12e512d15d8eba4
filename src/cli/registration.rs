//! `imscript registration`: what an operator does to registrations of a running node.

use super::control::Target;
use crate::server::control::protocol::Request;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct RegistrationArgs {
    #[command(subcommand)]
    command: RegistrationCommand,
}

#[derive(Subcommand)]
enum RegistrationCommand {
    End(EndArgs),
}

/// End a user's registration: contacts and Ks go, broadcast server and HSS are told
///
/// The whole implicit set ends. The terminal hears of it when it registers again, which it may.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  imscript registration end sip:alice@home1.net --config imscript.toml
  imscript registration end alice@home1.net --data-dir /var/lib/imscript")]
struct EndArgs {
    /// A public identity of the user, or the private one
    identity: String,
    #[command(flatten)]
    target: Target,
}

pub fn run(args: RegistrationArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        RegistrationCommand::End(EndArgs { identity, target }) => target
            .ask(&Request::EndRegistration { identity }, |outcome| {
                format!("ended  {}\n", outcome["ended"].as_str().unwrap_or_default())
            }),
    }
}
