//! The command line: one verb per file.

pub mod aka;
pub mod field;
pub mod gba;
pub mod key_args;
pub mod load;
pub mod terminal;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "imscript", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Authentication vectors, resynchronisation and digest responses, for people who debug cards
    Aka(aka::AkaArgs),
    /// Bootstrapping keys and identifiers, for people who debug cards
    Gba(gba::GbaArgs),
    /// A smart-card terminal against any registrar
    Terminal(terminal::TerminalArgs),
    /// Many terminals at once: registrations per second, latency, errors
    Load(load::LoadArgs),
}

/// Exit code 0 on success, 1 on a refusal, 2 on wrong usage (by clap).
pub fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Aka(args) => aka::run(args).map(|()| ExitCode::SUCCESS),
        Verb::Gba(args) => gba::run(args).map(|()| ExitCode::SUCCESS),
        Verb::Terminal(args) => terminal::run(args),
        Verb::Load(args) => load::run(args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("imscript: {error:#}");
            ExitCode::FAILURE
        }
    }
}
