//! The command line: one verb per file.

pub mod aka;
pub mod field;
pub mod gba;
pub mod key_args;
pub mod subscriber;

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
    /// Subscribers of the embedded HSS
    Subscriber(subscriber::Args),
}

/// Exit code 0 on success, 1 on a refusal, 2 on wrong usage (by clap).
pub fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Aka(args) => aka::run(args),
        Verb::Gba(args) => gba::run(args),
        Verb::Subscriber(args) => subscriber::run(args).map(|_| ()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("imscript: {error:#}");
            ExitCode::FAILURE
        }
    }
}
