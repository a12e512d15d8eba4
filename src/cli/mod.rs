//! The command line: one verb per file.

pub mod aka;
pub mod field;
pub mod gba;
pub mod key_args;

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
}

/// Exit code 0 on success, 1 on a refusal, 2 on wrong usage (by clap).
pub fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Aka(args) => aka::run(args),
        Verb::Gba(args) => gba::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("imscript: {error:#}");
            ExitCode::FAILURE
        }
    }
}
